//! `sensorctl log` against Mosquitto: logs that are followed, acknowledged, verified, shown and exported.

mod service;
#[path = "../src/log/specimen.rs"]
#[allow(dead_code, reason = "the unit tests use all of it")]
mod specimen;

use protocol::Channel;
use protocol::document::{LogAcknowledgement, Power};
use protocol::topic::topic;
use rumqttc::{Event, Packet, QoS};
use service::{PATIENCE, Service};
use specimen::Specimen;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const FOLLOW: [&str; 9] =
    ["log", "follow", "--ca", "ca", "--registry", "registry.jsonl", "--store", "store", "--authority"];

/// Follows until so many records are there; comes back when it listens.
fn follow(service: &Service, count: &str) -> Child {
    let port = service.port.to_string();
    let arguments = [&FOLLOW[..], &["powers", "--port", &port, "--count", count]].concat();
    let mut command = service.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // On a busy machine the first attempt may fail: it is told, and made again.
    let connected = |line: &String| line.contains("connected, listening to logs");
    assert!(lines.by_ref().map_while(Result::ok).any(|line| connected(&line)), "it never listened");
    std::thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
    child
}

#[test]
fn a_log_is_kept_acknowledged_and_verified_and_an_altered_one_is_found() {
    let service = Service::new();
    let device = service.device("dev-1");
    let mut log = Specimen::new("dev-1", 1);
    log.keys = vec![device.identity.clone()];
    log.live(80);
    let count = log.records.len().to_string();
    let child = follow(&service, &count);
    let (client, mut connection) = service.connect(&device);
    let on = topic(&device.id, Channel::Log);
    // A broker that doubles, disorders and alters.
    let mut deliveries = log.deliver(0);
    deliveries.swap(0, 1);
    let mut altered = deliveries[2].clone();
    altered[300] ^= 1;
    deliveries.insert(0, altered);
    deliveries.push(deliveries[1].clone());
    let sender = std::thread::spawn(move || {
        for bytes in deliveries {
            client.publish(on.as_str(), QoS::AtLeastOnce, false, bytes).unwrap();
        }
        client
    });
    let acknowledged = loop {
        let event = connection.recv_timeout(PATIENCE).expect("an acknowledgement in time").unwrap();
        let Event::Incoming(Packet::Publish(message)) = event else { continue };
        assert_eq!(message.topic, topic(&device.id, Channel::LogDesired).as_str());
        let said: LogAcknowledgement = service.verify(Power::Configuration, &message.payload);
        assert_eq!(said.hash, log.records[said.number as usize].1);
        if said.number as usize + 1 == log.records.len() {
            break said.number;
        }
    };
    drop(sender.join());
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains(&format!("{count} records kept, 1 deliveries refused")), "{stdout}");
    assert!(stdout.contains("dev-1 ") && stdout.contains(&format!("#{acknowledged} boot ")), "{stdout}");

    let said = service.sensorctl(&[
        "log",
        "verify",
        "store",
        "--registry",
        "registry.jsonl",
        "--authority",
        "powers",
    ]);
    assert!(said.contains("whole and proven") && said.contains(&format!("0-{acknowledged}")), "{said}");
    let json =
        service.sensorctl(&["log", "verify", "store", "--registry", "registry.jsonl", "--export", "jsonl"]);
    let read: Vec<_> =
        json.lines().map(|line| sensorctl::log::export::json::read(line).expect("a record").1.hash).collect();
    assert_eq!(read, log.records.iter().map(|(_, hash)| *hash).collect::<Vec<_>>());
    let seals =
        service.sensorctl(&["log", "show", "store", "--registry", "registry.jsonl", "--kind", "seal"]);
    assert!(
        seals.lines().count() > 0 && seals.lines().all(|line| line.contains(" seal: sealed everything")),
        "{seals}"
    );

    // One byte of the store.
    let path = service.path("store/dev-1.log");
    let genuine = std::fs::read(&path).unwrap();
    let mut bytes = genuine.clone();
    let second = genuine.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes[second + 700] ^= 2;
    std::fs::write(&path, &bytes).unwrap();
    let verify = |arguments: &[&str]| {
        let output = service.output(&[&["log", "verify", "store/dev-1.log"], arguments].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = verify(&["--registry", "registry.jsonl"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("NOT WHOLE") && said.contains(&format!("(byte {second} of the file)")), "{said}");
    // The end is gone: the acknowledgement beside it tells.
    let end = genuine[..genuine.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    std::fs::write(&path, &genuine[..end]).unwrap();
    let (code, said) = verify(&["--registry", "registry.jsonl"]);
    assert!(code == Some(3) && said.contains("taken away from the end"), "{said}");
    // The acknowledgement is gone too: then nothing tells, and that is said.
    let acknowledgement = service.path("store/dev-1.acknowledged");
    let kept = std::fs::read(&acknowledgement).unwrap();
    std::fs::remove_file(&acknowledgement).unwrap();
    let (code, said) = verify(&["--registry", "registry.jsonl", "--authority", "powers"]);
    assert!(code == Some(3) && said.contains("there is no acknowledgement beside the log"), "{said}");
    let (code, said) = verify(&["--registry", "registry.jsonl"]);
    assert!(code == Some(0) && said.contains("no acknowledgement beside it"), "{said}");
    std::fs::write(&acknowledgement, kept).unwrap();
    // With another key nothing is proven.
    let (code, said) = verify(&["--key", "powers/anchors.pub"]);
    assert!(code == Some(3) && said.contains("record 0: the delivery is signed with the key"), "{said}");
    let output = service.output(&["log", "verify", "store/dev-1.log"]);
    assert_eq!(output.status.code(), Some(2), "whose keys it is signed with must be said");
}

#[test]
fn a_signal_ends_it_in_order_and_the_broker_keeps_deliveries_meanwhile() {
    let service = Service::new();
    let device = service.device("dev-1");
    let child = follow(&service, "1000");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "0 records kept, 0 deliveries refused, 0 dropped unread, 0 acknowledgements sent\n"
    );
    // Nobody listens now.
    let mut log = Specimen::new("dev-1", 2);
    log.keys = vec![device.identity.clone()];
    log.live(5);
    let (client, mut connection) = service.connect(&device);
    client
        .publish(topic(&device.id, Channel::Log).as_str(), QoS::AtLeastOnce, false, log.deliver(0).remove(0))
        .unwrap();
    while !matches!(connection.recv_timeout(PATIENCE).unwrap().unwrap(), Event::Incoming(Packet::PubAck(_))) {
    }
    let port = service.port.to_string();
    service.sensorctl(&[&FOLLOW[..], &["powers", "--port", &port, "--count", "5"]].concat());
    let said = service.sensorctl(&["log", "verify", "store", "--registry", "registry.jsonl"]);
    assert!(said.contains("5 records proven in 1 deliveries: 0-4"), "{said}");
    // One that cannot be looked at keeps nobody from looking at the others.
    std::fs::write(service.path("store/dev-0.log"), "").unwrap();
    std::fs::create_dir(service.path("store/dev-0.refused")).unwrap();
    let output = service.output(&["log", "verify", "store", "--registry", "registry.jsonl"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("5 records proven"), "{said}");
}
