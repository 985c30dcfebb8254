//! The manifest of a firmware update: the subset of the IETF's SUIT envelope that `docs/manifest.md` writes down. Owns its
//! form, its proof and what it says; never whether it is newer, for this device or still wanted. R-FW-MANIFEST.
//!
//! Nothing of a manifest is read before its signature is proven.

mod coswid;
mod items;
mod labels;
mod read;
mod write;

use crate::firmware::{UpdateFault, Uuid};
use crate::image::Version;
use crate::key::{Digest, KeyId, PublicKey, SIGNATURE_BYTES, Signature, sha256};
use crate::signed;
use core::fmt;
pub use coswid::Coswid;
use heapless::Vec;
use items::{Items, Wrapped};
use labels::{envelope, header, manifest};
use minicbor::data::Type;
pub use write::seal;

/// Longest envelope in bytes. Four sources take 700 B, the signature and everything else with a fixed length 450 B; the rest
/// is for texts and addresses. The longest of the IETF's examples has 923 B.
pub const ENVELOPE_BYTES_MAX: usize = 3_072;

/// Most places from which an image can come: the whole image, and deltas against the last three releases.
pub const SOURCES_MAX: usize = 4;

/// An envelope whose form is right and of which nothing is proven yet: it gives away its content to nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'b> {
    /// The `SUIT_Digest`, which is what is signed.
    signed: Wrapped<'b>,
    digest: Digest,
    protected: Wrapped<'b>,
    signer: Option<KeyId>,
    signature: Signature,
    manifest: Wrapped<'b>,
    severed: Severed<'b>,
}

/// Elements that were moved from the manifest into the envelope.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Severed<'b> {
    install: Option<Wrapped<'b>>,
    text: Option<Wrapped<'b>>,
    coswid: Option<Wrapped<'b>>,
}

impl<'b> Envelope<'b> {
    /// Reads the envelope, not the manifest in it. Refuses one that is too long, is not signed once with ES256, or has
    /// elements that a device does not know.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, UpdateFault> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(UpdateFault::TooLong);
        }
        let mut authentication = None;
        let mut manifest = None;
        let mut severed = Severed::default();
        Items::all(bytes, |items| {
            if items.tag()? != labels::ENVELOPE {
                return Err(UpdateFault::Malformed);
            }
            items.map(&mut |items| {
                // Only a payload has a text for its key.
                let place = match items.kind()? {
                    Type::String => return Err(UpdateFault::Unsupported),
                    _ => match items.integer()? {
                        envelope::AUTHENTICATION => &mut authentication,
                        envelope::MANIFEST => &mut manifest,
                        manifest::INSTALL => &mut severed.install,
                        manifest::TEXT => &mut severed.text,
                        manifest::COSWID => &mut severed.coswid,
                        _ => return Err(UpdateFault::Unsupported),
                    },
                };
                *place = Some(items.bytes()?);
                Ok(())
            })
        })?;
        let (signed, block) = read_authentication(authentication.ok_or(UpdateFault::Unsigned)?)?;
        let (protected, signature) = read_sign1(block)?;
        Ok(Self {
            signed,
            digest: Items::all(signed.content, Items::digest)?,
            protected,
            signer: read_header(protected)?,
            signature,
            manifest: manifest.ok_or(UpdateFault::Malformed)?,
            severed,
        })
    }

    /// Whose key it says it was signed with; not proven.
    pub const fn signer(&self) -> Option<KeyId> {
        self.signer
    }

    /// Proves that it was signed with `key`, then reads the manifest.
    pub fn verify(&self, key: &PublicKey) -> Result<VerifiedManifest<'b>, UpdateFault> {
        if self.signer.is_some_and(|signer| signer != key.id()) {
            return Err(UpdateFault::UnknownKey);
        }
        if sha256(&[self.manifest.item]) != self.digest {
            return Err(UpdateFault::ManifestDigest);
        }
        if !key.verifies(&self.signing_digest(), &self.signature) {
            return Err(UpdateFault::Signature);
        }
        Ok(VerifiedManifest { manifest: read::read(self)?, digest: self.digest })
    }

    /// SHA-256 of COSE's `Sig_structure` with the `SUIT_Digest` for its payload.
    fn signing_digest(&self) -> Digest {
        signed::digest(self.protected.item, self.signed.item)
    }

    /// What the manifest says, without any proof: for the fuzzer, which cannot sign.
    pub(crate) fn unproven(&self) -> Result<Manifest<'b>, UpdateFault> {
        read::read(self)
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("signer", &self.signer).finish_non_exhaustive()
    }
}

/// The digest, and the one authentication block over it.
fn read_authentication(wrapper: Wrapped<'_>) -> Result<(Wrapped<'_>, Wrapped<'_>), UpdateFault> {
    Items::all(wrapper.content, |items| match items.array()? {
        0 => Err(UpdateFault::Malformed),
        1 => Err(UpdateFault::Unsigned),
        2 => Ok((items.bytes()?, items.bytes()?)),
        _ => Err(UpdateFault::Unsupported),
    })
}

/// A `COSE_Sign1` with a detached payload: its protected header, and the signature.
fn read_sign1(block: Wrapped<'_>) -> Result<(Wrapped<'_>, Signature), UpdateFault> {
    Items::all(block.content, |items| {
        // A MAC, or many signatures.
        if items.tag()? != labels::SIGN1 {
            return Err(UpdateFault::Algorithm);
        }
        if items.array()? != 4 {
            return Err(UpdateFault::Malformed);
        }
        let protected = items.bytes()?;
        items.map(&mut |_| Err(UpdateFault::Unsupported))?;
        items.null()?;
        let signature = items.bytes()?.content;
        // Either one of a pair is taken: the IETF's examples have both, and the digest names a manifest.
        let signature = Signature::normalised(signature).map_err(|_| match signature.len() {
            SIGNATURE_BYTES => UpdateFault::Signature,
            _ => UpdateFault::Malformed,
        })?;
        Ok((protected, signature))
    })
}

/// The protected header: the algorithm, and the key where it is named.
fn read_header(protected: Wrapped<'_>) -> Result<Option<KeyId>, UpdateFault> {
    let mut known = false;
    let mut signer = None;
    Items::all(protected.content, |items| {
        items.map(&mut |items| {
            match items.integer()? {
                // An algorithm may be a text as well (RFC 9052, section 3.1); none of those is ours.
                header::ALG if items.kind()? == Type::String => return Err(UpdateFault::Algorithm),
                header::ALG => known = matches!(items.integer()?, header::ES256 | header::ESP256),
                header::KID => {
                    // A key that has another kind of name is none that we know.
                    let id = items.bytes()?.content.try_into().map_err(|_| UpdateFault::UnknownKey)?;
                    signer = Some(KeyId(id));
                }
                _ => return Err(UpdateFault::Unsupported),
            }
            Ok(())
        })
    })?;
    if known { Ok(signer) } else { Err(UpdateFault::Algorithm) }
}

/// A manifest of which it is proven who signed it. Only [`Envelope::verify`] makes one.
///
/// ```compile_fail,E0451
/// # use protocol::suit::{Manifest, VerifiedManifest};
/// fn believe(manifest: Manifest<'_>) -> VerifiedManifest<'_> {
///     VerifiedManifest { manifest, digest: [0; 32] }
/// }
/// ```
///
/// Nor can it be altered:
///
/// ```compile_fail,E0594
/// # use protocol::suit::VerifiedManifest;
/// fn alter(verified: &mut VerifiedManifest<'_>) {
///     verified.sequence = 7;
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedManifest<'b> {
    manifest: Manifest<'b>,
    digest: Digest,
}

impl VerifiedManifest<'_> {
    /// The digest of the manifest that is signed: its name for a [`crate::document::Rollout`].
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl<'b> core::ops::Deref for VerifiedManifest<'b> {
    type Target = Manifest<'b>;
    fn deref(&self) -> &Manifest<'b> {
        &self.manifest
    }
}

/// What a manifest says. Vendor, class and image are in every one: without them it is refused as incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest<'b> {
    /// Grows with every manifest.
    pub sequence: u64,
    /// Whose devices it is for.
    pub vendor: Uuid,
    /// Which devices it is for.
    pub class: Uuid,
    /// The image that is to run in the end.
    pub image: ImageRef,
    /// The image's version (`suit-set-version`). The build number has no place there: it is not written and read as 0. None
    /// of the IETF's examples that we take has a version.
    pub version: Option<Version>,
    /// Not to be installed at or after this time, in seconds since 1970-01-01T00:00:00Z.
    pub use_before_s: Option<u64>,
    /// Where the image comes from, in order of preference. May be empty.
    pub sources: Vec<Source<'b>, SOURCES_MAX>,
    /// Where the manifest itself can be found.
    pub reference_uri: Option<&'b str>,
    /// What it is, for people.
    pub description: Option<&'b str>,
    /// Names the software and leads to its bill of materials: one item of CBOR, a CoSWID (RFC 9393) such as [`Coswid`]
    /// writes.
    pub sbom: Option<&'b [u8]>,
    /// What the image needs of the network.
    pub mud: Option<Mud<'b>>,
}

/// An image by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// SHA-256 of all of its bytes.
    pub digest: [u8; 32],
    /// Number of its bytes.
    pub size: u32,
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'b> {
    /// Where the payload is: for ours a [`crate::blocks::PayloadUri`].
    pub uri: &'b str,
    /// Digest of the image that the payload is a delta against; none where the payload is the image.
    pub base: Option<[u8; 32]>,
}

/// Where a MUD file is (RFC 8520), and who signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mud<'b> {
    /// Address of the file.
    pub url: &'b str,
    /// The key that its signature is made with.
    pub signer: KeyId,
}
