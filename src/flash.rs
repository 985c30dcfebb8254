//! The firmware's own flash partitions, through Zephyr's flash map. Owns the way there and the check that the devicetree
//! tells the truth about the flash, never what lies in them. R-SECRET-STORE, R-LOG.

use crate::ffi;
use core::fmt;

/// A partition of which nobody else keeps anything. To be used by one thread at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Private keys, sealed.
    Vault,
    /// The security log.
    Log,
}

/// The flash failed: Zephyr's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashError(i32);

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its flash driver does not run, its blocks are not those of the devicetree, or they are not 0xff when erased ({})",
            self.0
        )
    }
}

impl Area {
    /// Whether the driver runs and the flash has the blocks that the devicetree says, `0xff` when they are erased.
    pub fn check(self) -> Result<(), FlashError> {
        // SAFETY: takes a number.
        check(unsafe { ffi::shim_flash_check(self.number()) })
    }

    /// Reads bytes from `offset` on, in bytes from the partition's beginning.
    pub fn read(self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        // SAFETY: the pointer and the length are those of one slice, which outlives the call; Zephyr checks the offset.
        check(unsafe { ffi::shim_flash_read(self.number(), offset, bytes.as_mut_ptr(), bytes.len()) })
    }

    /// Writes whole words from `offset` on.
    pub fn write(self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        // SAFETY: the pointer and the length are those of one slice, which outlives the call; Zephyr checks the offset.
        check(unsafe { ffi::shim_flash_write(self.number(), offset, bytes.as_ptr(), bytes.len()) })
    }

    /// Erases whole blocks from `offset` on, `len` bytes.
    pub fn erase(self, offset: u32, len: u32) -> Result<(), FlashError> {
        // SAFETY: takes numbers, which Zephyr checks.
        check(unsafe { ffi::shim_flash_erase(self.number(), offset, len as usize) })
    }

    const fn number(self) -> ffi::shim_flash_area {
        match self {
            Self::Vault => ffi::SHIM_FLASH_VAULT,
            Self::Log => ffi::SHIM_FLASH_LOG,
        }
    }
}

fn check(error: i32) -> Result<(), FlashError> {
    match error {
        0 => Ok(()),
        error => Err(FlashError(error)),
    }
}
