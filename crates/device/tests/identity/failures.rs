//! Vault, store and generator fail at every call of a rotation: the device goes on with a working identity, and ends with
//! the new one. R-SECRET-ROTATE, R-ENTROPY.

use crate::world::Platform;
use crate::world::field::{DAY_MS, Field, id, one, usable};
use crate::world::service::Ca;
use device::identity::{Credentials, IdentityError, ROTATION_RETRY_MS};
use device::{KeySlot, Note, StartError, VaultError};
use protocol::config::Authentication;
use protocol::document::KeyUse;
use protocol::{Channel, EpochMillis};

/// Looks at what is used without counting as a call.
fn inspect(platform: &mut Platform, credentials: Credentials) {
    let (vault, store) = (platform.vault_calls.take(), platform.store_calls.take());
    usable(platform, credentials);
    platform.vault_calls.set(vault);
    platform.store_calls.set(store);
}

/// Lets the call fail, once; a start that fails is tried again, as a port does.
fn survive(field: &mut Field<Platform>, platform: &Platform, enough: impl Fn(&Note) -> bool) -> bool {
    let calls = [platform.vault_calls.clone(), platform.store_calls.clone()];
    field.inspect = inspect;
    while let Err(error) = field.start(platform.clone()) {
        assert!(matches!(error, StartError::Identity(_) | StartError::Storage(_)), "{error}");
    }
    field.run_until(3 * DAY_MS, |field| field.notes.iter().any(&enough));
    let failed = calls.iter().all(|calls| calls.get().is_none());
    for calls in &calls {
        calls.set(None);
    }
    failed
}

/// The device says what it has, and has nothing else once it has started again.
fn consistent(field: &mut Field<Platform>, what: &str) {
    field.run_until(DAY_MS, |field| field.link.is_some());
    field.settle();
    let said = field.state().key.as_str().to_owned();
    let slot = field.link.expect(what).slot;
    let key = field.key(slot, KeyUse::Identity).expect(what);
    assert_eq!(key.id().to_string(), said, "it says which key it has, {what}");
    field.restart();
    field.connect();
    field.settle();
    assert_eq!(field.state().key.as_str(), said, "{what}");
    let keys = 2 * (1 + usize::from(field.state().retired_kept));
    assert_eq!(field.platform().keys.borrow().len(), keys, "{what}");
}

fn replaced(note: &Note) -> bool {
    matches!(note, Note::IdentityReplaced { .. })
}

#[test]
fn the_first_rotation_survives_a_failure_of_every_call_of_the_vault() {
    let mut call = 0;
    loop {
        let (mut field, platform) = Field::provisioned(Authentication::Token);
        platform.vault_calls.set(Some(call));
        let failed = survive(&mut field, &platform, replaced);
        let what = format!("call {call}: {:#?}", field.notes);
        assert!(field.notes.iter().any(replaced) || field.state().certificate == 1, "{what}");
        consistent(&mut field, &what);
        assert_eq!(field.state().certificate, 1, "{what}");
        if !failed {
            break;
        }
        call += 1;
    }
    assert!(call > 15, "{call}");
}

#[test]
fn the_first_rotation_survives_a_failure_of_every_change_of_the_store() {
    let mut call = 0;
    loop {
        let (mut field, platform) = Field::provisioned(Authentication::Certificate);
        platform.store_calls.set(Some(call));
        let failed = survive(&mut field, &platform, |note| *note == Note::IdentityWiped);
        let what = format!("call {call}: {:#?}", field.notes);
        field.run(2 * DAY_MS);
        consistent(&mut field, &what);
        assert_eq!((field.state().certificate, field.state().retired_kept), (1, false), "{what}");
        if !failed {
            break;
        }
        call += 1;
    }
    assert!(call > 8, "{call}");
}

/// A life with everything in it that changes keys: a second rotation, a fall back, a third one, new roots.
#[test]
fn every_later_change_survives_a_failure_of_every_call() {
    for store in [false, true] {
        let mut call = 0;
        loop {
            let (mut field, platform) = Field::provisioned(Authentication::Certificate);
            field.start(platform).unwrap();
            field.await_note(60_000, replaced);
            let platform = field.platform().clone();
            field.inspect = inspect;
            let calls = if store { platform.store_calls.clone() } else { platform.vault_calls.clone() };
            calls.set(Some(call));
            let command = field.service.rotate(&id());
            field.send(Channel::Command, &command);
            field.run(5_400_000);
            let what = format!("store {store}, call {call}");
            let known = field.link.unwrap_or_else(|| panic!("{what}: {:#?}", field.notes)).slot;
            let new = Ca::new("new", EpochMillis::from_seconds(2_100_000_000)).root;
            let list = field.service.roots_list(one(), &[&new]);
            field.retained.push((Channel::RootsDesired, list.clone()));
            field.send(Channel::RootsDesired, &list);
            field.run(5_400_000);
            field.door = Box::new(move |credentials| credentials.slot != known);
            field.cut_link(protocol::Failure::PeerClosed);
            field.run(2 * 3_600_000);
            let fell_back = field.link.is_some_and(|link| link.slot != known);
            assert!(fell_back, "{what}: {:#?}", field.notes);
            field.door = Box::new(|_| true);
            let spent = calls.take().is_none();
            field.run(3 * DAY_MS);
            consistent(&mut field, &what);
            assert!(
                field.state().certificate >= 1 && field.state().roots == 3,
                "{what}: {:?}",
                field.state()
            );
            assert_eq!(field.platform().keys.borrow().len(), 2, "{what}");
            if !spent {
                break;
            }
            call += 1;
        }
        assert!(call > 12, "store {store}: {call}");
    }
}

#[test]
fn without_random_numbers_no_key_is_made_and_it_is_tried_again_later() {
    let mut field = Field::settled();
    let (before, keys) = (field.snapshot(), field.identity());
    field.platform().entropy_fails = true;
    let command = field.service.rotate(&id());
    field.send(Channel::Command, &command);
    let at = field.now;
    field.run(1);
    assert!(field.notes.contains(&Note::IdentityFailed(IdentityError::Vault(VaultError::Entropy))));
    assert_eq!(field.snapshot().keys, before.keys);
    assert!(field.link.is_some() && field.identity() == keys);
    field.run(ROTATION_RETRY_MS / 2);
    field.platform().entropy_fails = false;
    field.run(ROTATION_RETRY_MS / 2 - 1_000);
    assert_eq!(field.snapshot().keys, before.keys, "not at once");
    field.await_note(120_000, replaced);
    assert!(field.now - at >= ROTATION_RETRY_MS);
}

#[test]
fn a_key_that_was_made_while_its_other_half_failed_does_not_stay() {
    let mut field = Field::settled();
    let before = field.snapshot().keys;
    let calls = field.platform().vault_calls.clone();
    // Wiping the place and the first key succeed.
    calls.set(Some(2));
    let command = field.service.rotate(&id());
    field.send(Channel::Command, &command);
    field.run(1);
    assert!(field.notes.contains(&Note::IdentityFailed(IdentityError::Vault(VaultError::Medium))));
    field.run(61_000);
    assert_eq!(field.snapshot().keys, before);
}

#[test]
fn a_left_over_that_cannot_be_wiped_does_not_keep_the_device_from_starting() {
    let mut field = Field::settled();
    let mut platform = field.power_cut();
    device::Vault::generate(&mut platform, KeySlot::ALL[2], KeyUse::Identity).unwrap();
    for call in 0..3 {
        platform.vault_calls.set(Some(call));
        field.notes.clear();
        let started = field.start(platform.clone());
        let failed = IdentityError::Vault(VaultError::Medium);
        if call == 0 {
            assert_eq!(started, Err(StartError::Identity(failed)), "nobody can say which key it has");
        } else {
            assert_eq!(started, Ok(()), "call {call}");
            assert_eq!(field.notes[0], Note::IdentityFailed(failed));
        }
        platform.vault_calls.set(None);
    }
    field.start(platform.clone()).unwrap();
    assert_eq!(platform.keys.borrow().len(), 2);
}

#[test]
fn a_store_that_takes_nothing_any_more_does_not_keep_the_device_from_its_service() {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    field.answers = false;
    field.start(platform).unwrap();
    field.await_note(60_000, |note| *note == Note::KeysMade);
    let answer = field.answer(&field.requests[0].clone());
    field.send(Channel::IdentityDesired, &answer);
    field.platform().storage_fails = true;
    field.run(DAY_MS / 4);
    assert!(field.link.is_some());
    let attempts = field.attempts.len();
    assert!(attempts < 5, "{attempts} attempts: it would only reconnect");
    field.platform().storage_fails = false;
    field.await_note(70_000, replaced);
}
