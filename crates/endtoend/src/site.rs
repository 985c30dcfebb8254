//! A factory and an operator's office in one folder, which vanishes with it: the project's own programs as a person calls
//! them, each with its output in a file. Owns the folder and the processes, never what they say.

use crate::PATIENCE;
use crate::pki::Pki;
use rustix::process::{Pid, Signal, kill_process};
use sensorctl::registry::Registry;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::sleep;

/// How often a process or its output is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Where the programs are: [`programs!`](crate::programs).
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// `sensorctl`.
    pub sensorctl: &'static str,
    /// `simulator`.
    pub simulator: &'static str,
}

/// The programs of this package, for a test of it.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::site::Programs {
            sensorctl: env!("CARGO_BIN_EXE_endtoend-sensorctl"),
            simulator: env!("CARGO_BIN_EXE_endtoend-simulator"),
        }
    };
}

/// The folder. Programs run in it, so that `ca`, `authority` and `registry.jsonl` are names in it.
pub struct Site {
    folder: TempDir,
    programs: Programs,
}

/// What came of a program.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// A running program; dropping it kills it.
pub struct Program {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Site {
    /// A blank authority for `localhost` in `ca`, and the keys of the powers in `authority`.
    pub async fn new(programs: Programs) -> Self {
        let site = Self::bare(programs);
        site.sensorctl("ca", "ca init --out ca").await;
        site.sensorctl("authority", "authority init --out authority").await;
        site
    }

    /// Nothing yet.
    pub fn bare(programs: Programs) -> Self {
        let site = Self { folder: tempfile::tempdir().expect("a folder for the site"), programs };
        fs::create_dir(site.path("said")).expect("a folder for logs");
        site
    }

    /// A name in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The whole folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority in `ca`.
    pub fn pki(&self) -> Pki {
        Pki::open(self.path("ca"))
    }

    /// The registry as it is now.
    pub fn registry(&self) -> Registry {
        Registry::open(&self.path("registry.jsonl")).expect("the registry")
    }

    /// A folder with a certificate of the authority in `ca` for one more program of the operator, named `operator.NAME`:
    /// brokers that take the certificate's name for the client identifier let each name in once.
    pub async fn operator(&self, ca: &str, name: &str) -> PathBuf {
        let folder = format!("{ca}-operator.{name}");
        self.sensorctl("operator", &format!("ca operator --ca {ca} --name {name} --out {folder}")).await;
        folder.into()
    }

    /// Runs `sensorctl` with these words; its output is in `said/NAME.out` and `said/NAME.err`. Panics where it fails.
    pub async fn sensorctl(&self, name: &str, words: &str) -> String {
        let ran = self.try_sensorctl(name, words).await;
        assert!(ran.status.success(), "sensorctl {words}: {}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// The same where it may fail.
    pub async fn try_sensorctl(&self, name: &str, words: &str) -> Ran {
        let mut program = self.start_sensorctl(name, words);
        program.ended().await
    }

    /// Starts `sensorctl` with these words.
    pub fn start_sensorctl(&self, name: &str, words: &str) -> Program {
        self.start(self.programs.sensorctl, name, words, None)
    }

    /// The same with a standard output of the caller's.
    pub fn start_sensorctl_into(&self, name: &str, words: &str, stdout: Stdio) -> Program {
        self.start(self.programs.sensorctl, name, words, Some(stdout))
    }

    /// Starts `simulator` with these words.
    pub fn start_simulator(&self, name: &str, words: &str) -> Program {
        self.start(self.programs.simulator, name, words, None)
    }

    /// A time server that is so far ahead; gives its port too.
    pub async fn time_server(&self, offset_ms: u64) -> (Program, u16) {
        let mut time = self.start_simulator("time", &format!("time-server --offset-ms {offset_ms}"));
        let port = time.number("ready time-server port=").await;
        (time, port)
    }

    /// Switches device `number` on, blank or not: folder `NUMBER`, line `ttyNUMBER`, short waits.
    pub fn device(&self, number: usize, more: &str) -> Program {
        let words = format!(
            "run --device {number} --line pty:tty{number} --factory-key authority/factory.pub --backoff-floor-ms 20 \
             --backoff-cap-ms 500 {more}"
        );
        self.start_simulator(&format!("device-{number}"), &words)
    }

    /// The file that stands for the flash of device `number`.
    pub fn flash(&self, number: usize) -> PathBuf {
        self.path(&number.to_string()).join("flash.bin")
    }

    /// The words of `sensorctl provision` for devices of this site that report to the broker on `port`; lines and ids are
    /// the caller's.
    pub fn provisioning(&self, port: u16, time_port: u16) -> String {
        format!(
            "provision --ca ca --authority authority --registry registry.jsonl --timeout-s 30 --host localhost --port {port} \
             --time-server 127.0.0.1:{time_port} --sample-period-ms 50 --report-period-ms 200"
        )
    }

    /// Starts `sensorctl renew` at the broker on `port` with the certificate in `own`, and waits until it listens.
    pub async fn renew(&self, own: &Path, port: u16) -> Program {
        let words = format!(
            "renew --ca ca --operator {} --authority authority --registry registry.jsonl --host localhost --port {port}",
            own.display()
        );
        let mut renew = self.start_sensorctl("renew", &words);
        renew.until_said("listening", 1).await;
        renew
    }

    fn start(&self, program: &str, name: &str, words: &str, out: Option<Stdio>) -> Program {
        let log = |extension: &str| self.path("said").join(format!("{name}.{extension}"));
        let (stdout, stderr) = (log("out"), log("err"));
        let file = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            Stdio::from(file.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        };
        let child = Command::new(program)
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(out.unwrap_or_else(|| file(&stdout)))
            .stderr(file(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        Program { name: name.to_owned(), child, stdout, stderr }
    }
}

impl Program {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The same, for what only a parent may do.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// What it and those before it under its name have written to the standard output.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it and those before it under its name have written to the standard error output.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until `wanted` finds what it looks for in what it has written, to both outputs.
    pub async fn until<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let said = self.stdout() + &self.stderr();
            if let Some(found) = wanted(&said) {
                return found;
            }
            let ended = self.child.try_wait().expect("the state of a child");
            assert!(ended.is_none(), "{}, {what}: it has ended: {ended:?}\n{said}", self.name);
            assert!(Instant::now() < deadline, "{}, {what}: never came\n{said}", self.name);
            sleep(LOOK).await;
        }
    }

    /// Waits until it has said this so often.
    pub async fn until_said(&mut self, text: &str, times: usize) {
        self.until(text, |said| (said.matches(text).count() >= times).then_some(())).await;
    }

    /// The number behind this in what it has said: `port=` of a program that serves.
    pub async fn number(&mut self, before: &str) -> u16 {
        self.until(before, |said| {
            let (number, _) = said.split_once(before)?.1.split_once(|c: char| !c.is_ascii_digit())?;
            number.parse().ok()
        })
        .await
    }

    /// How it ended; `None` while it runs.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits until it ends.
    pub async fn ended(&mut self) -> Ran {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the state of a child") {
                return Ran { status, stdout: self.stdout(), stderr: self.stderr() };
            }
            assert!(Instant::now() < deadline, "{} does not end: {}", self.name, self.stderr());
            sleep(LOOK).await;
        }
    }

    /// Asks it to end in an orderly way, and waits until it has.
    pub async fn stop(&mut self) -> Ran {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a signal to a child");
        let ran = self.ended().await;
        assert!(ran.status.success(), "{}: {ran:?}", self.name);
        ran
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing of it is left.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
