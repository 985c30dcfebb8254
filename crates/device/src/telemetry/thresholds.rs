//! Which samples are worth keeping, and which values are beyond what the configuration allows. Owns dead-bands and alarms,
//! never a sample. R-CONF.

use heapless::Vec;
use protocol::Measurement;
use protocol::config::Draft;
use protocol::state::{ALARMS_MAX, Alarm};

/// Quantities that are measured.
const QUANTITIES: usize = 3;

/// Most alarms that one measurement can change: each quantity leaves one and enters the other.
const CHANGES_MAX: usize = 2 * QUANTITIES;

/// The alarm below and the alarm above, by quantity.
const ALARMS: [[Alarm; 2]; QUANTITIES] = [
    [Alarm::TemperatureLow, Alarm::TemperatureHigh],
    [Alarm::HumidityLow, Alarm::HumidityHigh],
    [Alarm::PressureLow, Alarm::PressureHigh],
];

const fn quantities(measurement: Measurement) -> [i64; QUANTITIES] {
    [
        measurement.temperature_centi_c() as i64,
        measurement.humidity_centi_percent() as i64,
        measurement.pressure_pa() as i64,
    ]
}

/// By how much each quantity must have moved for a sample to count. Where any of them is 0, every sample counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadBands([i64; QUANTITIES]);

impl DeadBands {
    pub(crate) fn of(configuration: &Draft) -> Self {
        Self([
            configuration.dead_band_centi_c.into(),
            configuration.dead_band_centi_percent.into(),
            configuration.dead_band_pa.into(),
        ])
    }

    /// True where any quantity has moved by its dead-band or more.
    pub(crate) fn left(&self, from: Measurement, to: Measurement) -> bool {
        let moved = quantities(from).into_iter().zip(quantities(to));
        self.0.iter().zip(moved).any(|(band, (from, to))| (to - from).abs() >= *band)
    }
}

/// From where to where a quantity is right, and how far back inside it must come before its alarm ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    low: i64,
    high: i64,
    hysteresis: i64,
}

/// The alarms of every quantity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarms {
    limits: [Limits; QUANTITIES],
    raised: [Option<Alarm>; QUANTITIES],
}

/// Alarms that have begun (true) or ended.
pub(crate) type Changes = Vec<(Alarm, bool), CHANGES_MAX>;

impl Alarms {
    /// None yet.
    pub(crate) fn new(configuration: &Draft) -> Self {
        Self { limits: limits(configuration), raised: [None; QUANTITIES] }
    }

    /// Other limits. What is an alarm stays one until a measurement shows that it is none.
    pub(crate) fn configure(&mut self, configuration: &Draft) {
        self.limits = limits(configuration);
    }

    /// The alarms that there are.
    pub(crate) fn raised(&self) -> Vec<Alarm, ALARMS_MAX> {
        self.raised.into_iter().flatten().collect()
    }

    /// What a measurement changes.
    pub(crate) fn judge(&mut self, measurement: Measurement) -> Changes {
        let mut changes = Changes::new();
        let values = quantities(measurement).into_iter().zip(self.limits);
        for ((raised, [below, above]), (value, limits)) in self.raised.iter_mut().zip(ALARMS).zip(values) {
            // Each alarm ends only where the value is well inside again.
            let margin = |alarm| if *raised == Some(alarm) { limits.hysteresis } else { 0 };
            let now = if value < limits.low + margin(below) {
                Some(below)
            } else if value > limits.high - margin(above) {
                Some(above)
            } else {
                None
            };
            let before = core::mem::replace(raised, now);
            if before != now {
                changes.extend(before.map(|alarm| (alarm, false)));
                changes.extend(now.map(|alarm| (alarm, true)));
            }
        }
        changes
    }
}

fn limits(configuration: &Draft) -> [Limits; QUANTITIES] {
    let c = configuration;
    [
        Limits {
            low: c.alarm_low_centi_c.into(),
            high: c.alarm_high_centi_c.into(),
            hysteresis: c.alarm_hysteresis_centi_c.into(),
        },
        Limits {
            low: c.alarm_low_centi_percent.into(),
            high: c.alarm_high_centi_percent.into(),
            hysteresis: c.alarm_hysteresis_centi_percent.into(),
        },
        Limits {
            low: c.alarm_low_pa.into(),
            high: c.alarm_high_pa.into(),
            hysteresis: c.alarm_hysteresis_pa.into(),
        },
    ]
}
