//! The connection to the broker: mutual TLS with the operator's certificate, MQTT 3.1.1, QoS 1, and a session that the
//! broker keeps while the link is down, so that a broken link loses nothing. Owns the socket; understands no message.
//! R-TLS-ALL, R-TLS-CIPHERS, R-TLS-SERVER, R-TLS-CLIENT.

use super::Link;
pub use crate::operator::now;
use crate::operator::{NotLetIn, RETRY_MS};
use crate::operator::{Operator, OperatorError, reason};
use protocol::topic::ROOT;
use protocol::{Channel, DeviceId, EpochMillis};
use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, Outgoing, Packet, QoS, SubscribeFilter,
    SubscribeReasonCode,
};
use std::fmt;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long taking leave of the broker may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there can be no link at all.
#[derive(Debug)]
pub enum LinkError {
    /// The operator's credentials.
    Operator(OperatorError),
    /// The broker does not let the operator read this topic.
    SubscriptionRefused(String),
    /// The client library stopped.
    Client(ClientError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(error) => error.fmt(f),
            Self::SubscriptionRefused(filter) => NotLetIn(filter).fmt(f),
            Self::Client(error) => write!(f, "the MQTT client stopped: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<OperatorError> for LinkError {
    fn from(error: OperatorError) -> Self {
        Self::Operator(error)
    }
}

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
    /// There will be no link any more.
    Failed(LinkError),
}

impl Options {
    /// Reads the operator's credentials from the authority's folder `ca`.
    pub fn new(ca: &Path, host: String, port: u16, device: Option<DeviceId>) -> Result<Self, LinkError> {
        let operator = Operator::new(&[ca.to_owned()], ca, host, port, "watch")?;
        Ok(Self { operator, device })
    }

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
    let (mut connected_once, mut missed, mut retry_ms) = (false, false, *RETRY_MS.start());
    loop {
        let news = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                missed = connected_once && !ack.session_present;
                if ack.session_present {
                    Some(Incoming::Link(Link::Up { missed }))
                } else {
                    let filters = options
                        .filters()
                        .into_iter()
                        .map(|path| SubscribeFilter { path, qos: QoS::AtLeastOnce });
                    client.subscribe_many(filters).await.map_err(LinkError::Client)?;
                    None
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = ack.return_codes.iter().zip(options.filters());
                let refused = refused.into_iter().find(|(code, _)| **code == SubscribeReasonCode::Failure);
                if let Some((_, filter)) = refused {
                    return Err(LinkError::SubscriptionRefused(filter));
                }
                Some(Incoming::Link(Link::Up { missed }))
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                Some(Incoming::Message { at: now(), topic: message.topic, payload: message.payload.to_vec() })
            }
            Ok(_) => None,
            Err(error) => {
                *up = false;
                let link = Link::Down { reason: reason(&error), retry_ms };
                if incoming.send(Incoming::Link(link)).await.is_err() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                retry_ms = (retry_ms * 2).min(*RETRY_MS.end());
                continue;
            }
        };
        let Some(news) = news else { continue };
        if matches!(news, Incoming::Link(_)) {
            (*up, connected_once, retry_ms) = (true, true, *RETRY_MS.start());
        }
        if incoming.send(news).await.is_err() {
            return Ok(());
        }
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
