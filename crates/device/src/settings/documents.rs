//! Signed changes from the service: whether each counts, and what it changes. R-CONF, R-AUTHORITY.
//!
//! [`crate::gate`] has the order of the checks; what a change makes of the others comes last. What fails is refused by name
//! and counted, and changes nothing.

use super::compose::{Fault, Source, compose};
use super::record::{Held, Record, Trial};
use super::trial::{is_same_service, new_servers, same_reach};
use super::{REFUSAL_SAY_PERIOD_MS, Settings};
use crate::gate::{Entrance, Gate, Letter, Rejected};
use crate::identity::Identity;
use crate::platform::{Key, KeyValue, StorageError, Uptime};
use crate::stored::Stored;
use crate::trial::{Begins, Trials};
use protocol::config::{Change, Head, RefusalText, Refused, cut};
use protocol::key::{Digest, sha256};
use protocol::{Configuration, KeyId, Layer, Refusal};

/// A change that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub layer: Layer,
    pub number: u32,
    /// What the device runs on from now on.
    pub configuration: Configuration,
    /// It has to prove itself.
    pub trial: bool,
    /// Another connection is needed.
    pub reconnect: bool,
    /// Which of its time servers have to prove themselves, one bit for each.
    pub sought: u8,
}

/// How a number stands to those that were used.
enum Standing {
    Newer,
    /// The change that is in force, and cannot be read.
    Damaged(Held),
    /// The same document as before.
    Known,
    /// The same, and it was undone.
    Undone,
}

/// What is known of a document that is refused.
struct Suspect {
    layer: Option<Layer>,
    number: u32,
    text: RefusalText,
    digest: Option<Digest>,
}

/// What a document meets.
pub(crate) struct Surroundings<'d, S> {
    pub now: Uptime,
    pub identity: &'d Identity,
    /// What the device runs on.
    pub running: &'d Configuration,
    /// What is on trial.
    pub trials: Trials,
    /// There is a connection.
    pub connected: bool,
    pub store: &'d mut S,
    /// At least [`protocol::config::CONFIGURATION_BYTES_MAX`] bytes.
    pub scratch: &'d mut [u8],
}

impl Settings {
    /// Takes in a document on a topic of configurations; `Ok(None)` where it is one that was there before. What is refused is
    /// in [`Self::last`] then.
    pub(crate) fn message<S: KeyValue>(
        &mut self,
        entrance: Entrance,
        document: &[u8],
        gate: &mut Gate,
        around: &mut Surroundings<'_, S>,
    ) -> Result<Option<Taken>, Rejected> {
        let mut suspect = Suspect { layer: None, number: 0, text: RefusalText::new(), digest: None };
        let letter = match gate.open(entrance, document, None) {
            Ok(None) => return Ok(None),
            Ok(Some(letter)) => letter,
            Err(why) => return self.refuse(around.now, why, suspect),
        };
        match self.judge(&letter, around, &mut suspect) {
            Ok(taken) => {
                gate.took(entrance, letter.mark());
                Ok(taken)
            }
            Err(Rejected::Peer(why)) => self.refuse(around.now, why, suspect),
            Err(own) => {
                self.unstored_change = suspect.layer.map(|layer| (layer, suspect.number));
                self.say_soon(around.now);
                Err(own)
            }
        }
    }

    /// What was refused or undone last.
    pub(crate) const fn last(&self) -> Option<&Refused> {
        self.last.as_ref()
    }

    fn refuse(&mut self, now: Uptime, why: Refusal, suspect: Suspect) -> Result<Option<Taken>, Rejected> {
        let Suspect { layer, number, text, digest } = suspect;
        // A proven one comes again with every connection, and is looked at again: what it did not fit may have changed.
        if why == Refusal::Configuration && digest.is_some() {
            if self.known.contains(&digest) {
                return Ok(None);
            }
            let [first, second] = &mut self.known;
            *second = core::mem::replace(first, digest);
        }
        if why == Refusal::Replayed {
            self.replayed = self.replayed.saturating_add(1);
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        self.last = Some(Refused { layer, number, why, text, failure: None });
        self.say_soon(now);
        Err(why.into())
    }

    /// The service is to be told what came of a document, but not too often.
    fn say_soon(&mut self, now: Uptime) {
        let due = self.refusal_said.map_or(now, |said| said.after(REFUSAL_SAY_PERIOD_MS)).max(now);
        if self.say.is_none_or(|say| say > due) {
            (self.say, self.refusal_said) = (Some(due), Some(due));
        }
    }

    fn judge<S: KeyValue>(
        &mut self,
        letter: &Letter<'_>,
        around: &mut Surroundings<'_, S>,
        suspect: &mut Suspect,
    ) -> Result<Option<Taken>, Rejected> {
        let proven = letter.prove(around.identity)?;
        let payload = proven.payload();
        let digest = sha256(&[payload]);
        suspect.digest = Some(digest);
        let change = Change::decode(payload).map_err(|error| {
            // It is proven: what it says of itself is what the operator looks for.
            let head = Head::read(payload);
            (suspect.layer, suspect.number) = (head.layer, head.number.unwrap_or(0));
            suspect.text = cut(&error);
            Refusal::Configuration
        })?;
        around.identity.check_audience(&change.audience)?;
        let (layer, number) = (change.layer(), change.number);
        (suspect.layer, suspect.number) = (Some(layer), number);
        let signer = proven.signer();
        let held = match self.stand(signer, layer, number, &digest)? {
            Standing::Known => return Ok(None),
            Standing::Undone => {
                // The boot that has undone it may not have lived to say so.
                if self.last.is_none() {
                    let text = RefusalText::new();
                    let (layer, why) = (Some(layer), Refusal::Undone);
                    self.last = Some(Refused { layer, number, why, text, failure: None });
                    self.say = Some(around.now);
                }
                return Ok(None);
            }
            Standing::Damaged(held) => Some(held),
            Standing::Newer => None,
        };
        if !around.trials.allow(Begins::Change) {
            // Its number is not used up: it comes again.
            self.put_off = true;
            return Err(Refusal::Unexpected.into());
        }
        let (group, device) = match layer {
            Layer::Group => (Source::Given(&change), Source::from(self.in_force(Layer::Device))),
            Layer::Device => (Source::from(self.in_force(Layer::Group)), Source::Given(&change)),
        };
        let candidate =
            compose(group, device, around.store, around.scratch).map_err(|fault| match fault {
                Fault::Storage(error) => Rejected::from(error),
                Fault::Invalid(error) => {
                    self.misfit = Some(layer);
                    suspect.text = cut(&error);
                    Refusal::Configuration.into()
                }
            })?;
        let trial = !same_reach(&candidate, around.running);
        if trial && !around.trials.allow(Begins::Reach) {
            self.put_off = true;
            return Err(Refusal::Unexpected.into());
        }
        let place =
            held.map(|held| held.place).or_else(|| self.record.free_place()).ok_or(StorageError::Full)?;
        around.store.write(Key::Change(place), payload)?;
        let held = Held { place, number, digest };
        let reached = is_same_service(&candidate, around.running) && around.connected;
        let sought = new_servers(around.running, &candidate);
        if trial {
            self.begin(signer, layer, held, around.store)?;
            self.attempt(around.now, reached, sought);
        } else {
            self.commit(Some(signer), layer, held, around.store)?;
        }
        self.unstored_change = None;
        self.say = Some(around.now);
        Ok(Some(Taken {
            layer,
            number,
            configuration: candidate,
            trial,
            reconnect: trial && !reached,
            sought,
        }))
    }

    fn begin<S: KeyValue>(
        &mut self,
        signer: KeyId,
        layer: Layer,
        held: Held,
        store: &mut S,
    ) -> Result<(), StorageError> {
        let mut record: Record = self.record.clone();
        // One that was in force and was damaged is not in force again before it has proven itself.
        if record.in_force(layer) == Some(held) {
            record.set(layer, None);
        }
        record.trial = Some(Trial { layer, held, starts: 0 });
        record.see(signer, layer, held);
        record.store(store)?;
        (self.record, self.unstored) = (record, false);
        Ok(())
    }

    fn stand(&self, signer: KeyId, layer: Layer, number: u32, digest: &Digest) -> Result<Standing, Refusal> {
        let same = |held: &Held| held.number == number && held.digest == *digest;
        let named = self.record.in_force(layer);
        if let Some(held) = named.filter(same) {
            let damaged = self.in_force(layer).is_none();
            return Ok(if damaged { Standing::Damaged(held) } else { Standing::Known });
        }
        if self.record.trial.is_some_and(|trial| trial.layer == layer && same(&trial.held)) {
            return Ok(Standing::Known);
        }
        let seen = self.record.seen(signer, layer);
        if seen.number == number && seen.digest == *digest {
            return Ok(Standing::Undone);
        }
        let base = if layer == Layer::Device { self.base } else { 0 };
        let newest = seen.number.max(base);
        let own = named.filter(|_| self.record.counts_for(signer));
        let used = own.is_some_and(|held| held.number == number) || number == base;
        if number > newest {
            Ok(Standing::Newer)
        } else if number == newest || used {
            Err(Refusal::Replayed)
        } else {
            Err(Refusal::Older)
        }
    }

    /// True once where a change had to wait and has to no longer.
    pub(crate) const fn take_put_off(&mut self, busy: bool) -> bool {
        let free = self.put_off && !busy && !self.is_trying();
        self.put_off &= !free;
        free
    }
}
