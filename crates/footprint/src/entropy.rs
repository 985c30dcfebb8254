//! Health tests and `HMAC_DRBG` over a source of noise.

use core::hint::black_box;
use device::entropy::cutoffs::MinEntropy;
use device::entropy::{Generator, Source};
use device::{Entropy, EntropyError};
use static_cell::StaticCell;

struct Noise;

impl Source for Noise {
    const MIN_ENTROPY: MinEntropy = MinEntropy::milli_bits(4_000);

    fn fill(&mut self, samples: &mut [u8]) -> Result<(), EntropyError> {
        black_box(samples);
        black_box(Ok(()))
    }
}

pub fn run() {
    static GENERATOR: StaticCell<Generator<Noise>> = StaticCell::new();
    let generator = GENERATOR.init(Generator::new(Noise));
    let _black = black_box(generator.start(&black_box([0; 16])));
    let _black = black_box(generator.reseed());
    let mut bytes = [0; 64];
    let _black = black_box(generator.fill(black_box(&mut bytes)));
    black_box(generator.failure());
}
