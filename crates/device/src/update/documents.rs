//! What the authorities say: the manifest that names what may run, and the rollout that says who takes it now. Owns which of
//! them is in force. R-FW-MANIFEST, R-UPDATE-TRUST.

use super::announce::{self, Refused, Verdict};
use super::record::Rollout;
use super::{Moment, Place, Update};
use crate::event::Note;
use crate::platform::{KeyValue, Uptime};
use protocol::document::Rollout as RolloutDocument;
use protocol::firmware::takes_part;
use protocol::{KeyId, PublicKey, Refusal, UpdateFault};

impl Update {
    /// A manifest has come.
    pub(super) fn manifest(&mut self, moment: &Moment<'_>, payload: &[u8], platform: &mut impl KeyValue) {
        if self.trial.is_some() || self.unsettled.is_some() || self.suspect.is_some() {
            // Whatever it is, it has to wait until it is clear what runs.
            self.look_again = true;
            return;
        }
        let Some(place) = self.place else { return };
        if payload.is_empty() {
            self.withdrawn();
            return;
        }
        let Place { layout, present, .. } = &place;
        match announce::judge(payload, moment, &self.product, layout, present, &self.record) {
            Ok(Verdict::Present { sequence }) => {
                self.refused_target = None;
                // "Stay" replaces what was wanted before, and for good.
                if self.record.wanted.as_ref().is_some_and(|wanted| wanted.sequence < sequence) {
                    self.announced = None;
                    self.drop_work();
                    self.record.wanted = None;
                    self.save(moment.now, platform);
                    self.speech.due(moment.now);
                }
                self.withdrawn();
                if self.record.wanted.is_none() && self.record.fault.take().is_some() {
                    self.speech.due(moment.now);
                }
                if let Some(signer) = moment.firmware.map(PublicKey::id)
                    && self.record.install(sequence, signer)
                {
                    self.save(moment.now, platform);
                }
            }
            Ok(Verdict::Known(announced)) => {
                self.refused_target = None;
                self.announced = Some(announced);
                self.consider(moment);
            }
            Ok(Verdict::New(announced, wanted)) => {
                self.refused_target = None;
                self.announced = Some(announced);
                self.drop_work();
                (self.pause, self.pauses) = (None, 0);
                (self.record.wanted, self.record.fault) = (Some(wanted), None);
                self.save(moment.now, platform);
                self.speech.due(moment.now);
                self.consider(moment);
            }
            Err(Refused { fault, target }) => {
                self.refused = self.refused.saturating_add(1);
                self.refused_target = target.or(self.refused_target);
                self.record.fault = Some(fault);
                self.speech.refused(moment.now);
                self.note(Note::UpdateRefused(fault));
            }
        }
    }

    /// What was announced is not any more; what was fetched of it stays, in case it is again.
    pub(super) fn withdrawn(&mut self) {
        self.stay();
        let was_announced = self.announced.take().is_some();
        if was_announced && self.wanted().is_some_and(|wanted| wanted.turn.is_some()) {
            // What went wrong with it before is worth more.
            self.record.fault.get_or_insert(UpdateFault::Withdrawn);
            self.speech.due(Uptime(0));
            self.note(Note::UpdateWithdrawn);
        }
    }

    /// A rollout that is proven, whose number is larger than the last one's, and which is for this device.
    pub(crate) fn rollout(
        &mut self,
        moment: &Moment<'_>,
        document: &RolloutDocument,
        signer: KeyId,
        platform: &mut impl KeyValue,
    ) {
        let took_part = self.takes_part;
        let RolloutDocument { number, manifest, share, .. } = *document;
        self.record.rollout = Some(Rollout { number, signer, manifest, share });
        self.save(moment.now, platform);
        self.note(Note::UpdateRollout { number, share });
        self.consider(moment);
        if took_part && !self.takes_part && self.announced.is_some() {
            self.record.fault.get_or_insert(UpdateFault::Withdrawn);
            self.note(Note::UpdateWithdrawn);
        }
        self.speech.due(moment.now);
    }

    /// The rollout's largest number so far, as far as this key counts.
    pub(crate) fn rollout_number(&self, signer: &KeyId) -> u32 {
        self.record.rollout.filter(|rollout| rollout.signer == *signer).map_or(0, |rollout| rollout.number)
    }

    /// True where this is the rollout in force once more.
    pub(crate) fn is_in_force(&self, document: &RolloutDocument, signer: KeyId) -> bool {
        let RolloutDocument { number, manifest, share, .. } = *document;
        self.record.rollout == Some(Rollout { number, signer, manifest, share })
    }

    /// A rollout was refused.
    pub(crate) fn rollout_refused(&mut self, now: Uptime, refusal: Refusal) {
        self.refused = self.refused.saturating_add(1);
        self.speech.refused(now);
        self.note(Note::DocumentRefused(refusal));
    }

    /// Whether the rollout lets this device take what is wanted.
    pub(super) fn consider(&mut self, moment: &Moment<'_>) {
        let part = self.wanted().zip(self.record.rollout).is_some_and(|(wanted, rollout)| {
            rollout.manifest == wanted.manifest && takes_part(&wanted.manifest, moment.id, rollout.share)
        });
        if part && self.record.fault == Some(UpdateFault::Withdrawn) {
            self.record.fault = None;
        }
        self.takes_part = part;
    }
}
