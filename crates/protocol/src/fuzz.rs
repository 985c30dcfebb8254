//! What a fuzzer does with arbitrary bytes: the bodies of the fuzz targets, also run as tests over the committed seeds.
//! Each panics where a promise of a decoder is broken.

mod configuration;
mod faults;
mod log;
mod signed;
mod suit;
mod update;

pub use configuration::{configuration, configuration_change, configuration_state};
pub use log::log;
pub use signed::{document, envelope, frames, message};
pub use suit::manifest;
pub use update::{BASE_BYTES, base_byte, block, image, patch};

use crate::{
    Batch, EpochMillis, Hello, PublicKey, Signature, State, Topic, document, hello, key, state, telemetry,
    token, x509,
};
use der::{Reader, SliceReader};

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

/// A topic that was read is the one that is written.
pub fn topic(bytes: &[u8]) {
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Some(topic) = Topic::decode(text)
    {
        assert_eq!(topic.encode().as_str(), text);
    }
}

/// A request that was accepted is byte for byte what is written for its id, its key and its signature.
pub fn csr(bytes: &[u8]) {
    if let Ok(request) = x509::Csr::decode(bytes) {
        // The tail of the request is its signature in DER, of 64 to 72 bytes.
        let signature = (64..=72).find_map(|len| {
            let tail = bytes.get(bytes.len().checked_sub(len)?..)?;
            let signature = p256::ecdsa::Signature::from_der(tail).ok()?;
            Signature::new(&signature.to_bytes()).ok()
        });
        let mut buffer = [0; document::CSR_BYTES_MAX];
        let sign = |_: &key::Digest| signature.ok_or(());
        if let Ok(len) = x509::encode_csr(&request.id, &request.key, &mut buffer, sign) {
            assert_eq!(buffer.get(..len), Some(bytes));
        }
    }
}

/// Every question to a certificate that was accepted has an answer.
pub fn certificate(bytes: &[u8]) {
    if let Ok(certificate) = x509::Certificate::decode(bytes) {
        assert!(certificate.not_before() <= certificate.not_after());
        assert!(!certificate.subject().is_empty() && !certificate.issuer().is_empty());
        assert!(
            certificate.path_len().is_none() || !certificate.for_client_auth() || certificate.is_authority()
        );
        let _either = certificate.is_signed_by(&certificate.public_key());
    }
}

/// Certificates, one behind the other, as a path and as what a service shows of it: a path that is judged good has nothing
/// against it when its way is looked for either, within the limit.
pub fn path(bytes: &[u8]) {
    const NOW: EpochMillis = EpochMillis::from_seconds(1_795_824_000);
    let mut path = heapless::Vec::<&[u8], 12>::new();
    let Ok(mut reader) = SliceReader::new(bytes) else { return };
    while let Ok(member) = reader.tlv_bytes() {
        if path.push(member).is_err() {
            return;
        }
    }
    let Some((root, sent)) = path.split_last() else { return };
    let reason = x509::path::explain(sent, &[root], NOW, true);
    if x509::path::judge(&path, NOW).is_ok() {
        assert!(path.len() <= x509::path::INTERMEDIATES_MAX + 2);
        assert_eq!((reason, x509::path::check_sent(&path)), (None, Ok(())));
    }
    if x509::path::check_roots(&path, NOW).is_ok() {
        assert!(
            path.iter().all(|root| x509::Certificate::decode(root).is_ok_and(|root| root.is_authority()))
        );
    }
}

/// A token that was accepted lives, and no longer than it may. The key is the one that the seeds are signed with.
pub fn token(bytes: &[u8]) {
    const SEEDS_KEY: [u8; key::PUBLIC_KEY_BYTES] = [
        0x04, 0x1e, 0x18, 0x53, 0x2f, 0xd4, 0x75, 0x4c, 0x02, 0xf3, 0x04, 0x1d, 0x9c, 0x75, 0xce, 0xb3, 0x3b,
        0x83, 0xff, 0xd8, 0x1a, 0xc7, 0xce, 0x4f, 0xe8, 0x82, 0xcc, 0xb1, 0xc9, 0x8b, 0xc5, 0x89, 0x6e, 0xa4,
        0x6c, 0x31, 0x1c, 0x4e, 0x2f, 0xf4, 0x0d, 0xd9, 0x6a, 0x36, 0x53, 0xe6, 0xe4, 0x54, 0x45, 0xd3, 0x2d,
        0xfe, 0x48, 0x6e, 0xce, 0xd7, 0x5c, 0x7a, 0x90, 0xc6, 0xa1, 0x88, 0x81, 0xc0, 0xa3,
    ];
    const SEEDS_TIME: EpochMillis = EpochMillis::from_seconds(1_795_000_000);
    let key = PublicKey::new(&SEEDS_KEY).expect("a point");
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(token) = token::verify(text, &key, "broker.example", SEEDS_TIME)
    {
        assert!(token.issued_s() < token.expires_s());
        assert!(token.expires_s() - token.issued_s() <= token::LIFE_S_MAX);
    }
}

/// A fuzz target's body.
pub type Target = fn(&[u8]);

/// Every body by its name, as the fuzz targets and the folders of their seeds are called.
pub const TARGETS: [(&str, Target); 20] = [
    ("batch", batch),
    ("hello", hello),
    ("state", state),
    ("configuration", configuration),
    ("configuration_change", configuration_change),
    ("configuration_state", configuration_state),
    ("topic", topic),
    ("csr", csr),
    ("certificate", certificate),
    ("path", path),
    ("token", token),
    ("envelope", envelope),
    ("document", document),
    ("message", message),
    ("frames", frames),
    ("manifest", manifest),
    ("image", image),
    ("block", block),
    ("patch", patch),
    ("log", log),
];
