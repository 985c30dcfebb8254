extern crate std;
use super::super::der::ECDSA_WITH_SHA256;
use super::super::extensions::{BASIC_CONSTRAINTS, CLIENT_AUTH, EXTENDED_KEY_USAGE, KEY_USAGE};
use super::super::tests::{
    EC_ON_P256, EC_ON_P384, ECDSA_WITH_SHA384, RSA, TestKey, key_info, name, signature_field, tlv, turned,
};
use super::*;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use std::sync::LazyLock;
use std::vec::Vec;

/// 2026-01-01 and 2027-01-01.
const VALIDITY: &[u8] = b"\x17\x0d260101000000Z\x17\x0d270101000000Z";

/// The parts of a certificate, to be put together with one of them changed.
struct Parts {
    version: Vec<u8>,
    serial: Vec<u8>,
    inner_algorithm: Vec<u8>,
    validity: Vec<u8>,
    subject: Vec<u8>,
    key: Vec<u8>,
    extensions: Vec<Vec<u8>>,
    behind: Vec<u8>,
    outer_algorithm: Vec<u8>,
}

/// What is done to one of the parts.
type Change<'a> = &'a dyn Fn(&mut Parts);

impl Parts {
    fn new() -> Self {
        Self {
            version: VERSION_3.to_vec(),
            serial: tlv(2, &[0x12, 0x34]),
            inner_algorithm: ECDSA_WITH_SHA256.to_vec(),
            validity: VALIDITY.to_vec(),
            subject: name(0x0c, b"dev-1"),
            key: key_info(&EC_ON_P256, TestKey::new(8).public().as_bytes()),
            extensions: std::vec![
                extension(&KEY_USAGE.0, true, b"\x03\x02\x07\x80"),
                extension(&EXTENDED_KEY_USAGE.0, false, &tlv(0x30, &CLIENT_AUTH)),
            ],
            behind: Vec::new(),
            outer_algorithm: ECDSA_WITH_SHA256.to_vec(),
        }
    }

    fn tbs(&self) -> Vec<u8> {
        let issuer = name(0x0c, b"ours");
        let validity = tlv(0x30, &self.validity);
        let mut tbs = [
            &self.version[..],
            &self.serial,
            &self.inner_algorithm,
            &issuer,
            &validity,
            &self.subject,
            &self.key,
        ]
        .concat();
        if !self.extensions.is_empty() {
            tbs.extend(tlv(0xa3, &tlv(0x30, &self.extensions.concat())));
        }
        tbs.extend(&self.behind);
        tlv(0x30, &tbs)
    }

    fn bytes(&self) -> Vec<u8> {
        let tbs = self.tbs();
        let signature = TestKey::new(7).sign(&sha256(&[&tbs]));
        tlv(0x30, &[&tbs[..], &self.outer_algorithm, &signature_field(signature.as_bytes())].concat())
    }
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    tlv(0x30, &[id, critical, &tlv(4, value)].concat())
}

/// What a certificate is with one part changed.
fn changed(change: impl Fn(&mut Parts)) -> Result<(bool, bool), X509Error> {
    let mut parts = Parts::new();
    change(&mut parts);
    Certificate::decode(&parts.bytes())
        .map(|certificate| (certificate.is_authority(), certificate.for_client_auth()))
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ours");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = std::vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn device() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "dev-1");
    params.not_before = date_time_ymd(2026, 11, 1);
    params.not_after = date_time_ymd(2026, 11, 30);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = std::vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = std::vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

#[test]
fn what_rcgen_issues_is_read_and_its_signature_verified() {
    let (ours, theirs, key) = (issuer(), issuer(), KeyPair::generate().unwrap());
    let der = device().signed_by(&key, &ours).unwrap();
    let leaf = Certificate::decode(der.der()).unwrap();
    let root = Certificate::decode(ours.der()).unwrap();
    assert_eq!(leaf.common_name(), Some("dev-1"));
    assert_eq!(&leaf.public_key().as_bytes()[..], key.public_key_raw());
    assert_eq!(leaf.not_before(), EpochMillis::from_seconds(1_793_491_200));
    assert_eq!(leaf.not_after(), EpochMillis::from_seconds(1_795_996_800));
    assert_eq!(leaf.issuer(), root.subject());
    assert_eq!((leaf.is_authority(), leaf.for_client_auth(), leaf.path_len()), (false, true, None));
    assert_eq!((root.is_authority(), root.for_client_auth(), root.path_len()), (true, false, Some(1)));
    assert!(leaf.is_signed_by(&root.public_key()) && root.is_signed_by(&root.public_key()));
    let other = Certificate::decode(theirs.der()).unwrap();
    assert!(!leaf.is_signed_by(&other.public_key()) && !leaf.is_signed_by(&leaf.public_key()));
}

#[test]
fn x509_parser_reads_the_same_from_it() {
    let ours = issuer();
    let der = device().signed_by(&KeyPair::generate().unwrap(), &ours).unwrap();
    let mine = Certificate::decode(der.der()).unwrap();
    let (_, theirs) = x509_parser::parse_x509_certificate(der.der()).unwrap();
    assert_eq!(mine.subject(), theirs.subject().as_raw());
    assert_eq!(mine.issuer(), theirs.issuer().as_raw());
    assert_eq!(mine.not_after().seconds() as i64, theirs.validity().not_after.timestamp());
    let serial = theirs.raw_serial();
    assert_eq!(mine.serial(), serial.strip_prefix(&[0]).unwrap_or(serial));
}

#[test]
fn an_authority_says_so_and_may_sign_certificates() {
    let constraints = |value: &[u8]| extension(&BASIC_CONSTRAINTS.0, true, value);
    let ca = constraints(b"\x30\x03\x01\x01\xff");
    assert_eq!(changed(|parts| parts.extensions = std::vec![ca.clone()]), Ok((true, false)));
    let both = |usage: &[u8]| std::vec![ca.clone(), extension(&KEY_USAGE.0, true, usage)];
    assert_eq!(changed(|parts| parts.extensions = both(b"\x03\x02\x02\x04")), Ok((true, false)));
    assert_eq!(changed(|parts| parts.extensions = both(b"\x03\x02\x07\x80")), Ok((false, false)));
    assert_eq!(changed(|parts| parts.extensions = std::vec![constraints(b"\x30\x00")]), Ok((false, false)));
    // FALSE is the default, which DER does not write, and a leaf has no path length.
    for value in [&b"\x30\x03\x01\x01\x00"[..], b"\x30\x03\x02\x01\x00", b"\x30\x06\x01\x01\xff\x02\x01\xff"]
    {
        let verdict = changed(|parts| parts.extensions = std::vec![constraints(value)]);
        assert_eq!(verdict, Err(X509Error::Malformed), "{value:02x?}");
    }
}

#[test]
fn a_client_needs_the_purpose_and_may_sign() {
    assert_eq!(changed(|_| {}), Ok((false, true)));
    assert_eq!(changed(|parts| parts.extensions.clear()), Ok((false, false)));
    assert_eq!(changed(|parts| drop(parts.extensions.remove(0))), Ok((false, true)));
    assert_eq!(changed(|parts| drop(parts.extensions.remove(1))), Ok((false, false)));
    let only_agreement = extension(&KEY_USAGE.0, true, b"\x03\x02\x03\x08");
    assert_eq!(changed(|parts| parts.extensions[0] = only_agreement.clone()), Ok((false, false)));
    let server = tlv(0x30, b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01");
    let server = extension(&EXTENDED_KEY_USAGE.0, false, &server);
    assert_eq!(changed(|parts| parts.extensions[1] = server.clone()), Ok((false, false)));
    let empty = extension(&EXTENDED_KEY_USAGE.0, false, &tlv(0x30, &[]));
    assert!(changed(|parts| parts.extensions[1] = empty.clone()).is_err());
}

#[test]
fn an_extension_that_is_unknown_may_be_there_unless_it_is_critical_and_none_twice() {
    let name_constraints = |critical| extension(b"\x06\x03\x55\x1d\x1e", critical, b"\x30\x00");
    assert_eq!(changed(|parts| parts.extensions.push(name_constraints(false))), Ok((false, true)));
    let critical = changed(|parts| parts.extensions.push(name_constraints(true)));
    assert_eq!(critical, Err(X509Error::Extension));
    for number in 0..2 {
        let twice = changed(|parts| parts.extensions.push(parts.extensions[number].clone()));
        assert_eq!(twice, Err(X509Error::DuplicateExtension));
    }
}

#[test]
fn dates_follow_rfc_5280_on_both_sides_of_2050() {
    let dates = |from: &[u8], to: &[u8]| changed(|parts| parts.validity = [from, to].concat()).map(|_| ());
    let good = b"\x17\x0d491231235959Z";
    assert_eq!(dates(b"\x17\x0d700101000000Z", good), Ok(()));
    assert_eq!(dates(good, b"\x18\x0f20500101000000Z"), Ok(()));
    assert_eq!(dates(good, b"\x18\x0f99991231235959Z"), Ok(()));
    for (from, to) in [
        // Before 1970: 50 to 69 are of the twentieth century.
        (&b"\x17\x0d500101000000Z"[..], &good[..]),
        (b"\x17\x0d691231235959Z", good),
        // GeneralizedTime for a date that UTCTime has.
        (b"\x17\x0d260101000000Z", b"\x18\x0f20491231235959Z"),
        // The end before the beginning.
        (b"\x17\x0d270101000000Z", b"\x17\x0d260101000000Z"),
        // No such day, no seconds, no Z, a fraction.
        (b"\x17\x0d260230000000Z", good),
        (b"\x17\x0b2601010000Z", good),
        (b"\x17\x11260101000000+0100", good),
        (b"\x17\x0d260101000000Z", b"\x18\x1120500101000000.5Z"),
    ] {
        assert_eq!(dates(from, to), Err(X509Error::Dates), "{:?}", std::str::from_utf8(to));
    }
    let text = changed(|parts| parts.validity = [&b"\x0c\x0d260101000000Z"[..], good].concat());
    assert_eq!(text, Err(X509Error::Malformed));
}

#[test]
fn the_year_2050_is_read_from_what_rcgen_writes() {
    let ours = issuer();
    let mut params = device();
    params.not_after = date_time_ymd(2050, 1, 1);
    let der = params.signed_by(&KeyPair::generate().unwrap(), &ours).unwrap();
    let certificate = Certificate::decode(der.der()).unwrap();
    assert_eq!(certificate.not_after(), EpochMillis::from_seconds(2_524_608_000));
}

#[test]
fn other_versions_keys_and_algorithms_are_refused_by_name() {
    let p384 = [&[4][..], &[1; 96]].concat();
    let cases: [(X509Error, Change<'_>); 13] = [
        // Version 1 has neither a version nor extensions.
        (X509Error::Version, &|parts| {
            parts.version.clear();
            parts.extensions.clear();
        }),
        (X509Error::Version, &|parts| parts.version = tlv(0xa0, &tlv(2, &[1]))),
        (X509Error::Malformed, &|parts| parts.serial = tlv(2, &[0x80])),
        (X509Error::KeyType, &|parts| parts.key = key_info(&RSA, &[0x30, 0])),
        (X509Error::KeyType, &|parts| parts.key = key_info(&EC_ON_P384, &p384)),
        (X509Error::Key, &|parts| parts.key = key_info(&EC_ON_P256, &[4; 65])),
        (X509Error::Algorithm, &|parts| parts.inner_algorithm = ECDSA_WITH_SHA384.to_vec()),
        (X509Error::Algorithm, &|parts| parts.outer_algorithm = ECDSA_WITH_SHA384.to_vec()),
        (X509Error::Algorithm, &|parts| parts.outer_algorithm = RSA.to_vec()),
        // A unique identifier, and something that no certificate has.
        (X509Error::Malformed, &|parts| {
            parts.extensions.clear();
            parts.behind = tlv(0x81, &[0, 1]);
        }),
        (X509Error::Malformed, &|parts| parts.behind = tlv(5, &[])),
        (X509Error::Malformed, &|parts| parts.extensions = std::vec![Vec::new()]),
        (X509Error::Malformed, &|parts| parts.subject = tlv(0x30, &tlv(0x31, &[]))),
    ];
    for (number, (error, change)) in cases.into_iter().enumerate() {
        assert_eq!(changed(change), Err(error), "case {number}");
    }
    let ours = issuer();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let leaf = device().signed_by(&p384, &ours).unwrap();
    assert_eq!(Certificate::decode(leaf.der()), Err(X509Error::KeyType));
    let by_p384 = CertifiedIssuer::self_signed(device(), p384).unwrap();
    let leaf = device().signed_by(&KeyPair::generate().unwrap(), &by_p384).unwrap();
    assert_eq!(Certificate::decode(leaf.der()), Err(X509Error::Algorithm));
}

#[test]
fn a_common_name_is_only_given_where_there_is_exactly_one() {
    let of = |subject: Vec<u8>| {
        let mut parts = Parts::new();
        parts.subject = subject;
        let bytes = parts.bytes();
        let certificate = Certificate::decode(&bytes).unwrap();
        certificate.common_name().map(std::string::ToString::to_string)
    };
    assert_eq!(of(name(0x0c, b"dev-1")).as_deref(), Some("dev-1"));
    assert_eq!(of(name(0x13, b"dev-1")).as_deref(), Some("dev-1"));
    assert_eq!(of(tlv(0x30, &[])), None);
    assert_eq!(of(name(0x14, b"dev-1")), None);
    let (one, two) = (name(0x0c, b"dev-1"), name(0x0c, b"dev-2"));
    assert_eq!(of(tlv(0x30, &[&one[2..], &two[2..]].concat())), None);
    let organisation = tlv(0x31, &tlv(0x30, b"\x06\x03\x55\x04\x0a\x0c\x04ours"));
    assert_eq!(of(tlv(0x30, &[&organisation[..], &one[2..]].concat())).as_deref(), Some("dev-1"));
}

#[test]
fn a_signature_may_have_its_s_in_either_half() {
    let tbs = Parts::new().tbs();
    let signature = TestKey::new(7).sign(&sha256(&[&tbs]));
    for signature in [*signature.as_bytes(), turned(&signature)] {
        let bytes = tlv(0x30, &[&tbs[..], &ECDSA_WITH_SHA256, &signature_field(&signature)].concat());
        assert!(Certificate::decode(&bytes).unwrap().is_signed_by(&TestKey::new(7).public()));
    }
}

#[test]
fn no_flipped_bit_leaves_a_certificate_with_a_right_signature() {
    let (bytes, issuer) = (Parts::new().bytes(), TestKey::new(7).public());
    assert!(Certificate::decode(&bytes).unwrap().is_signed_by(&issuer));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let believed =
            Certificate::decode(&flipped).is_ok_and(|certificate| certificate.is_signed_by(&issuer));
        assert!(!believed, "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Certificate::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn anything_behind_a_certificate_is_refused_and_so_is_a_long_one() {
    let mut bytes = Parts::new().bytes();
    bytes.push(0);
    assert_eq!(Certificate::decode(&bytes), Err(X509Error::Malformed));
    bytes.resize(CERTIFICATE_BYTES_MAX + 1, 0);
    assert_eq!(Certificate::decode(&bytes), Err(X509Error::TooLong));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Certificate::decode(&bytes);
    }

    #[test]
    fn a_mutilated_certificate_never_panics(at in 0_usize..380, count in 0_usize..8, with in prop::collection::vec(any::<u8>(), 0..8)) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| Parts::new().bytes());
        let mut bytes = GOOD.clone();
        let end = (at + count).min(bytes.len());
        bytes.splice(at.min(end)..end, with);
        let _ = Certificate::decode(&bytes);
    }
}
