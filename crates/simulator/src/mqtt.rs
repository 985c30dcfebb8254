//! One connection to the service: DNS, TCP, TLS, MQTT 3.1.1, from the attempt to its end. Owns the socket and the
//! packet identifiers, never decides to connect again. R-MQTT-ISOLATION, R-TLS-ALL.
//!
//! A [`Link`] is one attempt. Dropping it ends the connection, and nothing of it can be heard any more.

mod incoming;
mod talk;

use bytes::Bytes;
use device::MESSAGE_BYTES_MAX;
use device::dropped::Why;
use device::session::AddressTurn;
use protocol::Failure;
use protocol::topic::TOPIC_MAX;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::Publish;
use rumqttc::tokio_rustls::rustls::ClientConfig;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use talk::Talk;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

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
    /// Which of the host's addresses is tried.
    pub turn: AddressTurn,
    /// The host's addresses; where there are none the name service is asked.
    pub known: Vec<IpAddr>,
}

/// What happens on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The attempt is for this address of the host.
    Trying(SocketAddr),
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
    /// A piece of a message that is on its way has come.
    Receiving,
    /// A message has come.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Something of the service was dropped, and acknowledged where it wants that.
    Dropped {
        /// Why.
        why: Why,
        /// Its topic, whatever bytes these are; empty for an acknowledgement.
        topic: Vec<u8>,
        /// Length of its payload in bytes.
        bytes: u32,
    },
    /// The attempt or the connection is over. Nothing follows.
    Failed(Failure),
}

/// What the device asks of its connection.
#[derive(Debug)]
enum Request {
    /// Subscribes; [`LinkEvent::Subscribed`] tells of those by which the device lives, nothing of a fetch.
    Subscribe {
        topics: Vec<String>,
        tells: bool,
    },
    Unsubscribe(String),
    Publish {
        token: u16,
        message: Publish,
    },
    Disconnect,
}

/// One attempt to connect and the connection that comes of it.
#[derive(Debug)]
pub struct Link {
    requests: mpsc::Sender<Request>,
    events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts to connect, inside a tokio runtime.
    pub fn open(target: &Target, tls: Arc<ClientConfig>) -> Self {
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let (out, events) = mpsc::channel(EVENTS_MAX);
        let target = target.clone();
        let task = tokio::spawn(async move {
            if let Err(failure) = Talk::run(&target, tls, asked, &out).await {
                // Where nobody listens any more, nobody wants to know.
                let _dropped = out.send(LinkEvent::Failed(failure)).await;
            }
        });
        Self { requests, events, task }
    }

    /// What happens next; `None` after the end.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }

    /// Subscribes to `topics` with QoS 1; [`LinkEvent::Subscribed`] will tell.
    pub fn subscribe(&self, topics: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        self.queue(Request::Subscribe { topics: topics.into_iter().collect(), tells: true })
    }

    /// Subscribes to one more topic with QoS 1; nothing tells of the answer.
    pub fn fetch(&self, topic: &str) -> Result<(), Failure> {
        self.queue(Request::Subscribe { topics: vec![topic.to_owned()], tells: false })
    }

    /// Ends such a subscription; nothing tells of the answer.
    pub fn release(&self, topic: &str) -> Result<(), Failure> {
        self.queue(Request::Unsubscribe(topic.to_owned()))
    }

    /// Publishes with QoS 1; [`LinkEvent::Acknowledged`] will carry `token`.
    pub fn publish(&self, token: u16, topic: &str, payload: &[u8], retain: bool) -> Result<(), Failure> {
        let mut message = Publish::from_bytes(topic, QoS::AtLeastOnce, Bytes::copy_from_slice(payload));
        message.retain = retain;
        debug_assert!(message.size() + 2 <= OUTGOING_MAX);
        self.queue(Request::Publish { token, message })
    }

    /// Ends the connection with MQTT's DISCONNECT. What is not acknowledged by then never will be.
    pub async fn close(mut self) {
        if self.queue(Request::Disconnect).is_ok() {
            self.events.close();
            // A service that does not take it in time is left without.
            let _late = timeout(CLOSE_TIMEOUT, &mut self.task).await;
        }
    }

    /// A request that cannot be queued is either too late, which the event of the end tells, or one more than the device
    /// may have on its way.
    fn queue(&self, request: Request) -> Result<(), Failure> {
        self.requests.try_send(request).map_err(|_full_or_over| Failure::LinkLost)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
