//! The signature of the device in its own log. R-LOG.

use super::{Event, Hash, Record};
use crate::DeviceId;
use crate::document::{Audience, LogDelivery};
use crate::key::PublicKey;
use crate::signed::{Envelope, seal};
use core::convert::Infallible;

/// A seal has no records, so that this holds it.
const SEAL_BYTES_MAX: usize = 384;

/// True where `record` is an [`Event::Seal`] of the log of `device`, made with `key`, and `previous` is the hash of the record
/// before it: then everything before it is what the device wrote.
pub fn is_sealed_by(record: &Record, previous: &Hash, device: &DeviceId, key: &PublicKey) -> bool {
    let Event::Seal { identity, signature } = &record.event else { return false };
    let delivery = LogDelivery {
        audience: Audience::Device(device.clone()),
        number: record.sequence,
        previous: *previous,
        entries: &[],
    };
    let mut bytes = [0; SEAL_BYTES_MAX];
    let Ok(len) = seal(&delivery, *identity, &mut bytes, |_| Ok::<_, Infallible>(*signature)) else {
        return false;
    };
    let envelope = bytes.get(..len).and_then(|bytes| Envelope::decode(bytes).ok());
    *identity == key.id() && envelope.is_some_and(|envelope| envelope.verify::<LogDelivery<'_>>(key).is_ok())
}
