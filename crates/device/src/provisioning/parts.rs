//! A document that comes over the factory's line in parts. Owns the room for it and what is there without a gap, never what it
//! says.

use super::Document;
use core::borrow::BorrowMut;
use protocol::Refusal;
use protocol::provisioning::{Fault, FromDevice};

/// What has come of a document.
pub(super) struct Parts<D> {
    document: D,
    filled: usize,
}

impl<D: BorrowMut<Document>> Parts<D> {
    pub(super) const fn new(document: D) -> Self {
        Self { document, filled: 0 }
    }

    /// Forgets what has come.
    pub(super) const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Takes a part. One that was already taken is answered like a new one: its answer may have been lost.
    pub(super) fn take(&mut self, offset: u32, bytes: &[u8]) -> Result<FromDevice<'static>, Fault> {
        if offset as usize > self.filled {
            return Err(Fault::Order);
        }
        let end = offset as usize + bytes.len();
        let place = self.document.borrow_mut().get_mut(offset as usize..end);
        place.ok_or(Fault::Document(Refusal::TooLong))?.copy_from_slice(bytes);
        self.filled = end;
        Ok(FromDevice::Taken { len: self.filled as u32 })
    }

    /// The document, where exactly `len` bytes of it are there.
    pub(super) fn whole(&self, len: u32) -> Result<&[u8], Fault> {
        if len as usize != self.filled {
            return Err(Fault::Order);
        }
        self.document.borrow().get(..self.filled).ok_or(Fault::Order)
    }
}
