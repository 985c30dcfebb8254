//! What factory and device say to each other: messages read back as written and have one form; frames are found on a line that
//! carries anything else too.

use proptest::prelude::*;
use protocol::document::{CSR_BYTES_MAX, KeyUse, NONCE_BYTES};
use protocol::provisioning::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame};
use protocol::provisioning::{
    Fault, FromDevice, Life, MESSAGE_BYTES_MAX, PART_BYTES_MAX, REQUEST_BYTES_MAX, SCALAR_BYTES, ToDevice,
    VERSION,
};
use protocol::{DeviceId, KeyId, Name, Refusal};

fn to_device() -> Vec<ToDevice<'static>> {
    vec![
        ToDevice::Identify { version: VERSION },
        ToDevice::Begin { id: DeviceId::new("device-with-an-id-of-32-letters-").unwrap() },
        ToDevice::Inject { key: KeyUse::Tls, scalar: &[0xd5; SCALAR_BYTES] },
        ToDevice::Part { offset: u32::MAX, bytes: &[0x5a; PART_BYTES_MAX] },
        ToDevice::Commit { len: u32::MAX },
        ToDevice::Renew { now_s: u64::MAX },
    ]
}

fn from_device() -> Vec<FromDevice<'static>> {
    let name = Name::try_from("a-name-that-has-32-letters-in-it").unwrap();
    let identity = |life, identity| FromDevice::Identity {
        version: VERSION,
        life,
        firmware: name.clone(),
        board: name.clone(),
        serial: name.clone(),
        factory: KeyId([1; 32]),
        identity,
        until_s: identity.map(|_| u64::MAX),
    };
    let mut all = vec![
        identity(Life::Blank, None),
        identity(Life::Provisioned, Some(KeyId([2; 32]))),
        identity(Life::Destroyed, None),
        FromDevice::Requests {
            nonce: [0xff; NONCE_BYTES],
            identity_csr: &[0x30; CSR_BYTES_MAX],
            tls_csr: &[0x31; CSR_BYTES_MAX],
        },
        FromDevice::Taken { len: u32::MAX },
        FromDevice::Provisioned { identity: KeyId([3; 32]) },
        FromDevice::Renewal { request: &[0x5a; REQUEST_BYTES_MAX] },
    ];
    all.extend(faults().into_iter().map(|why| FromDevice::Refused { why }));
    all
}

fn faults() -> Vec<Fault> {
    let mut all = vec![
        Fault::Message,
        Fault::Order,
        Fault::Locked,
        Fault::Entropy,
        Fault::Vault,
        Fault::Storage,
        Fault::InjectionDisabled,
        Fault::NotEnded,
        Fault::Worn,
    ];
    all.extend(Refusal::ALL.iter().map(|why| Fault::Document(*why)));
    all
}

fn encoded(encode: impl FnOnce(&mut [u8]) -> Result<usize, protocol::EncodeError>) -> Vec<u8> {
    let mut out = vec![0; MESSAGE_BYTES_MAX];
    let len = encode(&mut out).expect("a message fits");
    out.truncate(len);
    out
}

/// Every message as bytes, those of the longest kind among them.
fn messages() -> Vec<Vec<u8>> {
    let to = to_device().into_iter().map(|message| encoded(|out| message.encode(out)));
    let from = from_device().into_iter().map(|message| encoded(|out| message.encode(out)));
    to.chain(from).collect()
}

#[test]
fn every_message_reads_back_as_written() {
    for message in to_device() {
        let bytes = encoded(|out| message.encode(out));
        assert_eq!(ToDevice::decode(&bytes), Ok(message.clone()));
        assert!(message.encode(&mut vec![0; bytes.len() - 1]).is_err(), "a buffer that is too small");
    }
    for message in from_device() {
        let bytes = encoded(|out| message.encode(out));
        assert_eq!(FromDevice::decode(&bytes), Ok(message.clone()));
        assert!(message.encode(&mut vec![0; bytes.len() - 1]).is_err(), "a buffer that is too small");
    }
}

#[test]
fn messages_in_another_form_are_refused() {
    let refused = |name: &str, bytes: &[u8]| {
        assert_eq!(ToDevice::decode(bytes), Err(Fault::Message), "{name}: {bytes:02x?}");
        assert_eq!(FromDevice::decode(bytes), Err(Fault::Message), "{name}: {bytes:02x?}");
    };
    assert_eq!(encoded(|out| ToDevice::Commit { len: 7 }.encode(out)), [0x82, 0x05, 0xa1, 0x01, 0x07]);
    for (name, bytes) in [
        ("nothing", &[][..]),
        ("an unknown message", &[0x82, 0x07, 0xa1, 0x01, 0x07]),
        ("the number 0", &[0x82, 0x00, 0xa0]),
        ("a byte after it", &[0x82, 0x05, 0xa1, 0x01, 0x07, 0x00]),
        ("an unknown field", &[0x82, 0x05, 0xa2, 0x01, 0x07, 0x02, 0x00]),
        ("a field twice", &[0x82, 0x05, 0xa2, 0x01, 0x07, 0x01, 0x07]),
        ("a field missing", &[0x82, 0x05, 0xa0]),
        ("a number longer than needed", &[0x82, 0x05, 0xa1, 0x01, 0x18, 0x07]),
        ("a message's number longer than needed", &[0x82, 0x18, 0x05, 0xa1, 0x01, 0x07]),
        ("an array without length", &[0x9f, 0x05, 0xa1, 0x01, 0x07, 0xff]),
        ("a map without length", &[0x82, 0x05, 0xbf, 0x01, 0x07, 0xff]),
        ("a map longer than needed", &[0x82, 0x05, 0xb8, 0x01, 0x01, 0x07]),
        ("a number that is too large", &[0x82, 0x05, 0xa1, 0x01, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("fields as an array", &[0x82, 0x05, 0x82, 0xf6, 0x07]),
    ] {
        refused(name, bytes);
    }
    for bytes in messages() {
        for len in 0..bytes.len() {
            refused("cut short", &bytes[..len]);
        }
        refused("a byte after it", &[&bytes[..], &[0]].concat());
    }
}

#[test]
fn lengths_outside_their_bounds_are_refused() {
    let to = |message: ToDevice<'_>| {
        let mut out = [0; 2048];
        let len = message.encode(&mut out).unwrap();
        ToDevice::decode(&out[..len]).err()
    };
    for len in [0, SCALAR_BYTES - 1, SCALAR_BYTES + 1] {
        assert_eq!(
            to(ToDevice::Inject { key: KeyUse::Identity, scalar: &vec![1; len] }),
            Some(Fault::Message)
        );
    }
    for len in [0, PART_BYTES_MAX + 1] {
        assert_eq!(to(ToDevice::Part { offset: 0, bytes: &vec![1; len] }), Some(Fault::Message));
    }
    for (identity, tls) in [(0, 1), (1, 0), (CSR_BYTES_MAX + 1, 1), (1, CSR_BYTES_MAX + 1)] {
        let [identity, tls] = [identity, tls].map(|len| vec![0x30; len]);
        let message =
            FromDevice::Requests { nonce: [0; NONCE_BYTES], identity_csr: &identity, tls_csr: &tls };
        let mut out = [0; 2048];
        let len = message.encode(&mut out).unwrap();
        assert_eq!(FromDevice::decode(&out[..len]), Err(Fault::Message));
    }
    for len in [0, REQUEST_BYTES_MAX + 1] {
        let mut out = [0; 2048];
        let len = FromDevice::Renewal { request: &vec![1; len] }.encode(&mut out).unwrap();
        assert_eq!(FromDevice::decode(&out[..len]), Err(Fault::Message));
    }
}

#[test]
fn a_key_from_outside_is_not_in_what_debug_prints() {
    let message = ToDevice::Inject { key: KeyUse::Identity, scalar: &[0xd5; SCALAR_BYTES] };
    let text = format!("{message:?} {message:#?}").to_lowercase();
    assert!(text.contains("inject") && text.contains("identity"));
    for form in ["213", "d5", "[", "0x"] {
        assert!(!text.contains(form), "{form}: {text}");
    }
}

#[test]
fn every_fault_says_what_is_wrong() {
    let texts: Vec<String> = faults().iter().map(ToString::to_string).collect();
    for (at, text) in texts.iter().enumerate() {
        assert!(text.len() > 20 && !texts[..at].contains(text), "{text}");
    }
}

/// What a reader with room for every message finds in the bytes.
fn found(line: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = FrameReader::<FRAME_BYTES_MAX>::new();
    line.iter().filter_map(|byte| reader.push(*byte).map(<[u8]>::to_vec)).collect()
}

fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; FRAME_BYTES_MAX];
    let len = encode_frame(message, &mut out).expect("a frame fits");
    out.truncate(len);
    out
}

#[test]
fn messages_of_every_length_come_out_of_their_frames_and_fit_into_the_stated_length() {
    let mut longest = 0;
    for len in 1..=MESSAGE_BYTES_MAX {
        let counting: Vec<u8> = (0..len).map(|at| (at % 256) as u8).collect();
        for message in [vec![0; len], vec![1; len], vec![0xff; len], counting] {
            let bytes = frame(&message);
            longest = longest.max(bytes.len());
            let zeros: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == 0).collect();
            assert_eq!(zeros, [0, bytes.len() - 1], "a zero is the edge of a frame");
            assert_eq!(found(&bytes), std::slice::from_ref(&message), "{len} bytes");

            let mut exact = vec![0xee; bytes.len()];
            assert_eq!(encode_frame(&message, &mut exact), Some(bytes.len()));
            assert_eq!(exact, bytes);
            for room in [0, 1, 2, bytes.len() / 2, bytes.len() - 2, bytes.len() - 1] {
                assert_eq!(encode_frame(&message, &mut vec![0; room]), None, "{len} bytes into {room}");
            }
        }
    }
    assert_eq!(longest, FRAME_BYTES_MAX);
    assert_eq!(encode_frame(&[], &mut [0; FRAME_BYTES_MAX]), None);
    assert_eq!(encode_frame(&[1; MESSAGE_BYTES_MAX + 1], &mut [0; 2 * FRAME_BYTES_MAX]), None);
}

/// `crc32("123456789")` of the CRC catalogue, least significant byte first, after COBS, which it passes unchanged.
#[test]
fn a_frame_is_what_the_documentation_says() {
    assert_eq!(frame(b"123456789"), *b"\x00\x0e123456789\x26\x39\xf4\xcb\x00");
}

#[test]
fn a_frame_with_any_bit_flipped_gives_no_message_and_does_not_harm_the_next() {
    for message in messages() {
        let good = frame(&message);
        let mut line = [good.clone(), frame(b"next")].concat();
        for bit in 0..good.len() * 8 {
            line[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(found(&line), [b"next"], "bit {bit}");
            line[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_frame_that_breaks_off_gives_no_message_and_does_not_harm_the_next() {
    let first = frame(b"the first, which breaks off");
    for len in 0..first.len() - 1 {
        assert_eq!(found(&[&first[..len], &frame(b"next")].concat()), [b"next"], "{len} bytes");
    }
}

#[test]
fn what_is_too_long_for_the_reader_is_skipped_up_to_its_end() {
    for len in [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 10 * FRAME_BYTES_MAX] {
        let line = [&vec![b'x'; len][..], &frame(b"next")].concat();
        assert_eq!(found(&line), [b"next"], "{len} bytes");
    }
    let mut small = FrameReader::<16>::new();
    let line = [frame(&[7; 100]), frame(b"short"), frame(&[7; 11]), frame(&[7; 12])].concat();
    let read: Vec<Vec<u8>> = line.iter().filter_map(|byte| small.push(*byte).map(<[u8]>::to_vec)).collect();
    assert_eq!(read, [b"short".to_vec(), vec![7; 11]], "16 bytes: the code, 11, and 4 of the CRC");
    // The first 16 bytes alone would be a frame.
    let fits = frame(&[7; 11]);
    let (end, frame_without_end) = fits.split_last().unwrap();
    let longer = [frame_without_end, b"x", &[*end]].concat();
    assert!(longer.iter().all(|byte| small.push(*byte).is_none()));
    let mut none = FrameReader::<0>::new();
    assert!(frame(b"short").iter().all(|byte| none.push(*byte).is_none()));
}

#[test]
fn a_reader_that_was_wiped_begins_anew() {
    let bytes = frame(b"message");
    let mut reader = FrameReader::<FRAME_BYTES_MAX>::default();
    for byte in &bytes[..5] {
        assert_eq!(reader.push(*byte), None);
    }
    reader.wipe();
    let rest: Vec<_> = bytes[5..].iter().filter_map(|byte| reader.push(*byte).map(<[u8]>::to_vec)).collect();
    assert!(rest.is_empty());
    assert_eq!(bytes.iter().filter_map(|byte| reader.push(*byte).map(<[u8]>::to_vec)).count(), 1);
}

/// The CRC-32 of nothing is 0, and COBS of four zeros is five ones.
#[test]
fn no_bytes_on_the_line_are_a_frame_of_nothing() {
    assert!(found(&[0, 1, 1, 1, 1, 1, 0]).is_empty());
}

/// What stands on a line: a frame, or something else.
#[derive(Clone, Debug)]
enum Piece {
    Frame(Vec<u8>),
    Other(Vec<u8>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let log = "[0-9:.<>a-z ,]{0,80}\r\n";
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..=MESSAGE_BYTES_MAX).prop_map(Piece::Frame),
        log.prop_map(|text| Piece::Other(text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(Piece::Other),
        // Edges without anything between them. With a few more values this would find frames: 02 ff 01 01 02 ff is one.
        prop::collection::vec(prop::sample::select(&[0u8, 1][..]), 0..50).prop_map(Piece::Other),
        // A frame that breaks off.
        (prop::collection::vec(any::<u8>(), 1..300), any::<prop::sample::Index>()).prop_map(
            |(message, at)| {
                let mut bytes = frame(&message);
                bytes.truncate(at.index(bytes.len() - 1));
                Piece::Other(bytes)
            }
        ),
    ]
}

proptest! {
    #[test]
    fn every_frame_is_found_among_anything_else(pieces in prop::collection::vec(piece(), 0..12)) {
        let mut line = Vec::new();
        let mut sent = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Frame(message) => {
                    line.extend(frame(&message));
                    sent.push(message);
                }
                Piece::Other(bytes) => line.extend(bytes),
            }
        }
        prop_assert_eq!(found(&line), sent);
    }

    #[test]
    fn nothing_is_found_where_nothing_was_sent(line in prop::collection::vec(any::<u8>(), 0..4000)) {
        prop_assert!(found(&line).is_empty());
    }

    #[test]
    fn parts_and_names_of_any_content_read_back_as_written(
        offset: u32, bytes in prop::collection::vec(any::<u8>(), 1..=PART_BYTES_MAX), nonce: [u8; NONCE_BYTES],
        csr in prop::collection::vec(any::<u8>(), 1..=CSR_BYTES_MAX), id in "[A-Za-z0-9_-]{1,32}", scalar: [u8; 32],
    ) {
        let mut to = vec![
            ToDevice::Part { offset, bytes: &bytes },
            ToDevice::Inject { key: KeyUse::Identity, scalar: &scalar },
            ToDevice::Commit { len: offset },
        ];
        to.extend(DeviceId::new(&id).ok().map(|id| ToDevice::Begin { id }));
        for message in to {
            let bytes = encoded(|out| message.encode(out));
            prop_assert_eq!(ToDevice::decode(&bytes), Ok(message.clone()));
        }
        let message = FromDevice::Requests { nonce, identity_csr: &csr, tls_csr: &bytes };
        let bytes = encoded(|out| message.encode(out));
            prop_assert_eq!(FromDevice::decode(&bytes), Ok(message.clone()));
    }
}
