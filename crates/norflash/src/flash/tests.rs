use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

type Tiny = Flash<64, 4>;
const TINY_BLOCKS: u16 = 4;
const TINY_TOTAL: usize = 256;

#[derive(Clone, Debug)]
enum Act {
    Read { address: u32, len: usize },
    Write { address: u32, bytes: Vec<u8> },
    Erase { from: u32, to: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    // Mostly aligned, so that enough of it succeeds, and sometimes past the end.
    let address =
        prop_oneof![4 => (0..66_u32).prop_map(|word| word * 4), 1 => 0..270_u32, 1 => Just(u32::MAX)];
    let len = prop_oneof![4 => (0..5_usize).prop_map(|words| words * 4), 1 => 0..300_usize];
    let block = prop_oneof![6 => (0..6_u32).prop_map(|block| block * 64), 1 => 0..270_u32];
    prop_oneof![
        (address.clone(), len.clone()).prop_map(|(address, len)| Act::Read { address, len }),
        (address, len, any::<u8>())
            .prop_map(|(address, len, byte)| Act::Write { address, bytes: vec![byte; len] }),
        (block.clone(), block).prop_map(|(from, to)| Act::Erase { from, to }),
    ]
}

/// The rules once more, on a plain array. The first rule that is broken names the error.
fn reference(cells: &mut [u8], act: &Act) -> Result<Vec<u8>, FlashError> {
    let total = cells.len();
    let (address, len, unit) = match act {
        Act::Read { address, len } => (*address, *len, 1),
        Act::Write { address, bytes } => (*address, bytes.len(), 4),
        Act::Erase { from, to } if from > to => {
            return Err(FlashError::OutOfRange { address: *from, len: 0, total });
        }
        Act::Erase { from, to } => (*from, (to - from) as usize, 64),
    };
    let start = address as usize;
    let Some(range) = cells.get_mut(start..start.saturating_add(len)) else {
        return Err(FlashError::OutOfRange { address, len, total });
    };
    if !start.is_multiple_of(unit) || len % unit != 0 {
        return Err(FlashError::Misaligned { address, len, unit });
    }
    match act {
        Act::Read { .. } => return Ok(range.to_vec()),
        Act::Write { bytes, .. } => {
            if let Some(used) = range.iter().position(|cell| *cell != 0xFF) {
                return Err(FlashError::NotErased { address: address + (used / 4 * 4) as u32 });
            }
            range.copy_from_slice(bytes);
        }
        Act::Erase { .. } => range.fill(0xFF),
    }
    Ok(Vec::new())
}

fn on_flash(flash: &mut Tiny, act: &Act) -> Result<Vec<u8>, FlashError> {
    match act {
        Act::Read { address, len } => {
            let mut bytes = vec![0; *len];
            flash.read(*address, &mut bytes).map(|()| bytes)
        }
        Act::Write { address, bytes } => flash.write(*address, bytes).map(|()| Vec::new()),
        Act::Erase { from, to } => flash.erase(*from, *to).map(|()| Vec::new()),
    }
}

proptest! {
    #[test]
    fn it_does_what_a_plain_array_with_the_rules_does(acts in prop::collection::vec(act(), 0..60)) {
        let mut flash = Tiny::in_memory_of(TINY_BLOCKS);
        let mut cells = vec![0xFF; TINY_TOTAL];
        let mut erases = 0;
        for act in &acts {
            let expected = reference(&mut cells, act);
            prop_assert_eq!(on_flash(&mut flash, act), expected.clone(), "{:?}", act);
            if let (Act::Erase { from, to }, Ok(_)) = (act, expected) {
                erases += u64::from((to - from) / 64);
            }
            prop_assert_eq!(flash.image(), &*cells);
        }
        prop_assert_eq!(flash.operations().erases, erases);
        prop_assert_eq!(flash.wear().map(u64::from).sum::<u64>(), erases);
    }

    #[test]
    fn a_torn_write_leaves_whole_words_then_one_in_between_then_none(seed: u64, bytes: [u8; 32]) {
        let mut flash = Tiny::in_memory_of(TINY_BLOCKS);
        flash.cut_at(0, Cut::Torn { seed });
        prop_assert_eq!(flash.write(32, &bytes), Err(FlashError::PowerLost));
        let image = flash.image();
        prop_assert!(image[..32].iter().chain(&image[64..]).all(|cell| *cell == 0xFF));
        let torn: Vec<_> = image[32..64].chunks(4).zip(bytes.chunks(4)).skip_while(|(is, was)| is == was).collect();
        for (at, (is, was)) in torn.into_iter().enumerate() {
            for (is, was) in is.iter().zip(was) {
                let may_be = if at == 0 { is & was == *was } else { *is == 0xFF };
                prop_assert!(may_be);
            }
        }
    }

    #[test]
    fn a_torn_erase_touches_no_other_block(seed: u64) {
        let mut flash = Tiny::in_memory_of(TINY_BLOCKS);
        flash.write(0, &[0xA5; TINY_TOTAL]).expect("erased");
        flash.cut_at(1, Cut::Torn { seed });
        prop_assert_eq!(flash.erase(0, 128), Err(FlashError::PowerLost));
        let image = flash.image();
        prop_assert!(image[..64].iter().all(|cell| *cell == 0xFF));
        prop_assert!(image[128..].iter().all(|cell| *cell == 0xA5));
    }
}

#[test]
fn a_word_that_is_not_erased_is_refused_and_stays() {
    let mut flash = Flash::in_memory();
    flash.write(8, &[0xF0; 4]).expect("erased");
    assert_eq!(flash.write(0, &[0; 16]), Err(FlashError::NotErased { address: 8 }));
    // Not even where only bits would be cleared: ECC knows better.
    assert_eq!(flash.write(8, &[0; 4]), Err(FlashError::NotErased { address: 8 }));
    assert_eq!(flash.image()[..16], [[0xFF; 8].as_slice(), &[0xF0; 4], &[0xFF; 4]].concat());
    assert_eq!(flash.operations(), Operations { reads: 0, writes: 1, erases: 0 });
}

#[test]
fn zeros_overwrite_what_is_written_where_the_flash_takes_that_and_nothing_else_does() {
    let mut flash = Flash::in_memory().overwritable();
    flash.write(8, &[0xF0; 4]).expect("erased");
    assert_eq!(flash.write(8, &[0x70; 4]), Err(FlashError::NotErased { address: 8 }));
    assert_eq!(flash.write(8, &[0, 0, 0, 1]), Err(FlashError::NotErased { address: 8 }));
    assert_eq!(flash.write(4, &[1, 2, 3, 4, 0, 0, 0, 0]), Ok(()));
    assert_eq!(flash.image()[..16], [0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(flash.copy().write(4, &[0; 4]), Ok(()));
}

#[test]
fn zeros_that_are_torn_clear_some_bits_and_set_none() {
    let mut kinds = std::collections::HashSet::new();
    for seed in 0..100 {
        let mut flash = Tiny::in_memory_of(TINY_BLOCKS).overwritable();
        flash.write(0, &[0x5A; 64]).expect("erased");
        flash.cut_at(0, Cut::Torn { seed });
        assert_eq!(flash.write(0, &[0; 64]), Err(FlashError::PowerLost));
        assert!(flash.image()[..64].iter().all(|cell| cell & !0x5A == 0), "seed {seed}");
        kinds.insert(flash.image());
    }
    assert!(kinds.len() > 50, "{}", kinds.len());
}

#[test]
fn durable_flash_keeps_what_it_holds_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flash");
    let mut flash = Flash::open(&path).expect("made").durable();
    flash.write(0, &[7; 8]).expect("erased");
    flash.erase(4096, 8192).expect("in range");
    let image = flash.image();
    drop(flash);
    assert_eq!(std::fs::read(&path).expect("a file"), image);
}

#[test]
fn what_is_misaligned_is_refused() {
    let mut flash = Flash::in_memory();
    assert_eq!(flash.write(2, &[0; 4]), Err(FlashError::Misaligned { address: 2, len: 4, unit: 4 }));
    assert_eq!(flash.write(4, &[0; 6]), Err(FlashError::Misaligned { address: 4, len: 6, unit: 4 }));
    assert_eq!(flash.erase(4, 4096), Err(FlashError::Misaligned { address: 4, len: 4092, unit: 4096 }));
    assert_eq!(flash.erase(0, 100), Err(FlashError::Misaligned { address: 0, len: 100, unit: 4096 }));
    assert_eq!(flash.operations(), Operations::default());
}

#[test]
fn what_is_out_of_range_is_refused() {
    let mut flash = Flash::in_memory();
    let total = flash.geometry().total;
    assert_eq!(total, 128 * 1024);
    let end = total as u32;
    assert_eq!(flash.read(end, &mut [0]), Err(FlashError::OutOfRange { address: end, len: 1, total }));
    assert_eq!(
        flash.write(end - 4, &[0; 8]),
        Err(FlashError::OutOfRange { address: end - 4, len: 8, total })
    );
    assert_eq!(
        flash.erase(0, end + 4096),
        Err(FlashError::OutOfRange { address: 0, len: total + 4096, total })
    );
    assert_eq!(flash.erase(4096, 0), Err(FlashError::OutOfRange { address: 4096, len: 0, total }));
}

#[test]
fn a_cut_before_does_nothing_and_a_cut_after_everything() {
    for (cut, expected) in [(Cut::Before, 0xFF), (Cut::After, 0)] {
        let mut flash = Tiny::in_memory_of(TINY_BLOCKS);
        flash.cut_at(0, cut);
        assert_eq!(flash.write(0, &[0; TINY_TOTAL]), Err(FlashError::PowerLost));
        assert_eq!(flash.image(), vec![expected; TINY_TOTAL], "{cut:?}");

        let mut flash = Tiny::in_memory_of(TINY_BLOCKS);
        flash.write(0, &[0; TINY_TOTAL]).expect("erased");
        flash.cut_at(1, cut);
        assert_eq!(flash.erase(0, 192), Err(FlashError::PowerLost));
        let expected = [[0xFF; 64], [!expected; 64], [0; 64], [0; 64]].concat();
        assert_eq!(flash.image(), expected, "{cut:?}");
    }
}

#[test]
fn without_power_every_operation_fails_until_it_is_back() {
    let mut flash = Tiny::in_memory_of(TINY_BLOCKS);
    flash.cut_at(0, Cut::Before);
    assert_eq!(flash.read(0, &mut [0; 4]), Ok(()));
    assert_eq!(flash.write(0, &[0; 4]), Err(FlashError::PowerLost));
    assert!(flash.is_off());
    assert_eq!(flash.read(0, &mut [0; 4]), Err(FlashError::PowerLost));
    assert_eq!(flash.write(0, &[0; 4]), Err(FlashError::PowerLost));
    assert_eq!(flash.erase(0, 64), Err(FlashError::PowerLost));
    flash.power_on();
    assert_eq!(flash.write(0, &[0; 4]), Ok(()));
}

#[test]
fn a_seed_tears_the_same_way_again_and_others_tear_otherwise() {
    let torn = |seed| {
        let mut flash = Tiny::in_memory_of(TINY_BLOCKS);
        flash.write(0, &[0x3C; 64]).expect("erased");
        flash.cut_at(0, Cut::Torn { seed });
        flash.erase(0, 64).expect_err("cut");
        flash.image()
    };
    let all: std::collections::HashSet<_> = (0..200).map(torn).collect();
    assert_eq!(torn(7), torn(7));
    assert!(all.len() > 100, "{}", all.len());
    // What makes recovery hard: a block that still has its first and its last word, but not what is between.
    assert!(
        all.iter().any(|image| image[..4] == [0x3C; 4] && image[60..64] == [0x3C; 4] && image[32] == 0xFF)
    );
}

#[test]
fn a_file_keeps_the_content_for_its_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flash");
    let mut flash = Flash::open(&path).expect("made");
    assert!(flash.image().iter().all(|cell| *cell == 0xFF));
    flash.write(4092, &[1, 2, 3, 4, 5, 6, 7, 8]).expect("erased");
    flash.write(8192, &[9; 4]).expect("erased");
    flash.erase(8192, 12_288).expect("in range");
    let image = flash.image();
    drop(flash);
    assert_eq!(std::fs::read(&path).expect("a file"), image);
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(Flash::open(&path).expect("there").image(), image);
    // The file under construction is gone.
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_torn_write_is_torn_in_the_file_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flash");
    let mut flash = Flash::open(&path).expect("made");
    flash.cut_at(0, Cut::Torn { seed: 3 });
    flash.write(0, &[0x55; 400]).expect_err("cut");
    let image = flash.image();
    drop(flash);
    assert_ne!(image[..400], [0x55; 400]);
    assert_eq!(std::fs::read(&path).expect("a file"), image);
}

#[test]
fn a_file_of_another_size_is_refused_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("precious");
    std::fs::write(&path, b"something else").expect("written");
    let error = Flash::open(&path).expect_err("refused");
    assert!(matches!(error, OpenError::WrongSize { is: 14, wanted: 131_072, .. }), "{error}");
    assert!(error.to_string().contains("precious has 14 bytes, but this flash has 131072"), "{error}");
    assert_eq!(std::fs::read(&path).expect("a file"), b"something else");
    assert!(matches!(Tiny::open_of(&path, 1), Err(OpenError::WrongSize { wanted: 64, .. })));
}

#[test]
fn a_file_that_is_in_use_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flash");
    let first = Flash::open(&path).expect("made");
    assert!(matches!(Flash::open(&path), Err(OpenError::InUse { .. })));
    drop(first);
    Flash::open(&path).expect("free again");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Flash::open(Path::new("/nonexistent/flash")).expect_err("no such folder");
    assert!(error.to_string().contains("/nonexistent/flash"), "{error}");
}
