//! What the board's flash holds, as bytes on the host: the layout, images in slots, MCUboot's trailers. The flash is NOR:
//! writing clears bits, erasing sets them.

use crate::BoardError;
use crate::log::Change;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::ops::Range;
use std::path::Path;

/// Where the flash begins in the machine's memory.
pub const ADDRESS: u32 = 0x2100_0000;
/// Size of the flash in bytes.
pub const BYTES: usize = 0x20_0000;
/// Size of an erasable sector in bytes.
pub const SECTOR_BYTES: usize = 0x1000;
/// Size of the smallest write in bytes.
pub const WRITE_BYTES: usize = 4;
/// Size of the file that QEMU maps: the machine's whole PSRAM. It is sparse behind the flash.
pub const FILE_BYTES: u64 = 0x100_0000;
/// Where MCUboot is. QEMU puts it there anew at each reset.
pub const BOOT: Range<usize> = 0..0x1_0000;
/// Where settings and the store are; orders for the test image, too.
pub const STORAGE: Range<usize> = 0x19_1000..0x1a_1000;
/// Where keys are.
pub const VAULT: Range<usize> = 0x1a_1000..0x1a_a000;

const MAGIC: [u8; 16] =
    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
/// MCUboot's `BOOT_MAX_ALIGN`, by which the fields of a trailer are spaced.
const ALIGN: usize = 8;

/// A place for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// What runs.
    Running,
    /// What came by update, or was replaced by it.
    Candidate,
}

impl Slot {
    /// Where the slot is.
    pub const fn range(self) -> Range<usize> {
        match self {
            Self::Running => 0x1_0000..0xd_0000,
            Self::Candidate => 0xd_0000..0x19_1000,
        }
    }

    /// Where an image goes for MCUboot to take it: a sector into slot 1, for swap-using-offset.
    pub const fn image_offset(self) -> usize {
        match self {
            Self::Running => self.range().start,
            Self::Candidate => self.range().start + SECTOR_BYTES,
        }
    }
}

/// State of a byte-sized flag of a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// 1.
    Set,
    /// Erased.
    Unset,
    /// Something else.
    Bad(u8),
}

impl Flag {
    const fn of(byte: u8) -> Self {
        match byte {
            1 => Self::Set,
            0xff => Self::Unset,
            other => Self::Bad(other),
        }
    }
}

/// What MCUboot keeps at the end of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Whether the magic is there: `None` where it is erased, `Some(false)` where it is damaged.
    pub magic: Option<bool>,
    /// The image is confirmed.
    pub image_ok: Flag,
    /// The swap is over.
    pub copy_done: Flag,
}

/// What the flash holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Flash(Vec<u8>);

impl std::fmt::Debug for Flash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flash")
            .field("running", &self.trailer(Slot::Running))
            .field("candidate", &self.trailer(Slot::Candidate))
            .finish_non_exhaustive()
    }
}

impl Flash {
    /// Erased flash.
    pub fn erased() -> Self {
        Self(vec![0xff; BYTES])
    }

    /// What a flash file holds.
    pub fn read(path: &Path) -> Result<Self, BoardError> {
        let mut bytes = Vec::with_capacity(BYTES);
        let file = File::open(path).map_err(BoardError::file(path))?;
        file.take(BYTES as u64).read_to_end(&mut bytes).map_err(BoardError::file(path))?;
        bytes.resize(BYTES, 0xff);
        Ok(Self(bytes))
    }

    /// Writes it into the file that QEMU maps, in place: a board that is stopped sees it at once.
    pub fn write(&self, path: &Path) -> Result<(), BoardError> {
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            file.rewind()?;
            file.write_all(&self.0)?;
            if file.metadata()?.len() != FILE_BYTES {
                file.set_len(FILE_BYTES)?;
            }
            Ok(())
        };
        write().map_err(BoardError::file(path))
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// All bytes, to be changed regardless of what flash can do.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Erases a slot and puts `image` where MCUboot looks for it.
    pub fn install(&mut self, slot: Slot, image: &[u8]) -> Result<(), BoardError> {
        self.0[slot.range()].fill(0xff);
        self.overlay(slot, image)
    }

    /// Puts `image` where MCUboot looks for it and leaves what is behind it in the slot as it is, but for the sector with the
    /// trailer, as a device does that erases no more than it needs.
    pub fn overlay(&mut self, slot: Slot, image: &[u8]) -> Result<(), BoardError> {
        let range = slot.range();
        let room = range.end - SECTOR_BYTES - slot.image_offset();
        if image.len() > room {
            return Err(BoardError::TooLarge(image.len(), room));
        }
        let begin = slot.image_offset();
        let end = begin + image.len();
        self.0[range.start..begin].fill(0xff);
        self.0[begin..end.next_multiple_of(SECTOR_BYTES)].fill(0xff);
        self.0[range.end - SECTOR_BYTES..range.end].fill(0xff);
        self.0[begin..end].copy_from_slice(image);
        Ok(())
    }

    /// The image that begins at the slot's image offset: header, body and TLVs. `None` where there is none.
    pub fn image(&self, slot: Slot) -> Option<&[u8]> {
        let begin = slot.image_offset();
        let len = image_len(&self.0[begin..slot.range().end])?;
        self.0.get(begin..begin + len)
    }

    /// Whether the slot begins with exactly this image.
    pub fn holds(&self, slot: Slot, image: &[u8]) -> bool {
        self.0[slot.image_offset()..slot.range().end].starts_with(image)
    }

    /// Marks the image in slot 1: for a trial, or for good.
    pub fn mark(&mut self, permanent: bool) {
        let end = Slot::Candidate.range().end;
        self.0[end - MAGIC.len()..end].copy_from_slice(&MAGIC);
        if permanent {
            self.0[end - MAGIC.len() - ALIGN] = 1;
        }
    }

    /// The slot's trailer.
    pub fn trailer(&self, slot: Slot) -> Trailer {
        let end = slot.range().end;
        let magic = &self.0[end - MAGIC.len()..end];
        let erased = magic.iter().all(|byte| *byte == 0xff);
        Trailer {
            magic: (!erased).then(|| magic == MAGIC),
            image_ok: Flag::of(self.0[end - MAGIC.len() - ALIGN]),
            copy_done: Flag::of(self.0[end - MAGIC.len() - 2 * ALIGN]),
        }
    }

    /// Does what the flash would do.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => {
                for (cell, byte) in self.0[*offset as usize..].iter_mut().zip(bytes) {
                    *cell &= byte;
                }
            }
            Change::Erase { offset, len } => {
                let begin = *offset as usize;
                self.0[begin..begin + *len as usize].fill(0xff);
            }
        }
    }

    /// First offset behind MCUboot at which the two differ.
    pub fn difference(&self, other: &Self) -> Option<usize> {
        let pairs = self.0.iter().zip(&other.0).skip(BOOT.end);
        pairs.into_iter().position(|(a, b)| a != b).map(|position| position + BOOT.end)
    }
}

/// Length of the image at the begin of `bytes`, by its header and TLVs.
pub fn image_len(bytes: &[u8]) -> Option<usize> {
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?) as usize);
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    if word(0)? != 0x96f3_b83d {
        return None;
    }
    let protected = half(8)?.checked_add(word(12)?)?;
    let plain = protected.checked_add(half(10)?)?;
    (half(plain)? == 0x6907).then_some(())?;
    let len = plain.checked_add(half(plain + 2)?)?;
    (len <= bytes.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header, body and an empty TLV area.
    fn image(body: usize) -> Vec<u8> {
        let mut bytes = vec![0; 0x200 + body];
        bytes[..4].copy_from_slice(&0x96f3_b83d_u32.to_le_bytes());
        bytes[8..10].copy_from_slice(&0x200_u16.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::try_from(body).unwrap().to_le_bytes());
        bytes.extend([0x07, 0x69, 4, 0]);
        bytes
    }

    #[test]
    fn an_image_is_found_again_where_mcuboot_looks_for_it() {
        let mut flash = Flash::erased();
        let image = image(5000);
        for slot in [Slot::Running, Slot::Candidate] {
            assert_eq!(flash.image(slot), None);
            flash.install(slot, &image).unwrap();
            assert_eq!(flash.image(slot), Some(&image[..]));
            assert!(flash.holds(slot, &image));
        }
        assert_eq!(flash.bytes()[0xd_1000..0xd_1004], image[..4]);
        assert!(flash.bytes()[0xd_0000..0xd_1000].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn an_image_that_would_reach_into_the_trailer_is_refused() {
        let mut flash = Flash::erased();
        let room = Slot::Running.range().len() - SECTOR_BYTES;
        assert!(flash.install(Slot::Running, &vec![0; room]).is_ok());
        assert!(matches!(
            flash.install(Slot::Running, &vec![0; room + 1]),
            Err(BoardError::TooLarge(len, most)) if len == most + 1
        ));
    }

    #[test]
    fn a_mark_reads_as_a_mark_and_a_torn_one_as_damage() {
        let mut flash = Flash::erased();
        let unset = Trailer { magic: None, image_ok: Flag::Unset, copy_done: Flag::Unset };
        assert_eq!(flash.trailer(Slot::Candidate), unset);
        flash.mark(false);
        assert_eq!(flash.trailer(Slot::Candidate), Trailer { magic: Some(true), ..unset });
        flash.mark(true);
        assert_eq!(flash.trailer(Slot::Candidate).image_ok, Flag::Set);
        let end = Slot::Candidate.range().end;
        flash.bytes_mut()[end - 1] = 0xff;
        assert_eq!(flash.trailer(Slot::Candidate).magic, Some(false));
    }

    #[test]
    fn writing_clears_bits_and_erasing_sets_them() {
        let mut flash = Flash::erased();
        flash.apply(&Change::Write { offset: 0x2_0000, bytes: vec![0x0f, 0xf0] });
        flash.apply(&Change::Write { offset: 0x2_0000, bytes: vec![0xfc, 0xff] });
        assert_eq!(flash.bytes()[0x2_0000..0x2_0003], [0x0c, 0xf0, 0xff]);
        flash.apply(&Change::Erase { offset: 0x2_0000, len: 0x1000 });
        assert_eq!(flash, Flash::erased());
    }

    #[test]
    fn a_flash_file_gives_back_what_was_written_and_is_as_large_as_qemu_wants() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flash.bin");
        let mut flash = Flash::erased();
        flash.install(Slot::Running, &image(100)).unwrap();
        flash.write(&path).unwrap();
        assert_eq!(Flash::read(&path).unwrap(), flash);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES);
        assert_eq!(flash.difference(&Flash::erased()), Some(0x1_0000));
    }
}
