//! How long to wait before the next attempt: exponential, with full jitter, never below a floor. Owns no timer.
//!
//! Full jitter spreads a fleet that lost its broker at one instant evenly over the whole window.

/// Waits that double with each failure up to a cap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    floor_ms: u32,
    cap_ms: u32,
    failures: u32,
}

impl Backoff {
    /// Waits from `floor_ms`, drawn from a window that grows from `floor_ms` to `cap_ms`.
    pub(crate) const fn new(floor_ms: u32, cap_ms: u32) -> Self {
        Self { floor_ms, cap_ms, failures: 0 }
    }

    /// Milliseconds to wait after one more failure; `random` is uniform over all of `u32`.
    pub(crate) fn fail(&mut self, random: u32) -> u32 {
        self.failures = self.failures.saturating_add(1);
        let doubled = 1u64.checked_shl(self.failures.min(32)).unwrap_or(u64::MAX);
        let window = u64::from(self.floor_ms).saturating_mul(doubled).min(u64::from(self.cap_ms));
        // The product of two 32-bit numbers, scaled down: uniform over the window above the floor without a division.
        let jitter = (window.saturating_sub(u64::from(self.floor_ms)) * u64::from(random)) >> 32;
        self.floor_ms.saturating_add(jitter as u32)
    }

    /// Forgets the failures.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_is_never_below_the_floor_nor_above_the_cap(
            floor in 1u32..10_000, factor in 1u32..1000, randoms in proptest::collection::vec(any::<u32>(), 1..80),
        ) {
            let cap = floor * factor;
            let mut backoff = Backoff::new(floor, cap);
            for random in randoms {
                let wait = backoff.fail(random);
                prop_assert!(wait >= floor && wait <= cap.max(floor));
            }
        }
    }

    #[test]
    fn the_window_doubles_until_the_cap_and_starts_over_after_a_reset() {
        let mut backoff = Backoff::new(1000, 300_000);
        let widest: [u32; 10] = core::array::from_fn(|_| backoff.fail(u32::MAX));
        assert_eq!(widest, [1999, 3999, 7999, 15_999, 31_999, 63_999, 127_999, 255_999, 299_999, 299_999]);
        backoff.reset();
        assert_eq!(backoff.fail(u32::MAX), 1999);
    }

    #[test]
    fn the_jitter_is_even_over_the_window() {
        let mut tenths = [0; 10];
        for i in 0..1000u32 {
            let wait = Backoff::new(1_000, 1_000_000).fail(i * 4_294_967);
            tenths[(wait as usize - 1_000) / 100] += 1;
        }
        assert!(tenths.iter().all(|tenth| (95..=105).contains(tenth)), "{tenths:?}");
    }
}
