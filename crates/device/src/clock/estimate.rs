//! The relation of uptime and date: an offset, a correction that is being slewed in, and a bound of the error that
//! grows with age. Owns the arithmetic, takes no decision. R-TIME.

use crate::platform::Uptime;

/// Speed of slewing: 1 ms in 2000 (500 ppm, RFC 5905).
pub const SLEW_DIVISOR: u64 = 2_000;
/// Drift of the device's own clock: 1 ms in 10 000 (100 ppm: an ordinary crystal over its whole temperature range).
pub const DRIFT_DIVISOR: u64 = 10_000;

/// What the clock believes: a straight line from uptime to date, with a correction that is being made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// Milliseconds from start to 1970, the slew not counted.
    pub(super) offset: i64,
    /// Correction that is being made, in milliseconds.
    pub(super) slew: i64,
    /// When it was made.
    pub(super) since: Uptime,
    /// Bound of its error then, in milliseconds.
    pub(super) error_ms: u64,
}

impl Estimate {
    /// Milliseconds from start to 1970, with what is corrected by `now`.
    pub(super) fn offset_at(&self, now: Uptime) -> i64 {
        let done = now.since(self.since) / SLEW_DIVISOR;
        let part = done.min(self.slew.unsigned_abs()) as i64;
        self.offset.saturating_add(if self.slew < 0 { -part } else { part })
    }

    /// Bound of the error at `now`, in milliseconds.
    pub(super) fn error_at(&self, now: Uptime) -> u64 {
        let undone = self.slew.unsigned_abs().saturating_sub(now.since(self.since) / SLEW_DIVISOR);
        self.error_ms.saturating_add(undone).saturating_add(now.since(self.since).div_ceil(DRIFT_DIVISOR))
    }
}
