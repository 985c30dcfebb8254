//! Where updates meet the rest of the device: messages that come in, blocks that are asked for, what the service is told, and
//! the restart into another image. Decides nothing that [`crate::update`] could.

use super::{Device, Life};
use crate::gate::{Entrance, newer};
use crate::interface::Command;
use crate::note::Note;
use crate::outbox::Kind;
use crate::platform::{Platform, Slots, Uptime};
use crate::telemetry::Ring;
use crate::update::{Act, Health, Moment, SENSOR_FAULTS};
use core::borrow::BorrowMut;
use protocol::document::{Power, Rollout};
use protocol::firmware::FirmwareTopic;
use protocol::{Channel, EpochMillis};

/// What an image on trial is judged by, as far as nobody else counts it.
#[derive(Debug)]
pub(super) struct Vitals {
    /// A message of this boot was acknowledged.
    pub acknowledged: bool,
    /// Faults of the sensor in a row; as many as count as dead until it has answered once.
    pub sensor_faults: u32,
}

impl Default for Vitals {
    fn default() -> Self {
        Self { acknowledged: false, sensor_faults: SENSOR_FAULTS }
    }
}

/// What is known outside of the machine. A macro, because it borrows some of the device and not all of it.
macro_rules! moment {
    ($device:ident, $now:expr) => {
        Moment {
            now: $now,
            time: $device.clock.time($now).unwrap_or(EpochMillis(0)),
            id: $device.identity.id(),
            firmware: $device.identity.authority(Power::Firmware),
            configuration: &$device.configuration,
            health: Health {
                linked: $device.session.is_running(),
                acknowledged: $device.vitals.acknowledged,
                sensor: $device.vitals.sensor_faults < SENSOR_FAULTS,
                storage_errors: $device.storage_errors,
            },
        }
    };
}

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    /// A message on a topic of firmware; false where it is none that this device reads.
    pub(super) fn firmware_message(&mut self, now: Uptime, text: &str, payload: &[u8]) -> bool {
        let Some(topic) = FirmwareTopic::decode(text) else { return false };
        let own = match topic {
            FirmwareTopic::Manifest(class) | FirmwareTopic::Rollout(class) => class == self.product.class,
            FirmwareTopic::Block(..) => true,
        };
        if !own {
            return false;
        }
        if let FirmwareTopic::Rollout(_) = topic {
            self.rollout(now, payload);
        } else {
            let moment = moment!(self, now);
            self.update.message(&moment, &topic, payload, &mut self.platform);
        }
        self.update_settled();
        true
    }

    fn rollout(&mut self, now: Uptime, payload: &[u8]) {
        // One that is withdrawn stays in force until there is another.
        if !self.update.is_active() || payload.is_empty() {
            return;
        }
        let letter = match self.gate.open(Entrance::Rollout, payload, None) {
            Ok(None) => return,
            Ok(Some(letter)) => letter,
            Err(refusal) => return self.update.rollout_refused(now, refusal),
        };
        let judged = letter.admit::<Rollout>(&self.identity).and_then(|document| {
            let in_force = self.update.is_in_force(&document, document.signer());
            if !in_force {
                newer(document.number, self.update.rollout_number(&document.signer()))?;
            }
            Ok((document, in_force))
        });
        match judged {
            Ok((document, in_force)) => {
                self.gate.took(Entrance::Rollout, document.mark());
                if !in_force {
                    let moment = moment!(self, now);
                    self.update.rollout(&moment, &document, document.signer(), &mut self.platform);
                }
            }
            Err(refusal) => self.update.rollout_refused(now, refusal),
        }
    }

    /// Takes over what the machine has to say.
    pub(super) fn update_settled(&mut self) {
        while let Some(note) = self.update.take_note() {
            self.note(note);
        }
        while let Some(error) = self.update.take_error() {
            self.stored(Err(error));
        }
    }

    /// What the updates want done.
    pub(super) fn poll_update(&mut self, now: Uptime) -> Option<Command<'_>> {
        let moment = moment!(self, now);
        let mut entropy_failed = false;
        let random = |platform: &mut P| {
            let mut bytes = [0; 4];
            entropy_failed = platform.fill(&mut bytes).is_err();
            // Without a random number the turn comes at the end of the spread.
            if entropy_failed { u32::MAX } else { u32::from_le_bytes(bytes) }
        };
        let act = self.update.poll(&moment, random, &mut self.platform);
        if entropy_failed {
            self.note(Note::Entropy);
        }
        self.update_settled();
        match act {
            None => self.notes.pop_front().map(Command::Log),
            Some(Act::Fetch(topic)) => Some(Command::Fetch(topic)),
            Some(Act::Release(topic)) => Some(Command::Release(topic)),
            Some(Act::Restart) => {
                self.stop(now);
                self.life = Life::Restarting;
                self.notes.pop_front().map(Command::Log).or_else(|| self.poll_stop())
            }
        }
    }

    /// How the firmware is, where the service is to be told.
    pub(super) fn poll_firmware_state(&mut self, now: Uptime) -> Option<(u16, Channel, usize)> {
        if self.outbox.has(Kind::FirmwareState) || !self.update.poll_state(now) {
            return None;
        }
        let moment = moment!(self, now);
        let state = self.update.state(&moment, &self.hello.firmware, self.clock.time(now));
        let len = state.encode(&mut self.buffer).ok()?;
        Some((self.outbox.send(Kind::FirmwareState, now), Channel::FirmwareState, len))
    }

    /// When the updates next want to be asked.
    pub(super) fn update_deadline(&self, now: Uptime) -> Option<Uptime> {
        let can_say =
            self.session.is_running() && !self.outbox.is_full() && !self.outbox.has(Kind::FirmwareState);
        self.update.next_deadline(&moment!(self, now), can_say)
    }
}
