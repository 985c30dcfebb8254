//! A run of provisioning that is killed again and again, and devices that lose power within it: in the end every device is in the
//! registry once, none is half, nothing is left over, and ids are in the order of the lines. R-PROVISION.
//!
//! `PROVISION_SEEDS` says how many histories are tried, each with 64 devices and 30 kills; without it, a small one.

mod fake;

use fake::{Fake, Quirk};
use protocol::DeviceId;
use protocol::document::Power;
use sensorctl::registry::Registry;
use sensorctl::signer::Home;
use sensorctl::{authority, powers};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a run may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Told when so many messages more have come to devices.
type Alarm = Arc<(AtomicUsize, Mutex<Option<mpsc::Sender<()>>>)>;

struct Hall {
    folder: TempDir,
    fakes: Vec<Fake>,
    lines: Vec<String>,
    alarm: Alarm,
    random: u64,
}

fn count(alarm: &Alarm) -> bool {
    if alarm.0.fetch_sub(1, Ordering::SeqCst) == 1
        && let Some(sender) = alarm.1.lock().unwrap().take()
    {
        let _ = sender.send(());
    }
    false
}

impl Hall {
    fn new(seed: u64, devices: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        authority::init(&folder.path().join("ca"), &["localhost".into()], 1).unwrap();
        powers::init(&folder.path().join("powers"), &Home::Files).unwrap();
        let key = powers::public(&folder.path().join("powers"), Power::Factory).unwrap();
        let alarm = Alarm::default();
        let (mut fakes, mut lines) = (Vec::new(), Vec::new());
        for number in 0..devices {
            let fake = Fake::new(key);
            let path = folder.path().join(format!("line-{number}"));
            let listener = UnixListener::bind(&path).unwrap();
            lines.push(format!("unix:{}", path.display()));
            let (served, alarm) = (fake.clone(), alarm.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    served.serve_until(&stream, &stream, true, || count(&alarm));
                }
            });
            fakes.push(fake);
        }
        Self { folder, fakes, lines, alarm, random: seed.wrapping_mul(2).wrapping_add(1) }
    }

    fn below(&mut self, end: usize) -> usize {
        // Knuth's constants.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % end
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
        command.args(["provision", "--host", "127.0.0.1", "--timeout-s", "60", "--id-prefix", "dev-"]);
        command.args(["--digits", "3", "--json"]);
        for (name, path) in [("--ca", "ca"), ("--authority", "powers"), ("--registry", "registry.jsonl")] {
            command.arg(name).arg(self.path(path));
        }
        for line in &self.lines {
            command.arg("--line").arg(line);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Kills the tool after so many messages, where it has not ended before.
    fn kill_tool(&mut self, messages: usize) {
        let (sender, killed) = mpsc::channel();
        self.alarm.0.store(messages, Ordering::SeqCst);
        *self.alarm.1.lock().unwrap() = Some(sender);
        let mut child = self.start();
        let mut out = child.stdout.take().unwrap();
        // Nobody reads what a killed tool says, and it must not wait for that.
        let drain = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let until = Instant::now() + PATIENCE;
        while killed.recv_timeout(Duration::from_millis(20)).is_err() {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(Instant::now() < until, "the tool hangs");
        }
        let _ = child.kill();
        child.wait().unwrap();
        drain.join().unwrap().unwrap();
        *self.alarm.1.lock().unwrap() = None;
    }

    /// Runs to the end; the lines that failed.
    fn run(&self) -> BTreeSet<String> {
        let output: Output = self.start().wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let devices = summary["devices"].as_array().unwrap();
        let failed = devices.iter().filter(|device| device["outcome"] == "failed");
        failed.map(|device| format!("{} {}", device["line"].as_str().unwrap(), device["why"])).collect()
    }

    /// Devices lose power after some messages: not before they have said who they are in this run, for one that has not gets no
    /// id in it, and others get theirs.
    fn kill_devices(&mut self) {
        let mut hit = BTreeSet::new();
        for _ in 0..=self.below(4) {
            let (number, after) = (self.below(self.fakes.len()), 1 + self.below(24));
            let quirk = if self.below(4) == 0 { Quirk::DiesCommitted } else { Quirk::DiesAfter(after) };
            *self.fakes[number].quirk.lock().unwrap() = quirk;
            hit.insert(self.lines[number].clone());
        }
        let failed = self.run();
        for fake in &self.fakes {
            *fake.quirk.lock().unwrap() = Quirk::None;
        }
        let good: Vec<_> =
            failed.iter().filter(|line| !hit.contains(line.split(' ').next().unwrap())).collect();
        assert!(good.is_empty(), "good devices were refused: {good:?}");
    }

    fn check(&self) {
        assert_eq!(self.run(), BTreeSet::new(), "the same command once more finishes everything");
        let registry = Registry::open(&self.path("registry.jsonl")).unwrap();
        let mut ids: Vec<DeviceId> = Vec::new();
        for fake in &self.fakes {
            let (id, key) = fake.memory.lock().unwrap().life.clone().expect("it is provisioned");
            let records: Vec<_> =
                registry.records(&id).iter().map(|record| record.identity.key.id()).collect();
            assert_eq!(records, [key], "{id} is there once");
            ids.push(id);
        }
        assert_eq!(registry.devices().count(), self.fakes.len());
        assert_eq!(std::fs::read_dir(self.path("registry.jsonl.pending")).unwrap().count(), 0);
        let expected: Vec<_> = (1..=self.fakes.len()).map(|number| format!("dev-{number:03}")).collect();
        assert_eq!(
            ids.iter().map(DeviceId::as_str).collect::<Vec<_>>(),
            expected,
            "in the order of the lines"
        );
    }
}

fn history(seed: u64, devices: usize, kills: usize) {
    let mut hall = Hall::new(seed, devices);
    for _ in 0..kills {
        if hall.below(3) == 0 {
            hall.kill_devices();
        } else {
            let messages = 1 + hall.below(devices * 12);
            hall.kill_tool(messages);
        }
    }
    hall.check();
}

#[test]
fn whatever_is_killed_every_device_is_registered_once_and_ids_are_in_the_order_of_the_lines() {
    match std::env::var("PROVISION_SEEDS") {
        Ok(seeds) => {
            for seed in 0..seeds.parse().expect("a number of seeds") {
                history(seed, 64, 30);
                println!("seed {seed} passed");
            }
        }
        Err(_) => (0..2).for_each(|seed| history(seed, 12, 8)),
    }
}
