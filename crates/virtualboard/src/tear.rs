//! How a flash operation is torn when power is lost in it. Bits that read differently each time are not modelled: a cell is
//! 0 or 1.

use crate::flash::{self, Flash};
use crate::log::Change;
use fastrand::Rng;

/// How far an operation got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Nothing of it.
    Before,
    /// So many bytes from its begin on.
    Prefix(u32),
    /// So many bytes from its begin on, then bits at random: of a write for some units, of an erase for the rest of its
    /// sector.
    Bits {
        /// Bytes that are done.
        prefix: u32,
        /// Which bits.
        seed: u64,
    },
    /// All of it.
    After,
}

/// Most bytes of a write that are half programmed at once.
const HALF_PROGRAMMED_BYTES: usize = 8 * flash::WRITE_BYTES;

impl Tear {
    /// One that fits `change`, at random, torn in the middle where it has one.
    pub fn random(change: &Change, rng: &mut Rng) -> Self {
        let len = change.len();
        let prefix = match change {
            // Half of the tears at a unit's border, as most flash does it.
            Change::Write { .. } if rng.bool() => {
                rng.u32(0..len) / flash::WRITE_BYTES as u32 * flash::WRITE_BYTES as u32
            }
            _ => rng.u32(0..len),
        };
        if rng.bool() { Self::Prefix(prefix) } else { Self::Bits { prefix, seed: rng.u64(..) } }
    }

    /// Does that much of `change`.
    pub fn apply(&self, flash: &mut Flash, change: &Change) {
        let (prefix, seed) = match *self {
            Self::Before => return,
            Self::After => return flash.apply(change),
            Self::Prefix(prefix) => (prefix, None),
            Self::Bits { prefix, seed } => (prefix, Some(seed)),
        };
        let done = prefix.min(change.len());
        match change {
            Change::Write { offset, bytes } => {
                let (whole, rest) = bytes.split_at(done as usize);
                flash.apply(&Change::Write { offset: *offset, bytes: whole.to_vec() });
                let mut rng = Rng::with_seed(seed.unwrap_or_default());
                if seed.is_some() {
                    let half =
                        rest.iter().take(HALF_PROGRAMMED_BYTES).map(|byte| byte | rng.u8(..)).collect();
                    flash.apply(&Change::Write { offset: offset + done, bytes: half });
                }
            }
            Change::Erase { offset, len } => {
                let begin = *offset as usize;
                let (whole, rest) =
                    flash.bytes_mut()[begin..begin + *len as usize].split_at_mut(done as usize);
                whole.fill(0xff);
                if let Some(seed) = seed {
                    let mut rng = Rng::with_seed(seed);
                    let sector =
                        rest.len() - rest.len().saturating_sub(1) / flash::SECTOR_BYTES * flash::SECTOR_BYTES;
                    for byte in rest.iter_mut().take(sector) {
                        *byte |= rng.u8(..);
                    }
                }
            }
        }
    }
}

impl Change {
    /// Bytes that it changes.
    pub fn len(&self) -> u32 {
        match self {
            Self::Write { bytes, .. } => bytes.len() as u32,
            Self::Erase { len, .. } => *len,
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Flash, Tear};
    use fastrand::Rng;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn a_torn_operation_leaves_each_bit_as_it_was_or_as_it_would_be(seed: u64, erase: bool, before: u8, len in 1..3000_u32) {
            let mut rng = Rng::with_seed(seed);
            let mut old = Flash::erased();
            old.bytes_mut()[0x2_0000..0x2_2000].fill(before);
            let change = if erase {
                Change::Erase { offset: 0x2_0000, len: 0x1000 }
            } else {
                Change::Write { offset: 0x2_0010, bytes: (0..len).map(|_| rng.u8(..)).collect() }
            };
            let mut new = old.clone();
            new.apply(&change);
            let mut torn = old.clone();
            let tear = Tear::random(&change, &mut rng);
            tear.apply(&mut torn, &change);
            for ((old, new), torn) in old.bytes().iter().zip(new.bytes()).zip(torn.bytes()) {
                prop_assert_eq!((torn ^ old) & (torn ^ new), 0);
            }
            let mut again = old.clone();
            tear.apply(&mut again, &change);
            prop_assert!(again == torn);
        }
    }

    #[test]
    fn before_is_nothing_after_is_all_and_a_prefix_is_that_long() {
        let change = Change::Write { offset: 0x2_0000, bytes: vec![0; 16] };
        let written = |tear: Tear| {
            let mut flash = Flash::erased();
            tear.apply(&mut flash, &change);
            let from = &flash.bytes()[0x2_0000..];
            from.iter().position(|byte| *byte != 0)
        };
        assert_eq!([Tear::Before, Tear::Prefix(5), Tear::After].map(written), [Some(0), Some(5), Some(16)]);
    }
}
