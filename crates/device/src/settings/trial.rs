//! A change that can cut the device off: when it has proven itself, and when it is undone. Owns the bound, which network and
//! restarts do not move: it is counted in uptime, and from each of a few starts. R-NET-CONFIG.

use super::compose::{Fault, Source, compose};
use super::record::{Held, Trial};
use super::{STORE_RETRY_MS, Settings, TRIAL_STARTS_MAX};
use crate::config;
use crate::platform::{KeyValue, StorageError, Uptime};
use crate::stored::Stored;
use protocol::config::{Draft, RefusalText, Refused};
use protocol::{Configuration, Failure, KeyId, Layer, Refusal};

/// How long after the bound the store may fail before what it does not give counts as damaged, in milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// A trial while it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    since: Uptime,
    /// The service has taken a connection with it.
    reached: bool,
    /// Its time servers that have to give an answer that counts, one bit for each; none where one has.
    sought: u8,
    /// Why the last connection came to nothing.
    failure: Option<Failure>,
    /// Not to be decided before this time, because that has just failed.
    retry: Uptime,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub layer: Layer,
    pub number: u32,
    /// What the device runs on from now on, where it is undone; `None` where it is in force.
    pub former: Option<Configuration>,
    /// Why the service was not reached.
    pub failure: Option<Failure>,
    /// The store has not taken it yet.
    pub storage: Option<StorageError>,
}

/// What becomes of a trial at a start.
pub(super) enum Resumed {
    /// It goes on, with this.
    Goes(Configuration),
    Undone(Decided),
}

/// True where nothing changes by which a device could be cut off.
pub(super) fn same_reach(a: &Draft, b: &Draft) -> bool {
    is_same_service(a, b) && a.time_servers == b.time_servers
}

/// True where the connection that there is proves the other one as well.
pub(super) fn is_same_service(a: &Draft, b: &Draft) -> bool {
    (&a.host, a.port, a.auth, a.keep_alive_s) == (&b.host, b.port, b.auth, b.keep_alive_s)
}

/// Which of the time servers have to prove themselves, one bit for each: the new ones, or all of a list that only became
/// shorter. None where the lists are the same.
pub(crate) fn new_servers(former: &Draft, candidate: &Draft) -> u8 {
    if former.time_servers == candidate.time_servers {
        return 0;
    }
    let bits = |wanted: &dyn Fn(&protocol::Endpoint) -> bool| {
        let servers = candidate.time_servers.iter().enumerate();
        servers.filter(|(_, server)| wanted(server)).fold(0, |bits, (index, _)| bits | 1 << index)
    };
    match bits(&|server| !former.time_servers.contains(server)) {
        0 => bits(&|_| true),
        new => new,
    }
}

impl Settings {
    /// A change is tried from now on. `reached`: the connection that there is will do.
    pub(super) const fn attempt(&mut self, now: Uptime, reached: bool, sought: u8) {
        self.attempt = Some(Attempt { since: now, reached, sought, failure: None, retry: now });
    }

    /// Goes on with a trial after a start; gives what is tried. Where it was begun too often, or cannot be read, it is undone.
    pub(super) fn resume<S: KeyValue>(
        &mut self,
        now: Uptime,
        trial: Trial,
        former: &Configuration,
        store: &mut S,
        scratch: &mut [u8],
    ) -> Resumed {
        let held = Source::Stored(trial.held);
        let (group, device) = match trial.layer {
            Layer::Group => (held, Source::from(self.in_force(Layer::Device))),
            Layer::Device => (Source::from(self.in_force(Layer::Group)), held),
        };
        let mut error = None;
        if trial.starts < TRIAL_STARTS_MAX {
            match compose(group, device, store, scratch) {
                Ok(candidate) => {
                    // A start that cannot be counted would never be the last.
                    let mut counted = self.record.clone();
                    counted.trial = Some(Trial { starts: trial.starts + 1, ..trial });
                    match counted.store(store) {
                        Ok(()) => {
                            self.record = counted;
                            let sought = new_servers(former, &candidate);
                            self.attempt(now, false, sought);
                            return Resumed::Goes(candidate);
                        }
                        Err(failed) => error = Some(failed),
                    }
                }
                Err(Fault::Storage(failed)) => error = Some(failed),
                Err(Fault::Invalid(_)) => {}
            }
        }
        let decided = self.give_up(now, trial, former.clone(), None, store);
        Resumed::Undone(Decided { storage: decided.storage.or(error), ..decided })
    }

    /// The connection came to nothing, or is gone.
    pub(crate) fn failed(&mut self, failure: Failure) {
        if let Some(attempt) = self.attempt.as_mut().filter(|_| failure != Failure::Requested) {
            attempt.failure = Some(failure);
        }
    }

    /// The service takes what the device has to say.
    pub(crate) const fn reached(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.reached = true;
        }
    }

    /// A time server has given an answer that counts.
    pub(crate) fn time_answered(&mut self, server: usize) {
        if let Some(attempt) = &mut self.attempt
            && attempt.sought & 1_u8.checked_shl(server as u32).unwrap_or(0) != 0
        {
            attempt.sought = 0;
        }
    }

    /// When [`Self::decide`] next has something to do by itself.
    pub(crate) fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let bound = self.attempt.map(|attempt| attempt.since.after(self.bound_ms).max(attempt.retry));
        // What the store did not take is tried again.
        let commit = self.attempt.map(|attempt| attempt.retry).filter(|retry| *retry > now);
        let record = self.unstored.then_some(self.retry);
        [bound, commit, record].into_iter().flatten().min()
    }

    /// Decides the trial where it can be decided. `running`: there is a connection.
    pub(crate) fn decide<S: KeyValue>(
        &mut self,
        now: Uptime,
        running: bool,
        store: &mut S,
        scratch: &mut [u8],
    ) -> Result<Option<Decided>, StorageError> {
        self.keep_record(now, store)?;
        let (Some(attempt), Some(trial)) = (&mut self.attempt, self.record.trial) else { return Ok(None) };
        let proven = running && attempt.reached && attempt.sought == 0;
        let over = now.since(attempt.since) >= self.bound_ms;
        if now < attempt.retry || !(proven || over) {
            return Ok(None);
        }
        attempt.retry = now.after(STORE_RETRY_MS);
        let failure = attempt.failure;
        // A store that fails may be better soon; what it still does not give then counts as damaged.
        let patient = now.since(attempt.since) < self.bound_ms.saturating_add(PATIENCE_MS);
        let Trial { layer, held, .. } = trial;
        if proven {
            match self.commit(None, layer, held, store) {
                Ok(()) => {
                    self.attempt = None;
                    self.say = Some(now);
                    let number = held.number;
                    let decided = Decided { layer, number, former: None, failure: None, storage: None };
                    return Ok(Some(decided));
                }
                Err(error) if !over => return Err(error),
                // What cannot be stored in time is not in force.
                Err(_) => {}
            }
        }
        let former = match self.former(store, scratch) {
            Ok(former) => former,
            Err(Fault::Storage(error @ StorageError::Medium)) if patient => return Err(error),
            Err(_) => {
                let base = config::load_from(store, scratch)?;
                self.whole(base, store, scratch).0
            }
        };
        Ok(Some(self.give_up(now, trial, former, failure, store)))
    }

    /// A stored change is in force from now on, in place of the one before it. `signer`: whose number is used up with it; of
    /// one that was on trial it is already.
    pub(super) fn commit<S: KeyValue>(
        &mut self,
        signer: Option<KeyId>,
        layer: Layer,
        held: Held,
        store: &mut S,
    ) -> Result<(), StorageError> {
        let mut record = self.record.clone();
        record.set(layer, Some(held));
        record.trial = None;
        if let Some(signer) = signer {
            record.see(signer, layer, held);
        }
        record.store(store)?;
        (self.record, self.unstored) = (record, false);
        // One that did not fit may fit now.
        self.put_off |= self.misfit.take().is_some_and(|other| other != layer);
        let [group, device] = &mut self.damaged;
        match layer {
            Layer::Group => *group = false,
            Layer::Device => *device = false,
        }
        Ok(())
    }

    /// The change on trial is undone, whatever the store does: what that does not take now, it takes later, and a restart
    /// before would only try once more.
    fn give_up<S: KeyValue>(
        &mut self,
        now: Uptime,
        trial: Trial,
        former: Configuration,
        failure: Option<Failure>,
        store: &mut S,
    ) -> Decided {
        self.attempt = None;
        self.record.trial = None;
        (self.unstored, self.retry) = (true, now);
        let storage = self.keep_record(now, store).err();
        self.refused = self.refused.saturating_add(1);
        self.last = Some(Refused {
            layer: Some(trial.layer),
            number: trial.held.number,
            why: Refusal::Undone,
            text: RefusalText::new(),
            failure,
        });
        self.say = Some(now);
        Decided { layer: trial.layer, number: trial.held.number, former: Some(former), failure, storage }
    }
}
