//! Every test that this machine can run, one step after the other. A step that fails does not keep the others from
//! running; a step that cannot run here is named and counted as skipped.

use crate::process::{self, is_installed};
use crate::size::TARGET;
use crate::toolchain::Toolchain;
use crate::{cuts, demo, size};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The options of the test run.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only the steps whose name contains this word; `list` prints the names. Some run only when they are named: they
    /// take longer than all others together
    step: Option<String>,
}

/// How a step ended, where it did not fail.
enum Outcome {
    Passed,
    /// It could not run here; why.
    Skipped(String),
}

type Step = (&'static str, fn() -> Result<Outcome>);

const STEPS: [Step; 11] = [
    ("packages", packages),
    ("format", format),
    ("lints", lints),
    ("documentation", documentation),
    ("tests", tests),
    ("cortex-m", cortex_m),
    ("licences", licences),
    ("tree", tree),
    ("demo", demo_runs),
    ("zephyr", zephyr),
    ("board", board),
];

/// Steps that run only where they are named.
const LONG: [Step; 1] = [("whole-board", whole_board)];

/// Runs the steps and says how each ended.
pub fn run(arguments: &Arguments) -> Result<()> {
    let wanted = arguments.step.as_deref().unwrap_or("");
    if wanted == "list" {
        for (name, _) in STEPS {
            println!("{name}");
        }
        for (name, _) in LONG {
            println!("{name} (only when it is named)");
        }
        return Ok(());
    }
    let mut steps: Vec<&Step> = STEPS.iter().filter(|(name, _)| name.contains(wanted)).collect();
    steps.extend(LONG.iter().filter(|(name, _)| *name == wanted));
    ensure!(!steps.is_empty(), "no step's name contains {wanted:?}; `cargo xtask test list` prints them");
    let mut lines = Vec::new();
    let [mut passed, mut failed, mut skipped] = [0; 3];
    for (name, step) in steps {
        println!("=== {name}");
        let started = Instant::now();
        let result = step();
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

/// What the tests need from Debian and from Python.
fn packages() -> Result<Outcome> {
    let needed =
        [("mosquitto", "mosquitto"), ("openssl", "openssl"), ("softhsm2-util", "softhsm2"), ("git", "git")];
    let missing: Vec<&str> =
        needed.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        process::install(&missing)?;
    }
    python_packages()?;
    Ok(Outcome::Passed)
}

/// The independent implementations that tests are held against, in a folder of the build: nothing is installed into the
/// system's Python.
fn python_packages() -> Result<()> {
    let requirements = process::root().join("crates/protocol/tests/interop/requirements.txt");
    let wanted =
        std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = process::target().join("python");
    let installed = folder.join("requirements.txt");
    // Another Python than the one that installed them cannot load the compiled ones.
    let usable = || {
        Command::new("python3")
            .args(["-c", "import pycose, jwt, cryptography.hazmat.bindings._rust"])
            .env("PYTHONPATH", &folder)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if std::fs::read(&installed).is_ok_and(|there| there == wanted) && usable() {
        return Ok(());
    }
    let pip = || Command::new("python3").args(["-m", "pip", "--version"]).output();
    if !pip().is_ok_and(|output| output.status.success()) {
        process::install(&["python3", "python3-pip"])?;
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    eprintln!("installing the Python packages of the tests into {} ...", folder.display());
    // A folder of its own is also what a Python that is managed by Debian allows (PEP 668).
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--no-warn-script-location", "--root-user-action", "ignore"]);
    install.arg("--target").arg(&folder).arg("-r").arg(&requirements);
    process::run(&mut install)?;
    ensure!(usable(), "the Python packages in {} cannot be loaded by python3", folder.display());
    std::fs::write(&installed, &wanted)?;
    Ok(())
}

fn passed(command: &mut Command) -> Result<Outcome> {
    process::run(command).map(|()| Outcome::Passed)
}

fn format() -> Result<Outcome> {
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

fn lints() -> Result<Outcome> {
    passed(&mut process::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> Result<Outcome> {
    passed(process::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests() -> Result<Outcome> {
    // All of them, so that one run tells everything that is wrong.
    passed(&mut process::cargo(&["test", "--workspace", "--no-fail-fast"]))
}

/// The crates of the device build without `std`, and are measured, so that nothing creeps in.
fn cortex_m() -> Result<Outcome> {
    let toolchain = Toolchain::for_target(TARGET)?;
    let mut build =
        toolchain.cargo(&["build", "--target", TARGET, "--package", "device", "--package", "protocol"])?;
    build.env("CARGO_TARGET_DIR", process::target().join("cortex-m"));
    process::run(build.current_dir(process::root().join("crates")))?;
    size::run()?;
    Ok(Outcome::Passed)
}

/// Licences and banned crates, by cargo-deny.
fn licences() -> Result<Outcome> {
    let tools = process::target().join("tools");
    let local = tools.join("bin/cargo-deny");
    let program = if is_installed("cargo-deny") {
        PathBuf::from("cargo-deny")
    } else {
        if !local.exists() {
            eprintln!("installing cargo-deny (a few minutes, once) ...");
            process::run(
                process::cargo(&["install", "--quiet", "--locked", "cargo-deny", "--root"]).arg(&tools),
            )?;
        }
        local
    };
    let mut deny = Command::new(program);
    deny.args(["--workspace", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    passed(deny.current_dir(process::root().join("crates")))
}

/// What may not be in the tree: private keys, binaries, and any lock that resolves the unrelated crate `zephyr`.
fn tree() -> Result<Outcome> {
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

/// The README's first command works and loses nothing.
fn demo_runs() -> Result<Outcome> {
    let programs = process::build(&["simulator", "sensorctl"], false)?;
    let world = demo::World::start(&programs, None)?;
    let summary = demo::summary(&world, world.watch().args(["--seconds", "8"]))
        .with_context(|| format!("the device noted:\n{}", world.device_log()))?;
    println!("{summary}");
    ensure!(summary.get("handshake_ms").is_some_and(serde_json::Value::is_u64), "no handshake: {summary}");
    for field in ["lost", "duplicates", "unexplained"] {
        ensure!(
            summary.get(field).and_then(serde_json::Value::as_u64) == Some(0),
            "{field} is not 0: {summary}"
        );
    }
    Ok(Outcome::Passed)
}

/// Where a Zephyr workspace is: `ZEPHYR_BASE`, or `~/zephyrproject/zephyr`.
pub fn zephyr_base() -> Option<PathBuf> {
    let named = std::env::var_os("ZEPHYR_BASE").map(PathBuf::from);
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join("zephyrproject/zephyr"));
    named.or_else(usual).filter(|base| base.join("VERSION").exists())
}

/// The firmware's own suites on `native_sim`, where there is a Zephyr workspace.
fn zephyr() -> Result<Outcome> {
    let Some(base) = zephyr_base() else {
        return Ok(Outcome::Skipped(
            "no Zephyr workspace: ZEPHYR_BASE is not set and ~/zephyrproject has none".into(),
        ));
    };
    if !is_installed("west") {
        return Ok(Outcome::Skipped("a Zephyr workspace, but no west: pip install west".into()));
    }
    let modules =
        Command::new("python3").args(["-c", "import cryptography, pytest"]).stderr(Stdio::null()).status()?;
    ensure!(
        modules.success(),
        "the firmware's tests need two Python packages: pip install cryptography pytest"
    );
    twister(
        &base,
        &Twister {
            platform: "native_sim/native/64",
            target: "x86_64-unknown-none",
            variant: "host",
            suites: "tests",
            outdir: "twister",
            only: None,
        },
    )
}

/// What Zephyr's test runner is to run.
struct Twister {
    /// The board.
    platform: &'static str,
    /// Its processor, as rustc has it.
    target: &'static str,
    /// Zephyr's name of a compiler, where the environment names none.
    variant: &'static str,
    /// The folder with the suites.
    suites: &'static str,
    /// Where it builds, in cargo's target folder.
    outdir: &'static str,
    /// Only the tests with this marker.
    only: Option<&'static str>,
}

fn twister(base: &Path, run: &Twister) -> Result<Outcome> {
    // The firmware's tests run them beside it.
    let programs = process::build(&["simulator", "sensorctl", "xtask"], false)?;
    let toolchain = Toolchain::for_target(run.target)?;
    let mut twister = Command::new("west");
    twister.args(["twister", "--platform", run.platform, "--jobs", "2", "--inline-logs", "--testsuite-root"]);
    twister.arg(process::root().join(run.suites)).arg("--outdir").arg(process::target().join(run.outdir));
    if let Some(marker) = run.only {
        twister.arg(format!("--pytest-args=-m{marker}"));
    }
    twister.env("SENSOR_PROGRAMS", &programs);
    twister.envs(toolchain.environment()?).env("ZEPHYR_BASE", base).current_dir(base);
    if std::env::var_os("ZEPHYR_TOOLCHAIN_VARIANT").is_none() {
        twister.env("ZEPHYR_TOOLCHAIN_VARIANT", run.variant).env("GNUARMEMB_TOOLCHAIN_PATH", "/usr");
    }
    let bindgen = format!("BINDGEN_EXTRA_CLANG_ARGS_{}", run.target.replace('-', "_"));
    if run.target.starts_with("thumb")
        && std::env::var_os(&bindgen).is_none()
        && let Some(acle) = clangs_arm_acle()
    {
        // Zephyr gives bindgen GCC's headers first, and libclang cannot read GCC's arm_acle.h: its own in its place.
        twister.env(bindgen, format!("-D_GCC_ARM_ACLE_H -include {}", acle.display()));
    }
    passed(&mut twister)
}

/// Of Debian's libclang.
fn clangs_arm_acle() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/clang").ok()?.flatten();
    let mut all: Vec<PathBuf> = versions.map(|entry| entry.path().join("include/arm_acle.h")).collect();
    all.retain(|path| path.exists());
    all.sort();
    all.pop()
}

/// The real MCUboot on the virtual board: refusals, the way back, the watchdog, and a short run of power cuts. Then the real
/// firmware on it, updated by its service (`tests/board`, those marked as short).
fn board() -> Result<Outcome> {
    on_board(Some("short"))
}

/// The same, with images that go by themselves, and power cuts in downloads of the real firmware: half an hour.
fn whole_board() -> Result<Outcome> {
    on_board(None)
}

fn on_board(only: Option<&'static str>) -> Result<Outcome> {
    let Some(base) = zephyr_base() else {
        return Ok(Outcome::Skipped("no Zephyr workspace to build the board in".into()));
    };
    if !is_installed("qemu-system-arm") {
        process::install(&["qemu-system-arm"])?;
    }
    let builds = cuts::builds(None)?;
    let mut tests = process::cargo(&["test", "--package", "virtualboard", "--test", "board", "--"]);
    // Two QEMUs at once.
    tests.args(["--ignored", "--test-threads", "2"]).env(virtualboard::builds::VARIABLE, builds.folder());
    process::run(&mut tests)?;
    twister(
        &base,
        &Twister {
            platform: "mps2/an385",
            target: "thumbv7m-none-eabi",
            variant: "gnuarmemb",
            suites: "tests/board",
            outdir: "twister-board",
            only,
        },
    )
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
