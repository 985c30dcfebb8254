//! The connection to the broker: mutual TLS with the operator's certificate, MQTT 3.1.1, QoS 1, and a session that the
//! broker keeps while the link is down, so that a broken link loses nothing. Owns the socket; understands no message.
//! R-TLS-ALL, R-TLS-CIPHERS, R-TLS-SERVER, R-TLS-CLIENT.

use super::Link;
pub use crate::operator::now;
use crate::operator::{Budget, Intake, NotLetIn, Operator, Wait, refused, wanted};
use protocol::topic::ROOT;
use protocol::{Channel, DeviceId, EpochMillis, Topic};
use rumqttc::{AsyncClient, ClientError, ConnectionError, Event, EventLoop, Outgoing, Packet, Publish};
use std::fmt;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long taking leave of the broker may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// At once, far more than a device keeps while it is away; in the long run, more than one that reports all the time.
const BUDGET: Budget = Budget {
    messages: 4_096,
    message_each: Duration::from_millis(20),
    kibibytes: 8_192,
    kibibyte_each: Duration::from_millis(20),
};

/// Why there can be no link at all.
#[derive(Debug)]
pub enum LinkError {
    /// The broker does not let the operator read this topic.
    SubscriptionRefused(String),
    /// The client library stopped.
    Client(ClientError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubscriptionRefused(filter) => NotLetIn(filter).fmt(f),
            Self::Client(error) => write!(f, "the MQTT client stopped: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

/// Where to connect, as whom, and what to listen to.
#[derive(Debug)]
pub struct Options {
    /// The broker, and as whom.
    pub operator: Operator,
    /// One device, or all.
    pub device: Option<DeviceId>,
}

/// What the link brings.
#[derive(Debug)]
pub enum Incoming {
    /// The connection has changed.
    Link(Link),
    /// A message.
    Message {
        /// When it came.
        at: EpochMillis,
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A message that was dropped unread.
    Dropped {
        /// When it came.
        at: EpochMillis,
        /// Its topic.
        topic: String,
        /// Why, where that was not told of this device yet.
        why: Option<String>,
    },
    /// There will be no link any more.
    Failed(LinkError),
}

impl Options {
    fn mqtt(&self, clean_session: bool) -> (AsyncClient, EventLoop) {
        self.operator.connect(self.operator.options(clean_session))
    }

    /// The topics that are listened to.
    fn filters(&self) -> Vec<String> {
        let device = self.device.as_ref().map_or("+", DeviceId::as_str);
        let channels = [Channel::Hello, Channel::State, Channel::Telemetry];
        channels.map(|channel| format!("{ROOT}/{device}/{}", channel.as_str())).to_vec()
    }
}

/// Keeps the link up and reports through `incoming` until `stop` fires or the receiver is gone; then takes leave of the
/// broker, so that it does not keep messages for a session that nobody comes back to.
pub async fn keep(options: Options, incoming: mpsc::Sender<Incoming>, stop: oneshot::Receiver<()>) {
    let (client, mut events) = options.mqtt(false);
    let mut up = false;
    let failed = tokio::select! {
        result = listen(&options, &client, &mut events, &incoming, &mut up) => result.err(),
        _ = stop => None,
    };
    if let Some(error) = failed {
        // A receiver that is gone has no use for it.
        let _ = incoming.send(Incoming::Failed(error)).await;
    }
    if up {
        // The broker forgets the session by itself where this does not get through.
        let _ = tokio::time::timeout(FAREWELL, farewell(&options, &client, &mut events)).await;
    }
}

/// Ends with an error, or without one where nobody listens any more.
async fn listen(
    options: &Options,
    client: &AsyncClient,
    events: &mut EventLoop,
    incoming: &mpsc::Sender<Incoming>,
    up: &mut bool,
) -> Result<(), LinkError> {
    let filters = options.filters();
    let (mut connected_once, mut missed, mut shared) = (false, false, false);
    let (mut wait, mut intake) = (Wait::new(), Intake::new(BUDGET));
    loop {
        let news = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                // A session under a name that is new is somebody else's: what that one has subscribed to is not known here.
                shared = !connected_once && ack.session_present;
                missed = connected_once && (!ack.session_present || wait.is_taken_over());
                client.subscribe_many(wanted(&filters)).await.map_err(LinkError::Client)?;
                continue;
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if let Some(filter) = refused(&ack, &filters) {
                    return Err(LinkError::SubscriptionRefused(filter));
                }
                wait.up(Instant::now());
                (*up, connected_once) = (true, true);
                Incoming::Link(Link::Up { missed, shared })
            }
            Ok(Event::Incoming(Packet::Publish(message))) => take(&mut intake, message),
            Ok(_) => continue,
            Err(error) => {
                *up = false;
                let (reason, retry_ms) = wait.down(&error, Instant::now());
                if incoming.send(Incoming::Link(Link::Down { reason, retry_ms })).await.is_err() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                continue;
            }
        };
        if incoming.send(news).await.is_err() {
            return Ok(());
        }
    }
}

fn take(intake: &mut Intake, message: Publish) -> Incoming {
    let (at, Publish { topic, payload, .. }) = (now(), message);
    // Whose message it is not known of is refused by its topic.
    let admitted = Topic::decode(&topic)
        .map_or(Ok(()), |Topic { device, .. }| intake.admit(Instant::now(), &device, payload.len()));
    match admitted {
        Ok(()) => Incoming::Message { at, topic, payload: payload.to_vec() },
        Err(excess) => Incoming::Dropped { at, topic, why: excess.map(|excess| excess.to_string()) },
    }
}

/// Disconnects, and connects once more with a clean session: that is how MQTT 3.1.1 deletes one.
async fn farewell(
    options: &Options,
    client: &AsyncClient,
    events: &mut EventLoop,
) -> Result<(), ConnectionError> {
    disconnect(client, events).await?;
    let (client, mut events) = options.mqtt(true);
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    disconnect(&client, &mut events).await
}

async fn disconnect(client: &AsyncClient, events: &mut EventLoop) -> Result<(), ConnectionError> {
    if client.try_disconnect().is_ok() {
        while !matches!(events.poll().await?, Event::Outgoing(Outgoing::Disconnect)) {}
    }
    Ok(())
}
