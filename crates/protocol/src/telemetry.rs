//! Samples on their way to the service. Owns their units, their bounds and their compact JSON form; measures nothing.
//! R-DATA-INTACT.
//!
//! A batch carries samples with consecutive sequence numbers of one boot:
//!
//! ```json
//! {"v":1,"boot":7,"seq":100,"t":1790000000000,"lost":0,"s":[[0,2150,4512,101325],[1000,null,"no_answer"]]}
//! ```
//!
//! `seq` and `t` (milliseconds since 1970, or `null` where the device had no time in that boot) belong to the first
//! sample. Each sample starts with its milliseconds after `t`; then 0.01 °C, 0.01 % relative humidity and Pa, or
//! `null` and the name of a fault, so that a fault can never be read as a value. `lost` counts the samples of this boot
//! that the device had to drop before `seq`.

use crate::json::{self, DecodeError, EncodeError, check_version};
use crate::reason::named;
use crate::{EpochMillis, PROTOCOL_VERSION};
use core::fmt;
use heapless::Vec;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most samples in one batch. 32 of them stay below 1 KiB in all but the worst case: one TLS record, one Ethernet
/// frame for typical values, and the RAM for it is needed once.
pub const BATCH_SAMPLES_MAX: usize = 32;

/// Longest batch in bytes: see the test that fills it.
pub const BATCH_BYTES_MAX: usize = 1_152;

/// Temperature range of a BME280 in 0.01 °C (datasheet, table 1).
pub const TEMPERATURE_CENTI_C: core::ops::RangeInclusive<i16> = -4_000..=8_500;
/// Relative humidity range in 0.01 %.
pub const HUMIDITY_CENTI_PERCENT: core::ops::RangeInclusive<u16> = 0..=10_000;
/// Pressure range of a BME280 in Pa.
pub const PRESSURE_PA: core::ops::RangeInclusive<u32> = 30_000..=110_000;

named! {
    /// Why there is no value.
    SensorFault {
        NotReady = "not_ready", "the sensor was not found at start";
        NoAnswer = "no_answer", "the sensor did not answer on its bus";
        BadData = "bad_data", "the sensor's answer made no sense";
        OutOfRange = "out_of_range", "the value lies outside what the sensor can measure";
    }
}

/// One measurement, each value inside the sensor's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    temperature: i16,
    humidity: u16,
    pressure: u32,
}

impl Measurement {
    /// Takes a temperature in 0.01 °C, a relative humidity in 0.01 % and a pressure in Pa.
    /// A value outside the sensor's range is [`SensorFault::OutOfRange`].
    pub fn new(temperature: i32, humidity: u32, pressure: u32) -> Result<Self, SensorFault> {
        match (i16::try_from(temperature), u16::try_from(humidity)) {
            (Ok(temperature), Ok(humidity))
                if TEMPERATURE_CENTI_C.contains(&temperature)
                    && HUMIDITY_CENTI_PERCENT.contains(&humidity)
                    && PRESSURE_PA.contains(&pressure) =>
            {
                Ok(Self { temperature, humidity, pressure })
            }
            _ => Err(SensorFault::OutOfRange),
        }
    }

    /// Temperature in 0.01 °C.
    pub const fn temperature_centi_c(self) -> i16 {
        self.temperature
    }

    /// Relative humidity in 0.01 %.
    pub const fn humidity_centi_percent(self) -> u16 {
        self.humidity
    }

    /// Pressure in Pa.
    pub const fn pressure_pa(self) -> u32 {
        self.pressure
    }
}

/// One sample in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds after the first sample of the batch.
    pub after_ms: u32,
    /// What was measured, or why nothing was.
    pub reading: Result<Measurement, SensorFault>,
}

/// Consecutive samples of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of the boot that measured them; grows by one with each start.
    pub boot: u32,
    /// Sequence number of the first sample; counts from 0 within a boot.
    pub seq: u32,
    /// When the first sample was taken; `None` where the device had no time in that boot.
    pub time: Option<EpochMillis>,
    /// Samples of this boot that were dropped before `seq`.
    pub lost: u32,
    /// The samples, at least one.
    pub samples: Vec<Sample, BATCH_SAMPLES_MAX>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<S> {
    v: u8,
    boot: u32,
    seq: u32,
    #[serde(deserialize_with = "json::nullable")]
    t: Option<EpochMillis>,
    lost: u32,
    s: Vec<S, BATCH_SAMPLES_MAX>,
}

impl Batch {
    /// Writes the batch as JSON into `buffer` ([`BATCH_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        let wire = Wire {
            v: PROTOCOL_VERSION,
            boot: self.boot,
            seq: self.seq,
            t: self.time,
            lost: self.lost,
            s: self.samples.clone(),
        };
        json::encode(&wire, buffer)
    }

    /// Reads a batch of at most [`BATCH_BYTES_MAX`] bytes. Refused: another version, no sample, a sequence that runs
    /// past `u32`, more lost samples than there were before, the first sample not at 0 ms, samples that go back in
    /// time, values outside the sensor's range.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire<RawSample> = json::decode(bytes, BATCH_BYTES_MAX)?;
        check_version(wire.v)?;
        let first = wire.s.first().ok_or(DecodeError::Inconsistent("a batch has at least one sample"))?;
        if first.after_ms != 0 {
            return Err(DecodeError::Inconsistent("the first sample of a batch is at 0 ms"));
        }
        if wire.seq.checked_add(wire.s.len() as u32).is_none() {
            return Err(DecodeError::Inconsistent("the sequence numbers of a batch end below 4294967295"));
        }
        if wire.lost > wire.seq {
            return Err(DecodeError::Inconsistent(
                "no more samples can be lost than there were before the batch",
            ));
        }
        if !wire.s.is_sorted_by_key(|sample| sample.after_ms) {
            return Err(DecodeError::Inconsistent("the samples of a batch are in order of time"));
        }
        let samples = wire.s.into_iter().map(RawSample::check).collect::<Result<_, _>>()?;
        Ok(Self { boot: wire.boot, seq: wire.seq, time: wire.t, lost: wire.lost, samples })
    }

    /// Each sample with its sequence number and time.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = (u32, Option<EpochMillis>, Result<Measurement, SensorFault>)> + '_ {
        (self.seq..=u32::MAX).zip(&self.samples).map(|(seq, sample)| {
            (seq, self.time.map(|t| t.offset(i64::from(sample.after_ms))), sample.reading)
        })
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.reading {
            Ok(m) => {
                let mut tuple = serializer.serialize_tuple(4)?;
                tuple.serialize_element(&self.after_ms)?;
                tuple.serialize_element(&m.temperature)?;
                tuple.serialize_element(&m.humidity)?;
                tuple.serialize_element(&m.pressure)?;
                tuple.end()
            }
            Err(fault) => {
                let mut tuple = serializer.serialize_tuple(3)?;
                tuple.serialize_element(&self.after_ms)?;
                tuple.serialize_element(&None::<i16>)?;
                tuple.serialize_element(&fault)?;
                tuple.end()
            }
        }
    }
}

/// A sample as it was read: right in form, its values not yet held to the sensor's range.
struct RawSample {
    after_ms: u32,
    reading: Result<(i32, u32, u32), SensorFault>,
}

impl RawSample {
    fn check(self) -> Result<Sample, DecodeError> {
        let reading = match self.reading {
            Ok((temperature, humidity, pressure)) => Ok(Measurement::new(temperature, humidity, pressure)
                .map_err(|_| {
                    DecodeError::Inconsistent("a value lies outside what the sensor can measure")
                })?),
            Err(fault) => Err(fault),
        };
        Ok(Sample { after_ms: self.after_ms, reading })
    }
}

impl<'de> Deserialize<'de> for RawSample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SampleVisitor)
    }
}

struct SampleVisitor;

impl<'de> Visitor<'de> for SampleVisitor {
    type Value = RawSample;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[ms, temperature, humidity, pressure] or [ms, null, fault]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawSample, A::Error> {
        let short = || A::Error::custom("a sample has 4 values, or 3 with a fault");
        let after_ms = seq.next_element()?.ok_or_else(short)?;
        let temperature: Option<i32> = seq.next_element()?.ok_or_else(short)?;
        let reading = match temperature {
            Some(temperature) => {
                let humidity = seq.next_element()?.ok_or_else(short)?;
                let pressure = seq.next_element()?.ok_or_else(short)?;
                Ok((temperature, humidity, pressure))
            }
            None => Err(seq.next_element()?.ok_or_else(short)?),
        };
        match seq.next_element::<u32>()? {
            None => Ok(RawSample { after_ms, reading }),
            Some(_) => Err(short()),
        }
    }
}

#[cfg(test)]
mod tests;
