//! Batches that wait in flash because the device was stopped before it could deliver them. Owns their order, never
//! their content: they go out as they were written, with the boot and the times of then. R-DATA-INTACT.
//!
//! Slots fill from 0 upwards and are delivered and removed in that order; a free slot before an occupied one is a batch
//! that was delivered.

use crate::cx::Cx;
use crate::mail::Mail;
use crate::platform::{BACKLOG_SLOTS, Key, KeyValue, Platform, StorageError, Uptime};
use crate::telemetry::{Ring, Telemetry};
use core::borrow::BorrowMut;
use protocol::telemetry::BATCH_BYTES_MAX;

/// How long a batch in flash that cannot be read now is left alone, in milliseconds.
const RETRY_MS: u64 = 10_000;

/// The oldest occupied slot and the one after the newest.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    head: u8,
    end: u8,
    /// What cannot be read now is left alone until then.
    retry: Uptime,
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
    fn head(&self) -> Option<u8> {
        (self.head < self.end).then_some(self.head)
    }

    /// The batch in `slot` is delivered, or cannot be read.
    fn remove(&mut self, slot: u8, store: &mut impl KeyValue) -> Result<(), StorageError> {
        self.head = self.head.max(slot + 1);
        store.remove(Key::Backlog(slot))
    }

    /// Moves what is there to the front, so that there is room behind it. A power cut in between leaves one batch
    /// twice.
    fn compact(&mut self, store: &mut impl KeyValue) -> Result<(), StorageError> {
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
        (self.head, self.end) = (0, end);
        Ok(())
    }

    /// Keeps what is not delivered, for the next boot.
    pub(crate) fn keep<P: Platform, R: BorrowMut<Ring>>(
        &mut self,
        telemetry: &mut Telemetry<R>,
        cx: &mut Cx<P>,
    ) {
        // Where there is no room before what is there, there may be some behind it.
        let compacted = self.compact(&mut cx.platform);
        cx.stored(compacted);
        let kept = self.keep_all(telemetry, cx);
        cx.stored(kept);
    }

    fn keep_all<P: Platform, R: BorrowMut<Ring>>(
        &mut self,
        telemetry: &mut Telemetry<R>,
        cx: &mut Cx<P>,
    ) -> Result<(), StorageError> {
        let clock = &cx.clock;
        while let Some(batch) = telemetry.drain(|at| clock.time(at)) {
            let len = batch.encode(&mut cx.buffer).map_err(|_| StorageError::TooLong)?;
            let bytes = cx.buffer.get(..len).ok_or(StorageError::TooLong)?;
            self.push(bytes, &mut cx.platform)?;
        }
        Ok(())
    }

    /// The next batch to deliver, in the buffer: its place and its length in bytes.
    pub(crate) fn write<P: Platform>(&mut self, cx: &mut Cx<P>) -> Option<(u8, usize)> {
        while let Some(slot) = self.head()
            && cx.now >= self.retry
        {
            match cx.platform.read(Key::Backlog(slot), &mut cx.buffer) {
                Ok(Some(bytes)) => return Some((slot, bytes.len())),
                // The medium may be better later; what is damaged will not be.
                Err(error @ (StorageError::Medium | StorageError::Full)) => {
                    cx.stored(Err(error));
                    self.retry = cx.now.after(RETRY_MS);
                }
                unreadable => {
                    let unreadable = unreadable.map(|_| ());
                    cx.stored(unreadable);
                    self.delivered(slot, cx);
                }
            }
        }
        None
    }

    /// True while a batch is on its way: the next one, and this boot's samples, wait for it.
    pub(crate) fn is_under_way<P>(&self, cx: &Cx<P>) -> bool {
        self.head().is_some_and(|slot| cx.now >= self.retry && cx.outbox.has(Mail::Backlog(slot)))
    }

    /// The service has the batch from `slot`.
    pub(crate) fn delivered<P: Platform>(&mut self, slot: u8, cx: &mut Cx<P>) {
        let removed = self.remove(slot, &mut cx.platform);
        cx.stored(removed);
    }

    /// When [`Self::write`] next has something to do.
    pub(crate) fn next_deadline<P>(&self, cx: &Cx<P>) -> Option<Uptime> {
        let waits = self.head().is_some() && cx.now < self.retry;
        (waits && cx.session.is_running() && !cx.outbox.is_full()).then_some(self.retry)
    }

    /// Adds a batch at the end; `Full` where there is no slot.
    fn push(&mut self, batch: &[u8], store: &mut impl KeyValue) -> Result<(), StorageError> {
        if self.end >= BACKLOG_SLOTS {
            return Err(StorageError::Full);
        }
        store.write(Key::Backlog(self.end), batch)?;
        self.end += 1;
        Ok(())
    }
}
