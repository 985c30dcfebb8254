//! Every test that this machine can run, one step after the other, each as a process of its own with a time limit. A step
//! that fails or hangs does not keep the others from running; a step that cannot run here is named and counted as skipped.

use crate::supervise::{self, Ended};
use crate::{demo, steps, zephyr};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The options of the test run.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only the steps whose name contains this word; `list` prints the names. Some run only when they are named: they
    /// take longer than all others together
    step: Option<String>,
    /// Run the step in this process and write how it ended to this file: what the test run itself asks for
    #[arg(long, hide = true, requires = "step", value_name = "FILE")]
    outcome: Option<PathBuf>,
}

/// How a step ended, where it did not fail.
pub enum Outcome {
    /// It ran and found nothing.
    Passed,
    /// It could not run here; why.
    Skipped(String),
}

struct Step {
    name: &'static str,
    /// After so many minutes it is ended and has failed: several times what it takes on two cores that have other work too.
    minutes: u64,
    run: fn() -> Result<Outcome>,
}

const STEPS: [Step; 13] = [
    Step { name: "packages", minutes: 20, run: steps::packages },
    Step { name: "format", minutes: 5, run: steps::format },
    Step { name: "lints", minutes: 30, run: steps::lints },
    Step { name: "documentation", minutes: 20, run: steps::documentation },
    Step { name: "tests", minutes: 60, run: steps::tests },
    Step { name: "cortex-m", minutes: 20, run: steps::cortex_m },
    Step { name: "fuzz", minutes: 30, run: steps::fuzz },
    Step { name: "licences", minutes: 30, run: steps::licences },
    Step { name: "advisories", minutes: 5, run: steps::advisories },
    Step { name: "tree", minutes: 5, run: steps::tree },
    Step { name: "demo", minutes: 30, run: steps::demo },
    Step { name: "zephyr", minutes: 90, run: zephyr::native_sim },
    Step { name: "board", minutes: 90, run: zephyr::board },
];

/// Steps that run only where they are named.
const LONG: [Step; 2] = [
    Step { name: "whole-board", minutes: 240, run: zephyr::whole_board },
    Step { name: "reproducible", minutes: 90, run: zephyr::reproducible },
];

/// Runs the steps and says how each ended.
pub fn run(arguments: &Arguments) -> Result<()> {
    let wanted = arguments.step.as_deref().unwrap_or("");
    if let Some(file) = &arguments.outcome {
        let step = STEPS.iter().chain(&LONG).find(|step| step.name == wanted);
        return here(step.with_context(|| format!("there is no step {wanted}"))?, file);
    }
    if wanted == "list" {
        for Step { name, .. } in &STEPS {
            println!("{name}");
        }
        for Step { name, .. } in &LONG {
            println!("{name} (only when it is named)");
        }
        return Ok(());
    }
    let mut steps: Vec<&Step> = STEPS.iter().filter(|step| step.name.contains(wanted)).collect();
    steps.extend(LONG.iter().filter(|step| step.name == wanted));
    ensure!(!steps.is_empty(), "no step's name contains {wanted:?}; `cargo xtask test list` prints them");
    let mut lines = Vec::new();
    let [mut passed, mut failed, mut skipped] = [0; 3];
    for step in steps {
        let name = step.name;
        println!("=== {name}");
        let started = Instant::now();
        let result = apart(step);
        let seconds = started.elapsed().as_secs();
        lines.push(match result {
            Ok(Outcome::Passed) => {
                passed += 1;
                format!("  passed  {name:<14} {seconds:>4} s")
            }
            Ok(Outcome::Skipped(why)) => {
                skipped += 1;
                format!("  skipped {name:<14} {why}")
            }
            Err(error) => {
                failed += 1;
                eprintln!("{name} failed: {error:#}");
                format!("  FAILED  {name:<14} {seconds:>4} s: {error:#}")
            }
        });
    }
    println!("\n{}\n", lines.join("\n"));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        // The lines above say it all.
        std::process::exit(1);
    }
    Ok(())
}

/// Runs a step as a process of its own, which leaves nothing behind.
fn apart(step: &Step) -> Result<Outcome> {
    let file = tempfile::NamedTempFile::new()?;
    // The program that runs, though a build may have put another in its place.
    let mut command = Command::new("/proc/self/exe");
    command.args(["test", step.name, "--outcome"]).arg(file.path()).stdin(Stdio::null());
    let ended = supervise::run(&mut command, Some(Duration::from_secs(60 * step.minutes)))?;
    demo::remove_left_overs();
    match ended {
        Ended::Status(status) if status.success() => read(file.path()),
        Ended::Status(status) => bail!("the step's process ended with {status}"),
        Ended::Late => bail!("it took longer than its limit of {} minutes and was ended", step.minutes),
        Ended::Signal(signal) => supervise::exit_for(signal),
    }
}

/// Runs a step in this process.
fn here(step: &Step, file: &Path) -> Result<()> {
    let outcome = match (step.run)() {
        Ok(Outcome::Passed) => json!({}),
        Ok(Outcome::Skipped(why)) => json!({ "skipped": why }),
        Err(error) => json!({ "failed": format!("{error:#}") }),
    };
    std::fs::write(file, outcome.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: &Path) -> Result<Outcome> {
    let outcome: Value =
        serde_json::from_slice(&std::fs::read(file)?).context("the step has said nothing")?;
    let text = |name: &str| outcome.get(name).and_then(Value::as_str);
    match (text("skipped"), text("failed")) {
        (_, Some(why)) => Err(anyhow!("{why}")),
        (Some(why), None) => Ok(Outcome::Skipped(why.to_owned())),
        (None, None) => Ok(Outcome::Passed),
    }
}
