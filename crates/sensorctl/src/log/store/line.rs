//! One line of a store's files: JSON, in one form alone.

use crate::log::delivery::DELIVERY_BYTES_MAX;
use crate::log::fault::{Fault, What};
use base64ct::{Base64, Encoding};
use protocol::key::sha256;
use protocol::{DeviceId, EpochMillis};
use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longest line in bytes, with its end.
pub(super) const LINE_BYTES_MAX: usize = 128 + DELIVERY_BYTES_MAX.div_ceil(3) * 4;

/// Bytes of the check: it finds lines that were damaged, not those that were made by somebody.
const CHECK_BYTES: usize = 8;

/// Why a line of a log is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// It has no end: a power cut has torn it, or the file was cut off.
    Torn,
    /// It is longer than a line can be.
    TooLong,
    /// It is not the JSON that is written.
    Form,
    /// Its check is wrong.
    Check,
    /// What it holds is no delivery.
    Delivery,
    /// What it holds does not follow the line before.
    Chain,
}

impl LineFault {
    /// What it is, as a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Torn => "it has no end: a power cut has torn it, or the file was cut off",
            Self::TooLong => "it is longer than a line can be",
            Self::Form => "it has not the form in which lines are written",
            Self::Check => "its check is wrong",
            Self::Delivery => "what it holds is no delivery of a log",
            Self::Chain => "what it holds does not follow the line before it",
        }
    }
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong with it.
    pub fault: LineFault,
    /// The delivery in it, where something can be read that may have been one.
    pub left: Option<Vec<u8>>,
}

impl From<LineFault> for Damage {
    fn from(fault: LineFault) -> Self {
        Self { fault, left: None }
    }
}

/// A delivery as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    /// When it came.
    pub received: EpochMillis,
    /// The signed delivery.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text<'t> {
    at: &'t str,
    delivery: &'t str,
    check: &'t str,
}

fn check(at: &str, delivery: &str) -> String {
    let digest = sha256(&[at.as_bytes(), b" ", delivery.as_bytes()]);
    base16ct::lower::encode_string(digest.get(..CHECK_BYTES).unwrap_or_default())
}

fn time(text: &str) -> Option<EpochMillis> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(EpochMillis)
}

impl StoredDelivery {
    /// The line with its end.
    pub fn to_line(&self) -> String {
        let (at, delivery) = (self.received.to_string(), Base64::encode_string(&self.bytes));
        let check = check(&at, &delivery);
        let text = Text { at: &at, delivery: &delivery, check: &check };
        let text = serde_json::to_string(&text).expect("texts in an object are JSON");
        format!("{text}\n")
    }

    /// Reads a line with its end.
    pub fn from_line(line: &[u8]) -> Result<Self, Damage> {
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(if line.len() < LINE_BYTES_MAX { LineFault::Torn } else { LineFault::TooLong }.into());
        };
        let text: Text<'_> = serde_json::from_slice(text).map_err(|_| LineFault::Form)?;
        let bytes = Base64::decode_vec(text.delivery).map_err(|_| LineFault::Form)?;
        if check(text.at, text.delivery) != text.check {
            return Err(Damage { fault: LineFault::Check, left: Some(bytes) });
        }
        let Some(received) = time(text.at) else {
            return Err(Damage { fault: LineFault::Form, left: Some(bytes) });
        };
        let read = Self { received, bytes };
        // One form: blanks, escapes, other spellings of the time.
        if read.to_line().as_bytes() == line {
            Ok(read)
        } else {
            Err(Damage { fault: LineFault::Form, left: Some(read.bytes) })
        }
    }
}

/// A delivery that was not taken.
#[derive(Serialize, Deserialize)]
pub(super) struct RefusedLine {
    at: String,
    device: String,
    fault: String,
    record: Option<u32>,
    why: String,
    delivery: String,
}

impl RefusedLine {
    pub(super) fn new(at: EpochMillis, device: &DeviceId, fault: &Fault, bytes: &[u8]) -> Self {
        // Whatever comes: what is longer than a delivery is not kept whole.
        let kept = bytes.get(..2 * DELIVERY_BYTES_MAX).unwrap_or(bytes);
        Self {
            at: at.to_string(),
            device: device.to_string(),
            fault: fault.what.name().to_owned(),
            record: fault.record,
            why: fault.what.to_string(),
            delivery: Base64::encode_string(kept),
        }
    }

    pub(super) fn to_line(&self) -> String {
        let text = serde_json::to_string(self).expect("texts in an object are JSON");
        format!("{text}\n")
    }

    /// When it came, and the delivery, of a line that was refused because it contradicts what was known.
    pub(super) fn delivery_of_fork(line: &[u8]) -> Option<StoredDelivery> {
        let read: Self =
            serde_json::from_slice(line).ok().filter(|read: &Self| read.fault == What::Fork.name())?;
        Some(StoredDelivery { received: time(&read.at)?, bytes: Base64::decode_vec(&read.delivery).ok()? })
    }
}
