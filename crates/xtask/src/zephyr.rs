//! The steps that need a Zephyr workspace: the firmware's suites on `native_sim` and on the virtual board. Owns what Zephyr's
//! build and its test runner need from this machine.

use crate::cuts;
use crate::process::{self, is_installed};
use crate::python::Python;
use crate::steps::{nextest, passed};
use crate::suite::Outcome;
use crate::toolchain::Toolchain;
use anyhow::Result;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a Zephyr workspace is: `ZEPHYR_BASE`, or `~/zephyrproject/zephyr`.
pub fn zephyr_base() -> Option<PathBuf> {
    let named = std::env::var_os("ZEPHYR_BASE").map(PathBuf::from);
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join("zephyrproject/zephyr"));
    named.or_else(usual).filter(|base| base.join("VERSION").exists())
}

/// The firmware's own suites on `native_sim`, where there is a Zephyr workspace.
pub fn native_sim() -> Result<Outcome> {
    let Some(base) = zephyr_base() else {
        return Ok(Outcome::Skipped(
            "no Zephyr workspace: ZEPHYR_BASE is not set and ~/zephyrproject has none".into(),
        ));
    };
    needs(&[])?;
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

/// Programs that every build or suite needs, and Debian's packages with them.
const HOST_TOOLS: [(&str, &str); 4] = [
    ("cmake", "cmake"),
    ("ninja", "ninja-build"),
    ("dtc", "device-tree-compiler"),
    ("mosquitto", "mosquitto"),
];

/// The virtual board's processor, as rustc has it.
const BOARD_TARGET: &str = "thumbv7m-none-eabi";

/// What a build for the virtual board needs beside them.
const BOARD_TOOLS: [(&str, &str); 2] =
    [("qemu-system-arm", "qemu-system-arm"), ("arm-none-eabi-gcc", "gcc-arm-none-eabi")];

/// Everything but the workspace that the suites need, installed or named before anything is built.
fn needs(more: &[(&str, &'static str)]) -> Result<()> {
    let tools = HOST_TOOLS.iter().chain(more);
    let mut missing: Vec<&str> =
        tools.filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if clangs_headers().is_none() {
        missing.push("libclang-dev");
    }
    if missing.contains(&"gcc-arm-none-eabi") {
        missing.push("libnewlib-arm-none-eabi");
    }
    if !missing.is_empty() {
        process::install(&missing)?;
    }
    python().install()
}

/// The same for the virtual board.
pub fn needs_for_board() -> Result<()> {
    needs(&BOARD_TOOLS)
}

/// West, and what Zephyr's scripts and the suites import.
fn python() -> Python {
    Python {
        requirements: process::root().join("tests/requirements.txt"),
        folder: process::target().join("python-zephyr"),
        imports: "west, elftools, yaml, jsonschema, junitparser, natsort, tabulate, psutil, pytest, \
                  cryptography.hazmat.bindings._rust",
    }
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
    let mut twister = process::outside_cargo("west");
    twister.args(["twister", "--platform", run.platform, "--jobs", "2", "--inline-logs", "--testsuite-root"]);
    twister.arg(process::root().join(run.suites)).arg("--outdir").arg(process::target().join(run.outdir));
    if let Some(marker) = run.only {
        twister.arg(format!("--pytest-args=-m{marker}"));
    }
    twister.env("SENSOR_PROGRAMS", &programs);
    twister.envs(toolchain.environment()?).env("ZEPHYR_BASE", base).current_dir(base);
    environment(&mut twister, run.variant);
    passed(&mut twister)
}

/// What west needs in the environment, whatever it builds.
pub fn environment(west: &mut Command, variant: &str) {
    if std::env::var_os("ZEPHYR_TOOLCHAIN_VARIANT").is_none() {
        west.env("ZEPHYR_TOOLCHAIN_VARIANT", variant).env("GNUARMEMB_TOOLCHAIN_PATH", "/usr");
    }
    // The general name: a target's own cannot be one where the target has a dot in it, as v8-M's has.
    if std::env::var_os(BINDGEN).is_none() {
        west.env(BINDGEN, bindgen_arguments(variant, clangs_headers().as_deref()));
    }
    // Debian has the library in two places, and finds its own headers from this one only.
    if let (None, Some(folder)) = (std::env::var_os(LIBCLANG), libclang()) {
        west.env(LIBCLANG, folder);
    }
    python().put_before(west);
}

const BINDGEN: &str = "BINDGEN_EXTRA_CLANG_ARGS";
const LIBCLANG: &str = "LIBCLANG_PATH";

/// What libclang must be told to read what Zephyr gives bindgen.
fn bindgen_arguments(variant: &str, headers: Option<&Path>) -> String {
    match (variant, headers) {
        // The C library's headers for this machine, where Debian has them.
        ("host", _) => "-isystem /usr/include/x86_64-linux-gnu".into(),
        // GCC's headers come first, and libclang cannot read GCC's arm_acle.h: its own in its place.
        (_, Some(headers)) => {
            format!("-D_GCC_ARM_ACLE_H -include {}", headers.join("arm_acle.h").display())
        }
        (_, None) => String::new(),
    }
}

/// The headers of Debian's libclang, the newest.
fn clangs_headers() -> Option<PathBuf> {
    newest(Path::new("/usr/lib/clang"), "", "include", "arm_acle.h")
}

/// The folder of Debian's libclang, the newest.
fn libclang() -> Option<PathBuf> {
    newest(Path::new("/usr/lib"), "llvm-", "lib", "libclang.so")
        .or_else(|| newest(Path::new("/usr/lib"), "llvm-", "lib", "libclang.so.1"))
}

/// Of the folders `<prefix><version>/<below>` in `parent` that have this file, the one of the highest version.
fn newest(parent: &Path, prefix: &str, below: &str, file: &str) -> Option<PathBuf> {
    let version = |name: &OsStr| {
        let version = name.to_str()?.strip_prefix(prefix)?.split('.').next()?;
        version.parse::<u32>().ok()
    };
    let all = std::fs::read_dir(parent).ok()?.flatten();
    all.filter_map(|entry| Some((version(&entry.file_name())?, entry.path().join(below))))
        .filter(|(_, folder)| folder.join(file).exists())
        .max()
        .map(|(_, folder)| folder)
}

/// What a build refuses. Then the real MCUboot on the virtual board: refusals, the way back, the watchdog, and a short run of power cuts. Then the real
/// firmware on it, updated by its service (`tests/board`, those marked as short).
pub fn board() -> Result<Outcome> {
    on_board(Some("short"))
}

/// The same, with images that go by themselves, and power cuts in downloads of the real firmware: half an hour.
pub fn whole_board() -> Result<Outcome> {
    on_board(None)
}

/// A suite that builds by itself, for the virtual board's processor.
fn pytest(base: &Path, suite: &str) -> Result<()> {
    let mut pytest = process::outside_cargo("python3");
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).arg(process::root().join(suite));
    pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("ZEPHYR_BASE", base).current_dir(base);
    pytest.envs(Toolchain::for_target(BOARD_TARGET)?.environment()?);
    environment(&mut pytest, "gnuarmemb");
    process::run(&mut pytest)
}

/// Two builds of the same source are the same byte for byte, wherever they are made.
pub fn reproducible() -> Result<Outcome> {
    let Some(base) = zephyr_base() else {
        return Ok(Outcome::Skipped("no Zephyr workspace to build in".into()));
    };
    needs_for_board()?;
    pytest(&base, "tests/reproducible").map(|()| Outcome::Passed)
}

fn on_board(only: Option<&'static str>) -> Result<Outcome> {
    let Some(base) = zephyr_base() else {
        return Ok(Outcome::Skipped("no Zephyr workspace to build the board in".into()));
    };
    needs_for_board()?;
    // What no build for hardware may be, and no release may have: said while it is configured.
    pytest(&base, "tests/refusals")?;
    let builds = cuts::builds(None)?;
    let mut tests = nextest()?;
    // Two QEMUs at once.
    tests.args([
        "--package",
        "virtualboard",
        "--test",
        "board",
        "--run-ignored",
        "only",
        "--test-threads",
        "2",
    ]);
    process::run(tests.env(virtualboard::builds::VARIABLE, builds.folder()))?;
    twister(
        &base,
        &Twister {
            platform: "mps2/an385",
            target: BOARD_TARGET,
            variant: "gnuarmemb",
            suites: "tests/board",
            outdir: "twister-board",
            only,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{bindgen_arguments, newest};
    use std::path::Path;

    #[test]
    fn bindgen_gets_this_machines_headers_for_native_sim_and_clangs_own_for_arm() {
        let headers = Path::new("/usr/lib/clang/14/include");
        assert_eq!(bindgen_arguments("host", Some(headers)), "-isystem /usr/include/x86_64-linux-gnu");
        let arm = bindgen_arguments("gnuarmemb", Some(headers));
        assert_eq!(arm, "-D_GCC_ARM_ACLE_H -include /usr/lib/clang/14/include/arm_acle.h");
        assert_eq!(bindgen_arguments("gnuarmemb", None), "");
    }

    #[test]
    fn of_several_versions_the_newest_that_has_the_file_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let take = || newest(folder.path(), "llvm-", "lib", "libclang.so");
        assert_eq!(take(), None);
        for (name, file) in [
            ("llvm-9", "libclang.so"),
            ("llvm-14", "libclang.so"),
            ("llvm-19", "libLLVM.so"),
            ("gcc-20", "libclang.so"),
            ("llvm-x", "libclang.so"),
        ] {
            let lib = folder.path().join(name).join("lib");
            std::fs::create_dir_all(&lib).unwrap();
            std::fs::write(lib.join(file), b"").unwrap();
        }
        assert_eq!(take(), Some(folder.path().join("llvm-14/lib")));
    }
}
