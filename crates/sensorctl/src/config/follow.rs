//! How far devices are with changes, message by message. Owns who counts and when it is over; neither clock nor connection
//! ([`run`]). R-CONF, R-FLEET.
//!
//! What counts is what each device said last: one that comes later is counted when it comes, one that goes back to an older
//! number is not done any more, and one that cannot be read is never taken for done.

pub mod run;

use super::Whom;
use super::change::Target;
use super::fleet::{Fleet, Heard, Odd};
use super::standing::{Standing, Wanted};
use protocol::reason::Layer;
use protocol::{DeviceId, EpochMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A device's standing to the change that it is furthest from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// How it stands.
    pub standing: Standing,
    /// To which layer's change.
    pub layer: Layer,
    /// That one's number.
    pub number: u32,
}

/// How many devices stand how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Devices that count.
    pub devices: usize,
    /// By [`Standing::name`].
    pub by_standing: BTreeMap<&'static str, usize>,
    /// Devices that will not come to it by themselves any more.
    pub failed: usize,
    /// Devices that may belong to a group that is followed: they have not said to which they belong.
    pub of_no_known_group: usize,
}

impl Tally {
    /// Devices that stand so.
    pub fn count(&self, name: &str) -> usize {
        self.by_standing.get(name).copied().unwrap_or_default()
    }

    /// Devices on which it is in force.
    pub fn in_force(&self) -> usize {
        self.count(Standing::InForce.name())
    }

    /// True where every device that is known to count runs on it.
    pub fn is_done(&self) -> bool {
        self.devices > 0 && self.in_force() == self.devices
    }

    /// `12 in-force, 3 trying, 1 refused`.
    pub fn words(&self) -> String {
        let count = |name: &&'static str| Some((*name, self.count(name))).filter(|(_, count)| *count > 0);
        let words = Standing::NAMES.iter().filter_map(count).map(|(name, count)| format!("{count} {name}"));
        let mut words: Vec<String> = words.collect();
        if words.is_empty() {
            words.push("no device that it is for was heard of".to_owned());
        }
        if self.of_no_known_group > 0 {
            words.push(format!("{} whose group is not known", self.of_no_known_group));
        }
        words.join(", ")
    }
}

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// After so long at the latest.
    pub timeout: Duration,
    /// When so many devices have failed.
    pub stop_after: Option<usize>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait on.
    Stay,
    /// Nothing is to be waited for: each device runs on it, or never will by itself.
    Over,
    /// It has lasted long enough.
    TimeOver,
    /// Too many have failed.
    Stop,
}

impl Rules {
    /// What is to be done after so long, with devices that stand so.
    pub fn judge(&self, tally: &Tally, lasted: Duration) -> Verdict {
        if self.stop_after.is_some_and(|most| tally.failed >= most) {
            Verdict::Stop
        } else if tally.devices > 0 && tally.in_force() + tally.failed == tally.devices {
            Verdict::Over
        } else if lasted >= self.timeout {
            Verdict::TimeOver
        } else {
            Verdict::Stay
        }
    }
}

/// A device that has come to stand otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub id: DeviceId,
    /// How it stood; nothing where it did not count.
    pub before: Option<Standing>,
    /// How it stands; nothing where it does not count any more.
    pub after: Option<Stand>,
}

/// Changes that are followed.
#[derive(Clone, Debug)]
pub struct Follow {
    whom: Whom,
    target: Target,
    fleet: Fleet,
    stands: BTreeMap<DeviceId, Stand>,
}

impl Follow {
    /// From what is known at the time `now`.
    pub fn new(whom: Whom, target: Target, fleet: Fleet, now: EpochMillis) -> Self {
        let mut follow = Self { whom, target, fleet, stands: BTreeMap::new() };
        let all: BTreeSet<DeviceId> =
            follow.fleet.of(&Whom::All).into_iter().chain(follow.target.devices.keys()).cloned().collect();
        for id in all {
            follow.see(&id, now);
        }
        follow
    }

    /// Takes a message ([`Fleet::take`]). What cannot be read is an oddity, and makes its device one that is not done.
    pub fn take(
        &mut self,
        topic: &str,
        payload: &[u8],
        live: Option<EpochMillis>,
        now: EpochMillis,
    ) -> (Option<Step>, Option<Odd>) {
        match self.fleet.take(topic, payload, live) {
            Ok(device) => (device.and_then(|id| self.see(&id, now)), None),
            Err(odd) => {
                let device = protocol::Topic::decode(topic).map(|topic| topic.device);
                (device.and_then(|id| self.see(&id, now)), Some(odd))
            }
        }
    }

    /// What changes because time passes: devices fall silent.
    pub fn refresh(&mut self, now: EpochMillis) -> Vec<Step> {
        let timed = |stand: &Stand| {
            matches!(stand.standing, Standing::Waiting | Standing::Unproven(_) | Standing::Silent(_))
        };
        let ids = self.stands.iter().filter(|(_, stand)| timed(stand)).map(|(id, _)| id.clone());
        let ids: Vec<DeviceId> = ids.collect();
        ids.iter().filter_map(|id| self.see(id, now)).collect()
    }

    fn see(&mut self, id: &DeviceId, now: EpochMillis) -> Option<Step> {
        let after = self.stand(id, now);
        let before = match after.clone() {
            Some(after) => self.stands.insert(id.clone(), after),
            None => self.stands.remove(id),
        };
        (before != after).then(|| Step { id: id.clone(), before: before.map(|stand| stand.standing), after })
    }

    fn stand(&self, id: &DeviceId, now: EpochMillis) -> Option<Stand> {
        if matches!(&self.whom, Whom::Devices(ids) if !ids.contains(id)) {
            return None;
        }
        let heard = self.fleet.heard(id);
        if heard.is_some_and(Heard::is_retired) {
            return None;
        }
        let group = heard.and_then(|heard| heard.group());
        let group = group.and_then(|group| self.target.groups.get(group));
        let wanted = self.target.devices.get(id).into_iter().chain(group);
        let stand = |wanted: &Wanted| Stand {
            standing: Standing::of(heard, wanted, now),
            layer: wanted.layer,
            number: wanted.number,
        };
        wanted.map(stand).max_by_key(|stand| stand.standing.rank())
    }

    /// How all of them stand.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { devices: self.stands.len(), ..Tally::default() };
        for stand in self.stands.values() {
            *tally.by_standing.entry(stand.standing.name()).or_default() += 1;
            tally.failed += usize::from(stand.standing.is_failure());
        }
        if !self.target.groups.is_empty() && !matches!(self.whom, Whom::Devices(_)) {
            tally.of_no_known_group = self.fleet.of_no_known_group();
        }
        tally
    }

    /// Every device that counts, in order of the ids.
    pub fn stands(&self) -> &BTreeMap<DeviceId, Stand> {
        &self.stands
    }

    /// Those that do not run on it, the worst first.
    pub fn stragglers(&self) -> Vec<(&DeviceId, &Stand)> {
        let mut all: Vec<_> =
            self.stands.iter().filter(|(_, stand)| stand.standing != Standing::InForce).collect();
        all.sort_by_key(|(id, stand)| (std::cmp::Reverse(stand.standing.rank()), *id));
        all
    }

    /// What is known of the devices.
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Who is followed.
    pub const fn whom(&self) -> &Whom {
        &self.whom
    }
}

#[cfg(test)]
mod tests;
