//! What travels to devices: an image or a delta, cut into blocks with their proofs. Owns the messages of the blocks, never a
//! connection. R-FW-AUTHORISED.

use crate::publish::Message;
use protocol::blocks::{BLOCK_MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, PayloadUri, Tree};
use protocol::firmware::FirmwareTopic;
use protocol::key::Digest;

/// A payload and the messages of its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    uri: PayloadUri,
    bytes: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

impl Payload {
    /// Cuts `bytes` into blocks; `None` for none and for more than [`PAYLOAD_BYTES_MAX`].
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let size = u32::try_from(bytes.len()).ok().filter(|size| (1..=PAYLOAD_BYTES_MAX).contains(size))?;
        let mut nodes = vec![Digest::default(); Tree::nodes(size)];
        let tree = Tree::new(&bytes, &mut nodes)?;
        let uri = tree.uri();
        let message = |index| {
            let mut message = vec![0; BLOCK_MESSAGE_BYTES_MAX];
            let len = tree.message(index, &mut message)?;
            message.truncate(len);
            Some(message)
        };
        let messages = (0..uri.count()).map(message).collect::<Option<_>>()?;
        Some(Self { uri, bytes, messages })
    }

    /// Where it is.
    pub const fn uri(&self) -> PayloadUri {
        self.uri
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The retained messages of all blocks, in order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message> {
        self.messages.iter().enumerate().map(|(index, message)| Message {
            topic: FirmwareTopic::Block(self.uri, index as u32).encode().as_str().to_owned(),
            retained: true,
            payload: message.clone(),
        })
    }
}

/// What takes back the blocks of a payload.
pub fn clearing(uri: PayloadUri) -> impl Iterator<Item = Message> {
    (0..uri.count()).map(move |index| Message {
        topic: FirmwareTopic::Block(uri, index).encode().as_str().to_owned(),
        retained: true,
        payload: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::blocks::BLOCK_BYTES;

    #[test]
    fn every_message_gives_back_its_block_to_a_device_that_knows_the_uri_alone() {
        for len in [1, BLOCK_BYTES, BLOCK_BYTES + 1, 7 * BLOCK_BYTES - 5, 20 * BLOCK_BYTES] {
            let bytes: Vec<u8> = (0..len).map(|at| (at / 7 + at / 2_048) as u8).collect();
            let payload = Payload::new(bytes.clone()).unwrap();
            let uri = PayloadUri::decode(&payload.uri().to_string()).unwrap();
            let mut whole = Vec::new();
            for (index, message) in (0..).zip(payload.messages()) {
                assert_eq!(FirmwareTopic::decode(&message.topic), Some(FirmwareTopic::Block(uri, index)));
                assert!(message.retained);
                whole.extend_from_slice(uri.verify(index, &message.payload).unwrap());
            }
            assert_eq!(whole, bytes);
            assert_eq!(clearing(uri).count(), payload.messages().len());
            assert!(clearing(uri).zip(payload.messages()).all(|(clear, sent)| clear.topic == sent.topic));
        }
    }

    #[test]
    fn nothing_and_too_much_are_no_payload() {
        assert_eq!(Payload::new(Vec::new()), None);
        assert_eq!(Payload::new(vec![0; PAYLOAD_BYTES_MAX as usize + 1]), None);
    }
}
