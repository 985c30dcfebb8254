//! Messages as bytes: one form each, every length bounded.

use super::{Fault, FromDevice, PART_BYTES_MAX, REQUEST_BYTES_MAX, SCALAR_BYTES, ToDevice};
use crate::document::CSR_BYTES_MAX;
use crate::json::EncodeError;
use crate::strict;
use core::fmt;

impl<'b> ToDevice<'b> {
    /// Writes the message into `out` ([`super::MESSAGE_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        strict::encode(self, out)
    }

    /// Reads a message; [`Fault::Message`] where it is none in its one form.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, Fault> {
        let message = strict::decode(bytes).ok_or(Fault::Message)?;
        let bounded = match message {
            Self::Inject { scalar, .. } => scalar.len() == SCALAR_BYTES,
            Self::Part { bytes, .. } => (1..=PART_BYTES_MAX).contains(&bytes.len()),
            Self::Identify { .. } | Self::Begin { .. } | Self::Commit { .. } | Self::Renew { .. } => true,
        };
        if bounded { Ok(message) } else { Err(Fault::Message) }
    }
}

impl<'b> FromDevice<'b> {
    /// Writes the message into `out` ([`super::MESSAGE_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        strict::encode(self, out)
    }

    /// Reads a message; [`Fault::Message`] where it is none in its one form.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, Fault> {
        let message = strict::decode(bytes).ok_or(Fault::Message)?;
        let bounded = match message {
            Self::Requests { identity_csr, tls_csr, .. } => {
                [identity_csr, tls_csr].iter().all(|csr| (1..=CSR_BYTES_MAX).contains(&csr.len()))
            }
            Self::Renewal { request } => (1..=REQUEST_BYTES_MAX).contains(&request.len()),
            _ => true,
        };
        if bounded { Ok(message) } else { Err(Fault::Message) }
    }
}

/// Without the key that may be in it.
impl fmt::Debug for ToDevice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identify { version } => f.debug_struct("Identify").field("version", version).finish(),
            Self::Begin { id } => f.debug_struct("Begin").field("id", id).finish(),
            Self::Inject { key, .. } => f.debug_struct("Inject").field("key", key).finish_non_exhaustive(),
            Self::Part { offset, bytes } => {
                f.debug_struct("Part").field("offset", offset).field("len", &bytes.len()).finish()
            }
            Self::Commit { len } => f.debug_struct("Commit").field("len", len).finish(),
            Self::Renew { now_s } => f.debug_struct("Renew").field("now_s", now_s).finish(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message => "the message is damaged or of another version: update the tool or the firmware",
            Self::Order => "the message does not come in this order: begin again",
            Self::Locked => "the device was provisioned or destroyed before and takes nothing from this line",
            Self::Entropy => "the device's random generator gives no numbers: replace the device",
            Self::Vault => "the device's vault failed: try again, then replace the device",
            Self::Storage => "the device's flash failed: try again, then replace the device",
            Self::InjectionDisabled => "this firmware takes no key from outside: let the device make its own",
            Self::NotEnded => {
                "the device's certificate has not ended: it renews it over the network by itself"
            }
            Self::Worn => "keys were made too often since the device's start: switch it off and on again",
            Self::Document(why) => return write!(f, "the device refused the document: {why}"),
        })
    }
}

impl core::error::Error for Fault {}
