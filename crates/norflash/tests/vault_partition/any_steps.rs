//! Any changes, any cuts, with and without a restart: what a map gives.

use super::{BLOCK, Model, Small, Step, get};
use device::vault::partition::{ENTRY_BYTES_MAX, Partition, Rewrite};
use norflash::Cut;
use proptest::prelude::*;

fn steps() -> impl Strategy<Value = Vec<(Step, Option<(u64, Cut)>)>> {
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 8..=ENTRY_BYTES_MAX),
        // What could be mistaken for erased or wiped flash.
        (0..=ENTRY_BYTES_MAX, prop_oneof![Just(0xFF), Just(0)]).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let step = prop_oneof![
        8 => (0..4_u64, value).prop_map(|(uid, value)| Step::Set(uid, value)),
        4 => (0..4_u64).prop_map(Step::Remove),
        1 => Just(Step::WipeAll),
    ];
    let cut = prop_oneof![
        1 => Just(Cut::Before),
        1 => Just(Cut::After),
        4 => any::<u64>().prop_map(|seed| Cut::Torn { seed }),
    ];
    prop::collection::vec((step, prop::option::of((0..26_u64, cut))), 0..40)
}

fn any_steps<const WORD: usize>(steps: &[(Step, Option<(u64, Cut)>)], rewrite: Rewrite, restarts: bool) {
    let mut flash = Small::<WORD>::in_memory_of(6);
    if rewrite == Rewrite::ToZero {
        flash = flash.overwritable();
    }
    let mut model = Model::new();
    let mut partition = Partition::open(&mut flash, rewrite).expect("opens");
    for (step, cut) in steps {
        if let Some((at, cut)) = cut {
            partition.flash().cut_at(*at, *cut);
        }
        let result = step.on_flash(&mut partition);
        partition.flash().power_on();
        if restarts {
            partition = Partition::open(partition.into_flash(), rewrite).expect("opens");
        }
        let mut after = model.clone();
        step.on_model(&mut after);
        for uid in 0..4 {
            let value = get(&mut partition, uid);
            let same = value.as_ref() == after.get(&uid);
            let may_be_old = result.is_err() && value.as_ref() == model.get(&uid);
            assert!(same || may_be_old, "{uid} after {step:?} cut {cut:?}: {result:?}");
            if !same {
                match value {
                    Some(value) => drop(after.insert(uid, value)),
                    None => drop(after.remove(&uid)),
                }
            }
        }
        model = after;
    }
    let entries = model.len();
    // Where the last step was cut, this finishes it.
    partition.remove(u64::MAX).expect("nothing to remove");
    let used = flash.image().chunks(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0xFF)).count();
    assert_eq!(used, entries, "each entry has one block and the rest is erased");
}

proptest! {
    #[test]
    fn any_steps_with_any_cuts_give_what_a_map_gives(steps in steps(), restarts: bool) {
        any_steps::<4>(&steps, Rewrite::ToZero, restarts);
        any_steps::<16>(&steps, Rewrite::Never, restarts);
    }
}
