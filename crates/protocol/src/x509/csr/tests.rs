extern crate std;
use super::super::tests::{
    EC_ON_P256, EC_ON_P384, ECDSA_WITH_SHA384, RSA, TestKey, key_info, name, signature_field, tlv, turned,
};
use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, KeyPair};
use std::sync::LazyLock;
use std::vec::Vec;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn csr(id: &DeviceId, key: &TestKey) -> Vec<u8> {
    let mut buffer = [0; CSR_BYTES_MAX];
    let len = encode_csr(id, &key.public(), &mut buffer, |digest| key.sign_for(digest)).unwrap();
    buffer[..len].to_vec()
}

/// The parts of a request, to be put together with one of them changed.
struct Parts {
    version: Vec<u8>,
    subject: Vec<u8>,
    key: Vec<u8>,
    attributes: Vec<u8>,
    algorithm: Vec<u8>,
}

/// What is done to one of the parts.
type Change<'a> = &'a dyn Fn(&mut Parts);

impl Parts {
    fn new() -> Self {
        Self {
            version: VERSION.to_vec(),
            subject: name(0x0c, b"dev-1"),
            key: key_info(&EC_ON_P256, TestKey::new(7).public().as_bytes()),
            attributes: NO_ATTRIBUTES.to_vec(),
            algorithm: ECDSA_WITH_SHA256.to_vec(),
        }
    }

    fn info(&self) -> Vec<u8> {
        tlv(0x30, &[&self.version[..], &self.subject, &self.key, &self.attributes].concat())
    }

    fn signature(&self) -> Signature {
        TestKey::new(7).sign(&sha256(&[&self.info()]))
    }

    fn with_signature(&self, field: &[u8]) -> Vec<u8> {
        tlv(0x30, &[&self.info()[..], &self.algorithm, field].concat())
    }

    fn decode(&self) -> Result<Csr, X509Error> {
        Csr::decode(&self.with_signature(&signature_field(self.signature().as_bytes())))
    }
}

#[test]
fn a_request_is_read_as_it_was_written_for_ids_of_every_length() {
    for len in 1..=DeviceId::MAX_LEN {
        let (id, key) = (id(&"x".repeat(len)), TestKey::new(len as u8));
        let bytes = csr(&id, &key);
        assert!(bytes.len() <= CSR_BYTES_MAX);
        assert_eq!(Csr::decode(&bytes), Ok(Csr { id, key: key.public() }));
    }
}

#[test]
fn a_request_written_by_hand_from_the_rfc_is_the_one_that_is_written() {
    let parts = Parts::new();
    let by_hand = parts.with_signature(&signature_field(parts.signature().as_bytes()));
    assert_eq!(csr(&id("dev-1"), &TestKey::new(7)), by_hand);
    assert!(parts.decode().is_ok());
}

#[test]
fn x509_parser_reads_it_and_finds_the_signature_right() {
    let (id, key) = (id("sensor-0001"), TestKey::new(9));
    let bytes = csr(&id, &key);
    let (rest, request) = X509CertificationRequest::from_der(&bytes).unwrap();
    assert!(rest.is_empty());
    request.verify_signature().unwrap();
    let info = &request.certification_request_info;
    assert_eq!(info.subject.iter_common_name().next().unwrap().as_str(), Ok("sensor-0001"));
    assert_eq!(info.subject.iter_attributes().count(), 1);
    assert_eq!(info.subject_pki.subject_public_key.data.as_ref(), key.public().as_bytes());
}

#[test]
fn rcgen_issues_a_certificate_from_it() {
    let (id, key) = (id("dev-1"), TestKey::new(9));
    let issuer = CertifiedIssuer::self_signed(CertificateParams::default(), KeyPair::generate().unwrap());
    let request = CertificateSigningRequestParams::from_der(&csr(&id, &key).into()).unwrap();
    let certificate = request.signed_by(&issuer.unwrap()).unwrap();
    let certificate = crate::x509::Certificate::decode(certificate.der()).unwrap();
    assert_eq!(certificate.public_key(), key.public());
    assert_eq!(certificate.common_name(), Some("dev-1"));
}

#[test]
fn a_request_by_rcgen_is_taken_where_it_asks_for_nothing() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "dev-1");
    let plain = params.serialize_request(&key).unwrap();
    // ring leaves s to chance: where it is in the upper half, the request is refused for that alone.
    match Csr::decode(plain.der()) {
        Ok(read) => assert_eq!((read.id, &read.key.as_bytes()[..]), (id("dev-1"), key.public_key_raw())),
        Err(error) => assert_eq!(error, X509Error::Signature),
    }
    params.subject_alt_names = std::vec![rcgen::SanType::DnsName("dev-1".try_into().unwrap())];
    let asks = params.serialize_request(&key).unwrap();
    assert_eq!(Csr::decode(asks.der()), Err(X509Error::Attributes));
    params.distinguished_name.push(DnType::OrganizationName, "ours");
    let named = params.serialize_request(&key).unwrap();
    assert_eq!(Csr::decode(named.der()), Err(X509Error::Subject));
}

#[test]
fn another_version_key_algorithm_or_subject_and_attributes_are_refused_by_name() {
    let point = *TestKey::new(7).public().as_bytes();
    let mut off_curve = point;
    off_curve[64] ^= 1;
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let p384 = [&[4][..], &[1; 96]].concat();
    let two_names = {
        let one = name(0x0c, b"dev-1");
        tlv(0x30, &[&one[2..], &one[2..]].concat())
    };
    let challenge = tlv(0xa0, &tlv(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07\x31\x03\x0c\x01x"));
    let cases: [(X509Error, Change<'_>); 15] = [
        (X509Error::Version, &|parts| parts.version = tlv(2, &[1])),
        (X509Error::Subject, &|parts| parts.subject = tlv(0x30, &[])),
        (X509Error::Subject, &|parts| parts.subject = two_names.clone()),
        (X509Error::Subject, &|parts| parts.subject = name(0x13, b"dev-1")),
        (X509Error::Subject, &|parts| parts.subject = name(0x0c, b"\xff\xfe")),
        (X509Error::CommonName, &|parts| parts.subject = name(0x0c, b"dev/1")),
        (X509Error::CommonName, &|parts| parts.subject = name(0x0c, b"operator")),
        (X509Error::CommonName, &|parts| parts.subject = name(0x0c, &[b'x'; 33])),
        (X509Error::KeyType, &|parts| parts.key = key_info(&EC_ON_P384, &p384)),
        (X509Error::KeyType, &|parts| parts.key = key_info(&RSA, &[0x30, 0])),
        (X509Error::Key, &|parts| parts.key = key_info(&EC_ON_P256, &off_curve)),
        (X509Error::Key, &|parts| parts.key = key_info(&EC_ON_P256, &compressed)),
        (X509Error::Attributes, &|parts| parts.attributes = challenge.clone()),
        (X509Error::Algorithm, &|parts| parts.algorithm = ECDSA_WITH_SHA384.to_vec()),
        (X509Error::Malformed, &|parts| parts.attributes.extend([5, 0])),
    ];
    for (number, (error, change)) in cases.into_iter().enumerate() {
        let mut parts = Parts::new();
        change(&mut parts);
        assert_eq!(parts.decode(), Err(error), "case {number}");
    }
}

#[test]
fn a_request_for_a_key_that_somebody_else_has_is_refused() {
    let (theirs, ours) = (TestKey::new(1), TestKey::new(2));
    let mut buffer = [0; CSR_BYTES_MAX];
    let len =
        encode_csr(&id("dev-1"), &theirs.public(), &mut buffer, |digest| ours.sign_for(digest)).unwrap();
    assert_eq!(Csr::decode(&buffer[..len]), Err(X509Error::Signature));
}

#[test]
fn a_signature_turned_around_or_with_a_longer_number_is_refused() {
    let parts = Parts::new();
    let turned = parts.with_signature(&signature_field(&turned(&parts.signature())));
    assert_eq!(Csr::decode(&turned), Err(X509Error::Signature));
    // The same r and s, r with a zero in front that DER does not allow.
    let der = signature_field(parts.signature().as_bytes());
    let r_len = usize::from(der[6]);
    let longer = tlv(2, &[&[0], &der[7..7 + r_len]].concat());
    let field = tlv(3, &[&[0][..], &tlv(0x30, &[&longer, &der[7 + r_len..]].concat())].concat());
    assert_eq!(Csr::decode(&parts.with_signature(&field)), Err(X509Error::Signature));
}

#[test]
fn anything_behind_a_request_is_refused_and_so_is_a_long_one() {
    let mut bytes = csr(&id("dev-1"), &TestKey::new(7));
    bytes.push(0);
    assert_eq!(Csr::decode(&bytes), Err(X509Error::Malformed));
    bytes.resize(CSR_BYTES_MAX + 1, 0);
    assert_eq!(Csr::decode(&bytes), Err(X509Error::TooLong));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let bytes = csr(&id("dev-1"), &TestKey::new(7));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Csr::decode(&flipped).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Csr::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_buffer_that_is_too_short_and_a_signer_that_fails_are_told_apart() {
    let (id, key) = (id("dev-1"), TestKey::new(7));
    let len = csr(&id, &key).len();
    for short in 0..len {
        let written =
            encode_csr(&id, &key.public(), &mut [0; CSR_BYTES_MAX][..short], |digest| key.sign_for(digest));
        assert!(matches!(written, Err(SealError::TooLong)), "{short} bytes");
    }
    let refused = encode_csr(&id, &key.public(), &mut [0; CSR_BYTES_MAX], |_| Err("no key"));
    assert!(matches!(refused, Err(SealError::Signer("no key"))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Csr::decode(&bytes);
    }

    /// Closer to the real thing: a request with a few bytes replaced, removed or doubled.
    #[test]
    fn a_mutilated_request_never_panics(at in 0_usize..230, count in 0_usize..8, with in prop::collection::vec(any::<u8>(), 0..8)) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| csr(&id("dev-1"), &TestKey::new(7)));
        let mut bytes = GOOD.clone();
        let end = (at + count).min(bytes.len());
        bytes.splice(at.min(end)..end, with);
        let _ = Csr::decode(&bytes);
    }
}
