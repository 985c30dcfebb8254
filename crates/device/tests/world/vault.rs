//! A vault in memory for tests: keys survive the device, and calls fail on request. Keys come from the test's seed.

use super::Platform;
use super::power::Change;
use device::vault::Statement;
use device::{Entropy, KeySlot, Vault, VaultError};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::document::KeyUse;
use protocol::{PublicKey, Signature};
use std::collections::BTreeMap;

pub type Keys = BTreeMap<(u8, bool), [u8; 32]>;

/// Where a key lies.
pub fn place(slot: KeySlot, usage: KeyUse) -> (u8, bool) {
    (slot.number(), usage == KeyUse::Tls)
}

pub fn public(scalar: &[u8; 32]) -> PublicKey {
    let key = SigningKey::from_slice(scalar).expect("a scalar");
    PublicKey::new(key.verifying_key().to_sec1_point(false).as_bytes()).expect("a point")
}

pub fn sign(scalar: &[u8; 32], digest: &[u8; 32]) -> Signature {
    let key = SigningKey::from_slice(scalar).expect("a scalar");
    let signature: p256::ecdsa::Signature = key.sign_prehash(digest).expect("signs");
    Signature::normalised(&signature.to_bytes()).expect("a signature")
}

impl Platform {
    /// Whether this call of the vault is the one that fails; counts down.
    fn vault_fails(&self) -> Result<(), VaultError> {
        let left = self.vault_calls.get();
        self.vault_calls.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) { Err(VaultError::Medium) } else { Ok(()) }
    }
}

impl Vault for Platform {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        self.vault_fails()?;
        let mut scalar = [0; 32];
        self.fill(&mut scalar).map_err(|_| VaultError::Entropy)?;
        // Below the group's order.
        scalar[0] &= 0x7f;
        self.import(slot, usage, &scalar)
    }

    fn import(&mut self, slot: KeySlot, usage: KeyUse, scalar: &[u8; 32]) -> Result<PublicKey, VaultError> {
        SigningKey::from_slice(scalar).map_err(|_| VaultError::Import)?;
        if self.power.change() == Change::Lost {
            return Err(VaultError::Medium);
        }
        self.imports.set(self.imports.get() + 1);
        self.keys.borrow_mut().insert(place(slot, usage), *scalar);
        Ok(public(scalar))
    }

    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        self.vault_fails()?;
        Ok(self.keys.borrow().get(&place(slot, usage)).map(public))
    }

    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        self.vault_fails()?;
        let keys = self.keys.borrow();
        let scalar = keys.get(&place(slot, statement.usage())).ok_or(VaultError::Empty)?;
        Ok(sign(scalar, statement.digest()))
    }

    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        self.vault_fails()?;
        let held = self.keys.borrow().keys().any(|(number, _)| *number == slot.number());
        if held && self.power.change() == Change::Lost {
            return Err(VaultError::Medium);
        }
        self.keys.borrow_mut().retain(|(number, _), _| *number != slot.number());
        Ok(())
    }
}
