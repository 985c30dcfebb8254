//! A store for a few small secrets on a flash partition of its own. Owns where they lie, that a change is whole or has
//! not happened, and that what is given up is gone; never knows what they mean and seals nothing. R-SECRET-STORE,
//! R-DESTROY, R-DATA-INTACT.
//!
//! Every entry has an erase block to itself, so that wiping one touches no other. A block holds, from its start:
//!
//! | bytes | what |
//! |---|---|
//! | 32 | the commit: 16 bytes of the SHA-256 of header and value, and their complement; written last, destroyed first |
//! | 32 | the header: `Vlt1`, length (2), 0 (2), generation (4), 0 (4), uid (8), 0 (8); little endian |
//! | up to 256 | the value, padded with zeros |
//!
//! A new value goes into an erased block; once its commit is written the higher generation counts, and the old block is
//! wiped. So a replaced value costs one erase, and a power cut leaves the old or the new one. A commit that was written
//! or destroyed in part is no commit, for no complement fits: [`Partition::open`] wipes such a block.

mod record;

use crate::platform::VaultError;
use core::fmt;
use embedded_storage::nor_flash::NorFlash;
use record::{Body, Header, check, commit, commit_of};
use zeroize::Zeroizing;

/// Longest value in bytes: a P-256 key with what seals it is 60, an entry of PSA's secure storage below 200.
pub const ENTRY_BYTES_MAX: usize = 256;

/// Smallest erase block in bytes.
pub const BLOCK_BYTES_MIN: usize = 2 * UNIT + ENTRY_BYTES_MAX;

/// Fewest erase blocks: one entry and the place for the value that replaces it.
pub const BLOCKS_MIN: u32 = 2;

/// What is written at once, in bytes: the longest word that NOR flash has (STM32H7's). Shorter words divide it.
const UNIT: usize = 32;

const ERASED: u8 = 0xFF;

/// What the flash does when a word is written that is written already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// It becomes zero when zeros are written, as on nRF52, nRF53 and on most SPI flash: a secret is overwritten, then
    /// erased.
    ToZero,
    /// It is refused or made unreadable, as on STM32H5 and others that keep an ECC with each word: a secret is erased
    /// only. An erase that is cut may leave a whole commit over half a value there, so that an entry whose check
    /// fails counts as half wiped and not as damaged.
    Never,
}

/// Why the partition did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionError {
    /// The flash has too few or too small blocks, or words that do not divide 32 bytes.
    Geometry,
    /// Every block but the spare one holds an entry.
    Full,
    /// The value is longer than [`ENTRY_BYTES_MAX`], or than the buffer that it is read into.
    TooLong,
    /// The entry was written as a whole and is another now.
    Damaged,
    /// The flash failed or lost power.
    Medium,
    /// After wiping, something could still be read.
    NotWiped,
}

impl fmt::Display for PartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry => write!(
                f,
                "the vault's partition needs at least {BLOCKS_MIN} erase blocks of at least {BLOCK_BYTES_MIN} bytes and \
                 words that divide {UNIT} bytes: choose another partition"
            ),
            Self::Full => f.write_str("the vault's partition is full: give it more erase blocks"),
            Self::TooLong => {
                write!(f, "the secret is longer than {ENTRY_BYTES_MAX} bytes or than the buffer for it")
            }
            Self::Damaged => f.write_str("the vault's entry is damaged: make a new key in its place"),
            Self::Medium => f.write_str("the vault's flash failed or lost power"),
            Self::NotWiped => f.write_str("the vault's flash still holds something after it was wiped"),
        }
    }
}

impl core::error::Error for PartitionError {}

impl From<PartitionError> for VaultError {
    fn from(error: PartitionError) -> Self {
        match error {
            PartitionError::NotWiped => Self::NotWiped,
            PartitionError::Damaged => Self::Sealed,
            // The vault's entries are short and few: that they do not fit is a partition that cannot be used.
            PartitionError::Geometry
            | PartitionError::Full
            | PartitionError::TooLong
            | PartitionError::Medium => Self::Medium,
        }
    }
}

/// Secrets by number on the flash `F`, or on `&mut F`, all of which is its own.
///
/// Every change is on the flash when the call returns. After an error it may have happened or not; the next change, or
/// the next [`Self::open`], first finishes what was begun.
pub struct Partition<F> {
    flash: F,
    rewrite: Rewrite,
    /// Blocks may hold what nobody wants.
    unsettled: bool,
}

impl<F: NorFlash> Partition<F> {
    const BLOCK: usize = F::ERASE_SIZE;

    /// Opens the partition; what a power cut has left half written or half wiped is wiped. Content that is not the
    /// partition's is taken for that too. A block that cannot be wiped is no error here, for the others can be used:
    /// see [`Self::is_settled`].
    pub fn open(flash: F, rewrite: Rewrite) -> Result<Self, PartitionError> {
        let fits = UNIT.is_multiple_of(F::WRITE_SIZE)
            && UNIT.is_multiple_of(F::READ_SIZE)
            && Self::BLOCK.is_multiple_of(UNIT)
            && Self::BLOCK >= BLOCK_BYTES_MIN;
        let mut partition = Self { flash, rewrite, unsettled: true };
        if !fits || partition.blocks() < BLOCKS_MIN {
            return Err(PartitionError::Geometry);
        }
        match partition.settle() {
            Ok(()) | Err(PartitionError::NotWiped) => Ok(partition),
            Err(error) => Err(error),
        }
    }

    /// How many entries fit: one block stays free for the value that replaces another.
    pub fn entries_max(&self) -> u32 {
        self.blocks() - 1
    }

    /// False where a block holds something that is no entry and could not be wiped yet. The next change tries again and
    /// fails where it cannot.
    pub const fn is_settled(&self) -> bool {
        !self.unsettled
    }

    /// The flash.
    pub const fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Reads the value of `uid` into `buffer`; `None` where there is none, [`PartitionError::Damaged`] where it is not
    /// what was stored.
    pub fn get<'b>(&mut self, uid: u64, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, PartitionError> {
        let mut body = Body::new([0; UNIT + ENTRY_BYTES_MAX]);
        let Some(entry) = self.newest(uid, &mut body)? else { return Ok(None) };
        if !entry.intact && self.rewrite == Rewrite::Never {
            return Ok(None);
        }
        if !entry.intact || !self.load(entry.block, &entry.header, &mut body)? {
            return Err(PartitionError::Damaged);
        }
        let value = body.get(UNIT..UNIT + entry.header.len()).ok_or(PartitionError::Damaged)?;
        let buffer = buffer.get_mut(..value.len()).ok_or(PartitionError::TooLong)?;
        buffer.copy_from_slice(value);
        Ok(Some(buffer))
    }

    /// Stores `value` under `uid` and wipes the one before. After a power cut it is the old or the new one.
    pub fn set(&mut self, uid: u64, value: &[u8]) -> Result<(), PartitionError> {
        if value.len() > ENTRY_BYTES_MAX {
            return Err(PartitionError::TooLong);
        }
        self.settle()?;
        let mut body = Body::new([0; UNIT + ENTRY_BYTES_MAX]);
        let old = self.newest(uid, &mut body)?;
        // Behind the old one, so that replacing the same entry wears all free blocks alike.
        let free = self.erased_block(old.as_ref().map_or(0, |old| old.block + 1))?;
        // A new entry leaves another block free, or nothing could be replaced any more.
        if old.is_none() && self.erased_block(free + 1)? == free {
            return Err(PartitionError::Full);
        }
        // More generations than any flash bears; a damaged entry's number may be any, and counts for nothing.
        let generation =
            old.as_ref().filter(|old| old.intact).map_or(1, |old| old.header.generation.saturating_add(1));
        let header = Header { uid, generation, len: value.len() as u16 };
        body.fill(0);
        for (to, from) in body.iter_mut().zip(header.encode().iter().chain(value)) {
            *to = *from;
        }
        let len = UNIT + header.padded();
        let written = body.get(..len).ok_or(PartitionError::TooLong)?;
        self.unsettled = true;
        self.write(free, UNIT, written)?;
        self.write(free, 0, &commit(check(&body, &header)))?;
        if let Some(old) = old {
            self.wipe_block(old.block)?;
        }
        self.unsettled = false;
        Ok(())
    }

    /// Wipes the value of `uid`; true where there was one. After a power cut it is there or not.
    pub fn remove(&mut self, uid: u64) -> Result<bool, PartitionError> {
        self.settle()?;
        let mut found = false;
        for block in 0..self.blocks() {
            if self.header(block)?.is_some_and(|header| header.uid == uid) {
                self.unsettled = true;
                self.wipe_block(block)?;
                self.unsettled = false;
                found = true;
            }
        }
        Ok(found)
    }

    /// Wipes every block, also those that look empty. Goes on where one fails, and then gives the first error; after a
    /// power cut any of the entries may still be there.
    pub fn wipe_all(&mut self) -> Result<(), PartitionError> {
        self.unsettled = true;
        let mut result = Ok(());
        for block in 0..self.blocks() {
            result = result.and(self.wipe_block(block));
        }
        self.unsettled = result.is_err();
        result
    }

    fn blocks(&self) -> u32 {
        (self.flash.capacity() / Self::BLOCK) as u32
    }

    const fn address(block: u32, offset: usize) -> u32 {
        block * Self::BLOCK as u32 + offset as u32
    }

    fn read(&mut self, block: u32, offset: usize, bytes: &mut [u8]) -> Result<(), PartitionError> {
        self.flash.read(Self::address(block, offset), bytes).map_err(|_| PartitionError::Medium)
    }

    /// Writes whole units, of which there are some in `bytes`, and looks whether they are there.
    fn write(&mut self, block: u32, offset: usize, bytes: &[u8]) -> Result<(), PartitionError> {
        self.flash.write(Self::address(block, offset), bytes).map_err(|_| PartitionError::Medium)?;
        let mut unit = Zeroizing::new([0; UNIT]);
        for (at, expected) in bytes.chunks(UNIT).enumerate() {
            self.read(block, offset + at * UNIT, unit.as_mut())?;
            if unit.as_slice() != expected {
                return Err(PartitionError::Medium);
            }
        }
        Ok(())
    }

    /// True where every byte of the block is `value`.
    fn is_all(&mut self, block: u32, value: u8) -> Result<bool, PartitionError> {
        let mut unit = Zeroizing::new([0; UNIT]);
        for offset in (0..Self::BLOCK).step_by(UNIT) {
            self.read(block, offset, unit.as_mut())?;
            if unit.iter().any(|byte| *byte != value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The first erased block from `start` on, or else from the beginning.
    fn erased_block(&mut self, start: u32) -> Result<u32, PartitionError> {
        for at in 0..self.blocks() {
            let block = (start + at) % self.blocks();
            if self.is_all(block, ERASED)? {
                return Ok(block);
            }
        }
        Err(PartitionError::Full)
    }

    /// The header of a block that was committed; whether header and value are what was committed is not looked at.
    fn header(&mut self, block: u32) -> Result<Option<Header>, PartitionError> {
        let mut unit = [0; UNIT];
        self.read(block, 0, &mut unit)?;
        if commit_of(&unit).is_none() {
            return Ok(None);
        }
        self.read(block, UNIT, &mut unit)?;
        Ok(Header::decode(&unit))
    }

    /// Reads header and value of a committed block into `body`; true where they are what was committed.
    fn load(&mut self, block: u32, header: &Header, body: &mut Body) -> Result<bool, PartitionError> {
        let mut unit = [0; UNIT];
        self.read(block, 0, &mut unit)?;
        let place = body.get_mut(..UNIT + header.padded()).ok_or(PartitionError::Damaged)?;
        self.read(block, UNIT, place)?;
        Ok(commit_of(&unit) == Some(check(body, header)))
    }

    /// The entry of `uid` that counts: an intact one before a damaged one, then the one with the higher generation.
    fn newest(&mut self, uid: u64, body: &mut Body) -> Result<Option<Entry>, PartitionError> {
        let mut newest: Option<Entry> = None;
        for block in 0..self.blocks() {
            let Some(header) = self.header(block)?.filter(|header| header.uid == uid) else { continue };
            let entry = Entry { block, intact: self.load(block, &header, body)?, header };
            if newest.as_ref().is_none_or(|newest| entry.rank() > newest.rank()) {
                newest = Some(entry);
            }
        }
        Ok(newest)
    }

    /// Finishes what was begun: afterwards each block is erased or the only entry of its uid.
    fn settle(&mut self) -> Result<(), PartitionError> {
        if !self.unsettled {
            return Ok(());
        }
        let mut body = Body::new([0; UNIT + ENTRY_BYTES_MAX]);
        let mut result = Ok(());
        for block in 0..self.blocks() {
            let unwanted = match self.header(block)? {
                None => !self.is_all(block, ERASED)?,
                Some(header) => {
                    let newest = self.newest(header.uid, &mut body)?;
                    newest.is_none_or(|newest| {
                        newest.block != block || !newest.intact && self.rewrite == Rewrite::Never
                    })
                }
            };
            if unwanted {
                match self.wipe_block(block) {
                    Err(PartitionError::NotWiped) => result = Err(PartitionError::NotWiped),
                    other => other?,
                }
            }
        }
        self.unsettled = result.is_err();
        result
    }

    /// Overwrites where the flash takes it, erases, and reads back both. Erases also where overwriting failed.
    fn wipe_block(&mut self, block: u32) -> Result<(), PartitionError> {
        let overwritten = match self.rewrite {
            Rewrite::ToZero => self.overwrite(block),
            Rewrite::Never => Ok(()),
        };
        self.flash
            .erase(Self::address(block, 0), Self::address(block + 1, 0))
            .map_err(|_| PartitionError::Medium)?;
        if !self.is_all(block, ERASED)? {
            return Err(PartitionError::NotWiped);
        }
        overwritten
    }

    /// Makes every byte zero, the commit's first. What is zero already is left alone: flash bears few writes of a word.
    fn overwrite(&mut self, block: u32) -> Result<(), PartitionError> {
        let mut unit = Zeroizing::new([0; UNIT]);
        for offset in (0..Self::BLOCK).step_by(UNIT) {
            self.read(block, offset, unit.as_mut())?;
            if unit.iter().any(|byte| *byte != 0) {
                self.flash
                    .write(Self::address(block, offset), &[0; UNIT])
                    .map_err(|_| PartitionError::Medium)?;
            }
        }
        if self.is_all(block, 0)? { Ok(()) } else { Err(PartitionError::NotWiped) }
    }
}

/// A committed block.
struct Entry {
    block: u32,
    intact: bool,
    header: Header,
}

impl Entry {
    const fn rank(&self) -> (bool, u32) {
        (self.intact, self.header.generation)
    }
}
