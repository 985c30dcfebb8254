//! Image files: made for devices on Linux and for tests, and looked at before they are released. Owns the files and what the
//! tool says about them; the form is [`protocol::image`]'s. R-BOOT-VERIFY.

use super::product::Product;
use crate::folder::{self, FolderError};
use crate::signer::{Signer, SignerError};
use protocol::blocks::PAYLOAD_BYTES_MAX;
use protocol::firmware::{UpdateFault, Uuid};
use protocol::image::{Content, Image, Version};
use protocol::key::{Digest, PublicKey, sha256};
use protocol::signed::SealError;
use std::fmt;
use std::path::{Path, PathBuf};

/// Largest image and largest body in bytes.
pub const IMAGE_BYTES_MAX: u32 = PAYLOAD_BYTES_MAX;

/// Why an image cannot be made or used.
#[derive(Debug)]
pub enum ImageError {
    /// The file.
    Folder(FolderError),
    /// A device would refuse it: the file, and why.
    Refused(PathBuf, UpdateFault),
    /// So many bytes follow its last TLV.
    Behind(PathBuf, usize),
    /// It names another vendor or class than the product's: which, what it names, and what it should.
    Other(PathBuf, &'static str, Option<Uuid>, Uuid),
    /// The body is empty, or the image would be larger than any device takes.
    Size(usize),
    /// The key.
    Signer(SignerError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Refused(path, fault) => write!(f, "{}: a device would refuse it: {fault}", path.display()),
            Self::Behind(path, bytes) => write!(
                f,
                "{}: {bytes} bytes follow the image: sign it without --pad (zephyr.signed.bin, not a confirmed or merged file)",
                path.display()
            ),
            Self::Other(path, what, Some(named), wanted) => write!(
                f,
                "{}: the image is for the {what} {named}; the product that was named is {wanted}: check --vendor-domain, \
                 --product and --board",
                path.display()
            ),
            Self::Other(path, what, None, wanted) => write!(
                f,
                "{}: the image does not say for which {what} it is ({wanted}): sign it with imgtool's --vid and --cid \
                 (Zephyr: CONFIG_MCUBOOT_IMGTOOL_UUID_VID and _CID), or devices refuse it",
                path.display()
            ),
            Self::Size(0) => f.write_str("the body is empty"),
            Self::Size(bytes) => {
                write!(f, "the image would have {bytes} bytes; no device takes more than {IMAGE_BYTES_MAX}")
            }
            Self::Signer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImageError {}

impl From<FolderError> for ImageError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// An image whose form is right and whose hash is that of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    path: PathBuf,
    bytes: Vec<u8>,
    image: Image,
    hash: Digest,
    digest: Digest,
}

impl ImageFile {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        Self::check(path, folder::read_bytes(path, IMAGE_BYTES_MAX)?)
    }

    /// Takes `bytes` for the image that is or will be at `path`.
    pub fn check(path: &Path, bytes: Vec<u8>) -> Result<Self, ImageError> {
        let refused = |fault| ImageError::Refused(path.to_owned(), fault);
        let image = Image::decode(&bytes).map_err(refused)?;
        let behind = bytes.len().saturating_sub(image.bytes() as usize);
        if behind > 0 {
            return Err(ImageError::Behind(path.to_owned(), behind));
        }
        let hashed = bytes.get(..image.hashed_bytes() as usize);
        let hash = sha256(&[hashed.ok_or_else(|| refused(UpdateFault::Truncated))?]);
        if hash != image.tlvs.hash {
            return Err(refused(UpdateFault::ImageHash));
        }
        if image.tlvs.signature.is_none() {
            return Err(refused(UpdateFault::ImageUnsigned));
        }
        let digest = sha256(&[&bytes]);
        Ok(Self { path: path.to_owned(), bytes, image, hash, digest })
    }

    /// Refuses an image that is for other devices, or does not say for which it is.
    pub fn check_product(&self, product: &Product) -> Result<(), ImageError> {
        let tlvs = &self.image.tlvs;
        let named = [("vendor", tlvs.vendor, product.vendor()), ("class", tlvs.class, product.class())];
        for (what, named, wanted) in named {
            if named != Some(wanted) {
                return Err(ImageError::Other(self.path.clone(), what, named, wanted));
            }
        }
        Ok(())
    }

    /// Refuses an image that is not signed with the bootloader's key.
    pub fn check_key(&self, key: &PublicKey) -> Result<(), ImageError> {
        let verified = self.image.verify(&self.hash, key);
        verified.map_err(|fault| ImageError::Refused(self.path.clone(), fault))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of all of it.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its version.
    pub const fn version(&self) -> Version {
        self.image.header.version
    }

    /// What else it says of itself.
    pub const fn image(&self) -> &Image {
        &self.image
    }
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What the device executes.
    pub body: Vec<u8>,
    /// Its version.
    pub version: Version,
    /// Whose devices it is for.
    pub product: Product,
    /// Bytes before the body.
    pub header_bytes: u16,
    /// Its security counter.
    pub security_counter: Option<u32>,
}

/// Makes an image, signed with the bootloader's key, and reads it back. It is not written to `path`, which only errors name.
pub fn make(recipe: &Recipe, signer: &Signer, path: &Path) -> Result<ImageFile, ImageError> {
    let content = Content {
        vendor: Some(recipe.product.vendor()),
        class: Some(recipe.product.class()),
        security_counter: recipe.security_counter,
        header_size: recipe.header_bytes,
        ..Content::new(&recipe.body, recipe.version)
    };
    let mut bytes = vec![0; content.bytes_max()];
    let sealed = content.seal(signer.public(), &mut bytes, |digest| signer.sign(digest));
    let len = sealed.map_err(|error| match error {
        SealError::Signer(error) => ImageError::Signer(error),
        SealError::TooLong => ImageError::Size(recipe.body.len()),
    })?;
    if len > IMAGE_BYTES_MAX as usize {
        return Err(ImageError::Size(len));
    }
    bytes.truncate(len);
    let image = ImageFile::check(path, bytes)?;
    image.check_product(&recipe.product)?;
    image.check_key(signer.public())?;
    Ok(image)
}
