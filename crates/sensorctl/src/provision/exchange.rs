//! Messages over a line: one goes out, the answer to it comes back, and what is lost on the way is sent again. Owns frames,
//! timeouts and repetitions, never the order of the messages.

use super::line::{Line, LineError};
use protocol::provisioning::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame};
use protocol::provisioning::{Fault, FromDevice, MESSAGE_BYTES_MAX, ToDevice};
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// How long the device may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For an ordinary answer.
    pub answer: Duration,
    /// For making keys, and for checking and storing everything.
    pub work: Duration,
    /// How often a message is sent at most.
    pub tries: u32,
}

impl Patience {
    /// So many seconds for an answer, and ten times as many for work.
    pub fn seconds(answer: u64) -> Self {
        let (answer, work) = (Duration::from_secs(answer), Duration::from_secs(10 * answer));
        Self { answer, work, ..Self::default() }
    }
}

impl Default for Patience {
    /// An answer is milliseconds of work; P-256 keys, a health-tested generator and flash may take seconds on a small
    /// processor.
    fn default() -> Self {
        Self { answer: Duration::from_secs(2), work: Duration::from_secs(20), tries: 4 }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ExchangeError {
    /// The line.
    Line(LineError),
    /// None came, however often it was asked for.
    Silent,
    /// The device refused.
    Refused(Fault),
}

impl From<LineError> for ExchangeError {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

/// What to make of a message of the device.
pub(super) enum Verdict<T> {
    /// It is the answer.
    Answer(T),
    /// It belongs to an earlier question.
    Stale,
}

/// Bytes that are not written to swap while they are in use, and wiped before they are given back.
pub(super) trait Room {
    fn room(&mut self) -> &mut [u8];
}

impl Room for Vec<u8> {
    fn room(&mut self) -> &mut [u8] {
        self
    }
}

/// A conversation with a device.
pub struct Exchange {
    line: Line,
    reader: FrameReader<FRAME_BYTES_MAX>,
    patience: Patience,
}

impl Exchange {
    /// A conversation over `line`.
    pub fn new(line: Line, patience: Patience) -> Self {
        Self { line, reader: FrameReader::new(), patience }
    }

    /// How long the device may take.
    pub const fn patience(&self) -> Patience {
        self.patience
    }

    /// Sends `message` until an answer comes that `judge` takes; a refusal is an error where `judge` gives it on.
    pub(super) fn ask<T>(
        &mut self,
        message: &ToDevice<'_>,
        patience: Duration,
        judge: impl FnMut(FromDevice<'_>) -> Verdict<T>,
    ) -> Result<T, ExchangeError> {
        self.ask_in(&mut vec![0; MESSAGE_BYTES_MAX + FRAME_BYTES_MAX], message, patience, judge)
    }

    /// The same with the frame written into `room`, which is wiped afterwards.
    pub(super) fn ask_in<T>(
        &mut self,
        room: &mut impl Room,
        message: &ToDevice<'_>,
        patience: Duration,
        mut judge: impl FnMut(FromDevice<'_>) -> Verdict<T>,
    ) -> Result<T, ExchangeError> {
        let room = room.room();
        let answer = self.exchange(room, message, patience, &mut judge);
        room.zeroize();
        answer
    }

    fn exchange<T>(
        &mut self,
        room: &mut [u8],
        message: &ToDevice<'_>,
        patience: Duration,
        judge: &mut impl FnMut(FromDevice<'_>) -> Verdict<T>,
    ) -> Result<T, ExchangeError> {
        let (plain, frame) = room.split_at_mut(MESSAGE_BYTES_MAX);
        let len = message.encode(plain).expect("every message fits into MESSAGE_BYTES_MAX");
        let message = plain.get(..len).unwrap_or_default();
        let len = encode_frame(message, frame).expect("every message fits into FRAME_BYTES_MAX");
        let frame = frame.get(..len).unwrap_or_default();
        let mut refused = None;
        for _ in 0..self.patience.tries {
            let until = Instant::now() + patience;
            self.line.send(frame, until)?;
            match self.answer(until, judge, &mut refused)? {
                Some(answer) => return Ok(answer),
                // A frame was damaged on its way: it is sent again. Anything else is the device's last word.
                None if matches!(refused, None | Some(Fault::Message)) => {}
                None => break,
            }
        }
        Err(refused.map_or(ExchangeError::Silent, ExchangeError::Refused))
    }

    fn answer<T>(
        &mut self,
        until: Instant,
        judge: &mut impl FnMut(FromDevice<'_>) -> Verdict<T>,
        refused: &mut Option<Fault>,
    ) -> Result<Option<T>, ExchangeError> {
        let mut buffer = [0; 512];
        while let Some(len) = self.line.receive(&mut buffer, until)? {
            for byte in buffer.get(..len).unwrap_or_default() {
                let Some(message) = self.reader.push(*byte) else { continue };
                // A frame that is whole and no message of this version: of no use, whatever it is.
                let Ok(message) = FromDevice::decode(message) else { continue };
                if let FromDevice::Refused { why } = message {
                    *refused = Some(why);
                    return Ok(None);
                }
                if let Verdict::Answer(answer) = judge(message) {
                    return Ok(Some(answer));
                }
            }
        }
        Ok(None)
    }
}
