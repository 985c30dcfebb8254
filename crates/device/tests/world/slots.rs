//! Slots in memory that survive the device, and a bootloader that does with them what MCUboot does: takes a candidate that
//! is marked, on trial, and takes it back at the next start where it was not confirmed.

use super::Platform;
use device::{Running, SlotLayout, Slots, StorageError};
use std::collections::BTreeMap;

/// What both slots hold.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// `None`: this device cannot be updated.
    pub layout: Option<SlotLayout>,
    pub running: Vec<u8>,
    pub candidate: Vec<u8>,
    pub marked: bool,
    pub on_trial: bool,
    /// How often each sector was erased.
    pub erased: BTreeMap<u32, u32>,
    /// Bytes written to the candidate's slot.
    pub written: u64,
    /// After how many changes one fails, and every one after it until this is `None` again.
    pub fails_after: Option<u32>,
    /// So many questions how the image came to run fail.
    pub silent: u32,
    /// So many reads of the candidate fail.
    pub fail_candidate_reads: u32,
    /// So many reads of the running image fail while it is hashed.
    pub fail_measuring: u32,
    /// So many reads of its TLVs fail.
    pub fail_small_reads: u32,
}

impl Memory {
    /// Slots of `capacity` bytes in sectors of `sector`, with `running` in the first.
    pub fn new(capacity: u32, sector: u32, word: u32, running: &[u8]) -> Self {
        let layout = Some(SlotLayout { capacity, sector, word });
        let size = capacity.next_multiple_of(sector) as usize;
        let mut slot = running.to_vec();
        slot.resize(size, 0xFF);
        Self { layout, running: slot, candidate: vec![0xFF; size], ..Self::default() }
    }

    fn change(&mut self) -> Result<(), StorageError> {
        match self.fails_after {
            Some(0) => Err(StorageError::Medium),
            left => {
                self.fails_after = left.map(|left| left - 1);
                Ok(())
            }
        }
    }

    /// What the bootloader does at a start.
    pub fn boot(&mut self) {
        if core::mem::take(&mut self.marked) {
            std::mem::swap(&mut self.running, &mut self.candidate);
            self.on_trial = true;
        } else if core::mem::take(&mut self.on_trial) {
            std::mem::swap(&mut self.running, &mut self.candidate);
        }
    }

    /// Changes of any kind so far.
    pub fn wear(&self) -> u32 {
        self.erased.values().sum()
    }
}

fn read(slot: &[u8], offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
    let from = offset as usize;
    let place = slot.get(from..from + bytes.len()).ok_or(StorageError::Medium)?;
    bytes.copy_from_slice(place);
    Ok(())
}

impl Slots for Memory {
    fn layout(&self) -> Option<SlotLayout> {
        self.layout
    }

    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        if bytes.len() == 512 && self.fail_measuring > 0 {
            self.fail_measuring -= 1;
            return Err(StorageError::Medium);
        }
        if bytes.len() == 4 && self.fail_small_reads > 0 {
            self.fail_small_reads -= 1;
            return Err(StorageError::Medium);
        }
        read(&self.running, offset, bytes)
    }

    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        if self.fail_candidate_reads > 0 {
            self.fail_candidate_reads -= 1;
            return Err(StorageError::Medium);
        }
        read(&self.candidate, offset, bytes)
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        self.change()?;
        self.marked = false;
        let sector = self.layout.expect("slots").sector;
        self.erase(0)?;
        let last = self.candidate.len() as u32 - sector;
        if last > 0 { self.erase(last) } else { Ok(()) }
    }

    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        self.change()?;
        let sector = self.layout.expect("slots").sector;
        assert_eq!(offset % sector, 0, "a sector begins there");
        let from = offset as usize;
        self.candidate[from..from + sector as usize].fill(0xFF);
        *self.erased.entry(offset).or_default() += 1;
        Ok(())
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        self.change()?;
        let SlotLayout { sector, word, .. } = self.layout.expect("slots");
        assert!(offset.is_multiple_of(word) && (bytes.len() as u32).is_multiple_of(word), "whole words");
        assert!(
            !bytes.is_empty() && offset / sector == (offset + bytes.len() as u32 - 1) / sector,
            "one sector"
        );
        let from = offset as usize;
        let place = &mut self.candidate[from..from + bytes.len()];
        assert!(place.iter().all(|byte| *byte == 0xFF), "{offset} was written before");
        place.copy_from_slice(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        self.change()?;
        self.marked = true;
        Ok(())
    }

    fn running(&mut self) -> Result<Running, StorageError> {
        if self.silent > 0 {
            self.silent -= 1;
            return Err(StorageError::Medium);
        }
        Ok(if self.on_trial { Running::OnTrial } else { Running::Confirmed })
    }

    fn confirm(&mut self) -> Result<(), StorageError> {
        self.change()?;
        self.on_trial = false;
        Ok(())
    }
}

impl Slots for Platform {
    fn layout(&self) -> Option<SlotLayout> {
        self.slots.borrow().layout()
    }

    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.slots.borrow_mut().read_running(offset, bytes)
    }

    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.slots.borrow_mut().read_candidate(offset, bytes)
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        self.slots.borrow_mut().discard()
    }

    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        self.slots.borrow_mut().erase(offset)
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        self.slots.borrow_mut().program(offset, bytes)
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        self.slots.borrow_mut().mark()
    }

    fn running(&mut self) -> Result<Running, StorageError> {
        self.slots.borrow_mut().running()
    }

    fn confirm(&mut self) -> Result<(), StorageError> {
        self.slots.borrow_mut().confirm()
    }
}
