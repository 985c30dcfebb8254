//! Where identity and trust meet the rest of the device: documents that come in, requests and states that go out, tokens,
//! and the last words of a device whose life is over. Decides nothing that [`crate::identity`] could.

use super::{Device, Life};
use crate::identity::{Asked, Credentials, Effect, IdentityError};
use crate::interface::{Command, End, Event};
use crate::note::Note;
use crate::outbox::Kind;
use crate::platform::{Platform, Slots, Uptime};
use crate::provisioning::identity_fault;
use crate::session::Request;
use crate::telemetry::Ring;
use crate::vault;
use core::borrow::BorrowMut;
use core::fmt;
use protocol::config::Authentication;
use protocol::provisioning::Fault;
use protocol::token::{Claims, LIFE_S_MAX, TOKEN_BYTES_MAX};
use protocol::topic::{group_topic, topic};
use protocol::{Channel, EpochMillis, Failure, KeyId, Refusal, Topic, audit};

/// Shortest life of a token in seconds: below it the device would only reconnect.
const TOKEN_LIFE_S_MIN: u64 = 10;

/// Room for a token, which is in no debug output.
pub(super) struct Token(pub [u8; TOKEN_BYTES_MAX]);

impl Default for Token {
    fn default() -> Self {
        Self([0; TOKEN_BYTES_MAX])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    fn time(&self, now: Uptime) -> EpochMillis {
        self.clock.time(now).unwrap_or(EpochMillis(0))
    }

    /// A message on one of the topics subscribed to.
    pub(super) fn message(&mut self, now: Uptime, text: &str, payload: &[u8]) {
        if self.firmware_message(now, text, payload) {
            return;
        }
        if group_topic(self.identity.group()).is_some_and(|topic| topic == text) {
            return self.settings_message(now, payload);
        }
        let Some(Topic { channel, .. }) =
            Topic::decode(text).filter(|topic| topic.device == *self.identity.id())
        else {
            self.refused = self.refused.saturating_add(1);
            return self.note(Note::DocumentRefused(Refusal::ContentType));
        };
        // What is retained and withdrawn comes as an empty message.
        if payload.is_empty() {
            return;
        }
        self.log.reading = Some(channel);
        match channel {
            Channel::ConfigDesired => return self.settings_message(now, payload),
            Channel::LogDesired => return self.log_message(now, payload),
            Channel::Command if self.command_message(now, payload) => return,
            _ => {}
        }
        let time = self.time(now);
        match self.identity.message(channel, payload, time, &mut self.platform) {
            Ok(Effect::Retire(end)) => self.retire(end),
            Ok(Effect::Known) => {}
            Ok(effect) => {
                self.note(Note::DocumentAccepted(channel));
                self.take_effect(now, effect);
            }
            Err(refusal) => self.note(Note::DocumentRefused(refusal)),
        }
    }

    fn take_effect(&mut self, now: Uptime, effect: Effect) {
        match effect {
            // One thing at a time: its turn comes when the configuration is decided.
            Effect::Reconnect if self.settings.is_trying() => {}
            Effect::Reconnect => self.reconnect(now),
            Effect::Authority(power, key) => self.log_event(&audit::Event::AuthorityReplaced { power, key }),
            Effect::Retire(end) => self.retire(end),
            Effect::Known => {}
        }
    }

    /// Ends the life of the identity. The log says so first, while there is a key to sign it with.
    fn retire(&mut self, end: End) {
        self.log_retirement(end);
        match self.identity.retire(end, &mut self.platform) {
            Err(refusal) => {
                self.log.last = None;
                return self.note(Note::DocumentRefused(refusal));
            }
            Ok(Some(error)) => {
                self.note(Note::DocumentAccepted(Channel::Command));
                // What is not wiped yet is not said to be: the next start goes on, and says nothing either.
                self.identity.said = true;
                self.identity_failed(error);
            }
            Ok(None) => {
                self.note(Note::DocumentAccepted(Channel::Command));
                self.note(Note::Retired(end));
            }
        }
        self.outbox.clear();
        self.telemetry.disconnected();
        self.life = Life::Retiring(end);
    }

    /// Another connection soon, at a random point: a document for a group reaches all of it at one instant.
    pub(super) fn reconnect(&mut self, now: Uptime) {
        let wait = self.spread();
        self.session.reconnect(now, wait);
        self.link_is_gone(Failure::Requested);
    }

    /// A random wait in milliseconds.
    pub(super) fn spread(&mut self) -> u64 {
        let window = u64::from(self.policy.backoff_cap_ms) / 10;
        (window * u64::from(self.random())) >> 32
    }

    /// The service has accepted the attempt.
    pub(super) fn identity_accepted(&mut self, now: Uptime) {
        let time = self.time(now);
        let judged = self.identity.accepted(now, time, &mut self.platform);
        for warning in self.identity.warnings(time).into_iter().flatten() {
            self.note(warning);
        }
        self.judged(now, judged);
    }

    fn judged(&mut self, now: Uptime, judged: Result<Option<Note>, IdentityError>) {
        match judged {
            Ok(None) => {}
            Ok(Some(note)) => {
                self.note(note);
                let time = self.time(now);
                if let Err(error) = self.identity.clear(time, &mut self.platform) {
                    self.identity_failed(error);
                }
                if self.identity.has_trial() {
                    self.reconnect(now);
                }
            }
            // The connection stays: another one would bring no better store. It is tried again with the next tick.
            Err(error) => self.identity_failed(error),
        }
    }

    pub(super) fn check_identity(&mut self, now: Uptime) {
        if !self.session.is_running() || !self.identity.is_tick_due(now) {
            return;
        }
        let time = self.time(now);
        let judged = self.identity.tick(now, time, &mut self.platform);
        self.judged(now, judged);
    }

    pub(super) fn identity_failed(&mut self, error: IdentityError) {
        if let IdentityError::Storage(_) = error {
            self.storage_errors = self.storage_errors.saturating_add(1);
        }
        self.note(Note::IdentityFailed(error));
    }

    /// What the identity has to say: how it is, and what it asks for.
    pub(super) fn poll_identity(&mut self, now: Uptime) -> Option<(u16, Channel, usize)> {
        // A restart before the record says that a command to rotate is done reads it from the rotation that is wanted.
        let rotated = if self.commands.is_recorded() {
            self.identity.rotate(now, &mut self.platform)
        } else {
            Ok(false)
        };
        match rotated {
            Ok(true) => self.note(Note::KeysMade),
            Ok(false) => {}
            Err(error) => self.identity_failed(error),
        }
        if !core::mem::replace(&mut self.identity.said, true) {
            let len = self.identity.state(self.clock.time(now)).encode(&mut self.buffer).ok()?;
            return Some((self.outbox.send(Kind::IdentityState, now), Channel::IdentityState, len));
        }
        match self.identity.poll_request(now, &mut self.platform, &mut self.buffer) {
            Ok(Some(len)) => {
                Some((self.outbox.send(Kind::IdentityRequest, now), Channel::IdentityRequest, len))
            }
            Ok(None) => None,
            Err(error) => {
                self.identity_failed(error);
                None
            }
        }
    }

    /// Signs a token where the device proves itself with one, as it is configured or because its certificate has ended: its
    /// length in [`Self::token`](Device), or that there is none.
    pub(super) fn sign_token(&mut self, now: Uptime, credentials: Credentials) -> Option<Result<usize, ()>> {
        self.token_renewal = None;
        let time = self.time(now);
        if self.configuration.auth != Authentication::Token
            && !self.identity.needs_token(credentials.slot, time)
        {
            return None;
        }
        let life = u64::from(self.policy.token_life_s).clamp(TOKEN_LIFE_S_MIN, LIFE_S_MAX);
        let issued_s = time.seconds();
        let claims = Claims {
            issued_s,
            expires_s: issued_s + life,
            audience: self.configuration.service().0,
            subject: self.identity.id(),
        };
        match vault::token(&mut self.platform, credentials.slot, &claims, &mut self.token.0) {
            Ok(len) => {
                self.token_renewal = Some(now.after(life * 800));
                Some(Ok(len))
            }
            Err(error) => {
                self.identity_failed(crate::identity::sealing(error));
                Some(Err(()))
            }
        }
    }

    /// Connects again with a new token before the one in use ends.
    pub(super) fn check_token(&mut self, now: Uptime) {
        if self.session.is_running() && self.token_renewal.is_some_and(|at| now >= at) {
            self.token_renewal = None;
            self.session.reconnect(now, 0);
            self.link_is_gone(Failure::Requested);
        }
    }

    /// Says that the certificate in force has ended, where it has.
    pub(super) fn check_end(&mut self, now: Uptime) {
        let time = self.time(now);
        if let Some(note) = self.identity.note_end(time) {
            self.note(note);
        }
    }

    /// What the factory's line says of the identity in force: its key, and when its certificate ends.
    pub(crate) fn line_identity(&self) -> (KeyId, EpochMillis) {
        (self.identity.key(), self.identity.ends())
    }

    /// The time by which a certificate from the factory's line is judged: the device's own, else `said`.
    fn line_time(&self, now: Uptime, said: EpochMillis) -> EpochMillis {
        self.clock.time(now).filter(|_| self.clock.is_plausible(now)).unwrap_or(said)
    }

    /// The request for a certificate, into `out`, for whoever is on the factory's line: only where the one in force has ended.
    pub(crate) fn line_request(
        &mut self,
        now: Uptime,
        said: EpochMillis,
        out: &mut [u8],
    ) -> Result<Asked, Fault> {
        self.now = now;
        self.settle_start();
        if self.life != Life::Running || !self.identity.can_renew() {
            return Err(Fault::Locked);
        }
        let time = self.line_time(now, said);
        if !self.identity.has_ended(time) {
            return Err(Fault::NotEnded);
        }
        // What only the other end of the line says is no news of the device's own.
        if self.clock.is_plausible(now) {
            self.check_end(now);
        }
        let made = !self.identity.is_asking();
        match self.identity.ask(time, &mut self.platform, out) {
            Ok(asked) => {
                if made && matches!(asked, Asked::Request(_)) {
                    self.note(Note::KeysMade);
                }
                Ok(asked)
            }
            Err(error) => {
                self.identity_failed(error);
                Err(identity_fault(error))
            }
        }
    }

    /// A signed certificate from the factory's line, as it comes over the network otherwise; gives the new identity's key, which
    /// is tried at once.
    pub(crate) fn line_certificate(
        &mut self,
        now: Uptime,
        said: EpochMillis,
        document: &[u8],
    ) -> Result<KeyId, Fault> {
        self.now = now;
        if self.life != Life::Running {
            return Err(Fault::Locked);
        }
        let time = self.line_time(now, said);
        if !self.identity.has_ended(time) {
            return Err(Fault::NotEnded);
        }
        let mut judged = self.identity.message(Channel::IdentityDesired, document, time, &mut self.platform);
        if judged == Ok(Effect::Known) {
            // What was taken once answers no other request; over the network it may come again with each connection.
            self.identity.count(Refusal::Replayed);
            judged = Err(Refusal::Replayed);
        }
        if let Err(refusal) = judged {
            self.note(Note::DocumentRefused(refusal));
            return Err(Fault::Document(refusal));
        }
        let key = match self.identity.begin_trial(now, &mut self.platform) {
            Ok(key) => key,
            Err(error) => {
                self.identity_failed(error);
                return Err(identity_fault(error));
            }
        };
        self.note(Note::CertifiedOnLine { key });
        let was_up = self.session.is_up();
        self.session.begin_again(now, 0);
        if was_up {
            self.link_is_gone(Failure::Requested);
        }
        Ok(key)
    }

    /// After the end of its life only the answer to its last words counts.
    pub(super) fn handle_last(&mut self, now: Uptime, event: Event<'_>) {
        match event {
            Event::Subscribed { granted: true } => self.session.subscribed(now, true, 0),
            Event::Acknowledged(token) => {
                let known = self.outbox.acknowledged(token).is_some();
                let all = self.identity.said && self.log.last.is_none() && self.outbox.oldest().is_none();
                if known && all {
                    self.session.close();
                }
            }
            Event::Disconnected(_) | Event::Shutdown | Event::Subscribed { granted: false } => {
                self.session.close();
            }
            _ => {}
        }
    }

    /// Delivers the end of its log, says that its life is over, waits for the answer, disconnects and ends.
    pub(super) fn poll_last(&mut self, now: Uptime, end: End) -> Option<Command<'_>> {
        let may_speak = self.session.is_running() && !self.link_full;
        if may_speak && let Some(len) = self.log.last.take() {
            let token = self.outbox.send(Kind::Log, now);
            let topic = topic(&self.configuration.id, Channel::Log);
            return Some(Command::Publish { token, topic, payload: self.buffer.get(..len)?, retain: false });
        }
        if may_speak && !core::mem::replace(&mut self.identity.said, true) {
            let len = self.identity.state(self.clock.time(now)).encode(&mut self.buffer).ok()?;
            let token = self.outbox.send(Kind::IdentityState, now);
            let topic = topic(&self.configuration.id, Channel::IdentityState);
            return Some(Command::Publish { token, topic, payload: self.buffer.get(..len)?, retain: true });
        }
        let patient = match self.outbox.oldest() {
            Some(at) => now.since(at) < self.session.answer_timeout_ms(),
            // It may speak once it has subscribed.
            None => (!self.identity.said || self.log.last.is_some()) && self.session.overdue(now).is_none(),
        };
        if patient && self.session.is_up() {
            return None;
        }
        self.session.close();
        if let Some(Request::Disconnect) = self.session.poll_output(now, false) {
            return Some(Command::Disconnect);
        }
        self.life = Life::Stopped;
        Some(Command::Retired(end))
    }

    /// When the last words have waited long enough.
    pub(super) fn last_deadline(&self, now: Uptime) -> Uptime {
        let answer = self.outbox.oldest().map(|oldest| oldest.after(self.session.answer_timeout_ms()));
        answer.or_else(|| self.session.next_deadline(false)).unwrap_or(now)
    }
}
