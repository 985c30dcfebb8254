//! The adaptive binary range coder: 32 bits, carries resolved as LZMA does, probabilities of 12 bits.

/// The chance that a bit is 0, in 4096ths: from 15 to 4081, never certain.
pub(super) type Probability = u16;

/// Nothing is known yet.
pub(super) const EVEN: Probability = 1 << (PROBABILITY_BITS - 1);

const PROBABILITY_BITS: u32 = 12;

/// How fast a probability follows what is seen.
const RATE: u32 = 4;

/// Below this a range is too coarse for a probability: it is made wider by a byte.
const RANGE_MIN: u32 = 1 << 24;

/// Bytes before the first bit.
pub(super) const START_BYTES: u8 = 5;

/// The part of a range that stands for 0.
const fn share(range: u32, zero: Probability) -> u32 {
    (range >> PROBABILITY_BITS) * zero as u32
}

const fn adapt(zero: &mut Probability, bit: bool) {
    if bit {
        *zero -= *zero >> RATE;
    } else {
        *zero += ((1 << PROBABILITY_BITS) - *zero) >> RATE;
    }
}

/// Reads bits. `code` stays below `range`.
#[derive(Clone, Debug)]
pub(super) struct BitReader {
    range: u32,
    code: u32,
}

impl BitReader {
    pub(super) const fn new() -> Self {
        Self { range: u32::MAX, code: 0 }
    }

    /// Takes the next of the [`START_BYTES`], of which the first is 0; false where no encoder writes such a beginning.
    pub(super) const fn start(&mut self, number: u8, byte: u8) -> bool {
        self.code = self.code << 8 | byte as u32;
        (number > 0 || byte == 0) && (number + 1 < START_BYTES || self.code < self.range)
    }

    /// The next bit; `None` where `input` has no byte and one is needed: then nothing has changed.
    pub(super) fn bit(&mut self, zero: &mut Probability, input: &mut &[u8]) -> Option<bool> {
        self.fill(input)?;
        let share = share(self.range, *zero);
        let bit = self.code >= share;
        if bit {
            self.range -= share;
            self.code -= share;
        } else {
            self.range = share;
        }
        adapt(zero, bit);
        Some(bit)
    }

    /// Takes the byte that a bit needs, if it needs one. No bit needs two: half of a range is never below 2^9, a 512th of what
    /// it was.
    pub(super) fn fill(&mut self, input: &mut &[u8]) -> Option<()> {
        while self.range < RANGE_MIN {
            self.code = self.code << 8 | u32::from(*input.split_off_first()?);
            self.range <<= 8;
        }
        Some(())
    }

    /// Whether the bits may end here: an encoder leaves nothing over.
    pub(super) const fn is_at_end(&self) -> bool {
        self.code == 0
    }
}

/// Writes bits as bytes into `sink`.
pub(super) struct BitWriter<S> {
    low: u64,
    range: u32,
    /// The byte that waits for a carry, and those of 0xff behind it.
    waiting: u8,
    waiting_bytes: u32,
    sink: S,
}

impl<S: FnMut(u8)> BitWriter<S> {
    pub(super) const fn new(sink: S) -> Self {
        Self { low: 0, range: u32::MAX, waiting: 0, waiting_bytes: 1, sink }
    }

    pub(super) fn bit(&mut self, zero: &mut Probability, bit: bool) {
        let share = share(self.range, *zero);
        if bit {
            self.low += u64::from(share);
            self.range -= share;
        } else {
            self.range = share;
        }
        adapt(zero, bit);
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) {
        for _ in 0..START_BYTES {
            self.shift();
        }
    }

    fn shift(&mut self) {
        let (carry, low) = ((self.low >> 32) as u8, self.low as u32);
        if carry == 1 || low < 0xff00_0000 {
            let mut byte = self.waiting;
            while self.waiting_bytes > 0 {
                (self.sink)(byte.wrapping_add(carry));
                byte = 0xff;
                self.waiting_bytes -= 1;
            }
            self.waiting = (low >> 24) as u8;
        }
        self.waiting_bytes += 1;
        self.low = u64::from(low << 8);
    }
}
