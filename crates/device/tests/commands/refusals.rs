//! Every command that is not to be done: refused by name, and nothing of it is done. What is not signed, not signed by the
//! right power, altered, or on another topic is in `tests/refusals.rs`, with all other documents.

use super::*;
use crate::world::boot_info;
use crate::world::field::stranger;
use device::{Command as Order, Device, Event, Key};
use protocol::DeviceId;
use protocol::document::{AuthorityKey, BURST_SAMPLES_MAX};
use protocol::signed::Envelope;
use protocol::topic::topic;

/// Sends a document: it is refused for this reason, answered with this, and nothing is done.
fn refuses(
    field: &mut Field<Platform>,
    document: &[u8],
    why: Refusal,
    said_of_it: Option<CommandAnswer>,
    what: &str,
) {
    field.run(20_000);
    let before = field.snapshot();
    let (notes, answers, from) = (field.notes.len(), field.outcomes.len(), field.published.len());
    let (sampled, restarts, link) = (field.sampled.len(), field.restarts, field.link);
    let counted = field.device().state(Uptime(0)).refused;
    field.send(Channel::Command, document);
    field.run(1);
    let note = field.notes.get(notes).copied();
    assert!(
        matches!(note, Some(Note::CommandRefused(named) | Note::DocumentRefused(named)) if named == why),
        "{what}: {note:?}"
    );
    assert_eq!(field.notes.len(), notes + 1, "{what}");
    assert!(field.snapshot() == before, "{what}: something is stored");
    assert_eq!((field.sampled.len(), field.restarts, field.link), (sampled, restarts, link), "{what}");
    assert_eq!(said(field)[answers..], Vec::from_iter(said_of_it), "{what}");
    let more = field.published[from..].iter().filter(|(channel, _)| *channel != Channel::CommandAnswer);
    let more: Vec<_> = more.filter(|(channel, _)| *channel != Channel::Log).collect();
    assert!(more.is_empty(), "{what}: {more:?}");
    let counts = u32::from(why != Refusal::Replayed);
    assert_eq!(field.device().state(Uptime(0)).refused, counted + counts, "{what}");
}

#[test]
fn what_is_for_others_signed_by_others_or_too_late_is_refused_and_nothing_is_done() {
    let mut field = field();
    let used = command(&field, 5, Action::Report);
    send(&mut field, &used);
    for (number, action) in ACTIONS.into_iter().enumerate().map(|(at, action)| (10 + at as u32, action)) {
        let right = command(&field, number, action);
        let named = |why| Some(refused(number, action, why));
        let with = |audience| signed(&Command { audience, ..right.clone() });
        let device = Audience::Device(DeviceId::new("dev-2").unwrap());
        refuses(&mut field, &with(device), Refusal::OtherDevice, None, "another device");
        let group = Audience::Group("south".try_into().unwrap());
        refuses(&mut field, &with(group), Refusal::OtherGroup, None, "another group");
        for power in [Power::Firmware, Power::Anchors, Power::Factory] {
            let document = signed_with(&right, &key_of(power));
            refuses(&mut field, &document, Refusal::WrongAuthority, None, power.as_str());
        }
        refuses(&mut field, &signed_with(&right, &[0x66; 32]), Refusal::UnknownKey, None, "nobody's key");
        let mut forged = signed_with(&right, &[0x66; 32]);
        let at = forged.windows(32).position(|bytes| bytes == stranger().id().0).unwrap();
        forged[at..at + 32].copy_from_slice(&world::vault::public(&key_of(Power::Configuration)).id().0);
        refuses(&mut field, &forged, Refusal::Signature, None, "another's signature");
        let expired = Command { expires_s: field.time().seconds() - 1, ..right.clone() };
        refuses(&mut field, &signed(&expired), Refusal::Expired, named(Refusal::Expired), "expired");
        let older = Command { number: 4, ..right.clone() };
        let why = Refusal::Older;
        refuses(&mut field, &signed(&older), why, Some(refused(4, action, why)), "an older number");
        let none = Command { number: 0, ..right.clone() };
        refuses(&mut field, &signed(&none), why, Some(refused(0, action, why)), "no number");
        let replayed = Command { number: 5, expires_s: right.expires_s + 1, ..right.clone() };
        let why = Refusal::Replayed;
        refuses(&mut field, &signed(&replayed), why, Some(refused(5, action, why)), "a used number");
    }
    let last = command(&field, 10, Action::Report);
    send(&mut field, &last);
    assert_eq!(
        said(&field).last(),
        Some(&answer(10, Action::Report, Outcome::Done)),
        "no number was used up"
    );
}

#[test]
fn a_burst_outside_its_bounds_is_refused_for_its_payload() {
    let mut field = field();
    for (samples, period_ms) in [(0, 100), (BURST_SAMPLES_MAX + 1, 100), (1, 49), (1, 60_001)] {
        let bad = command(&field, 1, Action::Burst { samples, period_ms });
        let mut unread = CommandAnswer::new(None, 0, None, Outcome::Refused);
        unread.refusal = Some(Refusal::Payload);
        refuses(
            &mut field,
            &signed(&bad),
            Refusal::Payload,
            Some(unread),
            &format!("{samples}, {period_ms}"),
        );
    }
    for (number, samples, period_ms) in [(1, 1, 50), (2, 1, 60_000), (3, BURST_SAMPLES_MAX, 50)] {
        let action = Action::Burst { samples, period_ms };
        let good = command(&field, number, action);
        send(&mut field, &good);
        field.run(60_000);
        assert_eq!(said(&field).last(), Some(&answer(number, action, Outcome::Done)));
    }
}

#[test]
fn a_command_may_be_begun_until_its_last_second_and_not_in_the_next() {
    let mut field = field();
    field.run(1_000 - field.now % 1_000);
    let expires_s = field.time().seconds() + 10;
    let burst = |number| Command { number, expires_s, ..command(&field, 0, Action::Report) };
    let (first, second) = (burst(1), burst(2));
    field.run(9_999);
    send(&mut field, &first);
    assert_eq!(said(&field).last(), Some(&answer(1, Action::Report, Outcome::Done)));
    field.run(1);
    send(&mut field, &second);
    assert_eq!(said(&field).last(), Some(&refused(2, Action::Report, Refusal::Expired)));
}

#[test]
fn what_has_expired_is_answered_once_however_often_it_comes() {
    let mut field = field();
    let late = Command { expires_s: field.time().seconds(), ..command(&field, 1, Action::Reboot) };
    field.retained.push((Channel::Command, signed(&late)));
    for _ in 0..5 {
        field.cut_link(protocol::Failure::LinkLost);
        field.connect();
        field.run(60_000);
    }
    assert_eq!(said(&field), [refused(1, Action::Reboot, Refusal::Expired)]);
    assert_eq!(field.restarts, 0);
}

#[test]
fn a_device_that_knows_no_time_begins_nothing_and_uses_up_no_number() {
    let mut field = field();
    let command = command(&field, 1, Action::Reboot);
    let platform = field.power_cut();
    let mut device = Device::start(platform, boot_info(field.policy), Uptime(0)).unwrap();
    let topic = topic(&device.configuration().id.clone(), Channel::Command);
    device.handle(Uptime(0), Event::Message { topic: &topic, payload: &signed(&command) });
    let mut refusals = Vec::new();
    while let Some(order) = device.poll_output(Uptime(0)) {
        match order {
            Order::Log(note) => refusals.push(note),
            Order::Restart | Order::Stopped => panic!("it restarts"),
            _ => {}
        }
    }
    assert!(refusals.contains(&Note::CommandRefused(Refusal::Unexpected)), "{refusals:?}");
    field.start(device.into_platform()).unwrap();
    field.connect();
    field.send(Channel::Command, &signed(&command));
    field.run(1);
    assert_eq!(field.restarts, 1, "the same command counts once there is a time");
}

#[test]
fn while_a_reboot_is_under_way_nothing_else_is_begun() {
    let mut field = field();
    field.acknowledges = false;
    let reboot = command(&field, 1, Action::Reboot);
    send(&mut field, &reboot);
    let other = command(&field, 2, Action::Report);
    send(&mut field, &other);
    assert_eq!(field.notes.last(), Some(&Note::CommandRefused(Refusal::Unexpected)));
    field.acknowledges = true;
    field.run(5_000);
    assert_eq!(field.restarts, 1);
    field.connect();
    field.run(1_000);
    send(&mut field, &other);
    assert_eq!(said(&field).last(), Some(&answer(2, Action::Report, Outcome::Done)));
}

#[test]
fn a_device_without_a_log_has_none_to_send() {
    let mut field = field();
    field.platform().log.borrow_mut().layout = None;
    let platform = field.power_cut();
    field.start(platform).unwrap();
    field.connect();
    field.run(60_000);
    let action = Action::SendLog { from: 0 };
    let command = command(&field, 1, action);
    let why = Refusal::Unexpected;
    refuses(&mut field, &signed(&command), why, Some(refused(1, action, why)), "no log");
}

#[test]
fn a_store_that_fails_keeps_a_command_from_being_begun_and_its_number_stays() {
    for action in ACTIONS {
        let mut field = field();
        let command = command(&field, 1, action);
        field.platform().storage_fails = true;
        field.send(Channel::Command, &signed(&command));
        field.run(1);
        assert_eq!(said(&field), [answer(1, action, Outcome::Failed)]);
        assert_eq!((commanded(&field), field.restarts), (0, 0));
        field.platform().storage_fails = false;
        field.run(60_000);
        field.send(Channel::Command, &signed(&command));
        field.run(1);
        assert_eq!(commanded(&field), 1, "{action:?}");
    }
}

#[test]
fn a_key_that_takes_the_place_of_another_counts_its_own_numbers() {
    let mut field = field();
    let thief = command(&field, u32::MAX, Action::Report);
    send(&mut field, &thief);
    let next = command(&field, 1, Action::Report);
    send(&mut field, &next);
    assert_eq!(field.notes.last(), Some(&Note::CommandRefused(Refusal::Older)));
    let new = [0x31; 32];
    let key = world::vault::public(&new);
    let key = AuthorityKey { audience: one(), number: 1, power: Power::Configuration, key };
    field.send(Channel::AuthorityDesired, &signed_with(&key, &key_of(Power::Anchors)));
    let notes = field.notes.len();
    send(&mut field, &thief);
    assert_eq!(field.notes.len(), notes, "what was taken once is known");
    let other = Command { expires_s: thief.expires_s + 1, ..thief };
    send(&mut field, &other);
    assert_eq!(field.notes.last(), Some(&Note::DocumentRefused(Refusal::UnknownKey)));
    field.send(Channel::Command, &signed_with(&next, &new));
    field.run(0);
    assert_eq!(said(&field).last(), Some(&answer(1, Action::Report, Outcome::Done)));
    assert_eq!(commanded(&field), 2);
}

#[test]
fn a_damaged_record_is_counted_and_costs_only_what_was_in_it() {
    let mut field = field();
    let first = command(&field, 7, Action::Report);
    send(&mut field, &first);
    field.platform().store.borrow_mut().insert(Key::Command, b"nonsense".to_vec());
    field.restart();
    field.connect();
    field.run(60_000);
    assert!(field.reports.last().unwrap().storage_errors > 0);
    let next = command(&field, 8, Action::Report);
    send(&mut field, &next);
    assert_eq!(said(&field).last(), Some(&answer(8, Action::Report, Outcome::Done)));
    assert!(Envelope::decode(&signed(&first)).is_ok());
}
