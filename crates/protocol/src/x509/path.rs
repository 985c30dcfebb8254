//! The rule for the certificates that vouch for a service, the same on every port (RFC 5280, section 6, made stricter). Owns
//! what a device takes of a path and the name of every fault; signatures, host names and the dates of what the service sends
//! are the port's TLS library's to check, beside it. R-TLS-SERVER, R-ROOTS.
//!
//! Stricter than the RFC, so that two libraries cannot disagree: names are equal only byte for byte, one kind of key and one
//! signature algorithm are taken, name constraints are refused wherever they stand, a root is judged like every other authority
//! and by its dates, a path has a limit, and what no library could read is refused though it stands beside the path.

use super::certificate::{VERSION_3, read_time};
use super::der::{ECDSA_WITH_SHA256, inside, read_key, whole};
use super::extensions::{DIGITAL_SIGNATURE, Extensions, KEY_CERT_SIGN};
use super::{Certificate, X509Error};
use crate::document::ROOTS_MAX;
use crate::reason::named;
use crate::{EpochMillis, Failure};
use core::fmt;
use der::{Reader, SliceReader, Tag};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Most certificates between a service's own and the root.
pub const INTERMEDIATES_MAX: usize = 6;

/// Longest message in bytes with which a service may show its certificates: TLS's handshake message `Certificate` (RFC 8446,
/// section 4.4.2; RFC 5246, section 7.4.2) with its header of 4 bytes.
pub const CHAIN_MESSAGE_BYTES_MAX: usize = 4096;

/// Of that message, the bytes around the certificates: header, context and length of the list.
const MESSAGE_OVERHEAD: usize = 8;

/// And those around each: its length, and the length of its extensions, of which a device asks for none.
const ENTRY_OVERHEAD: usize = 5;

/// Most certificates of a path: the service's own, those between, the root.
const PATH_MAX: usize = INTERMEDIATES_MAX + 2;

named! {
    /// Why a path of certificates is refused.
    PathFault {
        Malformed = "malformed", "it is not the DER that RFC 5280 wants, or has an extension twice";
        Version = "version", "its version is another than 3";
        CriticalExtension = "critical_extension", "it has a critical extension that devices do not know";
        Algorithm = "algorithm", "its key is no uncompressed point on P-256, or it is signed with another algorithm than ecdsa-with-SHA256";
        NameConstraints = "name_constraints", "it has name constraints, which not all devices can apply: they take none, critical or not";
        IssuerName = "issuer_name", "its issuer's name is not, byte for byte, that of the certificate above it";
        IssuerNotCa = "issuer_not_ca", "it issues certificates and is no authority: its basic constraints do not say CA";
        IssuerUsage = "issuer_usage", "it issues certificates and may not: its key usage lacks keyCertSign, or its extended key usage serverAuth";
        PathLength = "path_length", "more authorities stand below it than its path length allows";
        ChainTooLong = "chain_too_long", "the chain is longer than devices take: 6 certificates between server and root, 4096 bytes as a TLS message";
        LeafIsAuthority = "leaf_is_authority", "the server's own certificate is an authority's";
        LeafUsage = "leaf_usage", "the server's own certificate is not for TLS servers: its key usage lacks digitalSignature, or its extended key usage serverAuth";
        RootEnded = "root_ended", "it is a root and has ended";
        RootNotYetValid = "root_not_yet_valid", "it is a root and not yet valid";
    }
}

impl core::error::Error for PathFault {}

impl From<PathFault> for Failure {
    fn from(fault: PathFault) -> Self {
        match fault {
            PathFault::Malformed => Self::TlsMalformed,
            PathFault::Version => Self::TlsCertificateVersion,
            PathFault::CriticalExtension => Self::TlsCriticalExtension,
            PathFault::Algorithm => Self::TlsAlgorithm,
            PathFault::NameConstraints => Self::TlsNameConstraints,
            PathFault::IssuerName => Self::TlsUnknownIssuer,
            PathFault::IssuerNotCa => Self::TlsIssuerNotCa,
            PathFault::IssuerUsage => Self::TlsIssuerUsage,
            PathFault::PathLength => Self::TlsPathLength,
            PathFault::ChainTooLong => Self::TlsChainTooLong,
            PathFault::LeafIsAuthority => Self::TlsSelfSigned,
            PathFault::LeafUsage => Self::TlsUsage,
            PathFault::RootEnded => Self::TlsRootEnded,
            PathFault::RootNotYetValid => Self::TlsRootNotYetValid,
        }
    }
}

/// One certificate of a path, whoever signed it.
#[derive(Clone, Copy)]
struct Member<'b> {
    issuer: &'b [u8],
    subject: &'b [u8],
    not_before: EpochMillis,
    not_after: EpochMillis,
    /// What is signed says that it is signed with ecdsa-with-SHA256.
    es256: bool,
    /// What it says, or what is wrong with it, found after the names were read.
    form: Result<Extensions, PathFault>,
}

impl<'b> Member<'b> {
    fn decode(der: &'b [u8]) -> Result<Self, PathFault> {
        let read = whole(der, |reader| {
            inside(reader, Tag::Sequence, |certificate| {
                let member = inside(certificate, Tag::Sequence, Self::read)?;
                let same = certificate.tlv_bytes()? == ECDSA_WITH_SHA256;
                // The signature itself: the TLS library's.
                certificate.tlv_bytes()?;
                let form =
                    member.form.and_then(|form| if same { Ok(form) } else { Err(PathFault::Algorithm) });
                Ok(Self { form, ..member })
            })
        });
        read.map_err(|_| PathFault::Malformed)
    }

    fn read(fields: &mut SliceReader<'b>) -> Result<Self, X509Error> {
        // Version 1 is not written at all: the serial number stands in its place.
        let first = fields.tlv_bytes()?;
        let version_3 = first == VERSION_3;
        if first.first() == VERSION_3.first() {
            fields.tlv_bytes()?;
        }
        let es256 = fields.tlv_bytes()? == ECDSA_WITH_SHA256;
        let issuer = fields.tlv_bytes()?;
        let (not_before, not_after) =
            inside(fields, Tag::Sequence, |validity| Ok((read_time(validity)?, read_time(validity)?)))?;
        let subject = fields.tlv_bytes()?;
        let key = whole(fields.tlv_bytes()?, read_key);
        let mut extensions = Ok(Extensions::default());
        while !fields.is_finished() {
            // Apart, so that the names are known whatever stands in there.
            let read = whole(fields.tlv_bytes()?, Extensions::read_optional);
            extensions = extensions.and(read.map_err(|_| PathFault::Malformed));
        }
        if !version_3 {
            extensions = Err(PathFault::Version);
        }
        if not_after < not_before {
            return Err(X509Error::Dates);
        }
        let form = extensions.and_then(|extensions| match key {
            Ok(_) if es256 => Ok(extensions),
            Ok(_) | Err(X509Error::KeyType | X509Error::Key) => Err(PathFault::Algorithm),
            Err(_) => Err(PathFault::Malformed),
        });
        Ok(Self { issuer, subject, not_before, not_after, es256, form })
    }

    /// Its extensions, where nothing is wrong with it whatever its place in the path.
    fn extensions(&self) -> Result<Extensions, PathFault> {
        let extensions = self.form?;
        if extensions.name_constraints {
            return Err(PathFault::NameConstraints);
        }
        if extensions.not_applied { Err(PathFault::CriticalExtension) } else { Ok(extensions) }
    }

    /// Whether it may be the server's own.
    fn check_leaf(&self) -> Result<(), PathFault> {
        let extensions = self.extensions()?;
        if extensions.authority {
            return Err(PathFault::LeafIsAuthority);
        }
        let serves = extensions.purposes.is_none_or(|purposes| purposes.server_auth);
        if serves && extensions.allows(DIGITAL_SIGNATURE) { Ok(()) } else { Err(PathFault::LeafUsage) }
    }

    /// Whether it may issue, with so many authorities between it and the server.
    fn check_issuer(&self, between: usize) -> Result<(), PathFault> {
        let extensions = self.extensions()?;
        if !extensions.authority {
            return Err(PathFault::IssuerNotCa);
        }
        let serves = extensions.purposes.is_none_or(|purposes| purposes.server_auth);
        if !(serves && extensions.allows(KEY_CERT_SIGN)) {
            return Err(PathFault::IssuerUsage);
        }
        match extensions.path_len {
            Some(most) if between > usize::from(most) => Err(PathFault::PathLength),
            _ => Ok(()),
        }
    }

    /// Whether it may be the root at `time`.
    fn check_root(&self, between: usize, time: EpochMillis) -> Result<(), PathFault> {
        if time.seconds() > self.not_after.seconds() {
            return Err(PathFault::RootEnded);
        }
        if time.seconds() < self.not_before.seconds() {
            return Err(PathFault::RootNotYetValid);
        }
        self.check_issuer(between)
    }
}

/// Judges a whole path at `time`: the server's own certificate first, each one's issuer behind it, the trusted root last, all
/// in DER. Of several faults, the one nearest the root is named.
pub fn judge(path: &[&[u8]], time: EpochMillis) -> Result<(), PathFault> {
    let Some((leaf, issuers)) = path.split_first() else { return Err(PathFault::IssuerName) };
    if path.len() > PATH_MAX {
        return Err(PathFault::ChainTooLong);
    }
    let mut above: Option<Member<'_>> = None;
    for (between, der) in issuers.iter().enumerate().rev() {
        let member = Member::decode(der)?;
        match above {
            None => member.check_root(between, time)?,
            Some(issuer) if issuer.subject != member.issuer => return Err(PathFault::IssuerName),
            Some(_) => member.check_issuer(between)?,
        }
        above = Some(member);
    }
    let leaf = Member::decode(leaf)?;
    leaf.check_leaf()?;
    match above {
        Some(issuer) if issuer.subject == leaf.issuer => Ok(()),
        _ => Err(PathFault::IssuerName),
    }
}

/// Judges the message that would carry certificates of these lengths in bytes.
pub fn check_length(certificates: impl IntoIterator<Item = usize>) -> Result<(), PathFault> {
    let entries = certificates
        .into_iter()
        .fold(MESSAGE_OVERHEAD, |sum, len| sum.saturating_add(ENTRY_OVERHEAD).saturating_add(len));
    if entries > CHAIN_MESSAGE_BYTES_MAX { Err(PathFault::ChainTooLong) } else { Ok(()) }
}

/// Judges each certificate that the service `sent` by itself, its own first, whether a path leads through it or not: some
/// libraries give up at the first that they cannot read. One behind the first that is signed with another algorithm is passed over,
/// as they do: services show such for others than devices.
pub fn check_sent(sent: &[&[u8]]) -> Result<(), PathFault> {
    for (place, der) in sent.iter().enumerate() {
        let member = Member::decode(der)?;
        if place == 0 || member.es256 {
            member.extensions()?;
        }
    }
    Ok(())
}

/// Why the port's TLS library did not get from what the service `sent`, its own certificate first, to one of `roots`: the
/// fault of [`check_sent`], or the first on the way that the names show; `None` where the rule has nothing against it, or the way
/// ends before a root, so that the library's own verdict is the better one. Nothing here is verified: it is for a name only. Where the library has
/// not found the signatures good (`proven`), the dates of a root are no reason: everybody can write a root's name into a
/// certificate, and the device must not doubt its clock because of it.
pub fn explain(sent: &[&[u8]], roots: &[&[u8]], time: EpochMillis, proven: bool) -> Option<PathFault> {
    let fault = match check_sent(sent) {
        Err(fault) => Some(fault),
        Ok(()) => match walk(sent, roots, time) {
            Ok(path) => judge(&path, time).err(),
            Err(fault) => fault,
        },
    };
    fault.filter(|fault| proven || !matches!(fault, PathFault::RootEnded | PathFault::RootNotYetValid))
}

/// Whether the names lead from what the service `sent` to one of `roots`: where a library that does not say more trusts none of
/// it, a signature is wrong.
pub fn leads_to_a_root(sent: &[&[u8]], roots: &[&[u8]], time: EpochMillis) -> bool {
    walk(sent, roots, time).is_ok()
}

/// The path that the names show, up to a root, or what is in its way.
fn walk<'b>(
    sent: &[&'b [u8]],
    roots: &[&'b [u8]],
    time: EpochMillis,
) -> Result<Vec<&'b [u8], PATH_MAX>, Option<PathFault>> {
    let mut path = Vec::<&'b [u8], PATH_MAX>::new();
    let mut below = sent.first().copied().ok_or(None)?;
    loop {
        let between = path.len();
        if path.push(below).is_err() {
            return Err(Some(PathFault::ChainTooLong));
        }
        let issuer = match Member::decode(below) {
            Ok(member) => member.issuer,
            Err(fault) => return Err(Some(fault)),
        };
        let is_issuer = |der: &&&[u8]| Member::decode(der).is_ok_and(|member| member.subject == issuer);
        let mut named = roots.iter().filter(is_issuer);
        // Of several with one name, the library takes one that it may take.
        let fits =
            |der: &&&[u8]| Member::decode(der).is_ok_and(|root| root.check_root(between, time).is_ok());
        if let Some(root) = named.clone().find(fits).or_else(|| named.next()) {
            return match path.push(root) {
                Ok(()) => Ok(path),
                Err(_) => Err(Some(PathFault::ChainTooLong)),
            };
        }
        let mut others = sent.iter().filter(|der| !path.contains(der)).filter(is_issuer);
        let fits = |der: &&&[u8]| Member::decode(der).is_ok_and(|ca| ca.check_issuer(between).is_ok());
        match others.clone().find(fits).or_else(|| others.next()) {
            Some(issuer) => below = issuer,
            None => return Err(None),
        }
    }
}

/// Why a list of roots is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootsError {
    /// There is none, or there are more than [`ROOTS_MAX`].
    Count,
    /// One is no certificate that a device can hold as a root.
    Form {
        /// Which, from 1.
        number: usize,
        /// Why.
        error: X509Error,
    },
    /// One could vouch for no service.
    Unfit {
        /// Which, from 1.
        number: usize,
        /// Why.
        fault: PathFault,
    },
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => write!(f, "a list of roots has 1 to {ROOTS_MAX} certificates"),
            Self::Form { number, error } => {
                write!(f, "root {number} cannot be taken: {error} ({})", error.as_str())
            }
            Self::Unfit { number, fault } => {
                write!(f, "root {number} cannot be taken: {fault} ({})", fault.as_str())
            }
        }
    }
}

impl core::error::Error for RootsError {}

/// Whether devices take these certificates, in DER, as their list of roots: each one could vouch for a service, and has not
/// ended at `time`. One that begins later may wait in the list.
pub fn check_roots(roots: &[&[u8]], time: EpochMillis) -> Result<(), RootsError> {
    if roots.is_empty() || roots.len() > ROOTS_MAX {
        return Err(RootsError::Count);
    }
    for (number, der) in (1..).zip(roots) {
        let unfit = |fault| RootsError::Unfit { number, fault };
        let root = Member::decode(der).map_err(unfit)?;
        if time >= root.not_after {
            return Err(unfit(PathFault::RootEnded));
        }
        root.check_issuer(0).map_err(unfit)?;
        Certificate::decode(der).map_err(|error| RootsError::Form { number, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
