//! The last look at an image, the way into it and the verdict over it. R-FW-AUTHORISED, R-FW-HEALTH, R-BOOT-NEWER.

use super::hash::{Digests, Hashing};
use super::record::{Stage, Wanted};
use super::trial::Outcome;
use super::{ATTEMPTS_MAX, Act, FAULTS_MAX, Moment, Place, Update, Work};
use crate::event::Note;
use crate::interface::Product;
use crate::platform::{KeyValue, Slots, StorageError};
use protocol::UpdateFault;
use protocol::image::{Header, Image};

/// What is wrong with an image that is complete.
enum Wrong {
    /// The slot does not hold what was promised: it may after another try.
    Lost(UpdateFault),
    /// What was promised is not good enough, and never will be.
    Bad(UpdateFault),
    /// The slot cannot be read.
    Slot(StorageError),
}

impl Update {
    /// Begins to look at the image as a whole.
    pub(super) fn begin_to_verify<P: KeyValue + Slots>(&mut self, moment: &Moment<'_>, platform: &mut P) {
        let Some(wanted) = &self.record.wanted else { return };
        let mut header = [0; Header::BYTES];
        if let Err(error) = platform.read_candidate(0, &mut header) {
            return self.slot_failed(moment, error, platform);
        }
        // Where there is no header, the digest will not be right either.
        let covered = Header::decode(&header).map_or(0, |header| header.hashed_bytes());
        self.work = Work::Verifying(Hashing::new(wanted.size, covered.min(wanted.size)));
    }

    /// Goes on looking at it.
    pub(super) fn verify<P: KeyValue + Slots>(&mut self, moment: &Moment<'_>, platform: &mut P) {
        let (Work::Verifying(hashing), Some(place)) = (&mut self.work, self.place) else { return };
        let verdict = match hashing.step(|at, bytes| platform.read_candidate(at, bytes)) {
            Ok(None) => return,
            Ok(Some(digests)) => match &self.record.wanted {
                Some(wanted) => judge(wanted, &place, &digests, &self.product, platform),
                None => return,
            },
            Err(error) => Err(Wrong::Slot(error)),
        };
        self.work = Work::Nothing;
        match verdict {
            Ok(()) => {
                self.work = Work::Verified;
                self.pauses = 0;
                self.note(Note::UpdateVerified);
                self.speech.due(moment.now);
            }
            Err(Wrong::Slot(error)) => self.slot_failed(moment, error, platform),
            Err(Wrong::Bad(fault)) => self.refuse_image(moment, fault, platform),
            // A delta that was applied to the right base and makes something else is the delta's fault.
            Err(Wrong::Lost(fault)) if self.source().is_some_and(|source| source.base.is_some()) => {
                self.refuse_image(moment, fault, platform);
            }
            Err(Wrong::Lost(fault)) => self.lost(moment, fault, platform),
        }
    }

    /// The slot does not hold what was written to it: once more from the beginning.
    fn lost(&mut self, moment: &Moment<'_>, fault: UpdateFault, platform: &mut impl KeyValue) {
        if let Some(wanted) = &mut self.record.wanted {
            wanted.losses = wanted.losses.saturating_add(1);
            (wanted.stage, wanted.written) = (Stage::Fetching, 0);
            if wanted.losses >= FAULTS_MAX {
                wanted.stage = Stage::Failed;
            }
        }
        self.wrong(fault);
        self.pause(moment.now);
        self.save(moment.now, platform);
    }

    /// Tells the bootloader and goes. The attempt is counted before: who counts afterwards can be made to forget it.
    pub(super) fn leave<P: KeyValue + Slots>(
        &mut self,
        moment: &Moment<'_>,
        platform: &mut P,
    ) -> Option<Act> {
        let wanted = self.record.wanted.as_ref()?;
        // Between manifest and now the authority may have lost its power, and the image its chances.
        let refused = if moment.firmware.map(protocol::PublicKey::id) != Some(wanted.signer) {
            Some(UpdateFault::UnknownKey)
        } else if self.record.attempts(&wanted.image) >= ATTEMPTS_MAX {
            Some(UpdateFault::Attempts)
        } else {
            None
        };
        if let Some(fault) = refused {
            self.give_up(moment, fault, platform);
            return None;
        }
        let (image, version) = (wanted.image, wanted.version);
        let attempts = self.record.attempts(&image);
        self.record.set_attempts(&image, attempts + 1);
        if let Some(wanted) = &mut self.record.wanted {
            wanted.stage = Stage::Marked;
            wanted.sensor_was_dead = !moment.health.sensor;
        }
        self.record.fault = None;
        let marked =
            if self.save(moment.now, platform) { platform.mark() } else { Err(StorageError::Medium) };
        if let Err(error) = marked {
            self.failed(error);
            self.record.set_attempts(&image, attempts);
            if let Some(wanted) = &mut self.record.wanted {
                wanted.stage = Stage::Complete;
            }
            self.slot_failed(moment, error, platform);
            return None;
        }
        self.work = Work::Nothing;
        self.note(Note::UpdateInstalling { version });
        Some(Act::Restart)
    }

    /// Looks at the image on trial.
    pub(super) fn poll_trial<P: KeyValue + Slots>(
        &mut self,
        moment: &Moment<'_>,
        platform: &mut P,
    ) -> Option<Act> {
        let sensor_was_dead = self.record.wanted.as_ref().is_some_and(|wanted| wanted.sensor_was_dead);
        // What could take no update itself would be the last one.
        let updatable = self.place.is_some_and(|place| place.present.digest.is_some());
        let trial = self.trial.as_mut().filter(|trial| !trial.ended)?;
        match trial.judge(moment.now, moment.health, sensor_was_dead, updatable, &self.pace)? {
            Outcome::Confirm => {
                if let Err(error) = platform.confirm() {
                    trial.failed(moment.now);
                    self.failed(error);
                    return None;
                }
                self.trial = None;
                let present = self.place.map(|place| place.present.version);
                if self.record.wanted.as_ref().map(|wanted| wanted.version) == present {
                    self.installed(moment.now, platform);
                } else if let Some(version) = present {
                    // It came by another way than this record's.
                    self.note(Note::UpdateConfirmed { version });
                }
                self.speech.due(moment.now);
                None
            }
            Outcome::Revert(fault) => {
                trial.ended = true;
                self.record.fault = Some(fault);
                self.note(Note::UpdateUndone(fault));
                self.save(moment.now, platform);
                Some(Act::Restart)
            }
        }
    }
}

/// Whether the image in the candidate's slot may be started.
fn judge(
    wanted: &Wanted,
    place: &Place,
    digests: &Digests,
    product: &Product,
    platform: &mut impl Slots,
) -> Result<(), Wrong> {
    if digests.whole != wanted.image {
        return Err(Wrong::Lost(UpdateFault::ImageDigest));
    }
    let mut failure = None;
    let read = Image::read(wanted.size, |at, bytes| {
        platform.read_candidate(at, bytes).map_err(|error| {
            failure = Some(error);
            UpdateFault::Storage
        })
    });
    if let Some(error) = failure {
        return Err(Wrong::Slot(error));
    }
    let image = read.map_err(Wrong::Bad)?;
    if image.bytes() != wanted.size {
        return Err(Wrong::Bad(UpdateFault::ImageSize));
    }
    image.verify(&digests.covered, &place.key).map_err(Wrong::Bad)?;
    image.check_class(product.vendor, product.class).map_err(Wrong::Bad)?;
    check_version(&image.header, wanted, place).map_err(Wrong::Bad)
}

/// Whether an image is the version that was promised, and newer than the one that runs.
pub(super) fn check_version(header: &Header, wanted: &Wanted, place: &Place) -> Result<(), UpdateFault> {
    if header.version != wanted.version {
        Err(UpdateFault::ImageVersion)
    } else if header.version < place.present.version {
        Err(UpdateFault::Older)
    } else if header.version == place.present.version {
        Err(UpdateFault::Equal)
    } else {
        Ok(())
    }
}
