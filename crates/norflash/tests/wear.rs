//! What a day costs the flash. The numbers are printed (`cargo test -p norflash --test wear -- --nocapture`) and held
//! to a lifetime.

use device::platform::BACKLOG_SLOTS;
use device::{Key, KeyValue};
use norflash::{Flash, Store};

/// Erases that a block of a common part bears, by its datasheet (nRF52840: 10 000; QSPI parts: 100 000).
const ENDURANCE: f64 = 10_000.0;

/// A device that is restarted twice a day, each time with a full ring of samples to keep and deliver, and that notes a
/// confirmed time every hour.
fn day(store: &mut Store<Flash>, boot: &mut u64) -> u64 {
    let mut writes = 0;
    for _ in 0..2 {
        *boot += 1;
        store.write(Key::Boot, &boot.to_le_bytes()).expect("room");
        store.remove(Key::Ended).expect("room");
        for slot in 0..BACKLOG_SLOTS {
            store.remove(Key::Backlog(slot)).expect("room");
        }
        for hour in 0..12_u64 {
            store.write(Key::Time, &hour.to_le_bytes()).expect("room");
        }
        for slot in 0..16 {
            store.write(Key::Backlog(slot), &[slot; 960]).expect("room");
        }
        store.write(Key::Ended, &[1; 32]).expect("room");
        writes += 1 + 1 + 16 + 12 + 16 + 1;
    }
    writes
}

#[test]
fn a_block_lasts_for_decades_of_days_with_two_restarts() {
    const DAYS: u32 = 365;
    let mut store = Store::open(Flash::in_memory()).expect("a store");
    store.write(Key::Configuration, &[1; 400]).expect("room");
    let mut boot = 0;
    let mut writes = 0;
    for _ in 0..DAYS {
        writes += day(&mut store, &mut boot);
    }
    let operations = store.flash().operations();
    let wear: Vec<_> = store.flash().wear().collect();
    let most = wear.iter().copied().max().unwrap_or(0);
    let per_day = f64::from(most) / f64::from(DAYS);
    let years = ENDURANCE / per_day / 365.25;
    println!("{DAYS} days with two restarts, {writes} values written or removed on 128 KiB:");
    println!(
        "  {:.3} erases a write, {:.2} erases a day",
        per(operations.erases, writes),
        per(operations.erases, DAYS.into())
    );
    println!(
        "  {:.2} flash writes a value, {:.1} reads",
        per(operations.writes, writes),
        per(operations.reads, writes)
    );
    println!("  erases of each block: {wear:?}");
    println!("  the most worn block bears {ENDURANCE} erases for {years:.0} years");
    let (data, log) = wear.split_at(wear.len() - 2);
    let least = data.iter().copied().min().unwrap_or(0);
    assert!(most - least <= 2, "not worn alike: {wear:?}");
    assert!(log.iter().all(|log| *log < least / 4), "the erase log is worn most: {wear:?}");
    assert!(years > 20.0, "{years}");
}

fn per(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}
