//! The example manifests that the IETF's working group published: what falls in our subset is taken and says what the drafts
//! say, everything else is refused by the name that `docs/manifest.md` gives. `vectors/suit/README.md` says where they are from.

mod samples;
mod suit_cases;

use protocol::suit::{ImageRef, Source};
use protocol::{PublicKey, UpdateFault, Uuid};
use suit_cases::{vector, vectors, verify};

/// draft-ietf-suit-manifest-37, appendix B.
const PUBLISHED_KEY: [u8; 65] = [
    0x04, 0x84, 0x96, 0x81, 0x1a, 0xae, 0x0b, 0xaa, 0xab, 0xd2, 0x61, 0x57, 0x18, 0x9e, 0xec, 0xda, 0x26,
    0xbe, 0xaa, 0x8b, 0xf1, 0x1b, 0x6f, 0x3f, 0xe6, 0xe2, 0xb5, 0x65, 0x9c, 0x85, 0xdb, 0xc0, 0xad, 0x3b,
    0x1f, 0x2a, 0x4b, 0x6c, 0x09, 0x81, 0x31, 0xc0, 0xa3, 0x6d, 0xac, 0xd1, 0xd7, 0x8b, 0xd3, 0x81, 0xdc,
    0xdf, 0xb0, 0x9c, 0x05, 0x2d, 0xb3, 0x39, 0x91, 0xdb, 0x73, 0x38, 0xb4, 0xa8, 0x96,
];

fn key() -> PublicKey {
    PublicKey::new(&PUBLISHED_KEY).expect("a point")
}

/// Every published manifest that is refused.
const REFUSED: &[(&str, UpdateFault)] = &[
    ("manifest-37/example0-unsigned", UpdateFault::Unsigned),
    ("manifest-37/example1-unsigned", UpdateFault::Unsigned),
    ("manifest-37/example2-severed-unsigned", UpdateFault::Unsigned),
    ("manifest-37/example3-unsigned", UpdateFault::Unsigned),
    ("manifest-37/example4-unsigned", UpdateFault::Unsigned),
    ("manifest-37/example5-unsigned", UpdateFault::Unsigned),
    // The part that installs the image was taken away.
    ("manifest-37/example2-severed", UpdateFault::Incomplete),
    ("libcsuit/manifest-34-example2-severed", UpdateFault::Incomplete),
    // Slots.
    ("manifest-37/example3", UpdateFault::Unsupported),
    ("libcsuit/manifest-34-example3", UpdateFault::Unsupported),
    // Three components, a copy, loading.
    ("manifest-37/example4", UpdateFault::Unsupported),
    ("libcsuit/manifest-34-example4", UpdateFault::Unsupported),
    // Two images.
    ("manifest-37/example5", UpdateFault::Unsupported),
    ("libcsuit/manifest-34-example5", UpdateFault::Unsupported),
    // No parameters of an image in common.
    ("libcsuit/update-management-10-example0", UpdateFault::Incomplete),
    ("libcsuit/update-management-10-example1", UpdateFault::Incomplete),
    // A version to compare with, and waiting.
    ("libcsuit/update-management-10-example2", UpdateFault::Unsupported),
    // A component's metadata.
    ("libcsuit/update-management-10-example3", UpdateFault::Unsupported),
    // The name of the manifest as a component, and dependencies.
    ("libcsuit/trust-domains-12-example0", UpdateFault::Incomplete),
    ("libcsuit/trust-domains-12-example2", UpdateFault::Unsupported),
    ("libcsuit/trust-domains-12-example3", UpdateFault::Unsupported),
    // Envelopes without their tag.
    ("libcsuit/teep-21-example1", UpdateFault::Malformed),
    ("libcsuit/teep-21-example2", UpdateFault::Malformed),
    ("libcsuit/teep-21-example3", UpdateFault::Malformed),
    // A MAC.
    ("libcsuit/firmware-encryption-26-example-af", UpdateFault::Algorithm),
    ("libcsuit/firmware-encryption-26-example-afs", UpdateFault::Algorithm),
    ("libcsuit/firmware-encryption-26-example-aw", UpdateFault::Algorithm),
    // A payload in the envelope.
    ("libcsuit/firmware-encryption-26-example-ed", UpdateFault::Unsupported),
    // Encrypted content.
    ("libcsuit/firmware-encryption-26-example-ew", UpdateFault::Incomplete),
];

/// Every published manifest that is taken; ES256 in those of the working group, ESP256 in libcsuit's.
const TAKEN: &[&str] = &[
    "manifest-37/example0",
    "manifest-37/example1",
    "manifest-37/example2",
    "libcsuit/manifest-34-example0",
    "libcsuit/manifest-34-example1",
    "libcsuit/manifest-34-example2",
];

#[test]
fn every_published_example_is_here() {
    let mut there: Vec<String> = ["manifest-37", "libcsuit"]
        .into_iter()
        .flat_map(|folder| {
            std::fs::read_dir(vectors(folder)).expect("a folder").map(move |file| {
                let name = file.expect("a file").path();
                format!("{folder}/{}", name.file_stem().expect("a name").to_str().expect("text"))
            })
        })
        .collect();
    let mut known: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).chain(TAKEN.iter().copied()).collect();
    there.sort_unstable();
    known.sort_unstable();
    assert_eq!(there, known);
}

#[test]
fn what_is_outside_the_subset_is_refused_by_name() {
    for (name, fault) in REFUSED {
        assert_eq!(verify(&vector(name), &key()).map(drop), Err(*fault), "{name}");
    }
}

#[test]
fn what_is_in_the_subset_says_what_the_draft_says() {
    let image = ImageRef {
        digest: *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10",
        size: 34_768,
    };
    for name in TAKEN {
        let bytes = vector(name);
        let manifest = verify(&bytes, &key()).expect(name);
        assert_eq!(Some(manifest.vendor), Uuid::decode("fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe"), "{name}");
        assert_eq!(Some(manifest.class), Uuid::decode("1492af14-2569-5e48-bf42-9b2d51f2ab45"), "{name}");
        assert_eq!(manifest.image, image, "{name}");
        assert_eq!((manifest.version, manifest.use_before_s), (None, None), "{name}");
        assert_eq!((manifest.sbom, manifest.mud), (None, None), "{name}");
        let (sequence, uri, reference, described) = match name.as_bytes().last() {
            Some(b'0') => (0, None, None, false),
            Some(b'1') => (1, Some("http://example.com/file.bin"), None, false),
            _ => (
                2,
                Some("http://example.com/very/long/path/to/file/file.bin"),
                Some("https://git.io/JJYoj"),
                true,
            ),
        };
        assert_eq!(manifest.sequence, sequence, "{name}");
        assert_eq!(manifest.reference_uri, reference, "{name}");
        let sources: Vec<_> = uri.into_iter().map(|uri| Source { uri, base: None }).collect();
        assert_eq!(manifest.sources.as_slice(), sources, "{name}");
        let beginning = "## Example 2: Simultaneous Download, Installation, Secure Boot, Severed Fields\n";
        assert_eq!(manifest.description.is_some_and(|text| text.starts_with(beginning)), described, "{name}");
        // The key of the examples has no name in them.
        assert_eq!(protocol::suit::Envelope::decode(&bytes).expect(name).signer(), None, "{name}");
    }
}

#[test]
fn the_digest_that_names_a_manifest_is_the_published_one() {
    let bytes = vector("manifest-37/example1");
    let manifest = verify(&bytes, &key()).expect("taken");
    let digest = manifest.digest().map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(digest, "1f2e7acca0dc2786f2fe4eb947f50873a6a3cfaa98866c5b02e621f42074daf2");
    // The same manifest, signed by another library with another algorithm's number.
    let another = vector("libcsuit/manifest-34-example1");
    assert_eq!(verify(&another, &key()).expect("taken").digest(), manifest.digest());
}

#[test]
fn an_example_is_refused_with_another_key_and_where_anything_is_altered() {
    let another = samples::public(&samples::key(9));
    for name in TAKEN {
        let bytes = vector(name);
        assert_eq!(verify(&bytes, &another).map(drop), Err(UpdateFault::Signature), "{name}");
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            assert!(verify(&altered, &key()).is_err(), "{name}: byte {at}");
            assert_eq!(
                verify(&bytes[..at], &key()).map(drop),
                Err(UpdateFault::Malformed),
                "{name}: {at} bytes"
            );
        }
    }
}
