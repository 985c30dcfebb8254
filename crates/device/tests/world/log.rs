//! The flash partition of the security log in memory: it refuses what NOR flash cannot do, and counts what it was asked for.

use super::Platform;
use super::power::Change;
use device::StorageError;
use device::platform::{LogFlash, LogLayout};

const ERASED: u8 = 0xFF;

/// NOR flash.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `None`: this device has no such partition.
    pub layout: Option<LogLayout>,
    pub cells: Vec<u8>,
    /// How often each sector was erased.
    pub erased: Vec<u32>,
    /// How often words were written, of any number.
    pub programs: u64,
    /// After how many changes one fails.
    pub fails: Option<u32>,
    /// How many reads will fail from now on.
    pub fail_reads: u32,
    /// Bytes that were read.
    pub bytes_read: u64,
}

impl Default for Memory {
    /// Eight sectors of 1 KiB.
    fn default() -> Self {
        Self::new(LogLayout { size: 8_192, sector: 1_024, word: 4 })
    }
}

impl Memory {
    pub fn new(layout: LogLayout) -> Self {
        Self {
            layout: Some(layout),
            cells: vec![ERASED; layout.size as usize],
            erased: vec![0; (layout.size / layout.sector) as usize],
            programs: 0,
            fails: None,
            fail_reads: 0,
            bytes_read: 0,
        }
    }

    fn change(&mut self) -> Result<LogLayout, StorageError> {
        let left = self.fails;
        self.fails = left.and_then(|left| left.checked_sub(1));
        if left == Some(0) { Err(StorageError::Medium) } else { Ok(self.layout.expect("a log")) }
    }
}

impl LogFlash for Memory {
    fn log_layout(&self) -> Option<LogLayout> {
        self.layout
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        if self.fail_reads > 0 {
            self.fail_reads -= 1;
            return Err(StorageError::Medium);
        }
        self.bytes_read += bytes.len() as u64;
        let from = offset as usize;
        bytes.copy_from_slice(self.cells.get(from..from + bytes.len()).expect("within the partition"));
        Ok(())
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        let LogLayout { sector, .. } = self.change()?;
        assert_eq!(offset % sector, 0, "a sector begins there");
        let from = offset as usize;
        self.cells[from..from + sector as usize].fill(ERASED);
        self.erased[(offset / sector) as usize] += 1;
        Ok(())
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        let LogLayout { sector, word, .. } = self.change()?;
        assert!(offset.is_multiple_of(word) && (bytes.len() as u32).is_multiple_of(word), "whole words");
        assert!(
            !bytes.is_empty() && offset / sector == (offset + bytes.len() as u32 - 1) / sector,
            "one sector"
        );
        let from = offset as usize;
        let place = &mut self.cells[from..from + bytes.len()];
        assert!(place.iter().all(|byte| *byte == ERASED), "{offset} was written before");
        place.copy_from_slice(bytes);
        self.programs += 1;
        Ok(())
    }
}

impl LogFlash for Platform {
    fn log_layout(&self) -> Option<LogLayout> {
        self.log.borrow().log_layout()
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.log.borrow_mut().log_read(offset, bytes)
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        if self.power.change() == Change::Lost {
            return Err(StorageError::Medium);
        }
        self.log.borrow_mut().log_erase(offset)
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        if self.power.change() == Change::Lost {
            return Err(StorageError::Medium);
        }
        self.log.borrow_mut().log_program(offset, bytes)
    }
}
