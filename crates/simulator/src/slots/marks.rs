//! Marks: one flash word each, appended one after the other in two blocks by turns. Owns their form; the last one that is
//! whole counts, so that a cut leaves the one before or the new one.

use super::{SLOT_BYTES, SlotsFlash, WORD_BYTES};
use crc::{CRC_32_ISO_HDLC, Crc};
use norflash::FlashError;

/// Blocks that they take, behind the slots.
pub(super) const BLOCKS: u16 = 2;

const WORD: usize = WORD_BYTES as usize;
const BLOCK: usize = super::SECTOR_BYTES as usize;
const BASE: u32 = 2 * SLOT_BYTES;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Half of the flash: which one is slot 0 is the mark's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    A,
    B,
}

impl Half {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) const fn base(self) -> u32 {
        match self {
            Self::A => 0,
            Self::B => SLOT_BYTES,
        }
    }
}

/// How things stand between the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The image in slot 0 stays.
    Confirmed,
    /// The same, and the candidate is to be tried at the next start.
    Pending,
    /// The image in slot 0 is being tried.
    OnTrial,
}

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Grows by one with each.
    pub(super) number: u16,
    /// Where slot 0 is.
    pub(super) running: Half,
    pub(super) standing: Standing,
}

impl Mark {
    fn encode(self) -> [u8; WORD] {
        let [n0, n1] = self.number.to_le_bytes();
        let running = u8::from(self.running == Half::B);
        let standing = match self.standing {
            Standing::Confirmed => 0,
            Standing::Pending => 1,
            Standing::OnTrial => 2,
        };
        let said = [n0, n1, running, standing];
        let [c0, c1, c2, c3] = CRC.checksum(&said).to_le_bytes();
        [n0, n1, running, standing, c0, c1, c2, c3]
    }

    fn decode(word: [u8; WORD]) -> Option<Self> {
        let [n0, n1, running, standing, ..] = word;
        let standing = match standing {
            0 => Standing::Confirmed,
            1 => Standing::Pending,
            2 => Standing::OnTrial,
            _ => return None,
        };
        let running = if running == 0 { Half::A } else { Half::B };
        let mark = Self { number: u16::from_le_bytes([n0, n1]), running, standing };
        (mark.encode() == word).then_some(mark)
    }
}

/// The words of both blocks.
fn words(flash: &mut SlotsFlash) -> Vec<[u8; WORD]> {
    let mut bytes = [0; BLOCK * BLOCKS as usize];
    // Within the flash, and only a flash without power refuses: then nothing is read, and nothing can be written either.
    if flash.read(BASE, &mut bytes).is_err() {
        return Vec::new();
    }
    bytes.as_chunks::<WORD>().0.to_vec()
}

/// The last mark that is whole.
pub(super) fn last(flash: &mut SlotsFlash) -> Option<Mark> {
    words(flash).into_iter().filter_map(Mark::decode).max_by_key(|mark| mark.number)
}

/// Writes `mark` behind `before`: into the next word that is erased, or into the other block where there is none.
pub(super) fn append(flash: &mut SlotsFlash, before: Option<Mark>, mark: Mark) -> Result<(), FlashError> {
    let words = words(flash);
    let at = before.and_then(|before| words.iter().position(|word| *word == before.encode()));
    let per_block = BLOCK / WORD;
    let block = at.map_or(0, |at| at / per_block);
    // What a cut has left in a word is stepped over; what only looks erased cannot be told, and then fails its check.
    let after = at.map_or(0, |at| at + 1);
    let end = (block + 1) * per_block;
    let used = words.get(after..end).unwrap_or_default().iter().rposition(|word| *word != [0xFF; WORD]);
    let next = used.map_or(after, |used| after + used + 1);
    let next = if at.is_some() && next < end {
        next
    } else {
        let other = if at.is_some() { 1 - block } else { 0 };
        let from = BASE + (other * BLOCK) as u32;
        flash.erase(from, from + BLOCK as u32)?;
        other * per_block
    };
    flash.write(BASE + (next * WORD) as u32, &mark.encode())
}
