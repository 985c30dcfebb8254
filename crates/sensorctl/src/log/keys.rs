//! Whose key it is that a log is signed with. Owns the answer, never the registry. R-LOG.

use crate::registry::Registry;
use protocol::{DeviceId, EpochMillis, KeyId, PublicKey};
use time::OffsetDateTime;

/// Where keys are known from.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'r> {
    /// The registry: which key was whose, and until when.
    Registry(&'r Registry),
    /// These, each of them good for any device and for ever.
    Given(&'r [PublicKey]),
}

/// A key that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The key.
    pub key: PublicKey,
    /// Whose it is or was; `None` where nobody said.
    pub owner: Option<DeviceId>,
    /// Since when it is nobody's any more.
    pub revoked: Option<EpochMillis>,
}

/// How long a device keeps the identity before, with an hour for the way to its new one.
const GRACE_S: u64 = 25 * 3_600;

/// How far clocks may be apart, in milliseconds, where a key's time is at stake.
pub(crate) const CLOCKS_MS: i64 = 600_000;

impl Keys<'_> {
    /// The identity key with this id: the device's own where it has or had it, otherwise another's.
    pub fn find(&self, device: &DeviceId, id: &KeyId) -> Option<Known> {
        match self {
            Self::Given(keys) => {
                let key = *keys.iter().find(|key| key.id() == *id)?;
                Some(Known { key, owner: None, revoked: None })
            }
            Self::Registry(registry) => of(registry, device, id).or_else(|| {
                let owner = registry.owner(id)?.clone();
                of(registry, &owner, id)
            }),
        }
    }

    /// The key among `seen` that the device got after `signer`, where there is one that was not revoked at the time `at`. The
    /// device signs with the key in force and these go only forward: who signs with a former one is not the device. Of keys
    /// that were given nobody knows the order.
    pub fn newer(
        &self,
        device: &DeviceId,
        seen: &[KeyId],
        signer: &KeyId,
        at: Option<EpochMillis>,
    ) -> Option<KeyId> {
        let Self::Registry(registry) = self else { return None };
        // As they were registered first: a key that gets one more certificate does not become a later one.
        let place =
            |id: &KeyId| registry.records(device).iter().position(|record| record.identity.key.id() == *id);
        let own = place(signer)?;
        // Where the newer one was revoked, the device goes back to the former one.
        let is_over = |id: &KeyId| {
            let revoked = of(registry, device, id).and_then(|known| known.revoked);
            revoked.is_some_and(|revoked| at.is_none_or(|at| revoked.since(at) <= CLOCKS_MS))
        };
        seen.iter().find(|id| place(id).is_some_and(|place| place > own) && !is_over(id)).copied()
    }

    /// Keys that the device had before `signer` and that are not revoked, where that one is in the registry for longer than a
    /// device may need the one before. Whoever has one of them can still renew with it.
    pub fn former(&self, device: &DeviceId, signer: &KeyId, now: EpochMillis) -> Vec<KeyId> {
        let Self::Registry(registry) = self else { return Vec::new() };
        let records = registry.records(device);
        let Some(place) = records.iter().position(|record| record.identity.key.id() == *signer) else {
            return Vec::new();
        };
        let (before, after) = records.split_at(place);
        let seconds = |at: OffsetDateTime| u64::try_from(at.unix_timestamp()).unwrap_or_default();
        if after.first().is_none_or(|record| seconds(record.registered) + GRACE_S > now.seconds()) {
            return Vec::new();
        }
        let valid = before
            .iter()
            .filter(|record| record.revoked.is_none() && seconds(record.identity.until) > now.seconds());
        let mut former: Vec<KeyId> = valid.map(|record| record.identity.key.id()).collect();
        former.retain(|id| id != signer);
        former.dedup();
        former
    }
}

fn of(registry: &Registry, device: &DeviceId, id: &KeyId) -> Option<Known> {
    let records = || registry.records(device).iter().filter(|record| record.identity.key.id() == *id);
    let key = records().next()?.identity.key;
    // A key may have had several certificates: it is revoked when the last one is.
    let revoked = records()
        .map(|record| record.revoked)
        .max_by_key(|revoked| revoked.map_or(i64::MAX, OffsetDateTime::unix_timestamp));
    let revoked = revoked.flatten().and_then(|at| u64::try_from(at.unix_timestamp()).ok());
    Some(Known { key, owner: Some(device.clone()), revoked: revoked.map(EpochMillis::from_seconds) })
}
