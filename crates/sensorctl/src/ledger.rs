//! Who sent what: from the messages of all devices, what came, what came twice, what is lost and what nobody explains.
//! Owns counts only; does no I/O, owns no clock and keeps no sample. Its memory is bounded for each device, however
//! long it runs. R-DATA-INTACT.
//!
//! What it holds devices to (crates/device, `telemetry`): within a boot new samples come in order; what was dropped is
//! counted in the next batch; batches that a former boot left come after the hello of the new boot and before its own
//! samples. Whatever departs from this is counted by name.

mod boot;
mod device;

pub use boot::{Counts, GAPS_MAX, PIECES_MAX, Receipt};
pub use device::{BOOTS_MAX, Device};

use hdrhistogram::Histogram;
use protocol::{Batch, DeviceId, EpochMillis, Hello, State};
use std::collections::BTreeMap;

/// Devices in one ledger; messages of further ones are only counted. A device takes up to some 50 KiB, usually below 1.
pub const DEVICES_MAX: usize = 100_000;

/// When a message came and how large it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it came.
    pub at: EpochMillis,
    /// Length of its topic in bytes.
    pub topic_bytes: usize,
    /// Length of its payload in bytes.
    pub payload_bytes: usize,
}

impl Arrival {
    /// The whole packet in bytes: MQTT 3.1.1, section 3.3, with QoS 1.
    pub fn packet_bytes(&self) -> usize {
        let remaining = 2 + self.topic_bytes + 2 + self.payload_bytes;
        let length_bytes = match remaining {
            0..128 => 1,
            128..16_384 => 2,
            16_384..2_097_152 => 3,
            _ => 4,
        };
        1 + length_bytes + remaining
    }
}

/// From sample to arrival, in milliseconds, with two digits of precision. A sample that seems to come from the future
/// counts as 0.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// The longest latency that is told apart: a year.
    const MAX_MS: u64 = 366 * 86_400_000;

    fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, Self::MAX_MS, 2)
                .expect("constant bounds that the histogram allows"),
        )
    }

    fn record(&mut self, millis: i64) {
        self.0.saturating_record(u64::try_from(millis).unwrap_or(0));
    }

    /// Half of the samples came within this many milliseconds; `None` where no sample had a time.
    pub fn median_ms(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(0.5))
    }

    /// The longest latency in milliseconds.
    pub fn max_ms(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }
}

/// What is known of all devices.
#[derive(Clone, Debug)]
pub struct Ledger {
    devices: BTreeMap<DeviceId, Device>,
    latency: Latency,
    samples: u64,
    /// Messages of devices beyond [`DEVICES_MAX`].
    pub ignored: u64,
    /// How often nobody listened for a while.
    pub interruptions: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self { devices: BTreeMap::new(), latency: Latency::new(), samples: 0, ignored: 0, interruptions: 0 }
    }

    /// A device has connected.
    pub fn hello(&mut self, device: &DeviceId, hello: &Hello) {
        if let Some((device, _)) = self.entry(device) {
            device.hello(hello);
        }
    }

    /// A device has said how it is. The broker keeps the last state, so it may be an old one.
    pub fn state(&mut self, device: &DeviceId, state: &State) {
        if let Some((device, _)) = self.entry(device) {
            device.state(state);
        }
    }

    /// Samples have come; gives what was new about them.
    pub fn batch(&mut self, arrival: &Arrival, device: &DeviceId, batch: &Batch) -> Receipt {
        let Some((device, latency)) = self.entry(device) else { return Receipt::default() };
        let receipt = device.batch(arrival, batch, latency);
        self.samples += receipt.new;
        receipt
    }

    /// Messages may have passed unseen: a gap that follows is nobody's fault.
    pub fn interrupted(&mut self) {
        self.interruptions += 1;
        for device in self.devices.values_mut() {
            device.interrupted();
        }
    }

    /// The link broke: whether everything comes that passes now shows only later, at [`Self::interrupted`].
    pub fn doubted(&mut self) {
        self.devices.values_mut().for_each(Device::doubted);
    }

    /// Every device, in order of its id.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = (&DeviceId, &Device)> {
        self.devices.iter()
    }

    /// One device.
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id)
    }

    /// Sums over all devices.
    pub fn counts(&self) -> Counts {
        let mut sums = Counts::default();
        for device in self.devices.values() {
            sums += device.counts();
        }
        sums
    }

    /// Samples of all devices, each counted once: the same as in [`Self::counts`], at once.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Latency of all samples that had a time.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    fn entry(&mut self, id: &DeviceId) -> Option<(&mut Device, &mut Latency)> {
        if !self.devices.contains_key(id) {
            if self.devices.len() >= DEVICES_MAX {
                self.ignored += 1;
                return None;
            }
            self.devices.insert(id.clone(), Device::default());
        }
        self.devices.get_mut(id).map(|device| (device, &mut self.latency))
    }
}

#[cfg(test)]
mod tests;
