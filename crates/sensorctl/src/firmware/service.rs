//! What the broker keeps of firmware: read back, and brought there block by block. Owns these connections; understands blocks and
//! nothing else. R-FW-AUTHORISED.
//!
//! MQTT 3.1.1 brokers acknowledge what their access list forbids, so nothing counts as published that was not read back.

use super::payload::Payload;
use crate::operator::{NotLetIn, Operator, reason};
use crate::publish::{Message, PublishError, publish};
use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, QoS, SubscribeFilter, SubscribeReasonCode};
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// Topics that are asked for at the same time.
const WINDOW: usize = 32;
/// How long the broker says nothing when it has said everything.
pub const SILENCE: Duration = Duration::from_secs(1);
/// How long the broker may take for the answer to a subscription.
const ANSWER: Duration = Duration::from_secs(20);
/// How often connecting is tried again without anything getting through, and the wait before each.
const RETRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);
/// How long taking leave may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often blocks are published before the broker is taken for one that does not keep them.
const ROUNDS: usize = 2;

/// Why it did not work.
#[derive(Debug)]
pub enum ServiceError {
    /// There is no connection: why the last attempt failed.
    Connection(String),
    /// The broker does not let the operator read this.
    Subscription(String),
    /// Something could not be published.
    Publish(PublishError),
    /// The broker acknowledged so many messages and does not have them; the first one's topic.
    NotKept(usize, String),
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(why) => write!(f, "there was no connection to the broker: {why}"),
            Self::Subscription(filter) => NotLetIn(filter).fmt(f),
            Self::Publish(error) => error.fmt(f),
            Self::NotKept(count, topic) => write!(
                f,
                "the broker acknowledged {count} messages and does not give them back, first {topic}: its access list \
                 must let the operator write and read firmware/#, and it must keep retained messages"
            ),
        }
    }
}

impl std::error::Error for ServiceError {}

impl From<PublishError> for ServiceError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

/// A connection for reading what is retained.
struct Reader {
    client: AsyncClient,
    events: EventLoop,
}

impl Reader {
    fn new(operator: &Operator) -> Self {
        let (client, events) = operator.connect(operator.options(true));
        Self { client, events }
    }

    /// Hands what the broker keeps below `filters` to `take`, until that says that all is there or the broker falls silent.
    /// What is subscribed stays so: `take` may hear of it later.
    /// The error is why the connection failed, or the filter that was refused.
    async fn collect(
        &mut self,
        filters: &[String],
        silence: Duration,
        take: &mut impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), Result<String, String>> {
        let lost = |_| Ok("the MQTT client stopped".to_owned());
        let wanted = filters.iter().map(|path| SubscribeFilter { path: path.clone(), qos: QoS::AtLeastOnce });
        self.client.try_subscribe_many(wanted).map_err(lost)?;
        let (mut granted, mut all) = (false, false);
        while !(granted && all) {
            let event = match timeout(if granted { silence } else { ANSWER }, self.events.poll()).await {
                Err(_) if granted => break,
                Err(_) => return Err(Ok(format!("no answer within {} s", ANSWER.as_secs()))),
                Ok(event) => event.map_err(|error| Ok(reason(&error)))?,
            };
            match event {
                Event::Incoming(Packet::SubAck(ack)) => {
                    let refused = ack.return_codes.iter().zip(filters);
                    let refused =
                        refused.into_iter().find(|(code, _)| **code == SubscribeReasonCode::Failure);
                    if let Some((_, filter)) = refused {
                        return Err(Err(filter.clone()));
                    }
                    granted = true;
                }
                Event::Incoming(Packet::Publish(message)) => all |= take(&message.topic, &message.payload),
                _ => {}
            }
        }
        Ok(())
    }

    /// The same, connecting again where the link breaks.
    async fn persist(
        &mut self,
        operator: &Operator,
        filters: &[String],
        silence: Duration,
        take: &mut impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), ServiceError> {
        let mut failures = 0;
        while let Err(why) = self.collect(filters, silence, take).await {
            let why = why.map_err(ServiceError::Subscription)?;
            failures += 1;
            if failures == RETRIES {
                return Err(ServiceError::Connection(why));
            }
            tokio::time::sleep(RETRY).await;
            *self = Self::new(operator);
        }
        Ok(())
    }

    async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            let leave = async {
                while let Ok(event) = self.events.poll().await {
                    if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                        break;
                    }
                }
            };
            // Everything was read: a broker that does not take leave costs nothing.
            let _ = timeout(FAREWELL, leave).await;
        }
    }
}

/// Hands every message that the broker keeps below `filters` to `take`; ends when the broker has been silent for so long.
pub async fn read(
    operator: &Operator,
    filters: &[String],
    silence: Duration,
    mut take: impl FnMut(&str, &[u8]),
) -> Result<(), ServiceError> {
    let mut hand_on = |topic: &str, payload: &[u8]| {
        take(topic, payload);
        false
    };
    let mut reader = Reader::new(operator);
    reader.persist(operator, filters, silence, &mut hand_on).await?;
    reader.close().await;
    Ok(())
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// The broker is asked what it has: blocks that are right, of all.
    Looking(usize, usize),
    /// Blocks that the broker has, of all; bytes that were sent to it.
    Sending(usize, usize, u64),
    /// Blocks that were read back, of all.
    Checking(usize, usize),
}

/// What an upload did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Blocks in all.
    pub blocks: usize,
    /// Of these, those that were there already.
    pub there: usize,
    /// Bytes that were published.
    pub bytes: u64,
}

/// Blocks, and which of them the broker has.
struct Blocks {
    messages: Vec<Message>,
    there: Vec<bool>,
}

impl Blocks {
    fn count(&self) -> usize {
        self.there.iter().filter(|there| **there).count()
    }

    fn missing(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().zip(&self.there).filter(|(_, there)| !**there).map(|(message, _)| message)
    }

    /// Asks the broker for what is missing from `range`. Where `prefix` is given, only until something is not there.
    async fn look(
        &mut self,
        operator: &Operator,
        range: std::ops::Range<usize>,
        prefix: bool,
        mut tell: impl FnMut(usize),
    ) -> Result<(), ServiceError> {
        let missing: Vec<usize> = range.filter(|place| !self.has(*place)).collect();
        let mut reader = Reader::new(operator);
        for window in missing.chunks(WINDOW) {
            let message = |place: &usize| self.messages.get(*place);
            let topics: Vec<String> =
                window.iter().filter_map(message).map(|message| message.topic.clone()).collect();
            let mut take = |topic: &str, payload: &[u8]| {
                self.take(window, topic, payload);
                window.iter().all(|place| self.has(*place))
            };
            reader.persist(operator, &topics, SILENCE, &mut take).await?;
            tell(self.count());
            if prefix && !window.iter().all(|place| self.has(*place)) {
                break;
            }
        }
        reader.close().await;
        Ok(())
    }

    fn has(&self, place: usize) -> bool {
        self.there.get(place).is_some_and(|there| *there)
    }

    /// What came at a topic is one of those in `window`, or is of no concern.
    fn take(&mut self, window: &[usize], topic: &str, payload: &[u8]) {
        for place in window {
            if let (Some(message), Some(there)) = (self.messages.get(*place), self.there.get_mut(*place))
                && message.topic == topic
            {
                *there = message.payload == payload;
            }
        }
    }
}

/// Brings every block of `payloads` to the broker and reads it back. What the broker has already is not sent again: blocks
/// are published in order, so looking ends at the first window of each payload that is not complete.
pub async fn upload(
    operator: &Operator,
    payloads: &[&Payload],
    mut tell: impl FnMut(Upload),
) -> Result<Uploaded, ServiceError> {
    let messages: Vec<Message> = payloads.iter().flat_map(|payload| payload.messages()).collect();
    let all = messages.len();
    let mut blocks = Blocks { there: vec![false; all], messages };
    let mut begin = 0;
    for payload in payloads {
        let end = begin + payload.messages().len();
        blocks.look(operator, begin..end, true, |there| tell(Upload::Looking(there, all))).await?;
        begin = end;
    }
    let mut uploaded = Uploaded { blocks: all, there: blocks.count(), bytes: 0 };
    for _ in 0..ROUNDS {
        let missing: Vec<Message> = blocks.missing().cloned().collect();
        if missing.is_empty() {
            return Ok(uploaded);
        }
        let (before, sent) = (all - missing.len(), uploaded.bytes);
        let mut bytes = sent;
        let mut sizes = missing.iter().map(|message| message.payload.len() as u64);
        let done = |done| {
            bytes += sizes.next().unwrap_or_default();
            tell(Upload::Sending(before + done, all, bytes));
        };
        publish(operator, &missing, done).await?;
        uploaded.bytes += missing.iter().map(|message| message.payload.len() as u64).sum::<u64>();
        blocks.look(operator, 0..all, false, |there| tell(Upload::Checking(there, all))).await?;
    }
    let first = blocks.missing().next().map(|message| message.topic.clone());
    match first {
        None => Ok(uploaded),
        Some(topic) => Err(ServiceError::NotKept(blocks.missing().count(), topic)),
    }
}

/// Publishes messages and reads them back.
pub async fn keep(operator: &Operator, messages: &[Message]) -> Result<(), ServiceError> {
    publish(operator, messages, |_| {}).await?;
    let mut blocks = Blocks { messages: messages.to_vec(), there: vec![false; messages.len()] };
    // What was taken back cannot be read.
    for (message, there) in messages.iter().zip(&mut blocks.there) {
        *there = message.payload.is_empty();
    }
    blocks.look(operator, 0..messages.len(), false, |_| {}).await?;
    let first = blocks.missing().next().map(|message| message.topic.clone());
    first.map_or(Ok(()), |topic| Err(ServiceError::NotKept(blocks.missing().count(), topic)))
}
