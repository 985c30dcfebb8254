//! Lines for Zephyr's log. Owns the line's buffer, never decides what is worth a line.

use crate::ffi;
use core::ffi::CStr;
use core::fmt::{self, Write};

/// Longest line in bytes, the final NUL included: the longest note of the device with its values, and what four time servers with
/// names of usual length have not answered. What is longer is cut, with dots.
const LINE_MAX: usize = 320;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The device cannot do its work.
    Error,
    /// Something went wrong and is being dealt with.
    Warning,
    /// What happens in the ordinary course of things.
    Info,
}

struct Line {
    bytes: [u8; LINE_MAX],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays 0 at the end; a NUL inside would end the line early.
        for byte in text.bytes().filter(|byte| *byte != 0) {
            let last = self.bytes.len() - 1;
            let Some(slot) = self.bytes.get_mut(..last).and_then(|room| room.get_mut(self.len)) else {
                return Err(fmt::Error);
            };
            *slot = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Writes one line.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_MAX], len: 0 };
    if line.write_fmt(text).is_err() {
        line.bytes[LINE_MAX - 4..LINE_MAX - 1].copy_from_slice(b"...");
    }
    let level = match level {
        Level::Error => ffi::SHIM_ERROR,
        Level::Warning => ffi::SHIM_WARNING,
        Level::Info => ffi::SHIM_INFO,
    };
    // The last byte is never written to: there is always a NUL.
    let text = CStr::from_bytes_until_nul(&line.bytes).unwrap_or_default();
    // SAFETY: a string that ends with NUL and outlives the call: Zephyr copies it.
    unsafe { ffi::shim_log(level, text.as_ptr()) };
}

/// Writes one line of information.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($arg)*)) };
}

/// Writes one warning.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warning, format_args!($($arg)*)) };
}

/// Writes one error.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($arg)*)) };
}
