//! The configuration of a device: the document, its defaults and the bounds of every field. Owns the schema, never
//! where it is stored or whether it is in force. R-CONF.
//!
//! ```json
//! {"v":1,"number":1,"id":"dev-1","host":"broker.example","port":8883,"keep_alive_s":60,
//!  "time_servers":["time.example","10.0.0.1:1123"],"sample_period_ms":10000,"report_period_ms":60000}
//! ```

use crate::json::{self, EncodeError};
use crate::{DeviceId, DeviceIdError, PROTOCOL_VERSION};
use core::fmt::{self, Write};
use heapless::{String, Vec};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest configuration in bytes: four time servers of full length, the host, and the rest below 300.
pub const CONFIGURATION_BYTES_MAX: usize = 768;

/// Longest host name in bytes. DNS allows 253; certificates and RAM make 64 a sensible bound for names we choose.
pub const HOST_MAX: usize = 64;

/// Most time servers: RFC 5905 wants at least four to outvote a wrong one; more cost RAM and bring nothing.
pub const TIME_SERVERS_MAX: usize = 4;

/// The port of SNTP where a time server names none (RFC 4330).
pub const SNTP_PORT: u16 = 123;

/// A host name or an IPv4 address in its text form.
pub type Host = String<HOST_MAX>;

/// A bounded number of the configuration: its name, unit, range, default and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The field's name in the document.
    pub field: &'static str,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// Smallest value.
    pub min: u32,
    /// Largest value.
    pub max: u32,
    /// Value of a fresh configuration.
    pub default: u32,
    /// Why these.
    pub reason: &'static str,
}

/// Bound of [`Configuration::port`].
pub const PORT: Bound = Bound {
    field: "port",
    unit: "",
    min: 1,
    max: 65_535,
    default: 8_883,
    reason: "8883 is IANA's port for MQTT over TLS",
};
/// Bound of [`Configuration::keep_alive_s`].
pub const KEEP_ALIVE: Bound = Bound {
    field: "keep_alive_s",
    unit: "s",
    min: 5,
    max: 1_200,
    default: 60,
    reason: "NAT tables forget idle TCP connections after minutes; AWS IoT Core allows at most 1200 s",
};
/// Bound of [`Configuration::sample_period_ms`].
pub const SAMPLE_PERIOD: Bound = Bound {
    field: "sample_period_ms",
    unit: "ms",
    min: 50,
    max: 86_400_000,
    default: 10_000,
    reason: "a BME280 needs up to 46 ms for one forced measurement of all three values",
};
/// Bound of [`Configuration::report_period_ms`].
pub const REPORT_PERIOD: Bound = Bound {
    field: "report_period_ms",
    unit: "ms",
    min: 50,
    max: 86_400_000,
    default: 60_000,
    reason: "not below the sampling period; larger batches cost fewer bytes per sample",
};
/// Bound of [`Configuration::number`].
pub const NUMBER: Bound = Bound {
    field: "number",
    unit: "",
    min: 1,
    max: u32::MAX,
    default: 1,
    reason: "grows with every change, so that an old document can be told from a new one",
};
/// Every bounded number, in order of the document.
pub const BOUNDS: [Bound; 5] = [NUMBER, PORT, KEEP_ALIVE, SAMPLE_PERIOD, REPORT_PERIOD];

impl Bound {
    fn check(&self, value: u64) -> Result<u32, ConfigurationError> {
        match u32::try_from(value) {
            Ok(small) if (self.min..=self.max).contains(&small) => Ok(small),
            _ => Err(ConfigurationError::OutOfRange { bound: *self, value }),
        }
    }
}

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
            Self::BadLabel => f.write_str("has a part that is empty, too long, or starts or ends with a hyphen"),
            Self::BadCharacter => f.write_str("has a character other than letters, digits, '-' and '.'"),
        }
    }
}

fn check_host(text: &str, field: &'static str) -> Result<Host, ConfigurationError> {
    let error = |error| ConfigurationError::BadHost { field, error };
    if text.is_empty() {
        return Err(error(HostError::Empty));
    }
    let host = Host::try_from(text).map_err(|_| error(HostError::TooLong))?;
    if text.bytes().any(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'.')) {
        return Err(error(HostError::BadCharacter));
    }
    let good = |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    if !text.split('.').all(good) {
        return Err(error(HostError::BadLabel));
    }
    Ok(host)
}

/// Longest field name in an error, in characters.
pub const FIELD_NAME_MAX: usize = 32;

/// A field name in an error.
pub type FieldName = String<{ FIELD_NAME_MAX * 4 }>;

/// What is wrong with a field before its content is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFault {
    /// Its value is of another JSON type, or a number that is no whole positive one.
    WrongType,
    /// After its value the document does not go on as JSON.
    BadEnd,
    /// It is not there.
    Missing,
    /// It is there twice.
    Twice,
    /// The schema does not know it.
    Unknown,
}

/// Why a document is no configuration. The text names the field and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigurationError {
    /// More bytes than [`CONFIGURATION_BYTES_MAX`].
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// No JSON object.
    Syntax(serde_json_core::de::Error),
    /// A field is not as it must be.
    Field {
        /// Its name, cut at [`FIELD_NAME_MAX`] characters where it is not ours.
        field: FieldName,
        /// What is wrong with it.
        fault: FieldFault,
    },
    /// Another version of the schema.
    Version(u32),
    /// A number outside its range.
    OutOfRange {
        /// The field and its range.
        bound: Bound,
        /// What was given.
        value: u64,
    },
    /// The device id is none.
    BadId(DeviceIdError),
    /// A host name is none.
    BadHost {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        error: HostError,
    },
    /// What follows the colon is no port.
    BadPort {
        /// The field.
        field: &'static str,
    },
    /// No time server, or more than [`TIME_SERVERS_MAX`].
    TimeServers(usize),
    /// The reporting period is shorter than the sampling period.
    ReportsOftenerThanSamples {
        /// Reporting period in milliseconds.
        report: u32,
        /// Sampling period in milliseconds.
        sample: u32,
    },
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => {
                write!(f, "the configuration has {len} bytes; at most {CONFIGURATION_BYTES_MAX} are allowed")
            }
            Self::Syntax(error) => write!(f, "the configuration is no JSON object: {error}"),
            Self::Field { field, fault } => match fault {
                FieldFault::WrongType => write!(f, "{field} has a value of the wrong type"),
                FieldFault::BadEnd => write!(f, "something other than ',' or '}}' follows the value of {field}"),
                FieldFault::Missing => write!(f, "{field} is missing"),
                FieldFault::Twice => write!(f, "{field} is there twice"),
                FieldFault::Unknown => write!(f, "{field} is no field of the configuration"),
            },
            Self::Version(v) => {
                write!(f, "v is {v}; this program knows version {PROTOCOL_VERSION} of the configuration")
            }
            Self::OutOfRange { bound, value } => {
                write!(f, "{} is {value}; it must be from {} to {}", bound.field, bound.min, bound.max)?;
                if bound.unit.is_empty() { Ok(()) } else { write!(f, " {}", bound.unit) }
            }
            Self::BadId(error) => write!(f, "id: {error}"),
            Self::BadHost { field, error } => write!(f, "{field} {error}"),
            Self::BadPort { field } => write!(f, "{field}: what follows the ':' must be a port from 1 to 65535"),
            Self::TimeServers(n) => {
                write!(f, "time_servers has {n} entries; it must have from 1 to {TIME_SERVERS_MAX}")
            }
            Self::ReportsOftenerThanSamples { report, sample } => write!(
                f,
                "report_period_ms is {report}; it must not be below sample_period_ms, which is {sample}"
            ),
        }
    }
}

impl core::error::Error for ConfigurationError {}

/// A configuration in which every field is inside its bounds: there is no other way to make one than [`Self::decode`]
/// and [`Draft::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration(Draft);

impl core::ops::Deref for Configuration {
    type Target = Draft;
    fn deref(&self) -> &Draft {
        &self.0
    }
}

/// A configuration whose fields are not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Grows with every change.
    pub number: u32,
    /// The device's identity: client identifier, topic prefix and certificate name.
    pub id: DeviceId,
    /// The service's host name, as in its certificate.
    pub host: Host,
    /// The service's TCP port.
    pub port: u32,
    /// MQTT keep-alive in seconds.
    pub keep_alive_s: u32,
    /// Time servers in the order in which they are asked.
    pub time_servers: Vec<Endpoint, TIME_SERVERS_MAX>,
    /// Milliseconds between two samples.
    pub sample_period_ms: u32,
    /// Milliseconds between two reports.
    pub report_period_ms: u32,
}

impl Draft {
    /// The defaults for a device that is to reach `host` and the given time server.
    pub fn new(id: DeviceId, host: &str, time_server: &str) -> Result<Self, ConfigurationError> {
        let mut time_servers = Vec::new();
        // One entry always fits into four.
        let _fits = time_servers.push(Endpoint::parse(time_server, SNTP_PORT, "time_servers")?);
        Ok(Self {
            number: NUMBER.default,
            id,
            host: check_host(host, "host")?,
            port: PORT.default,
            keep_alive_s: KEEP_ALIVE.default,
            time_servers,
            sample_period_ms: SAMPLE_PERIOD.default,
            report_period_ms: REPORT_PERIOD.default,
        })
    }

    /// Checks every field and what ties them together.
    pub fn check(self) -> Result<Configuration, ConfigurationError> {
        NUMBER.check(self.number.into())?;
        PORT.check(self.port.into())?;
        KEEP_ALIVE.check(self.keep_alive_s.into())?;
        SAMPLE_PERIOD.check(self.sample_period_ms.into())?;
        REPORT_PERIOD.check(self.report_period_ms.into())?;
        check_host(&self.host, "host")?;
        for server in &self.time_servers {
            check_host(&server.host, "time_servers")?;
        }
        if self.time_servers.is_empty() {
            return Err(ConfigurationError::TimeServers(0));
        }
        if self.report_period_ms < self.sample_period_ms {
            return Err(ConfigurationError::ReportsOftenerThanSamples {
                report: self.report_period_ms,
                sample: self.sample_period_ms,
            });
        }
        Ok(Configuration(self))
    }
}

impl Configuration {
    /// The service's host and port.
    pub fn service(&self) -> (&str, u16) {
        // PORT keeps it within 16 bits.
        (&self.0.host, self.0.port as u16)
    }

    /// A copy to change and check again.
    pub fn draft(&self) -> Draft {
        self.0.clone()
    }

    /// Writes the document into `buffer` ([`CONFIGURATION_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(&self.0, buffer)
    }

    /// Reads and checks a document of at most [`CONFIGURATION_BYTES_MAX`] bytes. Every field must be there, once; a field
    /// that the schema does not know is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        if bytes.len() > CONFIGURATION_BYTES_MAX {
            return Err(ConfigurationError::TooLong { len: bytes.len() });
        }
        let mut reader = serde_json_core::de::Deserializer::new(bytes, None);
        let mut fault = None;
        let read = reader.deserialize_map(RawVisitor { fault: &mut fault }).and_then(|raw| reader.end().map(|_| raw));
        match (fault, read) {
            (Some((field, fault)), _) => Err(ConfigurationError::Field { field, fault }),
            (None, Err(error)) => Err(ConfigurationError::Syntax(error)),
            (None, Ok(raw)) => raw.check(),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::<{ Self::MAX_LEN }>::new();
        write!(text, "{self}").map_err(|_| serde::ser::Error::custom("time server"))?;
        serializer.serialize_str(&text)
    }
}

impl Serialize for Draft {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Configuration", 9)?;
        object.serialize_field("v", &PROTOCOL_VERSION)?;
        object.serialize_field("number", &self.number)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("host", &self.host)?;
        object.serialize_field("port", &self.port)?;
        object.serialize_field("keep_alive_s", &self.keep_alive_s)?;
        object.serialize_field("time_servers", &self.time_servers)?;
        object.serialize_field("sample_period_ms", &self.sample_period_ms)?;
        object.serialize_field("report_period_ms", &self.report_period_ms)?;
        object.end()
    }
}

/// The document as it was read: right in form, not yet in content.
struct Raw<'a> {
    v: u32,
    number: u64,
    id: &'a str,
    host: &'a str,
    port: u64,
    keep_alive_s: u64,
    time_servers: Vec<&'a str, { TIME_SERVERS_MAX + 1 }>,
    sample_period_ms: u64,
    report_period_ms: u64,
}

impl Raw<'_> {
    fn check(self) -> Result<Configuration, ConfigurationError> {
        if self.v != u32::from(PROTOCOL_VERSION) {
            return Err(ConfigurationError::Version(self.v));
        }
        let mut time_servers = Vec::new();
        for text in &self.time_servers {
            let server = Endpoint::parse(text, SNTP_PORT, "time_servers")?;
            time_servers.push(server).map_err(|_| ConfigurationError::TimeServers(self.time_servers.len()))?;
        }
        Draft {
            number: NUMBER.check(self.number)?,
            id: DeviceId::new(self.id).map_err(ConfigurationError::BadId)?,
            host: check_host(self.host, "host")?,
            port: PORT.check(self.port)?,
            keep_alive_s: KEEP_ALIVE.check(self.keep_alive_s)?,
            time_servers,
            sample_period_ms: SAMPLE_PERIOD.check(self.sample_period_ms)?,
            report_period_ms: REPORT_PERIOD.check(self.report_period_ms)?,
        }
        .check()
    }
}

/// Reads a [`Raw`]; what is wrong with a field goes into `fault`, because an error of `serde-json-core` cannot say it.
struct RawVisitor<'f> {
    fault: &'f mut Option<(FieldName, FieldFault)>,
}

impl RawVisitor<'_> {
    fn refuse<E: serde::de::Error>(&mut self, name: &str, fault: FieldFault) -> E {
        *self.fault = Some((name.chars().take(FIELD_NAME_MAX).collect(), fault));
        E::custom("field")
    }

    /// Reads one field's value into its place.
    fn field<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
        &mut self,
        map: &mut A,
        name: &str,
        place: &mut Option<T>,
    ) -> Result<(), A::Error> {
        let value = map.next_value().map_err(|_| self.refuse(name, FieldFault::WrongType))?;
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.refuse(name, FieldFault::Twice)),
        }
    }

    fn present<T, E: serde::de::Error>(&mut self, name: &str, place: Option<T>) -> Result<T, E> {
        place.ok_or_else(|| self.refuse(name, FieldFault::Missing))
    }
}

impl<'de> Visitor<'de> for RawVisitor<'_> {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Raw<'de>, A::Error> {
        let (mut v, mut number, mut id, mut host, mut port) = (None, None, None, None, None);
        let (mut keep_alive_s, mut time_servers, mut sample_period_ms, mut report_period_ms) =
            (None, None, None, None);
        let mut last = None;
        loop {
            let name = match (map.next_key::<&str>(), last) {
                (Ok(Some(name)), _) => name,
                (Ok(None), _) => break,
                (Err(_), Some(last)) => return Err(self.refuse(last, FieldFault::BadEnd)),
                (Err(error), None) => return Err(error),
            };
            match name {
                "v" => self.field(&mut map, name, &mut v)?,
                "number" => self.field(&mut map, name, &mut number)?,
                "id" => self.field(&mut map, name, &mut id)?,
                "host" => self.field(&mut map, name, &mut host)?,
                "port" => self.field(&mut map, name, &mut port)?,
                "keep_alive_s" => self.field(&mut map, name, &mut keep_alive_s)?,
                "time_servers" => self.field(&mut map, name, &mut time_servers)?,
                "sample_period_ms" => self.field(&mut map, name, &mut sample_period_ms)?,
                "report_period_ms" => self.field(&mut map, name, &mut report_period_ms)?,
                other => return Err(self.refuse(other, FieldFault::Unknown)),
            }
            last = Some(name);
        }
        Ok(Raw {
            v: self.present("v", v)?,
            number: self.present("number", number)?,
            id: self.present("id", id)?,
            host: self.present("host", host)?,
            port: self.present("port", port)?,
            keep_alive_s: self.present("keep_alive_s", keep_alive_s)?,
            time_servers: self.present("time_servers", time_servers)?,
            sample_period_ms: self.present("sample_period_ms", sample_period_ms)?,
            report_period_ms: self.present("report_period_ms", report_period_ms)?,
        })
    }
}

#[cfg(test)]
mod tests;
