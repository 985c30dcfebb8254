//! What newer firmware has written before the device went back to this one: nobody here can name it, and it is part of the
//! log all the same.

use crate::ring::{board, open, stamp};
use crate::world::Platform;
use device::audit::{Audit, Ring};
use device::platform::LogLayout;
use protocol::audit::{Entries, Event, hash};

const LAYOUT: LogLayout = LogLayout { size: 8_192, sector: 1_024, word: 4 };

/// A kind that there is not yet, and a failure that there is not yet.
const UNKNOWN: [&[u8]; 2] = [b"\x82\x18\x28\x81\x61x", b"\x82\x10\x81\x66newest"];

/// Writes the next record of the log as newer firmware would.
fn write(flash: &Platform, ring: &Ring, event: &[u8]) {
    let number = u8::try_from(ring.next()).unwrap();
    assert!(number < 24, "one byte holds it");
    let record = [&[0x85, number, 9, 0xF6, 0x65], b"unset".as_slice(), event].concat();
    let mut entry = u16::try_from(record.len()).unwrap().to_le_bytes().to_vec();
    entry.extend_from_slice(&record);
    entry.resize(entry.len().next_multiple_of(LAYOUT.word as usize), 0xFF);
    entry.extend_from_slice(&hash(ring.hash(), &record));
    let cells = &mut flash.log.borrow_mut().cells;
    let used = cells.iter().rposition(|cell| *cell != 0xFF).unwrap() + 1;
    let at = used.next_multiple_of(LAYOUT.word as usize);
    cells[at..at + entry.len()].copy_from_slice(&entry);
}

fn record(audit: &mut Audit, flash: &mut Platform, numbers: core::ops::Range<u32>) {
    for number in numbers {
        audit.record(flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
    }
}

/// What is delivered: number and event, after the chain was checked from record 0 on.
fn delivered(audit: &mut Audit, flash: &mut Platform) -> Vec<(u32, Option<Event>)> {
    let mut out = [0; 1_024];
    let piece = audit.next_piece(flash, &mut out).unwrap().expect("there is something");
    let (mut previous, mut due) = (piece.previous, piece.number);
    let mut events = Vec::new();
    for entry in Entries::new(&out[..piece.len]) {
        let entry = entry.expect("an entry");
        entry.follows(&previous, due).expect("it follows");
        events.push((due, entry.record.map(|record| record.event)));
        (previous, due) = (entry.hash, due + 1);
    }
    events
}

#[test]
fn a_record_that_only_newer_firmware_can_name_keeps_its_number_and_its_place() {
    for event in UNKNOWN {
        let mut flash = board(LAYOUT);
        let (mut audit, _) = Audit::open(&mut flash, 1);
        record(&mut audit, &mut flash, 0..2);
        let ring = open(&mut flash);
        write(&flash, &ring, event);
        // Two of them, and then the firmware before is there again.
        let ring = open(&mut flash);
        assert_eq!(ring.next(), 3, "its number is used");
        write(&flash, &ring, event);
        let (mut audit, error) = Audit::open(&mut flash, 2);
        assert_eq!((error, audit.next(), audit.waiting()), (None, 4, 4));
        record(&mut audit, &mut flash, 4..6);
        let known = |number| (number, Some(Event::RootsReplaced { number }));
        let all = [known(0), known(1), (2, None), (3, None), known(4), known(5)];
        assert_eq!(delivered(&mut audit, &mut flash), all, "nothing is lost, and each is delivered");
        // In the middle of the log neither is it damage.
        let (mut audit, _) = Audit::open(&mut flash, 3);
        audit.tick(&mut flash, &stamp(0), false).unwrap();
        assert_eq!(delivered(&mut audit, &mut flash), all);
        let hash = open(&mut flash).hash_of(&mut flash, 3).unwrap().expect("it is there");
        assert_eq!(audit.acknowledge(&mut flash, 3, &hash), Ok(true), "the operator may know it");
    }
}
