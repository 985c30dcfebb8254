//! Patches as they are written.

use super::model::{INSERTED, Model, NUMBERS, Tree, Window, difference};
use super::range::BitWriter;
use super::{Instruction, folded, header};
use core::convert::Infallible;
use core::fmt;

/// Writes a patch, byte by byte, into `sink`. It is given the instructions; finding good ones is another's.
pub struct Encoder<'b, S> {
    base: &'b [u8],
    /// What is still to be made of the image.
    rest: &'b [u8],
    place: u32,
    bits: BitWriter<S>,
    model: Model,
    window: Window,
    history: u8,
}

/// The instructions do not make the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderError {
    /// An image has more bytes than 32 bits count.
    TooLarge,
    /// An instruction makes nothing, or goes beyond an end of the base or of the image.
    Outside,
    /// There are not enough of them.
    Incomplete,
}

impl fmt::Display for EncoderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "an image of 4 GiB or more cannot be in a patch",
            Self::Outside => {
                "an instruction makes nothing, or goes beyond an end of the base or of the image"
            }
            Self::Incomplete => "the instructions end before the image is complete",
        })
    }
}

impl core::error::Error for EncoderError {}

impl<'b, S: FnMut(u8)> Encoder<'b, S> {
    /// A patch from `base` to `image`. The header is written.
    pub fn new(base: &'b [u8], image: &'b [u8], mut sink: S) -> Result<Self, EncoderError> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| EncoderError::TooLarge);
        let (base_size, image_size) = (size(base)?, size(image)?);
        header(base_size, image_size).into_iter().for_each(&mut sink);
        Ok(Self {
            base,
            rest: image,
            place: 0,
            bits: BitWriter::new(sink),
            model: Model::new(),
            window: Window::new(base_size),
            history: 0,
        })
    }

    /// Writes the next instruction; the differences and the new bytes follow from the two images.
    pub fn instruction(&mut self, instruction: Instruction) -> Result<(), EncoderError> {
        let Instruction { seek, add, insert } = instruction;
        let start = instruction.start(self.place, self.base.len() as u32).ok_or(EncoderError::Outside)?;
        let (added, rest) = self.rest.split_at_checked(add as usize).ok_or(EncoderError::Outside)?;
        let (inserted, rest) = rest.split_at_checked(insert as usize).ok_or(EncoderError::Outside)?;
        if rest.len() == self.rest.len() {
            return Err(EncoderError::Outside);
        }
        for number in [folded(seek), add, insert] {
            self.number(number);
        }
        self.place = start;
        for byte in added {
            self.add(*byte);
        }
        for byte in inserted {
            self.byte(INSERTED, *byte);
        }
        self.rest = rest;
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(self) -> Result<(), EncoderError> {
        if !self.rest.is_empty() {
            return Err(EncoderError::Incomplete);
        }
        self.bits.finish();
        Ok(())
    }

    fn number(&mut self, mut number: u32) {
        while number > 0x7f {
            self.byte(NUMBERS, number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(NUMBERS, number as u8);
    }

    fn byte(&mut self, tree: Tree, byte: u8) {
        let mut node = 1;
        for shift in (0..8).rev() {
            let bit = byte >> shift & 1;
            self.bits.bit(self.model.bit_of(tree, node), bit == 1);
            node = node << 1 | u16::from(bit);
        }
    }

    fn add(&mut self, byte: u8) {
        let base = self.base;
        let mut read = |offset: u32, buffer: &mut [u8]| -> Result<(), Infallible> {
            let there = base.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(there.expect("the window is within the base"));
            Ok(())
        };
        let Ok((here, place)) = self.window.look(self.place, &mut read);
        let difference_here = byte.wrapping_sub(here);
        self.bits.bit(self.model.differs(place, self.history), difference_here != 0);
        if difference_here != 0 {
            self.byte(difference(place, self.history), difference_here);
        }
        self.history = self.history << 1 | u8::from(difference_here != 0);
        self.place += 1;
    }
}
