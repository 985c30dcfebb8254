//! The BME280 through Zephyr's sensor API. Owns the conversion of units, never the schedule: values or the name of a
//! fault. R-DATA-INTACT.

use crate::fault::{self, Fault};
use crate::ffi;
use protocol::{Measurement, SensorFault};

/// Takes one measurement.
pub fn measure() -> Result<Measurement, SensorFault> {
    // SAFETY: takes nothing and gives a truth value.
    if fault::is(Fault::SensorDead) || !unsafe { ffi::shim_sensor_is_ready() } {
        return Err(SensorFault::NotReady);
    }
    // SAFETY: takes nothing; the sensor is there, as the check above says.
    if unsafe { ffi::shim_sensor_fetch() } != 0 {
        return Err(SensorFault::NoAnswer);
    }
    let temperature = scaled(read(ffi::shim_sensor_temperature)?, 100)?;
    let humidity = scaled(read(ffi::shim_sensor_humidity)?, 100)?;
    // Zephyr gives kilopascal.
    let pressure = scaled(read(ffi::shim_sensor_pressure)?, 1000)?;
    let not_negative = |value| u32::try_from(value).map_err(|_| SensorFault::OutOfRange);
    Measurement::new(temperature, not_negative(humidity)?, not_negative(pressure)?)
}

type Channel = unsafe extern "C" fn(*mut ffi::shim_value) -> i32;

fn read(channel: Channel) -> Result<ffi::shim_value, SensorFault> {
    let mut value = ffi::shim_value::default();
    // SAFETY: the pointer is valid for the call; `measure` has made sure that the sensor is there.
    match unsafe { channel(&raw mut value) } {
        0 => Ok(value),
        _ => Err(SensorFault::BadData),
    }
}

/// The value times `factor`, rounded to the nearest whole number.
fn scaled(value: ffi::shim_value, factor: i64) -> Result<i32, SensorFault> {
    let millionths = i64::from(value.whole) * 1_000_000 + i64::from(value.millionths);
    let product = millionths * factor;
    let rounded = (product + product.signum() * 500_000) / 1_000_000;
    i32::try_from(rounded).map_err(|_| SensorFault::OutOfRange)
}
