//! Manifests for the tests, put together from CBOR by hand: what `seal` would never write.
#![allow(dead_code, reason = "each test uses its part")]

pub mod cbor;

use crate::samples::{key, public, sign};
use cbor::{array, bytes, int, map, null, tag, text, wrap};
use p256::ecdsa::SigningKey;
use protocol::image::Version;
use protocol::key::{Digest, sha256};
use protocol::suit::{
    Coswid, ENVELOPE_BYTES_MAX, Envelope, ImageRef, Manifest, Mud, Source, VerifiedManifest, seal,
};
use protocol::{KeyId, PublicKey, UpdateFault, Uuid};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

pub type Item = Vec<u8>;

/// The key that the manifests of the tests are signed with.
pub fn signer() -> SigningKey {
    key(77)
}

pub fn verify<'b>(envelope: &'b [u8], key: &PublicKey) -> Result<VerifiedManifest<'b>, UpdateFault> {
    Envelope::decode(envelope)?.verify(key)
}

/// What a device makes of an envelope of ours.
pub fn judged(envelope: &[u8]) -> Result<VerifiedManifest<'_>, UpdateFault> {
    verify(envelope, &public(&signer()))
}

pub fn sealed(manifest: &Manifest<'_>) -> Vec<u8> {
    let mut out = vec![0; ENVELOPE_BYTES_MAX];
    let key = signer();
    let len = seal(manifest, public(&key).id(), &mut out, |digest| Ok::<_, Infallible>(sign(&key, digest)));
    out.truncate(len.expect("it fits"));
    out
}

pub fn vectors(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/suit").join(folder)
}

pub fn vector(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(vectors(name).with_extension("hex")).expect(name);
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub const URI: &str = "firmware/0000000000000000000000000000000000000000000000000000000000000000/1000000";

/// The shortest manifest that can be written.
pub fn smallest() -> Manifest<'static> {
    Manifest {
        sequence: 0,
        vendor: Uuid([1; 16]),
        class: Uuid([2; 16]),
        image: ImageRef { digest: [3; 32], size: 0 },
        version: None,
        use_before_s: None,
        sources: heapless::Vec::new(),
        reference_uri: None,
        description: None,
        sbom: None,
        mud: None,
    }
}

/// One with everything that there can be.
pub fn fullest() -> Manifest<'static> {
    let from = |base: u8| Source { uri: URI, base: Some([base; 32]) };
    Manifest {
        sequence: u64::MAX,
        image: ImageRef { digest: [3; 32], size: u32::MAX },
        version: Some(Version::new(255, 254, 65_533)),
        use_before_s: Some(u64::MAX),
        sources: [from(4), from(5), from(6), Source { uri: URI, base: None }].into_iter().collect(),
        reference_uri: Some("https://sensor.example/firmware/1.2.3.suit"),
        description: Some("Measures more often, and forgets nothing – not even once."),
        sbom: Some(coswid().leak()),
        mud: Some(Mud { url: "https://sensor.example/sensor.json", signer: KeyId([8; 32]) }),
        ..smallest()
    }
}

/// One of a release as it will often be: a delta, and the whole image.
pub fn release() -> Manifest<'static> {
    Manifest {
        sequence: 12,
        image: ImageRef { digest: [3; 32], size: 123_456 },
        version: Some(Version::new(1, 2, 3)),
        sources: [Source { uri: URI, base: Some([4; 32]) }, Source { uri: URI, base: None }]
            .into_iter()
            .collect(),
        ..smallest()
    }
}

pub fn coswid() -> Vec<u8> {
    let mut out = vec![0; 512];
    let coswid = Coswid {
        id: Uuid([7; 16]),
        software: "secure-sensor",
        version: "1.2.3",
        maker: "Sensor Makers",
        sbom: "https://sensor.example/sbom/1.2.3.spdx.json",
    };
    let len = coswid.encode(&mut out).expect("it fits");
    out.truncate(len);
    out
}

pub fn digest_item(digest: &Digest) -> Item {
    array(&[int(-16), bytes(digest)])
}

/// The parts of an envelope, each an item, to be changed and put together again.
pub struct Parts {
    pub tag: u64,
    pub protected: Item,
    pub unprotected: Item,
    pub payload: Item,
    pub manifest: Item,
    pub severed: Vec<(Item, Item)>,
}

impl Parts {
    /// Around this manifest, as ours are.
    pub fn around(manifest: &Item) -> Self {
        Self {
            tag: 18,
            protected: map(&[(int(1), int(-7)), (int(4), bytes(&public(&signer()).id().0))]),
            unprotected: map(&[]),
            payload: null(),
            manifest: bytes(manifest),
            severed: Vec::new(),
        }
    }

    pub fn block(&self, digest: &Item) -> Item {
        let signed = array(&[text("Signature1"), bytes(&self.protected), bytes(&[]), bytes(digest)]);
        let signature = sign(&signer(), &sha256(&[&signed]));
        let parts = [
            bytes(&self.protected),
            self.unprotected.clone(),
            self.payload.clone(),
            bytes(signature.as_bytes()),
        ];
        tag(self.tag, array(&parts))
    }

    pub fn wrapper(&self) -> Item {
        let digest = digest_item(&sha256(&[&self.manifest]));
        array(&[bytes(&digest), bytes(&self.block(&digest))])
    }

    pub fn write(&self) -> Vec<u8> {
        self.write_with(&self.wrapper())
    }

    /// With this authentication wrapper.
    pub fn write_with(&self, wrapper: &Item) -> Vec<u8> {
        let mut entries = vec![(int(2), bytes(wrapper)), (int(3), self.manifest.clone())];
        entries.extend(self.severed.iter().cloned());
        entries.sort();
        tag(107, map(&entries))
    }
}

/// A manifest in its parts.
#[derive(Clone)]
pub struct Body {
    pub components: Item,
    pub shared: Vec<Item>,
    /// By number: what replaces an element or stands beside it.
    pub elements: Vec<(i64, Item)>,
}

impl Body {
    /// One image, one source.
    pub fn new() -> Self {
        let is = map(&[
            (int(1), bytes(&[1; 16])),
            (int(2), bytes(&[2; 16])),
            (int(3), wrap(&digest_item(&[3; 32]))),
            (int(14), int(1_000)),
        ]);
        Self {
            components: array(&[array(&[bytes(&[0])])]),
            shared: vec![int(20), is, int(1), int(15), int(2), int(15)],
            elements: vec![
                (1, int(1)),
                (2, int(9)),
                (
                    20,
                    wrap(&array(&[int(20), map(&[(int(21), text("u"))]), int(21), int(2), int(3), int(15)])),
                ),
            ],
        }
    }

    pub fn two_components(mut self) -> Self {
        self.components = array(&[array(&[bytes(&[0])]), array(&[bytes(&[1])])]);
        self
    }

    pub fn shared(mut self, shared: Vec<Item>) -> Self {
        self.shared = shared;
        self
    }

    /// With this element, in place of another one of its number.
    pub fn with(mut self, number: i64, element: Item) -> Self {
        self = self.without(number);
        self.elements.push((number, element));
        self
    }

    pub fn without(mut self, number: i64) -> Self {
        self.elements.retain(|(there, _)| *there != number);
        self
    }

    pub fn install(self, commands: &[Item]) -> Self {
        self.with(20, wrap(&array(commands)))
    }

    pub fn write(&self) -> Item {
        let common = map(&[(int(2), self.components.clone()), (int(4), wrap(&array(&self.shared)))]);
        let mut elements = self.elements.clone();
        if elements.iter().all(|(number, _)| *number != 3) {
            elements.push((3, wrap(&common)));
        }
        // In the order of their encoding: negative numbers come last.
        elements.sort_by_key(|(number, _)| int(*number));
        map(&elements.into_iter().map(|(number, element)| (int(number), element)).collect::<Vec<_>>())
    }

    pub fn sealed(&self) -> Vec<u8> {
        Parts::around(&self.write()).write()
    }
}
