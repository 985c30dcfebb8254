//! Zephyr's clocks: the time since start, which the device counts with, and the realtime clock, which certificates are
//! checked against. Owns neither; what time it is, is decided in `device::clock`. R-TIME.

use crate::ffi;
use device::Uptime;
use protocol::EpochMillis;

/// Time since start.
pub fn uptime() -> Uptime {
    // SAFETY: takes nothing and gives a number.
    Uptime(unsafe { ffi::shim_uptime_ms() })
}

/// What time it is for certificates; 1970 while nobody has set the clock.
pub fn realtime() -> EpochMillis {
    // SAFETY: takes nothing and gives a number.
    EpochMillis::from_seconds(unsafe { ffi::shim_clock_get_s() })
}

/// When this firmware was built.
pub fn build() -> EpochMillis {
    // SAFETY: takes nothing and gives a number.
    EpochMillis::from_seconds(unsafe { ffi::shim_build_epoch_s() })
}

/// Sets the realtime clock; false where Zephyr refuses.
pub fn set(time: EpochMillis) -> bool {
    let nanoseconds = (time.0 % 1000) as u32 * 1_000_000;
    // SAFETY: takes two numbers.
    unsafe { ffi::shim_clock_set(time.seconds(), nanoseconds) == 0 }
}

/// Waits this many milliseconds.
pub fn sleep_ms(millis: u32) {
    // SAFETY: takes a number; the thread that calls sleeps.
    unsafe { ffi::shim_sleep_ms(millis) };
}
