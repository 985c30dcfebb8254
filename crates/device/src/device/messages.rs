//! The device's next message: hello first, then the state, then what former boots left, then telemetry. Owns that
//! order and the buffer while it is filled. R-DATA-INTACT.

use super::{Device, STATE_PERIOD_MS};
use crate::outbox::Kind;
use crate::platform::{Key, Platform, Slots, StorageError, Uptime};
use crate::telemetry::Ring;
use core::borrow::BorrowMut;
use protocol::Channel;

/// How long a batch in flash that cannot be read now is left alone, in milliseconds.
const BACKLOG_RETRY_MS: u64 = 10_000;

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    /// The next message, in the buffer: hello first, then the state, then what former boots left, then telemetry.
    pub(super) fn poll_message(&mut self, now: Uptime) -> Option<(u16, Channel, usize)> {
        if core::mem::take(&mut self.hello_due) {
            self.hello.previous = self.ends.0.first().copied();
            let len = self.hello.encode(&mut self.buffer).ok()?;
            return Some((self.outbox.send(Kind::Hello, now), Channel::Hello, len));
        }
        if now >= self.state_due {
            self.state_due = now.after(STATE_PERIOD_MS);
            self.store_time(now);
            let len = self.state(now).encode(&mut self.buffer).ok()?;
            return Some((self.outbox.send(Kind::State, now), Channel::State, len));
        }
        if let Some(message) = self.poll_command_answer(now) {
            return Some(message);
        }
        if let Some(message) = self.poll_identity(now) {
            return Some(message);
        }
        if let Some(message) = self.poll_firmware_state(now) {
            return Some(message);
        }
        if let Some(message) = self.poll_settings_state(now) {
            return Some(message);
        }
        if let Some(message) = self.poll_log(now) {
            return Some(message);
        }
        while let Some(slot) = self.backlog.head()
            && now >= self.backlog_retry
        {
            if self.outbox.has(Kind::Backlog(slot)) {
                return None;
            }
            match self.platform.read(Key::Backlog(slot), &mut self.buffer) {
                Ok(Some(bytes)) => {
                    let len = bytes.len();
                    return Some((self.outbox.send(Kind::Backlog(slot), now), Channel::Telemetry, len));
                }
                // The medium may be better later; what is damaged will not be.
                Err(error @ (StorageError::Medium | StorageError::Full)) => {
                    self.stored(Err(error));
                    self.backlog_retry = now.after(BACKLOG_RETRY_MS);
                }
                unreadable => {
                    let unreadable = unreadable.map(|_| ());
                    self.stored(unreadable);
                    let removed = self.backlog.remove(slot, &mut self.platform);
                    self.stored(removed);
                }
            }
        }
        let clock = &self.clock;
        let batch = self.telemetry.poll_batch(|at| clock.time(at))?;
        let len = batch.encode(&mut self.buffer).ok()?;
        let token = self.outbox.send(Kind::Telemetry, now);
        self.telemetry.published(token, batch.samples.len());
        Some((token, Channel::Telemetry, len))
    }
}
