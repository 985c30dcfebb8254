//! What a device's vault on Linux holds, got out of it with the key that seals it: what a thief with both files has, and what
//! a test has to know to search for it. Works on copies, never on a device's own files. R-SECRET-STORE.

use crate::search::{SCALAR_BYTES, Secret};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use device::KeySlot;
use device::vault::partition::{Partition, Rewrite};
use p256::SecretKey;
use p256::pkcs8::DecodePrivateKey;
use protocol::PublicKey;
use protocol::document::KeyUse;
use simulator::entropy::random;
use simulator::vault::sealing::SealingKeyFile;
use simulator::vault::{Injection, LinuxVault, VAULT_BLOCKS, VaultFlash};
use std::fs;
use std::path::Path;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// A private key in a vault.
#[derive(Clone)]
pub struct Kept {
    /// Where it is.
    pub slot: KeySlot,
    /// What it is for.
    pub usage: KeyUse,
    /// Its value, big endian.
    pub scalar: [u8; SCALAR_BYTES],
    /// How it lies in the vault: the sealed value alone, without nonce and tag.
    pub sealed: [u8; SCALAR_BYTES],
}

impl Kept {
    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let key = SecretKey::from_slice(&self.scalar).expect("a private key");
        PublicKey::new(&key.public_key().to_sec1_bytes()).expect("its public half")
    }

    /// As something to search for.
    pub fn secret(&self, device: &str) -> Secret {
        let name = format!("the {:?} key in slot {} of {device}", self.usage, self.slot.number());
        Secret { name, scalar: self.scalar }
    }

    /// The sealed value as something to search for.
    pub fn sealed(&self, device: &str) -> Secret {
        let name = format!("the sealed {:?} key in slot {} of {device}", self.usage, self.slot.number());
        Secret { name, scalar: self.sealed }
    }
}

/// Every private key of the device whose flash is the file `flash`.
pub fn keys(flash: &Path) -> Vec<Kept> {
    let folder = tempfile::tempdir().expect("a folder for copies");
    let copy = |extension: &str| {
        let to = folder.path().join("flash").with_extension(extension);
        let from = flash.with_extension(extension);
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{} cannot be copied: {error}", from.display()));
        to
    };
    let (vault, sealing) = (copy("vault"), copy("seal"));
    let mut all = Vec::new();
    {
        let opened = VaultFlash::open_of(&vault, VAULT_BLOCKS).expect("a vault's file").overwritable();
        let mut partition = Partition::open(opened, Rewrite::ToZero).expect("a vault's store");
        let key = fs::read(&sealing).expect("the sealing key");
        for slot in KeySlot::ALL {
            for (usage, number) in [(KeyUse::Identity, 1), (KeyUse::Tls, 2)] {
                let uid = u64::from(slot.number()) << 8 | number;
                let mut buffer = [0; NONCE_BYTES + SCALAR_BYTES + TAG_BYTES];
                if let Some(value) = partition.get(uid, &mut buffer).expect("an entry of a vault") {
                    let (sealed, scalar) = unseal(&key, uid, value);
                    all.push(Kept { slot, usage, scalar, sealed });
                }
            }
        }
    }
    // The vault itself lends the TLS keys: the same ones.
    let sealing = SealingKeyFile::open(&sealing, &mut random()).expect("the sealing key");
    let mut vault =
        LinuxVault::open(&vault, &sealing, random(), Injection::Refused).expect("the copy of a vault");
    for kept in all.iter().filter(|kept| kept.usage == KeyUse::Tls) {
        let same = vault.with_tls_key(kept.slot, |der| {
            SecretKey::from_pkcs8_der(der).expect("PKCS#8").to_bytes().as_slice() == kept.scalar
        });
        assert_eq!(same, Ok(true), "this module reads another key than the vault");
    }
    all
}

fn unseal(key: &[u8], uid: u64, value: &[u8]) -> ([u8; SCALAR_BYTES], [u8; SCALAR_BYTES]) {
    let (nonce, rest) = value.split_first_chunk::<NONCE_BYTES>().expect("a nonce");
    let (sealed, tag) = rest.split_first_chunk::<SCALAR_BYTES>().expect("a sealed key");
    let mut scalar = *sealed;
    let associated = [&b"vault v1"[..], &uid.to_le_bytes()].concat();
    Aes256Gcm::new_from_slice(key)
        .expect("32 bytes")
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            &associated,
            scalar.as_mut_slice().into(),
            &Tag::try_from(tag).expect("a tag"),
        )
        .expect("what was sealed with this key");
    (*sealed, scalar)
}
