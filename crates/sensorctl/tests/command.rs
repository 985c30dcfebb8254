//! `sensorctl command` against Mosquitto.

mod service;

use protocol::command::{ActionName, AudienceKind, Outcome};
use protocol::document::{Action, Command, Power, Retirement};
use protocol::identity_state::Life;
use protocol::topic::topic;
use protocol::{Channel, CommandAnswer, IdentityState, Refusal};
use rumqttc::{Event, Packet, QoS};
use service::{Device, PATIENCE, Service, public};
use std::process::Output;

fn run(service: &Service, arguments: &[&str]) -> (Option<i32>, String) {
    let port = service.port.to_string();
    let common = ["--ca", "ca", "--authority", "powers", "--port", &port];
    let Output { status, stdout, stderr } = service.output(&[&["command"], arguments, &common[..]].concat());
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

/// A device that answers the next document on its topic.
fn answering(
    service: &Service,
    device: &Device,
    answers: impl FnOnce(&[u8]) -> Vec<(Channel, Vec<u8>)> + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let (client, mut connection) = service.connect(device);
    let id = device.id.clone();
    let mut subscribed = 0;
    while subscribed < Channel::SUBSCRIPTIONS.len() {
        let event = connection.recv_timeout(PATIENCE).unwrap().unwrap();
        subscribed += usize::from(matches!(event, Event::Incoming(Packet::SubAck(_))));
    }
    std::thread::spawn(move || {
        let document =
            service::message(&mut connection, &Device { id: id.clone(), ..device_like() }, Channel::Command);
        let answers = answers(&document);
        let mut open = answers.len();
        for (channel, payload) in answers {
            client.publish(topic(&id, channel).as_str(), QoS::AtLeastOnce, true, payload).unwrap();
        }
        while open > 0 {
            let event = connection.recv_timeout(PATIENCE).unwrap().unwrap();
            open -= usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
        }
    })
}

/// Only the id of it is looked at.
fn device_like() -> Device {
    let key = service::random_key();
    Device { id: "any".parse().unwrap(), identity: key.clone(), tls: key, certificate: Vec::new() }
}

fn said(number: u32, outcome: Outcome, refusal: Option<Refusal>) -> (Channel, Vec<u8>) {
    let mut answer =
        CommandAnswer::new(Some(AudienceKind::Device), number, Some(ActionName::Reboot), outcome);
    answer.refusal = refusal;
    let mut out = [0; 256];
    let len = answer.encode(&mut out).unwrap();
    (Channel::CommandAnswer, out[..len].to_vec())
}

#[test]
fn answers_are_shown_by_name_and_what_is_kept_is_taken_back() {
    let service = Service::new();
    let devices = ["dev-1", "dev-2", "dev-3"].map(|id| service.device(id));
    let first = answering(&service, &devices[0], |_| {
        vec![said(1, Outcome::Begun, None), said(1, Outcome::Done, None)]
    });
    let second =
        answering(&service, &devices[1], |_| vec![said(1, Outcome::Refused, Some(Refusal::Expired))]);
    let all = ["reboot", "--all", "--registry", "registry.jsonl", "--timeout", "4s"];
    let (code, text) = run(&service, &all);
    first.join().unwrap();
    second.join().unwrap();
    assert_eq!(code, Some(3), "{text}");
    for line in [
        "reboot number 1 for 3 devices",
        "dev-1: done",
        "dev-2: refused: the time until",
        "1 done, 1 refused, interrupted or failed, 1 open",
        "open: dev-3 (no answer)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // It waits for the one that was away, and for nobody else.
    let (_client, mut connection) = service.connect(&devices[2]);
    let document = service::message(&mut connection, &devices[2], Channel::Command);
    let command: Command = service.verify(Power::Configuration, &document);
    assert_eq!((command.number, command.action), (1, Action::Reboot));
    let (code, text) = run(&service, &["withdraw", "--id", "dev-3"]);
    assert_eq!(code, Some(2), "withdraw signs nothing: {text}");
    let port = service.port.to_string();
    service.sensorctl(&["command", "withdraw", "--id", "dev-3", "--ca", "ca", "--port", &port]);
    for device in &devices {
        let (_client, mut connection) = service.connect(device);
        let mut subscribed = 0;
        while subscribed < Channel::SUBSCRIPTIONS.len() {
            match connection.recv_timeout(PATIENCE).unwrap().unwrap() {
                Event::Incoming(Packet::SubAck(_)) => subscribed += 1,
                Event::Incoming(Packet::Publish(message)) => panic!("{} is still kept", message.topic),
                _ => {}
            }
        }
    }
    // All have done it.
    let device = answering(&service, &devices[0], |_| vec![said(2, Outcome::Done, None)]);
    let (code, text) = run(&service, &["reboot", "--id", "dev-1"]);
    device.join().unwrap();
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&service, &["reboot", "--id", "dev-1", "--timeout", "1s"]);
    assert_eq!(code, Some(4), "what it said of another command is no answer: {text}");
    assert_eq!(run(&service, &["report"]).0, Some(2));
    assert_eq!(
        run(&service, &["burst", "--samples", "0", "--period-ms", "1000", "--id", "dev-1"]).0,
        Some(2)
    );
}

#[test]
fn a_life_ends_after_a_question_and_what_is_to_be_revoked_is_said() {
    let service = Service::new();
    let device = service.device("dev-1");
    let identity = public(&device.identity).id();
    let decommission = ["decommission", "--id", "dev-1", "--end", "blank", "--registry", "registry.jsonl"];
    let (code, text) = run(&service, &decommission);
    assert!(code == Some(2) && text.contains("give --yes"), "{text}");
    let key = sensorctl::powers::public(&service.path("powers"), Power::Anchors).unwrap();
    let answer = answering(&service, &device, move |document| {
        let envelope = protocol::signed::Envelope::decode(document).unwrap();
        assert_eq!(envelope.verify::<Retirement>(&key).unwrap().identity, identity);
        let mut state = IdentityState::new(&identity);
        state.life = Life::Blank;
        let mut out = [0; 512];
        let len = state.encode(&mut out).unwrap();
        vec![(Channel::IdentityState, out[..len].to_vec())]
    });
    let (code, text) = run(&service, &[&decommission[..], &["--yes"]].concat());
    answer.join().unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("sensorctl revoke --ca CA --registry registry.jsonl --id dev-1 --clear localhost"),
        "{text}"
    );
}
