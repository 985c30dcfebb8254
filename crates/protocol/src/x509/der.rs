//! The pieces that requests and certificates share, each read in the one form that is taken and written in the same.

use super::X509Error;
use crate::{PublicKey, Signature};
use der::asn1::BitStringRef;
use der::{Decode, Header, Length, Reader, SliceReader, SliceWriter, Tag, Writer};
use p256::ecdsa::DerSignature;

/// `AlgorithmIdentifier` of ecdsa-with-SHA256, 1.2.840.10045.4.3.2, without parameters (RFC 5758, section 3.2).
pub(super) const ECDSA_WITH_SHA256: [u8; 12] =
    [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// `AlgorithmIdentifier` of a key on P-256: id-ecPublicKey, 1.2.840.10045.2.1, with secp256r1, 1.2.840.10045.3.1.7
/// (RFC 5480, section 2.1).
const EC_ON_P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07,
];

/// The object identifier id-at-commonName, 2.5.4.3, with its tag.
pub(super) const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

/// Length of a `SubjectPublicKeyInfo` with a key on P-256 in bytes.
pub(super) const KEY_INFO_BYTES: u8 = 91;

/// The one value in `bytes`; anything behind it is refused.
pub(super) fn whole<'b, T>(
    bytes: &'b [u8],
    read: impl FnOnce(&mut SliceReader<'b>) -> Result<T, X509Error>,
) -> Result<T, X509Error> {
    let mut reader = SliceReader::new(bytes)?;
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Reads what stands between the tag `tag` and its end.
pub(super) fn inside<'b, T>(
    reader: &mut SliceReader<'b>,
    tag: Tag,
    read: impl FnOnce(&mut SliceReader<'b>) -> Result<T, X509Error>,
) -> Result<T, X509Error> {
    let header = Header::decode(reader)?;
    if header.tag() != tag {
        return Err(X509Error::Malformed);
    }
    reader.read_nested(header.length(), read)
}

/// The tag of what comes next; `None` at the end.
pub(super) fn next_tag(reader: &SliceReader<'_>) -> Result<Option<Tag>, X509Error> {
    if reader.is_finished() { Ok(None) } else { Ok(Some(Header::peek(reader)?.tag())) }
}

/// Refuses every `AlgorithmIdentifier` of a signature but ours.
pub(super) fn read_signature_algorithm(reader: &mut SliceReader<'_>) -> Result<(), X509Error> {
    if reader.tlv_bytes()? == ECDSA_WITH_SHA256 { Ok(()) } else { Err(X509Error::Algorithm) }
}

/// Reads a `SubjectPublicKeyInfo`.
pub(super) fn read_key(reader: &mut SliceReader<'_>) -> Result<PublicKey, X509Error> {
    inside(reader, Tag::Sequence, |info| {
        if info.tlv_bytes()? != EC_ON_P256 {
            return Err(X509Error::KeyType);
        }
        let point = BitStringRef::decode(info)?.as_bytes().ok_or(X509Error::Key)?;
        PublicKey::new(point).map_err(|_| X509Error::Key)
    })
}

/// Writes a `SubjectPublicKeyInfo`.
pub(super) fn write_key(writer: &mut SliceWriter<'_>, key: &PublicKey) -> der::Result<()> {
    writer.sequence(Length::new((KEY_INFO_BYTES - 2).into()), |info| {
        info.write(&EC_ON_P256)?;
        info.encode(&BitStringRef::from_bytes(key.as_bytes())?)
    })
}

/// Reads the bit string with an `ECDSA-Sig-Value`; s may be in either half, as most issuers leave it to chance.
pub(super) fn read_signature(reader: &mut SliceReader<'_>) -> Result<p256::ecdsa::Signature, X509Error> {
    let der = BitStringRef::decode(reader)?.as_bytes().ok_or(X509Error::Signature)?;
    p256::ecdsa::Signature::from_der(der).map_err(|_| X509Error::Signature)
}

/// Writes the bit string with an `ECDSA-Sig-Value`.
pub(super) fn write_signature(writer: &mut SliceWriter<'_>, signature: &Signature) -> der::Result<()> {
    let (r_s, tag) = (signature.as_bytes(), Tag::BitString);
    let signature = p256::ecdsa::Signature::from_slice(r_s).map_err(|_| tag.value_error())?;
    let signature: DerSignature = signature.to_der();
    writer.encode(&BitStringRef::from_bytes(signature.as_bytes())?)
}
