//! What the next attempt to connect uses, and what it means that one got through: for new roots, for a new identity and for
//! the way back. R-SECRET-ROTATE, R-ROOTS.

use super::record::{Pending, Retired};
use super::{Credentials, GRACE_S, Identity, IdentityError, ROTATION_RETRY_MS};
use crate::event::Note;
use crate::platform::{Platform, Uptime, VaultError};
use crate::trial::{Begins, Trials};
use protocol::document::KeyUse;
use protocol::{EpochMillis, Failure};

/// Of so many attempts in a row the last one uses what was in force before.
pub(super) const ROUND: u32 = 4;

impl Identity {
    /// What the next attempt to connect uses. Where something else is on trial it is what is in force, and that the attempt
    /// gets through decides nothing.
    pub(crate) fn attempt(&mut self, trials: Trials) -> Credentials {
        self.alone = !trials.allow(Begins::Credentials);
        if self.alone {
            self.in_use = Credentials { slot: self.record.active, roots: self.record.roots };
            self.undecided = false;
            return self.in_use;
        }
        let (round, former) = (self.attempts / ROUND, self.attempts % ROUND == ROUND - 1);
        self.attempts = self.attempts.wrapping_add(1);
        self.undecided = false;
        // During a trial the identity in force and the one before it take turns: the service may know neither the new one
        // nor that in force.
        let back = self.record.retired.filter(|_| former && (!self.has_trial() || round % 2 == 1));
        let certified = self.record.pending.filter(|pending| pending.certificate.is_some());
        let mut credentials = Credentials { slot: self.record.active, roots: self.record.roots };
        match (self.record.roots_trial, certified, back) {
            (_, _, Some(retired)) => credentials.slot = retired.slot,
            // One thing at a time, or nobody could say which of them was refused.
            (Some(_), _, None) if !former => credentials.roots = self.record.roots.other(),
            (None, Some(pending), None) if !former => credentials.slot = pending.slot,
            _ => {}
        }
        self.in_use = credentials;
        credentials
    }

    /// The attempt failed. Where the service's host was not reached at all, that says nothing about what is on trial, and the
    /// same is tried again: a broker that is away for an hour does not undo a rotation.
    pub(crate) const fn failed(&mut self, failure: Failure) {
        if !self.alone && matches!(failure, Failure::Dns | Failure::Refused | Failure::Unreachable) {
            self.attempts = self.attempts.saturating_sub(1);
        }
    }

    /// The service has accepted the attempt. Gives what is to be written down; [`Self::clear`] has to follow then.
    pub(crate) fn accepted<P: Platform>(
        &mut self,
        now: Uptime,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Option<Note>, IdentityError> {
        self.attempts = 0;
        self.said = false;
        self.request_due = Some(now);
        self.tick_due = now;
        if self.alone {
            return Ok(None);
        }
        self.decide(now, time, platform)
    }

    pub(super) fn decide<P: Platform>(
        &mut self,
        now: Uptime,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Option<Note>, IdentityError> {
        self.undecided = true;
        // That the one before is taken says nothing about what is on trial.
        let note = if let Some(retired) =
            self.record.retired.filter(|retired| retired.slot == self.in_use.slot)
        {
            Some(self.fall_back(time, retired, platform)?)
        } else if let Some(number) = self.record.roots_trial {
            Some(self.judge_roots(number, platform)?)
        } else if let Some(pending) = self.record.pending.filter(|pending| pending.certificate.is_some()) {
            Some(self.judge_identity(now, time, pending, platform)?)
        } else {
            None
        };
        self.undecided = false;
        if note.is_some() {
            self.said = false;
            self.end_said = false;
            self.read_validity(platform)?;
        }
        Ok(note)
    }

    /// True where the connection that has just been made is followed by one with something new.
    pub(crate) fn has_trial(&self) -> bool {
        self.record.roots_trial.is_some()
            || self.record.pending.is_some_and(|pending| pending.certificate.is_some())
    }

    fn judge_roots<P: Platform>(&mut self, number: u32, platform: &mut P) -> Result<Note, IdentityError> {
        let mut record = self.record.clone();
        record.roots_trial = None;
        if self.in_use.roots == self.record.roots {
            self.commit(record, platform)?;
            self.roots_undone = self.roots_undone.saturating_add(1);
            return Ok(Note::RootsUndone { number });
        }
        record.roots = self.in_use.roots;
        record.roots_number = number;
        self.commit(record, platform)?;
        Ok(Note::RootsReplaced { number })
    }

    fn judge_identity<P: Platform>(
        &mut self,
        now: Uptime,
        time: EpochMillis,
        pending: Pending,
        platform: &mut P,
    ) -> Result<Note, IdentityError> {
        let mut record = self.record.clone();
        record.pending = None;
        if self.in_use.slot != pending.slot {
            record.rotation_wanted = true;
            self.commit(record, platform)?;
            self.not_before = now.after(ROTATION_RETRY_MS);
            self.wanted = true;
            return Ok(Note::IdentityRefused);
        }
        // Before the commit, after which nothing must fail.
        let key = platform.public_key(pending.slot, KeyUse::Identity)?.ok_or(VaultError::Empty)?.id();
        record.rotation_wanted = false;
        record.retired = Some(Retired {
            slot: self.record.active,
            certificate: self.record.certificate,
            until_s: time.seconds().saturating_add(GRACE_S),
        });
        record.active = pending.slot;
        record.certificate = pending.certificate.unwrap_or(self.record.certificate);
        self.commit(record, platform)?;
        self.wanted = false;
        self.key = key;
        Ok(Note::IdentityReplaced { key })
    }

    fn fall_back<P: Platform>(
        &mut self,
        time: EpochMillis,
        retired: Retired,
        platform: &mut P,
    ) -> Result<Note, IdentityError> {
        let key = platform.public_key(retired.slot, KeyUse::Identity)?.ok_or(VaultError::Empty)?.id();
        let mut record = self.record.clone();
        record.rotation_wanted = true;
        record.active = retired.slot;
        record.certificate = retired.certificate;
        record.retired = Some(Retired {
            slot: self.record.active,
            certificate: self.record.certificate,
            until_s: time.seconds().saturating_add(GRACE_S),
        });
        self.commit(record, platform)?;
        self.wanted = true;
        self.key = key;
        Ok(Note::IdentityFellBack { key })
    }
}
