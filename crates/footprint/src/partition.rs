//! The vault's partition on a flash.

use core::hint::black_box;
use device::vault::partition::{ENTRY_BYTES_MAX, Partition, Rewrite};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

struct Flash;

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }

    fn capacity(&self) -> usize {
        black_box(32_768)
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4_096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        black_box((from, to));
        black_box(Ok(()))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }
}

pub fn run() {
    let Ok(mut partition) = Partition::open(Flash, black_box(Rewrite::ToZero)) else { return };
    let mut value = black_box([0; ENTRY_BYTES_MAX]);
    let _black = black_box(partition.set(black_box(1), black_box(&value)));
    let _black = black_box(partition.get(black_box(1), &mut value).is_ok());
    let _black = black_box(partition.remove(black_box(1)));
    let _black = black_box(partition.wipe_all());
}
