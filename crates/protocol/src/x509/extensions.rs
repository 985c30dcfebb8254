//! What a certificate's extensions say (RFC 5280, section 4.2), read for a device's own certificates and for a service's path
//! alike. Passes over what is not critical and not known, never decides what follows from the rest.

use super::X509Error;
use super::der::{inside, next_tag, whole};
use der::asn1::{BitStringRef, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag};

/// The object identifiers id-kp-serverAuth and id-kp-clientAuth, 1.3.6.1.5.5.7.3.1 and .2, with their tag.
pub(super) const SERVER_AUTH: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
pub(super) const CLIENT_AUTH: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// Bits of `KeyUsage` (section 4.2.1.3) in its first byte.
pub(super) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(super) const KEY_CERT_SIGN: u8 = 0x04;

/// The extensions that are known, id-ce with their last arc, each a bit in the set of those seen.
pub(super) const SUBJECT_ALT_NAME: ([u8; 5], u8) = ([0x06, 0x03, 0x55, 0x1d, 17], 1);
pub(super) const BASIC_CONSTRAINTS: ([u8; 5], u8) = ([0x06, 0x03, 0x55, 0x1d, 19], 2);
pub(super) const KEY_USAGE: ([u8; 5], u8) = ([0x06, 0x03, 0x55, 0x1d, 15], 4);
pub(super) const EXTENDED_KEY_USAGE: ([u8; 5], u8) = ([0x06, 0x03, 0x55, 0x1d, 37], 8);
pub(super) const NAME_CONSTRAINTS: ([u8; 5], u8) = ([0x06, 0x03, 0x55, 0x1d, 30], 16);

/// What the extensions say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// `BasicConstraints` says CA.
    pub(super) authority: bool,
    pub(super) path_len: Option<u8>,
    /// `ExtendedKeyUsage`; `None` where there is none, which restricts nothing.
    pub(super) purposes: Option<Purposes>,
    /// The first byte of `KeyUsage`; `None` where there is none, which restricts nothing.
    pub(super) key_usage: Option<u8>,
    /// `NameConstraints` is there, critical or not.
    pub(super) name_constraints: bool,
    /// Something critical is there that a device cannot apply: name constraints, or what is not known here.
    pub(super) not_applied: bool,
}

/// What a certificate's key may be used for, of what matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Purposes {
    pub(super) server_auth: bool,
    pub(super) client_auth: bool,
}

impl Extensions {
    /// True where `KeyUsage` is not there (section 6.1.4 (n): checked if present) or has this bit.
    pub(super) const fn allows(self, usage: u8) -> bool {
        match self.key_usage {
            Some(bits) => bits & usage != 0,
            None => true,
        }
    }

    /// Reads the optional `[3]` at the end of a `TBSCertificate`.
    pub(super) fn read_optional(fields: &mut SliceReader<'_>) -> Result<Self, X509Error> {
        // The unique identifiers, [1] and [2], are no longer written by anybody (RFC 5280, section 4.1.2.8).
        let tag = Tag::ContextSpecific { constructed: true, number: der::TagNumber(3) };
        match next_tag(fields)? {
            None => Ok(Self::default()),
            Some(_) => inside(fields, tag, |explicit| inside(explicit, Tag::Sequence, Self::read)),
        }
    }

    fn read(extensions: &mut SliceReader<'_>) -> Result<Self, X509Error> {
        let (mut found, mut seen) = (Self::default(), 0);
        loop {
            inside(extensions, Tag::Sequence, |extension| found.read_one(extension, &mut seen))?;
            if extensions.is_finished() {
                return Ok(found);
            }
        }
    }

    fn read_one(&mut self, extension: &mut SliceReader<'_>, seen: &mut u8) -> Result<(), X509Error> {
        let name = extension.tlv_bytes()?;
        let critical = next_tag(extension)? == Some(Tag::Boolean);
        // In DER the default, false, is not written.
        if critical && !bool::decode(extension)? {
            return Err(X509Error::Malformed);
        }
        let value = <&OctetStringRef>::decode(extension)?.as_bytes();
        let bit = if name == BASIC_CONSTRAINTS.0 {
            whole(value, |reader| inside(reader, Tag::Sequence, |fields| self.read_constraints(fields)))?;
            BASIC_CONSTRAINTS.1
        } else if name == KEY_USAGE.0 {
            self.key_usage = Some(read_key_usage(value)?);
            KEY_USAGE.1
        } else if name == EXTENDED_KEY_USAGE.0 {
            self.purposes = Some(whole(value, |reader| inside(reader, Tag::Sequence, read_purposes))?);
            EXTENDED_KEY_USAGE.1
        } else if name == NAME_CONSTRAINTS.0 {
            self.name_constraints = true;
            self.not_applied |= critical;
            NAME_CONSTRAINTS.1
        } else if name == SUBJECT_ALT_NAME.0 {
            // Whoever compares names reads it: the port's TLS.
            SUBJECT_ALT_NAME.1
        } else {
            self.not_applied |= critical;
            return Ok(());
        };
        if *seen & bit != 0 {
            return Err(X509Error::DuplicateExtension);
        }
        *seen |= bit;
        Ok(())
    }

    fn read_constraints(&mut self, fields: &mut SliceReader<'_>) -> Result<(), X509Error> {
        if next_tag(fields)? == Some(Tag::Boolean) {
            self.authority = bool::decode(fields)?;
            if !self.authority {
                return Err(X509Error::Malformed);
            }
        }
        if next_tag(fields)?.is_some() {
            // A path length is an authority's only.
            let path_len = u8::decode(fields)?;
            self.path_len = if self.authority { Some(path_len) } else { return Err(X509Error::Malformed) };
        }
        Ok(())
    }
}

fn read_key_usage(value: &[u8]) -> Result<u8, X509Error> {
    let bits = whole(value, |reader| Ok(BitStringRef::decode(reader)?))?;
    bits.raw_bytes().first().copied().ok_or(X509Error::Malformed)
}

fn read_purposes(uses: &mut SliceReader<'_>) -> Result<Purposes, X509Error> {
    let mut found = Purposes::default();
    loop {
        if next_tag(uses)? != Some(Tag::ObjectIdentifier) {
            return Err(X509Error::Malformed);
        }
        let purpose = uses.tlv_bytes()?;
        found.server_auth |= purpose == SERVER_AUTH;
        found.client_auth |= purpose == CLIENT_AUTH;
        if uses.is_finished() {
            return Ok(found);
        }
    }
}
