//! A file that behaves like NOR flash, and the key-value store on it.
//!
//! [`Flash`] is the medium: erased bytes are `0xFF`, a word can be written once between two erases, an erase takes a
//! whole block, and power can be cut at any write or erase: before it, after it, or in the middle of it ([`Cut`]). It
//! lives in RAM or in a file that survives the process. [`Store`] keeps the device's values on it (or on any other
//! `embedded_storage` NOR flash): every write is atomic, and after a power cut each key has its old or its new value.
//!
//! ```
//! use device::{Key, KeyValue};
//! use norflash::{Flash, Store};
//!
//! let mut flash = Flash::in_memory();
//! let mut store = Store::open(&mut flash)?;
//! store.write(Key::Boot, &7_u64.to_le_bytes())?;
//!
//! let mut buffer = [0; 8];
//! assert_eq!(store.read(Key::Boot, &mut buffer)?, Some(7_u64.to_le_bytes().as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Cutting power
//! A run without a cut counts the operations ([`Flash::operations`]); then the same run is repeated with a cut at each:
//!
//! ```
//! use norflash::{Cut, Flash, FlashError};
//!
//! let mut flash = Flash::in_memory();
//! flash.cut_at(1, Cut::Torn { seed: 42 });
//! assert_eq!(flash.write(0, &[1; 8]), Ok(()));
//! assert_eq!(flash.write(8, &[2; 8]), Err(FlashError::PowerLost));
//! assert_eq!(flash.erase(0, 4096), Err(FlashError::PowerLost));
//! flash.power_on();
//! assert_eq!(flash.erase(0, 4096), Ok(()));
//! ```
//!
//! # What the store adds to `sequential-storage`
//! The map of `sequential-storage` appends values to blocks and knows a block's state by its first and its last word.
//! It recovers by itself where an erase runs through the block from its start and where what is written is either
//! there or not. Flash promises less: a block whose erase was cut holds anything (it may look full, and its recovery
//! then takes it for the source of an unfinished copy and erases the good one), and a word that was being written may
//! look erased and not be. So a layer between map and flash notes each erase before it begins, in two blocks of its
//! own, and finishes it after a cut; it takes a block's mark that was written in part for written; and it writes in
//! units of an item's header, so that the remains of a header never join with the item behind it (its issue 136).
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod erase_log;
mod flash;
mod store;

pub use flash::{BLOCK_BYTES, BLOCKS, Cut, Flash, FlashError, Geometry, OpenError, Operations, WORD_BYTES};
pub use store::{Store, StoreError};
