//! The end of a device's life: blank, or destroyed. R-REPROVISION, R-DESTROY.

use crate::world::Platform;
use crate::world::factory::{configuration, provision};
use crate::world::field::{DAY_MS, Field, START_S, id};
use crate::world::service::Service;
use device::platform::BACKLOG_SLOTS;
use device::provisioning::{Standing, standing};
use device::{Device, Event, Key, Note, StartError, Uptime};
use protocol::config::Authentication;
use protocol::document::{End, RETIREMENT_S_MAX};
use protocol::identity_state::Life;
use protocol::{Channel, Failure, Refusal};

const ENDS: [End; 2] = [End::Blank, End::Destroyed];

fn ready() -> Field<Platform> {
    let mut field = Field::settled();
    let platform = field.platform().clone();
    for slot in 0..BACKLOG_SLOTS {
        platform.store.borrow_mut().insert(Key::Backlog(slot), b"{}".to_vec());
    }
    platform.store.borrow_mut().insert(Key::Ended, b"[]".to_vec());
    field
}

fn retire(field: &mut Field<Platform>, end: End) -> Vec<u8> {
    let key = field.identity().id();
    field.service.retire(&id(), end, key)
}

fn standing_of(end: End) -> Standing {
    match end {
        End::Blank => Standing::Blank,
        End::Destroyed => Standing::Destroyed,
    }
}

/// What is left of its life in the store, and what may be: the number of its boots, the time, and that it is over.
fn left(platform: &Platform, end: End) -> [Vec<String>; 2] {
    let mut left: Vec<_> = platform.store.borrow().keys().map(|key| key.name().to_string()).collect();
    // How far the operator has the log, which goes on through every life.
    left.retain(|name| name != "sensor/log");
    left.sort();
    let expected: &[&str] = match end {
        End::Blank => &["sensor/boot", "sensor/time"],
        End::Destroyed => &["sensor/boot", "sensor/life", "sensor/time"],
    };
    [left, expected.iter().map(|name| (*name).to_owned()).collect()]
}

fn is_gone(platform: &Platform, end: End) -> bool {
    let [left, expected] = left(platform, end);
    platform.keys.borrow().is_empty() && left == expected
}

/// Nothing is left of its life but the number of its boots and the time.
fn nothing_is_left(platform: &Platform, end: End) {
    assert!(platform.keys.borrow().is_empty(), "keys");
    let [left, expected] = left(platform, end);
    assert_eq!(left, expected);
    assert_eq!(standing(&mut platform.clone()), Ok(standing_of(end)));
    let error = match end {
        End::Blank => StartError::Blank,
        End::Destroyed => StartError::Destroyed,
    };
    let info = crate::world::boot_info(device::Policy::default());
    assert_eq!(Device::start(platform.clone(), info, Uptime(0)).map(drop), Err(error));
}

#[test]
fn a_device_whose_life_ends_says_so_once_and_holds_nothing_any_more() {
    for end in ENDS {
        let mut field = ready();
        let (key, said) = (field.identity(), field.states.len());
        let document = retire(&mut field, end);
        field.send(Channel::Command, &document);
        assert_eq!(field.ended, Some(end));
        assert_eq!(field.link, None, "and disconnects first");
        assert!(field.notes.contains(&Note::Retired(end)));
        assert_eq!(field.states.len(), said + 1);
        let life = if end == End::Blank { Life::Blank } else { Life::Destroyed };
        assert_eq!(field.state().life, life);
        assert_eq!(field.state().key.as_str(), key.id().to_string());
        nothing_is_left(field.platform(), end);
    }
}

#[test]
fn the_end_does_not_wait_for_a_service_that_does_not_acknowledge() {
    for end in ENDS {
        let mut field = ready();
        field.acknowledges = false;
        let document = retire(&mut field, end);
        field.send(Channel::Command, &document);
        assert_eq!((field.ended, field.state().life != Life::Provisioned), (None, true));
        let at = field.now;
        assert!(field.run_until(60_000, |field| field.ended.is_some()));
        assert_eq!(field.now - at, u64::from(field.policy.answer_timeout_ms));
        nothing_is_left(field.platform(), end);
    }
}

#[test]
fn the_end_does_not_wait_for_a_link_that_is_lost() {
    for end in ENDS {
        let mut field = ready();
        field.acknowledges = false;
        let document = retire(&mut field, end);
        field.send(Channel::Command, &document);
        field.cut_link(Failure::LinkLost);
        assert_eq!(field.ended, Some(end));
        nothing_is_left(field.platform(), end);
    }
}

#[test]
fn only_the_acknowledgement_of_the_last_words_ends_it() {
    let mut field = ready();
    field.acknowledges = false;
    let reports = field.reports.len();
    assert!(field.run_until(61_000, |field| field.reports.len() > reports));
    let document = retire(&mut field, End::Blank);
    field.send(Channel::Command, &document);
    for token in [0, 1, 2, 999] {
        field.tell(Event::Acknowledged(token));
    }
    // The report that was on its way before.
    field.acknowledge_one();
    field.tell(Event::Alive);
    let again = retire(&mut field, End::Destroyed);
    field.send(Channel::Command, &again);
    assert_eq!(field.ended, None, "nothing else counts");
    field.acknowledge();
    assert_eq!(field.ended, Some(End::Blank));
}

#[test]
fn an_orderly_stop_during_the_last_words_keeps_nothing() {
    let mut field = ready();
    field.acknowledges = false;
    let document = retire(&mut field, End::Blank);
    field.send(Channel::Command, &document);
    field.tell(Event::Shutdown);
    assert_eq!(field.ended, Some(End::Blank));
    nothing_is_left(field.platform(), End::Blank);
}

#[test]
fn a_retirement_before_the_subscription_is_answered_ends_the_life_too() {
    for (end, granted) in [(End::Blank, true), (End::Destroyed, true), (End::Blank, false)] {
        let mut field = ready();
        let document = retire(&mut field, end);
        field.subscribes = false;
        field.cut_link(Failure::LinkLost);
        field.connect();
        field.send(Channel::Command, &document);
        field.run(5_000);
        assert_eq!(field.ended, None);
        if granted {
            field.tell(Event::Subscribed { granted });
            assert!(field.state().life != Life::Provisioned, "it says so");
        }
        assert!(field.run_until(60_000, |field| field.ended.is_some()));
        nothing_is_left(field.platform(), end);
    }
}

#[test]
fn power_that_fails_at_any_change_of_store_or_vault_is_gone_on_with() {
    for end in ENDS {
        let mut retired = 0;
        for store in [true, false] {
            for call in 0..40 {
                let mut field = ready();
                let document = retire(&mut field, end);
                let platform = field.platform().clone();
                let before = field.snapshot();
                let calls = if store { &platform.store_calls } else { &platform.vault_calls };
                calls.set(Some(call));
                field.send(Channel::Command, &document);
                let failed = calls.take().is_none();
                let what = format!("{end:?}, store {store}, call {call}");
                if field.ended.is_none() && field.notes.iter().any(|note| matches!(note, Note::Storage(_))) {
                    assert_eq!((field.snapshot(), field.ended), (before, None), "{what}");
                    assert_eq!(field.state().life, Life::Provisioned, "{what}");
                    continue;
                }
                assert_eq!(field.ended, Some(end), "{what}");
                if failed && !store && field.notes.contains(&Note::Retired(end)) {
                    assert!(is_gone(&platform, end), "{what}");
                    // Only the log's last words could not be signed.
                    assert_ne!(field.state().life, Life::Provisioned, "{what}");
                } else if failed {
                    let named = |note: &Note| matches!(note, Note::IdentityFailed(_));
                    assert!(field.notes.iter().any(named), "{what}");
                    assert_eq!(
                        field.state().life,
                        Life::Provisioned,
                        "what is not wiped is not said to be: {what}"
                    );
                }
                assert_eq!(standing(&mut platform.clone()), Ok(standing_of(end)), "{what}");
                nothing_is_left(&platform, end);
                retired += 1;
            }
        }
        assert!(retired > 60);
    }
}

#[test]
fn a_blank_device_can_be_provisioned_again_under_any_id() {
    for name in ["dev-1", "dev-2"] {
        let mut field = ready();
        let old = retire(&mut field, End::Blank);
        field.send(Channel::Command, &old);
        let platform = field.power_cut();
        let service = Service::new();
        let platform = provision(platform, &service, &configuration(name, Authentication::Certificate));
        let mut second = Field::new(service);
        second.now = START_S.min(DAY_MS * 3);
        second.start(platform).unwrap();
        second.await_note(DAY_MS, |note| matches!(note, Note::IdentityReplaced { .. }));

        // The document that ended the former life does not end this one.
        let before = second.snapshot();
        second.send(Channel::Command, &old);
        let expected = if name == "dev-1" { Refusal::Replayed } else { Refusal::OtherDevice };
        assert_eq!(second.notes.last(), Some(&Note::DocumentRefused(expected)));
        assert_eq!((second.snapshot(), second.ended), (before, None));
        assert!(second.device().boot() > 1, "the number of the boot goes on");
    }
}

#[test]
fn a_retirement_whose_time_is_over_or_too_far_ahead_ends_no_life() {
    let mut field = Field::settled();
    let key = field.identity().id();
    let before = field.snapshot();
    let now_s = field.time().seconds();
    for (expires_s, why) in [
        (0, Refusal::Expired),
        (now_s - 1, Refusal::Expired),
        (now_s, Refusal::Expired),
        (now_s + RETIREMENT_S_MAX + 60, Refusal::Payload),
        (u64::MAX, Refusal::Payload),
    ] {
        for end in [End::Blank, End::Destroyed] {
            let document = field.service.retire_until(&id(), end, key, expires_s);
            field.send(Channel::Command, &document);
            assert_eq!(field.notes.last(), Some(&Note::DocumentRefused(why)), "{expires_s}");
        }
    }
    assert_eq!(field.snapshot(), before);
    let document = field.service.retire_until(&id(), End::Blank, key, now_s + RETIREMENT_S_MAX);
    field.send(Channel::Command, &document);
    assert_eq!(field.ended, Some(End::Blank));
}
