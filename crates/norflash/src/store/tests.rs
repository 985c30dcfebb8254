use super::*;
use crate::{Cut, Flash, FlashError};
use device::platform::BACKLOG_SLOTS;
use fastrand::Rng;

fn read(store: &mut impl KeyValue, key: Key) -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    store.read(key, &mut buffer).expect("readable").map(<[u8]>::to_vec)
}

fn store() -> Store<Flash> {
    Store::open(Flash::in_memory()).expect("a store")
}

#[test]
fn a_value_reads_back_until_it_is_removed() {
    let mut store = store();
    assert_eq!(read(&mut store, Key::Boot), None);
    store.write(Key::Boot, b"one").expect("room");
    store.write(Key::Time, b"").expect("room");
    assert_eq!(read(&mut store, Key::Boot).as_deref(), Some(b"one".as_slice()));
    assert_eq!(read(&mut store, Key::Time).as_deref(), Some(b"".as_slice()));
    store.write(Key::Boot, b"another").expect("room");
    assert_eq!(read(&mut store, Key::Boot).as_deref(), Some(b"another".as_slice()));
    store.remove(Key::Boot).expect("room");
    assert_eq!(read(&mut store, Key::Boot), None);
    assert_eq!(read(&mut store, Key::Time).as_deref(), Some(b"".as_slice()));
}

#[test]
fn to_remove_what_is_not_there_writes_nothing() {
    let mut store = store();
    let before = store.flash().operations().changes();
    store.remove(Key::Ended).expect("nothing to do");
    assert_eq!(store.flash().operations().changes(), before);
}

#[test]
fn values_up_to_the_longest_read_back_and_longer_ones_are_refused() {
    let mut store = store();
    let longest = Store::<Flash>::VALUE_MAX;
    assert_eq!(longest, 4070);
    for len in [1, 7, 8, 1200, longest - 1, longest] {
        let value = vec![0xA7; len];
        store.write(Key::Configuration, &value).expect("room");
        assert_eq!(read(&mut store, Key::Configuration), Some(value));
    }
    for len in [longest + 1, longest + 8, 70_000] {
        assert_eq!(store.write(Key::Configuration, &vec![0; len]), Err(StorageError::TooLong));
    }
    assert_eq!(read(&mut store, Key::Configuration), Some(vec![0xA7; longest]));
}

#[test]
fn a_buffer_that_is_too_short_is_an_error_not_a_part_of_the_value() {
    let mut store = store();
    store.write(Key::Boot, &[1; 8]).expect("room");
    assert_eq!(store.read(Key::Boot, &mut [0; 7]), Err(StorageError::TooLong));
    assert_eq!(store.read(Key::Boot, &mut [0; 8]), Ok(Some([1; 8].as_slice())));
}

#[test]
fn values_stay_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flash");
    for boot in 0..5_u8 {
        let mut store = Store::open(Flash::open(&path).expect("a flash")).expect("a store");
        let last = read(&mut store, Key::Boot);
        assert_eq!(last, (boot > 0).then(|| vec![boot - 1; 8]));
        store.write(Key::Boot, &[boot; 8]).expect("room");
    }
}

#[test]
fn everything_the_device_keeps_fits_at_its_longest_with_room_to_overwrite_it() {
    let mut store = store();
    let mut rng = Rng::with_seed(1);
    for round in 0..20_u8 {
        for slot in 0..BACKLOG_SLOTS {
            store.write(Key::Backlog(slot), &[round + slot; 1200]).expect("room");
        }
        store.write(Key::Configuration, &[round; 768]).expect("room");
        for key in [Key::Boot, Key::Time, Key::Ended] {
            store.write(key, &[round; 48]).expect("room");
        }
        store.remove(Key::Backlog(rng.u8(0..BACKLOG_SLOTS))).expect("room");
    }
    let gone = (0..BACKLOG_SLOTS).filter(|slot| {
        let value = read(&mut store, Key::Backlog(*slot));
        value.as_ref().inspect(|value| assert_eq!(**value, vec![19 + slot; 1200])).is_none()
    });
    assert_eq!(gone.count(), 1);
}

#[test]
fn a_full_store_says_so_and_loses_nothing() {
    let mut store = Store::open(Flash::<4096, 4>::in_memory_of(6)).expect("a store");
    let value = |slot: u8| vec![slot; 1000];
    let mut held = 0;
    let error = loop {
        match store.write(Key::Backlog(held), &value(held)) {
            Ok(()) => held += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, StorageError::Full);
    // Three blocks of four data blocks, of which one stays erased for the garbage collection.
    assert_eq!(held, 12);
    let check = |store: &mut Store<_>| {
        for slot in 0..held {
            assert_eq!(read(store, Key::Backlog(slot)), Some(value(slot)));
        }
        assert_eq!(read(store, Key::Backlog(held)), None);
    };
    check(&mut store);
    let mut store = Store::open(store.into_flash()).expect("a store");
    check(&mut store);
    // To remove takes room as well, but there is some, and then there is enough again.
    store.remove(Key::Backlog(0)).expect("room");
    store.write(Key::Backlog(held), &value(held)).expect("room");
    assert_eq!(read(&mut store, Key::Backlog(held)), Some(value(held)));
    assert_eq!(read(&mut store, Key::Backlog(0)), None);
}

#[test]
fn overwriting_a_hundred_thousand_times_wears_all_blocks_alike() {
    let mut store = Store::open(Flash::<4096, 4>::in_memory_of(8)).expect("a store");
    store.write(Key::Configuration, &[7; 768]).expect("room");
    for n in 0..100_000_u64 {
        store.write(Key::Time, &n.to_le_bytes()).expect("room");
    }
    assert_eq!(read(&mut store, Key::Time), Some(99_999_u64.to_le_bytes().to_vec()));
    assert_eq!(read(&mut store, Key::Configuration), Some(vec![7; 768]));
    let wear: Vec<_> = store.flash().wear().collect();
    let (least, most) = (wear[..6].iter().min(), wear[..6].iter().max());
    // 24 bytes an item: 170 or so fill a block.
    assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1 && *most < 150), "{wear:?}");
}

#[test]
fn the_map_gets_units_of_an_items_header() {
    // With smaller ones the remains of a header that was cut can join with the item behind it, and hide it.
    assert_eq!(Map::<Flash>::item_overhead_size() as usize, EraseLog::<Flash>::UNIT);
    assert_eq!(Map::<Flash<4096, 1>>::item_overhead_size() as usize, EraseLog::<Flash<4096, 1>>::UNIT);
    assert_eq!(Map::<Flash<4096, 32>>::item_overhead_size() as usize, EraseLog::<Flash<4096, 32>>::UNIT);
}

#[test]
fn it_works_on_other_words() {
    fn works<const WORD: usize>() {
        let mut store = Store::open(Flash::<1024, WORD>::in_memory_of(8)).expect("a store");
        for n in 0..300_u16 {
            store.write(Key::Time, &n.to_le_bytes()).expect("room");
            store.write(Key::Ended, &vec![3; usize::from(n)]).expect("room");
        }
        let mut store = Store::open(store.into_flash()).expect("a store");
        assert_eq!(read(&mut store, Key::Time), Some(299_u16.to_le_bytes().to_vec()));
        assert_eq!(read(&mut store, Key::Ended), Some(vec![3; 299]));
    }
    works::<1>();
    works::<8>();
    works::<16>();
    works::<32>();
}

#[test]
fn a_lost_supply_is_a_failed_medium_and_the_reason_is_kept() {
    let mut store = store();
    store.flash().cut_at(0, Cut::Before);
    assert_eq!(store.write(Key::Boot, &[1; 8]), Err(StorageError::Medium));
    assert_eq!(store.take_fault(), Some(FlashError::PowerLost));
    assert_eq!(store.read(Key::Boot, &mut [0; 8]), Err(StorageError::Medium));
    store.flash().power_on();
    assert_eq!(store.read(Key::Boot, &mut [0; 8]), Ok(None));
}

#[test]
fn flash_with_something_else_in_it_is_refused_until_it_is_formatted() {
    let mut flash = Flash::in_memory();
    flash.write(0, b"precious").expect("erased");
    assert_eq!(Store::open(&mut flash).err(), Some(StoreError::Foreign));
    assert_eq!(flash.image()[..8], *b"precious");
    let mut store = Store::format(&mut flash).expect("a store");
    store.write(Key::Boot, &[1; 8]).expect("room");
}

/// Not what power loss leaves, but a worn or tampered part may: whatever is read, nothing panics.
#[test]
fn random_damage_gives_errors_or_values_but_no_panic() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let mut flash = Flash::<512, 4>::in_memory_of(8);
        let mut store = Store::open(&mut flash).expect("a store");
        for _ in 0..60 {
            let mut value = vec![0; rng.usize(0..100)];
            rng.fill(&mut value);
            store.write(Key::Backlog(rng.u8(0..6)), &value).expect("room");
        }
        let mut image = flash.image();
        for _ in 0..rng.usize(1..40) {
            let at = rng.usize(0..image.len());
            image[at] = if rng.bool() { rng.u8(..) } else { image[at] ^ 1 << rng.u8(0..8) };
        }
        let mut damaged = Flash::<512, 4>::in_memory_of(8);
        damaged.write(0, &image).expect("erased");
        let Ok(mut store) = Store::open(&mut damaged) else { continue };
        let mut buffer = [0; 512];
        for n in 0..60 {
            let key = Key::Backlog(rng.u8(0..6));
            // Any of the errors is right here.
            let _read = store.read(key, &mut buffer);
            let _written = store.write(key, &[n; 50]);
            let _removed = store.remove(Key::Backlog(rng.u8(0..6)));
        }
    }
}
