use super::*;
use static_assertions::assert_not_impl_any;
use std::fmt::{Debug, Display};

struct Pattern(u8);

impl Entropy for Pattern {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        buffer.fill(self.0);
        Ok(())
    }
}

// Nothing that holds a secret can be shown, written out or copied.
assert_not_impl_any!(LinuxVault<Pattern>: Debug, Display, Clone, serde::Serialize, AsRef<[u8]>, Into<Vec<u8>>);
assert_not_impl_any!(Locked: Debug, Display, Clone, serde::Serialize);
assert_not_impl_any!(locked::Page: Debug, Display, Clone, serde::Serialize);

#[test]
fn every_key_has_an_entry_and_associated_data_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for slot in KeySlot::ALL {
        for usage in [KeyUse::Identity, KeyUse::Tls] {
            assert!(seen.insert((uid(slot, usage), associated(slot, usage))));
        }
    }
    assert_eq!(seen.iter().map(|(uid, _)| uid).collect::<Vec<_>>(), [&1, &2, &257, &258, &513, &514]);
    assert!(seen.len() < usize::from(VAULT_BLOCKS));
}

#[test]
fn the_locked_page_is_locked_and_empty_between_calls() {
    let mut vault = LinuxVault::in_memory(Pattern(7), Injection::Allowed).expect("entropy");
    assert!(vault.secrets.is_locked(), "`ulimit -l` must allow 4 KiB for this test");
    let slot = KeySlot::ALL[0];
    let empty = |vault: &LinuxVault<Pattern>| vault.secrets.scalar == [0; SCALAR_BYTES];
    vault.generate(slot, KeyUse::Tls).expect("entropy");
    assert!(empty(&vault));
    vault.import(slot, KeyUse::Identity, &[9; SCALAR_BYTES]).expect("allowed");
    assert!(empty(&vault));
    vault.public_key(slot, KeyUse::Tls).expect("sound");
    assert!(empty(&vault));
    vault.with_tls_key(slot, |_key| ()).expect("there");
    assert!(empty(&vault));
    vault.secrets.sealing = [1; 32];
    assert_eq!(vault.public_key(slot, KeyUse::Tls), Err(VaultError::Sealed));
    assert!(empty(&vault));
    vault.entropy = Pattern(0xFF);
    assert_eq!(vault.generate(slot, KeyUse::Tls), Err(VaultError::Entropy));
    assert!(empty(&vault));
}
