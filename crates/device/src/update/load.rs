//! What the device finds when it starts: the image that runs, what became of the one that was marked. R-FW-HEALTH,
//! R-FW-ATOMIC.

use super::announce::Present;
use super::hash::Hashing;
use super::record::{Record, Stage};
use super::report::Speech;
use super::trial::Trial;
use super::{ATTEMPTS_MAX, PAUSE_MS, Place, RETRY_TRIALS, Update, Work, slot};
use crate::event::Note;
use crate::interface::{Pace, Product};
use crate::platform::{KeyValue, Running, Slots, Uptime};
use crate::stored::Stored;
use heapless::{Deque, Vec};
use protocol::image::{Header, Image};
use protocol::{ResetCause, UpdateFault};

impl Update {
    /// The machine of a device that starts now.
    pub(crate) fn load<P: KeyValue + Slots>(
        product: Product,
        pace: Pace,
        reset: ResetCause,
        now: Uptime,
        platform: &mut P,
    ) -> Self {
        let mut errors = Vec::new();
        let loaded = Record::load(platform);
        let lost = loaded.is_err();
        let record = loaded.unwrap_or_else(|error| {
            // What was known is lost: see `Record::installed` and `Update::suspect`.
            let _room = errors.push(error);
            None
        });
        let mut update = Self {
            product,
            pace,
            power_failed: matches!(reset, ResetCause::PowerOn | ResetCause::Brownout | ResetCause::Unknown),
            place: None,
            record: record.unwrap_or_default(),
            unsaved: None,
            announced: None,
            takes_part: false,
            measuring: None,
            measure_at: now,
            suspect: None,
            work: Work::Nothing,
            stale: None,
            pause: None,
            pauses: 0,
            trial: None,
            unsettled: None,
            look_again: false,
            refused_target: None,
            refused: 0,
            blocks_refused: 0,
            vitals: super::machine::Vitals::default(),
            speech: Speech::default(),
            notes: Deque::new(),
            errors,
        };
        update.settle(now, platform);
        if lost {
            update.doubt(now, platform);
        }
        update
    }

    /// Finds out what runs. False where it cannot be told now.
    fn find_place<P: KeyValue + Slots>(&mut self, platform: &mut P) -> bool {
        let Some(layout) = platform.layout().filter(slot::is_usable) else { return true };
        let mut failure = None;
        let image = Image::read(layout.capacity, |at, bytes| {
            platform.read_running(at, bytes).map_err(|error| {
                failure = Some(error);
                UpdateFault::Storage
            })
        });
        if let Some(error) = failure {
            self.failed(error);
            return false;
        }
        // Without knowing what runs nothing can be newer.
        match (image, self.product.image_key) {
            (Ok(image), Some(key)) => {
                let present = Present { version: image.header.version, size: image.bytes(), digest: None };
                self.place = Some(Place { layout, key, present });
                self.measuring = Some(Hashing::new(present.size, 0));
            }
            (Err(fault), Some(_)) => self.note(Note::UpdateRefused(fault)),
            (_, None) => {}
        }
        true
    }

    /// The record is lost, and with it how often which image was started: an image that damages it, and is taken back for
    /// that, would be started for ever. So a whole image in the candidate's slot that is newer than the one that runs counts
    /// as started often enough, and nothing else begins for a while.
    fn doubt(&mut self, now: Uptime, platform: &mut impl Slots) {
        self.pause = Some(now.after(u64::from(self.pace.trial_deadline_ms) * RETRY_TRIALS));
        let Some(place) = self.place else { return };
        let image = Image::read(place.layout.capacity, |at, bytes| {
            platform.read_candidate(at, bytes).map_err(|_| UpdateFault::Storage)
        });
        let image = image.ok().filter(|image| image.header.version > place.present.version);
        self.suspect = image.map(|image| Hashing::new(image.bytes(), 0));
    }

    /// Goes on finding out which image that is.
    pub(super) fn examine<P: KeyValue + Slots>(&mut self, now: Uptime, platform: &mut P) {
        let Some(suspect) = &mut self.suspect else { return };
        match suspect.step(|at, bytes| platform.read_candidate(at, bytes)) {
            Ok(None) => {}
            Ok(Some(digests)) => {
                self.suspect = None;
                self.record.set_attempts(&digests.whole, ATTEMPTS_MAX);
                self.save(now, platform);
            }
            Err(error) => {
                self.suspect = None;
                self.failed(error);
            }
        }
    }

    /// Asks how the image that runs came to run. Where that cannot be told nothing is decided: an image on trial that was
    /// taken for a confirmed one would be booked as installed and then go.
    pub(super) fn settle<P: KeyValue + Slots>(&mut self, now: Uptime, platform: &mut P) {
        self.unsettled = None;
        if self.place.is_none() && !self.find_place(platform) {
            self.unsettled = Some(now.after(PAUSE_MS));
            return;
        }
        if platform.layout().is_none() {
            return;
        }
        match platform.running() {
            Ok(Running::OnTrial) => self.begin_trial(now, platform),
            Ok(Running::Confirmed) => {
                self.look_back(self.place.map(|place| place.present), now, platform);
            }
            Err(error) => {
                self.failed(error);
                self.unsettled = Some(now.after(PAUSE_MS));
            }
        }
    }

    fn begin_trial(&mut self, now: Uptime, platform: &mut impl KeyValue) {
        self.trial = Some(Trial::new(now));
        self.note(Note::UpdateTrial);
        if let Some(wanted) = &mut self.record.wanted
            && wanted.stage != Stage::Trial
        {
            wanted.stage = Stage::Trial;
            self.save(now, platform);
        }
    }

    /// Finishes the bookkeeping of what was confirmed, and finds out what became of an image that does not run.
    fn look_back<P: KeyValue + Slots>(&mut self, present: Option<Present>, now: Uptime, platform: &mut P) {
        let Some((wanted, present)) = self.record.wanted.clone().zip(present) else { return };
        // An update is newer than what ran when it was accepted. Where that version runs now and stays, it is installed,
        // even if power failed before that was noted.
        if present.version >= wanted.version {
            if present.version == wanted.version {
                self.installed(now, platform);
            } else {
                self.record.wanted = None;
                self.save(now, platform);
            }
            return;
        }
        let fault = match wanted.stage {
            Stage::Fetching | Stage::Complete | Stage::Failed => return,
            // Its own word, where it had time for one.
            Stage::Trial => self.record.fault.unwrap_or(UpdateFault::Reverted),
            Stage::Marked => {
                // A bootloader erases what it refuses, and keeps what it had to take back.
                let mut header = [0; Header::BYTES];
                let kept = platform.read_candidate(0, &mut header).is_ok() && Header::decode(&header).is_ok();
                if kept { UpdateFault::Reverted } else { UpdateFault::NotBooted }
            }
        };
        // Where power failed while it ran, or before it could, that says nothing of the image. An image that says itself why it
        // went has not met a power cut.
        let excused = self.power_failed && self.record.fault.is_none() && self.record.excuse(&wanted.image);
        let spent = self.record.attempts(&wanted.image) >= ATTEMPTS_MAX;
        if let Some(wanted) = &mut self.record.wanted {
            wanted.stage = if spent { Stage::Failed } else { Stage::Complete };
        }
        self.record.fault = Some(fault);
        let pause = if excused { PAUSE_MS } else { u64::from(self.pace.trial_deadline_ms) * RETRY_TRIALS };
        self.pause = Some(now.after(pause));
        self.note(Note::UpdateReverted(fault));
        self.save(now, platform);
    }

    /// What is wanted runs and stays.
    pub(super) fn installed(&mut self, now: Uptime, platform: &mut impl KeyValue) {
        let Some(wanted) = self.record.wanted.take() else { return };
        self.record.install(wanted.sequence, wanted.signer);
        self.record.set_attempts(&wanted.image, 0);
        self.record.fault = None;
        self.note(Note::UpdateConfirmed { version: wanted.version });
        self.save(now, platform);
        self.speech.due(now);
    }

    /// Goes on finding out the digest of the image that runs.
    pub(super) fn measure(&mut self, now: Uptime, platform: &mut impl Slots) {
        let Some(measuring) = &mut self.measuring else { return };
        match measuring.step(|at, bytes| platform.read_running(at, bytes)) {
            Ok(None) => {}
            Ok(Some(digests)) => {
                self.measuring = None;
                if let Some(place) = &mut self.place {
                    place.present.digest = Some(digests.whole);
                }
            }
            // Without the digest no delta fits; whole images still do.
            Err(error) => {
                self.measuring = self.place.map(|place| Hashing::new(place.present.size, 0));
                self.measure_at = now.after(PAUSE_MS);
                self.failed(error);
            }
        }
    }
}
