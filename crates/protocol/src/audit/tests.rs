extern crate std;

use super::*;
use crate::document::{Action, Audience, End, LogDelivery, Power};
use crate::image::Version;
use crate::key::{KeyId, PublicKey, Signature};
use crate::{Channel, DeviceId, Failure, Layer, NAME_MAX, Name, Refusal, ResetCause, UpdateFault};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

fn longest_name() -> Name {
    Name::try_from("x".repeat(NAME_MAX).as_str()).unwrap()
}

fn longest<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> T {
    all.iter().copied().max_by_key(|one| name(*one).len()).unwrap()
}

/// One of each kind, as long as it can be.
fn every_event() -> Vec<Event> {
    let key = KeyId([0xEE; 32]);
    let version = Version::new(255, 255, u16::MAX);
    let why = longest(Refusal::ALL, Refusal::as_str);
    let fault = longest(UpdateFault::ALL, UpdateFault::as_str);
    let channel = longest(&Channel::ALL, Channel::as_str);
    let layer = longest(Layer::ALL, Layer::as_str);
    let number = u32::MAX;
    vec![
        Event::Boot { reset: longest(ResetCause::ALL, ResetCause::as_str), firmware: longest_name() },
        Event::Provisioned { identity: key },
        Event::Retired { end: End::Destroyed },
        Event::KeysMade,
        Event::IdentityReplaced { identity: key },
        Event::IdentityRefused,
        Event::IdentityFellBack { identity: key },
        Event::IdentityWiped,
        Event::RootsReplaced { number },
        Event::RootsUndone { number },
        Event::AuthorityReplaced { power: Power::Anchors, key },
        Event::Configured { layer, number },
        Event::ConfigurationUndone { layer, number },
        Event::Commanded { number, action: Action::Burst { samples: u16::MAX, period_ms: u32::MAX } },
        Event::DocumentRefused { channel: Some(channel), why },
        Event::PeerRefused { why: longest(Failure::ALL, Failure::as_str) },
        Event::ClockSet { by_ms: Some(i64::MIN) },
        Event::TimeRefused,
        Event::UpdateNoticed { version, sequence: u64::MAX },
        Event::UpdateRefused { why: fault },
        Event::UpdateWithdrawn,
        Event::UpdateDownloaded { bytes: u32::MAX },
        Event::UpdateInstalling { version },
        Event::UpdateConfirmed { version },
        Event::UpdateUndone { why: fault },
        Event::UpdateReverted { why: fault },
        Event::StorageFailed,
        Event::EntropyFailed,
        Event::Repeated { kind: u8::MAX, count: u32::MAX },
        Event::Lost { first: u32::MAX, count: u32::MAX },
        Event::Seal { identity: key, signature: Signature::new(&[0x21; 64]).unwrap() },
        Event::CommandRefused { why },
        Event::CertificateEnded { until: EpochMillis(u64::MAX) },
        Event::CertifiedOnLine { identity: key },
    ]
}

fn record(sequence: u32, event: Event) -> Record {
    let clock = longest(ClockQuality::ALL, ClockQuality::as_str);
    Record { sequence, boot: u32::MAX, time: Some(EpochMillis(u64::MAX)), clock, event }
}

/// A log of these events, with the hash behind it.
fn log(first: u32, previous: Hash, events: impl IntoIterator<Item = Event>) -> (Vec<u8>, Hash) {
    let (mut bytes, mut last) = (Vec::new(), previous);
    for (sequence, event) in (first..).zip(events) {
        let mut buffer = [0; RECORD_BYTES_MAX];
        let len = record(sequence, event).encode(&mut buffer).unwrap();
        last = hash(&last, &buffer[..len]);
        let mut entry = [0; RECORD_BYTES_MAX + HASH_BYTES + 8];
        let len = append(&buffer[..len], &last, &mut entry).unwrap();
        bytes.extend_from_slice(&entry[..len]);
    }
    (bytes, last)
}

/// The number of the first record that does not hold, and why.
fn verify(bytes: &[u8], first: u32, previous: Hash) -> Result<Hash, (u32, ChainFault)> {
    let (mut previous, mut due) = (previous, first);
    for entry in Entries::new(bytes) {
        let entry = entry.map_err(|fault| (due, fault))?;
        entry.follows(&previous, due).map_err(|fault| (due, fault))?;
        (previous, due) = (entry.hash, due + 1);
    }
    Ok(previous)
}

#[test]
fn every_kind_has_its_number_its_name_and_room() {
    let mut longest = 0;
    for (event, kind) in every_event().into_iter().zip(1..) {
        assert_eq!(event.kind(), kind);
        assert!(Event::name(kind).is_some_and(|name| !name.is_empty()), "{kind}");
        assert_eq!(event.is_limited(), LIMITED.contains(&kind), "{kind}");
        let record = record(u32::MAX, event);
        let mut buffer = [0; RECORD_BYTES_MAX];
        let len = record.encode(&mut buffer).unwrap_or_else(|_| panic!("{record:?} does not fit"));
        assert_eq!(Record::decode(&buffer[..len]), Some(record));
        longest = longest.max(len);
    }
    assert!(longest > RECORD_BYTES_MAX - 32, "{longest}");
    assert_eq!((Event::name(0), Event::name(35)), (None, None));
    assert!(LIMITED.is_sorted());
    let names: Vec<_> = (1..=34).filter_map(Event::name).collect();
    assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1));
}

#[test]
fn a_record_in_another_form_is_none() {
    let mut buffer = [0; RECORD_BYTES_MAX];
    let len = record(7, Event::RootsReplaced { number: 3 }).encode(&mut buffer).unwrap();
    let bytes = &buffer[..len];
    assert_eq!(Record::decode(&[bytes, &[0]].concat()), None, "something behind it");
    assert_eq!(Record::decode(&bytes[..len - 1]), None, "cut off");
    // 7 in two bytes.
    let longer = [&bytes[..1], &[0x18, 7], &bytes[2..]].concat();
    assert_eq!(Record::decode(&longer), None);
    assert_eq!(Record::decode(&[0; RECORD_BYTES_MAX + 1]), None);
    assert_eq!(Record::decode(&[]), None);
}

#[test]
fn a_record_that_only_newer_firmware_can_name_has_its_number_and_its_place_in_the_chain() {
    let (mut bytes, last) = log(0, FIRST, [Event::KeysMade]);
    // [1, 9, null, "unset", [40, ["x"]]]
    let newer = [0x85, 1, 9, 0xF6, 0x65, b'u', b'n', b's', b'e', b't', 0x82, 0x18, 40, 0x81, 0x61, b'x'];
    assert_eq!((sequence(&newer), Record::decode(&newer)), (Some(1), None));
    let last = hash(&last, &newer);
    let mut entry = [0; RECORD_BYTES_MAX];
    let len = append(&newer, &last, &mut entry).unwrap();
    bytes.extend_from_slice(&entry[..len]);
    let (more, end) = log(2, last, [Event::IdentityWiped]);
    bytes.extend_from_slice(&more);
    assert_eq!(verify(&bytes, 0, FIRST), Ok(end));
    let named: Vec<_> = Entries::new(&bytes).map(|entry| entry.unwrap().record.is_some()).collect();
    assert_eq!(named, [true, false, true]);
    for other in
        [&newer[..15], &[&newer[..], &[0]].concat(), &[0x80], &[0x82, 0xF6, 1], &[0x9F, 1, 0xFF], &[]]
    {
        assert_eq!(sequence(other), None, "{other:02x?}");
    }
    assert_eq!(
        sequence(&[&[0x82, 1, 0x58, RECORD_BYTES_MAX as u8], [0; RECORD_BYTES_MAX].as_slice()].concat()),
        None
    );
}

#[test]
fn every_change_of_a_log_is_found_at_the_record_it_concerns() {
    let events = || every_event().into_iter().take(12);
    let (bytes, last) = log(0, FIRST, events());
    assert_eq!(verify(&bytes, 0, FIRST), Ok(last));
    // Where each entry ends.
    let mut entries = Entries::new(&bytes);
    let mut ends = vec![0];
    while entries.next().is_some() {
        ends.push(bytes.len() - entries.rest().len());
    }
    for at in 0..bytes.len() {
        let concerned = ends.iter().filter(|end| **end <= at).count() as u32 - 1;
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            let (number, _) = verify(&altered, 0, FIRST).expect_err("it is altered");
            assert_eq!(number, concerned, "byte {at}, bit {bit}");
        }
    }
    let entry = |number: usize| &bytes[ends[number]..ends[number + 1]];
    let all =
        |numbers: &[usize]| numbers.iter().flat_map(|number| entry(*number)).copied().collect::<Vec<_>>();
    assert_eq!(verify(&all(&[0, 1, 3, 4]), 0, FIRST), Err((2, ChainFault::Hash)), "left out");
    assert_eq!(verify(&all(&[0, 2, 1, 3]), 0, FIRST), Err((1, ChainFault::Hash)), "turned round");
    assert_eq!(verify(&all(&[0, 1, 1, 2]), 0, FIRST), Err((2, ChainFault::Hash)), "repeated");
    assert_eq!(verify(&all(&[1, 2]), 1, FIRST), Err((1, ChainFault::Hash)), "without its beginning");
    assert_eq!(verify(&bytes[..bytes.len() - 1], 0, FIRST), Err((11, ChainFault::Form)));
    let (foreign, _) = log(2, [7; HASH_BYTES], events());
    let put_in = [all(&[0, 1]).as_slice(), &foreign].concat();
    assert_eq!(verify(&put_in, 0, FIRST), Err((2, ChainFault::Hash)));
    let (jump, _) = log(5, FIRST, events());
    assert_eq!(verify(&jump, 0, FIRST), Err((0, ChainFault::Sequence { due: 0 })));
    for fault in [ChainFault::Form, ChainFault::Hash, ChainFault::Sequence { due: 3 }, ChainFault::Unknown] {
        assert!(!fault.to_string().is_empty());
    }
}

#[test]
fn a_seal_counts_for_its_key_its_device_and_its_place_only() {
    let scalar = SigningKey::from_slice(&[0x31; 32]).unwrap();
    let key = PublicKey::new(scalar.verifying_key().to_sec1_point(false).as_bytes()).unwrap();
    let other = SigningKey::from_slice(&[0x32; 32]).unwrap();
    let other = PublicKey::new(other.verifying_key().to_sec1_point(false).as_bytes()).unwrap();
    let (device, previous) = (DeviceId::new("dev-1").unwrap(), [5; HASH_BYTES]);
    let mut made = None;
    let delivery =
        LogDelivery { audience: Audience::Device(device.clone()), number: 9, previous, entries: &[] };
    crate::signed::seal(&delivery, key.id(), &mut [0; 400], |digest| {
        let signature: p256::ecdsa::Signature = scalar.sign_prehash(digest).unwrap();
        made = Some(Signature::normalised(&signature.to_bytes()).unwrap());
        Ok::<_, ()>(made.unwrap())
    })
    .unwrap();
    let seal = |sequence| record(sequence, Event::Seal { identity: key.id(), signature: made.unwrap() });
    assert!(is_sealed_by(&seal(9), &previous, &device, &key));
    assert!(!is_sealed_by(&seal(10), &previous, &device, &key));
    assert!(!is_sealed_by(&seal(9), &[6; HASH_BYTES], &device, &key));
    assert!(!is_sealed_by(&seal(9), &previous, &DeviceId::new("dev-2").unwrap(), &key));
    assert!(!is_sealed_by(&seal(9), &previous, &device, &other));
    assert!(!is_sealed_by(&record(9, Event::KeysMade), &previous, &device, &key));
}

proptest! {
    #[test]
    fn any_record_is_read_as_it_was_written(
        sequence: u32, boot: u32, time: Option<u64>, clock in 0..ClockQuality::ALL.len(), event in 0..32_usize,
    ) {
        let event = every_event().swap_remove(event);
        let clock = ClockQuality::ALL[clock];
        let record = Record { sequence, boot, time: time.map(EpochMillis), clock, event };
        let mut buffer = [0; RECORD_BYTES_MAX];
        let len = record.encode(&mut buffer).unwrap();
        prop_assert_eq!(Record::decode(&buffer[..len]), Some(record));
    }

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzz::log(&bytes);
    }
}
