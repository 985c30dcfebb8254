//! The vault's partition with power cut at every write and erase of what it does, and once more at every one of its
//! recovery. Then a secret has its old or its new value, others have theirs, and what was wiped is nowhere on the flash.
//! R-SECRET-STORE, R-DESTROY, R-DATA-INTACT.

mod any_steps;
mod rules;

use device::vault::partition::{ENTRY_BYTES_MAX, Partition, PartitionError, Rewrite};
use fastrand::Rng;
use norflash::{Cut, Flash};
use std::collections::BTreeMap;

/// The smallest blocks there may be, so that wiping one takes few writes and all of them are cut.
const BLOCK: usize = 320;

type Small<const WORD: usize> = Flash<BLOCK, WORD>;
type Model = BTreeMap<u64, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Set(u64, Vec<u8>),
    Remove(u64),
    WipeAll,
}

impl Step {
    fn on_flash<const WORD: usize>(
        &self,
        partition: &mut Partition<&mut Small<WORD>>,
    ) -> Result<(), PartitionError> {
        match self {
            Self::Set(uid, value) => partition.set(*uid, value),
            Self::Remove(uid) => partition.remove(*uid).map(|_found| ()),
            Self::WipeAll => partition.wipe_all(),
        }
    }

    fn on_model(&self, model: &mut Model) {
        match self {
            Self::Set(uid, value) => drop(model.insert(*uid, value.clone())),
            Self::Remove(uid) => drop(model.remove(uid)),
            Self::WipeAll => model.clear(),
        }
    }

    fn touches(&self, uid: u64) -> bool {
        match self {
            Self::Set(this, _) | Self::Remove(this) => *this == uid,
            Self::WipeAll => true,
        }
    }
}

/// A secret that nothing else on the flash looks like.
fn secret(number: u8) -> Vec<u8> {
    let mut value = vec![0; 60];
    Rng::with_seed(u64::from(number) + 1).fill(&mut value);
    value
}

fn get<const WORD: usize>(partition: &mut Partition<&mut Small<WORD>>, uid: u64) -> Option<Vec<u8>> {
    partition.get(uid, &mut [0; ENTRY_BYTES_MAX]).expect("can be read").map(<[u8]>::to_vec)
}

/// Also a part of a secret is not to be found: any sixteen bytes in order hold eight of these.
fn holds(image: &[u8], value: &[u8]) -> bool {
    let used = image.chunks(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0xFF));
    let mut windows = used.flat_map(|block| block.windows(8));
    windows.any(|window| value.chunks_exact(8).any(|part| window == part))
}

/// Settled: each uid has its value, only what `step` touches may have that of before or after it. What no uid has any
/// more is nowhere.
fn check<const WORD: usize>(
    flash: &mut Small<WORD>,
    rewrite: Rewrite,
    before: &Model,
    step: &Step,
    secrets: &[Vec<u8>],
    what: &str,
) -> Model {
    let mut after = before.clone();
    step.on_model(&mut after);
    let mut found = Model::new();
    {
        let mut partition = Partition::open(&mut *flash, rewrite).expect("opens");
        assert!(partition.is_settled(), "{what}");
        for uid in before.keys().chain(after.keys()) {
            let value = get(&mut partition, *uid);
            if step.touches(*uid) {
                assert!(
                    value.as_ref() == before.get(uid) || value.as_ref() == after.get(uid),
                    "{uid} is neither old nor new, {what}"
                );
            } else {
                assert_eq!(value.as_ref(), before.get(uid), "{uid} was not touched, {what}");
            }
            if let Some(value) = value {
                found.insert(*uid, value);
            }
        }
    }
    let image = flash.image();
    for secret in secrets.iter().filter(|secret| !found.values().any(|value| value == *secret)) {
        assert!(!holds(&image, secret), "a wiped secret is still on the flash, {what}");
    }
    found
}

fn cuts(seed: u64) -> impl Iterator<Item = Cut> {
    [Cut::Before, Cut::After].into_iter().chain((0..5).map(move |n| Cut::Torn { seed: seed * 100 + n }))
}

/// Cuts `step` at every operation, and the recovery from each of these cuts at every operation of its own; then the step
/// is taken once more. The number of first cuts.
fn cut_everywhere<const WORD: usize>(
    flash: Small<WORD>,
    rewrite: Rewrite,
    setup: &[Step],
    step: &Step,
) -> u64 {
    let base = match rewrite {
        Rewrite::ToZero => flash.overwritable(),
        Rewrite::Never => flash,
    };
    let mut before = Model::new();
    let mut base = base.copy();
    let mut secrets: Vec<_> = Vec::new();
    for step in setup.iter().chain([step]) {
        if let Step::Set(_, value) = step {
            secrets.push(value.clone());
        }
    }
    {
        let mut partition = Partition::open(&mut base, rewrite).expect("opens");
        for step in setup {
            step.on_flash(&mut partition).expect("no cut");
            step.on_model(&mut before);
        }
    }
    let base = base.copy();
    let mut whole = base.copy();
    step.on_flash(&mut Partition::open(&mut whole, rewrite).expect("opens")).expect("no cut");
    let mut after = before.clone();
    step.on_model(&mut after);
    assert_eq!(check(&mut whole.copy(), rewrite, &after, step, &secrets, "not cut"), after);

    let operations = whole.operations().changes();
    for at in 0..operations {
        for cut in cuts(at) {
            let what = format!("{step:?} cut {cut:?} at {at} of {operations}");
            let mut flash = base.copy();
            flash.cut_at(at, cut);
            {
                let mut partition = Partition::open(&mut flash, rewrite).expect("settled before");
                assert!(step.on_flash(&mut partition).is_err(), "{what}");
                // Without a restart: the flash is back, and reading gives old or new at once.
                partition.flash().power_on();
                for uid in before.keys().filter(|uid| !step.touches(**uid)) {
                    assert_eq!(get(&mut partition, *uid).as_ref(), before.get(uid), "{what}");
                }
            }
            let mut recovered = flash.copy();
            check(&mut recovered, rewrite, &before, step, &secrets, &what);
            let recovery = recovered.operations().changes();
            for again in 0..recovery {
                for cut in cuts(again + 1000) {
                    let what = format!("{what}, then {cut:?} at {again} of {recovery} of its recovery");
                    let mut flash = flash.copy();
                    flash.cut_at(again, cut);
                    assert!(Partition::open(&mut flash, rewrite).is_err(), "{what}");
                    flash.power_on();
                    let mut model = check(&mut flash, rewrite, &before, step, &secrets, &what);
                    // And it still works.
                    let mut partition = Partition::open(&mut flash, rewrite).expect("opens");
                    step.on_flash(&mut partition).expect("again");
                    step.on_model(&mut model);
                    assert_eq!(check(&mut flash, rewrite, &model, step, &secrets, &what), model, "{what}");
                }
            }
        }
    }
    operations
}

/// The same on flash with words of 4 bytes that takes zeros, of 16 with ECC, and of 32.
fn cut_everywhere_on_all(setup: &[Step], step: &Step) {
    let operations = cut_everywhere(Small::<4>::in_memory_of(4), Rewrite::ToZero, setup, step);
    assert!(operations >= 2, "{operations}");
    cut_everywhere(Small::<16>::in_memory_of(4), Rewrite::Never, setup, step);
    cut_everywhere(Small::<32>::in_memory_of(4), Rewrite::ToZero, setup, step);
}

#[test]
fn a_cut_leaves_a_first_secret_there_or_not() {
    cut_everywhere_on_all(&[Step::Set(7, secret(7))], &Step::Set(1, secret(1)));
}

#[test]
fn a_cut_leaves_the_old_or_the_new_secret() {
    let setup = [Step::Set(1, secret(1)), Step::Set(7, secret(7))];
    cut_everywhere_on_all(&setup, &Step::Set(1, secret(2)));
}

#[test]
fn a_cut_removal_is_done_or_not_and_leaves_no_rest() {
    let setup = [Step::Set(1, secret(1)), Step::Set(7, secret(7)), Step::Set(1, secret(3))];
    cut_everywhere_on_all(&setup, &Step::Remove(1));
}

#[test]
fn a_cut_wipe_of_everything_leaves_whole_secrets_or_none() {
    let setup = [Step::Set(1, secret(1)), Step::Set(7, secret(7)), Step::Set(9, secret(9))];
    cut_everywhere_on_all(&setup, &Step::WipeAll);
}

#[test]
fn once_its_commit_is_written_a_new_secret_counts_and_stays() {
    let mut flash = Small::<4>::in_memory_of(4).overwritable();
    let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    partition.set(1, &secret(1)).expect("fits");
    let commit = 1;
    partition.flash().cut_at(commit, Cut::After);
    assert_eq!(partition.set(1, &secret(2)), Err(PartitionError::Medium));
    partition.flash().power_on();
    assert_eq!(get(&mut partition, 1), Some(secret(2)));
    assert!(holds(&flash.image(), &secret(1)));
    let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    assert_eq!(get(&mut partition, 1), Some(secret(2)));
    assert!(!holds(&flash.image(), &secret(1)));
}
