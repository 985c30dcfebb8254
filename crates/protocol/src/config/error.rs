//! Why a document is no configuration. The texts are the same in the device and in the operator's tool. R-CONF.

use super::{Bound, CONFIGURATION_BYTES_MAX, CONFIGURATION_VERSION, TIME_SERVERS_MAX, Text, Thresholds};
use crate::endpoint::HostError;
use crate::{DeviceIdError, NameError};
use core::fmt;
use heapless::String;

/// Longest field name in an error, in bytes.
pub const FIELD_NAME_MAX: usize = 40;

/// A field name in an error.
pub type FieldName = String<FIELD_NAME_MAX>;

/// What is wrong with a field before its content is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFault {
    /// Its value is of another JSON type.
    WrongType,
    /// It is a number with a fraction or an exponent.
    NotWhole,
    /// It is a number beyond 64 bits.
    TooManyDigits,
    /// After its value the document does not go on as JSON.
    BadEnd,
    /// It is not there.
    Missing,
    /// It is there twice.
    Twice,
    /// The schema does not know it.
    Unknown,
    /// The version of the schema that the document names does not know it yet.
    Later {
        /// The document's version.
        v: u8,
        /// The first version that knows it.
        since: u8,
    },
}

/// Why a document is no configuration. The text names the field and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigurationError {
    /// More bytes than [`CONFIGURATION_BYTES_MAX`].
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// It begins with a byte order mark.
    ByteOrderMark,
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
    Version(i64),
    /// A number outside its range.
    OutOfRange {
        /// The field and its range.
        bound: &'static Bound,
        /// What was given.
        value: i64,
    },
    /// The device id is none.
    BadId(DeviceIdError),
    /// The group's name is none.
    BadGroup(NameError),
    /// A change that says neither for which device nor for which group it is.
    NoAudience,
    /// A change for a device and for a group.
    TwoAudiences,
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
    /// A text that is none of those that are allowed.
    BadChoice(&'static Text),
    /// No time server, or more than [`TIME_SERVERS_MAX`].
    TimeServers(usize),
    /// A time server is there twice.
    SameTimeServer,
    /// The reporting period is shorter than the sampling period.
    ReportsOftenerThanSamples {
        /// Reporting period in milliseconds.
        report: i64,
        /// Sampling period in milliseconds.
        sample: i64,
    },
    /// The thresholds of an alarm are so close together that no value would end it.
    ThresholdsTooClose {
        /// The fields.
        of: &'static Thresholds,
        /// Lower threshold.
        low: i64,
        /// Upper threshold.
        high: i64,
        /// Hysteresis.
        hysteresis: i64,
    },
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => {
                write!(f, "the configuration has {len} bytes; at most {CONFIGURATION_BYTES_MAX} are allowed")
            }
            Self::ByteOrderMark => {
                f.write_str("the configuration begins with a byte order mark: it must be UTF-8 without one")
            }
            Self::Syntax(error) => write!(f, "the configuration is no JSON object: {error}"),
            Self::Field { field, fault } => match fault {
                FieldFault::WrongType => write!(f, "{field} has a value of the wrong type"),
                FieldFault::NotWhole => {
                    write!(f, "{field} must be a whole number, without a fraction or an exponent")
                }
                FieldFault::TooManyDigits => write!(f, "{field} is a number with too many digits"),
                FieldFault::BadEnd => {
                    write!(f, "something other than ',' or '}}' follows the value of {field}")
                }
                FieldFault::Missing => write!(f, "{field} is missing"),
                FieldFault::Twice => write!(f, "{field} is there twice"),
                FieldFault::Unknown => write!(f, "{field} is no field of the configuration"),
                FieldFault::Later { v, since } => {
                    write!(
                        f,
                        "{field} is no field of version {v} of the configuration: it came with version {since}"
                    )
                }
            },
            Self::Version(v) => write!(
                f,
                "v is {v}; this program knows the versions 1 to {CONFIGURATION_VERSION} of the configuration"
            ),
            Self::OutOfRange { bound, value } => {
                write!(f, "{} is {value}; it must be from {} to {}", bound.field, bound.min, bound.max)?;
                if bound.unit.is_empty() { Ok(()) } else { write!(f, " {}", bound.unit) }
            }
            Self::BadId(error) => write!(f, "id: {error}"),
            Self::BadGroup(error) => write!(f, "group: {error}, and at least one"),
            Self::NoAudience => {
                f.write_str("id and group are missing: a change says for which device or which group it is")
            }
            Self::TwoAudiences => {
                f.write_str("id and group are both there: a change is for one device or for one group")
            }
            Self::BadHost { field, error } => write!(f, "{field} {error}"),
            Self::BadPort { field } => {
                write!(f, "{field}: what follows the ':' must be a port from 1 to 65535")
            }
            Self::BadChoice(text) => {
                write!(f, "{} must be ", text.field)?;
                text.allowed.chars().try_for_each(|c| write!(f, "{}", if c == '`' { '"' } else { c }))
            }
            Self::TimeServers(n) => {
                write!(f, "time_servers has {n} entries; it must have from 1 to {TIME_SERVERS_MAX}")
            }
            Self::SameTimeServer => f.write_str("time_servers has the same server twice"),
            Self::ReportsOftenerThanSamples { report, sample } => write!(
                f,
                "report_period_ms is {report}; it must not be below sample_period_ms, which is {sample}"
            ),
            Self::ThresholdsTooClose { of, low, high, hysteresis } => write!(
                f,
                "{} is {low}, {} {high}, {} {hysteresis}: low + hysteresis must not be above high - hysteresis",
                of.low.field, of.high.field, of.hysteresis.field
            ),
        }
    }
}

impl core::error::Error for ConfigurationError {}
