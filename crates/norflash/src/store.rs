//! The key-value store on flash: the map of `sequential-storage` over the erase log. Owns how a value and its absence
//! are stored and what the map's errors mean to the device; never what the values say. R-DATA-INTACT, R-CONF.
//!
//! A removed key is a value too, one without content: to strike out what is written would mean to write a word twice.
//! Room: of each block all but two units of 8 bytes holds items of 8 bytes and key, flag and value, rounded up to
//! units; one block is kept erased and two are the erase log's.

use crate::erase_log::{EraseLog, LogError};
use device::{Key, KeyValue, StorageError};
use embassy_futures::block_on;
use embedded_storage::nor_flash::NorFlash;
use sequential_storage::Error;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};
use std::fmt::Debug;

/// Why a store cannot be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError<E: Debug> {
    /// It needs four blocks, two of them for the erase log, of at least five units, and words of at most 32 bytes.
    #[error(
        "the flash has too few blocks or unusual words: a store needs at least 4 blocks and words of 1 to 32 bytes"
    )]
    Geometry,
    /// Opening the store would destroy what is there.
    #[error("the flash holds something that is no store: erase it first if nobody needs that any more")]
    Foreign,
    /// The flash failed or lost power.
    #[error("the store cannot be opened, the flash failed: {0:?}")]
    Flash(E),
}

impl<E: Debug> From<LogError<E>> for StoreError<E> {
    fn from(error: LogError<E>) -> Self {
        match error {
            LogError::Geometry => Self::Geometry,
            LogError::Foreign => Self::Foreign,
            LogError::Flash(error) => Self::Flash(error),
        }
    }
}

type Map<F> = MapStorage<u8, EraseLog<F>, Cache<Uncached, Uncached, Uncached, u8>>;

/// A store on the flash `F`, or on `&mut F`. Where power fails during a write, the key has its old or its new value,
/// and all others are untouched; the next store that is opened repairs what it finds, and so does this one after an
/// error.
pub struct Store<F: NorFlash> {
    map: Map<F>,
    /// Holds an item of any length that fits into a block, so that nothing on the flash is too long for it.
    buffer: Vec<u8>,
    fault: Option<F::Error>,
}

impl<F: NorFlash> Store<F> {
    /// Longest value in bytes: one that fills a block. 4070 with blocks of 4 KiB.
    pub const VALUE_MAX: usize =
        F::ERASE_SIZE.saturating_sub(3 * EraseLog::<F>::UNIT + KEY_BYTES + FLAG_BYTES);

    /// Opens the store on `flash`, or begins one where all of it is erased.
    pub fn open(flash: F) -> Result<Self, StoreError<F::Error>> {
        let log = EraseLog::open(flash)?;
        let config = MapConfig::try_new(0..log.size()).map_err(|_| StoreError::Geometry)?;
        Ok(Self {
            map: MapStorage::new(log, config, Cache::new_uncached()),
            buffer: vec![0; F::ERASE_SIZE],
            fault: None,
        })
    }

    /// Erases all of `flash`, whatever is there, and begins a store on it.
    pub fn format(mut flash: F) -> Result<Self, StoreError<F::Error>> {
        let whole_blocks = flash.capacity() / F::ERASE_SIZE * F::ERASE_SIZE;
        flash.erase(0, whole_blocks as u32).map_err(StoreError::Flash)?;
        Self::open(flash)
    }

    /// The flash, to look at it or to cut its power.
    pub const fn flash(&mut self) -> &mut F {
        self.map.flash().flash()
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.map.destroy().0.into_flash()
    }

    /// What the flash said when [`StorageError::Medium`] was last given.
    pub const fn take_fault(&mut self) -> Option<F::Error> {
        self.fault.take()
    }

    fn failed(&mut self, error: Error<F::Error>) -> StorageError {
        match error {
            Error::Storage { value, .. } => {
                self.fault = Some(value);
                StorageError::Medium
            }
            Error::FullStorage => StorageError::Full,
            Error::ItemTooBig | Error::BufferTooBig | Error::BufferTooSmall(_) => StorageError::TooLong,
            // `Corrupted` comes only after the map's own repair has failed; the rest is what cannot be made sense of.
            _ => StorageError::Corrupt,
        }
    }

    fn put(&mut self, key: Key, value: Option<&[u8]>) -> Result<(), StorageError> {
        block_on(self.map.store_item(&mut self.buffer, &key.number(), &value))
            .map_err(|error| self.failed(error))
    }
}

const KEY_BYTES: usize = 1;
const FLAG_BYTES: usize = 1;

impl<F: NorFlash> KeyValue for Store<F> {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        let found = block_on(self.map.fetch_item::<Option<&[u8]>>(&mut self.buffer, &key.number()));
        match found {
            Ok(Some(Some(value))) => {
                let buffer = buffer.get_mut(..value.len()).ok_or(StorageError::TooLong)?;
                buffer.copy_from_slice(value);
                Ok(Some(buffer))
            }
            Ok(Some(None) | None) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        if value.len() > Self::VALUE_MAX {
            return Err(StorageError::TooLong);
        }
        self.put(key, Some(value))
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        // What is not there costs no wear: the device removes a key at every start.
        let found = block_on(self.map.fetch_item::<Option<&[u8]>>(&mut self.buffer, &key.number()));
        match found {
            Ok(Some(Some(_))) => self.put(key, None),
            Ok(Some(None) | None) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}

#[cfg(test)]
mod tests;
