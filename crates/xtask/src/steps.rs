//! The steps of the test run that need nothing but this machine. Owns what each of them runs; the order and the limits are
//! the suite's.

use crate::process::{self, is_installed};
use crate::python::Python;
use crate::suite::Outcome;
use crate::tools;
use crate::{demo, fuzz, size};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the tests need from Debian and from Python.
pub fn packages() -> Result<Outcome> {
    let needed =
        [("mosquitto", "mosquitto"), ("openssl", "openssl"), ("softhsm2-util", "softhsm2"), ("git", "git")];
    let missing: Vec<&str> =
        needed.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        process::install(&missing)?;
    }
    // The independent implementations that tests are held against.
    let python = Python {
        requirements: process::root().join("crates/protocol/tests/interop/requirements.txt"),
        folder: process::target().join("python"),
        imports: "pycose, jwt, cryptography.hazmat.bindings._rust",
    };
    python.install().map(|()| Outcome::Passed)
}

/// A command is the whole step.
pub fn passed(command: &mut Command) -> Result<Outcome> {
    process::run(command).map(|()| Outcome::Passed)
}

/// The form of every Rust file.
pub fn format() -> Result<Outcome> {
    process::run(&mut process::cargo(&["fmt", "--all", "--check"]))?;
    // The firmware's workspace is resolved by Zephyr's build only: its files are named.
    let mut firmware: Vec<PathBuf> = vec![process::root().join("build.rs")];
    for entry in std::fs::read_dir(process::root().join("src"))? {
        firmware.push(entry?.path());
    }
    firmware.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2024"]).args(firmware).current_dir(process::root());
    passed(&mut rustfmt)
}

/// Clippy, without a warning.
pub fn lints() -> Result<Outcome> {
    passed(&mut process::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Every link in the documentation leads somewhere.
pub fn documentation() -> Result<Outcome> {
    passed(process::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Every test as a process of its own, which has a time limit (`crates/.config/nextest.toml`), and the examples in the
/// documentation. All of them, so that one run tells everything that is wrong.
pub fn tests() -> Result<Outcome> {
    let all = process::run(nextest()?.arg("--workspace"));
    let examples = process::run(&mut process::cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]));
    match (all, examples) {
        (Err(tests), Err(examples)) => bail!("{tests:#}; {examples:#}"),
        (all, examples) => all.and(examples).map(|()| Outcome::Passed),
    }
}

/// A run of tests, each of which is ended after its time; a failure does not keep the others from running.
pub fn nextest() -> Result<Command> {
    let mut nextest = process::outside_cargo(tools::NEXTEST.program()?);
    nextest.args(["nextest", "run", "--no-fail-fast"]).current_dir(process::root().join("crates"));
    Ok(nextest)
}

/// The crates of the device build without `std`, and are measured, so that nothing creeps in.
pub fn cortex_m() -> Result<Outcome> {
    size::run().map(|()| Outcome::Passed)
}

/// Every fuzz target for a few seconds, where the fuzzer can be had.
pub fn fuzz() -> Result<Outcome> {
    let fuzzer = match tools::FUZZ.program() {
        Ok(fuzzer) => fuzzer,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    fuzz::all(&fuzzer, FUZZ_SECONDS).map(|()| Outcome::Passed)
}

/// For each target: enough for what anybody would stumble over. `cargo xtask fuzz` takes longer.
const FUZZ_SECONDS: u32 = 3;

/// Licences and banned crates, by cargo-deny.
pub fn licences() -> Result<Outcome> {
    passed(deny()?.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

/// Published holes in what is used, by cargo-deny, where its database can be had.
pub fn advisories() -> Result<Outcome> {
    if process::run_within(deny()?.args(["fetch", "db"]), FETCH_TIMEOUT).is_err() {
        return Ok(Outcome::Skipped(
            "the database of advisories cannot be fetched; what was looked at last is in deny.toml".into(),
        ));
    }
    passed(deny()?.args(["check", "--hide-inclusion-graph", "advisories"]))
}

/// How long the database of advisories may take to come.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

fn deny() -> Result<Command> {
    let mut deny = process::outside_cargo(tools::DENY.program()?);
    deny.arg("--workspace").current_dir(process::root().join("crates"));
    Ok(deny)
}

/// What may not be in the tree: private keys, binaries, and any lock that resolves the unrelated crate `zephyr`.
pub fn tree() -> Result<Outcome> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(process::root()).output()?;
    ensure!(output.status.success(), "`git ls-files` ended with {}", output.status);
    let files = String::from_utf8(output.stdout)?;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        let path = process::root().join(file);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {file}"))?;
        if let Some(why) = unwanted(file, &bytes) {
            bail!("{file} {why}");
        }
    }
    Ok(Outcome::Passed)
}

/// Why a file has no place in the tree.
fn unwanted(file: &str, bytes: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(bytes);
    // A key is the words and a line of base64 after them; the words alone stand in tests.
    let is_key = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() > 20;
    if text.split("PRIVATE KEY-----\n").skip(1).any(is_key) {
        return Some("has a private key in it");
    }
    if bytes.starts_with(b"\x7fELF") || bytes.starts_with(b"!<arch>") {
        return Some("is a binary");
    }
    let resolved = concat!("name = \"", "zephyr\"");
    if file.ends_with("Cargo.lock")
        && text.split("[[package]]").any(|package| package.contains(resolved) && package.contains("source ="))
    {
        return Some("resolves the crate `zephyr` of the registry, which has nothing to do with the RTOS");
    }
    None
}

/// The README's first command works and loses nothing; its build is a person's build.
pub fn demo() -> Result<Outcome> {
    let programs = process::build(&demo::PROGRAMS, false)?;
    rebuilds_nothing()?;
    let world = demo::World::start(&programs, None)?;
    let summary = demo::summary(&world, world.watch().args(["--seconds", "8"]))
        .with_context(|| format!("the device noted:\n{}", world.device_log()))?;
    println!("{summary}");
    ensure!(summary.get("handshake_ms").is_some_and(Value::is_u64), "no handshake: {summary}");
    for field in ["lost", "duplicates", "unexplained"] {
        ensure!(summary.get(field).and_then(Value::as_u64) == Some(0), "{field} is not 0: {summary}");
    }
    Ok(Outcome::Passed)
}

/// What a person has in the environment that decides what cargo builds.
const PERSONS: [&str; 8] = [
    "HOME",
    "PATH",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
];

/// Cargo, called by a person instead of by a task, finds everything built: not one crate is compiled for both.
fn rebuilds_nothing() -> Result<()> {
    let mut build = process::cargo_build(&demo::PROGRAMS, false);
    build.env_clear().arg("--message-format=json");
    build.envs(PERSONS.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    let output = build.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "`{}` ended with {}", process::words(&build), output.status);
    let mut rebuilt = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Value = serde_json::from_slice(line)?;
        if message.get("fresh").and_then(Value::as_bool) == Some(false) {
            rebuilt.push(message.pointer("/target/name").map_or_else(String::new, Value::to_string));
        }
    }
    ensure!(rebuilt.is_empty(), "a person's cargo builds again what a task has built: {}", rebuilt.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::unwanted;

    #[test]
    fn keys_binaries_and_the_wrong_zephyr_are_found_and_ordinary_files_are_not() {
        for kind in ["", "EC ", "RSA "] {
            let key = format!("-----BEGIN {kind}PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49");
            assert_eq!(unwanted("a.pem", key.as_bytes()), Some("has a private key in it"));
        }
        assert_eq!(unwanted("a.rs", b"starts_with(\"-----BEGIN PRIVATE KEY-----\\n\")"), None);
        assert_eq!(unwanted("a", b"\x7fELF\x02"), Some("is a binary"));
        let wrong = b"[[package]]\nname = \"zephyr\"\nversion = \"0.1.1\"\nsource = \"registry\"\n";
        assert!(unwanted("Cargo.lock", wrong).is_some());
        let right = b"[[package]]\nname = \"zephyr\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"serde\"\nsource = \"registry\"\n";
        assert_eq!(unwanted("Cargo.lock", right), None);
        assert_eq!(unwanted("src/lib.rs", b"fn main() {}"), None);
    }
}
