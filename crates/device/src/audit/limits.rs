//! Which of the events that somebody outside can cause are written, and which are only counted. Owns the counts, never a
//! record. R-LOG.
//!
//! Of each kind [`WRITTEN_MAX`] are written, then none until it has been quiet for a while; those are counted, and the count
//! is written as one record: after [`PERIOD_MS`], and while it goes on less and less often, down to once in
//! [`PERIOD_MS_MAX`].

use crate::platform::Uptime;
use protocol::audit::{Event, LIMITED};

/// How many of a kind are written at once.
pub const WRITTEN_MAX: u8 = 4;

/// How long it takes until one more may be written, and until a count is written for the first time, in milliseconds.
pub const PERIOD_MS: u64 = 6 * 3_600_000;

/// Longest time between two counts, in milliseconds.
pub const PERIOD_MS_MAX: u64 = 24 * 3_600_000;

#[derive(Clone, Copy, Debug)]
struct Limit {
    /// How many may be written now.
    left: u8,
    /// When one more may.
    refill: Uptime,
    /// How many were counted.
    count: u32,
    /// When that is written.
    due: Uptime,
    /// How long the next count goes on, in milliseconds.
    period_ms: u64,
}

impl Limit {
    const FRESH: Self =
        Self { left: WRITTEN_MAX, refill: Uptime(0), count: 0, due: Uptime(0), period_ms: PERIOD_MS };

    fn passes(&mut self, now: Uptime) -> bool {
        while self.left < WRITTEN_MAX && now >= self.refill {
            self.left += 1;
            self.refill = self.refill.after(PERIOD_MS);
        }
        if self.count == 0 && self.left > 0 {
            if self.left == WRITTEN_MAX {
                self.refill = now.after(PERIOD_MS);
                self.period_ms = PERIOD_MS;
            }
            self.left -= 1;
            return true;
        }
        if self.count == 0 {
            self.due = now.after(self.period_ms);
        }
        self.count = self.count.saturating_add(1);
        // It has to be quiet for a while.
        self.refill = now.after(PERIOD_MS);
        false
    }

    fn take(&mut self) -> Option<u32> {
        let count = core::mem::take(&mut self.count);
        (count > 0).then(|| {
            self.period_ms = (self.period_ms * 2).min(PERIOD_MS_MAX);
            count
        })
    }
}

/// The limits of every kind.
#[derive(Debug)]
pub(super) struct Limits([Limit; LIMITED.len()]);

impl Limits {
    pub(super) const fn new() -> Self {
        Self([Limit::FRESH; LIMITED.len()])
    }

    /// Whether an event is written; otherwise it is counted.
    pub(super) fn passes(&mut self, event: &Event, now: Uptime) -> bool {
        let kind = event.kind();
        let limit = LIMITED.iter().zip(&mut self.0).find(|(limited, _)| **limited == kind);
        limit.is_none_or(|(_, limit)| limit.passes(now))
    }

    /// A count that is due.
    pub(super) fn due(&mut self, now: Uptime) -> Option<Event> {
        let mut limits = LIMITED.iter().zip(&mut self.0);
        limits.find_map(|(kind, limit)| {
            let count = if now >= limit.due { limit.take() } else { None };
            count.map(|count| Event::Repeated { kind: *kind, count })
        })
    }

    /// When the next count is due.
    pub(super) fn next_deadline(&self) -> Option<Uptime> {
        self.0.iter().filter(|limit| limit.count > 0).map(|limit| limit.due).min()
    }
}
