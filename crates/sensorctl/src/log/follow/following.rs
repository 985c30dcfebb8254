//! One device whose log is followed: what is stored of it, and what waits for its place. R-LOG.

use super::{ACKNOWLEDGE_MS, FollowError, GAP_MS, News, REMIND_MS};
use crate::log::delivery::Delivery;
use crate::log::fault::{Fault, What};
use crate::log::keys::Keys;
use crate::log::store::{Journal, Store, StoreError};
use crate::log::verify::{Loss, Place, is_told};
use protocol::{DeviceId, EpochMillis, KeyId};
use std::collections::BTreeMap;

/// What is known of a device while its log is followed.
pub(super) struct Following {
    pub(super) journal: Journal,
    /// Behind a gap, by the number of the first record.
    pub(super) waiting: BTreeMap<u32, Waiting>,
    /// The last record before the gap that was told of.
    pub(super) told: Option<u64>,
    /// When to acknowledge.
    pub(super) due: Option<EpochMillis>,
    pub(super) acknowledged: Option<(u64, EpochMillis)>,
    /// A gap was accepted: once is enough for a store that begins late. Whoever withholds deliveries shall not make more.
    pub(super) accepted_gap: bool,
    /// The key whose former ones were told of.
    pub(super) warned: Option<KeyId>,
}

pub(super) struct Waiting {
    pub(super) received: EpochMillis,
    pub(super) bytes: Vec<u8>,
    pub(super) delivery: Delivery,
}

/// `None` where what is stored of the device cannot be used: `tell` has heard of it.
pub(super) fn following<'d>(
    store: &Store,
    devices: &'d mut BTreeMap<DeviceId, Option<Following>>,
    device: &DeviceId,
    tell: &mut impl FnMut(&DeviceId, &News<'_>),
) -> Result<Option<&'d mut Following>, FollowError> {
    if !devices.contains_key(device) {
        let opened = store.journal(device).and_then(|journal| Ok((journal.acknowledged()?, journal)));
        let following = match opened {
            Ok((acknowledged, journal)) => {
                let acknowledged = acknowledged.map(|(number, _)| (u64::from(number) + 1, EpochMillis(0)));
                Some(Following {
                    journal,
                    waiting: BTreeMap::new(),
                    told: None,
                    due: None,
                    acknowledged,
                    accepted_gap: false,
                    warned: None,
                })
            }
            // What is wrong with one device's files is no reason to keep nothing of the others.
            Err(error @ (StoreError::Line(..) | StoreError::Acknowledgement(..))) => {
                tell(device, &News::Damaged(&error));
                None
            }
            Err(error) => return Err(error.into()),
        };
        devices.insert(device.clone(), following);
    }
    Ok(devices.get_mut(device).and_then(Option::as_mut))
}

impl Waiting {
    /// The first record, or the one before, that another delivery of the same number has with another hash.
    pub(super) fn differs(&self, other: &Delivery) -> Option<u32> {
        if self.delivery.previous != other.previous {
            return Some(other.number.saturating_sub(1));
        }
        let mut pairs = self.delivery.lines.iter().zip(&other.lines);
        pairs.find(|(known, said)| known.hash != said.hash).map(|(known, _)| known.record.sequence)
    }
}

impl Following {
    pub(super) fn refuse(
        &mut self,
        device: &DeviceId,
        fault: &Fault,
        bytes: &[u8],
        tell: &mut impl FnMut(&DeviceId, &News<'_>),
    ) -> Result<(), FollowError> {
        tell(device, &News::Refused(fault));
        if let Some(full) = self.journal.refuse(fault, bytes)? {
            tell(device, &News::Full(&full));
        }
        Ok(())
    }

    /// That a delivery contradicts what is known, at this record: another history, or somebody with a former key.
    pub(super) fn fork(
        &self,
        device: &DeviceId,
        keys: &Keys<'_>,
        received: EpochMillis,
        delivery: &Delivery,
        record: u32,
    ) -> Fault {
        let superseded = self.journal.position().superseded(device, keys, Some(received), delivery);
        superseded.unwrap_or(Fault { record: Some(record), what: What::Fork })
    }

    /// An acknowledgement waits until the one before is old enough.
    pub(super) fn acknowledge_after(&mut self, now: EpochMillis, pause: i64) {
        let earliest = self.acknowledged.map_or(now, |(_, at)| now.max(at.offset(pause)));
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
    }

    pub(super) fn remind(&mut self, now: EpochMillis) {
        let behind = self.acknowledged.map_or(0, |(next, _)| next) != self.journal.position().next();
        self.acknowledge_after(now, if behind { ACKNOWLEDGE_MS } else { REMIND_MS });
    }

    pub(super) fn store(
        &mut self,
        now: EpochMillis,
        received: EpochMillis,
        device: &DeviceId,
        bytes: &[u8],
        delivery: &Delivery,
        tell: &mut impl FnMut(&DeviceId, &News<'_>),
    ) -> Result<(), FollowError> {
        let new = self.journal.append(received, bytes, delivery)?;
        self.acknowledge_after(now, ACKNOWLEDGE_MS);
        tell(device, &News::Records(&new));
        Ok(())
    }

    /// Takes what waits and has its place now; what stands behind a gap when records say that all of it is lost, or when gaps
    /// are accepted and it has waited long enough.
    pub(super) fn drain(
        &mut self,
        now: EpochMillis,
        device: &DeviceId,
        keys: &Keys<'_>,
        accepts_gaps: bool,
        tell: &mut impl FnMut(&DeviceId, &News<'_>),
    ) -> Result<(), FollowError> {
        while let Some((number, waiting)) = self.waiting.first_key_value() {
            let number = *number;
            let position = self.journal.position();
            match position.place_signed(device, keys, Some(waiting.received), &waiting.delivery) {
                Err(fault) => {
                    let Some(waiting) = self.waiting.remove(&number) else { return Ok(()) };
                    self.refuse(device, &fault, &waiting.bytes, tell)?;
                    continue;
                }
                Ok(Place::Known | Place::Old) => {
                    self.waiting.remove(&number);
                    continue;
                }
                Ok(Place::Next(_)) => {}
                Ok(Place::Ahead(from)) => {
                    let to = waiting.delivery.number.saturating_sub(1);
                    let old = now.since(waiting.received) >= GAP_MS;
                    let losses: Vec<Loss> = self
                        .waiting
                        .values()
                        .flat_map(|waiting| waiting.delivery.losses())
                        .map(|(record, first, count)| Loss { record, first, count })
                        .collect();
                    let told = is_told(u64::from(from)..u64::from(to) + 1, &losses);
                    let accepted = accepts_gaps && old && !self.accepted_gap;
                    if !(told || accepted) {
                        return Ok(());
                    }
                    self.accepted_gap |= !told;
                    tell(device, &News::Gap(from, to, told));
                }
            }
            let Some((_, waiting)) = self.waiting.pop_first() else { return Ok(()) };
            self.store(now, waiting.received, device, &waiting.bytes, &waiting.delivery, tell)?;
        }
        self.told = None;
        Ok(())
    }
}
