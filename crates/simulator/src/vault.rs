//! The vault on Linux: the private keys in a file that behaves like NOR flash, each sealed under a key that is kept
//! elsewhere. Owns them from the moment they are made until nothing of them can be read; never gives an identity key,
//! and lends a TLS key for a handshake only. R-SECRET-STORE, R-DESTROY, R-INITIAL-SECRET.
//!
//! The file is [`Partition`], mode 0600. A value in it is nonce (12 bytes), ciphertext (32) and tag (16): AES-256-GCM
//! with the entry's number as associated data, so that no sealed key can be put in another's place. The sealing key
//! lies in a page that is locked into memory where the system allows it; private keys are in memory for as long as one
//! call takes, and overwritten then. What the system can still show of them is a core dump: a program that has a vault
//! begins with [`no_core_dumps`].
//!
//! A file system or a disk may keep what was overwritten (copy on write, journal, wear levelling): who scraps a machine
//! destroys the sealing key's file too, or the disk.
//!
//! # What does not compile
//! A vault signs statements, and those come from the device alone:
//!
//! ```
//! fn sign(vault: &mut impl device::platform::Vault, slot: device::platform::KeySlot, statement: &device::vault::Statement) {
//!     let _signature = vault.sign(slot, statement);
//! }
//! ```
//! ```compile_fail,E0451
//! let statement = device::vault::Statement { usage: protocol::document::KeyUse::Identity, digest: [0; 32] };
//! ```
//! ```compile_fail,E0308
//! fn sign(vault: &mut impl device::platform::Vault, slot: device::platform::KeySlot, statement: &[u8; 32]) {
//!     let _signature = vault.sign(slot, statement);
//! }
//! ```
//! It lends a TLS key, and there is no way to say that another is meant, nor to keep what was lent:
//!
//! ```
//! # use {device::{Entropy, platform::KeySlot}, simulator::vault::LinuxVault};
//! fn handshake<E: Entropy>(vault: &mut LinuxVault<E>, slot: KeySlot) {
//!     let _bytes = vault.with_tls_key(slot, |key| key.len());
//! }
//! ```
//! ```compile_fail,E0061
//! # use {device::{Entropy, platform::KeySlot}, simulator::vault::LinuxVault};
//! fn handshake<E: Entropy>(vault: &mut LinuxVault<E>, slot: KeySlot) {
//!     let _bytes = vault.with_tls_key(slot, protocol::document::KeyUse::Identity, |key| key.len());
//! }
//! ```
//! ```compile_fail
//! # use {device::{Entropy, platform::KeySlot}, simulator::vault::LinuxVault};
//! fn handshake<E: Entropy>(vault: &mut LinuxVault<E>, slot: KeySlot) {
//!     let _kept = vault.with_tls_key(slot, |key| key);
//! }
//! ```

mod locked;
pub mod sealing;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use device::platform::{KeySlot, Vault, VaultError};
use device::vault::Statement;
use device::vault::partition::{Partition, PartitionError, Rewrite};
use device::{Entropy, EntropyError};
use locked::Locked;
use norflash::Flash;
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::EncodePrivateKey;
use protocol::document::KeyUse;
use protocol::{PublicKey, Signature};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use sealing::{SealingError, SealingKey};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroize;

/// The flash under a vault: blocks just long enough for an entry and words of 4 bytes.
pub type VaultFlash = Flash<512, 4>;

/// Blocks of [`VaultFlash`]: six keys, the spare one, and others to share the wear. 8 KiB in all, which is no other
/// flash's size, so that a file of another kind is refused.
pub const VAULT_BLOCKS: u16 = 16;

const SCALAR_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SEALED_BYTES: usize = NONCE_BYTES + SCALAR_BYTES + TAG_BYTES;

/// What is sealed, and in which form.
const PURPOSE: [u8; 8] = *b"vault v1";

/// Random numbers that are tried for a private key: all but one of 2^32 are one.
const TRIES: u8 = 8;

/// Whether keys that were made elsewhere are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// A factory that must make keys outside the device may put them in.
    Allowed,
    /// Every key is made in here.
    Refused,
}

/// Why there is no vault.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Others have seen what is in it, or can.
    #[error("{path} has mode {mode:o}: a vault's file is for its owner only; make new keys, in a new file")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file cannot be used.
    #[error("the vault: {0}")]
    File(#[from] norflash::OpenError),
    /// The store in the file cannot be used.
    #[error("the vault: {0}")]
    Partition(#[from] PartitionError),
    /// There is no key to unseal it with.
    #[error("the vault: {0}")]
    Sealing(#[from] SealingError),
}

/// A vault in a file or, for fleets and tests, in memory. Makes keys from `E`.
pub struct LinuxVault<E> {
    partition: Partition<VaultFlash>,
    entropy: E,
    injection: Injection,
    secrets: Locked,
}

impl<E: Entropy> LinuxVault<E> {
    /// Opens the vault in the file `path`, or makes an empty one where there is none. A file that others can read or
    /// write is refused.
    pub fn open(
        path: &Path,
        sealing: &impl SealingKey,
        entropy: E,
        injection: Injection,
    ) -> Result<Self, OpenError> {
        if let Some(mode) = sealing::mode_for_others(path) {
            return Err(OpenError::Exposed { path: path.into(), mode });
        }
        let flash = VaultFlash::open_of(path, VAULT_BLOCKS)?.durable();
        Self::on_flash(flash, sealing, entropy, injection)
    }

    /// Opens the vault on `flash`.
    pub fn on_flash(
        flash: VaultFlash,
        sealing: &impl SealingKey,
        entropy: E,
        injection: Injection,
    ) -> Result<Self, OpenError> {
        let mut secrets = Locked::new();
        sealing.give(&mut secrets.sealing)?;
        let partition = Partition::open(flash.overwritable(), Rewrite::ToZero)?;
        Ok(Self { partition, entropy, injection, secrets })
    }

    /// An empty vault in memory, sealed under a key that is nowhere else.
    pub fn in_memory(mut entropy: E, injection: Injection) -> Result<Self, EntropyError> {
        let mut secrets = Locked::new();
        entropy.fill(&mut secrets.sealing)?;
        let flash = VaultFlash::in_memory_of(VAULT_BLOCKS).overwritable();
        let partition =
            Partition::open(flash, Rewrite::ToZero).expect("erased flash of the right shape, in memory");
        Ok(Self { partition, entropy, injection, secrets })
    }

    /// Lends the TLS key of `slot` to `handshake`, as PKCS#8 in DER, and overwrites what was lent. What a TLS library
    /// makes of it is that library's: let it go with the connection.
    pub fn with_tls_key<R>(
        &mut self,
        slot: KeySlot,
        handshake: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, VaultError> {
        let key = self.unseal(slot, KeyUse::Tls)?.ok_or(VaultError::Empty)?;
        let document = key.to_pkcs8_der().map_err(|_| VaultError::Sealed)?;
        Ok(handshake(document.as_bytes()))
    }

    /// The flash, to look at it or to cut its power.
    pub const fn flash(&mut self) -> &mut VaultFlash {
        self.partition.flash()
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> VaultFlash {
        self.partition.into_flash()
    }

    fn unseal(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<SecretKey>, VaultError> {
        let mut sealed = [0; SEALED_BYTES];
        let Some(found) = self.partition.get(uid(slot, usage), &mut sealed)? else { return Ok(None) };
        let (nonce, rest) = found.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Sealed)?;
        let (ciphertext, tag) = rest.split_first_chunk::<SCALAR_BYTES>().ok_or(VaultError::Sealed)?;
        let tag = Tag::try_from(tag).map_err(|_| VaultError::Sealed)?;
        self.secrets.scalar = *ciphertext;
        let secrets = &mut *self.secrets;
        let opened = Aes256Gcm::new((&secrets.sealing).into())
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                &associated(slot, usage),
                secrets.scalar.as_mut_slice().into(),
                &tag,
            )
            .map_err(|_| VaultError::Sealed)
            .and_then(|()| SecretKey::from_slice(&secrets.scalar).map_err(|_| VaultError::Sealed));
        secrets.scalar.zeroize();
        opened.map(Some)
    }

    /// Seals the scalar that lies in the locked page, and stores it; the page is overwritten in any case.
    fn store(&mut self, slot: KeySlot, usage: KeyUse, key: &SecretKey) -> Result<PublicKey, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        let secrets = &mut *self.secrets;
        let sealed =
            self.entropy.fill(&mut nonce).map_err(|EntropyError| VaultError::Entropy).and_then(|()| {
                Aes256Gcm::new((&secrets.sealing).into())
                    .encrypt_inout_detached(
                        &Nonce::from(nonce),
                        &associated(slot, usage),
                        secrets.scalar.as_mut_slice().into(),
                    )
                    .map_err(|_| VaultError::Sealed)
            });
        // After sealing this is the ciphertext; otherwise it goes no further.
        let ciphertext = sealed.map(|tag| (secrets.scalar, tag));
        secrets.scalar.zeroize();
        let (ciphertext, tag) = ciphertext?;
        let public = public(key)?;
        let mut value = [0; SEALED_BYTES];
        for (to, from) in value.iter_mut().zip(nonce.iter().chain(&ciphertext).chain(&tag)) {
            *to = *from;
        }
        self.partition.set(uid(slot, usage), &value)?;
        Ok(public)
    }
}

impl<E: Entropy> Vault for LinuxVault<E> {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        for _ in 0..TRIES {
            if self.entropy.fill(&mut self.secrets.scalar).is_err() {
                // It may have given some bytes.
                self.secrets.scalar.zeroize();
                return Err(VaultError::Entropy);
            }
            // Any number from 1 to below the order is as likely as any other (FIPS 186-5, A.2.2).
            if let Ok(key) = SecretKey::from_slice(&self.secrets.scalar) {
                return self.store(slot, usage, &key);
            }
        }
        self.secrets.scalar.zeroize();
        Err(VaultError::Entropy)
    }

    fn import(
        &mut self,
        slot: KeySlot,
        usage: KeyUse,
        scalar: &[u8; SCALAR_BYTES],
    ) -> Result<PublicKey, VaultError> {
        if self.injection == Injection::Refused {
            return Err(VaultError::Import);
        }
        let key = SecretKey::from_slice(scalar).map_err(|_| VaultError::Import)?;
        self.secrets.scalar = *scalar;
        self.store(slot, usage, &key)
    }

    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        self.unseal(slot, usage)?.map(|key| public(&key)).transpose()
    }

    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        let key = self.unseal(slot, statement.usage())?.ok_or(VaultError::Empty)?;
        // Deterministic (RFC 6979): no random number can give the key away.
        let signature: p256::ecdsa::Signature =
            SigningKey::from(key).sign_prehash(statement.digest()).map_err(|_| VaultError::Sealed)?;
        Signature::normalised(&signature.to_bytes()).map_err(|_| VaultError::Sealed)
    }

    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        // Both, even where one fails.
        let identity = self.partition.remove(uid(slot, KeyUse::Identity));
        let tls = self.partition.remove(uid(slot, KeyUse::Tls));
        identity.and(tls)?;
        Ok(())
    }
}

/// Sees to it that this process leaves no core dump and that no other one of its user can read its memory: the first
/// thing that a program with a vault does.
pub fn no_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The limit does not hold for dumps that are piped to a program.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The number of a key's entry. Stored: it stays as it is.
const fn uid(slot: KeySlot, usage: KeyUse) -> u64 {
    let usage = match usage {
        KeyUse::Identity => 1,
        KeyUse::Tls => 2,
    };
    (slot.number() as u64) << 8 | usage
}

fn associated(slot: KeySlot, usage: KeyUse) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (purpose, number) = bytes.split_at_mut(PURPOSE.len());
    purpose.copy_from_slice(&PURPOSE);
    number.copy_from_slice(&uid(slot, usage).to_le_bytes());
    bytes
}

fn public(key: &SecretKey) -> Result<PublicKey, VaultError> {
    PublicKey::new(key.public_key().to_sec1_point(false).as_bytes()).map_err(|_| VaultError::Sealed)
}

#[cfg(test)]
mod tests;
