//! What the firmware's authorities make: images, their blocks, manifests and rollouts.

use super::service::{key_of, signed};
use super::vault::{public, sign};
use super::{BUILD, product};
use protocol::blocks::{BLOCK_MESSAGE_BYTES_MAX, PayloadUri, Tree};
use protocol::document::{Audience, Power, Rollout};
use protocol::firmware::FirmwareTopic;
use protocol::image::{Content, Version};
use protocol::suit::{ENVELOPE_BYTES_MAX, ImageRef, Manifest, Source, seal};
use protocol::{PublicKey, Uuid};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The bootloader's key.
pub const IMAGE_KEY: [u8; 32] = [0x31; 32];

pub fn image_key() -> PublicKey {
    public(&IMAGE_KEY)
}

pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What an image is like.
#[derive(Clone, Debug)]
pub struct Making {
    pub version: Version,
    pub body: Vec<u8>,
    pub vendor: Option<Uuid>,
    pub class: Option<Uuid>,
    pub key: [u8; 32],
}

impl Making {
    pub fn new(version: Version, bytes: usize) -> Self {
        // Code of two releases is much the same.
        let mut rng = fastrand::Rng::with_seed(1);
        let mut body: Vec<u8> = (0..bytes).map(|_| rng.u8(..)).collect();
        let mark = format!("{version}");
        let place = bytes / 3;
        body[place..place + mark.len()].copy_from_slice(mark.as_bytes());
        Self { version, body, vendor: Some(product().vendor), class: Some(product().class), key: IMAGE_KEY }
    }

    pub fn seal(&self) -> Vec<u8> {
        let content = Content {
            vendor: self.vendor,
            class: self.class,
            header_size: 64,
            ..Content::new(&self.body, self.version)
        };
        let mut out = vec![0; content.bytes_max()];
        let len = content.seal(&public(&self.key), &mut out, |digest| Ok::<_, ()>(sign(&self.key, digest)));
        out.truncate(len.expect("an image"));
        out
    }
}

/// An image of `bytes` bytes of code.
pub fn image(version: Version, bytes: usize) -> Vec<u8> {
    Making::new(version, bytes).seal()
}

/// The messages of a payload's blocks by their topics.
pub fn blocks(payload: &[u8]) -> (PayloadUri, BTreeMap<String, Vec<u8>>) {
    let mut nodes = vec![[0; 32]; Tree::nodes(payload.len() as u32)];
    let tree = Tree::new(payload, &mut nodes).expect("a payload");
    let uri = tree.uri();
    let message = |index| {
        let mut message = vec![0; BLOCK_MESSAGE_BYTES_MAX];
        let len = tree.message(index, &mut message).expect("a block");
        message.truncate(len);
        (FirmwareTopic::Block(uri, index).encode().as_str().to_owned(), message)
    };
    (uri, (0..uri.count()).map(message).collect())
}

/// A manifest before it is signed.
#[derive(Clone, Debug)]
pub struct Draft {
    pub sequence: u64,
    pub vendor: Uuid,
    pub class: Uuid,
    pub digest: [u8; 32],
    pub size: u32,
    pub version: Option<Version>,
    pub use_before_s: Option<u64>,
    /// URI and base.
    pub sources: Vec<(String, Option<[u8; 32]>)>,
    pub key: [u8; 32],
}

/// A release: what the service puts at its topics.
#[derive(Clone, Debug)]
pub struct Release {
    pub draft: Draft,
    pub image: Vec<u8>,
    pub blocks: BTreeMap<String, Vec<u8>>,
}

impl Release {
    /// The whole image as one payload.
    pub fn new(sequence: u64, version: Version, image: Vec<u8>) -> Self {
        let (uri, blocks) = blocks(&image);
        let draft = Draft {
            sequence,
            vendor: product().vendor,
            class: product().class,
            digest: digest(&image),
            size: image.len() as u32,
            version: Some(version),
            use_before_s: None,
            sources: vec![(uri.to_string(), None)],
            key: key_of(Power::Firmware),
        };
        Self { draft, image, blocks }
    }

    /// A delta before the other sources.
    #[must_use]
    pub fn with_delta(mut self, patch: &[u8], base: &[u8]) -> Self {
        let (uri, blocks) = blocks(patch);
        self.draft.sources.insert(0, (uri.to_string(), Some(digest(base))));
        self.blocks.extend(blocks);
        self
    }

    /// The signed manifest.
    pub fn manifest(&self) -> Vec<u8> {
        let Draft { sequence, vendor, class, digest, size, version, use_before_s, .. } = self.draft;
        let sources = self.draft.sources.iter().map(|(uri, base)| Source { uri, base: *base });
        let manifest = Manifest {
            sequence,
            vendor,
            class,
            image: ImageRef { digest, size },
            version,
            use_before_s,
            sources: sources.collect(),
            reference_uri: None,
            description: None,
            sbom: None,
            mud: None,
        };
        let key = self.draft.key;
        let mut out = vec![0; ENVELOPE_BYTES_MAX];
        let len = seal(&manifest, public(&key).id(), &mut out, |digest| Ok::<_, ()>(sign(&key, digest)));
        out.truncate(len.expect("a manifest"));
        out
    }

    /// What a rollout calls the manifest.
    pub fn name(&self) -> [u8; 32] {
        let manifest = self.manifest();
        let envelope = protocol::suit::Envelope::decode(&manifest).expect("an envelope");
        envelope.verify(&public(&self.draft.key)).expect("signed").digest()
    }

    /// A rollout of it.
    pub fn rollout(&self, number: u32, share: u16) -> Vec<u8> {
        self.rollout_for(Audience::All, number, share)
    }

    pub fn rollout_for(&self, audience: Audience, number: u32, share: u16) -> Vec<u8> {
        signed(&Rollout { audience, number, manifest: self.name(), share }, Power::Configuration)
    }
}

pub const MANIFEST: fn() -> String = || FirmwareTopic::Manifest(product().class).encode().as_str().to_owned();
pub const ROLLOUT: fn() -> String = || FirmwareTopic::Rollout(product().class).encode().as_str().to_owned();

/// A time that every device's clock has passed.
pub const LONG_AGO_S: u64 = BUILD.seconds() - 1;
