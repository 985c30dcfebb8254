//! A device of the fleet that means ill, with its own certificate, against the operator's programs: it must not keep them from the
//! others. Also what two programs under one name do.

mod service;
#[path = "../src/log/specimen.rs"]
#[allow(dead_code, reason = "the unit tests use all of it")]
mod specimen;

use protocol::Channel;
use protocol::topic::topic;
use rumqttc::{Event, Packet, QoS};
use serde_json::Value;
use service::{Device, PATIENCE, Running, Service, message, random_key};
use specimen::Specimen;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RENEW: [&str; 7] = ["renew", "--ca", "ca", "--authority", "powers", "--registry", "registry.jsonl"];

/// Publishes all of it as the device, until the broker has acknowledged it.
fn publish(service: &Service, device: &Device, messages: Vec<(Channel, Vec<u8>, bool)>) {
    let (client, mut connection) = service.connect(device);
    let (id, mut open) = (device.id.clone(), messages.len());
    let sender = std::thread::spawn(move || {
        for (channel, payload, retained) in messages {
            client.publish(topic(&id, channel).as_str(), QoS::AtLeastOnce, retained, payload).unwrap();
        }
        client
    });
    while open > 0 {
        let event = connection.recv_timeout(PATIENCE).expect("an answer in time").expect("a connection");
        open -= usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
    }
    drop(sender.join().unwrap());
}

fn renew(service: &Service) -> Running {
    let port = service.port.to_string();
    service.start(&[&RENEW[..], &["--port", &port]].concat(), "connected, listening to requests")
}

/// A device that is in order asks for a certificate, and gets it.
fn is_served(service: &Service, device: &Device) {
    let (client, mut connection) = service.connect(device);
    let new = Device { identity: random_key(), tls: random_key(), ..device.clone() };
    let on = topic(&device.id, Channel::IdentityRequest);
    client.publish(on.as_str(), QoS::AtLeastOnce, false, device.request(&new)).unwrap();
    assert!(!message(&mut connection, device, Channel::IdentityDesired).is_empty());
}

#[test]
fn messages_of_11_kb_to_1_mb_of_one_device_stop_no_program_of_the_operator() {
    let service = Service::new();
    let (bad, good) = (service.device("bad-1"), service.device("good-1"));
    let port = service.port.to_string();
    let connect = ["--ca", "ca", "--port", &port];
    let follow =
        ["log", "follow", "--registry", "registry.jsonl", "--store", "store", "--authority", "powers"];
    let mut renewing = renew(&service);
    let mut following = service.start(&[&follow[..], &connect].concat(), "connected, listening to logs");
    let mut messages = Vec::new();
    for bytes in [11_000, 300_000, 1_000_000] {
        for channel in [Channel::IdentityRequest, Channel::Log] {
            messages.push((channel, vec![b'x'; bytes], false));
        }
        for channel in [Channel::ConfigState, Channel::FirmwareState, Channel::State, Channel::CommandAnswer]
        {
            messages.push((channel, vec![b'x'; bytes], false));
            messages.push((channel, vec![b'x'; bytes], true));
        }
    }
    publish(&service, &bad, messages);

    is_served(&service, &good);
    let mut log = Specimen::new("good-1", 1);
    log.keys = vec![good.identity.clone()];
    log.live(20);
    let deliveries = log.deliver(0).into_iter().map(|bytes| (Channel::Log, bytes, false)).collect();
    publish(&service, &good, deliveries);
    let (_client, mut connection) = service.connect(&good);
    assert!(!message(&mut connection, &good, Channel::LogDesired).is_empty(), "it is acknowledged");

    let (code, said) = renewing.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("bad-1: dropped: a message of 11000 bytes").count(), 1, "{said}");
    assert!(said.contains("1 certificates issued, 0 requests refused, 3 dropped unread"), "{said}");
    let (code, said) = following.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("bad-1: DROPPED: a message of 11000 bytes").count(), 1, "{said}");
    assert!(said.contains("0 deliveries refused, 3 dropped unread"), "{said}");

    let (code, said) = service.ends(&[&["firmware", "status"], &connect[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"device/bad-1/firmware/state\" is of no use"), "{said}");
    let (code, said) =
        service.ends(&[&["config", "get", "--id", "bad-1", "--id", "good-1"], &connect[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("device/bad-1/config/state is of no use"), "{said}");
    let order =
        ["command", "report", "--authority", "powers", "--id", "bad-1", "--id", "good-1", "--timeout", "1s"];
    let (code, said) = service.ends(&[&order[..], &connect].concat());
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("bad-1: of no use: a message of 1000000 bytes"), "{said}");
}

#[test]
fn a_flood_of_one_device_is_dropped_and_told_of_once_and_another_device_is_served() {
    const FLOOD: usize = 300;
    let service = Service::new();
    let (bad, good) = (service.device("bad-1"), service.device("good-1"));
    let mut renewing = renew(&service);
    publish(&service, &bad, vec![(Channel::IdentityRequest, b"x".to_vec(), false); FLOOD]);
    is_served(&service, &good);
    let (code, said) = renewing.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("bad-1: dropped: it says more than a device has to say").count(), 1, "{said}");
    let refused = said.matches("bad-1: refused: ").count();
    // One more for each minute that this took.
    assert!((32..40).contains(&refused), "{refused}: {said}");
    let sums =
        format!("1 certificates issued, {refused} requests refused, {} dropped unread", FLOOD - refused);
    assert!(said.contains(&sums), "{said}");
}

#[test]
fn a_device_that_speaks_all_the_time_keeps_no_reading_command_from_its_end() {
    let service = Service::new();
    let bad = service.device("bad-1");
    let stop = Arc::new(AtomicBool::new(false));
    let (client, mut connection) = service.connect(&bad);
    let sender = std::thread::spawn({
        let (stop, id) = (Arc::clone(&stop), bad.id.clone());
        move || {
            let mut retained = false;
            while !stop.load(Ordering::Relaxed) {
                for channel in [Channel::FirmwareState, Channel::ConfigState, Channel::CommandAnswer] {
                    let topic = topic(&id, channel);
                    client.publish(topic.as_str(), QoS::AtLeastOnce, retained, "x").unwrap();
                }
                retained = !retained;
                std::thread::sleep(Duration::from_millis(300));
            }
            client.disconnect().unwrap();
        }
    });
    let pump = std::thread::spawn(move || connection.iter().take_while(Result::is_ok).count());
    let port = service.port.to_string();
    let connect = ["--ca", "ca", "--port", &port];
    let ended = std::panic::catch_unwind(|| {
        let reading = [
            &["firmware", "status"][..],
            &["config", "get", "--all", "--registry", "registry.jsonl"],
            &["command", "withdraw", "--id", "bad-1"],
        ];
        reading.map(|words| service.ends(&[words, &connect].concat()))
    });
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    pump.join().unwrap();
    let ended = ended.expect("each comes to its end");
    assert!(ended.iter().all(|(code, _)| *code == Some(0)), "{ended:?}");
}

#[test]
fn two_programs_under_one_name_say_so_and_come_ever_more_rarely() {
    let service = Service::new();
    let port = service.port.to_string();
    let words = [&RENEW[..], &["--port", &port, "--json"]].concat();
    let mut programs = [service.start(&words, "\"up\""), service.start(&words, "\"up\"")];
    let waits = |said: &str| -> Vec<u64> {
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["retry_ms"].as_u64()).collect()
    };
    for program in &mut programs {
        program.until("a wait of two seconds", |said| waits(said).contains(&2_000));
        let waits = waits(&program.said());
        assert!(waits.is_sorted(), "the wait is not forgotten: {waits:?}");
        assert!(program.said().contains("another program uses this certificate"), "{}", program.said());
    }
    // Where one of them ends, the other has its connection.
    let [mut first, mut second] = programs;
    first.interrupt();
    let ups = second.said().matches("\"up\"").count();
    let began = Instant::now();
    second.until("up again", |said| said.matches("\"up\"").count() > ups || began.elapsed() > PATIENCE);
    is_served(&service, &service.device("good-1"));
}

#[test]
fn a_watch_in_which_nothing_comes_from_devices_in_service_says_so_and_does_not_end_well() {
    let service = Service::new();
    let port = service.port.to_string();
    service.device("dev-1");
    service.device("dev-2");
    service.operator("reader");
    service.operator("nobody");
    // As long as a busy machine needs until there is a connection.
    let nothing_came = |words: &[&str], text: &str| {
        let mut ended = (None, String::new());
        for seconds in ["2", "20", "120"] {
            ended = service.ends(&[words, &["--seconds", seconds]].concat());
            if ended.0 == Some(5) && ended.1.contains(text) {
                return;
            }
        }
        panic!("{ended:?}");
    };
    // Mosquitto grants both the subscription.
    for operator in ["reader", "nobody"] {
        let words = ["watch", "--ca", "ca", "--port", &port, "--operator", operator];
        nothing_came(
            &[&words[..], &["--registry", "registry.jsonl"]].concat(),
            "NOTHING CAME from dev-1, dev-2, in all 2 devices in service",
        );
        nothing_came(&words, "NOTHING CAME from any device");
    }
}
