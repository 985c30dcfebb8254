//! Messages on their way: which PUBLISH waits for its PUBACK since when. Owns no payload.

use crate::platform::Uptime;
use heapless::Vec;

/// Most messages on their way at once: hello, state, state and request of the identity, state of the firmware, state of
/// the configuration, answer to a command, a piece of the log, one batch of the backlog, two of telemetry.
const IN_FLIGHT_MAX: usize = 11;

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello,
    State,
    IdentityState,
    IdentityRequest,
    FirmwareState,
    ConfigState,
    CommandAnswer,
    Log,
    Backlog(u8),
    Telemetry,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    token: u16,
    kind: Kind,
    at: Uptime,
}

/// The messages that are not acknowledged yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    sent: Vec<Sent, IN_FLIGHT_MAX>,
    last_token: u16,
}

impl Outbox {
    /// True while one of `kind` is on its way.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.sent.iter().any(|sent| sent.kind == kind)
    }

    /// True while none is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// True while there is no room for another message.
    pub(crate) fn is_full(&self) -> bool {
        self.sent.is_full()
    }

    /// Notes that a message is sent; gives the token that its PUBACK will carry, never 0. Call only while not full.
    pub(crate) fn send(&mut self, kind: Kind, at: Uptime) -> u16 {
        self.last_token = self.last_token.checked_add(1).unwrap_or(1);
        // The caller has asked `is_full`; a message beyond it would only go unnoticed when it is acknowledged.
        let noted = self.sent.push(Sent { token: self.last_token, kind, at });
        debug_assert!(noted.is_ok());
        self.last_token
    }

    /// Takes the message that `token` acknowledges; `None` where none waits for it.
    pub(crate) fn acknowledged(&mut self, token: u16) -> Option<Kind> {
        let at = self.sent.iter().position(|sent| sent.token == token)?;
        Some(self.sent.remove(at).kind)
    }

    /// When the oldest message was sent.
    pub(crate) fn oldest(&self) -> Option<Uptime> {
        self.sent.iter().map(|sent| sent.at).min()
    }

    /// Forgets all messages: the connection is gone.
    pub(crate) fn clear(&mut self) {
        self.sent.clear();
    }
}
