//! What the coder knows: a probability for each question that can be asked, chosen by what the base has in that place. Encoder
//! and decoder ask the same questions in the same order, and so know the same.

use super::range::{EVEN, Probability};

/// Questions whether a byte differs from the base's: the last three answers, the place in the word, what is there.
const DIFFERS: usize = 8 * 4 * 4;

/// Trees for the difference itself: whether it is within a call, whether the byte before differs.
const DIFFERENCE_TREES: usize = 4;

/// A tree has a question for each bit of a byte, given those before it; its first place is not used.
const TREE: usize = 256;

/// The beginning of a tree's probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tree(usize);

/// Numbers of instructions.
pub(super) const NUMBERS: Tree = Tree(DIFFERS + DIFFERENCE_TREES * TREE);

/// Bytes that are inserted.
pub(super) const INSERTED: Tree = Tree(NUMBERS.0 + TREE);

const PROBABILITIES: usize = INSERTED.0 + TREE;

/// All probabilities.
#[derive(Clone, Debug)]
pub(super) struct Model([Probability; PROBABILITIES]);

impl Model {
    pub(super) const fn new() -> Self {
        Self([EVEN; PROBABILITIES])
    }

    #[expect(clippy::indexing_slicing, reason = "every remainder is below the length")]
    fn at(&mut self, index: usize) -> &mut Probability {
        &mut self.0[index % PROBABILITIES]
    }

    /// Whether the byte differs.
    pub(super) fn differs(&mut self, place: Place, history: u8) -> &mut Probability {
        self.at((usize::from(history & 7) * 4 + usize::from(place.in_word)) * 4 + place.kind as usize)
    }

    /// The next bit of a byte, of which `node` has the bits so far, behind a 1.
    pub(super) fn bit_of(&mut self, tree: Tree, node: u16) -> &mut Probability {
        self.at(tree.0 + usize::from(node))
    }
}

/// The tree for a difference.
pub(super) const fn difference(place: Place, history: u8) -> Tree {
    let is_call = matches!(place.kind, Kind::CallFirst | Kind::CallSecond) as usize;
    Tree(DIFFERS + (is_call * 2 + (history & 1) as usize) * TREE)
}

/// What the base may have in a place, as far as Thumb code and its addresses are told apart by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In a word whose highest byte is 0: an address in flash or a small number.
    Low,
    /// In any other word.
    Other,
    /// In the first half of a call (BL, relative to its place).
    CallFirst,
    /// In its second half.
    CallSecond,
}

/// A place in the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    in_word: u8,
    kind: Kind,
}

/// Bytes of the base that are read at once.
const WINDOW_BYTES: u32 = 128;

/// Bytes before and behind them that tell what is there.
const MARGIN_BYTES: u32 = 4;

/// A part of the base in memory, with what it takes to tell what is in each place.
#[derive(Clone, Debug)]
pub(super) struct Window {
    size: u32,
    /// Where the window begins, a multiple of its size; `None` before anything was read.
    at: Option<u32>,
    bytes: [u8; (MARGIN_BYTES + WINDOW_BYTES + MARGIN_BYTES) as usize],
}

impl Window {
    /// Over a base of `size` bytes.
    pub(super) const fn new(size: u32) -> Self {
        Self { size, at: None, bytes: [0; (MARGIN_BYTES + WINDOW_BYTES + MARGIN_BYTES) as usize] }
    }

    /// The base's byte at `offset`, below its size, and what is there. Beyond the base's ends everything is 0.
    pub(super) fn look<E>(
        &mut self,
        offset: u32,
        base: &mut impl FnMut(u32, &mut [u8]) -> Result<(), E>,
    ) -> Result<(u8, Place), E> {
        let at = offset - offset % WINDOW_BYTES;
        if self.at != Some(at) {
            self.at = None;
            self.bytes.fill(0);
            let start = at.saturating_sub(MARGIN_BYTES);
            let end = at.saturating_add(WINDOW_BYTES + MARGIN_BYTES).min(self.size);
            // At the base's beginning the window has its first margin before it.
            let skipped = (start + MARGIN_BYTES - at) as usize;
            let there = self.bytes.get_mut(skipped..skipped + end.saturating_sub(start) as usize);
            base(start, there.unwrap_or_default())?;
            self.at = Some(at);
        }
        let index = (offset - at + MARGIN_BYTES) as usize;
        let half = index & !1;
        let [before, first, second] = [half - 1, half + 1, half + 3].map(|index| self.byte(index));
        let kind = if is_call(before, first) {
            Kind::CallSecond
        } else if is_call(first, second) {
            Kind::CallFirst
        } else if self.byte(index | 3) == 0 {
            Kind::Low
        } else {
            Kind::Other
        };
        Ok((self.byte(index), Place { in_word: (offset & 3) as u8, kind }))
    }

    fn byte(&self, index: usize) -> u8 {
        self.bytes.get(index).copied().unwrap_or_default()
    }
}

/// Whether two halfwords with these upper bytes are a BL (`ARMv7-M`, A7.7.18, encoding T1).
const fn is_call(first: u8, second: u8) -> bool {
    first & 0xf8 == 0xf0 && second & 0xd0 == 0xd0
}
