//! Erases that happen as a whole, whatever power does: the layer between the map and the flash. Owns the last two
//! blocks, where each erase is noted before it begins; never looks at what the map stores, only at whether it marked
//! a block. R-DATA-INTACT.
//!
//! One of the two blocks is active: the one with the higher generation in its first unit. The units behind it are
//! records, `Begin(block)` and `Done` in turn. The last one that can be read being `Begin` means that the block may
//! hold anything: it is erased again. When the active block is full, the other one is erased and gets the next
//! generation.
//!
//! A record is a number and its complement. A cut write leaves ones where zeros were to be, so no record that was
//! written in part reads as another one.

use embedded_storage::nor_flash::{ErrorType, NorFlash};
use embedded_storage_async::nor_flash as asynchronous;

/// Smallest unit in bytes that is written at once: the header of an item of the map.
const UNIT_MIN: usize = 8;

/// The largest word that the map can take, in bytes.
const UNIT_MAX: usize = 32;

const ERASED: u8 = crate::flash::ERASED;

/// Blocks that the log takes.
const LOG_BLOCKS: u32 = 2;

/// Fewest blocks that the map works with.
const MAP_BLOCKS_MIN: u32 = 2;

/// Why there is no log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogError<E> {
    /// The flash has too few blocks, or its words do not fit.
    Geometry,
    /// The flash holds something else.
    Foreign,
    /// The flash failed.
    Flash(E),
}

impl<E> From<E> for LogError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

/// The flash below, less the log's two blocks at its end, with erases that are done or not begun.
#[derive(Debug)]
pub(crate) struct EraseLog<F> {
    flash: F,
    data_blocks: u32,
    active: u32,
    generation: u32,
    /// The unit in the active block where the next record goes.
    next: usize,
    /// A block whose erase is noted, or may be, and not finished.
    pending: Option<u32>,
}

impl<F: NorFlash> EraseLog<F> {
    /// Bytes of a unit.
    pub(crate) const UNIT: usize = if F::WRITE_SIZE > UNIT_MIN { F::WRITE_SIZE } else { UNIT_MIN };
    const BLOCK: usize = F::ERASE_SIZE;
    const UNITS: usize = F::ERASE_SIZE / Self::UNIT;

    /// Finishes the erase that a power cut has left, or begins a log on erased flash.
    pub(crate) fn open(flash: F) -> Result<Self, LogError<F::Error>> {
        let blocks = (flash.capacity() / Self::BLOCK) as u32;
        let fits = Self::UNIT <= UNIT_MAX
            && Self::UNIT.is_multiple_of(F::WRITE_SIZE)
            && Self::UNIT.is_multiple_of(F::READ_SIZE)
            && Self::BLOCK.is_multiple_of(Self::UNIT)
            && Self::UNITS > 4;
        if !fits || blocks < LOG_BLOCKS + MAP_BLOCKS_MIN {
            return Err(LogError::Geometry);
        }
        let mut log = Self {
            flash,
            data_blocks: blocks - LOG_BLOCKS,
            active: 0,
            generation: 0,
            next: 0,
            pending: None,
        };
        let generations = [log.generation_of(0)?, log.generation_of(1)?];
        // Where only one block has a generation it is the greater, for `None` is less than any.
        log.active = u32::from(generations[1] > generations[0]);
        match generations[0].max(generations[1]) {
            Some(generation) => {
                log.generation = generation;
                log.replay()?;
                log.finish()?;
            }
            None if log.is_erased(log.data_blocks)? => {
                log.active = 1;
                log.turn()?;
            }
            None => return Err(LogError::Foreign),
        }
        Ok(log)
    }

    /// The bytes that the map may use, from 0 on.
    pub(crate) const fn size(&self) -> u32 {
        self.data_blocks * Self::BLOCK as u32
    }

    /// Gives the flash back.
    pub(crate) fn into_flash(self) -> F {
        self.flash
    }

    /// The flash.
    pub(crate) const fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    fn address(&self, log: u32, unit: usize) -> u32 {
        (self.data_blocks + log) * Self::BLOCK as u32 + (unit * Self::UNIT) as u32
    }

    fn generation_of(&mut self, log: u32) -> Result<Option<u32>, F::Error> {
        let mut unit = vec![0; Self::UNIT];
        self.flash.read(self.address(log, 0), &mut unit)?;
        Ok(match Record::decode(&unit) {
            Some(Record::Generation(generation)) => Some(generation),
            _ => None,
        })
    }

    /// Reads the records: what is pending, and where the next one goes.
    fn replay(&mut self) -> Result<(), F::Error> {
        let mut block = vec![0; Self::BLOCK];
        self.flash.read(self.address(self.active, 0), &mut block)?;
        for (at, unit) in block.chunks_exact(Self::UNIT).enumerate() {
            if unit.iter().all(|byte| *byte == ERASED) {
                continue;
            }
            // Also behind one that was written in part.
            self.next = at + 1;
            match Record::decode(unit) {
                Some(Record::Begin(block)) if block < self.data_blocks => self.pending = Some(block),
                Some(Record::Done) => self.pending = None,
                _ => {}
            }
        }
        Ok(())
    }

    fn is_erased(&mut self, blocks: u32) -> Result<bool, F::Error> {
        let mut bytes = vec![0; Self::BLOCK];
        for block in 0..blocks {
            self.flash.read(block * Self::BLOCK as u32, &mut bytes)?;
            if bytes.iter().any(|byte| *byte != ERASED) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn append(&mut self, record: Record) -> Result<(), F::Error> {
        let address = self.address(self.active, self.next);
        // Whether it can be written or not, the unit may no longer be erased.
        self.next += 1;
        self.flash.write(address, &record.encode(Self::UNIT))
    }

    /// Makes the other block the active one: an erase that was pending before is done.
    fn turn(&mut self) -> Result<(), F::Error> {
        let other = 1 - self.active;
        let generation = self.generation + 1;
        self.erase_now(self.data_blocks + other)?;
        self.flash.write(self.address(other, 0), &Record::Generation(generation).encode(Self::UNIT))?;
        (self.active, self.generation, self.next) = (other, generation, 1);
        Ok(())
    }

    /// Finishes the pending erase, if there is one.
    fn finish(&mut self) -> Result<(), F::Error> {
        if let Some(block) = self.pending {
            self.erase_now(block)?;
            if self.next < Self::UNITS { self.append(Record::Done) } else { self.turn() }?;
            self.pending = None;
        }
        Ok(())
    }

    fn erase_now(&mut self, block: u32) -> Result<(), F::Error> {
        let size = Self::BLOCK as u32;
        self.flash.erase(block * size, (block + 1) * size)
    }
}

impl<F: NorFlash> ErrorType for EraseLog<F> {
    type Error = F::Error;
}

impl<F: NorFlash> asynchronous::ReadNorFlash for EraseLog<F> {
    const READ_SIZE: usize = Self::UNIT;

    /// Whole units. The first and the last one of a block are the map's marks: one that was written in part counts as
    /// written, because it cannot be written again.
    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.finish()?;
        self.flash.read(offset, bytes)?;
        for (unit, address) in bytes.chunks_mut(Self::UNIT).zip((offset as usize..).step_by(Self::UNIT)) {
            let in_block = address % Self::BLOCK;
            let is_mark = in_block == 0 || in_block == Self::BLOCK - Self::UNIT;
            if is_mark && unit.iter().any(|byte| *byte != ERASED) {
                unit.fill(0);
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.size() as usize
    }
}

impl<F: NorFlash> asynchronous::NorFlash for EraseLog<F> {
    const WRITE_SIZE: usize = Self::UNIT;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        for block in from / Self::BLOCK as u32..to / Self::BLOCK as u32 {
            self.finish()?;
            if self.next >= Self::UNITS {
                self.turn()?;
            }
            // Before the record: where writing it fails, it may be there all the same.
            self.pending = Some(block);
            self.append(Record::Begin(block))?;
            self.finish()?;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.finish()?;
        self.flash.write(offset, bytes)
    }
}

/// What a unit of the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// First unit of a block: the block with the higher one is active.
    Generation(u32),
    /// The erase of this block begins.
    Begin(u32),
    /// It is done.
    Done,
}

impl Record {
    /// The upper two bits say which; 30 bits of generations are more erases than any flash bears.
    fn encode(self, unit: usize) -> Vec<u8> {
        let number = match self {
            Self::Generation(generation) => 1 << 30 | generation,
            Self::Begin(block) => 2 << 30 | block,
            Self::Done => 3 << 30,
        };
        let mut bytes = vec![0; unit];
        for (to, from) in
            bytes.iter_mut().zip(number.to_le_bytes().into_iter().chain((!number).to_le_bytes()))
        {
            *to = from;
        }
        bytes
    }

    fn decode(unit: &[u8]) -> Option<Self> {
        let (number, rest) = unit.split_first_chunk()?;
        let (complement, _padding) = rest.split_first_chunk()?;
        let number = u32::from_le_bytes(*number);
        if u32::from_le_bytes(*complement) != !number {
            return None;
        }
        let value = number & 0x3FFF_FFFF;
        match number >> 30 {
            1 => Some(Self::Generation(value)),
            2 => Some(Self::Begin(value)),
            3 => Some(Self::Done),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
