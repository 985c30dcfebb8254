//! The one way to the device's private keys: make, give the public half, sign one of the statements below, wipe. There is
//! no "sign these bytes". Owns the statements, never a key: those stay behind [`Vault`]. R-SECRET-STORE.
//!
//! The bytes that are signed differ in their first ones by what they state, so that no signature can be taken for another:
//! a request for a certificate begins with DER's `30`, a token with `eyJ` (the base64url of `{"`), everything else is a
//! COSE `Sig_structure`, which begins with `84 6a`, and has its content type inside.

pub mod partition;

use crate::platform::{KeySlot, Vault, VaultError};
use protocol::document::{KeyUse, LogDelivery, RenewalRequest};
use protocol::key::Digest;
use protocol::signed::{self, SealError};
use protocol::token::{self, Claims};
use protocol::{DeviceId, KeyId, PublicKey, Signature, x509};

/// Something that a key of this device may sign. Made in this module only.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    usage: KeyUse,
    digest: Digest,
}

impl Statement {
    /// The key that signs it.
    pub const fn usage(&self) -> KeyUse {
        self.usage
    }

    /// SHA-256 of what is signed.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Writes a certificate signing request (PKCS#10, RFC 2986) for a key of `slot` into `out`; gives its length in bytes.
pub fn csr(
    vault: &mut impl Vault,
    slot: KeySlot,
    usage: KeyUse,
    id: &DeviceId,
    out: &mut [u8],
) -> Result<usize, SealError<VaultError>> {
    let key = public_key(vault, slot, usage).map_err(SealError::Signer)?;
    x509::encode_csr(id, &key, out, |digest| vault.sign(slot, &Statement { usage, digest: *digest }))
}

/// Writes a token (RFC 7519) signed with the identity key of `slot` into `out`; gives its length in bytes.
pub fn token(
    vault: &mut impl Vault,
    slot: KeySlot,
    claims: &Claims<'_>,
    out: &mut [u8],
) -> Result<usize, SealError<VaultError>> {
    token::encode(claims, out, |digest| {
        vault.sign(slot, &Statement { usage: KeyUse::Identity, digest: *digest })
    })
}

/// Writes a request for a certificate, signed with the identity key of `slot`, into `out`; gives its length in bytes.
pub fn request(
    vault: &mut impl Vault,
    slot: KeySlot,
    request: &RenewalRequest<'_>,
    out: &mut [u8],
) -> Result<usize, SealError<VaultError>> {
    let key = public_key(vault, slot, KeyUse::Identity).map_err(SealError::Signer)?;
    signed::seal(request, key.id(), out, |digest| {
        vault.sign(slot, &Statement { usage: KeyUse::Identity, digest: *digest })
    })
}

/// Writes a piece of the security log, signed with the identity key of `slot`, into `out`; gives its length in bytes.
pub fn log(
    vault: &mut impl Vault,
    slot: KeySlot,
    delivery: &LogDelivery<'_>,
    out: &mut [u8],
) -> Result<usize, SealError<VaultError>> {
    let key = public_key(vault, slot, KeyUse::Identity).map_err(SealError::Signer)?;
    signed::seal(delivery, key.id(), out, |digest| {
        vault.sign(slot, &Statement { usage: KeyUse::Identity, digest: *digest })
    })
}

/// Longest seal of the log in bytes: a delivery without records.
const LOG_SEAL_BYTES_MAX: usize = 384;

/// The signature of the identity key of `slot` under a piece of the security log without records, and whose it is.
pub fn log_seal(
    vault: &mut impl Vault,
    slot: KeySlot,
    delivery: &LogDelivery<'_>,
) -> Result<(KeyId, Signature), SealError<VaultError>> {
    let key = public_key(vault, slot, KeyUse::Identity).map_err(SealError::Signer)?.id();
    let mut made = None;
    signed::seal(delivery, key, &mut [0; LOG_SEAL_BYTES_MAX], |digest| {
        let signature = vault.sign(slot, &Statement { usage: KeyUse::Identity, digest: *digest })?;
        made = Some(signature);
        Ok(signature)
    })?;
    made.map(|signature| (key, signature)).ok_or(SealError::TooLong)
}

fn public_key(vault: &mut impl Vault, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
    vault.public_key(slot, usage)?.ok_or(VaultError::Empty)
}
