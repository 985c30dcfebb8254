//! The board's watchdog. Owns when it is fed: only from the firmware's loop, so that a loop that hangs ends in a reset.

use crate::ffi;
use crate::kconfig::CONFIG_SENSOR_WATCHDOG_TIMEOUT_MS;
use core::fmt;

/// How long the loop may take, in milliseconds.
pub const TIMEOUT_MS: u32 = CONFIG_SENSOR_WATCHDOG_TIMEOUT_MS as u32;

/// A watchdog that runs.
#[derive(Debug)]
pub struct Watchdog(());

/// There is no watchdog: the error number of Zephyr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoWatchdog(i32);

impl fmt::Display for NoWatchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no watchdog runs (error {}): give the board an alias watchdog0 in its devicetree", self.0)
    }
}

impl Watchdog {
    /// Starts it. It cannot be stopped again.
    pub fn start() -> Result<Self, NoWatchdog> {
        // SAFETY: takes a number; called once, from the main thread.
        match unsafe { ffi::shim_watchdog_start(TIMEOUT_MS) } {
            0 => Ok(Self(())),
            error => Err(NoWatchdog(error)),
        }
    }

    /// The loop came around.
    pub fn feed(&mut self) {
        // SAFETY: takes nothing; the channel was installed by `start`. A feed that fails ends in a reset, as it should.
        let _error = unsafe { ffi::shim_watchdog_feed() };
    }
}
