//! Who holds the power of configuration: signs changes, commands and acknowledgements as a test wants them, also those that no
//! tool would sign. Owns the key, never the wire.

use protocol::config::{CONFIGURATION_BYTES_MAX, Change};
use protocol::document::{Action, Audience, Command, LogAcknowledgement, Power};
use protocol::key::{Digest, sha256};
use protocol::topic::{group_topic, topic};
use protocol::{Channel, DeviceId, Name, PublicKey};
use sensorctl::powers;
use sensorctl::signer::Signer;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The key of the power of configuration.
pub struct Orders(Signer);

/// A change that is signed.
#[derive(Clone, Debug)]
pub struct SignedChange {
    /// Where it is retained.
    pub topic: String,
    /// Its number.
    pub number: u32,
    /// SHA-256 of its payload: what devices report.
    pub digest: Digest,
    /// The document.
    pub document: Vec<u8>,
}

/// Whom: `group/NAME`, or the id of a device.
pub fn audience(whom: &str) -> Audience {
    match whom.strip_prefix("group/") {
        Some(group) => Audience::Group(Name::try_from(group).expect("the name of a group")),
        None => Audience::Device(id(whom)),
    }
}

/// The id of a device.
pub fn id(text: &str) -> DeviceId {
    DeviceId::new(text).expect("an id")
}

/// Now, in seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

impl Orders {
    /// The key in the folder of `sensorctl authority init`.
    pub fn open(authority: &Path) -> Self {
        Self(powers::signer(authority, Power::Configuration).expect("the key of the configuration"))
    }

    /// The public half of the key.
    pub fn public(&self) -> PublicKey {
        *self.0.public()
    }

    /// A change for `whom` ([`audience`]) with this number; `fields` is the rest of its JSON, such as `"host":"a"`.
    pub fn change(&self, whom: &str, number: u32, fields: &str) -> SignedChange {
        let (key, name) = match whom.strip_prefix("group/") {
            Some(group) => ("group", group),
            None => ("id", whom),
        };
        let json = format!(r#"{{"v":2,"number":{number},"{key}":"{name}",{fields}}}"#);
        let change = Change::decode(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
        let mut payload = [0; CONFIGURATION_BYTES_MAX];
        let len = change.encode(&mut payload).expect("room for a change");
        let topic = match &change.audience {
            Audience::Device(id) => topic(id, Channel::ConfigDesired),
            Audience::Group(group) => group_topic(group).expect("a name that can be in a topic"),
            Audience::All => unreachable!("a change is never for all"),
        };
        SignedChange {
            topic: topic.as_str().to_owned(),
            number,
            digest: sha256(&[&payload[..len]]),
            document: powers::sign(&self.0, &change).expect("a signature"),
        }
    }

    /// A command for `whom` ([`audience`]), which may be begun for so many seconds from now on.
    pub fn command(&self, whom: &str, number: u32, action: Action, seconds: i64) -> Vec<u8> {
        let expires_s = now_s().saturating_add_signed(seconds);
        let command = Command { audience: audience(whom), number, expires_s, action };
        powers::sign(&self.0, &command).expect("a signature")
    }

    /// The word that the operator has a device's log up to and with this record.
    pub fn acknowledgement(&self, device: &str, number: u32, hash: [u8; 32]) -> Vec<u8> {
        let document = LogAcknowledgement { audience: Audience::Device(id(device)), number, hash };
        powers::sign(&self.0, &document).expect("a signature")
    }
}
