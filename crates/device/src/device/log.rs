//! Where the security log meets the rest of the device: what is recorded of what is noted, what is delivered, and how far the
//! operator has it. Decides nothing that [`crate::audit`] could. R-LOG.

use super::{Device, NOTES_MAX};
use crate::audit::{self, Audit, Piece, RingError, Stamp};
use crate::gate::{Entrance, Rejected};
use crate::interface::End;
use crate::note::Note;
use crate::outbox::Kind;
use crate::platform::{Platform, Slots, Uptime, VaultError};
use crate::telemetry::Ring;
use crate::vault;
use core::borrow::BorrowMut;
use protocol::audit::{Event, Hash};
use protocol::document::{Audience, LOG_PAYLOAD_BYTES_MAX, LogAcknowledgement, LogDelivery};
use protocol::signed::SealError;
use protocol::{Channel, DeviceId};

/// How long after a connection the log waits for an acknowledgement that is retained, in milliseconds.
const PATIENCE_MS: u64 = 2_000;

/// How long after something went wrong with a delivery the next one is made, in milliseconds.
const RETRY_MS: u64 = 60_000;

/// What a delivery is beside its entries, in bytes: its map, and the audience with the longest id.
const AROUND_BYTES_MAX: usize = 1 + (1 + 2 + 2 + DeviceId::MAX_LEN) + (1 + 5) + (1 + 34) + (1 + 3);

/// Room for the entries of one delivery, in bytes. What holds it is never inlined: a stack frame of the device's main loop
/// would hold it all the time.
const ENTRIES_BYTES_MAX: usize = LOG_PAYLOAD_BYTES_MAX - AROUND_BYTES_MAX;

/// The log and its deliveries.
#[derive(Debug)]
pub(super) struct Log {
    audit: Audit,
    /// The topic of the message that is being read.
    pub reading: Option<Channel>,
    /// The connection for which [`Self::not_before`] was set.
    connection: u32,
    /// When the next delivery may be made.
    not_before: Uptime,
    /// Length of the last delivery of a life that is over, in the device's buffer.
    pub last: Option<usize>,
}

impl Log {
    /// Opens the log of boot number `boot` of the device `id`.
    #[inline(never)]
    pub(super) fn open<P: Platform>(platform: &mut P, id: &DeviceId, boot: u32) -> (Self, Option<RingError>) {
        let adopted = audit::adopt(platform, id).err();
        let (audit, error) = Audit::open(platform, boot);
        let log = Self { audit, reading: None, connection: 0, not_before: Uptime(0), last: None };
        (log, error.or(adopted.map(RingError::Flash)))
    }

    /// Records that the operator has not acknowledged.
    pub(super) fn waiting(&self) -> u32 {
        self.audit.waiting()
    }
}

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    /// Delivers the log again from this record on, as soon as there is a connection.
    pub fn send_log_from(&mut self, from: u32) {
        self.log.audit.send_from(from);
        self.log.not_before = self.log.not_before.min(self.now);
    }

    /// True where everything that is to be delivered was delivered, and the service has said so.
    pub(super) fn log_is_sent(&self) -> bool {
        !self.log.audit.has_more() && !self.outbox.has(Kind::Log)
    }

    /// Records the start, and what went wrong during it.
    #[inline(never)]
    pub(super) fn log_started(&mut self, error: Option<RingError>) {
        if let Some(error) = error {
            self.log_failed(error);
        }
        self.log_event(&Event::Boot { reset: self.hello.reset, firmware: self.hello.firmware.clone() });
        let events = self.notes.iter().map(|note| note.event(None));
        let events: heapless::Vec<_, NOTES_MAX> = events.flatten().collect();
        for event in &events {
            self.log_event(event);
        }
    }

    /// Records what is noted, where it belongs into the security log.
    pub(super) fn record(&mut self, note: &Note) {
        if let Some(event) = note.event(self.log.reading) {
            self.log_event(&event);
        }
    }

    /// Records an event.
    pub(super) fn log_event(&mut self, event: &Event) {
        let stamp = self.stamp();
        let done = self.log.audit.record(&mut self.platform, &stamp, event);
        self.log_done(done);
    }

    fn stamp(&self) -> Stamp {
        Stamp { now: self.now, time: self.clock.time(self.now), clock: self.clock.quality(self.now) }
    }

    fn log_done(&mut self, done: Result<(), RingError>) {
        if let Err(error) = done {
            self.log_failed(error);
        }
        if self.log.audit.take_trouble().is_some() {
            self.storage_errors = self.storage_errors.saturating_add(1);
        }
    }

    /// The log does not record its own failures: they are counted, and it says later how many events it missed.
    pub(super) fn log_failed(&mut self, error: RingError) {
        self.storage_errors = self.storage_errors.saturating_add(1);
        let _full = self.notes.push_back(Note::LogFailed(error));
    }

    /// How far the operator has the log.
    pub(super) fn log_message(&mut self, now: Uptime, payload: &[u8]) {
        match self.judge_acknowledgement(payload) {
            Ok(new) => {
                // What the operator has is known now: the rest need not wait.
                self.log.not_before = self.log.not_before.min(now);
                if new {
                    self.note(Note::DocumentAccepted(Channel::LogDesired));
                }
            }
            Err(Rejected::Peer(refusal)) => {
                self.refused = self.refused.saturating_add(1);
                self.note(Note::DocumentRefused(refusal));
            }
            Err(Rejected::Own(own)) => self.own_failed(own),
        }
    }

    /// True where it says more than was known.
    fn judge_acknowledgement(&mut self, payload: &[u8]) -> Result<bool, Rejected> {
        let Some(letter) = self.gate.open(Entrance::Log, payload, None)? else { return Ok(false) };
        let document = letter.admit::<LogAcknowledgement>(&self.identity)?;
        let new = self.log.audit.acknowledge(&mut self.platform, document.number, &document.hash)?;
        self.gate.took(Entrance::Log, document.mark());
        Ok(new)
    }

    /// The next piece of the log, where there is one to deliver.
    #[inline(never)]
    pub(super) fn poll_log(&mut self, now: Uptime) -> Option<(u16, Channel, usize)> {
        if self.log.connection != self.session.connections {
            self.log.connection = self.session.connections;
            self.log.not_before = now.after(PATIENCE_MS);
        }
        if now < self.log.not_before || self.outbox.has(Kind::Log) || !self.log.audit.has_more() {
            return None;
        }
        let mut entries = [0; ENTRIES_BYTES_MAX];
        let piece = self.log.audit.next_piece(&mut self.platform, &mut entries);
        match piece.map(|piece| piece.map(|piece| self.sign_log(&piece, &entries))) {
            Ok(Some(Ok(len))) => return Some((self.outbox.send(Kind::Log, now), Channel::Log, len)),
            Ok(None) => return None,
            Ok(Some(Err(error))) => self.identity_failed(crate::identity::sealing(error)),
            Err(error) => self.log_failed(error),
        }
        self.log.not_before = now.after(RETRY_MS);
        None
    }

    /// Signs a piece of the log; it is in the buffer then.
    fn sign_log(&mut self, piece: &Piece, entries: &[u8]) -> Result<usize, SealError<VaultError>> {
        let delivery = LogDelivery {
            audience: Audience::Device(self.identity.id().clone()),
            number: piece.number,
            previous: piece.previous,
            entries: entries.get(..piece.len).ok_or(SealError::TooLong)?,
        };
        vault::log(&mut self.platform, self.identity.slot(), &delivery, &mut self.buffer)
    }

    /// The service has the piece that was on its way.
    pub(super) fn log_delivered(&mut self) {
        self.log.audit.delivered(self.now);
    }

    /// What time has brought: counted events are written, and the chain is sealed.
    pub(super) fn check_log(&mut self, now: Uptime) {
        let stamp = self.stamp();
        let done = self.log.audit.tick(&mut self.platform, &stamp, false);
        self.log_done(done);
        if self.log.audit.wants_seal(now) {
            self.seal_log();
        }
    }

    #[inline(never)]
    fn seal_log(&mut self) {
        let stamp = self.stamp();
        let (id, slot) = (self.identity.id(), self.identity.slot());
        let sign = |platform: &mut P, number: u32, previous: &Hash| {
            let audience = Audience::Device(id.clone());
            vault::log_seal(
                platform,
                slot,
                &LogDelivery { audience, number, previous: *previous, entries: &[] },
            )
        };
        match self.log.audit.seal(&mut self.platform, &stamp, sign) {
            Ok(Ok(())) => self.log_done(Ok(())),
            Ok(Err(error)) => self.identity_failed(crate::identity::sealing(error)),
            Err(error) => self.log_failed(error),
        }
    }

    /// The device stops in an orderly way: what is only counted is written down.
    pub(super) fn log_stopping(&mut self) {
        let stamp = self.stamp();
        let done = self.log.audit.tick(&mut self.platform, &stamp, true);
        self.log_done(done);
    }

    /// The life of the identity is about to end: the last records, signed while there is a key.
    #[inline(never)]
    pub(super) fn log_retirement(&mut self, end: End) {
        self.log_event(&Event::Retired { end });
        self.log_stopping();
        self.seal_log();
        let mut entries = [0; ENTRIES_BYTES_MAX];
        let piece = self.log.audit.last_piece(&mut self.platform, &mut entries);
        match piece.map(|piece| piece.map(|piece| self.sign_log(&piece, &entries))) {
            Ok(Some(Ok(len))) => self.log.last = Some(len),
            Ok(None) => {}
            Ok(Some(Err(error))) => self.identity_failed(crate::identity::sealing(error)),
            Err(error) => self.log_failed(error),
        }
    }

    /// When [`Self::check_log`] or [`Self::poll_log`] next has something to do.
    pub(super) fn log_deadline(&self, now: Uptime) -> Option<Uptime> {
        let can_send = self.session.is_running()
            && !self.outbox.is_full()
            && !self.outbox.has(Kind::Log)
            && self.log.audit.has_more();
        let delivery = can_send.then(|| self.log.not_before.max(now));
        self.log.audit.next_deadline().into_iter().chain(delivery).min()
    }
}
