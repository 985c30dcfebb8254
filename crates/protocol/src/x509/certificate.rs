//! Certificates (RFC 5280): what a device judges in its own chain and in its roots. Reads structure and signatures; the
//! path is the caller's to walk.

use super::X509Error;
use super::der::{COMMON_NAME, inside, next_tag, read_key, read_signature, read_signature_algorithm, whole};
use super::extensions::{DIGITAL_SIGNATURE, Extensions, KEY_CERT_SIGN, Purposes};
use crate::document::CERTIFICATE_BYTES_MAX;
use crate::key::sha256;
use crate::{EpochMillis, PublicKey, Signature};
use core::fmt;
use der::asn1::{GeneralizedTime, PrintableStringRef, UintRef, UtcTime, Utf8StringRef};
use der::{Decode, Reader, SliceReader, Tag};

/// Version 3, which is written as 2, in its `[0]`.
pub(super) const VERSION_3: [u8; 5] = [0xa0, 0x03, 0x02, 0x01, 0x02];

/// From this year on dates are written as `GeneralizedTime` and not before (RFC 5280, section 4.1.2.5).
const FIRST_GENERALIZED_YEAR: u16 = 2050;

/// An X.509 certificate of version 3 with a key on P-256, signed with ecdsa-with-SHA256. Nothing is verified yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Certificate<'b> {
    tbs: &'b [u8],
    serial: &'b [u8],
    issuer: &'b [u8],
    subject: &'b [u8],
    common_name: Option<&'b str>,
    not_before: EpochMillis,
    not_after: EpochMillis,
    key: PublicKey,
    uses: Extensions,
    signature: Signature,
}

impl<'b> Certificate<'b> {
    /// Reads a certificate of at most [`CERTIFICATE_BYTES_MAX`] bytes; refuses what it does not understand in full.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, X509Error> {
        if bytes.len() > CERTIFICATE_BYTES_MAX {
            return Err(X509Error::TooLong);
        }
        let (tbs, signature) = whole(bytes, |reader| {
            inside(reader, Tag::Sequence, |certificate| {
                let tbs = certificate.tlv_bytes()?;
                read_signature_algorithm(certificate)?;
                Ok((tbs, read_signature(certificate)?))
            })
        })?;
        let signature = Signature::normalised(&signature.to_bytes()).map_err(|_| X509Error::Signature)?;
        whole(tbs, |reader| inside(reader, Tag::Sequence, |fields| Self::read(tbs, signature, fields)))
    }

    fn read(tbs: &'b [u8], signature: Signature, fields: &mut SliceReader<'b>) -> Result<Self, X509Error> {
        // Version 1 is not written at all, so that something else stands in its place.
        if fields.tlv_bytes()? != VERSION_3 {
            return Err(X509Error::Version);
        }
        let serial = UintRef::decode(fields)?.as_bytes();
        read_signature_algorithm(fields)?;
        let issuer = fields.tlv_bytes()?;
        let (not_before, not_after) =
            inside(fields, Tag::Sequence, |validity| Ok((read_time(validity)?, read_time(validity)?)))?;
        if not_after < not_before {
            return Err(X509Error::Dates);
        }
        let subject = fields.tlv_bytes()?;
        common_name(issuer)?;
        let common_name = common_name(subject)?;
        let key = read_key(fields)?;
        let uses = Extensions::read_optional(fields)?;
        if uses.not_applied {
            return Err(X509Error::Extension);
        }
        Ok(Self { tbs, serial, issuer, subject, common_name, not_before, not_after, key, uses, signature })
    }

    /// The key that it certifies.
    pub const fn public_key(&self) -> PublicKey {
        self.key
    }

    /// The first moment at which it is valid.
    pub const fn not_before(&self) -> EpochMillis {
        self.not_before
    }

    /// The last moment at which it is valid.
    pub const fn not_after(&self) -> EpochMillis {
        self.not_after
    }

    /// The common name of its subject; `None` where there is none, or more than one.
    pub const fn common_name(&self) -> Option<&'b str> {
        self.common_name
    }

    /// Its serial number: big endian, without a leading zero.
    pub const fn serial(&self) -> &'b [u8] {
        self.serial
    }

    /// The subject: a `Name` in DER.
    pub const fn subject(&self) -> &'b [u8] {
        self.subject
    }

    /// The issuer: a `Name` in DER.
    pub const fn issuer(&self) -> &'b [u8] {
        self.issuer
    }

    /// True where it may issue certificates: `BasicConstraints` says CA, and `KeyUsage`, where there is one, keyCertSign.
    pub const fn is_authority(&self) -> bool {
        self.uses.authority && self.uses.allows(KEY_CERT_SIGN)
    }

    /// How many authorities may stand between this one and a leaf; `None` where it does not say.
    pub const fn path_len(&self) -> Option<u8> {
        self.uses.path_len
    }

    /// True where it may authenticate a TLS client: `ExtendedKeyUsage` names clientAuth, and `KeyUsage`, where there is
    /// one, digitalSignature.
    pub const fn for_client_auth(&self) -> bool {
        matches!(self.uses.purposes, Some(Purposes { client_auth: true, .. }))
            && self.uses.allows(DIGITAL_SIGNATURE)
    }

    /// True where it was signed with `key`.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&sha256(&[self.tbs]), &self.signature)
    }
}

impl fmt::Debug for Certificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { common_name, not_before, not_after, key, .. } = self;
        write!(f, "Certificate({common_name:?}, {not_before} to {not_after}, {key:?})")
    }
}

pub(super) fn read_time(reader: &mut SliceReader<'_>) -> Result<EpochMillis, X509Error> {
    let date = match next_tag(reader)? {
        Some(Tag::UtcTime) => UtcTime::decode(reader).map_err(|_| X509Error::Dates)?.to_date_time(),
        Some(Tag::GeneralizedTime) => {
            let date = GeneralizedTime::decode(reader).map_err(|_| X509Error::Dates)?.to_date_time();
            if date.year() < FIRST_GENERALIZED_YEAR {
                return Err(X509Error::Dates);
            }
            date
        }
        _ => return Err(X509Error::Malformed),
    };
    Ok(EpochMillis::from_seconds(date.unix_duration().as_secs()))
}

/// The common name in a `Name` in DER, where there is exactly one.
fn common_name(name: &[u8]) -> Result<Option<&str>, X509Error> {
    let (mut found, mut count) = (None, 0_u32);
    whole(name, |reader| {
        inside(reader, Tag::Sequence, |names| {
            while !names.is_finished() {
                inside(names, Tag::Set, |attributes| {
                    loop {
                        let (is_common_name, text) = inside(attributes, Tag::Sequence, |attribute| {
                            Ok((attribute.tlv_bytes()? == COMMON_NAME, attribute.tlv_bytes()?))
                        })?;
                        if is_common_name {
                            (found, count) = (as_text(text), count.saturating_add(1));
                        }
                        if attributes.is_finished() {
                            return Ok(());
                        }
                    }
                })?;
            }
            Ok(())
        })
    })?;
    Ok(found.filter(|_| count == 1))
}

fn as_text(value: &[u8]) -> Option<&str> {
    let utf8 = Utf8StringRef::from_der(value).map(|text| text.as_str());
    utf8.or_else(|_| PrintableStringRef::from_der(value).map(|text| text.as_str())).ok()
}

#[cfg(test)]
mod tests;
