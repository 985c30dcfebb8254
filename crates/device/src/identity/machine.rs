//! Where identity and trust meet the rest of the device: documents that come in, what a connection means for them, requests and
//! states that go out. The same verbs as [`crate::machine::Machine`]; this is whom the others trust.

use super::{Asked, Effect, Identity, IdentityError};
use crate::cx::Cx;
use crate::event::Note;
use crate::gate::{Entrance, Own, Rejected};
use crate::interface::End;
use crate::mail::Mail;
use crate::platform::{Platform, Uptime};
use crate::provisioning::{identity_fault, vault_fault};
use crate::trial::Begins;
use protocol::provisioning::Fault;
use protocol::{Channel, EpochMillis, KeyId, Refusal, audit};

impl Identity {
    /// A document about identity and trust; the end where the device's life is to end.
    pub(crate) fn document<P: Platform>(
        &mut self,
        cx: &mut Cx<P>,
        channel: Channel,
        entrance: Entrance,
        document: &[u8],
    ) -> Option<End> {
        let time = cx.time_or_zero();
        let judged = self.message(entrance, document, time, &mut cx.gate, &mut cx.platform);
        match judged {
            Ok(Effect::Known) => {}
            Ok(Effect::Retire(end)) => return Some(end),
            Ok(Effect::Reconnect) => {
                cx.note(Note::DocumentAccepted(channel));
                // Where it has to wait, its turn comes when the configuration is decided.
                if cx.trials.allow(Begins::Credentials) {
                    cx.reconnect();
                }
            }
            Ok(Effect::Authority(power, key)) => {
                cx.note(Note::DocumentAccepted(channel));
                cx.record(&audit::Event::AuthorityReplaced { power, key });
            }
            Err(Rejected::Peer(refusal)) => cx.note(Note::DocumentRefused(refusal)),
            Err(Rejected::Own(own)) => cx.own_failed(own),
        }
        None
    }

    /// The service has accepted the attempt to connect.
    pub(crate) fn connected<P: Platform>(&mut self, cx: &mut Cx<P>) {
        let time = cx.time_or_zero();
        let judged = self.accepted(cx.now, time, &mut cx.platform);
        for warning in self.warnings(time).into_iter().flatten() {
            cx.note(warning);
        }
        self.judged(cx, judged);
    }

    fn judged<P: Platform>(&mut self, cx: &mut Cx<P>, judged: Result<Option<Note>, IdentityError>) {
        match judged {
            Ok(None) => {}
            Ok(Some(note)) => {
                cx.note(note);
                let time = cx.time_or_zero();
                if let Err(error) = self.clear(time, &mut cx.platform) {
                    cx.identity_failed(error);
                }
                if self.has_trial() {
                    cx.reconnect();
                }
            }
            // The connection stays: another one would bring no better store. It is tried again with the next tick.
            Err(error) => cx.identity_failed(error),
        }
    }

    /// What time has brought.
    pub(crate) fn look<P: Platform>(&mut self, cx: &mut Cx<P>) {
        if cx.session.is_running() && self.is_tick_due(cx.now) {
            let time = cx.time_or_zero();
            let judged = self.tick(cx.now, time, &mut cx.platform);
            self.judged(cx, judged);
        }
    }

    /// Says that the certificate in force has ended, where it has.
    pub(crate) fn check_end<P: Platform>(&mut self, cx: &mut Cx<P>) {
        if let Some(note) = self.note_end(cx.time_or_zero()) {
            cx.note(note);
        }
    }

    /// Makes keys where a rotation is wanted.
    fn make_new<P: Platform>(&mut self, cx: &mut Cx<P>) {
        match self.rotate(cx.now, &mut cx.platform) {
            Ok(true) => cx.note(Note::KeysMade),
            Ok(false) => {}
            Err(error) => cx.identity_failed(error),
        }
    }

    /// Writes how it is, or what it asks for, where that is due.
    pub(crate) fn write<P: Platform>(&mut self, mail: Mail, cx: &mut Cx<P>) -> Option<usize> {
        if mail == Mail::IdentityState {
            if cx.may_rotate {
                self.make_new(cx);
            }
            if core::mem::replace(&mut self.said, true) {
                return None;
            }
            return self.state(cx.time()).encode(&mut cx.buffer).ok();
        }
        self.poll_request(cx.now, &mut cx.platform, &mut cx.buffer).unwrap_or_else(|error| {
            cx.identity_failed(error);
            None
        })
    }

    /// When [`Self::write`] next has something to do.
    pub(crate) fn next_deadline<P: Platform>(&self, cx: &Cx<P>) -> Option<Uptime> {
        let rotation = self.next_rotation().filter(|_| cx.may_rotate);
        [self.next_request(), rotation].into_iter().flatten().min()
    }

    /// The request for a certificate, into `out`, for whoever is on the factory's line, where the clock there says `said`: only
    /// where the one in force has ended.
    pub(crate) fn line_request<P: Platform>(
        &mut self,
        cx: &mut Cx<P>,
        said: EpochMillis,
        out: &mut [u8],
    ) -> Result<Asked, Fault> {
        if !self.can_renew() {
            return Err(Fault::Locked);
        }
        let time = cx.plausible_time();
        if !self.has_ended(time.unwrap_or(said)) {
            return Err(Fault::NotEnded);
        }
        // What only the other end of the line says is no news of the device's own.
        if time.is_some() {
            self.check_end(cx);
        }
        let made = !self.is_asking();
        match self.ask(time.unwrap_or(said), &mut cx.platform, out) {
            Ok(asked) => {
                if made && matches!(asked, Asked::Request(_)) {
                    cx.note(Note::KeysMade);
                }
                Ok(asked)
            }
            Err(error) => {
                cx.identity_failed(error);
                Err(identity_fault(error))
            }
        }
    }

    /// A signed certificate from the factory's line, as it comes over the network otherwise; gives the new identity's key, which
    /// is tried at once.
    pub(crate) fn line_certificate<P: Platform>(
        &mut self,
        cx: &mut Cx<P>,
        said: EpochMillis,
        document: &[u8],
    ) -> Result<KeyId, Fault> {
        let time = cx.plausible_time().unwrap_or(said);
        if !self.has_ended(time) {
            return Err(Fault::NotEnded);
        }
        let judged = self.message(Entrance::Certificate, document, time, &mut cx.gate, &mut cx.platform);
        let refusal = match judged {
            Ok(Effect::Known) => {
                // What was taken once answers no other request; over the network it may come again with each connection.
                self.count(Refusal::Replayed);
                Some(Refusal::Replayed)
            }
            Ok(_) => None,
            Err(Rejected::Peer(refusal)) => Some(refusal),
            Err(Rejected::Own(own)) => {
                cx.own_failed(own);
                return Err(own_fault(own));
            }
        };
        if let Some(refusal) = refusal {
            cx.note(Note::DocumentRefused(refusal));
            return Err(Fault::Document(refusal));
        }
        let key = self.begin_trial(cx.now, &mut cx.platform).map_err(|error| {
            cx.identity_failed(error);
            identity_fault(error)
        })?;
        cx.note(Note::CertifiedOnLine { key });
        cx.begin_again_after(0);
        Ok(key)
    }
}

/// What the factory's line is told of it.
const fn own_fault(own: Own) -> Fault {
    match own {
        Own::Storage(_) | Own::Log(_) => Fault::Storage,
        Own::Vault(error) => vault_fault(error),
    }
}
