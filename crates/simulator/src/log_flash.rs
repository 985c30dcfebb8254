//! The flash partition of the security log of a simulated device, in a file of its own that behaves like NOR flash. Owns where
//! it lies and its shape, never what is in it. R-LOG.

use device::{LogFlash, LogLayout, StorageError};
use norflash::{Flash, FlashError, OpenError};
use std::path::Path;

/// What is erased at once, in bytes.
pub const SECTOR_BYTES: u32 = 4096;

/// What is written at once, in bytes: as much as the flash of an STM32L4 or H7 takes with one ECC.
pub const WORD_BYTES: u32 = 8;

/// Sectors of the partition: 64 KiB in all, which is no other flash's size, so that a file of another kind is refused.
pub const SECTORS: u16 = 16;

/// The flash under the log.
pub type PartitionFlash = Flash<{ SECTOR_BYTES as usize }, { WORD_BYTES as usize }>;

/// The partition of one device.
#[derive(Debug)]
pub struct LogPartition(PartitionFlash);

impl LogPartition {
    /// Erased, and forgotten with the device. What is not written costs no memory.
    pub fn in_memory() -> Self {
        Self(PartitionFlash::in_memory_of(SECTORS))
    }

    /// The partition in the file `path`, an erased one where there is none.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self(PartitionFlash::open_of(path, SECTORS)?))
    }

    /// The flash, to look at it or to cut its power.
    pub const fn flash(&mut self) -> &mut PartitionFlash {
        &mut self.0
    }
}

fn storage(_: FlashError) -> StorageError {
    StorageError::Medium
}

impl LogFlash for LogPartition {
    fn log_layout(&self) -> Option<LogLayout> {
        let size = u32::from(SECTORS) * SECTOR_BYTES;
        Some(LogLayout { size, sector: SECTOR_BYTES, word: WORD_BYTES })
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.0.read(offset, bytes).map_err(storage)
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        let end = offset.checked_add(SECTOR_BYTES).ok_or(StorageError::Medium)?;
        self.0.erase(offset, end).map_err(storage)
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.write(offset, bytes).map_err(storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_programmed_is_there_when_the_file_is_opened_again_until_its_sector_is_erased() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flash.audit");
        let mut log = LogPartition::open(&path).unwrap();
        let layout = log.log_layout().unwrap();
        assert_eq!(u64::from(layout.size), std::fs::metadata(&path).unwrap().len());
        log.log_program(layout.sector, &[7; 16]).unwrap();
        assert_eq!(log.log_program(layout.sector, &[7; 16]), Err(StorageError::Medium), "erase it first");
        assert_eq!(log.log_program(layout.size, &[7; 16]), Err(StorageError::Medium));
        drop(log);
        let mut log = LogPartition::open(&path).unwrap();
        let mut bytes = [0; 24];
        log.log_read(layout.sector, &mut bytes).unwrap();
        assert_eq!((&bytes[..16], &bytes[16..]), ([7; 16].as_slice(), [0xFF; 8].as_slice()));
        log.log_erase(layout.sector).unwrap();
        log.log_read(layout.sector, &mut bytes).unwrap();
        assert_eq!(bytes, [0xFF; 24]);
    }
}
