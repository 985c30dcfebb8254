//! Hashing an image in steps, so that nothing else waits for long. Owns how far it is. R-FW-AUTHORISED.

use crate::platform::StorageError;
use sha2::{Digest as _, Sha256};

/// Bytes that are hashed in one step: some 15 ms on a Cortex-M4 at 64 MHz.
const STEP_BYTES: u32 = 16 * 1024;

/// Bytes that are read at once.
const READ_BYTES: usize = 512;

/// What an image hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    /// All of it.
    pub whole: [u8; 32],
    /// What the image's own hash covers.
    pub covered: [u8; 32],
}

/// An image that is being hashed.
#[derive(Clone, Debug)]
pub(super) struct Hashing {
    at: u32,
    size: u32,
    covered_bytes: u32,
    covered: Option<[u8; 32]>,
    hash: Sha256,
}

impl Hashing {
    /// An image of `size` bytes whose own hash covers the first `covered_bytes`.
    pub(super) fn new(size: u32, covered_bytes: u32) -> Self {
        Self { at: 0, size, covered_bytes, covered: None, hash: Sha256::new() }
    }

    /// Goes on; gives the digests at the end.
    pub(super) fn step(
        &mut self,
        mut read: impl FnMut(u32, &mut [u8]) -> Result<(), StorageError>,
    ) -> Result<Option<Digests>, StorageError> {
        let mut buffer = [0; READ_BYTES];
        let end = self.at.saturating_add(STEP_BYTES);
        loop {
            if self.at >= self.covered_bytes && self.covered.is_none() {
                self.covered = Some(self.hash.clone().finalize().into());
            }
            if self.at >= self.size {
                let covered = self.covered.unwrap_or_default();
                return Ok(Some(Digests { whole: self.hash.clone().finalize().into(), covered }));
            }
            if self.at >= end {
                return Ok(None);
            }
            let next =
                if self.at < self.covered_bytes { self.covered_bytes.min(self.size) } else { self.size };
            let len = ((next - self.at) as usize).min(READ_BYTES);
            let bytes = buffer.get_mut(..len).unwrap_or_default();
            read(self.at, bytes)?;
            self.hash.update(&*bytes);
            self.at += len as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn of(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn both_digests_are_right_whatever_the_sizes_are() {
        let image: Vec<u8> = (0..40_000u32).map(|n| ((n * n) >> 3) as u8).collect();
        for size in [1, 511, 512, 513, 16_384, 16_385, 40_000] {
            for covered in [0, 1, size.min(512), size / 2, size - 1, size] {
                let mut hashing = Hashing::new(size as u32, covered as u32);
                let mut steps = 0;
                let digests = loop {
                    steps += 1;
                    let step = hashing.step(|at, bytes| {
                        bytes.copy_from_slice(&image[at as usize..at as usize + bytes.len()]);
                        Ok(())
                    });
                    if let Some(digests) = step.unwrap() {
                        break digests;
                    }
                };
                let expected = Digests { whole: of(&image[..size]), covered: of(&image[..covered]) };
                assert_eq!(digests, expected, "{size} {covered}");
                assert!(steps <= size / STEP_BYTES as usize + 1, "{steps} steps for {size}");
            }
        }
    }
}
