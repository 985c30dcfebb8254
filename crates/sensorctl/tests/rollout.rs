//! Roll-outs against Mosquitto: what the broker has afterwards, as a device reads it; stages, stops, interruptions; and what
//! a fleet's state looks like.

#[path = "firmware/bench.rs"]
mod bench;
mod service;

use bench::body;
use protocol::blocks::{BLOCK_BYTES, PayloadUri};
use protocol::document::{Power, Rollout};
use protocol::firmware::{FirmwareTopic, Phase, UpdateFault, takes_part};
use protocol::topic::topic;
use protocol::{Channel, DeviceId, FirmwareState};
use rumqttc::{Client, Connection, Event, Packet, QoS};
use sensorctl::firmware::manifest::Manifest;
use sensorctl::powers;
use serde_json::Value;
use service::{Device, PATIENCE, Service};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A service with an image key and a release.
struct Bench {
    service: Service,
    manifest: Manifest,
}

impl Bench {
    fn new(bytes: usize) -> Self {
        let service = Service::new();
        service.sensorctl(&["firmware", "key", "--out", "image"]);
        std::fs::write(service.path("body"), body(bytes, 1)).unwrap();
        let manifest = release(&service, "1.1.0", "release");
        Self { service, manifest }
    }

    fn publish(&self, release: &str, more: &[&str]) -> Running {
        let port = self.service.port.to_string();
        let publish =
            ["firmware", "publish", "--authority", "powers", "--ca", "ca", "--json", "--port", &port];
        let mut child = self
            .service
            .command(&[&publish[..], &["--release", release], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines, seen: Vec::new() }
    }

    /// Other commands that connect.
    fn firmware(&self, action: &str, more: &[&str]) -> std::process::Output {
        let port = self.service.port.to_string();
        self.service.output(&[&["firmware", action, "--ca", "ca", "--port", &port], more].concat())
    }

    fn done(&self, action: &str, more: &[&str]) -> String {
        let output = self.firmware(action, more);
        assert!(output.status.success(), "{action} {more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Devices in the registry that take part from this share on, and some that do not.
    fn devices(&self, share: u16, inside: usize, outside: usize) -> [Vec<Device>; 2] {
        let ids = |part: bool| {
            let id = |number| format!("dev-{number}").parse::<DeviceId>().unwrap();
            (0..).map(id).filter(move |id| takes_part(&self.manifest.digest, id, share) == part)
        };
        let device = |id: DeviceId| self.service.device(id.as_str());
        [ids(true).take(inside).map(device).collect(), ids(false).take(outside).map(device).collect()]
    }

    /// A device says how its firmware is.
    fn say(&self, device: &Device, change: impl FnOnce(&mut FirmwareState)) {
        let mut state = FirmwareState::new(self.manifest.class, "1.0.0".try_into().unwrap());
        change(&mut state);
        let mut buffer = [0; 512];
        let len = state.encode(&mut buffer).unwrap();
        let (client, mut connection) = self.service.connect(device);
        let topic = topic(&device.id, Channel::FirmwareState);
        client.publish(topic.as_str(), QoS::AtLeastOnce, true, &buffer[..len]).unwrap();
        while !matches!(connection.recv().unwrap().unwrap(), Event::Incoming(Packet::PubAck(_))) {}
        client.disconnect().unwrap();
        while connection.recv().is_ok_and(|event| event.is_ok()) {}
    }

    fn confirm(&self, device: &Device) {
        self.say(device, |state| {
            state.version = "1.1.0".try_into().unwrap();
            state.sequence = self.manifest.sequence;
        });
    }

    fn fail(&self, device: &Device) {
        self.say(device, |state| {
            (state.phase, state.fault) = (Phase::Failed, Some(UpdateFault::Reverted));
            state.target_sequence = self.manifest.sequence;
        });
    }

    /// What a device reads at `topic`; nothing where the broker keeps nothing.
    fn kept(&self, device: &Device, topic: FirmwareTopic) -> Option<Vec<u8>> {
        let (client, mut connection) = self.service.connect(device);
        let read = fetch(&client, &mut connection, device, topic);
        client.disconnect().unwrap();
        read
    }

    fn rollout(&self, device: &Device) -> Rollout {
        let document = self.kept(device, FirmwareTopic::Rollout(self.manifest.class)).expect("a roll-out");
        self.service.verify(Power::Configuration, &document)
    }
}

/// Asks for one topic as a device does. What the device publishes for itself afterwards comes behind what the broker keeps.
fn fetch(
    client: &Client,
    connection: &mut Connection,
    device: &Device,
    topic: FirmwareTopic,
) -> Option<Vec<u8>> {
    let (topic, end) = (topic.encode(), format!("device/{}/end", device.id));
    for filter in [topic.as_str(), &end] {
        client.subscribe(filter, QoS::AtLeastOnce).unwrap();
    }
    client.publish(&end, QoS::AtLeastOnce, false, "end").unwrap();
    let mut read = None;
    loop {
        match connection.recv_timeout(PATIENCE).expect("an answer in time").unwrap() {
            Event::Incoming(Packet::Publish(message)) if message.topic == end => break,
            Event::Incoming(Packet::Publish(message)) if message.topic == topic.as_str() => {
                read = Some(message.payload.to_vec());
            }
            _ => {}
        }
    }
    client.unsubscribe(topic.as_str()).unwrap();
    read
}

fn release(service: &Service, version: &str, out: &str) -> Manifest {
    service.sensorctl(&[
        "firmware",
        "image",
        "--body",
        "body",
        "--version",
        version,
        "--key",
        "image",
        "--out",
        "new.bin",
    ]);
    service.sensorctl(&["firmware", "sign", "--image", "new.bin", "--authority", "powers", "--out", out]);
    let envelope = std::fs::read(service.path(out).join("manifest.suit")).unwrap();
    Manifest::verify(&envelope, &powers::public(&service.path("powers"), Power::Firmware).unwrap()).unwrap()
}

struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: Vec<Value>,
}

impl Running {
    /// The next event of this kind.
    fn event(&mut self, name: &str) -> Value {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                let mut why = String::new();
                std::io::Read::read_to_string(self.child.stderr.as_mut().unwrap(), &mut why).unwrap();
                panic!("no {name}: {:?} {why}", self.seen);
            }
            let event: Value = serde_json::from_str(&line).unwrap();
            self.seen.push(event.clone());
            if event["event"] == name {
                return event;
            }
        }
    }

    fn end(mut self) -> (ExitStatus, Vec<Value>, String) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            self.seen.push(serde_json::from_str(&line).unwrap());
            line.clear();
        }
        let output = self.child.wait_with_output().unwrap();
        (output.status, self.seen, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn a_release_of_400_kb_is_at_the_broker_whole_and_the_fleet_follows_stage_by_stage() {
    let bench = Bench::new(400_000);
    let [inside, outside] = bench.devices(300, 2, 2);
    let all: Vec<&Device> = inside.iter().chain(&outside).collect();
    let mut running =
        bench.publish("release", &["--share", "30,100", "--registry", "registry.jsonl", "--wait", "10m"]);
    let uploaded = running.event("uploaded");
    let image = std::fs::read(bench.service.path("release/image.bin")).unwrap();
    assert_eq!(uploaded["blocks"].as_u64().unwrap() as usize, image.len().div_ceil(BLOCK_BYTES));
    assert_eq!(uploaded["there"], 0);
    assert_eq!(running.event("share")["share"], 30.0);
    assert_eq!(bench.rollout(&inside[0]).share, 300);
    // Half a stage is none: the second device is still at it.
    bench.confirm(&inside[0]);
    bench.say(&inside[1], |state| {
        (state.phase, state.target_sequence) = (Phase::Downloading, bench.manifest.sequence);
    });
    while running.event("device")["standing"] != "downloading" {}
    assert_eq!(bench.rollout(&inside[0]).share, 300);
    bench.confirm(&inside[1]);
    let stage = running.event("stage");
    assert_eq!((&stage["verdict"], &stage["tally"]["devices"]), (&"over".into(), &2.into()));
    assert_eq!(running.event("share")["share"], 100.0);
    for device in &outside {
        bench.confirm(device);
    }
    let (status, events, why) = running.end();
    assert_eq!(status.code(), Some(0), "{why} {events:?}");
    assert_eq!(events.last().unwrap()["tally"]["by_standing"]["confirmed"], 4);

    // A device reads all of it back, and needs nothing but the manifest to know that it is right.
    let (client, mut connection) = bench.service.connect(all[3]);
    let envelope =
        fetch(&client, &mut connection, all[3], FirmwareTopic::Manifest(bench.manifest.class)).unwrap();
    let key = powers::public(&bench.service.path("powers"), Power::Firmware).unwrap();
    let manifest = Manifest::verify(&envelope, &key).unwrap();
    let uri: PayloadUri = manifest.sources[0].payload().unwrap();
    let mut whole = Vec::new();
    for index in 0..uri.count() {
        let message =
            fetch(&client, &mut connection, all[3], FirmwareTopic::Block(uri, index)).expect("a block");
        whole.extend_from_slice(uri.verify(index, &message).unwrap());
    }
    assert!(whole == image && protocol::key::sha256(&[&whole]) == manifest.image.digest);

    // The same again has nothing to do; a share is not made smaller.
    let (status, events, _) = bench.publish("release", &[]).end();
    assert_eq!(status.code(), Some(0));
    let uploaded = events.iter().find(|event| event["event"] == "uploaded").unwrap();
    assert_eq!((&uploaded["there"], &uploaded["bytes"]), (&uploaded["blocks"], &0.into()));
    assert!(!events.iter().any(|event| event["event"] == "share"), "nothing is signed anew");
    let (status, _, why) = bench.publish("release", &["--share", "50"]).end();
    assert!(status.code() == Some(2) && why.contains("given to 100 % already"), "{why}");
}

#[test]
fn failures_stop_it_and_it_begins_again_only_where_that_is_said() {
    let bench = Bench::new(5_000);
    let [inside, outside] = bench.devices(500, 3, 1);
    let arguments = ["--share", "50,100", "--registry", "registry.jsonl", "--stop-on-failures", "40"];
    let mut running = bench.publish("release", &arguments);
    running.event("share");
    bench.fail(&inside[0]);
    while running.event("device")["fault"] != "reverted" {}
    // One of three is below the limit.
    bench.fail(&inside[1]);
    let stage = running.event("stage");
    assert_eq!((&stage["verdict"], &stage["tally"]["by_fault"]["reverted"]), (&"stop".into(), &2.into()));
    let (status, events, _) = running.end();
    assert_eq!((status.code(), &events.last().unwrap()["end"]), (Some(3), &"stopped".into()));
    let stopped = bench.rollout(&outside[0]);
    assert_eq!((stopped.share, stopped.manifest), (0, bench.manifest.digest));

    let (status, _, why) = bench.publish("release", &arguments).end();
    assert!(status.code() == Some(1) && why.contains("to begin again say --again"), "{why}");
    assert_eq!(bench.rollout(&outside[0]), stopped, "nothing was changed");
    // A list of numbers that was lost does not make devices refuse what follows.
    std::fs::remove_file(bench.service.path("powers/numbers.json")).unwrap();
    let again = ["--share", "100", "--again", "--no-follow"];
    assert_eq!(bench.publish("release", &again).end().0.code(), Some(0));
    let again = bench.rollout(&outside[0]);
    assert_eq!((again.share, again.number), (1_000, stopped.number + 1));
}

#[test]
fn a_rollout_that_was_interrupted_goes_on_where_it_was() {
    let bench = Bench::new(30_000);
    let [inside, outside] = bench.devices(500, 1, 1);
    let arguments = ["--share", "50,100", "--registry", "registry.jsonl"];
    let mut running = bench.publish("release", &arguments);
    let number = running.event("share")["number"].clone();
    let sent = Command::new("kill").args(["-INT", &running.child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let (status, events, _) = running.end();
    assert_eq!((status.code(), &events.last().unwrap()["end"]), (Some(4), &"interrupted".into()));
    let uri = bench.manifest.sources[0].payload().unwrap();
    bench.confirm(&inside[0]);
    let mut running = bench.publish("release", &arguments);
    let uploaded = running.event("uploaded");
    assert_eq!(uploaded["there"].as_u64().unwrap(), u64::from(uri.count()));
    // The first stage is not signed anew, but looked at again.
    assert_eq!(running.event("stage")["share"], 50.0);
    let share = running.event("share");
    assert_eq!(
        (share["share"].as_f64(), share["number"].as_u64()),
        (Some(100.0), Some(number.as_u64().unwrap() + 1))
    );
    bench.confirm(&outside[0]);
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn blocks_that_were_lost_or_altered_are_brought_again_and_no_others() {
    let bench = Bench::new(100_000);
    // Who may do that in this test.
    let spoiler = bench.service.device("spoiler");
    assert_eq!(bench.publish("release", &["--no-follow"]).end().0.code(), Some(0));
    let uri = bench.manifest.sources[0].payload().unwrap();
    let block = |index| FirmwareTopic::Block(uri, index);
    let good = bench.kept(&spoiler, block(3)).unwrap();
    let (client, mut connection) = bench.service.connect(&spoiler);
    let altered: Vec<u8> = good.iter().map(|byte| byte ^ 1).collect();
    for (index, payload) in [(3, altered), (40, Vec::new())] {
        client.publish(block(index).encode().as_str(), QoS::AtLeastOnce, true, payload).unwrap();
        while !matches!(connection.recv().unwrap().unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    }
    drop((client, connection));
    let (status, events, why) = bench.publish("release", &["--no-follow"]).end();
    assert_eq!(status.code(), Some(0), "{why}");
    let uploaded = events.iter().find(|event| event["event"] == "uploaded").unwrap();
    let there = uploaded["there"].as_u64().unwrap();
    // Looking ends at the first window that is not complete.
    assert!((30..u64::from(uri.count())).contains(&there), "{uploaded}");
    assert_eq!(bench.kept(&spoiler, block(3)), Some(good));
    assert!(uri.verify(40, &bench.kept(&spoiler, block(40)).unwrap()).is_ok());
}

#[test]
fn a_stage_waits_no_longer_than_it_may_and_nothing_follows_one_that_proves_nothing() {
    let bench = Bench::new(5_000);
    let [_, outside] = bench.devices(500, 1, 1);
    let arguments = ["--share", "50,100", "--registry", "registry.jsonl", "--wait", "1s"];
    let mut running = bench.publish("release", &arguments);
    assert_eq!(running.event("stage")["verdict"], "time-over");
    let (status, events, _) = running.end();
    assert_eq!((status.code(), &events.last().unwrap()["end"]), (Some(4), &"time-over".into()));
    assert_eq!(bench.rollout(&outside[0]).share, 500, "it stays given to those, and to nobody else");
}

#[test]
fn an_older_release_does_not_take_the_place_of_a_newer_one() {
    let bench = Bench::new(5_000);
    let device = bench.service.device("dev-1");
    let newer = release(&bench.service, "1.2.0", "newer");
    assert_eq!(bench.publish("newer", &["--no-follow"]).end().0.code(), Some(0));
    let (status, _, why) = bench.publish("release", &["--no-follow"]).end();
    assert!(
        status.code() == Some(1)
            && why.contains("the broker offers 1.2.0")
            && why.contains("sign the release anew"),
        "{why}"
    );
    let offered = bench.kept(&device, FirmwareTopic::Manifest(newer.class)).unwrap();
    assert_eq!(offered, newer.envelope);
    // The other way round it does.
    let newest = release(&bench.service, "1.3.0", "newest");
    assert_eq!(bench.publish("newest", &["--no-follow"]).end().0.code(), Some(0));
    assert_eq!(bench.rollout(&device).manifest, newest.digest);
}

#[test]
fn a_broker_that_forbids_it_is_found_out() {
    let mut bench = Bench::new(5_000);
    std::fs::write(bench.service.path("acl"), "user operator\ntopic read firmware/#\ntopic read device/#\n")
        .unwrap();
    bench.service.start_broker();
    let (status, events, why) = bench.publish("release", &["--no-follow"]).end();
    assert_eq!(status.code(), Some(1), "{events:?}");
    assert!(why.contains("acknowledged 3 messages and does not give them back, first firmware/"), "{why}");
}

#[test]
fn what_is_withdrawn_is_offered_to_nobody_any_more() {
    let bench = Bench::new(5_000);
    let device = bench.service.device("dev-1");
    let refused = bench.firmware("withdraw", &["--authority", "powers"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && why.contains("nothing to withdraw"), "{why}");
    assert_eq!(bench.publish("release", &["--share", "100", "--no-follow"]).end().0.code(), Some(0));
    let given = bench.rollout(&device);
    let uri = bench.manifest.sources[0].payload().unwrap();
    let said = bench.done("withdraw", &["--authority", "powers"]);
    assert!(said.contains("given to nobody") && said.contains("the manifest is cleared"), "{said}");
    let withdrawn = bench.rollout(&device);
    assert_eq!((withdrawn.share, withdrawn.number > given.number), (0, true));
    assert_eq!(bench.kept(&device, FirmwareTopic::Manifest(bench.manifest.class)), None);
    assert!(bench.kept(&device, FirmwareTopic::Block(uri, 0)).is_some());
    let said = bench.done("withdraw", &["--authority", "powers", "--release", "release", "--purge"]);
    assert!(said.contains("3 blocks are cleared"), "{said}");
    assert_eq!(bench.kept(&device, FirmwareTopic::Block(uri, 0)), None);
}

#[test]
fn the_state_of_a_fleet_is_seen_at_a_glance() {
    let bench = Bench::new(5_000);
    let [inside, _] = bench.devices(1_000, 4, 0);
    assert_eq!(bench.publish("release", &["--share", "100", "--no-follow"]).end().0.code(), Some(0));
    bench.confirm(&inside[0]);
    bench.fail(&inside[1]);
    bench.say(&inside[2], |state| {
        (state.phase, state.target_sequence) = (Phase::Downloading, bench.manifest.sequence);
        (state.done, state.size, state.target) = (2_500, 5_000, "1.1.0".try_into().unwrap());
    });
    let arguments = ["--registry", "registry.jsonl", "--authority", "powers"];
    let shown = bench.done("status", &arguments);
    for text in [
        "firmware of 4 devices",
        "1.1.0 is offered to 100 %",
        "1 of 4 have it",
        "reverted",
        "never heard of",
        "downloading 1.1.0 50 %",
        "█",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let value: Value =
        serde_json::from_str(&bench.done("status", &[&arguments[..], &["--json"]].concat())).unwrap();
    assert_eq!((&value["by_version"]["1.0.0"], &value["by_version"]["1.1.0"]), (&2.into(), &1.into()));
    assert_eq!(value["by_fault"]["reverted"], 1);
    assert_eq!(value["offers"][0]["standing"]["by_standing"]["silent"], 1);
    let standing = |id: &Device| {
        let devices = value["devices"].as_array().unwrap();
        devices.iter().find(|device| device["id"] == id.id.as_str()).unwrap()["standing"].clone()
    };
    assert_eq!((standing(&inside[0]), standing(&inside[1])), ("confirmed".into(), "failed".into()));
    // Without keys nothing is believed.
    let shown = bench.done("status", &[]);
    assert!(shown.contains("a manifest that was not checked is offered"), "{shown}");
}
