//! One line of the registry.

use super::Identity;
use protocol::key::KEY_ID_BYTES;
use protocol::{DeviceId, KeyId, PublicKey};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What happened to an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is the device's from now on.
    Registered(Identity),
    /// It is nobody's any more.
    Revoked {
        /// Whose it was.
        id: DeviceId,
        /// The identity key.
        key: KeyId,
        /// The certificate's serial number, big endian.
        serial: Vec<u8>,
    },
}

/// The line as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    Registered {
        at: String,
        id: String,
        identity: String,
        key_id: String,
        tls: String,
        certificate: String,
        serial: String,
        until: String,
    },
    Revoked {
        at: String,
        id: String,
        key_id: String,
        serial: String,
    },
}

/// The system's time in whole seconds: what a line can carry.
pub(super) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

fn date(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("a date of this era has a text")
}

impl Event {
    /// The event as of now, as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.line(now())).expect("texts in an object are JSON")
    }

    /// Reads what [`Self::to_json`] gave; says why it is none.
    pub(crate) fn from_json(value: &serde_json::Value) -> Result<Self, String> {
        Self::from_line(value.to_string().as_bytes()).map(|(_, event)| event)
    }

    /// The line with its end.
    pub(super) fn to_line(&self, at: OffsetDateTime) -> String {
        let text = serde_json::to_string(&self.line(at)).expect("texts in an object are JSON");
        format!("{text}\n")
    }

    fn line(&self, at: OffsetDateTime) -> Line {
        let at = date(at);
        match self {
            Self::Registered(identity) => Line::Registered {
                at,
                id: identity.id.to_string(),
                identity: hex(identity.key.as_bytes()),
                key_id: hex(&identity.key.id().0),
                tls: hex(identity.tls.as_bytes()),
                certificate: hex(&identity.certificate),
                serial: hex(&identity.serial),
                until: date(identity.until),
            },
            Self::Revoked { id, key, serial } => {
                Line::Revoked { at, id: id.to_string(), key_id: hex(&key.0), serial: hex(serial) }
            }
        }
    }

    /// Reads a line; says why it is none.
    pub(super) fn from_line(line: &[u8]) -> Result<(OffsetDateTime, Self), String> {
        match serde_json::from_slice(line).map_err(|error| error.to_string())? {
            Line::Registered { at, id, identity, key_id, tls, certificate, serial, until } => {
                let key = public_key("identity", &identity)?;
                if key.id() != read_key_id(&key_id)? {
                    return Err("key_id is not the id of identity".to_owned());
                }
                let identity = Identity {
                    id: read_id(&id)?,
                    key,
                    tls: public_key("tls", &tls)?,
                    certificate: bytes("certificate", &certificate)?
                        .try_into()
                        .map_err(|_| "certificate is no SHA-256 digest".to_owned())?,
                    serial: bytes("serial", &serial)?,
                    until: read_date("until", &until)?,
                };
                Ok((read_date("at", &at)?, Self::Registered(identity)))
            }
            Line::Revoked { at, id, key_id, serial } => {
                let (key, serial) = (read_key_id(&key_id)?, bytes("serial", &serial)?);
                Ok((read_date("at", &at)?, Self::Revoked { id: read_id(&id)?, key, serial }))
            }
        }
    }
}

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, String> {
    base16ct::mixed::decode_vec(text).map_err(|_| format!("{field} is not hexadecimal"))
}

fn public_key(field: &str, text: &str) -> Result<PublicKey, String> {
    PublicKey::new(&bytes(field, text)?).map_err(|error| format!("{field}: {error}"))
}

fn read_key_id(text: &str) -> Result<KeyId, String> {
    let id: Result<[u8; KEY_ID_BYTES], _> = bytes("key_id", text)?.try_into();
    id.map(KeyId).map_err(|_| format!("key_id is not of {KEY_ID_BYTES} bytes"))
}

fn read_id(text: &str) -> Result<DeviceId, String> {
    DeviceId::new(text).map_err(|error| error.to_string())
}

fn read_date(field: &str, text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("{field} is no RFC 3339 date: {error}"))
}
