//! Random numbers: raw noise, tested while it is drawn, feeds a deterministic generator, and only that one's output is
//! ever used. Owns the tests, the seeding and the generator; never the noise source. R-ENTROPY.
//!
//! - [`health`]: the continuous tests of NIST SP 800-90B, section 4.4, over every sample that is drawn. The cut-offs
//!   follow from the min-entropy that the source states ([`Source::MIN_ENTROPY`]), computed while compiling.
//! - [`drbg`]: `HMAC_DRBG` with SHA-256 after NIST SP 800-90A Rev. 1, section 10.1.2, at 256 bits of security strength.
//! - [`Generator`]: both together, as the [`Entropy`] of the device.
//!
//! The rules:
//! - Before the first output, [`STARTUP_SAMPLES`] samples are tested and thrown away (SP 800-90B, section 4.3).
//! - The seed holds 1.5 times the security strength: 256 bits of entropy input and 128 bits of nonce, by the stated
//!   min-entropy (SP 800-90A, section 8.6.7). It is drawn after the start-up samples.
//! - Every [`RESEED_AFTER`] requests, and on [`Generator::reseed`], 256 bits more. Whoever makes a key asks for that
//!   first: then the key depends on noise that has just been tested.
//! - The first failure is final: the state is wiped, and every request is refused until the device restarts. A driver
//!   that may fail for a moment retries by itself before it reports a failure.
//!
//! What the tests see and what they do not: they find a source that broke, not one that was badly built. A stuck
//! source, one value far too often, and blocks that repeat several times in a window of 512 are found (for 8 bits per
//! sample up to 42 samples, for 4 bits up to 8, for 1 bit none). A counter over all 256 values, or a block of 64
//! different ones, passes. That a source has the min-entropy it states is for its evaluation (SP 800-90B, section 3).
//! The samples must be raw: behind a conditioner such as a hash even a dead source looks perfect.

pub mod cutoffs;
pub mod drbg;
pub mod health;
#[cfg(test)]
mod tests;

use crate::platform::{Entropy, EntropyError};
use core::fmt;
use cutoffs::{Cutoffs, MinEntropy};
use drbg::{DrbgError, HmacDrbg, MAX_REQUEST, NONCE_STRENGTH_BITS, SECURITY_STRENGTH_BITS};
use health::Health;
use zeroize::Zeroizing;

/// Samples that are tested before the first output. SP 800-90B, section 4.3, wants 1024 at least.
pub const STARTUP_SAMPLES: usize = 1024;
/// Requests after which new entropy is drawn. SP 800-90A, section 10.1, allows 2^48; this is small so that a source
/// that died is noticed, and a state that leaked is worth little.
pub const RESEED_AFTER: u64 = 256;

/// Most samples that are drawn at once: 256 bits at the lowest min-entropy, 1 bit per sample.
const DRAW_MAX: usize = MinEntropy::LOWEST.samples_for(SECURITY_STRENGTH_BITS);
const NONCE_MAX: usize = MinEntropy::LOWEST.samples_for(NONCE_STRENGTH_BITS);
const _: () = assert!(STARTUP_SAMPLES.is_multiple_of(DRAW_MAX));

/// A source of raw noise: samples of one byte, neither hashed nor whitened.
pub trait Source {
    /// Min-entropy that every sample has, as the evaluation of this source found it. Half of what is believed is wise.
    const MIN_ENTROPY: MinEntropy;
    /// A healthy source with exactly the stated min-entropy fails a test by chance with probability 2^-this, per
    /// sample or window; SP 800-90B recommends 20 to 40. A larger one spares large fleets false alarms.
    const FALSE_ALARM_EXPONENT: u32 = 20;

    /// Fills `samples` with new noise, the whole of it, or fails.
    fn fill(&mut self, samples: &mut [u8]) -> Result<(), EntropyError>;
}

/// Why there are no random numbers any more, until the device restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The repetition count test: the source gave the same sample again and again.
    RepetitionCount,
    /// The adaptive proportion test: one sample value made up too much of a window.
    AdaptiveProportion,
    /// The source reported an error.
    SourceFailed,
    /// The generator refused its input: a personalization string that is too long.
    Drbg(DrbgError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RepetitionCount => f.write_str(
                "the noise source is stuck at one value: no key is made; restart, and replace the device if it returns",
            ),
            Self::AdaptiveProportion => f.write_str(
                "the noise source is biased: no key is made; restart, and replace the device if it returns",
            ),
            Self::SourceFailed => f.write_str(
                "the noise source gives no samples: no key is made; check its driver, then restart the device",
            ),
            Self::Drbg(error) => write!(f, "the random generator was not seeded: {error}"),
        }
    }
}

impl core::error::Error for Failure {}

enum State {
    Idle,
    Running,
    Refused(Failure),
}

/// A health-tested source that feeds an `HMAC_DRBG`.
///
/// Put it where it stays before it is started: a move copies the secret state and leaves the former copy behind.
pub struct Generator<S> {
    source: S,
    health: Health,
    drbg: HmacDrbg,
    state: State,
}

impl<S: Source> Generator<S> {
    /// The cut-offs that the source is held to.
    pub const CUTOFFS: Cutoffs = Cutoffs::of(S::MIN_ENTROPY, S::FALSE_ALARM_EXPONENT);

    /// A generator that has drawn nothing yet. The first request starts it, if [`start`](Self::start) did not.
    pub const fn new(source: S) -> Self {
        Self { source, health: Health::new(Self::CUTOFFS), drbg: HmacDrbg::new(), state: State::Idle }
    }

    /// Runs the start-up tests and seeds the generator, also one that runs already. `personalization` tells devices and
    /// boots apart (device id, boot number); it need not be secret, and has at most [`drbg::MAX_INPUT`] bytes.
    pub fn start(&mut self, personalization: &[u8]) -> Result<(), Failure> {
        self.settle(|this| {
            let mut entropy = Zeroizing::new([0; DRAW_MAX]);
            for _ in 0..STARTUP_SAMPLES / DRAW_MAX {
                this.draw(&mut *entropy)?;
            }
            let mut nonce = Zeroizing::new([0; NONCE_MAX]);
            let entropy = this.draw_bits(SECURITY_STRENGTH_BITS, &mut *entropy)?;
            let nonce = this.draw_bits(NONCE_STRENGTH_BITS, &mut *nonce)?;
            this.drbg.instantiate(entropy, nonce, personalization).map_err(Failure::Drbg)
        })
    }

    /// Draws 256 bits of new entropy. To be called before a key is made.
    pub fn reseed(&mut self) -> Result<(), Failure> {
        if matches!(self.state, State::Idle) {
            return self.start(&[]);
        }
        self.settle(|this| {
            let mut entropy = Zeroizing::new([0; DRAW_MAX]);
            let entropy = this.draw_bits(SECURITY_STRENGTH_BITS, &mut *entropy)?;
            this.drbg.reseed(entropy, &[]).map_err(Failure::Drbg)
        })
    }

    /// Why every request is refused; `None` while none is.
    pub const fn failure(&self) -> Option<Failure> {
        match self.state {
            State::Refused(failure) => Some(failure),
            State::Idle | State::Running => None,
        }
    }

    /// Does `work` unless refused before; where it fails, wipes the state and refuses from now on.
    fn settle(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        if let State::Refused(failure) = self.state {
            return Err(failure);
        }
        let done = work(self);
        self.state = match done {
            Ok(()) => State::Running,
            Err(failure) => {
                self.drbg.uninstantiate();
                State::Refused(failure)
            }
        };
        done
    }

    /// New samples that passed the tests.
    fn draw(&mut self, samples: &mut [u8]) -> Result<(), Failure> {
        // What a driver leaves out although it says that it filled everything must not be taken for new noise.
        samples.fill(0);
        self.source.fill(samples).map_err(|EntropyError| Failure::SourceFailed)?;
        self.health.test(samples)
    }

    /// New samples worth `bits` of entropy, at the front of `buffer`, which is long enough for every min-entropy.
    fn draw_bits<'b>(&mut self, bits: u32, buffer: &'b mut [u8]) -> Result<&'b [u8], Failure> {
        let count = S::MIN_ENTROPY.samples_for(bits).min(buffer.len());
        let (samples, _) = buffer.split_at_mut(count);
        self.draw(samples)?;
        Ok(samples)
    }

    fn generate(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        if !matches!(self.state, State::Running) {
            self.start(&[])?;
        }
        for piece in buffer.chunks_mut(MAX_REQUEST) {
            if self.drbg.requests() >= RESEED_AFTER {
                self.reseed()?;
            }
            self.settle(|this| this.drbg.generate(piece, &[]).map_err(Failure::Drbg))?;
        }
        Ok(())
    }
}

impl<S: Source> Entropy for Generator<S> {
    /// Fills `buffer` with random bytes, or with zeros where it fails: never with a part of them.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.generate(buffer).map_err(|_kept_in_state| {
            buffer.fill(0);
            EntropyError
        })
    }
}
