//! Frames on a serial line that may carry a log too: `00 COBS(message, CRC-32) 00`. Owns where a message begins and ends and
//! whether it is whole, never what it says. R-PROVISION.
//!
//! COBS takes every zero out of the message (Cheshire and Baker, 1999), so that a zero can only be the edge of a frame; the
//! zero in front sets it off from the text before it. The CRC is the one of ISO-HDLC, least significant byte first. Whatever
//! stands between two zeros and is no frame, such as lines of a log, is skipped.

use super::MESSAGE_BYTES_MAX;
use cobs::CobsEncoder;
use crc::{CRC_32_ISO_HDLC, Crc};
use zeroize::Zeroize;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Length of the checksum in bytes.
const CRC_BYTES: usize = 4;

/// Longest frame in bytes, with both zeros.
pub const FRAME_BYTES_MAX: usize = 2 + cobs::max_encoding_length(MESSAGE_BYTES_MAX + CRC_BYTES);

/// Writes `message` as a frame into `out`; gives its length in bytes, or `None` where it does not fit, is empty or is
/// longer than [`MESSAGE_BYTES_MAX`]. [`FRAME_BYTES_MAX`] bytes suffice for every message.
pub fn encode_frame(message: &[u8], out: &mut [u8]) -> Option<usize> {
    if message.is_empty() || message.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let (first, rest) = out.split_first_mut()?;
    *first = 0;
    let mut encoder = CobsEncoder::new(rest);
    encoder.push(message).ok()?;
    encoder.push(&CRC.checksum(message).to_le_bytes()).ok()?;
    let len = encoder.finalize();
    *rest.get_mut(len)? = 0;
    Some(len + 2)
}

/// Finds frames among the bytes of a line. `N` bytes of room for what stands between two zeros:
/// [`FRAME_BYTES_MAX`] for all messages; what is longer is skipped up to its end.
pub struct FrameReader<const N: usize> {
    buffer: [u8; N],
    len: usize,
    /// More than `N` bytes since the last zero.
    overlong: bool,
}

impl<const N: usize> Default for FrameReader<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> FrameReader<N> {
    /// A reader that has seen nothing.
    pub const fn new() -> Self {
        Self { buffer: [0; N], len: 0, overlong: false }
    }

    /// Takes the next byte; gives a message where it was the last byte of a whole frame. The message stays until the next
    /// call.
    pub fn push(&mut self, byte: u8) -> Option<&[u8]> {
        if byte != 0 {
            match self.buffer.get_mut(self.len) {
                Some(place) => {
                    *place = byte;
                    self.len += 1;
                }
                None => self.overlong = true,
            }
            return None;
        }
        let len = core::mem::take(&mut self.len);
        if core::mem::take(&mut self.overlong) {
            return None;
        }
        let frame = self.buffer.get_mut(..len).filter(|frame| !frame.is_empty())?;
        let decoded = cobs::decode_in_place(frame).ok()?;
        let (message, crc) = self.buffer.get(..decoded)?.split_last_chunk::<CRC_BYTES>()?;
        // The CRC of nothing is 0: a few bytes of 1 would be a frame.
        (!message.is_empty() && u32::from_le_bytes(*crc) == CRC.checksum(message)).then_some(message)
    }

    /// Forgets everything and overwrites it: a message may have had a key in it.
    pub fn wipe(&mut self) {
        self.buffer.zeroize();
        self.len = 0;
        self.overlong = false;
    }
}

impl<const N: usize> Drop for FrameReader<N> {
    fn drop(&mut self) {
        self.wipe();
    }
}
