//! Power is cut at every write and erase of the store while a change of the configuration is applied, tried, committed and
//! undone. After each cut the device runs on the whole old or the whole new configuration, no number goes back, and the
//! change still reaches its end. R-CONF, R-NET-CONFIG.
//!
//! A cut after an operation leaves what a cut before the next one leaves, so that each content stands for two cuts.

#[macro_use]
mod no_slots;
#[path = "../../device/tests/settings/bench.rs"]
mod bench;
#[path = "identity_cuts/board.rs"]
#[allow(dead_code, reason = "the other test looks for secrets too")]
mod board;
#[path = "../../device/tests/world/mod.rs"]
mod world;

use bench::{BOUND_MS, Bench, MINUTE_MS, Meeting, change, decoded, factory, topic_of};
use board::{Content, Platform, Secrets};
use device::vault::partition::Rewrite;
use device::{Key, KeyValue, Note};
use protocol::config::merge;
use protocol::{Configuration, Failure, Layer, Refusal};
use std::cell::RefCell;
use std::rc::Rc;
use world::factory::provision;
use world::service::Service;

/// A change that the broker retains, and what comes of it.
#[derive(Clone, Copy, Debug)]
struct Process {
    name: &'static str,
    layer: Layer,
    fields: &'static str,
    /// It is in force in the end.
    good: bool,
}

const PROCESSES: [Process; 6] = [
    Process {
        name: "apply the device's own",
        layer: Layer::Device,
        fields: r#""dead_band_pa":9,"sample_period_ms":7200000,"report_period_ms":7200000"#,
        good: true,
    },
    Process {
        name: "apply the group's",
        layer: Layer::Group,
        fields: r#""log_level":"warning""#,
        good: true,
    },
    Process {
        name: "try and commit a host",
        layer: Layer::Device,
        fields: r#""host":"good.example","dead_band_pa":8"#,
        good: true,
    },
    Process {
        name: "try and commit time servers",
        layer: Layer::Group,
        fields: r#""time_servers":["t7.example"]"#,
        good: true,
    },
    Process {
        name: "try and undo a host",
        layer: Layer::Group,
        fields: r#""host":"bad.example","dead_band_centi_c":8"#,
        good: false,
    },
    Process {
        name: "try and undo time servers",
        layer: Layer::Device,
        fields: r#""time_servers":["dead.example"],"dead_band_pa":8"#,
        good: false,
    },
];

const OLD: [(Layer, u32, &str); 2] =
    [(Layer::Group, 7, r#""dead_band_centi_percent":3"#), (Layer::Device, 7, r#""dead_band_pa":2"#)];
/// The change's number.
const NUMBER: u32 = 9;

/// What is in force without it and with it.
fn configurations(process: Process) -> [Configuration; 2] {
    let old = OLD.map(|(layer, number, fields)| decoded(layer, number, fields));
    let new = decoded(process.layer, NUMBER, process.fields);
    let [group, device] = &old;
    let before = merge(&factory(), Some(group), Some(device)).expect("fits");
    let after = match process.layer {
        Layer::Group => merge(&factory(), Some(&new), Some(device)),
        Layer::Device => merge(&factory(), Some(group), Some(&new)),
    };
    [before, after.expect("fits")]
}

struct Site {
    made: Rc<RefCell<Secrets>>,
    boots: u64,
    /// Time only goes on, or the device would not believe it.
    now: u64,
    cuts: usize,
    /// Starts in the middle of a trial.
    resumed: usize,
}

impl Site {
    fn open(&mut self, content: Content, torn: Option<u64>) -> Platform {
        self.boots += 1;
        Platform::open(content, Rewrite::ToZero, torn, self.boots, &self.made)
    }

    fn bench(&self, retained: &[(String, Vec<u8>)]) -> Bench<Platform> {
        let mut bench = Bench::new();
        bench.now = self.now;
        bench.retained = retained.to_vec();
        bench.policy.backoff_cap_ms = 60_000;
        bench.network = Box::new(|call| match call.host.as_str() {
            "bad.example" => Meeting::Fails(Failure::Dns),
            _ => Meeting::Serves,
        });
        bench.clocks = Box::new(|server| (server.host != "dead.example").then_some(0));
        bench
    }

    /// A device that has a change of each layer in force, and all its keys.
    fn settled(&mut self) -> Content {
        let service = Service::new();
        let platform = self.open(Content::erased(Rewrite::ToZero), None);
        let platform = provision(platform, &service, &factory());
        let retained = OLD.map(|(layer, number, fields)| (topic_of(layer), change(layer, number, fields)));
        let mut bench = self.bench(&retained);
        bench.start(platform).expect("starts");
        bench.run(5 * MINUTE_MS);
        let [before, _] = configurations(PROCESSES[0]);
        assert_eq!(bench.state().values, before);
        self.now = bench.now;
        bench.power_cut().off().0
    }

    /// The same with so much more garbage in the store that it will be collected sooner.
    fn aged(&mut self, content: &Content, full: u8) -> Content {
        let mut platform = self.open(content.copy(), None);
        for _ in 0..full {
            platform.write(Key::Ended, &[b' '; 120]).expect("is written");
        }
        platform.remove(Key::Ended).expect("is removed");
        platform.off().0
    }

    /// Starts the device, looks at it, and lets the change come to its end, from wherever it is.
    fn carry_out(&mut self, process: Process, platform: Platform, what: &str) -> Platform {
        let [before, after] = configurations(process);
        let retained = [(topic_of(process.layer), change(process.layer, NUMBER, process.fields))];
        let mut bench = self.bench(&retained);
        bench.start(platform).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut seen = look(&mut bench, process, None, what);
        self.resumed += usize::from(seen == 7 && bench.configuration() == after);
        assert!(!bench.notes.contains(&Note::ConfigurationDamaged), "{what}: a cut is no damage");
        for _ in 0..4 {
            bench.run(BOUND_MS / 2);
            seen = look(&mut bench, process, Some(seen), what);
        }
        let state = bench.state();
        let held = if process.layer == Layer::Group { state.group } else { state.device };
        let number = if process.good { NUMBER } else { 7 };
        assert_eq!(held.map(|held| held.number), Some(number), "{what}: {:#?}", bench.notes);
        assert_eq!(
            (&state.values, state.trial),
            (if process.good { &after } else { &before }, None),
            "{what}"
        );
        if !process.good {
            let last = state.last.expect("it says that it was undone");
            assert_eq!((last.number, last.why), (NUMBER, Refusal::Undone), "{what}");
        }
        // Its number is used up, whatever became of it.
        for number in [NUMBER - 1, NUMBER] {
            bench.send(process.layer, &change(process.layer, number, r#""dead_band_centi_c":77"#));
            let state = bench.state();
            let why = if number == NUMBER { Refusal::Replayed } else { Refusal::Older };
            assert_eq!(state.last.map(|last| (last.number, last.why)), Some((number, why)), "{what}");
        }
        assert_eq!(bench.configuration(), if process.good { after } else { before }, "{what}");
        self.now = bench.now;
        bench.power_cut()
    }

    /// Carries the process out without a cut, then with one at every moment.
    fn cut(&mut self, process: Process, content: &Content, torn: u64) {
        let begin = self.now;
        let mut record = |full, torn| {
            self.now = begin;
            let content = self.aged(content, full);
            let erased: u32 = content.store.wear().sum();
            let platform = self.open(content, torn);
            let (end, moments) = self.carry_out(process, platform, "without a cut").off();
            (end.store.wear().sum::<u32>() > erased, moments)
        };
        let full = (0..100).find(|full| record(*full, None).0);
        let (_, moments) = record(full.expect("the store collects its garbage at some time"), Some(torn));
        let operations = moments.iter().filter(|moment| moment.is_before()).count();
        let mut cuts = 0;
        for moment in &moments {
            let what = format!("{}, {}", process.name, moment.name());
            // A cut during the repair of a cut, now and then.
            let deeper = (moment.operation % 11 == 3 && moment.is_before()).then_some(0);
            self.now = begin + BOUND_MS;
            let platform = self.open(moment.content.copy(), deeper);
            let (_, repairs) = self.carry_out(process, platform, &what).off();
            cuts += if moment.is_before() { 2 } else { 1 };
            for repair in repairs.iter().step_by(5) {
                self.now = begin + 2 * BOUND_MS;
                let what = format!("{what}, then {}", repair.name());
                let platform = self.open(repair.content.copy(), None);
                self.carry_out(process, platform, &what);
                cuts += 1;
            }
        }
        let resumed = core::mem::take(&mut self.resumed);
        println!("{}: {operations} operations, {cuts} cuts, {resumed} in a trial", process.name);
        assert!(operations > 5, "{}: nothing was written", process.name);
        assert_eq!(resumed > 0, process.name.starts_with("try"), "{}", process.name);
        self.cuts += cuts;
        self.now = begin;
    }
}

/// The device runs on the whole old or the whole new configuration, and the number in force is one of the two and no lower
/// than before.
fn look(bench: &mut Bench<Platform>, process: Process, seen: Option<u32>, what: &str) -> u32 {
    let running = bench.configuration();
    assert!(configurations(process).contains(&running), "{what}: {running:?}");
    let state = bench.device().state(device::Uptime(0));
    let number = if process.layer == Layer::Group { state.group_config } else { state.config };
    assert!([7, NUMBER].contains(&number) && number >= seen.unwrap_or(7), "{what}: {number}");
    number
}

#[test]
fn every_cut_leaves_the_whole_old_or_the_whole_new_configuration() {
    let mut site = Site { made: Rc::default(), boots: 0, now: 0, cuts: 0, resumed: 0 };
    let content = site.settled();
    for process in PROCESSES {
        site.cut(process, &content, 3);
    }
    println!("{} cuts", site.cuts);
    assert!(site.cuts > 500, "{}", site.cuts);
}
