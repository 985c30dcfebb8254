//! Public keys, signatures and the names of keys: ECDSA on P-256 with SHA-256 (FIPS 186-5), nothing else. Owns their
//! forms and the one verification, never a private key. R-AUTHORITY.

use core::fmt;
use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest as _, Sha256};

/// Length of a public key in bytes: SEC 1, section 2.3.3, uncompressed.
pub const PUBLIC_KEY_BYTES: usize = 65;

/// Length of a signature in bytes: r and s, 32 bytes each, big endian (RFC 9053, section 2.1).
pub const SIGNATURE_BYTES: usize = 64;

/// Length of a key's name in bytes.
pub const KEY_ID_BYTES: usize = 32;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The SHA-256 digest of `parts`, one after the other.
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// The bytes are no public key on P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKeyError;

impl fmt::Display for PublicKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a public key is the {PUBLIC_KEY_BYTES} bytes 04 x y of a point on the curve P-256")
    }
}

impl core::error::Error for PublicKeyError {}

/// A public key: a point on P-256, checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// Takes a point in SEC 1's uncompressed form; refuses what is not on the curve, and the point at infinity.
    pub fn new(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let bytes: [u8; PUBLIC_KEY_BYTES] = bytes.try_into().map_err(|_| PublicKeyError)?;
        VerifyingKey::from_sec1_bytes(&bytes).map_err(|_| PublicKeyError)?;
        Ok(Self(bytes))
    }

    /// SEC 1's uncompressed form.
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }

    /// The key's name: its COSE key thumbprint with SHA-256 (RFC 9679).
    pub fn id(&self) -> KeyId {
        // The deterministic CBOR of {1: 2 (EC2), -1: 1 (P-256), -2: x, -3: y}, which only x and y vary.
        const HEAD: [u8; 8] = [0xa4, 0x01, 0x02, 0x20, 0x01, 0x21, 0x58, 0x20];
        const MIDDLE: [u8; 3] = [0x22, 0x58, 0x20];
        let (_, point) = self.0.split_at(1);
        let (x, y) = point.split_at(32);
        KeyId(sha256(&[&HEAD, x, &MIDDLE, y]))
    }

    /// True where `signature` over the message with this digest was made with this key.
    pub fn verifies(&self, digest: &Digest, signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_sec1_bytes(&self.0) else { return false };
        let Ok(signature) = p256::ecdsa::Signature::from_slice(&signature.0) else { return false };
        key.verify_prehash(digest, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// The bytes are no signature in the one form that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureError;

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a signature is the {SIGNATURE_BYTES} bytes r s, neither of them 0, s in the lower half")
    }
}

impl core::error::Error for SignatureError {}

/// A signature with s in the lower half of the group's order, so that nobody without the key can make another one of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_BYTES]);

impl Signature {
    /// Takes r and s; refuses 0, numbers not below the order, and an s in the upper half.
    pub fn new(bytes: &[u8]) -> Result<Self, SignatureError> {
        let signature = p256::ecdsa::Signature::from_slice(bytes).map_err(|_| SignatureError)?;
        let low = signature.normalize_s() == signature;
        if low { Ok(Self(signature.to_bytes().into())) } else { Err(SignatureError) }
    }

    /// The same, but an s in the upper half is brought into the lower one: for whoever signs with a library that leaves
    /// it to chance.
    pub fn normalised(bytes: &[u8]) -> Result<Self, SignatureError> {
        let signature = p256::ecdsa::Signature::from_slice(bytes).map_err(|_| SignatureError)?;
        Ok(Self(signature.normalize_s().to_bytes().into()))
    }

    /// r and s.
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }
}

/// The name of a key: its COSE key thumbprint (RFC 9679).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    /// The first eight bytes in hex: enough to tell keys apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}
