//! What the vault's files hold, whom they let in, and what is refused.

use super::{BOARD, Seeded, USES, holds, lent, secret, seeded, slot};
use base64ct::{Base64, Encoding};
use device::EntropyError;
use device::platform::{KeySlot, Vault, VaultError};
use fastrand::Rng;
use protocol::document::KeyUse;
use simulator::vault::sealing::{SEALING_KEY_BYTES, SealingError, SealingKey, SealingKeyFile};
use simulator::vault::{Injection, LinuxVault, OpenError};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn keys_survive_a_restart_in_a_file_for_the_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("vault"), folder.path().join("sealing.key"));
    let open = |seed| {
        let sealing = SealingKeyFile::open(&key, &mut seeded(seed)).expect("made or there");
        LinuxVault::open(&path, &sealing, seeded(seed), Injection::Allowed).expect("opens")
    };
    let mut vault = open(1);
    let mut expected = Vec::new();
    for slot in KeySlot::ALL {
        assert_eq!(vault.public_key(slot, KeyUse::Tls), Ok(None));
        for usage in USES {
            expected.push((slot, usage, vault.generate(slot, usage).expect("entropy")));
        }
    }
    let imported = vault.import(slot(2), KeyUse::Tls, &secret(1)).expect("allowed");
    expected.pop();
    expected.push((slot(2), KeyUse::Tls, imported));
    drop(vault);

    let mut vault = open(99);
    for (slot, usage, key) in expected {
        assert_eq!(vault.public_key(slot, usage), Ok(Some(key)));
    }
    assert_eq!(lent(&mut vault, slot(2)), secret(1));
    for file in [&path, &key] {
        assert_eq!(fs::metadata(file).expect("there").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn files_that_others_can_read_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("vault"), folder.path().join("sealing.key"));
    let sealing = SealingKeyFile::open(&key, &mut seeded(1)).expect("made");
    drop(LinuxVault::open(&path, &sealing, seeded(1), Injection::Refused).expect("made"));
    for mode in [0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
        let error = LinuxVault::open(&path, &sealing, seeded(1), Injection::Refused).err().expect("refused");
        assert!(matches!(error, OpenError::Exposed { mode: is, .. } if is == mode), "{error}");
        assert!(error.to_string().contains(&format!("{mode:o}")), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("ours");
    assert!(matches!(
        LinuxVault::open(&path, &sealing, seeded(1), Injection::Refused),
        Err(OpenError::Sealing(SealingError::Exposed { mode: 0o644, .. }))
    ));
    assert!(matches!(
        SealingKeyFile::open(&key, &mut seeded(1)),
        Err(SealingError::Exposed { mode: 0o644, .. })
    ));
}

#[test]
fn a_sealing_key_is_made_once_and_never_taken_from_what_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    let given = |file: &SealingKeyFile| {
        let mut key = [0; SEALING_KEY_BYTES];
        file.give(&mut key).map(|()| key)
    };
    // Without entropy there is no key, and no file that looks like one.
    assert!(matches!(
        SealingKeyFile::open(&path, &mut Seeded(Rng::with_seed(1), 0)),
        Err(SealingError::Entropy(EntropyError))
    ));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    let first = given(&SealingKeyFile::open(&path, &mut seeded(1)).expect("made")).expect("given");
    let again = given(&SealingKeyFile::open(&path, &mut seeded(2)).expect("there")).expect("given");
    assert!(first == again && first != [0; SEALING_KEY_BYTES]);
    for wrong in [&[][..], &[1; 31], &[1; 33]] {
        fs::write(&path, wrong).expect("ours");
        assert!(matches!(SealingKeyFile::open(&path, &mut seeded(1)), Err(SealingError::WrongSize { .. })));
    }
    let nowhere = SealingKeyFile::open(Path::new("/nonexistent/key"), &mut seeded(1)).expect_err("no folder");
    assert!(nowhere.to_string().contains("/nonexistent/key"), "{nowhere}");
}

#[test]
fn a_flipped_bit_in_the_file_is_damage_and_the_file_of_another_kind_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vault");
    let open = || LinuxVault::open(&path, &BOARD, seeded(1), Injection::Refused);
    open().expect("made").generate(slot(0), KeyUse::Identity).expect("entropy");
    let mut image = fs::read(&path).expect("there");
    image[70] ^= 4;
    fs::write(&path, &image).expect("ours");
    let mut vault = open().expect("opens");
    assert_eq!(vault.public_key(slot(0), KeyUse::Identity), Err(VaultError::Sealed));
    vault.wipe(slot(0)).expect("wipes what is damaged");
    assert_eq!(vault.public_key(slot(0), KeyUse::Identity), Ok(None));
    drop(vault);
    fs::write(&path, vec![7; 131_072]).expect("ours");
    assert!(matches!(open(), Err(OpenError::File(norflash::OpenError::WrongSize { .. }))));
    assert_eq!(fs::read(&path).expect("there"), vec![7; 131_072]);
}

/// The forms in which a key might be found.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = |upper: bool| -> String {
        secret.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    let mut forms = vec![secret.to_vec(), hex(false).into(), hex(true).into()];
    for shift in 0..3 {
        // In the middle of something longer, whole groups of three bytes.
        let part = &secret[shift..shift + 27];
        forms.push(Base64::encode_string(part).into());
    }
    forms
}

#[test]
fn no_key_is_in_the_file_by_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vault");
    let mut vault = LinuxVault::open(&path, &BOARD, seeded(1), Injection::Allowed).expect("made");
    let mut secrets = vec![secret(1).to_vec(), secret(2).to_vec()];
    vault.import(slot(0), KeyUse::Identity, &secret(1)).expect("allowed");
    vault.import(slot(1), KeyUse::Identity, &secret(2)).expect("allowed");
    vault.generate(slot(0), KeyUse::Tls).expect("entropy");
    secrets.push(lent(&mut vault, slot(0)));
    secrets.push(BOARD.0.to_vec());
    drop(vault);
    let image = fs::read(&path).expect("there");
    assert!(holds(&image, b"Vlt1"));
    for secret in secrets {
        let found: Vec<_> = forms(&secret).iter().map(|form| holds(&image, form)).collect();
        assert_eq!(found, [false; 6]);
    }
    // The search finds what is there.
    assert!(forms(&secret(1)).iter().all(|form| holds(&forms(&secret(1)).concat(), form)));
}
