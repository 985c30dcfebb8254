//! Signed documents for devices that are in service: what each says, who signs it and where it goes. Owns neither keys nor
//! connection. Configurations are in [`crate::config`]. R-AUTHORITY, R-ROOTS, R-DESTROY.

use crate::powers::{self, PowersError};
use crate::signer::Signer;
use protocol::document::{Audience, AuthorityKey, Certificates, ContentType, Power, RootList};
use protocol::signed::Document;
use protocol::{Channel, DeviceId, Name, PublicKey};
use std::fmt;
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

    /// What can be said against it before anything is signed.
    pub fn check(&self) -> Result<(), DocumentError> {
        match self {
            Self::Roots(roots) if !(1..=protocol::document::ROOTS_MAX).contains(&roots.len()) => {
                Err(DocumentError::Roots(roots.len()))
            }
            Self::AuthorityKey(power @ (Power::Factory | Power::Device), _) => {
                Err(DocumentError::Power(*power))
            }
            _ => Ok(()),
        }
    }

    /// Signs it with this number for one device, a group or all.
    pub fn sign(&self, signer: &Signer, audience: Audience, number: u32) -> Result<Vec<u8>, DocumentError> {
        fn finish<'b>(signer: &Signer, document: &impl Document<'b>) -> Result<Vec<u8>, DocumentError> {
            Ok(powers::sign(signer, document)?)
        }
        match self {
            Self::Roots(all) => {
                let mut roots = Certificates::default();
                for root in all {
                    roots.0.push(root.as_slice()).map_err(|_| DocumentError::Roots(all.len()))?;
                }
                finish(signer, &RootList { audience, number, roots })
            }
            Self::AuthorityKey(power, key) => {
                finish(signer, &AuthorityKey { audience, number, power: *power, key: *key })
            }
        }
    }
}

#[cfg(test)]
mod tests;
