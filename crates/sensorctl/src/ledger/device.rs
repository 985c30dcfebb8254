//! One device: its boots and what it last said of itself. Owns at most [`BOOTS_MAX`] boots; older ones are only sums.

use super::boot::{Boot, Counts, Receipt};
use super::{Arrival, Latency};
use protocol::{
    Batch, ClockQuality, EpochMillis, Hello, Measurement, Name, PreviousBoot, ResetCause, SensorFault, State,
};
use std::collections::BTreeMap;

/// Boots whose sequence numbers are told apart. Samples of an older boot are taken for out of order.
pub const BOOTS_MAX: usize = 8;

/// What is known of one device.
#[derive(Clone, Debug, Default)]
pub struct Device {
    boots: BTreeMap<u32, Boot>,
    /// Sums of the boots that are not kept, and what belongs to no boot.
    sums: Counts,
    /// Boots below this are not kept any more.
    floor: u32,
    /// Boots from this one on are seen from their first sample.
    whole_from: Option<u32>,
    /// The highest boot that sent samples.
    sending: Option<u32>,
    /// The highest boot that said hello.
    greeted: Option<u32>,
    /// The highest boot whose end is known.
    told: Option<u32>,
    /// Boots that said hello.
    pub boots_seen: u64,
    /// Boots of which nobody knows how they ended: a power cut, a watchdog or a crash. What they had not sent is lost.
    pub boots_without_end: u64,
    /// Samples that are a fault of the sensor.
    pub faults: u64,
    /// Batches that came, repeated ones too.
    pub batches: u64,
    /// Payload of these batches in bytes.
    pub payload_bytes: u64,
    /// The same as whole PUBLISH packets of MQTT 3.1.1, in bytes.
    pub packet_bytes: u64,
    /// When the first and the last batch came.
    pub seen: Option<(EpochMillis, EpochMillis)>,
    /// Samples in the first batch: the rate counts from there.
    first_batch: u64,
    /// How long the latest connection took, from the first packet to CONNACK, in milliseconds.
    pub handshake_ms: Option<u32>,
    /// Version of the firmware, as last said.
    pub firmware: Option<Name>,
    /// The board, as last said.
    pub board: Option<Name>,
    /// Why the device last started.
    pub reset: Option<ResetCause>,
    /// How good its clock is, as last said.
    pub clock: Option<ClockQuality>,
    /// The last sample by boot and sequence number, and what it says.
    pub last: Option<((u32, u32), Result<Measurement, SensorFault>)>,
}

impl Device {
    /// Sums over all boots.
    pub fn counts(&self) -> Counts {
        let mut sums = self.sums;
        for boot in self.boots.values() {
            sums += boot.counts();
        }
        sums
    }

    /// Samples that former boots still owe: the next boot told how far they got.
    pub fn awaited(&self) -> u64 {
        self.boots.values().map(Boot::awaited).sum()
    }

    /// The latest boot that is known of.
    pub fn boot(&self) -> Option<u32> {
        self.greeted.max(self.sending)
    }

    /// Samples per second that came since the first batch; `None` before the second.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = self.seen?;
        let millis = u64::try_from(last.since(first)).ok().filter(|millis| *millis > 0)?;
        Some(self.counts().samples.saturating_sub(self.first_batch) as f64 * 1000.0 / millis as f64)
    }

    pub(super) fn hello(&mut self, hello: &Hello) {
        self.handshake_ms = Some(hello.handshake_ms);
        self.firmware = Some(hello.firmware.clone());
        self.board = Some(hello.board.clone());
        self.reset = Some(hello.reset);
        let boot = hello.boot;
        if self.greeted.is_some_and(|last| boot < last) {
            self.sums.contradictions += 1;
            return;
        }
        if self.greeted != Some(boot) {
            self.boots_seen += 1;
            // Every boot since the last one that said hello has ended; only `previous` tells how.
            self.boots_without_end += self.greeted.map_or(u64::from(boot > 1), |last| u64::from(boot - last));
            self.greeted = Some(boot);
        }
        let first_not_sent = if hello.connection == 1 { boot } else { boot.saturating_add(1) };
        let whole_from = *self.whole_from.get_or_insert(first_not_sent);
        // The ends of former boots come in order, each until the service has acknowledged it.
        let news = |previous: &PreviousBoot| {
            previous.boot < boot && self.told.is_none_or(|told| previous.boot > told)
        };
        if let Some(previous) = hello.previous.filter(news) {
            self.told = Some(previous.boot);
            self.boots_without_end = self.boots_without_end.saturating_sub(1);
            self.end_of(previous, whole_from);
        }
    }

    fn end_of(&mut self, previous: PreviousBoot, whole_from: u32) {
        if previous.boot >= self.floor {
            // A boot that sent nothing while somebody listened has sent nothing at all, where it is seen whole.
            if previous.boot >= whole_from || self.boots.contains_key(&previous.boot) {
                let over = self.sending.is_some_and(|sending| sending > previous.boot);
                let boot = self.kept(previous.boot);
                boot.ended(previous.next_seq);
                if over {
                    boot.over();
                }
            }
        }
    }

    pub(super) fn state(&mut self, state: &State) {
        self.clock = Some(state.clock);
        self.firmware = Some(state.firmware.clone());
    }

    pub(super) fn batch(&mut self, arrival: &Arrival, batch: &Batch, latency: &mut Latency) -> Receipt {
        let receipt = self.place(batch);
        self.batches += 1;
        self.payload_bytes += arrival.payload_bytes as u64;
        self.packet_bytes += arrival.packet_bytes() as u64;
        let first = self.seen.map_or(arrival.at, |(first, _)| first);
        if self.seen.is_none() {
            self.first_batch = receipt.new;
        }
        self.seen = Some((first, arrival.at));
        if receipt.new > 0 {
            // Repeated samples lie in front: a batch goes on where the one before ended.
            let repeated = batch.samples.len().saturating_sub(receipt.new as usize);
            for (seq, time, reading) in batch.iter().skip(repeated) {
                self.faults += u64::from(reading.is_err());
                if let Some(time) = time {
                    latency.record(arrival.at.since(time));
                }
                if self.last.is_none_or(|(last, _)| last < (batch.boot, seq)) {
                    self.last = Some(((batch.boot, seq), reading));
                }
            }
        }
        receipt
    }

    pub(super) fn interrupted(&mut self) {
        self.whole_from = None;
        for boot in self.boots.values_mut() {
            boot.interrupted();
        }
    }

    pub(super) fn doubted(&mut self) {
        self.boots.values_mut().for_each(Boot::doubted);
    }

    /// True where it has said something since this ledger began: its last state may be an old one, which the broker has kept.
    pub const fn has_spoken(&self) -> bool {
        self.boots_seen > 0 || self.batches > 0
    }

    fn place(&mut self, batch: &Batch) -> Receipt {
        let len = batch.samples.len() as u32;
        // What was sent before a boot's samples is of boots before it: later boots have sent nothing yet.
        self.whole_from.get_or_insert(batch.boot.saturating_add(1));
        if batch.boot < self.floor {
            self.sums.out_of_order += u64::from(len);
            return Receipt { out_of_order: u64::from(len), ..Receipt::default() };
        }
        let mut lost_at_end = 0;
        let late = self.sending.is_some_and(|sending| batch.boot < sending);
        if self.sending.is_none_or(|sending| batch.boot > sending) {
            self.sending = Some(batch.boot);
            for (_, boot) in self.boots.range_mut(..batch.boot) {
                let before = boot.counts().lost;
                boot.over();
                lost_at_end += boot.counts().lost - before;
            }
        }
        let mut receipt = self.kept(batch.boot).batch(batch.seq, len, batch.lost);
        receipt.lost += lost_at_end;
        if late {
            // Samples of a former boot come before those of the next one, or not at all.
            let in_order = receipt.new - receipt.out_of_order;
            self.sums.out_of_order += in_order;
            receipt.out_of_order += in_order;
        }
        receipt
    }

    fn kept(&mut self, number: u32) -> &mut Boot {
        let whole = self.whole_from.is_some_and(|from| number >= from);
        if !self.boots.contains_key(&number) {
            while self.boots.len() >= BOOTS_MAX
                && let Some((oldest, boot)) = self.boots.pop_first()
            {
                self.floor = oldest.saturating_add(1);
                self.sums += boot.counts();
            }
        }
        self.boots.entry(number).or_insert_with(|| Boot::new(whole))
    }
}
