//! A signature by p256, RFC 6979.

use core::hint::black_box;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;

pub fn run() {
    let Ok(key) = SigningKey::from_slice(&black_box([1; 32])) else { return };
    let signature: Result<p256::ecdsa::Signature, _> = key.sign_prehash(&black_box([0; 32]));
    if let Ok(signature) = signature {
        black_box(signature.to_bytes());
    }
    black_box(key.verifying_key().to_sec1_point(false));
}
