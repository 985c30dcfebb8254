//! The device says of 10 000 generated changes what the tool says of them, in the same words.
//!
//! `VERDICT_SEEDS=N` sets how many, `VERDICT_FIRST=N` where they start.

#[path = "../../../protocol/tests/samples/configurations.rs"]
mod configurations;

use crate::bench::{BOUND_MS, Bench, GROUP, Payload, factory};
use crate::world::field::{DAY_MS, ID};
use crate::world::service::{key_of, signed_with};
use protocol::config::{Change, cut, merge};
use protocol::document::{Audience, Power};
use protocol::{Layer, Name, Refusal};

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

#[test]
fn tool_and_device_give_the_same_verdict_in_the_same_words() {
    let first = from_environment("VERDICT_FIRST", 0);
    let seeds = from_environment("VERDICT_SEEDS", 10_000);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let [taken, refused] = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || judge((first..first + seeds).filter(|seed| seed % workers == worker)))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("another verdict; the seed is above"))
            .fold([0, 0], |[taken, refused], [more_taken, more_refused]| {
                [taken + more_taken, refused + more_refused]
            })
    });
    println!("{seeds} documents: {taken} taken, {refused} refused");
    assert!(taken > seeds / 4 && refused > seeds / 4, "the documents are too easy: {taken}, {refused}");
}

/// Gives how many were taken and how many refused.
fn judge(seeds: impl Iterator<Item = u64>) -> [u64; 2] {
    let mut bench = Bench::new();
    // Nothing that has to wait is of interest here.
    (bench.policy.healthy_ms, bench.policy.backoff_cap_ms) = (0, 1_000);
    bench.start(crate::bench::provisioned(7)).expect("starts");
    bench.run_until(DAY_MS, |bench| !bench.states.is_empty());
    let name = Name::try_from(GROUP).expect("a name");
    let (mut group, mut device): (Option<Change>, Option<Change>) = (None, None);
    let (mut taken, mut refused) = (0, 0);
    for seed in seeds {
        let number = seed as u32 + 6;
        let payload = configurations::change(seed, ID, GROUP, number);
        let tool = Change::decode(&payload);
        if tool.as_ref().is_ok_and(|change| change.number != number) {
            continue;
        }
        let what = format!("seed {seed}: {}", String::from_utf8_lossy(&payload));
        let layer = tool.as_ref().ok().map(Change::layer);
        let foreign = tool.as_ref().ok().and_then(|change| match &change.audience {
            Audience::Device(id) if id.as_str() != ID => Some(Refusal::OtherDevice),
            Audience::Group(group) if *group != name => Some(Refusal::OtherGroup),
            _ => None,
        });
        let merged = tool.and_then(|change| {
            let layers = match change.layer() {
                Layer::Group => (Some(change.clone()), device.clone()),
                Layer::Device => (group.clone(), Some(change.clone())),
            };
            merge(&factory(), layers.0.as_ref(), layers.1.as_ref()).map(|values| (values, layers))
        });
        let before = bench.states.last().expect("it said something").clone();
        let document = signed_with(&Payload(payload.clone()), &key_of(Power::Configuration));
        let said = bench.states.len();
        bench.send(Layer::Device, &document);
        match (foreign, merged) {
            (None, Ok((values, layers))) => {
                taken += 1;
                let decided = bench.run_until(BOUND_MS, |bench| {
                    bench.states[said..].iter().any(|state| {
                        state.trial.is_none()
                            && [state.group, state.device].iter().flatten().any(|held| held.number == number)
                    })
                });
                assert!(decided, "{what}: {:#?}", bench.notes.iter().rev().take(5).collect::<Vec<_>>());
                let state = bench.states.last().expect("it said so");
                assert_eq!(state.values, values, "{what}");
                let held = if layer == Some(Layer::Group) { state.group } else { state.device };
                assert_eq!(held.map(|held| held.number), Some(number), "{what}");
                (group, device) = layers;
            }
            (foreign, verdict) => {
                refused += 1;
                // A new connection is told at once; else it is said once a minute.
                bench.cut_link();
                let said = bench.states.len();
                assert!(bench.run_until(DAY_MS, |bench| bench.states.len() > said), "{what}");
                let state = bench.states.last().expect("it said so").clone();
                let last = state.last.expect("a refusal");
                assert_eq!(state.refused, before.refused + 1, "{what}");
                match (foreign, verdict) {
                    (Some(why), _) => assert_eq!((last.why, last.text.as_str()), (why, ""), "{what}"),
                    (None, Err(error)) => {
                        assert_eq!((last.why, &last.text), (Refusal::Configuration, &cut(&error)), "{what}");
                        assert!(!last.text.is_empty());
                    }
                    (None, Ok(_)) => unreachable!("those are taken"),
                }
                assert_eq!(
                    (state.values, state.group, state.device),
                    (before.values, before.group, before.device),
                    "{what}"
                );
            }
        }
        bench.calls.clear();
        bench.notes.clear();
        bench.asked.clear();
        bench.sampled.clear();
        bench.samples.clear();
        bench.batches.clear();
        bench.requests.clear();
        bench.reports.clear();
        let keep = bench.states.len() - 1;
        bench.states.drain(..keep);
    }
    [taken, refused]
}
