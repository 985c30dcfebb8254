//! A new list of roots: tried on a connection of its own, in force after CONNACK, or undone. R-ROOTS.

use crate::world::Platform;
use crate::world::field::{DAY_MS, Field, id, one};
use crate::world::service::Ca;
use device::{Key, KeySlot, Note, RootsPlace};
use protocol::config::Authentication;
use protocol::document::Audience;
use protocol::x509::Certificate;
use protocol::{Channel, EpochMillis, Failure, Refusal};

fn ca(name: &str) -> Ca {
    Ca::new(name, EpochMillis::from_seconds(2_100_000_000))
}

fn list(field: &mut Field<Platform>, audience: Audience) -> Vec<u8> {
    let (old, new) = (field.service.ca.root.clone(), ca("new").root);
    field.service.roots_list(audience, &[&old, &new])
}

fn decided(note: &Note) -> bool {
    matches!(note, Note::RootsReplaced { .. } | Note::RootsUndone { .. })
}

fn places(field: &mut Field<Platform>) -> Vec<RootsPlace> {
    let store = field.platform().store.clone();
    RootsPlace::ALL.into_iter().filter(|place| store.borrow().contains_key(&Key::Roots(*place))).collect()
}

#[test]
fn a_list_is_in_force_once_the_service_was_reached_with_it() {
    for audience in [one(), Audience::Group("north".try_into().unwrap()), Audience::All] {
        let mut field = Field::settled();
        let from = field.attempts.len();
        let list = list(&mut field, audience);
        let number = field.service.number;
        field.send(Channel::RootsDesired, &list);
        assert_eq!((field.link, field.state().roots), (None, 0));
        assert_eq!(places(&mut field), RootsPlace::ALL);
        let note = field.await_note(60_000, decided);
        assert_eq!(note, Note::RootsReplaced { number });
        field.run(1_000);
        let state = field.state();
        assert_eq!((state.roots, state.roots_count, state.roots_undone), (number, 2, 0));
        assert_eq!(places(&mut field), [RootsPlace::B], "the former list is gone");
        let used: Vec<_> = field.attempts[from..].iter().map(|attempt| attempt.credentials.roots).collect();
        assert_eq!(used, [RootsPlace::B]);
        assert_eq!(field.attempts.last().unwrap().credentials.slot, KeySlot::ALL[1]);

        // It stays so.
        field.restart();
        field.connect();
        assert_eq!(field.link.unwrap().roots, RootsPlace::B);
    }
}

#[test]
fn a_list_that_does_not_lead_to_the_service_is_undone_and_its_number_is_used_up() {
    let mut field = Field::settled();
    let from = field.attempts.len();
    let document = list(&mut field, one());
    let number = field.service.number;
    field.door = Box::new(|credentials| credentials.roots == RootsPlace::A);
    field.send(Channel::RootsDesired, &document);
    assert_eq!(field.await_note(DAY_MS, decided), Note::RootsUndone { number });
    let used: Vec<_> = field.attempts[from..].iter().map(|attempt| attempt.credentials.roots).collect();
    assert_eq!(used, [RootsPlace::B, RootsPlace::B, RootsPlace::B, RootsPlace::A]);
    field.run(1_000);
    let state = field.state();
    assert_eq!((state.roots, state.roots_count, state.roots_undone), (0, 1, 1));
    assert_eq!(places(&mut field), [RootsPlace::A]);
    assert!(field.link.is_some());

    // The broker still has it, and so it comes again, also after a restart.
    field.send(Channel::RootsDesired, &document);
    field.restart();
    field.connect();
    field.send(Channel::RootsDesired, &document);
    assert!(field.link.is_some());
    field.cut_link(Failure::LinkLost);
    field.connect();
    field.run(1_000);
    assert_eq!(field.state().replayed, 0, "what comes again byte for byte is no event");
    assert_eq!(field.notes.last(), Some(&Note::Connected { handshake_ms: 1 }));

    // A newer one counts.
    field.door = Box::new(|_| true);
    let newer = list(&mut field, one());
    field.send(Channel::RootsDesired, &newer);
    assert_eq!(field.await_note(60_000, decided), Note::RootsReplaced { number: number + 1 });
}

#[test]
fn an_outage_decides_nothing_about_a_list() {
    for outage in [3, 4, 9, 13, 40] {
        let mut field = Field::settled();
        let list = list(&mut field, one());
        let from = field.attempts.len();
        let mut left = outage;
        field.door = Box::new(move |_| {
            left -= i32::from(left > 0);
            left == 0
        });
        field.send(Channel::RootsDesired, &list);
        let note = field.await_note(20 * DAY_MS, decided);
        // The attempt that gets through decides: every fourth is the former list's.
        let undone = outage % 4 == 0;
        assert_eq!(matches!(note, Note::RootsUndone { .. }), undone, "{outage}");
        assert_eq!(field.attempts.len() - from, outage as usize, "{outage}");
    }
}

#[test]
fn a_restart_at_any_step_of_a_trial_goes_on_with_it() {
    for steps in 0..30 {
        for good in [true, false] {
            let mut field = Field::settled();
            let list = list(&mut field, one());
            let number = field.service.number;
            if !good {
                field.door = Box::new(|credentials| credentials.roots == RootsPlace::A);
            }
            field.retained.push((Channel::RootsDesired, list.clone()));
            field.restart_after = Some(steps);
            field.send(Channel::RootsDesired, &list);
            field.run(3 * DAY_MS);
            let what = format!("good: {good}, restart after {steps}: {:#?}", field.notes);
            let expected = if good { (number, 2) } else { (0, 1) };
            assert_eq!((field.state().roots, field.state().roots_count), expected, "{what}");
            assert_eq!(places(&mut field).len(), 1, "{what}");
            assert!(field.link.is_some(), "{what}");
        }
    }
}

#[test]
fn another_list_has_to_wait_until_the_one_on_trial_is_decided() {
    let mut field = Field::settled();
    let (first, second) = (list(&mut field, one()), list(&mut field, one()));
    let number = field.service.number;
    field.door = Box::new(|_| false);
    field.send(Channel::RootsDesired, &first);
    let before = field.snapshot();
    // A connection whose first message is already on its way.
    field.send(Channel::RootsDesired, &second);
    assert_eq!(field.notes.last(), Some(&Note::DocumentRefused(Refusal::Unexpected)));
    assert_eq!(field.snapshot(), before);
    field.door = Box::new(|_| true);
    field.retained.push((Channel::RootsDesired, second));
    field.await_note(DAY_MS, |note| *note == Note::RootsReplaced { number });
}

#[test]
fn an_identity_and_a_list_on_trial_at_once_are_tried_one_after_the_other() {
    for good_roots in [true, false] {
        for good_identity in [true, false] {
            let (mut field, platform) = Field::provisioned(Authentication::Certificate);
            field.answers = false;
            field.start(platform).unwrap();
            field.await_note(60_000, |note| *note == Note::KeysMade);
            let new = KeySlot::ALL[1];
            let answer = field.answer(&field.requests[0].clone());
            let list = list(&mut field, one());
            field.door = Box::new(move |credentials| {
                (good_roots || credentials.roots == RootsPlace::A)
                    && (good_identity || credentials.slot != new)
            });
            field.send(Channel::RootsDesired, &list);
            field.send(Channel::IdentityDesired, &answer);
            let from = field.attempts.len();
            let outcome =
                |note: &Note| matches!(note, Note::IdentityReplaced { .. }) || *note == Note::IdentityRefused;
            let identity = field.await_note(DAY_MS, outcome);
            let roots = *field.notes.iter().find(|note| decided(note)).expect("the list came first");
            assert_eq!(matches!(roots, Note::RootsReplaced { .. }), good_roots);
            assert_eq!(identity != Note::IdentityRefused, good_identity);
            for attempt in &field.attempts[from..] {
                let changed = (attempt.credentials.roots == RootsPlace::B, attempt.credentials.slot == new);
                assert!(good_roots || changed != (true, true), "two things at once");
            }
            assert!(field.link.is_some());
            assert_eq!(places(&mut field).len(), 1);
        }
    }
}

#[test]
fn a_service_that_forgot_the_identity_is_reached_also_during_a_trial_of_roots() {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    field.start(platform).unwrap();
    field.await_note(60_000, |note| matches!(note, Note::IdentityReplaced { .. }));
    let list = list(&mut field, one());
    let number = field.service.number;
    let forgotten = field.link.unwrap().slot;
    field.door = Box::new(move |credentials| credentials.slot != forgotten);
    field.send(Channel::RootsDesired, &list);
    field.await_note(DAY_MS, |note| matches!(note, Note::IdentityFellBack { .. }));
    field.await_note(DAY_MS, |note| *note == Note::RootsReplaced { number });
}

#[test]
fn the_largest_list_fits() {
    let mut field = Field::settled();
    let roots: Vec<_> = ["a", "b", "c"].map(|name| ca(&name.repeat(64)).root).into();
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    assert!(roots.iter().all(|root| Certificate::decode(root).is_ok()));
    let list = field.service.roots_list(Audience::Device(id()), &roots);
    field.send(Channel::RootsDesired, &list);
    field.await_note(60_000, decided);
    field.run(1_000);
    assert_eq!(field.state().roots_count, 3);
}
