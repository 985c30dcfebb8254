//! NOR flash in RAM or in a file. Owns the cells, the rules of writing them and the count of what was done to them;
//! knows nothing of what is stored. R-DATA-INTACT, R-FW-ATOMIC: what survives here was cut at every operation.

mod file;
mod power;

pub use file::OpenError;
pub use power::Cut;

use embedded_storage::nor_flash as blocking;
use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};
use embedded_storage_async::nor_flash as asynchronous;
use power::{Gate, Power};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// Erase block of [`Flash`] where nothing else is said, in bytes: the sector of common QSPI parts and nRF52 pages.
pub const BLOCK_BYTES: usize = 4096;

/// Write word of [`Flash`] where nothing else is said, in bytes: a Cortex-M's word.
pub const WORD_BYTES: usize = 4;

/// Blocks of [`Flash`] where nothing else is said: 128 KiB.
pub const BLOCKS: u16 = 32;

/// The value of an erased byte.
pub(crate) const ERASED: u8 = 0xFF;

/// The shape of a flash, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// What one erase takes.
    pub block: usize,
    /// What one write takes, and its alignment.
    pub word: usize,
    /// Everything.
    pub total: usize,
}

/// What was done to a flash since it was made or opened. Refused operations do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Reads.
    pub reads: u64,
    /// Writes, of any length.
    pub writes: u64,
    /// Erases, one for each block.
    pub erases: u64,
}

impl Operations {
    /// Operations that change the flash, which are those that power can be cut at.
    pub const fn changes(self) -> u64 {
        self.writes + self.erases
    }
}

/// Why the flash refused or failed. Nothing was changed, unless it is `PowerLost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlashError {
    /// Real flash with ECC makes the word unreadable.
    #[error("the flash word at {address:#x} is already written: erase its block before writing it again")]
    NotErased {
        /// Address of the first such word.
        address: u32,
    },
    /// Address or length is no multiple of the word or, for an erase, of the block.
    #[error("{len} bytes of flash at {address:#x} are not aligned to {unit} bytes")]
    Misaligned {
        /// Where it was to begin.
        address: u32,
        /// How many bytes.
        len: usize,
        /// The alignment in bytes.
        unit: usize,
    },
    /// It would reach beyond the end.
    #[error("{len} bytes of flash at {address:#x} reach beyond its {total} bytes")]
    OutOfRange {
        /// Where it was to begin.
        address: u32,
        /// How many bytes.
        len: usize,
        /// Size of the flash.
        total: usize,
    },
    /// Power was cut: what was being done is done, undone or torn.
    #[error("the flash has lost power: switch it on and look what is left")]
    PowerLost,
    /// The file under the flash failed.
    #[error("the file that holds the flash cannot be written: {0}")]
    File(ErrorKind),
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Misaligned { .. } => NorFlashErrorKind::NotAligned,
            Self::OutOfRange { .. } => NorFlashErrorKind::OutOfBounds,
            Self::NotErased { .. } | Self::PowerLost | Self::File(_) => NorFlashErrorKind::Other,
        }
    }
}

/// The cells of one block; none where all of them are erased, so that what is not used costs no memory.
#[derive(Clone, Debug, Default)]
struct Block {
    cells: Option<Box<[u8]>>,
    erased: u32,
}

/// NOR flash with erase blocks of `BLOCK` bytes and write words of `WORD` bytes.
#[derive(Debug)]
pub struct Flash<const BLOCK: usize = BLOCK_BYTES, const WORD: usize = WORD_BYTES> {
    blocks: Vec<Block>,
    file: Option<File>,
    durable: bool,
    overwritable: bool,
    operations: Operations,
    power: Power,
}

impl Flash {
    /// Erased flash of [`BLOCKS`] blocks in RAM.
    pub fn in_memory() -> Self {
        Self::in_memory_of(BLOCKS)
    }

    /// Flash of [`BLOCKS`] blocks in the file `path`: see [`Self::open_of`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_of(path, BLOCKS)
    }
}

impl<const BLOCK: usize, const WORD: usize> Flash<BLOCK, WORD> {
    // 65 535 blocks of 64 KiB are what 32-bit addresses reach.
    const SHAPE: () = assert!(WORD > 0 && BLOCK.is_multiple_of(WORD) && BLOCK <= 0x1_0000 && BLOCK > 0);

    /// Erased flash of `blocks` blocks in RAM.
    pub fn in_memory_of(blocks: u16) -> Self {
        let () = Self::SHAPE;
        Self {
            blocks: vec![Block::default(); usize::from(blocks)],
            file: None,
            durable: false,
            overwritable: false,
            operations: Operations::default(),
            power: Power::default(),
        }
    }

    /// Flash of `blocks` blocks in the file `path`, which holds its content and nothing else, and keeps it when the
    /// process is killed. Where there is no file, one with erased content comes into being as a whole, readable by its
    /// owner only. A file of another size is an error and stays as it is, and so is one that is in use.
    pub fn open_of(path: &Path, blocks: u16) -> Result<Self, OpenError> {
        let mut flash = Self::in_memory_of(blocks);
        let (file, content) = file::open(path, flash.geometry().total)?;
        for (block, cells) in flash.blocks.iter_mut().zip(content.chunks_exact(BLOCK)) {
            block.cells = cells.iter().any(|cell| *cell != ERASED).then(|| cells.into());
        }
        flash.file = Some(file);
        Ok(flash)
    }

    /// The same flash, but zeros may be written over what is written: nRF52, nRF53 and most SPI flash take that, flash
    /// with an ECC in each word does not.
    #[must_use]
    pub fn overwritable(self) -> Self {
        Self { overwritable: true, ..self }
    }

    /// The same flash, but every change is on the disk when the call returns and not only in the system's cache: it
    /// survives the machine's power cut too, and takes some milliseconds.
    #[must_use]
    pub fn durable(self) -> Self {
        Self { durable: true, ..self }
    }

    /// A copy of the content and the wear in RAM, with power on and nothing counted: the same state once more for
    /// another cut.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { blocks: self.blocks.clone(), overwritable: self.overwritable, ..Self::in_memory_of(0) }
    }

    /// The shape.
    pub fn geometry(&self) -> Geometry {
        Geometry { block: BLOCK, word: WORD, total: BLOCK * self.blocks.len() }
    }

    /// The whole content, as a programmer with a debug probe would read it.
    pub fn image(&self) -> Vec<u8> {
        let erased = [ERASED; BLOCK];
        self.blocks.iter().flat_map(|block| block.cells.as_deref().unwrap_or(&erased)).copied().collect()
    }

    /// What was done since it was made or opened.
    pub const fn operations(&self) -> Operations {
        self.operations
    }

    /// How often each block was erased since it was made or opened.
    pub fn wear(&self) -> impl ExactSizeIterator<Item = u32> {
        self.blocks.iter().map(|block| block.erased)
    }

    /// Cuts power at a write or erase to come: `operation` 0 is the next one.
    pub const fn cut_at(&mut self, operation: u64, cut: Cut) {
        self.power.cut_at(operation, cut);
    }

    /// Power is back, and no cut is to come. What the cut left stays.
    pub fn power_on(&mut self) {
        self.power = Power::default();
    }

    /// True from a cut to [`Self::power_on`].
    pub const fn is_off(&self) -> bool {
        self.power.is_off()
    }

    /// Reads from `address` on, from any address and of any length.
    pub fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.check(address, bytes.len(), 1)?;
        self.operations.reads += 1;
        self.copy_out(address, bytes);
        Ok(())
    }

    /// Writes whole words, all of which must be erased, or be given zeros on [`Self::overwritable`] flash.
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.check(address, bytes.len(), WORD)?;
        let mut before = vec![0; bytes.len()];
        self.copy_out(address, &mut before);
        let refused = |(before, after): (&[u8], &[u8])| {
            let zeroed = self.overwritable && after.iter().all(|byte| *byte == 0);
            !zeroed && before.iter().any(|cell| *cell != ERASED)
        };
        if let Some(word) = before.chunks(WORD).zip(bytes.chunks(WORD)).position(refused) {
            return Err(FlashError::NotErased { address: address + (word * WORD) as u32 });
        }
        let gate = self.power.pass();
        let after = match gate {
            Gate::Open | Gate::CutAfter => bytes.to_vec(),
            Gate::CutBefore => return Err(FlashError::PowerLost),
            // A write only ever clears bits.
            Gate::Torn(seed) => power::torn_write(seed, bytes, WORD)
                .iter()
                .zip(&before)
                .map(|(torn, was)| torn & was)
                .collect(),
        };
        self.store(address, &after)?;
        self.operations.writes += 1;
        if gate == Gate::Open { Ok(()) } else { Err(FlashError::PowerLost) }
    }

    /// Erases whole blocks from `from` to before `to`, one after the other.
    pub fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let total = self.geometry().total;
        let len =
            to.checked_sub(from).ok_or(FlashError::OutOfRange { address: from, len: 0, total })? as usize;
        self.check(from, len, BLOCK)?;
        for address in (from..to).step_by(BLOCK) {
            self.erase_block(address)?;
        }
        Ok(())
    }

    fn erase_block(&mut self, address: u32) -> Result<(), FlashError> {
        let gate = self.power.pass();
        let after = match gate {
            Gate::Open | Gate::CutAfter => vec![ERASED; BLOCK],
            Gate::CutBefore => return Err(FlashError::PowerLost),
            Gate::Torn(seed) => {
                let mut before = vec![0; BLOCK];
                self.copy_out(address, &mut before);
                power::torn_erase(seed, before, WORD)
            }
        };
        self.store(address, &after)?;
        self.operations.erases += 1;
        if let Some(block) = self.blocks.get_mut(address as usize / BLOCK) {
            block.erased += 1;
            if after.iter().all(|cell| *cell == ERASED) {
                block.cells = None;
            }
        }
        if gate == Gate::Open { Ok(()) } else { Err(FlashError::PowerLost) }
    }

    fn check(&self, address: u32, len: usize, unit: usize) -> Result<(), FlashError> {
        if self.power.is_off() {
            return Err(FlashError::PowerLost);
        }
        let total = self.geometry().total;
        if (address as usize).checked_add(len).is_none_or(|end| end > total) {
            return Err(FlashError::OutOfRange { address, len, total });
        }
        if !(address as usize).is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(FlashError::Misaligned { address, len, unit });
        }
        Ok(())
    }

    /// The range is checked.
    fn copy_out(&self, address: u32, bytes: &mut [u8]) {
        let mut at = address as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let here = rest.len().min(BLOCK - at % BLOCK);
            let (part, after) = rest.split_at_mut(here);
            match self.blocks.get(at / BLOCK).and_then(|block| block.cells.as_deref()) {
                Some(cells) => {
                    part.copy_from_slice(cells.get(at % BLOCK..at % BLOCK + here).unwrap_or_default());
                }
                None => part.fill(ERASED),
            }
            (at, rest) = (at + here, after);
        }
    }

    /// Puts `bytes` in place, in the file first: where that fails, the flash in RAM is as before. The range is checked.
    fn store(&mut self, address: u32, bytes: &[u8]) -> Result<(), FlashError> {
        if let Some(file) = &self.file {
            file::write_at(file, address, bytes, self.durable)
                .map_err(|error| FlashError::File(error.kind()))?;
        }
        let mut at = address as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(BLOCK - at % BLOCK));
            if let Some(block) = self.blocks.get_mut(at / BLOCK) {
                let cells = block.cells.get_or_insert_with(|| [ERASED; BLOCK].into());
                for (cell, byte) in cells.iter_mut().skip(at % BLOCK).zip(part) {
                    *cell = *byte;
                }
            }
            (at, rest) = (at + part.len(), after);
        }
        Ok(())
    }
}

impl<const BLOCK: usize, const WORD: usize> blocking::ErrorType for Flash<BLOCK, WORD> {
    type Error = FlashError;
}

impl<const BLOCK: usize, const WORD: usize> blocking::ReadNorFlash for Flash<BLOCK, WORD> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        Self::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.geometry().total
    }
}

impl<const BLOCK: usize, const WORD: usize> blocking::NorFlash for Flash<BLOCK, WORD> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        Self::erase(self, from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        Self::write(self, offset, bytes)
    }
}

impl<const BLOCK: usize, const WORD: usize> asynchronous::ReadNorFlash for Flash<BLOCK, WORD> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        Self::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.geometry().total
    }
}

impl<const BLOCK: usize, const WORD: usize> asynchronous::NorFlash for Flash<BLOCK, WORD> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = BLOCK;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        Self::erase(self, from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        Self::write(self, offset, bytes)
    }
}

#[cfg(test)]
mod tests;
