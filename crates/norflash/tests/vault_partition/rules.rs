//! What the partition refuses, tells and keeps, without a cut.

use super::{BLOCK, Small, get, holds, secret};
use device::vault::partition::{ENTRY_BYTES_MAX, Partition, PartitionError, Rewrite};
use norflash::Flash;

#[test]
fn wiping_everything_also_wipes_what_looks_empty() {
    let mut flash = Small::<4>::in_memory_of(6).overwritable();
    let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    partition.set(u64::MAX, &secret(1)).expect("fits");
    partition.wipe_all().expect("wipes");
    assert!(flash.wear().all(|erased| erased == 1));
    assert!(flash.image().iter().all(|byte| *byte == 0xFF));
    // Zeros were written over every byte first.
    let writes_of_set = 2;
    assert_eq!(flash.operations().writes, writes_of_set + 6 * (BLOCK / 32) as u64);
}

#[test]
fn a_replaced_secret_costs_one_erase_and_wears_all_blocks_alike() {
    let mut flash = Small::<4>::in_memory_of(9).overwritable();
    let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    for uid in 0..4 {
        partition.set(uid, &secret(1)).expect("fits");
    }
    assert_eq!(partition.flash().operations().erases, 0);
    for round in 0..50 {
        partition.set(2, &secret(round)).expect("fits");
    }
    assert_eq!(flash.operations().erases, 50);
    assert_eq!(flash.wear().filter(|erased| *erased > 0).count(), 6);
    assert!(flash.wear().all(|erased| erased <= 9), "{:?}", flash.wear().collect::<Vec<_>>());
}

#[test]
fn a_full_partition_still_replaces_but_takes_no_more() {
    let mut flash = Small::<4>::in_memory_of(3).overwritable();
    let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    assert_eq!(partition.entries_max(), 2);
    partition.set(1, &[1]).expect("fits");
    partition.set(2, &[]).expect("fits");
    partition.set(1, &[3; ENTRY_BYTES_MAX]).expect("replaces");
    // The spare block could take it, but then nothing could be replaced.
    assert_eq!(partition.set(3, &[3]), Err(PartitionError::Full));
    assert_eq!(partition.set(1, &[3; ENTRY_BYTES_MAX + 1]), Err(PartitionError::TooLong));
    assert_eq!(partition.get(1, &mut [0; 255]), Err(PartitionError::TooLong));
    assert_eq!(get(&mut partition, 1), Some(vec![3; ENTRY_BYTES_MAX]));
    assert_eq!(get(&mut partition, 2), Some(Vec::new()));
    assert_eq!(get(&mut partition, 3), None);
    assert_eq!(partition.remove(3), Ok(false));
    assert_eq!(partition.remove(2), Ok(true));
    partition.set(3, &[3]).expect("fits");
}

#[test]
fn a_flash_that_does_not_suit_is_refused() {
    fn opened<const BLOCK: usize, const WORD: usize>(blocks: u16) -> Option<PartitionError> {
        Partition::open(Flash::<BLOCK, WORD>::in_memory_of(blocks), Rewrite::Never).err()
    }
    assert_eq!(opened::<320, 4>(2), None);
    assert_eq!(opened::<320, 4>(1), Some(PartitionError::Geometry));
    assert_eq!(opened::<288, 4>(8), Some(PartitionError::Geometry));
    assert_eq!(opened::<384, 64>(8), Some(PartitionError::Geometry));
    assert_eq!(opened::<360, 4>(8), Some(PartitionError::Geometry));
}

/// The image with `change` made, on new flash.
fn changed(flash: &Small<4>, change: impl FnOnce(&mut [u8])) -> Small<4> {
    let mut image = flash.image();
    change(&mut image);
    let mut flash = Small::in_memory_of((image.len() / BLOCK) as u16).overwritable();
    for (at, word) in image.chunks(4).enumerate().filter(|(_, word)| **word != [0xFF; 4]) {
        flash.write(at as u32 * 4, word).expect("erased");
    }
    flash
}

#[test]
fn a_flipped_bit_in_a_value_is_damage_and_no_other_value() {
    let mut flash = Small::<4>::in_memory_of(4).overwritable();
    Partition::open(&mut flash, Rewrite::ToZero).expect("opens").set(5, &secret(1)).expect("fits");
    for byte in 64..64 + secret(1).len() {
        let mut flash = changed(&flash, |image| image[byte] ^= 1 << (byte % 8));
        let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
        assert_eq!(partition.get(5, &mut [0; 64]), Err(PartitionError::Damaged), "byte {byte}");
        partition.set(5, &secret(2)).expect("replaces");
        assert_eq!(get(&mut partition, 5), Some(secret(2)));
        assert!(!holds(&flash.image(), &secret(1)));
    }
}

#[test]
fn no_changed_byte_of_a_block_gives_another_value() {
    let mut flash = Small::<4>::in_memory_of(2).overwritable();
    Partition::open(&mut flash, Rewrite::ToZero).expect("opens").set(5, &secret(1)).expect("fits");
    for byte in 0..BLOCK {
        let mut flash = changed(&flash, |image| image[byte] ^= 0x10);
        let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
        let mut buffer = [0; ENTRY_BYTES_MAX];
        match partition.get(5, &mut buffer) {
            // Behind the value.
            Ok(Some(value)) => assert!(value == secret(1) && byte >= 128, "byte {byte}"),
            Ok(None) => assert!(byte < 64, "byte {byte}"),
            Err(error) => assert_eq!(error, PartitionError::Damaged),
        }
    }
}

#[test]
fn what_is_no_entry_is_wiped_when_opened() {
    let mut flash = Small::<4>::in_memory_of(4).overwritable();
    flash.write(BLOCK as u32, &secret(1)).expect("erased");
    let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    assert!(partition.is_settled());
    assert_eq!(get(&mut partition, 1), None);
    assert!(flash.image().iter().all(|byte| *byte == 0xFF));
}

#[test]
fn flash_that_takes_no_zeros_fails_where_it_was_said_to_take_them() {
    let mut flash = Small::<4>::in_memory_of(4);
    let mut partition = Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    partition.set(1, &secret(1)).expect("nothing to wipe");
    assert_eq!(partition.remove(1), Err(PartitionError::Medium));
    // Erased it was all the same.
    assert!(!holds(&flash.image(), &secret(1)));
}

#[test]
fn where_an_erase_may_leave_a_commit_a_damaged_value_counts_as_half_wiped() {
    let mut flash = Small::<4>::in_memory_of(4);
    Partition::open(&mut flash, Rewrite::Never).expect("opens").set(5, &secret(1)).expect("fits");
    let mut flash = changed(&flash, |image| image[70] ^= 1);
    let mut partition = Partition::open(&mut flash, Rewrite::Never).expect("opens");
    assert_eq!(get(&mut partition, 5), None);
    assert!(flash.image().iter().all(|byte| *byte == 0xFF));

    // And so it does before the partition is opened again.
    let mut flash = Small::<4>::in_memory_of(4).overwritable();
    let mut partition = Partition::open(&mut flash, Rewrite::Never).expect("opens");
    partition.set(5, &secret(1)).expect("fits");
    partition.flash().write(64, &[0; 32]).expect("may be overwritten");
    assert_eq!(get(&mut partition, 5), None);
}

#[test]
fn a_block_that_keeps_a_byte_is_not_wiped_and_said_so() {
    for rewrite in [Rewrite::ToZero, Rewrite::Never] {
        let mut partition = Partition::open(Stuck::new(), rewrite).expect("opens");
        partition.set(1, &secret(1)).expect("sound");
        partition.set(2, &secret(2)).expect("sound");
        partition.flash().stuck = Some(0x5A);
        assert_eq!(partition.remove(1), Err(PartitionError::NotWiped));
        assert!(!partition.is_settled());
        let mut partition = Partition::open(partition.into_flash(), rewrite).expect("the others can be used");
        assert!(!partition.is_settled());
        assert_eq!(partition.get(2, &mut [0; 64]), Ok(Some(secret(2).as_slice())));
        assert_eq!(partition.set(3, &[1]), Err(PartitionError::NotWiped));
        assert_eq!(partition.wipe_all(), Err(PartitionError::NotWiped));
        assert_eq!(partition.get(2, &mut [0; 64]), Ok(None));
        partition.flash().stuck = None;
        partition.wipe_all().expect("sound again");
        assert!(partition.is_settled());
    }
}

#[test]
fn a_value_that_is_not_written_as_it_was_given_is_no_entry() {
    let mut partition = Partition::open(Stuck::new(), Rewrite::Never).expect("opens");
    partition.flash().stuck = Some(0xFF);
    assert_eq!(partition.set(1, &secret(1)), Err(PartitionError::Medium));
    assert_eq!(partition.get(1, &mut [0; 64]), Ok(None));
    // It is wiped before the next change, which takes the same block and fails again.
    assert_eq!(partition.set(1, &secret(1)), Err(PartitionError::Medium));
    assert_eq!(partition.flash().flash.operations().erases, 1);
}

#[test]
fn what_is_zero_already_is_not_written_again() {
    let mut flash = Small::<4>::in_memory_of(2).overwritable();
    flash.write(0, &[0; BLOCK]).expect("erased");
    let before = flash.operations();
    Partition::open(&mut flash, Rewrite::ToZero).expect("opens");
    let after = flash.operations();
    assert_eq!((after.writes - before.writes, after.erases - before.erases), (0, 1));
}

/// Flash whose byte 100 can be stuck.
struct Stuck {
    flash: Small<4>,
    stuck: Option<u8>,
}

impl Stuck {
    fn new() -> Self {
        Self { flash: Small::in_memory_of(4).overwritable(), stuck: None }
    }
}

impl embedded_storage::nor_flash::ErrorType for Stuck {
    type Error = norflash::FlashError;
}

impl embedded_storage::nor_flash::ReadNorFlash for Stuck {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.flash.read(offset, bytes)?;
        let at = 100_usize.checked_sub(offset as usize);
        if let (Some(stuck), Some(byte)) = (self.stuck, at.and_then(|at| bytes.get_mut(at))) {
            *byte = stuck;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.flash.geometry().total
    }
}

impl embedded_storage::nor_flash::NorFlash for Stuck {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.flash.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.flash.write(offset, bytes)
    }
}
