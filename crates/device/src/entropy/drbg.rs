//! `HMAC_DRBG` with SHA-256: NIST SP 800-90A Rev. 1, section 10.1.2, with the limits of its table 2. Owns the secret
//! state and wipes it; never draws entropy by itself. R-ENTROPY.
//!
//! Written here over `hmac` and `sha2`: the crates that offer it lack reseeding (`rfc6979`), stay on old hash crates
//! (`hmac-drbg`), or leave the state in memory (`nist-drbg-rs`). Held to NIST's vectors by `tests/entropy_vectors.rs`.

use core::fmt;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Security strength in bits, the highest that SHA-256 allows.
pub const SECURITY_STRENGTH_BITS: u32 = 256;
/// Entropy of the nonce in bits: half the security strength (section 8.6.7).
pub const NONCE_STRENGTH_BITS: u32 = SECURITY_STRENGTH_BITS / 2;
/// Bytes that one request may ask for: 2^19 bits (table 2).
pub const MAX_REQUEST: usize = 1 << 16;
/// Requests between two seeds (table 2).
pub const RESEED_INTERVAL: u64 = 1 << 48;
/// Longest input of each kind in bytes. Table 2 allows 2^35 bits; nothing here needs more than this.
pub const MAX_INPUT: usize = 1 << 16;

/// Bytes of SHA-256's output and of its block.
const OUTPUT: usize = 32;
const BLOCK: usize = 64;

/// Why the generator refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrbgError {
    /// It was never instantiated, or is uninstantiated again.
    NotInstantiated,
    /// The entropy input is shorter than the security strength, or the nonce than half of it.
    TooLittleEntropy,
    /// An input is longer than [`MAX_INPUT`].
    InputTooLong,
    /// More than [`MAX_REQUEST`] bytes were asked for.
    RequestTooLong,
    /// The generator must be reseeded before it gives more.
    ReseedRequired,
}

impl fmt::Display for DrbgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInstantiated => "it must be instantiated first",
            Self::TooLittleEntropy => "give it 32 bytes of entropy and 16 bytes of nonce at least",
            Self::InputTooLong => "give it inputs of 65536 bytes at most",
            Self::RequestTooLong => "ask for 65536 bytes at a time at most",
            Self::ReseedRequired => "reseed it: too many requests since the last seed",
        })
    }
}

impl core::error::Error for DrbgError {}

/// The generator. Its state never shows, and is wiped when it goes out of scope.
///
/// ```compile_fail
/// println!("{:?}", device::entropy::drbg::HmacDrbg::new());
/// ```
/// ```compile_fail
/// let generator = device::entropy::drbg::HmacDrbg::new();
/// let copy = generator.clone();
/// ```
pub struct HmacDrbg {
    key: [u8; OUTPUT],
    value: [u8; OUTPUT],
    /// Requests since the last seed, this one counted: 0 while uninstantiated.
    reseed_counter: u64,
}

impl HmacDrbg {
    /// One without a state. Put it where it stays, then [`instantiate`](Self::instantiate) it.
    #[must_use]
    pub const fn new() -> Self {
        Self { key: [0; OUTPUT], value: [0; OUTPUT], reseed_counter: 0 }
    }

    /// `HMAC_DRBG_Instantiate_algorithm`, section 10.1.2.3: `entropy` of 256 bits of min-entropy at least, `nonce` of
    /// 128; `personalization` may be empty. Forgets the former state.
    pub fn instantiate(
        &mut self,
        entropy: &[u8],
        nonce: &[u8],
        personalization: &[u8],
    ) -> Result<(), DrbgError> {
        check_entropy(entropy, SECURITY_STRENGTH_BITS)?;
        check_entropy(nonce, NONCE_STRENGTH_BITS)?;
        check_input(personalization)?;
        self.key = [0x00; OUTPUT];
        self.value = [0x01; OUTPUT];
        self.update(&[entropy, nonce, personalization]);
        self.reseed_counter = 1;
        Ok(())
    }

    /// `HMAC_DRBG_Reseed_algorithm`, section 10.1.2.4: `entropy` of 256 bits of min-entropy at least; `additional` may
    /// be empty.
    pub fn reseed(&mut self, entropy: &[u8], additional: &[u8]) -> Result<(), DrbgError> {
        if self.reseed_counter == 0 {
            return Err(DrbgError::NotInstantiated);
        }
        check_entropy(entropy, SECURITY_STRENGTH_BITS)?;
        check_input(additional)?;
        self.update(&[entropy, additional]);
        self.reseed_counter = 1;
        Ok(())
    }

    /// `HMAC_DRBG_Generate_algorithm`, section 10.1.2.5: fills `out`, at most [`MAX_REQUEST`] bytes; `additional` may
    /// be empty. Where it fails, `out` is as before.
    pub fn generate(&mut self, out: &mut [u8], additional: &[u8]) -> Result<(), DrbgError> {
        if self.reseed_counter == 0 {
            return Err(DrbgError::NotInstantiated);
        }
        if self.reseed_counter > RESEED_INTERVAL {
            return Err(DrbgError::ReseedRequired);
        }
        if out.len() > MAX_REQUEST {
            return Err(DrbgError::RequestTooLong);
        }
        check_input(additional)?;
        if !additional.is_empty() {
            self.update(&[additional]);
        }
        for piece in out.chunks_mut(OUTPUT) {
            self.value = *finish(self.keyed());
            piece.iter_mut().zip(&self.value).for_each(|(to, from)| *to = *from);
        }
        self.update(&[additional]);
        self.reseed_counter += 1;
        Ok(())
    }

    /// Requests answered since the last seed.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.reseed_counter.saturating_sub(1)
    }

    /// Uninstantiate, section 9.4: wipes the state.
    pub fn uninstantiate(&mut self) {
        self.key.zeroize();
        self.value.zeroize();
        self.reseed_counter.zeroize();
    }

    /// `HMAC_DRBG_Update`, section 10.1.2.2.
    fn update(&mut self, provided: &[&[u8]]) {
        self.absorb(0x00, provided);
        if provided.iter().any(|part| !part.is_empty()) {
            self.absorb(0x01, provided);
        }
    }

    /// Key = HMAC(Key, V || `round` || `provided`), V = HMAC(Key, V).
    fn absorb(&mut self, round: u8, provided: &[&[u8]]) {
        let mut mac = self.keyed();
        mac.update(&[round]);
        for part in provided {
            mac.update(part);
        }
        self.key = *finish(mac);
        self.value = *finish(self.keyed());
    }

    /// HMAC with the key, V being its input so far.
    fn keyed(&self) -> Hmac<Sha256> {
        // HMAC fills a shorter key up with zeros to a block: done here, there is no length that could be wrong.
        let mut block = Zeroizing::new([0; BLOCK]);
        block.iter_mut().zip(&self.key).for_each(|(to, from)| *to = *from);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(&self.value);
        mac
    }
}

impl Default for HmacDrbg {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for HmacDrbg {
    fn drop(&mut self) {
        self.uninstantiate();
    }
}

impl ZeroizeOnDrop for HmacDrbg {}

fn finish(mac: Hmac<Sha256>) -> Zeroizing<[u8; OUTPUT]> {
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Bytes have at most 8 bits each: what is shorter cannot hold that much.
fn check_entropy(input: &[u8], bits: u32) -> Result<(), DrbgError> {
    if (input.len() as u64) * 8 < u64::from(bits) {
        return Err(DrbgError::TooLittleEntropy);
    }
    check_input(input)
}

fn check_input(input: &[u8]) -> Result<(), DrbgError> {
    if input.len() > MAX_INPUT { Err(DrbgError::InputTooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_at_the_reseed_interval_until_it_is_reseeded() {
        let mut generator = HmacDrbg::new();
        generator.instantiate(&[1; OUTPUT], &[2; 16], &[]).expect("enough entropy");
        generator.reseed_counter = RESEED_INTERVAL;
        assert_eq!(generator.generate(&mut [0; 1], &[]), Ok(()));
        assert_eq!(generator.generate(&mut [0; 1], &[]), Err(DrbgError::ReseedRequired));
        generator.reseed(&[3; OUTPUT], &[]).expect("enough entropy");
        assert_eq!((generator.generate(&mut [0; 1], &[]), generator.requests()), (Ok(()), 1));
    }
}
