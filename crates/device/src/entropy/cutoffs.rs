//! The cut-offs of the health tests, computed from the min-entropy that a source states. Owns the formulas of NIST
//! SP 800-90B, sections 4.4.1 and 4.4.2; never sees a sample. R-ENTROPY.
//!
//! They are constants of the source's type, so the compiler does this arithmetic and no floating point gets into the
//! firmware. The tests compare with exact rational numbers.

/// Samples in a window of the adaptive proportion test, for samples of more than one bit (SP 800-90B, section 4.4.2).
pub const WINDOW: u16 = 512;

/// Min-entropy of a sample of one byte, in thousandths of a bit: 1000 to 8000.
///
/// ```compile_fail
/// const MORE_THAN_A_BYTE_HAS: device::entropy::cutoffs::MinEntropy =
///     device::entropy::cutoffs::MinEntropy::milli_bits(8001);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinEntropy(u16);

impl MinEntropy {
    /// The lowest that is accepted, 1 bit per sample: bounds the seed's buffer.
    pub const LOWEST: Self = Self(1000);

    /// That many thousandths of a bit per sample.
    ///
    /// # Panics
    /// Where it is below 1000 or above 8000: while compiling, as long as it is a constant.
    #[must_use]
    pub const fn milli_bits(value: u16) -> Self {
        assert!(
            value >= 1000 && value <= 8000,
            "a sample of one byte has 1000 to 8000 milli-bits of min-entropy"
        );
        Self(value)
    }

    /// Samples that together hold `bits` of min-entropy.
    #[must_use]
    pub const fn samples_for(self, bits: u32) -> usize {
        (bits * 1000).div_ceil(self.0 as u32) as usize
    }

    /// 2^-H: the highest probability that a sample value may have.
    const fn probability(self) -> f64 {
        let exponent = (self.0 % 1000) as f64 / 1000.0 * -core::f64::consts::LN_2;
        // e^x as its series: for |x| < 0.7 the term after 20 is below 2^-70.
        let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
        while n < 20.5 {
            term *= exponent / n;
            sum += term;
            n += 1.0;
        }
        sum / (1u32 << (self.0 / 1000)) as f64
    }
}

/// From how many on a test fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoffs {
    /// Equal samples in a row: 1 + ceil(exponent / H), SP 800-90B, section 4.4.1.
    pub repetition: u16,
    /// Samples in a window that equal its first one, itself counted: 1 + CRITBINOM(512, 2^-H, 1 - 2^-exponent),
    /// SP 800-90B, section 4.4.2.
    pub proportion: u16,
}

impl Cutoffs {
    /// The cut-offs for a source with `entropy`, where a false alarm may have probability 2^-`exponent`.
    ///
    /// # Panics
    /// Where `exponent` is not 20 to 40: while compiling, as long as it is a constant.
    #[must_use]
    pub const fn of(entropy: MinEntropy, exponent: u32) -> Self {
        assert!(exponent >= 20 && exponent <= 40, "SP 800-90B recommends false alarms from 2^-40 to 2^-20");
        Self::compute(entropy, exponent)
    }

    pub(super) const fn compute(entropy: MinEntropy, exponent: u32) -> Self {
        Self {
            repetition: 1 + (exponent * 1000).div_ceil(entropy.0 as u32) as u16,
            proportion: critical(entropy.probability(), exponent),
        }
    }
}

/// The smallest number that a binomial variable of [`WINDOW`] trials reaches with at most 2^-`exponent`. That is
/// 1 + CRITBINOM: the critical value is the smallest one whose distribution function is at least 1 - 2^-`exponent`.
#[allow(
    clippy::indexing_slicing,
    reason = "for constants, where the compiler refuses an index out of bounds"
)]
const fn critical(probability: f64, exponent: u32) -> u16 {
    const N: usize = WINDOW as usize;
    let odds = probability / (1.0 - probability);
    // Weights relative to the most likely number, so that nothing that matters is too small for a float.
    let mode = ((N + 1) as f64 * probability) as usize;
    let mut weights = [0.0; N + 1];
    weights[mode] = 1.0;
    let mut total = 1.0;
    let mut k = mode;
    while k < N {
        weights[k + 1] = weights[k] * (N - k) as f64 / (k + 1) as f64 * odds;
        total += weights[k + 1];
        k += 1;
    }
    k = mode;
    while k > 0 {
        weights[k - 1] = weights[k] * k as f64 / (N - k + 1) as f64 / odds;
        total += weights[k - 1];
        k -= 1;
    }
    let allowed = total / (1u64 << exponent) as f64;
    // From the rarest on, so that small terms are not lost beside large ones.
    let mut number = N + 1;
    let mut tail = 0.0;
    while number > 0 && tail + weights[number - 1] <= allowed {
        tail += weights[number - 1];
        number -= 1;
    }
    number as u16
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use num_bigint::BigUint;
    use std::vec::Vec;

    fn of(bits: u16) -> Cutoffs {
        Cutoffs::of(MinEntropy::milli_bits(bits * 1000), 20)
    }

    #[test]
    fn the_cut_offs_of_whole_bits_are_the_known_ones() {
        let expected = [
            (1, 21, 311),
            (2, 11, 177),
            (3, 8, 103),
            (4, 6, 62),
            (5, 5, 39),
            (6, 5, 25),
            (7, 4, 18),
            (8, 4, 13),
        ];
        for (bits, repetition, proportion) in expected {
            assert_eq!(of(bits), Cutoffs { repetition, proportion }, "{bits} bits");
        }
    }

    /// 2^(-`eighths`/8) times 2^64, rounded down.
    fn probability(eighths: u16) -> u64 {
        let power = BigUint::from(1u8) << (64 * 8 - eighths);
        power.nth_root(8).try_into().expect("less than 2^64")
    }

    /// For every number, in how many of (2^64)^512 equally likely cases it is reached, where a trial has
    /// `probability` / 2^64.
    fn tails(probability: u64) -> Vec<BigUint> {
        let other = probability.wrapping_neg();
        let mut ways = BigUint::from(probability).pow(512);
        let mut sum = BigUint::ZERO;
        let mut tails: Vec<_> = (0..=512u64)
            .rev()
            .map(|hits| {
                sum += &ways;
                // One hit less: another binomial coefficient, one factor exchanged. Both divisions leave nothing.
                ways = &ways * hits * other / (513 - hits) / probability;
                sum.clone()
            })
            .collect();
        assert_eq!(sum, BigUint::from(1u8) << (64 * 512), "all cases together");
        tails.reverse();
        tails
    }

    #[test]
    fn the_proportion_cut_offs_are_those_of_exact_arithmetic() {
        for eighths in 8..=64 {
            let milli = eighths * 125;
            let below = probability(eighths);
            // The true probability lies between these two: what holds for both holds for it.
            for probability in [below, below + u64::from(milli % 1000 != 0)] {
                let tails = tails(probability);
                for exponent in [20, 30, 40] {
                    let cutoff = usize::from(Cutoffs::of(MinEntropy::milli_bits(milli), exponent).proportion);
                    let allowed = BigUint::from(1u8) << (64 * 512 - u64::from(exponent));
                    assert!(
                        tails[cutoff] <= allowed,
                        "{milli} milli-bits, 2^-{exponent}: {cutoff} is too low"
                    );
                    assert!(
                        tails[cutoff - 1] > allowed,
                        "{milli} milli-bits, 2^-{exponent}: {cutoff} is too high"
                    );
                }
            }
        }
    }

    #[test]
    fn less_entropy_never_means_a_lower_cut_off() {
        for exponent in [20, 30, 40] {
            for milli in (1000..8000).step_by(7) {
                let (less, more) = (MinEntropy::milli_bits(milli), MinEntropy::milli_bits(milli + 1));
                let (less, more) = (Cutoffs::of(less, exponent), Cutoffs::of(more, exponent));
                assert!(less.repetition >= more.repetition && less.proportion >= more.proportion);
            }
        }
    }

    #[test]
    fn enough_samples_are_drawn_for_the_entropy_that_is_wanted() {
        for (milli, expected) in [(1000, 256), (4000, 64), (7000, 37), (7999, 33), (8000, 32)] {
            assert_eq!(MinEntropy::milli_bits(milli).samples_for(256), expected);
        }
    }
}
