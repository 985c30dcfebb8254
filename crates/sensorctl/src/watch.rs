//! Watching a fleet: what devices say, verified and shown. Owns the state of one watch: the ledger, the last values
//! for the plots, and how the link is. Does no I/O itself: [`link`] brings the messages, [`run`] drives it, and
//! [`lines`], [`view`], [`summary`] and [`picture`] show it. R-DATA-INTACT, R-FLEET.

mod fit;
pub mod lines;
pub mod link;
pub mod picture;
pub mod run;
pub mod summary;
pub mod view;

use crate::ledger::{Arrival, Device, Ledger, Receipt};
use crate::operator::RETRY_MS;
use protocol::{Batch, Channel, DeviceId, EpochMillis, Hello, Measurement, State, Topic};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Samples that are kept for the plots of one device.
pub const HISTORY_SAMPLES: usize = 240;

/// A sample for a plot: its time, or when it came where the device had no time; `None` is a fault.
pub type Point = (EpochMillis, Option<Measurement>);

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it came.
    pub at: EpochMillis,
    /// What it is.
    pub news: News,
}

/// What is told.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time is alive; a box would cost more than it saves")]
pub enum News {
    /// A device has connected.
    Hello(Hello),
    /// A device has said how it is.
    State(DeviceId, State),
    /// Samples have come.
    Batch(DeviceId, Batch, Receipt),
    /// A message that is none of ours, or that cannot be read: its topic and why.
    Refused(String, String),
    /// The connection to the broker.
    Link(Link),
}

/// How the connection to the broker is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// There was none yet.
    #[default]
    Connecting,
    /// Connected and subscribed.
    Up {
        /// Messages may have passed unseen: the broker has kept nothing of what came in between, or somebody else takes it.
        missed: bool,
        /// At the first connection there was a session already: of another program, or of a watch that was killed.
        shared: bool,
    },
    /// Broken or refused: why, and in how many milliseconds the next attempt follows.
    Down {
        /// What the system, TLS or the broker says.
        reason: String,
        /// Milliseconds until the next attempt.
        retry_ms: u64,
    },
}

/// The state of one watch.
#[derive(Debug)]
pub struct Watch {
    /// Who sent what.
    pub ledger: Ledger,
    /// How the connection is.
    pub link: Link,
    /// Messages that were refused.
    pub refused: u64,
    /// When the watch began.
    pub started: EpochMillis,
    /// True from the first connection on.
    pub connected_once: bool,
    /// Devices that are in service: each of them has something to say.
    pub expected: BTreeSet<DeviceId>,
    histories: BTreeMap<DeviceId, VecDeque<Point>>,
}

impl Watch {
    /// A watch that begins now.
    pub fn new(started: EpochMillis) -> Self {
        Self {
            ledger: Ledger::new(),
            link: Link::Connecting,
            refused: 0,
            started,
            connected_once: false,
            expected: BTreeSet::new(),
            histories: BTreeMap::new(),
        }
    }

    /// The last samples of a device, oldest first.
    pub fn history(&self, device: &DeviceId) -> impl ExactSizeIterator<Item = &Point> {
        self.histories.get(device).map(VecDeque::iter).unwrap_or_default()
    }

    /// The connection has changed.
    pub fn link(&mut self, at: EpochMillis, link: Link) -> Event {
        match &link {
            Link::Up { missed: true, .. } => self.ledger.interrupted(),
            // The first time after a healthy connection.
            Link::Down { retry_ms, .. } if retry_ms == RETRY_MS.start() => self.ledger.doubted(),
            _ => {}
        }
        self.connected_once |= matches!(link, Link::Up { .. });
        self.link = link.clone();
        Event { at, news: News::Link(link) }
    }

    /// A message has come: it is decoded, verified and counted.
    pub fn message(&mut self, at: EpochMillis, topic: &str, payload: &[u8]) -> Event {
        let news = self.decode(at, topic, payload).unwrap_or_else(|reason| {
            self.refused += 1;
            News::Refused(topic.to_owned(), reason)
        });
        Event { at, news }
    }

    /// A message was dropped unread; the event where that is to be told.
    pub fn dropped(&mut self, at: EpochMillis, topic: String, why: Option<String>) -> Option<Event> {
        self.refused += 1;
        why.map(|why| Event { at, news: News::Refused(topic, why) })
    }

    /// Devices of which nothing came although they are in service.
    pub fn unheard(&self) -> impl Iterator<Item = &DeviceId> {
        self.expected.iter().filter(|id| !self.ledger.device(id).is_some_and(Device::has_spoken))
    }

    fn decode(&mut self, at: EpochMillis, topic: &str, payload: &[u8]) -> Result<News, String> {
        let Topic { device, channel } =
            Topic::decode(topic).ok_or_else(|| "the topic is none of a device".to_owned())?;
        match channel {
            Channel::Hello => {
                let hello = Hello::decode(payload).map_err(|error| error.to_string())?;
                if hello.id != device {
                    return Err(format!("it is the hello of {}, which may not speak for {device}", hello.id));
                }
                self.ledger.hello(&device, &hello);
                Ok(News::Hello(hello))
            }
            Channel::State => {
                let state = State::decode(payload).map_err(|error| error.to_string())?;
                self.ledger.state(&device, &state);
                Ok(News::State(device, state))
            }
            Channel::Telemetry => {
                let batch = Batch::decode(payload).map_err(|error| error.to_string())?;
                let arrival = Arrival { at, topic_bytes: topic.len(), payload_bytes: payload.len() };
                let receipt = self.ledger.batch(&arrival, &device, &batch);
                self.remember(at, &device, &batch, receipt);
                Ok(News::Batch(device, batch, receipt))
            }
            Channel::IdentityState
            | Channel::IdentityRequest
            | Channel::FirmwareState
            | Channel::ConfigState
            | Channel::CommandAnswer
            | Channel::Log => Err("a watch does not listen to this topic".to_owned()),
            Channel::ConfigDesired
            | Channel::LogDesired
            | Channel::RootsDesired
            | Channel::AuthorityDesired
            | Channel::IdentityDesired
            | Channel::Command => Err("it is for a device, not from one".to_owned()),
        }
    }

    fn remember(&mut self, at: EpochMillis, device: &DeviceId, batch: &Batch, receipt: Receipt) {
        // A device beyond what the ledger holds is not plotted either.
        if receipt.new == 0 || self.ledger.device(device).is_none() {
            return;
        }
        let repeated = batch.samples.len().saturating_sub(receipt.new as usize);
        let history = self.histories.entry(device.clone()).or_default();
        for (_, time, reading) in batch.iter().skip(repeated) {
            if history.len() == HISTORY_SAMPLES {
                history.pop_front();
            }
            history.push_back((time.unwrap_or(at), reading.ok()));
        }
    }
}

/// One of the three measured values.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The value in that unit.
    pub value: fn(Measurement) -> f64,
}

/// Everything that is measured.
pub const QUANTITIES: [Quantity; 3] = [
    Quantity { name: "temperature", unit: "°C", value: |m| f64::from(m.temperature_centi_c()) / 100.0 },
    Quantity { name: "humidity", unit: "%", value: |m| f64::from(m.humidity_centi_percent()) / 100.0 },
    Quantity { name: "pressure", unit: "hPa", value: |m| f64::from(m.pressure_pa()) / 100.0 },
];

#[cfg(test)]
mod tests;
