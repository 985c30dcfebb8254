//! What the device keeps of its log outside of it: how far the operator has it, and which numbers may be used. R-LOG.

use crate::platform::Key;
use crate::stored::Stored;
use minicbor::{Decode, Encode};
use protocol::DeviceId;
use protocol::audit::{HASH_BYTES, Hash};
use protocol::key::sha256;

/// So many numbers are set aside at once, with one write. Where all of the log is lost, its numbers go on behind them.
pub const RESERVE: u32 = 64;

/// Longest form in bytes.
const BYTES_MAX: usize = 64;

/// A record that the operator has, with every one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Acknowledged {
    #[n(0)]
    pub number: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: [u8; HASH_BYTES],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Kept {
    /// Numbers below this one may be used.
    #[n(0)]
    pub reserved: u32,
    #[n(1)]
    pub acknowledged: Option<Acknowledged>,
    /// Under which id the device lived then: the beginning of the SHA-256 of it.
    #[n(2)]
    owner: Option<u64>,
}

impl Stored<BYTES_MAX> for Kept {
    const KEY: Key = Key::Log;
}

impl Kept {
    /// The device has this id. For the operator the log of another one is another log, of which nothing is there yet.
    pub(super) fn adopt(&mut self, id: &DeviceId) {
        let owner = sha256(&[id.as_str().as_bytes()]).first_chunk().copied().map(u64::from_be_bytes);
        if self.owner != owner {
            (self.owner, self.acknowledged) = (owner, None);
        }
    }

    /// Number of the first record that the operator does not have.
    pub(super) fn wanted(&self) -> u32 {
        self.acknowledged.map_or(0, |acknowledged| acknowledged.number.saturating_add(1))
    }

    pub(super) fn hash(&self) -> Option<&Hash> {
        self.acknowledged.as_ref().map(|acknowledged| &acknowledged.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::stays;

    #[test]
    fn what_is_kept_is_stored_as_it_ever_was() {
        let mut kept = Kept { reserved: 64, ..Kept::default() };
        kept.adopt(&DeviceId::new("dev-1").unwrap());
        kept.acknowledged = Some(Acknowledged { number: 41, hash: [0xab; 32] });
        let hex = concat!(
            "a3001840018218295820abababababababababababababababababababababababababababababababab021b",
            "0388fb626ca89a12",
        );
        stays(&kept, hex, Some(0));
        stays(&Kept::default(), "a10000", Some(0));
    }
}
