//! What came of a fleet's run: counts, percentiles, and how they are printed.

use super::Counters;
use crate::port::Summary;
use hdrhistogram::Histogram;
use protocol::image::Version;
use std::collections::BTreeMap;
use std::fmt;

/// Half, nine tenths, ninety-nine hundredths and all are not above these, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// How many were counted.
    pub count: u64,
    /// Half of them.
    pub p50_ms: f64,
    /// Nine tenths.
    pub p90_ms: f64,
    /// Ninety-nine hundredths.
    pub p99_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Devices.
    pub devices: usize,
    /// How long they ran, in seconds.
    pub seconds: f64,
    /// Samples taken.
    pub samples: u64,
    /// Samples dropped because too many waited.
    pub lost: u64,
    /// Samples that were not acknowledged at the end.
    pub waiting: u64,
    /// Messages acknowledged.
    pub messages: u64,
    /// Bytes of their payloads, and of those not acknowledged.
    pub payload_bytes: u64,
    /// Bytes of the payloads of messages to the devices.
    pub received_bytes: u64,
    /// How many devices ran which version in the end.
    pub versions: BTreeMap<Version, u64>,
    /// How often a bootloader swapped a new image in, and how often back.
    pub swaps: (u64, u64),
    /// From the first TCP packet to CONNACK.
    pub connect: Percentiles,
    /// From PUBLISH to PUBACK.
    pub acknowledge: Percentiles,
    /// Failures by their name on the wire.
    pub failures: BTreeMap<&'static str, u64>,
    /// Growth of the process's resident memory per device, in KiB.
    pub memory_kib_per_device: f64,
    /// Processor time of the whole process, in seconds.
    pub cpu_seconds: f64,
    /// Devices that could not run, each with its reason.
    pub broken: Vec<String>,
}

impl Outcome {
    /// All of it as one line of JSON.
    pub fn json(&self) -> String {
        let percentiles = |p: &Percentiles| {
            serde_json::json!({
                "count": p.count, "p50_ms": p.p50_ms, "p90_ms": p.p90_ms, "p99_ms": p.p99_ms, "max_ms": p.max_ms,
            })
        };
        let versions: BTreeMap<_, _> =
            self.versions.iter().map(|(v, count)| (v.to_string(), count)).collect();
        serde_json::json!({
            "devices": self.devices,
            "seconds": self.seconds,
            "samples": self.samples,
            "samples_per_s": self.samples as f64 / self.seconds,
            "waiting": self.waiting,
            "lost": self.lost,
            "messages": self.messages,
            "messages_per_s": self.messages as f64 / self.seconds,
            "payload_bytes": self.payload_bytes,
            "received_bytes": self.received_bytes,
            "versions": versions,
            "swapped": self.swaps.0,
            "reverted": self.swaps.1,
            "connect": percentiles(&self.connect),
            "acknowledge": percentiles(&self.acknowledge),
            "failures": self.failures,
            "memory_kib_per_device": self.memory_kib_per_device,
            "cpu_seconds": self.cpu_seconds,
            "broken": self.broken,
        })
        .to_string()
    }

    pub(super) fn add(&mut self, summary: &Summary) {
        self.lost += u64::from(summary.state.lost);
        self.waiting += u64::from(summary.state.waiting);
    }

    pub(super) fn take(&mut self, counters: &Counters) {
        self.samples = counters.samples;
        self.lost += counters.lost;
        self.messages = counters.messages;
        self.payload_bytes = counters.payload_bytes;
        self.received_bytes = counters.received_bytes;
        self.versions.clone_from(&counters.versions);
        self.swaps = (counters.swapped, counters.reverted);
        self.failures.clone_from(&counters.failures);
        self.connect = percentiles(&counters.connect);
        self.acknowledge = percentiles(&counters.acknowledge);
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |percentile| histogram.value_at_percentile(percentile) as f64 / 1_000.0;
    Percentiles {
        count: histogram.len(),
        p50_ms: at(50.0),
        p90_ms: at(90.0),
        p99_ms: at(99.0),
        max_ms: histogram.max() as f64 / 1_000.0,
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50_ms, p90_ms, p99_ms, max_ms } = self;
        write!(
            f,
            "p50 {p50_ms:.1} ms, p90 {p90_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms (of {count})"
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |count: u64| count as f64 / self.seconds;
        writeln!(f, "devices      {} for {:.1} s", self.devices, self.seconds)?;
        let (samples, waiting, lost) = (self.samples, self.waiting, self.lost);
        writeln!(f, "samples      {samples} ({:.1}/s), {waiting} waiting, {lost} lost", per_second(samples))?;
        writeln!(f, "messages     {} ({:.1}/s)", self.messages, per_second(self.messages))?;
        writeln!(f, "connecting   {}", self.connect)?;
        writeln!(f, "acknowledged {}", self.acknowledge)?;
        writeln!(f, "memory       {:.0} KiB per device", self.memory_kib_per_device)?;
        write!(f, "processor    {:.2} s", self.cpu_seconds)?;
        for (version, count) in &self.versions {
            write!(f, "\nfirmware     {count} x {version}")?;
        }
        for (name, count) in &self.failures {
            write!(f, "\nfailure      {count} x {name}")?;
        }
        for broken in &self.broken {
            write!(f, "\nnot running  {broken}")?;
        }
        Ok(())
    }
}
