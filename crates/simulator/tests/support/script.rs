//! The server's end of one connection, which follows a script.

use super::server::CONNACK;
use super::server::acceptor;
use super::{Authority, PATIENCE, loopback};
use device::session::AddressTurn;
use protocol::{EpochMillis, Failure};
use simulator::mqtt::{Link, LinkEvent, Target};
use simulator::tls::{self, DeviceClock};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

pub const CONNECT: u8 = 1;
pub const PUBLISH: u8 = 3;
pub const SUBSCRIBE: u8 = 8;
pub const PINGREQ: u8 = 12;
pub const DISCONNECT: u8 = 14;
pub const PUBACK: u8 = 4;
pub const UNSUBSCRIBE: u8 = 10;

/// The server's end of a connection.
pub struct Script(pub TlsStream<TcpStream>);

impl Script {
    pub async fn accept(listener: &TcpListener, authority: &Authority) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor(&authority.server(&["localhost"]), Some(authority.root()));
        Self(acceptor.accept(stream).await.unwrap())
    }

    /// The next packet: its type and what follows its length. `None` where the other side has hung up.
    pub async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
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

    pub async fn expect(&mut self, kind: u8) -> Vec<u8> {
        let (found, body) = self.packet().await.expect("a packet");
        assert_eq!(found, kind);
        body
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// A message with QoS 1.
    pub async fn publish(&mut self, topic: &str, id: u16, payload: &[u8]) {
        let mut packet = vec![0x32];
        let mut remaining = 2 + topic.len() + 2 + payload.len();
        while remaining >= 0x80 {
            packet.push(remaining as u8 | 0x80);
            remaining >>= 7;
        }
        packet.push(remaining as u8);
        packet.extend((topic.len() as u16).to_be_bytes());
        packet.extend(topic.as_bytes());
        packet.extend(id.to_be_bytes());
        packet.extend(payload);
        self.send(&packet).await;
    }

    pub async fn acknowledge(&mut self, publish: &[u8]) {
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
pub async fn opened(keep_alive_s: u16) -> (Link, Script) {
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
        turn: AddressTurn::default(),
        known: Vec::new(),
    };
    let mut link = Link::open(&target, Arc::new(tls));
    let mut script = Script::accept(&listener, &authority).await;
    let connect = script.expect(CONNECT).await;
    assert_eq!(&connect[..8], b"\0\x04MQTT\x04\x02", "MQTT 3.1.1, clean session, neither will nor password");
    assert_eq!(&connect[8..10], keep_alive_s.to_be_bytes());
    assert_eq!(&connect[10..], b"\0\x05dev-1");
    assert!(matches!(next(&mut link).await, Some(LinkEvent::Trying(_))));
    (link, script)
}

pub async fn next(link: &mut Link) -> Option<LinkEvent> {
    tokio::time::timeout(PATIENCE, link.next()).await.expect("an event")
}

/// A link that is connected.
pub async fn connected() -> (Link, Script) {
    let (mut link, mut script) = opened(60).await;
    script.send(&CONNACK).await;
    assert!(matches!(next(&mut link).await, Some(LinkEvent::Connected { .. })));
    (link, script)
}

pub async fn fails(link: &mut Link, failure: Failure) {
    assert_eq!(next(link).await, Some(LinkEvent::Failed(failure)));
    assert_eq!(next(link).await, None);
}
