//! Thousands of power cuts: at every operation of the scenarios, whole and torn, some with a second cut in the recovery, spread
//! over a few boards. The same seed gives the same cuts.

use crate::bench::{Bench, Brick, Verdict};
use crate::flash::Flash;
use crate::qemu::Setup;
use crate::record::Program;
use crate::scenario::Scenario;
use crate::{BoardError, Tear};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One cut to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which scenario.
    pub scenario: usize,
    /// Which of its operations.
    pub operation: usize,
    /// How far that operation gets.
    pub tear: Tear,
    /// The operation of the recovery in which power is lost again.
    pub again: Option<u32>,
    /// For what is random in it.
    pub seed: u64,
}

/// Boards at once.
pub const BOARDS: usize = 2;
/// One of so many cuts is followed by another one in the recovery.
const AGAIN: usize = 10;
/// Operations of a recovery among which the second cut is: most recoveries have more.
const AGAIN_WITHIN: u32 = 40;
/// A phase with fewer operations is cut more often: mark and confirm have a handful.
const SHORT_PHASE: usize = 50;
/// So many times as often.
const SHORT_PHASE_WEIGHT: usize = 8;

/// `count` cuts from `seed`. Where there are fewer, some operations are left out; where there are more, operations are torn in
/// further ways, those of the smaller scenarios first. Without a count each operation has its turn, and that is all.
/// `phases`: only operations of these; of all where it is empty.
pub fn plan(scenarios: &[Scenario], phases: &[String], count: Option<usize>, seed: u64) -> Vec<Cut> {
    let mut rng = Rng::with_seed(seed);
    let operations: Vec<Vec<usize>> = scenarios
        .iter()
        .map(|Scenario { log, .. }| {
            let wanted = |&operation: &usize| {
                phases.is_empty() || phases.iter().any(|phase| phase == log.phase(operation))
            };
            (0..log.operations.len()).filter(wanted).collect()
        })
        .collect();
    let torn = |scenario: usize, operation: usize, rng: &mut Rng| {
        let tear = Tear::random(&scenarios[scenario].log.operations[operation].change, rng);
        Cut { scenario, operation, tear, again: None, seed: rng.u64(..) }
    };
    let mut pass: Vec<Cut> = Vec::new();
    let mut short: Vec<(usize, usize)> = Vec::new();
    for (scenario, Scenario { log, .. }) in scenarios.iter().enumerate() {
        for &operation in &operations[scenario] {
            pass.push(Cut { scenario, operation, tear: Tear::Before, again: None, seed: rng.u64(..) });
            pass.push(torn(scenario, operation, &mut rng));
            if log.range(log.phase(operation)).len() < SHORT_PHASE {
                short.push((scenario, operation));
            }
        }
    }
    for &(scenario, operation) in short.iter().cycle().take(short.len() * SHORT_PHASE_WEIGHT) {
        pass.push(torn(scenario, operation, &mut rng));
    }
    if pass.is_empty() {
        return pass;
    }
    let count = count.unwrap_or(pass.len());
    if count <= pass.len() {
        rng.shuffle(&mut pass);
        pass.truncate(count);
    }
    let len = |&scenario: &usize| operations[scenario].len();
    let mut order: Vec<usize> = (0..scenarios.len()).filter(|scenario| len(scenario) > 0).collect();
    order.sort_by_key(len);
    // The largest scenarios take longest, and have nothing that smaller ones have not.
    order.truncate(order.len().div_ceil(2));
    while pass.len() < count {
        let scenario = order[pass.len() % order.len()];
        let operation = operations[scenario][rng.usize(0..len(&scenario))];
        pass.push(torn(scenario, operation, &mut rng));
    }
    for cut in pass.iter_mut().step_by(AGAIN) {
        cut.again = Some(rng.u32(0..AGAIN_WITHIN));
    }
    rng.shuffle(&mut pass);
    pass
}

/// Counts of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Boards that came back as they must after their power was cut.
    pub recovered: u64,
    /// Boards that did not come back.
    pub bricked: u64,
    /// Those of both that were cut a second time, within their recovery.
    pub again: u64,
}

impl Count {
    /// Boards whose power was cut.
    pub fn boards(&self) -> u64 {
        self.recovered + self.bricked
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recovered, bricked, again } = self;
        let boards = self.boards();
        write!(f, "{boards} boards cut, {recovered} recovered, {bricked} bricked; ")?;
        write!(
            f,
            "{again} of them were cut a second time as they recovered, which makes {} cuts",
            boards + again
        )
    }
}

/// A board that did not come back.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was done to it.
    pub cut: Cut,
    /// The scenario's name.
    pub scenario: String,
    /// Why it counts as a brick.
    pub brick: Brick,
    /// What it said.
    pub lines: Vec<String>,
    /// The flash with which power came back: a file to look at and to start from.
    pub kept: PathBuf,
}

/// What became of all of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By scenario and phase.
    pub phases: BTreeMap<(String, String), Count>,
    /// Those that did not come back.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// All phases together.
    pub fn total(&self) -> Count {
        self.phases.values().fold(Count::default(), |sum, count| Count {
            recovered: sum.recovered + count.recovered,
            bricked: sum.bricked + count.bricked,
            again: sum.again + count.again,
        })
    }
}

/// What the cuts are made with.
#[derive(Clone, Debug)]
pub struct Means<'m> {
    /// MCUboot as raw bytes.
    pub bootloader: PathBuf,
    /// MCUboot and what it starts.
    pub programs: Vec<Program>,
    /// Further arguments for QEMU.
    pub extra: Vec<OsString>,
    /// Where flash files are, best in memory (`/dev/shm`).
    pub folder: &'m Path,
    /// Where the flash of bricks is kept.
    pub keep: &'m Path,
    /// A board that has not settled within this is a brick.
    pub patience: Duration,
}

/// Makes all cuts. `done` is called after each. After a hundred bricks it stops.
pub fn run(
    means: &Means<'_>,
    scenarios: &[Scenario],
    cuts: &[Cut],
    done: &(dyn Fn(&Count) + Sync),
) -> Result<Report, BoardError> {
    let started = Instant::now();
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let report = Mutex::new(Report::default());
    let work = |board: usize| -> Result<(), BoardError> {
        let _others = Stops(&stop);
        let path = means.folder.join(format!("board-{board}.bin"));
        let setup = Setup { extra: means.extra.clone(), ..Setup::new(&means.bootloader, &path) };
        let mut bench = Bench::start(&setup, means.programs.clone(), means.patience)?;
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(cut) = cuts.get(index) else { break };
            let scenario = &scenarios[cut.scenario];
            let flash = scenario.log.cut(cut.operation, &cut.tear);
            let (verdict, twice) = make(&mut bench, scenario, cut, &flash)?;
            let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let phase = (scenario.log.name.clone(), scenario.log.phase(cut.operation).to_owned());
            let count = report.phases.entry(phase).or_default();
            count.again += u64::from(twice);
            match verdict {
                Ok(_) => count.recovered += 1,
                Err((brick, lines)) => {
                    count.bricked += 1;
                    let kept = means.keep.join(format!("brick-{index}.bin"));
                    flash.write(&kept)?;
                    let scenario = scenario.log.name.clone();
                    report.failures.push(Failure { cut: cut.clone(), scenario, brick, lines, kept });
                    if report.failures.len() >= FAILURES_MAX {
                        break;
                    }
                }
            }
            let total = report.total();
            drop(report);
            done(&total);
        }
        Ok(())
    };
    let outcome = std::thread::scope(|scope| {
        let work = &work;
        let boards: Vec<_> = (0..BOARDS).map(|board| scope.spawn(move || work(board))).collect();
        boards.into_iter().try_for_each(|board| match board.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    outcome?;
    let mut report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.took = started.elapsed();
    Ok(report)
}

/// Whose work ends, for want of cuts or by a fault, ends the others' too.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// More than these tell nothing new.
const FAILURES_MAX: usize = 100;

/// Makes one cut and sees what becomes of the board, over further resets too. `true`: there was a second cut.
fn make(
    bench: &mut Bench,
    scenario: &Scenario,
    cut: &Cut,
    flash: &Flash,
) -> Result<(Verdict, bool), BoardError> {
    let expected = &scenario.expected;
    let (mut verdict, twice) = match cut.again {
        None => (bench.power_on(flash, expected)?, false),
        Some(number) => bench.power_on_and_cut(flash, expected, number, &mut Rng::with_seed(cut.seed))?,
    };
    for _ in 0..scenario.resets {
        if verdict.is_ok() {
            verdict = bench.reset(expected)?;
        }
    }
    Ok((verdict, twice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Change, Operation, OperationLog, Phase};

    fn scenario(name: &str, operations: u32) -> Scenario {
        let mut log = OperationLog::new(name, &Flash::erased(), &["steady"]);
        log.programs = vec!["mcuboot".into()];
        log.operations = (0..operations)
            .map(|index| Operation {
                program: 0,
                change: Change::Write { offset: 0x2_0000 + index * 16, bytes: vec![0; 16] },
            })
            .collect();
        log.name_phases(&["swap"]);
        Scenario::from_log(log)
    }

    #[test]
    fn the_sums_of_a_campaign_add_up_for_a_reader() {
        let count = |recovered, bricked, again| Count { recovered, bricked, again };
        let report = Report {
            phases: [("swap", count(30, 0, 4)), ("mark", count(9, 1, 0))]
                .map(|(phase, count)| (("24 kB".to_owned(), phase.to_owned()), count))
                .into(),
            ..Report::default()
        };
        assert_eq!(
            report.total().to_string(),
            "40 boards cut, 39 recovered, 1 bricked; 4 of them were cut a second time as they recovered, which makes 44 cuts"
        );
    }

    #[test]
    fn every_operation_is_cut_whole_and_torn_before_any_is_cut_again() {
        let scenarios = [scenario("small", 100), scenario("large", 300)];
        let cuts = plan(&scenarios, &[], Some(800), 7);
        assert_eq!(cuts.len(), 800);
        for (index, Scenario { log, .. }) in scenarios.iter().enumerate() {
            for operation in 0..log.operations.len() {
                let here = |cut: &&Cut| cut.scenario == index && cut.operation == operation;
                let tears: Vec<_> = cuts.iter().filter(here).map(|cut| cut.tear == Tear::Before).collect();
                assert!(tears == [true, false] || tears == [false, true], "{tears:?}");
            }
        }
        assert_eq!(cuts.iter().filter(|cut| cut.again.is_some()).count(), 80);
    }

    #[test]
    fn only_the_operations_of_the_wanted_phases_are_cut_and_without_a_count_each_has_its_turn() {
        let mut small = scenario("small", 100);
        for (name, first) in [("download", 10), ("mark", 70)] {
            small.log.phases.push(Phase { name: name.into(), first });
        }
        let scenarios = [small];
        let cuts = plan(&scenarios, &["download".into()], None, 3);
        let mut operations: Vec<usize> = cuts.iter().map(|cut| cut.operation).collect();
        operations.sort_unstable();
        assert_eq!(operations, (10..70).flat_map(|operation| [operation; 2]).collect::<Vec<_>>());
        assert_eq!(plan(&scenarios, &["download".into()], Some(500), 3).len(), 500);
        assert_eq!(plan(&scenarios, &["none".into()], Some(500), 3), []);
    }

    #[test]
    fn a_seed_gives_the_same_cuts_again_and_another_one_others() {
        let scenarios = [scenario("small", 20), scenario("large", 300)];
        assert_eq!(plan(&scenarios, &[], Some(2000), 1), plan(&scenarios, &[], Some(2000), 1));
        assert_ne!(plan(&scenarios, &[], Some(2000), 1), plan(&scenarios, &[], Some(2000), 2));
        assert_eq!(plan(&scenarios, &[], Some(2000), 1).len(), 2000);
        assert_eq!(plan(&scenarios, &[], Some(5), 1).len(), 5);
        assert_eq!(plan(&[scenario("empty", 0)], &[], Some(5), 1), []);
    }

    #[test]
    fn the_operations_of_a_short_phase_are_cut_more_often() {
        let scenarios = [scenario("short", 3), scenario("long", 300)];
        let cuts = plan(&scenarios, &[], Some(630), 1);
        assert_eq!(cuts.iter().filter(|cut| cut.scenario == 0).count(), 3 * (2 + SHORT_PHASE_WEIGHT));
    }
}
