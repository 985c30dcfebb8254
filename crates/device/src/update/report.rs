//! What the service is told about the firmware, and when. Owns the pace of that: what somebody sends who has no right to
//! makes the device say little. R-FW-TIMELY.

use super::record::Stage;
use super::{Moment, Update, Work};
use crate::platform::Uptime;
use core::fmt::Write;
use protocol::firmware::Phase;
use protocol::image::Version;
use protocol::{EpochMillis, FirmwareState, Name};

/// Shortest time between two states that say only what was refused, in milliseconds.
const REFUSED_PERIOD_MS: u64 = 10_000;

/// Steps of a download that are worth saying.
const STEPS: u64 = 10;

/// When the state is to be said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Speech {
    due: Option<Uptime>,
    last: Option<Uptime>,
    step: u8,
    /// The service is being told that the device is about to install.
    farewell: bool,
}

impl Speech {
    /// Something has changed.
    pub(super) fn due(&mut self, now: Uptime) {
        self.due = Some(self.due.map_or(now, |due| due.min(now)));
    }

    /// Something was refused.
    pub(super) fn refused(&mut self, now: Uptime) {
        let at = self.last.map_or(now, |last| last.after(REFUSED_PERIOD_MS).max(now));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// So much of a payload is there.
    pub(super) fn progress(&mut self, now: Uptime, done: u32, size: u32) {
        let step = (u64::from(done) * STEPS / u64::from(size.max(1))) as u8;
        if core::mem::replace(&mut self.step, step) != step {
            self.due(now);
        }
    }

    pub(super) const fn next_deadline(&self) -> Option<Uptime> {
        self.due
    }
}

impl Update {
    /// True where the service is to be told; takes note that it is.
    pub(crate) fn poll_state(&mut self, now: Uptime) -> bool {
        if !self.is_active() || self.speech.due.is_none_or(|due| now < due) {
            return false;
        }
        let farewell = matches!(self.work, Work::Leaving { .. });
        self.speech = Speech { due: None, last: Some(now), farewell, ..self.speech };
        true
    }

    /// The service is to be told, whether anything has changed or not.
    pub(crate) fn say(&mut self, now: Uptime) {
        self.speech.due(now);
    }

    /// The service has the last state.
    pub(crate) fn state_acknowledged(&mut self) {
        if let Work::Leaving { acknowledged, .. } = &mut self.work {
            *acknowledged |= self.speech.farewell;
        }
    }

    /// How the firmware is.
    pub(crate) fn state(
        &self,
        moment: &Moment<'_>,
        firmware: &Name,
        time: Option<EpochMillis>,
    ) -> FirmwareState {
        let present = self.place.map(|place| place.present);
        let version = present.map_or_else(|| firmware.clone(), |present| text(present.version));
        let mut state = FirmwareState::new(self.product.class, version);
        state.t = time;
        if let Some(digest) = present.and_then(|present| present.digest) {
            state.image = hex(&digest);
        }
        state.phase = self.phase(moment);
        state.sequence = self.record.installed();
        state.fault = self.record.fault;
        state.refused = self.refused;
        state.blocks_refused = self.blocks_refused;
        if let Some(wanted) = &self.record.wanted {
            (state.target, state.target_sequence) = (text(wanted.version), wanted.sequence);
            state.attempts = u32::from(self.record.attempts(&wanted.image));
            if let Some(source) = self.source() {
                state.size = source.payload.size;
                state.delta = source.base.is_some();
            } else if wanted.stage != Stage::Fetching {
                state.size = wanted.size;
            }
            state.done = match (&self.work, wanted.stage) {
                (Work::Fetching(fetching), _) => fetching.done(),
                (_, Stage::Fetching | Stage::Failed) => wanted.written.min(state.size),
                _ => state.size,
            };
        } else if let Some((version, sequence)) = self.refused_target {
            (state.target, state.target_sequence) = (text(version), sequence);
        }
        state
    }

    fn phase(&self, moment: &Moment<'_>) -> Phase {
        if self.trial.is_some() {
            return Phase::Trial;
        }
        let failed =
            self.record.fault.is_some() && self.record.fault != Some(protocol::UpdateFault::Withdrawn);
        let Some(wanted) = &self.record.wanted else {
            return if failed { Phase::Failed } else { Phase::Idle };
        };
        // A pause for a block that is late is no failure; one after a trial is.
        let undone = self.pause.is_some() && self.record.attempts(&wanted.image) > 0;
        if wanted.stage == Stage::Failed || undone || self.is_expired(moment) {
            return Phase::Failed;
        }
        if self.record.fault == Some(protocol::UpdateFault::Withdrawn) {
            return Phase::Idle;
        }
        if self.current(moment).is_none() {
            return Phase::Waiting;
        }
        match &self.work {
            Work::Nothing | Work::Verified => Phase::Waiting,
            Work::Fetching(_) => Phase::Downloading,
            Work::Verifying(_) => Phase::Verifying,
            Work::Leaving { .. } => Phase::Installing,
        }
    }
}

fn text(version: Version) -> Name {
    let mut text = heapless::String::<{ Version::TEXT_BYTES_MAX }>::new();
    let fits = write!(text, "{version}").is_ok();
    debug_assert!(fits);
    Name::try_from(text.as_str()).unwrap_or_default()
}

/// The first eight bytes.
fn hex(digest: &[u8; 32]) -> Name {
    let mut text = heapless::String::<16>::new();
    let fits = digest.iter().take(8).try_for_each(|byte| write!(text, "{byte:02x}")).is_ok();
    debug_assert!(fits);
    Name::try_from(text.as_str()).unwrap_or_default()
}
