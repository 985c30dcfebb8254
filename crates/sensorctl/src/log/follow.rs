//! Taking logs in: each delivery is proven, put where it belongs, stored and then acknowledged. Owns this decision and what
//! waits for its place; never a connection ([`run`]). R-LOG.
//!
//! Nothing is acknowledged that is not proven, not bound to what is stored, or not on the disk. A device sends again what was
//! not acknowledged, so whatever is dropped here comes again.

mod following;
pub mod run;

use super::delivery::{self, Line};
use super::fault::{Fault, What};
use super::keys::Keys;
use super::store::{Store, StoreError};
use super::verify::Place;

use crate::powers::{self, LiveKey, PowersError};
use crate::registry::{Registry, RegistryError};
use following::{Following, Waiting, following};
use protocol::document::{Audience, LogAcknowledgement};
use protocol::{DeviceId, EpochMillis, KeyId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Shortest time between two acknowledgements to a device, in milliseconds.
pub const ACKNOWLEDGE_MS: i64 = 3_000;
/// The same where nothing new came: the device, or somebody in its place, repeats what it had said.
const REMIND_MS: i64 = 60_000;
/// Deliveries of a device that wait for others before them.
const WAITING_MAX: usize = 512;
/// How long a gap waits for what is missing where gaps are to be accepted, in milliseconds.
pub const GAP_MS: i64 = 60_000;

/// What is to be done.
#[derive(Debug)]
pub struct Options {
    /// Only these devices; empty for all.
    pub only: BTreeSet<DeviceId>,
    /// The key of the power over configurations; without it nothing is acknowledged.
    pub signer: Option<LiveKey>,
    /// Take what stands behind a gap that no record explains, when it has waited for [`GAP_MS`]: the first one of each device.
    pub accept_gaps: bool,
}

/// Why this side cannot go on.
#[derive(Debug)]
pub enum FollowError {
    /// The store.
    Store(StoreError),
    /// The registry.
    Registry(RegistryError),
    /// The key that acknowledges.
    Powers(PowersError),
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Registry(error) => error.fmt(f),
            Self::Powers(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FollowError {}

impl From<StoreError> for FollowError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RegistryError> for FollowError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl From<PowersError> for FollowError {
    fn from(error: PowersError) -> Self {
        Self::Powers(error)
    }
}

/// What became of a delivery.
#[derive(Debug)]
pub enum News<'a> {
    /// These records are proven and on the disk.
    Records(&'a [Line]),
    /// Records from the first to the last are not here; true where the device says that they are lost.
    Gap(u32, u32, bool),
    /// Records from the first to the last have not come yet; what comes after them waits.
    Missing(u32, u32),
    /// The device signs with this key, and these former ones are not revoked.
    Former(KeyId, &'a [KeyId]),
    /// It was not taken.
    Refused(&'a Fault),
    /// This file of what is refused does not grow any more.
    Full(&'a Path),
    /// What is stored of this device cannot be used; nothing of it is taken any more.
    Damaged(&'a StoreError),
}

/// Takes logs in.
pub struct Collector {
    options: Options,
    registry: Registry,
    store: Store,
    devices: BTreeMap<DeviceId, Option<Following>>,
}

impl Collector {
    /// Goes on where `store` ends. What is stored and was not acknowledged is acknowledged.
    pub fn new(
        registry: Registry,
        store: Store,
        options: Options,
        now: EpochMillis,
    ) -> Result<Self, FollowError> {
        let mut collector = Self { options, registry, store, devices: BTreeMap::new() };
        if collector.options.signer.is_some() {
            for device in collector.store.devices()? {
                let owes = match collector.store.owes(&device) {
                    // It is told when something comes from the device.
                    Err(StoreError::Acknowledgement(..)) => false,
                    owes => owes?,
                };
                if collector.listens_to(&device) && owes {
                    let Self { store, devices, .. } = &mut collector;
                    let following = following(store, devices, &device, &mut |_, _| {})?;
                    if let Some(following) = following {
                        following.due = Some(now);
                    }
                }
            }
        }
        Ok(collector)
    }

    /// The devices that are listened to; empty for all.
    pub const fn only(&self) -> &BTreeSet<DeviceId> {
        &self.options.only
    }

    fn listens_to(&self, device: &DeviceId) -> bool {
        self.options.only.is_empty() || self.options.only.contains(device)
    }

    /// Takes what came on the topic of `device`'s log; `tell` hears what became of it.
    pub fn take(
        &mut self,
        now: EpochMillis,
        device: &DeviceId,
        bytes: &[u8],
        mut tell: impl FnMut(&DeviceId, &News<'_>),
    ) -> Result<(), FollowError> {
        if !self.listens_to(device) {
            return Ok(());
        }
        self.registry.refresh()?;
        let Self { options, registry, store, devices } = self;
        let keys = Keys::Registry(registry);
        let proven = delivery::prove(device, &keys, Some(now), bytes);
        if registry.records(device).is_empty() {
            // Nobody knows it: it gets no file of its own, and no room here.
            let fault = proven.err().unwrap_or(Fault { record: None, what: What::Empty });
            tell(device, &News::Refused(&fault));
            if let Some(full) = store.refuse(device, &fault, bytes)? {
                tell(device, &News::Full(&full));
            }
            return Ok(());
        }
        let Some(following) = following(store, devices, device, &mut tell)? else { return Ok(()) };
        let delivery = match proven {
            Ok(delivery) => delivery,
            Err(fault) => return following.refuse(device, &fault, bytes, &mut tell),
        };
        match following.journal.position().place_signed(device, &keys, Some(now), &delivery) {
            Err(fault) => following.refuse(device, &fault, bytes, &mut tell),
            Ok(Place::Known) => {
                // The device may not have heard of the acknowledgement.
                following.remind(now);
                Ok(())
            }
            Ok(Place::Old) => match following.journal.differs(&delivery) {
                Ok(None) => {
                    following.remind(now);
                    Ok(())
                }
                Ok(Some(record)) => {
                    let fault = following.fork(device, &keys, now, &delivery, record);
                    following.refuse(device, &fault, bytes, &mut tell)
                }
                Err(error @ StoreError::Line(..)) => {
                    tell(device, &News::Damaged(&error));
                    Ok(())
                }
                Err(error) => Err(error.into()),
            },
            Ok(Place::Next(_)) => {
                following.store(now, now, device, bytes, &delivery, &mut tell)?;
                if following.warned != Some(delivery.signer) {
                    let former = keys.former(device, &delivery.signer, now);
                    if !former.is_empty() {
                        following.warned = Some(delivery.signer);
                        tell(device, &News::Former(delivery.signer, &former));
                    }
                }
                following.drain(now, device, &keys, false, &mut tell)
            }
            Ok(Place::Ahead(from)) => {
                let other = following.waiting.get(&delivery.number).and_then(|it| it.differs(&delivery));
                if let Some(record) = other {
                    let fault = following.fork(device, &keys, now, &delivery, record);
                    return following.refuse(device, &fault, bytes, &mut tell);
                }
                if following.waiting.len() < WAITING_MAX || following.waiting.contains_key(&delivery.number) {
                    let to = delivery.number.saturating_sub(1);
                    if following.told.replace(from.into()) != Some(from.into()) {
                        tell(device, &News::Missing(from, to));
                    }
                    // One that comes again has not waited for less time.
                    let waiting = Waiting { received: now, bytes: bytes.to_vec(), delivery };
                    following.waiting.entry(waiting.delivery.number).or_insert(waiting);
                }
                following.drain(now, device, &keys, options.accept_gaps, &mut tell)
            }
        }
    }

    /// What time has brought: gaps that are accepted, and acknowledgements to publish, signed and kept beside the logs.
    pub fn due(
        &mut self,
        now: EpochMillis,
        mut tell: impl FnMut(&DeviceId, &News<'_>),
    ) -> Result<Vec<(DeviceId, Vec<u8>)>, FollowError> {
        let mut documents = Vec::new();
        for (device, following) in &mut self.devices {
            let Some(following) = following else { continue };
            if self.options.accept_gaps && !following.accepted_gap && !following.waiting.is_empty() {
                following.drain(now, device, &Keys::Registry(&self.registry), true, &mut tell)?;
            }
            if following.due.is_none_or(|due| due > now) {
                continue;
            }
            following.due = None;
            let Some(signer) = &self.options.signer else { continue };
            let position = following.journal.position();
            let Some((number, hash)) = position.last() else { continue };
            let audience = Audience::Device(device.clone());
            let document = powers::sign(&signer.now(), &LogAcknowledgement { audience, number, hash })?;
            following.journal.acknowledge(&document)?;
            following.acknowledged = Some((position.next(), now));
            documents.push((device.clone(), document));
        }
        Ok(documents)
    }

    /// When [`Self::due`] next has something to do.
    pub fn next_due(&self) -> Option<EpochMillis> {
        let following = || self.devices.values().flatten();
        let gaps = following()
            .filter(|it| self.options.accept_gaps && !it.accepted_gap)
            .filter_map(|it| it.waiting.values().map(|waiting| waiting.received.offset(GAP_MS)).min());
        let acknowledgements = following().filter(|_| self.options.signer.is_some()).filter_map(|it| it.due);
        acknowledgements.chain(gaps).min()
    }

    /// Everything that is stored is to be acknowledged now: there is no later.
    pub fn hurry(&mut self, now: EpochMillis) {
        for following in self.devices.values_mut().flatten() {
            following.due = following.due.map(|_| now);
        }
    }
}

#[cfg(test)]
mod tests;
