//! The ends of roots and of the device's certificate are said ahead of time. R-ROOTS, R-TLS-CLIENT.

use crate::world::Platform;
use crate::world::field::{DAY_MS, Field, START_S};
use crate::world::service::Ca;
use device::Note;
use protocol::EpochMillis;
use protocol::config::Authentication;

fn after(days: u64) -> EpochMillis {
    EpochMillis::from_seconds(START_S + days * 86_400)
}

/// A device whose only root and whose certificate end after so many days, and whose service makes no new one.
fn ending(root_days: u64, leaf_days: u64) -> Field<Platform> {
    use crate::world::factory::{configuration, provision};
    let mut service = crate::world::service::Service::new();
    service.ca = Ca::new("root", after(root_days));
    (service.leaf.from, service.leaf.until) = (after(0), after(leaf_days));
    let platform =
        provision(Platform::blank(7), &service, &configuration("dev-1", Authentication::Certificate));
    let mut field = Field::new(service);
    field.answers = false;
    field.start(platform).unwrap();
    field.connect();
    field.run(1_000);
    field
}

fn warnings(field: &Field<Platform>) -> Vec<Note> {
    let warning = |note: &&Note| matches!(note, Note::RootsEnd { .. } | Note::CertificateEnds { .. });
    field.notes.iter().filter(warning).copied().collect()
}

/// What is warned of at the first connection so long after the beginning.
fn warned_at(field: &mut Field<Platform>, millis: u64) -> Vec<Note> {
    field.notes.clear();
    field.skip(millis - field.now);
    warnings(field)
}

#[test]
fn the_end_of_a_root_is_said_sixty_days_ahead() {
    let mut field = ending(100, 10_000);
    assert_eq!(warnings(&field), []);
    assert_eq!((field.state().roots_until, field.state().roots_end_soon), (after(100), false));
    assert_eq!(warned_at(&mut field, 40 * DAY_MS - 60_000), []);
    assert!(!field.state().roots_end_soon);
    assert_eq!(warned_at(&mut field, 40 * DAY_MS + 1_000), [Note::RootsEnd { days: 59 }]);
    assert!(field.state().roots_end_soon && !field.state().certificate_ends_soon);
    assert_eq!(warned_at(&mut field, 101 * DAY_MS), [Note::RootsEnd { days: 0 }]);
}

#[test]
fn of_several_roots_the_one_that_ends_first_counts() {
    let mut field = ending(10_000, 10_000);
    let (old, new) = (field.service.ca.root.clone(), Ca::new("short", after(50)).root);
    let list = field.service.roots_list(crate::world::field::one(), &[&old, &new]);
    field.send(protocol::Channel::RootsDesired, &list);
    field.await_note(60_000, |note| matches!(note, Note::RootsReplaced { .. }));
    field.run(1_000);
    assert_eq!((field.state().roots_until, field.state().roots_end_soon), (after(50), true));
    assert_eq!(warnings(&field), [Note::RootsEnd { days: 49 }]);
}

#[test]
fn a_certificate_ends_soon_with_a_third_of_its_life_left_and_is_warned_of_with_a_sixth() {
    let mut field = ending(10_000, 90);
    assert_eq!((field.state().certificate_until, field.state().certificate_ends_soon), (after(90), false));
    assert_eq!(warned_at(&mut field, 60 * DAY_MS - 60_000), []);
    assert!(!field.state().certificate_ends_soon);
    assert_eq!(warned_at(&mut field, 60 * DAY_MS + 1_000), []);
    assert!(field.state().certificate_ends_soon);
    assert_eq!(warned_at(&mut field, 75 * DAY_MS - 60_000), []);
    assert_eq!(warned_at(&mut field, 75 * DAY_MS + 1_000), [Note::CertificateEnds { days: 14 }]);
}

#[test]
fn both_ends_are_said() {
    let mut field = ending(50, 100);
    let said = warned_at(&mut field, 90 * DAY_MS + 1_000);
    assert_eq!(said, [Note::RootsEnd { days: 0 }, Note::CertificateEnds { days: 9 }]);
}
