//! Patches (deltas): an image as its differences from the one that runs. Owns the format, both ways; never fetches or stores
//! anything, and proves nothing: what comes out is verified like any image. R-FW-DELTA.
//!
//! A patch is a header of [`HEADER_BYTES`] bytes (magic, size of the base, size of the image, little endian), then the
//! instructions of bsdiff in the order in which they are carried out, compressed by an adaptive binary range coder. The image
//! comes out in order; the base is read wherever an instruction points. The format, bit by bit, is in docs/update-format.md.
//!
//! Why not bsdiff's differences under LZSS ("heatshrink"): in firmware that executes in place, most of what differs after a
//! change are addresses, a few bytes each, all over the image. Coded with what the base has in that place (a call, an
//! address, neither), they take a third of the room.

mod decoder;
mod encoder;
mod model;
mod range;

pub use decoder::Decoder;
pub use encoder::{Encoder, EncoderError};

/// Bytes of a patch's header.
pub const HEADER_BYTES: usize = 12;

/// First bytes of a patch; the last of them is the format's version.
const MAGIC: [u8; 4] = *b"SDP\x01";

/// Bytes of the longest number in an instruction: 32 bits, seven in each byte.
const NUMBER_BYTES_MAX: u32 = 5;

/// One step of making the image: the place in the base moves by `seek`, the image's next `add` bytes are those of the base from
/// there on with a difference added to each, and the next `insert` bytes are new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes by which the place in the base moves from where the last step ended, within the base.
    pub seek: i32,
    /// Bytes from the base, each with a difference added modulo 256.
    pub add: u32,
    /// Bytes that come with the patch. The step makes something: `add` and `insert` are not both 0.
    pub insert: u32,
}

impl Instruction {
    /// The place in a base of `base_size` bytes to which it moves from `place`; `None` where any of it is outside.
    fn start(&self, place: u32, base_size: u32) -> Option<u32> {
        let start = place.checked_add_signed(self.seek)?;
        let end = start.checked_add(self.add)?;
        (end <= base_size).then_some(start)
    }
}

/// The sizes of base and image that a patch is for, in bytes; `None` where it has no header of this format.
pub fn sizes(patch: &[u8]) -> Option<(u32, u32)> {
    let ([magic, base_size, image_size], []) = patch.get(..HEADER_BYTES)?.as_chunks::<4>() else {
        return None;
    };
    (*magic == MAGIC).then(|| (u32::from_le_bytes(*base_size), u32::from_le_bytes(*image_size)))
}

/// The header of a patch.
fn header(base_size: u32, image_size: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header.as_chunks_mut::<4>().0.copy_from_slice(&[
        MAGIC,
        base_size.to_le_bytes(),
        image_size.to_le_bytes(),
    ]);
    header
}

/// A number with a sign as one without: 0, -1, 1, -2, ...
const fn folded(number: i32) -> u32 {
    ((number << 1) ^ (number >> 31)) as u32
}

/// The reverse of [`folded`].
const fn unfolded(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

#[cfg(test)]
mod tests;
