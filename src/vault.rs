//! The vault on Zephyr: PSA Crypto's persistent keys, used by id. Owns which id is whose and what a key may do; its bytes
//! stay behind PSA (TF-M's on boards that have it), except those of a TLS key while a connection lasts. R-SECRET-STORE,
//! R-DESTROY.

mod flash;
mod store;

use crate::entropy;
use crate::ffi;
use crate::settings::Platform;
use device::platform::{KEY_SLOTS, KeySlot, Vault, VaultError};
use device::vault::Statement;
use protocol::document::KeyUse;
use protocol::key::{PUBLIC_KEY_BYTES, SIGNATURE_BYTES};
use protocol::{PublicKey, Signature};
use zeroize::Zeroizing;

/// Length of a TLS key in SEC 1's DER, in bytes.
pub const TLS_KEY_BYTES: usize = HEAD.len() + SCALAR_BYTES + MIDDLE.len() + PUBLIC_KEY_BYTES;

/// Length of a private key in bytes.
const SCALAR_BYTES: usize = ffi::SHIM_VAULT_SCALAR_BYTES as usize;

/// Keys of a slot.
const USES: u32 = 2;

/// The two keys of every slot, and the spare block that the partition wants.
const BLOCKS_WANTED: u32 = KEY_SLOTS as u32 * USES + 1;

// RFC 5915: SEQUENCE { 1, OCTET STRING scalar, [0] prime256v1, [1] BIT STRING point }. All lengths are fixed.
const HEAD: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const MIDDLE: [u8; 17] =
    [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42, 0x00];

/// Writes the TLS key of `slot` as Zephyr's TLS takes it (SEC 1's DER, RFC 5915) into `out`. Whoever asks wipes it
/// after the handshake; Mbed TLS has a copy until the connection is closed. There is no such way to an identity key.
pub fn export_tls_key(slot: KeySlot, out: &mut [u8; TLS_KEY_BYTES]) -> Result<(), VaultError> {
    let id = id_of(slot, KeyUse::Tls);
    let point = read_public(id)?.ok_or(VaultError::Empty)?;
    let mut scalar = Zeroizing::new([0; SCALAR_BYTES]);
    // SAFETY: the buffer has the length that shim_vault.h states and outlives the call.
    read(unsafe { ffi::shim_vault_export(id, scalar.as_mut_ptr()) })?;
    let parts: [&[u8]; 4] = [&HEAD, scalar.as_slice(), &MIDDLE, point.as_bytes()];
    for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    Ok(())
}

impl Vault for Platform {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        // Before the old key goes: where there is no randomness, everything stays as it is.
        entropy::fill(Zeroizing::new([0; SCALAR_BYTES]).as_mut_slice()).map_err(|_| VaultError::Entropy)?;
        let id = id_of(slot, usage);
        clear(id)?;
        // SAFETY: takes numbers.
        make(id, unsafe { ffi::shim_vault_generate(id, usage == KeyUse::Tls) })
    }

    fn import(
        &mut self,
        slot: KeySlot,
        usage: KeyUse,
        scalar: &[u8; SCALAR_BYTES],
    ) -> Result<PublicKey, VaultError> {
        if !cfg!(CONFIG_SENSOR_KEY_INJECTION) {
            return Err(VaultError::Import);
        }
        let id = id_of(slot, usage);
        clear(id)?;
        // SAFETY: the buffer has the length that shim_vault.h states and outlives the call.
        make(id, unsafe { ffi::shim_vault_import(id, usage == KeyUse::Tls, scalar.as_ptr()) })
    }

    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        read_public(id_of(slot, usage))
    }

    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        let mut signature = [0; SIGNATURE_BYTES];
        let (id, digest) = (id_of(slot, statement.usage()), statement.digest());
        // SAFETY: both buffers have the lengths that shim_vault.h states and outlive the call.
        read(unsafe { ffi::shim_vault_sign(id, digest.as_ptr(), signature.as_mut_ptr()) })?;
        // PSA leaves it to chance in which half s is.
        Signature::normalised(&signature).map_err(|_| VaultError::Sealed)
    }

    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        // Both are tried: that one does not go is no reason to leave the other.
        let identity = clear(id_of(slot, KeyUse::Identity));
        clear(id_of(slot, KeyUse::Tls)).and(identity)
    }
}

/// The number of a key, below `KEY_SLOTS * USES`. It is its name in flash: never to be changed.
fn id_of(slot: KeySlot, usage: KeyUse) -> u32 {
    let usage = match usage {
        KeyUse::Identity => 0,
        KeyUse::Tls => 1,
    };
    u32::from(slot.number()) * USES + usage
}

/// Destroys a key, whatever is left of it; no error where there is none.
fn clear(id: u32) -> Result<(), VaultError> {
    // SAFETY: takes a number. What it says is judged by what is left of the key.
    let _judged_below = unsafe { ffi::shim_vault_destroy(id) };
    // PSA destroys only what it can read: a damaged entry is removed behind its back.
    // SAFETY: takes numbers.
    match unsafe { ffi::shim_vault_remove(ffi::shim_vault_entry(id)) } {
        ffi::SHIM_VAULT_DONE | ffi::SHIM_VAULT_EMPTY => {}
        status => return Err(kind(status)),
    }
    match read_public(id)? {
        None => Ok(()),
        Some(_) => Err(VaultError::NotWiped),
    }
}

/// What came of making a key: its public half, or nothing of it is left.
fn make(id: u32, status: ffi::shim_vault_status) -> Result<PublicKey, VaultError> {
    let made = match status {
        ffi::SHIM_VAULT_DONE => read_public(id)?.ok_or(VaultError::Medium),
        ffi::SHIM_VAULT_REFUSED => Err(VaultError::Import),
        // PSA has one word for everything that fails while it seals and stores; the source of entropy is the only part
        // of it that can be asked.
        ffi::SHIM_VAULT_OTHER if entropy::fill(&mut [0]).is_err() => Err(VaultError::Entropy),
        ffi::SHIM_VAULT_OTHER => Err(VaultError::Medium),
        status => Err(kind(status)),
    };
    made.inspect_err(|_| {
        // The first error is the one that counts; a rest of a key can be wiped again.
        let _first_error_counts = clear(id);
    })
}

fn read_public(id: u32) -> Result<Option<PublicKey>, VaultError> {
    let mut point = [0; PUBLIC_KEY_BYTES];
    // SAFETY: the buffer has the length that shim_vault.h states and outlives the call.
    match read(unsafe { ffi::shim_vault_public(id, point.as_mut_ptr()) }) {
        Ok(()) => PublicKey::new(&point).map(Some).map_err(|_| VaultError::Sealed),
        Err(VaultError::Empty) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What came of using a key. Zephyr's secure storage says "generic error" for what it cannot unseal.
fn read(status: ffi::shim_vault_status) -> Result<(), VaultError> {
    match status {
        ffi::SHIM_VAULT_DONE => Ok(()),
        ffi::SHIM_VAULT_OTHER => Err(VaultError::Sealed),
        status => Err(kind(status)),
    }
}

fn kind(status: ffi::shim_vault_status) -> VaultError {
    match status {
        ffi::SHIM_VAULT_EMPTY => VaultError::Empty,
        ffi::SHIM_VAULT_SEALED => VaultError::Sealed,
        ffi::SHIM_VAULT_ENTROPY => VaultError::Entropy,
        ffi::SHIM_VAULT_NOT_WIPED => VaultError::NotWiped,
        _ => VaultError::Medium,
    }
}
