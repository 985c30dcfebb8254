//! The first message of every connection: who speaks, since when, and how its life before ended. R-DATA-INTACT, R-LOG.

use crate::json::{self, DecodeError, EncodeError, check_version};
use crate::{DeviceId, Name, PROTOCOL_VERSION, ResetCause};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Longest hello in bytes.
pub const HELLO_BYTES_MAX: usize = 320;

/// How the boot before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousBoot {
    /// Its number.
    pub boot: u32,
    /// The sequence number that its next sample would have had: every sample below it that never arrives is lost.
    pub next_seq: u32,
}

/// The first message of every connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    v: u8,
    /// The device that speaks.
    pub id: DeviceId,
    /// Version of its firmware.
    pub firmware: Name,
    /// The board it runs on.
    pub board: Name,
    /// Number of this boot; grows by one with each start.
    pub boot: u32,
    /// Why it started.
    pub reset: ResetCause,
    /// How a former boot ended that ended in an orderly way and of which the service has not been told. `None` where
    /// there is none: after a power cut, a watchdog or a crash nobody knows how many unsent samples were lost. Where
    /// several wait, a hello goes out for each.
    #[serde(deserialize_with = "json::nullable")]
    pub previous: Option<PreviousBoot>,
    /// Number of this connection within the boot, from 1.
    pub connection: u32,
    /// How long connecting took, from the first packet to CONNACK, in milliseconds.
    pub handshake_ms: u32,
}

/// Most boots whose end is remembered until the service knows of it: that many restarts in a row without a connection.
pub const PREVIOUS_MAX: usize = 4;

/// Longest list of [`PreviousBoot`] in bytes.
pub const PREVIOUS_BYTES_MAX: usize = 48 * PREVIOUS_MAX;

/// The ends of former boots, oldest first, as the device stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreviousBoots(pub Vec<PreviousBoot, PREVIOUS_MAX>);

impl PreviousBoots {
    /// Adds the newest; the oldest goes where there are too many.
    pub fn push(&mut self, previous: PreviousBoot) {
        if self.0.is_full() {
            self.0.remove(0);
        }
        let kept = self.0.push(previous);
        debug_assert!(kept.is_ok());
    }

    /// Writes them as JSON into `buffer` ([`PREVIOUS_BYTES_MAX`] bytes always suffice); gives their length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(&self.0, buffer)
    }

    /// Reads a list of at most [`PREVIOUS_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        json::decode(bytes, PREVIOUS_BYTES_MAX).map(Self)
    }
}

impl Hello {
    /// A hello of this version of the protocol for a device that just started and has not connected yet.
    pub const fn new(id: DeviceId, firmware: Name, board: Name, boot: u32, reset: ResetCause) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            id,
            firmware,
            board,
            boot,
            reset,
            previous: None,
            connection: 0,
            handshake_ms: 0,
        }
    }

    /// Writes the message as JSON into `buffer` ([`HELLO_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(self, buffer)
    }

    /// Reads a hello of at most [`HELLO_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let hello: Self = json::decode(bytes, HELLO_BYTES_MAX)?;
        check_version(hello.v)?;
        Ok(hello)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn hello() -> impl Strategy<Value = Hello> {
        let name = "[A-Za-z0-9._+/@-]{0,32}";
        let head = ("[A-Za-z0-9_-]{1,32}", name, name, 0..ResetCause::ALL.len());
        (head, any::<u32>(), any::<Option<(u32, u32)>>(), any::<u32>(), any::<u32>()).prop_map(
            |((id, firmware, board, reset), boot, previous, connection, handshake_ms)| Hello {
                previous: previous.map(|(boot, next_seq)| PreviousBoot { boot, next_seq }),
                connection,
                handshake_ms,
                ..Hello::new(
                    DeviceId::new(&id).unwrap(),
                    firmware.as_str().try_into().unwrap(),
                    board.as_str().try_into().unwrap(),
                    boot,
                    ResetCause::ALL[reset],
                )
            },
        )
    }

    proptest! {
        #[test]
        fn a_hello_reads_back_as_written_and_no_part_of_it_does(hello in hello()) {
            let mut buffer = [0; HELLO_BYTES_MAX];
            let len = hello.encode(&mut buffer).unwrap();
            prop_assert_eq!(Hello::decode(&buffer[..len]), Ok(hello));
            for cut in 0..len {
                prop_assert!(Hello::decode(&buffer[..cut]).is_err());
            }
        }
    }

    #[test]
    fn the_longest_hello_fits() {
        let long = Name::try_from("x".repeat(crate::NAME_MAX).as_str()).unwrap();
        let mut hello =
            Hello::new(DeviceId::new(&long).unwrap(), long.clone(), long, u32::MAX, ResetCause::PowerOn);
        hello.previous = Some(PreviousBoot { boot: u32::MAX, next_seq: u32::MAX });
        let mut ends = PreviousBoots::default();
        for _ in 0..=PREVIOUS_MAX {
            ends.push(hello.previous.unwrap());
        }
        let mut buffer = [0; PREVIOUS_BYTES_MAX];
        let len = ends.encode(&mut buffer).unwrap();
        assert_eq!((ends.0.len(), PreviousBoots::decode(&buffer[..len])), (PREVIOUS_MAX, Ok(ends)));
        (hello.connection, hello.handshake_ms) = (u32::MAX, u32::MAX);
        assert!(hello.encode(&mut [0; HELLO_BYTES_MAX]).is_ok());
    }

    #[test]
    fn near_misses_are_refused() {
        let good = r#"{"v":1,"id":"a","firmware":"0.1.0","board":"b","boot":1,"reset":"pin","previous":null,"connection":1,"handshake_ms":9}"#;
        assert!(Hello::decode(good.as_bytes()).is_ok());
        for (from, to) in [
            ("\"v\":1", "\"v\":0"),
            ("\"id\":\"a\"", "\"id\":\"a/b\""),
            ("\"pin\"", "\"pun\""),
            ("\"board\":\"b\"", "\"board\":\"012345678901234567890123456789012\""),
            ("\"boot\":1", "\"boot\":4294967296"),
            ("null", "{\"boot\":1}"),
            ("\"previous\":null,", ""),
            ("0.1.0", "0.1\\u0030"),
            ("}", ",\"x\":1}"),
        ] {
            let bad = good.replacen(from, to, 1);
            let error = Hello::decode(bad.as_bytes()).unwrap_err();
            assert!(!error.to_string().is_empty(), "{bad}");
        }
    }
}
