//! Samples from the sensor until the service has acknowledged them. Owns the schedule, the ring and the count of what
//! is lost; never the sensor or the network. R-DATA-INTACT.
//!
//! A sample is in exactly one of three places: `waiting` (never sent), `sent` (sent at least once, not acknowledged),
//! or gone (acknowledged, or dropped and counted). Only a sample that was never sent may be dropped, so that the
//! count of lost samples is exact: what was sent may have arrived, and stays until that is known.
//!
//! A point of the sampling grid at which the device was busy with something else is a sample that is lost as well: it takes its
//! sequence number, and is counted apart too, as missed. Those of a burst are not: it takes all its samples, later.
//!
//! A measurement in which nothing has moved out of its dead-band is no sample: it gets no number and is counted apart. The
//! first one after each report is always a sample, so that a quiet device can be told from a dead one, and so is one that
//! follows a fault, changes an alarm, or belongs to a burst.

mod thresholds;

use crate::platform::Uptime;
use core::borrow::BorrowMut;
use heapless::{Deque, Vec};
use protocol::config::Draft;
use protocol::state::{ALARMS_MAX, Alarm};
use protocol::telemetry::BATCH_SAMPLES_MAX;
use protocol::{Batch, EpochMillis, Measurement, Sample, SensorFault};
use thresholds::{Alarms, Changes, DeadBands};

/// Samples that wait while there is no connection. 512 are 85 minutes at the default period of 10 s, in 14 KiB of RAM.
pub const RING_SAMPLES: usize = 512;

/// Batches on their way at once: one is acknowledged while the next travels.
pub const BATCHES_IN_FLIGHT: usize = 2;

/// Samples on their way at once.
const SENT_SAMPLES: usize = BATCH_SAMPLES_MAX * BATCHES_IN_FLIGHT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    seq: u32,
    at: Uptime,
    reading: Result<Measurement, SensorFault>,
}

/// The place for the samples that wait. By far the largest part of a device: a port whose stack is small keeps it in
/// static memory and hands it over by reference.
#[derive(Debug)]
pub struct Ring(Deque<Held, RING_SAMPLES>);

impl Ring {
    /// An empty ring.
    pub const fn new() -> Self {
        Self(Deque::new())
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

/// A sample that was sent, with the time and the count of lost samples that went with it: when it is sent again it
/// says the same, whatever the clock has done meanwhile.
#[derive(Clone, Copy, Debug)]
struct Sent {
    held: Held,
    time: Option<EpochMillis>,
    lost: u32,
}

/// Up to where the numbers are known, and how many below are lost. What is lost before a sample follows from its number:
/// nothing of the ring has to remember it.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    below: u32,
    count: u32,
}

impl Lost {
    /// The sample `seq` comes next: what is between is lost. Gives how many are lost before it.
    const fn pass(&mut self, seq: u32) -> u32 {
        self.count = self.count.saturating_add(seq.saturating_sub(self.below));
        self.below = seq.saturating_add(1);
        self.count
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    token: u16,
    samples: usize,
    acknowledged: bool,
}

/// Samples that were asked for at a period of their own.
#[derive(Clone, Copy, Debug)]
struct Burst {
    left: u16,
    period: u64,
    /// When the ordinary sampling goes on.
    resume: Uptime,
}

/// The samples of this boot.
#[derive(Debug)]
pub(crate) struct Telemetry<R> {
    boot: u32,
    sample_period: u64,
    report_period: u64,
    dead_bands: DeadBands,
    alarms: Alarms,
    burst: Option<Burst>,
    /// The last sample; `None` where the next measurement is one in any case.
    last: Option<Measurement>,
    suppressed: u32,
    next_seq: u32,
    /// The sequence number that would come next out of the ring if none were lost, and how many below it are lost.
    out: Lost,
    waiting: R,
    sent: Deque<Sent, SENT_SAMPLES>,
    flights: Deque<Flight, BATCHES_IN_FLIGHT>,
    overflowed: u32,
    missed: u32,
    faults: u32,
    next_sample: Uptime,
    next_report: Uptime,
    /// Everything that waits is to be sent, not only full batches.
    flush: bool,
    asked: Option<Uptime>,
}

impl<R: BorrowMut<Ring>> Telemetry<R> {
    /// Starts with a sample at `now` and an empty `ring`.
    pub(crate) fn new(mut ring: R, boot: u32, configuration: &Draft, now: Uptime) -> Self {
        ring.borrow_mut().0.clear();
        Self {
            boot,
            sample_period: period(configuration.sample_period_ms),
            report_period: period(configuration.report_period_ms),
            dead_bands: DeadBands::of(configuration),
            alarms: Alarms::new(configuration),
            burst: None,
            last: None,
            suppressed: 0,
            next_seq: 0,
            out: Lost::default(),
            waiting: ring,
            sent: Deque::new(),
            flights: Deque::new(),
            overflowed: 0,
            missed: 0,
            faults: 0,
            next_sample: now,
            next_report: now.after(period(configuration.report_period_ms)),
            flush: false,
            asked: None,
        }
    }

    /// Goes on with other periods, dead-bands and limits. A new period counts from the last sample or report.
    pub(crate) fn configure(&mut self, configuration: &Draft, now: Uptime) {
        let sample = period(configuration.sample_period_ms);
        if self.burst.is_none() {
            self.miss(self.next_sample, now);
        }
        let ordinary = self.burst.as_mut().map_or(&mut self.next_sample, |burst| &mut burst.resume);
        *ordinary = regrid(*ordinary, self.sample_period, sample, now);
        self.sample_period = sample;
        let report = period(configuration.report_period_ms);
        self.next_report = regrid(self.next_report, self.report_period, report, now);
        self.report_period = report;
        self.dead_bands = DeadBands::of(configuration);
        self.alarms.configure(configuration);
    }

    /// Takes `samples` samples, each `period_ms` milliseconds after the one before, the first at `now`; sends all of them at
    /// the end, and goes on as before. Takes the place of a burst that is not over.
    pub(crate) fn burst(&mut self, samples: u16, period_ms: u32, now: Uptime) {
        if samples == 0 {
            return;
        }
        let resume = self.burst.map_or(self.next_sample, |burst| burst.resume);
        if self.burst.is_none() {
            self.miss(resume, now);
        }
        self.burst = Some(Burst { left: samples, period: period(period_ms), resume });
        self.next_sample = now;
    }

    /// A burst that is not over ends here; what it has brought goes out.
    pub(crate) fn end_burst(&mut self, now: Uptime) {
        if let Some(burst) = self.burst.take() {
            self.next_sample = match burst.resume {
                resume if resume > now => resume,
                resume => next_on_grid(resume, self.sample_period, now),
            };
            self.flush = true;
        }
    }

    /// True until the last sample of a burst is taken.
    pub(crate) const fn is_bursting(&self) -> bool {
        self.burst.is_some()
    }

    /// Everything that waits goes out.
    pub(crate) const fn flush(&mut self) {
        self.flush = true;
    }

    fn ring(&self) -> &Deque<Held, RING_SAMPLES> {
        &self.waiting.borrow().0
    }

    fn ring_mut(&mut self) -> &mut Deque<Held, RING_SAMPLES> {
        &mut self.waiting.borrow_mut().0
    }

    /// Samples that wait for delivery or acknowledgement.
    pub(crate) fn held(&self) -> usize {
        self.ring().len() + self.sent.len()
    }

    /// Samples dropped since start because too many waited.
    pub(crate) fn overflowed(&self) -> u32 {
        self.overflowed
    }

    /// Samples lost since start because the device was busy when they were due.
    pub(crate) fn missed(&self) -> u32 {
        self.missed
    }

    /// Measurements since start that were no samples because no value had left its dead-band.
    pub(crate) fn suppressed(&self) -> u32 {
        self.suppressed
    }

    /// The values that are beyond a limit.
    pub(crate) fn alarms(&self) -> Vec<Alarm, ALARMS_MAX> {
        self.alarms.raised()
    }

    /// Samples since start that are a fault.
    pub(crate) fn faults(&self) -> u32 {
        self.faults
    }

    /// The sequence number that the next sample gets.
    pub(crate) fn next_seq(&self) -> u32 {
        self.next_seq
    }

    /// True where a sample is due now. A sensor that has not answered by then is a fault.
    pub(crate) fn poll_sample(&mut self, now: Uptime) -> bool {
        if now < self.next_sample {
            return false;
        }
        if self.asked.is_some() {
            // No value, and so no alarm.
            self.reading(Err(SensorFault::NoAnswer));
        }
        self.asked = Some(now);
        match &mut self.burst {
            Some(burst) if burst.left > 1 => {
                burst.left -= 1;
                self.next_sample = next_on_grid(self.next_sample, burst.period, now);
            }
            // The last one: it ends with its answer.
            Some(burst) => {
                burst.left = 0;
                self.next_sample = match burst.resume {
                    resume if resume > now => resume,
                    resume => next_on_grid(resume, self.sample_period, now),
                };
            }
            None => {
                self.miss(self.next_sample, now);
                self.next_sample = next_on_grid(self.next_sample, self.sample_period, now);
            }
        }
        true
    }

    /// Counts the points of the grid from `due` on at which nothing was measured. The last one that is due by `now` is not one
    /// of them: it is measured now, late.
    fn miss(&mut self, due: Uptime, now: Uptime) {
        let missed = u32::try_from(now.since(due) / self.sample_period).unwrap_or(u32::MAX);
        // What has no number any more is not taken either.
        let missed = missed.min(u32::MAX - self.next_seq);
        self.next_seq += missed;
        self.missed = self.missed.saturating_add(missed);
    }

    /// The sensor has answered. Ignored where it was not asked. Gives the alarms that begin or end with it.
    pub(crate) fn reading(&mut self, reading: Result<Measurement, SensorFault>) -> Changes {
        let Some(at) = self.asked.take() else { return Changes::new() };
        self.faults = self.faults.saturating_add(u32::from(reading.is_err()));
        let changes = reading.map_or_else(|_| Changes::new(), |measured| self.alarms.judge(measured));
        let counts = match (reading, self.last) {
            (Ok(measured), Some(last)) => {
                self.burst.is_some() || !changes.is_empty() || self.dead_bands.left(last, measured)
            }
            _ => true,
        };
        self.flush |= !changes.is_empty();
        if self.burst.is_some_and(|burst| burst.left == 0) {
            self.burst = None;
            self.flush = true;
        }
        if counts {
            self.last = reading.ok();
            self.keep(at, reading);
        } else {
            self.suppressed = self.suppressed.saturating_add(1);
        }
        changes
    }

    fn keep(&mut self, at: Uptime, reading: Result<Measurement, SensorFault>) {
        let held = Held { seq: self.next_seq, at, reading };
        // Four billion samples are seven years at twenty a second without a restart: then nothing more is taken,
        // because a number that is there twice would be worse.
        let Some(next_seq) = self.next_seq.checked_add(1) else { return };
        self.next_seq = next_seq;
        if self.ring().is_full()
            && let Some(oldest) = self.ring_mut().pop_front()
        {
            self.overflowed = self.overflowed.saturating_add(1);
            self.out.pass(oldest.seq);
            self.out.count = self.out.count.saturating_add(1);
        }
        let kept = self.ring_mut().push_back(held);
        debug_assert!(kept.is_ok());
    }

    /// A connection has come: everything that waits goes out.
    pub(crate) fn connected(&mut self) {
        self.flush = true;
    }

    /// The connection is gone: what was on its way goes out again.
    pub(crate) fn disconnected(&mut self) {
        self.flights.clear();
    }

    fn in_flight(&self) -> usize {
        self.flights.iter().map(|flight| flight.samples).sum()
    }

    /// Notes that a report is due, also while nothing can be sent.
    pub(crate) fn poll_report(&mut self, now: Uptime) {
        if now >= self.next_report {
            self.flush = true;
            self.last = None;
            self.next_report = next_on_grid(self.next_report, self.report_period, now);
        }
    }

    /// The next batch to publish, if one is due; [`Self::published`] must follow.
    pub(crate) fn poll_batch(&mut self, time: impl Fn(Uptime) -> Option<EpochMillis>) -> Option<Batch> {
        if self.flights.is_full() {
            return None;
        }
        let in_flight = self.in_flight();
        if self.sent.len() == in_flight {
            self.flush &= !self.ring().is_empty();
            if !self.flush && self.ring().len() < BATCH_SAMPLES_MAX {
                return None;
            }
            // Both batches in flight fit into `sent`, and one more is only asked for below that.
            while self.sent.len() < in_flight + BATCH_SAMPLES_MAX
                && !self.sent.is_full()
                && let Some(held) = self.ring_mut().pop_front()
            {
                let lost = self.out.pass(held.seq);
                let fits = self.sent.push_back(Sent { held, time: time(held.at), lost });
                debug_assert!(fits.is_ok());
            }
        }
        batch(self.boot, self.sent.iter().skip(in_flight).copied())
    }

    /// The batch just polled is on its way with `token` and has `samples` samples.
    pub(crate) fn published(&mut self, token: u16, samples: usize) {
        let noted = self.flights.push_back(Flight { token, samples, acknowledged: false });
        debug_assert!(noted.is_ok());
    }

    /// The service has acknowledged the batch with `token`: its samples are freed, in order.
    pub(crate) fn acknowledged(&mut self, token: u16) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.token == token) {
            flight.acknowledged = true;
        }
        while let Some(flight) = self.flights.front().filter(|flight| flight.acknowledged).copied() {
            self.flights.pop_front();
            for _ in 0..flight.samples {
                self.sent.pop_front();
            }
        }
    }

    /// Gives up every sample as batches, oldest first, for the flash: the device stops.
    pub(crate) fn drain(&mut self, time: impl Fn(Uptime) -> Option<EpochMillis>) -> Option<Batch> {
        let mut out = self.out;
        let all = self.sent.iter().copied().chain(self.ring().iter().map(|held| Sent {
            held: *held,
            time: time(held.at),
            lost: out.pass(held.seq),
        }));
        let batch = batch(self.boot, all)?;
        for _ in 0..batch.samples.len() {
            if self.sent.pop_front().is_none()
                && let Some(held) = self.ring_mut().pop_front()
            {
                self.out.pass(held.seq);
            }
        }
        Some(batch)
    }

    /// When the next sample or report is due.
    pub(crate) fn next_deadline(&self) -> Uptime {
        self.next_sample.min(self.next_report)
    }
}

fn period(millis: u32) -> u64 {
    u64::from(millis.max(1))
}

/// When what was next due at `next` is due with another period: counted from the last time, and not before `now`.
fn regrid(next: Uptime, old: u64, new: u64, now: Uptime) -> Uptime {
    if old == new { next } else { Uptime(next.0.saturating_sub(old)).after(new).max(now) }
}

/// The next point after `now` on the grid of `period` through `last`: what was missed is not made up for; [`Telemetry::miss`]
/// counts it.
fn next_on_grid(last: Uptime, period: u64, now: Uptime) -> Uptime {
    last.after(period.saturating_mul(now.since(last) / period + 1))
}

/// As many of `samples` as one batch may hold: consecutive, on one time scale, and with one count of losses.
fn batch(boot: u32, samples: impl Iterator<Item = Sent>) -> Option<Batch> {
    let mut samples = samples.peekable();
    let first = *samples.peek()?;
    let mut batch =
        Batch { boot, seq: first.held.seq, time: first.time, lost: first.lost, samples: Vec::new() };
    for (sent, seq) in samples.zip(first.held.seq..=u32::MAX) {
        let after = sent.held.at.since(first.held.at);
        let same_time = sent.time == first.time.map(|time| time.offset(after as i64));
        let consecutive = sent.held.seq == seq && sent.lost == first.lost && same_time;
        let (true, Ok(after_ms)) = (consecutive, u32::try_from(after)) else { break };
        if batch.samples.push(Sample { after_ms, reading: sent.held.reading }).is_err() {
            break;
        }
    }
    Some(batch)
}

#[cfg(test)]
mod tests;
