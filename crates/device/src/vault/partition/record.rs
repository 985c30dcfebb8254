//! The form of what a block of the partition holds: commit, header, value. Owns the bytes, never where they lie.

use super::{ENTRY_BYTES_MAX, UNIT};
use protocol::key::sha256;
use zeroize::Zeroizing;

const MAGIC: [u8; 4] = *b"Vlt1";
const CHECK_BYTES: usize = UNIT / 2;

/// Header and value, wiped when dropped.
pub(super) type Body = Zeroizing<[u8; UNIT + ENTRY_BYTES_MAX]>;

/// What a block says of its value.
pub(super) struct Header {
    pub uid: u64,
    pub generation: u32,
    pub len: u16,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; UNIT] {
        let mut bytes = [0; UNIT];
        let fields = MAGIC
            .into_iter()
            .chain(self.len.to_le_bytes())
            .chain([0; 2])
            .chain(self.generation.to_le_bytes())
            .chain([0; 4])
            .chain(self.uid.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8; UNIT]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (_, rest) = rest.split_first_chunk::<2>()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (uid, _) = rest.split_first_chunk()?;
        let len = u16::from_le_bytes(*len);
        (*magic == MAGIC && usize::from(len) <= ENTRY_BYTES_MAX).then(|| Self {
            uid: u64::from_le_bytes(*uid),
            generation: u32::from_le_bytes(*generation),
            len,
        })
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes that the value takes in the block.
    pub(super) const fn padded(&self) -> usize {
        self.len().next_multiple_of(UNIT)
    }
}

pub(super) type Check = [u8; CHECK_BYTES];

/// Over header and value, and the zeros behind it.
pub(super) fn check(body: &Body, header: &Header) -> Check {
    let digest = sha256(&[body.get(..UNIT + header.padded()).unwrap_or_default()]);
    digest.first_chunk().copied().unwrap_or_default()
}

pub(super) fn commit(check: Check) -> [u8; UNIT] {
    let mut bytes = [0; UNIT];
    for (to, from) in bytes.iter_mut().zip(check.into_iter().chain(check.map(|byte| !byte))) {
        *to = from;
    }
    bytes
}

/// `None` where it is no commit.
pub(super) fn commit_of(bytes: &[u8; UNIT]) -> Option<Check> {
    let check = *bytes.first_chunk()?;
    (commit(check) == *bytes).then_some(check)
}
