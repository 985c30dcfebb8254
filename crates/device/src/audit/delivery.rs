//! What of the log is delivered next, and how far the operator has it. R-LOG.

use super::kept::Acknowledged;
use super::{Audit, Piece, RESEND_PERIOD_MS, RingError};
use crate::gate::Rejected;
use crate::platform::{LogFlash, Uptime};
use protocol::Refusal;
use protocol::audit::Hash;

impl Audit {
    /// Whether there is something to deliver.
    pub fn has_more(&self) -> bool {
        self.ring.as_ref().is_some_and(|ring| self.cursor < ring.next() && ring.oldest() < ring.next())
    }

    /// Writes the next piece to deliver into `out`.
    pub fn next_piece<P: LogFlash>(
        &mut self,
        platform: &mut P,
        out: &mut [u8],
    ) -> Result<Option<Piece>, RingError> {
        let piece = match &self.ring {
            Some(ring) => ring.read(platform, self.cursor, out)?,
            None => None,
        };
        match &piece {
            Some(piece) => self.sent = Some(piece.end),
            // What cannot be read is not waited for.
            None => self.cursor = self.next(),
        }
        Ok(piece)
    }

    /// Writes the newest records that fit into `out`, with the last one.
    pub fn last_piece<P: LogFlash>(
        &mut self,
        platform: &mut P,
        out: &mut [u8],
    ) -> Result<Option<Piece>, RingError> {
        let Some(ring) = &self.ring else { return Ok(None) };
        // No message holds more than one to 48 bytes.
        let most = (out.len() / 48) as u32;
        let mut from = ring.oldest().max(self.wanted()).max(ring.next().saturating_sub(most));
        loop {
            match ring.read(platform, from, out)? {
                Some(piece) if piece.end < ring.next() => from = from.max(piece.number).saturating_add(1),
                piece => return Ok(piece),
            }
        }
    }

    /// The piece that was on its way has arrived.
    pub fn delivered(&mut self, now: Uptime) {
        let Some(end) = self.sent.take() else { return };
        self.cursor = end;
        if !self.has_more() {
            self.asked = false;
        }
        self.resend_due = Some(now.after(RESEND_PERIOD_MS));
    }

    /// Delivers again from this record on; nothing is left out where that is one which was not delivered yet, or is none yet.
    pub fn send_from(&mut self, from: u32) {
        if from < self.cursor {
            (self.cursor, self.sent) = (from, None);
        }
        self.asked = self.cursor < self.wanted();
    }

    /// The operator has the log up to and with this record; true where that is new.
    pub fn acknowledge<P: LogFlash>(
        &mut self,
        platform: &mut P,
        number: u32,
        hash: &Hash,
    ) -> Result<bool, Rejected> {
        if let Some(known) = self.kept.acknowledged {
            if number < known.number {
                return Ok(false);
            }
            if number == known.number {
                return if *hash == known.hash { Ok(false) } else { Err(Refusal::Chain.into()) };
            }
        }
        let ring = self.ring.as_ref().filter(|ring| ring.is_settled()).ok_or(Refusal::Chain)?;
        let found = ring.hash_of(platform, number)?;
        if found.as_ref() != Some(hash) {
            return Err(Refusal::Chain.into());
        }
        self.kept.acknowledged = Some(Acknowledged { number, hash: *hash });
        if !self.asked {
            self.cursor = self.cursor.max(self.wanted());
        }
        Ok(true)
    }
}
