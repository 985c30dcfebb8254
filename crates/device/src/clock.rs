//! What time it is, how sure that is, and which server to ask next. Owns the estimate and the floor, never a socket or
//! a timer. R-TIME, with SNTP after RFC 4330 and RFC 5905.
//!
//! The rules, each with its test:
//! - Servers are asked in turn, none more often than every [`MIN_INTERVAL_MS`]; one that fails is asked ever less often,
//!   one that sends a kiss-o'-death is left alone.
//! - The first time, and every later step, needs two answers that agree, of two servers where two are configured; of one
//!   alone only once every other has been silent [`SILENT_AFTER`] times in a row. A single configured server sets the
//!   first time alone.
//! - A device that has no time takes two answers that differ by less than [`START_AGREE_MS`] as one between them, with an error
//!   that covers both.
//! - Differences up to [`STEP_MS`] are slewed, so that time does not jump; larger ones are steps, counted and noted.
//! - Never before the floor, the newest of build time and last confirmed time; never [`SERVICE_YEARS`] after the build.
//! - A time is confirmed by a verified TLS connection that began after it was set. From then on the clock may move by
//!   [`JUMP_MAX_MS`] in all until it is confirmed again; before, a certificate that does not fit the time makes the
//!   device forget it and ask again. A confirmed time is forgotten after [`DISTRUST_AFTER`] such certificates in a row.
//! - A verified connection proves a time only as far as its certificate is valid. So that a forged time in the future
//!   cannot lock the device out for good, the stored floor is given up after [`FLOOR_PATIENCE_MS`] in which two servers
//!   (or the only one) agreed on an earlier time, which is still not before the build.

mod estimate;
pub(crate) mod keeping;
mod silence;
pub mod sntp;
mod weigh;

use crate::platform::Uptime;
use estimate::Estimate;
pub use estimate::{DRIFT_DIVISOR, SLEW_DIVISOR};
use heapless::Vec;
use protocol::config::TIME_SERVERS_MAX;
use protocol::{ClockQuality, EpochMillis};
use silence::Silence;
pub use silence::{Disagreement, Outcome, REPORT_MAX_MS, REPORT_MIN_MS, TimeTrouble, Trouble};
pub use sntp::TimeError;
use weigh::{Anchor, Below, Candidate};

/// Shortest time between two requests to the same server, in milliseconds: RFC 4330, section 10, wants 15 s at least.
pub const MIN_INTERVAL_MS: u64 = 16_000;
/// Longest time between two requests to a server that does not answer, in milliseconds.
pub const MAX_INTERVAL_MS: u64 = 1_024_000;
/// How long a server that said RATE is left alone, in milliseconds.
pub const RATE_HOLDOFF_MS: u64 = 3_600_000;
/// Time between two requests once the clock is set, in milliseconds. At 100 ppm the clock drifts by 0.1 s meanwhile.
pub const POLL_MS: u64 = 1_024_000;
/// How long an answer is awaited, in milliseconds. Also bounds the round trip, whose half is the error of the answer.
pub const ANSWER_TIMEOUT_MS: u64 = 2_000;
/// Differences up to this are slewed, in milliseconds: the step threshold of RFC 5905 (0.125 s).
pub const STEP_MS: u64 = 125;
/// Largest jump of a confirmed clock, in milliseconds: the panic threshold of RFC 5905 (1000 s).
pub const JUMP_MAX_MS: u64 = 1_000_000;
/// Two answers agree where they differ by less than their error bounds and this, in milliseconds.
pub const AGREE_MS: u64 = 500;
/// The same for a clock that has no time yet, in milliseconds: seconds are little where certificates need days, and the clock's
/// error says so.
pub const START_AGREE_MS: u64 = 2_000;
/// How long the first of two answers is kept for the second, in milliseconds.
pub const CANDIDATE_MS: u64 = 600_000;
/// Largest error of a clock that may check certificates, in milliseconds: a day (threat model, asset 5).
pub const PLAUSIBLE_ERROR_MS: u64 = 86_400_000;
/// Failures in a row after which a server counts as silent.
pub const SILENT_AFTER: u8 = 3;
/// Certificates in a row that do not fit a confirmed time, after which it is forgotten.
pub const DISTRUST_AFTER: u8 = 3;
/// How long servers must agree on a time below the stored floor before it is given up, in milliseconds: a day.
pub const FLOOR_PATIENCE_MS: u64 = 86_400_000;
/// How long a server that does not want to be asked is left alone, in milliseconds: a day.
pub const DENY_HOLDOFF_MS: u64 = 86_400_000;
/// Years after its build in which a firmware may still be in service.
pub const SERVICE_YEARS: u64 = 20;
/// How far below the confirmed time the floor lies, in milliseconds, so that a correction never meets it.
pub const FLOOR_MARGIN_MS: i64 = 60_000;

/// A request for the port to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which of the configured servers.
    pub server: usize,
    /// The datagram.
    pub packet: [u8; sntp::PACKET_LEN],
}

/// The clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSet {
    /// The time that the servers say it is; the clock itself gets there at once or by slewing.
    pub time: EpochMillis,
    /// By how much the clock changes, in milliseconds; `None` for the first setting.
    pub change_ms: Option<i64>,
    /// True where it jumps there, false where it slews.
    pub step: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    server: usize,
    nonce: [u8; 8],
    sent: Uptime,
    /// Why something that came meanwhile was no answer.
    stray: Option<TimeError>,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    not_before: Uptime,
    interval_ms: u64,
    /// Failures in a row.
    failures: u8,
    /// What became of the last request.
    outcome: Outcome,
}

/// The device's clock.
#[derive(Debug)]
pub struct Clock {
    build: EpochMillis,
    floor: EpochMillis,
    ceiling: EpochMillis,
    below: Option<Below>,
    servers: Vec<Server, TIME_SERVERS_MAX>,
    /// Those that are asked until one of them has given an answer that counts, one bit for each; 0: any.
    sought: u8,
    turn: usize,
    wake: Uptime,
    pending: Option<Pending>,
    estimate: Option<Estimate>,
    /// When an answer was last taken over or found to agree.
    heard: Uptime,
    heard_from: Option<usize>,
    candidate: Option<Candidate>,
    /// How far the two servers were apart that have set the clock, in milliseconds.
    apart_ms: u64,
    disagreement: Option<Disagreement>,
    silence: Silence,
    anchor: Option<Anchor>,
    misfits: u8,
    stepped_since_attempt: bool,
    steps: u32,
    refused: u32,
}

impl Clock {
    /// A clock that is not set. `build` is when the firmware was built, `stored` the last confirmed time from flash,
    /// `servers` how many are configured (more than [`TIME_SERVERS_MAX`] are not used).
    pub fn new(build: EpochMillis, stored: Option<EpochMillis>, servers: usize) -> Self {
        let ceiling = build.offset((SERVICE_YEARS * 365 * 86_400_000) as i64);
        Self {
            build,
            // A stored time beyond the ceiling can only be damage.
            floor: stored.filter(|t| *t < ceiling).map_or(build, |t| t.max(build)),
            ceiling,
            below: None,
            servers: fresh(servers),
            sought: 0,
            turn: 0,
            wake: Uptime(0),
            pending: None,
            estimate: None,
            heard: Uptime(0),
            heard_from: None,
            candidate: None,
            apart_ms: 0,
            disagreement: None,
            silence: Silence::default(),
            anchor: None,
            misfits: 0,
            stepped_since_attempt: false,
            steps: 0,
            refused: 0,
        }
    }

    /// Other servers from now on: `servers` of them, asked at once. What the former ones said stays. `sought` names those that
    /// are on trial, one bit for each: they are asked until one of them has given an answer that counts, and none of the others
    /// while the clock is set.
    pub fn replace(&mut self, now: Uptime, servers: usize, sought: u8) {
        self.servers = fresh(servers);
        self.sought = sought;
        self.turn = 0;
        self.wake = now;
        // Each speaks of a server by its place in the former list.
        (self.pending, self.candidate, self.below) = (None, None, None);
        (self.disagreement, self.apart_ms, self.silence) = (None, 0, Silence::default());
    }

    /// Which server has given the last answer that counts.
    pub fn heard_from(&self) -> Option<usize> {
        self.heard_from
    }

    /// The time at `when`, which may lie in the past; `None` while the clock is not set.
    pub fn time(&self, when: Uptime) -> Option<EpochMillis> {
        let offset = self.estimate?.offset_at(when);
        Some(EpochMillis(when.0).offset(offset))
    }

    /// Bound of the clock's error in milliseconds; `None` while it is not set.
    pub fn error_ms(&self, now: Uptime) -> Option<u64> {
        self.estimate.map(|estimate| estimate.error_at(now))
    }

    /// How good the clock is.
    pub fn quality(&self, now: Uptime) -> ClockQuality {
        match self.estimate {
            None => ClockQuality::Unset,
            // Four polls without an answer.
            Some(_) if now.since(self.heard) > 4 * POLL_MS => ClockQuality::Holdover,
            Some(_) => ClockQuality::Synchronised,
        }
    }

    /// True where certificates may be checked against this clock.
    pub fn is_plausible(&self, now: Uptime) -> bool {
        self.error_ms(now).is_some_and(|error| error < PLAUSIBLE_ERROR_MS)
    }

    /// Steps since start, the first setting not counted.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Answers refused since start.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// An attempt to connect begins: the certificate will be checked against the time as it is now.
    pub fn attempt(&mut self) {
        self.stepped_since_attempt = false;
    }

    /// The connection that was attempted is verified. Where the clock was not set meanwhile, its time is confirmed:
    /// the floor rises to it. A time that the certificate was not checked against is not confirmed by it.
    pub fn confirm(&mut self, now: Uptime) {
        if let Some(estimate) = self.estimate
            && !self.stepped_since_attempt
        {
            self.misfits = 0;
            self.anchor = Some(Anchor { offset: estimate.offset_at(now), at: now });
            self.raise_floor(now);
        }
    }

    /// The floor to store, which has risen with a confirmed clock; `None` where no connection has confirmed the time.
    pub fn floor(&mut self, now: Uptime) -> Option<EpochMillis> {
        self.anchor?;
        self.raise_floor(now);
        Some(self.floor)
    }

    fn raise_floor(&mut self, now: Uptime) {
        if let (Some(time), Some(error)) = (self.time(now), self.error_ms(now)) {
            self.floor = self.floor.max(time.offset(-(error as i64) - FLOOR_MARGIN_MS));
        }
    }

    /// A certificate does not fit the time. Where no verified connection has confirmed it, or after
    /// [`DISTRUST_AFTER`] such certificates, it is forgotten; the floor stays.
    pub fn distrust(&mut self, now: Uptime) {
        self.misfits = self.misfits.saturating_add(1);
        if self.anchor.is_none() || self.misfits >= DISTRUST_AFTER {
            self.misfits = 0;
            self.anchor = None;
            self.estimate = None;
            self.candidate = None;
            if self.pending.is_none() {
                self.wake = now;
            }
        }
    }

    /// The request has left just now: looking up the server's name is no part of the round trip.
    pub fn sent(&mut self, now: Uptime) {
        if let Some(pending) = &mut self.pending {
            pending.sent = now;
        }
    }

    /// The next request to send. `nonce` must be unpredictable; it is used only where a request is due.
    pub fn poll_output(&mut self, now: Uptime, nonce: [u8; 8]) -> Option<Query> {
        self.expire(now);
        if self.pending.is_some() || now < self.wake {
            return None;
        }
        let count = self.servers.len();
        let asked =
            |index: usize| self.sought == 0 || self.estimate.is_none() || self.sought >> index & 1 != 0;
        let due = |index: &usize| {
            asked(*index) && self.servers.get(*index).is_some_and(|server| server.not_before <= now)
        };
        let Some(server) = (0..count).map(|step| (self.turn + step) % count).find(due) else {
            let servers = self.servers.iter().enumerate().filter(|(index, _)| asked(*index));
            self.wake = servers.map(|(_, server)| server.not_before).min().unwrap_or(Uptime(u64::MAX));
            return None;
        };
        self.turn = (server + 1) % count;
        self.pending = Some(Pending { server, nonce, sent: now, stray: None });
        Some(Query { server, packet: sntp::request(nonce) })
    }

    /// True where a request is due, so that entropy is drawn only then.
    pub fn wants_to_ask(&self, now: Uptime) -> bool {
        self.next_deadline() <= now
    }

    /// Waits for a second: the random generator has no nonce now.
    pub fn postpone(&mut self, now: Uptime) {
        self.expire(now);
        self.wake = self.wake.max(now.after(1_000));
    }

    /// When the clock next wants to be asked.
    pub fn next_deadline(&self) -> Uptime {
        self.pending.map_or(self.wake, |pending| pending.sent.after(ANSWER_TIMEOUT_MS))
    }

    fn expire(&mut self, now: Uptime) {
        if let Some(pending) = self.pending
            && now.since(pending.sent) >= ANSWER_TIMEOUT_MS
        {
            let outcome = pending.stray.map_or(Outcome::NoAnswer, Outcome::Stray);
            self.server_failed(now, pending.server, outcome);
        }
    }

    /// The request could not be sent, or the network says that nobody will answer.
    pub fn unreachable(&mut self, now: Uptime) {
        self.not_asked(now, Outcome::Unreachable);
    }

    /// The server's name has no address.
    pub fn unknown(&mut self, now: Uptime) {
        self.not_asked(now, Outcome::UnknownName);
    }

    fn not_asked(&mut self, now: Uptime, outcome: Outcome) {
        if let Some(pending) = self.pending {
            self.server_failed(now, pending.server, outcome);
        }
    }

    fn server_failed(&mut self, now: Uptime, server: usize, outcome: Outcome) {
        self.pending = None;
        self.wake = now;
        if let Some(server) = self.servers.get_mut(server) {
            server.failures = server.failures.saturating_add(1);
        }
        self.has_become(server, outcome);
        self.ask_less(now, server);
    }

    fn ask_less(&mut self, now: Uptime, server: usize) {
        if let Some(server) = self.servers.get_mut(server) {
            server.not_before = now.after(server.interval_ms);
            server.interval_ms = (server.interval_ms * 2).min(MAX_INTERVAL_MS);
        }
    }

    fn leave_alone(&mut self, server: usize, until: Uptime) {
        if let Some(server) = self.servers.get_mut(server) {
            server.not_before = until;
        }
    }

    /// A datagram has come from the network. `Ok(None)` where it is right but has to be confirmed by another one.
    /// A datagram that answers no request is refused and changes nothing: the true answer may still come.
    pub fn answer(&mut self, now: Uptime, datagram: &[u8]) -> Result<Option<TimeSet>, TimeError> {
        let result = self.judge(now, datagram);
        if let Err(_refused) = result {
            self.refused = self.refused.saturating_add(1);
        }
        result
    }

    fn judge(&mut self, now: Uptime, datagram: &[u8]) -> Result<Option<TimeSet>, TimeError> {
        let pending = self.pending.as_mut().ok_or(TimeError::Unasked)?;
        let answer = match sntp::check(datagram, pending.nonce) {
            Ok(answer) => Ok(answer),
            Err(error @ (TimeError::Length | TimeError::Originate)) => {
                pending.stray = Some(error);
                return Err(error);
            }
            Err(error) => Err(error),
        };
        let pending = *pending;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.server_failed(now, pending.server, Outcome::Refused(error));
                match error {
                    TimeError::KissRate => self.leave_alone(pending.server, now.after(RATE_HOLDOFF_MS)),
                    TimeError::KissDeny => self.leave_alone(pending.server, now.after(DENY_HOLDOFF_MS)),
                    _ => {}
                }
                return Err(error);
            }
        };
        let verdict = self.weigh(now, pending, answer);
        match verdict {
            Ok(_) => {
                self.pending = None;
                self.below = None;
                if matches!(verdict, Ok(Some(_))) {
                    self.heard_from = Some(pending.server);
                    if self.sought >> pending.server & 1 != 0 {
                        self.sought = 0;
                    }
                }
                let heard = matches!(verdict, Ok(Some(_))) && self.sought == 0;
                self.wake = if heard { now.after(POLL_MS) } else { now };
                self.has_become(pending.server, Outcome::Answered);
                if heard {
                    self.is_heard();
                }
                if let Some(server) = self.servers.get_mut(pending.server) {
                    if matches!(verdict, Ok(Some(_))) {
                        server.interval_ms = MIN_INTERVAL_MS;
                    }
                    server.not_before = now.after(server.interval_ms);
                    server.failures = 0;
                }
            }
            Err(TimeError::Disagree) => {
                self.pending = None;
                self.wake = now;
                self.has_become(pending.server, Outcome::Refused(TimeError::Disagree));
                self.ask_less(now, pending.server);
            }
            Err(error) => self.server_failed(now, pending.server, Outcome::Refused(error)),
        }
        verdict
    }
}

fn fresh(servers: usize) -> Vec<Server, TIME_SERVERS_MAX> {
    let fresh = Server {
        not_before: Uptime(0),
        interval_ms: MIN_INTERVAL_MS,
        failures: 0,
        outcome: Outcome::NotAsked,
    };
    core::iter::repeat_n(fresh, servers.min(TIME_SERVERS_MAX)).collect()
}

#[cfg(test)]
mod tests;
