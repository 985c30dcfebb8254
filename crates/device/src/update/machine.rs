//! Where updates meet the rest of the device: messages that come in, blocks that are asked for, what the service is told.

use super::{Act, Health, Moment, SENSOR_FAULTS, Update};
use crate::cx::Cx;
use crate::event::Note;
use crate::gate::{Entrance, newer};
use crate::identity::Identity;
use crate::machine::Machine;
use crate::mail::Mail;
use crate::platform::{Platform, Slots, Uptime};
use protocol::document::{Power, Rollout};
use protocol::firmware::FirmwareTopic;

/// What an image on trial is judged by, as far as nobody else counts it.
#[derive(Debug)]
pub(crate) struct Vitals {
    /// A message of this boot was acknowledged.
    pub acknowledged: bool,
    /// Faults of the sensor in a row; as many as count as dead until it has answered once.
    pub sensor_faults: u32,
}

impl Vitals {
    /// The sensor has answered, or has not.
    pub(crate) const fn reading(&mut self, good: bool) {
        self.sensor_faults = if good { 0 } else { self.sensor_faults.saturating_add(1) };
    }
}

impl Default for Vitals {
    fn default() -> Self {
        Self { acknowledged: false, sensor_faults: SENSOR_FAULTS }
    }
}

/// What is known outside of the machine. A macro, because it borrows some of the context and not all of it.
macro_rules! moment {
    ($update:expr, $cx:expr, $trust:expr) => {
        Moment {
            now: $cx.now,
            time: $cx.time_or_zero(),
            id: $trust.id(),
            firmware: $trust.authority(Power::Firmware),
            configuration: &$cx.configuration,
            health: Health {
                linked: $cx.session.is_running(),
                acknowledged: $update.vitals.acknowledged,
                sensor: $update.vitals.sensor_faults < SENSOR_FAULTS,
                storage_errors: $cx.storage_errors,
            },
        }
    };
}

impl Update {
    /// A message on a topic of firmware; false where it is none that this device reads.
    pub(crate) fn document<P: Platform + Slots>(
        &mut self,
        cx: &mut Cx<P>,
        trust: &Identity,
        text: &str,
        payload: &[u8],
    ) -> bool {
        let Some(topic) = FirmwareTopic::decode(text) else { return false };
        let own = match topic {
            FirmwareTopic::Manifest(class) | FirmwareTopic::Rollout(class) => class == cx.product.class,
            FirmwareTopic::Block(..) => true,
        };
        if !own {
            return false;
        }
        if let FirmwareTopic::Rollout(_) = topic {
            self.rollout_document(cx, trust, payload);
        } else {
            let moment = moment!(self, cx, trust);
            self.message(&moment, &topic, payload, &mut cx.platform);
        }
        self.settle_with(cx);
        true
    }

    fn rollout_document<P: Platform + Slots>(&mut self, cx: &mut Cx<P>, trust: &Identity, payload: &[u8]) {
        // One that is withdrawn stays in force until there is another.
        if !self.is_active() || payload.is_empty() {
            return;
        }
        let letter = match cx.gate.open(Entrance::Rollout, payload, None) {
            Ok(None) => return,
            Ok(Some(letter)) => letter,
            Err(refusal) => return self.rollout_refused(cx.now, refusal),
        };
        let judged = letter.admit::<Rollout>(trust).and_then(|document| {
            let in_force = self.is_in_force(&document, document.signer());
            if !in_force {
                newer(document.number, self.rollout_number(&document.signer()))?;
            }
            Ok((document, in_force))
        });
        match judged {
            Ok((document, in_force)) => {
                cx.gate.took(Entrance::Rollout, document.mark());
                if !in_force {
                    let moment = moment!(self, cx, trust);
                    self.rollout(&moment, &document, document.signer(), &mut cx.platform);
                }
            }
            Err(refusal) => self.rollout_refused(cx.now, refusal),
        }
    }

    /// Hands on what is to be noted and counted.
    pub(crate) fn settle_with<P: Platform>(&mut self, cx: &mut Cx<P>) {
        while let Some(note) = self.take_note() {
            cx.note(note);
        }
        while let Some(error) = self.take_error() {
            cx.stored(Err(error));
        }
    }

    /// What is to be done now.
    pub(crate) fn act<P: Platform + Slots>(&mut self, cx: &mut Cx<P>, trust: &Identity) -> Option<Act> {
        let moment = moment!(self, cx, trust);
        let mut entropy_failed = false;
        let random = |platform: &mut P| {
            let mut bytes = [0; 4];
            entropy_failed = platform.fill(&mut bytes).is_err();
            // Without a random number the turn comes at the end of the spread.
            if entropy_failed { u32::MAX } else { u32::from_le_bytes(bytes) }
        };
        let act = self.poll(&moment, random, &mut cx.platform);
        if entropy_failed {
            cx.note(Note::Entropy);
        }
        self.settle_with(cx);
        act
    }
}

impl<P: Platform + Slots> Machine<P> for Update {
    fn tick(&mut self, _: &mut Cx<P>, _: &Identity) {}

    fn write(&mut self, _: Mail, cx: &mut Cx<P>, trust: &Identity) -> Option<usize> {
        if !self.poll_state(cx.now) {
            return None;
        }
        let moment = moment!(self, cx, trust);
        let state = self.state(&moment, &cx.firmware, cx.time());
        state.encode(&mut cx.buffer).ok()
    }

    fn acknowledged(&mut self, _: Mail, _: &mut Cx<P>) {
        self.state_acknowledged();
    }

    fn next_deadline(&self, cx: &Cx<P>, trust: &Identity) -> Option<Uptime> {
        self.deadline(&moment!(self, cx, trust), cx.can_send(Mail::FirmwareState))
    }
}
