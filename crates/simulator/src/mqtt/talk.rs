//! The task of one connection: opens it, and then carries out what the device asks and judges what the service answers. Owns
//! the socket, the packet identifiers and which topics are subscribed to. R-MQTT-ISOLATION.

use super::incoming::Incoming;
use super::{LinkEvent, Login, Request, Target};
use crate::failure;
use bytes::BytesMut;
use device::dropped::Why;
use device::incoming::{Packet, Payload};
use protocol::Failure;
use protocol::topic::matches;
use rumqttc::QoS;
use rumqttc::mqttbytes::Error as WireError;
use rumqttc::mqttbytes::v4::{Connect, Disconnect, PingReq, PubAck, Subscribe, SubscribeFilter, Unsubscribe};
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::client::TlsStream;
use rumqttc::tokio_rustls::rustls::ClientConfig;
use rumqttc::tokio_rustls::rustls::pki_types::ServerName;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroize;

/// How long a packet may take to be sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a service that takes nothing more is listened to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Questions (SUBSCRIBE, UNSUBSCRIBE) that wait for their answers: a service that leaves more open answers none.
const ASKED_MAX: usize = 64;

/// The device has taken its leave.
struct Over;

type Stream = TlsStream<TcpStream>;

/// A SUBSCRIBE that is not answered yet.
struct Asked {
    topics: usize,
    tells: bool,
}

pub(super) struct Talk<'t> {
    writer: WriteHalf<Stream>,
    out: &'t mpsc::Sender<LinkEvent>,
    keep_alive: Duration,
    last_sent: Instant,
    /// PINGREQ waits for its answer.
    pinged: bool,
    last_id: u16,
    /// The token of each message on its way, by its packet identifier.
    messages: HashMap<u16, u16>,
    asked: HashMap<u16, Asked>,
    /// The topic of each UNSUBSCRIBE that is not answered yet; none where it was subscribed to again meanwhile.
    releasing: HashMap<u16, Option<String>>,
    topics: HashSet<String>,
}

impl<'t> Talk<'t> {
    /// Connects, and stays until the end: that of the service is an error.
    pub(super) async fn run(
        target: &Target,
        tls: Arc<ClientConfig>,
        mut requests: mpsc::Receiver<Request>,
        out: &'t mpsc::Sender<LinkEvent>,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let opened = timeout(target.timeout, open(target, tls, out)).await;
        let (stream, started) = opened.map_err(|_| Failure::ConnectTimeout)??;
        let (reader, writer) = tokio::io::split(stream);
        let mut incoming = Incoming::new(reader);
        let mut talk = Self {
            writer,
            out,
            keep_alive: Duration::from_secs(target.keep_alive_s.max(1).into()),
            last_sent: Instant::now(),
            pinged: false,
            last_id: 0,
            messages: HashMap::new(),
            asked: HashMap::new(),
            releasing: HashMap::new(),
            topics: HashSet::new(),
        };
        // Where this fails, what the service has said tells more: an alert, for example.
        let _told_below = talk.connect(target).await;
        let left = target.timeout.saturating_sub(begun.elapsed());
        let answered = timeout(left, async {
            loop {
                if let Some(packet) = incoming.next().await? {
                    break accepted(&packet);
                }
            }
        });
        answered.await.map_err(|_| Failure::ConnectTimeout)??;
        let handshake_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        talk.tell(LinkEvent::Connected { handshake_ms }).await;
        loop {
            // In no order: neither a service that floods nor a device that has much to say keeps the other waiting.
            let done = tokio::select! {
                packet = incoming.next() => match packet {
                    Ok(packet) => talk.take(packet).await.map(|()| None),
                    Err(failure) => return Err(failure),
                },
                request = requests.recv() => talk.carry_out(request).await,
                () = sleep_until(talk.last_sent + talk.keep_alive) => talk.ping().await.map(|()| None),
            };
            match done {
                Ok(None) => {}
                Ok(Some(Over)) => return Ok(()),
                // It could not be sent: the service may have said why it hung up.
                Err(Failure::LinkLost) => {
                    let last = timeout(LAST_WORDS, end(&mut incoming)).await;
                    return Err(last.unwrap_or(Failure::LinkLost));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn connect(&mut self, target: &Target) -> Result<(), Failure> {
        let mut connect = Connect::new(&target.client_id);
        connect.keep_alive = target.keep_alive_s.max(1);
        connect.clean_session = true;
        if let Some(Login { user, password }) = &target.login {
            connect.set_login(user.as_str(), password.0.as_str());
        }
        let sent = self.send(|buffer| connect.write(buffer)).await;
        if let Some(mut login) = connect.login {
            login.password.zeroize();
        }
        sent
    }

    async fn tell(&self, event: LinkEvent) {
        // While it closes nobody listens, but DISCONNECT still has to go out.
        let _closing = self.out.send(event).await;
    }

    async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> Result<usize, WireError>,
    ) -> Result<(), Failure> {
        let mut buffer = BytesMut::new();
        write(&mut buffer).map_err(|_| Failure::MqttProtocol)?;
        let sending = async {
            self.writer.write_all(&buffer).await?;
            self.writer.flush().await
        };
        let sent = timeout(SEND_TIMEOUT, sending).await;
        buffer.zeroize();
        self.last_sent = Instant::now();
        sent.map_err(|_| Failure::LinkLost)?.map_err(|error| failure::of_io(&error))
    }

    async fn ping(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.pinged, true) {
            return Err(Failure::KeepAlive);
        }
        self.send(|buffer| PingReq.write(buffer)).await
    }

    /// A packet identifier that nothing uses.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = &self.last_id;
            if !(self.messages.contains_key(id)
                || self.asked.contains_key(id)
                || self.releasing.contains_key(id))
            {
                return self.last_id;
            }
        }
    }

    async fn carry_out(&mut self, request: Option<Request>) -> Result<Option<Over>, Failure> {
        if self.asked.len() + self.releasing.len() >= ASKED_MAX {
            return Err(Failure::MqttProtocol);
        }
        let id = self.next_id();
        match request {
            None | Some(Request::Disconnect) => {
                self.send(|buffer| Disconnect.write(buffer)).await?;
                // The farewell of TLS; whoever does not take it is left without.
                let _late = timeout(LAST_WORDS, self.writer.shutdown()).await;
                return Ok(Some(Over));
            }
            Some(Request::Subscribe { topics, tells }) => {
                let filter = |topic: &String| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce);
                let mut packet = Subscribe::new_many(topics.iter().map(filter));
                packet.pkid = id;
                self.asked.insert(id, Asked { topics: topics.len(), tells });
                for released in self.releasing.values_mut() {
                    released.take_if(|topic| topics.contains(topic));
                }
                self.topics.extend(topics);
                self.send(|buffer| packet.write(buffer)).await?;
            }
            Some(Request::Unsubscribe(topic)) => {
                let mut packet = Unsubscribe::new(topic.as_str());
                packet.pkid = id;
                self.releasing.insert(id, Some(topic));
                self.send(|buffer| packet.write(buffer)).await?;
            }
            Some(Request::Publish { token, mut message }) => {
                message.pkid = id;
                self.messages.insert(id, token);
                self.send(|buffer| message.write(buffer)).await?;
            }
        }
        Ok(None)
    }

    /// Acts on a packet, or on a piece of one.
    async fn take(&mut self, packet: Option<Packet<'_>>) -> Result<(), Failure> {
        match packet {
            // A piece of a long message is as good a sign of life as the answer to a ping; where many events wait already, one
            // more says nothing.
            None => {
                self.pinged = false;
                let _full = self.out.try_send(LinkEvent::Receiving);
            }
            Some(Packet::PingResp) => {
                self.pinged = false;
                self.tell(LinkEvent::Alive).await;
            }
            Some(Packet::PubAck(id)) => match self.messages.remove(&id) {
                Some(token) => self.tell(LinkEvent::Acknowledged(token)).await,
                None => self.stray().await,
            },
            Some(Packet::UnsubAck(id)) => match self.releasing.remove(&id) {
                Some(topic) => drop(topic.map(|topic| self.topics.remove(&topic))),
                None => self.stray().await,
            },
            Some(Packet::SubAck { id, codes }) => {
                let asked = self.asked.remove(&id).ok_or(Failure::MqttProtocol)?;
                // A code for each topic: what is granted, at most what was asked for, or 0x80 (section 3.9.3).
                if codes.len() != asked.topics || codes.iter().any(|code| !matches!(code, 0 | 1 | 0x80)) {
                    return Err(Failure::MqttProtocol);
                }
                if asked.tells {
                    let granted = codes.iter().all(|code| *code != 0x80);
                    self.tell(LinkEvent::Subscribed { granted }).await;
                }
            }
            Some(Packet::Disconnect) => return Err(Failure::MqttDisconnect),
            Some(Packet::ConnAck { .. }) => return Err(Failure::MqttProtocol),
            Some(Packet::Publish { topic, topic_len, id, payload }) => {
                if let Some(id) = id {
                    self.send(|buffer| PubAck::new(id).write(buffer)).await?;
                }
                // Of a topic that is longer than any subscribed to, there is only the beginning.
                let whole = topic.len() == usize::from(topic_len);
                let text = std::str::from_utf8(topic).ok().filter(|topic| whole && self.hears(topic));
                let (why, bytes) = match (text, payload) {
                    (Some(topic), Payload::Taken(payload)) => {
                        let (topic, payload) = (topic.to_owned(), payload.to_vec());
                        self.tell(LinkEvent::Message { topic, payload }).await;
                        return Ok(());
                    }
                    (Some(_), Payload::TooLong(bytes)) => (Why::TooLong, bytes),
                    (None, Payload::TooLong(bytes)) => (Why::NotSubscribed, bytes),
                    (None, Payload::Taken(payload)) => (Why::NotSubscribed, payload.len() as u32),
                };
                self.tell(LinkEvent::Dropped { why, topic: topic.to_vec(), bytes }).await;
            }
        }
        Ok(())
    }

    fn hears(&self, topic: &str) -> bool {
        self.topics.iter().any(|filter| matches(filter.as_bytes(), topic.as_bytes()))
    }

    async fn stray(&self) {
        self.tell(LinkEvent::Dropped { why: Why::Stray, topic: Vec::new(), bytes: 0 }).await;
    }
}

/// The first packet must be the CONNACK that accepts the device.
fn accepted(packet: &Packet<'_>) -> Result<(), Failure> {
    match packet {
        Packet::ConnAck { code: code @ 1.., .. } => Err(failure::of_connack(*code)),
        Packet::ConnAck { session: true, .. } => Err(Failure::MqttSession),
        Packet::ConnAck { .. } => Ok(()),
        Packet::Disconnect => Err(Failure::MqttDisconnect),
        _ => Err(Failure::MqttProtocol),
    }
}

/// With what the connection ends.
async fn end(incoming: &mut Incoming<ReadHalf<Stream>>) -> Failure {
    loop {
        if let Err(failure) = incoming.next().await {
            return failure;
        }
    }
}

/// TCP and TLS to one of the host's addresses; gives when that began. A name that is none costs no handshake time.
async fn open(
    target: &Target,
    tls: Arc<ClientConfig>,
    out: &mpsc::Sender<LinkEvent>,
) -> Result<(Stream, Instant), Failure> {
    let mut addresses: Vec<SocketAddr> =
        target.known.iter().map(|address| SocketAddr::new(*address, target.port)).collect();
    if addresses.is_empty() {
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        addresses.extend(found.map_err(|_| Failure::Dns)?);
    }
    addresses.sort_unstable();
    addresses.dedup();
    let address = *addresses.get(target.turn.choose(addresses.len())).ok_or(Failure::Dns)?;
    let _closing = out.send(LinkEvent::Trying(address)).await;
    let started = Instant::now();
    let stream = TcpStream::connect(address).await.map_err(|error| failure::of_io(&error))?;
    stream.set_nodelay(true).map_err(|error| failure::of_io(&error))?;
    let name = ServerName::try_from(target.host.clone()).map_err(|_| Failure::TlsName)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    Ok((stream.map_err(|error| failure::of_io(&error))?, started))
}
