//! Roll-outs as documents: what a broker keeps of one, the next one signed, and what devices say in return. Owns their
//! numbers; driving one is [`run`]'s. R-FW-TIMELY, R-AUTHORITY.

pub mod run;

use super::stages::Share;
use crate::documents::DocumentError;
use crate::powers::{self, LiveKey, Numbers};
use crate::publish::Message;
use protocol::document::{Audience, Rollout};
use protocol::firmware::{FirmwareTopic, Uuid};
use protocol::key::{Digest, PublicKey};
use protocol::signed::Envelope;
use protocol::topic::ROOT;
use protocol::{Channel, DeviceId, FirmwareState, Topic};
use std::path::Path;

/// Kind of the documents in the list of numbers.
const KIND: &str = "rollout";

/// The roll-out that a broker keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which manifest it is of.
    pub manifest: Digest,
    /// Its number.
    pub number: u32,
    /// The share.
    pub share: Share,
}

impl Kept {
    /// Reads the document; none where it is not signed with the key of the power over configurations.
    pub fn read(document: &[u8], key: &PublicKey) -> Option<Self> {
        let rollout = Envelope::decode(document).ok()?.verify::<Rollout>(key).ok()?.into_inner();
        Some(Self { manifest: rollout.manifest, number: rollout.number, share: Share(rollout.share) })
    }
}

/// Signs roll-outs of one manifest.
#[derive(Debug)]
pub struct Author<'a> {
    /// The key of the power over configurations.
    pub signer: &'a LiveKey,
    /// The folder with the numbers of the last documents.
    pub folder: &'a Path,
    /// Whom it is for.
    pub audience: Audience,
    /// Which manifest.
    pub manifest: Digest,
    /// Its class.
    pub class: Uuid,
    /// A number that devices may have seen: the document gets a higher one.
    pub above: u32,
}

impl Author<'_> {
    /// The message that gives the release to this share; and its number.
    pub fn sign(&self, share: Share) -> Result<(Message, u32), DocumentError> {
        let number = {
            let mut numbers = Numbers::open(self.folder)?;
            let last = numbers.last(KIND).and_then(|last| u32::try_from(last).ok()).unwrap_or_default();
            // Beyond the highest number there is none: an error of the list.
            let wanted = (self.above > last).then(|| self.above.saturating_add(1));
            numbers.next(KIND, 1, wanted)?
        };
        let audience = self.audience.clone();
        let document = Rollout { audience, number, manifest: self.manifest, share: share.0 };
        let payload = powers::sign(&self.signer.now(), &document)?;
        Ok((Message { topic: self.topic(), retained: true, payload }, number))
    }

    /// Where the broker keeps it.
    pub fn topic(&self) -> String {
        FirmwareTopic::Rollout(self.class).encode().as_str().to_owned()
    }
}

/// Where devices say how their firmware is.
pub fn states() -> String {
    format!("{ROOT}/+/{}", Channel::FirmwareState.as_str())
}

/// Reads what came on a device's topic: an empty message is a state that was taken back. The error says why it is none.
pub fn read_state(topic: &str, payload: &[u8]) -> Result<(DeviceId, Option<FirmwareState>), String> {
    let topic = Topic::decode(topic).filter(|topic| topic.channel == Channel::FirmwareState);
    let device = topic.ok_or_else(|| "the topic is none of a device's firmware".to_owned())?.device;
    if payload.is_empty() {
        return Ok((device, None));
    }
    FirmwareState::decode(payload).map(|state| (device, Some(state))).map_err(|error| error.to_string())
}
