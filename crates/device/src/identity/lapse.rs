//! A certificate that has ended: what the device says of it, and the ordinary renewal over the factory's line in place of the
//! network, which does not let the device in any more. Owns no power: the request is signed by the identity in force, the
//! certificate by whoever may renew it over the network. R-SECRET-ROTATE, R-REPROVISION, R-AUTHORITY.

use super::record::Pending;
use super::trial::ROUND;
use super::{Identity, IdentityError, leaf};
use crate::event::Note;
use crate::platform::{KeySlot, Platform, Uptime, VaultError};
use protocol::document::KeyUse;
use protocol::{EpochMillis, KeyId};

/// What the device has for whoever brings it a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A request of so many bytes.
    Request(usize),
    /// Nothing: it has a certificate for this new identity and tries it.
    Trying(KeyId),
}

impl Identity {
    /// When the certificate in force ends.
    pub(crate) const fn ends(&self) -> EpochMillis {
        self.leaf.until
    }

    /// True where the certificate in force has ended by `time`.
    pub(crate) fn has_ended(&self, time: EpochMillis) -> bool {
        time >= self.leaf.until
    }

    /// True where the certificate for the keys in `slot` is the one in force and has ended: nothing but the identity key can
    /// prove then who the device is.
    pub(crate) fn needs_token(&self, slot: KeySlot, time: EpochMillis) -> bool {
        slot == self.record.active && self.has_ended(time)
    }

    /// What is to be said of the end, once in a boot for each certificate.
    pub(crate) fn note_end(&mut self, time: EpochMillis) -> Option<Note> {
        let due = self.has_ended(time) && !core::mem::replace(&mut self.end_said, true);
        due.then_some(Note::CertificateEnded { until: self.leaf.until })
    }

    /// True where there is somebody whose word on a new certificate counts.
    pub(crate) const fn can_renew(&self) -> bool {
        self.record.configuration.is_some()
    }

    /// True where keys are made and a certificate for them is asked for.
    pub(crate) fn is_asking(&self) -> bool {
        self.record.pending.is_some_and(|pending| pending.certificate.is_none())
    }

    /// The request for a certificate, for whoever brings it: for new keys, which are made once however often this is asked;
    /// for others where those got a certificate that has ended too, or with which a round of attempts did not reach the service.
    pub(crate) fn ask<P: Platform>(
        &mut self,
        time: EpochMillis,
        platform: &mut P,
        out: &mut [u8],
    ) -> Result<Asked, IdentityError> {
        if let Some(Pending { slot, certificate: Some(_) }) = self.record.pending {
            if self.attempts < ROUND && time < leaf(platform, slot)?.until {
                let key = platform.public_key(slot, KeyUse::Identity)?.ok_or(VaultError::Empty)?;
                return Ok(Asked::Trying(key.id()));
            }
            self.change(platform, |record| record.pending = None)?;
        }
        if self.record.pending.is_none() {
            self.make_keys(platform)?;
        }
        // One slot of three is always free beside the one in force and the one before it.
        let slot = self.record.pending.ok_or(VaultError::Empty)?.slot;
        self.request(slot, platform, out).map(Asked::Request)
    }

    /// The new identity that a certificate has just come for: the next attempts are its.
    pub(crate) fn begin_trial<P: Platform>(
        &mut self,
        now: Uptime,
        platform: &mut P,
    ) -> Result<KeyId, IdentityError> {
        let slot = self.record.pending.ok_or(VaultError::Empty)?.slot;
        let key = platform.public_key(slot, KeyUse::Identity)?.ok_or(VaultError::Empty)?.id();
        self.attempts = 0;
        self.request_due = Some(now);
        Ok(key)
    }
}
