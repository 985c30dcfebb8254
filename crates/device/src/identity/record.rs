//! Who the device is and whom it believes, as it is stored: one value, so that every change is whole or not at all. Keys,
//! certificates and roots that it does not name are left-overs of a cut and are wiped at the next start. R-SECRET-STORE,
//! R-ROOTS, R-AUTHORITY, R-DESTROY.

use crate::gate::Mark;
use crate::platform::{
    BACKLOG_SLOTS, ChangePlace, Key, KeySlot, KeyValue, Platform, RootsPlace, StorageError, VaultError,
};
use crate::stored::{self, Stored};
use core::fmt;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use protocol::document::{CERTIFICATE_BYTES_MAX, CHAIN_MAX, Certificates, End, Power, ROOTS_MAX};
use protocol::key::{KeyId, PublicKey};
use protocol::{DeviceId, Name};

/// Longest record in bytes: three public keys, a key's name, two names, numbers and marks.
pub const RECORD_BYTES_MAX: usize = 512;

/// Longest stored certificate chain in bytes.
pub const CHAIN_BYTES_MAX: usize = 1 + CHAIN_MAX * (CERTIFICATE_BYTES_MAX + 3);

/// Longest stored list of roots in bytes.
pub const ROOTS_BYTES_MAX: usize = 1 + ROOTS_MAX * (CERTIFICATE_BYTES_MAX + 3);

/// Where in its life the device is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and only while it is read or written")]
pub(crate) enum Life {
    /// It has an identity.
    #[n(1)]
    Provisioned(#[n(0)] Record),
    /// Its life is over, and what it held may not be wiped yet.
    #[n(2)]
    Ending(#[n(0)] End),
    /// It was destroyed, and everything is wiped.
    #[n(3)]
    Destroyed,
}

impl Stored<RECORD_BYTES_MAX> for Life {
    const KEY: Key = Key::Life;
}

/// A new identity that is not in force yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Pending {
    #[n(0)]
    pub slot: KeySlot,
    /// Number of its certificate; `None` while that is only asked for.
    #[n(1)]
    pub certificate: Option<u32>,
}

/// The identity before the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Retired {
    #[n(0)]
    pub slot: KeySlot,
    /// Number of its certificate.
    #[n(1)]
    pub certificate: u32,
    /// When it is wiped: seconds since 1970.
    #[n(2)]
    pub until_s: u64,
}

/// Who the device is and whom it believes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Record {
    #[n(0)]
    pub id: DeviceId,
    #[n(1)]
    pub group: Name,
    #[n(2)]
    pub active: KeySlot,
    /// Number of its certificate; 0 for the factory's.
    #[n(3)]
    pub certificate: u32,
    #[n(4)]
    pub pending: Option<Pending>,
    #[n(5)]
    pub retired: Option<Retired>,
    /// Where the roots in force are.
    #[n(6)]
    pub roots: RootsPlace,
    #[n(7)]
    pub roots_number: u32,
    /// Number of the list on trial, which is in the other place.
    #[n(8)]
    pub roots_trial: Option<u32>,
    /// The largest number of a list that was ever tried.
    #[n(9)]
    pub roots_seen: u32,
    #[n(10)]
    pub firmware: Option<PublicKey>,
    #[n(11)]
    pub configuration: Option<PublicKey>,
    #[n(12)]
    pub anchors: Option<PublicKey>,
    /// Whose word a blank device takes; only to name a refusal.
    #[n(13)]
    pub factory: Option<KeyId>,
    #[n(14)]
    pub authority_number: u32,
    // 15 was the number of the last command to rotate, when those were documents of their own.
    /// A rotation was commanded, or has to be repeated, and its keys are not made yet.
    #[n(16)]
    pub rotation_wanted: bool,
    /// The list of roots with the number [`Self::roots_seen`], as it was sent.
    #[n(17)]
    pub roots_mark: Option<Mark>,
    /// The authority's key with the number [`Self::authority_number`].
    #[n(18)]
    pub authority_mark: Option<Mark>,
    /// The last certificate that was taken.
    #[n(19)]
    pub certificate_mark: Option<Mark>,
}

impl Record {
    /// A device with this id, the factory's identity in `active` and the factory's roots, whom nobody can tell anything.
    pub(crate) fn new(id: DeviceId, active: KeySlot) -> Self {
        Self {
            id,
            group: Name::default(),
            active,
            certificate: 0,
            pending: None,
            retired: None,
            roots: RootsPlace::A,
            roots_number: 0,
            roots_trial: None,
            roots_seen: 0,
            firmware: None,
            configuration: None,
            anchors: None,
            factory: None,
            authority_number: 0,
            rotation_wanted: false,
            roots_mark: None,
            authority_mark: None,
            certificate_mark: None,
        }
    }

    pub(crate) const fn authority(&self, power: Power) -> Option<&PublicKey> {
        match power {
            Power::Firmware => self.firmware.as_ref(),
            Power::Configuration => self.configuration.as_ref(),
            Power::Anchors => self.anchors.as_ref(),
            Power::Factory | Power::Device => None,
        }
    }

    fn names(&self, slot: KeySlot) -> bool {
        slot == self.active
            || self.pending.is_some_and(|pending| pending.slot == slot)
            || self.retired.is_some_and(|retired| retired.slot == slot)
    }

    /// A place for keys that are to be made.
    pub(crate) fn free_slot(&self) -> Option<KeySlot> {
        KeySlot::ALL.into_iter().find(|slot| !self.names(*slot))
    }
}

impl<C> Encode<C> for KeySlot {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u8(self.number())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for KeySlot {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::new(d.u8()?).ok_or_else(|| DecodeError::message("slot"))
    }
}

impl<C> Encode<C> for RootsPlace {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bool(matches!(self, Self::B))?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RootsPlace {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Ok(if d.bool()? { Self::B } else { Self::A })
    }
}

/// Why the identity cannot be loaded or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The store failed.
    Storage(StorageError),
    /// The vault failed.
    Vault(VaultError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Vault(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for IdentityError {}

impl From<StorageError> for IdentityError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<VaultError> for IdentityError {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

/// Loads the device's life and finishes an end that a power cut has interrupted: nothing is there of a blank or destroyed
/// device afterwards. `None` for a blank one. What is left over beside a record is for [`clear_leftovers`]: that it cannot
/// be wiped keeps no device from working.
pub(crate) fn open<P: Platform>(platform: &mut P) -> Result<Option<Life>, IdentityError> {
    match Life::load(platform)? {
        Some(Life::Provisioned(record)) => Ok(Some(Life::Provisioned(record))),
        Some(Life::Ending(end)) => finish(platform, end),
        Some(Life::Destroyed) => Ok(Some(Life::Destroyed)),
        None => {
            clear_all(platform)?;
            Ok(None)
        }
    }
}

/// Does what [`Life::Ending`] says.
pub(crate) fn finish<P: Platform>(platform: &mut P, end: End) -> Result<Option<Life>, IdentityError> {
    clear_all(platform)?;
    match end {
        End::Blank => {
            platform.remove(Key::Life)?;
            Ok(None)
        }
        End::Destroyed => {
            Life::Destroyed.store(platform)?;
            Ok(Some(Life::Destroyed))
        }
    }
}

/// Everything that belongs to an identity, and the samples that were measured under it; goes on where something fails. The number of the boot stays: it
/// only ever grows. The time stays: it is no secret.
fn clear_all<P: Platform>(platform: &mut P) -> Result<(), IdentityError> {
    let mut result = Ok(());
    for slot in KeySlot::ALL {
        result = result.and(forget(platform, slot));
    }
    let fixed = [Key::Configuration, Key::Ended, Key::Settings, Key::Command];
    let roots = RootsPlace::ALL.map(Key::Roots);
    let changes = ChangePlace::ALL.map(Key::Change);
    for key in fixed.into_iter().chain(changes).chain(roots).chain((0..BACKLOG_SLOTS).map(Key::Backlog)) {
        result = result.and(platform.remove(key).map_err(IdentityError::from));
    }
    result
}

/// Wipes what a cut or a failure has left: keys, certificates and roots that the record does not name. Goes on where
/// something fails.
pub(crate) fn clear_leftovers<P: Platform>(platform: &mut P, record: &Record) -> Result<(), IdentityError> {
    let mut result = Ok(());
    for slot in KeySlot::ALL.into_iter().filter(|slot| !record.names(*slot)) {
        result = result.and(forget(platform, slot));
    }
    if record.roots_trial.is_none() {
        result = result.and(platform.remove(Key::Roots(record.roots.other())).map_err(IdentityError::from));
    }
    result
}

/// Wipes the keys of a slot and forgets their certificates.
pub(crate) fn forget<P: Platform>(platform: &mut P, slot: KeySlot) -> Result<(), IdentityError> {
    let wiped = platform.wipe(slot);
    platform.remove(Key::Chain(slot))?;
    Ok(wiped?)
}

/// Reads the chain for the TLS key of `slot`, leaf first; `buffer` holds [`CHAIN_BYTES_MAX`].
pub fn chain<'b>(
    platform: &mut impl KeyValue,
    slot: KeySlot,
    buffer: &'b mut [u8],
) -> Result<Certificates<'b, CHAIN_MAX>, StorageError> {
    stored::read(platform, Key::Chain(slot), buffer)?.ok_or(StorageError::Corrupt)
}

/// Reads the roots in `place`; `buffer` holds [`ROOTS_BYTES_MAX`].
pub fn roots<'b>(
    platform: &mut impl KeyValue,
    place: RootsPlace,
    buffer: &'b mut [u8],
) -> Result<Certificates<'b, ROOTS_MAX>, StorageError> {
    stored::read(platform, Key::Roots(place), buffer)?.ok_or(StorageError::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::{bytes, stays};

    #[test]
    fn a_life_is_stored_as_it_ever_was() {
        let id = DeviceId::new("dev-1").unwrap();
        let slot = |number| KeySlot::new(number).unwrap();
        let key = PublicKey::new(&bytes(POINT)).ok();
        let full = Record {
            group: Name::try_from("plant").unwrap(),
            certificate: 3,
            pending: Some(Pending { slot: slot(1), certificate: Some(4) }),
            retired: Some(Retired { slot: slot(2), certificate: 2, until_s: 1_800_000_000 }),
            roots: RootsPlace::B,
            roots_number: 5,
            roots_trial: Some(7),
            roots_seen: 6,
            firmware: key,
            configuration: key,
            anchors: key,
            factory: key.map(|key| key.id()),
            authority_number: 8,
            rotation_wanted: true,
            roots_mark: Some(0x0102_0304_0506_0708),
            authority_mark: Some(9),
            certificate_mark: Some(u64::MAX),
            ..Record::new(id.clone(), slot(0))
        };
        let hex = concat!(
            "820181b300656465762d310165706c616e740200030304820104058302021a6b49d20006f50705080709060a5841",
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f50b5841",
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f50c5841",
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f50d5820",
            "b5d5e1275063b1bec731a51c1133b69e5ae5812fe66d167516e88f3fadae55a4",
            "0e0810f5111b01020304050607081209131bffffffffffffffff",
        );
        stays(&Life::Provisioned(full), hex, Some(3));
        let first = Life::Provisioned(Record::new(id, slot(0)));
        stays(&first, "820181a900656465762d3101600200030006f4070009000e0010f4", Some(3));
        stays(&Life::Ending(End::Blank), "82028101", None);
        stays(&Life::Ending(End::Destroyed), "82028102", None);
        stays(&Life::Destroyed, "820380", None);
    }

    /// The base point of P-256.
    const POINT: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
}
