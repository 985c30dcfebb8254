//! A value under a key, whole or not at all: how every record of the device is read and written. Owns the form in which it
//! lies in the store, never what it says, nor what is done where it is damaged: that is its owner's. R-CONF, R-FW-ATOMIC,
//! R-LOG, R-SECRET-STORE.
//!
//! A record is one CBOR value, so one write is the moment of a change. It carries no version number: its fields have numbers,
//! and the numbers of fields are the version.
//!
//! - A field that only newer firmware knows is skipped, and gone with the next write of this one.
//! - A field that former firmware did not write is an `Option`, or has `#[cbor(default)]`: else former records are damaged.
//! - The number of a field that is given up is never used again.
//! - A variant that only newer firmware knows makes the whole record [`StorageError::Corrupt`]. Where that would cost too much,
//!   its field is read leniently: `Stage` and `fault` of [`crate::update`], `last` of [`crate::commands`].
//!
//! Lists, numbers and JSON have no such numbers: another form of these is another key.
//!
//! | key | written by | where it cannot be read |
//! |---|---|---|
//! | `Life`, `Chain`, `Roots` | [`crate::identity`], [`crate::provisioning`] | the device does not start |
//! | `Configuration` | [`crate::provisioning`] | the device does not start |
//! | `Boot` | [`crate::boots`] | the device does not start |
//! | `Settings` | [`crate::settings`] | the numbers of the changes that are there bound those to come |
//! | `Command` | [`crate::commands`] | nothing was begun: a command's expiry bounds its replay |
//! | `Update` | [`crate::update`] | the image that runs bounds what may be installed |
//! | `Log` | [`crate::audit`] | the log begins where its flash says, and is delivered again |
//! | `Time`, `Ended` | [`crate::clock`], [`crate::boots`] | it is counted, and as if there were none |

use crate::platform::{Key, KeyValue, StorageError};
use minicbor::encode::write::Cursor;
use minicbor::{Decode, Encode};
use protocol::EncodeError;

/// A record of at most `BYTES_MAX` bytes.
pub(crate) trait Stored<const BYTES_MAX: usize>: Encode<()> + for<'b> Decode<'b, ()> {
    /// Where it lies.
    const KEY: Key;

    /// Reads it; `None` where there is none. Never inlined: the caller's stack frame would hold the buffer all the time.
    #[inline(never)]
    fn load(store: &mut impl KeyValue) -> Result<Option<Self>, StorageError> {
        read(store, Self::KEY, &mut [0; BYTES_MAX])
    }

    /// Writes it: the moment at which a change takes place.
    #[inline(never)]
    fn store(&self, store: &mut impl KeyValue) -> Result<(), StorageError> {
        write(store, Self::KEY, self, &mut [0; BYTES_MAX])
    }
}

/// Reads the value of `key` by way of `buffer`, which may be borrowed from.
pub(crate) fn read<'b, T: Decode<'b, ()>>(
    store: &mut impl KeyValue,
    key: Key,
    buffer: &'b mut [u8],
) -> Result<Option<T>, StorageError> {
    store.read(key, buffer)?.map(decode).transpose()
}

/// Writes `value` under `key` by way of `buffer`.
pub(crate) fn write(
    store: &mut impl KeyValue,
    key: Key,
    value: &impl Encode<()>,
    buffer: &mut [u8],
) -> Result<(), StorageError> {
    let len = encode(value, buffer);
    put(store, key, buffer, len)
}

/// Reads a value's stored form.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, StorageError> {
    minicbor::decode(bytes).map_err(|_| StorageError::Corrupt)
}

/// Writes a value's stored form; gives its length in bytes.
pub(crate) fn encode(value: &impl Encode<()>, buffer: &mut [u8]) -> Result<usize, EncodeError> {
    let mut cursor = Cursor::new(buffer);
    minicbor::encode(value, &mut cursor).map_err(|_| EncodeError)?;
    Ok(cursor.position())
}

/// Stores what was written into `buffer`, and how long that is.
pub(crate) fn put(
    store: &mut impl KeyValue,
    key: Key,
    buffer: &[u8],
    len: Result<usize, EncodeError>,
) -> Result<(), StorageError> {
    let bytes = len.ok().and_then(|len| buffer.get(..len));
    store.write(key, bytes.ok_or(StorageError::TooLong)?)
}

/// Reads a number: 8 bytes, little endian.
pub(crate) fn number(store: &mut impl KeyValue, key: Key) -> Result<Option<u64>, StorageError> {
    let bytes = store.read(key, &mut [0; 8])?.map(<[u8; 8]>::try_from);
    bytes.transpose().map(|bytes| bytes.map(u64::from_le_bytes)).map_err(|_| StorageError::Corrupt)
}

/// Writes a number.
pub(crate) fn put_number(store: &mut impl KeyValue, key: Key, number: u64) -> Result<(), StorageError> {
    store.write(key, &number.to_le_bytes())
}

#[cfg(test)]
pub(crate) mod tests;
