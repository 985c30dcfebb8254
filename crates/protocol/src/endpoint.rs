//! Hosts and ports as the configuration carries them. Owns what a host name may look like, resolves none. R-CONF.

use crate::ConfigurationError;
use core::fmt::{self, Write};
use heapless::String;
use serde::{Serialize, Serializer};

/// Longest host name in bytes. DNS allows 253; certificates and RAM make 64 a sensible bound for names we choose.
pub const HOST_MAX: usize = 64;

/// A host name or an IPv4 address in its text form.
pub type Host = String<HOST_MAX>;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or IPv4 address.
    pub host: Host,
    /// UDP or TCP port, never 0.
    pub port: u16,
}

impl Endpoint {
    /// Longest text: host, colon, five digits.
    pub const MAX_LEN: usize = HOST_MAX + 6;

    /// Reads `host` or `host:port`; `field` is named in the error.
    pub fn parse(text: &str, default_port: u16, field: &'static str) -> Result<Self, ConfigurationError> {
        let (host, port) = match text.split_once(':') {
            None => (text, default_port),
            Some((host, port)) => match port.parse() {
                Ok(port) if port != 0 && port_is_plain(text) => (host, port),
                _ => return Err(ConfigurationError::BadPort { field }),
            },
        };
        Ok(Self { host: check_host(host, field)?, port })
    }
}

/// Only digits after the colon: `parse` alone would take `+5`.
fn port_is_plain(text: &str) -> bool {
    text.bytes().rev().take_while(|b| *b != b':').all(|b| b.is_ascii_digit())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why a host name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// No character at all.
    Empty,
    /// More than [`HOST_MAX`] bytes.
    TooLong,
    /// A label that is empty, longer than 63, or starts or ends with a hyphen (RFC 1123, section 2.1).
    BadLabel,
    /// A character that is no letter, digit, hyphen or dot.
    BadCharacter,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "is longer than {HOST_MAX} characters"),
            Self::BadLabel => {
                f.write_str("has a part that is empty, too long, or starts or ends with a hyphen")
            }
            Self::BadCharacter => f.write_str("has a character other than letters, digits, '-' and '.'"),
        }
    }
}

pub(crate) fn check_host(text: &str, field: &'static str) -> Result<Host, ConfigurationError> {
    let error = |error| ConfigurationError::BadHost { field, error };
    if text.is_empty() {
        return Err(error(HostError::Empty));
    }
    let host = Host::try_from(text).map_err(|_| error(HostError::TooLong))?;
    if text.bytes().any(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'.')) {
        return Err(error(HostError::BadCharacter));
    }
    let good =
        |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    if !text.split('.').all(good) {
        return Err(error(HostError::BadLabel));
    }
    Ok(host)
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::<{ Self::MAX_LEN }>::new();
        write!(text, "{self}").map_err(|_| serde::ser::Error::custom("time server"))?;
        serializer.serialize_str(&text)
    }
}
