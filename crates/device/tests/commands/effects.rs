//! What each command does.

use super::*;
use protocol::audit::{Entries, Event};
use protocol::document::{KeyUse, LogDelivery};
use protocol::hello::Hello;
use protocol::signed::Envelope;
use protocol::{Batch, ResetCause};

#[test]
fn report_sends_what_waits_and_every_state_now() {
    let mut field = field();
    let (from, now) = (field.published.len(), field.now);
    let waiting = field.device().state(Uptime(0)).waiting;
    assert!(waiting > 0, "samples wait for the daily report");
    let command = command(&field, 1, Action::Report);
    send(&mut field, &command);
    assert_eq!(field.now, now);
    for channel in [Channel::State, Channel::IdentityState, Channel::ConfigState, Channel::Telemetry] {
        assert_eq!(count(&field, from, channel), 1, "{channel:?}");
    }
    assert_eq!(field.device().state(Uptime(0)).waiting, 0);
    assert_eq!(
        said(&field),
        [answer(1, Action::Report, Outcome::Begun), answer(1, Action::Report, Outcome::Done)]
    );
    let order: Vec<_> = field.published[from..].iter().map(|(channel, _)| *channel).collect();
    assert_eq!(order.last(), Some(&Channel::CommandAnswer), "done when the rest is there: {order:?}");
    assert_eq!(field.outcomes[1].t, Some(field.time()));
}

#[test]
fn burst_takes_its_samples_at_its_period_sends_them_and_goes_on_as_before() {
    let mut field = field();
    let action = Action::Burst { samples: 40, period_ms: 250 };
    let (from, before, now) = (field.published.len(), field.sampled.len(), field.now);
    let command = command(&field, 1, action);
    send(&mut field, &command);
    assert_eq!(said(&field), [answer(1, action, Outcome::Begun)]);
    field.run(39 * 250 - 1);
    assert_eq!(said(&field).len(), 1, "not done yet");
    field.run(1);
    let times: Vec<_> = field.sampled[before..].to_vec();
    assert_eq!(times, (0..40).map(|number| now + number * 250).collect::<Vec<_>>());
    assert_eq!(said(&field)[1..], [answer(1, action, Outcome::Done)]);
    let batches = field.published[from..].iter().filter(|(channel, _)| *channel == Channel::Telemetry);
    let samples: usize = batches.map(|(_, batch)| Batch::decode(batch).unwrap().samples.len()).sum();
    assert!(samples >= 40, "{samples}");
    field.run(300_000);
    assert_eq!(field.sampled.len() - before - 40, 5, "one a minute again");
    assert_eq!(said(&field).len(), 2);
}

#[test]
fn reboot_says_that_it_has_begun_restarts_in_an_orderly_way_and_says_that_it_is_done() {
    let mut field = field();
    let (from, boot) = (field.published.len(), field.device().boot());
    let command = command(&field, 1, Action::Reboot);
    send(&mut field, &command);
    assert_eq!(said(&field), [answer(1, Action::Reboot, Outcome::Begun)]);
    assert_eq!((field.restarts, field.reset), (1, ResetCause::Software));
    field.connect();
    field.run(1_000);
    assert_eq!(field.device().boot(), boot + 1);
    assert_eq!(said(&field)[1..], [answer(1, Action::Reboot, Outcome::Done)]);
    let hello = field.published[from..].iter().find(|(channel, _)| *channel == Channel::Hello).unwrap();
    let hello = Hello::decode(&hello.1).unwrap();
    assert_eq!((hello.boot, hello.reset), (boot + 1, ResetCause::Software));
    assert_eq!(hello.previous.unwrap().boot, boot, "what was not delivered is kept");
    field.run(600_000);
    assert_eq!(field.restarts, 1);
}

#[test]
fn reboot_waits_five_seconds_for_a_service_that_does_not_acknowledge() {
    let mut field = field();
    field.acknowledges = false;
    let command = command(&field, 1, Action::Reboot);
    send(&mut field, &command);
    assert_eq!((said(&field).len(), field.restarts), (1, 0));
    field.run(4_999);
    assert_eq!(field.restarts, 0);
    field.run(1);
    assert_eq!(field.restarts, 1);
}

#[test]
fn reboot_does_not_wait_for_a_link_that_is_lost() {
    let mut field = field();
    field.acknowledges = false;
    let command = command(&field, 1, Action::Reboot);
    send(&mut field, &command);
    field.door = Box::new(|_| false);
    field.cut_link(protocol::Failure::LinkLost);
    field.run(5_000);
    assert_eq!(field.restarts, 1);
    (field.door, field.acknowledges) = (Box::new(|_| true), true);
    field.connect();
    field.run(1_000);
    assert_eq!(said(&field).last(), Some(&answer(1, Action::Reboot, Outcome::Done)));
}

#[test]
fn rotate_makes_a_new_identity() {
    let mut field = field();
    let (before, certificate) = (field.identity(), field.state().certificate);
    let command = command(&field, 1, Action::Rotate);
    send(&mut field, &command);
    assert_eq!(said(&field), [answer(1, Action::Rotate, Outcome::Done)], "it is sure to happen at once");
    field.await_note(60_000, |note| matches!(note, Note::IdentityReplaced { .. }));
    field.settle();
    assert!(field.identity() != before && field.state().certificate == certificate + 1);
    let slot = field.link.unwrap().slot;
    assert_eq!(field.key(slot, KeyUse::Identity), Some(field.identity()));
}

/// Sequence numbers and events of the log as it was delivered since `from`.
fn log(field: &Field<Platform>, from: usize) -> Vec<(u32, Event)> {
    let identity = field.identity();
    let mut records = Vec::new();
    for (_, piece) in field.published[from..].iter().filter(|(channel, _)| *channel == Channel::Log) {
        let piece = Envelope::decode(piece).unwrap().verify::<LogDelivery<'_>>(&identity).unwrap();
        for entry in Entries::new(piece.entries) {
            let record = entry.unwrap().record.expect("a record with a name");
            records.push((record.sequence, record.event));
        }
    }
    records
}

#[test]
fn send_log_delivers_the_log_again_from_the_record_that_is_named() {
    let mut field = field();
    let next = log(&field, 0).last().unwrap().0 + 1;
    for (number, from) in [(1, 0), (2, 3)] {
        let before = field.published.len();
        let command = command(&field, number, Action::SendLog { from });
        send(&mut field, &command);
        field.run(60_000);
        let log = log(&field, before);
        let numbers: Vec<_> = log.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(numbers, (from..next + number).collect::<Vec<_>>());
        let event = Event::Commanded { number, action: Action::SendLog { from } };
        assert_eq!(log.last().unwrap().1, event, "the log names the command");
        assert_eq!(said(&field).last(), Some(&answer(number, Action::SendLog { from }, Outcome::Done)));
    }
}

#[test]
fn a_command_to_a_group_or_to_all_is_done_by_who_is_meant() {
    let mut field = field();
    let group = Audience::Group("north".try_into().unwrap());
    for (audience, kind) in [(group, AudienceKind::Group), (Audience::All, AudienceKind::All)] {
        let command = Command { audience, ..command(&field, 9, Action::Report) };
        send(&mut field, &command);
        let mut done = answer(9, Action::Report, Outcome::Done);
        done.audience = Some(kind);
        assert_eq!(said(&field).last(), Some(&done));
    }
    assert_eq!(commanded(&field), 2);
}

#[test]
fn a_newer_command_ends_a_burst_and_both_are_answered() {
    let mut field = field();
    let burst = Action::Burst { samples: 512, period_ms: 1_000 };
    let first = command(&field, 1, burst);
    send(&mut field, &first);
    field.run(10_500);
    let sampled = field.sampled.len();
    let second = command(&field, 2, Action::Report);
    send(&mut field, &second);
    let expected = [
        answer(1, burst, Outcome::Begun),
        answer(1, burst, Outcome::Interrupted),
        answer(2, Action::Report, Outcome::Begun),
        answer(2, Action::Report, Outcome::Done),
    ];
    assert_eq!(said(&field), expected);
    field.run(59_000);
    assert!(field.sampled.len() <= sampled + 1, "it measures once a minute again");
    assert_eq!(
        field.device().state(Uptime(0)).waiting,
        (field.sampled.len() - sampled) as u32,
        "what it took is sent"
    );
    send(&mut field, &first);
    assert_eq!(said(&field).last(), Some(&refused(1, burst, Refusal::Older)), "it is not begun again");
}

#[test]
fn a_command_costs_the_store_two_writes_and_one_that_is_refused_none() {
    for action in [Action::Report, Action::Reboot, Action::SendLog { from: 0 }, ACTIONS[1]] {
        let mut field = field();
        let writes = |field: &mut Field<Platform>| {
            let written = field.platform().written.borrow().clone();
            written.iter().filter(|key| **key == device::Key::Command).count()
        };
        let command = command(&field, 1, action);
        send(&mut field, &command);
        field.connect();
        field.run(60_000);
        assert_eq!(writes(&mut field), 2, "{action:?}");
        for _ in 0..3 {
            send(&mut field, &command);
            send(&mut field, &Command { action: Action::Rotate, ..command.clone() });
            field.restart();
            field.connect();
            field.run(1_000);
        }
        assert_eq!(writes(&mut field), 2, "{action:?}");
    }
}
