//! What the device measures with: a model of the air around it and of a BME280 in an enclosure, with the faults of a
//! real bus. Owns physics and noise, never a schedule. R-DATA-INTACT.
//!
//! - Outside temperature: a day's cosine with its maximum at 15 h, plus weather that wanders over half a day.
//! - The sensor follows it through its enclosure with a first-order lag of [`LAG_S`].
//! - Humidity follows from temperature and a slowly wandering dew point (Magnus formula), so it falls when it gets
//!   warm.
//! - Pressure is a random walk that is drawn back to its mean within two days and kept inside fixed bounds.
//! - Noise: the RMS figures of the BME280 datasheet for weather monitoring (section 3.5.1: oversampling x1, filter
//!   off).

use protocol::{Measurement, SensorFault};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};

/// Time constant of the enclosure in seconds.
pub const LAG_S: f64 = 300.0;
/// RMS noise of the temperature in °C.
pub const NOISE_TEMPERATURE_C: f64 = 0.005;
/// RMS noise of the relative humidity in percent.
pub const NOISE_HUMIDITY_PERCENT: f64 = 0.07;
/// RMS noise of the pressure in Pa.
pub const NOISE_PRESSURE_PA: f64 = 3.3;
/// Bounds of the modelled pressure in Pa: the lowest and highest that weather makes at sea level.
pub const PRESSURE_BOUNDS_PA: (f64, f64) = (95_000.0, 106_000.0);

const DAY_S: f64 = 86_400.0;
const MEAN_TEMPERATURE_C: f64 = 14.0;
const DAY_AMPLITUDE_C: f64 = 6.0;
const MEAN_DEW_POINT_C: f64 = 7.0;
const MEAN_PRESSURE_PA: f64 = 101_325.0;

/// Something that can be asked for a measurement.
pub trait Instrument {
    /// Measures `uptime_ms` milliseconds after the device started.
    fn measure(&mut self, uptime_ms: u64) -> Result<Measurement, SensorFault>;
}

impl<F: FnMut(u64) -> Result<Measurement, SensorFault>> Instrument for F {
    fn measure(&mut self, uptime_ms: u64) -> Result<Measurement, SensorFault> {
        self(uptime_ms)
    }
}

/// A quantity that wanders around zero: an Ornstein-Uhlenbeck process, exact for any step.
#[derive(Clone, Copy, Debug)]
struct Wander {
    value: f64,
    sigma: f64,
    tau_s: f64,
}

impl Wander {
    fn step(&mut self, seconds: f64, normal: f64) {
        let keep = (-seconds / self.tau_s).exp();
        self.value = self.value * keep + self.sigma * (1.0 - keep * keep).sqrt() * normal;
    }
}

/// Makes a sensor fail on request.
#[derive(Clone, Debug, Default)]
pub struct FaultSwitch(Arc<Mutex<Option<SensorFault>>>);

impl FaultSwitch {
    /// From now on every measurement is this fault; `None` repairs the sensor.
    pub fn set(&self, fault: Option<SensorFault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn get(&self) -> Option<SensorFault> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The modelled sensor.
#[derive(Clone, Debug)]
pub struct Model {
    random: ChaCha8Rng,
    fault_rate: f64,
    speed: f64,
    switch: FaultSwitch,
    seconds: f64,
    day_offset_s: f64,
    weather: Wander,
    dew_point: Wander,
    pressure: Wander,
    enclosure_c: f64,
}

impl Model {
    /// A sensor whose values follow from `seed` alone.
    pub fn new(seed: u64) -> Self {
        let mut model = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            fault_rate: 0.0,
            speed: 1.0,
            switch: FaultSwitch::default(),
            seconds: 0.0,
            day_offset_s: 0.0,
            weather: Wander { value: 0.0, sigma: 2.0, tau_s: DAY_S / 2.0 },
            dew_point: Wander { value: 0.0, sigma: 2.0, tau_s: DAY_S },
            pressure: Wander { value: 0.0, sigma: 900.0, tau_s: 2.0 * DAY_S },
            enclosure_c: 0.0,
        };
        model.day_offset_s = model.uniform() * DAY_S;
        for wander in [&mut model.weather, &mut model.dew_point, &mut model.pressure] {
            // A step of many time constants: a start that is like any other moment.
            wander.step(10.0 * wander.tau_s, normal(&mut model.random));
        }
        model.enclosure_c = model.outside_c();
        model
    }

    /// The share of measurements that fail by themselves, from 0 to 1.
    #[must_use]
    pub fn with_fault_rate(mut self, rate: f64) -> Self {
        self.fault_rate = rate.clamp(0.0, 1.0);
        self
    }

    /// How many modelled seconds pass in one real second, so that a day can be watched in minutes.
    #[must_use]
    pub fn with_speed(mut self, speed: f64) -> Self {
        self.speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        self
    }

    /// What makes this sensor fail on request.
    pub fn switch(&self) -> FaultSwitch {
        self.switch.clone()
    }

    /// Uniform from 0 to below 1.
    fn uniform(&mut self) -> f64 {
        uniform(&mut self.random)
    }

    fn outside_c(&self) -> f64 {
        let hour_angle = (self.seconds + self.day_offset_s - 15.0 * 3_600.0) / DAY_S * std::f64::consts::TAU;
        MEAN_TEMPERATURE_C + DAY_AMPLITUDE_C * hour_angle.cos() + self.weather.value
    }

    fn advance(&mut self, seconds: f64) {
        let random = &mut self.random;
        self.weather.step(seconds, normal(random));
        self.dew_point.step(seconds, normal(random));
        self.pressure.step(seconds, normal(random));
        let (low, high) = PRESSURE_BOUNDS_PA;
        self.pressure.value = self.pressure.value.clamp(low - MEAN_PRESSURE_PA, high - MEAN_PRESSURE_PA);
        self.seconds += seconds;
        let outside = self.outside_c();
        self.enclosure_c = outside + (self.enclosure_c - outside) * (-seconds / LAG_S).exp();
    }

    fn fault(&mut self) -> Option<SensorFault> {
        let by_itself = self.uniform() < self.fault_rate;
        let which = self.random.next_u32() % 3;
        self.switch.get().or(by_itself.then_some(match which {
            0 => SensorFault::NoAnswer,
            1 => SensorFault::BadData,
            _ => SensorFault::OutOfRange,
        }))
    }
}

impl Instrument for Model {
    fn measure(&mut self, uptime_ms: u64) -> Result<Measurement, SensorFault> {
        let seconds = uptime_ms as f64 / 1_000.0 * self.speed;
        self.advance((seconds - self.seconds).max(0.0));
        let noise = [(); 3].map(|()| normal(&mut self.random));
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let temperature = self.enclosure_c + NOISE_TEMPERATURE_C * noise[0];
        let dew_point = (MEAN_DEW_POINT_C + self.dew_point.value).min(self.enclosure_c);
        let humidity = relative_humidity(self.enclosure_c, dew_point) + NOISE_HUMIDITY_PERCENT * noise[1];
        let pressure = MEAN_PRESSURE_PA + self.pressure.value + NOISE_PRESSURE_PA * noise[2];
        Measurement::new(
            (temperature * 100.0).round() as i32,
            (humidity.clamp(0.0, 100.0) * 100.0).round() as u32,
            pressure.round() as u32,
        )
    }
}

/// Uniform from 0 to below 1, from the upper 53 bits.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Normally distributed with mean 0 and variance 1 (Box and Muller).
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(random)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(random)).cos()
}

/// Relative humidity in percent from temperature and dew point in °C: the ratio of the vapour pressures after Magnus
/// (constants of Sonntag, 1990, over water).
fn relative_humidity(temperature_c: f64, dew_point_c: f64) -> f64 {
    let vapour = |celsius: f64| (17.62 * celsius / (243.12 + celsius)).exp();
    100.0 * vapour(dew_point_c) / vapour(temperature_c)
}

#[cfg(test)]
mod tests;
