//! What a fuzzer does with arbitrary bytes: the bodies of the fuzz targets, also run as tests over the committed seeds.
//! Each panics where a promise of the device is broken.

use crate::clock::{Clock, sntp};
use crate::incoming::Reader;
use crate::platform::Uptime;
use crate::stored;
use crate::update::record::{RECORD_BYTES_MAX, Record};
use protocol::EpochMillis;

/// When the fuzzed clock's firmware was built.
const BUILD: EpochMillis = EpochMillis::from_seconds(1_790_000_000);

/// The nonce that the fuzzed clock uses: a seed that carries it as originate timestamp gets past that check.
pub const NONCE: [u8; 8] = *b"\x11\x22\x33\x44\x55\x66\x77\x88";

/// Datagrams of 48 bytes, one after the other, as answers of three time servers. The clock stays within floor and
/// ceiling, its error is stated while it is set, and it never asks a server more often than allowed.
pub fn sntp_answers(bytes: &[u8]) {
    let mut clock = Clock::new(BUILD, None, 3);
    let mut now = Uptime(0);
    for datagram in bytes.chunks(sntp::PACKET_LEN) {
        now = now.max(clock.next_deadline());
        if now == Uptime(u64::MAX) {
            return;
        }
        if clock.poll_output(now, NONCE).is_some() {
            now = now.after(u64::from(datagram.first().copied().unwrap_or(0)) * 10);
            if let Ok(Some(set)) = clock.answer(now, datagram) {
                assert!(set.time >= BUILD);
                assert!(clock.is_plausible(now) && clock.error_ms(now).is_some());
            }
        }
        assert_eq!(clock.time(now).is_some(), clock.error_ms(now).is_some());
    }
}

/// A record of updates, as it might be read from a damaged store: it is refused, or it says the same when it is stored again.
pub fn update_record(bytes: &[u8]) {
    let Ok(record) = stored::decode::<Record>(bytes) else { return };
    let mut buffer = [0; RECORD_BYTES_MAX];
    let len = stored::encode(&record, &mut buffer).unwrap_or(0);
    assert_eq!(buffer.get(..len).map(stored::decode), Some(Ok(record)));
}

/// What a service sends: read as a whole and byte by byte, the same comes of it.
pub fn incoming(bytes: &[u8]) {
    let (mut whole, mut single) = (Reader::new(), Reader::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let before = rest;
        let packet = whole.take(&mut rest);
        let taken = before.len() - rest.len();
        assert!(taken > 0);
        for (at, byte) in before.iter().take(taken).enumerate() {
            let again = single.take(&mut core::slice::from_ref(byte));
            if at + 1 == taken {
                assert_eq!(packet, again);
            } else {
                assert_eq!(again, Ok(None));
            }
        }
        if packet.is_err() {
            return;
        }
    }
}

/// A fuzz target's body.
pub type Target = fn(&[u8]);

/// Every body by its name, as the fuzz targets and the folders of their seeds are called.
pub const TARGETS: [(&str, Target); 3] =
    [("sntp_answers", sntp_answers), ("update_record", update_record), ("incoming", incoming)];
