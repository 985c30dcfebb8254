//! A signed document that comes in: read, verified with a key, its content read.

use core::hint::black_box;
use protocol::PublicKey;
use protocol::document::RootList;
use protocol::signed::{DOCUMENT_BYTES_MAX, Envelope};

pub fn run() {
    let document = black_box([0; DOCUMENT_BYTES_MAX]);
    let Ok(key) = PublicKey::new(&black_box([4; 65])) else { return };
    if let Ok(envelope) = Envelope::decode(black_box(&document)) {
        black_box(envelope.verify::<RootList<'_>>(&key).is_ok());
    }
}
