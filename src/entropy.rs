//! Random numbers from Zephyr's CTR_DRBG, and the health tests of the noise that seeds it. Owns the tests' state, no
//! generator, and never stands in for one. R-ENTROPY.

use crate::ffi;
use core::cell::UnsafeCell;
use device::EntropyError;
use device::entropy::cutoffs::{Cutoffs, MinEntropy};
use device::entropy::health::Health;
use device::entropy::{Failure, STARTUP_SAMPLES};

/// A healthy source fails a test by chance with probability 2^-this, per sample or window. SP 800-90B allows 20 to 40;
/// in a large fleet a device that fails by chance is a device that is sent back.
const FALSE_ALARM_EXPONENT: u32 = 30;

/// From the devicetree: `min-entropy-bits` of the node that `zephyr,entropy` chooses.
const CUTOFFS: Cutoffs =
    Cutoffs::of(MinEntropy::milli_bits(ffi::SHIM_ENTROPY_MIN_BITS as u16 * 1000), FALSE_ALARM_EXPONENT);

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) -> Result<(), EntropyError> {
    // SAFETY: the pointer and the length are those of one slice, which outlives the call.
    match unsafe { ffi::shim_random(buffer.as_mut_ptr().cast(), buffer.len()) } {
        0 => Ok(()),
        _ => Err(EntropyError),
    }
}

/// The tests of the one source, and how many samples they have seen of the start-up test's.
struct Tests {
    health: Health,
    seen: usize,
}

struct Shared(UnsafeCell<Tests>);

// SAFETY: only the function below touches it, and the driver that calls it holds a lock.
unsafe impl Sync for Shared {}

static TESTS: Shared = Shared(UnsafeCell::new(Tests { health: Health::new(CUTOFFS), seen: 0 }));

/// Called by drivers/entropy/health_tested for every byte that the board's source gives.
///
/// # Safety
///
/// `samples` points to `len` bytes; one thread at a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn sensor_device_health_test(samples: *const u8, len: usize) -> ffi::sensor_device_health {
    // SAFETY: the caller's promise.
    let (tests, samples) = unsafe { (&mut *TESTS.0.get(), ffi::slice(samples, len).unwrap_or_default()) };
    match tests.health.test(samples) {
        Err(Failure::RepetitionCount) => ffi::SENSOR_DEVICE_HEALTH_STUCK,
        Err(_) => ffi::SENSOR_DEVICE_HEALTH_BIASED,
        Ok(()) => {
            tests.seen = tests.seen.saturating_add(len);
            if tests.seen < STARTUP_SAMPLES {
                ffi::SENSOR_DEVICE_HEALTH_STARTING
            } else {
                ffi::SENSOR_DEVICE_HEALTH_GOOD
            }
        }
    }
}
