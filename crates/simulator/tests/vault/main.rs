//! The Linux vault: what its keys do, what its files show, and what a power cut at any operation leaves. R-SECRET-STORE,
//! R-DESTROY, R-INITIAL-SECRET.

mod cuts;
mod files;

use device::platform::{KeySlot, Vault, VaultError};
use device::vault::partition::{Partition, PartitionError, Rewrite};
use device::vault::{self, Statement};
use device::{Entropy, EntropyError};
use fastrand::Rng;
use protocol::document::{Audience, KeyUse, RenewalRequest};
use protocol::token::{Claims, TOKEN_BYTES_MAX};
use protocol::x509::Csr;
use protocol::{DeviceId, PublicKey, Signature};
use simulator::vault::sealing::{SEALING_KEY_BYTES, SealingError, SealingKey};
use simulator::vault::{Injection, LinuxVault, VAULT_BLOCKS, VaultFlash, no_core_dumps};
use std::fs;
use tokio_rustls::rustls::crypto::ring::sign::any_ecdsa_type;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const USES: [KeyUse; 2] = [KeyUse::Identity, KeyUse::Tls];

/// Numbers from a seed; fails after so many calls.
struct Seeded(Rng, u32);

impl Entropy for Seeded {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.1 = self.1.checked_sub(1).ok_or(EntropyError)?;
        self.0.fill(buffer);
        Ok(())
    }
}

fn seeded(seed: u64) -> Seeded {
    Seeded(Rng::with_seed(seed), u32::MAX)
}

/// A provider as a board might have one.
struct Board([u8; SEALING_KEY_BYTES]);

impl SealingKey for Board {
    fn give(&self, key: &mut [u8; SEALING_KEY_BYTES]) -> Result<(), SealingError> {
        *key = self.0;
        Ok(())
    }
}

const BOARD: Board = Board([0x42; SEALING_KEY_BYTES]);

fn on_flash(flash: VaultFlash) -> LinuxVault<Seeded> {
    LinuxVault::on_flash(flash, &BOARD, seeded(1), Injection::Allowed).expect("opens")
}

fn slot(number: u8) -> KeySlot {
    KeySlot::new(number).expect("a slot")
}

fn secret(number: u8) -> [u8; 32] {
    let mut scalar = [0; 32];
    Rng::with_seed(u64::from(number)).fill(&mut scalar);
    scalar[0] &= 0x7F;
    scalar
}

/// The TLS key's private scalar as the handshake would see it: where it begins is fixed by the form of its PKCS#8.
fn lent(vault: &mut LinuxVault<Seeded>, slot: KeySlot) -> Vec<u8> {
    vault.with_tls_key(slot, |der| der[36..68].to_vec()).expect("there is one")
}

/// A vault that notes what it signs.
struct Noted<'v>(&'v mut LinuxVault<Seeded>, Vec<(Statement, Signature)>);

impl Vault for Noted<'_> {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        self.0.generate(slot, usage)
    }
    fn import(&mut self, slot: KeySlot, usage: KeyUse, scalar: &[u8; 32]) -> Result<PublicKey, VaultError> {
        self.0.import(slot, usage, scalar)
    }
    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        self.0.public_key(slot, usage)
    }
    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        let signature = self.0.sign(slot, statement)?;
        self.1.push((*statement, signature));
        Ok(signature)
    }
    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        self.0.wipe(slot)
    }
}

fn csr(
    vault: &mut impl Vault,
    slot: KeySlot,
    usage: KeyUse,
) -> Result<Vec<u8>, protocol::signed::SealError<VaultError>> {
    let mut out = [0; 1024];
    let len = vault::csr(vault, slot, usage, &DeviceId::new("dev-1").expect("an id"), &mut out)?;
    Ok(out[..len].to_vec())
}

#[test]
fn signatures_verify_with_the_public_key_and_are_the_same_again() {
    let id = DeviceId::new("dev-1").expect("an id");
    let mut vault = LinuxVault::in_memory(seeded(2), Injection::Refused).expect("entropy");
    let identity = vault.generate(slot(1), KeyUse::Identity).expect("entropy");
    let tls = vault.generate(slot(1), KeyUse::Tls).expect("entropy");
    assert_ne!(identity, tls);

    let mut noted = Noted(&mut vault, Vec::new());
    let identity_csr = csr(&mut noted, slot(1), KeyUse::Identity).expect("signed");
    let tls_csr = csr(&mut noted, slot(1), KeyUse::Tls).expect("signed");
    assert_eq!(Csr::decode(&identity_csr).expect("verifies").key, identity);
    assert_eq!(Csr::decode(&tls_csr).expect("verifies").key, tls);
    let claims =
        Claims { issued_s: 1_900_000_000, expires_s: 1_900_003_600, audience: "broker", subject: &id };
    vault::token(&mut noted, slot(1), &claims, &mut [0; TOKEN_BYTES_MAX]).expect("signed");
    let request = RenewalRequest {
        audience: Audience::Device(id),
        number: 1,
        identity_csr: &identity_csr,
        tls_csr: &tls_csr,
    };
    vault::request(&mut noted, slot(1), &request, &mut [0; 4096]).expect("signed");

    let made = noted.1;
    assert_eq!(made.len(), 4);
    for (statement, signature) in made {
        let (key, other) = match statement.usage() {
            KeyUse::Identity => (identity, tls),
            KeyUse::Tls => (tls, identity),
        };
        assert!(key.verifies(statement.digest(), &signature));
        assert!(!other.verifies(statement.digest(), &signature));
        // RFC 6979: no random number is in it.
        assert_eq!(vault.sign(slot(1), &statement), Ok(signature));
        assert_eq!(vault.sign(slot(0), &statement), Err(VaultError::Empty));
    }
}

#[test]
fn another_sealing_key_opens_nothing() {
    let mut vault = on_flash(VaultFlash::in_memory_of(VAULT_BLOCKS));
    vault.generate(slot(0), KeyUse::Tls).expect("entropy");
    let flash = vault.into_flash();
    let mut vault =
        LinuxVault::on_flash(flash, &Board([0x43; 32]), seeded(1), Injection::Refused).expect("opens");
    assert_eq!(vault.public_key(slot(0), KeyUse::Tls), Err(VaultError::Sealed));
    assert_eq!(vault.with_tls_key(slot(0), |_key| ()), Err(VaultError::Sealed));
    // It can be made anew, and wiped.
    vault.generate(slot(0), KeyUse::Tls).expect("entropy");
    assert!(vault.public_key(slot(0), KeyUse::Tls).is_ok_and(|key| key.is_some()));
}

/// The sealed value of an entry.
fn sealed(flash: &VaultFlash, uid: u64) -> Option<Vec<u8>> {
    let mut buffer = [0; 60];
    let mut partition = Partition::open(flash.copy(), Rewrite::ToZero).expect("opens");
    partition.get(uid, &mut buffer).expect("sound").map(<[u8]>::to_vec)
}

fn with_sealed(flash: &VaultFlash, uid: u64, value: &[u8]) -> VaultFlash {
    let mut partition = Partition::open(flash.copy(), Rewrite::ToZero).expect("opens");
    partition.set(uid, value).expect("fits");
    partition.into_flash().copy()
}

#[test]
fn a_sealed_key_in_anothers_place_is_refused() {
    let mut vault = on_flash(VaultFlash::in_memory_of(VAULT_BLOCKS));
    for slot in KeySlot::ALL {
        for usage in USES {
            vault.generate(slot, usage).expect("entropy");
        }
    }
    let flash = vault.into_flash();
    let uid = |slot: KeySlot, usage| u64::from(slot.number()) << 8 | if usage == KeyUse::Tls { 2 } else { 1 };
    let places: Vec<_> = KeySlot::ALL.into_iter().flat_map(|slot| USES.map(|usage| (slot, usage))).collect();
    for (from, from_use) in &places {
        for (to, to_use) in &places {
            let value = sealed(&flash, uid(*from, *from_use)).expect("there");
            let mut vault = on_flash(with_sealed(&flash, uid(*to, *to_use), &value));
            let same = (from, from_use) == (to, to_use);
            assert_eq!(
                vault.public_key(*to, *to_use).is_ok(),
                same,
                "{from:?} {from_use:?} in {to:?} {to_use:?}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let mut vault = on_flash(VaultFlash::in_memory_of(VAULT_BLOCKS));
    vault.generate(slot(0), KeyUse::Identity).expect("entropy");
    let flash = vault.into_flash();
    let value = sealed(&flash, 1).expect("there");
    for bit in 0..value.len() * 8 {
        // By someone who makes the partition's own check right.
        let mut forged = value.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let mut vault = on_flash(with_sealed(&flash, 1, &forged));
        assert_eq!(vault.public_key(slot(0), KeyUse::Identity), Err(VaultError::Sealed), "bit {bit}");
    }
    for len in [0, 12, 44, 59] {
        let mut vault = on_flash(with_sealed(&flash, 1, &value[..len]));
        assert_eq!(vault.public_key(slot(0), KeyUse::Identity), Err(VaultError::Sealed), "{len} bytes");
    }
}

fn holds(image: &[u8], value: &[u8]) -> bool {
    image.windows(value.len()).any(|window| window == value)
}

#[test]
fn the_same_key_is_never_sealed_the_same_way() {
    let mut vault = on_flash(VaultFlash::in_memory_of(VAULT_BLOCKS));
    vault.import(slot(0), KeyUse::Identity, &secret(1)).expect("allowed");
    let first = sealed(vault.flash(), 1).expect("there");
    vault.import(slot(0), KeyUse::Identity, &secret(1)).expect("allowed");
    let second = sealed(vault.flash(), 1).expect("there");
    assert!(first[..12] != second[..12] && first[12..44] != second[12..44]);
}

#[test]
fn without_entropy_no_key_is_made_and_the_old_one_stays() {
    let mut vault = on_flash(VaultFlash::in_memory_of(VAULT_BLOCKS));
    let old = vault.generate(slot(0), KeyUse::Identity).expect("entropy");
    let flash = vault.into_flash();
    // It fails at the key, or at what seals it.
    for calls in 0..2 {
        let entropy = Seeded(Rng::with_seed(3), calls);
        let mut vault =
            LinuxVault::on_flash(flash.copy(), &BOARD, entropy, Injection::Allowed).expect("opens");
        assert_eq!(vault.generate(slot(0), KeyUse::Identity), Err(VaultError::Entropy));
        assert_eq!(vault.generate(slot(1), KeyUse::Tls), Err(VaultError::Entropy));
        assert_eq!(vault.import(slot(1), KeyUse::Tls, &secret(1)), Err(VaultError::Entropy));
        assert_eq!(vault.public_key(slot(0), KeyUse::Identity), Ok(Some(old)));
        assert_eq!(vault.public_key(slot(1), KeyUse::Tls), Ok(None));
        assert_eq!(vault.flash().operations().changes(), 0);
    }
    assert_eq!(LinuxVault::in_memory(Seeded(Rng::new(), 0), Injection::Refused).err(), Some(EntropyError));
}

#[test]
fn a_key_from_outside_is_taken_only_where_that_is_allowed_and_only_if_it_is_one() {
    let mut vault = LinuxVault::in_memory(seeded(1), Injection::Refused).expect("entropy");
    assert_eq!(vault.import(slot(0), KeyUse::Tls, &secret(1)), Err(VaultError::Import));
    let mut vault = LinuxVault::in_memory(seeded(1), Injection::Allowed).expect("entropy");
    assert_eq!(vault.import(slot(0), KeyUse::Tls, &[0; 32]), Err(VaultError::Import));
    assert_eq!(vault.import(slot(0), KeyUse::Tls, &[0xFF; 32]), Err(VaultError::Import));
    assert_eq!(vault.public_key(slot(0), KeyUse::Tls), Ok(None));
    vault.import(slot(0), KeyUse::Tls, &secret(1)).expect("allowed");
    assert_eq!(lent(&mut vault, slot(0)), secret(1));
}

#[test]
fn a_tls_key_is_lent_in_the_form_that_rustls_takes_and_an_identity_key_is_not() {
    let mut vault = LinuxVault::in_memory(seeded(1), Injection::Refused).expect("entropy");
    vault.generate(slot(0), KeyUse::Identity).expect("entropy");
    assert_eq!(vault.with_tls_key(slot(0), |_key| ()), Err(VaultError::Empty));
    let public = vault.generate(slot(0), KeyUse::Tls).expect("entropy");
    let key = vault.with_tls_key(slot(0), |der| {
        any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))).expect("a key")
    });
    let key = key.expect("there is one");
    let spki = key.public_key().expect("has its public half");
    assert!(spki.ends_with(public.as_bytes()));
}

#[test]
fn wiping_leaves_nothing_of_a_slot_and_all_of_the_others() {
    let mut vault = on_flash(VaultFlash::in_memory_of(VAULT_BLOCKS));
    for slot in KeySlot::ALL {
        for usage in USES {
            vault.generate(slot, usage).expect("entropy");
        }
    }
    let values: Vec<_> = [0x101, 0x102].map(|uid| sealed(vault.flash(), uid).expect("there")).into();
    let kept = [vault.public_key(slot(0), KeyUse::Tls), vault.public_key(slot(2), KeyUse::Identity)];
    vault.wipe(slot(1)).expect("wipes");
    vault.wipe(slot(1)).expect("nothing there is no error");
    for usage in USES {
        assert_eq!(vault.public_key(slot(1), usage), Ok(None));
    }
    assert!(csr(&mut vault, slot(1), KeyUse::Identity).is_err());
    assert_eq!([vault.public_key(slot(0), KeyUse::Tls), vault.public_key(slot(2), KeyUse::Identity)], kept);
    let image = vault.flash().image();
    assert!(values.iter().flat_map(|value| value.chunks(12)).all(|part| !holds(&image, part)));
}

#[test]
fn the_partition_has_room_for_every_key_and_more() {
    let partition = Partition::open(VaultFlash::in_memory_of(VAULT_BLOCKS), Rewrite::ToZero).expect("opens");
    assert!(partition.entries_max() >= 8);
    assert_eq!(VaultError::from(PartitionError::NotWiped), VaultError::NotWiped);
}

#[test]
fn a_program_can_forbid_its_core_dumps() {
    no_core_dumps().expect("a process may limit itself");
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    let behaviour = rustix::process::dumpable_behavior().expect("Linux");
    assert_eq!(behaviour, rustix::process::DumpableBehavior::NotDumpable);
}
