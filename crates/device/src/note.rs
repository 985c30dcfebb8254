//! What happened, for a port's log and (later) for the security log. Owns the words, keeps nothing.

use crate::audit::RingError;
use crate::clock::TimeSet;
use crate::identity::IdentityError;
use crate::interface::End;
use crate::platform::StorageError;
use core::fmt;
use protocol::command::ActionName;
use protocol::config::LogLevel;
use protocol::document::Action;
use protocol::image::Version;
use protocol::state::Alarm;
use protocol::{Channel, EpochMillis, Failure, KeyId, Layer, Refusal, SensorFault, UpdateFault};

/// Something worth writing down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The clock was set.
    Time(TimeSet),
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
    /// A value has gone beyond a threshold of the configuration, or has come back.
    Alarm {
        /// Which.
        alarm: Alarm,
        /// True where it begins.
        begins: bool,
    },
    /// A change of the configuration was stored and is tried: the service has to be reached with it.
    ConfigurationTried {
        /// Its layer.
        layer: Layer,
        /// Its number.
        number: u32,
    },
    /// A change of the configuration is in force.
    ConfigurationChanged {
        /// Its layer.
        layer: Layer,
        /// Its number.
        number: u32,
    },
    /// A change of the configuration was undone: what was in force before is in force again.
    ConfigurationUndone {
        /// Its layer.
        layer: Layer,
        /// Its number.
        number: u32,
        /// Why the service was not reached; `None` where it was a time server that was not, or the device restarted too often.
        failure: Option<Failure>,
    },
    /// A change of the configuration was refused.
    ConfigurationRefused {
        /// Its layer; `None` where that was not proven, or is not named in a proven document that is not valid.
        layer: Option<Layer>,
        /// Its number; 0 where that was not proven, or is not named.
        number: u32,
        /// Why.
        why: Refusal,
    },
    /// What is stored of changes of the configuration is damaged: the device runs on what is whole.
    ConfigurationDamaged,
    /// A document from the service was refused.
    DocumentRefused(Refusal),
    /// A document from the service was accepted.
    DocumentAccepted(Channel),
    /// A command was begun.
    Commanded {
        /// Its number.
        number: u32,
        /// What it says.
        action: Action,
    },
    /// A command of whom this device obeys was not begun.
    CommandRefused(Refusal),
    /// It is done.
    CommandDone {
        /// Its number.
        number: u32,
        /// What it said.
        action: Action,
    },
    /// Keys of a new identity were made.
    KeysMade,
    /// Keys could not be made, or the record of the identity could not be changed.
    IdentityFailed(IdentityError),
    /// The service has accepted the new identity; it is in force.
    IdentityReplaced {
        /// Its key.
        key: KeyId,
    },
    /// The service refused the new identity and took the former one: the new one is wiped.
    IdentityRefused,
    /// The service refused the identity and took the one before it, which is in force again.
    IdentityFellBack {
        /// Its key.
        key: KeyId,
    },
    /// The identity before the one in force is wiped.
    IdentityWiped,
    /// The service was reached with a new list of roots; it is in force.
    RootsReplaced {
        /// Its number.
        number: u32,
    },
    /// The service was not reached with a new list of roots, but with the former one, which stays.
    RootsUndone {
        /// The refused list's number.
        number: u32,
    },
    /// A root in force ends soon.
    RootsEnd {
        /// In so many days.
        days: u32,
    },
    /// The device's certificate ends soon and no new one has come.
    CertificateEnds {
        /// In so many days.
        days: u32,
    },
    /// The device's certificate has ended, and the device needs a new one.
    CertificateEnded {
        /// When it ended.
        until: EpochMillis,
    },
    /// A certificate for a new identity came over the factory's line and is tried.
    CertifiedOnLine {
        /// The new identity's key.
        key: KeyId,
    },
    /// The device's life is over.
    Retired(End),
    /// A manifest that counts, and which this device may take.
    UpdateNoticed {
        /// Version of its image.
        version: Version,
        /// Its sequence number.
        sequence: u64,
    },
    /// A manifest, a payload or an image was refused.
    UpdateRefused(UpdateFault),
    /// A rollout is in force.
    UpdateRollout {
        /// Its number.
        number: u32,
        /// Of 1000 devices.
        share: u16,
    },
    /// The update that was worked on is not wanted any more.
    UpdateWithdrawn,
    /// The payload is complete.
    UpdateDownloaded {
        /// Its bytes.
        bytes: u32,
    },
    /// The image is what it should be.
    UpdateVerified,
    /// The device restarts into the image.
    UpdateInstalling {
        /// Its version.
        version: Version,
    },
    /// The image that runs has to prove itself.
    UpdateTrial,
    /// The image stays.
    UpdateConfirmed {
        /// Its version.
        version: Version,
    },
    /// The image that runs has not proven itself: the device restarts into the former one.
    UpdateUndone(UpdateFault),
    /// The image did not stay: the former one runs again.
    UpdateReverted(UpdateFault),
    /// The store failed.
    Storage(StorageError),
    /// The random generator failed.
    Entropy,
    /// The security log could not be written or read.
    LogFailed(RingError),
}

impl Note {
    /// How much it matters. A warning is what somebody should look at; an error is what the device cannot mend by itself.
    pub const fn level(&self) -> LogLevel {
        match self {
            Self::IdentityFailed(_)
            | Self::Storage(_)
            | Self::Entropy
            | Self::LogFailed(_)
            | Self::CertificateEnded { .. }
            | Self::ConfigurationDamaged => LogLevel::Error,
            Self::Disconnected(_)
            | Self::Sensor(_)
            | Self::Overflow
            | Self::Alarm { begins: true, .. }
            | Self::ConfigurationUndone { .. }
            | Self::ConfigurationRefused { .. }
            | Self::DocumentRefused(_)
            | Self::CommandRefused(_)
            | Self::IdentityRefused
            | Self::IdentityFellBack { .. }
            | Self::RootsUndone { .. }
            | Self::RootsEnd { .. }
            | Self::CertificateEnds { .. }
            | Self::Retired(_)
            | Self::UpdateRefused(_)
            | Self::UpdateUndone(_)
            | Self::UpdateReverted(_) => LogLevel::Warning,
            Self::Time(_)
            | Self::Connected { .. }
            | Self::Alarm { begins: false, .. }
            | Self::ConfigurationTried { .. }
            | Self::ConfigurationChanged { .. }
            | Self::DocumentAccepted(_)
            | Self::Commanded { .. }
            | Self::CommandDone { .. }
            | Self::KeysMade
            | Self::CertifiedOnLine { .. }
            | Self::IdentityReplaced { .. }
            | Self::IdentityWiped
            | Self::RootsReplaced { .. }
            | Self::UpdateNoticed { .. }
            | Self::UpdateRollout { .. }
            | Self::UpdateWithdrawn
            | Self::UpdateDownloaded { .. }
            | Self::UpdateVerified
            | Self::UpdateInstalling { .. }
            | Self::UpdateTrial
            | Self::UpdateConfirmed { .. } => LogLevel::Info,
        }
    }
}

impl fmt::Display for Note {
    #[expect(clippy::too_many_lines, reason = "a table: one sentence for each note")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(TimeSet { time, change_ms: None, .. }) => write!(f, "clock set to {time}"),
            Self::Time(TimeSet { change_ms: Some(change), step: false, .. }) => {
                write!(f, "clock is being corrected by {change} ms")
            }
            Self::Time(TimeSet { time, change_ms: Some(change), step: true }) => {
                write!(f, "clock stepped by {change} ms to {time}")
            }
            Self::Connected { handshake_ms } => write!(f, "connected to the service in {handshake_ms} ms"),
            Self::Disconnected(failure) => write!(f, "not connected: {failure} ({})", failure.as_str()),
            Self::Sensor(fault) => write!(f, "no measurement: {fault}"),
            Self::Overflow => {
                f.write_str("too many samples wait for the service: the oldest are dropped and counted")
            }
            Self::Alarm { alarm, begins: true } => write!(f, "{alarm}"),
            Self::Alarm { alarm, begins: false } => write!(f, "no longer: {alarm}"),
            Self::ConfigurationTried { layer, number } => {
                write!(f, "{layer}, number {number}, is tried: the service has to be reached with it")
            }
            Self::ConfigurationChanged { layer, number } => {
                write!(f, "{layer}, number {number}, is in force")
            }
            Self::ConfigurationUndone { layer, number, failure } => {
                write!(f, "{layer}, number {number}, is undone: ")?;
                match failure {
                    Some(failure) => write!(f, "{failure} ({})", failure.as_str()),
                    None => f.write_str("it did not prove itself in time"),
                }
            }
            Self::ConfigurationRefused { layer: Some(layer), number, why } => {
                write!(f, "{layer}, number {number}, was refused: {why} ({})", why.as_str())
            }
            Self::ConfigurationRefused { layer: None, why, .. } => {
                write!(f, "a configuration was refused: {why} ({})", why.as_str())
            }
            Self::ConfigurationDamaged => f.write_str(
                "what is stored of the configuration's changes is damaged: the device runs on what is whole",
            ),
            Self::DocumentRefused(refusal) => {
                write!(f, "a document from the service was refused: {refusal} ({})", refusal.as_str())
            }
            Self::DocumentAccepted(channel) => write!(f, "a document was accepted: {}", channel.as_str()),
            Self::Commanded { number, action } => {
                let action = ActionName::from(action);
                write!(f, "command {number} is begun: {action} ({})", action.as_str())
            }
            Self::CommandRefused(refusal) => {
                write!(f, "a command was refused: {refusal} ({})", refusal.as_str())
            }
            Self::CommandDone { number, action } => {
                write!(f, "command {number} is done ({})", ActionName::from(action).as_str())
            }
            Self::KeysMade => f.write_str("keys of a new identity are made; a certificate is asked for"),
            Self::IdentityFailed(error) => write!(f, "the identity could not be changed: {error}"),
            Self::IdentityReplaced { key } => write!(f, "the new identity {key} is in force"),
            Self::IdentityRefused => {
                f.write_str("the service took the former identity and not the new one, which is wiped")
            }
            Self::IdentityFellBack { key } => {
                write!(
                    f,
                    "the service does not take the identity any more: the former one, {key}, is in force again"
                )
            }
            Self::IdentityWiped => f.write_str("the former identity is wiped"),
            Self::RootsReplaced { number } => write!(f, "list of roots {number} is in force"),
            Self::RootsUndone { number } => {
                write!(f, "the service was not reached with list of roots {number}: the former list stays")
            }
            Self::RootsEnd { days } => write!(f, "a root certificate ends in {days} days"),
            Self::CertificateEnds { days } => {
                write!(f, "the device's certificate ends in {days} days and there is no new one")
            }
            Self::CertificateEnded { until } => write!(
                f,
                "the device's certificate ended on {until}: it needs a new one, over the factory's line or, where the service \
                 takes its token, over the network"
            ),
            Self::CertifiedOnLine { key } => {
                write!(
                    f,
                    "the factory's line brought a certificate for the new identity {key}, which is tried"
                )
            }
            Self::Retired(End::Blank) => f.write_str("the secrets are wiped: the device is blank"),
            Self::Retired(End::Destroyed) => f.write_str("the secrets are wiped: the device is destroyed"),
            Self::UpdateNoticed { version, sequence } => {
                write!(f, "firmware {version} is announced for this device (manifest {sequence})")
            }
            Self::UpdateRefused(fault) => write!(f, "firmware was refused: {fault} ({})", fault.as_str()),
            Self::UpdateRollout { number, share } => {
                write!(f, "rollout {number} is in force: {share} of 1000 devices may take the firmware")
            }
            Self::UpdateWithdrawn => f.write_str("the firmware is not wanted any more"),
            Self::UpdateDownloaded { bytes } => write!(f, "the firmware is complete: {bytes} bytes"),
            Self::UpdateVerified => f.write_str("the firmware is genuine and fits this device"),
            Self::UpdateInstalling { version } => write!(f, "restarting into firmware {version}"),
            Self::UpdateTrial => {
                f.write_str("this firmware runs for a test: it goes unless it proves itself")
            }
            Self::UpdateConfirmed { version } => write!(f, "firmware {version} has proven itself and stays"),
            Self::UpdateUndone(fault) => {
                write!(f, "this firmware has not proven itself, and goes: {fault} ({})", fault.as_str())
            }
            Self::UpdateReverted(fault) => {
                write!(f, "the former firmware runs again: {fault} ({})", fault.as_str())
            }
            Self::Storage(error) => write!(f, "storage: {error}"),
            Self::Entropy => f.write_str("the random generator gives no numbers"),
            Self::LogFailed(error) => write!(f, "the security log: {error}"),
        }
    }
}
