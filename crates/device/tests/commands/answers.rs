//! What the service is told, and how often.

use super::*;
use device::Key;
use protocol::Failure;

#[test]
fn an_answer_is_repeated_with_each_connection_until_the_service_acknowledges_it() {
    let mut field = field();
    field.acknowledges = false;
    let command = command(&field, 1, Action::Rotate);
    field.answers = false;
    send(&mut field, &command);
    let done = answer(1, Action::Rotate, Outcome::Done);
    assert_eq!(said(&field), vec![done.clone(); 1]);
    for round in 2..4 {
        field.cut_link(Failure::LinkLost);
        field.connect();
        field.run(1_000);
        assert_eq!(said(&field), vec![done.clone(); round]);
    }
    field.acknowledges = true;
    for _ in 0..3 {
        field.cut_link(Failure::LinkLost);
        field.connect();
        field.run(60_000);
        assert_eq!(said(&field), vec![done.clone(); 4], "it is known now");
    }
    for restart in 1..3 {
        field.restart();
        field.connect();
        field.run(60_000);
        assert_eq!(said(&field), vec![done.clone(); 4 + restart], "once more in each boot");
    }
}

#[test]
fn a_device_that_was_never_commanded_says_nothing() {
    let mut field = field();
    field.restart();
    field.connect();
    field.run(600_000);
    assert_eq!(said(&field), []);
    assert!(!field.platform().store.borrow().contains_key(&Key::Command));
}

#[test]
fn refusals_are_answered_once_in_ten_seconds_and_the_last_one_counts() {
    let mut field = field();
    let late = Command { expires_s: 1, ..command(&field, 0, Action::Reboot) };
    for number in 1..=50 {
        send(&mut field, &Command { number, ..late.clone() });
    }
    assert_eq!(said(&field), [refused(1, Action::Reboot, Refusal::Expired)]);
    field.run(9_999);
    assert_eq!(said(&field).len(), 1);
    field.run(1);
    assert_eq!(said(&field)[1..], [refused(50, Action::Reboot, Refusal::Expired)]);
    // What is done is told at once all the same.
    send(&mut field, &Command { number: 51, ..late });
    let right = command(&field, 1, Action::Report);
    send(&mut field, &right);
    assert_eq!(said(&field).last(), Some(&answer(1, Action::Report, Outcome::Done)));
}

#[test]
fn what_is_done_is_told_when_the_record_says_so() {
    let mut field = field();
    let command = command(&field, 1, Action::Report);
    field.acknowledges = false;
    send(&mut field, &command);
    field.platform().storage_fails = true;
    field.acknowledges = true;
    field.acknowledge();
    field.run(60_000);
    assert_eq!(said(&field), [answer(1, Action::Report, Outcome::Begun)]);
    field.platform().storage_fails = false;
    field.run(10_000);
    assert_eq!(said(&field)[1..], [answer(1, Action::Report, Outcome::Done)]);
    field.restart();
    field.connect();
    field.run(1_000);
    assert_eq!(said(&field)[2..], [answer(1, Action::Report, Outcome::Done)]);
}

#[test]
fn a_rotation_that_the_store_does_not_take_has_failed_and_nothing_is_made() {
    let mut field = field();
    let command = command(&field, 1, Action::Rotate);
    // The command's record is written, the identity's is not.
    field.platform().store_calls.set(Some(1));
    send(&mut field, &command);
    assert_eq!(
        said(&field),
        [answer(1, Action::Rotate, Outcome::Begun), answer(1, Action::Rotate, Outcome::Failed)]
    );
    field.run(86_400_000);
    assert_eq!(field.state().certificate, 1);
    field.restart();
    field.connect();
    field.run(1_000);
    assert_eq!(said(&field).last(), Some(&answer(1, Action::Rotate, Outcome::Interrupted)));
}
