//! Batches that wait in flash because the device was stopped before it could deliver them. Owns their order, never
//! their content: they go out as they were written, with the boot and the times of then. R-DATA-INTACT.
//!
//! Slots fill from 0 upwards and are delivered and removed in that order; a free slot before an occupied one is a batch
//! that was delivered.

use crate::platform::{BACKLOG_SLOTS, Key, KeyValue, StorageError};
use protocol::telemetry::BATCH_BYTES_MAX;

/// The oldest occupied slot and the one after the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    head: u8,
    end: u8,
}

impl Backlog {
    /// Looks for batches of former boots. A slot that cannot be read counts as taken: it is given up, and counted,
    /// when its turn to be delivered comes.
    pub(crate) fn load(store: &mut impl KeyValue) -> Self {
        let mut buffer = [0; BATCH_BYTES_MAX];
        let mut found = Self::default();
        for slot in 0..BACKLOG_SLOTS {
            if !matches!(store.read(Key::Backlog(slot), &mut buffer), Ok(None)) {
                if found.end == 0 {
                    found.head = slot;
                }
                found.end = slot + 1;
            }
        }
        found
    }

    /// The slot to deliver next.
    pub(crate) fn head(self) -> Option<u8> {
        (self.head < self.end).then_some(self.head)
    }

    /// The batch in `slot` is delivered, or cannot be read.
    pub(crate) fn remove(&mut self, slot: u8, store: &mut impl KeyValue) -> Result<(), StorageError> {
        self.head = self.head.max(slot + 1);
        store.remove(Key::Backlog(slot))
    }

    /// Moves what is there to the front, so that there is room behind it. A power cut in between leaves one batch
    /// twice.
    pub(crate) fn compact(&mut self, store: &mut impl KeyValue) -> Result<(), StorageError> {
        let mut buffer = [0; BATCH_BYTES_MAX];
        let mut end = 0;
        for slot in self.head..self.end {
            match store.read(Key::Backlog(slot), &mut buffer) {
                Ok(Some(bytes)) => {
                    if slot != end {
                        store.write(Key::Backlog(end), bytes)?;
                        store.remove(Key::Backlog(slot))?;
                    }
                    end += 1;
                }
                Ok(None) => {}
                // What cannot be read cannot be delivered: its slot is free.
                Err(StorageError::Corrupt | StorageError::TooLong) => store.remove(Key::Backlog(slot))?,
                Err(error) => return Err(error),
            }
        }
        *self = Self { head: 0, end };
        Ok(())
    }

    /// Adds a batch at the end; `Full` where there is no slot.
    pub(crate) fn push(&mut self, batch: &[u8], store: &mut impl KeyValue) -> Result<(), StorageError> {
        if self.end >= BACKLOG_SLOTS {
            return Err(StorageError::Full);
        }
        store.write(Key::Backlog(self.end), batch)?;
        self.end += 1;
        Ok(())
    }
}
