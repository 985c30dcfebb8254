//! What the service sends over MQTT 3.1.1, one packet after the other, out of pieces of any length (chapters 2 and 3). Owns the
//! form of each packet and the limit of a payload, and never waits: what breaks the form ends the connection, what is too long is
//! passed over to its end. Every port reads with it; what a packet means is theirs to know.

use crate::dropped::PAYLOAD_BYTES_MAX;
use core::fmt;
use heapless::Vec;
use protocol::topic::TOPIC_MAX;

/// Longest answer to a SUBSCRIBE in bytes: its identifier and a code for each topic, of which a device has a handful.
const SUBACK_MAX: usize = 64;

/// A packet from the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'r> {
    /// The answer to CONNECT.
    ConnAck {
        /// The service has kept a session.
        session: bool,
        /// The return code (section 3.2.2.3).
        code: u8,
    },
    /// The answer to a SUBSCRIBE.
    SubAck {
        /// Its identifier.
        id: u16,
        /// A return code for each topic, at least one.
        codes: &'r [u8],
    },
    /// The answer to an UNSUBSCRIBE.
    UnsubAck(u16),
    /// A message has been taken.
    PubAck(u16),
    /// The answer to a PINGREQ.
    PingResp,
    /// The service takes its leave, which MQTT 3.1.1 does not know.
    Disconnect,
    /// A message.
    Publish {
        /// Its topic, or the beginning of one that is longer than [`TOPIC_MAX`].
        topic: &'r [u8],
        /// Length of the whole topic in bytes.
        topic_len: u16,
        /// Its packet identifier, with QoS 1.
        id: Option<u16>,
        /// Its payload.
        payload: Payload<'r>,
    },
}

/// A payload, or how long it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'r> {
    /// The whole payload.
    Taken(&'r [u8]),
    /// It has so many bytes, more than [`PAYLOAD_BYTES_MAX`].
    TooLong(u32),
}

/// The bytes are no packet that a service may send to a device: the connection is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service has sent what is no MQTT packet for a device")
    }
}

impl core::error::Error for Malformed {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing of the next packet has come.
    First,
    /// The remaining length (section 2.2.3), with so many bits of it.
    Length(u8),
    /// A short packet, up to its end.
    Short,
    TopicLength,
    Topic,
    Id,
    Payload,
}

/// Reads packets. It is as long as the longest message.
#[derive(Debug)]
pub struct Reader {
    step: Step,
    first: u8,
    /// Bytes of the packet that have not come.
    left: u32,
    /// Bytes of the topic that have not come, and of the whole.
    topic_left: u16,
    topic_len: u16,
    id: Option<u16>,
    payload_len: u32,
    /// A short packet, or the field that is being read.
    field: Vec<u8, SUBACK_MAX>,
    topic: Vec<u8, TOPIC_MAX>,
    payload: Vec<u8, PAYLOAD_BYTES_MAX>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Waits for the first byte of a packet.
    pub const fn new() -> Self {
        Self {
            step: Step::First,
            first: 0,
            left: 0,
            topic_left: 0,
            topic_len: 0,
            id: None,
            payload_len: 0,
            field: Vec::new(),
            topic: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// A connection begins: whatever had come before is gone.
    pub fn reset(&mut self) {
        self.step = Step::First;
    }

    /// True where a packet has begun and is not over.
    pub fn is_amid(&self) -> bool {
        self.step != Step::First
    }

    /// Takes the next piece, up to the end of a packet at most: `bytes` is what is left of it. `None` where more has to come.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Packet<'_>>, Malformed> {
        while let Some((byte, rest)) = bytes.split_first() {
            let over = match self.step {
                Step::First => {
                    *bytes = rest;
                    self.begin(*byte)
                }
                Step::Length(bits) => {
                    *bytes = rest;
                    self.length(*byte, bits)?
                }
                Step::Topic | Step::Payload => {
                    let wanted =
                        if self.step == Step::Topic { u32::from(self.topic_left) } else { self.left };
                    let count = bytes.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
                    let (piece, rest) = bytes.split_at(count);
                    *bytes = rest;
                    self.long(piece)
                }
                Step::Short | Step::TopicLength | Step::Id => {
                    *bytes = rest;
                    self.short(*byte)?
                }
            };
            if over {
                self.step = Step::First;
                return self.packet().map(Some);
            }
        }
        Ok(None)
    }

    /// Topic and payload of the last [`Packet::Publish`], as they were given with it, until more is taken.
    pub fn message(&self) -> (&[u8], &[u8]) {
        (&self.topic, &self.payload)
    }

    fn begin(&mut self, byte: u8) -> bool {
        self.first = byte;
        self.left = 0;
        self.id = None;
        self.field.clear();
        self.topic.clear();
        self.payload.clear();
        self.step = Step::Length(0);
        false
    }

    /// True where the packet is over.
    fn length(&mut self, byte: u8, bits: u8) -> Result<bool, Malformed> {
        self.left |= u32::from(byte & 0x7f) << bits;
        if byte & 0x80 != 0 {
            // Four bytes at most.
            self.step = if bits < 21 { Step::Length(bits + 7) } else { return Err(Malformed) };
            return Ok(false);
        }
        self.step = match (self.first, self.left) {
            (0x20 | 0x40 | 0xb0, 2) => Step::Short,
            (0x90, 3..) if self.left <= SUBACK_MAX as u32 => Step::Short,
            (0xd0 | 0xe0, 0) => return Ok(true),
            // A device subscribes with QoS 1, and is sent no more than that (section 3.8.4).
            (0x30..=0x33 | 0x38..=0x3b, 2..) => Step::TopicLength,
            _ => return Err(Malformed),
        };
        Ok(false)
    }

    /// One more byte of what is short.
    fn short(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.field.push(byte).map_err(|_| Malformed)?;
        self.left = self.left.checked_sub(1).ok_or(Malformed)?;
        match (self.step, self.field.as_slice()) {
            (Step::TopicLength, &[high, low]) => {
                self.topic_len = u16::from_be_bytes([high, low]);
                self.topic_left = self.topic_len;
                let has_id = self.first & 0x06 != 0;
                if u32::from(self.topic_len) + if has_id { 2 } else { 0 } > self.left {
                    return Err(Malformed);
                }
                self.field.clear();
                self.step = if self.topic_len == 0 { self.behind_topic() } else { Step::Topic };
                Ok(self.is_over())
            }
            (Step::Id, &[high, low]) => {
                let id = u16::from_be_bytes([high, low]);
                // Zero is no packet identifier (section 2.3.1).
                if id == 0 {
                    return Err(Malformed);
                }
                self.id = Some(id);
                self.step = self.at_payload();
                Ok(self.is_over())
            }
            (Step::Short, _) => Ok(self.left == 0),
            _ => Ok(false),
        }
    }

    /// A piece of the topic or of the payload, no longer than what is left of it.
    fn long(&mut self, piece: &[u8]) -> bool {
        self.left = self.left.saturating_sub(piece.len() as u32);
        if self.step == Step::Topic {
            self.topic_left = self.topic_left.saturating_sub(piece.len() as u16);
            let room = self.topic.capacity() - self.topic.len();
            // As much as there is room for.
            let _fits = self.topic.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
            if self.topic_left == 0 {
                self.step = self.behind_topic();
            }
        } else if self.payload_len as usize <= PAYLOAD_BYTES_MAX {
            let _fits = self.payload.extend_from_slice(piece);
        }
        self.is_over()
    }

    fn behind_topic(&mut self) -> Step {
        if self.first & 0x06 != 0 { Step::Id } else { self.at_payload() }
    }

    fn at_payload(&mut self) -> Step {
        self.payload_len = self.left;
        Step::Payload
    }

    fn is_over(&self) -> bool {
        self.step == Step::Payload && self.left == 0
    }

    fn packet(&self) -> Result<Packet<'_>, Malformed> {
        Ok(match (self.first, self.field.as_slice()) {
            (0x20, &[flags @ (0 | 1), code]) => Packet::ConnAck { session: flags == 1, code },
            (0x40, &[high, low]) => Packet::PubAck(u16::from_be_bytes([high, low])),
            (0xb0, &[high, low]) => Packet::UnsubAck(u16::from_be_bytes([high, low])),
            (0x90, [high, low, codes @ ..]) => {
                Packet::SubAck { id: u16::from_be_bytes([*high, *low]), codes }
            }
            (0xd0, _) => Packet::PingResp,
            (0xe0, _) => Packet::Disconnect,
            (0x30..=0x3f, _) => Packet::Publish {
                topic: &self.topic,
                topic_len: self.topic_len,
                id: self.id,
                payload: if self.payload_len as usize > PAYLOAD_BYTES_MAX {
                    Payload::TooLong(self.payload_len)
                } else {
                    Payload::Taken(&self.payload)
                },
            },
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests;
