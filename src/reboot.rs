//! Why the board started, and how to start it again. Owns neither the decision nor what must be kept before.

use crate::ffi;
use protocol::ResetCause;

/// Why the board started; [`ResetCause::Unknown`] where it does not tell. To be asked once: it is forgotten.
pub fn cause() -> ResetCause {
    // SAFETY: takes nothing and gives a number.
    match unsafe { ffi::shim_reset_cause() } {
        ffi::SHIM_RESET_POWER_ON => ResetCause::PowerOn,
        ffi::SHIM_RESET_PIN => ResetCause::Pin,
        ffi::SHIM_RESET_SOFTWARE => ResetCause::Software,
        ffi::SHIM_RESET_WATCHDOG => ResetCause::Watchdog,
        ffi::SHIM_RESET_BROWNOUT => ResetCause::Brownout,
        ffi::SHIM_RESET_FAULT => ResetCause::Fault,
        _ => ResetCause::Unknown,
    }
}

/// True once somebody asked for an orderly restart (development builds only).
pub fn wanted() -> bool {
    // SAFETY: takes nothing and reads an atomic.
    unsafe { ffi::shim_restart_wanted() }
}

/// Restarts the board.
pub fn restart() {
    // SAFETY: takes nothing. On hardware it does not return.
    unsafe { ffi::shim_reboot() };
}

/// The same because a thread of the firmware hangs: reported as what a watchdog does.
pub fn restart_hung() {
    // SAFETY: as above.
    unsafe { ffi::shim_reboot_hung() };
}
