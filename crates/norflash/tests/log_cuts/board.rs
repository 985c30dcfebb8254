//! A board with a flash for the log and a store whose writes are whole, behind one supply. What both would hold after a cut at
//! each change is recorded.

use device::platform::{LogFlash, LogLayout};
use device::{Key, KeyValue, StorageError};
use norflash::{Cut, Flash, FlashError};
use std::collections::HashMap;

/// How power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Before an operation, which is after the one before.
    Before,
    /// In the middle of it.
    Torn(u64),
}

/// What is there after a cut.
pub struct Moment<const B: usize, const W: usize> {
    pub operation: u64,
    pub kind: Kind,
    pub board: Board<B, W>,
}

pub struct Board<const B: usize, const W: usize> {
    flash: Flash<B, W>,
    store: HashMap<Key, Vec<u8>>,
    torn: u64,
    operations: u64,
    pub recording: bool,
    moments: Vec<Moment<B, W>>,
    newest: u32,
}

impl<const B: usize, const W: usize> Board<B, W> {
    pub fn new(sectors: u16, torn: u64) -> Self {
        Self {
            flash: Flash::in_memory_of(sectors),
            store: HashMap::new(),
            torn,
            operations: 0,
            recording: true,
            moments: Vec::new(),
            newest: 0,
        }
    }

    fn copy(&self) -> Self {
        Self {
            flash: self.flash.copy(),
            store: self.store.clone(),
            torn: self.torn,
            operations: 0,
            recording: false,
            moments: Vec::new(),
            newest: self.newest,
        }
    }

    /// What was there before each operation, and in the middle of it, since the last call.
    pub fn take_moments(&mut self) -> Vec<Moment<B, W>> {
        std::mem::take(&mut self.moments)
    }

    pub fn erases(&self) -> u64 {
        self.flash.operations().erases
    }

    /// Bytes at the end of the sector that was erased last in which nothing is written.
    pub fn erased_at_end_of_newest(&self) -> usize {
        let image = self.flash.image();
        let sector = &image[self.newest as usize..self.newest as usize + B];
        sector.iter().rev().take_while(|byte| **byte == 0xFF).count()
    }

    fn before(&mut self) -> u64 {
        let operation = self.operations;
        self.operations += 1;
        if self.recording {
            let board = self.copy();
            self.moments.push(Moment { operation, kind: Kind::Before, board });
        }
        operation
    }

    fn change(&mut self, change: impl Fn(&mut Flash<B, W>) -> Result<(), FlashError>) {
        let operation = self.before();
        for number in 0..if self.recording { self.torn } else { 0 } {
            let mut board = self.copy();
            board.flash.cut_at(0, Cut::Torn { seed: operation * 1_000 + number });
            assert_eq!(change(&mut board.flash), Err(FlashError::PowerLost));
            board.flash.power_on();
            self.moments.push(Moment { operation, kind: Kind::Torn(number), board });
        }
        change(&mut self.flash).expect("the flash is used as it may be");
    }
}

impl<const B: usize, const W: usize> LogFlash for Board<B, W> {
    fn log_layout(&self) -> Option<LogLayout> {
        let geometry = self.flash.geometry();
        Some(LogLayout { size: geometry.total as u32, sector: B as u32, word: W as u32 })
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.flash.read(offset, bytes).expect("within the partition");
        Ok(())
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        self.newest = offset;
        self.change(|flash| flash.erase(offset, offset + B as u32));
        Ok(())
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        assert_eq!(offset as usize / B, (offset as usize + bytes.len() - 1) / B, "one sector");
        self.change(|flash| flash.write(offset, bytes));
        Ok(())
    }
}

impl<const B: usize, const W: usize> KeyValue for Board<B, W> {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        let Some(value) = self.store.get(&key) else { return Ok(None) };
        let place = buffer.get_mut(..value.len()).ok_or(StorageError::TooLong)?;
        place.copy_from_slice(value);
        Ok(Some(place))
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        self.before();
        self.store.insert(key, value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.before();
        self.store.remove(&key);
        Ok(())
    }
}
