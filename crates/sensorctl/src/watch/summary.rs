//! What a watch found, in numbers, at its end. Owns the verdict.

use super::{QUANTITIES, Watch};
use crate::ledger::Counts;
use protocol::{DeviceId, EpochMillis};
use serde_json::{Value, json};
use std::fmt;

/// What a watch found.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Length of the watch in milliseconds.
    pub millis: u64,
    /// Devices that were heard of.
    pub devices: usize,
    /// Sums over their samples.
    pub counts: Counts,
    /// Samples that former boots still owe.
    pub awaited: u64,
    /// Samples that are a fault of the sensor.
    pub faults: u64,
    /// Boots that said hello.
    pub boots: u64,
    /// Boots of which nobody knows how they ended.
    pub boots_without_end: u64,
    /// Batches that came.
    pub batches: u64,
    /// Their payload in bytes.
    pub payload_bytes: u64,
    /// The same as whole PUBLISH packets in bytes.
    pub packet_bytes: u64,
    /// How long the latest connection of a device took, in milliseconds; the median where there are several devices.
    pub handshake_ms: Option<u32>,
    /// From sample to arrival in milliseconds: half of the samples came faster.
    pub latency_median_ms: Option<u64>,
    /// The slowest sample.
    pub latency_max_ms: Option<u64>,
    /// How often messages may have passed unseen.
    pub interruptions: u64,
    /// Messages that could not be read, were none of ours, too long, or too many of one device.
    pub refused: u64,
    /// Devices that have said something since the watch began.
    pub spoke: usize,
    /// Devices in service that have not.
    pub unheard: Vec<DeviceId>,
}

/// Whether the data is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every sample is there.
    Whole,
    /// Samples are lost, and the devices said so of each of them.
    Lost,
    /// Samples are missing without explanation, came out of order, or contradict each other.
    Inconsistent,
    /// Nothing came, from no device or not from all that are in service.
    Silent,
}

impl Verdict {
    /// The exit code of `sensorctl watch`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Inconsistent => 3,
            Self::Lost => 4,
            Self::Silent => 5,
        }
    }
}

impl Summary {
    /// The summary of `watch` at `now`.
    pub fn new(watch: &Watch, now: EpochMillis) -> Self {
        let devices = || watch.ledger.devices().map(|(_, device)| device);
        let sum = |value: fn(&crate::ledger::Device) -> u64| devices().map(value).sum();
        let mut handshakes: Vec<u32> = devices().filter_map(|device| device.handshake_ms).collect();
        let middle = handshakes.len() / 2;
        let handshake_ms = (!handshakes.is_empty()).then(|| *handshakes.select_nth_unstable(middle).1);
        Self {
            millis: u64::try_from(now.since(watch.started)).unwrap_or(0),
            devices: devices().count(),
            counts: watch.ledger.counts(),
            awaited: sum(crate::ledger::Device::awaited),
            faults: sum(|device| device.faults),
            boots: sum(|device| device.boots_seen),
            boots_without_end: sum(|device| device.boots_without_end),
            batches: sum(|device| device.batches),
            payload_bytes: sum(|device| device.payload_bytes),
            packet_bytes: sum(|device| device.packet_bytes),
            handshake_ms,
            latency_median_ms: watch.ledger.latency().median_ms(),
            latency_max_ms: watch.ledger.latency().max_ms(),
            interruptions: watch.ledger.interruptions,
            refused: watch.refused,
            spoke: devices().filter(|device| device.has_spoken()).count(),
            unheard: watch.unheard().cloned().collect(),
        }
    }

    /// Whether the data is whole.
    pub fn verdict(&self) -> Verdict {
        let counts = &self.counts;
        if counts.unexplained + counts.out_of_order + counts.contradictions > 0 {
            Verdict::Inconsistent
        } else if self.spoke == 0 || !self.unheard.is_empty() {
            Verdict::Silent
        } else if counts.lost > 0 {
            Verdict::Lost
        } else {
            Verdict::Whole
        }
    }

    /// Payload bytes that one sample took, repeated ones counted like others.
    pub fn bytes_per_sample(&self) -> Option<f64> {
        self.per_sample(self.payload_bytes)
    }

    /// The same with the header of MQTT.
    pub fn packet_bytes_per_sample(&self) -> Option<f64> {
        self.per_sample(self.packet_bytes)
    }

    fn per_sample(&self, bytes: u64) -> Option<f64> {
        let samples = self.counts.samples + self.counts.duplicates;
        (samples > 0).then(|| (bytes as f64 * 100.0 / samples as f64).round() / 100.0)
    }

    /// The last line of `--json`.
    pub fn json(&self) -> Value {
        json!({
            "type": "summary",
            "seconds": self.millis as f64 / 1000.0,
            "devices": self.devices,
            "samples": self.counts.samples,
            "lost": self.counts.lost,
            "duplicates": self.counts.duplicates,
            "unexplained": self.counts.unexplained,
            "unobserved": self.counts.unobserved,
            "out_of_order": self.counts.out_of_order,
            "contradictions": self.counts.contradictions,
            "awaited": self.awaited,
            "faults": self.faults,
            "boots": self.boots,
            "boots_without_end": self.boots_without_end,
            "batches": self.batches,
            "handshake_ms": self.handshake_ms,
            "bytes_per_sample": self.bytes_per_sample(),
            "packet_bytes_per_sample": self.packet_bytes_per_sample(),
            "latency_median_ms": self.latency_median_ms,
            "latency_max_ms": self.latency_max_ms,
            "interruptions": self.interruptions,
            "refused": self.refused,
            "unheard": self.unheard.iter().map(DeviceId::as_str).collect::<Vec<_>>(),
        })
    }
}

fn known<T: fmt::Display>(value: Option<T>, unit: &str) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value} {unit}"))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "{} samples of {} device{} in {:.1} s: {} lost, {} duplicates, {} unexplained",
            counts.samples,
            self.devices,
            if self.devices == 1 { "" } else { "s" },
            self.millis as f64 / 1000.0,
            counts.lost,
            counts.duplicates,
            counts.unexplained
        )?;
        writeln!(
            f,
            "connecting took {}; {} in {} batches, {} with MQTT's header",
            known(self.handshake_ms, "ms"),
            known(self.bytes_per_sample(), "bytes per sample"),
            self.batches,
            known(self.packet_bytes_per_sample(), "bytes"),
        )?;
        write!(
            f,
            "from sample to arrival: {} in the middle, {} at most",
            known(self.latency_median_ms, "ms"),
            known(self.latency_max_ms, "ms")
        )?;
        for (count, text) in [
            (counts.out_of_order, "samples came out of order"),
            (counts.contradictions, "times a device contradicted itself"),
            (counts.unobserved, "samples may have passed while the link was down"),
            (self.awaited, "samples of former boots have not come yet"),
            (self.faults, "samples are a fault of the sensor"),
            (self.boots_without_end, "boots ended without a word: what they had not sent is lost"),
            (self.refused, "messages were refused"),
        ] {
            if count > 0 {
                write!(f, "\n{count} {text}")?;
            }
        }
        if self.spoke == 0 || !self.unheard.is_empty() {
            write!(f, "\nNOTHING CAME from ")?;
            for id in self.unheard.iter().take(NAMED_MAX) {
                write!(f, "{id}, ")?;
            }
            match (self.unheard.len(), self.spoke) {
                (0, _) => f.write_str("any device")?,
                (count, 0) => write!(f, "in all {count} devices in service, and from no other")?,
                (count, _) => write!(f, "in all {count} devices in service")?,
            }
            f.write_str(
                ": they are silent, or the broker does not let this certificate read what they say (some brokers grant such a \
                 subscription and deliver nothing)",
            )?;
        }
        Ok(())
    }
}

/// Silent devices that are named.
const NAMED_MAX: usize = 20;

/// One line for each value of the device that was heard last: least, greatest, and its course as a row of blocks
/// `width` wide. Empty where there is none.
pub fn sparklines(watch: &Watch, width: usize) -> Vec<String> {
    let latest = watch.ledger.devices().max_by_key(|(_, device)| device.seen.map(|(_, last)| last));
    let Some((id, _)) = latest else { return Vec::new() };
    let history: Vec<_> = watch.history(id).filter_map(|(_, measurement)| *measurement).collect();
    let line = |quantity: &super::Quantity| {
        let values: Vec<f64> = history.iter().map(|measurement| (quantity.value)(*measurement)).collect();
        let (least, greatest) = range(&values)?;
        Some(format!(
            "{:11} {:>8.2} … {:>8.2} {:<3} {}",
            quantity.name,
            least,
            greatest,
            quantity.unit,
            sparkline(&values, width)
        ))
    };
    QUANTITIES.iter().filter_map(line).collect()
}

/// Least and greatest; `None` of nothing.
pub(super) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().reduce(f64::min)?;
    let greatest = values.iter().copied().reduce(f64::max)?;
    Some((least, greatest))
}

/// The course of `values` in blocks of eight heights, at most `width` of them: the mean of as many values as fall
/// into one.
fn sparkline(values: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let Some((least, greatest)) = range(values) else { return String::new() };
    let columns = width.min(values.len());
    let column = |n: usize| values.get(n * values.len() / columns..(n + 1) * values.len() / columns);
    let block = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let height = if greatest > least { (mean - least) / (greatest - least) * 7.0 } else { 3.0 };
        BLOCKS.get(height.round() as usize).copied().unwrap_or('█')
    };
    (0..columns).filter_map(column).map(block).collect()
}
