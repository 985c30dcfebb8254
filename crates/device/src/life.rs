//! How the device stops: in order, for a restart, or for good with last words to the service. Owns how far that is. R-DESTROY,
//! R-DATA-INTACT.

use crate::audit::uplink::Uplink;
use crate::cx::Cx;
use crate::event::Note;
use crate::identity::Identity;
use crate::interface::{Command, End, Event};
use crate::mail::Mail;
use crate::platform::{Platform, Uptime};
use crate::session::Request;
use protocol::Channel;

/// How far the device is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Stopping,
    /// The same, and then the bootloader has something to do.
    Restarting,
    /// Its secrets are wiped; it says so as long as the connection lasts. `log`: length of the last delivery of its log, which
    /// is in the context's buffer.
    Retiring {
        end: End,
        log: Option<usize>,
    },
    Stopped,
}

impl Life {
    /// Ends the life of the identity. The log says so first, while there is a key to sign it with.
    pub(crate) fn retire<P: Platform>(&mut self, cx: &mut Cx<P>, identity: &mut Identity, end: End) {
        let log = Uplink::retirement(cx, identity, end);
        match identity.retire(end, &mut cx.platform) {
            Err(error) => return cx.stored(Err(error)),
            Ok(Some(error)) => {
                cx.note(Note::DocumentAccepted(Channel::Command));
                // What is not wiped yet is not said to be: the next start goes on, and says nothing either.
                identity.said = true;
                cx.identity_failed(error);
            }
            Ok(None) => {
                cx.note(Note::DocumentAccepted(Channel::Command));
                cx.note(Note::Retired(end));
            }
        }
        cx.outbox.clear();
        *self = Self::Retiring { end, log };
    }

    /// After the end of its life only the answer to its last words counts.
    pub(crate) fn handle_last<P: Platform>(&self, cx: &mut Cx<P>, identity: &Identity, event: Event<'_>) {
        match event {
            Event::Subscribed { granted: true } => cx.session.subscribed(cx.now, true, 0),
            Event::Acknowledged(token) => {
                let known = cx.outbox.acknowledged(token).is_some();
                let spoken = identity.said && !matches!(self, Self::Retiring { log: Some(_), .. });
                if known && spoken && cx.outbox.is_empty() {
                    cx.session.close();
                }
            }
            Event::Disconnected(_) | Event::Shutdown | Event::Subscribed { granted: false } => {
                cx.session.close();
            }
            _ => {}
        }
    }

    /// Delivers the end of its log, says that its life is over, waits for the answer, disconnects and ends.
    pub(crate) fn poll_last<'c, P: Platform>(
        &mut self,
        cx: &'c mut Cx<P>,
        identity: &mut Identity,
    ) -> Option<Command<'c>> {
        let Self::Retiring { end, log } = self else { return None };
        let end = *end;
        let may_speak = cx.session.is_running() && !cx.link_full;
        if may_speak && let Some(len) = log.take() {
            return cx.publish(Mail::Log, len);
        }
        if may_speak && !core::mem::replace(&mut identity.said, true) {
            let len = identity.state(cx.time()).encode(&mut cx.buffer).ok()?;
            return cx.publish(Mail::IdentityState, len);
        }
        let patient = match cx.outbox.oldest() {
            Some(at) => cx.now.since(at) < cx.session.answer_timeout_ms(),
            // It may speak once it has subscribed.
            None => (!identity.said || log.is_some()) && cx.session.overdue(cx.now).is_none(),
        };
        if patient && cx.session.is_up() {
            return None;
        }
        cx.session.close();
        if let Some(Request::Disconnect) = cx.session.poll_output(cx.now, false) {
            return Some(Command::Disconnect);
        }
        *self = Self::Stopped;
        Some(Command::Retired(end))
    }

    /// Disconnects, and ends where it is stopping.
    pub(crate) fn poll_stop<P: Platform>(&mut self, cx: &mut Cx<P>) -> Option<Command<'static>> {
        if let Some(Request::Disconnect) = cx.session.poll_output(Uptime(0), false) {
            return Some(Command::Disconnect);
        }
        match core::mem::replace(self, Self::Stopped) {
            Self::Stopping => Some(Command::Stopped),
            Self::Restarting => Some(Command::Restart),
            Self::Running | Self::Retiring { .. } | Self::Stopped => None,
        }
    }

    /// When the last words have waited long enough.
    pub(crate) fn last_deadline<P>(cx: &Cx<P>) -> Uptime {
        let answer = cx.outbox.oldest().map(|oldest| oldest.after(cx.session.answer_timeout_ms()));
        answer.or_else(|| cx.session.next_deadline(false)).unwrap_or(cx.now)
    }
}
