//! The security log on its way: a piece of it, and the answer to that. R-LOG.

use super::Audience;
use crate::audit::HASH_BYTES;
use minicbor::{Decode, Encode};

/// A piece of the security log. Signed with the device's identity key: it vouches for the last hash and so for everything
/// before it. Without records it is a seal of the log up to `previous`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogDelivery<'b> {
    /// Whose log it is.
    #[n(1)]
    pub audience: Audience,
    /// Sequence number of the first record in it; of the next one to come where there is none in it.
    #[n(2)]
    pub number: u32,
    /// Hash of the record before that one; zeros before the very first.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub previous: [u8; HASH_BYTES],
    /// The records, each followed by its hash ([`crate::audit::Entries`]).
    #[cbor(b(4), with = "minicbor::bytes")]
    pub entries: &'b [u8],
}

/// Longest payload of [`LogDelivery`] in bytes: with its envelope it fits into a message of a device.
pub const LOG_PAYLOAD_BYTES_MAX: usize = 1_200;

/// The operator has a device's log up to and with a record, and has verified it: the device may drop it. Only ever for one
/// device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogAcknowledgement {
    /// Whom it is for.
    #[n(1)]
    pub audience: Audience,
    /// Sequence number of that record.
    #[n(2)]
    pub number: u32,
    /// Its hash.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub hash: [u8; HASH_BYTES],
}
