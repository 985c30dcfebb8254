//! A device in service on its factory's line: it says who it is and when its certificate ends, and where that has ended it takes
//! a new one here as it would over the network. Owns the order of the messages; who may sign what is the identity's to know.
//! R-REPROVISION, R-SECRET-ROTATE.
//!
//! ```text
//! Renew -> its certificate has ended: new keys, a request     Part.. Commit -> verified, stored, tried on a connection
//! ```
//!
//! The request is signed by the identity key in force, and the certificate by the power over configurations: whoever has the line
//! gets nothing that they could not get over the network, and the factory's key gets nothing at all.

use super::parts::Parts;
use super::{About, Document, identity};
use crate::device::Device;
use crate::identity::Asked;
use crate::platform::{Platform, Slots, Uptime};
use crate::telemetry::Ring;
use core::borrow::BorrowMut;
use core::fmt;
use protocol::provisioning::{
    Fault, FromDevice, Life, MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX, ToDevice, VERSION,
};
use protocol::{EpochMillis, KeyId};

/// The line of a device in service. `D` is room for the document, or a reference to it.
pub struct InService<D> {
    about: About,
    parts: Parts<D>,
    /// A request was given: the time that was said with it.
    asked: Option<EpochMillis>,
    /// The identity that a certificate has come for.
    done: Option<KeyId>,
}

impl<D> fmt::Debug for InService<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InService")
            .field("asked", &self.asked)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl<D: BorrowMut<Document>> InService<D> {
    /// The line of a device that says this of itself.
    pub const fn new(about: About, document: D) -> Self {
        Self { about, parts: Parts::new(document), asked: None, done: None }
    }

    /// Answers a message for `device`: writes the answer into `out` and gives its length in bytes.
    pub fn message<P: Platform + Slots, R: BorrowMut<Ring>>(
        &mut self,
        device: &mut Device<P, R>,
        now: Uptime,
        message: &[u8],
        out: &mut [u8; MESSAGE_BYTES_MAX],
    ) -> usize {
        let mut request = [0; REQUEST_BYTES_MAX];
        let answer = match ToDevice::decode(message) {
            Ok(message) => self
                .answer(device, now, &message, &mut request)
                .unwrap_or_else(|why| FromDevice::Refused { why }),
            Err(_) => FromDevice::Refused { why: Fault::Message },
        };
        // MESSAGE_BYTES_MAX holds the longest answer.
        answer.encode(out).unwrap_or(0)
    }

    fn answer<'r, P: Platform + Slots, R: BorrowMut<Ring>>(
        &mut self,
        device: &mut Device<P, R>,
        now: Uptime,
        message: &ToDevice<'_>,
        request: &'r mut [u8; REQUEST_BYTES_MAX],
    ) -> Result<FromDevice<'r>, Fault> {
        match message {
            ToDevice::Identify { version: VERSION } => {
                let (key, until) = device.line_identity();
                Ok(identity(&self.about, Life::Provisioned, Some(key), Some(until)))
            }
            ToDevice::Identify { .. } => Err(Fault::Message),
            ToDevice::Renew { now_s } => self.renew(device, now, EpochMillis::from_seconds(*now_s), request),
            ToDevice::Part { offset, bytes } if self.asked.is_some() => self.parts.take(*offset, bytes),
            ToDevice::Commit { len } => self.commit(device, now, *len),
            ToDevice::Begin { .. } | ToDevice::Inject { .. } | ToDevice::Part { .. } => Err(Fault::Locked),
        }
    }

    fn renew<'r, P: Platform + Slots, R: BorrowMut<Ring>>(
        &mut self,
        device: &mut Device<P, R>,
        now: Uptime,
        said: EpochMillis,
        request: &'r mut [u8; REQUEST_BYTES_MAX],
    ) -> Result<FromDevice<'r>, Fault> {
        (self.asked, self.done) = (None, None);
        self.parts.clear();
        match device.line_request(now, said, request)? {
            Asked::Trying(identity) => Ok(FromDevice::Provisioned { identity }),
            Asked::Request(len) => {
                self.asked = Some(said);
                Ok(FromDevice::Renewal { request: request.get(..len).ok_or(Fault::Storage)? })
            }
        }
    }

    fn commit<P: Platform + Slots, R: BorrowMut<Ring>>(
        &mut self,
        device: &mut Device<P, R>,
        now: Uptime,
        len: u32,
    ) -> Result<FromDevice<'static>, Fault> {
        if let Some(identity) = self.done {
            // Its answer was lost.
            return Ok(FromDevice::Provisioned { identity });
        }
        let said = self.asked.ok_or(Fault::Locked)?;
        let identity = device.line_certificate(now, said, self.parts.whole(len)?)?;
        (self.asked, self.done) = (None, Some(identity));
        Ok(FromDevice::Provisioned { identity })
    }
}
