//! Signed documents of every type for the tests: the smallest and the longest, and the keys that signed them.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]

pub mod images;
mod parts;

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::config::Change;
use protocol::document::{
    Action, Audience, AuthorityKey, BURST_PERIOD_MS_MAX, BURST_SAMPLES_MAX, CERTIFICATE_BYTES_MAX,
    CSR_BYTES_MAX, Certificates, Command, ContentType, End, IdentityCertificate, LOG_PAYLOAD_BYTES_MAX,
    LogAcknowledgement, LogDelivery, Power, Provision, RenewalRequest, Retirement, Rollout, RootList,
};
use protocol::key::Digest;
use protocol::signed::{Document, Envelope, PROVISION_DOCUMENT_BYTES_MAX, SealError, seal};
use protocol::{DeviceId, KeyId, Name, PublicKey, Refusal, Signature};
use std::convert::Infallible;

pub use parts::Parts;

/// A key for tests; another for every number but 0.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

/// The key that a document of this type is signed with here: one for each power.
pub fn key_of(power: Power) -> SigningKey {
    key(10 + power as u8)
}

pub fn public(key: &SigningKey) -> PublicKey {
    PublicKey::new(key.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
}

pub fn sign(key: &SigningKey, digest: &Digest) -> Signature {
    let signature: p256::ecdsa::Signature = key.sign_prehash(digest).unwrap();
    Signature::normalised(&signature.to_bytes()).unwrap()
}

/// How long the parts of a document are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Longest,
}

impl Size {
    pub const BOTH: [Self; 2] = [Self::Small, Self::Longest];

    fn id(self) -> DeviceId {
        DeviceId::new(if self == Self::Small { "d" } else { "device-with-an-id-of-32-letters-" }).unwrap()
    }

    fn audience(self) -> Audience {
        Audience::Device(self.id())
    }

    fn number(self) -> u32 {
        if self == Self::Small { 1 } else { u32::MAX }
    }

    fn bytes(self, small: &'static [u8], longest: usize) -> &'static [u8] {
        if self == Self::Small { small } else { vec![0x30; longest].leak() }
    }

    fn certificates<const MAX: usize>(self) -> Certificates<'static, MAX> {
        let count = if self == Self::Small { 1 } else { MAX };
        let one = self.bytes(b"\x30\x03\x02\x01\x07", CERTIFICATE_BYTES_MAX);
        Certificates((0..count).map(|_| one).collect())
    }
}

pub fn roots(size: Size) -> RootList<'static> {
    RootList { audience: size.audience(), number: size.number(), roots: size.certificates() }
}

pub fn authority_key(size: Size) -> AuthorityKey {
    let key = public(&key(9));
    AuthorityKey { audience: size.audience(), number: size.number(), power: Power::Firmware, key }
}

pub fn certificate(size: Size) -> IdentityCertificate<'static> {
    IdentityCertificate {
        audience: size.audience(),
        number: size.number(),
        identity: public(&key(8)).id(),
        chain: size.certificates(),
    }
}

pub fn command(size: Size) -> Command {
    let (expires_s, action) = match size {
        Size::Small => (1, Action::Report),
        Size::Longest => {
            (u64::MAX, Action::Burst { samples: BURST_SAMPLES_MAX, period_ms: BURST_PERIOD_MS_MAX })
        }
    };
    Command { audience: size.audience(), number: size.number(), expires_s, action }
}

/// What the entries are is not the document's to say: any bytes.
pub fn log(size: Size) -> LogDelivery<'static> {
    // A map of four with audience, number and hash, and the heads.
    let rest = 1 + (1 + 1 + 1 + 2 + 32) + (1 + 5) + (1 + 2 + 32) + (1 + 3);
    LogDelivery {
        audience: size.audience(),
        number: size.number(),
        previous: [0xa7; 32],
        entries: size.bytes(b"", LOG_PAYLOAD_BYTES_MAX - rest),
    }
}

pub fn log_acknowledgement(size: Size) -> LogAcknowledgement {
    LogAcknowledgement { audience: size.audience(), number: size.number(), hash: [0x7a; 32] }
}

pub fn retirement(size: Size) -> Retirement {
    Retirement {
        audience: size.audience(),
        number: size.number(),
        end: End::Destroyed,
        identity: public(&key(8)).id(),
        expires_s: if size == Size::Small { 0 } else { u64::MAX },
    }
}

pub fn rollout(size: Size) -> Rollout {
    let share = if size == Size::Small { 0 } else { protocol::firmware::SHARE_MAX };
    Rollout { audience: size.audience(), number: size.number(), manifest: [0x5a; 32], share }
}

pub fn provision(size: Size) -> Provision<'static> {
    let group = if size == Size::Small { "" } else { "a-group-with-a-name-of-32-letter" };
    Provision {
        audience: size.audience(),
        nonce: [0xa5; 16],
        group: Name::try_from(group).unwrap(),
        identity: public(&key(8)).id(),
        chain: size.certificates(),
        roots: size.certificates(),
        firmware: public(&key(1)),
        configuration_key: public(&key(2)),
        anchors: public(&key(3)),
        configuration: size.bytes(b"{}", protocol::config::CONFIGURATION_BYTES_MAX),
    }
}

pub fn renewal_request(size: Size) -> RenewalRequest<'static> {
    RenewalRequest {
        audience: size.audience(),
        number: size.number(),
        identity_csr: size.bytes(b"\x30\x03\x02\x01\x01", CSR_BYTES_MAX),
        tls_csr: size.bytes(b"\x30\x03\x02\x01\x02", CSR_BYTES_MAX),
    }
}

/// The smallest change names one field, the longest every one.
pub fn configuration(size: Size) -> Change {
    Change::decode(configuration_json(size).as_bytes()).expect("a change")
}

pub fn configuration_json(size: Size) -> String {
    if size == Size::Small {
        return r#"{"v":2,"number":1,"id":"d","port":1}"#.into();
    }
    let host = "h".repeat(63);
    let servers = ["a", "b", "c", "d"].map(|first| format!("\"{first}{}:65535\"", &host[1..])).join(",");
    format!(
        "{{\"v\":2,\"number\":{},\"id\":\"{}\",\"host\":\"{host}\",\"port\":65535,\"keep_alive_s\":1200,\
         \"auth\":\"certificate\",\"time_servers\":[{servers}],\"sample_period_ms\":86400000,\
         \"report_period_ms\":86400000,\"update_start_min\":1439,\"update_length_min\":1440,\
         \"update_deadline_h\":8760,\"update_spread_s\":86400,\"dead_band_centi_c\":12500,\
         \"dead_band_centi_percent\":10000,\"dead_band_pa\":80000,\"alarm_low_centi_c\":-4000,\
         \"alarm_high_centi_c\":-1000,\"alarm_hysteresis_centi_c\":1500,\"alarm_low_centi_percent\":1000,\
         \"alarm_high_centi_percent\":10000,\"alarm_hysteresis_centi_percent\":2000,\"alarm_low_pa\":30000,\
         \"alarm_high_pa\":110000,\"alarm_hysteresis_pa\":10000,\"log_level\":\"warning\"}}",
        size.number(),
        size.id()
    )
}

/// The document in its envelope.
pub fn sealed_with<'b, T: Document<'b>>(document: &T, key: &SigningKey) -> Vec<u8> {
    let mut out = vec![0; PROVISION_DOCUMENT_BYTES_MAX];
    let signed: Result<usize, SealError<Infallible>> =
        seal(document, public(key).id(), &mut out, |digest| Ok(sign(key, digest)));
    out.truncate(signed.unwrap());
    out
}

/// A document of this type in its envelope, signed with `key`.
pub fn sealed(content_type: ContentType, size: Size, key: &SigningKey) -> Vec<u8> {
    match content_type {
        ContentType::Configuration => sealed_with(&configuration(size), key),
        ContentType::Roots => sealed_with(&roots(size), key),
        ContentType::AuthorityKey => sealed_with(&authority_key(size), key),
        ContentType::Certificate => sealed_with(&certificate(size), key),
        ContentType::Command => sealed_with(&command(size), key),
        ContentType::Log => sealed_with(&log(size), key),
        ContentType::LogAcknowledgement => sealed_with(&log_acknowledgement(size), key),
        ContentType::Retirement => sealed_with(&retirement(size), key),
        ContentType::Provision => sealed_with(&provision(size), key),
        ContentType::RenewalRequest => sealed_with(&renewal_request(size), key),
        ContentType::Rollout => sealed_with(&rollout(size), key),
    }
}

/// Verifies the bytes as a document of this type; gives its signer and its number.
pub fn verified_as(
    content_type: ContentType,
    bytes: &[u8],
    key: &PublicKey,
) -> Result<(KeyId, u32), Refusal> {
    fn verified<'b, T: Document<'b>>(
        envelope: Envelope<'b>,
        key: &PublicKey,
    ) -> Result<(KeyId, u32), Refusal> {
        envelope.verify::<T>(key).map(|document| (document.signer(), document.number()))
    }
    let envelope = Envelope::decode(bytes)?;
    match content_type {
        ContentType::Configuration => verified::<Change>(envelope, key),
        ContentType::Roots => verified::<RootList<'_>>(envelope, key),
        ContentType::AuthorityKey => verified::<AuthorityKey>(envelope, key),
        ContentType::Certificate => verified::<IdentityCertificate<'_>>(envelope, key),
        ContentType::Command => verified::<Command>(envelope, key),
        ContentType::Log => verified::<LogDelivery<'_>>(envelope, key),
        ContentType::LogAcknowledgement => verified::<LogAcknowledgement>(envelope, key),
        ContentType::Retirement => verified::<Retirement>(envelope, key),
        ContentType::Provision => verified::<Provision<'_>>(envelope, key),
        ContentType::RenewalRequest => verified::<RenewalRequest<'_>>(envelope, key),
        ContentType::Rollout => verified::<Rollout>(envelope, key),
    }
}

/// The digest of the `Sig_structure` over a protected header and a payload, made by another path than the library's.
pub fn to_be_signed(protected: &[u8], payload: &[u8]) -> Digest {
    let mut structure = vec![0; protected.len() + payload.len() + 32];
    let mut encoder = minicbor::Encoder::new(minicbor::encode::write::Cursor::new(&mut structure[..]));
    encoder.array(4).unwrap().str("Signature1").unwrap().bytes(protected).unwrap();
    encoder.bytes(b"").unwrap().bytes(payload).unwrap();
    let len = encoder.writer().position();
    protocol::key::sha256(&[&structure[..len]])
}
