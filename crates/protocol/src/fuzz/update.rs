//! The bodies for images, blocks and patches.

use super::faults;
use super::signed::GENERATOR;
use crate::UpdateFault;
use crate::blocks::{self, BLOCK_MESSAGE_BYTES_MAX, HASH_BYTES, PayloadUri};
use crate::image::{Header, Image};
use crate::key::{Digest, PublicKey, sha256};
use crate::patch::{Decoder, sizes};
use sha2::{Digest as _, Sha256};

/// What an image that was accepted says, is within it; no other key than its own verifies it.
pub fn image(bytes: &[u8]) {
    let Ok(image) = Image::decode(bytes) else { return };
    assert!(image.hashed_bytes() < image.bytes() && image.bytes() as usize <= bytes.len());
    assert_eq!(bytes.first_chunk::<{ Header::BYTES }>(), Some(&image.header.encode()));
    let there = bytes.get(..image.bytes() as usize).expect("within the bytes");
    assert_eq!(Image::decode(there), Ok(image));
    let cut = there.split_last().map(|(_, cut)| cut).expect("not empty");
    assert_eq!(Image::decode(cut), Err(UpdateFault::Truncated));
    let key = PublicKey::new(&GENERATOR).expect("a point");
    let hash = sha256(&[bytes.get(..image.hashed_bytes() as usize).expect("within the bytes")]);
    let fault = image.verify(&hash, &key).expect_err("signed with another key");
    assert!(faults::is_of_images_proof(fault), "{fault:?}");
}

/// A tree hash, a payload's size, a block's number (both little endian), then a message: what was accepted is the end of
/// the message, has the length that it must have, and is no other block's.
pub fn block(bytes: &[u8]) {
    let Some((root, rest)) = bytes.split_first_chunk::<HASH_BYTES>() else { return };
    let Some((size, rest)) = rest.split_first_chunk::<4>() else { return };
    let Some((index, message)) = rest.split_first_chunk::<4>() else { return };
    let (uri, index) =
        (PayloadUri { root: *root, size: u32::from_le_bytes(*size) }, u32::from_le_bytes(*index));
    let Ok(block) = uri.verify(index, message) else { return };
    assert!(index < uri.count() && message.len() <= BLOCK_MESSAGE_BYTES_MAX);
    assert_eq!(block.len(), blocks::block_len(uri.size, index));
    assert_eq!(message.len(), blocks::message_len(uri.size, index));
    assert!(message.ends_with(block));
    for other in [index ^ 1, index + 1, index.wrapping_sub(1)] {
        assert_eq!(uri.verify(other, message), Err(UpdateFault::BlockAltered));
    }
}

/// Bytes of the base that patches are fuzzed against.
pub const BASE_BYTES: u32 = 1024;

/// The base's byte at `offset`: addresses, calls, small numbers and others.
pub const fn base_byte(offset: u32) -> u8 {
    let noise = (offset / 4).wrapping_mul(0x9e37_79b1).rotate_left(offset % 4 * 8) as u8;
    match (offset / 4 % 3, offset % 4) {
        (0, 1) => 0xf0 | noise & 7,
        (0, 3) => 0xf8 | noise & 7,
        (1, 2 | 3) => 0,
        _ => noise,
    }
}

/// A patch makes what it announces or is refused, and the same however it is cut. Nothing outside the base is read.
pub fn patch(bytes: &[u8]) {
    let Some((_, image_size)) = sizes(bytes) else { return };
    if image_size > 4 * BASE_BYTES {
        return;
    }
    let at_once = made(bytes, image_size, bytes.len().max(1));
    assert_eq!(made(bytes, image_size, 7), at_once);
}

/// The digest of what `patch` makes.
fn made(patch: &[u8], image_size: u32, taken: usize) -> Result<Digest, UpdateFault> {
    let mut decoder = Decoder::new(BASE_BYTES, image_size);
    let mut read = |offset: u32, buffer: &mut [u8]| {
        assert!(offset as usize + buffer.len() <= BASE_BYTES as usize);
        buffer.iter_mut().zip(offset..).for_each(|(byte, offset)| *byte = base_byte(offset));
        Ok(())
    };
    let (mut len, mut digest, mut out) = (0, Sha256::new(), [0; 256]);
    for mut input in patch.chunks(taken) {
        loop {
            let piece = decoder.decode(&mut input, &mut read, &mut out)?;
            if piece == 0 {
                break;
            }
            len += piece;
            digest.update(out.get(..piece).expect("within the buffer"));
            assert!(len <= image_size as usize);
        }
    }
    decoder.finish()?;
    assert_eq!(len, image_size as usize);
    Ok(digest.finalize().into())
}
