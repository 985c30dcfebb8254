extern crate std;

use super::*;
use proptest::prelude::*;
use std::string::ToString;

#[test]
fn versions_are_compared_as_mcuboot_does() {
    let ordered =
        ["0.0.0", "0.0.1", "0.0.65535", "0.1.0", "0.255.3", "1.0.0", "1.0.2", "2.0.1", "255.255.65535"];
    let ordered = ordered.map(|text| text.parse::<Version>().unwrap());
    for (a, left) in ordered.iter().enumerate() {
        for (b, right) in ordered.iter().enumerate() {
            assert_eq!(left.cmp(right), a.cmp(&b), "{left} {right}");
        }
    }
    let (older, newer): (Version, Version) = ("1.2.3+9".parse().unwrap(), "1.2.3+10".parse().unwrap());
    assert_eq!(older, newer);
    assert_eq!(older.cmp(&newer), Ordering::Equal);
}

#[test]
fn texts_that_are_no_version_are_refused() {
    for text in [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "1.2.3+",
        "1.2.3+0",
        "1.2.3+01",
        "01.2.3",
        "1.02.3",
        "1.2.03",
        "+1.2.3",
        "-1.2.3",
        "1.2.3-4",
        "1.2.3+4+5",
        "256.0.0",
        "0.256.0",
        "0.0.65536",
        "0.0.0+4294967296",
        " 1.2.3",
        "1.2.3 ",
        "1..3",
        "v1.2.3",
        "1.2.3+x",
        "1.2.+4",
    ] {
        assert!(text.parse::<Version>().is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_version_reads_back_as_written(major: u8, minor: u8, revision: u16, build: u32) {
        let version = Version { major, minor, revision, build };
        let text = version.to_string();
        prop_assert!(text.len() <= Version::TEXT_BYTES_MAX);
        let read: Version = text.parse().unwrap();
        prop_assert_eq!((read, read.build), (version, build));
    }
}
