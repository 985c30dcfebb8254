//! The serial line to the factory: bytes in, bytes out, never waiting. Owns no frame and no message: those are
//! `protocol::provisioning`'s. R-PROVISION.

use crate::ffi;
use core::fmt;

/// Why there is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialError {
    /// The devicetree chooses no `sensor,provisioning-uart`, or it did not start.
    Missing,
    /// Its driver cannot be driven by interrupts: the error number.
    Driver(i32),
}

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "there is no serial line for the factory: choose sensor,provisioning-uart in the devicetree",
            ),
            Self::Driver(error) => {
                write!(f, "the serial line for the factory has no interrupts ({error}): choose another one")
            }
        }
    }
}

/// The line, open. It takes nothing more and its buffers are overwritten when this is dropped.
#[derive(Debug)]
pub struct Serial(());

impl Serial {
    /// Opens the line.
    pub fn open() -> Result<Self, SerialError> {
        // SAFETY: takes nothing; opening it again changes nothing.
        match unsafe { ffi::shim_serial_open() } {
            0 => Ok(Self(())),
            error if ffi::errno_kind(error) == ffi::SHIM_ERRNO_NO_DEVICE => Err(SerialError::Missing),
            error => Err(SerialError::Driver(error)),
        }
    }

    /// Moves bytes that have come into `buffer`; gives how many, 0 where there are none.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        // SAFETY: the pointer and the length are those of one slice, which outlives the call.
        unsafe { ffi::shim_serial_read(buffer.as_mut_ptr(), buffer.len()) }
    }

    /// Takes bytes to be sent; gives how many of them there was room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        // SAFETY: the pointer and the length are those of one slice, which outlives the call.
        unsafe { ffi::shim_serial_write(bytes.as_ptr(), bytes.len()) }
    }

    /// Overwrites what came, for after a private key has come this way.
    pub fn wipe(&mut self) {
        // SAFETY: takes nothing.
        unsafe { ffi::shim_serial_wipe() }
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        // SAFETY: takes nothing.
        unsafe { ffi::shim_serial_close() }
    }
}
