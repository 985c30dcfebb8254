//! Power fails at every change of what is stored around a command, before and after it is made: the command is done once or
//! not at all, and what the device says of it is true.

use super::*;
use crate::world::field::DAY_MS;
use protocol::Batch;
use std::collections::BTreeMap;

struct Run {
    field: Field<Platform>,
    /// What was there before: messages, samples, number of the certificate, number of the boot.
    published: usize,
    sampled: usize,
    certificate: u32,
    boot: u32,
    cut: bool,
}

/// A retained command; power fails at change number `at`.
fn run(action: Action, at: u32, after: bool) -> Run {
    let mut field = field();
    field.outage = |platform| platform.power.come_back();
    field.copy = |platform| Some(platform.clone());
    let (published, sampled) = (field.published.len(), field.sampled.len());
    let (certificate, boot) = (field.state().certificate, field.device().boot());
    let document = signed(&command(&field, 1, action));
    field.retained.push((Channel::Command, document.clone()));
    field.platform().power.fail_at(at, after);
    field.send(Channel::Command, &document);
    field.run(30_000);
    field.connect();
    field.run(30_000);
    let cut = !field.platform().power.stay();
    // It comes again and again.
    for _ in 0..3 {
        field.cut_link(protocol::Failure::LinkLost);
        field.connect();
        field.run(30_000);
        field.restart();
        field.connect();
        field.run(30_000);
    }
    field.run(DAY_MS / 8);
    Run { field, published, sampled, certificate, boot, cut }
}

/// What the device says in the end; it says nothing else after it has said that.
fn verdict(run: &Run, what: &str) -> Outcome {
    let outcomes = said(&run.field);
    let last = outcomes.last().unwrap_or_else(|| panic!("{what}: no answer")).clone();
    assert_eq!((last.number, last.refusal), (1, None), "{what}");
    let first = outcomes.iter().position(|it| it.outcome != Outcome::Begun).unwrap();
    assert!(outcomes[first..].iter().all(|it| *it == last), "{what}: {outcomes:?}");
    last.outcome
}

/// Runs it with a cut at each change until there is none left to cut; `judge` gets the run and what the device says.
fn everywhere(action: Action, judge: impl Fn(&Run, Outcome, &str)) {
    for after in [false, true] {
        let mut outcomes = Vec::new();
        for at in 0.. {
            let what =
                format!("{action:?}, power fails {} change {at}", if after { "after" } else { "before" });
            let run = run(action, at, after);
            let outcome = verdict(&run, &what);
            assert!(commanded(&run.field) <= 1, "{what}: begun {} times", commanded(&run.field));
            judge(&run, outcome, &what);
            outcomes.push(outcome);
            if !run.cut {
                assert_eq!(outcome, Outcome::Done, "{what}: nothing was in its way");
                break;
            }
        }
        assert!(outcomes.len() >= 3, "{action:?}: {outcomes:?}");
        if !after {
            assert_eq!(outcomes[0], Outcome::Done, "{action:?}: power failed before anything was written");
        }
    }
}

#[test]
fn a_report_is_made_once_or_not_at_all() {
    everywhere(Action::Report, |run, outcome, what| {
        let telemetry = count(&run.field, run.published, Channel::Telemetry);
        if outcome == Outcome::Done {
            assert!(telemetry > 0, "{what}");
        }
    });
}

#[test]
fn a_burst_is_taken_once_and_done_only_when_all_of_it_has_arrived() {
    let Action::Burst { samples, period_ms } = ACTIONS[1] else { panic!("the second one") };
    everywhere(ACTIONS[1], |run, outcome, what| {
        let close = |times: &[u64]| {
            let apart = times.windows(2).map(|pair| pair[1].abs_diff(pair[0] + u64::from(period_ms)));
            // The clock is corrected by a few milliseconds now and then.
            apart.filter(|off| *off <= 5).count()
        };
        let taken = close(&run.field.sampled[run.sampled..]);
        assert!(taken < usize::from(samples), "{what}: {taken} samples follow closely");
        let arrived = run.field.published[run.published..]
            .iter()
            .filter(|(channel, _)| *channel == Channel::Telemetry)
            .map(|(_, batch)| Batch::decode(batch).unwrap())
            .flat_map(|batch| {
                let boot = batch.boot;
                batch.iter().map(|(seq, time, _)| ((boot, seq), time.unwrap().0)).collect::<Vec<_>>()
            });
        // What is sent twice counts once.
        let arrived: BTreeMap<_, _> = arrived.collect();
        let arrived: Vec<_> = arrived.into_values().collect();
        if outcome == Outcome::Done {
            assert_eq!(close(&arrived), usize::from(samples) - 1, "{what}: {arrived:?}");
        }
    });
}

#[test]
fn a_reboot_happens_once_and_every_start_after_it_is_its_end() {
    everywhere(Action::Reboot, |run, outcome, what| {
        assert!(run.field.restarts <= 1, "{what}: {}", run.field.restarts);
        assert_eq!(outcome, Outcome::Done, "{what}: power that fails restarts the device as well");
        let last = run.field.published.iter().rev().find(|(channel, _)| *channel == Channel::Hello).unwrap();
        assert!(protocol::Hello::decode(&last.1).unwrap().boot > run.boot, "{what}");
    });
}

#[test]
fn a_new_identity_is_made_once_or_not_at_all_and_the_device_says_which() {
    everywhere(Action::Rotate, |run, outcome, what| {
        let made = run.field.state().certificate - run.certificate;
        assert_eq!(made, u32::from(outcome == Outcome::Done), "{what}: {outcome:?}");
    });
}

#[test]
fn the_log_is_sent_again_once_or_not_at_all() {
    everywhere(Action::SendLog { from: 0 }, |run, outcome, what| {
        let sent = count(&run.field, run.published, Channel::Log);
        if outcome == Outcome::Done {
            assert!(sent > 0, "{what}");
        }
    });
}
