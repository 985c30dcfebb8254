//! Runs the fuzz targets of `crates/fuzz`, each from its committed seeds.

use crate::process;
use anyhow::{Result, bail};
use std::process::Command;

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
    let folder = process::root().join("crates/fuzz");
    let mut targets: Vec<String> = std::fs::read_dir(folder.join("seeds"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    targets.sort();
    if let Some(only) = &arguments.target {
        if !targets.contains(only) {
            bail!("there is no target {only}; there are {}", targets.join(", "));
        }
        targets.retain(|target| target == only);
    }
    if !process::is_installed("cargo-fuzz") {
        bail!(
            "cargo-fuzz is missing: cargo install cargo-fuzz --locked, and rustup toolchain install nightly"
        );
    }
    for target in targets {
        // What the fuzzer finds goes to a folder that is not committed; the seeds are only read.
        let corpus = process::target().join("fuzz-corpus").join(&target);
        std::fs::create_dir_all(&corpus)?;
        println!("--- {target}");
        let mut fuzz = Command::new("cargo");
        // The proxies of rustup choose the compiler by this word; cargo's own variables would override it.
        fuzz.args(["+nightly", "fuzz", "run", "--fuzz-dir", "."])
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN");
        fuzz.arg(&target).arg(&corpus).arg(folder.join("seeds").join(&target));
        fuzz.args([
            "--",
            &format!("-max_total_time={}", arguments.seconds),
            "-print_final_stats=1",
            "-verbosity=0",
        ]);
        process::run(fuzz.current_dir(&folder))?;
    }
    Ok(())
}
