//! The operator's commands against Mosquitto: documents that are published, devices that renew their certificates, and
//! revocation that the broker enforces.

mod service;

use protocol::Channel;
use protocol::document::{Audience, IdentityCertificate, Power, RootList};
use protocol::topic::topic;
use protocol::x509::Certificate;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use rumqttc::{Client, Connection, Event, Packet, QoS};
use serde_json::Value;
use service::{Device, PATIENCE, Service, message, public, random_key};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Asks until there is an answer, as a device does: nobody knows when the other side listens. Rubbish goes with it.
fn ask(client: &Client, connection: &mut Connection, device: &Device, request: &[u8]) -> Vec<u8> {
    let topic = topic(&device.id, Channel::IdentityRequest);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        for payload in [b"rubbish", request] {
            client.publish(topic.as_str(), QoS::AtLeastOnce, false, payload.to_vec()).unwrap();
        }
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            match connection.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Ok(Event::Incoming(Packet::Publish(answer)))) => return answer.payload.to_vec(),
                Ok(event) => drop(event.unwrap()),
                Err(_) => break,
            }
        }
    }
    panic!("no answer in time")
}

#[test]
fn a_device_renews_over_the_broker_and_both_identities_work_until_one_is_revoked() {
    let mut service = Service::new();
    let port = service.port.to_string();
    let old = service.device("dev-1");
    let renew = [
        "renew",
        "--ca",
        "ca",
        "--authority",
        "powers",
        "--registry",
        "registry.jsonl",
        "--port",
        &port,
        "--json",
    ];
    let run = |arguments: &[&str]| {
        service
            .command(&[&renew[..], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let child = run(&["--count", "1"]);
    let (client, mut connection) = service.connect(&old);
    let new = Device { identity: random_key(), tls: random_key(), ..old.clone() };
    let request = old.request(&new);
    let answer = ask(&client, &mut connection, &old, &request);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(events.iter().any(|event| event["event"] == "refused" && event["id"] == "dev-1"));
    assert_eq!(events.iter().filter(|event| event["event"] == "granted").count(), 1);
    assert_eq!(events.last().unwrap()["granted"], 1);
    let document: IdentityCertificate<'_> = service.verify(Power::Configuration, &answer);
    assert_eq!((document.number, document.identity), (1, public(&new.identity).id()));
    let new = Device { certificate: document.chain.0[0].to_vec(), ..new };
    assert_eq!(Certificate::decode(&new.certificate).unwrap().public_key(), public(&new.tls));
    drop((client, connection));
    assert!(service.accepts(&old) && service.accepts(&new));
    // A request that comes while nobody listens is kept, and answered with the same certificate.
    let (client, mut connection) = service.connect(&new);
    assert_eq!(message(&mut connection, &new, Channel::IdentityDesired), answer, "it is retained");
    let third = Device { identity: random_key(), tls: random_key(), ..new.clone() };
    client
        .publish(
            topic(&old.id, Channel::IdentityRequest).as_str(),
            QoS::AtLeastOnce,
            false,
            new.request(&third),
        )
        .unwrap();
    while !matches!(connection.recv().unwrap().unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    let output = run(&["--count", "1"]).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = message(&mut connection, &new, Channel::IdentityDesired);
    let document: IdentityCertificate<'_> = service.verify(Power::Configuration, &answer);
    assert_eq!(document.identity, public(&third.identity).id());
    drop((client, connection));

    // The first identity ends: the broker refuses its certificate and takes the others.
    let beginning = public(&new.identity).id().to_string();
    let said = service.sensorctl(&[
        "revoke",
        "--ca",
        "ca",
        "--registry",
        "registry.jsonl",
        "--id",
        "dev-1",
        "--keep",
        &beginning,
    ]);
    let fingerprint = base16ct::lower::encode_string(&protocol::key::sha256(&[&old.certificate]));
    assert!(said.contains(&fingerprint), "{said}");
    service.start_broker();
    assert!(!service.accepts(&old));
    assert!(service.accepts(&new));
    let listed = service.sensorctl(&["registry", "list", "--registry", "registry.jsonl"]);
    assert!(listed.contains(&beginning) && listed.contains("1 devices in service"), "{listed}");
    assert!(!listed.contains(&public(&old.identity).id().to_string()), "{listed}");
}

#[test]
fn a_signal_ends_the_registration_authority_in_order() {
    let service = Service::new();
    let port = service.port.to_string();
    let mut child = service
        .command(&[
            "renew",
            "--ca",
            "ca",
            "--authority",
            "powers",
            "--registry",
            "registry.jsonl",
            "--port",
            &port,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("connected, listening to requests"), "{line}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "0 certificates issued, 0 requests refused, 0 dropped unread\n"
    );
}

#[test]
fn documents_reach_the_devices_that_they_are_for_with_numbers_that_grow() {
    let service = Service::new();
    let devices = ["dev-1", "dev-2"].map(|id| service.device(id));
    let broker = format!("localhost:{}", service.port);
    let publish =
        ["--authority", "powers", "--publish", &broker, "--ca", "ca", "--registry", "registry.jsonl"];
    let send = |arguments: &[&str]| service.sensorctl(&[&["document"], arguments, &publish[..]].concat());
    for number in 1..3 {
        let said = send(&["roots", "--root", "ca/ca.crt", "--all"]);
        assert!(said.contains("roots sent to 2 devices, kept for them by the broker"), "{said}");
        for device in &devices {
            let (_client, mut connection) = service.connect(device);
            let document = message(&mut connection, device, Channel::RootsDesired);
            let list: RootList<'_> = service.verify(Power::Anchors, &document);
            assert_eq!((list.number, list.audience), (number, Audience::Device(device.id.clone())));
            assert_eq!(list.roots.0.len(), 1);
        }
    }
    // What the broker kept of a device is taken back when it ends (this one never says that it was wiped).
    service.sensorctl(&[
        "revoke",
        "--ca",
        "ca",
        "--registry",
        "registry.jsonl",
        "--id",
        "dev-1",
        "--clear",
        &broker,
        "--lost",
    ]);
    let (_client, mut connection) = service.connect(&devices[0]);
    let mut subscribed = 0;
    while subscribed < Channel::SUBSCRIPTIONS.len() {
        match connection.recv_timeout(PATIENCE).unwrap().unwrap() {
            Event::Incoming(Packet::SubAck(_)) => subscribed += 1,
            Event::Incoming(Packet::Publish(message)) => panic!("{} is still kept", message.topic),
            _ => {}
        }
    }
}

#[test]
fn a_root_that_no_device_would_take_is_neither_signed_nor_sent_and_uses_up_no_number() {
    let service = Service::new();
    let device = service.device("dev-1");
    let broker = format!("localhost:{}", service.port);
    let roots = |root: &str| {
        let words = ["document", "roots", "--root", root, "--id", "dev-1", "--authority", "powers"];
        service.output(&[&words[..], &["--publish", &broker, "--ca", "ca", "--out", "out.cose"]].concat())
    };
    for (name, not_after, usage, ca) in [
        ("expired.crt", 2021, KeyUsagePurpose::KeyCertSign, true),
        ("ku-no-sign.crt", 2040, KeyUsagePurpose::DigitalSignature, true),
        ("no-bc.crt", 2040, KeyUsagePurpose::KeyCertSign, false),
    ] {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(not_after, 1, 1));
        params.key_usages = vec![usage];
        params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        std::fs::write(service.path(name), root.pem()).unwrap();
    }
    for root in ["ca/broker.crt", "ca/operator.crt", "expired.crt", "ku-no-sign.crt", "no-bc.crt"] {
        let output = roots(root);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{root}: {said}");
        assert!(said.contains("not signed, as every device would refuse it: root 1 "), "{root}: {said}");
        assert!(
            !service.path("out.cose").exists() && !service.path("powers/numbers.json").exists(),
            "{root}"
        );
    }
    let output = roots("ca/ca.crt");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_client, mut connection) = service.connect(&device);
    let document = message(&mut connection, &device, Channel::RootsDesired);
    let list: RootList<'_> = service.verify(Power::Anchors, &document);
    assert_eq!(list.number, 1, "the first one is the first that devices can take");
}

#[test]
fn documents_are_written_to_files_and_wrong_ones_are_refused() {
    let service = Service::new();
    service.device("dev-1");
    let signed = ["--authority", "powers", "--out", "out"];
    let document = |arguments: &[&str]| service.output(&[&["document"], arguments, &signed[..]].concat());
    let refused = |arguments: &[&str], code, text: &str| {
        let output = document(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(!service.path("out").exists());
    };
    let roots = |more: &[&'static str]| [&["roots", "--root", "ca/ca.crt"], more].concat();
    refused(&roots(&[]), 2, "no device is named");
    refused(&roots(&["--id", "dev-1", "--for", "many"]), 2, "it must be device, all or group:NAME");
    refused(&["roots", "--root", "ca/ca.key", "--id", "dev-1"], 1, "holds no certificate");
    refused(&["roots", "--root", "ca/broker.crt", "--for", "all", "--number", "0"], 2, "0 is not in 1..");
    refused(
        &["authority-key", "--power", "factory", "--key", "powers/factory.pub", "--id", "a"],
        2,
        "invalid value",
    );
    refused(
        &["authority-key", "--power", "firmware", "--key", "ca/ca.crt", "--id", "a"],
        1,
        "holds no public key",
    );
    assert!(document(&roots(&["--id", "dev-1", "--id", "dev-2"])).status.success());
    for id in ["dev-1", "dev-2"] {
        let bytes = std::fs::read(service.path(&format!("out/{id}.roots.cose"))).unwrap();
        let list: RootList<'_> = service.verify(Power::Anchors, &bytes);
        assert_eq!((list.audience, list.number), (Audience::Device(id.parse().unwrap()), 1));
    }
    let output = document(&roots(&["--for", "group:hall-7", "--number", "40"]));
    assert_eq!(output.status.code(), Some(1), "out is a folder already");
    std::fs::remove_dir_all(service.path("out")).unwrap();
    refused(&roots(&["--for", "group:hall-7", "--number", "40"]), 1, "only a higher one");
    assert!(document(&roots(&["--for", "group:hall-7", "--number", "41"])).status.success());
    let bytes = std::fs::read(service.path("out")).unwrap();
    let list: RootList<'_> = service.verify(Power::Anchors, &bytes);
    assert_eq!((list.audience, list.number), (Audience::Group("hall-7".try_into().unwrap()), 41));
}
