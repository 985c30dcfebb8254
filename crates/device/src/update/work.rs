//! The payload's way into the candidate's slot: which source, which block, what is written, what is done where it fails.
//! R-FW-TIMELY, R-FW-DELTA, R-FW-AUTHORISED.

use super::announce::Source;
use super::delta::Delta;
use super::install::check_version;
use super::record::Stage;
use super::slot::Writer;
use super::window::{Request, WINDOW, Window};
use super::{Act, DELTA_BEGUN_MAX, DELTA_PAUSES, FAULTS_MAX, Moment, Place, Update, Work};
use crate::event::Note;
use crate::interface::Pace;
use crate::platform::{KeyValue, SlotLayout, Slots, StorageError, Uptime};
use protocol::UpdateFault;
use protocol::blocks::{BLOCK_BYTES, PayloadUri};
use protocol::firmware::FirmwareTopic;
use protocol::image::Header;
use protocol::patch;

/// How much is written between two notes of how far it is, at least: what a restart costs. A sector is noted as a whole,
/// because the one in work is erased again.
const PROGRESS_BYTES: u32 = 16 * 1024;

/// A payload on its way into the slot.
#[derive(Debug)]
pub(super) struct Fetching {
    pub source: Source,
    pub window: Window,
    writer: Writer,
    delta: Option<Delta>,
}

impl Fetching {
    /// Bytes of the payload that are there.
    pub(super) fn done(&self) -> u32 {
        self.window.next().saturating_mul(BLOCK_BYTES as u32).min(self.source.payload.size)
    }

    /// When there is something to be done, if no block comes before.
    pub(super) fn next_deadline(&self, now: Uptime, linked: bool, pace: &Pace) -> Option<Uptime> {
        if self.window.is_complete() || self.delta.as_ref().is_some_and(|delta| !delta.drained) {
            return Some(now);
        }
        self.window.next_deadline(pace).filter(|_| linked)
    }
}

/// What went wrong with a block or what is made of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The payload is not what the manifest promises.
    Image(UpdateFault),
    /// The slot failed.
    Slot(StorageError),
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Slot(error)
    }
}

/// What progress is counted in: whole sectors and whole blocks.
fn grain(layout: &SlotLayout) -> u32 {
    layout.sector.max(BLOCK_BYTES as u32)
}

impl Update {
    /// The source in use.
    pub(super) fn source(&self) -> Option<Source> {
        let wanted = self.record.wanted.as_ref()?;
        self.announced.as_ref()?.sources.get(usize::from(wanted.source)).copied().flatten()
    }

    /// Begins with what is wanted, or goes on with it after a restart.
    pub(super) fn begin(&mut self, moment: &Moment<'_>, platform: &mut (impl KeyValue + Slots)) {
        let Some(place) = self.place else { return };
        if self.record.wanted.as_ref().is_some_and(|wanted| wanted.stage == Stage::Complete) {
            self.begin_to_verify(moment, platform);
            return;
        }
        let Some(source) = self.choose(&place) else {
            self.give_up(moment, UpdateFault::NoSource, platform);
            return;
        };
        let written = self.record.wanted.as_ref().map_or(0, |wanted| wanted.written);
        // A decoder cannot go on in the middle, and has room for one block.
        let (at, width, delta) = match (source.base, &self.record.wanted) {
            (Some(_), Some(wanted)) => (0, 1, Some(Delta::new(place.present.size, wanted.size))),
            _ => (written, WINDOW, None),
        };
        let window = Window::new(at / BLOCK_BYTES as u32, source.payload.count(), width);
        let writer = Writer::new(place.layout, at);
        self.work = Work::Fetching(Fetching { source, window, writer, delta });
        self.speech.due(moment.now);
    }

    /// The first source that fits, from the one that was in use on.
    fn choose(&mut self, place: &Place) -> Option<Source> {
        let another = self.has_another_source();
        let announced = self.announced.as_ref()?;
        let wanted = self.record.wanted.as_mut()?;
        let from = usize::from(wanted.source);
        for (number, source) in announced.sources.iter().enumerate().skip(from) {
            let Some(source) = source else { continue };
            let begun = if number == from { wanted.begun } else { 0 };
            let fits = match source.base {
                None => true,
                Some(base) => place.present.digest == Some(base) && (begun < DELTA_BEGUN_MAX || !another),
            };
            if fits {
                if number != from {
                    (wanted.source, wanted.begun, wanted.written) = (number as u8, 0, 0);
                }
                return Some(*source);
            }
        }
        None
    }

    /// Asks for blocks, or ends with the last of them.
    pub(super) fn poll_blocks<P: KeyValue + Slots>(
        &mut self,
        moment: &Moment<'_>,
        platform: &mut P,
    ) -> Option<Act> {
        let Work::Fetching(fetching) = &mut self.work else { return None };
        if let Some(delta) = fetching.delta.as_mut().filter(|delta| !delta.drained) {
            if let Err(trouble) = delta.step(&mut fetching.writer, platform) {
                self.trouble(moment, trouble, platform);
            }
            return None;
        }
        if fetching.window.is_complete() {
            self.complete(moment, platform);
            return None;
        }
        if !moment.health.linked {
            return None;
        }
        let payload = fetching.source.payload;
        let topic = |index| FirmwareTopic::Block(payload, index).encode();
        match fetching.window.poll(moment.now, &self.pace) {
            Ok(None) => None,
            Ok(Some(Request::Fetch(index))) => Some(Act::Fetch(topic(index))),
            Ok(Some(Request::Release(index))) => Some(Act::Release(topic(index))),
            Err(fault) => {
                self.no_block(moment, fault, platform);
                None
            }
        }
    }

    /// A block has come.
    pub(super) fn block<P: KeyValue + Slots>(
        &mut self,
        moment: &Moment<'_>,
        payload: &PayloadUri,
        index: u32,
        message: &[u8],
        platform: &mut P,
    ) {
        if self.current(moment).is_none() {
            return;
        }
        let Work::Fetching(fetching) = &mut self.work else { return };
        // What is not wanted, or not any more, is no fault: it may have been on its way for a while.
        if fetching.source.payload != *payload || !fetching.window.wants(index) {
            return;
        }
        let block = match payload.verify(index, message) {
            Ok(block) => block,
            Err(fault) => {
                self.blocks_refused = self.blocks_refused.saturating_add(1);
                if fetching.window.altered(index) {
                    self.no_block(moment, fault, platform);
                }
                return;
            }
        };
        if index != fetching.window.next() {
            fetching.window.early(index);
            return;
        }
        // Nobody has asked for it yet: it will come again.
        if fetching.delta.as_ref().is_some_and(|delta| !delta.drained) {
            return;
        }
        if index == 0
            && let Err(trouble) = self.first(moment, block, platform)
        {
            return self.trouble(moment, trouble, platform);
        }
        let Work::Fetching(fetching) = &mut self.work else { return };
        if let Some(delta) = &mut fetching.delta {
            delta.push(block);
        } else if let Err(error) = fetching.writer.push(block, platform) {
            return self.trouble(moment, error.into(), platform);
        }
        fetching.window.taken();
        if core::mem::take(&mut self.pauses) > 0 {
            (self.record.fault, self.pause) = (None, None);
            if let Work::Fetching(fetching) = &mut self.work {
                fetching.window.go_on(moment.now);
            }
        }
        self.progress(moment, platform);
    }

    /// Looks at the first block before anything is erased for it, then clears the slot.
    fn first<P: KeyValue + Slots>(
        &mut self,
        moment: &Moment<'_>,
        block: &[u8],
        platform: &mut P,
    ) -> Result<(), Trouble> {
        let (Work::Fetching(fetching), Some(place)) = (&self.work, self.place) else { return Ok(()) };
        let Some(wanted) = &mut self.record.wanted else { return Ok(()) };
        if fetching.source.base.is_none() {
            let header = Header::decode(block).map_err(Trouble::Image)?;
            check_version(&header, wanted, &place).map_err(Trouble::Image)?;
            if header.hashed_bytes() > wanted.size {
                return Err(Trouble::Image(UpdateFault::Truncated));
            }
        } else {
            match patch::sizes(block) {
                Some(sizes) if sizes == (place.present.size, wanted.size) => {}
                Some((base, _)) if base != place.present.size => {
                    return Err(Trouble::Image(UpdateFault::Base));
                }
                _ => return Err(Trouble::Image(UpdateFault::Patch)),
            }
        }
        wanted.begun = wanted.begun.saturating_add(1);
        // Where this cannot be counted, a delta could be begun for ever.
        if !self.save(moment.now, platform) {
            return Err(StorageError::Medium.into());
        }
        Ok(platform.discard()?)
    }

    /// Notes how far it is, now and then.
    fn progress(&mut self, moment: &Moment<'_>, platform: &mut impl KeyValue) {
        let (Work::Fetching(fetching), Some(place)) = (&self.work, self.place) else { return };
        let (done, size) = (fetching.done(), fetching.source.payload.size);
        self.speech.progress(moment.now, done, size);
        let Some(wanted) = &mut self.record.wanted else { return };
        if fetching.delta.is_some() {
            return;
        }
        let written = fetching.writer.written();
        let step = PROGRESS_BYTES.max(grain(&place.layout));
        if written / step > wanted.written / step {
            (wanted.written, wanted.faults) = (written - written % step, 0);
            self.save(moment.now, platform);
        }
    }

    /// The device stops in order: what is there need not be fetched again.
    pub(crate) fn stopping(&mut self, now: Uptime, platform: &mut impl KeyValue) {
        let (Work::Fetching(fetching), Some(place)) = (&self.work, self.place) else { return };
        let Some(wanted) = &mut self.record.wanted else { return };
        let written = fetching.writer.written();
        let written = written - written % grain(&place.layout);
        if fetching.delta.is_none() && written > wanted.written {
            wanted.written = written;
            self.save(now, platform);
        }
    }

    /// Every block is there.
    fn complete<P: KeyValue + Slots>(&mut self, moment: &Moment<'_>, platform: &mut P) {
        let Work::Fetching(fetching) = &mut self.work else { return };
        if let Some(Err(fault)) = fetching.delta.as_ref().map(Delta::finish) {
            return self.refuse_image(moment, fault, platform);
        }
        if let Err(error) = fetching.writer.finish(platform) {
            return self.trouble(moment, error.into(), platform);
        }
        let bytes = fetching.source.payload.size;
        if let Some(wanted) = &mut self.record.wanted {
            (wanted.stage, wanted.written) = (Stage::Complete, 0);
        }
        self.save(moment.now, platform);
        self.note(Note::UpdateDownloaded { bytes });
        self.begin_to_verify(moment, platform);
        self.speech.due(moment.now);
    }

    fn trouble(&mut self, moment: &Moment<'_>, trouble: Trouble, platform: &mut impl KeyValue) {
        match trouble {
            Trouble::Image(fault) => self.refuse_image(moment, fault, platform),
            Trouble::Slot(error) => self.slot_failed(moment, error, platform),
        }
    }

    /// What the source in use gives is no good: the next one is tried, after a pause.
    pub(super) fn refuse_image(
        &mut self,
        moment: &Moment<'_>,
        fault: UpdateFault,
        platform: &mut impl KeyValue,
    ) {
        let delta = self.source().is_some_and(|source| source.base.is_some());
        if !delta {
            return self.give_up(moment, fault, platform);
        }
        self.wrong(fault);
        self.next_source(moment, platform);
    }

    /// True where another source fits, after the one in use.
    fn has_another_source(&self) -> bool {
        let (Some(announced), Some(wanted)) = (&self.announced, &self.record.wanted) else { return false };
        let digest = self.place.and_then(|place| place.present.digest);
        let fits = |source: &Source| source.base.is_none() || source.base == digest;
        announced.sources.iter().skip(usize::from(wanted.source) + 1).flatten().any(fits)
    }

    /// A block does not come, or is not itself. That may be the link's fault or the broker's, and never ends an update.
    fn no_block(&mut self, moment: &Moment<'_>, fault: UpdateFault, platform: &mut impl KeyValue) {
        self.wrong(fault);
        self.pause(moment.now);
        let delta = self.source().is_some_and(|source| source.base.is_some());
        if delta && self.pauses >= DELTA_PAUSES && self.has_another_source() {
            return self.next_source(moment, platform);
        }
        if let (Work::Fetching(fetching), Some(until)) = (&mut self.work, self.pause) {
            fetching.window.restart(until);
        }
    }

    /// Goes on with the source after the one in use.
    fn next_source(&mut self, moment: &Moment<'_>, platform: &mut impl KeyValue) {
        if let Some(wanted) = &mut self.record.wanted {
            wanted.source = wanted.source.saturating_add(1);
            (wanted.stage, wanted.begun, wanted.written) = (Stage::Fetching, 0, 0);
        }
        self.drop_work();
        self.save(moment.now, platform);
        self.speech.due(moment.now);
    }

    /// Flash failed: goes on from what is certain, after a pause, and not for ever.
    pub(super) fn slot_failed(
        &mut self,
        moment: &Moment<'_>,
        error: StorageError,
        platform: &mut impl KeyValue,
    ) {
        self.failed(error);
        let certain = match (&self.work, self.place) {
            (Work::Fetching(fetching), Some(place)) if fetching.delta.is_none() => {
                let written = fetching.writer.written();
                written - written % grain(&place.layout)
            }
            _ => 0,
        };
        let Some(wanted) = &mut self.record.wanted else { return };
        // What came further than the last time is not to be given up.
        if certain > wanted.written {
            (wanted.written, wanted.faults) = (certain, 0);
        }
        wanted.faults = wanted.faults.saturating_add(1);
        if wanted.faults >= FAULTS_MAX {
            return self.give_up(moment, UpdateFault::Storage, platform);
        }
        self.wrong(UpdateFault::Storage);
        self.drop_work();
        self.pause(moment.now);
        self.save(moment.now, platform);
    }

    /// Has nothing more to do with this manifest.
    pub(super) fn give_up(&mut self, moment: &Moment<'_>, fault: UpdateFault, platform: &mut impl KeyValue) {
        if let Some(wanted) = &mut self.record.wanted {
            wanted.stage = Stage::Failed;
        }
        self.drop_work();
        self.wrong(fault);
        self.save(moment.now, platform);
        self.speech.due(moment.now);
    }
}
