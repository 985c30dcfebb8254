//! Who can cause events as often as they like pushes no record out.

use crate::ring::{board, open, read_all, stamp};
use device::audit::{Audit, PERIOD_MS, PERIOD_MS_MAX, WRITTEN_MAX};
use device::platform::LogLayout;
use device::{Uptime, audit};
use protocol::audit::{Event, LIMITED};
use protocol::image::Version;
use protocol::{Channel, Failure, KeyId, Refusal, ResetCause, UpdateFault};

const DAY_MS: u64 = 86_400_000;
const PARTITION: LogLayout = LogLayout { size: 65_536, sector: 4_096, word: 4 };

/// One of every kind that is limited, as long as it can be.
fn limited() -> Vec<Event> {
    let version = Version::new(255, 255, 65_535);
    vec![
        Event::KeysMade,
        Event::IdentityRefused,
        Event::IdentityFellBack { identity: KeyId([7; 32]) },
        Event::DocumentRefused { channel: Some(Channel::AuthorityDesired), why: Refusal::WrongAuthority },
        Event::PeerRefused { why: Failure::TlsVersionOrCipher },
        Event::ClockSet { by_ms: Some(-1_000_000_000) },
        Event::TimeRefused,
        Event::UpdateNoticed { version, sequence: u64::MAX },
        Event::UpdateRefused { why: UpdateFault::Signature },
        Event::UpdateWithdrawn,
        Event::UpdateDownloaded { bytes: u32::MAX },
        Event::StorageFailed,
        Event::EntropyFailed,
        Event::CommandRefused { why: Refusal::Expired },
    ]
}

#[test]
fn a_flood_of_every_kind_for_a_month_leaves_what_was_there() {
    assert_eq!(limited().iter().map(Event::kind).collect::<Vec<_>>(), LIMITED);
    let mut flash = board(PARTITION);
    let (mut audit, _) = Audit::open(&mut flash, 1);
    let before: Vec<_> = (0..60).map(|number| Event::RootsReplaced { number }).collect();
    for event in &before {
        audit.record(&mut flash, &stamp(0), event).unwrap();
    }
    let written = flash.log.borrow().programs;
    let (mut now, mut caused) = (0, 0);
    while now < 30 * DAY_MS {
        for event in limited() {
            for _ in 0..3 {
                audit.record(&mut flash, &stamp(now), &event).unwrap();
                caused += 1;
            }
        }
        audit.tick(&mut flash, &stamp(now), false).unwrap();
        now += 60_000;
    }
    audit.tick(&mut flash, &stamp(now), true).unwrap();
    let found = read_all(&open(&mut flash), &mut flash);
    for (number, event) in before.iter().enumerate() {
        assert_eq!(&found[&(number as u32)].0.event, event, "it was pushed out");
    }
    let of = |kind: u8| {
        let written = found.values().filter(|(record, _)| record.event.kind() == kind).count() as u32;
        let counted = found.values().map(|(record, _)| match record.event {
            Event::Repeated { kind: repeated, count } if repeated == kind => count,
            _ => 0,
        });
        written + counted.sum::<u32>()
    };
    for kind in LIMITED {
        assert_eq!(of(kind), caused / LIMITED.len() as u32, "kind {kind}: every one is written or counted");
    }
    let records = flash.log.borrow().programs - written;
    let most = LIMITED.len() as u64 * (u64::from(WRITTEN_MAX) + 3 + 30);
    println!("a month of {caused} events of {} kinds: {records} records", LIMITED.len());
    assert!(records < most, "{records}");
}

#[test]
fn a_kind_is_written_four_times_then_counted_and_one_more_after_six_hours_of_peace() {
    let mut flash = board(PARTITION);
    let (mut audit, _) = Audit::open(&mut flash, 1);
    let refused = Event::DocumentRefused { channel: None, why: Refusal::ContentType };
    let kind = refused.kind();
    let mut events = Vec::new();
    for _ in 0..10 {
        audit.record(&mut flash, &stamp(1_000), &refused).unwrap();
    }
    // Another kind is not concerned.
    audit.record(&mut flash, &stamp(1_000), &Event::TimeRefused).unwrap();
    events.extend(vec![refused.clone(); 4]);
    events.push(Event::TimeRefused);
    assert_eq!(audit.next_deadline(), Some(Uptime(1_000 + PERIOD_MS)));
    audit.tick(&mut flash, &stamp(PERIOD_MS), false).unwrap();
    audit.tick(&mut flash, &stamp(1_000 + PERIOD_MS), false).unwrap();
    events.push(Event::Repeated { kind, count: 6 });
    // It was quiet for so long: one more.
    for _ in 0..3 {
        audit.record(&mut flash, &stamp(2_000 + PERIOD_MS), &refused).unwrap();
    }
    events.push(refused.clone());
    // The next count comes later, and never later than once a day.
    audit.tick(&mut flash, &stamp(2_000 + 2 * PERIOD_MS), false).unwrap();
    audit.tick(&mut flash, &stamp(2_000 + 3 * PERIOD_MS), false).unwrap();
    events.push(Event::Repeated { kind, count: 2 });
    for hours in 0..96 {
        audit.record(&mut flash, &stamp(3_000 + 3 * PERIOD_MS + hours * 3_600_000), &refused).unwrap();
        audit.tick(&mut flash, &stamp(3_000 + 3 * PERIOD_MS + hours * 3_600_000), false).unwrap();
    }
    let found = read_all(&open(&mut flash), &mut flash);
    let found: Vec<_> = found.values().map(|(record, _)| record.event.clone()).collect();
    assert_eq!(found[..events.len()], events);
    let counts = found[events.len()..].iter().filter(|event| event.kind() == 29).count() as u64;
    assert!((3..=4 * 3_600_000 * 24 / PERIOD_MS_MAX + 1).contains(&counts), "{counts}");
}

#[test]
fn an_orderly_stop_writes_what_was_counted() {
    let mut flash = board(PARTITION);
    let (mut audit, _) = Audit::open(&mut flash, 1);
    for _ in 0..50 {
        audit.record(&mut flash, &stamp(5), &Event::TimeRefused).unwrap();
    }
    audit.tick(&mut flash, &stamp(6), true).unwrap();
    let found = read_all(&open(&mut flash), &mut flash);
    let last = found.values().last().unwrap().0.event.clone();
    assert_eq!(last, Event::Repeated { kind: Event::TimeRefused.kind(), count: 46 });
    audit.tick(&mut flash, &stamp(7), true).unwrap();
    assert_eq!(audit.next() as usize, found.len(), "once");
}

/// Somebody with a hand on the plug writes a record for each start: 64 KiB hold so many of them.
#[test]
fn so_many_starts_fit_into_the_log() {
    let mut flash = board(PARTITION);
    let mut boots = 0;
    while open(&mut flash).oldest() == 0 {
        boots += 1;
        let (mut audit, _) = Audit::open(&mut flash, boots);
        let boot = Event::Boot { reset: ResetCause::PowerOn, firmware: "1.2.3+4".try_into().unwrap() };
        audit.record(&mut flash, &stamp(0), &boot).unwrap();
    }
    println!("64 KiB hold the records of {boots} starts ({} records between two seals)", audit::SEAL_RECORDS);
    assert!(boots > 600, "{boots}");
}
