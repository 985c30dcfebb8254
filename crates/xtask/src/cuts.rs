//! Cuts the power of the virtual board (QEMU with the real MCUboot) at every flash operation of an update, whole and torn, and
//! sees that it comes back each time. Owns what a person sees of it; the work is the crate `virtualboard`'s.

use crate::process::{self, is_installed};
use crate::zephyr::{self, zephyr_base};
use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::Duration;
use virtualboard::campaign::{self, Count, Cut, Means, Report};
use virtualboard::scenario::{self, SIZES, Scenario};
use virtualboard::{Builds, OperationLog, Program, Tear};

/// The power cuts' options.
#[derive(clap::Args)]
pub struct Arguments {
    /// Boards to cut the power of; one in ten is cut a second time as it recovers
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Each operation once whole and once torn, those of short phases torn eight times more, in place of --count
    #[arg(long, conflicts_with = "count")]
    every: bool,
    /// Only cuts in the middle of an operation: before it is as after the one before
    #[arg(long)]
    torn: bool,
    /// Only operations of this phase (download, mark, swap, trial, confirm, revert); may be given several times
    #[arg(long)]
    phase: Vec<String>,
    /// The same seed gives the same cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder with the built board (`boot` in it is the build directory of tests/boot); built by west where it is missing
    #[arg(long)]
    builds: Option<PathBuf>,
    /// Cut a run that was recorded elsewhere, in place of the test images' updates; may be given several times
    #[arg(long)]
    log: Vec<PathBuf>,
    /// MCUboot for --log as raw bytes (mcuboot/zephyr/zephyr.bin of the firmware's build); the built board's otherwise
    #[arg(long, requires = "log")]
    bootloader: Option<PathBuf>,
    /// ELF files of what changes the flash in --log (MCUboot and the firmware), for cuts within a recovery; the built board's
    /// otherwise; may be given several times
    #[arg(long, requires = "log")]
    elf: Vec<PathBuf>,
    /// Let an instruction take 2^N ns of the board's time, and waiting none of ours: for a firmware that sleeps at its start
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    icount: Option<u8>,
    /// Only images of about this size in bytes; may be given several times [default: 24000, 100000, 400000]
    #[arg(long)]
    size: Vec<usize>,
    /// Where the flash of boards that did not come back is kept [default: bricks in the folder of builds]
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Write the recorded runs into this folder
    #[arg(long)]
    save_logs: Option<PathBuf>,
    /// Write the flash of each cut into this folder (OPERATION-NUMBER.bin) and start no board
    #[arg(long, value_name = "FOLDER")]
    save_states: Option<PathBuf>,
    /// Seconds after which a board that has said nothing more is a brick
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// Cuts between two lines of progress in a log.
const LINE_EVERY: u64 = 500;

/// Makes the cuts; an error where any board did not come back.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.save_states {
        ensure!(!arguments.log.is_empty(), "--save-states needs a recorded run: --log FILE");
        return save_states(arguments, folder);
    }
    if !is_installed("qemu-system-arm") {
        process::install(&["qemu-system-arm"])?;
    }
    let complete = arguments.bootloader.is_some() && !arguments.elf.is_empty();
    // A recorded run with everything that belongs to it needs nothing built.
    let builds = if complete { None } else { Some(builds(arguments.builds.as_deref())?) };
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { tempfile::tempdir_in(shared)? } else { tempfile::tempdir()? };
    let scenarios = scenarios(arguments, builds.as_ref(), folder.path())?;
    if let Some(to) = &arguments.save_logs {
        std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
        for Scenario { log, .. } in &scenarios {
            log.save(&to.join(format!("{}.flashlog", log.name.replace([',', ' '], "-").replace("--", "-"))))?;
        }
    }
    let keep = arguments.keep.clone().unwrap_or_else(|| process::target().join("bricks"));
    std::fs::create_dir_all(&keep).with_context(|| format!("cannot make {}", keep.display()))?;
    let operations: usize = scenarios.iter().map(|scenario| scenario.log.operations.len()).sum();
    let cuts = plan(arguments, &scenarios);
    ensure!(!cuts.is_empty(), "nothing was recorded that could be cut");
    println!(
        "{} runs with {operations} flash operations, {} boards to cut, seed {}",
        scenarios.len(),
        cuts.len(),
        arguments.seed
    );
    let means = Means {
        bootloader: bootloader(arguments, builds.as_ref())?,
        programs: programs(arguments, builds.as_ref())?,
        extra: arguments.icount.map_or_else(Vec::new, |shift| {
            vec!["-icount".into(), format!("shift={shift},sleep=off,align=off").into()]
        }),
        folder: folder.path(),
        keep: &keep,
        patience: Duration::from_secs(arguments.patience),
    };
    let style = "{bar:40} {pos}/{len} {msg} [{elapsed_precise}, {eta} to go]";
    let bar = ProgressBar::new(cuts.len() as u64).with_style(ProgressStyle::with_template(style)?);
    let report = campaign::run(&means, &scenarios, &cuts, &|count| {
        let done = count.boards();
        bar.set_position(done);
        bar.set_message(format!("{} bricked", count.bricked));
        // Where nobody watches, a line now and then goes to the log.
        if bar.is_hidden() && done.is_multiple_of(LINE_EVERY) {
            println!("{done} of {} boards cut, {} bricked", cuts.len(), count.bricked);
        }
    })?;
    bar.finish_and_clear();
    print(&report);
    ensure!(report.failures.is_empty(), "{} boards did not come back", report.failures.len());
    Ok(())
}

fn plan(arguments: &Arguments, scenarios: &[Scenario]) -> Vec<Cut> {
    let count = (!arguments.every).then_some(arguments.count);
    let mut cuts = campaign::plan(scenarios, &arguments.phase, count, arguments.seed);
    cuts.retain(|cut| !arguments.torn || cut.tear != Tear::Before);
    cuts
}

/// What the flash holds after each cut, as files that a board starts on.
fn save_states(arguments: &Arguments, folder: &Path) -> Result<()> {
    let scenarios = recorded(arguments)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (number, cut) in plan(arguments, &scenarios).iter().enumerate() {
        let Scenario { log, .. } = &scenarios[cut.scenario];
        let path = folder.join(format!("{:06}-{number}.bin", cut.operation));
        log.cut(cut.operation, &cut.tear).write(&path)?;
        println!("{} {}, {} {:?}", path.display(), log.name, log.phase(cut.operation), cut.tear);
    }
    Ok(())
}

fn bootloader(arguments: &Arguments, builds: Option<&Builds>) -> Result<PathBuf> {
    let built = || builds.map(Builds::bootloader);
    arguments.bootloader.clone().or_else(built).context("--bootloader is missing")
}

/// What the debugger stops at.
fn programs(arguments: &Arguments, builds: Option<&Builds>) -> Result<Vec<Program>> {
    if arguments.elf.is_empty() {
        return Ok(builds.context("--elf is missing")?.programs()?);
    }
    arguments.elf.iter().map(|path| Ok(Program::from_elf(path.display().to_string(), path)?)).collect()
}

/// The built board: found, or built.
pub fn builds(folder: Option<&Path>) -> Result<Builds> {
    let base = zephyr_base();
    let mcuboot =
        base.as_ref().and_then(|base| base.parent()).map(|workspace| workspace.join("bootloader/mcuboot"));
    let given = folder.is_some();
    let folder = folder.map_or_else(|| process::target().join("board-builds"), Path::to_path_buf);
    let builds = Builds::new(&folder, mcuboot.as_deref().filter(|path| path.exists()));
    if given && builds.are_there() {
        return Ok(builds);
    }
    let Some(base) = base else {
        bail!(
            "the board is not built, and there is no Zephyr workspace to build it in: ZEPHYR_BASE is not set and \
             ~/zephyrproject has none (docs/firmware.md)"
        );
    };
    zephyr::needs_for_board()?;
    eprintln!("building MCUboot and the test image (a minute the first time) ...");
    let mut west = process::outside_cargo("west");
    west.current_dir(&base).env("ZEPHYR_BASE", &base);
    zephyr::environment(&mut west, "gnuarmemb");
    builds.build(west, &process::root())?;
    Ok(builds)
}

/// Recorded elsewhere, or recorded here: each size with an update and the way back, and one in slots that are not fresh.
fn scenarios(arguments: &Arguments, builds: Option<&Builds>, folder: &Path) -> Result<Vec<Scenario>> {
    if !arguments.log.is_empty() {
        return recorded(arguments);
    }
    let builds = builds.context("the board is not built")?;
    let sizes = if arguments.size.is_empty() { &SIZES[..] } else { &arguments.size };
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut scenarios = Vec::new();
    for (index, &bytes) in sizes.iter().enumerate() {
        let name = format!("{} kB", bytes / 1000);
        spinner.set_message(format!("recording an update with images of {name}"));
        let images = scenario::images(builds, bytes, index as u64)?;
        let update = Scenario::update(builds, &name, &images, false, folder)?;
        scenarios.push(Scenario::revert(builds, &name, &images, &update.log, folder)?);
        scenarios.push(update);
        if index == 0 {
            let name = format!("{name}, used slots");
            scenarios.push(Scenario::update(builds, &name, &images, true, folder)?);
        }
    }
    spinner.finish_and_clear();
    Ok(scenarios)
}

fn recorded(arguments: &Arguments) -> Result<Vec<Scenario>> {
    arguments.log.iter().map(|path| Ok(Scenario::from_log(OperationLog::load(path)?))).collect()
}

fn print(report: &Report) {
    println!("\n| run | phase | boards cut | recovered | bricked | cut again |");
    println!("|---|---|---:|---:|---:|---:|");
    for ((run, phase), count) in &report.phases {
        let Count { recovered, bricked, again } = count;
        println!("| {run} | {phase} | {} | {recovered} | {bricked} | {again} |", count.boards());
    }
    let total = report.total();
    let seconds = report.took.as_secs_f64();
    println!(
        "\n{total}\n{seconds:.0} seconds, {:.3} s for each board",
        seconds / total.boards().max(1) as f64
    );
    for failure in &report.failures {
        let cut = &failure.cut;
        println!(
            "\n{}: operation {} {:?}{}: {}\nflash: {}\n    {}",
            failure.scenario,
            cut.operation,
            cut.tear,
            cut.again.map_or(String::new(), |number| format!(", and again in operation {number} after it")),
            failure.brick,
            failure.kept.display(),
            failure.lines.join("\n    ")
        );
    }
}
