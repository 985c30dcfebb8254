//! How a device is, as it says itself: a retained message that replaces the one before.

use crate::identity_state::Life;
use crate::json::{self, DecodeError, EncodeError, check_version};
use crate::reason::named;
use crate::{EpochMillis, Failure, Name, PROTOCOL_VERSION, ResetCause};
use core::fmt;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Longest state in bytes.
pub const STATE_BYTES_MAX: usize = 768;

named! {
    /// How good the device's clock is.
    ClockQuality {
        Unset = "unset", "no time server has been heard since start";
        Synchronised = "synchronised", "set by a time server not long ago";
        Holdover = "holdover", "time servers do not answer; the clock runs on by itself";
    }
}

named! {
    /// A value that is beyond a threshold of the configuration.
    Alarm {
        TemperatureLow = "temperature_low", "the temperature is below its lower threshold";
        TemperatureHigh = "temperature_high", "the temperature is above its upper threshold";
        HumidityLow = "humidity_low", "the relative humidity is below its lower threshold";
        HumidityHigh = "humidity_high", "the relative humidity is above its upper threshold";
        PressureLow = "pressure_low", "the pressure is below its lower threshold";
        PressureHigh = "pressure_high", "the pressure is above its upper threshold";
    }
}

/// Most alarms at once: no value is both too low and too high.
pub const ALARMS_MAX: usize = 3;

/// How a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    v: u8,
    /// Version of the firmware.
    pub firmware: Name,
    /// Number of this boot.
    pub boot: u32,
    /// When this was said.
    #[serde(deserialize_with = "json::nullable")]
    pub t: Option<EpochMillis>,
    /// Seconds since start.
    pub uptime_s: u32,
    /// Where it is in its life.
    pub life: Life,
    /// Why it started.
    pub reset: ResetCause,
    /// Number of the device's own configuration in force: the factory's, or the last change for this device.
    pub config: u32,
    /// Number of its group's configuration in force; 0 where there is none.
    pub group_config: u32,
    /// How good the clock is.
    pub clock: ClockQuality,
    /// Bound of the clock's error in milliseconds.
    pub clock_error_ms: u32,
    /// Steps that the clock made since start, the first setting not counted.
    pub clock_steps: u32,
    /// Answers of time servers that were refused since start.
    pub time_refused: u32,
    /// Samples that wait for delivery.
    pub waiting: u32,
    /// Samples that can wait at most.
    pub capacity: u32,
    /// Samples dropped since start because too many waited.
    pub lost: u32,
    /// Samples lost since start because the device was busy with something else when they were due.
    pub missed: u32,
    /// Samples since start that were not kept because no value had left its dead-band.
    pub suppressed: u32,
    /// Samples since start that are a fault instead of a value.
    pub sensor_faults: u32,
    /// Values that are beyond a threshold now.
    pub alarms: Vec<Alarm, ALARMS_MAX>,
    /// Records of the security log that the operator has not acknowledged.
    pub log_waiting: u32,
    /// Connections made since start.
    pub connections: u32,
    /// Attempts to connect that failed since start.
    pub failures: u32,
    /// Why the last connection ended or failed.
    #[serde(deserialize_with = "json::nullable")]
    pub last_failure: Option<Failure>,
    /// Messages from the service that were refused since start.
    pub refused: u32,
    /// Failed reads and writes of the device's own storage since start.
    pub storage_errors: u32,
}

impl State {
    /// A state of this version of the protocol for a device that just started.
    pub const fn new(firmware: Name, boot: u32, reset: ResetCause) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            firmware,
            boot,
            t: None,
            uptime_s: 0,
            life: Life::Provisioned,
            reset,
            config: 0,
            group_config: 0,
            clock: ClockQuality::Unset,
            clock_error_ms: 0,
            clock_steps: 0,
            time_refused: 0,
            waiting: 0,
            capacity: 0,
            lost: 0,
            missed: 0,
            suppressed: 0,
            sensor_faults: 0,
            alarms: Vec::new(),
            log_waiting: 0,
            connections: 0,
            failures: 0,
            last_failure: None,
            refused: 0,
            storage_errors: 0,
        }
    }

    /// Writes the message as JSON into `buffer` ([`STATE_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(self, buffer)
    }

    /// Reads a state of at most [`STATE_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let state: Self = json::decode(bytes, STATE_BYTES_MAX)?;
        check_version(state.v)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    fn longest() -> State {
        let mut state = State::new(
            Name::try_from("x".repeat(crate::NAME_MAX).as_str()).unwrap(),
            u32::MAX,
            ResetCause::PowerOn,
        );
        state.alarms = [Alarm::TemperatureHigh; ALARMS_MAX].into_iter().collect();
        state.t = Some(EpochMillis(u64::MAX));
        state.clock = ClockQuality::Synchronised;
        state.last_failure = Failure::ALL.iter().copied().max_by_key(|f| f.as_str().len());
        for field in [
            &mut state.uptime_s,
            &mut state.config,
            &mut state.group_config,
            &mut state.suppressed,
            &mut state.log_waiting,
            &mut state.clock_error_ms,
            &mut state.clock_steps,
            &mut state.time_refused,
            &mut state.waiting,
            &mut state.capacity,
            &mut state.lost,
            &mut state.missed,
            &mut state.sensor_faults,
            &mut state.connections,
            &mut state.failures,
            &mut state.refused,
            &mut state.storage_errors,
        ] {
            *field = u32::MAX;
        }
        state
    }

    #[test]
    fn the_longest_state_fits_and_no_part_of_it_is_accepted() {
        let mut buffer = [0; STATE_BYTES_MAX];
        let len = longest().encode(&mut buffer).unwrap();
        assert_eq!(State::decode(&buffer[..len]), Ok(longest()));
        for cut in 0..len {
            assert!(State::decode(&buffer[..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn a_state_reads_back_as_written(
            numbers in any::<[u32; 5]>(), t in any::<Option<u64>>(), failure in 0..Failure::ALL.len(),
            clock in 0..ClockQuality::ALL.len(),
        ) {
            let [boot, uptime_s, lost, connections, clock_error_ms] = numbers;
            let state = State {
                t: t.map(EpochMillis), uptime_s, lost, connections, clock_error_ms,
                clock: ClockQuality::ALL[clock], last_failure: Some(Failure::ALL[failure]),
                ..State::new("0.1.0".try_into().unwrap(), boot, ResetCause::Pin)
            };
            let mut buffer = [0; STATE_BYTES_MAX];
            let len = state.encode(&mut buffer).unwrap();
            prop_assert_eq!(State::decode(&buffer[..len]), Ok(state));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _verdict = State::decode(&bytes);
        }
    }
}
