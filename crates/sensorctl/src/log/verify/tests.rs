//! The verifier attacked: whatever is altered, taken away, put in, moved or made anew without the device's key is found, and the
//! record where it begins is named.

use super::*;
use crate::log::specimen::{Dice, Specimen, event, key, log, public};
use crate::log::store::StoredDelivery;
use proptest::prelude::*;
use protocol::PublicKey;
use protocol::audit::{Entries, append, hash};

/// Enough for a few restarts, seals and both new keys.
const RECORDS: usize = 240;

fn verify(device: &DeviceId, keys: &[PublicKey], deliveries: &[Vec<u8>]) -> Report {
    verify_with(device, keys, deliveries, Expected::default())
}

fn verify_with(device: &DeviceId, keys: &[PublicKey], deliveries: &[Vec<u8>], expected: Expected) -> Report {
    let mut verifier = Verifier::new(device.clone(), Keys::Given(keys), expected);
    for (place, delivery) in deliveries.iter().enumerate() {
        verifier.delivery(place as u64, None, delivery, |_| {});
    }
    verifier.finish(deliveries.len() as u64)
}

/// Where a log begins to be wrong: the place of the delivery, the record, and why.
fn first(report: &Report) -> (u64, u32, What) {
    let first = report.first().expect("something is found");
    (first.offset, first.fault.record.expect("a record is named"), first.fault.what.clone())
}

/// What stands in a delivery.
fn entries(device: &Specimen, number: u32, bytes: &[u8]) -> Vec<u8> {
    let count =
        delivery::prove(&device.id, &Keys::Given(&device.publics()), None, bytes).unwrap().lines.len();
    device.entries(number, number + u32::try_from(count).unwrap()).0
}

/// The numbers of a delivery's records, and where in it each of them lies.
fn places(device: &Specimen, number: u32, delivery: &[u8]) -> Vec<(u32, std::ops::Range<usize>)> {
    let entries = entries(device, number, delivery);
    let mut at = delivery.windows(entries.len()).position(|window| window == entries).unwrap();
    let mut places = Vec::new();
    for (record, entry) in (number..).zip(Entries::new(&entries)) {
        let entry = entry.unwrap();
        let len = append(entry.bytes, &entry.hash, &mut [0; 256]).unwrap();
        places.push((record, at..at + len));
        at += len;
    }
    places
}

/// The number of the first record of each delivery.
fn begins(device: &Specimen, keys: &[PublicKey], deliveries: &[Vec<u8>]) -> Vec<u32> {
    let keys = Keys::Given(keys);
    deliveries.iter().map(|bytes| delivery::prove(&device.id, &keys, None, bytes).unwrap().number).collect()
}

#[test]
fn a_log_that_nobody_touched_is_whole() {
    for seed in 0..4 {
        let (device, deliveries) = log(seed, RECORDS);
        let report = verify(&device.id, &device.publics(), &deliveries);
        let all = u32::try_from(device.records.len()).unwrap();
        assert!(report.is_whole(), "{:?}", report.findings);
        assert_eq!((report.records, report.proven.as_slice()), (u64::from(all), &[(0, all - 1)][..]));
        let delivered = report.delivered.unwrap();
        assert_eq!((delivered.record, delivered.key), (all - 1, public(device.keys.last().unwrap()).id()));
        assert!(report.sealed.unwrap().record < all);
    }
}

#[test]
fn every_altered_byte_of_every_delivery_is_found_at_its_record() {
    for seed in 0..2 {
        let (device, deliveries) = log(seed, RECORDS);
        let keys = device.publics();
        let mut dice = Dice::new(seed);
        let mut verifier = Verifier::new(device.id.clone(), Keys::Given(&keys), Expected::default());
        for (number, genuine) in begins(&device, &keys, &deliveries).into_iter().zip(&deliveries) {
            let places = places(&device, number, genuine);
            for at in 0..genuine.len() {
                let mut altered = genuine.clone();
                altered[at] ^= u8::try_from(1 + dice.below(255)).unwrap();
                let mut attacked = verifier.clone();
                attacked.delivery(9, None, &altered, |line| panic!("{} is taken", line.record.sequence));
                let wanted = places
                    .iter()
                    .find(|(_, place)| place.contains(&at))
                    .map_or(number, |(record, _)| *record);
                let (offset, record, what) = first(&attacked.finish(10));
                assert_eq!((offset, record), (9, wanted), "seed {seed}, byte {at}: {what}");
            }
            verifier.delivery(0, None, genuine, |_| {});
        }
        assert!(verifier.finish(0).is_whole());
    }
}

#[test]
fn every_altered_byte_of_a_file_is_found_no_later_than_at_its_record() {
    let (device, deliveries) = log(3, 60);
    let keys = device.publics();
    let numbers = begins(&device, &keys, &deliveries);
    let mut dice = Dice::new(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dev-7.log");
    let lines: Vec<String> = deliveries
        .iter()
        .map(|bytes| {
            StoredDelivery { received: EpochMillis(1_795_300_000_000), bytes: bytes.clone() }.to_line()
        })
        .collect();
    let text = lines.concat();
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        verify_file(&path, &device.id, Keys::Given(&keys), Expected::default(), |_| {}).unwrap()
    };
    assert!(check(text.as_bytes()).is_whole());
    // Every byte of one line, and some of all of them.
    let middle = lines[0].len()..lines[0].len() + lines[1].len();
    let some: Vec<usize> = (0..150).map(|_| dice.below(text.len())).collect();
    for at in middle.step_by(3).chain(some) {
        let mut altered = text.clone().into_bytes();
        altered[at] ^= u8::try_from(1 + dice.below(255)).unwrap();
        let report = check(&altered);
        let mut ends = lines.iter().scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        });
        let line = ends.position(|end| at < end).unwrap();
        let begins = lines[..line].iter().map(String::len).sum::<usize>() as u64;
        let (offset, record, what) = first(&report);
        let end = numbers.get(line + 1).copied().unwrap_or(u32::MAX);
        assert!(
            offset == begins && (numbers[line]..end).contains(&record),
            "byte {at}: {offset} {record} {what}"
        );
    }
    // Cut off anywhere: the end is missing, or the last line is torn.
    for at in (1..text.len()).step_by(97) {
        let cut = check(&text.as_bytes()[..at]);
        assert!(!cut.is_whole() || text.as_bytes()[at - 1] == b'\n', "{at}");
    }
}

#[test]
fn a_record_altered_by_somebody_without_the_key_is_named() {
    let (device, deliveries) = log(5, RECORDS);
    let keys = device.publics();
    let mut dice = Dice::new(5);
    let numbers = begins(&device, &keys, &deliveries);
    for place in 0..deliveries.len() {
        let number = numbers[place];
        let entries = entries(&device, number, &deliveries[place]);
        let parts: Vec<Vec<u8>> = places(&device, number, &deliveries[place])
            .into_iter()
            .map(|(_, range)| deliveries[place][range].to_vec())
            .collect();
        let count = parts.len();
        if count < 2 {
            continue;
        }
        let victim = dice.below(count - 1);
        let (mut removed, mut swapped, mut doubled, mut inserted) =
            (parts.clone(), parts.clone(), parts.clone(), parts.clone());
        removed.remove(victim);
        swapped.swap(victim, victim + 1);
        doubled.insert(victim, parts[victim].clone());
        inserted.insert(victim, parts[count - 1].clone());
        let mut expected = u32::try_from(victim).unwrap() + number;
        for (attack, parts) in
            [("removed", removed), ("swapped", swapped), ("doubled", doubled), ("inserted", inserted)]
        {
            if attack == "doubled" {
                // The first of the two is the real one.
                expected += 1;
            }
            let forged = parts.concat();
            // The signature is that of what was there before: made with no key at all, it would not be better.
            let mut attacked = deliveries.clone();
            attacked[place] = replace_entries(&device, &deliveries[place], number, &entries, &forged);
            let (offset, record, what) = first(&verify(&device.id, &keys, &attacked));
            let wanted = if attack == "inserted" { expected - 1 } else { expected };
            assert_eq!(
                (offset, record),
                (place as u64, wanted),
                "{attack} in the delivery of {number}: {what}"
            );
        }
    }
}

/// A delivery with other entries and the signature as it was.
fn replace_entries(device: &Specimen, genuine: &[u8], number: u32, entries: &[u8], forged: &[u8]) -> Vec<u8> {
    assert!(genuine.windows(entries.len()).any(|window| window == entries));
    let mut made = device.signed(number, forged, &key(999, 0));
    // The header names the device's key, the signature is the genuine one.
    let named =
        genuine.windows(32).position(|window| device.publics().iter().any(|key| key.id().0 == window));
    let signer = &genuine[named.unwrap()..][..32];
    let other = public(&key(999, 0)).id().0;
    let at = made.windows(32).position(|window| window == other).unwrap();
    made[at..at + 32].copy_from_slice(signer);
    let end = made.len();
    made[end - 64..].copy_from_slice(&genuine[genuine.len() - 64..]);
    made
}

#[test]
fn deliveries_that_are_removed_swapped_doubled_or_foreign_are_found_where_they_are() {
    for seed in 0..6 {
        let (device, deliveries) = log(seed, RECORDS);
        let keys = device.publics();
        let mut dice = Dice::new(seed);
        let numbers = begins(&device, &keys, &deliveries);
        let last = deliveries.len() - 1;
        let victim = dice.below(last);
        let check = |attack: &str, attacked: &[Vec<u8>], wanted: (usize, u32), is: fn(&What) -> bool| {
            let (offset, record, what) = first(&verify(&device.id, &keys, attacked));
            assert_eq!(
                (offset, record),
                (wanted.0 as u64, wanted.1),
                "seed {seed}, {attack} {victim}: {what}"
            );
            assert!(is(&what), "{attack}: {what}");
        };
        let attacked = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut attacked = deliveries.clone();
            change(&mut attacked);
            attacked
        };
        let missing = |what: &What| matches!(what, What::Missing(_));
        let removed = attacked(&|all| drop(all.remove(victim)));
        check("removed", &removed, (victim, numbers[victim]), missing);
        let swapped = attacked(&|all| all.swap(victim, victim + 1));
        check("swapped", &swapped, (victim, numbers[victim]), missing);
        let doubled = attacked(&|all| all.insert(victim, all[victim].clone()));
        check("doubled", &doubled, (victim + 1, numbers[victim]), |what| *what == What::Repeated);
        // What somebody else signed, though he continues the chain.
        let entries = entries(&device, numbers[victim], &deliveries[victim]);
        let resigned = device.signed(numbers[victim], &entries, &key(77, 7));
        let resigned = attacked(&|all| all[victim].clone_from(&resigned));
        check("signed anew", &resigned, (victim, numbers[victim]), |what| {
            matches!(what, What::UnknownKey(_))
        });
        // Another device's log on this one's topic, and with this one's key.
        let (other, theirs) = log(seed + 100, RECORDS);
        let foreign = attacked(&|all| all[victim].clone_from(&theirs[victim]));
        let found = verify(&device.id, &[keys.clone(), other.publics()].concat(), &foreign);
        assert!(matches!(first(&found), (offset, _, _) if offset == victim as u64), "{:?}", found.first());
        // The end is taken away: only who knows what was acknowledged sees it.
        let short = attacked(&|all| drop(all.pop()));
        let expected = Expected {
            acknowledged: device
                .records
                .last()
                .map(|(_, hash)| (u32::try_from(device.records.len() - 1).unwrap(), *hash)),
            ..Expected::default()
        };
        let (_, record, what) = first(&verify_with(&device.id, &keys, &short, expected));
        assert_eq!((record, matches!(what, What::Acknowledged(_))), (numbers[last], true));
        // Acknowledged with another hash: the log was replaced as a whole.
        let expected = Expected { acknowledged: Some((5, [7; 32])), ..Expected::default() };
        assert_eq!(first(&verify_with(&device.id, &keys, &deliveries, expected)).1, 5);
    }
}

#[test]
fn a_delivery_of_an_earlier_life_is_a_fork() {
    // The same id, other hardware, and its keys are known still.
    let (old, theirs) = log(1, RECORDS);
    let (device, deliveries) = log(2, RECORDS);
    let keys = [old.publics(), device.publics()].concat();
    for place in 1..deliveries.len() {
        let mut attacked = deliveries.clone();
        attacked.insert(place, theirs[place - 1].clone());
        let report = verify(&device.id, &keys, &attacked);
        let (offset, record, what) = first(&report);
        assert_eq!((offset, what), (place as u64, What::Fork), "{place}");
        assert!(report.records == device.records.len() as u64, "the others are proven still: {record}");
    }
}

#[test]
fn a_chain_that_was_made_anew_is_found_by_the_next_seal_or_delivery() {
    // Somebody alters the flash and computes every hash after that; the device then signs what it finds there.
    let (mut device, genuine) = log(8, RECORDS);
    let keys = device.publics();
    let seals: Vec<u32> = {
        let mut seals = Vec::new();
        let mut verifier = Verifier::new(device.id.clone(), Keys::Given(&keys), Expected::default());
        for bytes in &genuine {
            verifier.delivery(0, None, bytes, |line| {
                if matches!(line.record.event, Event::Seal { .. }) {
                    seals.push(line.record.sequence);
                }
            });
        }
        seals
    };
    assert!(seals.len() > 3);
    let victim = seals[1] + 1;
    let mut bytes = device.records[victim as usize].0.clone();
    let mut record = protocol::audit::Record::decode(&bytes).unwrap();
    // Another than the one that is there.
    let kind = if record.event.kind() == 27 { 4 } else { 27 };
    record.event = event(kind, &mut device.dice);
    let mut out = [0; protocol::audit::RECORD_BYTES_MAX];
    let len = record.encode(&mut out).unwrap();
    bytes = out[..len].to_vec();
    device.records[victim as usize].0 = bytes;
    for number in victim..u32::try_from(device.records.len()).unwrap() {
        let previous = device.hash_before(number);
        let hash = hash(&previous, &device.records[number as usize].0);
        device.records[number as usize].1 = hash;
    }
    // As delivered by the device: the seals that it made before tell.
    let next_seal = seals.iter().copied().find(|seal| *seal > victim).unwrap();
    let (_, record, what) = first(&verify(&device.id, &keys, &device.deliver(0)));
    assert_eq!((record, matches!(what, What::Seal(_))), (next_seal, true), "{what}");
    // Where what was altered had been delivered before, the next delivery contradicts it.
    let numbers = begins(&device, &keys, &genuine);
    let place = numbers.iter().rposition(|number| *number <= victim).unwrap() + 1;
    let mixed: Vec<Vec<u8>> =
        genuine.iter().take(place).cloned().chain(device.deliver(numbers[place])).collect();
    let (found, record, what) = first(&verify(&device.id, &keys, &mixed));
    assert_eq!((found, record, what), (place as u64, numbers[place] - 1, What::Fork));
}

#[test]
fn what_the_device_says_is_lost_is_no_fault_and_nothing_else_is_excused() {
    let mut device = Specimen::new("dev-7", 4);
    device.live(100);
    let before = device.deliver(0);
    let keys = device.publics();
    let numbers = begins(&device, &keys, &before);
    let (from, behind) = (numbers[2], numbers[4]);
    for (count, told) in [(behind - from, true), (behind - from - 1, false)] {
        let mut device = Specimen::new("dev-7", 4);
        device.live(100);
        device.push(Event::Lost { first: from, count });
        let after = device.deliver(behind);
        let all = [&before[..2], &after[..]].concat();
        let report = verify(&device.id, &keys, &all);
        assert_eq!(report.gaps.len(), 1);
        let gap = report.gaps[0];
        assert_eq!((gap.from, gap.to, gap.told), (from, behind - 1, told));
        assert_eq!(report.findings.is_empty(), told, "{:?}", report.findings);
        assert_eq!(report.losses, [Loss { record: 100, first: from, count }]);
    }
    // What is kept elsewhere is not missing here.
    let all = device.deliver(numbers[3]);
    assert!(matches!(first(&verify(&device.id, &keys, &all)), (0, 0, What::Missing(_))));
    let expected = Expected { from: numbers[3], acknowledged: None };
    assert!(verify_with(&device.id, &keys, &all, expected).is_whole());
}

#[test]
fn deliveries_may_overlap_as_long_as_they_agree() {
    let (device, deliveries) = log(6, 60);
    let keys = device.publics();
    let overlapping = [&deliveries[..2], &device.deliver(3)[..]].concat();
    let report = verify(&device.id, &keys, &overlapping);
    // From record 3 on there is nothing new for two deliveries or so.
    assert!(
        report.findings.iter().all(|finding| finding.fault.what == What::Repeated),
        "{:?}",
        report.findings
    );
    assert_eq!(report.records, device.records.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500), cut in 0usize..900) {
        let (device, deliveries) = log(1, 20);
        let keys = device.publics();
        let mut verifier = Verifier::new(device.id.clone(), Keys::Given(&keys), Expected::default());
        verifier.delivery(0, None, &bytes, |_| {});
        verifier.damaged(1, "test", Some(&bytes));
        let mut half = deliveries[0].clone();
        half.truncate(cut);
        half.extend_from_slice(&bytes);
        verifier.delivery(2, None, &half, |_| {});
        let _ = StoredDelivery::from_line(&bytes);
        prop_assert!(verifier.finish(3).findings.len() >= 3);
    }
}
