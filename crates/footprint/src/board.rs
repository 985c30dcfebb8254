//! What a board answers the device: anything. The board's own code is none of what is measured.

use core::hint::black_box;
use device::platform::{LogFlash, LogLayout};
use device::vault::Statement;
use device::{
    Entropy, EntropyError, Key, KeySlot, KeyValue, Running, SlotLayout, Slots, StorageError, Vault, VaultError,
};
use protocol::document::KeyUse;
use protocol::{PublicKey, Signature};

pub struct Board;

impl KeyValue for Board {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        black_box(key.name());
        Ok(black_box(Some(buffer)).map(|buffer| &*buffer))
    }
    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        black_box((key.number(), value));
        black_box(Ok(()))
    }
    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        black_box(key);
        black_box(Ok(()))
    }
}

impl Entropy for Board {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        black_box(buffer);
        black_box(Ok(()))
    }
}

/// A vault hands over bytes, which its port makes a key or a signature of.
impl Vault for Board {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        black_box((slot, usage));
        PublicKey::new(&black_box([4; 65])).map_err(|_| VaultError::Medium)
    }
    fn import(&mut self, slot: KeySlot, usage: KeyUse, scalar: &[u8; 32]) -> Result<PublicKey, VaultError> {
        black_box(scalar);
        self.generate(slot, usage)
    }
    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        if black_box(true) { self.generate(slot, usage).map(Some) } else { Ok(None) }
    }
    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        black_box((slot, statement));
        Signature::normalised(&black_box([1; 64])).map_err(|_| VaultError::Medium)
    }
    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        black_box(slot);
        black_box(Ok(()))
    }
}

impl Slots for Board {
    fn layout(&self) -> Option<SlotLayout> {
        black_box(Some(SlotLayout { capacity: 1 << 20, sector: 4096, word: 4 }))
    }
    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }
    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }
    fn discard(&mut self) -> Result<(), StorageError> {
        black_box(Ok(()))
    }
    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        black_box(offset);
        black_box(Ok(()))
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }
    fn mark(&mut self) -> Result<(), StorageError> {
        black_box(Ok(()))
    }
    fn running(&mut self) -> Result<Running, StorageError> {
        Ok(black_box(Running::Confirmed))
    }
    fn confirm(&mut self) -> Result<(), StorageError> {
        black_box(Ok(()))
    }
}

impl LogFlash for Board {
    fn log_layout(&self) -> Option<LogLayout> {
        black_box(Some(LogLayout { size: 65_536, sector: 4_096, word: 4 }))
    }
    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }
    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        black_box(offset);
        black_box(Ok(()))
    }
    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }
}
