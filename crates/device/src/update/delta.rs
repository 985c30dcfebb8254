//! A delta on its way into the slot: one block of it, and the decoder. Owns how much is made of it at once. R-FW-DELTA.

use super::slot::Writer;
use super::work::Trouble;
use crate::platform::{Slots, StorageError};
use core::fmt;
use protocol::UpdateFault;
use protocol::blocks::BLOCK_BYTES;
use protocol::patch::Decoder;

/// Bytes of the image that are made in one step: a few words of a delta can stand for all of it, and nothing else is to wait
/// for that.
const STEP_BYTES: usize = 4 * 1024;

/// Bytes that are made at once.
const PIECE_BYTES: usize = 256;

/// A delta and what is left of its last block.
pub(super) struct Delta {
    decoder: Decoder,
    block: [u8; BLOCK_BYTES],
    used: usize,
    len: usize,
    /// Nothing more can be made of what there is.
    pub drained: bool,
}

impl Delta {
    /// A delta against a base of `base_size` bytes that makes an image of `image_size`.
    pub(super) const fn new(base_size: u32, image_size: u32) -> Self {
        Self {
            decoder: Decoder::new(base_size, image_size),
            block: [0; BLOCK_BYTES],
            used: 0,
            len: 0,
            drained: true,
        }
    }

    /// Takes the next block. Only where the one before is drained.
    pub(super) fn push(&mut self, block: &[u8]) {
        self.block.iter_mut().zip(block).for_each(|(place, byte)| *place = *byte);
        (self.used, self.len, self.drained) = (0, block.len().min(BLOCK_BYTES), false);
    }

    /// Makes some more of the image.
    pub(super) fn step(&mut self, writer: &mut Writer, slots: &mut impl Slots) -> Result<(), Trouble> {
        let mut piece = [0; PIECE_BYTES];
        for _ in 0..STEP_BYTES / PIECE_BYTES {
            let mut input = self.block.get(self.used..self.len).unwrap_or_default();
            let mut failure = None;
            let mut read = |at: u32, bytes: &mut [u8]| {
                slots.read_running(at, bytes).map_err(|error| {
                    failure = Some(error);
                    UpdateFault::Storage
                })
            };
            let made = self.decoder.decode(&mut input, &mut read, &mut piece);
            self.used = self.len - input.len();
            if let Some(error) = failure {
                return Err(Trouble::Slot(error));
            }
            match piece.get(..made.map_err(Trouble::Image)?) {
                None => return Err(Trouble::Slot(StorageError::TooLong)),
                Some([]) => {
                    self.drained = true;
                    break;
                }
                Some(bytes) => writer.push(bytes, slots)?,
            }
        }
        Ok(())
    }

    /// Whether the image is whole.
    pub(super) fn finish(&self) -> Result<(), UpdateFault> {
        self.decoder.finish()
    }
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delta").field("used", &self.used).field("len", &self.len).finish_non_exhaustive()
    }
}
