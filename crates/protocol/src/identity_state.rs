//! How a device's identity and trust are, as it says itself: a retained message that replaces the one before. R-ROOTS,
//! R-SECRET-ROTATE, R-AUTHORITY.

use crate::json::{self, DecodeError, EncodeError, check_version};
use crate::reason::named;
use crate::{EpochMillis, KeyId, Name, PROTOCOL_VERSION, Refusal};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Longest such message in bytes.
pub const IDENTITY_STATE_BYTES_MAX: usize = 512;

named! {
    /// What a device is doing about its identity.
    Rotation {
        None = "none", "nothing: the identity in force is the only one that is wanted";
        Requested = "requested", "new keys are made and a certificate for them is asked for";
        Trial = "trial", "the new identity is tried on a connection of its own";
    }
}

named! {
    /// Where a device is in its life.
    Life {
        Provisioned = "provisioned", "it has an identity";
        Blank = "blank", "its secrets are wiped; it may be provisioned again";
        Destroyed = "destroyed", "its secrets are wiped; it will never work again";
    }
}

/// How a device's identity and trust are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityState {
    v: u8,
    /// When this was said.
    #[serde(deserialize_with = "json::nullable")]
    pub t: Option<EpochMillis>,
    /// Where it is in its life; the last message of a life says how it ended.
    pub life: Life,
    /// The first eight bytes of the identity key's id, in hex.
    pub key: Name,
    /// Number of the certificate in force; 0 for the factory's.
    pub certificate: u32,
    /// When the certificate in force ends.
    pub certificate_until: EpochMillis,
    /// True where less than a third of its life is left.
    pub certificate_ends_soon: bool,
    /// What it is doing about a new identity.
    pub rotation: Rotation,
    /// True while the identity before this one could still be used.
    pub retired_kept: bool,
    /// Number of the list of roots in force; 0 for the factory's.
    pub roots: u32,
    /// How many they are.
    pub roots_count: u32,
    /// When the first of them ends.
    pub roots_until: EpochMillis,
    /// True where that is less than [`ROOTS_SOON_MS`] away.
    pub roots_end_soon: bool,
    /// Lists of roots since start with which the service could not be reached, so that the former one is in force again.
    pub roots_undone: u32,
    /// Documents that were refused since start, without those below. What is in force and comes again is neither.
    pub refused: u32,
    /// Documents since start whose number was already used. What is retained comes again with every connection.
    pub replayed: u32,
    /// Why the last one was.
    #[serde(deserialize_with = "json::nullable")]
    pub last_refusal: Option<Refusal>,
}

/// How long ahead the end of a root is reported, in milliseconds: 60 days, time for a rotation by people.
pub const ROOTS_SOON_MS: u64 = 60 * 86_400_000;

impl IdentityState {
    /// A state of this version of the protocol for the device with this identity key.
    pub fn new(key: &KeyId) -> Self {
        let mut text = heapless::String::<16>::new();
        // Sixteen digits are what a key's id is written as.
        let written = fmt::Write::write_fmt(&mut text, format_args!("{key}"));
        debug_assert!(written.is_ok());
        Self {
            v: PROTOCOL_VERSION,
            t: None,
            life: Life::Provisioned,
            key: Name::try_from(text.as_str()).unwrap_or_default(),
            certificate: 0,
            certificate_until: EpochMillis(0),
            certificate_ends_soon: false,
            rotation: Rotation::None,
            retired_kept: false,
            roots: 0,
            roots_count: 0,
            roots_until: EpochMillis(0),
            roots_end_soon: false,
            roots_undone: 0,
            refused: 0,
            replayed: 0,
            last_refusal: None,
        }
    }

    /// Writes the message as JSON into `buffer` ([`IDENTITY_STATE_BYTES_MAX`] bytes always suffice); gives its length in
    /// bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(self, buffer)
    }

    /// Reads such a message of at most [`IDENTITY_STATE_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let state: Self = json::decode(bytes, IDENTITY_STATE_BYTES_MAX)?;
        check_version(state.v)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn longest() -> IdentityState {
        IdentityState {
            t: Some(EpochMillis(u64::MAX)),
            certificate: u32::MAX,
            certificate_until: EpochMillis(u64::MAX),
            life: Life::Provisioned,
            rotation: Rotation::Requested,
            roots: u32::MAX,
            roots_count: u32::MAX,
            roots_until: EpochMillis(u64::MAX),
            roots_undone: u32::MAX,
            refused: u32::MAX,
            replayed: u32::MAX,
            last_refusal: Refusal::ALL.iter().copied().max_by_key(|refusal| refusal.as_str().len()),
            ..IdentityState::new(&KeyId([0xff; 32]))
        }
    }

    #[test]
    fn the_longest_fits_and_no_part_of_it_is_accepted() {
        let mut buffer = [0; IDENTITY_STATE_BYTES_MAX];
        let len = longest().encode(&mut buffer).unwrap();
        assert_eq!(IdentityState::decode(&buffer[..len]), Ok(longest()));
        for cut in 0..len {
            assert!(IdentityState::decode(&buffer[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_key_is_named_as_in_a_log() {
        assert_eq!(IdentityState::new(&KeyId([0xab; 32])).key.as_str(), "abababababababab");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _verdict = IdentityState::decode(&bytes);
        }
    }
}
