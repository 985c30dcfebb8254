//! One connection against a server that follows a script: acknowledgements find their messages, every end has its name,
//! and what is dropped is silent. R-MQTT-ISOLATION, R-DATA-INTACT.

mod support;

use protocol::{EpochMillis, Failure};
use simulator::mqtt::{INCOMING_MAX, Link, LinkEvent, Target};
use simulator::port::stopper;
use simulator::tls::{self, DeviceClock};
use std::sync::Arc;
use std::time::Duration;
use support::server::{CONNACK, acceptor};
use support::{Authority, PATIENCE, configuration, honest_time, loopback, port, provisioned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// The server's end of a connection.
struct Script(TlsStream<TcpStream>);

impl Script {
    async fn accept(listener: &TcpListener, authority: &Authority) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor(&authority.server(&["localhost"]), Some(authority.root()));
        Self(acceptor.accept(stream).await.unwrap())
    }

    /// The next packet: its type and what follows its length. `None` where the other side has hung up.
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = tokio::time::timeout(PATIENCE, self.0.read_u8()).await.unwrap().ok()?;
        let (mut len, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await.unwrap();
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).await.unwrap();
        Some((first >> 4, body))
    }

    async fn expect(&mut self, kind: u8) -> Vec<u8> {
        let (found, body) = self.packet().await.expect("a packet");
        assert_eq!(found, kind);
        body
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    async fn acknowledge(&mut self, publish: &[u8]) {
        let [high, low] = packet_id(publish);
        self.send(&[0x40, 2, high, low]).await;
    }
}

/// The packet identifier of a PUBLISH with QoS 1: behind the topic.
fn packet_id(publish: &[u8]) -> [u8; 2] {
    let topic = usize::from(u16::from_be_bytes([publish[0], publish[1]]));
    [publish[2 + topic], publish[3 + topic]]
}

/// A link and the server's end of it, with TLS done and CONNECT sent.
async fn opened(keep_alive_s: u16) -> (Link, Script) {
    let authority = Authority::new("ours");
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let clock = DeviceClock::default();
    clock.set(EpochMillis::from_seconds(1_800_000_000));
    let tls = tls::client_config(authority.credentials("dev-1"), clock).unwrap();
    let target = Target {
        host: "localhost".to_owned(),
        port: listener.local_addr().unwrap().port(),
        client_id: "dev-1".to_owned(),
        login: None,
        keep_alive_s,
        timeout: PATIENCE,
    };
    let link = Link::open(&target, Arc::new(tls));
    let mut script = Script::accept(&listener, &authority).await;
    let connect = script.expect(CONNECT).await;
    assert_eq!(&connect[..8], b"\0\x04MQTT\x04\x02", "MQTT 3.1.1, clean session, neither will nor password");
    assert_eq!(&connect[8..10], keep_alive_s.to_be_bytes());
    assert_eq!(&connect[10..], b"\0\x05dev-1");
    (link, script)
}

async fn next(link: &mut Link) -> Option<LinkEvent> {
    tokio::time::timeout(PATIENCE, link.next()).await.expect("an event")
}

/// A link that is connected.
async fn connected() -> (Link, Script) {
    let (mut link, mut script) = opened(60).await;
    script.send(&CONNACK).await;
    assert!(matches!(next(&mut link).await, Some(LinkEvent::Connected { .. })));
    (link, script)
}

async fn fails(link: &mut Link, failure: Failure) {
    assert_eq!(next(link).await, Some(LinkEvent::Failed(failure)));
    assert_eq!(next(link).await, None);
}

#[tokio::test]
async fn every_refusing_connack_is_named_and_ends_the_attempt() {
    for (code, failure) in [
        (1, Failure::MqttProtocol),
        (2, Failure::MqttIdentifier),
        (3, Failure::MqttUnavailable),
        (4, Failure::MqttCredentials),
        (5, Failure::MqttNotAuthorised),
    ] {
        let (mut link, mut script) = opened(60).await;
        script.send(&[0x20, 2, 0, code]).await;
        fails(&mut link, failure).await;
        assert_eq!(script.packet().await, None);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_connack_is_a_protocol_error() {
    let (mut link, mut script) = opened(60).await;
    script.send(&[0xd0, 0]).await;
    fails(&mut link, Failure::MqttProtocol).await;
}

#[tokio::test]
async fn acknowledgements_in_any_order_carry_the_token_of_their_message() {
    let (mut link, mut script) = connected().await;
    for token in [700, 701, 702] {
        link.publish(token, "device/dev-1/telemetry", &token.to_be_bytes(), false).unwrap();
    }
    let mut messages = Vec::new();
    for token in [700_u16, 701, 702] {
        let message = script.expect(PUBLISH).await;
        assert_eq!(message.last_chunk(), Some(&token.to_be_bytes()));
        messages.push(message);
    }
    for (index, token) in [(1, 701), (2, 702), (0, 700)] {
        script.acknowledge(&messages[index]).await;
        assert_eq!(next(&mut link).await, Some(LinkEvent::Acknowledged(token)));
    }
}

#[tokio::test]
async fn an_acknowledgement_that_nobody_asked_for_ends_the_connection() {
    let (mut link, mut script) = connected().await;
    script.send(&[0x40, 2, 0, 9]).await;
    fails(&mut link, Failure::MqttProtocol).await;
}

#[tokio::test]
async fn a_subscription_is_granted_only_where_every_topic_is() {
    for (codes, expected) in [([1, 1], true), ([1, 0x80], false)] {
        let (mut link, mut script) = connected().await;
        link.subscribe(["device/dev-1/command".to_owned(), "device/dev-1/config/desired".to_owned()])
            .unwrap();
        let subscribe = script.expect(SUBSCRIBE).await;
        script.send(&[0x90, 4, subscribe[0], subscribe[1], codes[0], codes[1]]).await;
        assert_eq!(next(&mut link).await, Some(LinkEvent::Subscribed { granted: expected }));
    }
}

#[tokio::test]
async fn a_message_arrives_whole_and_one_that_is_too_large_ends_the_connection() {
    let (mut link, mut script) = connected().await;
    script.send(b"\x30\x06\0\x01thiy").await;
    let expected = LinkEvent::Message { topic: "t".to_owned(), payload: b"hiy".to_vec() };
    assert_eq!(next(&mut link).await, Some(expected));
    let len = INCOMING_MAX + 1;
    script.send(&[0x30, (len & 0x7f) as u8 | 0x80, (len >> 7) as u8]).await;
    fails(&mut link, Failure::MqttProtocol).await;
}

#[tokio::test]
async fn a_service_that_hangs_up_and_one_that_breaks_off_are_told_apart_from_silence() {
    let (mut link, mut script) = connected().await;
    script.0.shutdown().await.unwrap();
    fails(&mut link, Failure::PeerClosed).await;
    let (mut link, script) = connected().await;
    // Without TLS's farewell.
    drop(script);
    fails(&mut link, Failure::PeerClosed).await;
}

#[tokio::test]
async fn an_answered_ping_is_a_sign_of_life_and_an_unanswered_one_ends_the_connection() {
    let (mut link, mut script) = opened(1).await;
    script.send(&CONNACK).await;
    assert!(matches!(next(&mut link).await, Some(LinkEvent::Connected { .. })));
    script.expect(PINGREQ).await;
    script.send(&[0xd0, 0]).await;
    assert_eq!(next(&mut link).await, Some(LinkEvent::Alive));
    script.expect(PINGREQ).await;
    fails(&mut link, Failure::KeepAlive).await;
}

#[tokio::test]
async fn a_dropped_link_hangs_up_at_once() {
    let (link, mut script) = connected().await;
    drop(link);
    assert_eq!(script.packet().await, None);
}

#[tokio::test]
async fn an_orderly_end_says_disconnect_after_what_was_queued() {
    let (link, mut script) = connected().await;
    link.publish(1, "device/dev-1/state", b"{}", true).unwrap();
    link.close().await;
    script.expect(PUBLISH).await;
    script.expect(DISCONNECT).await;
    assert_eq!(script.packet().await, None);
}

#[tokio::test]
async fn a_device_that_is_stopped_takes_its_leave_of_the_service() {
    let authority = Authority::new("ours");
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let time = honest_time().await;
    let configuration =
        configuration("dev-1", "localhost", listener.local_addr().unwrap().port(), &[time.address()]);
    let (port, _reports) = port();
    let (stop, stopped) = stopper();
    let mut machine = provisioned(&authority.credentials("dev-1"), &configuration);
    let running = tokio::spawn(async move { port.run(&mut machine, stopped).await });
    let mut script = Script::accept(&listener, &authority).await;
    script.expect(CONNECT).await;
    script.send(&CONNACK).await;
    script.expect(SUBSCRIBE).await;
    stop.stop();
    script.expect(DISCONNECT).await;
    assert_eq!(script.packet().await, None);
    assert_eq!(running.await.unwrap().unwrap().state.connections, 1);
}

#[tokio::test]
async fn more_messages_than_the_queue_holds_are_an_error_and_no_wait() {
    let (link, _script) = connected().await;
    let refused = (1..100).find_map(|token| link.publish(token, "device/dev-1/state", b"{}", false).err());
    assert_eq!(refused, Some(Failure::LinkLost));
    tokio::time::timeout(Duration::from_secs(60), link.close()).await.expect("no wait for a full queue");
}
