//! `sensorctl config` with Mosquitto: what devices say, what a change would do to them, and a push that is followed to its end,
//! whatever devices send.

mod service;

use protocol::config::{
    CONFIGURATION_BYTES_MAX, CONFIGURATION_STATE_BYTES_MAX, Change, ConfigurationState, Draft, InForce,
    Refused, cut, merge,
};
use protocol::document::{ContentType, Power};
use protocol::key::sha256;
use protocol::signed::Envelope;
use protocol::{DeviceId, EpochMillis, Failure, Layer, Refusal};
use sensorctl::firmware::service::{SILENCE, read};
use sensorctl::operator::{Operator, now};
use sensorctl::powers;
use sensorctl::publish::{Message, publish};
use serde_json::Value;
use service::Service;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const GROUP: &str = "group/field-a/config/desired";

/// A broker, and devices that say what they are told to say.
struct Bench {
    service: Service,
    operator: Operator,
    runtime: tokio::runtime::Runtime,
}

fn change(number: u32, fields: &str) -> Change {
    Change::decode(format!(r#"{{"v":2,"number":{number},"group":"field-a",{fields}}}"#).as_bytes()).unwrap()
}

/// What a device of the group field-a says that runs on this.
fn state(name: &str, group: Option<&Change>) -> ConfigurationState {
    let id: DeviceId = name.parse().unwrap();
    let base = Draft::new(id, "broker.example", "time.example").unwrap().check().unwrap();
    let in_force = |change: &Change| {
        let mut buffer = [0; CONFIGURATION_BYTES_MAX];
        let len = change.encode(&mut buffer).unwrap();
        InForce { number: change.number, digest: sha256(&[&buffer[..len]]) }
    };
    ConfigurationState {
        t: Some(now()),
        group_name: "field-a".try_into().unwrap(),
        group: group.map(in_force),
        device: None,
        trial: None,
        unstored: None,
        refused: 0,
        replayed: 0,
        last: None,
        values: merge(&base, group, None).unwrap(),
    }
}

fn refusing(
    name: &str,
    number: u32,
    why: Refusal,
    text: &str,
    failure: Option<Failure>,
) -> ConfigurationState {
    let mut state = state(name, None);
    state.last = Some(Refused { layer: Some(Layer::Group), number, why, text: cut(&text), failure });
    state.refused = 1;
    state
}

impl Bench {
    fn new() -> Self {
        let service = Service::new();
        let ca = service.path("ca");
        let operator =
            Operator::new(std::slice::from_ref(&ca), &ca, "localhost".into(), service.port, "test").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bench = Self { service, operator, runtime };
        bench.service.sensorctl(&[
            "config",
            "new",
            "--group",
            "field-a",
            "--out",
            "c.toml",
            "sample_period_ms=5000",
        ]);
        bench
    }

    fn publish(&self, topic: &str, payload: &[u8]) {
        let message = Message { topic: topic.to_owned(), retained: true, payload: payload.to_vec() };
        self.runtime.block_on(publish(&self.operator, &[message], |_| {})).unwrap();
    }

    fn say(&self, states: &[ConfigurationState]) {
        let message = |state: &ConfigurationState| {
            let mut buffer = [0; CONFIGURATION_STATE_BYTES_MAX];
            let len = state.encode(&mut buffer).unwrap();
            let topic = format!("device/{}/config/state", state.values.id);
            Message { topic, retained: true, payload: buffer[..len].to_vec() }
        };
        let messages: Vec<Message> = states.iter().map(message).collect();
        self.runtime.block_on(publish(&self.operator, &messages, |_| {})).unwrap();
    }

    /// What the broker keeps at `topic`.
    fn kept(&self, topic: &str) -> Option<Vec<u8>> {
        let mut kept = None;
        let take = |_: &str, payload: &[u8]| kept = Some(payload.to_vec());
        self.runtime.block_on(read(&self.operator, &[topic.to_owned()], SILENCE, take)).unwrap();
        kept
    }

    /// The change that the broker keeps for the group, proven.
    fn desired(&self) -> Option<Change> {
        let document = self.kept(GROUP)?;
        let key = powers::public(&self.service.path("powers"), Power::Configuration).unwrap();
        let payload = Envelope::decode(&document).unwrap().prove(ContentType::Configuration, &key).unwrap();
        Some(Change::decode(payload).unwrap())
    }

    fn config(&self, arguments: &[&str]) -> Command {
        let port = self.service.port.to_string();
        let (command, rest) = arguments.split_first().unwrap();
        self.service.command(&[&["config", command, "--ca", "ca", "--port", &port], rest].concat())
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.config(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn push(&self, more: &[&str]) -> Running {
        let push = ["push", "c.toml", "--authority", "powers", "--yes", "--json"];
        self.run(&[&push[..], more].concat())
    }

    fn run(&self, arguments: &[&str]) -> Running {
        let mut child = self.config(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines, seen: Vec::new() }
    }
}

struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: Vec<Value>,
}

impl Running {
    /// The next event for which `wanted` is true.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                let mut why = String::new();
                std::io::Read::read_to_string(self.child.stderr.as_mut().unwrap(), &mut why).unwrap();
                panic!("{why}: {:?}", self.seen);
            }
            let event: Value = serde_json::from_str(&line).unwrap();
            self.seen.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    fn event(&mut self, name: &str) -> Value {
        self.until(|event| event["event"] == name)
    }

    fn device(&mut self, id: &str, standing: &str) {
        self.until(|event| event["event"] == "device" && event["id"] == id && event["standing"] == standing);
    }

    /// The exit code and the last event.
    fn end(mut self) -> (Option<i32>, Value) {
        let end = self.event("end");
        (self.child.wait().unwrap().code(), end)
    }
}

#[test]
fn a_group_is_brought_to_a_change_with_one_message_and_followed_to_the_last_device() {
    let bench = Bench::new();
    bench.say(&["dev-1", "dev-2", "dev-3"].map(|name| state(name, None)));
    let mut running = bench.push(&[]);
    let difference = running.event("difference");
    let alike = &difference["difference"]["alike"];
    assert_eq!(
        (alike.as_array().unwrap().len(), &alike[0]["devices"]),
        (1, &Value::from(vec!["dev-1", "dev-2", "dev-3"]))
    );
    assert_eq!(alike[0]["changes"][0]["to"], "5000 ms");
    let published = running.event("published");
    assert_eq!((&published["messages"], &published["number"]), (&1.into(), &2.into()));
    let desired = bench.desired().unwrap();
    assert_eq!((desired.number, desired.fields().count()), (2, 1));
    bench.say(&[state("dev-1", Some(&desired))]);
    running.device("dev-1", "in-force");
    // Rubbish, somebody else's state and an older number are told, and are not done.
    bench.publish("device/dev-2/config/state", b"{\"v\":1,\"rubbish\":true}");
    running.device("dev-2", "unreadable");
    let mut other = [0; CONFIGURATION_STATE_BYTES_MAX];
    let len = state("dev-1", Some(&desired)).encode(&mut other).unwrap();
    bench.publish("device/dev-2/config/state", &other[..len]);
    assert!(running.event("unreadable")["why"].as_str().unwrap().contains("it speaks of dev-1"));
    bench.say(&[state("dev-2", Some(&desired)), state("dev-1", None)]);
    running.device("dev-1", "waiting");
    // One that comes only now counts as well.
    bench.say(&[state("dev-4", None)]);
    running.device("dev-4", "waiting");
    let trying = ConfigurationState { trial: Some((Layer::Group, 2)), ..state("dev-3", None) };
    bench.say(&[trying]);
    running.device("dev-3", "trying");
    bench.say(&["dev-1", "dev-3", "dev-4"].map(|name| state(name, Some(&desired))));
    let (code, end) = running.end();
    assert_eq!(
        (code, &end["end"], &end["tally"]["by_standing"]["in-force"]),
        (Some(0), &"done".into(), &4.into())
    );
    assert_eq!(end["stragglers"], Value::Array(vec![]));

    // The same again signs nothing; another one gets a higher number.
    let mut running = bench.push(&[]);
    running.event("there");
    assert_eq!(running.end().0, Some(0));
    assert_eq!(bench.desired().unwrap().number, 2);
    assert_eq!(bench.done(&["check", "c.toml", "--device", "dev-1"]).lines().count(), 1);
    assert!(
        bench
            .done(&["push", "c.toml", "--authority", "powers", "--yes", "--no-follow", "--again"])
            .contains("number 3")
    );
    let again = bench.desired().unwrap();
    bench.say(&["dev-1", "dev-2", "dev-3", "dev-4"].map(|name| state(name, Some(&again))));
    let status = ["status", "--group", "field-a", "--authority", "powers", "--json"];
    assert_eq!(bench.run(&status).end().0, Some(0));
    bench.service.sensorctl(&["config", "set", "c.toml", "report_period_ms=20000"]);
    let said = bench.done(&["push", "c.toml", "--authority", "powers", "--yes", "--no-follow"]);
    assert!(said.contains("number 4 is published: 1 message, kept by the broker and read back"), "{said}");
    assert_eq!(bench.desired().unwrap().number, 4);
    let (code, end) = bench.run(&[&status[..], &["--timeout", "2s"]].concat()).end();
    assert_eq!(
        (code, &end["end"], end["stragglers"].as_array().unwrap().len()),
        (Some(4), &"time-over".into(), 4)
    );
}

#[test]
fn too_many_failures_stop_it_and_what_the_broker_kept_before_is_kept_again() {
    let bench = Bench::new();
    bench.say(&["dev-1", "dev-2", "dev-3"].map(|name| state(name, None)));
    bench.done(&["push", "c.toml", "--authority", "powers", "--yes", "--no-follow"]);
    let former = bench.desired().unwrap();
    bench.say(&["dev-1", "dev-2", "dev-3"].map(|name| state(name, Some(&former))));
    bench.service.sensorctl(&["config", "set", "c.toml", "host=wrong.example"]);
    let mut running = bench.push(&["--stop-after-failures", "2"]);
    assert_eq!(running.event("difference")["difference"]["alike"][0]["changes"][0]["tried_first"], true);
    assert_eq!(running.event("published")["number"], 3);
    bench.say(&[refusing("dev-1", 3, Refusal::Undone, "", Some(Failure::Dns))]);
    running.device("dev-1", "undone");
    // It restarts and says nothing of it any more: it stays undone.
    bench.say(&[state("dev-1", Some(&former))]);
    bench.say(&[refusing("dev-2", 3, Refusal::Configuration, "host is empty", None)]);
    let end = running.event("end");
    let stragglers = end["stragglers"].as_array().unwrap();
    assert_eq!(end["end"], "stopped");
    assert_eq!(
        [&stragglers[0]["text"], &stragglers[1]["text"], &stragglers[2]["standing"]],
        ["refused: host is empty", "undone: the service's host name has no address", "waiting"]
    );
    assert_eq!(running.event("taken-back")["former"], 1);
    assert_eq!(running.child.wait().unwrap().code(), Some(3));
    // Signed anew: who took number 3 goes back, and who kept it brings it to nobody any more.
    let mut back = bench.desired().unwrap();
    assert_eq!(std::mem::replace(&mut back.number, 2), 4);
    assert_eq!(back, former);
}

#[test]
fn what_devices_run_on_and_what_a_change_would_do_is_shown_for_people() {
    let bench = Bench::new();
    let change_2 = change(2, r#""port":8884"#);
    let mut quiet =
        refusing("dev-2", 7, Refusal::Configuration, "port is 0; it must be from 1 to 65535", None);
    quiet.t = Some(EpochMillis(1_790_000_000_000));
    bench.say(&[state("dev-1", Some(&change_2)), quiet]);
    bench.publish("device/dev-3/config/state", b"rubbish");
    let broker = format!("localhost:{}", bench.service.port);
    let digest = state("dev-1", Some(&change_2)).group.unwrap().digest;
    let digest = base16ct::lower::encode_string(&digest[..4]);
    assert_eq!(
        bench.done(&["get", "--all"]),
        format!(
            "configuration of 3 devices at {broker}\n\
             device  group    group change  own change  heard                     firmware\n\
             dev-1   field-a  2 ({digest})  factory     now                       ?\n\
             dev-2   field-a  -             factory     2026-09-21T14:13:20.000Z  ?\n    \
             group change 7 refused: port is 0; it must be from 1 to 65535\n\
             dev-3   ?        ?             ?           no time given             ?\n    \
             the message cannot be read: Invalid type\n"
        )
    );
    let one = bench.done(&["get", "--id", "dev-1"]);
    assert!(one.contains("    port                            8884\n"), "{one}");
    let all: Value = serde_json::from_str(&bench.done(&["get", "--group", "field-a", "--json"])).unwrap();
    assert_eq!(all["devices"].as_array().unwrap().len(), 2);
    assert_eq!((&all["devices"][0]["values"]["port"], &all["of_no_known_group"]), (&8884.into(), &1.into()));
    assert_eq!(
        bench.done(&["diff", "c.toml"]),
        format!(
            "c.toml for group field-a: 2 devices at {broker}\n\
             1 device (dev-2):\n    \
             sample_period_ms  10000 ms -> 5000 ms\n    \
             not heard of late: 1 of these, longest dev-2 since 2026-09-21T14:13:20.000Z\n\
             1 device (dev-1):\n    \
             sample_period_ms  10000 ms -> 5000 ms\n    \
             what the former change names and this one does not goes back to what is below it (the former change is \
             not known here)\n\
             1 device has not said to which group it belongs\n"
        )
    );
    // Who would refuse it is told before anything is published.
    bench.service.sensorctl(&["config", "set", "c.toml", "sample_period_ms=70000"]);
    let output = bench.output(&["check", "c.toml", "--device", "dev-1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("dev-1 would refuse it: report_period_ms is 60000"), "{stderr}");
    let output = bench.output(&["push", "c.toml", "--authority", "powers", "--yes"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("2 devices would refuse it: report_period_ms is 60000"), "{stderr}");
    assert_eq!((output.status.code(), bench.kept(GROUP)), (Some(1), None));
    bench.service.sensorctl(&["config", "set", "c.toml", "sample_period_ms=5000"]);
    let output = bench.output(&["push", "c.toml", "--authority", "powers"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody can be asked here: say --yes"));
    let said = bench.done(&["push", "c.toml", "--authority", "powers", "--dry-run"]);
    assert!(said.ends_with("nothing was published\n"), "{said}");
    assert_eq!(bench.kept(GROUP), None);
}

#[test]
fn devices_get_documents_of_their_own_above_what_they_have() {
    let bench = Bench::new();
    bench.service.sensorctl(&["config", "new", "--anyone", "--out", "own.json", "log_level=error"]);
    let mut known = state("dev-1", None);
    // It says so, and may lie: who believed it would use up the numbers of all the others.
    known.device = Some(InForce { number: 40, digest: [1; 32] });
    bench.say(&[known]);
    let push = ["push", "own.json", "--authority", "powers", "--yes", "--id", "dev-1", "--id", "dev-2"];
    let said = bench.done(&[&push[..], &["--no-follow"]].concat());
    assert!(said.contains("dev-1 says that it has met number 40: that is not proven"), "{said}");
    assert!(said.contains("number 2 is published: 2 messages"), "{said}");
    let said = bench.done(&[&push[..], &["--no-follow", "--number", "41"]].concat());
    assert!(said.contains("number 41 is published: 2 messages"), "{said}");
    assert!(said.contains("1 device (dev-2): never heard of"), "{said}");
    for name in ["dev-1", "dev-2"] {
        assert!(bench.kept(&format!("device/{name}/config/desired")).is_some());
    }
    let output = bench.output(&[&push[..], &["--number", "41"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("the number 41 would be refused"), "{stderr}");
    let (code, end) = bench.run(&[&push[..], &["--json", "--timeout", "1s"]].concat()).end();
    assert_eq!((code, end["stragglers"].as_array().unwrap().len()), (Some(4), 2));
}
