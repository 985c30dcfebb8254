//! Runs the fuzz targets of `crates/fuzz`, each from its committed seeds. A target that fails does not keep the others from
//! running.

use crate::process;
use crate::tools;
use anyhow::{Result, bail, ensure};
use std::path::Path;

/// The fuzzer's options.
#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Only this target
    target: Option<String>,
}

/// Fuzzes every target, or the one that is named.
pub fn run(arguments: &Arguments) -> Result<()> {
    let fuzzer = tools::FUZZ.program()?;
    match &arguments.target {
        Some(only) => {
            let targets = targets()?;
            ensure!(targets.contains(only), "there is no target {only}; there are {}", targets.join(", "));
            one(&fuzzer, only, arguments.seconds)
        }
        None => all(&fuzzer, arguments.seconds),
    }
}

/// Fuzzes every target for so many seconds.
pub fn all(fuzzer: &Path, seconds: u32) -> Result<()> {
    each(&targets()?, |target| one(fuzzer, target, seconds))
}

fn each(targets: &[String], mut fuzz: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut failed = Vec::new();
    for target in targets {
        println!("--- {target}");
        if let Err(error) = fuzz(target) {
            eprintln!("{target}: {error:#}");
            failed.push(target.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("{} of {} targets failed: {}", failed.len(), targets.len(), failed.join(", "));
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let mut targets: Vec<String> = std::fs::read_dir(process::root().join("crates/fuzz/seeds"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    targets.sort();
    Ok(targets)
}

fn one(fuzzer: &Path, target: &str, seconds: u32) -> Result<()> {
    let folder = process::root().join("crates/fuzz");
    // What the fuzzer finds goes to a folder that is not committed; the seeds are only read.
    let corpus = process::target().join("fuzz-corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let mut fuzz = process::outside_cargo(fuzzer);
    // Its instrumentation is not stable: this lets any compiler do it.
    fuzz.env("RUSTC_BOOTSTRAP", "1").current_dir(&folder);
    fuzz.args(["fuzz", "run", "--fuzz-dir", ".", "--target-dir"]).arg(process::target().join("fuzz"));
    fuzz.arg(target).arg(&corpus).arg(folder.join("seeds").join(target));
    fuzz.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-print_final_stats=1",
        "-verbosity=0",
        "-print_funcs=0",
    ]);
    process::run(&mut fuzz)
}

#[cfg(test)]
mod tests {
    use super::each;
    use anyhow::ensure;

    #[test]
    fn a_target_that_fails_does_not_keep_those_behind_it_from_running() {
        let targets = ["a", "b", "c", "d"].map(String::from);
        let mut ran = Vec::new();
        let outcome = each(&targets, |target| {
            ran.push(target.to_owned());
            ensure!(!["a", "c"].contains(&target), "found something");
            Ok(())
        });
        assert_eq!(ran, targets);
        assert_eq!(outcome.unwrap_err().to_string(), "2 of 4 targets failed: a, c");
        each(&targets, |_| Ok(())).unwrap();
    }
}
