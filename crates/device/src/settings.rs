//! The configuration in force, and the changes that made it: which of them count, which one is tried, and what becomes of it.
//! Owns the record and the trial; the schema is [`protocol::config`]'s, and what the values do is the device's. R-CONF,
//! R-NET-CONFIG.
//!
//! A change that can cut the device off (host, port, authentication, keep-alive, time servers) is tried: it is in force once
//! the service was reached with it and, where there are other time servers, one of the new ones has given an answer that
//! counts. Where that has not come within [`crate::Pace::configuration_ms`], what was in force before is in force again.
//! Every other change is in force at once.
//!
//! What is damaged in the store costs only itself: the device runs on what is whole, and on what the factory gave it where
//! nothing else is. The operator's change comes again with the next connection, and mends it.

mod compose;
mod documents;
mod machine;
mod record;
mod trial;

use crate::platform::{KeyValue, StorageError, Uptime};
use crate::stored::Stored;
use compose::{Fault, Source, compose};
use documents::Surroundings;
use protocol::config::{ConfigurationState, InForce, Refused};
use protocol::key::Digest;
use protocol::{Configuration, DeviceId, EpochMillis, Layer, Name};
use record::{Held, Record};
pub(crate) use trial::Decided;
use trial::{Attempt, Resumed};

/// How often a trial is begun again after a restart; then it is undone.
pub const TRIAL_STARTS_MAX: u8 = 3;

/// How long after the store has failed that is tried again, in milliseconds.
pub const STORE_RETRY_MS: u64 = 10_000;

/// Shortest time between two reports because something was refused, in milliseconds: who sends what is refused shall not
/// make the device talk.
pub const REFUSAL_SAY_PERIOD_MS: u64 = 60_000;

/// The changes of the configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    record: Record,
    /// The record is not what the store has.
    unstored: bool,
    /// The next time that the store is asked again.
    retry: Uptime,
    /// The factory's number.
    base: u32,
    /// What is in force by the record, and cannot be read: group and device.
    damaged: [bool; 2],
    attempt: Option<Attempt>,
    bound_ms: u64,
    /// A change has to wait for the end of a trial, or may fit now; it comes again with a connection.
    put_off: bool,
    /// The last change that did not fit the other layer's was one of this layer.
    misfit: Option<Layer>,
    refused: u32,
    replayed: u32,
    last: Option<Refused>,
    /// The last change that the store did not take.
    unstored_change: Option<(Layer, u32)>,
    /// The documents that were refused last, which the broker hands over with every connection.
    known: [Option<Digest>; 2],
    /// The reason for which a change was refused is to be written to the log.
    reason_due: bool,
    /// When the service is to be told how things are; `None` where it knows.
    say: Option<Uptime>,
    /// When it was told last that something was refused.
    refusal_said: Option<Uptime>,
}

/// What a start has found.
#[derive(Debug)]
pub(crate) struct Started {
    pub settings: Settings,
    /// What the device runs on.
    pub configuration: Configuration,
    /// Which of its time servers have to prove themselves, one bit for each.
    pub sought: u8,
    /// Something stored is damaged.
    pub damaged: bool,
    /// A trial was undone.
    pub undone: Option<Decided>,
    /// The store failed.
    pub storage: Option<StorageError>,
}

/// For whom changes count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'d> {
    pub id: &'d DeviceId,
    pub group: &'d Name,
}

impl Settings {
    /// Loads the changes over `base`, the factory's configuration. `scratch` holds
    /// [`protocol::config::CONFIGURATION_BYTES_MAX`] bytes.
    pub(crate) fn load<S: KeyValue>(
        base: Configuration,
        bound_ms: u32,
        owner: Owner<'_>,
        now: Uptime,
        store: &mut S,
        scratch: &mut [u8],
    ) -> Started {
        let (record, mut damaged) = record::load(owner, store, scratch);
        let mut settings = Self {
            record,
            unstored: damaged,
            retry: now,
            base: base.number,
            damaged: [false; 2],
            attempt: None,
            bound_ms: u64::from(bound_ms.max(1)),
            put_off: false,
            misfit: None,
            refused: 0,
            replayed: 0,
            last: None,
            unstored_change: None,
            known: [None; 2],
            reason_due: false,
            say: Some(now),
            refusal_said: None,
        };
        // Numbers that a damaged record leaves are kept before anything else is written.
        let mut storage = settings.keep_record(now, store).err();
        let (former, broken) = settings.whole(base, store, scratch);
        damaged |= broken;
        let (mut configuration, mut sought, mut undone) = (former, 0, None);
        if let Some(trial) = settings.record.trial {
            match settings.resume(now, trial, &configuration, store, scratch) {
                Resumed::Goes(candidate) => {
                    sought = trial::new_servers(&configuration, &candidate);
                    configuration = candidate;
                }
                Resumed::Undone(decided) => {
                    storage = storage.or(decided.storage);
                    undone = Some(decided);
                }
            }
        }
        Started { settings, configuration, sought, damaged, undone, storage }
    }

    /// What is in force of what can be read, and whether something cannot.
    fn whole<S: KeyValue>(
        &mut self,
        base: Configuration,
        store: &mut S,
        scratch: &mut [u8],
    ) -> (Configuration, bool) {
        let (group, device) = (self.record.group, self.record.device);
        // The device's own counts for more; of two that do not fit each other the group's goes.
        for (group, device) in [(group, device), (None, device), (group, None)] {
            if group.is_none() && device.is_none() {
                continue;
            }
            if let Ok(whole) = compose(Source::from(group), Source::from(device), store, scratch) {
                self.damaged = [group != self.record.group, device != self.record.device];
                return (whole, self.damaged != [false; 2]);
            }
        }
        self.damaged = [group.is_some(), device.is_some()];
        (base, self.damaged != [false; 2])
    }

    /// The change of a layer that is in force; `None` where there is none, or where it is damaged.
    fn in_force(&self, layer: Layer) -> Option<Held> {
        let [group, device] = self.damaged;
        match layer {
            Layer::Group => self.record.group.filter(|_| !group),
            Layer::Device => self.record.device.filter(|_| !device),
        }
    }

    /// What is in force, from the store.
    fn former<S: KeyValue>(&self, store: &mut S, scratch: &mut [u8]) -> Result<Configuration, Fault> {
        let source = |layer| Source::from(self.in_force(layer));
        compose(source(Layer::Group), source(Layer::Device), store, scratch)
    }

    /// Number of the device's own configuration in force: the factory's, or the last change for this device.
    pub(crate) fn number(&self) -> u32 {
        self.in_force(Layer::Device).map_or(self.base, |held| held.number)
    }

    /// Number of the group's configuration in force; 0 where there is none.
    pub(crate) fn group_number(&self) -> u32 {
        self.in_force(Layer::Group).map_or(0, |held| held.number)
    }

    /// Changes that were refused or undone since start.
    pub(crate) const fn refused(&self) -> u32 {
        self.refused
    }

    /// True once after a change was refused for a reason that is worth writing down.
    pub(crate) const fn take_reason_due(&mut self) -> bool {
        core::mem::replace(&mut self.reason_due, false)
    }

    /// True while a change is on trial.
    pub(crate) const fn is_trying(&self) -> bool {
        self.attempt.is_some()
    }

    /// The service is to be told how things are.
    pub(crate) const fn tell(&mut self, now: Uptime) {
        self.say = Some(now);
    }

    /// When it is to be told.
    pub(crate) const fn say(&self) -> Option<Uptime> {
        self.say
    }

    /// How things are; the service knows then. `running` is what the device runs on. `None` where the store does not give
    /// what is in force now: then it is said later.
    pub(crate) fn state<S: KeyValue>(
        &mut self,
        now: Uptime,
        time: Option<EpochMillis>,
        running: &Configuration,
        owner: Owner<'_>,
        store: &mut S,
        scratch: &mut [u8],
    ) -> Option<ConfigurationState> {
        let values = if self.is_trying() {
            let Ok(former) = self.former(store, scratch) else {
                self.say = Some(now.after(STORE_RETRY_MS));
                return None;
            };
            former
        } else {
            running.clone()
        };
        self.say = None;
        let in_force =
            |layer| self.in_force(layer).map(|held| InForce { number: held.number, digest: held.digest });
        Some(ConfigurationState {
            t: time,
            group_name: owner.group.clone(),
            group: in_force(Layer::Group),
            device: in_force(Layer::Device),
            trial: self
                .record
                .trial
                .filter(|_| self.is_trying())
                .map(|trial| (trial.layer, trial.held.number)),
            unstored: self.unstored_change,
            refused: self.refused,
            replayed: self.replayed,
            last: self.last.clone(),
            values,
        })
    }

    /// Stores the record where the store has another one.
    fn keep_record<S: KeyValue>(&mut self, now: Uptime, store: &mut S) -> Result<(), StorageError> {
        if self.unstored && now >= self.retry {
            self.retry = now.after(STORE_RETRY_MS);
            self.record.store(store)?;
            self.unstored = false;
        }
        Ok(())
    }
}
