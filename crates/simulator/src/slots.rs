//! The two places for firmware of a simulated device, in a file that behaves like NOR flash: the image that runs, the
//! candidate, and the marks by which the bootloader knows what to do. Owns where what lies and that each mark is whole or
//! not there; what follows from them is [`FirmwareSlots::boot`]'s. R-FW-ATOMIC, R-FW-HEALTH.
//!
//! A mark says which half of the flash holds the image that runs, and how that came to run: MCUboot's trailers of both slots
//! in one word. So a swap is one write: what MCUboot does sector by sector over seconds, and recovers from cuts in, is
//! proven with MCUboot itself and not here. The firmware in these images is not executed: a Linux device is the program
//! that reads them, whatever they say. Only [`Misbehaviour`] is taken from them.

mod boot;
mod image;
mod marks;

pub use boot::{BootError, Booted};
pub use image::{Misbehaviour, factory};

use device::{Running, SlotLayout, Slots, StorageError};
use marks::{Half, Mark, Standing};
use norflash::{Flash, FlashError, OpenError};
use std::path::Path;

/// Bytes of a slot.
pub const SLOT_BYTES: u32 = 1024 * 1024;

/// What is erased at once, in bytes.
pub const SECTOR_BYTES: u32 = 4096;

/// What is written at once, in bytes: as much as the flash of an STM32L4 or H7 takes with one ECC.
pub const WORD_BYTES: u32 = 8;

/// The flash under the slots.
pub type SlotsFlash = Flash<{ SECTOR_BYTES as usize }, { WORD_BYTES as usize }>;

/// Blocks of [`SlotsFlash`]: two slots, and two for the marks.
pub const SLOTS_BLOCKS: u16 = (2 * SLOT_BYTES / SECTOR_BYTES) as u16 + marks::BLOCKS;

/// The slots of one device.
#[derive(Debug)]
pub struct FirmwareSlots {
    flash: SlotsFlash,
    /// `None` where there never was an image.
    mark: Option<Mark>,
}

impl FirmwareSlots {
    /// Empty slots, forgotten with the device. What is not written costs no memory.
    pub fn in_memory() -> Self {
        Self { flash: SlotsFlash::in_memory_of(SLOTS_BLOCKS), mark: None }
    }

    /// The slots in the file `path`, empty ones where there is none.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self::on(SlotsFlash::open_of(path, SLOTS_BLOCKS)?))
    }

    /// The slots on this flash, which has [`SLOTS_BLOCKS`] blocks.
    pub fn on(mut flash: SlotsFlash) -> Self {
        let mark = marks::last(&mut flash);
        Self { flash, mark }
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> SlotsFlash {
        self.flash
    }

    /// The flash, to look at it or to cut its power.
    pub const fn flash(&mut self) -> &mut SlotsFlash {
        &mut self.flash
    }

    /// Puts the device's first image into slot 0 and says whether it did: where there is an image, it stays.
    pub fn begin_with(&mut self, image: &[u8]) -> Result<bool, BootError> {
        if self.mark.is_some() {
            return Ok(false);
        }
        let len =
            u32::try_from(image.len()).ok().filter(|len| *len <= SLOT_BYTES).ok_or(BootError::TooLong)?;
        image::check(image).map_err(BootError::First)?;
        let base = Half::A.base();
        self.flash.erase(base, base + len.next_multiple_of(SECTOR_BYTES)).map_err(storage)?;
        let mut padded = image.to_vec();
        padded.resize(len.next_multiple_of(WORD_BYTES) as usize, 0xFF);
        self.flash.write(base, &padded).map_err(storage)?;
        self.put(Half::A, Standing::Confirmed)?;
        Ok(true)
    }

    fn running_half(&self) -> Half {
        self.mark.map_or(Half::A, |mark| mark.running)
    }

    fn standing(&self) -> Standing {
        self.mark.map_or(Standing::Confirmed, |mark| mark.standing)
    }

    fn put(&mut self, running: Half, standing: Standing) -> Result<(), StorageError> {
        let number =
            self.mark.map_or(Some(1), |mark| mark.number.checked_add(1)).ok_or(StorageError::Full)?;
        let mark = Mark { number, running, standing };
        marks::append(&mut self.flash, self.mark, mark).map_err(storage)?;
        self.mark = Some(mark);
        Ok(())
    }

    fn read(&mut self, half: Half, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        let end = offset.checked_add(bytes.len() as u32).filter(|end| *end <= SLOT_BYTES);
        end.ok_or(StorageError::Medium)?;
        self.flash.read(half.base() + offset, bytes).map_err(storage)
    }

    /// Where the candidate may be changed: while an image is on trial, the other slot is the way back.
    fn candidate(&self, offset: u32, len: u32) -> Result<u32, StorageError> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= SLOT_BYTES);
        let free = self.standing() != Standing::OnTrial;
        if fits && free { Ok(self.running_half().other().base() + offset) } else { Err(StorageError::Medium) }
    }
}

fn storage(_: FlashError) -> StorageError {
    StorageError::Medium
}

impl Slots for FirmwareSlots {
    fn layout(&self) -> Option<SlotLayout> {
        Some(SlotLayout { capacity: SLOT_BYTES, sector: SECTOR_BYTES, word: WORD_BYTES })
    }

    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.read(self.running_half(), offset, bytes)
    }

    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.read(self.running_half().other(), offset, bytes)
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        let first = self.candidate(0, SECTOR_BYTES)?;
        if self.standing() == Standing::Pending {
            self.put(self.running_half(), Standing::Confirmed)?;
        }
        self.flash.erase(first, first + SECTOR_BYTES).map_err(storage)
    }

    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        let address = self.candidate(offset, SECTOR_BYTES)?;
        self.flash.erase(address, address + SECTOR_BYTES).map_err(storage)
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        let address = self.candidate(offset, bytes.len() as u32)?;
        self.flash.write(address, bytes).map_err(storage)
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        self.candidate(0, 0)?;
        self.put(self.running_half(), Standing::Pending)
    }

    fn running(&mut self) -> Result<Running, StorageError> {
        Ok(if self.standing() == Standing::OnTrial { Running::OnTrial } else { Running::Confirmed })
    }

    fn confirm(&mut self) -> Result<(), StorageError> {
        if self.standing() == Standing::OnTrial {
            self.put(self.running_half(), Standing::Confirmed)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
