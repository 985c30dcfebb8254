use super::*;
use crate::{Cut, Flash, FlashError};
use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{NorFlash as _, ReadNorFlash as _};
use proptest::prelude::*;

/// 32 units to a block: the log turns at every sixteenth erase.
type Small = Flash<256, 4>;

fn blocks(flash: &Small) -> Vec<Vec<u8>> {
    flash.image().chunks(256).map(<[u8]>::to_vec).collect()
}

/// Each of four data blocks is erased and filled with a number that grows, forty times.
fn work(flash: &mut Small) -> Result<(), LogError<FlashError>> {
    let mut log = EraseLog::open(flash)?;
    for n in 0..40_u32 {
        let address = n % 4 * 256;
        block_on(log.erase(address, address + 256))?;
        block_on(log.write(address, &[n as u8; 256]))?;
    }
    Ok(())
}

#[test]
fn an_erase_is_done_or_not_begun_wherever_power_is_cut() {
    let mut flash = Small::in_memory_of(6);
    work(&mut flash).expect("no cut");
    let operations = flash.operations().changes();
    for at in 0..operations {
        for seed in 0..12 {
            let cut = if seed == 0 { Cut::After } else { Cut::Torn { seed: at * 100 + seed } };
            let what = format!("cut {cut:?} at operation {at}");
            let mut flash = Small::in_memory_of(6);
            flash.cut_at(at, cut);
            assert_eq!(work(&mut flash), Err(LogError::Flash(FlashError::PowerLost)), "{what}");
            flash.power_on();
            // Finishing is cut as well.
            flash.cut_at(seed % 4, cut);
            let again = EraseLog::open(&mut flash).err();
            assert!(again.is_none_or(|error| error == LogError::Flash(FlashError::PowerLost)), "{what}");
            flash.power_on();
            EraseLog::open(&mut flash).unwrap_or_else(|error| panic!("{error:?}, {what}"));

            let blocks = blocks(&flash);
            let is = |block: &Vec<u8>, byte| block.iter().all(|cell| *cell == byte);
            // One block may be erased or in writing; the others are whole, and none is older than it may be.
            let whole: Vec<_> =
                blocks[..4].iter().filter(|block| block[0] < 40 && is(block, block[0])).collect();
            let newest = whole.iter().map(|block| block[0]).max();
            let expected = newest.map_or(0, |newest| usize::from(newest.min(2)) + 1);
            assert!(whole.len() >= expected, "{what}: {} whole blocks up to {newest:?}", whole.len());
            assert!(whole.iter().all(|block| block[0] + 4 > newest.unwrap_or(0)), "{what}");
        }
    }
}

#[test]
fn what_is_written_after_an_erase_is_not_erased_by_opening_again() {
    let mut flash = Small::in_memory_of(6);
    for n in 0..100_u8 {
        let mut log = EraseLog::open(&mut flash).expect("a log");
        block_on(log.erase(0, 256)).expect("erased");
        block_on(log.write(8, &[n; 8])).expect("written");
        let mut log = EraseLog::open(&mut flash).expect("a log");
        let mut bytes = [0; 8];
        block_on(log.read(8, &mut bytes)).expect("read");
        assert_eq!(bytes, [n; 8]);
    }
}

#[test]
fn the_log_wears_both_of_its_blocks_alike_and_less_than_the_data() {
    let mut flash = Small::in_memory_of(6);
    for _ in 0..100 {
        work(&mut flash).expect("no cut");
    }
    let wear: Vec<_> = flash.wear().collect();
    assert_eq!(wear[..4].iter().sum::<u32>(), 4000);
    assert!(wear[4].abs_diff(wear[5]) <= 1 && wear[4] < 150, "{wear:?}");
}

#[test]
fn a_mark_of_which_a_single_bit_is_written_counts_as_written() {
    let mut flash = Small::in_memory_of(6);
    EraseLog::open(&mut flash).expect("a log");
    flash.write(256 - 4, &[0xFF, 0xFF, 0xFB, 0xFF]).expect("erased");
    flash.write(16, &[0xFB; 4]).expect("erased");
    let mut log = EraseLog::open(&mut flash).expect("a log");
    let mut block = [0; 256];
    block_on(log.read(0, &mut block)).expect("read");
    assert_eq!(block[248..], [0; 8]);
    assert_eq!(block[..8], [0xFF; 8]);
    assert_eq!(block[16..20], [0xFB; 4]);
}

#[test]
fn flash_with_something_else_in_it_is_left_alone() {
    let mut flash = Small::in_memory_of(6);
    flash.write(512, &[1; 4]).expect("erased");
    assert_eq!(EraseLog::open(&mut flash).err(), Some(LogError::Foreign));
    assert_eq!(flash.operations().changes(), 1);
}

#[test]
fn flash_with_too_few_blocks_is_refused() {
    assert_eq!(EraseLog::open(Small::in_memory_of(3)).err(), Some(LogError::Geometry));
    assert_eq!(EraseLog::open(Small::in_memory_of(0)).err(), Some(LogError::Geometry));
    assert!(EraseLog::open(Small::in_memory_of(4)).is_ok());
    assert_eq!(EraseLog::open(Flash::<256, 64>::in_memory_of(8)).err(), Some(LogError::Geometry));
}

proptest! {
    #[test]
    fn no_record_that_is_written_in_part_reads_as_another(which in 0..3, value in 0..1_u32 << 30, missing: [u8; 8]) {
        let record = [Record::Generation(value), Record::Begin(value), Record::Done][which as usize];
        let mut unit = record.encode(8);
        for (byte, missing) in unit.iter_mut().zip(missing) {
            *byte |= missing;
        }
        let read = Record::decode(&unit);
        prop_assert!(read.is_none() || read == Some(record), "{read:?}");
    }

    #[test]
    fn every_record_reads_back(value in 0..1_u32 << 30, unit in 8..=32_usize) {
        for record in [Record::Generation(value), Record::Begin(value), Record::Done] {
            prop_assert_eq!(Record::decode(&record.encode(unit)), Some(record));
        }
    }
}
