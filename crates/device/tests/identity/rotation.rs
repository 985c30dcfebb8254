//! A new identity: made, asked for, tried, in force, or refused. R-SECRET-ROTATE.

use crate::world::field::{DAY_MS, Field, ID, START_S, id};
use device::identity::{GRACE_S, REQUEST_PERIOD_MS, ROTATION_RETRY_MS};
use device::{Key, KeySlot, Note};
use protocol::config::Authentication;
use protocol::document::{Action, Audience, KeyUse, RenewalRequest};
use protocol::identity_state::Rotation;
use protocol::signed::Envelope;
use protocol::x509::Csr;
use protocol::{Channel, Failure, PublicKey};
use std::cell::Cell;
use std::rc::Rc;

fn started() -> Field<crate::world::Platform> {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    field.start(platform).unwrap();
    field
}

fn replaced(note: &Note) -> bool {
    matches!(note, Note::IdentityReplaced { .. })
}

/// The keys that a request names, verified with the identity key that is in force.
fn read(request: &[u8], key: &PublicKey) -> (u32, PublicKey, PublicKey) {
    let request = Envelope::decode(request).unwrap().verify::<RenewalRequest<'_>>(key).unwrap();
    assert_eq!(request.audience, Audience::Device(id()));
    let (identity, tls) = (Csr::decode(request.identity_csr).unwrap(), Csr::decode(request.tls_csr).unwrap());
    assert_eq!((identity.id.as_str(), tls.id.as_str()), (ID, ID));
    (request.number, identity.key, tls.key)
}

#[test]
fn the_factory_identity_is_replaced_at_the_first_connection_and_wiped_after_a_while() {
    let mut field = started();
    field.answers = false;
    field.await_note(60_000, |note| *note == Note::KeysMade);
    let factory = field.identity();
    assert_eq!((field.state().certificate, field.state().rotation), (0, Rotation::Requested));
    assert_eq!(field.attempts.len(), 1);
    let (number, identity, tls) = read(&field.requests[0], &factory);
    assert_eq!(number, 0);
    let new = KeySlot::ALL[1];
    assert_eq!(field.key(new, KeyUse::Identity), Some(identity));
    assert_eq!(field.key(new, KeyUse::Tls), Some(tls));

    let answer = field.answer(&field.requests[0].clone());
    field.send(Channel::IdentityDesired, &answer);
    assert_eq!(field.link, None, "it is tried on another connection");
    let note = field.await_note(60_000, replaced);
    let at = field.now;
    assert_eq!(note, Note::IdentityReplaced { key: identity.id() });
    let used: Vec<_> = field.attempts.iter().map(|attempt| attempt.credentials.slot.number()).collect();
    assert_eq!(used, [0, 1]);
    assert_eq!(field.identity(), identity);
    let state = field.state();
    assert_eq!((state.certificate, state.rotation, state.retired_kept), (1, Rotation::None, true));
    assert_eq!(field.key(KeySlot::ALL[0], KeyUse::Identity), Some(factory));

    field.run(GRACE_S * 1000 - 1_000 - (field.now - at));
    assert!(!field.notes.contains(&Note::IdentityWiped) && field.link.is_some());
    field.await_note(62_000, |note| *note == Note::IdentityWiped);
    assert_eq!(field.key(KeySlot::ALL[0], KeyUse::Identity), None);
    assert_eq!(field.key(KeySlot::ALL[0], KeyUse::Tls), None);
    let platform = field.platform().clone();
    assert!(!platform.store.borrow().contains_key(&Key::Chain(KeySlot::ALL[0])));
    assert_eq!(platform.keys.borrow().len(), 2);
    field.settle();
    assert!(!field.state().retired_kept);
    assert_eq!(field.attempts.len(), 2, "nothing of it needs another connection");
    assert_eq!(field.requests.len(), 1, "a new identity is not replaced again");
}

#[test]
fn a_request_is_repeated_until_it_is_answered_with_the_same_keys() {
    let mut field = started();
    field.answers = false;
    field.connect();
    let begin = field.now;
    field.run(3 * REQUEST_PERIOD_MS + 5_000);
    assert_eq!(field.requests.len(), 4, "at once, and after each period");
    let factory = field.identity();
    let first = read(&field.requests[0], &factory);
    assert!(field.requests.iter().all(|request| read(request, &factory) == first));
    assert!(field.now - begin < 4 * REQUEST_PERIOD_MS);

    field.cut_link(Failure::LinkLost);
    field.connect();
    assert_eq!(field.requests.len(), 5, "and with each connection");
    field.restart();
    field.connect();
    assert_eq!(read(&field.requests[5], &factory), first, "also after a restart");
}

#[test]
fn an_identity_that_the_service_refuses_is_wiped_and_another_one_made_an_hour_later() {
    let mut field = started();
    let former = KeySlot::ALL[0];
    field.door = Box::new(move |credentials| credentials.slot == former);
    field.await_note(DAY_MS, |note| *note == Note::IdentityRefused);
    let used: Vec<_> = field.attempts.iter().map(|attempt| attempt.credentials.slot.number()).collect();
    assert_eq!(used, [0, 1, 1, 1, 0]);
    assert_eq!(field.key(KeySlot::ALL[1], KeyUse::Identity), None);
    assert_eq!(field.key(KeySlot::ALL[1], KeyUse::Tls), None);
    assert!(!field.platform().store.borrow().contains_key(&Key::Chain(KeySlot::ALL[1])));
    assert!(field.link.is_some(), "the former one goes on");
    assert_eq!((field.state().certificate, field.state().rotation), (0, Rotation::None));

    let refused_at = field.now;
    field.door = Box::new(|_| true);
    field.await_note(DAY_MS, |note| *note == Note::KeysMade);
    let waited = field.now - refused_at;
    assert!((ROTATION_RETRY_MS..ROTATION_RETRY_MS + 120_000).contains(&waited), "{waited}");
    field.await_note(60_000, replaced);
    assert_eq!(field.state().certificate, 1);
}

#[test]
fn a_service_that_is_not_reached_at_all_undoes_no_rotation_however_long() {
    for refusal in [Failure::Dns, Failure::Refused, Failure::Unreachable] {
        // It is back when the former identity would be due.
        for outage in [3u32, 7, 11] {
            let mut field = started();
            field.refusal = refusal;
            let left = Cell::new(outage + 1);
            field.door = Box::new(move |_| {
                let first = left.get() == outage + 1;
                left.set(left.get().saturating_sub(1));
                first || left.get() == 0
            });
            let note = field.await_note(20 * DAY_MS, |note| replaced(note) || *note == Note::IdentityRefused);
            assert!(replaced(&note), "{refusal:?} {outage}");
            assert!(field.attempts[1..].iter().all(|attempt| attempt.credentials.slot.number() == 1));
        }
    }
}

#[test]
fn an_outage_decides_nothing() {
    // The outage ends before an attempt with the new one.
    for outage in [5u32, 6, 7, 9, 21, 42] {
        let mut field = started();
        let left = Cell::new(outage + 1);
        field.door = Box::new(move |_| {
            let first = left.get() == outage + 1;
            left.set(left.get().saturating_sub(1));
            first || left.get() == 0
        });
        let note = field.await_note(20 * DAY_MS, |note| replaced(note) || *note == Note::IdentityRefused);
        assert!(replaced(&note), "{outage}");
        assert_eq!(field.attempts.len() as u32, outage + 1);
        let former = field.attempts[1..].iter().filter(|attempt| attempt.credentials.slot.number() == 0);
        assert_eq!(former.count() as u32, outage / 4, "every fourth attempt is the former one's");
    }
}

#[test]
fn a_service_that_forgets_the_new_identity_gets_the_former_one_within_the_grace_time() {
    let mut field = started();
    field.await_note(60_000, replaced);
    let factory = KeySlot::ALL[0];
    let old = field.key(factory, KeyUse::Identity).unwrap();
    let forgotten = field.attempts.last().unwrap().credentials.slot;
    field.door = Box::new(move |credentials| credentials.slot != forgotten);
    let before = field.attempts.len();
    field.cut_link(Failure::PeerClosed);
    let note = field.await_note(DAY_MS / 2, |note| matches!(note, Note::IdentityFellBack { .. }));
    assert_eq!(note, Note::IdentityFellBack { key: old.id() });
    let used: Vec<_> =
        field.attempts[before..].iter().map(|attempt| attempt.credentials.slot.number()).collect();
    assert_eq!(used, [1, 1, 1, 0]);

    // What the service does not know is replaced, and the new one is what counts.
    field.await_note(DAY_MS, replaced);
    assert_eq!(
        field.state().certificate,
        1,
        "the number goes on from the factory's, which is in force again"
    );
    let now = field.identity();
    assert!(now != old && field.key(KeySlot::ALL[2], KeyUse::Identity) == Some(now));
    assert_eq!(field.key(forgotten, KeyUse::Identity), None, "the forgotten one is gone");
    assert_eq!(
        field.key(factory, KeyUse::Identity),
        Some(old),
        "the one that worked before is kept for a while"
    );
    field.await_note(2 * DAY_MS, |note| *note == Note::IdentityWiped);
    assert_eq!(field.platform().keys.borrow().len(), 2);
}

#[test]
fn a_restored_service_finds_the_former_identity_even_in_the_middle_of_the_next_rotation() {
    let mut field = started();
    field.await_note(60_000, replaced);
    let (old, new) = (KeySlot::ALL[0], KeySlot::ALL[1]);
    let command = field.service.rotate(&id());
    // From now on neither the identity in force is known nor the one that is being tried.
    let closed = Rc::new(Cell::new(false));
    let door = closed.clone();
    field.door = Box::new(move |credentials| !door.get() || credentials.slot == old);
    field.send(Channel::Command, &command);
    closed.set(true);
    field.await_note(DAY_MS, |note| matches!(note, Note::IdentityFellBack { .. }));
    let tried: Vec<_> = field.attempts.iter().map(|attempt| attempt.credentials.slot).collect();
    assert!(tried.contains(&KeySlot::ALL[2]) && tried.contains(&new), "{tried:?}");
    closed.set(false);
    field.await_note(DAY_MS, replaced);
    assert!(field.link.is_some());
}

#[test]
fn after_the_grace_time_there_is_no_way_back() {
    let mut field = Field::settled();
    let from = field.attempts.len();
    field.door = Box::new(|_| false);
    field.cut_link(Failure::PeerClosed);
    field.run(DAY_MS / 4);
    let attempts = &field.attempts[from..];
    assert!(attempts.len() > 20);
    assert!(attempts.iter().all(|attempt| attempt.credentials.slot.number() == 1));
}

#[test]
fn a_command_makes_a_new_identity() {
    let mut field = Field::settled();
    let before = field.identity();
    let command = field.service.rotate(&id());
    field.send(Channel::Command, &command);
    let (number, action) = (field.service.number, Action::Rotate);
    assert!(field.notes.contains(&Note::Commanded { number, action }));
    assert!(field.notes.contains(&Note::CommandDone { number, action }));
    field.await_note(60_000, replaced);
    assert!(field.identity() != before);
    assert_eq!(field.state().certificate, 2);
}

#[test]
fn a_command_is_obeyed_also_within_the_hour_after_a_rotation_that_was_refused() {
    let mut field = started();
    let former = KeySlot::ALL[0];
    field.door = Box::new(move |credentials| credentials.slot == former);
    field.await_note(DAY_MS, |note| *note == Note::IdentityRefused);
    field.door = Box::new(|_| true);
    let command = field.service.rotate(&id());
    field.send(Channel::Command, &command);
    field.await_note(60_000, replaced);
}

#[test]
fn a_command_that_was_accepted_is_obeyed_after_a_restart() {
    let mut field = Field::settled();
    field.platform().entropy_fails = true;
    let command = field.service.rotate(&id());
    field.send(Channel::Command, &command);
    let mut platform = field.power_cut();
    assert_eq!(field.requests.len(), 1, "only the first one");
    platform.entropy_fails = false;
    field.start(platform).unwrap();
    field.await_note(2 * DAY_MS, replaced);
    assert_eq!(field.state().certificate, 2);
}

#[test]
fn a_rotation_that_was_refused_is_repeated_after_a_restart() {
    let mut field = Field::settled();
    let former = field.link.unwrap().slot;
    field.door = Box::new(move |credentials| credentials.slot == former);
    let command = field.service.rotate(&id());
    field.send(Channel::Command, &command);
    field.await_note(DAY_MS, |note| *note == Note::IdentityRefused);
    field.door = Box::new(|_| true);
    field.restart();
    field.await_note(DAY_MS, replaced);
    assert_eq!(field.state().certificate, 2);
}

#[test]
fn a_command_during_a_rotation_does_not_begin_another() {
    let mut field = started();
    field.answers = false;
    field.await_note(60_000, |note| *note == Note::KeysMade);
    let keys = field.platform().keys.borrow().clone();
    let command = field.service.rotate(&id());
    field.send(Channel::Command, &command);
    field.run(2 * ROTATION_RETRY_MS);
    assert_eq!(*field.platform().keys.borrow(), keys);
    field.answers = true;
    field.await_note(DAY_MS, replaced);
    field.run(DAY_MS);
    assert_eq!(field.state().certificate, 1);
}

#[test]
fn a_restart_at_any_step_of_a_rotation_ends_with_the_new_identity() {
    let mut steps = 0;
    loop {
        let (mut field, platform) = Field::provisioned(Authentication::Certificate);
        field.restart_after = Some(steps);
        field.start(platform).unwrap();
        field.run_until(3 * DAY_MS, |field| field.notes.contains(&Note::IdentityWiped));
        assert!(field.notes.contains(&Note::IdentityWiped), "restart after {steps}: {:#?}", field.notes);
        assert_eq!(field.state().certificate, 1, "restart after {steps}");
        assert_eq!(field.platform().keys.borrow().len(), 2, "restart after {steps}");
        if steps > 60 {
            assert!(field.restart_after.is_some() || field.now > 1_000_000);
            break;
        }
        steps += 1;
    }
}

#[test]
fn a_certificate_that_ends_is_replaced_when_a_third_of_its_life_is_left() {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    let start = protocol::EpochMillis::from_seconds(START_S);
    field.service.leaf.from = start;
    field.service.leaf.until = start.offset(90 * DAY_MS as i64);
    field.start(platform).unwrap();
    field.await_note(60_000, replaced);
    field.service.leaf.until = start.offset(900 * DAY_MS as i64);
    assert!(field.run_until(70 * DAY_MS, |field| field.requests.len() > 1));
    assert!((60 * DAY_MS..60 * DAY_MS + 61_000).contains(&field.now), "{}", field.now as f64 / DAY_MS as f64);
    field.await_note(60_000, replaced);
    field.run(120 * DAY_MS);
    assert_eq!((field.state().certificate, field.requests.len()), (2, 2));
}
