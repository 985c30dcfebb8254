//! The configuration of a device: the document, its defaults and the bounds of every field. Owns the schema, never
//! where it is stored or whether it is in force. R-CONF.
//!
//! ```json
//! {"v":1,"number":1,"id":"dev-1","host":"broker.example","port":8883,"keep_alive_s":60,"auth":"certificate",
//!  "time_servers":["time.example","10.0.0.1:1123"],"sample_period_ms":10000,"report_period_ms":60000,
//!  "update_start_min":0,"update_length_min":1440,"update_deadline_h":168,"update_spread_s":600}
//! ```

mod raw;

use crate::endpoint::check_host;
pub use crate::endpoint::{Endpoint, HOST_MAX, Host, HostError};
use crate::json::{self, EncodeError};
use crate::reason::named;
use crate::{DeviceId, DeviceIdError, PROTOCOL_VERSION};
use core::fmt;
use heapless::{String, Vec};
use raw::RawVisitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest configuration in bytes: four time servers of full length, the host, and the rest below 400.
pub const CONFIGURATION_BYTES_MAX: usize = 768;

/// Most time servers: RFC 5905 wants at least four to outvote a wrong one; more cost RAM and bring nothing.
pub const TIME_SERVERS_MAX: usize = 4;

/// The port of SNTP where a time server names none (RFC 4330).
pub const SNTP_PORT: u16 = 123;

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

/// Bound of [`Draft::port`].
pub static PORT: Bound = Bound {
    field: "port",
    unit: "",
    min: 1,
    max: 65_535,
    default: 8_883,
    reason: "8883 is IANA's port for MQTT over TLS",
};
/// Bound of [`Draft::keep_alive_s`].
pub static KEEP_ALIVE: Bound = Bound {
    field: "keep_alive_s",
    unit: "s",
    min: 5,
    max: 1_200,
    default: 60,
    reason: "NAT tables forget idle TCP connections after minutes; AWS IoT Core allows at most 1200 s",
};
/// Bound of [`Draft::sample_period_ms`].
pub static SAMPLE_PERIOD: Bound = Bound {
    field: "sample_period_ms",
    unit: "ms",
    min: 50,
    max: 86_400_000,
    default: 10_000,
    reason: "a BME280 needs up to 46 ms for one forced measurement of all three values",
};
/// Bound of [`Draft::report_period_ms`].
pub static REPORT_PERIOD: Bound = Bound {
    field: "report_period_ms",
    unit: "ms",
    min: 50,
    max: 86_400_000,
    default: 60_000,
    reason: "not below the sampling period; larger batches cost fewer bytes per sample",
};
/// Bound of [`Draft::number`].
pub static NUMBER: Bound = Bound {
    field: "number",
    unit: "",
    min: 1,
    max: u32::MAX,
    default: 1,
    reason: "grows with every change, so that an old document can be told from a new one",
};
/// Bound of [`Draft::update_start_min`].
pub static UPDATE_START: Bound = Bound {
    field: "update_start_min",
    unit: "min",
    min: 0,
    max: 1_439,
    default: 0,
    reason: "minutes after midnight UTC at which updates may begin to be fetched and installed",
};
/// Bound of [`Draft::update_length_min`].
pub static UPDATE_LENGTH: Bound = Bound {
    field: "update_length_min",
    unit: "min",
    min: 1,
    max: 1_440,
    default: 1_440,
    reason: "how long the window is; 1440 is always",
};
/// Bound of [`Draft::update_deadline_h`].
pub static UPDATE_DEADLINE: Bound = Bound {
    field: "update_deadline_h",
    unit: "h",
    min: 1,
    max: 8_760,
    default: 168,
    reason: "after this long an update waits for no window any more: a known hole is open no longer than a week",
};
/// Bound of [`Draft::update_spread_s`].
pub static UPDATE_SPREAD: Bound = Bound {
    field: "update_spread_s",
    unit: "s",
    min: 0,
    max: 86_400,
    default: 600,
    reason: "each device waits a random part of it, so that a fleet does not come at once",
};
/// Every bounded number, in order of the document.
pub static BOUNDS: [&Bound; 9] = [
    &NUMBER,
    &PORT,
    &KEEP_ALIVE,
    &SAMPLE_PERIOD,
    &REPORT_PERIOD,
    &UPDATE_START,
    &UPDATE_LENGTH,
    &UPDATE_DEADLINE,
    &UPDATE_SPREAD,
];

impl Bound {
    fn check(&'static self, value: u64) -> Result<u32, ConfigurationError> {
        match u32::try_from(value) {
            Ok(small) if (self.min..=self.max).contains(&small) => Ok(small),
            _ => Err(ConfigurationError::OutOfRange { bound: self, value }),
        }
    }
}

named! {
    /// What a device proves itself with to the service. R-TLS-CLIENT.
    Authentication {
        Certificate = "certificate", "a TLS client certificate";
        Token = "token", "a token signed with its identity key, in the password of MQTT's CONNECT";
    }
}

/// Longest field name in an error, in bytes.
pub const FIELD_NAME_MAX: usize = 40;

/// A field name in an error.
pub type FieldName = String<FIELD_NAME_MAX>;

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
        /// Its name, cut at [`FIELD_NAME_MAX`] bytes where it is not ours.
        field: FieldName,
        /// What is wrong with it.
        fault: FieldFault,
    },
    /// Another version of the schema.
    Version(u32),
    /// A number outside its range.
    OutOfRange {
        /// The field and its range.
        bound: &'static Bound,
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
    /// `auth` is no [`Authentication`].
    BadAuthentication,
    /// No time server, or more than [`TIME_SERVERS_MAX`].
    TimeServers(usize),
    /// A time server is there twice.
    SameTimeServer,
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
                FieldFault::BadEnd => {
                    write!(f, "something other than ',' or '}}' follows the value of {field}")
                }
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
            Self::BadPort { field } => {
                write!(f, "{field}: what follows the ':' must be a port from 1 to 65535")
            }
            Self::BadAuthentication => f.write_str("auth must be \"certificate\" or \"token\""),
            Self::TimeServers(n) => {
                write!(f, "time_servers has {n} entries; it must have from 1 to {TIME_SERVERS_MAX}")
            }
            Self::SameTimeServer => f.write_str("time_servers has the same server twice"),
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
    /// What the device proves itself with to the service.
    pub auth: Authentication,
    /// Time servers in the order in which they are asked.
    pub time_servers: Vec<Endpoint, TIME_SERVERS_MAX>,
    /// Milliseconds between two samples.
    pub sample_period_ms: u32,
    /// Milliseconds between two reports.
    pub report_period_ms: u32,
    /// When updates may begin: minutes after midnight UTC.
    pub update_start_min: u32,
    /// For how many minutes from then.
    pub update_length_min: u32,
    /// Hours after which an update waits for no window any more.
    pub update_deadline_h: u32,
    /// Seconds over which the devices of a fleet spread.
    pub update_spread_s: u32,
}

impl Draft {
    /// The defaults for a device that is to reach `host` and the given time server.
    pub fn new(id: DeviceId, host: &str, time_server: &str) -> Result<Self, ConfigurationError> {
        let host = check_host(host, "host")?;
        let mut time_servers = Vec::new();
        // One entry always fits into four.
        let _fits = time_servers.push(Endpoint::parse(time_server, SNTP_PORT, "time_servers")?);
        Ok(Self {
            number: NUMBER.default,
            id,
            host,
            port: PORT.default,
            keep_alive_s: KEEP_ALIVE.default,
            auth: Authentication::Certificate,
            time_servers,
            sample_period_ms: SAMPLE_PERIOD.default,
            report_period_ms: REPORT_PERIOD.default,
            update_start_min: UPDATE_START.default,
            update_length_min: UPDATE_LENGTH.default,
            update_deadline_h: UPDATE_DEADLINE.default,
            update_spread_s: UPDATE_SPREAD.default,
        })
    }

    /// Checks every field and what ties them together.
    pub fn check(self) -> Result<Configuration, ConfigurationError> {
        NUMBER.check(self.number.into())?;
        PORT.check(self.port.into())?;
        KEEP_ALIVE.check(self.keep_alive_s.into())?;
        SAMPLE_PERIOD.check(self.sample_period_ms.into())?;
        REPORT_PERIOD.check(self.report_period_ms.into())?;
        UPDATE_START.check(self.update_start_min.into())?;
        UPDATE_LENGTH.check(self.update_length_min.into())?;
        UPDATE_DEADLINE.check(self.update_deadline_h.into())?;
        UPDATE_SPREAD.check(self.update_spread_s.into())?;
        check_host(&self.host, "host")?;
        for (number, server) in self.time_servers.iter().enumerate() {
            check_host(&server.host, "time_servers")?;
            if server.port == 0 {
                return Err(ConfigurationError::BadPort { field: "time_servers" });
            }
            // A server that is there twice would be its own second opinion.
            let same =
                |other: &Endpoint| other.port == server.port && other.host.eq_ignore_ascii_case(&server.host);
            if self.time_servers.iter().take(number).any(same) {
                return Err(ConfigurationError::SameTimeServer);
            }
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

    /// Reads and checks a document of at most [`CONFIGURATION_BYTES_MAX`] bytes. Every field must be there, once; a
    /// field that the schema does not know is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        if bytes.len() > CONFIGURATION_BYTES_MAX {
            return Err(ConfigurationError::TooLong { len: bytes.len() });
        }
        if json::has_empty_element(bytes) {
            return Err(ConfigurationError::Syntax(serde_json_core::de::Error::ExpectedSomeValue));
        }
        let mut reader = serde_json_core::de::Deserializer::new(bytes, None);
        let mut fault = None;
        let read = reader
            .deserialize_map(RawVisitor { fault: &mut fault })
            .and_then(|raw| reader.end().map(|_| raw));
        match (fault, read) {
            (Some((field, fault)), _) => Err(ConfigurationError::Field { field, fault }),
            (None, Err(error)) => Err(ConfigurationError::Syntax(error)),
            (None, Ok(raw)) => raw.check(),
        }
    }
}

impl Serialize for Draft {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Configuration", 14)?;
        object.serialize_field("v", &PROTOCOL_VERSION)?;
        object.serialize_field("number", &self.number)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("host", &self.host)?;
        object.serialize_field("port", &self.port)?;
        object.serialize_field("keep_alive_s", &self.keep_alive_s)?;
        object.serialize_field("auth", &self.auth)?;
        object.serialize_field("time_servers", &self.time_servers)?;
        object.serialize_field("sample_period_ms", &self.sample_period_ms)?;
        object.serialize_field("report_period_ms", &self.report_period_ms)?;
        object.serialize_field("update_start_min", &self.update_start_min)?;
        object.serialize_field("update_length_min", &self.update_length_min)?;
        object.serialize_field("update_deadline_h", &self.update_deadline_h)?;
        object.serialize_field("update_spread_s", &self.update_spread_s)?;
        object.end()
    }
}

#[cfg(test)]
mod tests;
