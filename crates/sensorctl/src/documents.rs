//! Signed documents for devices that are in service: what each says, who signs it and where it goes. Owns neither keys nor
//! connection. Configurations are in [`crate::config`]. R-AUTHORITY, R-ROOTS, R-DESTROY.

use crate::judge::{self, Objection};
use crate::operator::now;
use crate::powers::{self, PowersError};
use crate::registry::Registry;
use crate::signer::Signer;
use protocol::document::{Audience, AuthorityKey, Certificates, ContentType, Power, RootList};
use protocol::{Channel, DeviceId, KeyId, Name, PublicKey};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What a document says.
#[derive(Clone, Debug)]
pub enum Content {
    /// The roots that are trusted from now on, DER.
    Roots(Vec<Vec<u8>>),
    /// A power's new key.
    AuthorityKey(Power, PublicKey),
}

/// Whom a document is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum For {
    /// A document of its own for each device.
    Each,
    /// One for all devices of a group.
    Group(Name),
    /// One for all devices.
    All,
}

impl FromStr for For {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "device" => Ok(Self::Each),
            None if text == "all" => Ok(Self::All),
            Some(("group", name)) if !name.is_empty() => {
                Name::try_from(name).map(Self::Group).map_err(|error| error.to_string())
            }
            _ => Err("it must be device, all or group:NAME".to_owned()),
        }
    }
}

/// A message for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Whom it goes to.
    pub device: DeviceId,
    /// Below which topic.
    pub channel: Channel,
    /// Whether the broker keeps it for a device that is not there.
    pub retained: bool,
    /// The document; empty to take back one that is kept.
    pub payload: Vec<u8>,
}

/// Why there is no document.
#[derive(Debug)]
pub enum DocumentError {
    /// Keys or numbers.
    Powers(PowersError),
    /// More roots than a device holds.
    Roots(usize),
    /// This power's key cannot be replaced by a document.
    Power(Power),
    /// The new key for a power is this other power's.
    SameKey(Power),
    /// The new key for a power is this device's.
    DeviceKey(DeviceId),
    /// Every device would refuse it.
    Objection(Objection),
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Powers(error) => error.fmt(f),
            Self::Roots(count) => write!(
                f,
                "there are {count} roots; a device holds from 1 to {}",
                protocol::document::ROOTS_MAX
            ),
            Self::SameKey(other) => write!(
                f,
                "not signed, as every device would refuse it: the key is that of the power {other}; one key with two powers would \
                 be one power"
            ),
            Self::DeviceKey(id) => {
                write!(f, "not signed: the key is one of {id}'s own, which has no power over others")
            }
            Self::Objection(objection) => objection.fmt(f),
            Self::Power(power) => write!(f, "the key of the power {power} is fixed: no document replaces it"),
        }
    }
}

impl std::error::Error for DocumentError {}

impl From<PowersError> for DocumentError {
    fn from(error: PowersError) -> Self {
        Self::Powers(error)
    }
}

impl Content {
    /// Which document it is.
    pub const fn content_type(&self) -> ContentType {
        match self {
            Self::Roots(_) => ContentType::Roots,
            Self::AuthorityKey(..) => ContentType::AuthorityKey,
        }
    }

    /// Its name in file names and in the list of numbers.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Roots(_) => "roots",
            Self::AuthorityKey(..) => "authority-key",
        }
    }

    /// Which topic it goes to; it is retained there.
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Roots(_) => Channel::RootsDesired,
            Self::AuthorityKey(..) => Channel::AuthorityDesired,
        }
    }

    /// What every device would hold against it, before a number is used up: `folder` has the public keys of the powers, `signer`
    /// will sign it for `audience`.
    pub fn check(
        &self,
        signer: KeyId,
        folder: &Path,
        registry: Option<&Registry>,
        audience: &Audience,
    ) -> Result<(), DocumentError> {
        match self {
            Self::Roots(roots) if !(1..=protocol::document::ROOTS_MAX).contains(&roots.len()) => {
                return Err(DocumentError::Roots(roots.len()));
            }
            Self::Roots(_) => {}
            Self::AuthorityKey(power @ (Power::Factory | Power::Device), _) => {
                return Err(DocumentError::Power(*power));
            }
            Self::AuthorityKey(power, key) => {
                let others = powers::POWERS.into_iter().filter(|other| other != power);
                // A folder need not have the keys of all powers.
                let same = |other: &Power| powers::public(folder, *other).is_ok_and(|other| other == *key);
                if let Some(other) = others.into_iter().find(same) {
                    return Err(DocumentError::SameKey(other));
                }
                if let Some(owner) = registry.and_then(|registry| registry.owner(&key.id())) {
                    return Err(DocumentError::DeviceKey(owner.clone()));
                }
            }
        }
        // Any number will do.
        self.written(audience.clone(), 1, |document| document.judge(signer))
    }

    /// Signs it with this number for one device, a group or all.
    pub fn sign(&self, signer: &Signer, audience: Audience, number: u32) -> Result<Vec<u8>, DocumentError> {
        self.written(audience, number, |document| document.sign(signer))
    }

    /// Does this with the document that says it.
    fn written<T>(
        &self,
        audience: Audience,
        number: u32,
        then: impl FnOnce(Written<'_>) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        match self {
            Self::Roots(all) => {
                let mut roots = Certificates::default();
                for root in all {
                    roots.0.push(root.as_slice()).map_err(|_| DocumentError::Roots(all.len()))?;
                }
                then(Written::Roots(RootList { audience, number, roots }))
            }
            Self::AuthorityKey(power, key) => {
                then(Written::AuthorityKey(AuthorityKey { audience, number, power: *power, key: *key }))
            }
        }
    }
}

/// One of the documents.
enum Written<'b> {
    Roots(RootList<'b>),
    AuthorityKey(AuthorityKey),
}

impl Written<'_> {
    fn judge(&self, signer: KeyId) -> Result<(), DocumentError> {
        let judged = match self {
            Self::Roots(document) => judge::document(document, signer, now()),
            Self::AuthorityKey(document) => judge::document(document, signer, now()),
        };
        judged.map_err(DocumentError::Objection)
    }

    fn sign(&self, signer: &Signer) -> Result<Vec<u8>, DocumentError> {
        let document = match self {
            Self::Roots(document) => powers::sign(signer, document),
            Self::AuthorityKey(document) => powers::sign(signer, document),
        };
        Ok(document?)
    }
}

#[cfg(test)]
mod tests;
