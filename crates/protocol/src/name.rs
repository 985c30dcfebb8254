//! Short names that a device gives of itself, such as its firmware's version and its board.

use core::fmt;
use heapless::String;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// Longest name in bytes: `v255.255.65535+4294967295` is 25.
pub const NAME_MAX: usize = 32;

/// Up to [`NAME_MAX`] of `A-Z a-z 0-9 . _ - + / @`, so that it stands in JSON, in a file name and on a terminal as it
/// is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String<NAME_MAX>);

/// The text is too long for a name or has another character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name has at most {NAME_MAX} of A-Z a-z 0-9 . _ - + / @")
    }
}

impl core::error::Error for NameError {}

impl Name {
    /// No name.
    pub const EMPTY: Self = Self(String::new());

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;
    fn try_from(text: &str) -> Result<Self, NameError> {
        if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+/@".contains(&b)) {
            String::try_from(text).map(Self).map_err(|_| NameError)
        } else {
            Err(NameError)
        }
    }
}

impl core::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(<&str>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_spaces_and_long_names_are_refused() {
        for text in ["a\"b", "a\\u0041", "a b", "a\u{1}", "é", "[,", "012345678901234567890123456789012"] {
            assert_eq!(Name::try_from(text), Err(NameError), "{text:?}");
        }
        for text in [
            "",
            "0.1.0",
            "v1.2.3+45",
            "native_sim/native/64",
            "nucleo_h563zi@A",
            "01234567890123456789012345678901",
        ] {
            assert_eq!(Name::try_from(text).as_deref(), Ok(text));
        }
    }
}
