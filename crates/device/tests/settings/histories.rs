//! Random histories of changes, restarts, outages and replays: no number ever goes back, and what is in force is always what
//! a model of it says.
//!
//! `HISTORY_SEEDS=N` sets how many (100 unless told), `HISTORY_FIRST=N` where they start.

use crate::bench::{BOUND_MS, Bench, Meeting, change, decoded, factory, topic_of};
use crate::world::Platform;
use fastrand::Rng;
use protocol::config::merge;
use protocol::{Failure, Layer};

const LAYERS: [Layer; 2] = [Layer::Group, Layer::Device];

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

/// Everything that was ever signed: number and fields.
type Signed = Vec<(u32, String)>;

fn fields(rng: &mut Rng, mistakes: bool) -> String {
    match rng.u8(0..if mistakes { 9 } else { 4 }) {
        0 => r#""host":"good.example""#.into(),
        1 => r#""time_servers":["t5.example"]"#.into(),
        2 => r#""auth":"token""#.into(),
        4 => r#""host":"bad.example""#.into(),
        5 => r#""time_servers":["dead.example","t0.example"]"#.into(),
        6 => r#""sample_period_ms":80000000"#.into(),
        7 => r#""report_period_ms":86400000"#.into(),
        8 => r#""time_servers":["dead.example"]"#.into(),
        _ => format!("\"dead_band_pa\":{}", rng.u32(0..80_000)),
    }
}

/// The largest numbers that the device may have taken, and what it says.
struct Watched {
    /// In force by layer when it was looked at last.
    numbers: [u32; 2],
    signed: [Signed; 2],
}

impl Watched {
    fn look(&mut self, bench: &mut Bench<Platform>, what: &str) {
        let state = bench.device().state(device::Uptime(0));
        for (layer, number) in [state.group_config, state.config].into_iter().enumerate() {
            assert!(number >= self.numbers[layer], "{what}: {number} after {}", self.numbers[layer]);
            self.numbers[layer] = number;
        }
        let Some(said) = bench.states.last().cloned() else { return };
        // What it says is in force are its values, as the tool would put them together.
        let found = |layer: usize, number: u32| {
            let (number, fields) =
                self.signed[layer].iter().find(|(it, _)| *it == number).expect("it was signed");
            decoded(LAYERS[layer], *number, fields)
        };
        let group = said.group.map(|held| found(0, held.number));
        let own = said.device.map(|held| found(1, held.number));
        assert_eq!(said.values, merge(&factory(), group.as_ref(), own.as_ref()).unwrap(), "{what}");
    }
}

fn live(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut bench = Bench::new();
    bench.policy.backoff_cap_ms = 20_000;
    bench.clocks = Box::new(|server| (server.host != "dead.example").then_some(0));
    let mut chance = Rng::with_seed(!seed);
    let hostile = if rng.bool() { 0 } else { rng.u32(0..300) };
    // Half of them have an operator who makes no mistake.
    let mistakes = rng.bool();
    bench.network = Box::new(move |call| {
        if call.host == "bad.example" {
            Meeting::Fails(Failure::TlsName)
        } else if chance.u32(0..1_000) < hostile {
            Meeting::Fails(Failure::ConnectTimeout)
        } else {
            Meeting::Serves
        }
    });
    bench.start(crate::bench::provisioned(seed)).expect("starts");
    let mut watched = Watched { numbers: [0, 5], signed: [Vec::new(), Vec::new()] };
    let mut newest = [0, 5];
    for step in 0..rng.u32(5..25) {
        let what = format!("seed {seed}, step {step}");
        let layer = rng.usize(0..2);
        match rng.u8(0..10) {
            0..=4 => {
                newest[layer] += rng.u32(1..4);
                let fields = fields(&mut rng, mistakes);
                let document = change(LAYERS[layer], newest[layer], &fields);
                watched.signed[layer].push((newest[layer], fields));
                bench.publish(LAYERS[layer], &document);
            }
            // The broker hands over an old one, of any time.
            5 | 6 if !watched.signed[layer].is_empty() && bench.link.is_some() => {
                let (number, fields) = rng.choice(watched.signed[layer].clone()).expect("there is one");
                bench.send_on(&topic_of(LAYERS[rng.usize(0..2)]), &change(LAYERS[layer], number, &fields));
            }
            7 => bench.restart(),
            8 => bench.restart_after = Some(rng.u32(0..30)),
            _ => bench.cut_link(),
        }
        watched.look(&mut bench, &what);
        for _ in 0..rng.u32(1..5) {
            bench.run(rng.u64(1..BOUND_MS));
            watched.look(&mut bench, &what);
        }
    }
    bench.restart_after = None;
    let what = format!("seed {seed}, at the end");
    bench.run(3 * BOUND_MS);
    bench.cut_link();
    bench.run(3 * BOUND_MS);
    watched.look(&mut bench, &what);
    let state = bench.state();
    assert_eq!(state.trial, None, "{what}");
    assert!(bench.link.is_some(), "{what}");
    assert!(state.values.host != "bad.example", "{what}: what leads nowhere is not in force");
    let alive = |server: &protocol::Endpoint| server.host != "dead.example";
    assert!(state.values.time_servers.iter().any(alive), "{what}");
    // Where nothing was ever wrong, the newest of each layer is in force.
    let wrong =
        |(_, fields): &(u32, String)| ["bad", "dead", "period"].iter().any(|text| fields.contains(text));
    if hostile == 0 && !watched.signed.iter().flatten().any(wrong) {
        for (signed, held) in watched.signed.iter().zip([state.group, state.device]) {
            let newest = signed.last().map(|(number, _)| *number);
            assert_eq!(held.map(|held| held.number), newest, "{what}: {:#?}", bench.notes);
        }
    }
}

#[test]
fn a_number_never_goes_back_whatever_happens() {
    let first = from_environment("HISTORY_FIRST", 0);
    let seeds = from_environment("HISTORY_SEEDS", 100);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope
                .spawn(move || (first..first + seeds).filter(|seed| seed % workers == worker).for_each(live));
        }
    });
}
