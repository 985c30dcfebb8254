//! What the device keeps over restarts, besides its configuration: the number of its boots, how they ended, the
//! confirmed time and the samples that were not delivered. Owns when they are stored. R-DATA-INTACT, R-TIME.

use super::{Device, Life, TIME_STORE_PERIOD_MS};
use crate::platform::{Key, Platform, Slots, StorageError, Uptime};
use crate::stored::{number, put, put_number};
use crate::telemetry::Ring;
use core::borrow::BorrowMut;
use protocol::PreviousBoot;
use protocol::hello::{PREVIOUS_BYTES_MAX, PreviousBoots};

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    /// Stores the confirmed time, now and then.
    pub(super) fn store_time(&mut self, now: Uptime) {
        if self.time_stored.is_none_or(|last| now.since(last) >= TIME_STORE_PERIOD_MS)
            && let Some(floor) = self.clock.floor(now)
        {
            let result = put_number(&mut self.platform, Key::Time, floor.0);
            if result.is_ok() {
                self.time_stored = Some(now);
            }
            self.stored(result);
        }
    }

    /// The service knows how a former boot ended; where there are more, it is told of the next.
    pub(super) fn end_is_known(&mut self) {
        if self.hello.previous.is_some() && self.hello.previous == self.ends.0.first().copied() {
            self.ends.0.remove(0);
            let stored = write_ends(&mut self.platform, &self.ends);
            self.stored(stored);
            self.hello_due = !self.ends.0.is_empty();
        }
    }

    /// Keeps what is not delivered and closes. How the boot ended is written last: where power fails before, the next
    /// boot says that nobody knows.
    pub(super) fn stop(&mut self, now: Uptime) {
        self.life = Life::Stopping;
        self.session.close();
        self.telemetry.disconnected();
        self.update.stopping(now, &mut self.platform);
        self.update_settled();
        self.log_stopping();
        let kept = self.keep_samples();
        self.stored(kept);
        if let Some(floor) = self.clock.floor(now) {
            let stored = put_number(&mut self.platform, Key::Time, floor.0);
            self.stored(stored);
        }
        self.ends.push(PreviousBoot { boot: self.hello.boot, next_seq: self.telemetry.next_seq() });
        let stored = write_ends(&mut self.platform, &self.ends);
        self.stored(stored);
    }

    fn keep_samples(&mut self) -> Result<(), StorageError> {
        // Where there is no room before what is there, there may be some behind it.
        let compacted = self.backlog.compact(&mut self.platform);
        self.stored(compacted);
        let clock = &self.clock;
        while let Some(batch) = self.telemetry.drain(|at| clock.time(at)) {
            let len = batch.encode(&mut self.buffer).map_err(|_| StorageError::TooLong)?;
            let bytes = self.buffer.get(..len).ok_or(StorageError::TooLong)?;
            self.backlog.push(bytes, &mut self.platform)?;
        }
        Ok(())
    }
}

pub(super) fn count_boot<P: Platform>(platform: &mut P) -> Result<u32, StorageError> {
    let last = number(platform, Key::Boot)?.unwrap_or(0);
    let boot = last.wrapping_add(1);
    put_number(platform, Key::Boot, boot)?;
    Ok(boot as u32)
}

/// How former boots ended, as far as the service has not been told.
pub(super) fn read_ends<P: Platform>(platform: &mut P) -> Result<PreviousBoots, StorageError> {
    let mut buffer = [0; PREVIOUS_BYTES_MAX];
    match platform.read(Key::Ended, &mut buffer)? {
        None => Ok(PreviousBoots::default()),
        Some(bytes) => PreviousBoots::decode(bytes).map_err(|_| StorageError::Corrupt),
    }
}

fn write_ends<P: Platform>(platform: &mut P, ends: &PreviousBoots) -> Result<(), StorageError> {
    if ends.0.is_empty() {
        return platform.remove(Key::Ended);
    }
    let mut buffer = [0; PREVIOUS_BYTES_MAX];
    // PREVIOUS_BYTES_MAX holds the longest list.
    let len = ends.encode(&mut buffer);
    put(platform, Key::Ended, &buffer, len)
}
