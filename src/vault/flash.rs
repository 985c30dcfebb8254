//! The vault's flash partition, as the devicetree has it: `vault_partition`. Owns its shape, never what lies there.
//! R-SECRET-STORE.

use super::BLOCKS_WANTED;
use crate::ffi;
use crate::flash::{Area, FlashError};
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
        Area::Vault.check().map(|()| Self(()))
    }
}

impl ErrorType for VaultFlash {
    type Error = FlashError;
}

impl ReadNorFlash for VaultFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        Area::Vault.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for VaultFlash {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        Area::Vault.erase(from, to.saturating_sub(from))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        Area::Vault.write(offset, bytes)
    }
}
