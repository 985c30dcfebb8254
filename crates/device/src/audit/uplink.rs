//! The way of the security log to the operator: which piece is signed and sent when, how far he says that he has it, and when
//! the chain is sealed. R-LOG.

use super::Piece;
use crate::cx::Cx;
use crate::event::Note;
use crate::gate::{Entrance, Rejected};
use crate::identity::{self, Identity};
use crate::interface::End;
use crate::machine::Machine;
use crate::mail::Mail;
use crate::platform::{Platform, Uptime, VaultError};
use crate::vault;
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

/// The deliveries.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    /// The connection for which [`Self::not_before`] was set.
    connection: u32,
    /// When the next delivery may be made.
    not_before: Uptime,
}

impl Uplink {
    /// Delivers the log again from this record on, as soon as there is a connection.
    pub(crate) fn send_from<P: Platform>(&mut self, cx: &mut Cx<P>, from: u32) {
        cx.audit.send_from(from);
        self.not_before = self.not_before.min(cx.now);
    }

    /// How far the operator has the log.
    pub(crate) fn document<P: Platform>(&mut self, cx: &mut Cx<P>, trust: &Identity, document: &[u8]) {
        match acknowledgement(cx, trust, document) {
            Ok(new) => {
                // What the operator has is known now: the rest need not wait.
                self.not_before = self.not_before.min(cx.now);
                if new {
                    cx.note(Note::DocumentAccepted(Channel::LogDesired));
                }
            }
            Err(Rejected::Peer(refusal)) => {
                cx.refused = cx.refused.saturating_add(1);
                cx.note(Note::DocumentRefused(refusal));
            }
            Err(Rejected::Own(own)) => cx.own_failed(own),
        }
    }

    /// The next piece of the log, where there is one to deliver.
    #[inline(never)]
    fn piece<P: Platform>(&mut self, cx: &mut Cx<P>, trust: &Identity) -> Option<usize> {
        if self.connection != cx.session.connections {
            self.connection = cx.session.connections;
            self.not_before = cx.now.after(PATIENCE_MS);
        }
        if cx.now < self.not_before || !cx.audit.has_more() {
            return None;
        }
        let mut entries = [0; ENTRIES_BYTES_MAX];
        let piece = cx.audit.next_piece(&mut cx.platform, &mut entries);
        match piece.map(|piece| piece.map(|piece| sign(cx, trust, &piece, &entries))) {
            Ok(Some(Ok(len))) => return Some(len),
            Ok(None) => return None,
            Ok(Some(Err(error))) => cx.identity_failed(identity::sealing(error)),
            Err(error) => cx.log_failed(error),
        }
        self.not_before = cx.now.after(RETRY_MS);
        None
    }

    /// The life of the identity is about to end: the last records, signed while there is a key; the length of their delivery,
    /// which is in the buffer then.
    #[inline(never)]
    pub(crate) fn retirement<P: Platform>(cx: &mut Cx<P>, trust: &Identity, end: End) -> Option<usize> {
        cx.record(&Event::Retired { end });
        stopping(cx);
        seal(cx, trust);
        let mut entries = [0; ENTRIES_BYTES_MAX];
        let piece = cx.audit.last_piece(&mut cx.platform, &mut entries);
        match piece.map(|piece| piece.map(|piece| sign(cx, trust, &piece, &entries))) {
            Ok(Some(Ok(len))) => return Some(len),
            Ok(None) => {}
            Ok(Some(Err(error))) => cx.identity_failed(identity::sealing(error)),
            Err(error) => cx.log_failed(error),
        }
        None
    }
}

/// The device stops in an orderly way: what is only counted is written down.
pub(crate) fn stopping<P: Platform>(cx: &mut Cx<P>) {
    let stamp = cx.stamp();
    let done = cx.audit.tick(&mut cx.platform, &stamp, true);
    cx.recorded(done);
}

/// True where an acknowledgement says more than was known.
fn acknowledgement<P: Platform>(cx: &mut Cx<P>, trust: &Identity, document: &[u8]) -> Result<bool, Rejected> {
    let Some(letter) = cx.gate.open(Entrance::Log, document, None)? else { return Ok(false) };
    let document = letter.admit::<LogAcknowledgement>(trust)?;
    let new = cx.audit.acknowledge(&mut cx.platform, document.number, &document.hash)?;
    cx.gate.took(Entrance::Log, document.mark());
    Ok(new)
}

/// Signs a piece of the log; it is in the buffer then.
fn sign<P: Platform>(
    cx: &mut Cx<P>,
    trust: &Identity,
    piece: &Piece,
    entries: &[u8],
) -> Result<usize, SealError<VaultError>> {
    let delivery = LogDelivery {
        audience: Audience::Device(trust.id().clone()),
        number: piece.number,
        previous: piece.previous,
        entries: entries.get(..piece.len).ok_or(SealError::TooLong)?,
    };
    vault::log(&mut cx.platform, trust.slot(), &delivery, &mut cx.buffer)
}

#[inline(never)]
fn seal<P: Platform>(cx: &mut Cx<P>, trust: &Identity) {
    let stamp = cx.stamp();
    let sign = |platform: &mut P, number: u32, previous: &Hash| {
        let audience = Audience::Device(trust.id().clone());
        let statement = LogDelivery { audience, number, previous: *previous, entries: &[] };
        vault::log_seal(platform, trust.slot(), &statement)
    };
    match cx.audit.seal(&mut cx.platform, &stamp, sign) {
        Ok(Ok(())) => cx.recorded(Ok(())),
        Ok(Err(error)) => cx.identity_failed(identity::sealing(error)),
        Err(error) => cx.log_failed(error),
    }
}

impl<P: Platform> Machine<P> for Uplink {
    /// Counted events are written, and the chain is sealed.
    fn tick(&mut self, cx: &mut Cx<P>, trust: &Identity) {
        let stamp = cx.stamp();
        let done = cx.audit.tick(&mut cx.platform, &stamp, false);
        cx.recorded(done);
        if cx.audit.wants_seal(cx.now) {
            seal(cx, trust);
        }
    }

    fn write(&mut self, _: Mail, cx: &mut Cx<P>, trust: &Identity) -> Option<usize> {
        self.piece(cx, trust)
    }

    fn acknowledged(&mut self, _: Mail, cx: &mut Cx<P>) {
        cx.audit.delivered(cx.now);
    }

    fn next_deadline(&self, cx: &Cx<P>, _: &Identity) -> Option<Uptime> {
        let can_send = cx.can_send(Mail::Log) && cx.audit.has_more();
        let delivery = can_send.then(|| self.not_before.max(cx.now));
        cx.audit.next_deadline().into_iter().chain(delivery).min()
    }
}
