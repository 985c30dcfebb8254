//! How far the devices of a fleet are with a release, from what they say themselves. Owns the reading of their states, never
//! a connection nor a decision ([`super::stages`]). R-FLEET, R-FW-TIMELY.

use super::manifest::Manifest;
use super::stages::Share;
use protocol::firmware::{Phase, UpdateFault, Uuid, takes_part};
use protocol::image::Version;
use protocol::key::Digest;
use protocol::{DeviceId, FirmwareState};
use std::collections::BTreeMap;

/// What is being rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which devices it is for.
    pub class: Uuid,
    /// Digest of the manifest, as it is signed.
    pub manifest: Digest,
    /// Its sequence number.
    pub sequence: u64,
    /// Version of its image.
    pub version: Option<Version>,
}

impl From<&Manifest> for Target {
    fn from(manifest: &Manifest) -> Self {
        let Manifest { class, digest, sequence, version, .. } = *manifest;
        Self { class, manifest: digest, sequence, version }
    }
}

/// How a device stands to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs the image and keeps it, or a newer one.
    Confirmed,
    /// It runs the image and has not confirmed it yet.
    Trial,
    /// It restarts into the image.
    Installing,
    /// It has the image and checks it.
    Verifying,
    /// It fetches blocks.
    Downloading,
    /// It knows of it and waits for its turn.
    Waiting,
    /// It has not said that it knows of it.
    Unaware,
    /// It was never heard of.
    Silent,
    /// It refused the release or did not stay with it.
    Failed(UpdateFault),
}

impl Standing {
    /// How a device stands that said this last.
    pub fn of(state: Option<&FirmwareState>, target: &Target) -> Self {
        let Some(state) = state else { return Self::Silent };
        let trial = matches!(state.phase, Phase::Trial | Phase::Installing);
        let has = |wanted| state.version.parse::<Version>().is_ok_and(|version| version >= wanted);
        if state.sequence >= target.sequence || (!trial && target.version.is_some_and(has)) {
            return Self::Confirmed;
        }
        if state.target_sequence != target.sequence {
            return Self::Unaware;
        }
        match state.phase {
            Phase::Idle => Self::Unaware,
            Phase::Waiting => Self::Waiting,
            Phase::Downloading => Self::Downloading,
            Phase::Verifying => Self::Verifying,
            Phase::Installing => Self::Installing,
            Phase::Trial => Self::Trial,
            Phase::Failed => match state.fault {
                // Whoever withdrew it knows; that is no fault of the image.
                Some(UpdateFault::Withdrawn) | None => Self::Unaware,
                Some(fault) => Self::Failed(fault),
            },
        }
    }

    /// Its name in tables and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Trial => "trial",
            Self::Installing => "installing",
            Self::Verifying => "verifying",
            Self::Downloading => "downloading",
            Self::Waiting => "waiting",
            Self::Unaware => "unaware",
            Self::Silent => "silent",
            Self::Failed(_) => "failed",
        }
    }

    /// Its place in the order from best to worst.
    pub fn rank(self) -> usize {
        Self::NAMES.iter().position(|name| *name == self.name()).unwrap_or(Self::NAMES.len())
    }

    /// Every name, from best to worst.
    pub const NAMES: [&'static str; 9] = [
        "confirmed",
        "trial",
        "installing",
        "verifying",
        "downloading",
        "waiting",
        "unaware",
        "silent",
        "failed",
    ];
}

/// How many devices stand how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Devices.
    pub devices: usize,
    /// By [`Standing::name`].
    pub by_standing: BTreeMap<&'static str, usize>,
    /// Of those that failed, by reason.
    pub by_fault: BTreeMap<&'static str, usize>,
    /// Devices that would be counted were it given to all.
    pub known: usize,
    /// There may be devices that are not counted because they have not said anything yet.
    pub aware_only: bool,
}

impl Tally {
    /// Adds a device.
    pub fn add(&mut self, standing: Standing) {
        self.devices += 1;
        *self.by_standing.entry(standing.name()).or_default() += 1;
        if let Standing::Failed(fault) = standing {
            *self.by_fault.entry(fault.as_str()).or_default() += 1;
        }
    }

    /// Devices that stand so.
    pub fn count(&self, name: &str) -> usize {
        self.by_standing.get(name).copied().unwrap_or_default()
    }

    /// Devices that keep the image.
    pub fn confirmed(&self) -> usize {
        self.count("confirmed")
    }

    /// Devices that failed.
    pub fn failed(&self) -> usize {
        self.count("failed")
    }

    /// Devices that restart into the image or try it.
    pub fn started(&self) -> usize {
        self.count(Standing::Installing.name()) + self.count(Standing::Trial.name())
    }

    /// True where each has come to an end with the release, whatever end.
    pub fn is_over(&self) -> bool {
        // Where nobody was ever heard of, nobody can have come to an end.
        let heard = if self.aware_only { self.devices > 0 } else { self.known > 0 };
        heard && self.confirmed() + self.failed() == self.devices
    }
}

/// Every device that is known, and what it said last.
#[derive(Clone, Debug, Default)]
pub struct Fleet(BTreeMap<DeviceId, Option<FirmwareState>>);

impl Fleet {
    /// A device that exists, whether it speaks or not.
    pub fn know(&mut self, id: DeviceId) {
        self.0.entry(id).or_default();
    }

    /// What a device said; `None` where the broker keeps nothing of it any more, which makes it unknown.
    pub fn take(&mut self, id: DeviceId, state: Option<FirmwareState>) {
        match state {
            None => self.0.remove(&id),
            Some(state) => self.0.insert(id, Some(state)),
        };
    }

    /// What a device said last.
    pub fn state(&self, id: &DeviceId) -> Option<&FirmwareState> {
        self.0.get(id)?.as_ref()
    }

    /// Every device, in order of the ids.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = (&DeviceId, Option<&FirmwareState>)> {
        self.0.iter().map(|(id, state)| (id, state.as_ref()))
    }

    /// How the devices of the release's class stand that take part at this share; a device that was never heard of may be of
    /// any class, and counts until it speaks. Where `aware_only`, only those that have said that they know of
    /// the release.
    pub fn tally(&self, target: &Target, share: Share, aware_only: bool) -> Tally {
        let mut tally = Tally { aware_only, ..Tally::default() };
        for (id, state) in self.devices() {
            let standing = Standing::of(state, target);
            let other = state.is_some_and(|state| state.class != target.class);
            if other || (aware_only && matches!(standing, Standing::Unaware | Standing::Silent)) {
                continue;
            }
            tally.known += 1;
            if takes_part(&target.manifest, id, share.0) {
                tally.add(standing);
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: Uuid = Uuid([3; 16]);
    const TARGET: Target =
        Target { class: CLASS, manifest: [7; 32], sequence: 9, version: Some(Version::new(1, 1, 0)) };

    fn state(version: &str, phase: Phase, target_sequence: u64) -> FirmwareState {
        let mut state = FirmwareState::new(CLASS, version.try_into().unwrap());
        state.phase = phase;
        state.target_sequence = target_sequence;
        state
    }

    fn standing(state: &FirmwareState) -> Standing {
        Standing::of(Some(state), &TARGET)
    }

    #[test]
    fn a_device_is_confirmed_only_when_it_keeps_the_image() {
        assert_eq!(standing(&state("1.1.0", Phase::Trial, 9)), Standing::Trial);
        assert_eq!(
            standing(&state("1.1.0", Phase::Idle, 0)),
            Standing::Confirmed,
            "the factory gave it this one"
        );
        let mut refused = state("1.1.0+7", Phase::Failed, 9);
        refused.fault = Some(UpdateFault::Equal);
        assert_eq!(standing(&refused), Standing::Confirmed, "it has what it refused");
        let mut newer = state("0.9.0", Phase::Idle, 0);
        newer.sequence = 10;
        assert_eq!(standing(&newer), Standing::Confirmed);
        assert_eq!(standing(&state("1.0.0", Phase::Idle, 0)), Standing::Unaware);
    }

    #[test]
    fn a_failure_counts_for_the_release_that_failed_alone() {
        let mut failed = state("1.0.0", Phase::Failed, 9);
        failed.fault = Some(UpdateFault::Reverted);
        assert_eq!(standing(&failed), Standing::Failed(UpdateFault::Reverted));
        failed.fault = Some(UpdateFault::Withdrawn);
        assert_eq!(standing(&failed), Standing::Unaware);
        failed.fault = Some(UpdateFault::Reverted);
        failed.target_sequence = 8;
        assert_eq!(standing(&failed), Standing::Unaware);
        // A block that did not come yet is no failure of the release.
        let mut slow = state("1.0.0", Phase::Downloading, 9);
        slow.fault = Some(UpdateFault::BlockMissing);
        assert_eq!(standing(&slow), Standing::Downloading);
    }

    #[test]
    fn a_stage_counts_those_devices_that_take_part_in_it() {
        let mut fleet = Fleet::default();
        for number in 0..1_000 {
            fleet.know(format!("dev-{number}").parse().unwrap());
        }
        let id: DeviceId = "dev-0".parse().unwrap();
        fleet.take(id.clone(), Some(state("1.1.0", Phase::Idle, 0)));
        assert_eq!(fleet.state(&id), Some(&state("1.1.0", Phase::Idle, 0)));
        let all = fleet.tally(&TARGET, Share::ALL, false);
        assert_eq!((all.devices, all.confirmed(), all.count("silent")), (1_000, 1, 999));
        assert!(!all.is_over());
        let other = FirmwareState::new(Uuid([4; 16]), "1.1.0".try_into().unwrap());
        fleet.take("dev-1".parse().unwrap(), Some(other));
        assert_eq!(fleet.tally(&TARGET, Share::ALL, false).devices, 999, "another class is not counted");
        let tenth = fleet.tally(&TARGET, Share(100), false).devices;
        assert!((60..140).contains(&tenth), "{tenth}");
        let none = fleet.tally(&TARGET, Share::NONE, false);
        assert_eq!((none.devices, none.known, none.is_over()), (0, 999, true), "others are known");
        let aware = fleet.tally(&TARGET, Share::ALL, true);
        assert_eq!((aware.devices, aware.confirmed()), (1, 1));
        let nobody = Fleet::default();
        for aware_only in [false, true] {
            assert!(!nobody.tally(&TARGET, Share::ALL, aware_only).is_over(), "somebody may speak yet");
        }
        assert!(Standing::NAMES.contains(&Standing::Failed(UpdateFault::Base).name()));
    }
}
