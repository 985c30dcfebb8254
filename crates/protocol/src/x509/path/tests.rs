extern crate std;
use super::*;
use crate::x509::tests::{EC_ON_P256, ECDSA_WITH_SHA384};
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
    with_key(params, KeyPair::generate().unwrap(), issuer)
}

fn with_key(params: CertificateParams, key: KeyPair, issuer: Option<&Node>) -> Node {
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
    // Order does not matter, and what is not on the way does not either.
    assert_eq!(explain(&[sent[0], &strangers[1], sent[2], sent[1]], &roots, NOW, false), None);
    // Two that name each other as issuers.
    let (one, two) = (made(authority("one"), None), made(authority("two"), None));
    let circle = [made(authority("one"), Some(&two)), made(authority("two"), Some(&one))];
    let leaf = made(server(), Some(&one));
    assert_eq!(explain(&[&leaf.der, &circle[0].der, &circle[1].der], &roots, NOW, false), None);
}

/// `der` with the first, or with every, `old` in it as `new`, of the same length: what is judged here is no signature.
fn replaced(der: &[u8], old: &[u8], new: &[u8], times: usize) -> Vec<u8> {
    let mut der = der.to_vec();
    assert_eq!(old.len(), new.len());
    for _ in 0..times {
        let at = der.windows(old.len()).position(|bytes| bytes == old).unwrap();
        der[at..at + old.len()].copy_from_slice(new);
    }
    der
}

#[test]
fn another_key_or_signature_is_refused_wherever_it_stands_on_the_path() {
    let good = path(1);
    let refused = Err(PathFault::Algorithm);
    let altered = |place: usize, old: &[u8], new: &[u8], times| {
        let mut path = good.clone();
        path[place] = replaced(&good[place], old, new, times);
        let verdict = judge(&slices(&path), NOW);
        if let (2, Err(fault)) = (place, verdict) {
            assert_eq!(check_roots(&[&path[2]], NOW), Err(RootsError::Unfit { number: 1, fault }));
        }
        let (sent, roots) = path.split_at(2);
        assert_eq!(explain(&slices(sent), &slices(roots), NOW, false), verdict.err());
        verdict
    };
    // Another curve; another kind of key; a point whose form is another, and one that is not on the curve.
    let (curve, kind) = (&EC_ON_P256[13..], &EC_ON_P256[4..11]);
    let key = |place: usize| {
        let at = good[place].windows(21).position(|bytes| bytes == EC_ON_P256).unwrap();
        good[place][at + 21..at + 21 + 68].to_vec()
    };
    for place in 0..3 {
        assert_eq!(altered(place, curve, &[&curve[..7], &[8]].concat(), 1), refused);
        assert_eq!(altered(place, kind, &[&kind[..6], &[2]].concat(), 1), refused);
        let point = key(place);
        assert_eq!(&point[..4], b"\x03\x42\x00\x04");
        for (at, byte) in [(3, 2), (67, point[67] ^ 1)] {
            let mut other = point.clone();
            other[at] = byte;
            assert_eq!(altered(place, &point, &other, 1), refused);
        }
        // Two places say how it is signed.
        assert_eq!(altered(place, &ECDSA_WITH_SHA256, &ECDSA_WITH_SHA384, 1), refused);
        assert_eq!(altered(place, &ECDSA_WITH_SHA256, &ECDSA_WITH_SHA384, 2), refused);
        assert_eq!(altered(place, &ECDSA_WITH_SHA256, &ECDSA_WITH_SHA256, 2), Ok(()));
    }
    for kind in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = || KeyPair::generate_for(kind).unwrap();
        let (root, between) = (made(authority("root"), None), |root| made(authority("between"), Some(root)));
        let leaf = with_key(server(), key(), Some(&root));
        assert_eq!(judge(&[&leaf.der, &root.der], NOW), refused);
        let other = with_key(authority("between"), key(), Some(&root));
        let leaf = made(server(), Some(&other));
        assert_eq!(judge(&[&leaf.der, &other.der, &root.der], NOW), refused);
        let other = with_key(authority("root"), key(), None);
        let between = between(&other);
        let leaf = made(server(), Some(&between));
        assert_eq!(judge(&[&leaf.der, &between.der, &other.der], NOW), refused);
        assert_eq!(explain(&[&leaf.der, &between.der], &[&other.der], NOW, false), refused.err());
    }
}

#[test]
fn what_stands_beside_the_path_has_to_be_readable_unless_another_algorithm_signed_it() {
    let good = path(1);
    let (sent, roots) = (slices(&good[..2]), slices(&good[2..]));
    let shown_too = |der: &[u8]| {
        let sent = [sent[0], der, sent[1]];
        assert_eq!(explain(&sent, &roots, NOW, false), check_sent(&sent).err());
        check_sent(&sent)
    };
    let p384 = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let stranger = with_key(authority("stranger"), p384(), None);
    assert_eq!(shown_too(&stranger.der), Ok(()), "signed with another algorithm");
    let cross = with_key(authority("root"), KeyPair::generate().unwrap(), Some(&stranger));
    assert_eq!(shown_too(&cross.der), Ok(()), "the same, with a key of ours");
    let root = made(authority("stranger"), None);
    assert_eq!(shown_too(&root.der), Ok(()));
    let other_key = with_key(authority("below"), p384(), Some(&root));
    assert_eq!(shown_too(&other_key.der), Err(PathFault::Algorithm));
    assert_eq!(shown_too(b"\x30\x00"), Err(PathFault::Malformed));
    let mut odd = authority("odd");
    let mut extension =
        rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], std::vec![5, 0]);
    extension.set_criticality(true);
    odd.custom_extensions.push(extension);
    assert_eq!(shown_too(&made(odd, None).der), Err(PathFault::CriticalExtension));
    // The service's own is on every path.
    assert_eq!(check_sent(&[&cross.der]), Err(PathFault::Algorithm));
    assert_eq!(check_sent(&[]), Ok(()));
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
    let p384 = with_key(authority("p384"), p384, None).der;
    assert_eq!(check_roots(&[&good, &p384], NOW), refused(PathFault::Algorithm));
    let form = |error| Err(RootsError::Form { number: 1, error });
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
