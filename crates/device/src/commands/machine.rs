//! Where commands meet the rest of the device: what comes in and what is answered. R-CONF.

use super::{Around, Commands, Verdict};
use crate::cx::Cx;
use crate::event::Note;
use crate::gate::{Entrance, Proven, Rejected};
use crate::identity::Identity;
use crate::machine::Machine;
use crate::mail::Mail;
use crate::platform::{Platform, Uptime};
use protocol::document::{Command, ContentType};
use protocol::key::sha256;
use protocol::signed::Document;

/// What a document on the topic of commands is.
pub(crate) enum Came {
    /// No command of this kind: somebody else's.
    Other,
    /// Nothing that is to be done.
    Nothing,
    /// A command that is to be begun: the record says that it is. `under_way`: another one was, and is over.
    Begin { command: Command, under_way: bool },
}

impl Commands {
    /// Takes in a document on the topic of commands.
    pub(crate) fn message<P: Platform>(
        &mut self,
        cx: &mut Cx<P>,
        trust: &mut Identity,
        document: &[u8],
    ) -> Came {
        let letter = match cx.gate.open(Entrance::Command, document, None) {
            Ok(Some(letter)) if letter.content_type() == ContentType::Command => letter,
            Ok(None) => return Came::Nothing,
            Ok(Some(_)) | Err(_) => return Came::Other,
        };
        let proven = match letter.prove(trust) {
            Ok(proven) => proven,
            Err(refusal) => {
                trust.count(refusal);
                cx.note(Note::DocumentRefused(refusal));
                return Came::Nothing;
            }
        };
        let mut read = None;
        let judged = self.read(cx, trust, &proven, &mut read);
        let came = match (judged, read) {
            (Ok(verdict), read) => {
                cx.gate.took(Entrance::Command, letter.mark());
                match (verdict, read) {
                    (Verdict::Begin(under_way), Some(command)) => Came::Begin { command, under_way },
                    _ => Came::Nothing,
                }
            }
            (Err(Rejected::Peer(refusal)), _) => {
                trust.count(refusal);
                cx.note(Note::CommandRefused(refusal));
                Came::Nothing
            }
            (Err(Rejected::Own(own)), read) => {
                if let Some(command) = &read {
                    self.failed(cx.now, command);
                }
                cx.own_failed(own);
                Came::Nothing
            }
        };
        self.settle(cx);
        came
    }

    /// `read`: what it says, where it is for this device. Only then is the service told what came of it.
    fn read<P: Platform>(
        &mut self,
        cx: &mut Cx<P>,
        trust: &Identity,
        proven: &Proven<'_>,
        read: &mut Option<Command>,
    ) -> Result<Verdict, Rejected> {
        let command = <Command as Document>::decode(proven.payload()).inspect_err(|refusal| {
            self.refused(cx.now, None, *refusal);
        })?;
        trust.check_audience(&command.audience)?;
        let around = Around {
            now: cx.now,
            time: cx.plausible_time(),
            trials: cx.trials,
            has_log: cx.platform.log_layout().is_some(),
            rotating: trust.is_rotating(),
        };
        let digest = sha256(&[proven.payload()]);
        let judged = self.judge(&command, digest, proven.signer(), &around, &mut cx.platform);
        if let Err(Rejected::Peer(refusal)) = judged {
            self.refused(cx.now, Some(&command), refusal);
        }
        *read = Some(command);
        judged
    }

    /// The command under way is done.
    pub(crate) fn finish<P: Platform>(&mut self, cx: &mut Cx<P>) {
        if let Some((number, action)) = self.done(cx.now, &mut cx.platform) {
            cx.note(Note::CommandDone { number, action });
        }
        self.settle(cx);
    }

    /// Counts what went wrong with the store.
    pub(crate) fn settle<P: Platform>(&mut self, cx: &mut Cx<P>) {
        if let Some(error) = self.take_error() {
            cx.stored(Err(error));
        }
    }
}

impl<P: Platform> Machine<P> for Commands {
    fn tick(&mut self, cx: &mut Cx<P>, _: &Identity) {
        if self.is_unstored(cx.now) {
            self.finish(cx);
        }
    }

    fn write(&mut self, _: Mail, cx: &mut Cx<P>, _: &Identity) -> Option<usize> {
        let mut answer = self.poll_answer(cx.now)?.clone();
        answer.t = cx.time();
        answer.encode(&mut cx.buffer).ok()
    }

    fn acknowledged(&mut self, _: Mail, cx: &mut Cx<P>) {
        self.told(cx.now);
    }

    fn next_deadline(&self, cx: &Cx<P>, _: &Identity) -> Option<Uptime> {
        let answer = self.next_answer().filter(|_| cx.can_send(Mail::CommandAnswer)).map(|at| at.max(cx.now));
        [self.deadline(), answer].into_iter().flatten().min()
    }
}
