//! Images as they are made: by the tool, for the Linux port and for tests. Byte for byte what imgtool makes of the same,
//! but for the signature, which imgtool takes at random.

use super::header::{Header, INFO_BYTES};
use super::{Version, key_hash, tlv};
use crate::firmware::Uuid;
use crate::key::{Digest, PublicKey, Signature, sha256};
use crate::signed::SealError;

/// Bytes of the unprotected list where the signature is the longest.
const UNPROTECTED_BYTES_MAX: u32 =
    INFO_BYTES + 3 * tlv::HEAD_BYTES + 2 * 32 + tlv::SIGNATURE_DER_BYTES_MAX as u32;

/// What an image is made of.
#[derive(Clone, Copy, Debug)]
pub struct Content<'b> {
    /// What the device executes. Not empty.
    pub body: &'b [u8],
    /// Its version.
    pub version: Version,
    /// The vendor of the devices that it is for.
    pub vendor: Option<Uuid>,
    /// Their class.
    pub class: Option<Uuid>,
    /// Its security counter.
    pub security_counter: Option<u32>,
    /// Bytes before the body; what the header leaves of them is 0xff, as flash is where nothing was written. At least
    /// [`Header::BYTES`].
    pub header_size: u16,
}

impl<'b> Content<'b> {
    /// An image without padding, vendor, class or counter.
    pub const fn new(body: &'b [u8], version: Version) -> Self {
        Self {
            body,
            version,
            vendor: None,
            class: None,
            security_counter: None,
            header_size: Header::BYTES as u16,
        }
    }

    /// Most bytes that [`Content::seal`] writes.
    pub fn bytes_max(&self) -> usize {
        usize::from(self.header_size)
            + self.body.len()
            + usize::from(self.protected_size())
            + UNPROTECTED_BYTES_MAX as usize
    }

    /// Writes the image, signed with the key `key`, into `out`; gives its size in bytes. `sign` gets the image's hash. Content
    /// that is no image's ([`Header`]) is [`SealError::TooLong`].
    pub fn seal<E>(
        &self,
        key: &PublicKey,
        out: &mut [u8],
        sign: impl FnOnce(&Digest) -> Result<Signature, E>,
    ) -> Result<usize, SealError<E>> {
        let mut written = Written { out, len: 0 };
        self.write_hashed(&mut written).ok_or(SealError::TooLong)?;
        let hash = sha256(&[written.bytes()]);
        // Room for the longest signature before anybody is asked for one.
        if written.out.len() - written.len < UNPROTECTED_BYTES_MAX as usize {
            return Err(SealError::TooLong);
        }
        let signature = sign(&hash).map_err(SealError::Signer)?;
        let signature = p256::ecdsa::Signature::from_slice(signature.as_bytes())
            .map_err(|_| SealError::TooLong)?
            .to_der();
        written.unprotected(&hash, key, signature.as_bytes()).ok_or(SealError::TooLong)?;
        Ok(written.len)
    }

    fn protected_size(&self) -> u16 {
        let counter = self.security_counter.map_or(0, |_| tlv::HEAD_BYTES + 4);
        let uuid = |uuid: Option<Uuid>| uuid.map_or(0, |_| tlv::HEAD_BYTES + 16);
        let values = counter + uuid(self.vendor) + uuid(self.class);
        if values == 0 { 0 } else { (INFO_BYTES + values) as u16 }
    }

    /// Header, body and protected TLVs.
    fn write_hashed(&self, out: &mut Written<'_>) -> Option<()> {
        let header = Header {
            header_size: self.header_size,
            protected_size: self.protected_size(),
            body_size: u32::try_from(self.body.len()).ok()?,
            version: self.version,
        };
        let header = header.encode();
        Header::decode(&header).ok()?;
        out.all(&header)?;
        for _ in Header::BYTES..self.header_size.into() {
            out.all(&[0xff])?;
        }
        out.all(self.body)?;
        if self.protected_size() > 0 {
            out.two(tlv::PROTECTED_MAGIC, self.protected_size())?;
        }
        if let Some(counter) = self.security_counter {
            out.tlv(tlv::SECURITY_COUNTER, &counter.to_le_bytes())?;
        }
        if let Some(vendor) = self.vendor {
            out.tlv(tlv::VENDOR, &vendor.0)?;
        }
        if let Some(class) = self.class {
            out.tlv(tlv::CLASS, &class.0)?;
        }
        Some(())
    }
}

/// What was written into a buffer.
struct Written<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Written<'_> {
    fn bytes(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }

    fn all(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.len..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    fn two(&mut self, first: u16, second: u16) -> Option<()> {
        self.all(&first.to_le_bytes())?;
        self.all(&second.to_le_bytes())
    }

    fn tlv(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        self.two(kind, value.len() as u16)?;
        self.all(value)
    }

    fn unprotected(&mut self, hash: &Digest, key: &PublicKey, signature: &[u8]) -> Option<()> {
        let values = [hash.as_slice(), &key_hash(key), signature];
        let size: usize = values.iter().map(|value| tlv::HEAD_BYTES as usize + value.len()).sum();
        self.two(tlv::MAGIC, (INFO_BYTES as usize + size) as u16)?;
        [tlv::SHA256, tlv::KEY_HASH, tlv::ECDSA]
            .into_iter()
            .zip(values)
            .try_for_each(|(kind, value)| self.tlv(kind, value))
    }
}
