//! `cargo xtask demo` as a person ends it: with programs in the device's place that do nothing but make files and wait.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes what it is asked for; all else runs until it is ended.
const SENSORCTL: &str = r#"#!/bin/sh
echo $$ >> "$PIDS"
case "$1 $2" in
    "ca init" | "authority init" | "firmware key")
        while [ $# -gt 0 ]; do
            if [ "$1" = --out ]; then mkdir -p "$2" && echo "a private key" > "$2/key.pem"; fi
            shift
        done ;;
    provision*) ;;
    *) exec sleep 600 ;;
esac
"#;

/// Serves nobody.
const SIMULATOR: &str = r#"#!/bin/sh
echo $$ >> "$PIDS"
if [ "$1" = run ]; then echo "ready blank device"; else echo "ready port=4711"; fi
exec sleep 600
"#;

/// A build's folder with those programs, and a cargo that finds everything built.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::create_dir(site.path("debug")).unwrap();
        for (name, text) in
            [("debug/sensorctl", SENSORCTL), ("debug/simulator", SIMULATOR), ("cargo", "#!/bin/sh\n")]
        {
            fs::write(site.path(name), text).unwrap();
            fs::set_permissions(site.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts the demo into a pipe, with a process group of its own as in a terminal.
    fn demo(&self, more: &[&str]) -> Demo {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_xtask"));
        demo.arg("demo").args(more).env("CARGO", self.path("cargo")).env("CARGO_TARGET_DIR", self.0.path());
        demo.env("PIDS", self.path("pids")).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        Demo(demo.spawn().unwrap())
    }

    /// Folders of demos.
    fn folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("demo-")).collect()
    }

    /// Waits until the one demo has made this file.
    fn until(&self, file: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.folders().iter().any(|folder| folder.join(file).exists()) {
            assert!(Instant::now() < deadline, "{file} does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Programs of the demo that still run.
    fn running(&self) -> Vec<String> {
        let all = fs::read_to_string(self.path("pids")).unwrap_or_default();
        let lives = |pid: &&str| Path::new("/proc").join(pid).exists();
        all.lines().filter(lives).map(String::from).collect()
    }
}

struct Demo(Child);

impl Demo {
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the demo does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A test that has failed leaves nothing running.
        let _ended = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_demo_that_is_interrupted_at_any_moment_leaves_no_keys_and_no_program_behind() {
    for moment in ["ca/key.pem", "image-key/key.pem", "broker.log", "device.log", "security.log"] {
        // Ctrl-C reaches everything that the terminal runs; the others only who is named.
        for (signal, all) in
            [(Signal::INT, true), (Signal::INT, false), (Signal::TERM, false), (Signal::HUP, false)]
        {
            let site = Site::new();
            let mut demo = site.demo(&[]);
            site.until(moment);
            let pid = Pid::from_child(&demo.0);
            if all { kill_process_group(pid, signal) } else { kill_process(pid, signal) }.unwrap();
            let status = demo.ended();
            assert_eq!(status.code(), Some(128 + signal.as_raw()), "{moment}, {signal:?}: {status}");
            assert!(site.folders().is_empty(), "{moment}, {signal:?}");
            assert_eq!(site.running(), [""; 0], "{moment}, {signal:?}");
        }
    }
}

#[test]
fn a_demo_that_fails_says_so_and_leaves_no_keys_behind_and_one_that_shall_keep_them_does() {
    let site = Site::new();
    // A program that is not there.
    fs::remove_file(site.path("debug/simulator")).unwrap();
    let status = site.demo(&[]).ended();
    assert!(status.code() == Some(1) && status.signal().is_none(), "{status}");
    assert!(site.folders().is_empty());

    let kept = site.path("kept");
    let status = site.demo(&["--keep", kept.to_str().unwrap()]).ended();
    assert_eq!(status.code(), Some(1));
    assert!(kept.join("ca/key.pem").exists());
    assert_eq!(site.running(), [""; 0]);
}

#[test]
fn what_a_killed_demo_has_left_is_removed_by_the_next_and_what_a_running_one_has_is_not() {
    let site = Site::new();
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let [killed, running, other] =
        [format!("demo-{}", gone.id()), format!("demo-{}", std::process::id()), "demo-mine".into()]
            .map(|name| site.path(&name));
    for folder in [&killed, &running, &other] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("key.pem"), "a private key").unwrap();
    }
    let mut demo = site.demo(&[]);
    site.until("broker.log");
    kill_process(Pid::from_child(&demo.0), Signal::TERM).unwrap();
    demo.ended();
    assert!(!killed.exists() && running.exists() && other.exists());
}
