//! Patches from one image to another: what they have in common is found by bsdiff's search, written in the format that
//! devices read ([`protocol::patch`]), and read again before it is given out. Owns neither the search nor the format. R-FW-DELTA.

use protocol::UpdateFault;
use protocol::patch::{Decoder, Encoder, EncoderError, Instruction, sizes};

/// The patch that makes `image` of `base`: the same bytes every time. [`UpdateFault::Patch`]: it could not be made, or does
/// not make the image.
pub fn encode(base: &[u8], image: &[u8]) -> Result<Vec<u8>, UpdateFault> {
    let mut patch = Vec::new();
    write(base, image, &mut patch).map_err(|error| match error {
        EncoderError::TooLarge => UpdateFault::TooLarge,
        EncoderError::Outside | EncoderError::Incomplete => UpdateFault::Patch,
    })?;
    if decode(base, &patch)? == image { Ok(patch) } else { Err(UpdateFault::Patch) }
}

/// What a device that runs `base` makes of `patch`.
pub fn decode(base: &[u8], patch: &[u8]) -> Result<Vec<u8>, UpdateFault> {
    let base_size = u32::try_from(base.len()).map_err(|_| UpdateFault::TooLarge)?;
    let (_, image_size) = sizes(patch).ok_or(UpdateFault::Patch)?;
    let mut decoder = Decoder::new(base_size, image_size);
    let mut read = |offset: u32, buffer: &mut [u8]| {
        buffer.copy_from_slice(&base[offset as usize..][..buffer.len()]);
        Ok(())
    };
    // Not all at once: what a damaged header says is no reason to ask for gigabytes.
    let (mut image, mut piece, mut input) = (Vec::new(), [0; 4096], patch);
    loop {
        match decoder.decode(&mut input, &mut read, &mut piece)? {
            0 => break,
            len => image.extend_from_slice(&piece[..len]),
        }
    }
    decoder.finish()?;
    Ok(image)
}

fn write(base: &[u8], image: &[u8], patch: &mut Vec<u8>) -> Result<(), EncoderError> {
    if base.len().max(image.len()) > i32::MAX as usize {
        return Err(EncoderError::TooLarge);
    }
    let mut encoder = Encoder::new(base, image, |byte| patch.push(byte))?;
    for instruction in instructions(base, image) {
        encoder.instruction(instruction)?;
    }
    encoder.finish()
}

/// bsdiff's instructions. It moves after each of them, here it is before; so those that only move go into the next one.
fn instructions(base: &[u8], image: &[u8]) -> Vec<Instruction> {
    let mut found = Vec::new();
    bsdiff::diff(base, image, &mut found).expect("a vector takes everything");
    let (mut instructions, mut seek, mut rest) = (Vec::new(), 0, found.as_slice());
    while let Some((numbers, content)) = rest.split_first_chunk::<24>() {
        let [add, insert, seek_after] =
            [0, 8, 16].map(|at| number(*numbers[at..].first_chunk().expect("three times 8 bytes")));
        rest = &content[(add + insert) as usize..];
        if add + insert > 0 {
            // Both images are below 2 GiB.
            instructions.push(Instruction { seek: seek as i32, add: add as u32, insert: insert as u32 });
            seek = 0;
        }
        seek += seek_after;
    }
    instructions
}

/// A number as bsdiff writes it: the highest bit is its sign.
fn number(bytes: [u8; 8]) -> i64 {
    let number = i64::from_le_bytes(bytes);
    if number < 0 { -(number & i64::MAX) } else { number }
}

#[cfg(test)]
mod tests;
