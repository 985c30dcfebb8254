//! From an image to a release: the image is held to everything that a device holds it to, deltas are made and tried out, and
//! the manifest is signed and read back. Owns these decisions, neither keys nor files. R-FW-MANIFEST, R-FW-DELTA.

use super::image::{ImageError, ImageFile};
use super::manifest::{Manifest, short};
use super::patch;
use super::payload::Payload;
use super::product::Product;
use super::release::{IMAGE, Part, Release, ReleaseError, delta_file};
use super::sbom;
use crate::signer::{Signer, SignerError};
use protocol::KeyId;
use protocol::firmware::UpdateFault;
use protocol::image::Version;
use protocol::key::{Digest, PublicKey};
use protocol::signed::SealError;
use protocol::suit::{self, ENVELOPE_BYTES_MAX, ImageRef, Mud, SOURCES_MAX};
use std::fmt;
use std::path::PathBuf;

/// Most bases of deltas: one source is the whole image.
pub const BASES_MAX: usize = SOURCES_MAX - 1;

/// A delta is kept below so many percent of the image, unless told otherwise.
pub const KEEP_BELOW_PERCENT: u32 = 60;

/// Why there is no release.
#[derive(Debug)]
pub enum SignError {
    /// The image, or a base.
    Image(ImageError),
    /// The image does not fit into the slot: its bytes, and the slot's.
    TooLarge(u32, u32),
    /// A base is not older than the image: no device that runs it would take the image.
    NotOlder(PathBuf, Version, Version),
    /// Two bases are the same image.
    Twice(PathBuf),
    /// More bases than a manifest can name.
    TooMany(usize),
    /// A delta does not give back the image: the base, and why.
    Delta(PathBuf, UpdateFault),
    /// The manifest must not be used any more as soon as it is made.
    Expired,
    /// The manifest is too long for devices.
    TooLong,
    /// The manifest that was made is none that a device takes.
    Refused(UpdateFault),
    /// The key.
    Signer(SignerError),
    /// The release.
    Release(ReleaseError),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::TooLarge(bytes, capacity) => write!(
                f,
                "the image has {bytes} bytes and the slot takes {capacity}: a device would refuse it as too large"
            ),
            Self::NotOlder(path, base, image) => write!(
                f,
                "{} has version {base}, and the image {image}: no device that runs it would take the image; give older \
                 ones as --base",
                path.display()
            ),
            Self::Twice(path) => write!(f, "{} is the same image as another --base", path.display()),
            Self::TooMany(count) => {
                write!(
                    f,
                    "there are {count} bases; a manifest can name {BASES_MAX}: give the most common ones"
                )
            }
            Self::Delta(path, fault) => {
                write!(f, "the delta against {} does not give back the image: {fault}", path.display())
            }
            Self::Expired => f.write_str("--use-before is over: every device would refuse the manifest"),
            Self::TooLong => write!(
                f,
                "the manifest would have more than {ENVELOPE_BYTES_MAX} bytes, which no device takes: shorten the \
                 description and the addresses, or give fewer bases"
            ),
            Self::Refused(fault) => {
                write!(f, "the manifest that was made is none that a device takes: {fault}")
            }
            Self::Signer(error) => error.fmt(f),
            Self::Release(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SignError {}

impl From<ImageError> for SignError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// What is wanted of a release beside the image.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose devices it is for.
    pub product: Product,
    /// The bootloader's key, where it is known here.
    pub image_key: Option<PublicKey>,
    /// Bytes that a slot of these devices takes.
    pub capacity: Option<u32>,
    /// A delta is kept below so many percent of the image.
    pub keep_below: u32,
    /// Not to be installed from then on, in seconds since 1970.
    pub use_before_s: Option<u64>,
    /// For people.
    pub description: Option<String>,
    /// Address of the bill of materials.
    pub sbom: Option<String>,
    /// Address of the MUD file, and the key that signs it.
    pub mud: Option<(String, KeyId)>,
}

/// A delta that was made.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The base's file.
    pub path: PathBuf,
    /// The base's version and digest.
    pub base: (Version, Digest),
    /// Bytes of the delta.
    pub bytes: usize,
    /// False where it is not worth it.
    pub kept: bool,
}

/// An image and its deltas, ready to be signed.
#[derive(Debug)]
pub struct Prepared {
    image: ImageFile,
    wanted: Wanted,
    parts: Vec<Part>,
    /// Every delta that was made.
    pub deltas: Vec<Delta>,
}

/// Checks the image and the bases and makes the deltas; `tell` hears before each base which one it is.
pub fn prepare(
    image: ImageFile,
    bases: &[ImageFile],
    wanted: Wanted,
    now_s: u64,
    mut tell: impl FnMut(&ImageFile),
) -> Result<Prepared, SignError> {
    image.check_product(&wanted.product)?;
    if let Some(key) = &wanted.image_key {
        image.check_key(key)?;
    }
    let bytes = image.bytes().len() as u32;
    if let Some(capacity) = wanted.capacity.filter(|capacity| bytes > *capacity) {
        return Err(SignError::TooLarge(bytes, capacity));
    }
    if wanted.use_before_s.is_some_and(|end| end <= now_s) {
        return Err(SignError::Expired);
    }
    check_bases(&image, bases, &wanted.product)?;
    let mut parts = Vec::new();
    let mut deltas = Vec::new();
    for base in bases {
        tell(base);
        let failed = |fault| SignError::Delta(base.path().to_owned(), fault);
        let delta = patch::encode(base.bytes(), image.bytes()).map_err(failed)?;
        let kept = delta.len() as u64 * 100 < u64::from(bytes) * u64::from(wanted.keep_below);
        let path = base.path().to_owned();
        deltas.push(Delta { path, base: (base.version(), base.digest()), bytes: delta.len(), kept });
        if kept {
            let payload = Payload::new(delta).ok_or_else(|| failed(UpdateFault::Patch))?;
            let base_named = Some((base.digest(), Some(base.version())));
            parts.push(Part { file: delta_file(base), base: base_named, payload });
        }
    }
    let whole = Payload::new(image.bytes().to_vec()).ok_or(ImageError::Size(image.bytes().len()))?;
    parts.push(Part { file: IMAGE.to_owned(), base: None, payload: whole });
    Ok(Prepared { image, wanted, parts, deltas })
}

fn check_bases(image: &ImageFile, bases: &[ImageFile], product: &Product) -> Result<(), SignError> {
    if bases.len() > BASES_MAX {
        return Err(SignError::TooMany(bases.len()));
    }
    for (place, base) in bases.iter().enumerate() {
        base.check_product(product)?;
        if base.version() >= image.version() {
            return Err(SignError::NotOlder(base.path().to_owned(), base.version(), image.version()));
        }
        if bases.iter().take(place).any(|other| other.digest() == base.digest()) {
            return Err(SignError::Twice(base.path().to_owned()));
        }
    }
    Ok(())
}

impl Prepared {
    /// The image that is to be released.
    pub const fn image(&self) -> &ImageFile {
        &self.image
    }

    /// Signs the manifest with the key of the power over firmware, and holds the release to what a device holds it to.
    pub fn seal(self, sequence: u64, signer: &Signer) -> Result<Release, SignError> {
        let Self { image, wanted, parts, deltas: _ } = self;
        // What a manifest can say of a version.
        let version = Version { build: 0, ..image.version() };
        let uris: Vec<String> = parts.iter().map(|part| part.payload.uri().to_string()).collect();
        let sbom = wanted.sbom.as_deref().map(|sbom| sbom::tag(&wanted.product, version, sbom));
        let sbom = sbom.map(|tag| tag.ok_or(SignError::TooLong)).transpose()?;
        let mut sources = heapless::Vec::new();
        for (part, uri) in parts.iter().zip(&uris) {
            let base = part.base.map(|(digest, _)| digest);
            let pushed = sources.push(suit::Source { uri, base });
            pushed.map_err(|_| SignError::TooMany(parts.len()))?;
        }
        let manifest = suit::Manifest {
            sequence,
            vendor: wanted.product.vendor(),
            class: wanted.product.class(),
            image: ImageRef { digest: image.digest(), size: image.bytes().len() as u32 },
            version: Some(version),
            use_before_s: wanted.use_before_s,
            sources,
            reference_uri: None,
            description: wanted.description.as_deref(),
            sbom: sbom.as_deref(),
            mud: wanted.mud.as_ref().map(|(url, signer)| Mud { url, signer: *signer }),
        };
        let mut envelope = vec![0; ENVELOPE_BYTES_MAX];
        let sealed = suit::seal(&manifest, signer.public().id(), &mut envelope, |digest| signer.sign(digest));
        let len = sealed.map_err(|error| match error {
            SealError::TooLong => SignError::TooLong,
            SealError::Signer(error) => SignError::Signer(error),
        })?;
        envelope.truncate(len);
        let read = suit::Envelope::decode(&envelope).and_then(|read| read.verify(signer.public()));
        if *read.map_err(SignError::Refused)? != manifest {
            return Err(SignError::Refused(UpdateFault::ManifestDigest));
        }
        let manifest = Manifest::verify(&envelope, signer.public()).map_err(SignError::Refused)?;
        let release = Release { manifest, parts };
        release.image().map_err(SignError::Release)?;
        release.check_blocks().map_err(SignError::Release)?;
        Ok(release)
    }
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, digest) = &self.base;
        write!(f, "delta against {version} ({}), {} bytes", short(digest), self.bytes)?;
        if self.kept { Ok(()) } else { f.write_str(": not worth it, left out") }
    }
}
