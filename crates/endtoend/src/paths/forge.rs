//! Certificates as an authority would not make them: parameters first, and bytes changed and signed again where that is not
//! enough.

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::DecodePrivateKey;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SignatureAlgorithm, SigningKey, date_time_ymd,
};
use sha2::{Digest, Sha384};
use std::process::Command;

/// The arcs of id-ce and of the extensions that are written by hand here.
pub(super) const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];
pub(super) const BASIC_CONSTRAINTS: [u64; 4] = [2, 5, 29, 19];
pub(super) const NAME_CONSTRAINTS: [u64; 4] = [2, 5, 29, 30];
/// One that nobody knows.
pub(super) const UNKNOWN: [u64; 8] = [1, 3, 6, 1, 4, 1, 99_999, 1];

/// ecdsa-with-SHA256 and ecdsa-with-SHA384.
const ES256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ES384: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

/// A certificate with its key.
pub(super) struct Node {
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
    pub(super) der: Vec<u8>,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2049, 1, 1));
    params
}

/// What a good authority has.
pub(super) fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What a good server has.
pub(super) fn server(host: &str) -> CertificateParams {
    let mut params = named("server");
    params.subject_alt_names = vec![SanType::DnsName(host.try_into().expect("a host name"))];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

pub(super) fn extension(id: &[u64], critical: bool, value: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(id, value.to_vec());
    extension.set_criticality(critical);
    extension
}

impl Node {
    /// A certificate that names itself as its issuer.
    pub(super) fn root(params: CertificateParams) -> Self {
        Self::with_key(params, key(), None)
    }

    /// A certificate for a new key.
    pub(super) fn below(issuer: &Self, params: CertificateParams) -> Self {
        Self::with_key(params, key(), Some(issuer))
    }

    pub(super) fn with_key(params: CertificateParams, key: KeyPair, issuer: Option<&Self>) -> Self {
        let made = match issuer {
            None => params.self_signed(&key),
            Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)),
        };
        let der = made.expect("parameters that rcgen takes").der().to_vec();
        Self { params, key, der }
    }

    /// The same key, as another certificate says it.
    pub(super) fn again(&self) -> KeyPair {
        KeyPair::try_from(self.key.serialize_der()).expect("a key that rcgen has written")
    }

    /// Replaces the first `old` in what is signed by `new`, of the same length, and has `issuer` sign that.
    pub(super) fn forged(self, issuer: &KeyPair, old: &[u8], new: &[u8]) -> Self {
        self.altered(old, new, &ES256, |tbs| issuer.sign(tbs).expect("a signature"))
    }

    /// Has `issuer`, whose key is on P-256, sign it with ecdsa-with-SHA384.
    pub(super) fn signed_with_sha384(self, issuer: &KeyPair) -> Self {
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(&issuer.serialize_der()).expect("a key on P-256");
        self.altered(&ES256, &ES384, &ES384, |tbs| {
            let signature: p256::ecdsa::DerSignature =
                key.sign_prehash(&Sha384::digest(tbs)).expect("a signature");
            signature.as_bytes().to_vec()
        })
    }

    fn altered(
        mut self,
        old: &[u8],
        new: &[u8],
        algorithm: &[u8],
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Self {
        assert_eq!(old.len(), new.len(), "lengths stay as they are");
        let (_, inside) = split(&self.der);
        let (tbs_len, _) = split(inside);
        let mut tbs = inside[..tbs_len].to_vec();
        let at = tbs.windows(old.len()).position(|bytes| bytes == old).expect("what is to be replaced");
        tbs[at..at + old.len()].copy_from_slice(new);
        let bits = tlv(3, &[&[0], &sign(&tbs)[..]].concat());
        self.der = tlv(0x30, &[&tbs[..], algorithm, &bits].concat());
        self
    }
}

pub(super) fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

pub(super) fn key_of(kind: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(kind).expect("a key")
}

/// An RSA key, which ring cannot make.
pub(super) fn rsa_key() -> KeyPair {
    key_of_openssl(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
}

/// An Ed25519 key in a form that every service reads, which ring's is not.
pub(super) fn ed25519_key() -> KeyPair {
    key_of_openssl(&["-algorithm", "ED25519"])
}

/// Needs the Debian package `openssl`.
fn key_of_openssl(options: &[&str]) -> KeyPair {
    let made = Command::new("openssl")
        .arg("genpkey")
        .args(options)
        .output()
        .expect("openssl does not run; the list needs it: apt-get install openssl");
    assert!(made.status.success(), "openssl genpkey: {}", String::from_utf8_lossy(&made.stderr));
    KeyPair::from_pem(&String::from_utf8_lossy(&made.stdout)).expect("a key of openssl")
}

/// How long the value at the beginning is, and what is in it.
fn split(der: &[u8]) -> (usize, &[u8]) {
    let (head, len) = match der[1] {
        len @ 0..=127 => (2, usize::from(len)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
    };
    (head + len, &der[head..head + len])
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..=127 => vec![tag, len as u8],
        128..=255 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [&head[..], content].concat()
}
