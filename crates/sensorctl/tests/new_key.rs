//! A new key for a power, as docs/operations.md has it, while `log follow` and `renew` run: they take it and say so, and what the
//! former key signed in its time stays proven. Against Mosquitto.

mod service;
#[path = "../src/log/specimen.rs"]
#[allow(dead_code, reason = "the unit tests use all of it")]
mod specimen;

use protocol::document::{IdentityCertificate, LogAcknowledgement, Power};
use protocol::signed::Envelope;
use protocol::topic::topic;
use protocol::{Channel, KeyId};
use rumqttc::{Client, Connection, Event, Packet, QoS};
use sensorctl::powers;
use sensorctl::signer::Home;
use service::{Device, PATIENCE, Program, Service, public, random_key};
use specimen::Specimen;
use std::time::{Duration, Instant};

fn start(service: &Service, arguments: &[&str]) -> Program {
    let port = service.port.to_string();
    let at = ["--ca", "ca", "--registry", "registry.jsonl", "--authority", "powers", "--port", &port];
    let program = Program::start(&mut service.command(&[arguments, &at].concat()));
    program.says("connected, listening");
    program
}

/// Publishes until an answer on this channel satisfies `take`.
fn until<T>(
    (client, connection): &mut (Client, Connection),
    device: &Device,
    channel: Channel,
    messages: &[Vec<u8>],
    mut take: impl FnMut(&[u8]) -> Option<T>,
) -> T {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        for message in messages {
            let on = topic(&device.id, channel);
            client.publish(on.as_str(), QoS::AtLeastOnce, false, message.clone()).unwrap();
        }
        let pause = Instant::now() + Duration::from_secs(4);
        while let Ok(event) = connection.recv_timeout(pause.saturating_duration_since(Instant::now())) {
            if let Event::Incoming(Packet::Publish(answer)) = event.unwrap()
                && let Some(taken) = take(&answer.payload)
            {
                return taken;
            }
        }
    }
    panic!("no answer in time")
}

fn log(device: &Device, seed: u64) -> Specimen {
    let mut log = Specimen::new(device.id.as_str(), seed);
    log.keys = vec![device.identity.clone()];
    log.live(20);
    log
}

/// The key that acknowledged the last record of the log.
fn acknowledged(log: &Specimen, document: &[u8], service: &Service, folder: &str) -> Option<KeyId> {
    let envelope = Envelope::decode(document).unwrap();
    let key = powers::public(&service.path(folder), Power::Configuration).unwrap();
    let said = envelope.verify::<LogAcknowledgement>(&key).ok()?;
    (said.number as usize + 1 == log.records.len()).then_some(key.id())
}

#[test]
fn a_new_key_is_taken_by_programs_that_run_and_what_the_former_one_signed_stays_proven() {
    let service = Service::new();
    let (first, second) = (service.device("dev-1"), service.device("dev-2"));
    let follow = start(&service, &["log", "follow", "--store", "store"]);
    let renew = start(&service, &["renew"]);
    let logs = [log(&first, 1), log(&second, 2)];
    let mut links = [service.connect(&first), service.connect(&second)];
    for ((log, device), link) in logs.iter().zip([&first, &second]).zip(&mut links) {
        until(link, device, Channel::Log, &log.deliver(0), |it| acknowledged(log, it, &service, "powers"));
    }

    powers::init(&service.path("powers-2"), &Home::Files).unwrap();
    for name in ["configuration.pub", "configuration.key"] {
        std::fs::copy(service.path(&format!("powers-2/{name}")), service.path(&format!("powers/{name}")))
            .unwrap();
    }
    // The first device goes on, the second one is silent from here on: its acknowledgement is the former key's.
    let mut longer = log(&first, 1);
    longer.live(20);
    let more = longer.deliver(logs[0].records.len() as u32);
    until(&mut links[0], &first, Channel::Log, &more, |it| acknowledged(&longer, it, &service, "powers-2"));
    follow.says("the key of configuration in powers was replaced");
    let new = Device { identity: random_key(), tls: random_key(), ..second.clone() };
    let identity = public(&new.identity).id();
    until(&mut links[1], &second, Channel::IdentityRequest, &[second.request(&new)], |answer| {
        let Ok(envelope) = Envelope::decode(answer) else { return None };
        let key = powers::public(&service.path("powers-2"), Power::Configuration).unwrap();
        Some(envelope.verify::<IdentityCertificate<'_>>(&key).ok()?.identity == identity)
    });
    renew.says("the key of configuration in powers was replaced");
    follow.end();
    renew.end();

    let verify = || {
        let output = service.output(&[
            "log",
            "verify",
            "store",
            "--registry",
            "registry.jsonl",
            "--authority",
            "powers",
        ]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = verify();
    assert_eq!((code, said.matches("whole and proven").count()), (Some(0), 2), "{said}");
    // Where the former key had ended before the records were made, it is no witness.
    let keys = std::fs::read_to_string(service.path("powers/keys.jsonl")).unwrap();
    let (before, last) = keys.trim_end().rsplit_once('\n').unwrap();
    let at = last.split('"').nth(3).unwrap();
    let altered = format!("{before}\n{}\n", last.replace(at, "2026-01-01T00:00:00Z"));
    std::fs::write(service.path("powers/keys.jsonl"), altered).unwrap();
    let (code, said) = verify();
    assert!(code == Some(3) && said.matches("NOT WHOLE").count() == 1, "{said}");
    assert!(
        said.contains("is signed with the operator's former key") && said.contains("2026-01-01"),
        "{said}"
    );
    // A key that never was the operator's is none, whatever else is known.
    std::fs::write(service.path("powers/keys.jsonl"), format!("{last}\n")).unwrap();
    let (code, said) = verify();
    assert!(code == Some(3) && said.matches("is not the operator's").count() == 1, "{said}");
}
