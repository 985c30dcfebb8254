//! What ties fields to each other. Looks only at those that are there: a change is held to what it says itself, and to the
//! rest once it is merged. R-CONF.

use super::schema::{
    ALARM_HIGH_CENTI_C, ALARM_HIGH_CENTI_PERCENT, ALARM_HIGH_PA, ALARM_HYSTERESIS_CENTI_C,
    ALARM_HYSTERESIS_CENTI_PERCENT, ALARM_HYSTERESIS_PA, ALARM_LOW_CENTI_C, ALARM_LOW_CENTI_PERCENT,
    ALARM_LOW_PA, REPORT_PERIOD, SAMPLE_PERIOD,
};
use super::{Bound, ConfigurationError};

/// The fields that say when there is an alarm for one quantity. A value that is below `low` or above `high` begins one; it
/// ends `hysteresis` inside the threshold.
#[derive(Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Lower threshold.
    pub low: &'static Bound,
    /// Upper threshold.
    pub high: &'static Bound,
    /// How far inside a threshold the alarm ends.
    pub hysteresis: &'static Bound,
}

/// The thresholds of temperature, relative humidity and pressure.
pub static THRESHOLDS: [Thresholds; 3] = [
    Thresholds { low: &ALARM_LOW_CENTI_C, high: &ALARM_HIGH_CENTI_C, hysteresis: &ALARM_HYSTERESIS_CENTI_C },
    Thresholds {
        low: &ALARM_LOW_CENTI_PERCENT,
        high: &ALARM_HIGH_CENTI_PERCENT,
        hysteresis: &ALARM_HYSTERESIS_CENTI_PERCENT,
    },
    Thresholds { low: &ALARM_LOW_PA, high: &ALARM_HIGH_PA, hysteresis: &ALARM_HYSTERESIS_PA },
];

/// Checks the fields that `get` has the value of.
pub(super) fn check(get: impl Fn(&Bound) -> Option<i64>) -> Result<(), ConfigurationError> {
    if let (Some(report), Some(sample)) = (get(&REPORT_PERIOD), get(&SAMPLE_PERIOD))
        && report < sample
    {
        return Err(ConfigurationError::ReportsOftenerThanSamples { report, sample });
    }
    for of in &THRESHOLDS {
        if let (Some(low), Some(high), Some(hysteresis)) = (get(of.low), get(of.high), get(of.hysteresis))
            && low + hysteresis > high - hysteresis
        {
            return Err(ConfigurationError::ThresholdsTooClose { of, low, high, hysteresis });
        }
    }
    Ok(())
}
