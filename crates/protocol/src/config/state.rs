//! The configuration in force, as the device says itself: a retained message that replaces the one before. R-CONF.
//!
//! ```json
//! {"v":1,"t":1790000000000,"group_name":"field-a","group":{"number":7,"digest":"00..."},"device":null,"trial":null,"unstored":null,
//!  "refused":1,"replayed":0,"last":{"layer":"group","number":8,"why":"configuration","text":"port is 0; it must be from 1 to 65535","failure":null},
//!  "values":{"v":2,"number":1,"id":"dev-1",...}}
//! ```

use super::Configuration;
use super::reader::{Form, Reader};
use crate::json::{self, DecodeError, EncodeError, check_version};
use crate::key::Digest;
use crate::reason::{Layer, Refusal};
use crate::shown::Escaped;
use crate::{EpochMillis, Failure, Name, PROTOCOL_VERSION};
use core::fmt::{self, Write};
use heapless::String;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest such message in bytes.
pub const CONFIGURATION_STATE_BYTES_MAX: usize = 2_048;

/// Longest text of a refusal in bytes; cut where it is longer.
pub const REFUSAL_TEXT_MAX: usize = 160;

/// The text of a refusal.
pub type RefusalText = String<REFUSAL_TEXT_MAX>;

/// A change that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InForce {
    /// Its number.
    pub number: u32,
    /// SHA-256 of its payload, as it was signed.
    #[serde(serialize_with = "write_digest", deserialize_with = "read_digest")]
    pub digest: Digest,
}

/// The last change that was refused or undone since start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Its layer; `None` where that was not proven, or where a proven document that is not valid does not name it.
    #[serde(deserialize_with = "json::nullable")]
    pub layer: Option<Layer>,
    /// Its number; 0 where that was not proven, or where a proven document that is not valid does not name it.
    pub number: u32,
    /// Why. Only a proven document is refused as [`Refusal::Configuration`].
    pub why: Refusal,
    /// For a configuration that is not valid the sentence of [`super::ConfigurationError`]; else empty. [`cut`] makes it.
    #[serde(deserialize_with = "read_text")]
    pub text: RefusalText,
    /// For one that was undone, why the service was not reached; `None` where a time server was not.
    #[serde(deserialize_with = "json::nullable")]
    pub failure: Option<Failure>,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationState {
    /// When this was said.
    pub t: Option<EpochMillis>,
    /// The group that it belongs to; empty where it belongs to none.
    pub group_name: Name,
    /// The group's change in force.
    pub group: Option<InForce>,
    /// The device's own change in force.
    pub device: Option<InForce>,
    /// The change that is being tried.
    pub trial: Option<(Layer, u32)>,
    /// The last change that the device's own store did not take; it gets it again with its next connection.
    pub unstored: Option<(Layer, u32)>,
    /// Changes since start that were refused or undone.
    pub refused: u32,
    /// Documents since start with a number that was already used and another content than the one in force.
    pub replayed: u32,
    /// The last one.
    pub last: Option<Refused>,
    /// Every value in force.
    pub values: Configuration,
}

/// What comes over the network may be shown on a terminal. And `[` could stand before a comma, which no message may have.
fn is_plain(c: char) -> bool {
    crate::is_plain(c) && c != '['
}

/// The sentence of an error, cut at [`REFUSAL_TEXT_MAX`] bytes.
pub fn cut(error: &impl fmt::Display) -> RefusalText {
    struct Cut(RefusalText);

    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let shown = |c| if c == '[' { '?' } else { c };
            text.chars().try_for_each(|c| Escaped(&mut self.0).write_char(shown(c)))
        }
    }

    let mut text = Cut(RefusalText::new());
    // What does not fit any more is what is cut.
    let _cut = text.write_fmt(format_args!("{error}"));
    text.0
}

/// The message as it is written.
#[derive(Serialize)]
struct Written<'s> {
    v: u8,
    t: Option<EpochMillis>,
    group_name: &'s Name,
    group: Option<InForce>,
    device: Option<InForce>,
    trial: Option<Named>,
    unstored: Option<Named>,
    refused: u32,
    replayed: u32,
    last: &'s Option<Refused>,
    values: &'s Configuration,
}

/// The message as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    v: u8,
    #[serde(deserialize_with = "json::nullable")]
    t: Option<EpochMillis>,
    group_name: Name,
    #[serde(deserialize_with = "json::nullable")]
    group: Option<InForce>,
    #[serde(deserialize_with = "json::nullable")]
    device: Option<InForce>,
    #[serde(deserialize_with = "json::nullable")]
    trial: Option<Named>,
    #[serde(deserialize_with = "json::nullable")]
    unstored: Option<Named>,
    refused: u32,
    replayed: u32,
    #[serde(deserialize_with = "json::nullable")]
    last: Option<Refused>,
    #[serde(deserialize_with = "read_values")]
    values: Configuration,
}

/// What names a change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    layer: Layer,
    number: u32,
}

impl Named {
    const fn write((layer, number): (Layer, u32)) -> Self {
        Self { layer, number }
    }

    const fn read(self) -> (Layer, u32) {
        (self.layer, self.number)
    }
}

impl ConfigurationState {
    /// Writes the message as JSON into `buffer` ([`CONFIGURATION_STATE_BYTES_MAX`] bytes always suffice for a text that
    /// [`cut`] made); gives its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        let written = Written {
            v: PROTOCOL_VERSION,
            t: self.t,
            group_name: &self.group_name,
            group: self.group,
            device: self.device,
            trial: self.trial.map(Named::write),
            unstored: self.unstored.map(Named::write),
            refused: self.refused,
            replayed: self.replayed,
            last: &self.last,
            values: &self.values,
        };
        json::encode(&written, buffer)
    }

    /// Reads a state of at most [`CONFIGURATION_STATE_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        // The text of a refusal may have quotes.
        let read: Read =
            json::decode_escaped(bytes, CONFIGURATION_STATE_BYTES_MAX, &mut [0; REFUSAL_TEXT_MAX])?;
        check_version(read.v)?;
        Ok(Self {
            t: read.t,
            group_name: read.group_name,
            group: read.group,
            device: read.device,
            trial: read.trial.map(Named::read),
            unstored: read.unstored.map(Named::read),
            refused: read.refused,
            replayed: read.replayed,
            last: read.last,
            values: read.values,
        })
    }
}

fn write_digest<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    let mut hex = [0; 2 * size_of::<Digest>()];
    // Twice as long as the digest is what suffices.
    serializer.serialize_str(base16ct::lower::encode_str(digest, &mut hex).unwrap_or_default())
}

fn read_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let mut digest = Digest::default();
    let hex = <&str>::deserialize(deserializer)?;
    if hex.len() != 2 * size_of::<Digest>() {
        return Err(D::Error::custom("digest"));
    }
    base16ct::lower::decode(hex, &mut digest).map_err(D::Error::custom)?;
    Ok(digest)
}

fn read_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RefusalText, D::Error> {
    let text = RefusalText::deserialize(deserializer)?;
    if text.chars().all(is_plain) { Ok(text) } else { Err(D::Error::custom("text")) }
}

fn read_values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Configuration, D::Error> {
    let reader = Reader { form: Form::Whole, bytes: &[], error: &mut None };
    let read = deserializer.deserialize_map(reader)?;
    Configuration::from_read(read).map_err(D::Error::custom)
}
