//! The body for manifests.

use super::faults;
use super::signed::GENERATOR;
use crate::KeyId;
use crate::key::{PublicKey, SIGNATURE_BYTES, Signature};
use crate::suit::{ENVELOPE_BYTES_MAX, Envelope, seal};
use core::convert::Infallible;

/// The wrong key opens a manifest never; what one says that was accepted is written and read back as the same, and written
/// once more it is the same bytes.
pub fn manifest(bytes: &[u8]) {
    let Ok(envelope) = Envelope::decode(bytes) else { return };
    assert!(bytes.len() <= ENVELOPE_BYTES_MAX);
    let key = PublicKey::new(&GENERATOR).expect("a point");
    let fault = envelope.verify(&key).expect_err("signed with another key");
    assert!(faults::is_of_manifests_proof(fault), "{fault:?}");
    let Ok(manifest) = envelope.unproven() else { return };
    let signature = Signature::new(&[1; SIGNATURE_BYTES]).expect("numbers in the lower half");
    let sealed = |out: &mut [u8; ENVELOPE_BYTES_MAX]| {
        seal(&manifest, KeyId([7; 32]), out, |_| Ok::<_, Infallible>(signature))
    };
    let mut ours = [0; ENVELOPE_BYTES_MAX];
    let Ok(len) = sealed(&mut ours) else {
        // Ours says more than it must: whose key it is, and what a bootloader does.
        assert!(bytes.len() > ENVELOPE_BYTES_MAX - 256);
        return;
    };
    let ours = ours.get(..len).expect("within the buffer");
    let again = Envelope::decode(ours).expect("what was written is read");
    assert_eq!(again.signer(), Some(KeyId([7; 32])));
    assert_eq!(again.unproven().as_ref(), Ok(&manifest));
    let mut twice = [0; ENVELOPE_BYTES_MAX];
    assert_eq!(sealed(&mut twice).ok().and_then(|len| twice.get(..len)), Some(ours));
}
