//! The header of an image.

use super::Version;
use crate::UpdateFault;

/// First four bytes of every image.
const MAGIC: u32 = 0x96f3_b83d;

/// Head of a list of TLVs: magic and size.
pub(super) const INFO_BYTES: u32 = 4;

/// An image's header: only the sizes and the version are free. The load address, the flags and the padding are 0, because
/// images execute in place from slot 0, whole and in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes from the image's beginning to its body; at least [`Header::BYTES`].
    pub header_size: u16,
    /// Bytes of the list of TLVs that the hash covers, with its head; 0 where there is none.
    pub protected_size: u16,
    /// Bytes of the body.
    pub body_size: u32,
    /// The image's version.
    pub version: Version,
}

impl Header {
    /// Bytes of a header without the padding behind it.
    pub const BYTES: usize = 32;

    /// Reads the header in the first [`Header::BYTES`] bytes. One whose sizes add up to more than 32 bits hold is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, UpdateFault> {
        let bytes = bytes.first_chunk::<{ Self::BYTES }>().ok_or(UpdateFault::Truncated)?;
        let (words, []) = bytes.as_chunks::<4>() else { return Err(UpdateFault::ImageForm) };
        let [magic, load_address, sizes, body_size, flags, version, build, padding] = words else {
            return Err(UpdateFault::ImageForm);
        };
        let ([h0, h1, p0, p1], [major, minor, r0, r1]) = (*sizes, *version);
        let header = Self {
            header_size: u16::from_le_bytes([h0, h1]),
            protected_size: u16::from_le_bytes([p0, p1]),
            body_size: u32::from_le_bytes(*body_size),
            version: Version {
                major,
                minor,
                revision: u16::from_le_bytes([r0, r1]),
                build: u32::from_le_bytes(*build),
            },
        };
        // The flags are encryption, compression, execution from RAM or at a fixed address, and images that do not boot.
        let expected = (MAGIC.to_le_bytes(), [0; 4], [0; 4], [0; 4]);
        let is_known = (*magic, *load_address, *flags, *padding) == expected;
        if is_known && header.is_possible() { Ok(header) } else { Err(UpdateFault::ImageForm) }
    }

    /// The header's first [`Header::BYTES`] bytes; [`Header::header_size`] says how many follow before the body.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let ([h0, h1], [p0, p1]) = (self.header_size.to_le_bytes(), self.protected_size.to_le_bytes());
        let Version { major, minor, revision, build } = self.version;
        let [r0, r1] = revision.to_le_bytes();
        let words = [
            MAGIC.to_le_bytes(),
            [0; 4],
            [h0, h1, p0, p1],
            self.body_size.to_le_bytes(),
            [0; 4],
            [major, minor, r0, r1],
            build.to_le_bytes(),
            [0; 4],
        ];
        bytes.as_chunks_mut::<4>().0.copy_from_slice(&words);
        bytes
    }

    /// Where the TLVs begin: bytes of header and body.
    pub const fn body_end(&self) -> u32 {
        (self.header_size as u32).saturating_add(self.body_size)
    }

    /// Bytes from the image's beginning that its hash covers: header, body and protected TLVs.
    pub const fn hashed_bytes(&self) -> u32 {
        self.body_end().saturating_add(self.protected_size as u32)
    }

    /// Whether the sizes are those of an image: there is a body, and all that follows fits into 32 bits.
    fn is_possible(&self) -> bool {
        let sizes = [self.header_size.into(), self.body_size, self.protected_size.into(), INFO_BYTES];
        let sum = sizes.into_iter().try_fold(0_u32, u32::checked_add);
        usize::from(self.header_size) >= Self::BYTES && self.body_size > 0 && sum.is_some()
    }
}
