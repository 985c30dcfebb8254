//! Power and what its loss leaves: decides at which operation it fails and what a torn one has done. A pure function of
//! the seed.

use super::ERASED;
use fastrand::Rng;

/// How power is lost at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing of it is done.
    Before,
    /// It is done, but nobody is told.
    After,
    /// It is done in part. A write leaves the first words written, none up to all but one, and mostly the next one with
    /// only some of its bits. An erase leaves part of the block erased and the rest as it was, zero (flash writes zeros
    /// before it erases) or random.
    Torn {
        /// The same seed tears the same operation in the same way.
        seed: u64,
    },
}

/// The supply.
#[derive(Debug, Default)]
pub(super) struct Power {
    off: bool,
    cut: Option<(u64, Cut)>,
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    CutBefore,
    CutAfter,
    Torn(u64),
}

impl Power {
    pub(super) const fn cut_at(&mut self, operation: u64, cut: Cut) {
        self.cut = Some((operation, cut));
    }

    pub(super) const fn is_off(&self) -> bool {
        self.off
    }

    /// An operation wants to happen.
    pub(super) fn pass(&mut self) -> Gate {
        match self.cut {
            None => Gate::Open,
            Some((0, cut)) => {
                *self = Self { off: true, cut: None };
                match cut {
                    Cut::Before => Gate::CutBefore,
                    Cut::After => Gate::CutAfter,
                    Cut::Torn { seed } => Gate::Torn(seed),
                }
            }
            Some((left, cut)) => {
                self.cut = Some((left - 1, cut));
                Gate::Open
            }
        }
    }
}

/// What is in erased cells after a torn write of `bytes`.
pub(super) fn torn_write(seed: u64, bytes: &[u8], word: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let whole = rng.usize(0..(bytes.len() / word).max(1)) * word;
    // Few bits, half of them or all but a few: a word that looks nearly erased and one that looks nearly written are
    // the ones that are mistaken for it.
    let programmed = match rng.u8(0..4) {
        0 => 0,
        1 => 30,
        2 => 128,
        _ => 225,
    };
    let cells = bytes.iter().enumerate().map(|(at, byte)| {
        if at < whole {
            *byte
        } else if at < whole + word {
            byte | !random_bits(&mut rng, programmed)
        } else {
            ERASED
        }
    });
    cells.collect()
}

/// What is in the cells after a torn erase.
pub(super) fn torn_erase(seed: u64, before: Vec<u8>, word: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let words = before.len() / word;
    let (start, end) = match rng.u8(0..4) {
        0 => (0, rng.usize(0..words)),
        1 => (rng.usize(0..words), words),
        2 => {
            let start = rng.usize(0..words);
            (start, rng.usize(start..words))
        }
        // No word erased in order: all of them are between two states.
        _ => (0, 0),
    };
    let rest = rng.u8(0..4);
    let mut cells = before;
    for (at, cells) in cells.chunks_mut(word).enumerate() {
        let erased = (start..end).contains(&at);
        let kind = if rest == 3 { rng.u8(0..4) } else { rest };
        for cell in cells {
            *cell = match kind {
                _ if erased => ERASED,
                // Some bits are erased already.
                0 => *cell | random_bits(&mut rng, 128),
                1 => 0,
                2 => *cell,
                _ => rng.u8(..),
            };
        }
    }
    cells
}

/// A byte in which each bit is set with a probability of `of_256` in 256.
fn random_bits(rng: &mut Rng, of_256: u8) -> u8 {
    (0..8).fold(0, |bits, bit| bits | (u8::from(rng.u8(..) < of_256) << bit))
}
