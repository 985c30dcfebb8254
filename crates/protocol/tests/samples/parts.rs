//! A signed document in its parts, to be changed and put together again.

use super::{public, sign};
use p256::ecdsa::SigningKey;
use protocol::document::ContentType;

/// The parts of a document, to be changed and put together again.
pub struct Parts {
    pub protected: Vec<u8>,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

impl Parts {
    pub fn of(bytes: &[u8]) -> Self {
        let mut parts = minicbor::Decoder::new(bytes);
        parts.tag().unwrap();
        parts.array().unwrap();
        let protected = parts.bytes().unwrap().to_vec();
        parts.map().unwrap();
        let payload = parts.bytes().unwrap().to_vec();
        Self { protected, payload, signature: parts.bytes().unwrap().to_vec() }
    }

    pub fn new(content_type: ContentType, payload: Vec<u8>, signer: &SigningKey) -> Self {
        Self { protected: Vec::new(), payload, signature: Vec::new() }.with_content_type(content_type, signer)
    }

    pub fn with_content_type(self, content_type: ContentType, signer: &SigningKey) -> Self {
        let mut protected = [0; 128];
        let mut encoder = minicbor::Encoder::new(minicbor::encode::write::Cursor::new(&mut protected[..]));
        encoder.map(3).unwrap().u8(1).unwrap().i8(-7).unwrap().u8(3).unwrap();
        encoder.str(content_type.as_str()).unwrap().u8(4).unwrap().bytes(&public(signer).id().0).unwrap();
        let len = encoder.writer().position();
        let parts = Self { protected: protected[..len].to_vec(), ..self };
        Self { signature: sign(signer, &parts.digest()).as_bytes().to_vec(), ..parts }
    }

    pub fn digest(&self) -> protocol::key::Digest {
        super::to_be_signed(&self.protected, &self.payload)
    }

    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![0; self.protected.len() + self.payload.len() + self.signature.len() + 32];
        let mut encoder = minicbor::Encoder::new(minicbor::encode::write::Cursor::new(&mut out[..]));
        encoder.tag(minicbor::data::Tag::new(18)).unwrap().array(4).unwrap();
        encoder.bytes(&self.protected).unwrap().map(0).unwrap();
        encoder.bytes(&self.payload).unwrap().bytes(&self.signature).unwrap();
        let len = encoder.writer().position();
        out.truncate(len);
        out
    }
}
