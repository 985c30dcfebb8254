//! Whoever has a key that is not in force any more, or can publish whatever they like.

use super::*;
use crate::log::fault::What;
use crate::log::store::{StoredDelivery, forks};

/// One more record, at this time, and the delivery with it, signed with the key of this place.
fn one_more(device: &mut Specimen, time: u64, place: usize) -> Vec<u8> {
    device.time = time;
    let number = device.end();
    device.push(Event::KeysMade);
    let (entries, _) = device.entries(number, device.end());
    device.signed(number, &entries, &device.keys[place])
}

/// Somebody who knows everything that the device has said, and has its keys.
fn thief(device: &Specimen) -> Specimen {
    let mut thief = Specimen::new(device.id.as_str(), 1);
    (thief.keys, thief.records) = (device.keys.clone(), device.records.clone());
    thief
}

#[test]
fn a_former_key_writes_nothing_any_more_once_a_later_one_has() {
    let (mut device, deliveries) = log(1, 60);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    for bytes in &deliveries {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    let before = service.report(&device);
    assert!(before.is_whole());
    // Three keys, none of them revoked. Whoever has one of the former two goes on where the log ends, or behind a gap.
    let written = device.time;
    let mut thief = thief(&device);
    let (next, ahead) = (one_more(&mut thief, written, 0), one_more(&mut thief, written, 1));
    for forged in [&next, &ahead] {
        assert_eq!(service.take(&mut collector, NOW, &device.id, forged), ["former_key"]);
    }
    assert_eq!(service.report(&device), before);
    // After a restart too.
    drop(collector);
    let mut collector = service.collector(false, NOW);
    assert_eq!(service.take(&mut collector, NOW, &device.id, &next), ["former_key"]);
    // What the former key had signed in its time is known, and no fault.
    assert_eq!(service.take(&mut collector, NOW, &device.id, &deliveries[0]), [""; 0]);
    // Put into the file by hand, it is found.
    let path = service.path("store/dev-7.log");
    let whole = std::fs::read_to_string(&path).unwrap();
    let line = StoredDelivery { received: NOW, bytes: next }.to_line();
    std::fs::write(&path, format!("{whole}{line}")).unwrap();
    let found = service.report(&device);
    assert!(matches!(found.first().unwrap().fault.what, What::Superseded(..)), "{:?}", found.findings);
    std::fs::write(&path, whole).unwrap();
    // One more certificate for it makes it no later key.
    let tls = public(&key(7_000, 9));
    let until = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + time::Duration::days(365);
    let again = Identity {
        id: device.id.clone(),
        key: public(&device.keys[0]),
        tls,
        certificate: [9; 32],
        serial: vec![9],
        until,
    };
    service.registry().append(&[Change::Registered(again)]).unwrap();
    assert_eq!(service.take(&mut collector, NOW, &device.id, &ahead), ["former_key"]);
    // Nor does it tell another history of the device: it tells that somebody has it.
    let mut liar = Specimen::new("dev-7", 1);
    liar.live(30);
    liar.keys.clone_from(&device.keys);
    let other = liar.signed(0, &liar.entries(0, 5).0, &liar.keys[1]);
    assert_eq!(service.take(&mut collector, NOW, &device.id, &other), ["former_key"]);
    assert!(forks(&path).unwrap().is_empty());
    // The device is not shut out.
    let genuine = one_more(&mut device, written, 2);
    assert_eq!(service.take(&mut collector, NOW, &device.id, &genuine), ["1 records"]);
    assert!(service.report(&device).is_whole());
}

#[test]
fn what_a_former_key_has_signed_and_waits_is_not_taken_when_a_later_one_has_filled_the_gap() {
    let (device, deliveries) = log(2, 60);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    service.take(&mut collector, NOW, &device.id, &deliveries[0]);
    let next = u32::try_from(service.report(&device).records).unwrap();
    let end = device.end() - 2;
    let (entries, _) = device.entries(end, device.end());
    let told = service.take(&mut collector, NOW, &device.id, &device.signed(end, &entries, &device.keys[0]));
    assert_eq!(told, [format!("missing {next}-{}", end - 1)]);
    let (mut told, mut number) = (Vec::new(), next);
    while number < end {
        let (entries, after) = device.entries(number, end);
        let bytes = device.signed(number, &entries, &device.keys[2]);
        told.extend(service.take(&mut collector, NOW, &device.id, &bytes));
        number = after;
    }
    assert_eq!(told.iter().filter(|told| *told == "former_key").count(), 1, "{told:?}");
    service.take(&mut collector, NOW, &device.id, &device.deliver(end)[0]);
    assert!(service.report(&device).is_whole());
}

#[test]
fn a_device_that_goes_back_to_its_former_key_because_the_later_one_was_revoked_is_heard() {
    let (mut device, deliveries) = log(3, 60);
    let mut service = Service::new(&[&device]);
    let now = crate::operator::now();
    let mut collector = service.collector(false, now);
    for bytes in &deliveries {
        service.take(&mut collector, now, &device.id, bytes);
    }
    let time = device.time;
    let fallen_back = one_more(&mut device, time, 1);
    assert_eq!(service.take(&mut collector, now, &device.id, &fallen_back), ["former_key"]);
    let key = public(&device.keys[2]).id();
    service.registry().append(&[Change::Revoked { id: device.id.clone(), key, serial: vec![1, 2] }]).unwrap();
    assert_eq!(service.take(&mut collector, now, &device.id, &fallen_back), ["1 records"]);
    assert!(service.report(&device).is_whole());
}

#[test]
fn a_key_is_good_for_what_came_in_its_time_whatever_time_the_records_say() {
    let mut device = Specimen::new("dev-7", 1);
    let now = crate::operator::now();
    let stored = one_more(&mut device, now.0 - 3_600_000, 0);
    // Written, as it says, long before the revocation.
    let backdated = one_more(&mut device, now.0 - 3_000_000, 0);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, now);
    assert_eq!(service.take(&mut collector, now, &device.id, &stored), ["1 records"]);
    let later = now.offset(86_400_000);
    let key = public(&device.keys[0]).id();
    service.registry().append(&[Change::Revoked { id: device.id.clone(), key, serial: vec![1, 0] }]).unwrap();
    assert_eq!(service.take(&mut collector, later, &device.id, &backdated), ["revoked_key"]);
    assert!(service.report(&device).is_whole(), "what came before stays proven");
}

#[test]
fn junk_leaves_room_for_the_evidence_and_a_limit_is_told_once() {
    let (device, deliveries) = log(1, 60);
    let (_, theirs) = log(2, 60);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    for bytes in &deliveries {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    let mut full = Vec::new();
    for number in 0..1_000_u32 {
        let junk = [&number.to_le_bytes()[..], &theirs[0], &[0; 600]].concat();
        let told = service.take(&mut collector, NOW, &device.id, &junk);
        assert_eq!(told[0], "form");
        full.extend(told.into_iter().skip(1));
    }
    assert_eq!(full, ["full .refused"]);
    assert!(std::fs::metadata(service.path("store/.refused")).unwrap().len() < (1 << 20) + 8_192);
    assert!(!service.path("store/dev-7.refused").exists());
    // A former key fills half of the device's own file.
    let mut thief = thief(&device);
    let number = thief.end();
    thief.live(10_000);
    let (mut from, mut full) = (number, Vec::new());
    while full.is_empty() {
        let (entries, after) = thief.entries(from, thief.end());
        let forged = thief.signed(from, &entries, &thief.keys[0]);
        let told = service.take(&mut collector, NOW, &device.id, &forged);
        assert_eq!(told[0], "former_key");
        full.extend(told.into_iter().skip(1));
        from = after;
    }
    assert_eq!(full, ["full dev-7.refused"]);
    let mut liar = Specimen::new("dev-7", 1);
    liar.live(30);
    liar.keys.clone_from(&device.keys);
    let fork = &liar.deliver(0)[0];
    assert_eq!(service.take(&mut collector, NOW, &device.id, fork), ["fork"]);
    let kept = forks(&service.path("store/dev-7.log")).unwrap();
    assert_eq!(kept.iter().map(|kept| &kept.bytes).collect::<Vec<_>>(), [fork]);
}

#[test]
fn another_history_is_evidence_however_old_it_is_and_while_it_would_wait_too() {
    // More records than are kept for comparison.
    let mut device = Specimen::new("dev-7", 1);
    for _ in 0..4_200 {
        device.push(Event::KeysMade);
    }
    let mut liar = Specimen::new("dev-7", 2);
    liar.keys.clone_from(&device.keys);
    for _ in 0..60 {
        liar.push(Event::IdentityWiped);
    }
    let lie = |number| liar.signed(number, &liar.entries(number, number + 3).0, &liar.keys[0]);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    let deliveries = device.deliver(0);
    // Two of the same number behind a gap.
    let (_, second) = device.entries(0, device.end());
    assert_eq!(service.take(&mut collector, NOW, &device.id, &deliveries[1]).len(), 1);
    assert_eq!(service.take(&mut collector, NOW, &device.id, &deliveries[1]), [""; 0]);
    assert_eq!(service.take(&mut collector, NOW, &device.id, &lie(second)), ["fork"]);
    for bytes in &deliveries {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    for _ in 0..2 {
        for bytes in &deliveries[..3] {
            assert_eq!(service.take(&mut collector, NOW, &device.id, bytes), [""; 0]);
        }
        for number in [0, 3, second - 1, second, second + 1] {
            assert_eq!(service.take(&mut collector, NOW, &device.id, &lie(number)), ["fork"], "{number}");
        }
        drop(collector);
        collector = service.collector(false, NOW);
    }
    assert!(service.report(&device).is_whole());
}

#[test]
fn only_the_first_gap_of_a_device_is_accepted_in_a_run() {
    let (device, deliveries) = log(3, 120);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(true, NOW);
    // The store begins late; then somebody withholds one delivery after the other.
    for bytes in [&deliveries[1], &deliveries[3], &deliveries[5]] {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    for minutes in 1..5 {
        collector.due(NOW.offset(GAP_MS * minutes), |_, _| {}).unwrap();
    }
    assert_eq!(collector.next_due(), None);
    let report = service.report(&device);
    assert_eq!((report.deliveries, report.gaps.len(), report.gaps[0].from), (1, 1, 0));
    // What is there is taken when the rest comes.
    for bytes in &deliveries[2..] {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    assert_eq!((service.report(&device).gaps.len(), service.report(&device).proven[0].1), (1, last(&device)));
}

#[test]
fn a_damaged_acknowledgement_of_one_device_stops_nothing_of_the_others() {
    let (device, deliveries) = log(5, 40);
    let (mut other, _) = log(6, 40);
    other.id = "dev-8".parse().unwrap();
    let theirs = other.deliver(0);
    let mut service = Service::new(&[&device, &other]);
    let mut collector = service.collector(false, NOW);
    service.take(&mut collector, NOW, &device.id, &deliveries[0]);
    drop(collector);
    std::fs::write(service.path("store/dev-7.acknowledged"), "rubbish").unwrap();
    let mut collector = service.collector(false, NOW);
    let told = service.take(&mut collector, NOW, &device.id, &deliveries[1]);
    assert!(told[0].contains("dev-7.acknowledged is no acknowledgement"), "{told:?}");
    assert_eq!(service.take(&mut collector, NOW, &other.id, &theirs[0]).len(), 1);
    assert_eq!(service.acknowledged(&mut collector, NOW, &other), Some(last_of(&other, &theirs[0])));
}

/// The last record of a delivery.
fn last_of(device: &Specimen, bytes: &[u8]) -> u32 {
    let publics = device.publics();
    let delivery = delivery::prove(&device.id, &Keys::Given(&publics), None, bytes).unwrap();
    u32::try_from(delivery.end() - 1).unwrap()
}

#[test]
fn what_newer_firmware_wrote_is_named_and_neither_taken_nor_acknowledged() {
    let mut device = Specimen::new("dev-7", 1);
    for _ in 0..4 {
        device.push(Event::KeysMade);
    }
    // The same record with a kind that this program does not know.
    let (bytes, _) = &device.records[2];
    let known = bytes.strip_suffix(&[0x82, 4, 0x80]).expect("an event without values");
    let unknown = [known, &[0x82, 0x18, 0xc8, 0x80]].concat();
    for number in 2..device.records.len() {
        let bytes = if number == 2 { unknown.clone() } else { device.records[number].0.clone() };
        let hash = protocol::audit::hash(&device.hash_before(u32::try_from(number).unwrap()), &bytes);
        device.records[number] = (bytes, hash);
    }
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    let (entries, _) = device.entries(0, 2);
    let bytes = device.signed(0, &entries, &device.keys[0]);
    assert_eq!(service.take(&mut collector, NOW, &device.id, &bytes), ["2 records"]);
    let told = service.take(&mut collector, NOW, &device.id, &device.deliver(2)[0]);
    assert_eq!(told, ["newer_firmware"]);
    assert_eq!(service.acknowledged(&mut collector, NOW.offset(1_000_000), &device), Some(1));
}

#[test]
fn former_keys_that_nobody_has_revoked_are_told_of_once_and_after_a_while() {
    let (mut device, deliveries) = log(1, 60);
    let mut service = Service::new(&[&device]);
    let now = crate::operator::now();
    let mut collector = service.collector(false, now);
    for bytes in &deliveries {
        let told = service.take(&mut collector, now, &device.id, bytes);
        assert!(
            told.iter().all(|told| told.ends_with("records")),
            "the device may still need them: {told:?}"
        );
    }
    let later = now.offset(2 * 86_400_000);
    let (written, mut told) = (device.time, Vec::new());
    for _ in 0..3 {
        let bytes = one_more(&mut device, written, 2);
        told.extend(service.take(&mut collector, later, &device.id, &bytes));
    }
    assert_eq!(told, ["1 records", "2 former keys", "1 records", "1 records"]);
}
