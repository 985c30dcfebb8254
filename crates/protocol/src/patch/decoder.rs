//! Patches as they are read.

use super::model::{INSERTED, Model, NUMBERS, Tree, Window, difference};
use super::range::{BitReader, START_BYTES};
use super::{HEADER_BYTES, Instruction, NUMBER_BYTES_MAX, header, unfolded};
use crate::UpdateFault;

/// Makes an image out of the one that runs and a patch that comes in pieces. About 3.6 KiB.
///
/// Everything that a patch says is held to the sizes of both images, so a damaged one makes at worst another image of the
/// right size, which the image's digest then tells. The work for each byte of the image is bounded, and a patch that makes no
/// progress is refused.
#[derive(Clone, Debug)]
pub struct Decoder {
    base_size: u32,
    image_size: u32,
    /// Bytes of the image that no instruction has made or is making.
    left: u32,
    /// The place in the base.
    place: u32,
    state: State,
    bits: BitReader,
    model: Model,
    base: Window,
    /// The bits so far of the byte that is being read, behind a 1.
    node: u16,
    /// Whether each of the last bytes differed from the base's, the last one lowest.
    history: u8,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The byte of the header with this number.
    Header(u8),
    /// The byte with this number of those before the first bit.
    Start(u8),
    /// A byte of a number of an instruction, of which those before are known.
    Number { field: Field, instruction: Instruction, partial: Partial },
    /// The rest of an instruction; whether it was said already that the next byte differs.
    Make { rest: Instruction, differs: bool },
    /// The end of the bits.
    End,
    /// Everything was read.
    Finished,
    /// It was refused.
    Refused(UpdateFault),
}

impl State {
    const REFUSED: Self = Self::Refused(UpdateFault::Patch);
    const INSTRUCTION: Self = Self::number(Field::Seek, Instruction { seek: 0, add: 0, insert: 0 });

    const fn number(field: Field, instruction: Instruction) -> Self {
        Self::Number { field, instruction, partial: Partial { value: 0, bytes: 0 } }
    }
}

/// The numbers of an instruction, in their order.
#[derive(Clone, Copy, Debug)]
enum Field {
    Seek,
    Add,
    Insert,
}

/// A number of which some bytes were read.
#[derive(Clone, Copy, Debug)]
struct Partial {
    value: u32,
    bytes: u32,
}

/// What a step led to.
enum Step {
    /// The next state.
    Goes(State),
    /// The next byte of the image, and the next state.
    Makes(u8, State),
    /// There is no more input.
    Waits,
}

impl Decoder {
    /// For a patch from the image that runs, of `base_size` bytes, to one of `image_size`.
    pub const fn new(base_size: u32, image_size: u32) -> Self {
        Self {
            base_size,
            image_size,
            left: image_size,
            place: 0,
            state: State::Header(0),
            bits: BitReader::new(),
            model: Model::new(),
            base: Window::new(base_size),
            node: 1,
            history: 0,
        }
    }

    /// Takes from `input` what it needs to write the image's next bytes into `out`, and gives their number. Fewer than `out`
    /// has come only where all of `input` was used: so it is called again until it gives 0. `base` gives the bytes of the
    /// image that runs from an offset on, as many as the buffer has, all of them within its size; what it fails with is handed
    /// on, and the call may be made again.
    ///
    /// [`UpdateFault::Base`]: the patch is for a base of another size. [`UpdateFault::ImageSize`]: it makes an image of
    /// another size. [`UpdateFault::Patch`]: it is damaged or goes on behind its end. After one of these, nothing else comes.
    pub fn decode(
        &mut self,
        input: &mut &[u8],
        base: &mut impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
        out: &mut [u8],
    ) -> Result<usize, UpdateFault> {
        let room = out.len();
        let mut places = out.iter_mut();
        while places.len() > 0 {
            match self.step(input, base)? {
                Step::Waits => break,
                Step::Goes(state) => self.state = state,
                Step::Makes(byte, state) => {
                    if let Some(place) = places.next() {
                        *place = byte;
                    }
                    self.state = state;
                }
            }
        }
        Ok(room - places.len())
    }

    /// Whether the whole patch was read and the whole image made; [`UpdateFault::Patch`] where it ended too early.
    pub const fn finish(&self) -> Result<(), UpdateFault> {
        if matches!(self.state, State::Finished) { Ok(()) } else { Err(UpdateFault::Patch) }
    }

    fn step(
        &mut self,
        input: &mut &[u8],
        base: &mut impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
    ) -> Result<Step, UpdateFault> {
        let step = match self.state {
            State::Header(number) => {
                input.split_off_first().map(|byte| Step::Goes(self.header(number, *byte)))
            }
            State::Start(number) => input.split_off_first().map(|byte| Step::Goes(self.start(number, *byte))),
            State::Number { field, instruction, partial } => self
                .byte(NUMBERS, input)
                .map(|byte| Step::Goes(self.number(field, instruction, partial, byte))),
            State::Make { rest: rest @ Instruction { add: 0, insert, .. }, .. } => self
                .byte(INSERTED, input)
                .map(|byte| Step::Makes(byte, self.make(Instruction { insert: insert - 1, ..rest }))),
            State::Make { rest, differs } => self.add(rest, differs, input, base)?,
            State::End => self
                .bits
                .fill(input)
                .map(|()| Step::Goes(if self.bits.is_at_end() { State::Finished } else { State::REFUSED })),
            State::Finished => input.first().map(|_| Step::Goes(State::REFUSED)),
            State::Refused(fault) => return Err(fault),
        };
        Ok(step.unwrap_or(Step::Waits))
    }

    /// Takes a byte of the header, of which only one form is right.
    fn header(&self, number: u8, byte: u8) -> State {
        let expected = header(self.base_size, self.image_size);
        let is_right = expected.get(usize::from(number)) == Some(&byte);
        match number {
            0..4 if !is_right => State::REFUSED,
            4..8 if !is_right => State::Refused(UpdateFault::Base),
            8.. if !is_right => State::Refused(UpdateFault::ImageSize),
            _ if usize::from(number) + 1 < HEADER_BYTES => State::Header(number + 1),
            _ => State::Start(0),
        }
    }

    /// Takes a byte before the first bit.
    fn start(&mut self, number: u8, byte: u8) -> State {
        match number + 1 {
            _ if !self.bits.start(number, byte) => State::REFUSED,
            START_BYTES => self.next(),
            next => State::Start(next),
        }
    }

    /// What follows an instruction.
    const fn next(&self) -> State {
        if self.left == 0 { State::End } else { State::INSTRUCTION }
    }

    /// Reads a byte, bit by bit; `None` where there is no input for the next one.
    fn byte(&mut self, tree: Tree, input: &mut &[u8]) -> Option<u8> {
        while self.node < 0x100 {
            let bit = self.bits.bit(self.model.bit_of(tree, self.node), input)?;
            self.node = self.node << 1 | u16::from(bit);
        }
        Some(core::mem::replace(&mut self.node, 1) as u8)
    }

    /// Takes a byte of a number, seven bits, the lowest first; the highest bit says that another follows.
    fn number(&mut self, field: Field, instruction: Instruction, partial: Partial, byte: u8) -> State {
        let bits = u32::from(byte & 0x7f);
        let shift = 7 * partial.bytes;
        if partial.bytes == NUMBER_BYTES_MAX || bits.leading_zeros() < shift {
            return State::REFUSED;
        }
        let partial = Partial { value: partial.value | bits << shift, bytes: partial.bytes + 1 };
        if byte & 0x80 != 0 {
            return State::Number { field, instruction, partial };
        }
        match field {
            Field::Seek => {
                State::number(Field::Add, Instruction { seek: unfolded(partial.value), ..instruction })
            }
            Field::Add => State::number(Field::Insert, Instruction { add: partial.value, ..instruction }),
            Field::Insert => self.begin(Instruction { insert: partial.value, ..instruction }),
        }
    }

    /// Holds an instruction to both images before any of it is carried out.
    fn begin(&mut self, instruction: Instruction) -> State {
        let left =
            self.left.checked_sub(instruction.add).and_then(|left| left.checked_sub(instruction.insert));
        match (left, instruction.start(self.place, self.base_size)) {
            (Some(left), Some(place)) if left < self.left => {
                (self.left, self.place) = (left, place);
                self.make(instruction)
            }
            _ => State::REFUSED,
        }
    }

    /// What follows where this is left of an instruction.
    const fn make(&self, rest: Instruction) -> State {
        if rest.add == 0 && rest.insert == 0 { self.next() } else { State::Make { rest, differs: false } }
    }

    /// Makes a byte from the base's, or finds out that it differs.
    fn add(
        &mut self,
        rest: Instruction,
        differs: bool,
        input: &mut &[u8],
        base: &mut impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
    ) -> Result<Option<Step>, UpdateFault> {
        let (here, place) = self.base.look(self.place, base)?;
        let difference = if differs {
            self.byte(difference(place, self.history), input)
        } else {
            match self.bits.bit(self.model.differs(place, self.history), input) {
                Some(true) => return Ok(Some(Step::Goes(State::Make { rest, differs: true }))),
                Some(false) => Some(0),
                None => None,
            }
        };
        let Some(difference) = difference else { return Ok(None) };
        self.history = self.history << 1 | u8::from(differs);
        self.place += 1;
        let next = self.make(Instruction { add: rest.add - 1, ..rest });
        Ok(Some(Step::Makes(here.wrapping_add(difference), next)))
    }
}
