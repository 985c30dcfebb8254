//! What tests/vault runs in place of the device: the vault on this board's PSA Crypto, flash and entropy. Owns the steps and
//! what it prints, no claim about the device. For emulated boards: it shows keys. R-SECRET-STORE, R-ENTROPY.
//!
//! A boot with an empty vault makes keys and shows what they are; one that finds keys uses and wipes them.

use crate::settings::Platform;
use crate::vault::{self, TLS_KEY_BYTES};
use crate::{error, ffi, info};
use core::fmt;
use device::platform::{KeySlot, Vault};
use device::vault::csr;
use device::{Entropy, VaultError};
use protocol::document::{CSR_BYTES_MAX, KeyUse};
use protocol::x509::Csr;
use protocol::{DeviceId, PublicKey};

/// Length of a private key in bytes, and where it stands in SEC 1's DER.
const SCALAR_BYTES: usize = 32;
const SCALAR_IN_DER: core::ops::Range<usize> = 7..39;

/// The number of the first slot's identity key.
const IDENTITY: u32 = 0;

/// Runs the steps; the last line says how it ended.
pub fn run(platform: &mut Platform) {
    let [first, second, _] = KeySlot::ALL;
    let ended = match platform.public_key(first, KeyUse::Identity) {
        Ok(None) => make(platform, first, second),
        Ok(Some(key)) => use_and_wipe(platform, first, second, &key),
        Err(error) => Err(Wrong::Vault(error)),
    };
    match ended {
        Ok(()) => info!("self-test: done"),
        Err(wrong) => error!("self-test: {wrong}"),
    }
}

/// What went wrong.
enum Wrong {
    Vault(VaultError),
    Claim(&'static str),
}

impl From<VaultError> for Wrong {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault(error) => error.fmt(f),
            Self::Claim(claim) => write!(f, "it is not so that {claim}"),
        }
    }
}

fn claim(holds: bool, claim: &'static str) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(Wrong::Claim(claim)) }
}

fn make(platform: &mut Platform, first: KeySlot, second: KeySlot) -> Result<(), Wrong> {
    let mut random = [0; 16];
    if platform.fill(&mut random).is_err() {
        info!("self-test: no random numbers");
    }
    let identity = platform.generate(first, KeyUse::Identity)?;
    show("identity", identity.as_bytes());
    let other = platform.generate(first, KeyUse::Tls)?;
    let other_slot = platform.generate(second, KeyUse::Identity)?;
    claim(identity != other && identity != other_slot && other != other_slot, "keys differ")?;
    sign(platform, first, &identity)?;
    // SAFETY: takes a number.
    claim(unsafe { ffi::self_test_age(IDENTITY) } == 0, "a key can be made as earlier firmware has made it")?;
    sign(platform, first, &identity)?;
    let again = platform.generate(first, KeyUse::Tls)?;
    claim(again != other, "a key that is made again is another")?;
    show("tls", again.as_bytes());
    let mut der = [0; TLS_KEY_BYTES];
    vault::export_tls_key(first, &mut der)?;
    claim(der.ends_with(again.as_bytes()), "the exported TLS key has its public half")?;
    show("tls-scalar", der.get(SCALAR_IN_DER).unwrap_or_default());
    let mut scalar = [0; SCALAR_BYTES];
    // SAFETY: the buffer has the length that shim_vault.h states and outlives the call.
    let status = unsafe { ffi::shim_vault_export(IDENTITY, scalar.as_mut_ptr()) };
    claim(status == ffi::SHIM_VAULT_REFUSED, "PSA Crypto does not give the identity key away")?;
    // Without TF-M, what lies below PSA Crypto is open to all of this image's code.
    // SAFETY: as above.
    let status = unsafe { ffi::self_test_unseal(IDENTITY, scalar.as_mut_ptr()) };
    claim(status == 0, "the identity key is in secure storage")?;
    show("identity-scalar", &scalar);
    Ok(())
}

fn use_and_wipe(
    platform: &mut Platform,
    first: KeySlot,
    second: KeySlot,
    identity: &PublicKey,
) -> Result<(), Wrong> {
    show("identity", identity.as_bytes());
    sign(platform, first, identity)?;
    let made = platform.generate(second, KeyUse::Tls).is_ok();
    info!("self-test: a key was {}", if made { "made" } else { "not made" });
    for slot in KeySlot::ALL {
        platform.wipe(slot)?;
        for usage in [KeyUse::Identity, KeyUse::Tls] {
            claim(platform.public_key(slot, usage)?.is_none(), "a wiped slot is empty")?;
        }
        // Wiping what is not there is no error.
        platform.wipe(slot)?;
    }
    info!("self-test: wiped");
    Ok(())
}

/// A request for a certificate is signed by the key that is in it; `Csr::decode` checks that with another library.
fn sign(platform: &mut Platform, slot: KeySlot, key: &PublicKey) -> Result<(), Wrong> {
    let id = DeviceId::new("self-test").map_err(|_| Wrong::Claim("self-test is an id"))?;
    let mut der = [0; CSR_BYTES_MAX];
    let len = csr(platform, slot, KeyUse::Identity, &id, &mut der)
        .map_err(|_| Wrong::Claim("the identity key signs a request"))?;
    let request = Csr::decode(der.get(..len).unwrap_or_default())
        .map_err(|_| Wrong::Claim("the signature is right"))?;
    claim(request.key == *key, "the request is for the key that signs it")
}

fn show(name: &str, bytes: &[u8]) {
    info!("self-test: {name} {}", Hex(bytes));
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
