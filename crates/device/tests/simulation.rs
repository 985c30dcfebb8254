//! The device alone against a hostile world in virtual time, over thousands of seeds: R-DATA-INTACT, R-TIME.
//!
//! `SIMULATION_SEEDS=N` sets how many seeds are run (10 000 unless told), `SIMULATION_FIRST=N` where they start.

mod world;

use device::telemetry::RING_SAMPLES;
use world::{Weather, World};

const CALM: Weather = Weather { cut: 0, refuse: 0, lie: 0, silence: 0 };

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

/// One life of a device: cuts at random, refusals, lying time servers, orderly restarts and power cuts; then calm, in
/// which everything must arrive. Gives (samples, cuts, duplicates, lost, suppressed).
fn live(seed: u64) -> [u64; 5] {
    let mut world = World::new(seed, CALM);
    let mut bands = fastrand::Rng::with_seed(seed.rotate_left(32) ^ 0xba2d);
    set_dead_bands(&world, &mut bands);
    world.boot();
    let mut rng = fastrand::Rng::with_seed(!seed);
    world.weather = Weather {
        cut: rng.u32(0..400),
        refuse: rng.u32(0..500),
        lie: rng.u32(0..200),
        silence: rng.u32(0..300),
    };
    let mut orderly = std::collections::BTreeSet::new();
    let mut suppressed = 0;
    for _ in 0..rng.u32(3..12) {
        // Now and then so long that the ring overflows.
        let millis = if rng.u32(0..6) == 0 { rng.u64(600_000..1_500_000) } else { rng.u64(1_000..60_000) };
        let before = world.weather;
        if millis > 600_000 {
            world.weather.refuse = 1_000;
            world.cut();
        }
        world.run(millis);
        world.weather = before;
        match rng.u32(0..6) {
            0 => {
                orderly.insert(world.device().boot());
                suppressed += u64::from(world.device().state(device::Uptime(0)).suppressed);
                world.stop();
                set_dead_bands(&world, &mut bands);
                world.boot();
            }
            1 => {
                world.power_cut();
                world.boot();
            }
            2 | 3 => world.cut(),
            _ => {}
        }
    }
    world.weather = CALM;
    world.cut();
    world.run(1_800_000);
    orderly.insert(world.device().boot());
    let newest = world.device().boot();
    let lost_now = u64::from(world.device().state(device::Uptime(0)).lost);
    let waiting = world.device().state(device::Uptime(0)).waiting;
    suppressed += u64::from(world.device().state(device::Uptime(0)).suppressed);
    // At most what one report period and one round trip leave.
    assert!(waiting < 20, "seed {seed}: {waiting} samples still wait after half an hour of calm");
    world.power_cut();
    let mut total = 0;
    let mut lost = 0;
    for (boot, measured) in &world.sampled {
        total += u64::from(*measured);
        if !orderly.contains(boot) {
            continue;
        }
        let arrived = world.ledger.unique(*boot);
        let declared = world.ledger.boots.get(boot).map_or(0, |ledger| ledger.last_lost);
        // At the end of the run the last samples may be on their way, or arrived and not yet acknowledged.
        let unknown = match *boot {
            boot if boot == newest => waiting,
            // What does not fit into the flash at a restart is lost, and counted by `next_seq` of the next hello.
            boot if world.full_at_stop.contains(&boot) => u32::MAX,
            _ => 0,
        };
        let missing = measured.checked_sub(arrived + declared);
        assert!(
            missing.is_some_and(|missing| missing <= unknown),
            "seed {seed}: boot {boot}: {measured} measured, {arrived} arrived, {declared} declared lost"
        );
        lost += u64::from(declared);
        if *boot != newest {
            // Some hello has said how this boot ended, and none has said anything else.
            let ends: Vec<_> = world.ledger.hellos.iter().filter_map(|hello| hello.previous).collect();
            let of_this = || ends.iter().filter(|end| end.boot == *boot);
            assert!(of_this().count() > 0, "seed {seed}: nobody knows how boot {boot} ended");
            assert!(of_this().all(|end| end.next_seq == *measured), "seed {seed}: boot {boot}");
        }
    }
    for end in world.ledger.hellos.iter().filter_map(|hello| hello.previous) {
        assert!(orderly.contains(&end.boot), "seed {seed}: boot {} did not end in order", end.boot);
    }
    assert!(lost >= lost_now);
    [total, world.cuts.into(), world.ledger.duplicates().into(), lost, suppressed]
}

/// Half of all boots have dead-bands, in which about every second sample stays.
fn set_dead_bands(world: &World, rng: &mut fastrand::Rng) {
    let band = if rng.bool() { rng.u32(1..12_000) } else { 0 };
    world.platform.configure(|draft| {
        draft.dead_band_centi_c = band;
        (draft.dead_band_centi_percent, draft.dead_band_pa) = (band.min(1), band.min(1));
    });
}

#[test]
fn every_sample_arrives_in_order_or_is_counted_as_lost_whatever_happens() {
    let first = from_environment("SIMULATION_FIRST", 0);
    let seeds = from_environment("SIMULATION_SEEDS", 10_000);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let sums = std::thread::scope(|scope| {
        let run = |worker| {
            scope.spawn(move || {
                (first..first + seeds).filter(|seed| seed % workers == worker).fold([0; 5], |sum, seed| {
                    let one = live(seed);
                    std::array::from_fn(|i| sum[i] + one[i])
                })
            })
        };
        let threads: Vec<_> = (0..workers).map(run).collect();
        threads.into_iter().fold([0u64; 5], |sum, thread| {
            let one = thread.join().expect("a seed failed; its number is above");
            std::array::from_fn(|i| sum[i] + one[i])
        })
    });
    let [samples, cuts, duplicates, lost, suppressed] = sums;
    println!(
        "{seeds} seeds: {samples} samples, {cuts} cuts, {duplicates} delivered twice, {lost} lost and counted, \
         {suppressed} kept back by dead-bands"
    );
    // The weather must have been bad enough for the claim to mean something.
    assert!(cuts > seeds && duplicates > 0 && lost > 0 && suppressed > seeds);
}

/// A world in which the device waits for 5 s at most, so that a cut costs less than the ring holds.
fn impatient(seed: u64) -> World {
    let mut world = World::new(seed, CALM);
    world.policy.backoff_cap_ms = 5_000;
    world.boot();
    world
}

#[test]
fn two_hundred_cuts_lose_nothing_within_the_ring() {
    let mut world = impatient(200);
    let mut rng = fastrand::Rng::with_seed(200);
    while world.cuts < 200 {
        world.run(rng.u64(100..8_000));
        world.cut();
    }
    world.run(600_000);
    let measured = world.device().next_seq();
    let waiting = world.device().state(device::Uptime(0)).waiting;
    assert_eq!(world.ledger.unique(1) + waiting, measured);
    assert_eq!(world.ledger.boots[&1].last_lost, 0);
}

#[test]
fn samples_beyond_the_ring_are_lost_and_counted_exactly() {
    let mut world = impatient(3);
    world.run(30_000);
    world.weather.refuse = 1_000;
    world.cut();
    let offline = (RING_SAMPLES as u64 + 250) * 1_000;
    world.run(offline);
    world.weather.refuse = 0;
    world.run(900_000);
    let ledger = &world.ledger.boots[&1];
    assert!((150..=300).contains(&ledger.last_lost), "{}", ledger.last_lost);
    let gap = ledger.newest.unwrap() + 1 - ledger.received.len() as u32;
    assert_eq!(gap, ledger.last_lost);
}
