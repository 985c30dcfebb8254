//! Randomness on Linux: the kernel's generator as the noise source of the device's own health tests and DRBG, so that the
//! path is the one of the firmware. R-ENTROPY.

use device::EntropyError;
use device::entropy::cutoffs::MinEntropy;
use device::entropy::{Generator, Source};
use tokio_rustls::rustls::crypto::{SecureRandom, ring};

/// The kernel's generator.
pub struct Kernel(&'static dyn SecureRandom);

impl Default for Kernel {
    fn default() -> Self {
        Self(ring::default_provider().secure_random)
    }
}

impl Source for Kernel {
    /// It is conditioned and promises 8 bits in a byte; claimed is half of it.
    const MIN_ENTROPY: MinEntropy = MinEntropy::milli_bits(4_000);
    /// Thousands of devices start in one process: none of them is to be refused by chance.
    const FALSE_ALARM_EXPONENT: u32 = 40;

    fn fill(&mut self, samples: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(samples).map_err(|_| EntropyError)
    }
}

/// The generator of a simulated device.
pub type Random = Generator<Kernel>;

/// A generator that is started by its first request.
pub fn random() -> Random {
    Generator::new(Kernel::default())
}
