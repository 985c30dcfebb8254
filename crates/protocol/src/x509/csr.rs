//! Requests for certificates (PKCS#10, RFC 2986): one form, of which every byte follows from id, key and signature. What
//! a certificate shall be good for is the issuer's to say: no attributes, no extensions.

use super::X509Error;
use super::der::{
    COMMON_NAME, ECDSA_WITH_SHA256, KEY_INFO_BYTES, inside, read_key, read_signature,
    read_signature_algorithm, whole, write_key, write_signature,
};
use crate::document::CSR_BYTES_MAX;
use crate::key::{Digest, sha256};
use crate::signed::SealError;
use crate::{DeviceId, PublicKey, Signature};
use der::asn1::Utf8StringRef;
use der::{Decode, Encode, Header, Length, Reader, SliceReader, SliceWriter, Tag, Writer};

/// Version 1, which is written as 0.
const VERSION: [u8; 3] = [0x02, 0x01, 0x00];

/// No attributes: an empty `[0]`.
const NO_ATTRIBUTES: [u8; 2] = [0xa0, 0x00];

/// Longest `CertificationRequestInfo` in bytes: 112 and the id.
const INFO_BYTES_MAX: usize = 112 + DeviceId::MAX_LEN;

/// Longest bit string with a signature in bytes: two numbers of 33 bytes and four headers, one of them with the count
/// of unused bits.
const SIGNATURE_FIELD_BYTES_MAX: usize = 2 * (2 + 33) + 2 + 3;

const _: () =
    assert!(4 + INFO_BYTES_MAX + ECDSA_WITH_SHA256.len() + SIGNATURE_FIELD_BYTES_MAX <= CSR_BYTES_MAX);

/// A request whose signature was made with the key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// Its common name.
    pub id: DeviceId,
    /// The key to be certified.
    pub key: PublicKey,
}

impl Csr {
    /// Reads a request of at most [`CSR_BYTES_MAX`] bytes in exactly the form of [`encode_csr`], with s in the lower
    /// half, and verifies that whoever made it has the private key.
    pub fn decode(bytes: &[u8]) -> Result<Self, X509Error> {
        if bytes.len() > CSR_BYTES_MAX {
            return Err(X509Error::TooLong);
        }
        let (info, signature) = whole(bytes, |reader| {
            inside(reader, Tag::Sequence, |request| {
                let info = request.tlv_bytes()?;
                read_signature_algorithm(request)?;
                Ok((info, read_signature(request)?))
            })
        })?;
        let request = whole(info, |reader| inside(reader, Tag::Sequence, Self::read))?;
        let signature = Signature::new(&signature.to_bytes()).map_err(|_| X509Error::Signature)?;
        if request.key.verifies(&sha256(&[info]), &signature) {
            Ok(request)
        } else {
            Err(X509Error::Signature)
        }
    }

    fn read(info: &mut SliceReader<'_>) -> Result<Self, X509Error> {
        if info.tlv_bytes()? != VERSION {
            return Err(X509Error::Version);
        }
        let id = read_subject(info.tlv_bytes()?)?;
        let key = read_key(info)?;
        if info.tlv_bytes()? == NO_ATTRIBUTES { Ok(Self { id, key }) } else { Err(X509Error::Attributes) }
    }
}

fn read_subject(name: &[u8]) -> Result<DeviceId, X509Error> {
    let text = whole(name, |reader| {
        inside(reader, Tag::Sequence, |names| {
            inside(names, Tag::Set, |name| {
                inside(name, Tag::Sequence, |attribute| {
                    if attribute.tlv_bytes()? != COMMON_NAME {
                        return Err(X509Error::Subject);
                    }
                    Ok(Utf8StringRef::decode(attribute)?.as_str())
                })
            })
        })
    });
    // Whatever else a name can be is none of ours.
    let text = text.map_err(|_| X509Error::Subject)?;
    DeviceId::new(text).map_err(|_| X509Error::CommonName)
}

/// Writes a request for a certificate of `key` for the device `id` into `out` and gives its length in bytes, at most
/// [`CSR_BYTES_MAX`]. `sign` gets SHA-256 of the `CertificationRequestInfo`.
pub fn encode_csr<E>(
    id: &DeviceId,
    key: &PublicKey,
    out: &mut [u8],
    sign: impl FnOnce(&Digest) -> Result<Signature, E>,
) -> Result<usize, SealError<E>> {
    let mut buffer = [0; INFO_BYTES_MAX];
    let info = write_info(id, key, &mut buffer).map_err(|_| SealError::TooLong)?;
    let signature = sign(&sha256(&[info])).map_err(SealError::Signer)?;
    write_request(info, &signature, out).map_err(|_| SealError::TooLong)
}

fn write_info<'o>(id: &DeviceId, key: &PublicKey, out: &'o mut [u8]) -> der::Result<&'o [u8]> {
    let common_name = Utf8StringRef::new(id.as_str())?;
    let attribute = (Length::new(COMMON_NAME.len() as u32) + common_name.encoded_len()?)?;
    let name = attribute.for_tlv(Tag::Sequence)?;
    let names = name.for_tlv(Tag::Set)?;
    let subject = names.for_tlv(Tag::Sequence)?;
    let fixed = Length::new((VERSION.len() + usize::from(KEY_INFO_BYTES) + NO_ATTRIBUTES.len()) as u32);
    let mut writer = SliceWriter::new(out);
    writer.sequence((fixed + subject)?, |info| {
        info.write(&VERSION)?;
        info.sequence(names, |subject| {
            Header::new(Tag::Set, name).encode(subject)?;
            subject.sequence(attribute, |attribute| {
                attribute.write(&COMMON_NAME)?;
                attribute.encode(&common_name)
            })
        })?;
        write_key(info, key)?;
        info.write(&NO_ATTRIBUTES)
    })?;
    writer.finish()
}

fn write_request(info: &[u8], signature: &Signature, out: &mut [u8]) -> der::Result<usize> {
    let mut buffer = [0; SIGNATURE_FIELD_BYTES_MAX];
    let mut field = SliceWriter::new(&mut buffer);
    write_signature(&mut field, signature)?;
    let field = field.finish()?;
    let mut writer = SliceWriter::new(out);
    let len = Length::try_from(info.len() + ECDSA_WITH_SHA256.len() + field.len())?;
    writer.sequence(len, |request| {
        request.write(info)?;
        request.write(&ECDSA_WITH_SHA256)?;
        request.write(field)
    })?;
    Ok(writer.finish()?.len())
}

#[cfg(test)]
mod tests;
