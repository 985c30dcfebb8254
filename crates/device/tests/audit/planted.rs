//! What somebody who can write the flash has planted there.

use crate::ring::{board, open, read_all, stamp};
use device::StorageError;
use device::audit::{Audit, RingError};
use device::platform::LogLayout;
use protocol::audit::{Event, Hash};
use protocol::key::sha256;

const LAYOUT: LogLayout = LogLayout { size: 2_560, sector: 512, word: 4 };

fn header(generation: u32, first: u32, previous: &Hash) -> Vec<u8> {
    let (generation, first) = (generation.to_le_bytes(), first.to_le_bytes());
    let check = sha256(&[b"Log1", &generation, &first, previous]);
    [b"Log1", &generation[..], &first, &[0; 4], &check[..16], previous].concat()
}

#[test]
fn a_generation_behind_which_there_is_none_costs_what_lies_there_and_not_the_log() {
    // Without a cut, and with one at each erasure and each write behind it.
    for fails in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(7)] {
        let mut flash = board(LAYOUT);
        let (mut audit, _) = Audit::open(&mut flash, 1);
        for number in 0..4 {
            audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
        }
        let ring = open(&mut flash);
        flash.log.borrow_mut().cells[512..576].copy_from_slice(&header(u32::MAX, ring.next(), ring.hash()));
        let (mut audit, error) = Audit::open(&mut flash, 2);
        assert_eq!((error, audit.next()), (None, 4));
        let mut number = 4;
        while open(&mut flash).has_room(60) {
            audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
            number += 1;
        }
        let next = audit.next();
        flash.log.borrow_mut().fails = fails;
        let written = audit.record(&mut flash, &stamp(0), &Event::IdentityWiped);
        if fails.is_some() && flash.log.borrow_mut().fails.take().is_none() {
            assert_eq!(written, Err(RingError::Flash(StorageError::Medium)), "{fails:?}");
        }
        // Power comes back.
        let (mut audit, error) = Audit::open(&mut flash, 3);
        assert_eq!(error, None);
        for number in 100..110 {
            audit.record(&mut flash, &stamp(0), &Event::RootsReplaced { number }).unwrap();
        }
        let ring = open(&mut flash);
        let found = read_all(&ring, &mut flash);
        assert!(*found.keys().next().unwrap() >= next, "{fails:?}: no number is used again");
        let lost = |event: &Event| matches!(event, Event::Lost { first: 0, count } if *count >= next);
        assert!(found.values().any(|(record, _)| lost(&record.event)), "{fails:?}: {found:#?}");
        assert!(found.values().any(|(record, _)| record.event == Event::RootsReplaced { number: 109 }));
    }
}
