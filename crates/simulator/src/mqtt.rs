//! One connection to the service: DNS, TCP, TLS, MQTT 3.1.1, from the attempt to its end. Owns the socket and the
//! packet identifiers, never decides to connect again. R-MQTT-ISOLATION, R-TLS-ALL.
//!
//! A [`Link`] is one attempt. Dropping it ends the connection, and nothing of it can be heard any more.

use crate::failure;
use device::MESSAGE_BYTES_MAX;
use protocol::Failure;
use protocol::topic::TOPIC_MAX;
use rumqttc::tokio_rustls::rustls::ClientConfig;
use rumqttc::{
    AsyncClient, ClientError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet, QoS,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

/// Largest MQTT packet that is accepted, in bytes: a signed document of at most 1 KiB or one block of an update, with
/// topic and headers. A larger one ends the connection.
pub const INCOMING_MAX: usize = 8 * 1024;

/// Largest MQTT packet that is sent, in bytes: the longest payload, its topic and 16 bytes of headers.
pub const OUTGOING_MAX: usize = MESSAGE_BYTES_MAX + TOPIC_MAX + 16;

/// Requests that wait for the socket: twice what the device has on its way at once, messages and blocks of an update.
const REQUESTS_MAX: usize = 32;

/// Events that wait for the device.
const EVENTS_MAX: usize = 16;

/// How long an orderly end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// A token or another secret. It cannot be printed, and is wiped when it is dropped.
///
/// ```
/// let _password = simulator::mqtt::Password::new("secret");
/// ```
///
/// ```compile_fail
/// println!("{:?}", simulator::mqtt::Password::new("secret"));
/// ```
///
/// ```compile_fail
/// println!("{}", simulator::mqtt::Password::new("secret"));
/// ```
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password; the copy that it was made from is the caller's to wipe.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

/// Who logs in with MQTT's user name and password.
#[derive(Clone)]
pub struct Login {
    /// The user name: the device's id.
    pub user: String,
    /// The password: a token.
    pub password: Password,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a connection is opened with.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name; the server's certificate must have it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// MQTT client identifier.
    pub client_id: String,
    /// User name and password; sent only after the server's certificate was verified.
    pub login: Option<Login>,
    /// MQTT keep-alive in seconds, at least 1.
    pub keep_alive_s: u16,
    /// After this time the attempt fails.
    pub timeout: Duration,
}

/// What happens on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// CONNACK with return code 0 has come.
    Connected {
        /// From the first TCP packet to CONNACK, in milliseconds.
        handshake_ms: u32,
    },
    /// SUBACK has come.
    Subscribed {
        /// True where every topic is granted.
        granted: bool,
    },
    /// PUBACK for the message with this token has come.
    Acknowledged(u16),
    /// PINGRESP has come.
    Alive,
    /// A message has come.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// The attempt or the connection is over. Nothing follows.
    Failed(Failure),
}

/// One attempt to connect and the connection that comes of it.
#[derive(Debug)]
pub struct Link {
    client: AsyncClient,
    tokens: mpsc::UnboundedSender<u16>,
    events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts to connect, inside a tokio runtime.
    pub fn open(target: &Target, tls: Arc<ClientConfig>) -> Self {
        let mut options = MqttOptions::new(&target.client_id, &target.host, target.port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        options.set_clean_session(true);
        options.set_keep_alive(Duration::from_secs(target.keep_alive_s.max(1).into()));
        options.set_max_packet_size(INCOMING_MAX, OUTGOING_MAX);
        if let Some(Login { user, password }) = &target.login {
            // rumqttc keeps a copy until the connection ends and does not wipe it: a token is worthless within the hour.
            options.set_credentials(user, password.0.as_str());
        }
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS_MAX);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        // Whole seconds only: the device's own timeout is the exact one.
        network.set_connection_timeout(target.timeout.as_secs() + 1);
        event_loop.set_network_options(network);
        let (tokens, sent) = mpsc::unbounded_channel();
        let (out, events) = mpsc::channel(EVENTS_MAX);
        let address = (target.host.clone(), target.port);
        let task = tokio::spawn(async move {
            let mut talk = Talk { event_loop, sent, in_flight: HashMap::new(), subscribed: false, out };
            if let Err(failure) = talk.run(address).await {
                // Where nobody listens any more, nobody wants to know.
                let _dropped = talk.out.send(LinkEvent::Failed(failure)).await;
            }
        });
        Self { client, tokens, events, task }
    }

    /// What happens next; `None` after the end.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }

    /// Subscribes to `topics` with QoS 1; [`LinkEvent::Subscribed`] will tell. Once for each connection, before anything is
    /// fetched.
    pub fn subscribe(&self, topics: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        let filters = topics.into_iter().map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        queued(self.client.try_subscribe_many(filters))
    }

    /// Subscribes to one more topic with QoS 1; nothing tells of the answer.
    pub fn fetch(&self, topic: &str) -> Result<(), Failure> {
        queued(self.client.try_subscribe(topic, QoS::AtLeastOnce))
    }

    /// Ends such a subscription; nothing tells of the answer.
    pub fn release(&self, topic: &str) -> Result<(), Failure> {
        queued(self.client.try_unsubscribe(topic))
    }

    /// Publishes with QoS 1; [`LinkEvent::Acknowledged`] will carry `token`.
    pub fn publish(&self, token: u16, topic: &str, payload: &[u8], retain: bool) -> Result<(), Failure> {
        // The token is noted first: it must be there when the packet gets its identifier.
        let _ended = self.tokens.send(token);
        queued(self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload))
    }

    /// Ends the connection with MQTT's DISCONNECT. What is not acknowledged by then never will be.
    pub async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            self.events.close();
            // A service that does not take it in time is left without.
            let _late = timeout(CLOSE_TIMEOUT, &mut self.task).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request that cannot be queued is either too late, which the event of the end tells, or one more than the device
/// may have on its way.
fn queued(result: Result<(), ClientError>) -> Result<(), Failure> {
    result.map_err(|_full_or_over| Failure::LinkLost)
}

/// The task of one connection.
struct Talk {
    event_loop: EventLoop,
    sent: mpsc::UnboundedReceiver<u16>,
    in_flight: HashMap<u16, u16>,
    /// SUBACK for the topics that the device lives by has come: the brokers answer in order, and what follows is of fetches.
    subscribed: bool,
    out: mpsc::Sender<LinkEvent>,
}

impl Talk {
    async fn run(&mut self, address: (String, u16)) -> Result<(), Failure> {
        // Looked up here only to tell a wrong name from other trouble, and to keep DNS out of the handshake's time.
        let found = tokio::net::lookup_host(address).await.map_err(|_| Failure::Dns)?.next();
        found.ok_or(Failure::Dns)?;
        let started = Instant::now();
        loop {
            let event = self.event_loop.poll().await.map_err(|error| failure::of_connection(&error))?;
            let told = match event {
                Event::Incoming(Packet::ConnAck(_)) => {
                    let handshake_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
                    Some(LinkEvent::Connected { handshake_ms })
                }
                Event::Incoming(Packet::SubAck(ack)) if !self.subscribed => {
                    self.subscribed = true;
                    let granted = ack.return_codes.iter().all(|code| *code != SubscribeReasonCode::Failure);
                    Some(LinkEvent::Subscribed { granted })
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    self.in_flight.remove(&ack.pkid).map(LinkEvent::Acknowledged)
                }
                Event::Incoming(Packet::Publish(message)) => {
                    Some(LinkEvent::Message { topic: message.topic, payload: message.payload.to_vec() })
                }
                Event::Incoming(Packet::PingResp) => Some(LinkEvent::Alive),
                Event::Outgoing(Outgoing::Publish(pkid)) => {
                    // Packets get their identifiers in the order in which they were queued.
                    if let Ok(token) = self.sent.try_recv() {
                        self.in_flight.insert(pkid, token);
                    }
                    None
                }
                Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                Event::Incoming(_) | Event::Outgoing(_) => None,
            };
            if let Some(event) = told {
                // While it closes nobody listens, but DISCONNECT still has to go out.
                let _closing = self.out.send(event).await;
            }
        }
    }
}
