//! The security log.

use crate::audit::{Entries, FIRST, HASH_BYTES, RECORD_BYTES_MAX, Record, append};

/// Entries that were read are what is written for them, one after the other; nothing that does not follow is taken to follow;
/// and a record says the same when it is written again.
pub fn log(bytes: &[u8]) {
    let mut entries = Entries::new(bytes);
    let (mut previous, mut due, mut at) = (FIRST, 0, 0);
    while let Some(Ok(entry)) = entries.next() {
        let mut buffer = [0; RECORD_BYTES_MAX + HASH_BYTES + 8];
        let len = append(entry.bytes, &entry.hash, &mut buffer).expect("an entry fits");
        assert_eq!(buffer.get(..len), bytes.get(at..at + len));
        at += len;
        assert_eq!(entries.rest().len(), bytes.len() - at);
        if let Some(record) = &entry.record {
            let mut written = [0; RECORD_BYTES_MAX];
            let len = record.encode(&mut written).expect("a record fits");
            assert_eq!(written.get(..len), Some(entry.bytes));
            assert_eq!(record.sequence, entry.sequence);
        }
        if entry.follows(&previous, due).is_ok() {
            assert_eq!(entry.sequence, due);
            (previous, due) = (entry.hash, due + 1);
        }
    }
    if let Some(record) = Record::decode(bytes) {
        let mut written = [0; RECORD_BYTES_MAX];
        let len = record.encode(&mut written).expect("a record fits");
        assert_eq!(written.get(..len), Some(bytes));
    }
}
