//! Random numbers from Zephyr's cryptographic generator. Owns no generator and never stands in for one. R-ENTROPY.

use crate::ffi;
use device::EntropyError;

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) -> Result<(), EntropyError> {
    // SAFETY: the pointer and the length are those of one slice, which outlives the call.
    match unsafe { ffi::shim_random(buffer.as_mut_ptr().cast(), buffer.len()) } {
        0 => Ok(()),
        _ => Err(EntropyError),
    }
}
