//! What the broker keeps: read back, and brought there message by message. Owns these connections; understands blocks and
//! nothing else. R-FW-AUTHORISED.
//!
//! MQTT 3.1.1 brokers acknowledge what their access list forbids, so nothing counts as published that was not read back, and
//! nothing as taken back that has not come back empty. What devices say meanwhile does not prolong a reading: only what the broker had kept
//! counts, and there is an end to that too.

use super::payload::Payload;
use crate::clear::{self, ClearError};
use crate::operator::{Intake, NotLetIn, Operator, STATES, leave, reason, refused, wanted};
use crate::publish::{Message, PublishError, publish};
use protocol::Topic;
use rumqttc::{AsyncClient, Event, EventLoop, Packet};
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Topics in one subscription.
const WINDOW: usize = 32;
/// How long the broker says nothing when it has said everything.
pub const SILENCE: Duration = Duration::from_secs(1);
/// How long the broker may take for the answer to a subscription.
const ANSWER: Duration = Duration::from_secs(20);
/// How often connecting is tried again without anything getting through, and the wait before each.
const RETRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);
/// How long the broker may take for everything that it keeps, beside the silence at its end.
const LONGEST: Duration = Duration::from_secs(300);
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
    /// What was to be taken back may still be kept.
    NotCleared(ClearError),
    /// The broker does not come to an end with what it keeps.
    Endless,
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
                 must let the operator write and read there, and it must keep retained messages"
            ),
            Self::NotCleared(error) => error.fmt(f),
            Self::Endless => {
                write!(
                    f,
                    "the broker did not come to an end with what it keeps within {} s",
                    LONGEST.as_secs()
                )
            }
        }
    }
}

impl std::error::Error for ServiceError {}

impl From<PublishError> for ServiceError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

/// Tells when the broker has said everything that it keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settling {
    silence: Duration,
    began: Instant,
    last: Instant,
}

impl Settling {
    /// From now on, until nothing has come for so long.
    pub(crate) fn new(silence: Duration) -> Self {
        let now = Instant::now();
        Self { silence, began: now, last: now }
    }

    /// A message has come, which the broker had kept, or which somebody says now.
    pub(crate) fn hear(&mut self, retained: bool) {
        if retained {
            self.last = Instant::now();
        }
    }

    /// True when it has said everything, or does not come to an end.
    pub(crate) fn is_over(&self) -> bool {
        self.end() <= Instant::now()
    }

    fn end(&self) -> Instant {
        (self.last + self.silence).min(self.limit())
    }

    fn limit(&self) -> Instant {
        self.began + self.silence + LONGEST
    }

    fn is_endless(&self) -> bool {
        self.limit() < self.last + self.silence
    }
}

/// Why nothing more is read.
enum Ended {
    /// The connection failed: why.
    Link(String),
    /// This filter was refused.
    Refused(String),
    /// It does not end.
    Endless,
}

/// A connection for reading what is retained.
struct Reader {
    client: AsyncClient,
    events: EventLoop,
    /// What devices say meanwhile is taken too, within bounds.
    intake: Intake,
}

impl Reader {
    fn new(operator: &Operator) -> Self {
        let (client, events) = operator.connect(operator.options(true));
        Self { client, events, intake: Intake::new(STATES) }
    }

    /// Hands what comes below `filters` to `take`, until that says that all is there or the broker has said what it keeps.
    /// What is subscribed stays so: `take` may hear of it later.
    async fn collect(
        &mut self,
        filters: &[String],
        silence: Duration,
        take: &mut impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), Ended> {
        for window in filters.chunks(WINDOW) {
            let sent = self.client.try_subscribe_many(wanted(window));
            sent.map_err(|_| Ended::Link("the MQTT client stopped".to_owned()))?;
        }
        let mut open = filters.chunks(WINDOW);
        let asked = Instant::now() + ANSWER;
        let (mut settling, mut all) = (None::<Settling>, false);
        loop {
            // A message that is always there would keep a limit of time from being seen.
            let until = settling.map_or(asked, |settling| settling.end());
            if until <= Instant::now() || (settling.is_some() && all) {
                break;
            }
            let Ok(event) = timeout_at(until, self.events.poll()).await else { break };
            match event.map_err(|error| Ended::Link(reason(&error)))? {
                Event::Incoming(Packet::SubAck(ack)) => {
                    if let Some(filter) = refused(&ack, open.next().unwrap_or_default()) {
                        return Err(Ended::Refused(filter));
                    }
                    if open.len() == 0 {
                        settling = Some(Settling::new(silence));
                    }
                }
                Event::Incoming(Packet::Publish(message)) => {
                    if let Some(settling) = &mut settling {
                        settling.hear(message.retain);
                    }
                    let device = Topic::decode(&message.topic).map(|topic| topic.device);
                    let admitted =
                        device.map(|device| self.intake.admit_live(Instant::now(), &device, &message));
                    if admitted.is_none_or(|admitted| admitted.is_ok()) {
                        all |= take(&message.topic, &message.payload);
                    }
                }
                _ => {}
            }
        }
        match settling {
            None => Err(Ended::Link(format!("no answer within {} s", ANSWER.as_secs()))),
            Some(settling) if !all && settling.is_endless() => Err(Ended::Endless),
            Some(_) => Ok(()),
        }
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
        while let Err(ended) = self.collect(filters, silence, take).await {
            failures += 1;
            match ended {
                Ended::Refused(filter) => return Err(ServiceError::Subscription(filter)),
                Ended::Endless => return Err(ServiceError::Endless),
                Ended::Link(why) if failures == RETRIES => return Err(ServiceError::Connection(why)),
                Ended::Link(_) => {}
            }
            tokio::time::sleep(RETRY).await;
            *self = Self::new(operator);
        }
        Ok(())
    }

    async fn close(mut self) {
        leave(&self.client, &mut self.events).await;
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

/// Publishes messages and reads them back ([`check`]); what is taken back counts when it comes back empty ([`clear::topics`]),
/// because a broker that lets the operator read nothing is as silent as one that keeps nothing. `tell` hears how many the broker
/// has acknowledged.
pub async fn keep(
    operator: &Operator,
    messages: &[Message],
    mut tell: impl FnMut(usize),
) -> Result<(), ServiceError> {
    let taken_back = |message: &&Message| message.retained && message.payload.is_empty();
    let cleared: Vec<String> =
        messages.iter().filter(taken_back).map(|message| message.topic.clone()).collect();
    let others: Vec<Message> = messages.iter().filter(|message| !taken_back(message)).cloned().collect();
    publish(operator, &others, &mut tell).await?;
    clear::topics(operator, &cleared, |done| tell(others.len() + done))
        .await
        .map_err(ServiceError::NotCleared)?;
    check(operator, &others).await
}

/// Whether the broker keeps what was published to be kept.
pub async fn check(operator: &Operator, messages: &[Message]) -> Result<(), ServiceError> {
    let kept = |message: &&Message| message.retained && !message.payload.is_empty();
    let messages: Vec<Message> = messages.iter().filter(kept).cloned().collect();
    let all = messages.len();
    if all > 0 {
        let mut blocks = Blocks { there: vec![false; all], messages };
        blocks.look(operator, 0..all, false, |_| {}).await?;
        if let Some(first) = blocks.missing().next() {
            return Err(ServiceError::NotKept(blocks.missing().count(), first.topic.clone()));
        }
    }
    Ok(())
}
