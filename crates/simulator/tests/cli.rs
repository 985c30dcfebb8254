//! The program as it is typed: what serves says so, what runs leaves its flash behind, what cannot run says why.

mod support;

use protocol::{Configuration, EpochMillis};
use rustix::process::{Pid, Signal, kill_process};
use simulator::folder::Folder;
use simulator::mqtt::{Link, LinkEvent, Target};
use simulator::tls::{DeviceClock, client_config};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::{Authority, configuration};

fn simulator() -> Command {
    Command::new(env!("CARGO_BIN_EXE_simulator"))
}

/// A command that serves; killed when dropped.
struct Serving {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    ready: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already, which some tests ask for.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().expect("a first line").unwrap();
        assert!(ready.starts_with("ready "), "{ready}");
        Self { child, lines, ready }
    }

    fn port(&self) -> u16 {
        self.ready.rsplit_once("port=").unwrap().1.parse().unwrap()
    }

    fn until(&mut self, part: &str) -> String {
        self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(part)).expect(part)
    }

    /// Asks for an orderly end; gives the lines up to it.
    fn terminate(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let rest = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

/// A broker, a time server and folders for devices that use them.
struct Site {
    authority: Authority,
    folder: tempfile::TempDir,
    broker: Serving,
    time: Serving,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::new("ours");
        let folder = tempfile::tempdir().unwrap();
        authority.write_folder(folder.path());
        let broker = Serving::start(simulator().args(["broker", "--port", "0", "--ca"]).arg(folder.path()));
        let time = Serving::start(simulator().args(["time-server", "--port", "0"]));
        Self { authority, folder, broker, time }
    }

    fn configuration(&self, id: &str) -> Configuration {
        let time = std::net::SocketAddr::from(([127, 0, 0, 1], self.time.port()));
        configuration(id, "localhost", self.broker.port(), &[time])
    }

    fn enrol(&self, id: &str) -> std::path::PathBuf {
        let folder = self.folder.path().join("devices").join(id);
        self.authority.write_device(&folder, &self.configuration(id));
        folder
    }
}

fn run(device: &Path) -> Command {
    let mut command = simulator();
    command.args(["run", "--backoff-floor-ms", "50", "--device"]).arg(device);
    command
}

#[test]
fn a_device_runs_connects_and_counts_its_boots_in_its_flash() {
    let site = Site::new();
    let folder = site.enrol("dev-1");
    for boot in 1..=3 {
        let mut device = Serving::start(&mut run(&folder));
        assert_eq!(device.ready, format!("ready device id=dev-1 boot={boot}"));
        let connected = device.until("connected to the service in");
        // Its own time stands in front: it has one before it connects.
        assert!(connected.starts_with("20") && connected.contains("Z "), "{connected}");
        let rest = device.terminate();
        assert!(rest.last().unwrap().contains(" 0 lost"), "{rest:?}");
    }
    assert!(folder.join("flash.bin").exists());
}

#[test]
fn a_client_that_leaves_before_connack_does_not_take_the_broker_with_it() {
    let site = Site::new();
    let folder = site.enrol("dev-1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = DeviceClock::default();
        clock.set(EpochMillis::from_seconds(
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
        ));
        let credentials = Folder::load(&folder).unwrap().credentials;
        let tls = Arc::new(client_config(credentials, clock).unwrap());
        let target = Target {
            host: "localhost".to_owned(),
            port: site.broker.port(),
            client_id: "dev-1".to_owned(),
            login: None,
            keep_alive_s: 60,
            timeout: Duration::from_secs(5),
            turn: device::session::AddressTurn::default(),
            known: Vec::new(),
        };
        // Gone after 0 to 59 ms: some of them between CONNECT and CONNACK, which rumqttd takes some 40 ms for.
        for patience in 0..60 {
            let mut link = Link::open(&target, tls.clone());
            let answer = async { while let Some(LinkEvent::Trying(_)) = link.next().await {} };
            let _too_late = tokio::time::timeout(Duration::from_millis(patience), answer).await;
        }
    });
    Serving::start(&mut run(&folder)).until("connected to the service in");
}

#[test]
fn a_newer_configuration_in_the_folder_is_taken_over_and_an_older_one_is_not() {
    let site = Site::new();
    let folder = site.enrol("dev-1");
    Serving::start(&mut run(&folder)).terminate();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (number, expected) in [(1, "connected to"), (2, "not connected: nothing listens")] {
        let mut draft = site.configuration("dev-1").draft();
        (draft.number, draft.port) = (number, closed.into());
        site.authority.write_device(&folder, &draft.check().unwrap());
        Serving::start(&mut run(&folder)).until(expected);
    }
}

#[test]
fn a_fleet_reports_every_sample_as_json() {
    let site = Site::new();
    for number in 0..5 {
        site.enrol(&format!("dev-{number}"));
    }
    let mut fleet = simulator();
    fleet.args(["fleet", "--json", "--seconds", "2", "--devices"]).arg(site.folder.path().join("devices"));
    let output = fleet.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (ready, json) = text.trim().split_once('\n').unwrap();
    assert_eq!(ready, "ready fleet devices=5");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((json["devices"].as_u64(), json["lost"].as_u64()), (Some(5), Some(0)), "{json}");
    assert_eq!(json["connect"]["count"], 5, "{json}");
    // Each device takes 40 samples in 2 s and sends a hello and a state; the bounds leave room for a slow machine.
    assert!(json["samples"].as_u64().unwrap() > 50, "{json}");
    assert!(json["acknowledge"]["count"].as_u64().unwrap() > 10, "{json}");
    assert!(json["failures"].as_object().unwrap().is_empty(), "{json}");
}

#[test]
fn a_device_keeps_its_firmware_beside_its_flash_and_says_which_it_is() {
    let site = Site::new();
    let folder = site.enrol("dev-1");
    let first = site.folder.path().join("first.bin");
    std::fs::write(&first, simulator::slots::factory()).unwrap();
    Serving::start(run(&folder).arg("--firmware").arg(&first)).terminate();
    let slots = std::fs::read(folder.join("flash.slots")).unwrap();
    assert!(slots.starts_with(&simulator::slots::factory()));
    // It has one: another first image is not looked at.
    std::fs::write(&first, "none").unwrap();
    Serving::start(run(&folder).arg("--firmware").arg(&first)).terminate();
    assert_eq!(std::fs::read(folder.join("flash.slots")).unwrap(), slots);

    let folder = site.enrol("dev-2");
    let said = refused(run(&folder).arg("--firmware").arg(&first));
    assert!(said.contains("first firmware image") && said.contains("shorter"), "{said}");
    let said = refused(run(&folder).arg("--image-key").arg(&first));
    assert!(said.contains("first.bin") && said.contains("public key"), "{said}");
    let said = refused(run(&folder).args(["--trial-ms", "5000", "--trial-deadline-ms", "5000"]));
    assert!(said.contains("--trial-deadline-ms must be more"), "{said}");
}

fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn what_cannot_run_says_why_and_fails() {
    let empty = tempfile::tempdir().unwrap();
    let said = refused(run(empty.path()).args(["--seconds", "1"]));
    assert!(said.contains("config.json") && said.contains("enrolled"), "{said}");
    let said = refused(simulator().args(["broker", "--ca"]).arg(empty.path()));
    assert!(said.contains("broker.key") && said.contains("CA"), "{said}");
    let said = refused(simulator().args(["fleet", "--devices"]).arg(empty.path()));
    assert!(said.contains("no sub-folder"), "{said}");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = refused(simulator().args(["time-server", "--port", &port]));
    assert!(said.contains("cannot listen") && said.contains(&port), "{said}");
    for bad in [["--fault-rate", "2"], ["--speed", "0"], ["--seconds", "-1"], ["--backoff-floor-ms", "0"]] {
        assert!(!refused(run(empty.path()).args(bad)).is_empty(), "{bad:?}");
    }
}

#[test]
fn a_damaged_configuration_is_named_and_the_flash_stays_as_it_is() {
    let site = Site::new();
    let folder = site.enrol("dev-1");
    Serving::start(&mut run(&folder)).terminate();
    let before = std::fs::read(folder.join("flash.bin")).unwrap();
    let path = folder.join("config.json");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("\"keep_alive_s\":60", "\"keep_alive_s\":1")).unwrap();
    let said = refused(&mut run(&folder));
    assert!(said.contains("keep_alive_s is 1; it must be from 5 to 1200"), "{said}");
    assert_eq!(std::fs::read(folder.join("flash.bin")).unwrap(), before);
}

#[test]
fn help_names_every_command() {
    let output = simulator().arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["run", "fleet", "broker", "time-server"] {
        assert!(text.contains(&format!("\n  {command} ")), "{text}");
    }
}
