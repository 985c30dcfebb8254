//! An operator's copy of one device's security log, as far as it is proven. Owns the deliveries; the proof is that of
//! `sensorctl`. R-LOG.

use protocol::audit::{Hash, Record};
use protocol::{DeviceId, PublicKey};
use sensorctl::log::delivery;
use sensorctl::log::fault::Fault;
use sensorctl::log::keys::Keys;
use sensorctl::log::verify::{Expected, Place, Position, Report, Verifier};

/// The copy.
pub struct Archive {
    device: DeviceId,
    keys: Vec<PublicKey>,
    position: Position,
    deliveries: Vec<Vec<u8>>,
    acknowledged: Option<(u32, Hash)>,
}

impl Archive {
    /// Nothing yet of the log of `device`, which signs with one of these keys.
    pub fn new(device: DeviceId, keys: Vec<PublicKey>) -> Self {
        Self {
            device,
            keys,
            position: Position::new(0, usize::MAX),
            deliveries: Vec::new(),
            acknowledged: None,
        }
    }

    /// Takes a delivery where it goes on; a fault where it is not the device's own, or contradicts what is known.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Place, Fault> {
        let delivery = delivery::prove(&self.device, &Keys::Given(&self.keys), None, bytes)?;
        let place = self.position.place(&delivery)?;
        if let Place::Next(known) = place {
            self.position.take(&delivery, known);
            self.deliveries.push(bytes.to_vec());
        }
        Ok(place)
    }

    /// Number of the next record.
    pub fn next(&self) -> u32 {
        u32::try_from(self.position.next()).expect("a log of this world")
    }

    /// Number and hash of the last record: what is acknowledged from now on.
    pub fn acknowledge(&mut self) -> Option<(u32, Hash)> {
        self.acknowledged = self.position.last();
        self.acknowledged
    }

    /// What was taken.
    pub fn deliveries(&self) -> &[Vec<u8>] {
        &self.deliveries
    }

    /// The verdict of `sensorctl` on what was taken, and the records.
    pub fn verify(&self) -> (Report, Vec<Record>) {
        self.verdict(&self.deliveries)
    }

    /// The same on other deliveries.
    pub fn verdict(&self, deliveries: &[Vec<u8>]) -> (Report, Vec<Record>) {
        let expected = Expected { from: 0, acknowledged: self.acknowledged };
        let mut verifier = Verifier::new(self.device.clone(), Keys::Given(&self.keys), expected);
        let (mut records, mut offset) = (Vec::new(), 0);
        for bytes in deliveries {
            verifier.delivery(offset, None, bytes, |line| records.push(line.record.clone()));
            offset += bytes.len() as u64;
        }
        (verifier.finish(offset), records)
    }
}
