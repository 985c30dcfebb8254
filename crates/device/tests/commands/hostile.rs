//! A broker that drops, repeats, reorders, keeps and alters commands as it likes, while links break and power fails: what is
//! begun was signed for this device, in the order of its numbers, and never twice.
//!
//! `COMMAND_SEEDS=N` sets how many (120 unless told).

use super::*;
use crate::world::service::signed;
use fastrand::Rng;
use protocol::{DeviceId, Failure};
use std::collections::BTreeMap;

const STEPS: u32 = 40;

/// What the broker has: right commands with their numbers, and others.
fn documents(field: &Field<Platform>, rng: &mut Rng) -> (BTreeMap<u32, Action>, Vec<Vec<u8>>) {
    let mut right = BTreeMap::new();
    let mut all = Vec::new();
    for number in 1..=12 {
        let action = ACTIONS[rng.usize(0..ACTIONS.len())];
        // Some expire on the way.
        let expires_s = field.time().seconds() + rng.u64(5..4_000);
        let command = Command { number, expires_s, ..command(field, number, action) };
        right.insert(number, action);
        let document = signed(&command, Power::Configuration);
        let mut altered = document.clone();
        let at = rng.usize(0..altered.len());
        altered[at] ^= 1 << rng.u8(0..8);
        let device = Audience::Device(DeviceId::new("dev-2").unwrap());
        let other = Command { audience: device, number: number + 20, ..command.clone() };
        let foreign = Command { number: number + 40, ..command.clone() };
        let late = Command { number: number + 60, expires_s: 1, ..command };
        all.extend([document, altered, signed(&other, Power::Configuration)]);
        all.extend([signed(&foreign, Power::Anchors), signed(&late, Power::Configuration)]);
    }
    (right, all)
}

#[test]
fn whatever_the_broker_does_what_is_begun_is_signed_for_this_device_in_order_and_never_twice() {
    let mut begun = 0;
    let seeds = std::env::var("COMMAND_SEEDS").map_or(120, |text| text.parse().expect("a number of seeds"));
    for seed in 0..seeds {
        let mut rng = Rng::with_seed(seed);
        let mut field = field();
        field.outage = |platform| platform.power.come_back();
        field.copy = |platform| Some(platform.clone());
        let (right, all) = documents(&field, &mut rng);
        let from = field.notes.len();
        for _ in 0..STEPS {
            match rng.u8(0..10) {
                0 => {
                    field.cut_link(Failure::LinkLost);
                    field.connect();
                }
                1 => field.restart(),
                2 => {
                    let (at, after) = (rng.u32(0..12), rng.bool());
                    field.platform().power.fail_at(at, after);
                }
                3 => {
                    let kept = all[rng.usize(0..all.len())].clone();
                    field.retained = vec![(Channel::Command, kept)];
                }
                4 => field.acknowledges = !field.acknowledges,
                _ => field.send(Channel::Command, &all[rng.usize(0..all.len())]),
            }
            field.run(rng.u64(0..20_000));
        }
        let commanded: Vec<_> = field.notes[from..]
            .iter()
            .filter_map(|note| match note {
                Note::Commanded { number, action } => Some((*number, *action)),
                _ => None,
            })
            .collect();
        assert!(commanded.windows(2).all(|pair| pair[0].0 < pair[1].0), "seed {seed}: {commanded:?}");
        for (number, action) in &commanded {
            assert_eq!(right.get(number), Some(action), "seed {seed}: {commanded:?}");
        }
        // One whose note was lost with the power may have restarted the device as well.
        let reboots = right.values().filter(|action| **action == Action::Reboot).count();
        assert!(field.restarts as usize <= reboots, "seed {seed}");
        for answer in &field.outcomes {
            if answer.outcome != Outcome::Refused {
                let action = right.get(&answer.number).map(ActionName::from);
                assert_eq!(answer.action, action, "seed {seed}: {answer:?}");
            }
        }
        begun += commanded.len();
    }
    assert!(begun > seeds as usize, "only {begun} were begun");
}
