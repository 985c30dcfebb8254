//! Where the configuration meets the rest of the device: documents that come in, what is tried, what the service is told.
//! R-CONF, R-NET-CONFIG.

use super::{Decided, Owner, Settings, Surroundings};
use crate::cx::Cx;
use crate::event::Note;
use crate::gate::{Entrance, Rejected};
use crate::identity::Identity;
use crate::machine::Machine;
use crate::mail::Mail;
use crate::platform::{Platform, Uptime};

impl Settings {
    /// A change of the configuration, on the device's topic or on its group's.
    pub(crate) fn document<P: Platform>(
        &mut self,
        cx: &mut Cx<P>,
        trust: &Identity,
        entrance: Entrance,
        document: &[u8],
    ) {
        // What is retained and withdrawn comes as an empty message: what is in force stays.
        if document.is_empty() {
            return;
        }
        let mut around = Surroundings {
            now: cx.now,
            identity: trust,
            running: &cx.configuration,
            trials: cx.trials,
            connected: cx.session.is_running(),
            store: &mut cx.platform,
            scratch: &mut cx.buffer,
        };
        match self.message(entrance, document, &mut cx.gate, &mut around) {
            Ok(None) => {}
            Ok(Some(taken)) => {
                let (layer, number) = (taken.layer, taken.number);
                cx.note(if taken.trial {
                    Note::ConfigurationTried { layer, number }
                } else {
                    Note::ConfigurationChanged { layer, number }
                });
                cx.configure(taken.configuration, taken.sought);
                if taken.reconnect {
                    cx.begin_again();
                }
            }
            Err(Rejected::Own(own)) => cx.own_failed(own),
            Err(Rejected::Peer(why)) => {
                let refused = self.last();
                let (layer, number) = refused.map_or((None, 0), |refused| (refused.layer, refused.number));
                self.reason_due = refused.is_some_and(|refused| !refused.text.is_empty());
                cx.note(Note::ConfigurationRefused { layer, number, why });
            }
        }
    }
}

/// A trial has its end: kept, or undone.
fn decided<P: Platform>(cx: &mut Cx<P>, trust: &Identity, decided: Decided) {
    let Decided { layer, number, former, failure, storage } = decided;
    cx.stored(storage.map_or(Ok(()), Err));
    if let Some(former) = former {
        // What is undone or damaged is looked at again when it comes again.
        cx.gate.forget(Entrance::Configuration);
        cx.gate.forget(Entrance::GroupConfiguration);
        cx.note(Note::ConfigurationUndone { layer, number, failure });
        cx.configure(former, 0);
        cx.begin_again();
    } else {
        cx.note(Note::ConfigurationChanged { layer, number });
        if trust.has_trial() {
            // Now it is its turn.
            cx.reconnect();
        }
    }
}

impl<P: Platform> Machine<P> for Settings {
    fn tick(&mut self, cx: &mut Cx<P>, trust: &Identity) {
        let running = cx.session.is_running();
        match self.decide(cx.now, running, &mut cx.platform, &mut cx.buffer) {
            Ok(None) => {}
            Ok(Some(end)) => decided(cx, trust, end),
            Err(error) => cx.stored(Err(error)),
        }
        if self.take_put_off(cx.trials.identity || cx.trials.firmware) && cx.session.is_running() {
            // What had to wait is retained, and comes with the next connection.
            cx.reconnect();
        }
    }

    fn write(&mut self, _: Mail, cx: &mut Cx<P>, trust: &Identity) -> Option<usize> {
        if self.say().is_none_or(|at| cx.now < at) {
            return None;
        }
        let owner = Owner { id: trust.id(), group: trust.group() };
        let time = cx.time();
        let state = self.state(cx.now, time, &cx.configuration, owner, &mut cx.platform, &mut cx.buffer)?;
        state.encode(&mut cx.buffer).ok()
    }

    fn acknowledged(&mut self, _: Mail, _: &mut Cx<P>) {}

    fn next_deadline(&self, cx: &Cx<P>, _: &Identity) -> Option<Uptime> {
        let say = self.say().filter(|_| cx.can_send(Mail::ConfigState));
        [say, self.deadline(cx.now)].into_iter().flatten().min()
    }
}
