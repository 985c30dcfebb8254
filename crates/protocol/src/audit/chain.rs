//! Records one after the other, each followed by its hash: so they travel, and so the operator keeps them. R-LOG.

use super::{HASH_BYTES, Hash, RECORD_BYTES_MAX, Record, hash, sequence};
use crate::EncodeError;
use core::fmt;
use minicbor::encode::write::Cursor;
use minicbor::{Decoder, Encoder};

/// A record with its bytes and its hash, of which nothing is checked but its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'b> {
    /// Its number.
    pub sequence: u32,
    /// What it says; `None` where only newer firmware can name that.
    pub record: Option<Record>,
    /// The bytes of the record, over which the hash goes.
    pub bytes: &'b [u8],
    /// The hash that stands behind it.
    pub hash: Hash,
}

/// Why a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// What stands at this place is no record with its hash.
    Form,
    /// The hash is not that of this record behind the one before.
    Hash,
    /// The record's number is not the next one.
    Sequence {
        /// The number that was due.
        due: u32,
    },
    /// It may be whole, but says what only a newer version of this program can name.
    Unknown,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("it is no record of a log"),
            Self::Hash => f.write_str("its hash does not bind it to the record before it"),
            Self::Sequence { due } => write!(f, "it stands where record {due} was due"),
            Self::Unknown => {
                f.write_str("newer firmware wrote it: a newer version of this program can read it")
            }
        }
    }
}

impl core::error::Error for ChainFault {}

/// Entries one after the other: a CBOR sequence (RFC 8742) of byte strings, record and hash in turn.
#[derive(Clone, Debug)]
pub struct Entries<'b> {
    rest: &'b [u8],
}

impl<'b> Entries<'b> {
    /// The entries in `bytes`.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'b [u8] {
        self.rest
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Result<Entry<'b>, ChainFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = entry(self.rest);
        self.rest = entry.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(entry.map(|(entry, _)| entry).ok_or(ChainFault::Form))
    }
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let mut parts = Decoder::new(bytes);
    let record = parts.bytes().ok()?;
    let hash: Hash = parts.bytes().ok()?.try_into().ok()?;
    let position = parts.position();
    let mut written = [0; RECORD_BYTES_MAX + HASH_BYTES + 8];
    let mut cursor = Cursor::new(written.as_mut_slice());
    // One form: the heads of the byte strings are as short as they can be.
    Encoder::new(&mut cursor).bytes(record).ok()?.bytes(&hash).ok()?;
    let same = written.get(..position)? == bytes.get(..position)?;
    let entry = Entry { sequence: sequence(record)?, record: Record::decode(record), bytes: record, hash };
    same.then_some((entry, bytes.get(position..)?))
}

impl Entry<'_> {
    /// Checks that this is record `due`, behind the one with the hash `previous`.
    pub fn follows(&self, previous: &Hash, due: u32) -> Result<(), ChainFault> {
        if hash(previous, self.bytes) != self.hash {
            return Err(ChainFault::Hash);
        }
        if self.sequence != due {
            return Err(ChainFault::Sequence { due });
        }
        Ok(())
    }
}

/// Writes a record's bytes and its hash to the beginning of `out`; gives their length in bytes.
pub fn append(record: &[u8], hash: &Hash, out: &mut [u8]) -> Result<usize, EncodeError> {
    let mut cursor = Cursor::new(out);
    Encoder::new(&mut cursor).bytes(record).and_then(|e| e.bytes(hash)).map_err(|_| EncodeError)?;
    Ok(cursor.position())
}
