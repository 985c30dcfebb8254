//! What can happen to a device: one table. A row says how much it matters, what the security log records of it, and its
//! sentence. Owns the words, keeps nothing. R-LOG.

use crate::audit::RingError;
use crate::clock::TimeSet;
use crate::identity::IdentityError;
use crate::interface::End;
use crate::platform::StorageError;
use core::fmt;
use protocol::audit::Event;
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

/// Gives each note its level, its record and its sentence. `$channel`: the topic of the message that is being read.
macro_rules! table {
    ($channel:ident; $($note:pat => $level:ident, $event:expr, $words:literal $(, $value:expr)*;)+) => {
        impl Note {
            /// How much it matters. A warning is what somebody should look at; an error is what the device cannot mend by
            /// itself.
            #[expect(unused_variables, reason = "a row names what any of its cells says")]
            pub const fn level(&self) -> LogLevel {
                match *self { $($note => LogLevel::$level,)+ }
            }

            /// What the security log records of it; `channel`: the topic of the message that is being read.
            #[expect(unused_variables, reason = "a row names what any of its cells says")]
            pub(crate) fn event(&self, $channel: Option<Channel>) -> Option<Event> {
                match *self { $($note => $event,)+ }
            }
        }

        impl fmt::Display for Note {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self { $($note => write!(f, $words $(, $value)*),)+ }
            }
        }
    };
}

// Of what is everyday business the security log has nothing, nor of what another event stands for.
table! { channel;
    Note::Time(TimeSet { time, change_ms: None, .. }) => Info, Some(Event::ClockSet { by_ms: None }),
        "clock set to {time}";
    Note::Time(TimeSet { change_ms: Some(by), step: false, .. }) => Info, None,
        "clock is being corrected by {by} ms";
    Note::Time(TimeSet { time, change_ms: Some(by), step: true }) => Info, Some(Event::ClockSet { by_ms: Some(by) }),
        "clock stepped by {by} ms to {time}";
    Note::Connected { handshake_ms } => Info, None,
        "connected to the service in {handshake_ms} ms";
    Note::Disconnected(why) => Warning, decided(why).then_some(Event::PeerRefused { why }),
        "not connected: {why} ({})", why.as_str();
    Note::Sensor(fault) => Warning, None,
        "no measurement: {fault}";
    Note::Overflow => Warning, None,
        "too many samples wait for the service: the oldest are dropped and counted";
    Note::Alarm { alarm, begins: true } => Warning, None,
        "{alarm}";
    Note::Alarm { alarm, begins: false } => Info, None,
        "no longer: {alarm}";

    Note::ConfigurationTried { layer, number } => Info, None,
        "{layer}, number {number}, is tried: the service has to be reached with it";
    Note::ConfigurationChanged { layer, number } => Info, Some(Event::Configured { layer, number }),
        "{layer}, number {number}, is in force";
    Note::ConfigurationUndone { layer, number, failure: Some(why) } =>
        Warning, Some(Event::ConfigurationUndone { layer, number }),
        "{layer}, number {number}, is undone: {why} ({})", why.as_str();
    Note::ConfigurationUndone { layer, number, failure: None } =>
        Warning, Some(Event::ConfigurationUndone { layer, number }),
        "{layer}, number {number}, is undone: it did not prove itself in time";
    Note::ConfigurationRefused { layer: Some(layer), number, why } => Warning, Some(refused(why)),
        "{layer}, number {number}, was refused: {why} ({})", why.as_str();
    Note::ConfigurationRefused { layer: None, why, .. } => Warning, Some(refused(why)),
        "a configuration was refused: {why} ({})", why.as_str();
    Note::ConfigurationDamaged => Error, Some(Event::StorageFailed),
        "what is stored of the configuration's changes is damaged: the device runs on what is whole";

    Note::DocumentRefused(why) => Warning, Some(Event::DocumentRefused { channel, why }),
        "a document from the service was refused: {why} ({})", why.as_str();
    Note::DocumentAccepted(channel) => Info, None,
        "a document was accepted: {}", channel.as_str();
    Note::Commanded { number, action } => Info, Some(Event::Commanded { number, action }),
        "command {number} is begun: {} ({})", ActionName::from(&action), ActionName::from(&action).as_str();
    Note::CommandRefused(why) => Warning, Some(Event::CommandRefused { why }),
        "a command was refused: {why} ({})", why.as_str();
    Note::CommandDone { number, action } => Info, None,
        "command {number} is done ({})", ActionName::from(&action).as_str();

    Note::KeysMade => Info, Some(Event::KeysMade),
        "keys of a new identity are made; a certificate is asked for";
    Note::IdentityFailed(error) => Error, Some(Event::StorageFailed),
        "the identity could not be changed: {error}";
    Note::IdentityReplaced { key } => Info, Some(Event::IdentityReplaced { identity: key }),
        "the new identity {key} is in force";
    Note::IdentityRefused => Warning, Some(Event::IdentityRefused),
        "the service took the former identity and not the new one, which is wiped";
    Note::IdentityFellBack { key } => Warning, Some(Event::IdentityFellBack { identity: key }),
        "the service does not take the identity any more: the former one, {key}, is in force again";
    Note::IdentityWiped => Info, Some(Event::IdentityWiped),
        "the former identity is wiped";
    Note::RootsReplaced { number } => Info, Some(Event::RootsReplaced { number }),
        "list of roots {number} is in force";
    Note::RootsUndone { number } => Warning, Some(Event::RootsUndone { number }),
        "the service was not reached with list of roots {number}: the former list stays";
    Note::RootsEnd { days } => Warning, None,
        "a root certificate ends in {days} days";
    Note::CertificateEnds { days } => Warning, None,
        "the device's certificate ends in {days} days and there is no new one";
    Note::CertificateEnded { until } => Error, Some(Event::CertificateEnded { until }),
        "the device's certificate ended on {until}: it needs a new one, over the factory's line or, where the service \
         takes its token, over the network";
    Note::CertifiedOnLine { key } => Info, Some(Event::CertifiedOnLine { identity: key }),
        "the factory's line brought a certificate for the new identity {key}, which is tried";
    // It is recorded before anything is wiped.
    Note::Retired(End::Blank) => Warning, None,
        "the secrets are wiped: the device is blank";
    Note::Retired(End::Destroyed) => Warning, None,
        "the secrets are wiped: the device is destroyed";

    Note::UpdateNoticed { version, sequence } => Info, Some(Event::UpdateNoticed { version, sequence }),
        "firmware {version} is announced for this device (manifest {sequence})";
    Note::UpdateRefused(why) => Warning, Some(Event::UpdateRefused { why }),
        "firmware was refused: {why} ({})", why.as_str();
    Note::UpdateRollout { number, share } => Info, None,
        "rollout {number} is in force: {share} of 1000 devices may take the firmware";
    Note::UpdateWithdrawn => Info, Some(Event::UpdateWithdrawn),
        "the firmware is not wanted any more";
    Note::UpdateDownloaded { bytes } => Info, Some(Event::UpdateDownloaded { bytes }),
        "the firmware is complete: {bytes} bytes";
    Note::UpdateVerified => Info, None,
        "the firmware is genuine and fits this device";
    Note::UpdateInstalling { version } => Info, Some(Event::UpdateInstalling { version }),
        "restarting into firmware {version}";
    Note::UpdateTrial => Info, None,
        "this firmware runs for a test: it goes unless it proves itself";
    Note::UpdateConfirmed { version } => Info, Some(Event::UpdateConfirmed { version }),
        "firmware {version} has proven itself and stays";
    Note::UpdateUndone(why) => Warning, Some(Event::UpdateUndone { why }),
        "this firmware has not proven itself, and goes: {why} ({})", why.as_str();
    Note::UpdateReverted(why) => Warning, Some(Event::UpdateReverted { why }),
        "the former firmware runs again: {why} ({})", why.as_str();

    Note::Storage(error) => Error, Some(Event::StorageFailed),
        "storage: {error}";
    Note::Entropy => Error, Some(Event::EntropyFailed),
        "the random generator gives no numbers";
    // The log cannot say of itself that it fails: it says later how much it missed.
    Note::LogFailed(error) => Error, None,
        "the security log: {error}";
}

const fn refused(why: Refusal) -> Event {
    Event::DocumentRefused { channel: Some(Channel::ConfigDesired), why }
}

/// Whether it was somebody's decision that there is no connection, and not the network's. What is not named here is recorded.
const fn decided(why: Failure) -> bool {
    !matches!(
        why,
        Failure::Dns
            | Failure::Refused
            | Failure::Unreachable
            | Failure::ConnectTimeout
            | Failure::MqttUnavailable
            | Failure::SubscribeTimeout
            | Failure::AckTimeout
            | Failure::KeepAlive
            | Failure::MqttDisconnect
            | Failure::PeerClosed
            | Failure::LinkLost
            | Failure::Requested
    )
}
