//! Firmware updates: whether a manifest counts, when its image is fetched and installed, whether it may stay, and what the
//! service is told of it. Owns the record of all that and the candidate's slot; never boots anything, and believes no block,
//! image or rollout that is not proven. R-FW-AUTHORISED, R-FW-ATOMIC, R-FW-TIMELY, R-FW-HEALTH, R-FW-DELTA, R-UPDATE-TRUST.
//!
//! ```text
//! idle --manifest--> known --rollout--> noticed --its turn--> fetching --> complete --verified--> its turn --> marked
//!   ^                                                            ^            |                                   |
//!   |                                                            +-- lost ----+                               (restart)
//!   +---------------------- confirmed <-- healthy long enough -- trial <-- the bootloader starts it --------------+
//!                                                                  +--> reverted: twice at most, an hour apart
//! ```
//!
//! The manifest is retained: it comes with every connection. Nothing is fetched on a connection on which it has not come, so
//! that whoever withdraws it reaches those who were away, too. What is stored is how far the device is, not the manifest.
//!
//! Flash wears: a sector is erased when verified bytes are there to be written to it, and once for them. Again it is erased
//! only after a restart (the sectors in work), after a failure ([`FAULTS_MAX`]), and for another source of the same manifest;
//! another manifest must be newer than every one before. So a broker can make a device erase nothing; who holds the firmware
//! authority's key can, once per signature.

mod announce;
mod delta;
mod documents;
mod hash;
mod install;
mod load;
mod machine;
pub(crate) mod record;
mod report;
mod slot;
mod trial;
mod turn;
mod window;
mod work;

use crate::event::Note;
use crate::interface::{Pace, Product};
use crate::platform::{KeyValue, SlotLayout, Slots, StorageError, Uptime};
use crate::stored::Stored;
use announce::{Announced, Present};
use hash::Hashing;
use heapless::{Deque, Vec};
use protocol::blocks::PayloadUri;
use protocol::firmware::FirmwareTopic;
use protocol::image::Version;
use protocol::topic::TopicText;
use protocol::{Configuration, DeviceId, EpochMillis, PublicKey, UpdateFault};
pub use record::RECORD_BYTES_MAX;
use record::{Record, Stage, Turn, Wanted};
use trial::Trial;
use trial::{Health, SENSOR_FAULTS};
pub use window::WINDOW;
use work::Fetching;

/// How often one image is started before the device has enough of it.
pub const ATTEMPTS_MAX: u8 = 2;

/// How often the slot may fail, or not hold in the end what was written to it, before an update is given up.
pub const FAULTS_MAX: u8 = 3;

/// How often a delta is begun, which cannot go on after a restart, before the whole image is fetched instead.
pub const DELTA_BEGUN_MAX: u8 = 3;

/// After so many pauses for a delta's blocks another source is tried, where there is one.
pub const DELTA_PAUSES: u32 = 3;

/// After an image did not stay the next attempt comes after so many times the time that a trial may take: an hour by default.
pub const RETRY_TRIALS: u64 = 4;

/// Shortest pause after something did not work, in milliseconds; it doubles each time.
pub const PAUSE_MS: u64 = 60_000;

/// Longest pause, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 3_600_000;

/// How long the service may take to acknowledge that the device is about to install, in milliseconds.
pub const FAREWELL_MS: u64 = 5_000;

/// How often it is looked whether the turn has come, where nothing else happens, in milliseconds: clocks are corrected.
const LOOK_MS: u64 = 60_000;

/// What is known outside of the machine when it is asked.
#[derive(Debug)]
pub(crate) struct Moment<'a> {
    pub now: Uptime,
    /// The time; 0 where it is not known.
    pub time: EpochMillis,
    pub id: &'a DeviceId,
    /// Whose firmware the device takes.
    pub firmware: Option<&'a PublicKey>,
    pub configuration: &'a Configuration,
    pub health: Health,
}

/// What the device is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Fetch(TopicText),
    Release(TopicText),
    /// Stop in order and restart.
    Restart,
}

/// A device that can be updated.
#[derive(Clone, Copy, Debug)]
struct Place {
    layout: SlotLayout,
    key: PublicKey,
    present: Present,
}

/// What is being done with the wanted image.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the device runs")]
enum Work {
    Nothing,
    Fetching(Fetching),
    Verifying(Hashing),
    Verified,
    /// The service is being told, and at this time at the latest the device goes.
    Leaving {
        until: Uptime,
        acknowledged: bool,
    },
}

/// Firmware updates.
#[derive(Debug)]
pub(crate) struct Update {
    product: Product,
    pace: Pace,
    /// This start may have come after a power cut.
    power_failed: bool,
    /// `None`: this device cannot be updated.
    place: Option<Place>,
    record: Record,
    /// The record could not be stored: when that is tried again.
    unsaved: Option<Uptime>,
    announced: Option<Announced>,
    /// The rollout in force lets this device take what is wanted.
    takes_part: bool,
    measuring: Option<Hashing>,
    /// Not before this time, because the slot could not be read.
    measure_at: Uptime,
    /// An image of which it was forgotten whether it was started.
    suspect: Option<Hashing>,
    work: Work,
    /// Blocks of a payload that is wanted no more.
    stale: Option<(PayloadUri, Vec<u32, { 2 * WINDOW + 1 }>)>,
    pause: Option<Uptime>,
    pauses: u32,
    trial: Option<Trial>,
    /// The slots did not tell how the image that runs came to run: when they are asked again.
    unsettled: Option<Uptime>,
    /// The announcement is to be looked at again, because it could not be judged when it came.
    look_again: bool,
    /// What the manifest that was refused last had promised.
    refused_target: Option<(Version, u64)>,
    refused: u32,
    blocks_refused: u32,
    speech: report::Speech,
    pub(crate) vitals: machine::Vitals,
    notes: Deque<Note, 6>,
    errors: Vec<StorageError, 4>,
}

impl Update {
    /// True while the image that runs has to prove itself.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| !trial.ended)
    }

    /// True where the machine has anything to do with firmware.
    pub(crate) const fn is_active(&self) -> bool {
        self.place.is_some() || self.trial.is_some() || self.unsettled.is_some()
    }

    /// Manifests and rollouts that were refused.
    pub(crate) const fn refused(&self) -> u32 {
        self.refused
    }

    /// Something that the log should say.
    pub(crate) fn take_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// A failure of flash or store that nobody has counted yet.
    pub(crate) fn take_error(&mut self) -> Option<StorageError> {
        self.errors.pop()
    }

    fn note(&mut self, note: Note) {
        // A full queue means that the port does not poll: the state still tells.
        let _full = self.notes.push_back(note);
    }

    fn failed(&mut self, error: StorageError) {
        // More than these at once would only repeat each other.
        let _full = self.errors.push(error);
    }

    /// Stores the record; where that fails, what the machine knows counts, and it is stored later.
    fn save(&mut self, now: Uptime, platform: &mut impl KeyValue) -> bool {
        match self.record.store(platform) {
            Ok(()) => {
                self.unsaved = None;
                true
            }
            Err(error) => {
                self.failed(error);
                self.unsaved = Some(now.after(PAUSE_MS));
                false
            }
        }
    }

    /// A new connection: nothing is announced on it yet, and nothing is on its way.
    pub(crate) fn connected(&mut self, now: Uptime) {
        (self.announced, self.stale) = (None, None);
        self.stay();
        self.speech.due(now);
        if let Work::Fetching(fetching) = &mut self.work {
            fetching.window.restart(now);
        }
    }

    /// A message with a manifest or a block.
    fn message<P: KeyValue + Slots>(
        &mut self,
        moment: &Moment<'_>,
        topic: &FirmwareTopic,
        payload: &[u8],
        platform: &mut P,
    ) {
        match topic {
            FirmwareTopic::Manifest(class) if *class == self.product.class => {
                self.manifest(moment, payload, platform);
            }
            FirmwareTopic::Block(payload_uri, index) => {
                self.block(moment, payload_uri, *index, payload, platform);
            }
            FirmwareTopic::Manifest(_) | FirmwareTopic::Rollout(_) => {}
        }
    }

    /// The update that is wanted and not given up.
    fn wanted(&self) -> Option<&Wanted> {
        self.record.wanted.as_ref().filter(|wanted| wanted.stage != Stage::Failed)
    }

    /// The update that may be worked on now, as far as the clock does not matter.
    fn current(&self, moment: &Moment<'_>) -> Option<&Wanted> {
        // Without a time there is no turn, no window and no end of anything.
        let announced = self.announced.as_ref().filter(|_| moment.time > EpochMillis(0))?;
        let in_time =
            |wanted: &&Wanted| wanted.use_before_s.is_none_or(|until| moment.time.seconds() < until);
        let wanted = self.wanted().filter(|wanted| wanted.manifest == announced.manifest && self.takes_part);
        wanted.filter(in_time)
    }

    /// True where what is wanted and announced may not be installed any more.
    fn is_expired(&self, moment: &Moment<'_>) -> bool {
        let until = self.wanted().filter(|_| self.announced.is_some()).and_then(|wanted| wanted.use_before_s);
        until.is_some_and(|until| moment.time.seconds() >= until)
    }

    /// The turn of the update that may be worked on, drawn where it has none.
    fn notice<P: KeyValue>(
        &mut self,
        moment: &Moment<'_>,
        random: impl FnOnce(&mut P) -> u32,
        platform: &mut P,
    ) -> Option<Turn> {
        if self.is_expired(moment) && self.record.fault != Some(UpdateFault::Expired) {
            self.wrong(UpdateFault::Expired);
            self.speech.due(moment.now);
        }
        let wanted = self.current(moment)?;
        let (version, sequence) = (wanted.version, wanted.sequence);
        let turn = match wanted.turn {
            None => {
                self.note(Note::UpdateNoticed { version, sequence });
                Turn::draw(moment.time, moment.configuration, random(platform))
            }
            Some(turn) => match turn.moved(moment.time) {
                None => return Some(turn),
                Some(moved) => moved,
            },
        };
        if let Some(wanted) = &mut self.record.wanted {
            wanted.turn = Some(turn);
        }
        self.save(moment.now, platform);
        self.speech.due(moment.now);
        Some(turn)
    }

    /// Does what is to be done next; `None` where there is nothing until the next message or deadline.
    fn poll<P: KeyValue + Slots>(
        &mut self,
        moment: &Moment<'_>,
        random: impl FnOnce(&mut P) -> u32,
        platform: &mut P,
    ) -> Option<Act> {
        let now = moment.now;
        if self.unsaved.is_some_and(|at| now >= at) {
            self.save(now, platform);
        }
        if self.unsettled.is_some_and(|at| now >= at) {
            self.settle(now, platform);
        }
        if self.unsettled.is_some() {
            return None;
        }
        if self.measuring.is_some() && now >= self.measure_at {
            self.measure(now, platform);
            return None;
        }
        if self.trial.is_some() {
            return self.poll_trial(moment, platform);
        }
        self.place?;
        if self.suspect.is_some() {
            self.examine(now, platform);
            return None;
        }
        if moment.health.linked && core::mem::take(&mut self.look_again) {
            return Some(Act::Fetch(FirmwareTopic::Manifest(self.product.class).encode()));
        }
        if moment.health.linked
            && let Some((payload, stale)) = &mut self.stale
        {
            let index = stale.pop();
            if let Some(index) = index {
                return Some(Act::Release(FirmwareTopic::Block(*payload, index).encode()));
            }
            self.stale = None;
        }
        let turn = self.notice(moment, random, platform)?;
        if self.pause.is_some_and(|until| now < until) {
            return None;
        }
        if self.pause.take().is_some() {
            self.speech.due(now);
        }
        let its_turn = turn.wait_ms(moment.time, moment.configuration) == 0;
        match &self.work {
            Work::Nothing if its_turn => self.begin(moment, platform),
            Work::Verified if its_turn => {
                self.work = Work::Leaving { until: now.after(FAREWELL_MS), acknowledged: false };
                self.speech.due(now);
            }
            Work::Verifying(_) => self.verify(moment, platform),
            Work::Leaving { until, acknowledged } if *acknowledged || now >= *until => {
                return self.leave(moment, platform);
            }
            _ => {}
        }
        self.poll_blocks(moment, platform)
    }

    /// When [`Self::poll`] or, where the service can be told, [`Self::poll_state`] next has something to do, if nothing
    /// happens before.
    fn deadline(&self, moment: &Moment<'_>, can_say: bool) -> Option<Uptime> {
        let now = moment.now;
        let speech = self.speech.next_deadline().filter(|_| can_say && self.is_active());
        let next = [self.unsaved, self.next_work(moment), speech].into_iter().flatten().min();
        next.map(|next| next.max(now))
    }

    fn next_work(&self, moment: &Moment<'_>) -> Option<Uptime> {
        let now = moment.now;
        if self.unsettled.is_some() {
            return self.unsettled;
        }
        let measuring = self.measuring.as_ref().map(|_| self.measure_at.max(now));
        if let Some(trial) = &self.trial {
            let verdict = (!trial.ended).then(|| trial.next_deadline(&self.pace));
            return [verdict, measuring].into_iter().flatten().min();
        }
        [measuring, self.next_step(moment)].into_iter().flatten().min()
    }

    fn next_step(&self, moment: &Moment<'_>) -> Option<Uptime> {
        let now = moment.now;
        if self.suspect.is_some() || (self.look_again || self.stale.is_some()) && moment.health.linked {
            return Some(now);
        }
        let turn = self.current(moment)?.turn?;
        if let Some(until) = self.pause {
            return Some(until);
        }
        let wait = turn.wait_ms(moment.time, moment.configuration).min(LOOK_MS);
        match &self.work {
            Work::Nothing | Work::Verified => Some(now.after(wait)),
            Work::Verifying(_) => Some(now),
            Work::Leaving { until, .. } => Some(*until),
            Work::Fetching(fetching) => fetching.next_deadline(now, moment.health.linked, &self.pace),
        }
    }

    /// Does not leave yet, whatever was said.
    fn stay(&mut self) {
        if let Work::Leaving { .. } = self.work {
            self.work = Work::Verified;
        }
    }

    /// Gives up what is being done.
    fn drop_work(&mut self) {
        if let Work::Fetching(fetching) = &mut self.work {
            self.stale = Some((fetching.source.payload, fetching.window.outstanding()));
        }
        self.work = Work::Nothing;
    }

    /// Pauses: longer each time, until something works again.
    fn pause(&mut self, now: Uptime) {
        let pause = PAUSE_MS.saturating_mul(1 << self.pauses.min(10)).min(PAUSE_MS_MAX);
        self.pauses = self.pauses.saturating_add(1);
        self.pause = Some(now.after(pause));
        self.speech.due(now);
    }

    /// Something is wrong with the update.
    fn wrong(&mut self, fault: UpdateFault) {
        self.record.fault = Some(fault);
        self.note(Note::UpdateRefused(fault));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    /// A decoder's probabilities and the block that it reads from.
    const DELTA_BYTES: usize = size_of::<protocol::patch::Decoder>() + protocol::blocks::BLOCK_BYTES;

    #[test]
    fn without_the_decoder_of_deltas_the_machine_takes_less_than_3_kib() {
        let bytes = size_of::<Update>() - DELTA_BYTES;
        assert!(bytes < 3 * 1024, "{bytes}");
    }
}
