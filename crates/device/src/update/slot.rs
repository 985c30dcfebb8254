//! The candidate's slot as something that bytes are appended to: whole words, each sector erased just before its first one.
//! Owns what is not a whole word yet; knows nothing of images. R-FW-ATOMIC.

use crate::platform::{SlotLayout, Slots, StorageError};

/// Bytes that are collected before they are written, where they come in small pieces: a whole number of words of every
/// flash that [`is_usable`] takes.
const PAGE_BYTES: usize = 256;

/// Whether this code can write to such a slot.
pub(crate) const fn is_usable(layout: &SlotLayout) -> bool {
    let SlotLayout { capacity, sector, word } = *layout;
    capacity > 0
        && sector.is_power_of_two()
        && word.is_power_of_two()
        && word <= 32
        && word <= sector
        && sector <= 128 * 1024
}

/// Appends to the candidate's slot.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    layout: SlotLayout,
    /// Bytes that are in flash.
    at: u32,
    page: [u8; PAGE_BYTES],
    held: usize,
}

impl Writer {
    /// Goes on at `at`, the beginning of a sector.
    pub(crate) const fn new(layout: SlotLayout, at: u32) -> Self {
        Self { layout, at, page: [0xFF; PAGE_BYTES], held: 0 }
    }

    /// Bytes that are in flash for certain.
    pub(crate) const fn written(&self) -> u32 {
        self.at
    }

    /// Bytes that were taken so far.
    pub(crate) const fn len(&self) -> u32 {
        self.at + self.held as u32
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8], slots: &mut impl Slots) -> Result<(), StorageError> {
        if self.len().checked_add(bytes.len() as u32).is_none_or(|end| end > self.layout.capacity) {
            return Err(StorageError::Full);
        }
        while !bytes.is_empty() {
            if self.held == 0 && bytes.len() >= PAGE_BYTES {
                // Whole pages need not be copied.
                let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % PAGE_BYTES);
                self.program(whole, slots)?;
                bytes = rest;
                continue;
            }
            let room = self.page.get_mut(self.held..).unwrap_or_default();
            let (now, rest) = bytes.split_at(bytes.len().min(room.len()));
            room.iter_mut().zip(now).for_each(|(place, byte)| *place = *byte);
            self.held += now.len();
            bytes = rest;
            if self.held == PAGE_BYTES {
                self.flush(slots)?;
            }
        }
        Ok(())
    }

    /// Writes what is left, filled up to a whole word with what an erased byte is.
    pub(crate) fn finish(&mut self, slots: &mut impl Slots) -> Result<(), StorageError> {
        let end = self.held.next_multiple_of(self.layout.word as usize);
        self.page.get_mut(self.held..end).unwrap_or_default().fill(0xFF);
        self.held = end;
        self.flush(slots)
    }

    fn flush(&mut self, slots: &mut impl Slots) -> Result<(), StorageError> {
        let page = self.page;
        self.program(page.get(..self.held).unwrap_or_default(), slots)?;
        self.held = 0;
        Ok(())
    }

    /// Writes whole words, sector by sector.
    fn program(&mut self, mut bytes: &[u8], slots: &mut impl Slots) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            let within = self.at % self.layout.sector;
            if within == 0 {
                slots.erase(self.at)?;
            }
            let (now, rest) = bytes.split_at(bytes.len().min((self.layout.sector - within) as usize));
            slots.program(self.at, now)?;
            self.at += now.len() as u32;
            bytes = rest;
        }
        Ok(())
    }
}
