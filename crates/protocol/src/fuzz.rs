//! What a fuzzer does with arbitrary bytes: the bodies of the fuzz targets, also run as tests over the committed seeds.
//! Each panics where a promise of a decoder is broken.

use crate::{Batch, Configuration, Hello, State, Topic, config, hello, state, telemetry};

/// What was accepted must be written and read back as the same.
pub fn batch(bytes: &[u8]) {
    if let Ok(batch) = Batch::decode(bytes) {
        let mut buffer = [0; telemetry::BATCH_BYTES_MAX];
        let len = batch.encode(&mut buffer).expect("a batch fits");
        assert_eq!(Batch::decode(buffer.get(..len).expect("within the buffer")), Ok(batch));
    }
}

/// What was accepted must be written and read back as the same.
pub fn hello(bytes: &[u8]) {
    if let Ok(message) = Hello::decode(bytes) {
        let mut buffer = [0; hello::HELLO_BYTES_MAX];
        let len = message.encode(&mut buffer).expect("a hello fits");
        assert_eq!(Hello::decode(buffer.get(..len).expect("within the buffer")), Ok(message));
    }
}

/// What was accepted must be written and read back as the same.
pub fn state(bytes: &[u8]) {
    if let Ok(message) = State::decode(bytes) {
        let mut buffer = [0; state::STATE_BYTES_MAX];
        let len = message.encode(&mut buffer).expect("a state fits");
        assert_eq!(State::decode(buffer.get(..len).expect("within the buffer")), Ok(message));
    }
}

/// What was accepted is inside every bound, and is written and read back as the same.
pub fn configuration(bytes: &[u8]) {
    if let Ok(configuration) = Configuration::decode(bytes) {
        assert_eq!(configuration.draft().check().as_ref(), Ok(&configuration));
        let mut buffer = [0; config::CONFIGURATION_BYTES_MAX];
        let len = configuration.encode(&mut buffer).expect("a configuration fits");
        assert_eq!(Configuration::decode(buffer.get(..len).expect("within the buffer")), Ok(configuration));
    }
}

/// A topic that was read is the one that is written.
pub fn topic(bytes: &[u8]) {
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Some(topic) = Topic::decode(text)
    {
        assert_eq!(topic.encode().as_str(), text);
    }
}

/// A fuzz target's body.
pub type Target = fn(&[u8]);

/// Every body by its name, as the fuzz targets and the folders of their seeds are called.
pub const TARGETS: [(&str, Target); 5] = [
    ("batch", batch),
    ("hello", hello),
    ("state", state),
    ("configuration", configuration),
    ("topic", topic),
];
