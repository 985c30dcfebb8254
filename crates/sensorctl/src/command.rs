//! Commands to devices: signed, numbered, each begun at most once, and what became of them. Owns the order and the picture of
//! the answers, never a connection ([`run`]). R-CONF, R-REPROVISION, R-DESTROY.
//!
//! What devices answer is not signed: the broker could say anything in their place. What a device did is proven by its security
//! log.

pub mod run;

use crate::identity::says;
use crate::operator::now;
use crate::powers::{self, Numbers, PowersError};
use crate::publish::Message;
use crate::signer::Signer;
use protocol::command::{ActionName, AudienceKind, Outcome};
use protocol::document::{Action, Audience, Command, End, Power, Retirement};
use protocol::identity_state::Life;
use protocol::topic::topic;
use protocol::{Channel, CommandAnswer, DeviceId, IdentityState, KeyId, Name, Refusal, Topic};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// How long the end of a life may be begun after it was signed, in seconds: it is for a device that listens.
pub const DECOMMISSION_S: u64 = 3_600;

/// In the list of numbers: commands, and ends of lives. A number is used for one of them alone.
const COMMAND: &str = "command";
const RETIRE: &str = "retire";

/// Whom commands are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One for each of the devices.
    Each,
    /// One and the same for all of them that are in this group.
    Group(Name),
}

/// The next number of a command or of the end of a life.
pub fn number(authority: &Path, ends: bool, wanted: Option<u32>) -> Result<u32, PowersError> {
    let mut numbers = Numbers::open(authority)?;
    let last = [COMMAND, RETIRE].into_iter().filter_map(|kind| numbers.last(kind)).max().unwrap_or_default();
    let kind = if ends { RETIRE } else { COMMAND };
    numbers.used(kind, u32::try_from(last).unwrap_or(u32::MAX));
    numbers.next(kind, 1, wanted)
}

/// The key that signs them.
pub const fn power(ends: bool) -> Power {
    if ends { Power::Anchors } else { Power::Configuration }
}

/// An order: what was sent, to whom, and how far it is.
#[derive(Clone, Debug)]
pub struct Order {
    action: ActionName,
    audience: AudienceKind,
    number: u32,
    /// The identity whose life ends.
    ends: Option<KeyId>,
    messages: Vec<Message>,
    devices: BTreeMap<DeviceId, Standing>,
}

/// How far a device is with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not answered.
    Silent,
    /// It has begun.
    Begun,
    /// It has done it.
    Done,
    /// It was cut off while it did it, and does not begin again.
    Interrupted,
    /// It has not begun it.
    Refused(Refusal),
    /// Its own flash or vault failed.
    Failed,
}

impl Standing {
    /// True where nothing more comes.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Silent | Self::Begun)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("no answer"),
            Self::Begun => f.write_str("begun"),
            Self::Done => f.write_str("done"),
            Self::Interrupted => write!(f, "interrupted: {}", Outcome::Interrupted),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Failed => write!(f, "failed: {}", Outcome::Failed),
        }
    }
}

impl Order {
    /// Signs a command that may be begun until `expires_s` (seconds since 1970). The broker is to keep it for devices that are
    /// away: expiry and number make that safe.
    pub fn command(
        signer: &Signer,
        devices: &[DeviceId],
        whom: &Whom,
        number: u32,
        expires_s: u64,
        action: Action,
    ) -> Result<Self, PowersError> {
        let sign = |audience| powers::sign(signer, &Command { audience, number, expires_s, action });
        let mut messages = Vec::new();
        let group = match whom {
            Whom::Group(group) => Some(sign(Audience::Group(group.clone()))?),
            Whom::Each => None,
        };
        for device in devices {
            let payload = match &group {
                Some(document) => document.clone(),
                None => sign(Audience::Device(device.clone()))?,
            };
            messages.push(message(device, true, payload));
        }
        let audience = if group.is_some() { AudienceKind::Group } else { AudienceKind::Device };
        let devices = devices.iter().map(|device| (device.clone(), Standing::Silent)).collect();
        Ok(Self { action: ActionName::from(&action), audience, number, ends: None, messages, devices })
    }

    /// Signs the end of a device's life. It is for whoever listens now, and never kept.
    pub fn decommission(
        signer: &Signer,
        device: &DeviceId,
        number: u32,
        end: End,
        identity: KeyId,
    ) -> Result<Self, PowersError> {
        let audience = Audience::Device(device.clone());
        let expires_s = now().seconds().saturating_add(DECOMMISSION_S);
        let document = powers::sign(signer, &Retirement { audience, number, end, identity, expires_s })?;
        Ok(Self {
            action: ActionName::Decommission,
            audience: AudienceKind::Device,
            number,
            ends: Some(identity),
            messages: vec![message(device, false, document)],
            devices: [(device.clone(), Standing::Silent)].into(),
        })
    }

    /// What is to be published.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Its number.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// What is to be done.
    pub const fn action(&self) -> ActionName {
        self.action
    }

    /// The channel on which devices say what became of it.
    pub const fn channel(&self) -> Channel {
        if self.ends.is_some() { Channel::IdentityState } else { Channel::CommandAnswer }
    }

    /// Every device, and how far it is.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceId, Standing)> {
        self.devices.iter().map(|(device, standing)| (device, *standing))
    }

    /// Devices from which nothing more is to come.
    pub fn answered(&self) -> usize {
        self.devices.values().filter(|standing| standing.is_final()).count()
    }

    /// True where every device has said what became of it.
    pub fn is_over(&self) -> bool {
        self.answered() == self.devices.len()
    }

    /// What takes back what the broker keeps for devices that have answered.
    pub fn withdrawals(&self) -> Vec<Message> {
        let answered = self.devices().filter(|(_, standing)| standing.is_final());
        let kept = answered.filter(|_| self.ends.is_none());
        kept.map(|(device, _)| message(device, true, Vec::new())).collect()
    }

    /// What the broker is to keep for devices that have not answered.
    pub fn open(&self) -> Vec<Message> {
        let of = |message: &&Message| {
            let device = Topic::decode(&message.topic).map(|topic| topic.device);
            device.and_then(|device| self.devices.get(&device)).is_some_and(|standing| !standing.is_final())
        };
        self.messages.iter().filter(|message| message.retained).filter(of).cloned().collect()
    }

    /// Why what came where a device says what became of it cannot be read.
    pub fn unreadable(&self, payload: &[u8]) -> Option<String> {
        match (payload.is_empty(), self.ends) {
            (true, _) => None,
            (_, Some(_)) => IdentityState::decode(payload).err().map(|why| why.to_string()),
            (_, None) => CommandAnswer::decode(payload).err().map(|why| why.to_string()),
        }
    }

    /// Takes what came, `live` or from what the broker had kept; gives the device and how far it is where that has changed.
    pub fn hear(&mut self, topic: &str, payload: &[u8], live: bool) -> Option<(DeviceId, Standing)> {
        let Topic { device, channel } = Topic::decode(topic)?;
        if channel != self.channel() {
            return None;
        }
        let new = match self.ends {
            Some(identity) => {
                let state = IdentityState::decode(payload).ok()?;
                // The state that is retained of an earlier life names another key.
                (state.life != Life::Provisioned && says(&state, &identity)).then_some(Standing::Done)?
            }
            None => self.standing(&CommandAnswer::decode(payload).ok()?, live)?,
        };
        let standing = self.devices.get_mut(&device)?;
        // A device that comes back says again what it said.
        if standing.is_final() || *standing == new {
            return None;
        }
        *standing = new;
        Some((device, new))
    }

    fn standing(&self, answer: &CommandAnswer, live: bool) -> Option<Standing> {
        // A device that cannot read the command cannot name it: older firmware, and an action that it does not know.
        if answer.audience.is_none() && answer.number == 0 {
            return answer.refusal.filter(|_| live).map(Standing::Refused);
        }
        let same = answer.number == self.number
            && answer.audience.is_none_or(|audience| audience == self.audience)
            && answer.action.is_none_or(|action| action == self.action);
        if !same {
            return None;
        }
        Some(match (answer.outcome, answer.refusal) {
            (Outcome::Begun, _) => Standing::Begun,
            (Outcome::Done, _) => Standing::Done,
            (Outcome::Interrupted, _) => Standing::Interrupted,
            (Outcome::Refused, refusal) => Standing::Refused(refusal?),
            (Outcome::Failed, _) => Standing::Failed,
        })
    }
}

fn message(device: &DeviceId, retained: bool, payload: Vec<u8>) -> Message {
    Message { topic: topic(device, Channel::Command).as_str().to_owned(), retained, payload }
}

/// What takes back commands that the broker keeps for these devices.
pub fn withdrawal(devices: &[DeviceId]) -> Vec<Message> {
    devices.iter().map(|device| message(device, true, Vec::new())).collect()
}

#[cfg(test)]
mod tests;
