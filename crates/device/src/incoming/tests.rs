extern crate std;
use super::*;
use std::string::String;
use std::vec;
use std::vec::Vec as Bytes;

/// What becomes of `bytes` in pieces of this length: each packet as text, and whether the form was broken behind them.
fn read(bytes: &[u8], piece: usize) -> (Bytes<String>, bool) {
    let mut reader = Reader::new();
    let mut packets = vec![];
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            match reader.take(&mut piece) {
                Ok(Some(packet)) => packets.push(std::format!("{packet:?}")),
                Ok(None) => {}
                Err(Malformed) => return (packets, true),
            }
        }
    }
    (packets, false)
}

fn message(first: u8, topic: &[u8], id: &[u8], payload: usize) -> Bytes<u8> {
    let mut remaining = 2 + topic.len() + id.len() + payload;
    let mut bytes = vec![first];
    while remaining >= 0x80 {
        bytes.push(remaining as u8 | 0x80);
        remaining >>= 7;
    }
    bytes.push(remaining as u8);
    bytes.extend((topic.len() as u16).to_be_bytes());
    bytes.extend(topic);
    bytes.extend(id);
    bytes.resize(bytes.len() + payload, b'x');
    bytes
}

#[test]
fn each_packet_has_one_form_and_its_neighbours_are_malformed() {
    for good in [
        &[0x20, 2, 0, 0][..],
        &[0x20, 2, 1, 5],
        &[0x40, 2, 0, 0],
        &[0x90, 3, 0, 1, 1],
        &[0xb0, 2, 0, 1],
        &[0xd0, 0],
        &[0xe0, 0],
        &[0x30, 2, 0, 0],
        &[0x32, 5, 0, 1, b't', 0, 1],
        &[0x3b, 5, 0, 1, b't', 0, 1],
    ] {
        for piece in [1, 2, 100] {
            let (packets, broken) = read(good, piece);
            assert_eq!((packets.len(), broken), (1, false), "{good:02x?}");
        }
    }
    for bad in [
        &[0x20, 3, 0, 0, 0][..],
        &[0x20, 2, 2, 0],
        &[0x21, 2, 0, 0],
        &[0x40, 3, 0, 1, 0],
        &[0x40, 1, 0],
        &[0x42, 2, 0, 1],
        &[0x50, 2, 0, 1],
        &[0x90, 2, 0, 1],
        &[0x90, 65, 0, 1],
        &[0x90, 0],
        &[0xd0, 1, 0],
        &[0xe0, 1, 0x8e],
        &[0x34, 5, 0, 1, b't', 0, 1],
        &[0x36, 5, 0, 1, b't', 0, 1],
        &[0x32, 5, 0, 1, b't', 0, 0],
        &[0x32, 3, 0, 1, b't'],
        &[0x32, 4, 0, 1, b't', 0],
        &[0x30, 3, 0, 2, b't'],
        &[0x30, 4, 0xff, 0xff, b'a', b'a'],
        &[0x30, 1, 0],
        &[0x30, 0],
        &[0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
        &[0x00, 0],
        &[0xf0, 0],
        &[0x10, 0],
        &[0x82, 0],
        &[0xc0, 0],
    ] {
        for piece in [1, 2, 100] {
            assert_eq!(read(bad, piece), (vec![], true), "{bad:02x?}");
        }
    }
}

#[test]
fn a_payload_of_the_longest_length_is_taken_and_longer_ones_are_passed_over_to_their_end() {
    for (len, taken) in
        [(0, true), (PAYLOAD_BYTES_MAX, true), (PAYLOAD_BYTES_MAX + 1, false), (3_000_000, false)]
    {
        let bytes = [message(0x32, b"t", &[0, 7], len), vec![0xd0, 0]].concat();
        let mut reader = Reader::new();
        let mut rest = bytes.as_slice();
        let packet = reader.take(&mut rest).unwrap().unwrap();
        let all = vec![b'x'; len];
        let payload = if taken { Payload::Taken(&all) } else { Payload::TooLong(len as u32) };
        assert_eq!(packet, Packet::Publish { topic: b"t", topic_len: 1, id: Some(7), payload });
        assert_eq!(reader.take(&mut rest), Ok(Some(Packet::PingResp)));
        assert!(!reader.is_amid() && rest.is_empty());
    }
}

#[test]
fn a_topic_of_65535_bytes_and_an_empty_one_are_passed_over() {
    let long = vec![b'a'; 65_535];
    for topic in [&long[..], b""] {
        let bytes = [message(0x32, topic, &[0, 7], 1), message(0x30, topic, &[], 0), vec![0xd0, 0]].concat();
        let mut reader = Reader::new();
        let mut rest = bytes.as_slice();
        for _ in 0..2 {
            let Some(Packet::Publish { topic: seen, topic_len, .. }) = reader.take(&mut rest).unwrap() else {
                panic!()
            };
            assert_eq!(seen, &topic[..topic.len().min(TOPIC_MAX)]);
            assert_eq!(usize::from(topic_len), topic.len());
        }
        assert_eq!(reader.take(&mut rest), Ok(Some(Packet::PingResp)));
    }
}

#[test]
fn pieces_of_any_length_give_the_same_packets() {
    let bytes = [
        vec![0x20, 2, 0, 0, 0x90, 6, 0, 1, 0, 1, 0x80, 1],
        message(0x33, b"device/dev-1/command", &[0x12, 0x34], 300),
        message(0x30, b"", &[], 0),
        vec![0x40, 2, 0, 9],
    ]
    .concat();
    let whole = read(&bytes, bytes.len());
    assert_eq!((whole.0.len(), whole.1), (5, false));
    for piece in 1..70 {
        assert_eq!(read(&bytes, piece), whole, "{piece}");
    }
}

#[test]
fn what_a_broken_connection_has_begun_is_gone_with_the_next() {
    let mut reader = Reader::new();
    assert_eq!(reader.take(&mut &[0x32, 100, 0, 1][..]), Ok(None));
    assert!(reader.is_amid());
    reader.reset();
    assert_eq!(reader.take(&mut &[0x20, 2, 0, 0][..]), Ok(Some(Packet::ConnAck { session: false, code: 0 })));
}
