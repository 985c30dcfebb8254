//! The continuous health tests of raw noise. Owns their counters and the verdict, which is final; never keeps a sample
//! longer than it takes to compare it. NIST SP 800-90B, section 4.4; R-ENTROPY.

use super::Failure;
use super::cutoffs::{Cutoffs, WINDOW};
use zeroize::Zeroize;

/// The repetition count test (section 4.4.1) and the adaptive proportion test (section 4.4.2), over one source.
pub struct Health {
    cutoffs: Cutoffs,
    /// The last sample, and how often it came in a row: 0 before the first one.
    last: u8,
    run: u16,
    /// The first sample of the window, how often it came in it, and how many samples it has so far.
    first: u8,
    matches: u16,
    seen: u16,
    failure: Option<Failure>,
}

impl Health {
    /// No sample seen yet.
    #[must_use]
    pub const fn new(cutoffs: Cutoffs) -> Self {
        Self { cutoffs, last: 0, run: 0, first: 0, matches: 0, seen: 0, failure: None }
    }

    /// Tests every sample, in the order in which the source gave them. After the first failure, always fails with it.
    pub fn test(&mut self, samples: &[u8]) -> Result<(), Failure> {
        for &sample in samples {
            if self.failure.is_none() {
                self.failure = self.count(sample);
            }
        }
        self.failure.map_or(Ok(()), Err)
    }

    fn count(&mut self, sample: u8) -> Option<Failure> {
        if self.run > 0 && sample == self.last {
            self.run += 1;
        } else {
            self.last = sample;
            self.run = 1;
        }
        if self.seen == 0 {
            self.first = sample;
            self.matches = 0;
        }
        if sample == self.first {
            self.matches += 1;
        }
        self.seen = (self.seen + 1) % WINDOW;
        if self.run >= self.cutoffs.repetition {
            Some(Failure::RepetitionCount)
        } else if self.matches >= self.cutoffs.proportion {
            Some(Failure::AdaptiveProportion)
        } else {
            None
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        // They are the last samples, and a seed may have been made of them.
        self.last.zeroize();
        self.first.zeroize();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::entropy::cutoffs::MinEntropy;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn cutoffs(bits: u16) -> Cutoffs {
        Cutoffs::of(MinEntropy::milli_bits(bits * 1000), 20)
    }

    /// After how many samples the tests fail, and with what.
    fn fails_after(cutoffs: Cutoffs, samples: impl IntoIterator<Item = u8>) -> Option<(usize, Failure)> {
        let mut health = Health::new(cutoffs);
        samples.into_iter().enumerate().find_map(|(n, sample)| Some((n + 1, health.test(&[sample]).err()?)))
    }

    /// Some bytes that differ from their neighbours and from `but`.
    fn varied(but: u8) -> impl Iterator<Item = u8> {
        (0..=255u8).cycle().filter(move |&byte| byte != but)
    }

    #[test]
    fn a_stuck_source_fails_the_repetition_count_at_the_cut_off_exactly() {
        for bits in 1..=8 {
            let cutoff = usize::from(cutoffs(bits).repetition);
            let stuck = varied(7).take(100).chain(core::iter::repeat_n(7, cutoff));
            assert_eq!(
                fails_after(cutoffs(bits), stuck),
                Some((100 + cutoff, Failure::RepetitionCount)),
                "{bits}"
            );
            let almost =
                varied(7).take(100).chain(core::iter::repeat_n(7, cutoff - 1)).chain(varied(7).take(100));
            assert_eq!(fails_after(cutoffs(bits), almost), None, "{bits}");
        }
    }

    /// A window in which `byte` comes `times` times, never in long runs, spread from the start on.
    fn window(byte: u8, times: u16) -> Vec<u8> {
        let mut others = varied(byte);
        let due = |n: u16| (u32::from(n) * u32::from(times)).div_ceil(u32::from(WINDOW));
        (0..WINDOW)
            .map(|n| if due(n + 1) > due(n) || n == 0 { byte } else { others.next().expect("it never ends") })
            .collect()
    }

    #[test]
    fn a_value_too_often_in_a_window_fails_the_adaptive_proportion_at_the_cut_off_exactly() {
        for bits in 2..=8 {
            let cutoff = cutoffs(bits).proportion;
            let often = |times| {
                let window = window(9, times);
                assert_eq!(
                    window.iter().map(|&byte| usize::from(byte == 9)).sum::<usize>(),
                    usize::from(times)
                );
                window
            };
            assert_eq!(fails_after(cutoffs(bits), often(cutoff - 1)), None, "{bits}");
            let failed = fails_after(cutoffs(bits), often(cutoff)).map(|(_, failure)| failure);
            assert_eq!(failed, Some(Failure::AdaptiveProportion), "{bits}");
        }
    }

    #[test]
    fn windows_do_not_overlap_and_each_counts_its_own_first_value() {
        let cutoff = cutoffs(8).proportion;
        let mut samples = window(1, cutoff - 1);
        samples.extend(window(1, cutoff - 1));
        assert_eq!(fails_after(cutoffs(8), samples.iter().copied()), None);
        samples.extend(window(2, cutoff));
        assert!(fails_after(cutoffs(8), samples).is_some_and(|(n, _)| n > 1024));
    }

    #[test]
    fn blocks_are_found_up_to_the_length_that_the_documentation_says() {
        for (bits, longest) in [(1, 1), (4, 8), (7, 30), (8, 42)] {
            for period in 1..=256usize {
                let blocks = (0..=255u8).take(period).cycle().take(4 * 512);
                let found = fails_after(cutoffs(bits), blocks).is_some();
                assert_eq!(found, period <= longest, "{bits} bits, blocks of {period}");
            }
        }
    }

    #[test]
    fn a_failure_is_final() {
        let mut health = Health::new(cutoffs(8));
        assert_eq!(health.test(&[5; 4]), Err(Failure::RepetitionCount));
        for byte in 0..=255 {
            assert_eq!(health.test(&[byte]), Err(Failure::RepetitionCount));
        }
        assert_eq!(health.test(&[]), Err(Failure::RepetitionCount));
    }

    /// How often `new` tests fail over `count` samples, started anew after each failure.
    fn alarms(cutoffs: Cutoffs, count: u32, mut sample: impl FnMut() -> u8) -> [u32; 2] {
        let mut alarms = [0; 2];
        let mut health = Health::new(cutoffs);
        for _ in 0..count {
            if let Err(failure) = health.test(&[sample()]) {
                alarms[usize::from(failure == Failure::AdaptiveProportion)] += 1;
                health = Health::new(cutoffs);
            }
        }
        alarms
    }

    #[test]
    fn false_alarms_are_as_rare_as_stated() {
        // A fair coin has exactly 1 bit. A run of 21 begins at every second sample with 2^-20: 16 in 2^25 samples.
        let mut coin = fastrand::Rng::with_seed(1);
        let [repetition, proportion] = alarms(cutoffs(1), 1 << 25, || coin.u8(0..2));
        assert!((6..=32).contains(&repetition) && proportion <= 2, "{repetition} {proportion}");
        // For the windows a rate that can be counted, 2^-8: 512 of 2^17 windows. Somewhat more in truth, because the
        // standard's formula leaves out that the first sample counts itself.
        let often = Cutoffs { repetition: u16::MAX, ..Cutoffs::compute(MinEntropy::milli_bits(4000), 8) };
        let [_, proportion] = alarms(often, 1 << 26, || coin.u8(0..16));
        assert!((256..=1024).contains(&proportion), "{proportion}");
    }

    #[test]
    fn a_good_source_is_not_refused_in_millions_of_samples() {
        for (seed, bits) in (0..8).zip([1, 2, 3, 4, 5, 6, 6, 6]) {
            let mut random = fastrand::Rng::with_seed(seed);
            assert_eq!(
                alarms(cutoffs(bits), 4_000_000, || random.u8(..)),
                [0, 0],
                "seed {seed}, {bits} bits"
            );
        }
    }

    /// The tests as the standard writes them, over a whole recording.
    fn by_the_book(cutoffs: Cutoffs, samples: &[u8]) -> bool {
        let repeated =
            samples.windows(cutoffs.repetition.into()).any(|run| run.iter().all(|&byte| byte == run[0]));
        let too_often = samples.chunks(WINDOW.into()).any(|window| {
            window.iter().map(|&byte| usize::from(byte == window[0])).sum::<usize>()
                >= usize::from(cutoffs.proportion)
        });
        repeated || too_often
    }

    proptest! {
        #[test]
        fn the_verdict_is_that_of_the_book_however_the_samples_arrive(
            bits in 1u16..=8,
            values in 1u8..=64,
            seed: u64,
            len in 0usize..3000,
            piece in 1usize..700,
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let samples: Vec<u8> = (0..len).map(|_| random.u8(0..values)).collect();
            let mut health = Health::new(cutoffs(bits));
            let mut verdict = Ok(());
            for piece in samples.chunks(piece) {
                verdict = health.test(piece);
            }
            prop_assert_eq!(verdict.is_err(), by_the_book(cutoffs(bits), &samples));
        }
    }
}
