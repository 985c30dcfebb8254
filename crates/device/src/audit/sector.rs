//! The form of a sector of the log: its header, and the entries behind it. Owns the bytes, never where they lie. R-LOG.
//!
//! | bytes | header, at the beginning of a sector |
//! |---|---|
//! | 4 | `Log1` |
//! | 4 | generation: one more than that of the sector before; little endian |
//! | 4 | number of the first record in it; little endian |
//! | 4 | 0 |
//! | 16 | of the SHA-256 of the others: what was written in part, or is something else, does not fit |
//! | 32 | the hash of the record before the first one |
//!
//! | bytes | entry |
//! |---|---|
//! | 2 | length of the record; little endian |
//! | | the record |
//! | | `0xff` up to the end of a word |
//! | 32 | its hash, which ends where the entry ends, so that it stands right before the next one |

use crate::platform::LogLayout;
use protocol::audit::{self, HASH_BYTES, Hash, RECORD_BYTES_MAX, Record};
use protocol::key::sha256;

/// Length of a header in bytes.
pub(super) const HEADER_BYTES: u32 = 64;

/// Longest word in bytes.
pub(super) const WORD_BYTES_MAX: u32 = 32;

/// Longest entry in bytes.
pub(super) const ENTRY_BYTES_MAX: usize =
    (LEN_BYTES + RECORD_BYTES_MAX + HASH_BYTES).next_multiple_of(WORD_BYTES_MAX as usize);

/// Smallest sector in bytes: a header and two entries of any length.
pub(super) const SECTOR_BYTES_MIN: u32 = HEADER_BYTES + 2 * ENTRY_BYTES_MAX as u32;

/// Fewest sectors: one that is written, one that is read, one that is erased.
pub(super) const SECTORS_MIN: u32 = 3;

const LEN_BYTES: usize = 2;
const MAGIC: [u8; 4] = *b"Log1";
const CHECK_BYTES: usize = 16;

pub(super) const ERASED: u8 = 0xFF;

/// Where a sector's records begin in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub generation: u32,
    pub first: u32,
    pub previous: Hash,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        let parts: [(usize, &[u8]); 4] = [
            (0, &MAGIC),
            (4, &self.generation.to_le_bytes()),
            (8, &self.first.to_le_bytes()),
            (32, &self.previous),
        ];
        for (at, part) in parts.into_iter().chain([(16, self.check().as_slice())]) {
            for (to, from) in bytes.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
        }
        bytes
    }

    /// `None` where it is none, or not whole.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let previous = bytes.get(32..)?.try_into().ok()?;
        let header = Self { generation: number(4)?, first: number(8)?, previous };
        (header.encode() == *bytes).then_some(header)
    }

    fn check(&self) -> [u8; CHECK_BYTES] {
        let digest =
            sha256(&[&MAGIC, &self.generation.to_le_bytes(), &self.first.to_le_bytes(), &self.previous]);
        let mut check = [0; CHECK_BYTES];
        for (to, from) in check.iter_mut().zip(digest) {
            *to = from;
        }
        check
    }
}

/// Length of the entry of a record of `len` bytes.
pub(super) const fn entry_bytes(len: usize, word: u32) -> u32 {
    (LEN_BYTES + len + HASH_BYTES).next_multiple_of(word as usize) as u32
}

/// Writes an entry into `out`; gives its length in bytes. `None` where the record is too long.
pub(super) fn write_entry(record: &[u8], hash: &Hash, word: u32, out: &mut [u8]) -> Option<usize> {
    let len = entry_bytes(record.len(), word) as usize;
    let out = out.get_mut(..len)?;
    out.fill(ERASED);
    out.get_mut(..LEN_BYTES)?.copy_from_slice(&u16::try_from(record.len()).ok()?.to_le_bytes());
    out.get_mut(LEN_BYTES..LEN_BYTES + record.len())?.copy_from_slice(record);
    out.get_mut(len - HASH_BYTES..)?.copy_from_slice(hash);
    Some(len)
}

/// What looks like an entry.
pub(super) struct Candidate<'b> {
    pub sequence: u32,
    /// `None` where only newer firmware can name what it says.
    pub record: Option<Record>,
    pub bytes: &'b [u8],
    pub hash: Hash,
    /// Length of all of it in bytes.
    pub len: u32,
}

/// What the bytes begin with, where that looks like an entry.
pub(super) fn read_entry(bytes: &[u8], word: u32) -> Option<Candidate<'_>> {
    let len = usize::from(u16::from_le_bytes(bytes.get(..LEN_BYTES)?.try_into().ok()?));
    if len == 0 || len > RECORD_BYTES_MAX {
        return None;
    }
    let total = entry_bytes(len, word) as usize;
    let hash = bytes.get(total - HASH_BYTES..total)?.try_into().ok()?;
    let bytes = bytes.get(LEN_BYTES..LEN_BYTES + len)?;
    let (sequence, record) = (audit::sequence(bytes)?, Record::decode(bytes));
    Some(Candidate { sequence, record, bytes, hash, len: total as u32 })
}

/// Whether a log can lie in such a partition.
pub(super) const fn fits(layout: &LogLayout) -> bool {
    let LogLayout { size, sector, word } = *layout;
    word > 0
        && WORD_BYTES_MAX.is_multiple_of(word)
        && sector >= SECTOR_BYTES_MIN
        && sector.is_multiple_of(WORD_BYTES_MAX)
        && size.is_multiple_of(sector)
        && size / sector >= SECTORS_MIN
        && size <= 1 << 30
}
