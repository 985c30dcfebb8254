//! The fuzzer's seeds of certificate paths: each is taken or refused as its name says.

use protocol::EpochMillis;
use protocol::x509::path::{PathFault, check_sent, judge};
use std::path::Path;

/// 2026-11-28.
const NOW: EpochMillis = EpochMillis::from_seconds(1_795_824_000);

/// The certificates that stand one behind the other in `bytes`: each has a header of four bytes.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let [0x30, 0x82, high, low, ..] = *bytes {
        let (one, rest) = bytes.split_at(4 + usize::from(u16::from_be_bytes([high, low])));
        all.push(one);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    all
}

#[test]
fn each_seed_is_judged_as_its_name_says_and_its_fuzz_target_finds_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/path");
    let read = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        protocol::fuzz::path(&bytes);
        bytes
    };
    let intermediate = read("good-intermediate");
    assert_eq!(judge(&split(&intermediate), NOW), Ok(()));
    let other_use = read("issuer-without-key-cert-sign");
    assert_eq!(judge(&split(&other_use), NOW), Err(PathFault::IssuerUsage));
    let other_key = read("issuer-key-p384");
    assert_eq!(judge(&split(&other_key), NOW), Err(PathFault::Algorithm));
    // The server's own, a cross-signature that no path needs, the root.
    let cross = read("good-cross-signed-by-an-rsa-root");
    let [leaf, cross, root] = split(&cross)[..] else { panic!("three certificates") };
    assert_eq!((check_sent(&[leaf, cross]), judge(&[leaf, root], NOW)), (Ok(()), Ok(())));
    assert_eq!(judge(&[leaf, cross], NOW), Err(PathFault::Algorithm));
}
