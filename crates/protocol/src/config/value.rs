//! The types that a field may have: how each is read, checked, and what its default is.

use super::{
    Authentication, Bound, ConfigurationError, FieldFault, LogLevel, SNTP_PORT, TIME_SERVERS_MAX, Text,
};
use crate::endpoint::{Endpoint, Host, check_host};
use core::fmt;
use heapless::Vec;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// A type that a field may have.
pub(super) trait Value: Sized {
    /// What the table says of such a field.
    type About: 'static;
    /// What it is in JSON.
    type Json<'de>: Deserialize<'de>;

    /// Reads and checks it.
    fn from_json(json: Self::Json<'_>, about: &'static Self::About) -> Result<Self, ConfigurationError>;

    /// Checks what was not read but made.
    fn check(&self, about: &'static Self::About) -> Result<(), ConfigurationError>;

    /// Its default, where it has one.
    fn default_of(about: &'static Self::About) -> Option<Self>;

    /// Itself as a number, where it is one.
    fn number(&self) -> Option<i64> {
        None
    }

    /// What is wrong with the form of a number of which `text` is the beginning; `None` where that is for the parser to say.
    fn fault(text: &[u8]) -> Option<FieldFault> {
        let _ = text;
        None
    }
}

impl Bound {
    pub(super) fn check(&'static self, value: i64) -> Result<i64, ConfigurationError> {
        if (self.min..=self.max).contains(&value) {
            Ok(value)
        } else {
            Err(ConfigurationError::OutOfRange { bound: self, value })
        }
    }
}

/// What the parser would not see in a number, or could not say: it reads 1.5 as a 1 with something behind it.
pub(super) fn number_fault(text: &[u8]) -> Option<FieldFault> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let number = text.get(..end)?;
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    if digits.iter().any(|byte| b".eE".contains(byte)) {
        return Some(FieldFault::NotWhole);
    }
    let has_zero_before = digits.len() > 1 && digits.starts_with(b"0");
    if has_zero_before || !digits.iter().all(u8::is_ascii_digit) {
        return Some(FieldFault::WrongType);
    }
    let is_ours = core::str::from_utf8(number).is_ok_and(|number| number.parse::<i64>().is_ok());
    (!is_ours).then_some(FieldFault::TooManyDigits)
}

macro_rules! numbers {
    ($($type:ty),+) => {
        $(impl Value for $type {
            type About = Bound;
            type Json<'de> = i64;

            fn from_json(json: i64, about: &'static Bound) -> Result<Self, ConfigurationError> {
                // The test of the table holds every range to its type.
                about.check(json).map(|value| value as Self)
            }

            fn check(&self, about: &'static Bound) -> Result<(), ConfigurationError> {
                about.check(i64::from(*self)).map(|_| ())
            }

            fn default_of(about: &'static Bound) -> Option<Self> {
                Some(about.default as Self)
            }

            fn number(&self) -> Option<i64> {
                Some(i64::from(*self))
            }

            fn fault(text: &[u8]) -> Option<FieldFault> {
                number_fault(text)
            }
        })+
    };
}

numbers!(u32, i32);

macro_rules! choices {
    ($($type:ty),+) => {
        $(impl Value for $type {
            type About = Text;
            type Json<'de> = &'de str;

            fn from_json(json: &str, about: &'static Text) -> Result<Self, ConfigurationError> {
                Self::from_wire(json).ok_or(ConfigurationError::BadChoice(about))
            }

            fn check(&self, _: &'static Text) -> Result<(), ConfigurationError> {
                Ok(())
            }

            fn default_of(about: &'static Text) -> Option<Self> {
                Self::from_wire(about.default)
            }
        })+
    };
}

choices!(Authentication, LogLevel);

impl Value for Host {
    type About = Text;
    type Json<'de> = &'de str;

    fn from_json(json: &str, about: &'static Text) -> Result<Self, ConfigurationError> {
        check_host(json, about.field)
    }

    fn check(&self, about: &'static Text) -> Result<(), ConfigurationError> {
        check_host(self, about.field).map(|_| ())
    }

    fn default_of(_: &'static Text) -> Option<Self> {
        None
    }
}

impl Value for Vec<Endpoint, TIME_SERVERS_MAX> {
    type About = Text;
    type Json<'de> = Texts<'de>;

    fn from_json(json: Texts<'_>, about: &'static Text) -> Result<Self, ConfigurationError> {
        let servers = json
            .first
            .iter()
            .map(|text| Endpoint::parse(text, SNTP_PORT, about.field))
            .collect::<Result<Self, _>>()?;
        if json.count > TIME_SERVERS_MAX {
            return Err(ConfigurationError::TimeServers(json.count));
        }
        servers.check(about).map(|()| servers)
    }

    fn check(&self, about: &'static Text) -> Result<(), ConfigurationError> {
        for (number, server) in self.iter().enumerate() {
            check_host(&server.host, about.field)?;
            if server.port == 0 {
                return Err(ConfigurationError::BadPort { field: about.field });
            }
            // A server that is there twice would be its own second opinion.
            let same =
                |other: &Endpoint| other.port == server.port && other.host.eq_ignore_ascii_case(&server.host);
            if self.iter().take(number).any(same) {
                return Err(ConfigurationError::SameTimeServer);
            }
        }
        if self.is_empty() { Err(ConfigurationError::TimeServers(0)) } else { Ok(()) }
    }

    fn default_of(_: &'static Text) -> Option<Self> {
        None
    }
}

/// A list of texts: the first of them, and how many they are.
pub(super) struct Texts<'de> {
    first: Vec<&'de str, TIME_SERVERS_MAX>,
    count: usize,
}

impl<'de> Deserialize<'de> for Texts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts<'de>, A::Error> {
                let mut texts = Texts { first: Vec::new(), count: 0 };
                while let Some(text) = list.next_element()? {
                    // Those that are too many are only counted.
                    let _full = texts.first.push(text);
                    texts.count += 1;
                }
                Ok(texts)
            }
        }

        deserializer.deserialize_seq(List)
    }
}
