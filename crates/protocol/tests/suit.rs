//! Manifests of our own: what is sealed is read, in one form, by who has the right key, and with nothing altered. And every
//! near miss that `docs/manifest.md` tells of is refused by its name.

mod samples;
mod suit_cases;

use proptest::prelude::*;
use protocol::image::Version;
use protocol::signed::SealError;
use protocol::suit::{ENVELOPE_BYTES_MAX, Envelope, ImageRef, Manifest, Mud, SOURCES_MAX, Source, seal};
use protocol::{KeyId, UpdateFault, Uuid};
use samples::{key, public, sign};
use std::convert::Infallible;
use suit_cases::{coswid, fullest, judged, release, sealed, signer, smallest, vector, vectors, verify};

#[test]
fn what_is_sealed_is_read_by_who_has_the_key() {
    for manifest in [smallest(), release(), fullest()] {
        let bytes = sealed(&manifest);
        assert_eq!(
            Envelope::decode(&bytes).map(|envelope| envelope.signer()),
            Ok(Some(public(&signer()).id()))
        );
        assert_eq!(*judged(&bytes).expect("ours"), manifest);
        assert_eq!(sealed(&judged(&bytes).expect("ours")), bytes, "there is one form");
    }
}

#[test]
fn our_form_is_the_one_that_is_written_down() {
    for (name, manifest) in [("smallest", smallest()), ("release", release()), ("fullest", fullest())] {
        let name = format!("ours/{name}");
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            let hex: Vec<String> = sealed(&manifest).iter().map(|byte| format!("{byte:02x}")).collect();
            let lines: Vec<String> = hex.chunks(50).map(<[String]>::concat).collect();
            std::fs::create_dir_all(vectors("ours")).expect("a folder");
            std::fs::write(vectors(&name).with_extension("hex"), lines.join("\n") + "\n").expect("a file");
        }
        assert_eq!(sealed(&manifest), vector(&name), "UPDATE_SEEDS=1 writes it anew");
    }
}

#[test]
fn the_fullest_manifest_leaves_room_for_words() {
    let free = ENVELOPE_BYTES_MAX - sealed(&fullest()).len();
    assert!(free > 1_400, "{free} bytes are free");
}

#[test]
fn another_key_and_no_key_open_nothing() {
    for manifest in [smallest(), release(), fullest()] {
        let bytes = sealed(&manifest);
        assert_eq!(verify(&bytes, &public(&key(78))).map(drop), Err(UpdateFault::UnknownKey));
        // Somebody else's signature under the right name.
        let mut out = vec![0; ENVELOPE_BYTES_MAX];
        let forged = |digest: &_| Ok::<_, Infallible>(sign(&key(78), digest));
        let len = seal(&manifest, public(&signer()).id(), &mut out, forged).expect("it fits");
        assert_eq!(judged(&out[..len]).map(drop), Err(UpdateFault::Signature));
    }
}

#[test]
fn the_lengths_that_the_documentation_gives_are_right() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    let text = std::fs::read_to_string(path).expect("the documentation");
    for (what, len) in [
        ("At most", ENVELOPE_BYTES_MAX),
        ("one delta has", sealed(&release()).len()),
        ("everything else has", sealed(&fullest()).len()),
    ] {
        assert!(text.contains(&format!("{what} {len} B")), "{what} {len} B");
    }
}

/// Where the parts of a sealed manifest are: what is refused by which name when a byte there is altered.
fn places(bytes: &[u8]) -> Vec<(std::ops::Range<usize>, &'static [UpdateFault])> {
    use UpdateFault::{Algorithm, Malformed, ManifestDigest, Signature, UnknownKey, Unsigned, Unsupported};
    let find = |needle: &[u8]| bytes.windows(needle.len()).position(|there| there == needle).expect("there");
    let digest = find(&[0x58, 0x24, 0x82, 0x2f, 0x58, 0x20]);
    let kid = find(&public(&signer()).id().0);
    // nil, then 64 bytes.
    let signature = find(&[0xa0, 0xf6, 0x58, 0x40]) + 4;
    let manifest = signature + 64;
    let form: &[_] = &[Malformed, Unsupported, Algorithm, Unsigned, ManifestDigest, UnknownKey, Signature];
    vec![
        (0..digest + 6, form),
        (digest + 6..digest + 38, &[ManifestDigest]),
        (digest + 38..kid, form),
        (kid..kid + 32, &[UnknownKey]),
        (kid + 32..signature, form),
        (signature..manifest, &[Signature]),
        // The key of the manifest, and the head of its byte string.
        (manifest..manifest + 4, form),
        (manifest + 4..bytes.len(), &[ManifestDigest]),
    ]
}

#[test]
fn nothing_can_be_altered() {
    // Every bit of the smallest, and one in each byte of the others.
    for (manifest, bits) in [(smallest(), 8), (release(), 1), (fullest(), 1)] {
        let bytes = sealed(&manifest);
        for (place, names) in places(&bytes) {
            for (at, bit) in place.flat_map(|at| (0..bits).map(move |bit| (at, (at + bit) % 8))) {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                let fault = judged(&altered).map(drop).expect_err("altered");
                assert!(names.contains(&fault), "bit {bit} of byte {at}: {fault:?}");
            }
        }
    }
}

#[test]
fn no_byte_can_be_missing_or_too_many() {
    for manifest in [smallest(), release(), fullest()] {
        let bytes = sealed(&manifest);
        for len in 0..bytes.len() {
            assert_eq!(judged(&bytes[..len]).map(drop), Err(UpdateFault::Malformed), "{len} bytes");
        }
        for more in 0..=255 {
            let longer = [&bytes[..], &[more]].concat();
            assert_eq!(judged(&longer).map(drop), Err(UpdateFault::Malformed), "and {more}");
        }
    }
    assert_eq!(judged(&[0; ENVELOPE_BYTES_MAX + 1]).map(drop), Err(UpdateFault::TooLong));
}

#[test]
fn what_does_not_fit_is_not_sealed() {
    let key = signer();
    let signed = std::cell::Cell::new(0);
    let try_seal = |manifest: &Manifest<'_>, out: &mut [u8]| {
        seal(manifest, public(&key).id(), out, |digest| {
            signed.set(signed.get() + 1);
            Ok::<_, Infallible>(sign(&key, digest))
        })
    };
    let len = sealed(&fullest()).len();
    let mut out = vec![0; 2 * ENVELOPE_BYTES_MAX];
    assert_eq!(try_seal(&fullest(), &mut out[..len]), Ok(len));
    assert_eq!(try_seal(&fullest(), &mut out[..len - 1]), Err(SealError::TooLong));
    let words = "x".repeat(ENVELOPE_BYTES_MAX);
    let too_long = Manifest { description: Some(&words), ..smallest() };
    assert_eq!(try_seal(&too_long, &mut out), Err(SealError::TooLong));
    assert_eq!(signed.get(), 1, "nobody is asked to sign what does not fit");
    let refused = seal(&release(), public(&key).id(), &mut out, |_| Err("no"));
    assert_eq!(refused, Err(SealError::Signer("no")));
}

#[test]
fn the_build_number_of_a_version_is_not_carried() {
    let version = |build| Some(Version { build, ..Version::new(1, 2, 3) });
    let built = Manifest { version: version(9), ..release() };
    let bytes = sealed(&built);
    assert_eq!(bytes, sealed(&release()));
    assert_eq!(judged(&bytes).expect("ours").version.map(|version| version.build), Some(0));
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/:.]{0,40}", ".{0,60}", "[a-z]{250,300}"]
}

prop_compose! {
    fn names()(uri in proptest::collection::vec(words(), SOURCES_MAX), more in proptest::collection::vec(words(), 3)) -> (Vec<String>, Vec<String>) {
        (uri, more)
    }
}

/// A number whose encoding has one of each length.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..30u64, 200..300u64, 65_500..65_600u64, any::<u32>().prop_map(u64::from), any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_manifest_comes_back_as_it_was(
        (uris, more) in names(),
        sequence in number(),
        (vendor, class, digest) in any::<([u8; 16], [u8; 16], [u8; 32])>(),
        size in number(),
        version in proptest::option::of(any::<(u8, u8, u16)>()),
        use_before_s in proptest::option::of(number()),
        bases in proptest::collection::vec(proptest::option::of(any::<[u8; 32]>()), 0..=SOURCES_MAX),
        options in any::<[bool; 4]>(),
    ) {
        let coswid = coswid();
        let manifest = Manifest {
            sequence,
            vendor: Uuid(vendor),
            class: Uuid(class),
            image: ImageRef { digest, size: size as u32 },
            version: version.map(|(major, minor, revision)| Version::new(major, minor, revision)),
            use_before_s,
            sources: uris.iter().zip(bases).map(|(uri, base)| Source { uri, base }).collect(),
            reference_uri: options[0].then_some(&more[0]),
            description: options[1].then_some(&more[1]),
            sbom: options[2].then_some(&coswid),
            mud: options[3].then_some(Mud { url: &more[2], signer: KeyId(digest) }),
        };
        let bytes = sealed(&manifest);
        let read = judged(&bytes);
        prop_assert_eq!(read.as_deref(), Ok(&manifest));
        protocol::fuzz::manifest(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        protocol::fuzz::manifest(&bytes);
    }

    #[test]
    fn no_damaged_manifest_panics(at in 0..700usize, damage in proptest::collection::vec(any::<u8>(), 1..8), which in 0..4usize) {
        let mut bytes = match which {
            0 => sealed(&fullest()),
            1 => sealed(&release()),
            2 => vector("manifest-37/example2"),
            _ => vector("libcsuit/update-management-10-example3"),
        };
        let at = at % bytes.len();
        let end = bytes.len().min(at + damage.len());
        bytes[at..end].copy_from_slice(&damage[..end - at]);
        protocol::fuzz::manifest(&bytes);
    }
}
