//! One device against the embedded broker, over mutual TLS: what it measures arrives, whole and in order, also over a
//! restart. R-DATA-INTACT, R-TLS-CLIENT.

mod support;

use device::Note;
use protocol::{Batch, Failure, Hello, State, Topic};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use simulator::broker::Broker;
use simulator::folder::{Folder, Powers};
use simulator::machine::Machine;
use simulator::port::{Report, Stopper, Summary, stopper};
use simulator::tls::{self, Credentials, DeviceClock};
use std::sync::Arc;
use std::time::Instant;
use support::proxy::Proxy;
use support::{
    Authority, PATIENCE, configuration, honest_time, loopback, port, provisioned, run_until, verdict,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Subscribes to everything as the operator and hands on what comes, once the broker has granted it.
async fn watch(authority: &Authority, port: u16) -> mpsc::UnboundedReceiver<(Topic, Vec<u8>)> {
    let clock = DeviceClock::default();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    clock.set(protocol::EpochMillis(since.as_millis() as u64));
    let operator = authority.client("operator");
    let credentials =
        Credentials { key: operator.key(), chain: operator.chain, roots: vec![authority.root()] };
    let tls = tls::client_config(credentials, clock).unwrap();
    let mut options = MqttOptions::new("operator", "localhost", port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
    let (client, mut events) = AsyncClient::new(options, 16);
    client.try_subscribe("device/#", QoS::AtLeastOnce).unwrap();
    let (out, messages) = mpsc::unbounded_channel();
    let (granted, is_granted) = tokio::sync::oneshot::channel();
    let mut granted = Some(granted);
    tokio::spawn(async move {
        let _client = client;
        loop {
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::SubAck(_)) => granted.take().unwrap().send(()).unwrap(),
                Event::Incoming(Packet::Publish(message)) => {
                    let topic = Topic::decode(&message.topic).expect("a topic of the scheme");
                    if out.send((topic, message.payload.to_vec())).is_err() {
                        return;
                    }
                }
                _ => {}
            }
        }
    });
    is_granted.await.unwrap();
    messages
}

async fn next(messages: &mut mpsc::UnboundedReceiver<(Topic, Vec<u8>)>) -> (Topic, Vec<u8>) {
    tokio::time::timeout(PATIENCE, messages.recv()).await.expect("a message").expect("the watcher runs")
}

/// The sequence numbers of what comes next, until `enough`, of one boot.
async fn sequence(
    messages: &mut mpsc::UnboundedReceiver<(Topic, Vec<u8>)>,
    boot: u32,
    enough: impl Fn(&[u32]) -> bool,
) -> Vec<u32> {
    let mut numbers = Vec::new();
    let until = Instant::now() + PATIENCE;
    while !enough(&numbers) {
        assert!(Instant::now() < until, "only {numbers:?} of boot {boot} came");
        let (topic, payload) = next(messages).await;
        if topic.channel != protocol::Channel::Telemetry {
            continue;
        }
        let batch = Batch::decode(&payload).unwrap();
        if batch.boot == boot {
            assert_eq!(
                batch.seq,
                batch.lost + numbers.len() as u32,
                "what a busy machine has missed is said"
            );
            numbers.extend(batch.iter().map(|(seq, _, _)| seq));
        }
    }
    numbers
}

/// A device that runs until it is stopped, and then gives its flash back.
fn start(mut machine: Machine) -> (Stopper, JoinHandle<(Summary, Machine)>, mpsc::UnboundedReceiver<Report>) {
    let (port, reports) = port();
    let (stop, stopped) = stopper();
    (stop, tokio::spawn(async move { (port.run(&mut machine, stopped).await.unwrap(), machine) }), reports)
}

#[tokio::test]
async fn hello_state_and_telemetry_arrive_in_order_over_mutual_tls() {
    let authority = Authority::new("test authority");
    let folder = tempfile::tempdir().unwrap();
    authority.write_folder(folder.path());
    let broker = Broker::start(folder.path(), loopback()).unwrap();
    let time = honest_time().await;
    let configuration = configuration("dev-1", "localhost", broker.address().port(), &[time.address()]);
    let mut messages = watch(&authority, broker.address().port()).await;

    let (stop, running, _reports) = start(provisioned(&authority.credentials("dev-1"), &configuration));
    let (topic, payload) = next(&mut messages).await;
    assert_eq!(topic.to_string(), "device/dev-1/hello");
    let hello = Hello::decode(&payload).unwrap();
    assert_eq!((hello.id.as_str(), hello.boot, hello.connection), ("dev-1", 1, 1));
    let (topic, payload) = next(&mut messages).await;
    assert_eq!(topic.to_string(), "device/dev-1/state");
    assert_eq!(State::decode(&payload).unwrap().clock, protocol::ClockQuality::Synchronised);
    let numbers = sequence(&mut messages, 1, |numbers| numbers.len() >= 20).await;
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");

    // A subscriber that comes later gets the state, which is retained.
    let mut late = watch(&authority, broker.address().port()).await;
    // The state of its identity is retained too, and the broker gives them in any order.
    let payload = loop {
        let (topic, payload) = next(&mut late).await;
        if topic.to_string() == "device/dev-1/state" {
            break payload;
        }
    };
    assert_eq!(State::decode(&payload).unwrap().boot, 1);

    stop.stop();
    let (summary, _store) = running.await.unwrap();
    assert_eq!((summary.boot, summary.state.connections, summary.state.lost), (1, 1, 0));
    assert!(summary.next_seq >= 20);
}

#[tokio::test]
async fn the_broker_does_not_let_in_a_device_of_another_authority() {
    let (authority, theirs) = (Authority::new("test authority"), Authority::new("another authority"));
    let folder = tempfile::tempdir().unwrap();
    authority.write_folder(folder.path());
    let broker = Broker::start(folder.path(), loopback()).unwrap();
    let time = honest_time().await;
    let configuration = configuration("dev-1", "localhost", broker.address().port(), &[time.address()]);
    for (identity, expected) in [(&theirs, Err(Failure::TlsClientRejected)), (&authority, Ok(()))] {
        let credentials = Credentials { roots: vec![authority.root()], ..identity.credentials("dev-1") };
        let (port, reports) = port();
        let mut machine = provisioned(&credentials, &configuration);
        assert_eq!(run_until(port, reports, &mut machine, verdict).await.0, expected);
    }
}

#[tokio::test]
async fn what_could_not_be_sent_before_an_orderly_restart_is_sent_after_it() {
    let authority = Authority::new("test authority");
    let folder = tempfile::tempdir().unwrap();
    authority.write_folder(folder.path());
    let broker = Broker::start(folder.path(), loopback()).unwrap();
    let time = honest_time().await;
    // The first boot finds nobody at its port; the configuration with the right one comes with the restart.
    let closed = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let wrong = configuration("dev-1", "localhost", closed.port(), &[time.address()]);
    let mut right = wrong.draft();
    (right.port, right.number) = (broker.address().port().into(), 2);
    let mut messages = watch(&authority, broker.address().port()).await;

    let (stop, running, mut reports) = start(provisioned(&authority.credentials("dev-1"), &wrong));
    let (mut sampled, mut failed) = (0, 0);
    while sampled < 5 || failed == 0 {
        match tokio::time::timeout(PATIENCE, reports.recv())
            .await
            .expect("a report")
            .expect("the device runs")
        {
            Report::Sampled(_) => sampled += 1,
            Report::Note { note: Note::Disconnected(_), .. } => failed += 1,
            _ => {}
        }
    }
    stop.stop();
    let (first, mut machine) = running.await.unwrap();
    assert!(first.next_seq >= 5 && first.state.failures > 0, "{first:?}");
    assert_eq!(first.state.last_failure, Some(Failure::Refused));

    let folder = Folder {
        configuration: right.check().unwrap(),
        credentials: authority.credentials("dev-1"),
        powers: Powers::default(),
        group: protocol::Name::EMPTY,
    };
    simulator::folder::provision(&mut machine, &folder).unwrap();
    let (stop, running, _reports) = start(machine);
    let (_, payload) = next(&mut messages).await;
    let previous = Hello::decode(&payload).unwrap().previous.expect("the first boot ended in an orderly way");
    assert_eq!((previous.boot, previous.next_seq), (1, first.next_seq));
    let taken = (first.next_seq - first.state.missed) as usize;
    let kept = sequence(&mut messages, 1, |numbers| numbers.len() >= taken).await;
    assert!(kept.is_sorted_by(|one, next| one < next) && kept.len() == taken, "{kept:?}");
    let fresh = sequence(&mut messages, 2, |numbers| numbers.len() >= 3).await;
    assert!(fresh.is_sorted_by(|one, next| one < next), "{fresh:?}");
    stop.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn cutting_the_link_again_and_again_loses_nothing_and_every_duplicate_is_recognisable() {
    const CUTS: u32 = 10;
    let authority = Authority::new("test authority");
    let folder = tempfile::tempdir().unwrap();
    authority.write_folder(folder.path());
    let broker = Broker::start(folder.path(), loopback()).unwrap();
    let proxy = Proxy::start(broker.address()).await;
    let time = honest_time().await;
    let configuration = configuration("dev-1", "localhost", proxy.address.port(), &[time.address()]);
    let mut messages = watch(&authority, broker.address().port()).await;
    let (stop, running, _reports) = start(provisioned(&authority.credentials("dev-1"), &configuration));

    let (mut next_seq, mut lost, mut duplicates, mut hellos) = (0, 0, 0, 0);
    // After each hello some samples come through, then the link is cut.
    let mut until_cut = 3;
    let until = Instant::now() + PATIENCE;
    while hellos <= CUTS || until_cut > 0 {
        assert!(Instant::now() < until, "only {hellos} connections and {next_seq} samples came");
        let (topic, payload) = next(&mut messages).await;
        match topic.channel {
            protocol::Channel::Hello => {
                hellos += 1;
                until_cut = 3;
            }
            protocol::Channel::Telemetry => {
                let batch = Batch::decode(&payload).unwrap();
                assert_eq!(batch.boot, 1);
                if batch.seq >= next_seq {
                    // What a busy machine has missed is said.
                    next_seq += batch.lost - lost;
                    lost = batch.lost;
                }
                for (seq, _, _) in batch.iter() {
                    assert!(seq <= next_seq, "{next_seq} to {seq} are missing");
                    duplicates += u32::from(seq < next_seq);
                    next_seq = next_seq.max(seq + 1);
                }
                until_cut -= 1;
                if until_cut == 0 && hellos <= CUTS {
                    proxy.cut();
                }
            }
            _ => {}
        }
    }
    stop.stop();
    let (summary, _store) = running.await.unwrap();
    assert_eq!((summary.state.lost, summary.state.connections), (0, CUTS + 1));
    // A batch whose PUBACK was lost comes twice, with the numbers it had.
    assert!(duplicates <= CUTS * 2 * 32, "{duplicates}");
}
