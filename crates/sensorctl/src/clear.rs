//! What a broker keeps of devices, taken back: every topic that a device has, whoever may have written there. Owns the
//! connection for it. R-DESTROY.
//!
//! An MQTT 3.1.1 broker acknowledges what its access list forbids, so nothing counts as taken back but what came back: whoever
//! listens to a topic hears the empty message that clears it.

use crate::operator::{NotLetIn, Operator, reason};
use protocol::topic::{ROOT, topic};
use protocol::{Channel, DeviceId};
use rumqttc::{Event, Packet, QoS, SubscribeFilter, SubscribeReasonCode};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Topics that one connection clears: as many as fit into one SUBSCRIBE of the size that the brokers of brokers/ let pass.
const AT_ONCE: usize = 32;
/// Messages that are on their way at the same time.
const IN_FLIGHT: usize = 32;
/// How long the broker may take for the next one to come back.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after the last acknowledgement a message that comes back may still be on its way.
const ECHO: Duration = Duration::from_secs(3);
/// How often connecting is tried again without anything getting through, and the wait before each.
const RETRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);

/// Something may still be kept.
#[derive(Debug, PartialEq, Eq)]
pub enum ClearError {
    /// There is no connection: why the last attempt failed.
    Connection(String),
    /// The broker does not let the operator read this.
    Subscription(String),
    /// The broker acknowledged so many messages and did not pass them on; the first one's topic.
    NotTaken(usize, String),
}

impl fmt::Display for ClearError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(why) => {
                write!(f, "what the broker keeps was NOT taken back: there was no connection: {why}")
            }
            Self::Subscription(filter) => NotLetIn(filter).fmt(f),
            Self::NotTaken(count, topic) => write!(
                f,
                "{count} topics were NOT cleared, first {topic}: the broker acknowledges and does not do it. Its access \
                 list must let this operator write and read them: see the rules of brokers/ for each --operator; what \
                 devices say themselves is cleared by `operator.revoke` alone"
            ),
        }
    }
}

impl std::error::Error for ClearError {}

/// Takes back what the broker keeps on every topic of these devices, and sees that it has.
pub async fn clear(operator: &Operator, ids: &[DeviceId]) -> Result<(), ClearError> {
    let of = |id| Channel::ALL.map(|channel| topic(id, channel).as_str().to_owned());
    let filters: Vec<String> = ids.iter().map(|id| format!("{ROOT}/{id}/#")).collect();
    take_back(operator, &filters, ids.iter().flat_map(of).collect()).await
}

/// Takes back what the broker keeps on exactly these topics, and sees that it has; `tell` hears how many are done.
pub async fn topics(
    operator: &Operator,
    topics: &[String],
    mut tell: impl FnMut(usize),
) -> Result<(), ClearError> {
    let mut done = 0;
    for some in topics.chunks(AT_ONCE) {
        take_back(operator, some, some.iter().cloned().collect()).await?;
        done += some.len();
        tell(done);
    }
    Ok(())
}

async fn take_back(
    operator: &Operator,
    filters: &[String],
    mut open: BTreeSet<String>,
) -> Result<(), ClearError> {
    let mut failures = 0;
    loop {
        let before = open.len();
        match attempt(operator, filters, &mut open).await {
            Ok(()) => break,
            Err(Err(filter)) => return Err(ClearError::Subscription(filter)),
            Err(Ok(why)) => {
                failures = if open.len() < before { 0 } else { failures + 1 };
                if failures == RETRIES {
                    return Err(ClearError::Connection(why));
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    match open.first() {
        None => Ok(()),
        Some(first) => Err(ClearError::NotTaken(open.len(), first.clone())),
    }
}

/// Publishes what is `open` and takes out of it what comes back on `filters`. The error is why the connection failed, or the filter that was
/// refused.
async fn attempt(
    operator: &Operator,
    filters: &[String],
    open: &mut BTreeSet<String>,
) -> Result<(), Result<String, String>> {
    let lost = |_| Ok("the MQTT client stopped".to_owned());
    let mut wanted: Vec<String> = open.iter().cloned().collect();
    let (client, mut events) = operator.connect(operator.options(true));
    let subscribe = |path: &String| SubscribeFilter { path: path.clone(), qos: QoS::AtLeastOnce };
    client.try_subscribe_many(filters.iter().map(subscribe)).map_err(lost)?;
    let (mut granted, mut sent, mut done) = (false, 0, 0);
    // Whatever else these devices say does not prolong it.
    let mut until = Instant::now() + PATIENCE;
    while !open.is_empty() {
        while granted && sent < wanted.len() && sent - done < IN_FLIGHT {
            let Some(topic) = wanted.get(sent) else { break };
            if client.try_publish(topic, QoS::AtLeastOnce, true, Vec::new()).is_err() {
                // Its queue is full: it is emptied below.
                break;
            }
            sent += 1;
        }
        let event = match timeout_at(until, events.poll()).await {
            Err(_) if done == wanted.len() => break,
            Err(_) => return Err(Ok(format!("no answer within {} s", PATIENCE.as_secs()))),
            Ok(event) => event.map_err(|error| Ok(reason(&error)))?,
        };
        match event {
            Event::Incoming(Packet::SubAck(ack)) => {
                let mut refused = ack.return_codes.iter().zip(filters);
                let refused = refused.find(|(code, _)| **code == SubscribeReasonCode::Failure);
                if let Some((_, filter)) = refused {
                    return Err(Err(filter.clone()));
                }
                granted = true;
            }
            Event::Incoming(Packet::PubAck(_)) => {
                done += 1;
                until = Instant::now() + if done == wanted.len() { ECHO } else { PATIENCE };
            }
            // What was kept before comes as retained, on topics that no device has too; what clears it does not.
            Event::Incoming(Packet::Publish(message))
                if message.retain && !wanted.contains(&message.topic) =>
            {
                open.insert(message.topic.clone());
                wanted.push(message.topic);
            }
            Event::Incoming(Packet::Publish(message)) if !message.retain && message.payload.is_empty() => {
                open.remove(&message.topic);
            }
            _ => {}
        }
    }
    // The broker has nothing more to say: it is not taken leave of.
    Ok(())
}
