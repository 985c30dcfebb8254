//! The vault's flash partition, as the devicetree has it: `vault_partition`. Owns the way to Zephyr's flash map, never
//! what lies there. R-SECRET-STORE.

use super::BLOCKS_WANTED;
use crate::ffi;
use core::fmt;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

/// Length of the partition in bytes.
const SIZE: usize = ffi::SHIM_VAULT_SIZE as usize;
/// Length of a block that is erased at once, in bytes.
const ERASE: usize = ffi::SHIM_VAULT_ERASE as usize;
/// Length of what is written at once, in bytes.
const WRITE: usize = ffi::SHIM_VAULT_WRITE as usize;

const _: () = assert!(
    SIZE / ERASE >= BLOCKS_WANTED as usize,
    "vault_partition needs an erase block for every key and one to spare: make it longer"
);

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

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// The partition. To be used by one thread at a time.
pub struct VaultFlash(());

impl VaultFlash {
    /// The partition, if its driver runs and the devicetree tells the truth about its blocks.
    pub fn open() -> Result<Self, FlashError> {
        // SAFETY: takes nothing.
        check(unsafe { ffi::shim_vault_flash_check() }).map(|()| Self(()))
    }
}

impl ErrorType for VaultFlash {
    type Error = FlashError;
}

impl ReadNorFlash for VaultFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        // SAFETY: the pointer and the length are those of one slice, which outlives the call; Zephyr checks the offset.
        check(unsafe { ffi::shim_vault_flash_read(offset, bytes.as_mut_ptr(), bytes.len()) })
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for VaultFlash {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let len = to.saturating_sub(from) as usize;
        // SAFETY: takes numbers, which Zephyr checks.
        check(unsafe { ffi::shim_vault_flash_erase(from, len) })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        // SAFETY: the pointer and the length are those of one slice, which outlives the call; Zephyr checks the offset.
        check(unsafe { ffi::shim_vault_flash_write(offset, bytes.as_ptr(), bytes.len()) })
    }
}

fn check(error: i32) -> Result<(), FlashError> {
    match error {
        0 => Ok(()),
        error => Err(FlashError(error)),
    }
}
