//! Which identity a device uses, asked of the device itself, against Mosquitto: the end of a life, what renewals have left, and
//! what the broker keeps.

mod service;

use protocol::document::{Power, Retirement};
use protocol::identity_state::Life;
use protocol::signed::Envelope;
use protocol::topic::topic;
use protocol::{Channel, IdentityState, KeyId};
use rumqttc::{Event, Packet, QoS};
use sensorctl::registry::{Event as Registration, Identity};
use serde_json::Value;
use service::{Device, PATIENCE, Service, message, public};

fn run(service: &Service, arguments: &[&str]) -> (Option<i32>, String) {
    let output = service.output(arguments);
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

fn key(device: &Device) -> KeyId {
    public(&device.identity).id()
}

/// What a device says of its identity, kept by the broker.
fn say(service: &Service, device: &Device, change: impl FnOnce(&mut IdentityState)) {
    let mut state = IdentityState::new(&key(device));
    change(&mut state);
    let mut out = [0; 512];
    let len = state.encode(&mut out).unwrap();
    keep(service, device, topic(&device.id, Channel::IdentityState).as_str(), &out[..len]);
}

/// Has the broker keep this on a topic of the device.
fn keep(service: &Service, device: &Device, topic: &str, payload: &[u8]) {
    let (client, mut connection) = service.connect(device);
    client.publish(topic, QoS::AtLeastOnce, true, payload.to_vec()).unwrap();
    while !matches!(connection.recv_timeout(PATIENCE).unwrap().unwrap(), Event::Incoming(Packet::PubAck(_))) {
    }
}

/// What the broker keeps for whom it takes for `reader`, below `filter`.
fn kept(service: &Service, reader: &Device, filter: &str) -> Vec<String> {
    let (client, mut connection) = service.connect(reader);
    client.subscribe(filter, QoS::AtLeastOnce).unwrap();
    let end = format!("device/{}/end", reader.id);
    client.subscribe(&end, QoS::AtLeastOnce).unwrap();
    client.publish(&end, QoS::AtLeastOnce, false, "end").unwrap();
    let mut topics = Vec::new();
    loop {
        match connection.recv_timeout(PATIENCE).unwrap().unwrap() {
            Event::Incoming(Packet::Publish(message)) if message.topic == end && !message.retain => break,
            Event::Incoming(Packet::Publish(message)) if message.retain => topics.push(message.topic),
            _ => {}
        }
    }
    topics.sort_unstable();
    topics.dedup();
    topics
}

#[test]
fn a_life_ends_with_the_identity_that_the_device_says_whatever_the_registry_has_in_force() {
    let service = Service::new();
    let port = service.port.to_string();
    let (first, _second) = (service.device("dev-1"), service.device("dev-1"));
    let decommission = |more: &[&str]| {
        let words = ["command", "decommission", "--end", "blank", "--id", "dev-1", "--authority", "powers"];
        let rest = ["--registry", "registry.jsonl", "--ca", "ca", "--port", &port, "--yes", "--no-wait"];
        run(&service, &[&words[..], &rest[..], more].concat())
    };
    // Nothing is known of it: no guess, and both are named.
    let (code, text) = decommission(&[]);
    assert!(code == Some(1) && text.contains("several identities in force"), "{text}");
    let whole = base16ct::lower::encode_string(&key(&first).0);
    assert!(text.contains(&whole), "{text}");

    say(&service, &first, |_| {});
    let anchors = sensorctl::powers::public(&service.path("powers"), Power::Anchors).unwrap();
    let (_client, mut connection) = service.connect(&first);
    let mut subscribed = 0;
    while subscribed < Channel::SUBSCRIPTIONS.len() {
        let event = connection.recv_timeout(PATIENCE).unwrap().unwrap();
        subscribed += usize::from(matches!(event, Event::Incoming(Packet::SubAck(_))));
    }
    let mut ended = |more: &[&str]| {
        let (code, text) = decommission(more);
        assert_eq!(code, Some(0), "{text}");
        let document = message(&mut connection, &first, Channel::Command);
        let envelope = Envelope::decode(&document).unwrap();
        envelope.verify::<Retirement>(&anchors).unwrap().identity
    };
    assert_eq!(ended(&[]), key(&first), "the older one, which it says it uses");
    assert_eq!(ended(&["--identity", &whole[..16]]), key(&first), "as everything prints it");
    assert_eq!(ended(&["--identity", &whole]), key(&first));
    // A revoked device can still be wiped as long as it is connected.
    service.sensorctl(&["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--id", "dev-1"]);
    assert_eq!(ended(&[]), key(&first));

    let other = service.device("dev-2");
    let (code, text) = decommission(&["--identity", &key(&other).to_string()]);
    assert!(code == Some(1) && text.contains("no identity with a key that begins with"), "{text}");
    say(&service, &first, |state| state.life = Life::Blank);
    let (code, text) = decommission(&[]);
    assert!(code == Some(1) && text.contains("no identity any more"), "{text}");
}

#[test]
fn a_device_is_shown_with_what_it_says_and_what_the_registry_has() {
    let service = Service::new();
    let port = service.port.to_string();
    let (first, second) = (service.device("dev-1"), service.device("dev-1"));
    service.device("dev-2");
    let show = |more: &[&str]| {
        let words = ["device", "show", "--ca", "ca", "--port", &port, "--registry", "registry.jsonl"];
        run(&service, &[&words[..], more].concat())
    };
    say(&service, &first, |state| (state.certificate, state.retired_kept) = (3, true));
    let (code, text) = show(&["--id", "dev-1"]);
    assert_eq!(code, Some(0), "{text}");
    let line = |key: KeyId| text.lines().find(|line| line.contains(&format!("registry      {key}"))).unwrap();
    assert!(line(key(&first)).ends_with("older, IN USE"), "{text}");
    assert!(!line(key(&second)).contains("IN USE"), "{text}");
    assert!(text.contains(&format!("identity key  {}, certificate 3", key(&first))), "{text}");
    assert!(text.contains("the device may return to it"), "{text}");
    let (code, text) = show(&["--all", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 2);
    assert_eq!(values[0]["registry"][0]["in_use"], true);
    assert_eq!(values[0]["said"]["key"], key(&first).to_string());
    assert!(values[1]["said"].is_null());
    assert_eq!(show(&[]).0, Some(2));
}

#[test]
fn what_renewals_have_left_ends_and_the_identity_in_use_and_one_to_come_stay() {
    let service = Service::new();
    let broker = format!("localhost:{}", service.port);
    let [first, used, coming] = [(); 3].map(|()| service.device("dev-1"));
    let [former, back] = [(); 2].map(|()| service.device("dev-2"));
    service.device("dev-3");
    service.device("dev-3");
    let revoke = |more: &[&str]| {
        let words = ["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--older", &broker];
        run(&service, &[&words[..], more].concat())
    };
    let in_force = |id: &str| {
        let registry = service.registry();
        registry.in_force(&id.parse().unwrap()).map(|identity| identity.key.id()).collect::<Vec<_>>()
    };
    say(&service, &used, |_| {});
    say(&service, &back, |state| state.retired_kept = true);
    let (code, text) = revoke(&["--all"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(in_force("dev-1"), [key(&used), key(&coming)]);
    assert_eq!(in_force("dev-2"), [key(&former), key(&back)], "it may return to the former one");
    assert_eq!(in_force("dev-3").len(), 2, "nobody knows which one it uses");
    assert!(text.contains("dev-2: nothing ended: it keeps its former identity for a day"), "{text}");
    assert!(text.contains("dev-3: nothing ended: the broker keeps nothing"), "{text}");
    assert!(text.contains(&key(&first).to_string()), "{text}");
    let (code, text) = revoke(&["--id", "dev-3"]);
    assert!(code == Some(1) && text.contains("dev-3"), "who is named and left is an error: {text}");
    assert_eq!(revoke(&[]).0, Some(2));

    // One of them by the beginning of its key, as everything prints it.
    let words = ["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--id", "dev-2"];
    let (code, text) = run(&service, &[&words[..], &["--key", &key(&former).to_string()]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(in_force("dev-2"), [key(&back)]);
}

#[test]
fn a_key_with_two_certificates_ends_once_and_the_list_has_both() {
    let service = Service::new();
    let broker = format!("localhost:{}", service.port);
    let old = service.device("dev-1");
    let mut registry = service.registry();
    let identity = registry.in_force(&old.id).next().unwrap().clone();
    let again = Identity { serial: vec![7; 16], certificate: [7; 32], ..identity };
    registry.turn().unwrap().append(&[Registration::Registered(again)]).unwrap();
    let used = service.device("dev-1");
    say(&service, &used, |_| {});
    let words = ["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--older", &broker, "--all"];
    let (code, text) = run(&service, &words);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("certificates in"), "the list is written: {text}");
    let left: Vec<_> = service.registry().in_force(&old.id).map(|identity| identity.key.id()).collect();
    assert!(!left.is_empty() && left.iter().all(|left| *left == key(&used)), "{left:?}");
}

#[test]
fn a_fleet_of_which_nobody_says_a_word_is_no_success() {
    let service = Service::new();
    let broker = format!("localhost:{}", service.port);
    let port = service.port.to_string();
    let device = service.device("dev-1");
    service.device("dev-1");
    say(&service, &device, |_| {});
    service.sensorctl(&["ca", "operator", "--ca", "ca", "--name", "nobody", "--out", "nobody"]);
    let words = ["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--operator", "nobody"];
    let (code, text) = run(&service, &[&words[..], &["--older", &broker, "--all"]].concat());
    assert_eq!(code, Some(1), "{text}");
    // Nor is silence a device's last word: nobody could tell it to wipe itself afterwards.
    let (code, text) = run(&service, &[&words[..], &["--clear", &broker, "--id", "dev-1"]].concat());
    assert!(code == Some(1) && text.contains("has not said that it has no identity any more"), "{text}");
    assert_eq!(service.registry().in_force(&device.id).count(), 2, "nothing was done");
    let show = ["device", "show", "--ca", "ca", "--port", &port, "--operator", "nobody", "--id", "dev-1"];
    let (code, text) = run(&service, &show);
    assert!(code == Some(5) && text.contains("nothing came"), "{text}");
}

#[test]
fn what_the_broker_keeps_of_a_device_is_taken_back_on_every_topic_and_not_before_it_is_wiped() {
    let service = Service::new();
    let broker = format!("localhost:{}", service.port);
    let device = service.device("dev-1");
    for channel in Channel::ALL {
        let topic = topic(&device.id, channel);
        if channel != Channel::IdentityState {
            keep(&service, &device, topic.as_str(), b"kept");
        }
    }
    // Nothing of ours, but a device would get it.
    keep(&service, &device, "device/dev-1/other/desired", b"kept");
    say(&service, &device, |_| {});
    let revoke = |more: &[&str]| {
        let words =
            ["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--id", "dev-1", "--clear", &broker];
        run(&service, &[&words[..], more].concat())
    };
    let (code, text) = revoke(&[]);
    assert!(code == Some(1) && text.contains("sensorctl command decommission --id dev-1"), "{text}");
    assert_eq!(service.registry().in_force(&device.id).count(), 1, "nothing was done");

    // Another program's certificate, which the broker lets do nothing and tells nothing.
    service.sensorctl(&["ca", "operator", "--ca", "ca", "--name", "nobody", "--out", "nobody"]);
    let (code, text) = revoke(&["--lost", "--operator", "nobody"]);
    assert!(code == Some(1) && text.contains("15 topics were NOT cleared"), "{text}");
    assert!(!text.contains("is taken back"), "{text}");
    assert_eq!(service.registry().in_force(&device.id).count(), 0, "a stolen device is out first of all");

    let reader = Device { id: "dev-1".parse().unwrap(), ..service.device("dev-1") };
    assert_eq!(kept(&service, &reader, "device/dev-1/#").len(), Channel::ALL.len() + 1);
    let (code, text) = revoke(&["--lost"]);
    assert!(code == Some(0) && text.contains("taken back, on every topic"), "{text}");
    let reader = Device { id: "dev-1".parse().unwrap(), ..service.device("dev-1") };
    assert_eq!(kept(&service, &reader, "device/dev-1/#"), Vec::<String>::new());

    // With its last words nobody needs to say that it is lost.
    say(&service, &reader, |state| state.life = Life::Destroyed);
    let (code, text) = revoke(&[]);
    assert_eq!(code, Some(0), "{text}");
}
