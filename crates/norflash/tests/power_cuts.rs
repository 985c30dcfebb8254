//! Power is cut at every write and erase of what the store does, before, after and in the middle of it. Then every
//! key has exactly its value, only the one in progress its old or its new one, and the store goes on. R-DATA-INTACT,
//! R-CONF.

use device::{Key, KeyValue, StorageError};
use fastrand::Rng;
use norflash::{Cut, Flash, FlashError, Store, StoreError};
use std::collections::BTreeMap;

/// 48 units to a block: a few values fill it, a few erases turn the erase log.
type Small = Flash<384, 4>;

/// What the store must hold: key number to value.
type Model = BTreeMap<u8, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Write(Key, Vec<u8>),
    Remove(Key),
}

impl Step {
    fn key(&self) -> Key {
        match self {
            Self::Write(key, _) | Self::Remove(key) => *key,
        }
    }

    fn on_store<F: embedded_storage::nor_flash::NorFlash>(
        &self,
        store: &mut Store<F>,
    ) -> Result<(), StorageError> {
        match self {
            Self::Write(key, value) => store.write(*key, value),
            Self::Remove(key) => store.remove(*key),
        }
    }

    fn on_model(&self, model: &mut Model) {
        match self {
            Self::Write(key, value) => model.insert(key.number(), value.clone()),
            Self::Remove(key) => model.remove(&key.number()),
        };
    }
}

const KEYS: [Key; 7] =
    [Key::Boot, Key::Ended, Key::Time, Key::Configuration, Key::Backlog(0), Key::Backlog(1), Key::Backlog(2)];

fn random_step(rng: &mut Rng, longest: usize) -> Step {
    let key = rng.choice(KEYS).expect("there are keys");
    if rng.u8(0..4) == 0 {
        return Step::Remove(key);
    }
    let len = rng.usize(0..=longest);
    // Runs of erased and of zero bytes are the values that a store could mistake for its own marks.
    let mut value = vec![if rng.bool() { 0xFF } else { 0 }; len];
    if rng.bool() {
        rng.fill(&mut value);
    }
    Step::Write(key, value)
}

fn read(store: &mut Store<&mut Small>, key: Key) -> Option<Vec<u8>> {
    let mut buffer = [0; 384];
    store.read(key, &mut buffer).expect("every key can be read").map(<[u8]>::to_vec)
}

/// Every key has its value; the one in progress may have the other, which then is the one that counts.
fn check(store: &mut Store<&mut Small>, model: &mut Model, in_progress: Option<&Step>, what: &str) {
    for key in KEYS {
        let found = read(store, key);
        if found.as_ref() == model.get(&key.number()) {
            continue;
        }
        let step = in_progress.filter(|step| step.key() == key);
        let step = step.unwrap_or_else(|| panic!("{key:?} was not written to, but has changed, {what}"));
        step.on_model(model);
        assert_eq!(found.as_ref(), model.get(&key.number()), "{key:?} has neither value, {what}");
    }
}

/// Opens the store and takes `steps` until power is lost; gives the step in progress. `None`: all are done.
fn run<'s>(flash: &mut Small, model: &mut Model, steps: &'s [Step], what: &str) -> Option<&'s Step> {
    let mut store = match Store::open(&mut *flash) {
        Ok(store) => store,
        Err(error) => {
            assert_eq!(error, StoreError::Flash(FlashError::PowerLost), "{what}");
            return steps.first();
        }
    };
    for step in steps {
        match step.on_store(&mut store) {
            Ok(()) => step.on_model(model),
            Err(error) => {
                assert_eq!(error, StorageError::Medium, "{what}");
                assert_eq!(store.take_fault(), Some(FlashError::PowerLost), "{what}");
                return Some(step);
            }
        }
    }
    None
}

fn cuts(seed: u64, torn: u64) -> impl Iterator<Item = Cut> {
    [Cut::Before, Cut::After].into_iter().chain((0..torn).map(move |n| Cut::Torn { seed: seed * 1000 + n }))
}

/// Cuts at every operation of `steps` on a copy of `base`, and then goes on, without and with a new start. The number
/// of cuts.
fn cut_everywhere(base: &Small, before: &Model, steps: &[Step], after: &[Step], seed: u64, torn: u64) -> u64 {
    let mut flash = base.copy();
    assert!(run(&mut flash, &mut before.clone(), steps, "without a cut").is_none());
    let operations = flash.operations().changes();
    let mut made = 0;
    for at in 0..operations {
        for cut in cuts(seed + at, torn) {
            let what = format!("seed {seed}, cut {cut:?} at operation {at}");
            let (mut flash, mut model) = (base.copy(), before.clone());
            flash.cut_at(at, cut);
            let in_progress = run(&mut flash, &mut model, steps, &what);
            assert!(flash.is_off(), "{what}");
            flash.power_on();
            let mut store = Store::open(&mut flash).unwrap_or_else(|error| panic!("{error}, {what}"));
            check(&mut store, &mut model, in_progress, &what);
            drop(store);
            assert!(run(&mut flash, &mut model, after, &what).is_none(), "{what}");
            check(&mut Store::open(&mut flash).expect("a store"), &mut model, None, &what);
            made += 1;
        }
    }
    made
}

#[test]
fn a_first_start_survives_a_cut_at_every_operation() {
    let steps = [Step::Write(Key::Configuration, vec![1; 200]), Step::Write(Key::Boot, vec![1; 8])];
    let cuts = cut_everywhere(&Small::in_memory_of(6), &Model::new(), &steps, &steps, 1, 50);
    assert!(cuts > 300, "{cuts}");
}

#[test]
fn overwriting_survives_a_cut_at_every_operation() {
    let steps: Vec<_> = (0..60).map(|n| Step::Write(Key::Time, vec![n; 8])).collect();
    let base = [Step::Write(Key::Configuration, vec![1; 200]), Step::Write(Key::Backlog(0), vec![2; 150])];
    let (mut flash, mut model) = (Small::in_memory_of(6), Model::new());
    assert!(run(&mut flash, &mut model, &base, "base").is_none());
    let cuts = cut_everywhere(&flash, &model, &steps, &base, 2, 6);
    assert!(cuts > 1_000, "{cuts}");
}

#[test]
fn a_value_that_is_removed_and_written_again_survives_a_cut_at_every_operation() {
    let mut steps = Vec::new();
    for n in 0..12 {
        steps.extend([
            Step::Write(Key::Ended, vec![n; 40]),
            Step::Remove(Key::Ended),
            Step::Remove(Key::Ended),
        ]);
    }
    let cuts = cut_everywhere(&Small::in_memory_of(6), &Model::new(), &steps, &steps, 3, 6);
    assert!(cuts > 500, "{cuts}");
}

#[test]
fn random_steps_survive_a_cut_at_every_operation() {
    for seed in 0..12 {
        let mut rng = Rng::with_seed(seed);
        // An aged store: all blocks are in use, so that each few writes collect garbage.
        let aging: Vec<_> = (0..120).map(|_| random_step(&mut rng, 120)).collect();
        let steps: Vec<_> = (0..25).map(|_| random_step(&mut rng, 120)).collect();
        let after: Vec<_> = (0..25).map(|_| random_step(&mut rng, 120)).collect();
        let (mut flash, mut model) = (Small::in_memory_of(9), Model::new());
        assert!(run(&mut flash, &mut model, &aging, "aging").is_none());
        cut_everywhere(&flash, &model, &steps, &after, seed, 4);
    }
}

/// One life with thousands of cuts, so that repairs are cut as well.
#[test]
fn cuts_during_repairs_of_cuts_are_survived() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let (mut flash, mut model) = (Small::in_memory_of(9), Model::new());
        for round in 0..400 {
            let steps: Vec<_> = (0..30).map(|_| random_step(&mut rng, 120)).collect();
            let torn = Cut::Torn { seed: rng.u64(..) };
            let cut = *rng.choice(&[Cut::Before, Cut::After, torn, torn, torn]).expect("a cut");
            let far = if rng.bool() { 4 } else { 60 };
            let at = rng.u64(0..far);
            let what = format!("seed {seed}, round {round}, cut {cut:?} at operation {at}");
            flash.cut_at(at, cut);
            let in_progress = run(&mut flash, &mut model, &steps, &what);
            flash.power_on();
            // Reading changes nothing unless an erase is to be finished, and that must be right whoever does it.
            let mut store = Store::open(&mut flash).unwrap_or_else(|error| panic!("{error}, {what}"));
            check(&mut store, &mut model, in_progress, &what);
        }
    }
}

/// A flash that fails for a moment, as where its own supply is weak: the same store goes on without a new start.
#[test]
fn a_store_goes_on_after_the_flash_was_without_power() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let (mut flash, mut model) = (Small::in_memory_of(9), Model::new());
        let mut store = Store::open(&mut flash).expect("a store");
        for round in 0..200 {
            let cut = Cut::Torn { seed: rng.u64(..) };
            store.flash().cut_at(rng.u64(0..40), cut);
            let what = format!("seed {seed}, round {round}, cut {cut:?}");
            let steps: Vec<_> = (0..20).map(|_| random_step(&mut rng, 120)).collect();
            let mut in_progress = None;
            for step in &steps {
                match step.on_store(&mut store) {
                    Ok(()) => step.on_model(&mut model),
                    Err(error) => {
                        assert_eq!(error, StorageError::Medium, "{what}");
                        in_progress = Some(step);
                        break;
                    }
                }
            }
            store.flash().power_on();
            check(&mut store, &mut model, in_progress, &what);
        }
    }
}
