//! JSON as every message uses it: bounded buffers, one version, nothing after the closing brace.
//!
//! The feature `custom-error-messages` of `serde-json-core` stays off: it panics on a message of more than 64 bytes,
//! and serde writes the sender's own unknown field names into such messages.

use crate::PROTOCOL_VERSION;
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize};

/// The message does not fit into the buffer given for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError;

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message does not fit into its buffer")
    }
}

impl core::error::Error for EncodeError {}

/// Why bytes are no message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// More bytes than the message may have.
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not the JSON that the message is.
    Syntax(serde_json_core::de::Error),
    /// Another version of the message.
    Version(u8),
    /// The values contradict each other: what is wrong, as a sentence.
    Inconsistent(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => write!(f, "the message has {len} bytes; at most {max} are allowed"),
            Self::Syntax(text) => write!(f, "the message cannot be read: {text}"),
            Self::Version(v) => {
                write!(f, "the message has version {v}; this program speaks version {PROTOCOL_VERSION}")
            }
            Self::Inconsistent(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Writes `message` into `buffer`; gives its length in bytes.
pub(crate) fn encode<T: Serialize>(message: &T, buffer: &mut [u8]) -> Result<usize, EncodeError> {
    serde_json_core::to_slice(message, buffer).map_err(|_| EncodeError)
}

/// Reads a message of at most `max` bytes and refuses anything after it.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], max: usize) -> Result<T, DecodeError> {
    check_form(bytes, max)?;
    serde_json_core::from_slice(bytes).map(|(message, _)| message).map_err(DecodeError::Syntax)
}

/// The same for a message with texts that may have quotes; the longest such text fits into `buffer`.
pub(crate) fn decode_escaped<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    max: usize,
    buffer: &mut [u8],
) -> Result<T, DecodeError> {
    check_form(bytes, max)?;
    serde_json_core::from_slice_escaped(bytes, buffer)
        .map(|(message, _)| message)
        .map_err(DecodeError::Syntax)
}

fn check_form(bytes: &[u8], max: usize) -> Result<(), DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { len: bytes.len(), max });
    }
    if has_empty_element(bytes) {
        return Err(DecodeError::Syntax(serde_json_core::de::Error::ExpectedSomeValue));
    }
    Ok(())
}

/// True for `[,`, which the parser would take for an empty beginning of a list. No text in our messages may have a
/// bracket.
pub(crate) fn has_empty_element(bytes: &[u8]) -> bool {
    let mut after_bracket = false;
    for byte in bytes {
        match byte {
            b'[' => after_bracket = true,
            b',' if after_bracket => return true,
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => after_bracket = false,
        }
    }
    false
}

/// Reads a field that may be `null` but not missing.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Refuses any version but ours.
pub(crate) fn check_version(v: u8) -> Result<(), DecodeError> {
    if v == PROTOCOL_VERSION { Ok(()) } else { Err(DecodeError::Version(v)) }
}
