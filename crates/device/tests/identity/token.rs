//! A device that proves itself with a token. R-TLS-CLIENT.

use crate::world::Platform;
use crate::world::field::{Attempt, DAY_MS, Field, ID, START_S};
use device::identity::{Credentials, IdentityError};
use device::{KeySlot, Note, VaultError};
use protocol::config::Authentication;
use protocol::document::KeyUse;
use protocol::token::{LIFE_S_MAX, TokenRefusal, VerifiedToken, verify};
use protocol::{EpochMillis, Failure, PublicKey};
use std::cell::RefCell;
use std::rc::Rc;

const AUDIENCE: &str = "broker.example";

fn started() -> Field<Platform> {
    let (mut field, platform) = Field::provisioned(Authentication::Token);
    field.start(platform).unwrap();
    field
}

fn at(attempt: &Attempt) -> EpochMillis {
    EpochMillis(START_S * 1000 + attempt.at)
}

fn verified(attempt: &Attempt, key: &PublicKey) -> Result<VerifiedToken, TokenRefusal> {
    verify(attempt.password.as_ref().expect("a token"), key, AUDIENCE, at(attempt))
}

/// The key that the service has registered for the slot: it sees every key when it is in use.
fn keys(field: &mut Field<Platform>) -> Rc<RefCell<Vec<(Credentials, PublicKey)>>> {
    let seen: Rc<RefCell<Vec<(Credentials, PublicKey)>>> = Rc::default();
    let (platform, log) = (field.platform().clone(), seen.clone());
    field.door = Box::new(move |credentials| {
        let mut platform = platform.clone();
        let key = device::Vault::public_key(&mut platform, credentials.slot, KeyUse::Identity);
        log.borrow_mut().push((credentials, key.unwrap().expect("a key")));
        true
    });
    seen
}

#[test]
fn every_connection_has_a_token_of_the_key_in_use_for_this_service_and_an_hour() {
    let mut field = started();
    let seen = keys(&mut field);
    field.run(6 * 3_600_000);
    assert!(field.attempts.len() > 5);
    let registered = field.service.registered.borrow().clone();
    for (attempt, (credentials, key)) in field.attempts.iter().zip(seen.borrow().iter()) {
        assert_eq!(attempt.credentials, *credentials);
        assert!(registered.contains(key));
        let token = verified(attempt, key).unwrap();
        assert_eq!(token.subject().as_str(), ID);
        assert_eq!(
            (token.issued_s(), token.expires_s() - token.issued_s()),
            (at(attempt).seconds(), LIFE_S_MAX)
        );
        let password = attempt.password.as_ref().unwrap();
        assert_eq!(verify(password, key, "other.example", at(attempt)), Err(TokenRefusal::Audience));
        let others = registered.iter().filter(|other| *other != key);
        assert!(others.into_iter().all(|other| verified(attempt, other) == Err(TokenRefusal::Signature)));
    }
    let slots: Vec<_> = seen.borrow().iter().map(|(credentials, _)| credentials.slot).collect();
    assert_eq!(
        slots[..2],
        [KeySlot::ALL[0], KeySlot::ALL[1]],
        "the new identity is tried with its own token"
    );
}

#[test]
fn a_token_is_replaced_at_four_fifths_of_its_life_by_a_reconnect_that_is_no_failure() {
    for (life_s, expected_s) in [(3_600, 3_600), (600, 600), (100_000, 3_600), (0, 10), (10, 10)] {
        let (mut field, platform) = Field::provisioned(Authentication::Token);
        field.policy.token_life_s = life_s;
        field.start(platform).unwrap();
        field.await_note(60_000, |note| matches!(note, Note::IdentityReplaced { .. }));
        let from = field.attempts.len();
        field.run(5 * u64::from(expected_s as u32) * 800 + 5_000);
        let times: Vec<_> = field.attempts[from - 1..].iter().map(|attempt| attempt.at).collect();
        assert!(times.len() >= 5, "{times:?}");
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] == expected_s * 800),
            "{expected_s}: {times:?}"
        );
        assert!(field.notes.contains(&Note::Disconnected(Failure::Requested)));
        let key = field.identity();
        let token = verified(field.attempts.last().unwrap(), &key).unwrap();
        assert_eq!(token.expires_s() - token.issued_s(), expected_s);
        field.run(61_000);
        let report = field.reports.last().unwrap();
        assert_eq!((report.failures, report.last_failure), (0, None));
        assert!(report.connections as usize >= times.len());
    }
}

#[test]
fn a_device_with_a_certificate_never_makes_a_token() {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    field.start(platform).unwrap();
    field.run(3 * 3_600_000);
    assert!(field.attempts.iter().all(|attempt| attempt.password.is_none()));
    assert_eq!(field.attempts.len(), 2, "and has no reason to reconnect");
}

#[test]
fn no_token_is_in_any_log_or_debug_output() {
    let mut field = started();
    field.run(2 * 3_600_000);
    let numbers = |token: &str| token.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    let mut outputs = vec![format!("{:?}", field.device())];
    outputs.extend(field.notes.iter().map(|note| format!("{note} {note:?}")));
    outputs.extend(field.states.iter().map(|state| format!("{state:?}")));
    for attempt in &field.attempts {
        let token = attempt.password.as_ref().unwrap();
        for part in token.split('.').chain([token.as_str()]) {
            assert!(outputs.iter().all(|output| !output.contains(part) && !output.contains(&numbers(part))));
        }
    }
}

#[test]
fn a_command_with_a_token_does_not_print_it() {
    use device::{Command, Device, Event, Uptime};
    let (field, platform) = Field::provisioned(Authentication::Token);
    let mut device = Device::start(platform, crate::world::boot_info(field.policy), Uptime(0)).unwrap();
    let mut now = 0;
    let printed = loop {
        match device.poll_output(Uptime(now)) {
            Some(Command::QueryTime { packet, .. }) => {
                let answer = crate::world::sntp_answer(&packet, EpochMillis(START_S * 1000));
                device.handle(Uptime(now), Event::TimeAnswer(&answer));
            }
            Some(command @ Command::Connect { password, .. }) => {
                break (format!("{command:?} {command:#?}"), password.expect("a token").reveal().to_owned());
            }
            Some(_) => {}
            None => now = device.next_deadline(Uptime(now)).0,
        }
    };
    assert!(printed.1.split('.').count() == 3 && printed.1.split('.').all(|part| !printed.0.contains(part)));
}

#[test]
fn where_the_vault_does_not_sign_there_is_no_attempt_and_a_name_for_it() {
    let mut field = started();
    field.await_note(60_000, |note| matches!(note, Note::IdentityReplaced { .. }));
    field.inspect = |_, _| {};
    let calls = field.platform().vault_calls.clone();
    calls.set(Some(0));
    let from = field.attempts.len();
    field.cut_link(Failure::LinkLost);
    field.run_until(60_000, |field| field.notes.contains(&Note::Disconnected(Failure::Credentials)));
    let failed = Note::IdentityFailed(IdentityError::Vault(VaultError::Medium));
    let last = &field.notes[field.notes.len() - 2..];
    assert_eq!(last, [failed, Note::Disconnected(Failure::Credentials)]);
    assert_eq!(field.attempts.len(), from);
    assert!(field.run_until(DAY_MS, |field| field.link.is_some()), "it is tried again");
}
