//! The configuration of a device: the document, its defaults and the bounds of every field. Owns the schema, never
//! where it is stored or whether it is in force. R-CONF.
//!
//! ```json
//! {"v":2,"number":1,"id":"dev-1","host":"broker.example","port":8883,"keep_alive_s":60,"auth":"certificate",
//!  "time_servers":["time.example","10.0.0.1:1123"],"sample_period_ms":10000,"report_period_ms":60000,
//!  "update_start_min":0,"update_length_min":1440,"update_deadline_h":168,"update_spread_s":600,
//!  "dead_band_centi_c":0,"dead_band_centi_percent":0,"dead_band_pa":0,"alarm_low_centi_c":-4000,
//!  "alarm_high_centi_c":8500,"alarm_hysteresis_centi_c":50,"alarm_low_centi_percent":0,
//!  "alarm_high_centi_percent":10000,"alarm_hysteresis_centi_percent":200,"alarm_low_pa":30000,
//!  "alarm_high_pa":110000,"alarm_hysteresis_pa":100,"log_level":"info"}
//! ```

mod change;
mod dependencies;
mod error;
mod field;
mod reader;
mod schema;
mod state;
mod value;

use crate::DeviceId;
use crate::endpoint::check_host;
pub use crate::endpoint::{Endpoint, HOST_MAX, Host, HostError};
use crate::json::{self, EncodeError};
use crate::reason::named;
pub use change::{Change, merge};
use core::fmt;
pub use dependencies::{THRESHOLDS, Thresholds};
pub use error::{ConfigurationError, FIELD_NAME_MAX, FieldFault, FieldName};
pub use field::{Bound, Field, Text};
use heapless::Vec;
pub use reader::Head;
use reader::{Form, Read};
pub use schema::*;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
pub use state::{
    CONFIGURATION_STATE_BYTES_MAX, ConfigurationState, InForce, REFUSAL_TEXT_MAX, RefusalText, Refused, cut,
};

/// The version of the schema that is written. Older ones are read: what came later takes its default.
pub const CONFIGURATION_VERSION: u8 = 2;

/// Longest configuration in bytes: four time servers of full length, the host, and the rest below 1000.
pub const CONFIGURATION_BYTES_MAX: usize = 1_400;

/// Most time servers: RFC 5905 wants at least four to outvote a wrong one; more cost RAM and bring nothing.
pub const TIME_SERVERS_MAX: usize = 4;

/// The port of SNTP where a time server names none (RFC 4330).
pub const SNTP_PORT: u16 = 123;

named! {
    /// What a device proves itself with to the service. R-TLS-CLIENT.
    Authentication {
        Certificate = "certificate", "a TLS client certificate";
        Token = "token", "a token signed with its identity key, in the password of MQTT's CONNECT";
    }
}

named! {
    /// How important a note is, the most important first.
    LogLevel {
        Error = "error", "something does not work";
        Warning = "warning", "something is not as it should be";
        Info = "info", "something happened that is as it should be";
    }
}

impl LogLevel {
    /// True where a note of `level` is written at this level.
    pub const fn covers(self, level: Self) -> bool {
        level as u8 <= self as u8
    }
}

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

impl Draft {
    /// The defaults for a device that is to reach `host` and the given time server.
    pub fn new(id: DeviceId, host: &str, time_server: &str) -> Result<Self, ConfigurationError> {
        let host = check_host(host, HOST.field)?;
        let mut time_servers = Vec::new();
        // One entry always fits into four.
        let _fits = time_servers.push(Endpoint::parse(time_server, SNTP_PORT, TIME_SERVERS.field)?);
        let values = Values { host: Some(host), time_servers: Some(time_servers), ..Values::default() };
        // All others came after version 0, and so have a default.
        values.complete(0, NUMBER.default as u32, id).map_err(missing)
    }

    /// Checks every field and what ties them together.
    pub fn check(self) -> Result<Configuration, ConfigurationError> {
        NUMBER.check(self.number.into())?;
        self.check_fields()?;
        dependencies::check(|bound| self.get(bound))?;
        Ok(Configuration(self))
    }
}

/// Our own names are shorter than [`FIELD_NAME_MAX`].
fn missing(field: &'static str) -> ConfigurationError {
    let field = FieldName::try_from(field).unwrap_or_default();
    ConfigurationError::Field { field, fault: FieldFault::Missing }
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
        json::encode(self, buffer)
    }

    /// Reads and checks a document of at most [`CONFIGURATION_BYTES_MAX`] bytes. Every field of the document's version of the
    /// schema must be there, once; a field that this version does not know is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        Self::from_read(reader::read(bytes, Form::Whole)?)
    }

    fn from_read(read: Read) -> Result<Self, ConfigurationError> {
        let id = read.id.ok_or_else(|| missing("id"))?;
        read.values.complete(read.v, read.number, id).map_err(missing)?.check()
    }
}

impl Serialize for Configuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Configuration", 3 + FIELDS.len())?;
        object.serialize_field("v", &CONFIGURATION_VERSION)?;
        object.serialize_field("number", &self.0.number)?;
        object.serialize_field("id", &self.0.id)?;
        self.0.write(&mut object)?;
        object.end()
    }
}

#[cfg(test)]
mod tests;
