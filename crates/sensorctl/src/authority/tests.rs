use super::*;
use rcgen::KeyPair;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_SIG_ECDSA_WITH_SHA256};
use x509_parser::prelude::*;

fn made() -> TempDir {
    let temporary = tempfile::tempdir().unwrap();
    init(temporary.path(), &["localhost".into(), "broker.example".into(), "127.0.0.1".into()], 365).unwrap();
    temporary
}

fn der(text: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
}

fn file_der(folder: &TempDir, name: &str) -> Vec<u8> {
    der(&fs::read_to_string(folder.path().join(name)).unwrap())
}

fn parse(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    assert_eq!(certificate.version(), X509Version::V3);
    assert_eq!(certificate.signature_algorithm.algorithm, OID_SIG_ECDSA_WITH_SHA256);
    let curve = certificate.public_key().algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
    assert_eq!(curve, OID_EC_P256);
    let serial = certificate.raw_serial();
    assert!((8..=20).contains(&serial.len()) && serial[0] < 0x80, "positive and hard to guess: {serial:?}");
    certificate
}

fn subject_key<'a>(certificate: &'a X509Certificate<'_>) -> &'a [u8] {
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
        .unwrap()
}

fn authority_key<'a>(certificate: &'a X509Certificate<'_>) -> &'a [u8] {
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
            _ => None,
        })
        .unwrap()
}

fn days(certificate: &X509Certificate<'_>) -> i64 {
    let validity = certificate.validity();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let backdated = now - validity.not_before.timestamp();
    assert!((86_400..86_460).contains(&backdated), "valid since {backdated} s");
    (validity.not_after.timestamp() - now + 60) / 86_400
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> &'a str {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().unwrap().as_str().unwrap();
    assert!(names.next().is_none());
    name
}

/// What every leaf is, whatever it is for.
fn assert_leaf(leaf: &X509Certificate<'_>, root: &X509Certificate<'_>) {
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(authority_key(leaf), subject_key(root));
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 1, "digitalSignature and nothing else");
}

#[test]
fn the_root_is_an_authority_for_ten_years_and_signs_nothing_but_leaves() {
    let folder = made();
    let der = file_der(&folder, file::ROOT);
    let root = parse(&der);
    root.verify_signature(None).unwrap();
    assert_eq!(days(&root), 3_650);
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert_eq!(subject_key(&root), authority_key(&root));
    assert_eq!(root.subject().as_raw(), root.issuer().as_raw());
}

#[test]
fn the_broker_has_a_server_certificate_for_the_names_given() {
    let folder = made();
    let (root, broker) = (file_der(&folder, file::ROOT), file_der(&folder, file::BROKER));
    let (root, broker) = (parse(&root), parse(&broker));
    assert_leaf(&broker, &root);
    assert_eq!(days(&broker), 365);
    let usage = broker.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    let names = &broker.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(
        *names,
        [
            GeneralName::DNSName("localhost"),
            GeneralName::DNSName("broker.example"),
            GeneralName::IPAddress(&[127, 0, 0, 1])
        ]
    );
}

#[test]
fn the_operator_has_a_client_certificate_that_is_no_servers() {
    let folder = made();
    let (root, operator) = (file_der(&folder, file::ROOT), file_der(&folder, file::OPERATOR));
    let (root, operator) = (parse(&root), parse(&operator));
    assert_leaf(&operator, &root);
    assert_eq!(common_name(&operator), "operator");
    let usage = operator.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
}

#[test]
fn a_reopened_authority_issues_certificates_for_days() {
    let folder = made();
    let authority = Authority::open(folder.path()).unwrap();
    let first = authority.issue_client("dev-1", 30).unwrap();
    let second = authority.issue_client("dev-1", 30).unwrap();
    let (root, leaf) = (der(authority.root()), der(&first.chain));
    let (root, leaf) = (parse(&root), parse(&leaf));
    assert_leaf(&leaf, &root);
    assert_eq!((common_name(&leaf), days(&leaf)), ("dev-1", 30));
    assert!(leaf.subject_alternative_name().unwrap().is_none());
    assert_ne!(first.key, second.key);
    assert!(!format!("{first:?}").contains("PRIVATE"), "a key must not reach a log");
}

#[test]
fn keys_are_pkcs8_and_readable_by_the_owner_alone() {
    let folder = made();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for name in [file::ROOT_KEY, file::BROKER_KEY, file::OPERATOR_KEY] {
        assert_eq!(mode(name), 0o600, "{name}");
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"), "{name}");
    }
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["broker.crt", "broker.key", "ca.crt", "ca.key", "operator.crt", "operator.key"]);
}

#[test]
fn an_authority_that_exists_is_left_as_it_is() {
    let folder = made();
    let before = fs::read(folder.path().join(file::ROOT_KEY)).unwrap();
    let error = init(folder.path(), &["localhost".into()], 365).unwrap_err();
    assert!(matches!(error, AuthorityError::Exists(_)));
    assert!(error.to_string().contains("already holds an authority; it was left as it is"), "{error}");
    assert_eq!(fs::read(folder.path().join(file::ROOT_KEY)).unwrap(), before);
}

#[test]
fn bad_names_and_days_are_refused_before_anything_is_written() {
    let temporary = tempfile::tempdir().unwrap();
    let place = temporary.path().join("ca");
    for host in ["", "a b", "broker:8883", "-a", "*.example", "a..b", "bröker"] {
        let error = init(&place, &[host.into()], 365).unwrap_err();
        assert!(matches!(error, AuthorityError::BadHost(_)), "{host}: {error}");
    }
    for days in [0, DAYS_MAX + 1] {
        assert!(matches!(init(&place, &["a".into()], days), Err(AuthorityError::BadArgument(_))));
    }
    assert!(matches!(init(&place, &[], 1), Err(AuthorityError::BadArgument(_))));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

fn refusal(folder: &TempDir) -> AuthorityError {
    match Authority::open(folder.path()) {
        Ok(authority) => authority.issue_client("dev-1", 30).unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn a_missing_authority_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&folder);
    assert!(matches!(error, AuthorityError::Missing(_)) && error.to_string().contains("sensorctl ca init"));
}

#[test]
fn a_root_certificate_of_another_authority_is_refused() {
    let (folder, other) = (made(), made());
    fs::copy(other.path().join(file::ROOT), folder.path().join(file::ROOT)).unwrap();
    assert!(matches!(refusal(&folder), AuthorityError::Foreign(_)));
}

#[test]
fn an_unreadable_root_key_is_refused() {
    let folder = made();
    fs::write(
        folder.path().join(file::ROOT_KEY),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    assert!(matches!(refusal(&folder), AuthorityError::Unusable(..)));
    fs::write(folder.path().join(file::ROOT_KEY), "").unwrap();
    assert!(matches!(refusal(&folder), AuthorityError::Unusable(..)));
}

#[test]
fn a_root_that_ends_before_the_leaf_is_refused() {
    let folder = made();
    let key = KeyPair::from_pem(&fs::read_to_string(folder.path().join(file::ROOT_KEY)).unwrap()).unwrap();
    let mut params = root_params(&key);
    let now = SystemTime::now();
    for (begin, end, good) in [(-3, 29, false), (-3, 31, true), (-3, -1, false), (1, 31, false)] {
        let day = |n: i64| {
            let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + n * 86_400;
            OffsetDateTime::from_unix_timestamp(seconds).unwrap()
        };
        (params.not_before, params.not_after) = (day(begin), day(end));
        fs::write(folder.path().join(file::ROOT), params.self_signed(&key).unwrap().pem()).unwrap();
        let issued = Authority::open(folder.path()).unwrap().issue_client("dev-1", 30);
        assert_eq!(issued.is_ok(), good, "{begin} to {end}");
        assert!(good || matches!(issued, Err(AuthorityError::EndsBefore(_, 30))));
    }
}
