//! One SNTP exchange (RFC 4330, RFC 5905): the request, and every check on the answer. Owns no time.
//!
//! The request tells nothing about the device: its transmit timestamp is a random number, and the answer must carry it
//! back as originate timestamp. Who cannot see the request cannot answer it.

use core::fmt;
use protocol::EpochMillis;

/// Length of a request and of the part of an answer that is read, in bytes.
pub const PACKET_LEN: usize = 48;

/// Seconds from 1900-01-01 to 1970-01-01.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// Largest root distance (half the root delay plus the root dispersion) in milliseconds: MAXDIST of RFC 5905.
pub const ROOT_DISTANCE_MAX_MS: u32 = 1_500;

/// Why an answer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// Shorter than a header.
    Length,
    /// No answer of a server (mode 4).
    Mode,
    /// A protocol version that is neither 3 nor 4.
    Version,
    /// The originate timestamp is not what was sent: not an answer to this request.
    Originate,
    /// The server says that its clock is not synchronised (leap indicator 3).
    Alarm,
    /// The stratum is reserved (above 15).
    Stratum,
    /// Kiss-o'-death: ask less often.
    KissRate,
    /// Kiss-o'-death: do not ask again (DENY, RSTR).
    KissDeny,
    /// Another kiss code, or stratum 0 without one.
    KissOther,
    /// No transmit or no receive timestamp.
    Zero,
    /// Sent before it was received, or held for longer than the whole round trip took.
    Order,
    /// The server is too far from its reference clock.
    RootDistance,
    /// No answer is awaited.
    Unasked,
    /// The round trip took too long to say what time it is.
    RoundTrip,
    /// Before the floor: the firmware's build or the last confirmed time.
    BeforeFloor,
    /// Later than this firmware can still be in service.
    AfterCeiling,
    /// Too far from a time that a verified connection confirmed.
    Jump,
    /// Two servers do not agree.
    Disagree,
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "the answer is too short",
            Self::Mode => "the packet is no server's answer",
            Self::Version => "the answer has a protocol version that is neither 3 nor 4",
            Self::Originate => "the packet answers no request of this device",
            Self::Alarm => "the server's clock is not synchronised",
            Self::Stratum => "the server's stratum is reserved",
            Self::KissRate => "the server asks to be asked less often",
            Self::KissDeny => "the server does not want to be asked",
            Self::KissOther => "the server declines to answer",
            Self::Zero => "a timestamp is missing",
            Self::Order => "the timestamps contradict each other",
            Self::RootDistance => "the server is too far from its reference clock",
            Self::Unasked => "no answer was awaited",
            Self::RoundTrip => "the answer took too long",
            Self::BeforeFloor => "the time is before the firmware's build or the last confirmed time",
            Self::AfterCeiling => "the time is beyond the firmware's years of service",
            Self::Jump => "the time is too far from the one that was confirmed",
            Self::Disagree => "two time servers do not agree",
        })
    }
}

impl core::error::Error for TimeError {}

/// A request with `nonce` as its transmit timestamp: version 4, mode 3, everything else zero.
pub fn request(nonce: [u8; 8]) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    packet[0] = (4 << 3) | 3;
    packet[40..].copy_from_slice(&nonce);
    packet
}

/// What an answer says, after every check that needs no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the server received the request.
    pub received: EpochMillis,
    /// When the server sent the answer.
    pub transmitted: EpochMillis,
    /// Bound of the server's own error in milliseconds.
    pub root_distance_ms: u32,
}

/// A big-endian 32-bit word of the header.
fn word(packet: &[u8; PACKET_LEN], at: usize) -> u32 {
    packet.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// An NTP timestamp as time since 1970. Seconds with the top bit clear belong to the era that starts in 2036
/// (RFC 4330, section 3). `None` for the zero timestamp and for times before 1970.
fn timestamp(packet: &[u8; PACKET_LEN], at: usize) -> Option<EpochMillis> {
    let (seconds, fraction) = (word(packet, at), word(packet, at + 4));
    if seconds == 0 && fraction == 0 {
        return None;
    }
    let era = if seconds & 0x8000_0000 == 0 { 1u64 << 32 } else { 0 };
    let seconds = (era + u64::from(seconds)).checked_sub(NTP_TO_UNIX_S)?;
    Some(EpochMillis(seconds * 1000 + ((u64::from(fraction) * 1000) >> 32)))
}

/// A 16.16 fixed-point number of seconds, in milliseconds rounded up.
fn short_ms(value: u32) -> u32 {
    (u64::from(value) * 1000).div_ceil(1 << 16) as u32
}

/// Checks an answer to the request with `nonce`. The originate timestamp is looked at first: only who answers this very
/// request may say anything at all, a kiss-o'-death included. Large public servers answer with version 3, whose packet is the
/// same (RFC 5905, section 7.3): the originate timestamp proves the rest.
pub fn check(datagram: &[u8], nonce: [u8; 8]) -> Result<Answer, TimeError> {
    let packet: &[u8; PACKET_LEN] = datagram.first_chunk().ok_or(TimeError::Length)?;
    if packet[24..32] != nonce {
        return Err(TimeError::Originate);
    }
    if packet[0] & 7 != 4 {
        return Err(TimeError::Mode);
    }
    if !matches!((packet[0] >> 3) & 7, 3 | 4) {
        return Err(TimeError::Version);
    }
    match packet[1] {
        0 => {
            return Err(match &packet[12..16] {
                b"RATE" => TimeError::KissRate,
                b"DENY" | b"RSTR" => TimeError::KissDeny,
                _ => TimeError::KissOther,
            });
        }
        1..=15 => {}
        _ => return Err(TimeError::Stratum),
    }
    if packet[0] >> 6 == 3 {
        return Err(TimeError::Alarm);
    }
    let root_distance_ms = (short_ms(word(packet, 4)) / 2).saturating_add(short_ms(word(packet, 8)));
    if root_distance_ms > ROOT_DISTANCE_MAX_MS {
        return Err(TimeError::RootDistance);
    }
    let received = timestamp(packet, 32).ok_or(TimeError::Zero)?;
    let transmitted = timestamp(packet, 40).ok_or(TimeError::Zero)?;
    if transmitted < received {
        return Err(TimeError::Order);
    }
    Ok(Answer { received, transmitted, root_distance_ms })
}
