//! Firmware images in the form that MCUboot boots: header, body, a list of TLVs that the image's hash covers and one that it
//! does not. Owns that form and what makes an image genuine; never which image a device should run. R-BOOT-VERIFY,
//! R-BOOT-NEWER.
//!
//! The numbers are MCUboot's (`bootutil/image.h`), all little endian. An image that MCUboot boots and this module does not
//! know is refused: encrypted, compressed, linked for RAM, with a TLV that is not listed in [`tlv`].

mod content;
mod header;
pub mod tlv;
mod version;

use crate::UpdateFault;
use crate::firmware::Uuid;
use crate::key::{Digest, PublicKey, sha256};
pub use content::Content;
pub use header::Header;
pub use tlv::Tlvs;
pub use version::{Version, VersionError};

/// What is known of an image before its content was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its header.
    pub header: Header,
    /// Its TLVs.
    pub tlvs: Tlvs,
}

impl Image {
    /// Reads header and TLVs of the image at the beginning of `available` bytes, of which `read` gives those from an offset
    /// on, as many as the buffer has. Nothing beyond `available` is asked for. What `read` fails with is handed on.
    ///
    /// The image may end before `available`: see [`Image::bytes`].
    pub fn read(
        available: u32,
        mut read: impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
    ) -> Result<Self, UpdateFault> {
        let mut bounded = |offset: u32, buffer: &mut [u8]| {
            let end = u64::from(offset) + buffer.len() as u64;
            if end > u64::from(available) { Err(UpdateFault::Truncated) } else { read(offset, buffer) }
        };
        let mut bytes = [0; Header::BYTES];
        bounded(0, &mut bytes)?;
        let header = Header::decode(&bytes)?;
        if header.hashed_bytes() > available {
            return Err(UpdateFault::Truncated);
        }
        let tlvs = Tlvs::read(&header, available, &mut bounded)?;
        Ok(Self { header, tlvs })
    }

    /// The same for an image that is in memory.
    pub fn decode(bytes: &[u8]) -> Result<Self, UpdateFault> {
        let available = u32::try_from(bytes.len()).map_err(|_| UpdateFault::TooLarge)?;
        Self::read(available, |offset, buffer| {
            let there = bytes.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(there.ok_or(UpdateFault::Truncated)?);
            Ok(())
        })
    }

    /// Bytes of the whole image, from its header to the end of its TLVs.
    pub const fn bytes(&self) -> u32 {
        self.tlvs.total_size
    }

    /// Bytes from the image's beginning that its hash covers.
    pub const fn hashed_bytes(&self) -> u32 {
        self.header.hashed_bytes()
    }

    /// Holds the image to the hash of its first [`Image::hashed_bytes`] and to the bootloader's key, as MCUboot will.
    pub fn verify(&self, hash: &Digest, key: &PublicKey) -> Result<(), UpdateFault> {
        if *hash != self.tlvs.hash {
            return Err(UpdateFault::ImageHash);
        }
        let (Some(named), Some(signature)) = (self.tlvs.key_hash, self.tlvs.signature) else {
            return Err(UpdateFault::ImageUnsigned);
        };
        if named != key_hash(key) {
            return Err(UpdateFault::ImageKey);
        }
        if key.verifies(hash, &signature) { Ok(()) } else { Err(UpdateFault::ImageSignature) }
    }

    /// Refuses an image of another vendor or class, and one that does not say for which it is.
    pub fn check_class(&self, vendor: Uuid, class: Uuid) -> Result<(), UpdateFault> {
        let named = (self.tlvs.vendor, self.tlvs.class);
        if named == (Some(vendor), Some(class)) { Ok(()) } else { Err(UpdateFault::ImageClass) }
    }
}

/// How MCUboot names a key: SHA-256 of its `SubjectPublicKeyInfo` (RFC 5480) in DER.
pub fn key_hash(key: &PublicKey) -> Digest {
    // Everything before the point: id-ecPublicKey with secp256r1, then a bit string without unused bits.
    const HEAD: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    sha256(&[&HEAD, key.as_bytes()])
}
