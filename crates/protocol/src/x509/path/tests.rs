extern crate std;
use super::*;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::sync::LazyLock;
use std::vec::Vec;

/// 2026-11-28.
const NOW: EpochMillis = EpochMillis::from_seconds(1_795_824_000);

struct Node {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = std::vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server() -> CertificateParams {
    let mut params = authority("server");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = std::vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = std::vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn made(params: CertificateParams, issuer: Option<&Node>) -> Node {
    let key = KeyPair::generate().unwrap();
    let certificate = match issuer {
        None => params.self_signed(&key).unwrap(),
        Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)).unwrap(),
    };
    Node { der: certificate.der().to_vec(), params, key }
}

/// A server, so many authorities, and a root: as [`judge`] wants them.
fn path(intermediates: usize) -> Vec<Vec<u8>> {
    let mut nodes = std::vec![made(authority("root"), None)];
    for number in 0..intermediates {
        nodes.push(made(authority(&std::format!("authority {number}")), nodes.last()));
    }
    nodes.push(made(server(), nodes.last()));
    nodes.into_iter().rev().map(|node| node.der).collect()
}

fn slices(path: &[Vec<u8>]) -> Vec<&[u8]> {
    path.iter().map(Vec::as_slice).collect()
}

#[test]
fn a_path_with_as_many_intermediates_as_are_taken_is_good_and_one_more_is_too_long() {
    for intermediates in [0, 1, INTERMEDIATES_MAX] {
        assert_eq!(judge(&slices(&path(intermediates)), NOW), Ok(()), "{intermediates}");
    }
    let longer = path(INTERMEDIATES_MAX + 1);
    assert_eq!(judge(&slices(&longer), NOW), Err(PathFault::ChainTooLong));
    let (sent, roots) = longer.split_at(longer.len() - 1);
    assert_eq!(explain(&slices(sent), &slices(roots), NOW, false), Some(PathFault::ChainTooLong));
}

#[test]
fn a_path_needs_a_root_and_each_link_its_name() {
    let good = path(1);
    assert_eq!(judge(&[], NOW), Err(PathFault::IssuerName));
    assert_eq!(judge(&slices(&good[..1]), NOW), Err(PathFault::IssuerName));
    assert_eq!(judge(&slices(&good[2..]), NOW), Err(PathFault::LeafIsAuthority));
    assert_eq!(judge(&[&good[0], &good[2]], NOW), Err(PathFault::IssuerName));
    let other = path(2);
    assert_eq!(judge(&[&good[0], &other[1], &other[2]], NOW), Err(PathFault::IssuerName));
}

#[test]
fn a_root_counts_from_its_first_second_to_its_last() {
    let root = made(authority("root"), None);
    let leaf = made(server(), Some(&root));
    let at = |second: u64| judge(&[&leaf.der, &root.der], EpochMillis(second * 1_000 + 999));
    let (first, last) = (1_577_836_800, 2_208_988_800);
    assert_eq!(at(first - 1), Err(PathFault::RootNotYetValid));
    assert_eq!((at(first), at(last)), (Ok(()), Ok(())));
    assert_eq!(at(last + 1), Err(PathFault::RootEnded));
}

#[test]
fn the_fault_nearest_the_root_is_named() {
    let mut no_use = authority("root");
    no_use.key_usages = std::vec![KeyUsagePurpose::CrlSign];
    let root = made(no_use, None);
    let leaf = made(authority("server"), Some(&root));
    assert_eq!(judge(&[&leaf.der, &root.der], NOW), Err(PathFault::IssuerUsage));
    let root = made(authority("root"), None);
    let leaf = made(authority("server"), Some(&root));
    assert_eq!(judge(&[&leaf.der, &root.der], NOW), Err(PathFault::LeafIsAuthority));
}

#[test]
fn where_the_way_ends_before_a_root_the_library_is_asked() {
    let good = path(2);
    let strangers = path(0);
    let (sent, roots) = (slices(&good[..3]), slices(&good[3..]));
    assert_eq!(explain(&sent, &roots, NOW, false), None);
    assert_eq!(explain(&sent, &[], NOW, false), None);
    assert_eq!(explain(&[], &roots, NOW, false), None);
    // Order does not matter, what is not on the way does not either, and what cannot be read does where something is missing.
    assert_eq!(explain(&[sent[0], &strangers[1], sent[2], sent[1]], &roots, NOW, false), None);
    assert_eq!(explain(&[sent[0], b"\x30\x00"], &roots, NOW, false), Some(PathFault::Malformed));
    assert_eq!(explain(&[sent[0], b"\x30\x00", sent[2], sent[1]], &roots, NOW, false), None);
    // Two that name each other as issuers.
    let (one, two) = (made(authority("one"), None), made(authority("two"), None));
    let circle = [made(authority("one"), Some(&two)), made(authority("two"), Some(&one))];
    let leaf = made(server(), Some(&one));
    assert_eq!(explain(&[&leaf.der, &circle[0].der, &circle[1].der], &roots, NOW, false), None);
}

#[test]
fn a_message_of_the_longest_length_fits_and_one_byte_more_does_not() {
    let most = CHAIN_MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD - 2 * ENTRY_OVERHEAD;
    assert_eq!(check_length([1_000, most - 1_000]), Ok(()));
    assert_eq!(check_length([1_000, most - 999]), Err(PathFault::ChainTooLong));
    assert_eq!(check_length([usize::MAX, usize::MAX]), Err(PathFault::ChainTooLong));
}

#[test]
fn the_sentences_say_the_limits_that_hold() {
    let limits = [INTERMEDIATES_MAX, CHAIN_MESSAGE_BYTES_MAX].map(|limit| std::format!("{limit} "));
    for sentence in
        [std::format!("{}", PathFault::ChainTooLong), std::format!("{}", Failure::TlsChainTooLong)]
    {
        assert!(limits.iter().all(|limit| sentence.contains(limit)), "{sentence}");
    }
}

#[test]
fn every_fault_has_a_name_and_a_failure_of_its_own() {
    for (number, fault) in PathFault::ALL.iter().enumerate() {
        assert_eq!(PathFault::from_wire(fault.as_str()), Some(*fault));
        let others = PathFault::ALL.iter().skip(number + 1);
        assert!(others.clone().all(|other| Failure::from(*other) != Failure::from(*fault)), "{fault:?}");
    }
}

#[test]
fn a_list_of_roots_is_one_to_three_that_could_vouch_now_or_later() {
    let good = made(authority("root"), None).der;
    let mut later = authority("later");
    (later.not_before, later.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2040, 1, 1));
    let later = made(later, None).der;
    assert_eq!(check_roots(&[&good], NOW), Ok(()));
    assert_eq!(check_roots(&[&good, &later, &good], NOW), Ok(()));
    assert_eq!(check_roots(&[], NOW), Err(RootsError::Count));
    assert_eq!(check_roots(&[&good, &good, &good, &good], NOW), Err(RootsError::Count));
    let unfit = |params: CertificateParams| check_roots(&[&good, &made(params, None).der], NOW);
    let refused = |fault| Err(RootsError::Unfit { number: 2, fault });
    assert_eq!(unfit(server()), refused(PathFault::IssuerNotCa));
    let mut ended = authority("ended");
    ended.not_after = date_time_ymd(2026, 11, 28);
    assert_eq!(unfit(ended), refused(PathFault::RootEnded));
    let mut no_sign = authority("no sign");
    no_sign.key_usages = std::vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(unfit(no_sign), refused(PathFault::IssuerUsage));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = authority("p384").self_signed(&p384).unwrap();
    let form = |error| Err(RootsError::Form { number: 1, error });
    assert_eq!(check_roots(&[p384.der()], NOW), form(X509Error::Algorithm));
    assert_eq!(
        check_roots(&[b"text"], NOW),
        Err(RootsError::Unfit { number: 1, fault: PathFault::Malformed })
    );
    let mut long = authority("long");
    long.custom_extensions
        .push(rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], std::vec![0; 900]));
    assert_eq!(check_roots(&[&made(long, None).der], NOW), form(X509Error::TooLong));
}

proptest! {
    #[test]
    fn no_bytes_are_a_path_and_none_panic(bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10)) {
        let path = slices(&bytes);
        prop_assert!(judge(&path, NOW).is_err());
        let _ = explain(&path, &path, NOW, false);
        prop_assert!(check_roots(&path, NOW).is_err());
    }

    #[test]
    fn a_mutilated_path_never_panics(which in 0_usize..3, at in 0_usize..420, count in 0_usize..8, with in prop::collection::vec(any::<u8>(), 0..8)) {
        static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| path(1));
        let mut altered = GOOD.clone();
        let end = (at + count).min(altered[which].len());
        altered[which].splice(at.min(end)..end, with);
        let _ = judge(&slices(&altered), NOW);
        let _ = explain(&slices(&altered[..2]), &slices(&altered[2..]), NOW, false);
    }
}
