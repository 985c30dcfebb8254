//! Power is cut at every flash operation of what the vault does.

use super::{BOARD, Seeded, USES, holds, on_flash, sealed, secret, seeded, slot};
use device::platform::{Vault, VaultError};
use norflash::Cut;
use protocol::document::KeyUse;
use simulator::vault::{Injection, LinuxVault, VAULT_BLOCKS, VaultFlash};

enum Step {
    Generate,
    Import,
    Wipe,
}

/// Cuts `step` on slot 0 at every flash operation, from a vault that has both keys there or none.
fn cut_everywhere(step: &Step, full: bool) {
    let mut vault = on_flash(VaultFlash::in_memory_of(VAULT_BLOCKS));
    let other = vault.generate(slot(1), KeyUse::Identity).expect("entropy");
    if full {
        vault.generate(slot(0), KeyUse::Identity).expect("entropy");
        vault.generate(slot(0), KeyUse::Tls).expect("entropy");
    }
    let base = vault.into_flash();
    let old = [sealed(&base, 1), sealed(&base, 2)];
    let open = |flash| LinuxVault::on_flash(flash, &BOARD, seeded(5), Injection::Allowed).expect("opens");
    let take = |vault: &mut LinuxVault<Seeded>| match step {
        Step::Generate => vault.generate(slot(0), KeyUse::Identity).map(Some),
        Step::Import => vault.import(slot(0), KeyUse::Identity, &secret(9)).map(Some),
        Step::Wipe => vault.wipe(slot(0)).map(|()| None),
    };
    let keys =
        |vault: &mut LinuxVault<Seeded>| USES.map(|usage| vault.public_key(slot(0), usage).expect("sound"));
    let before = keys(&mut open(base.copy()));
    let mut vault = open(base.copy());
    let new = take(&mut vault).expect("no cut");
    let operations = vault.flash().operations().changes();
    assert!(operations > 1 || matches!(step, Step::Wipe) && !full, "{operations}");
    for at in 0..operations {
        let torn = (0..4).map(|seed| Cut::Torn { seed: at * 10 + seed });
        for cut in [Cut::Before, Cut::After].into_iter().chain(torn) {
            let what = format!("{cut:?} at {at} of {operations}");
            let mut vault = open(base.copy());
            vault.flash().cut_at(at, cut);
            assert_eq!(take(&mut vault), Err(VaultError::Medium), "{what}");
            let mut vault = open(vault.into_flash().copy());
            let found = keys(&mut vault);
            assert!(found[0] == before[0] || found[0] == new, "{what}");
            let tls_may_go = matches!(step, Step::Wipe);
            assert!(found[1] == before[1] || tls_may_go && found[1].is_none(), "{what}");
            assert_eq!(vault.public_key(slot(1), KeyUse::Identity), Ok(Some(other)), "{what}");
            let image = vault.flash().image();
            for (value, (is, was)) in old.iter().flatten().zip(found.iter().zip(&before)) {
                assert!(is == was || value.chunks(12).all(|part| !holds(&image, part)), "{what}");
            }
            // It can be taken once more, and what it was to give up is gone then.
            take(&mut vault).expect("again");
            let image = vault.flash().image();
            let gone = if tls_may_go { &old[..] } else { &old[..1] };
            assert!(
                gone.iter().flatten().flat_map(|value| value.chunks(12)).all(|part| !holds(&image, part))
            );
            vault.wipe(slot(0)).expect("wipes");
            assert_eq!(keys(&mut vault), [None, None], "{what}");
        }
    }
}

#[test]
fn a_cut_while_a_key_is_made_leaves_the_old_or_the_new_or_none() {
    cut_everywhere(&Step::Generate, false);
    cut_everywhere(&Step::Generate, true);
}

#[test]
fn a_cut_while_a_key_is_taken_leaves_the_old_or_the_new_or_none() {
    cut_everywhere(&Step::Import, false);
    cut_everywhere(&Step::Import, true);
}

#[test]
fn a_cut_while_a_slot_is_wiped_leaves_keys_that_work_or_none() {
    cut_everywhere(&Step::Wipe, true);
}
