//! Why a device was not provisioned, as sentences for the person at the line.

use crate::authority::AuthorityError;
use crate::folder::FolderError;
use crate::powers::PowersError;
use crate::provision::exchange::ExchangeError;
use crate::provision::line::LineError;
use crate::provision::secret::SecretError;
use crate::registry::RegistryError;
use crate::renew::{RenewError, date};
use protocol::document::KeyUse;
use protocol::provisioning::{Fault, VERSION};
use protocol::x509::X509Error;
use protocol::{ConfigurationError, DeviceId, KeyId};
use std::fmt;
use time::OffsetDateTime;

/// Why something could not be opened.
type Failure = dyn std::error::Error + Send + Sync;

/// Why a device was not provisioned.
#[derive(Debug)]
pub enum SessionError {
    /// The line.
    Line(LineError),
    /// Nothing that answers.
    Silent,
    /// The device refused.
    Refused(Fault),
    /// The device speaks another version of the protocol.
    Version(u8),
    /// The device has an identity.
    Locked,
    /// The device was destroyed.
    Destroyed,
    /// Another factory's key is in the firmware.
    OtherFactory {
        /// The device's.
        device: KeyId,
        /// Ours.
        factory: KeyId,
    },
    /// A request for a certificate is none.
    Request(KeyUse, X509Error),
    /// A request is for another id.
    OtherId {
        /// The id that it was given.
        asked: DeviceId,
        /// The id in the request.
        device: DeviceId,
    },
    /// Both requests are for one key.
    SameKey,
    /// The device did not take the key that it was given.
    NotInjected(KeyUse),
    /// The device made other keys while the document was on its way.
    BeganAgain,
    /// The device does not take the document: where it is, and what it says it has.
    NotTaken {
        /// Bytes that it had.
        offset: usize,
        /// Bytes that it says it has.
        taken: usize,
    },
    /// The device committed another identity than the one it asked for.
    OtherIdentity {
        /// The device's.
        device: KeyId,
        /// The one that it asked for.
        expected: KeyId,
    },
    /// The id has an unfinished provisioning with another device.
    Elsewhere {
        /// The id.
        id: DeviceId,
        /// Where that device was.
        line: String,
        /// Its serial number; may be empty.
        serial: String,
    },
    /// The id has an identity in the registry, and the device has none.
    Registered(DeviceId),
    /// Another process works on this id.
    Taken(DeviceId),
    /// There is no id left.
    NoId(String),
    /// The configuration for this id.
    Configuration(DeviceId, ConfigurationError),
    /// More roots than a device holds.
    Roots,
    /// A key for the second way.
    Secret(SecretError),
    /// The certificate.
    Authority(AuthorityError),
    /// A power's key.
    Powers(PowersError),
    /// The device's identity was revoked.
    Revoked(DeviceId),
    /// The device is blank, and has no certificate that could end.
    Blank,
    /// The device's certificate has ended, and what a new one is signed with cannot be used: when, and why.
    Lapsed(OffsetDateTime, Box<Failure>),
    /// A new certificate for one that has ended.
    Renewal(Box<RenewError>),
    /// The registry.
    Registry(RegistryError),
    /// What is unfinished.
    Pending(FolderError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = |usage: &KeyUse| match usage {
            KeyUse::Identity => "identity key",
            KeyUse::Tls => "TLS key",
        };
        match self {
            Self::Line(error) => error.fmt(f),
            Self::Silent => f.write_str("the device does not answer: is it powered, and is this its line?"),
            Self::Refused(fault) => fault.fmt(f),
            Self::Version(version) => write!(
                f,
                "the device speaks version {version} of the provisioning protocol and this tool version {VERSION}: \
                 update the older one"
            ),
            Self::Locked => f.write_str(
                "the device has an identity, and no unfinished provisioning of this registry fits it: \
                 it was provisioned before; retire it before it can be provisioned again",
            ),
            Self::Destroyed => f.write_str("the device was destroyed and can never be provisioned again"),
            Self::OtherFactory { device, factory } => write!(
                f,
                "the firmware obeys the factory key {device}, and --authority has {factory}: use firmware of this factory, \
                 or this firmware's authority"
            ),
            Self::Request(key, error) => {
                write!(f, "the request for the {} is not acceptable: {error}", usage(key))
            }
            Self::OtherId { asked, device } => {
                write!(f, "the device was told to be {asked} and asks for a certificate as {device}")
            }
            Self::SameKey => f.write_str("the device asks for two certificates for one key"),
            Self::NotInjected(key) => {
                write!(f, "the device did not take the {} that it was given", usage(key))
            }
            Self::BeganAgain => f.write_str("the device made new keys in between: try again"),
            Self::NotTaken { offset, taken } => write!(
                f,
                "the device has {taken} bytes of the document after it was sent those from {offset} on: try again"
            ),
            Self::OtherIdentity { device, expected } => write!(
                f,
                "the device committed the identity {device} and had asked for {expected}: it is not registered; do not use it"
            ),
            Self::Elsewhere { id, line, serial } => {
                write!(f, "{id} was begun with another device, on {line}")?;
                if !serial.is_empty() {
                    write!(f, " with the serial number {serial}")?;
                }
                f.write_str(
                    ", which may have its identity: connect that one, or give its identity up with --give-up",
                )
            }
            Self::Registered(id) => write!(
                f,
                "the registry has an identity for {id} and this device is blank: choose another id, or revoke that identity \
                 with `sensorctl revoke --id {id}` first"
            ),
            Self::Taken(id) => write!(f, "another process is provisioning a device as {id}"),
            Self::NoId(why) => f.write_str(why),
            Self::Configuration(id, error) => write!(f, "the configuration of {id}: {error}"),
            Self::Roots => {
                write!(f, "a device holds at most {} roots: give fewer --root", protocol::document::ROOTS_MAX)
            }
            Self::Secret(error) => error.fmt(f),
            Self::Authority(error) => error.fmt(f),
            Self::Powers(error) => error.fmt(f),
            Self::Revoked(id) => write!(
                f,
                "the device is {id} with an identity that was revoked: the service lets it in no more; retire it before it can \
                 be provisioned again"
            ),
            Self::Blank => f.write_str("the device is blank: `sensorctl provision` gives it an identity"),
            Self::Lapsed(ended, why) => write!(
                f,
                "the device's certificate ended on {}, and no new one can be given here: {why}; where the key of the power over \
                 configurations is, use `sensorctl renew --line LINE`",
                date(*ended)
            ),
            Self::Renewal(error) => error.fmt(f),
            Self::Registry(error) => error.fmt(f),
            Self::Pending(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SessionError {}

impl SessionError {
    /// True where the same may succeed when it is begun again at once.
    pub(in crate::provision) const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Refused(Fault::Order | Fault::Message)
                | Self::BeganAgain
                | Self::NotTaken { .. }
                | Self::Locked
        )
    }
}

impl From<ExchangeError> for SessionError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Line(error) => Self::Line(error),
            ExchangeError::Silent => Self::Silent,
            ExchangeError::Refused(Fault::Locked) => Self::Locked,
            ExchangeError::Refused(fault) => Self::Refused(fault),
        }
    }
}
