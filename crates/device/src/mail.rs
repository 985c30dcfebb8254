//! Messages of the device: one table of what there is, and which of them wait for their PUBACK since when. Owns no payload:
//! each message is written by its owner, a [`crate::machine::Machine`]. R-DATA-INTACT.

use crate::platform::Uptime;
use heapless::Vec;
use protocol::Channel;

/// A kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mail {
    Hello,
    State,
    CommandAnswer,
    IdentityState,
    IdentityRequest,
    FirmwareState,
    ConfigState,
    Log,
    /// A batch of a former boot, from this place.
    Backlog(u8),
    Telemetry,
}

impl Mail {
    /// What is asked for a message, in this order; of batches of former boots and of telemetry as many as there are.
    pub(crate) const RANKS: [Self; 8] = [
        Self::Hello,
        Self::State,
        Self::CommandAnswer,
        Self::IdentityState,
        Self::IdentityRequest,
        Self::FirmwareState,
        Self::ConfigState,
        Self::Log,
    ];

    /// Its channel, and whether the service keeps it.
    pub(crate) const fn channel(self) -> (Channel, bool) {
        match self {
            Self::Hello => (Channel::Hello, false),
            Self::State => (Channel::State, true),
            Self::CommandAnswer => (Channel::CommandAnswer, true),
            Self::IdentityState => (Channel::IdentityState, true),
            Self::IdentityRequest => (Channel::IdentityRequest, false),
            Self::FirmwareState => (Channel::FirmwareState, true),
            Self::ConfigState => (Channel::ConfigState, true),
            Self::Log => (Channel::Log, false),
            Self::Backlog(_) | Self::Telemetry => (Channel::Telemetry, false),
        }
    }

    /// Whether the next one waits until the one before it is acknowledged.
    const fn is_single(self) -> bool {
        !matches!(
            self,
            Self::Hello | Self::State | Self::IdentityState | Self::IdentityRequest | Self::Telemetry
        )
    }
}

/// Most messages on their way at once: one of each kind, and another batch of telemetry.
const IN_FLIGHT_MAX: usize = Mail::RANKS.len() + 3;

#[derive(Clone, Copy, Debug)]
struct Sent {
    token: u16,
    mail: Mail,
    at: Uptime,
}

/// The messages that are not acknowledged yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    sent: Vec<Sent, IN_FLIGHT_MAX>,
    last_token: u16,
}

impl Outbox {
    /// True where another message of this kind may not be sent now.
    pub(crate) fn has(&self, mail: Mail) -> bool {
        mail.is_single() && self.sent.iter().any(|sent| sent.mail == mail)
    }

    /// True while none is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// True while there is no room for another message.
    pub(crate) fn is_full(&self) -> bool {
        self.sent.is_full()
    }

    /// The token of the next message.
    pub(crate) fn next_token(&self) -> u16 {
        self.last_token.checked_add(1).unwrap_or(1)
    }

    /// Notes that a message is sent; gives the token that its PUBACK will carry, never 0. Call only while not full.
    pub(crate) fn send(&mut self, mail: Mail, at: Uptime) -> u16 {
        self.last_token = self.next_token();
        // The caller has asked `is_full`; a message beyond it would only go unnoticed when it is acknowledged.
        let noted = self.sent.push(Sent { token: self.last_token, mail, at });
        debug_assert!(noted.is_ok());
        self.last_token
    }

    /// Takes the message that `token` acknowledges; `None` where none waits for it.
    pub(crate) fn acknowledged(&mut self, token: u16) -> Option<Mail> {
        let at = self.sent.iter().position(|sent| sent.token == token)?;
        Some(self.sent.remove(at).mail)
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
