//! p256 for C: a signature by RFC 6979 and its verification.
#![no_std]
#![deny(missing_docs)]

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Makes the public key, in SEC 1's uncompressed form. True where it could.
// SAFETY: nothing else in the image has this name.
#[unsafe(no_mangle)]
pub extern "C" fn p256_public(scalar: &[u8; 32], public: &mut [u8; 65]) -> bool {
    let Ok(key) = SigningKey::from_slice(scalar) else { return false };
    public.copy_from_slice(key.verifying_key().to_sec1_point(false).as_bytes());
    true
}

/// Signs a digest. True where it could.
// SAFETY: nothing else in the image has this name.
#[unsafe(no_mangle)]
pub extern "C" fn p256_sign(scalar: &[u8; 32], digest: &[u8; 32], signature: &mut [u8; 64]) -> bool {
    let Ok(key) = SigningKey::from_slice(scalar) else { return false };
    let made: Result<Signature, _> = key.sign_prehash(digest);
    made.is_ok_and(|made| {
        signature.copy_from_slice(&made.to_bytes());
        true
    })
}

/// True where the signature is the key's over the digest.
// SAFETY: nothing else in the image has this name.
#[unsafe(no_mangle)]
pub extern "C" fn p256_verify(public: &[u8; 65], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let Ok(key) = VerifyingKey::from_sec1_bytes(public) else { return false };
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
}
