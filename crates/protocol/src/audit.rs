//! The security log: what is recorded, and the chain that binds each record to the one before. Owns the form of a record
//! and the check of the chain, never the flash it lies in nor a key. R-LOG.
//!
//! ```text
//! record 0          record 1          record 2
//! hash 0 = SHA-256(zeros ‖ record 0)  hash 1 = SHA-256(hash 0 ‖ record 1) ...
//! ```
//!
//! A record is a CBOR array in deterministic encoding (RFC 8949, section 4.2.1). Whoever knows one hash knows everything
//! before it: a record that is altered, left out, put in or moved shows at that place. The device signs the last hash
//! ([`crate::document::LogDelivery`]).

use crate::EpochMillis;
use crate::key::sha256;
use crate::state::ClockQuality;
use minicbor::{Decode, Decoder, Encode};

mod chain;
mod event;
mod seal;
mod wire;

pub use chain::{ChainFault, Entries, Entry, append};
pub use event::{Event, LIMITED};
pub use seal::is_sealed_by;

/// Length of a hash of the chain in bytes: SHA-256.
pub const HASH_BYTES: usize = 32;

/// A hash of the chain.
pub type Hash = [u8; HASH_BYTES];

/// The hash before the very first record.
pub const FIRST: Hash = [0; HASH_BYTES];

/// Longest record in bytes, without its hash: a [`Event::Seal`]. No firmware writes a longer one: an older one has to walk over
/// it.
pub const RECORD_BYTES_MAX: usize = 160;

/// One line of the security log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// Counts the records of a device, from 0 and without a gap, over all of its boots and lives.
    #[n(0)]
    pub sequence: u32,
    /// Number of the boot in which it was written.
    #[n(1)]
    pub boot: u32,
    /// When; `None` where the device had no time then.
    #[n(2)]
    pub time: Option<EpochMillis>,
    /// How good that time was.
    #[n(3)]
    pub clock: ClockQuality,
    /// What happened.
    #[n(4)]
    pub event: Event,
}

impl Record {
    /// Reads a record in its one form; `None` also for one that says what only newer firmware can name.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RECORD_BYTES_MAX {
            return None;
        }
        crate::strict::decode(bytes)
    }

    /// Writes it into `out` ([`RECORD_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, crate::EncodeError> {
        crate::strict::encode(self, out)
    }
}

/// The number of a record of whatever kind, also of one that only newer firmware can name: it stands first in the array. So
/// the chain goes on where firmware went back to an older version.
pub fn sequence(record: &[u8]) -> Option<u32> {
    if record.len() > RECORD_BYTES_MAX {
        return None;
    }
    let mut parts = Decoder::new(record);
    let len = parts.array().ok()??;
    let sequence = parts.u32().ok()?;
    for _ in 1..len {
        parts.skip().ok()?;
    }
    (parts.position() == record.len()).then_some(sequence)
}

/// The hash of a record that follows the one with the hash `previous`.
pub fn hash(previous: &Hash, record: &[u8]) -> Hash {
    sha256(&[previous, record])
}

#[cfg(test)]
mod tests;
