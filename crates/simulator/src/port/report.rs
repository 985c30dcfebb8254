//! What a port tells of its device: for a log, for counting, for tests.

use crate::slots::Booted;
use device::clock::Trouble;
use device::dropped::Dropped;
use device::{Note, Uptime};
use protocol::topic::TopicText;
use protocol::{DeviceId, EpochMillis, Failure, ResetCause};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Something the device did.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Its bootloader has decided what runs.
    Booted(Booted),
    /// It runs.
    Started {
        /// Who it is.
        id: DeviceId,
        /// Number of this boot.
        boot: u32,
    },
    /// It wrote a line into its log.
    Note {
        /// When, since start.
        uptime: Uptime,
        /// When, by its own clock.
        time: Option<EpochMillis>,
        /// What.
        note: Note,
    },
    /// It wrote a warning into its log that is no note: about the time servers, or why a configuration was refused.
    Warning {
        /// When, since start.
        uptime: Uptime,
        /// When, by its own clock.
        time: Option<EpochMillis>,
        /// What is wrong with the time servers.
        what: Option<Trouble>,
        /// The line.
        line: String,
    },
    /// Its key, certificate or roots cannot be used for a connection: why.
    Unusable(String),
    /// An attempt at one of the service's addresses has failed: the next one is for another, where there are several.
    NotReached {
        /// The address.
        address: SocketAddr,
        /// Why.
        failure: Failure,
    },
    /// Something of the service was dropped, and is worth a word.
    Dropped(Dropped),
    /// It measured. The sample has this sequence number, where a dead-band does not make it none.
    Sampled(u32),
    /// It published a message.
    Published {
        /// Length of the payload in bytes.
        bytes: usize,
    },
    /// The service acknowledged a message.
    Acknowledged {
        /// This long after it was published.
        after: Duration,
    },
    /// It asked for what is retained at this topic.
    Fetching(TopicText),
    /// A message came.
    Received {
        /// Its topic.
        topic: String,
        /// Length of the payload in bytes.
        bytes: usize,
    },
    /// It starts again.
    Restarting {
        /// Why.
        cause: ResetCause,
        /// Samples of this boot that it dropped, because too many waited.
        lost: u32,
    },
}

impl fmt::Display for Report {
    /// One line for a log, without secrets: the time where the device knows it, else the time since start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { boot, .. } => write!(f, "boot {boot}"),
            Self::Note { time: Some(time), note, .. } => write!(f, "{time} {note}"),
            Self::Note { time: None, uptime, note } => write!(f, "+{} ms {note}", uptime.0),
            Self::Warning { time: Some(time), line, .. } => write!(f, "{time} {line}"),
            Self::Warning { time: None, uptime, line, .. } => write!(f, "+{} ms {line}", uptime.0),
            Self::Unusable(why) => write!(f, "no connection: {why}"),
            Self::NotReached { address, failure } => {
                write!(f, "no connection at {address}: {failure} ({})", failure.as_str())
            }
            Self::Dropped(dropped) => dropped.fmt(f),
            Self::Sampled(_) => f.write_str("measured"),
            Self::Published { bytes } => write!(f, "published {bytes} bytes"),
            Self::Acknowledged { after } => write!(f, "acknowledged after {} ms", after.as_millis()),
            Self::Booted(booted) => booted.fmt(f),
            Self::Fetching(topic) => write!(f, "fetches {topic}"),
            Self::Received { topic, bytes } => write!(f, "received {bytes} bytes of {topic}"),
            Self::Restarting { cause, .. } => write!(f, "starts again: {cause}"),
        }
    }
}
