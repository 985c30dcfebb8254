//! The fields of a configuration in one table: name, type, unit, range, default, why, and since which version. Everything
//! that must know of every field is made from it: the structs, the reader, the writer, the checks, and the table in
//! docs/configuration.md. R-CONF.

use super::field::{Bound, Field, Text};
use super::reader::Reader;
use super::value::Value;
use super::{Authentication, ConfigurationError, LogLevel, TIME_SERVERS_MAX};
use crate::{DeviceId, Endpoint, endpoint::Host};
use heapless::Vec;
use serde::de::MapAccess;
use serde::ser::SerializeStruct;

macro_rules! schema {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $about:ident,
        $kind:ident { $($key:ident: $value:expr),+ $(,)? }
    )+) => {
        $(
            #[doc = concat!("What [`Draft::", stringify!($name), "`] may be.")]
            pub static $about: $kind = $kind { field: stringify!($name), $($key: $value),+ };
        )+

        /// Every field but `v`, `number` and whom it is for, in order of the document.
        pub static FIELDS: &[Field] = &[$(Field::$kind(&$about)),+];

        /// A configuration whose fields are not checked yet.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Draft {
            /// Grows with every change.
            pub number: u32,
            /// The device's identity: client identifier, topic prefix and certificate name.
            pub id: DeviceId,
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        /// Some fields of a configuration, each inside its bounds.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(super) struct Values {
            $(pub(super) $name: Option<$type>,)+
        }

        impl Draft {
            /// Checks every field by itself.
            pub(super) fn check_fields(&self) -> Result<(), ConfigurationError> {
                $(self.$name.check(&$about)?;)+
                Ok(())
            }

            /// The value of a number; `None` where `bound` is none of a field.
            pub fn get(&self, bound: &Bound) -> Option<i64> {
                $(if bound.field == $about.field {
                    return self.$name.number();
                })+
                None
            }

            pub(super) fn write<S: SerializeStruct>(&self, object: &mut S) -> Result<(), S::Error> {
                $(object.serialize_field($about.field, &self.$name)?;)+
                Ok(())
            }

            /// Puts `values` over its own.
            pub(super) fn put(&mut self, values: &Values) {
                $(if let Some(value) = &values.$name {
                    self.$name.clone_from(value);
                })+
            }
        }

        impl Values {
            /// The value of a number that is there.
            pub(super) fn get(&self, bound: &Bound) -> Option<i64> {
                $(if bound.field == $about.field {
                    return self.$name.as_ref().and_then(Value::number);
                })+
                None
            }

            /// The fields that are there.
            pub(super) fn named(&self) -> impl Iterator<Item = Field> {
                let there = [$((Field::$kind(&$about), self.$name.is_some())),+];
                there.into_iter().filter_map(|(field, there)| there.then_some(field))
            }

            pub(super) fn write<S: SerializeStruct>(&self, object: &mut S) -> Result<(), S::Error> {
                $(if let Some(value) = &self.$name {
                    object.serialize_field($about.field, value)?;
                })+
                Ok(())
            }

            /// Reads the value of the field `name`; false where there is no such field.
            pub(super) fn read<'de, A: MapAccess<'de>>(
                &mut self,
                reader: &mut Reader<'_, '_>,
                map: &mut A,
                name: &'de str,
            ) -> Result<bool, A::Error> {
                $(if name == $about.field {
                    return reader.value(map, name, &$about, &mut self.$name).map(|()| true);
                })+
                Ok(false)
            }

            /// A whole configuration: a field that is not there takes its default where it came after version `v` of the
            /// schema; else the error is its name.
            pub(super) fn complete(self, v: u8, number: u32, id: DeviceId) -> Result<Draft, &'static str> {
                Ok(Draft {
                    number,
                    id,
                    $($name: match self.$name {
                        Some(value) => value,
                        None if $about.since > v => <$type>::default_of(&$about).ok_or($about.field)?,
                        None => return Err($about.field),
                    },)+
                })
            }
        }
    };
}

/// Bound of [`Draft::number`], and of a change's.
pub static NUMBER: Bound = Bound {
    field: "number",
    unit: "",
    min: 1,
    max: u32::MAX as i64,
    default: 1,
    since: 1,
    reason: "grows with every change, so that an old document can be told from a new one",
};

schema! {
    /// The service's host name, as in its certificate.
    host: Host = HOST, Text {
        allowed: "up to 64 characters after RFC 1123: letters, digits, `-` and `.`, or an IPv4 address",
        default: "",
        since: 1,
        reason: "the name that the service's certificate must be for; DNS allows 253 characters, for names that we \
                 choose 64 are enough",
    }
    /// The service's TCP port.
    port: u32 = PORT, Bound {
        unit: "",
        min: 1,
        max: 65_535,
        default: 8_883,
        since: 1,
        reason: "8883 is IANA's port for MQTT over TLS",
    }
    /// MQTT keep-alive in seconds.
    keep_alive_s: u32 = KEEP_ALIVE, Bound {
        unit: "s",
        min: 5,
        max: 1_200,
        default: 60,
        since: 1,
        reason: "NAT tables forget idle TCP connections after minutes; AWS IoT Core allows at most 1200 s",
    }
    /// What the device proves itself with to the service.
    auth: Authentication = AUTH, Text {
        allowed: "`certificate` or `token`",
        default: "certificate",
        since: 1,
        reason: "a broker checks a client certificate by itself; a token is for services that take no client certificates",
    }
    /// Time servers in the order in which they are asked.
    time_servers: Vec<Endpoint, TIME_SERVERS_MAX> = TIME_SERVERS, Text {
        allowed: "a list of 1 to 4 different `host` or `host:port`, 123 where no port is given",
        default: "",
        since: 1,
        reason: "RFC 5905 wants at least four to outvote a wrong one; more cost RAM and bring nothing",
    }
    /// Milliseconds between two samples.
    sample_period_ms: u32 = SAMPLE_PERIOD, Bound {
        unit: "ms",
        min: 50,
        max: 86_400_000,
        default: 10_000,
        since: 1,
        reason: "a BME280 needs up to 46 ms for one forced measurement of all three values",
    }
    /// Milliseconds between two reports.
    report_period_ms: u32 = REPORT_PERIOD, Bound {
        unit: "ms",
        min: 50,
        max: 86_400_000,
        default: 60_000,
        since: 1,
        reason: "not below the sampling period; larger batches cost fewer bytes per sample",
    }
    /// When updates may begin: minutes after midnight UTC.
    update_start_min: u32 = UPDATE_START, Bound {
        unit: "min",
        min: 0,
        max: 1_439,
        default: 0,
        since: 1,
        reason: "minutes after midnight UTC at which updates may begin to be fetched and installed",
    }
    /// For how many minutes from then.
    update_length_min: u32 = UPDATE_LENGTH, Bound {
        unit: "min",
        min: 1,
        max: 1_440,
        default: 1_440,
        since: 1,
        reason: "how long the window is; 1440 is always",
    }
    /// Hours after which an update waits for no window any more.
    update_deadline_h: u32 = UPDATE_DEADLINE, Bound {
        unit: "h",
        min: 1,
        max: 8_760,
        default: 168,
        since: 1,
        reason: "after this long an update waits for no window any more: a known hole is open no longer than a week",
    }
    /// Seconds over which the devices of a fleet spread.
    update_spread_s: u32 = UPDATE_SPREAD, Bound {
        unit: "s",
        min: 0,
        max: 86_400,
        default: 600,
        since: 1,
        reason: "each device waits a random part of it, so that a fleet does not come at once",
    }
    /// By how much the temperature must have moved for a sample to be kept, in 0.01 °C.
    dead_band_centi_c: u32 = DEAD_BAND_CENTI_C, Bound {
        unit: "hundredths of °C",
        min: 0,
        max: 12_500,
        default: 0,
        since: 2,
        reason: "0 keeps every sample; a BME280 spans -40 to 85 °C, and a wider band would never be left",
    }
    /// By how much the relative humidity must have moved for a sample to be kept, in 0.01 %.
    dead_band_centi_percent: u32 = DEAD_BAND_CENTI_PERCENT, Bound {
        unit: "hundredths of %",
        min: 0,
        max: 10_000,
        default: 0,
        since: 2,
        reason: "0 keeps every sample; relative humidity spans 0 to 100 %",
    }
    /// By how much the pressure must have moved for a sample to be kept, in Pa.
    dead_band_pa: u32 = DEAD_BAND_PA, Bound {
        unit: "Pa",
        min: 0,
        max: 80_000,
        default: 0,
        since: 2,
        reason: "0 keeps every sample; a BME280 spans 30000 to 110000 Pa",
    }
    /// A temperature below this is an alarm, in 0.01 °C.
    alarm_low_centi_c: i32 = ALARM_LOW_CENTI_C, Bound {
        unit: "hundredths of °C",
        min: -4_000,
        max: 8_500,
        default: -4_000,
        since: 2,
        reason: "the range of a BME280; at its lower end there is never an alarm",
    }
    /// A temperature above this is an alarm, in 0.01 °C.
    alarm_high_centi_c: i32 = ALARM_HIGH_CENTI_C, Bound {
        unit: "hundredths of °C",
        min: -4_000,
        max: 8_500,
        default: 8_500,
        since: 2,
        reason: "the range of a BME280; at its upper end there is never an alarm",
    }
    /// How far inside the thresholds the temperature must be for an alarm to end, in 0.01 °C.
    alarm_hysteresis_centi_c: u32 = ALARM_HYSTERESIS_CENTI_C, Bound {
        unit: "hundredths of °C",
        min: 0,
        max: 2_000,
        default: 50,
        since: 2,
        reason: "an alarm ends this far inside its threshold: noise at the threshold makes one alarm, not hundreds",
    }
    /// A relative humidity below this is an alarm, in 0.01 %.
    alarm_low_centi_percent: u32 = ALARM_LOW_CENTI_PERCENT, Bound {
        unit: "hundredths of %",
        min: 0,
        max: 10_000,
        default: 0,
        since: 2,
        reason: "all of relative humidity; at 0 there is never an alarm",
    }
    /// A relative humidity above this is an alarm, in 0.01 %.
    alarm_high_centi_percent: u32 = ALARM_HIGH_CENTI_PERCENT, Bound {
        unit: "hundredths of %",
        min: 0,
        max: 10_000,
        default: 10_000,
        since: 2,
        reason: "all of relative humidity; at 100 % there is never an alarm",
    }
    /// How far inside the thresholds the relative humidity must be for an alarm to end, in 0.01 %.
    alarm_hysteresis_centi_percent: u32 = ALARM_HYSTERESIS_CENTI_PERCENT, Bound {
        unit: "hundredths of %",
        min: 0,
        max: 2_000,
        default: 200,
        since: 2,
        reason: "as for the temperature; a BME280's own hysteresis is 1 %",
    }
    /// A pressure below this is an alarm, in Pa.
    alarm_low_pa: u32 = ALARM_LOW_PA, Bound {
        unit: "Pa",
        min: 30_000,
        max: 110_000,
        default: 30_000,
        since: 2,
        reason: "the range of a BME280; at its lower end there is never an alarm",
    }
    /// A pressure above this is an alarm, in Pa.
    alarm_high_pa: u32 = ALARM_HIGH_PA, Bound {
        unit: "Pa",
        min: 30_000,
        max: 110_000,
        default: 110_000,
        since: 2,
        reason: "the range of a BME280; at its upper end there is never an alarm",
    }
    /// How far inside the thresholds the pressure must be for an alarm to end, in Pa.
    alarm_hysteresis_pa: u32 = ALARM_HYSTERESIS_PA, Bound {
        unit: "Pa",
        min: 0,
        max: 10_000,
        default: 100,
        since: 2,
        reason: "as for the temperature; 100 Pa are what weather does in an hour",
    }
    /// The least important notes that are written to the device's own log.
    log_level: LogLevel = LOG_LEVEL, Text {
        allowed: "`error`, `warning` or `info`",
        default: "info",
        since: 2,
        reason: "notes on the console, which cost time on a slow line; the security log has every event at any level",
    }
}
