//! Messages for the broker: each is sent until the broker has acknowledged it. Owns one connection; knows nothing of what the
//! messages say.

use crate::documents::Letter;
use crate::operator::{Operator, leave, reason};
use protocol::topic::topic;
use rumqttc::{Event, Packet, QoS};
use std::fmt;
use std::time::Duration;

/// Messages that wait for their acknowledgement at the same time.
const IN_FLIGHT: usize = 32;
/// How often connecting is tried again without a message getting through, and the wait before each.
const RETRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);

/// A message for the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Whether the broker keeps it.
    pub retained: bool,
    /// What it says; empty and retained takes back what is kept.
    pub payload: Vec<u8>,
}

impl From<Letter> for Message {
    fn from(Letter { device, channel, retained, payload }: Letter) -> Self {
        Self { topic: topic(&device, channel).as_str().to_owned(), retained, payload }
    }
}

/// Not everything was published.
#[derive(Debug, PartialEq, Eq)]
pub struct PublishError {
    /// Messages that the broker has.
    pub done: usize,
    /// All messages.
    pub of: usize,
    /// Why the connection failed last.
    pub reason: String,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, of, reason } = self;
        write!(
            f,
            "the broker has {done} of {of} messages: {reason}; run the same command again for all of them"
        )
    }
}

impl std::error::Error for PublishError {}

/// Publishes `messages` in their order with QoS 1; `progress` hears how many the broker has.
///
/// MQTT 3.1.1 has no way for a broker to refuse a message: one that its access list forbids is acknowledged all the same.
pub async fn publish(
    operator: &Operator,
    messages: &[Message],
    mut progress: impl FnMut(usize),
) -> Result<(), PublishError> {
    let (mut done, mut failures) = (0, 0);
    while done < messages.len() {
        let before = done;
        if let Err(why) = attempt(operator, messages, &mut done, &mut progress).await {
            failures = if done > before { 0 } else { failures + 1 };
            if failures == RETRIES {
                return Err(PublishError { done, of: messages.len(), reason: why });
            }
            tokio::time::sleep(RETRY).await;
        }
    }
    Ok(())
}

async fn attempt(
    operator: &Operator,
    messages: &[Message],
    done: &mut usize,
    progress: &mut impl FnMut(usize),
) -> Result<(), String> {
    let (client, mut events) = operator.connect(operator.options(true));
    let mut sent = *done;
    let mut connected = false;
    while *done < messages.len() {
        while connected && sent < messages.len() && sent - *done < IN_FLIGHT {
            let Some(Message { topic, retained, payload }) = messages.get(sent) else { break };
            if client.try_publish(topic, QoS::AtLeastOnce, *retained, payload.clone()).is_err() {
                // Its queue is full: it is emptied below.
                break;
            }
            sent += 1;
        }
        match events.poll().await.map_err(|error| reason(&error))? {
            Event::Incoming(Packet::ConnAck(_)) => connected = true,
            // They come in the order of the messages (MQTT 3.1.1, section 4.6).
            Event::Incoming(Packet::PubAck(_)) => {
                *done += 1;
                progress(*done);
            }
            _ => {}
        }
    }
    leave(&client, &mut events).await;
    Ok(())
}
