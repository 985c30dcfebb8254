//! Where commands meet the rest of the device: what comes in, what is done, what is answered. Decides nothing that
//! [`crate::commands`] could. R-CONF.

use super::{Device, Life};
use crate::commands::{Around, Verdict};
use crate::gate::{Entrance, Proven, Rejected};
use crate::note::Note;
use crate::outbox::Kind;
use crate::platform::{Platform, Slots, Uptime};
use crate::telemetry::Ring;
use core::borrow::BorrowMut;
use protocol::Channel;
use protocol::document::{Action, Command, ContentType};
use protocol::key::sha256;
use protocol::signed::Document;

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    /// A document on the topic of commands; false where it is none of [`protocol::document::Command`].
    pub(super) fn command_message(&mut self, now: Uptime, document: &[u8]) -> bool {
        let letter = match self.gate.open(Entrance::Command, document, None) {
            Ok(Some(letter)) if letter.content_type() == ContentType::Command => letter,
            Ok(None) => return true,
            Ok(Some(_)) | Err(_) => return false,
        };
        let proven = match letter.prove(&self.identity) {
            Ok(proven) => proven,
            Err(refusal) => {
                self.identity.count(refusal);
                self.note(Note::DocumentRefused(refusal));
                return true;
            }
        };
        let mut read = None;
        match self.judge_command(now, &proven, &mut read) {
            Ok(verdict) => {
                self.gate.took(Entrance::Command, letter.mark());
                if let (Verdict::Begin(under_way), Some(command)) = (verdict, &read) {
                    if under_way {
                        self.telemetry.end_burst(now);
                    }
                    self.begin(now, command);
                }
            }
            Err(Rejected::Peer(refusal)) => {
                self.identity.count(refusal);
                self.note(Note::CommandRefused(refusal));
            }
            Err(Rejected::Own(own)) => {
                if let Some(command) = &read {
                    self.commands.failed(now, command);
                }
                self.own_failed(own);
            }
        }
        self.command_settled();
        true
    }

    /// `read`: what it says, where it is for this device. Only then is the service told what came of it.
    fn judge_command(
        &mut self,
        now: Uptime,
        proven: &Proven<'_>,
        read: &mut Option<Command>,
    ) -> Result<Verdict, Rejected> {
        let command = <Command as Document>::decode(proven.payload()).inspect_err(|refusal| {
            self.commands.refused(now, None, *refusal);
        })?;
        self.identity.check_audience(&command.audience)?;
        let around = Around {
            now,
            time: self.clock.time(now).filter(|_| self.clock.is_plausible(now)),
            on_trial: self.update.is_on_trial() || self.settings.is_trying(),
            has_log: self.platform.log_layout().is_some(),
            rotating: self.identity.is_rotating(),
        };
        let digest = sha256(&[proven.payload()]);
        let judged = self.commands.judge(&command, digest, proven.signer(), &around, &mut self.platform);
        if let Err(Rejected::Peer(refusal)) = judged {
            self.commands.refused(now, Some(&command), refusal);
        }
        *read = Some(command);
        judged
    }

    /// The record says that it is begun.
    fn begin(&mut self, now: Uptime, command: &Command) {
        let Command { number, action, .. } = *command;
        self.note(Note::Commanded { number, action });
        match action {
            Action::Report => {
                self.telemetry.flush();
                self.state_due = now;
                self.identity.said = false;
                self.update.say(now);
                self.say_settings();
            }
            Action::Burst { samples, period_ms } => self.telemetry.burst(samples, period_ms, now),
            // As soon as the service knows.
            Action::Reboot => {}
            Action::Rotate => match self.identity.want_rotation(&mut self.platform) {
                Ok(()) => self.command_done(now),
                Err(error) => {
                    self.stored(Err(error));
                    self.commands.give_up(now, command);
                }
            },
            Action::SendLog { from } => self.send_log_from(from),
        }
    }

    fn command_done(&mut self, now: Uptime) {
        if let Some((number, action)) = self.commands.done(now, &mut self.platform) {
            self.note(Note::CommandDone { number, action });
        }
        self.command_settled();
    }

    /// Takes over what the machine has to say.
    pub(super) fn command_settled(&mut self) {
        if let Some(error) = self.commands.take_error() {
            self.stored(Err(error));
        }
    }

    /// Nothing waits to be sent.
    pub(super) fn all_sent(&mut self, now: Uptime) {
        let sent = match self.commands.sending() {
            None => false,
            Some(Action::SendLog { .. }) => self.log_is_sent(),
            Some(_) => !self.telemetry.is_bursting(),
        };
        if sent && self.outbox.is_empty() {
            self.command_done(now);
        }
    }

    /// Goes on with a command that takes its time.
    pub(super) fn check_command(&mut self, now: Uptime) {
        if self.commands.is_unstored(now) {
            self.command_done(now);
        }
        if self.commands.restarts(now) {
            self.stop(now);
            self.life = Life::Restarting;
        }
    }

    /// What became of the last command, where the service is to be told.
    pub(super) fn poll_command_answer(&mut self, now: Uptime) -> Option<(u16, Channel, usize)> {
        if self.outbox.has(Kind::CommandAnswer) {
            return None;
        }
        let mut answer = self.commands.poll_answer(now)?.clone();
        answer.t = self.clock.time(now);
        let len = answer.encode(&mut self.buffer).ok()?;
        Some((self.outbox.send(Kind::CommandAnswer, now), Channel::CommandAnswer, len))
    }

    /// The service knows it.
    pub(super) fn answer_acknowledged(&mut self) {
        self.commands.told(self.now);
    }

    /// When [`Self::check_command`] or [`Self::poll_command_answer`] next has something to do.
    pub(super) fn command_deadline(&self, now: Uptime) -> Option<Uptime> {
        let can_say = self.session.is_running() && !self.outbox.is_full();
        let free = can_say && !self.outbox.has(Kind::CommandAnswer);
        let answer = self.commands.next_answer().filter(|_| free).map(|at| at.max(now));
        [self.commands.next_deadline(), answer].into_iter().flatten().min()
    }
}
