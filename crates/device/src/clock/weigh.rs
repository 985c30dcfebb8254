//! Whether a well-formed answer may move the clock: bounds, second opinions, jumps, and the floor that is given up.
//! Owns those decisions, never the schedule of the servers. R-TIME.

use super::estimate::Estimate;
use super::{
    AGREE_MS, ANSWER_TIMEOUT_MS, CANDIDATE_MS, Clock, DRIFT_DIVISOR, Disagreement, FLOOR_PATIENCE_MS,
    JUMP_MAX_MS, Pending, SILENT_AFTER, START_AGREE_MS, STEP_MS, TimeError, TimeSet, sntp,
};
use crate::platform::Uptime;
use protocol::EpochMillis;

/// What reading two clocks of whole milliseconds and rounding adds to an error, in milliseconds.
const ROUNDING_MS: u64 = 4;

/// One answer that waits for a second opinion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) server: usize,
    pub(super) offset: i64,
    pub(super) error_ms: u64,
    pub(super) at: Uptime,
}

/// Two answers as one.
struct Opinion {
    offset: i64,
    error_ms: u64,
    /// How far the two were apart.
    apart_ms: u64,
}

/// Where a verified connection found the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) offset: i64,
    pub(super) at: Uptime,
}

/// Answers below the floor that agree with each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Below {
    pub(super) offset: i64,
    pub(super) error_ms: u64,
    pub(super) since: Uptime,
    /// One bit for each server that said so.
    pub(super) servers: u8,
}

impl Clock {
    /// Checks an answer against the clock itself and takes it over where it may.
    pub(super) fn weigh(
        &mut self,
        now: Uptime,
        pending: Pending,
        answer: sntp::Answer,
    ) -> Result<Option<TimeSet>, TimeError> {
        let round_trip = now.since(pending.sent);
        if round_trip >= ANSWER_TIMEOUT_MS {
            return Err(TimeError::RoundTrip);
        }
        let held = answer.transmitted.since(answer.received).unsigned_abs();
        // The two clocks count milliseconds apart: one may have ticked.
        if held > round_trip + 1 {
            return Err(TimeError::Order);
        }
        // Between the two ends of the exchange lies the mean of the two one-way differences.
        let there = answer.received.since(EpochMillis(pending.sent.0));
        let back = answer.transmitted.since(EpochMillis(now.0));
        let offset = there.midpoint(back);
        let error_ms =
            round_trip.saturating_sub(held).div_ceil(2) + u64::from(answer.root_distance_ms) + ROUNDING_MS;
        let time = EpochMillis(now.0).offset(offset);
        if time < self.floor
            && !(time >= self.build && self.gives_up_floor(now, pending.server, offset, error_ms))
        {
            return Err(TimeError::BeforeFloor);
        }
        if time > self.ceiling {
            return Err(TimeError::AfterCeiling);
        }
        let Some(estimate) = self.estimate else {
            let alone = Some(Opinion { offset, error_ms, apart_ms: 0 });
            let several = self.servers.len() > 1;
            let opinion =
                if several { self.second_opinion(now, pending.server, offset, error_ms)? } else { alone };
            let Some(opinion) = opinion else { return Ok(None) };
            self.apart_ms = opinion.apart_ms;
            self.step(now, opinion.offset, opinion.error_ms);
            let time = EpochMillis(now.0).offset(opinion.offset);
            return Ok(Some(TimeSet { time, change_ms: None, step: true }));
        };
        let old = estimate.offset_at(now);
        let change = offset.saturating_sub(old);
        let old_error = estimate.error_at(now);
        let agrees = change.unsigned_abs() <= error_ms.saturating_add(old_error);
        if agrees && old_error <= error_ms {
            // The clock knows better than a server at the end of a slow way: the answer only says that it is right.
            self.heard = now;
            self.candidate = None;
            return Ok(Some(TimeSet { time, change_ms: Some(0), step: false }));
        }
        if let Some(anchor) = self.anchor {
            let drift = now.since(anchor.at).div_ceil(DRIFT_DIVISOR).saturating_add(error_ms);
            if offset.abs_diff(anchor.offset) > JUMP_MAX_MS.saturating_add(drift) {
                return Err(TimeError::Jump);
            }
        }
        if change.unsigned_abs() <= STEP_MS {
            self.set(now, old, change, error_ms);
            self.candidate = None;
            return Ok(Some(TimeSet { time, change_ms: Some(change), step: false }));
        }
        let Some(opinion) = self.second_opinion(now, pending.server, offset, error_ms)? else {
            return Ok(None);
        };
        let change = opinion.offset.saturating_sub(old);
        let time = EpochMillis(now.0).offset(opinion.offset);
        // Between two that differ, the clock may be where it should be.
        let step = change.unsigned_abs() > STEP_MS;
        if step {
            self.steps = self.steps.saturating_add(1);
            self.step(now, opinion.offset, opinion.error_ms);
        } else {
            self.set(now, old, change, opinion.error_ms);
        }
        Ok(Some(TimeSet { time, change_ms: Some(change), step }))
    }

    /// This answer and an earlier one of another server as one, where they agree; keeps this one for the next where there is
    /// none. The error is what lies between them and the larger of their own: it holds where either of the two is right.
    fn second_opinion(
        &mut self,
        now: Uptime,
        server: usize,
        offset: i64,
        error_ms: u64,
    ) -> Result<Option<Opinion>, TimeError> {
        let this = Candidate { server, offset, error_ms, at: now };
        let Some(first) = self.candidate.filter(|first| now.since(first.at) < CANDIDATE_MS) else {
            self.candidate = Some(this);
            return Ok(None);
        };
        let apart_ms = first.offset.abs_diff(offset);
        // A clock that has no time yet is better off with one that is seconds wrong, and knows it. Servers that differed then
        // may go on to.
        let bound = if self.estimate.is_none() { START_AGREE_MS } else { AGREE_MS + self.apart_ms };
        if apart_ms > first.error_ms + error_ms + bound {
            self.candidate = Some(this);
            self.disagreement = Some(Disagreement { servers: [first.server, server], apart_ms });
            return Err(TimeError::Disagree);
        }
        if first.server == server && !self.is_alone(server) {
            return Ok(None);
        }
        self.candidate = None;
        let first_error_ms = first.error_ms + now.since(first.at).div_ceil(DRIFT_DIVISOR);
        Ok(Some(Opinion {
            offset: first.offset.midpoint(offset),
            error_ms: apart_ms.div_ceil(2) + first_error_ms.max(error_ms),
            apart_ms,
        }))
    }

    /// True where every other server has been silent for a while.
    fn is_alone(&self, server: usize) -> bool {
        self.servers
            .iter()
            .enumerate()
            .all(|(index, other)| index == server || other.failures >= SILENT_AFTER)
    }

    /// An answer below the floor but not before the build: true once two servers, or the only one, have agreed on it
    /// for [`FLOOR_PATIENCE_MS`]. The floor then falls back to the build.
    fn gives_up_floor(&mut self, now: Uptime, server: usize, offset: i64, error_ms: u64) -> bool {
        let bit = 1 << server;
        let agrees = |below: &Below| {
            let drift = now.since(below.since).div_ceil(DRIFT_DIVISOR);
            below.offset.abs_diff(offset) <= below.error_ms + error_ms + AGREE_MS + drift
        };
        let fresh = Below { offset, error_ms, since: now, servers: bit };
        let below =
            self.below.filter(agrees).map_or(fresh, |below| Below { servers: below.servers | bit, ..below });
        self.below = Some(below);
        let enough = self.servers.len() == 1 || below.servers.count_ones() > 1;
        if enough && now.since(below.since) >= FLOOR_PATIENCE_MS && self.estimate.is_none() {
            self.floor = self.build;
            self.below = None;
            return true;
        }
        false
    }

    fn step(&mut self, now: Uptime, offset: i64, error_ms: u64) {
        self.stepped_since_attempt = true;
        self.set(now, offset, 0, error_ms);
    }

    fn set(&mut self, now: Uptime, offset: i64, slew: i64, error_ms: u64) {
        self.heard = now;
        self.estimate = Some(Estimate { offset, slew, since: now, error_ms });
    }
}
