//! The lists of TLVs behind an image's body. Owns which are known and where each may stand.
//!
//! | type | content | bytes | list |
//! |---|---|---|---|
//! | [`KEY_HASH`] | [`super::key_hash`] | 32 | unprotected, before the signature |
//! | [`SHA256`] | hash of header, body and protected TLVs | 32 | unprotected, required |
//! | [`ECDSA`] | signature of that hash, `ECDSA-Sig-Value` in DER | 8 to 72 | unprotected |
//! | [`SECURITY_COUNTER`] | number | 4 | protected |
//! | [`VENDOR`] | the vendor of the devices that the image is for | 16 | protected |
//! | [`CLASS`] | their class | 16 | protected |
//!
//! Each stands at most once, and nothing else does.

use super::header::{Header, INFO_BYTES};
use crate::firmware::Uuid;
use crate::key::Digest;
use crate::{Signature, UpdateFault};

/// `IMAGE_TLV_KEYHASH`.
pub const KEY_HASH: u16 = 0x01;
/// `IMAGE_TLV_SHA256`.
pub const SHA256: u16 = 0x10;
/// `IMAGE_TLV_ECDSA_SIG`.
pub const ECDSA: u16 = 0x22;
/// `IMAGE_TLV_SEC_CNT`.
pub const SECURITY_COUNTER: u16 = 0x50;
/// `IMAGE_TLV_UUID_VID`.
pub const VENDOR: u16 = 0x74;
/// `IMAGE_TLV_UUID_CID`.
pub const CLASS: u16 = 0x75;

/// Magic of the list that the hash covers.
pub(super) const PROTECTED_MAGIC: u16 = 0x6908;
/// Magic of the list that it does not cover.
pub(super) const MAGIC: u16 = 0x6907;

/// Bytes of type and length before each value.
pub(super) const HEAD_BYTES: u32 = 4;

/// Longest `ECDSA-Sig-Value` on P-256 in bytes.
pub(super) const SIGNATURE_DER_BYTES_MAX: usize = 72;

/// What the TLVs of an image say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlvs {
    /// Bytes of the whole image, from its header to the end of its TLVs.
    pub total_size: u32,
    /// The hash that header, body and protected TLVs should have.
    pub hash: Digest,
    /// The key that the image is signed with, as [`super::key_hash`] names it.
    pub key_hash: Option<Digest>,
    /// The signature of `hash`. MCUboot takes s in either half: so it is brought into the lower one here.
    pub signature: Option<Signature>,
    /// The vendor of the devices that the image is for.
    pub vendor: Option<Uuid>,
    /// Their class.
    pub class: Option<Uuid>,
    /// The image's security counter.
    pub security_counter: Option<u32>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    hash: Option<Digest>,
    key_hash: Option<Digest>,
    signature: Option<Signature>,
    vendor: Option<Uuid>,
    class: Option<Uuid>,
    security_counter: Option<u32>,
}

impl Tlvs {
    /// Reads the TLVs behind the content that `header` describes. `read` refuses what is beyond `available`.
    pub(super) fn read(
        header: &Header,
        available: u32,
        read: &mut impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
    ) -> Result<Self, UpdateFault> {
        let mut found = Found::default();
        let (body_end, unprotected) = (header.body_end(), header.hashed_bytes());
        if body_end != unprotected {
            let size = list_size(body_end, PROTECTED_MAGIC, read)?;
            if size != header.protected_size {
                return Err(UpdateFault::ImageForm);
            }
            found.list(body_end, unprotected, true, read)?;
        }
        let size = list_size(unprotected, MAGIC, read)?;
        let total_size = unprotected.checked_add(size.into()).ok_or(UpdateFault::ImageForm)?;
        if total_size > available {
            return Err(UpdateFault::Truncated);
        }
        found.list(unprotected, total_size, false, read)?;
        let Found { hash, key_hash, signature, vendor, class, security_counter } = found;
        let hash = hash.ok_or(UpdateFault::ImageForm)?;
        Ok(Self { total_size, hash, key_hash, signature, vendor, class, security_counter })
    }
}

/// Bytes of the list at `offset`, with its head.
fn list_size(
    offset: u32,
    magic: u16,
    read: &mut impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
) -> Result<u16, UpdateFault> {
    let mut info = [0; INFO_BYTES as usize];
    read(offset, &mut info)?;
    let [m0, m1, s0, s1] = info;
    let size = u16::from_le_bytes([s0, s1]);
    // An empty list is none that anybody writes.
    let is_list = u16::from_le_bytes([m0, m1]) == magic && u32::from(size) > INFO_BYTES;
    if is_list { Ok(size) } else { Err(UpdateFault::ImageForm) }
}

impl Found {
    /// Reads the list from `start` to `end`. It ends: each step goes on by [`HEAD_BYTES`] at least.
    fn list(
        &mut self,
        start: u32,
        end: u32,
        protected: bool,
        read: &mut impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
    ) -> Result<(), UpdateFault> {
        let mut next = start + INFO_BYTES;
        while next != end {
            // What does not fit before the end of the list would overlap what follows it.
            let left =
                end.checked_sub(next).filter(|left| *left >= HEAD_BYTES).ok_or(UpdateFault::ImageForm)?;
            let mut head = [0; HEAD_BYTES as usize];
            read(next, &mut head)?;
            let [t0, t1, l0, l1] = head;
            let len = u16::from_le_bytes([l0, l1]);
            if u32::from(len) > left - HEAD_BYTES {
                return Err(UpdateFault::ImageForm);
            }
            let mut buffer = [0; SIGNATURE_DER_BYTES_MAX];
            // Nothing that is known is longer.
            let value = buffer.get_mut(..len.into()).ok_or(UpdateFault::ImageForm)?;
            read(next + HEAD_BYTES, value)?;
            self.take(u16::from_le_bytes([t0, t1]), protected, value)?;
            next += HEAD_BYTES + u32::from(len);
        }
        Ok(())
    }

    fn take(&mut self, kind: u16, protected: bool, value: &[u8]) -> Result<(), UpdateFault> {
        match (kind, protected) {
            (SHA256, false) => once(&mut self.hash, exactly(value)?),
            // MCUboot looks at a signature only after the hash of a key that it has.
            (KEY_HASH, false) if self.signature.is_none() => once(&mut self.key_hash, exactly(value)?),
            (ECDSA, false) if self.key_hash.is_some() => once(&mut self.signature, signature(value)?),
            (SECURITY_COUNTER, true) => once(&mut self.security_counter, u32::from_le_bytes(exactly(value)?)),
            (VENDOR, true) => once(&mut self.vendor, Uuid(exactly(value)?)),
            (CLASS, true) => once(&mut self.class, Uuid(exactly(value)?)),
            _ => Err(UpdateFault::ImageForm),
        }
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], UpdateFault> {
    value.try_into().map_err(|_| UpdateFault::ImageForm)
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), UpdateFault> {
    if place.replace(value).is_none() { Ok(()) } else { Err(UpdateFault::ImageForm) }
}

fn signature(der: &[u8]) -> Result<Signature, UpdateFault> {
    let signature = p256::ecdsa::Signature::from_der(der).map_err(|_| UpdateFault::ImageSignature)?;
    Signature::normalised(&signature.to_bytes()).map_err(|_| UpdateFault::ImageSignature)
}
