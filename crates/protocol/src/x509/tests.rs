//! Keys and DER by hand, for the tests of requests and of certificates.

extern crate std;
use super::X509Error;
use crate::key::Digest;
use crate::{PublicKey, Signature};
use core::convert::Infallible;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use std::vec::Vec;

pub(super) struct TestKey(SigningKey);

impl TestKey {
    pub(super) fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
    }

    pub(super) fn sign(&self, digest: &Digest) -> Signature {
        let signature: p256::ecdsa::Signature = self.0.sign_prehash(digest).unwrap();
        Signature::normalised(&signature.to_bytes()).unwrap()
    }

    /// The same for whoever asks a signer that may fail.
    #[expect(clippy::unnecessary_wraps, reason = "a signer may fail")]
    pub(super) fn sign_for(&self, digest: &Digest) -> Result<Signature, Infallible> {
        Ok(self.sign(digest))
    }
}

/// `content` with its tag and length.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = std::vec![tag];
    match content.len() {
        len @ 0..=127 => out.push(len as u8),
        len @ 128..=255 => out.extend([0x81, len as u8]),
        len => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend(content);
    out
}

/// A signature as a bit string.
pub(super) fn signature_field(signature: &[u8; 64]) -> Vec<u8> {
    let signature = p256::ecdsa::Signature::from_slice(signature).unwrap();
    let mut bits = std::vec![0];
    bits.extend(signature.to_der().as_bytes());
    tlv(3, &bits)
}

/// The same signature with s in the other half of the order, which is as right as the first.
pub(super) fn turned(signature: &Signature) -> [u8; 64] {
    let signature = p256::ecdsa::Signature::from_slice(signature.as_bytes()).unwrap();
    let (r, s) = signature.split_scalars();
    let turned = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    turned.to_bytes().into()
}

/// A `SubjectPublicKeyInfo`.
pub(super) fn key_info(algorithm: &[u8], point: &[u8]) -> Vec<u8> {
    let mut bits = std::vec![0];
    bits.extend(point);
    tlv(0x30, &[algorithm, &tlv(3, &bits)].concat())
}

pub(super) const RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
pub(super) const EC_ON_P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07,
];
pub(super) const EC_ON_P384: [u8; 18] = [
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22,
];
pub(super) const ECDSA_WITH_SHA384: [u8; 12] =
    [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

/// A `Name` of one common name with this tag.
pub(super) fn name(tag: u8, text: &[u8]) -> Vec<u8> {
    let attribute = [&[0x06, 0x03, 0x55, 0x04, 0x03][..], &tlv(tag, text)].concat();
    tlv(0x30, &tlv(0x31, &tlv(0x30, &attribute)))
}

#[test]
fn every_error_has_its_own_name_and_sentence() {
    for error in X509Error::ALL {
        assert_eq!(X509Error::from_wire(error.as_str()), Some(*error));
        let sentence = std::format!("{error}");
        let same = X509Error::ALL.iter().filter(|other| std::format!("{other}") == sentence);
        assert_eq!(same.count(), 1, "{sentence}");
    }
}
