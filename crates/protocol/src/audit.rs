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

use crate::document::{Action, End, Power};
use crate::image::Version;
use crate::key::{KeyId, Signature, sha256};
use crate::state::ClockQuality;
use crate::{Channel, EpochMillis, Failure, Layer, Name, Refusal, ResetCause, UpdateFault};
use minicbor::{Decode, Decoder, Encode};

mod chain;
mod event;
mod seal;
mod wire;

pub use chain::{ChainFault, Entries, Entry, append};
pub use event::LIMITED;
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

/// What happened. An event that somebody outside can cause as often as they like is limited: [`Event::is_limited`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// The device started.
    #[n(1)]
    Boot {
        /// Why.
        #[n(0)]
        reset: ResetCause,
        /// Version of the firmware that runs.
        #[n(1)]
        firmware: Name,
    },
    /// The factory gave the device an identity.
    #[n(2)]
    Provisioned {
        /// Its identity key.
        #[n(0)]
        identity: KeyId,
    },
    /// The life of that identity is over: its secrets are about to be wiped.
    #[n(3)]
    Retired {
        /// How it ends.
        #[n(0)]
        end: End,
    },
    /// The keys of a new identity are made.
    #[n(4)]
    KeysMade,
    /// A new identity is in force.
    #[n(5)]
    IdentityReplaced {
        /// Its key.
        #[n(0)]
        identity: KeyId,
    },
    /// The service refused the new identity, which is wiped.
    #[n(6)]
    IdentityRefused,
    /// The service refused the identity in force: the former one is in force again.
    #[n(7)]
    IdentityFellBack {
        /// Its key.
        #[n(0)]
        identity: KeyId,
    },
    /// The former identity is wiped.
    #[n(8)]
    IdentityWiped,
    /// A list of roots is in force.
    #[n(9)]
    RootsReplaced {
        /// Its number.
        #[n(0)]
        number: u32,
    },
    /// The service was not reached with a list of roots: the former one stays.
    #[n(10)]
    RootsUndone {
        /// Its number.
        #[n(0)]
        number: u32,
    },
    /// The key of a power was replaced.
    #[n(11)]
    AuthorityReplaced {
        /// Whose.
        #[n(0)]
        power: Power,
        /// The new key.
        #[n(1)]
        key: KeyId,
    },
    /// A configuration is in force.
    #[n(12)]
    Configured {
        /// Whose.
        #[n(0)]
        layer: Layer,
        /// Its number.
        #[n(1)]
        number: u32,
    },
    /// A configuration was tried and taken back.
    #[n(13)]
    ConfigurationUndone {
        /// Whose.
        #[n(0)]
        layer: Layer,
        /// Its number.
        #[n(1)]
        number: u32,
    },
    /// A command was begun.
    #[n(14)]
    Commanded {
        /// Its number.
        #[n(0)]
        number: u32,
        /// What it says.
        #[n(1)]
        action: Action,
    },
    /// A document was refused. Limited.
    #[n(15)]
    DocumentRefused {
        /// Where it came in; `None` for a topic that is not read.
        #[n(0)]
        channel: Option<Channel>,
        /// Why.
        #[n(1)]
        why: Refusal,
    },
    /// The service was refused by the device, or the device by the service. Limited.
    #[n(16)]
    PeerRefused {
        /// Why.
        #[n(0)]
        why: Failure,
    },
    /// The clock was set for the first time, or stepped.
    #[n(17)]
    ClockSet {
        /// By so many milliseconds; `None` for the first time.
        #[n(0)]
        by_ms: Option<i64>,
    },
    /// An answer of a time server was refused. Limited.
    #[n(18)]
    TimeRefused,
    /// Firmware is announced for this device.
    #[n(19)]
    UpdateNoticed {
        /// Its version.
        #[n(0)]
        version: Version,
        /// Number of its manifest.
        #[n(1)]
        sequence: u64,
    },
    /// Firmware was refused. Limited.
    #[n(20)]
    UpdateRefused {
        /// Why.
        #[n(0)]
        why: UpdateFault,
    },
    /// The announced firmware is not wanted any more.
    #[n(21)]
    UpdateWithdrawn,
    /// Firmware is complete.
    #[n(22)]
    UpdateDownloaded {
        /// Bytes that travelled.
        #[n(0)]
        bytes: u32,
    },
    /// The device restarts into it.
    #[n(23)]
    UpdateInstalling {
        /// Its version.
        #[n(0)]
        version: Version,
    },
    /// It stays.
    #[n(24)]
    UpdateConfirmed {
        /// Its version.
        #[n(0)]
        version: Version,
    },
    /// It goes.
    #[n(25)]
    UpdateUndone {
        /// Why.
        #[n(0)]
        why: UpdateFault,
    },
    /// The former firmware runs again.
    #[n(26)]
    UpdateReverted {
        /// Why.
        #[n(0)]
        why: UpdateFault,
    },
    /// The device's own storage failed. Limited.
    #[n(27)]
    StorageFailed,
    /// The random generator failed. Limited.
    #[n(28)]
    EntropyFailed,
    /// Events of one kind that were counted instead of written.
    #[n(29)]
    Repeated {
        /// Their kind: [`Event::kind`].
        #[n(0)]
        kind: u8,
        /// How many.
        #[n(1)]
        count: u32,
    },
    /// Records that were dropped, or could not be read any more, before the operator had acknowledged them.
    #[n(30)]
    Lost {
        /// Sequence number of the first.
        #[n(0)]
        first: u32,
        /// How many.
        #[n(1)]
        count: u32,
    },
    /// The chain up to here, signed: the signature of a [`crate::document::LogDelivery`] without records, whose number is
    /// this record's.
    #[n(31)]
    Seal {
        /// The identity key that signed.
        #[n(0)]
        identity: KeyId,
        /// The signature.
        #[n(1)]
        signature: Signature,
    },
    /// A command was not begun: it had expired, or was another's. Limited.
    #[n(32)]
    CommandRefused {
        /// Why.
        #[n(0)]
        why: Refusal,
    },
    /// The device's certificate has ended. Once in a boot.
    #[n(33)]
    CertificateEnded {
        /// When it ended.
        #[n(0)]
        until: EpochMillis,
    },
    /// A certificate for a new identity came over the factory's line, because the one in force had ended.
    #[n(34)]
    CertifiedOnLine {
        /// The new identity key.
        #[n(0)]
        identity: KeyId,
    },
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
