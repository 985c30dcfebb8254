//! Samples from the sensor until the service has acknowledged them. Owns the schedule, the ring and the count of what is
//! lost; never the sensor or the network. R-DATA-INTACT.
//!
//! A sample is in exactly one of three places: `waiting` (never sent), `sent` (sent at least once, not acknowledged), or
//! gone (acknowledged, or dropped and counted). Only a sample that was never sent may be dropped, so that the count of
//! lost samples is exact: what was sent may have arrived, and stays until that is known.

use crate::platform::Uptime;
use heapless::Deque;
use protocol::telemetry::BATCH_SAMPLES_MAX;
use protocol::{Batch, EpochMillis, Measurement, Sample, SensorFault};

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

/// A sample that was sent, with the count of lost samples that went with it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    held: Held,
    lost: u32,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    token: u16,
    samples: usize,
    acknowledged: bool,
}

/// The samples of this boot.
#[derive(Debug)]
pub(crate) struct Telemetry {
    boot: u32,
    sample_period: u64,
    report_period: u64,
    next_seq: u32,
    waiting: Deque<Held, RING_SAMPLES>,
    sent: Deque<Sent, SENT_SAMPLES>,
    flights: Deque<Flight, BATCHES_IN_FLIGHT>,
    lost: u32,
    faults: u32,
    next_sample: Uptime,
    next_report: Uptime,
    /// Everything that waits is to be sent, not only full batches.
    flush: bool,
    asked: Option<Uptime>,
}

impl Telemetry {
    /// Starts with a sample at `now`. Periods in milliseconds, at least 1.
    pub(crate) fn new(boot: u32, sample_period: u32, report_period: u32, now: Uptime) -> Self {
        Self {
            boot,
            sample_period: u64::from(sample_period.max(1)),
            report_period: u64::from(report_period.max(1)),
            next_seq: 0,
            waiting: Deque::new(),
            sent: Deque::new(),
            flights: Deque::new(),
            lost: 0,
            faults: 0,
            next_sample: now,
            next_report: now.after(u64::from(report_period)),
            flush: false,
            asked: None,
        }
    }

    /// Samples that wait for delivery or acknowledgement.
    pub(crate) fn held(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }

    /// Samples dropped since start.
    pub(crate) fn lost(&self) -> u32 {
        self.lost
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
            self.reading(Err(SensorFault::NoAnswer));
        }
        self.asked = Some(now);
        self.next_sample = next_on_grid(self.next_sample, self.sample_period, now);
        true
    }

    /// The sensor has answered. Ignored where it was not asked.
    pub(crate) fn reading(&mut self, reading: Result<Measurement, SensorFault>) {
        let Some(at) = self.asked.take() else { return };
        self.faults = self.faults.saturating_add(u32::from(reading.is_err()));
        let held = Held { seq: self.next_seq, at, reading };
        // Four billion samples are 13 years at ten a second; the sequence then stands still instead of starting over.
        self.next_seq = self.next_seq.saturating_add(1);
        if self.waiting.is_full() {
            self.waiting.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        let kept = self.waiting.push_back(held);
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

    /// The next batch to publish, if one is due; [`Self::published`] must follow.
    pub(crate) fn poll_batch(
        &mut self,
        now: Uptime,
        time: impl Fn(Uptime) -> Option<EpochMillis>,
    ) -> Option<Batch> {
        if now >= self.next_report {
            self.flush = true;
            self.next_report = next_on_grid(self.next_report, self.report_period, now);
        }
        if self.flights.is_full() {
            return None;
        }
        let in_flight = self.in_flight();
        if self.sent.len() == in_flight {
            self.flush &= !self.waiting.is_empty();
            if !self.flush && self.waiting.len() < BATCH_SAMPLES_MAX {
                return None;
            }
            // Both batches in flight fit into `sent`, and one more is only asked for below that.
            while self.sent.len() < in_flight + BATCH_SAMPLES_MAX
                && let Some(held) = self.waiting.front().copied()
                && self.sent.push_back(Sent { held, lost: self.lost }).is_ok()
            {
                self.waiting.pop_front();
            }
        }
        batch(self.boot, self.sent.iter().skip(in_flight).copied(), time)
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
        let lost = self.lost;
        let all = self.sent.iter().copied().chain(self.waiting.iter().map(|held| Sent { held: *held, lost }));
        let batch = batch(self.boot, all, time)?;
        for _ in 0..batch.samples.len() {
            if self.sent.pop_front().is_none() {
                self.waiting.pop_front();
            }
        }
        Some(batch)
    }

    /// When the next sample or report is due.
    pub(crate) fn next_deadline(&self, connected: bool) -> Uptime {
        if connected { self.next_sample.min(self.next_report) } else { self.next_sample }
    }
}

/// The next point after `now` on the grid of `period` through `last`: what was missed is not made up for.
fn next_on_grid(last: Uptime, period: u64, now: Uptime) -> Uptime {
    last.after(period.saturating_mul(now.since(last) / period + 1))
}

/// As many of `samples` as one batch may hold: consecutive, and with one count of losses.
fn batch(
    boot: u32,
    samples: impl Iterator<Item = Sent>,
    time: impl Fn(Uptime) -> Option<EpochMillis>,
) -> Option<Batch> {
    let mut samples = samples.peekable();
    let first = *samples.peek()?;
    let mut batch = Batch {
        boot,
        seq: first.held.seq,
        time: time(first.held.at),
        lost: first.lost,
        samples: heapless::Vec::new(),
    };
    for (sent, seq) in samples.zip(first.held.seq..) {
        let after_ms = u32::try_from(sent.held.at.since(first.held.at));
        let (true, true, Ok(after_ms)) = (sent.held.seq == seq, sent.lost == first.lost, after_ms) else { break };
        if batch.samples.push(Sample { after_ms, reading: sent.held.reading }).is_err() {
            break;
        }
    }
    Some(batch)
}

#[cfg(test)]
mod tests;
