//! Where the configuration meets the rest of the device: documents that come in, what is tried, what the service is told, and
//! what changes at once. Decides nothing that [`crate::settings`] could. R-CONF, R-NET-CONFIG.

use super::Device;
use crate::gate::{Entrance, Rejected};
use crate::note::Note;
use crate::outbox::Kind;
use crate::platform::{Platform, Slots, Uptime};
use crate::settings::{Decided, Owner, Surroundings};
use crate::telemetry::Ring;
use core::borrow::BorrowMut;
use protocol::{Channel, Configuration, Failure};

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    /// A change of the configuration, on the device's topic or on its group's.
    pub(super) fn settings_message(&mut self, now: Uptime, entrance: Entrance, payload: &[u8]) {
        // What is retained and withdrawn comes as an empty message: what is in force stays.
        if payload.is_empty() {
            return;
        }
        let mut around = Surroundings {
            now,
            identity: &self.identity,
            running: &self.configuration,
            busy: self.identity.has_trial(),
            new_firmware: self.update.is_on_trial(),
            connected: self.session.is_running(),
            store: &mut self.platform,
            scratch: &mut self.buffer,
        };
        match self.settings.message(entrance, payload, &mut self.gate, &mut around) {
            Ok(None) => {}
            Ok(Some(taken)) => {
                let (layer, number) = (taken.layer, taken.number);
                self.note(if taken.trial {
                    Note::ConfigurationTried { layer, number }
                } else {
                    Note::ConfigurationChanged { layer, number }
                });
                self.configure(now, taken.configuration, taken.sought);
                if taken.reconnect {
                    self.begin_again(now);
                }
            }
            Err(Rejected::Own(own)) => self.own_failed(own),
            Err(Rejected::Peer(why)) => {
                let refused = self.settings.last();
                let (layer, number) = refused.map_or((None, 0), |refused| (refused.layer, refused.number));
                self.reason_due = refused.is_some_and(|refused| !refused.text.is_empty());
                self.note(Note::ConfigurationRefused { layer, number, why });
            }
        }
    }

    /// Runs on another configuration from now on.
    fn configure(&mut self, now: Uptime, configuration: Configuration, sought: u8) {
        self.telemetry.configure(&configuration, now);
        self.session.configure(configuration.keep_alive_s);
        if configuration.time_servers != self.configuration.time_servers {
            self.clock.replace(now, configuration.time_servers.len(), sought);
        }
        self.configuration = configuration;
    }

    /// Another connection soon, to where the configuration now says, whether there is one or not.
    fn begin_again(&mut self, now: Uptime) {
        let was_up = self.session.is_up();
        let wait = self.spread();
        self.session.begin_again(now, wait);
        if was_up {
            self.link_is_gone(Failure::Requested);
        }
    }

    /// The service takes what the device has to say.
    pub(super) fn settings_reached(&mut self, now: Uptime) {
        self.settings.reached();
        self.check_settings(now);
    }

    /// The service has accepted a connection: it is told how things are, with each of them.
    pub(super) const fn settings_connected(&mut self, now: Uptime) {
        self.settings.tell(now);
    }

    /// The service is to be told the configuration in force.
    pub(super) const fn say_settings(&mut self) {
        self.settings.tell(self.now);
    }

    /// An answer of a time server was accepted.
    pub(super) fn settings_time_answered(&mut self) {
        if let Some(server) = self.clock.heard_from() {
            self.settings.time_answered(server);
        }
    }

    /// What time has brought: a trial is decided.
    pub(super) fn check_settings(&mut self, now: Uptime) {
        let running = self.session.is_running();
        match self.settings.decide(now, running, &mut self.platform, &mut self.buffer) {
            Ok(None) => {}
            Ok(Some(decided)) => self.settings_decided(now, decided),
            Err(error) => self.stored(Err(error)),
        }
        let busy = self.identity.has_trial() || self.update.is_on_trial();
        if self.settings.take_put_off(busy) && self.session.is_running() {
            // What had to wait is retained, and comes with the next connection.
            self.reconnect(now);
        }
    }

    fn settings_decided(&mut self, now: Uptime, decided: Decided) {
        let Decided { layer, number, former, failure, storage } = decided;
        self.stored(storage.map_or(Ok(()), Err));
        if let Some(former) = former {
            // What is undone or damaged is looked at again when it comes again.
            self.gate.forget(Entrance::Configuration);
            self.gate.forget(Entrance::GroupConfiguration);
            self.note(Note::ConfigurationUndone { layer, number, failure });
            self.configure(now, former, 0);
            self.begin_again(now);
        } else {
            self.note(Note::ConfigurationChanged { layer, number });
            if self.identity.has_trial() {
                // Now it is its turn.
                self.reconnect(now);
            }
        }
    }

    /// The configuration in force, where the service is to be told.
    pub(super) fn poll_settings_state(&mut self, now: Uptime) -> Option<(u16, Channel, usize)> {
        if self.outbox.has(Kind::ConfigState) || self.settings.say().is_none_or(|at| now < at) {
            return None;
        }
        let owner = Owner { id: self.identity.id(), group: self.identity.group() };
        let time = self.clock.time(now);
        let state = self.settings.state(
            now,
            time,
            &self.configuration,
            owner,
            &mut self.platform,
            &mut self.buffer,
        )?;
        let len = state.encode(&mut self.buffer).ok()?;
        Some((self.outbox.send(Kind::ConfigState, now), Channel::ConfigState, len))
    }

    /// When [`Self::check_settings`] or [`Self::poll_settings_state`] next has something to do.
    pub(super) fn settings_deadline(&self, now: Uptime) -> Option<Uptime> {
        let can_say =
            self.session.is_running() && !self.outbox.is_full() && !self.outbox.has(Kind::ConfigState);
        let say = self.settings.say().filter(|_| can_say);
        [say, self.settings.deadline(now)].into_iter().flatten().min()
    }
}
