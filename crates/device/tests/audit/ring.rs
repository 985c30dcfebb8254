//! The ring against a list: random lives, restarts, damage of every kind. What is read is what was written, or it is said to
//! be missing.

use crate::world::Platform;
use crate::world::log::Memory;
use device::audit::{Audit, Floor, Ring, RingError, Seen, Stamp};
use device::platform::{LogFlash, LogLayout};
use device::{Key, StorageError, Uptime};
use fastrand::Rng;
use protocol::audit::{Entries, Event, Hash, Record};
use protocol::{ClockQuality, KeyId, ResetCause};
use std::collections::BTreeMap;

const SMALL: LogLayout = LogLayout { size: 2_560, sector: 512, word: 4 };

pub fn board(layout: LogLayout) -> Platform {
    let platform = Platform::blank(1);
    *platform.log.borrow_mut() = Memory::new(layout);
    platform
}

pub fn stamp(now: u64) -> Stamp {
    Stamp { now: Uptime(now), time: None, clock: ClockQuality::Unset }
}

/// Records by number, with their hashes.
pub type Records = BTreeMap<u32, (Record, Hash)>;

/// Everything that can be read, after its chain was checked.
pub fn read_all(ring: &Ring, flash: &mut Platform) -> Records {
    let mut records = Records::new();
    let (mut from, mut last) = (0, None);
    let mut out = [0; 700];
    while let Some(piece) = ring.read(flash, from, &mut out).expect("readable") {
        assert!(piece.number >= from && piece.end > piece.number, "it goes on");
        if let Some((end, hash)) = last
            && end == piece.number
        {
            assert_eq!(hash, piece.previous, "the chain breaks before {end}");
        }
        let (mut previous, mut due) = (piece.previous, piece.number);
        for entry in Entries::new(&out[..piece.len]) {
            let entry = entry.expect("an entry");
            entry.follows(&previous, due).expect("it follows");
            (previous, due) = (entry.hash, due + 1);
            records.insert(entry.sequence, (entry.record.expect("a record with a name"), entry.hash));
        }
        assert_eq!(due, piece.end);
        (from, last) = (piece.end, Some((piece.end, previous)));
    }
    records
}

pub fn open(flash: &mut Platform) -> Ring {
    Ring::open(flash, Floor::NONE, |_| {}).expect("opens").expect("a partition")
}

fn random_event(dice: &mut Rng) -> Event {
    match dice.u8(0..5) {
        0 => Event::IdentityWiped,
        1 => Event::RootsReplaced { number: dice.u32(..) },
        2 => Event::IdentityReplaced { identity: KeyId([dice.u8(..); 32]) },
        3 => {
            let name = "x".repeat(dice.usize(0..=32));
            Event::Boot { reset: ResetCause::Watchdog, firmware: name.as_str().try_into().unwrap() }
        }
        _ => Event::Commanded { number: dice.u32(..), action: protocol::document::Action::Report },
    }
}

fn append(ring: &mut Ring, flash: &mut Platform, event: Event) -> Record {
    let record = Record { sequence: ring.next(), boot: 1, time: None, clock: ClockQuality::Unset, event };
    if !ring.has_room(record.encode(&mut [0; 256]).unwrap()) {
        ring.turn(flash).unwrap();
    }
    ring.append(flash, &record).unwrap();
    record
}

fn layouts() -> Vec<LogLayout> {
    let mut layouts = Vec::new();
    for word in [1, 2, 4, 8, 16, 32] {
        for (sector, sectors) in [(512, 3), (512, 16), (1_024, 4), (4_096, 3)] {
            layouts.push(LogLayout { size: sector * sectors, sector, word });
        }
    }
    layouts
}

/// A flash with so many random records on it, and the list of them.
fn filled(layout: LogLayout, dice: &mut Rng, records: usize) -> (Platform, Vec<Record>) {
    let mut flash = board(layout);
    let mut ring = open(&mut flash);
    let model = (0..records).map(|_| append(&mut ring, &mut flash, random_event(dice))).collect();
    (flash, model)
}

#[test]
fn what_is_read_is_the_end_of_what_was_written() {
    for (seed, layout) in layouts().into_iter().enumerate() {
        let mut dice = Rng::with_seed(seed as u64);
        let mut flash = board(layout);
        let mut ring = open(&mut flash);
        let mut model: Vec<Record> = Vec::new();
        for _ in 0..40 {
            for _ in 0..dice.usize(0..30) {
                let record = append(&mut ring, &mut flash, random_event(&mut dice));
                model.push(record);
            }
            if dice.bool() {
                let known = (ring.next(), *ring.hash(), ring.oldest());
                ring = open(&mut flash);
                assert_eq!((ring.next(), *ring.hash(), ring.oldest()), known, "{layout:?}");
            }
            let found = read_all(&ring, &mut flash);
            assert_eq!(found.len() as u32, ring.next() - ring.oldest(), "{layout:?}");
            for (number, (record, hash)) in &found {
                assert_eq!(record, &model[*number as usize]);
                assert_eq!(ring.hash_of(&mut flash, *number), Ok(Some(*hash)));
            }
            assert_eq!(ring.next() as usize, model.len());
            assert_eq!(ring.hash_of(&mut flash, ring.next()), Ok(None), "not written yet");
        }
        let kept = ring.next() - ring.oldest();
        assert!(kept * 200 > layout.size - 2 * layout.sector, "{kept} records in {layout:?}");
        let erased = flash.log.borrow().erased.clone();
        let (least, most) = (erased.iter().min().unwrap(), erased.iter().max().unwrap());
        assert!(most - least <= 1, "{erased:?}");
    }
}

/// Damages some of the flash.
fn damage(cells: &mut [u8], sector: usize, dice: &mut Rng) {
    let at = dice.usize(0..cells.len());
    let end = (at + dice.usize(1..300)).min(cells.len());
    match dice.u8(0..7) {
        0 => cells[at] ^= 1 << dice.u8(0..8),
        1 => cells[at..end].fill(0xFF),
        2 => cells[at..end].fill(0),
        3 => dice.fill(&mut cells[at..end]),
        4 => cells[at / sector * sector..at / sector * sector + sector].fill(0xFF),
        // A sector where another one was.
        5 => {
            let (from, to) = (dice.usize(0..cells.len()) / sector * sector, at / sector * sector);
            cells.copy_within(from..from + sector, to);
        }
        _ => {
            let to = dice.usize(0..cells.len() - (end - at));
            cells.copy_within(at..end, to);
        }
    }
}

#[test]
fn damage_never_makes_the_log_say_what_was_not_written() {
    let mut missing = 0;
    for seed in 0..600 {
        let mut dice = Rng::with_seed(seed);
        let layout = layouts()[dice.usize(0..24)];
        let records = dice.usize(0..120);
        let (mut flash, model) = filled(layout, &mut dice, records);
        for _ in 0..dice.usize(1..6) {
            damage(&mut flash.log.borrow_mut().cells, layout.sector as usize, &mut dice);
        }
        let mut gaps = Vec::new();
        let opened = Ring::open(&mut flash, Floor::NONE, |seen| match seen {
            Seen::Record(record) => assert_eq!(record, &model[record.sequence as usize], "seed {seed}"),
            Seen::Missing { first, count } => gaps.push((first, first + count)),
            Seen::Forget => gaps.clear(),
        });
        let mut ring = opened.unwrap().unwrap();
        missing += gaps.len();
        let found = read_all(&ring, &mut flash);
        for number in ring.oldest()..ring.next() {
            let said = gaps.iter().any(|(first, end)| (*first..*end).contains(&number));
            assert_ne!(found.contains_key(&number), said, "seed {seed}: record {number}");
        }
        // It goes on, and finds what it has written.
        let before = ring.next();
        for _ in 0..dice.usize(1..40) {
            append(&mut ring, &mut flash, Event::KeysMade);
        }
        let again = open(&mut flash);
        assert_eq!((again.next(), again.hash()), (ring.next(), ring.hash()), "seed {seed}");
        let found = read_all(&again, &mut flash);
        assert!(
            (before.max(again.oldest())..again.next()).all(|number| found.contains_key(&number)),
            "seed {seed}"
        );
    }
    assert!(missing > 40, "{missing}");
}

#[test]
fn bytes_that_are_no_log_are_an_empty_log() {
    for seed in 0..300 {
        let mut dice = Rng::with_seed(seed);
        let layout = layouts()[dice.usize(0..24)];
        let mut flash = board(layout);
        match seed % 3 {
            0 => dice.fill(&mut flash.log.borrow_mut().cells),
            1 => flash.log.borrow_mut().cells.fill(0),
            // Nothing but erased words and what might be the beginning of an entry.
            _ => {
                for cell in &mut flash.log.borrow_mut().cells {
                    *cell = if dice.u8(0..10) == 0 { dice.u8(..) } else { 0xFF };
                }
            }
        }
        let mut ring = open(&mut flash);
        assert_eq!((ring.next(), ring.oldest()), (0, 0));
        assert!(read_all(&ring, &mut flash).is_empty());
        append(&mut ring, &mut flash, Event::KeysMade);
        assert_eq!(open(&mut flash).next(), 1);
    }
}

#[test]
fn the_log_of_a_partition_of_another_shape_does_no_harm() {
    for (seed, layout) in layouts().into_iter().enumerate() {
        let mut dice = Rng::with_seed(seed as u64);
        let (flash, _) = filled(layout, &mut dice, 150);
        for other in layouts() {
            let mut moved = board(other);
            {
                let (from, mut to) = (flash.log.borrow(), moved.log.borrow_mut());
                for (cell, old) in to.cells.iter_mut().zip(&from.cells) {
                    *cell = *old;
                }
            }
            let mut ring = open(&mut moved);
            let found = read_all(&ring, &mut moved);
            append(&mut ring, &mut moved, Event::KeysMade);
            assert!(read_all(&open(&mut moved), &mut moved).len() <= found.len() + 1);
        }
    }
}

#[test]
fn a_partition_that_cannot_hold_a_log_is_refused() {
    let right = SMALL;
    for wrong in [
        LogLayout { size: right.sector * 2, ..right },
        LogLayout { size: right.size + 4, ..right },
        LogLayout { sector: 256, ..right },
        LogLayout { word: 0, ..right },
        LogLayout { word: 3, ..right },
        LogLayout { word: 64, ..right },
    ] {
        let mut flash = board(right);
        flash.log.borrow_mut().layout = Some(wrong);
        let refused = Ring::open(&mut flash, Floor::NONE, |_| {}).unwrap_err();
        assert_eq!(refused, RingError::Geometry, "{wrong:?}");
        assert!(refused.to_string().contains("choose another partition"));
    }
    let mut flash = board(right);
    flash.log.borrow_mut().layout = None;
    assert!(Ring::open(&mut flash, Floor::NONE, |_| {}).unwrap().is_none());
}

#[test]
fn damage_in_the_middle_is_written_down_once() {
    let mut flash = board(LogLayout { size: 8_192, sector: 1_024, word: 4 });
    let (mut audit, _) = Audit::open(&mut flash, 1);
    for number in 0..40 {
        audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
    }
    // Somewhere in the second sector.
    flash.log.borrow_mut().cells[1_400] ^= 4;
    for boot in 2..6 {
        let (mut audit, _) = Audit::open(&mut flash, boot);
        audit.tick(&mut flash, &stamp(0), false).unwrap();
    }
    let found = read_all(&open(&mut flash), &mut flash);
    let lost: Vec<_> =
        found.values().filter(|(record, _)| matches!(record.event, Event::Lost { .. })).collect();
    // Where a hash is damaged, nobody can say of the record before it nor of the one behind it.
    let [(Record { event: Event::Lost { first, count: count @ 1..=2 }, sequence: 40, .. }, _)] = lost[..]
    else {
        panic!("{lost:?}")
    };
    assert!((*first..first + count).all(|number| !found.contains_key(&number)));
    assert_eq!(found.len() as u32, 41 - count, "so many are missing, and one says so");
}

#[test]
fn a_log_that_is_gone_goes_on_behind_its_numbers() {
    let mut flash = board(SMALL);
    let (mut audit, _) = Audit::open(&mut flash, 1);
    for number in 0..10 {
        audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
    }
    flash.log.borrow_mut().cells.fill(0xFF);
    let (mut audit, error) = Audit::open(&mut flash, 2);
    assert_eq!(error, None);
    audit.record(&mut flash, &stamp(0), &Event::KeysMade).unwrap();
    let found = read_all(&open(&mut flash), &mut flash);
    let events: Vec<_> = found.iter().map(|(number, (record, _))| (*number, record.event.clone())).collect();
    assert_eq!(events, [(64, Event::Lost { first: 0, count: 64 }), (65, Event::KeysMade)]);
}

#[test]
fn what_is_dropped_is_said_to_be_unless_the_operator_has_it() {
    for acknowledged in [false, true] {
        let mut flash = board(SMALL);
        let (mut audit, _) = Audit::open(&mut flash, 1);
        for number in 0..100 {
            audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
            if acknowledged {
                let (number, hash) = (audit.next() - 1, audit.hash());
                assert_eq!(audit.acknowledge(&mut flash, number, &hash), Ok(true));
            }
        }
        let ring = open(&mut flash);
        let found = read_all(&ring, &mut flash);
        let lost = found.values().rev().find_map(|(record, _)| match record.event {
            Event::Lost { first, count } => Some((first, count)),
            _ => None,
        });
        assert!(ring.oldest() > 50);
        assert_eq!(lost, (!acknowledged).then_some((0, ring.oldest())), "the last one stands for all");
        let waiting = if acknowledged { 0 } else { ring.next() - ring.oldest() };
        assert_eq!(audit.waiting(), waiting);
        // At the next start nothing is said again, although what was acknowledged was not stored for every record.
        let next = ring.next();
        let (mut audit, _) = Audit::open(&mut flash, 2);
        audit.tick(&mut flash, &stamp(0), false).unwrap();
        assert_eq!(audit.next(), next);
    }
}

#[test]
fn a_flash_that_fails_costs_events_and_says_how_many() {
    let mut flash = board(SMALL);
    let (mut audit, _) = Audit::open(&mut flash, 1);
    audit.record(&mut flash, &stamp(0), &Event::IdentityWiped).unwrap();
    flash.log.borrow_mut().fails = Some(0);
    let failed = audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number: 1 });
    assert_eq!(failed, Err(RingError::Flash(StorageError::Medium)));
    // It is left alone for a minute.
    let programs = flash.log.borrow().programs;
    audit.record(&mut flash, &stamp(1_000), &Event::RootsReplaced { number: 2 }).unwrap();
    assert_eq!(flash.log.borrow().programs, programs);
    assert!(audit.next_deadline() <= Some(Uptime(60_000)));
    audit.tick(&mut flash, &stamp(60_000), false).unwrap();
    audit.record(&mut flash, &stamp(60_000), &Event::RootsReplaced { number: 3 }).unwrap();
    let found = read_all(&open(&mut flash), &mut flash);
    let events: Vec<_> = found.values().map(|(record, _)| record.event.clone()).collect();
    let kind = Event::StorageFailed.kind();
    let missed = Event::Repeated { kind, count: 2 };
    assert_eq!(events, [Event::IdentityWiped, missed, Event::RootsReplaced { number: 3 }]);
}

#[test]
fn a_flash_that_cannot_be_read_at_the_start_is_read_later() {
    let mut flash = board(SMALL);
    let (mut audit, _) = Audit::open(&mut flash, 1);
    audit.record(&mut flash, &stamp(0), &Event::IdentityWiped).unwrap();
    flash.log.borrow_mut().fail_reads = 1;
    let (mut audit, error) = Audit::open(&mut flash, 2);
    assert_eq!(error, Some(RingError::Flash(StorageError::Medium)));
    audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number: 1 }).unwrap();
    assert_eq!(audit.next(), 2);
}

/// So that opening is not what a watchdog waits for, and appending is not either.
#[test]
fn appending_does_not_look_at_the_ring() {
    let layout = LogLayout { size: 65_536, sector: 4_096, word: 4 };
    let mut flash = board(layout);
    let (mut audit, _) = Audit::open(&mut flash, 1);
    let mut number = 0;
    let mut most = 0;
    while flash.log.borrow().erased.iter().any(|erased| *erased < 2) {
        number += 1;
        let (read, erased) = {
            let log = flash.log.borrow();
            (log.bytes_read, log.erased.iter().sum::<u32>())
        };
        audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
        let log = flash.log.borrow();
        if log.erased.iter().sum::<u32>() == erased {
            most = most.max(log.bytes_read - read);
        }
    }
    assert!(most <= 224, "{most} bytes were read");
    let read = flash.log.borrow().bytes_read;
    let ring = open(&mut flash);
    let opening = flash.log.borrow().bytes_read - read;
    let records = ring.next() - ring.oldest();
    println!("64 KiB: {records} records; opening reads {opening} bytes; appending reads {most}");
    println!("size of Audit: {} bytes", size_of::<Audit>());
    assert!(opening < 6 * 65_536, "{opening}");
    assert!(flash.store.borrow().contains_key(&Key::Log));
    assert_eq!(flash.log_layout(), Some(layout));
}
