//! Programs that a task starts: their folders, how to wait until they serve, and that none is left behind.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a server may take until it says that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The repository's root.
pub fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent);
    crates.unwrap_or(Path::new(".")).to_path_buf()
}

/// Where the build puts programs and where tasks put their folders.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("crates/target"), PathBuf::from)
}

/// A program that calls cargo, started as a person would start it: without what the cargo that runs this program has told
/// about its package. Build scripts look at that, and would build everything anew each time it is another's.
pub fn outside_cargo(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_about_a_package) {
            command.env_remove(name);
        }
    }
    command
}

/// True for what cargo sets for a program, a build script or a test, and nobody else does.
fn is_about_a_package(variable: &str) -> bool {
    const NAMES: [&str; 6] = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "OUT_DIR",
    ];
    const PREFIXES: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];
    NAMES.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// A cargo call in the workspace of everything that builds without Zephyr.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = outside_cargo(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root().join("crates"));
    command
}

/// The command as a person would type it.
pub fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end; an error where it cannot start or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if status.success() { Ok(()) } else { bail!("`{}` ended with {status}", words(command)) }
}

/// Runs a command to its end and gives how it ended.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("`{}` cannot be started", words(command)))
}

/// Runs a command to its end, or kills it after `limit`, which is an error too.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let text = words(command);
    let mut child = command.spawn().with_context(|| format!("`{text}` cannot be started"))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`{text}` ended with {status}"),
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            None => {
                // It may have ended at this moment.
                let _ended = child.kill();
                child.wait()?;
                bail!("`{text}` has not ended within {} s", limit.as_secs());
            }
        }
    }
}

/// Cargo, building the programs of these packages.
pub fn cargo_build(packages: &[&str], release: bool) -> Command {
    let mut command = cargo(&["build", "--bins"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    if release {
        command.arg("--release");
    }
    command
}

/// Builds the programs of these packages and gives the folder they are in. The compiler's progress goes to stderr.
pub fn build(packages: &[&str], release: bool) -> Result<PathBuf> {
    run(&mut cargo_build(packages, release))?;
    Ok(target().join(if release { "release" } else { "debug" }))
}

/// True where `program` is in the search path.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in /usr/sbin, which is not in everybody's path.
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|folder| folder.join(program).is_file())
}

/// Installs Debian packages where this is a Debian machine and the user may; otherwise says what to install.
pub fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !(is_root && is_installed("apt-get")) {
        bail!("please install: sudo apt-get install {list}");
    }
    eprintln!("installing {list} ...");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        run(&mut command)
    };
    let arguments = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // A machine that was never updated knows no packages yet.
    apt(&arguments).or_else(|_| apt(&["update"]).and_then(|()| apt(&arguments)))
}

/// A server in the background; killed when dropped.
pub struct Server {
    child: Child,
    /// The port it serves on.
    pub port: u16,
}

impl Server {
    /// Starts a server and waits until it prints a line that starts with `ready`; the last number in it is the port.
    pub fn start(command: &mut Command) -> Result<Self> {
        let text = words(command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut server =
            Self { child: child.with_context(|| format!("`{text}` cannot be started"))?, port: 0 };
        let output = server.child.stdout.take().context("the server has no output")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.starts_with("ready") {
                    // Nobody listens any more where the wait has timed out.
                    let _gone = sender.send(line);
                }
            }
        });
        let line = receiver.recv_timeout(READY_TIMEOUT);
        let line =
            line.with_context(|| format!("`{text}` is not ready after {} s", READY_TIMEOUT.as_secs()))?;
        let number = line.rsplit(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
        server.port =
            number.and_then(|port| port.parse().ok()).with_context(|| format!("no port in {line:?}"))?;
        Ok(server)
    }

    /// Starts a program that serves nothing, such as a device.
    pub fn background(command: &mut Command) -> Result<Self> {
        let text = words(command);
        let child =
            command.stdin(Stdio::null()).spawn().with_context(|| format!("`{text}` cannot be started"))?;
        Ok(Self { child, port: 0 })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::{cargo, is_about_a_package};
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    #[test]
    fn no_cargo_is_told_of_the_package_for_which_another_cargo_runs_this() {
        // Cargo tells a test of its package as it tells a program that it runs.
        let told: BTreeSet<_> = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_")))
            .chain([OsStr::new("CARGO_MANIFEST_DIR").to_owned()])
            .collect();
        assert!(told.len() > 5, "{told:?}");
        let cargo = cargo(&["build"]);
        let removed: BTreeSet<_> =
            cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name.to_owned()).collect();
        assert!(removed.is_superset(&told), "{removed:?} of {told:?}");
    }

    #[test]
    fn what_a_person_tells_cargo_it_hears() {
        for kept in
            ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE", "RUSTFLAGS", "PATH"]
        {
            assert!(!is_about_a_package(kept), "{kept}");
        }
    }
}
