//! What happened, for a port's log and (later) for the security log. Owns the words, keeps nothing.

use crate::clock::{TimeError, TimeSet};
use crate::platform::StorageError;
use core::fmt;
use protocol::{Failure, SensorFault};

/// Something worth writing down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The clock was set.
    Time(TimeSet),
    /// An answer of a time server was refused.
    TimeRefused(TimeError),
    /// The service is reached.
    Connected {
        /// From the first packet to CONNACK, in milliseconds.
        handshake_ms: u32,
    },
    /// There is no connection any more, or an attempt failed.
    Disconnected(Failure),
    /// The sensor gave a fault instead of a value.
    Sensor(SensorFault),
    /// The first sample since the last connection was dropped because too many wait.
    Overflow,
    /// A message from the service was refused: the device knows no document that may come over this topic.
    MessageRefused,
    /// The store failed.
    Storage(StorageError),
    /// The random generator failed.
    Entropy,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(TimeSet { time, change_ms: None, .. }) => write!(f, "clock set to {time}"),
            Self::Time(TimeSet { change_ms: Some(change), step: false, .. }) => {
                write!(f, "clock is being corrected by {change} ms")
            }
            Self::Time(TimeSet { time, change_ms: Some(change), step: true }) => {
                write!(f, "clock stepped by {change} ms to {time}")
            }
            Self::TimeRefused(error) => write!(f, "time refused: {error}"),
            Self::Connected { handshake_ms } => write!(f, "connected to the service in {handshake_ms} ms"),
            Self::Disconnected(failure) => write!(f, "not connected: {failure} ({})", failure.as_str()),
            Self::Sensor(fault) => write!(f, "no measurement: {fault}"),
            Self::Overflow => {
                f.write_str("too many samples wait for the service: the oldest are dropped and counted")
            }
            Self::MessageRefused => f.write_str("a message from the service was refused"),
            Self::Storage(error) => write!(f, "storage: {error}"),
            Self::Entropy => f.write_str("the random generator gives no numbers"),
        }
    }
}
