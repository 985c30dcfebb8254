//! Which identity a device uses: how one is named by the beginning of its key's id, and which of the registry's is the one that
//! the device says it has. Owns no connection but for reading what devices have said last, and changes nothing.
//! R-SECRET-ROTATE, R-DESTROY.
//!
//! What a device says of itself is not signed: it is as true as the broker.

use crate::firmware::service::{self, ServiceError};
use crate::operator::Operator;
use crate::registry::{Identity, Registry};
use protocol::identity_state::Life;
use protocol::topic::ROOT;
use protocol::{Channel, DeviceId, IdentityState, KeyId, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Fewest digits that name a key.
const DIGITS_MIN: usize = 4;
/// Digits of a whole id.
const DIGITS_MAX: usize = 64;
/// Devices that are asked for one by one; where there are more, all are.
const FILTERS_MAX: usize = 32;

/// The beginning of a key's id in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl FromStr for KeyPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hexadecimal && (DIGITS_MIN..=DIGITS_MAX).contains(&text.len()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "a key is named by its id or the beginning of it: {DIGITS_MIN} to {DIGITS_MAX} hexadecimal digits"
            ))
        }
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyPrefix {
    /// The key, where this is the whole of its id.
    pub fn whole(&self) -> Option<KeyId> {
        let bytes = base16ct::lower::decode_vec(&self.0).ok()?;
        bytes.try_into().ok().map(KeyId)
    }

    /// The one among the keys of `id` in `known` whose id begins like this.
    pub fn resolve(
        &self,
        id: &DeviceId,
        known: impl IntoIterator<Item = KeyId>,
    ) -> Result<KeyId, IdentityError> {
        let mut known: Vec<KeyId> = known.into_iter().collect();
        known.sort();
        known.dedup();
        let begins = |key: &&KeyId| digits(key).starts_with(&self.0);
        let found: Vec<KeyId> = known.iter().filter(begins).copied().collect();
        match found.as_slice() {
            [key] => Ok(*key),
            [] => Err(IdentityError::NoSuch(id.clone(), self.clone(), known)),
            _ => Err(IdentityError::Ambiguous(id.clone(), self.clone(), found)),
        }
    }
}

fn digits(key: &KeyId) -> String {
    base16ct::lower::encode_string(&key.0)
}

/// Why it is not known which identity is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The registry has no identity in force for this device.
    NoIdentity(DeviceId),
    /// None of these keys of the device begins like this.
    NoSuch(DeviceId, KeyPrefix, Vec<KeyId>),
    /// All of these keys of the device begin like this.
    Ambiguous(DeviceId, KeyPrefix, Vec<KeyId>),
    /// The broker keeps nothing that the device has said, and it has these identities in force.
    Silent(DeviceId, Vec<KeyId>),
    /// The device says that its life has ended.
    Ended(DeviceId, Life),
    /// The device says that it uses a key that the registry does not have: how it begins.
    Foreign(DeviceId, String),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |keys: &[KeyId]| {
            let keys: Vec<String> = keys.iter().map(digits).collect();
            if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
        };
        match self {
            Self::NoIdentity(id) => write!(f, "the registry has no identity in force for {id}"),
            Self::NoSuch(id, prefix, keys) => {
                write!(f, "{id} has no identity with a key that begins with {prefix}; it has: {}", list(keys))
            }
            Self::Ambiguous(id, prefix, keys) => write!(
                f,
                "{id} has several identities with a key that begins with {prefix}: give more digits of one of {}",
                list(keys)
            ),
            Self::Silent(id, keys) => write!(
                f,
                "{id} has several identities in force and the broker keeps nothing that it has said of them (or does not let \
                 this operator read it): say with --identity which one it uses: {}",
                list(keys)
            ),
            Self::Ended(id, life) => write!(f, "{id} says that it has no identity any more ({life})"),
            Self::Foreign(id, key) => write!(
                f,
                "{id} says that it uses the key {key}, which the registry does not have for it: is it this device's registry?"
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

/// What devices have said last of their identity, as the broker keeps it; the error is why it cannot be read.
pub type Said = BTreeMap<DeviceId, Result<IdentityState, String>>;

/// Reads what the broker keeps of these devices. One that it keeps nothing of is missing.
pub async fn read(operator: &Operator, ids: &[DeviceId]) -> Result<Said, ServiceError> {
    let filter = |id: &str| format!("{ROOT}/{id}/{}", Channel::IdentityState.as_str());
    let filters = match ids {
        [] => return Ok(Said::new()),
        ids if ids.len() > FILTERS_MAX => vec![filter("+")],
        ids => ids.iter().map(|id| filter(id.as_str())).collect(),
    };
    let mut said = Said::new();
    let take = |topic: &str, payload: &[u8]| {
        let Some(Topic { device, channel: Channel::IdentityState }) = Topic::decode(topic) else { return };
        if !ids.contains(&device) {
            return;
        }
        if payload.is_empty() {
            said.remove(&device);
        } else {
            said.insert(device, IdentityState::decode(payload).map_err(|error| error.to_string()));
        }
    };
    service::read(operator, &filters, service::SILENCE, take).await?;
    Ok(said)
}

/// The identity that the device uses: the one that it says it has, among all that the registry has ever had for it, or where it
/// has said nothing the only one in force.
pub fn in_use(
    id: &DeviceId,
    said: Option<&IdentityState>,
    registry: &Registry,
) -> Result<KeyId, IdentityError> {
    if let Some(state) = said {
        if state.life != Life::Provisioned {
            return Err(IdentityError::Ended(id.clone(), state.life));
        }
        let mut keys = registry.records(id).iter().map(|record| record.identity.key.id());
        return keys
            .find(|key| says(state, key))
            .ok_or_else(|| IdentityError::Foreign(id.clone(), state.key.to_string()));
    }
    let mut keys: Vec<KeyId> = registry.in_force(id).map(|identity| identity.key.id()).collect();
    keys.dedup();
    match keys.as_slice() {
        [] => Err(IdentityError::NoIdentity(id.clone())),
        [key] => Ok(*key),
        _ => Err(IdentityError::Silent(id.clone(), keys)),
    }
}

/// Whether a device's state is about the identity with this key.
pub fn says(state: &IdentityState, key: &KeyId) -> bool {
    state.key.as_str() == key.to_string()
}

/// Why nothing of a device ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The broker keeps nothing that it has said.
    Silent,
    /// What it has said cannot be read.
    Unreadable(String),
    /// It says that its life has ended: all its identities may end.
    Ended(Life),
    /// It says that it uses this key, which is not in force.
    Foreign(String),
    /// It keeps the identity before the one in use and may return to that.
    Kept,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str(
                "the broker keeps nothing that it has said (or does not let this operator read it)",
            ),
            Self::Unreadable(why) => write!(f, "what it says of its identity cannot be read: {why}"),
            Self::Ended(life) => {
                write!(f, "it says that it has no identity any more ({life}): revoke all of them")
            }
            Self::Foreign(key) => {
                write!(f, "it says that it uses the key {key}, which the registry does not have in force")
            }
            Self::Kept => {
                f.write_str("it keeps its former identity for a day after it renewed, and may return to it")
            }
        }
    }
}

/// Something of some devices.
pub type Of<T> = Vec<(DeviceId, T)>;

/// What renewals have left of these devices: the identities that can end, and why for some nothing does. Only devices that
/// have several in force are looked at.
pub fn left_over(registry: &Registry, ids: &[DeviceId], said: &Said) -> (Of<KeyId>, Of<Left>) {
    let (mut older, mut left) = (Vec::new(), Vec::new());
    for id in ids.iter().filter(|id| registry.in_force(id).count() > 1) {
        match device_left_over(registry, id, said.get(id)) {
            Ok(keys) => older.extend(keys.into_iter().map(|key| (id.clone(), key))),
            Err(why) => left.push((id.clone(), why)),
        }
    }
    (older, left)
}

fn device_left_over(
    registry: &Registry,
    id: &DeviceId,
    said: Option<&Result<IdentityState, String>>,
) -> Result<Vec<KeyId>, Left> {
    let state = said.ok_or(Left::Silent)?.as_ref().map_err(|why| Left::Unreadable(why.clone()))?;
    if state.life != Life::Provisioned {
        return Err(Left::Ended(state.life));
    }
    let used = registry.in_force(id).map(|identity| identity.key.id()).find(|key| says(state, key));
    let used = used.ok_or_else(|| Left::Foreign(state.key.to_string()))?;
    let mut keys: Vec<KeyId> = older(registry, id, used).map(|identity| identity.key.id()).collect();
    // One key may have several certificates.
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(key.0));
    if state.retired_kept && !keys.is_empty() { Err(Left::Kept) } else { Ok(keys) }
}

/// Identities in force that a renewal has left: older than the one that the device says it uses.
fn older<'r>(registry: &'r Registry, id: &DeviceId, used: KeyId) -> impl Iterator<Item = &'r Identity> {
    let known = registry.in_force(id).any(|identity| identity.key.id() == used);
    registry.in_force(id).take_while(move |identity| known && identity.key.id() != used)
}

#[cfg(test)]
mod tests;
