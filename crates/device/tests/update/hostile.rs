//! The device alone against a broker that holds every document of the authorities and alters, repeats, withholds and mixes
//! them, over a link that is cut, on a board whose power fails: it never starts an image that was not signed, never one that
//! is older, and comes to its end when the weather is fine again. R-FW-AUTHORISED, R-BOOT-NEWER, R-FW-ATOMIC.
//!
//! `UPDATE_SEEDS=N` sets how many lives are run (2 000 unless told), `UPDATE_FIRST=N` where they start.

use crate::world::release::{Making, Release, digest, image};
use crate::world::site::{DAY_MS, Site};
use crate::world::slots::Memory;
use crate::{V1, V2, patch, updatable};
use device::Note;
use protocol::image::Version;
use std::collections::BTreeSet;
use std::sync::OnceLock;

const V3: Version = Version::new(1, 2, 0);

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

struct Fleet {
    base: Vec<u8>,
    /// Good ones, in the order of their sequence numbers.
    good: Vec<Release>,
    /// Signed by nobody who may, or with an image that nobody may start.
    bad: Vec<Release>,
    /// Every message that there is.
    all: Vec<(String, Vec<u8>)>,
}

fn fleet() -> &'static Fleet {
    static FLEET: OnceLock<Fleet> = OnceLock::new();
    FLEET.get_or_init(|| {
        let base = image(V1, 6_000);
        let (second, third) = (image(V2, 7_000), image(V3, 9_000));
        let delta = patch(&base, &third);
        let good = vec![Release::new(7, V2, second), Release::new(8, V3, third).with_delta(&delta, &base)];
        let mut stranger = Making::new(Version::new(2, 0, 0), 8_000);
        stranger.key = [0x32; 32];
        let mut bad = vec![Release::new(9, Version::new(2, 0, 0), stranger.seal())];
        let mut forged = Release::new(10, Version::new(3, 0, 0), image(Version::new(3, 0, 0), 8_000));
        forged.draft.key = [0x44; 32];
        bad.push(forged);
        let mut all = Vec::new();
        let mut rollouts = Vec::new();
        for (number, release) in good.iter().chain(&bad).enumerate() {
            all.extend(release.blocks.clone());
            all.push((super::world::release::MANIFEST(), release.manifest()));
            if release.draft.key != [0x44; 32] {
                rollouts.push(release.rollout(number as u32 + 1, 1_000));
                rollouts.push(release.rollout(number as u32 + 1, 0));
            }
        }
        all.extend(rollouts.iter().map(|rollout| (super::world::release::ROLLOUT(), rollout.clone())));
        Fleet { base, good, bad, all }
    })
}

/// One life; gives (restarts, messages that were meddled with).
fn live(seed: u64) -> [u64; 3] {
    let mut rng = fastrand::Rng::with_seed(seed);
    let fleet = fleet();
    let platform = updatable(seed, |draft| {
        (draft.sample_period_ms, draft.report_period_ms) = (600_000, 600_000);
    });
    let sector = [512, 2_048, 4_096][rng.usize(0..3)];
    *platform.slots.borrow_mut() = Memory::new(32 * 1024, sector, 4, &fleet.base);
    let genuine: BTreeSet<_> =
        fleet.good.iter().map(|release| digest(&release.image)).chain([digest(&fleet.base)]).collect();
    let mut site = Site::new(platform);
    (site.pace.trial_ms, site.pace.trial_deadline_ms) = (5_000, 60_000);
    site.policy.backoff_cap_ms = 5_000;
    let meddling = rng.u32(0..300);
    let mut meddled = 0;
    let mut hostile = rng.fork();
    site.meddler = Some(Box::new(move |topic, payload| {
        let message = (topic.to_owned(), payload.to_vec());
        if hostile.u32(0..1_000) >= meddling {
            return vec![message];
        }
        let any = |rng: &mut fastrand::Rng| fleet.all[rng.usize(0..fleet.all.len())].clone();
        let (topic, mut payload) = message;
        match hostile.u32(0..6) {
            0 => Vec::new(),
            1 => {
                let at = hostile.usize(0..payload.len());
                payload[at] ^= 1 << hostile.u32(0..8);
                vec![(topic, payload)]
            }
            2 => {
                payload.truncate(hostile.usize(0..payload.len()));
                vec![(topic, payload)]
            }
            // Another message under this topic.
            3 => vec![(topic, any(&mut hostile).1)],
            // Messages that nobody asked for.
            4 => (0..8).map(|_| any(&mut hostile)).chain([(topic, payload)]).collect(),
            _ => vec![(topic.clone(), payload.clone()), any(&mut hostile), (topic, payload)],
        }
    }));
    site.start();
    let mut newest = V1;
    for step in 0..rng.u32(6..25) {
        let release = match rng.u32(0..6) {
            0 | 1 => &fleet.good[0],
            2 | 3 => &fleet.good[1],
            _ => &fleet.bad[rng.usize(0..fleet.bad.len())],
        };
        match rng.u32(0..8) {
            0..=3 => {
                site.announce(release);
                let share = if rng.u32(0..5) == 0 { 0 } else { 1_000 };
                if release.draft.key != [0x44; 32] {
                    site.publish(&super::world::release::ROLLOUT(), &release.rollout(10 + step, share));
                }
            }
            4 => site.cut_link(),
            5 => site.restart(),
            _ => {}
        }
        site.run(rng.u64(10..20_000));
        meddled += 1;
        let running = digest(&site.running());
        assert!(genuine.contains(&running), "seed {seed}, step {step}: an image that nobody signed runs");
        if site
            .notes
            .iter()
            .any(|note| matches!(note, Note::UpdateConfirmed { version } if *version > newest))
        {
            newest = site.version().max(newest);
        }
        let slots = site.platform().slots.borrow().clone();
        if slots.marked {
            let length = protocol::image::Image::decode(&slots.candidate).expect("an image").bytes() as usize;
            assert!(
                genuine.contains(&digest(&slots.candidate[..length])),
                "seed {seed}, step {step}: marked"
            );
        }
    }
    // Fine weather: the newest release reaches the device.
    let restarts = u64::from(site.restarts);
    site.meddler = None;
    let last = Release::new(100, Version::new(4, 0, 0), image(Version::new(4, 0, 0), 6_500));
    site.release(&last, 100);
    site.await_version(2 * DAY_MS, Version::new(4, 0, 0));
    let wear = u64::from(site.platform().slots.borrow().wear());
    [restarts, meddled, wear]
}

#[test]
fn whatever_the_broker_does_only_signed_and_newer_images_are_started() {
    let first = from_environment("UPDATE_FIRST", 0);
    let seeds = from_environment("UPDATE_SEEDS", 2_000);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let sums = std::thread::scope(|scope| {
        let run = |worker| {
            scope.spawn(move || {
                (first..first + seeds).filter(|seed| seed % workers == worker).fold([0; 3], |sum, seed| {
                    let one = live(seed);
                    std::array::from_fn(|i| sum[i] + one[i])
                })
            })
        };
        let threads: Vec<_> = (0..workers).map(run).collect();
        threads.into_iter().fold([0u64; 3], |sum, thread| {
            let one = thread.join().expect("a seed failed; its number is above");
            std::array::from_fn(|i| sum[i] + one[i])
        })
    });
    let [restarts, steps, wear] = sums;
    println!("{seeds} seeds: {steps} steps, {restarts} restarts into an image, {wear} sectors erased");
    assert!(restarts > seeds / 10, "too little happens for the claim to mean something");
}
