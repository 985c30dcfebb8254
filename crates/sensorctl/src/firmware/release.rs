//! A release: a manifest and the payloads that it names, in a folder that can be looked at, copied and published. Owns the
//! folder's form and what a device would check about it; signs nothing. R-FW-MANIFEST, R-FW-AUTHORISED.
//!
//! `manifest.suit` is the signed envelope, `release.json` says the same for people and programs, `image.bin` is the whole image
//! and `delta-<version>-<digest>.bin` a delta against the image with that version and digest. Which file is which payload is
//! not believed but computed: from its tree hash.

use super::image::{ImageError, ImageFile};
use super::manifest::{Manifest, hex, short};
use super::patch;
use super::payload::Payload;
use crate::folder::{self, FolderError, NewFolder, io_error};
use protocol::blocks::PAYLOAD_BYTES_MAX;
use protocol::firmware::UpdateFault;
use protocol::image::Version;
use protocol::key::{Digest, PublicKey, sha256};
use protocol::suit::ENVELOPE_BYTES_MAX;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// The manifest's file.
pub const MANIFEST: &str = "manifest.suit";
/// The file that says what is in the folder.
pub const SUMMARY: &str = "release.json";
/// The whole image's file.
pub const IMAGE: &str = "image.bin";

/// Why a release cannot be used.
#[derive(Debug)]
pub enum ReleaseError {
    /// The folder or a file in it.
    Folder(FolderError),
    /// A device would refuse the manifest: the file, and why.
    Manifest(PathBuf, UpdateFault),
    /// A file in the folder is none of the payloads that the manifest names.
    Foreign(PathBuf),
    /// No file is the payload with this address.
    Missing(PathBuf, String),
    /// A device would refuse the image.
    Image(ImageError),
    /// A device would refuse a payload: which, and why.
    Payload(String, UpdateFault),
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Manifest(path, fault @ UpdateFault::UnknownKey) => {
                write!(f, "{}: {fault}: give the folder of the authority that signed it", path.display())
            }
            Self::Manifest(path, fault) => write!(f, "{}: a device would refuse it: {fault}", path.display()),
            Self::Foreign(path) => write!(
                f,
                "{} is none of the payloads that the manifest beside it names: it was changed, or is another release's",
                path.display()
            ),
            Self::Missing(folder, uri) => {
                write!(f, "{} has no file that is {uri}, which its manifest names", folder.display())
            }
            Self::Image(error) => error.fmt(f),
            Self::Payload(uri, fault) => write!(f, "{uri}: a device would refuse it: {fault}"),
        }
    }
}

impl std::error::Error for ReleaseError {}

impl From<FolderError> for ReleaseError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

impl From<ImageError> for ReleaseError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// A payload and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file's name.
    pub file: String,
    /// The image that it is a delta against; where it is known, its version.
    pub base: Option<(Digest, Option<Version>)>,
    /// What travels.
    pub payload: Payload,
}

/// A manifest and its payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What may be installed.
    pub manifest: Manifest,
    /// In the order of the manifest's sources; those that do not come in blocks are left out.
    pub parts: Vec<Part>,
}

impl Release {
    /// Reads the release in `folder`, which `key` must have signed; every payload is there and is what the manifest names.
    pub fn open(folder: &Path, key: &PublicKey) -> Result<Self, ReleaseError> {
        let path = folder.join(MANIFEST);
        let envelope = folder::read_bytes(&path, ENVELOPE_BYTES_MAX as u32)?;
        let manifest =
            Manifest::verify(&envelope, key).map_err(|fault| ReleaseError::Manifest(path, fault))?;
        let mut files = Vec::new();
        for name in payload_files(folder)? {
            let path = folder.join(&name);
            let payload = Payload::new(folder::read_bytes(&path, PAYLOAD_BYTES_MAX)?);
            let payload = payload.filter(|payload| {
                manifest.sources.iter().any(|source| source.payload() == Some(payload.uri()))
            });
            files.push((name, payload.ok_or(ReleaseError::Foreign(path))?));
        }
        let mut parts = Vec::new();
        for source in &manifest.sources {
            let Some(uri) = source.payload() else { continue };
            let found = files.iter().find(|(_, payload)| payload.uri() == uri);
            let (file, payload) =
                found.ok_or_else(|| ReleaseError::Missing(folder.to_owned(), source.uri.clone()))?;
            let base = source.base.map(|base| (base, version_in(file)));
            parts.push(Part { file: file.clone(), base, payload: payload.clone() });
        }
        Ok(Self { manifest, parts })
    }

    /// Writes the release into the new folder `folder`: all of it or nothing.
    pub fn write(&self, folder: &Path) -> Result<(), ReleaseError> {
        let new = NewFolder::begin(folder)?;
        new.public(MANIFEST, &self.manifest.envelope)?;
        new.public(SUMMARY, format!("{:#}\n", self.json()).as_bytes())?;
        for part in &self.parts {
            new.public(&part.file, part.payload.bytes())?;
        }
        Ok(new.publish()?)
    }

    /// The whole image, held to the manifest as a device does before it installs it. None where it does not come in blocks.
    pub fn image(&self) -> Result<Option<ImageFile>, ReleaseError> {
        let Some(part) = self.parts.iter().find(|part| part.base.is_none()) else { return Ok(None) };
        let refused = |fault| ReleaseError::Payload(part.payload.uri().to_string(), fault);
        let bytes = part.payload.bytes();
        if bytes.len() != self.manifest.image.size as usize {
            return Err(refused(UpdateFault::ImageSize));
        }
        if sha256(&[bytes]) != self.manifest.image.digest {
            return Err(refused(UpdateFault::ImageDigest));
        }
        let image = ImageFile::check(Path::new(&part.file), bytes.to_vec())?;
        if self.manifest.version.is_some_and(|version| version != image.version()) {
            return Err(refused(UpdateFault::ImageVersion));
        }
        image.image().check_class(self.manifest.vendor, self.manifest.class).map_err(refused)?;
        Ok(Some(image))
    }

    /// Rebuilds the image from `base` as a device that runs it does; false where there is no delta against it.
    pub fn check_delta(&self, base: &ImageFile) -> Result<bool, ReleaseError> {
        let delta = |part: &&Part| part.base.is_some_and(|(digest, _)| digest == base.digest());
        let Some(part) = self.parts.iter().find(delta) else { return Ok(false) };
        let refused = |fault| ReleaseError::Payload(part.payload.uri().to_string(), fault);
        let image = patch::decode(base.bytes(), part.payload.bytes()).map_err(refused)?;
        if sha256(&[&image]) == self.manifest.image.digest {
            Ok(true)
        } else {
            Err(refused(UpdateFault::ImageDigest))
        }
    }

    /// Every block, held to its address as a device does when it comes; gives how many there are.
    pub fn check_blocks(&self) -> Result<u32, ReleaseError> {
        let mut count = 0;
        for part in &self.parts {
            let uri = part.payload.uri();
            for (index, message) in (0..).zip(part.payload.messages()) {
                let verified = uri.verify(index, &message.payload);
                verified.map_err(|fault| ReleaseError::Payload(uri.to_string(), fault))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Bytes of the payload in percent of the image's.
    pub fn percent(&self, part: &Part) -> f64 {
        f64::from(part.payload.uri().size) * 100.0 / f64::from(self.manifest.image.size.max(1))
    }

    /// As an object for programs.
    pub fn json(&self) -> Value {
        let part = |part: &Part| {
            json!({
                "file": part.file, "uri": part.payload.uri().to_string(), "bytes": part.payload.uri().size,
                "blocks": part.payload.uri().count(), "percent": (self.percent(part) * 10.0).round() / 10.0,
                "base": part.base.map(|(digest, version)| {
                    json!({"digest": hex(&digest), "version": version.map(|version| version.to_string())})
                }),
            })
        };
        let mut value = self.manifest.json();
        if let Some(object) = value.as_object_mut() {
            object.insert("v".to_owned(), json!(1));
            object.insert("payloads".to_owned(), self.parts.iter().map(part).collect());
        }
        value
    }
}

/// The name of a delta's file.
pub fn delta_file(base: &ImageFile) -> String {
    format!("delta-{}-{}.bin", base.version(), short(&base.digest()))
}

/// What a delta's file name says of the base's version: for people only.
fn version_in(file: &str) -> Option<Version> {
    let (version, _) = file.strip_prefix("delta-")?.rsplit_once('-')?;
    version.parse().ok()
}

fn payload_files(folder: &Path) -> Result<Vec<String>, ReleaseError> {
    let failed = |error| ReleaseError::Folder(io_error("look into", folder)(error));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(name) =
            name.to_str().filter(|name| Path::new(name).extension().is_some_and(|end| end == "bin"))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
