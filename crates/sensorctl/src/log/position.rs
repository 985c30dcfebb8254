//! Up to where a log is known, and where a delivery belongs. Owns the comparison with what is known; proof of a delivery is
//! [`super::delivery`]'s. R-LOG.

use super::delivery::{Delivery, Line};
use super::fault::{Fault, What};
use super::keys::Keys;
use protocol::audit::{FIRST, Hash};
use protocol::{DeviceId, EpochMillis, KeyId};
use std::collections::VecDeque;

/// Up to where a log is known: the next record, the last hash, and the hashes before it, as many as are kept.
#[derive(Clone, Debug)]
pub struct Position {
    next: u64,
    hashes: VecDeque<Hash>,
    kept: usize,
    /// The keys that deliveries were signed with.
    signers: Vec<KeyId>,
}

/// Where a delivery belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It goes on; so many of its first records are known already.
    Next(usize),
    /// Everything in it is known.
    Known,
    /// It is about records from before what is kept: it cannot be compared.
    Old,
    /// Records are missing before it, from this one on.
    Ahead(u32),
}

impl Position {
    /// The beginning of a log: record `from` is the next one. Keeps the last `kept` hashes for comparison.
    pub fn new(from: u32, kept: usize) -> Self {
        Self { next: from.into(), hashes: VecDeque::new(), kept: kept.max(1), signers: Vec::new() }
    }

    /// Number of the next record.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Number and hash of the last record, where there is one.
    pub fn last(&self) -> Option<(u32, Hash)> {
        Some((u32::try_from(self.next.checked_sub(1)?).ok()?, *self.hashes.back()?))
    }

    fn first(&self) -> u64 {
        self.next - self.hashes.len() as u64
    }

    /// The hash of the record before `number`, where it is known.
    fn before(&self, number: u64) -> Option<Hash> {
        if number == 0 { Some(FIRST) } else { self.hash(number - 1) }
    }

    /// The hash of a record, where it is known.
    pub fn hash(&self, number: u64) -> Option<Hash> {
        self.hashes.get(usize::try_from(number.checked_sub(self.first())?).ok()?).copied()
    }

    /// Where a delivery belongs; a fault where it contradicts what is known.
    pub fn place(&self, delivery: &Delivery) -> Result<Place, Fault> {
        let number = u64::from(delivery.number);
        let fork = |record: u64| Fault { record: u32::try_from(record).ok(), what: What::Fork };
        if number > self.next {
            return Ok(u32::try_from(self.next).map_or(Place::Old, Place::Ahead));
        }
        let mut compared = false;
        if let Some(hash) = self.before(number) {
            compared = number > 0;
            if hash != delivery.previous {
                return Err(fork(number.saturating_sub(1)));
            }
        }
        for (number, line) in (number..self.next).zip(&delivery.lines) {
            if let Some(hash) = self.hash(number) {
                compared = true;
                if hash != line.hash {
                    return Err(fork(number));
                }
            }
        }
        Ok(match usize::try_from(self.next - number) {
            Ok(known) if known < delivery.lines.len() => Place::Next(known),
            _ if compared => Place::Known,
            _ => Place::Old,
        })
    }

    /// The same for a delivery that came at `received`: where it has something new, or something else, it must not be signed
    /// with a former key.
    pub fn place_signed(
        &self,
        device: &DeviceId,
        keys: &Keys<'_>,
        received: Option<EpochMillis>,
        delivery: &Delivery,
    ) -> Result<Place, Fault> {
        match self.place(delivery) {
            Ok(place @ (Place::Known | Place::Old)) => Ok(place),
            Ok(place) => self.superseded(device, keys, received, delivery).map_or(Ok(place), Err),
            Err(fork) => Err(self.superseded(device, keys, received, delivery).unwrap_or(fork)),
        }
    }

    /// The fault of a delivery that is signed with a former key.
    pub fn superseded(
        &self,
        device: &DeviceId,
        keys: &Keys<'_>,
        received: Option<EpochMillis>,
        delivery: &Delivery,
    ) -> Option<Fault> {
        let newer = keys.newer(device, &self.signers, &delivery.signer, received)?;
        Some(Fault { record: Some(delivery.number), what: What::Superseded(delivery.signer, newer) })
    }

    /// Takes the records of a delivery that was placed, but for the first `known`.
    pub fn take<'d>(&mut self, delivery: &'d Delivery, known: usize) -> &'d [Line] {
        if !self.signers.contains(&delivery.signer) {
            self.signers.push(delivery.signer);
        }
        let new = delivery.lines.get(known..).unwrap_or_default();
        for line in new {
            let number = u64::from(line.record.sequence);
            if number != self.next {
                // What is before a gap is not compared with any more.
                self.hashes.clear();
            }
            if self.hashes.len() == self.kept {
                self.hashes.pop_front();
            }
            self.hashes.push_back(line.hash);
            self.next = number + 1;
        }
        new
    }
}
