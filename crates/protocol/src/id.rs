//! The name of a device: in topics, in the certificate's common name, in documents. R-MQTT-ISOLATION.

use core::fmt;
use heapless::String;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A device's name: 1 to 32 of `A-Z a-z 0-9 - _`, so that it can stand in an MQTT topic (no `/`, `+`, `#`), in an
/// X.509 common name and in a file name as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct DeviceId(String<{ DeviceId::MAX_LEN }>);

/// Why a text is no device id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceIdError {
    /// No character at all.
    Empty,
    /// More than [`DeviceId::MAX_LEN`] bytes.
    TooLong,
    /// A byte outside `A-Z a-z 0-9 - _`, at this position.
    BadCharacter(usize),
    /// The name of somebody who is no device: brokers take rights from names.
    Reserved,
}

impl fmt::Display for DeviceIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a device id has at least 1 character"),
            Self::TooLong => write!(f, "a device id has at most {} characters", DeviceId::MAX_LEN),
            Self::BadCharacter(at) => {
                write!(f, "a device id has only A-Z a-z 0-9 - _; character {} is another", at + 1)
            }
            Self::Reserved => write!(f, "{OPERATOR} is no device's id: it is the operator's name"),
        }
    }
}

impl core::error::Error for DeviceIdError {}

/// The name of the operator, who may read every device's topics and write to every device. No device can have it, in
/// whatever case: its certificate would carry the operator's rights.
pub const OPERATOR: &str = "operator";

impl DeviceId {
    /// Longest id in bytes. X.509 allows 64 (RFC 5280, `ub-common-name`); half of it keeps topics short.
    pub const MAX_LEN: usize = 32;

    /// Checks `text` and takes it as an id.
    pub fn new(text: &str) -> Result<Self, DeviceIdError> {
        if text.is_empty() {
            return Err(DeviceIdError::Empty);
        }
        if let Some(at) = text.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_')) {
            return Err(DeviceIdError::BadCharacter(at));
        }
        if text.eq_ignore_ascii_case(OPERATOR) {
            return Err(DeviceIdError::Reserved);
        }
        String::try_from(text).map(Self).map_err(|_| DeviceIdError::TooLong)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl core::str::FromStr for DeviceId {
    type Err = DeviceIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<&str>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_separators_long_names_and_the_operators_are_refused() {
        for (text, error) in [
            ("", DeviceIdError::Empty),
            ("a/b", DeviceIdError::BadCharacter(1)),
            ("+", DeviceIdError::BadCharacter(0)),
            ("dev#", DeviceIdError::BadCharacter(3)),
            ("dev 1", DeviceIdError::BadCharacter(3)),
            ("operator", DeviceIdError::Reserved),
            ("Operator", DeviceIdError::Reserved),
            ("dév", DeviceIdError::BadCharacter(1)),
            ("123456789012345678901234567890123", DeviceIdError::TooLong),
        ] {
            assert_eq!(DeviceId::new(text), Err(error), "{text}");
        }
        for text in ["12345678901234567890123456789012", "operator-1", "a"] {
            assert!(DeviceId::new(text).is_ok(), "{text}");
        }
    }
}
