//! The bodies for signed documents and for what factory and device say to each other.

use super::faults;
use crate::config::Change;
use crate::document::{
    AuthorityKey, Command, IdentityCertificate, LogAcknowledgement, LogDelivery, Provision, RenewalRequest,
    Retirement, RootList,
};
use crate::key::SIGNATURE_BYTES;
use crate::provisioning::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame};
use crate::provisioning::{FromDevice, MESSAGE_BYTES_MAX, ToDevice};
use crate::signed::{Document, Envelope, PROVISION_DOCUMENT_BYTES_MAX, seal};
use crate::{KeyId, PublicKey, Signature};
use core::convert::Infallible;

/// The group's generator: the public key whose private one everybody knows.
pub(super) const GENERATOR: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f,
    0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
    0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
];

/// An envelope that was accepted is the only way to write what is in it, and the wrong key opens it never.
pub fn envelope(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::decode(bytes) {
        assert!(envelope.is_written_as(bytes));
        assert!(bytes.len() <= PROVISION_DOCUMENT_BYTES_MAX);
        let key = PublicKey::new(&GENERATOR).expect("a point");
        let refusal = envelope.verify::<Command>(&key).expect_err("signed with another key");
        assert!(faults::is_of_envelopes_proof(refusal), "{refusal:?}");
    }
}

/// A payload that was accepted as a document is the only way to write it, and comes out of an envelope as it went in.
pub fn document(bytes: &[u8]) {
    content::<RootList<'_>>(bytes);
    content::<AuthorityKey>(bytes);
    content::<IdentityCertificate<'_>>(bytes);
    content::<Command>(bytes);
    content::<LogDelivery<'_>>(bytes);
    content::<LogAcknowledgement>(bytes);
    content::<Retirement>(bytes);
    content::<Provision<'_>>(bytes);
    content::<RenewalRequest<'_>>(bytes);
    // JSON has many ways: `configuration` looks at those.
    let _any = <Change as Document>::decode(bytes);
}

fn content<'b, T: Document<'b>>(payload: &'b [u8]) {
    if payload.len() > T::CONTENT_TYPE.payload_bytes_max() {
        return;
    }
    if let Ok(document) = T::decode(payload) {
        let mut buffer = [0; PROVISION_DOCUMENT_BYTES_MAX];
        let len = document.encode(&mut buffer).expect("a payload fits");
        assert_eq!(buffer.get(..len), Some(payload));
        let signature = Signature::new(&[1; SIGNATURE_BYTES]).expect("numbers in the lower half");
        let signed = seal(&document, KeyId([7; 32]), &mut buffer, |_| Ok::<_, Infallible>(signature));
        let envelope =
            buffer.get(..signed.expect("it fits")).map(Envelope::decode).expect("within the buffer");
        let envelope = envelope.expect("what was written is read");
        assert_eq!((envelope.content_type(), envelope.signer()), (T::CONTENT_TYPE, KeyId([7; 32])));
        assert!(envelope.holds(payload));
    }
}

/// A message that was accepted is the only way to write it, and fits where it must.
pub fn message(bytes: &[u8]) {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    if let Ok(message) = ToDevice::decode(bytes) {
        let len = message.encode(&mut buffer).expect("a message fits");
        assert_eq!(buffer.get(..len), Some(bytes));
    }
    if let Ok(message) = FromDevice::decode(bytes) {
        let len = message.encode(&mut buffer).expect("a message fits");
        assert_eq!(buffer.get(..len), Some(bytes));
    }
}

/// Whatever came over the line before, the next frame is found; and what is found could have been sent.
pub fn frames(bytes: &[u8]) {
    let mut reader = FrameReader::<FRAME_BYTES_MAX>::new();
    let mut frame = [0; FRAME_BYTES_MAX];
    for byte in bytes {
        if let Some(message) = reader.push(*byte) {
            assert!(encode_frame(message, &mut frame).is_some());
            let mut another = FrameReader::<FRAME_BYTES_MAX>::new();
            let len = encode_frame(message, &mut frame).expect("a frame fits");
            let found = frame.get(..len).and_then(|frame| last(&mut another, frame));
            assert_eq!(found, Some(message));
        }
    }
    let next = bytes.get(..bytes.len().min(MESSAGE_BYTES_MAX)).filter(|next| !next.is_empty());
    if let Some(next) = next {
        let len = encode_frame(next, &mut frame).expect("a frame fits");
        let found = frame.get(..len).and_then(|frame| last(&mut reader, frame));
        assert_eq!(found, Some(next));
    }
}

/// What the reader gives at the last byte.
fn last<'r, const N: usize>(reader: &'r mut FrameReader<N>, frame: &[u8]) -> Option<&'r [u8]> {
    let (last, bytes) = frame.split_last()?;
    for byte in bytes {
        let _earlier = reader.push(*byte);
    }
    reader.push(*last)
}
