//! Whether a new image may stay. Owns the conditions and the time for which they must hold; confirms nothing itself.
//! R-FW-HEALTH.

use crate::interface::Pace;
use crate::platform::Uptime;
use protocol::UpdateFault;

/// So many faults in a row, and the sensor counts as dead: one may be a glitch.
pub(crate) const SENSOR_FAULTS: u32 = 3;

/// How the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// The service is reached, and everything is subscribed.
    pub linked: bool,
    /// It has acknowledged a message of this boot.
    pub acknowledged: bool,
    /// The sensor has answered since the start, and still does.
    pub sensor: bool,
    /// Failures of flash and store since the start.
    pub storage_errors: u32,
}

/// What is to be done with the image on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Confirm,
    /// Its time is over, and this was wrong.
    Revert(UpdateFault),
}

/// A trial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    began: Uptime,
    healthy_since: Option<Uptime>,
    storage_errors: u32,
    /// What was wrong last.
    wrong: UpdateFault,
    /// Not to be confirmed again before this time, because that has just failed.
    pub retry_at: Uptime,
    /// The image has its verdict.
    pub ended: bool,
}

impl Trial {
    pub(super) const fn new(now: Uptime) -> Self {
        Self {
            began: now,
            healthy_since: None,
            storage_errors: 0,
            wrong: UpdateFault::NoService,
            retry_at: now,
            ended: false,
        }
    }

    /// Looks at how the device is.
    pub(super) fn judge(
        &mut self,
        now: Uptime,
        health: Health,
        sensor_was_dead: bool,
        updatable: bool,
        pace: &Pace,
    ) -> Option<Outcome> {
        let new_errors =
            health.storage_errors != core::mem::replace(&mut self.storage_errors, health.storage_errors);
        let wrong = if !health.linked || !health.acknowledged {
            Some(UpdateFault::NoService)
        } else if !health.sensor && !sensor_was_dead {
            Some(UpdateFault::NoSensor)
        } else if new_errors {
            Some(UpdateFault::Worse)
        } else if !updatable {
            Some(UpdateFault::Reverted)
        } else {
            None
        };
        if let Some(wrong) = wrong {
            (self.wrong, self.healthy_since) = (wrong, None);
        } else {
            let since = *self.healthy_since.get_or_insert(now);
            if now.since(since) >= u64::from(pace.trial_ms) && now >= self.retry_at {
                return Some(Outcome::Confirm);
            }
        }
        (now.since(self.began) >= u64::from(pace.trial_deadline_ms)).then_some(Outcome::Revert(self.wrong))
    }

    /// When to look again if nothing happens before.
    pub(super) fn next_deadline(&self, pace: &Pace) -> Uptime {
        let end = self.began.after(u64::from(pace.trial_deadline_ms));
        let healthy =
            self.healthy_since.map(|since| since.after(u64::from(pace.trial_ms)).max(self.retry_at));
        healthy.map_or(end, |healthy| healthy.min(end))
    }

    /// Confirming failed.
    pub(super) fn failed(&mut self, now: Uptime) {
        self.wrong = UpdateFault::Storage;
        self.retry_at = now.after(1_000);
    }
}
