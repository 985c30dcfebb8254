//! The registration authority: a device asks with the identity it has for a certificate for new keys, and gets it where
//! everything fits. Owns the decision and the copies of issued certificates; never a connection ([`run`]). R-SECRET-ROTATE,
//! R-TLS-CLIENT.
//!
//! The new identity is in the registry, on the disk, before the device hears of it: whatever is cut, a device that uses its
//! new key is known. A request that comes again gets the same certificate again.

pub mod run;

use crate::authority::{Authority, AuthorityError, Issued};
use crate::folder::{self, FolderError, io_error};
use crate::powers::{self, LiveKey, PowersError};
use crate::registry::{Event, Identity, Record, Registry, RegistryError, Turn};
use protocol::document::{Audience, Certificates, IdentityCertificate, KeyUse, RenewalRequest};
use protocol::signed::Envelope;
use protocol::x509::{Csr, X509Error};
use protocol::{DeviceId, KeyId, PublicKey, Refusal};
use std::fmt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Most identities that a device may have in force at the same time. A device that is cut off again and again while it renews
/// needs a few; one that asks without end is stopped.
pub const IDENTITIES_MAX: usize = 16;

/// Which devices get a certificate though their own has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lapsed {
    /// None.
    Refused,
    /// These, or every one where none is named, until then: the operator's window.
    Until(OffsetDateTime, Vec<DeviceId>),
    /// Those that a person has in hand, on a line.
    OnLine,
}

/// Why a device whose certificate has ended gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// There is no window for such devices.
    Closed,
    /// It is over since then.
    Over(OffsetDateTime),
    /// It is for other devices.
    Others,
}

impl Lapsed {
    fn check(&self, device: &DeviceId, now: OffsetDateTime) -> Result<(), Shut> {
        match self {
            Self::OnLine => Ok(()),
            Self::Refused => Err(Shut::Closed),
            Self::Until(end, _) if now >= *end => Err(Shut::Over(*end)),
            Self::Until(_, devices) if devices.is_empty() || devices.contains(device) => Ok(()),
            Self::Until(..) => Err(Shut::Others),
        }
    }
}

/// Why a request is not granted.
#[derive(Debug)]
pub enum RenewError {
    /// It is no such request, or its signature is wrong.
    Refused(Refusal),
    /// It is signed with a key that is not registered.
    UnknownKey(KeyId),
    /// It is signed with the key of another device.
    OtherDevice(DeviceId),
    /// It is signed with a key that was revoked.
    Revoked(KeyId),
    /// It is signed with a key whose certificate has ended then, and the device is not let in again.
    Lapsed(OffsetDateTime, Shut),
    /// It says that it comes from another device than its topic.
    Audience,
    /// A request for a certificate inside is none.
    Request(KeyUse, X509Error),
    /// A request for a certificate inside is for another id.
    OtherId(DeviceId),
    /// Both requests inside are for one key.
    SameKey,
    /// A key that was or is used already: whose.
    KeyUsed(DeviceId),
    /// The device has too many identities in force.
    TooMany,
    /// There is no higher number than the one that the device has.
    Number,
    /// The certificate could not be issued.
    Authority(AuthorityError),
    /// The answer could not be signed.
    Powers(PowersError),
    /// The registry.
    Registry(RegistryError),
    /// The copy of the certificate.
    Folder(FolderError),
}

impl fmt::Display for RenewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::UnknownKey(key) => write!(f, "it is signed with the key {key}, which is not registered"),
            Self::OtherDevice(id) => write!(f, "it is signed with a key of {id}"),
            Self::Revoked(key) => write!(f, "it is signed with the key {key}, which was revoked"),
            Self::Lapsed(ended, shut) => {
                write!(f, "the device's certificate ended on {}", date(*ended))?;
                match shut {
                    Shut::Closed => f.write_str(
                        ": give it a new one over the factory's line, or let such devices in for a while with --lapsed",
                    ),
                    Shut::Over(end) => write!(f, ", and the time of --lapsed was over on {}", date(*end)),
                    Shut::Others => f.write_str(", and --lapsed names other devices"),
                }
            }
            Self::Audience => f.write_str("it names another device than its topic"),
            Self::Request(KeyUse::Identity, error) => write!(f, "the request for the identity key: {error}"),
            Self::Request(KeyUse::Tls, error) => write!(f, "the request for the TLS key: {error}"),
            Self::OtherId(id) => write!(f, "it asks for a certificate as {id}"),
            Self::SameKey => f.write_str("it asks for two certificates for one key"),
            Self::KeyUsed(id) => write!(f, "a key in it is not new: it was registered for {id}"),
            Self::TooMany => write!(
                f,
                "the device has {IDENTITIES_MAX} identities in force: look after it, then use `sensorctl revoke --keep`"
            ),
            Self::Number => f.write_str("the number of the device's certificate is the highest there is"),
            Self::Authority(error) => error.fmt(f),
            Self::Powers(error) => error.fmt(f),
            Self::Registry(error) => error.fmt(f),
            Self::Folder(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RenewError {}

impl RenewError {
    /// True where it is this side that failed: the request is good and to be tried again.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Authority(_) | Self::Powers(_) | Self::Registry(_) | Self::Folder(_))
    }
}

impl From<Refusal> for RenewError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RegistryError> for RenewError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

/// A request that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The signed answer.
    pub document: Vec<u8>,
    /// The new identity.
    pub identity: Identity,
    /// The key that the request was signed with.
    pub signer: KeyId,
    /// The same was asked for before.
    pub repeated: bool,
}

/// Decides about requests.
pub struct Registrar {
    /// Issues the certificates.
    pub issuer: Authority,
    /// The key of the power over configurations, which certificates are sent with.
    pub signer: LiveKey,
    /// Who has which identity.
    pub registry: Registry,
    /// Where copies of the certificates are.
    pub issued: PathBuf,
    /// Days for which certificates are valid.
    pub days: u32,
    /// Who gets one though its own has ended.
    pub lapsed: Lapsed,
}

/// A point in time as people read it.
pub fn date(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

impl Registrar {
    /// Decides about what came in on `device`'s topic.
    pub fn decide(&mut self, device: &DeviceId, request: &[u8]) -> Result<Granted, RenewError> {
        let envelope = Envelope::decode(request)?;
        // Nobody revokes and nobody else grants between what is decided here and what is written.
        let Self { issuer, signer: power, registry, issued, days, lapsed } = self;
        let (copies, mut registry) = (Copies { folder: issued, days: *days }, registry.turn()?);
        let signer = envelope.signer();
        let known = registry.records(device).iter().filter(|record| record.identity.key.id() == signer);
        // A key that has several certificates counts until the last of them ends.
        let in_force = known.clone().filter(|record| record.revoked.is_none());
        let key = match in_force.max_by_key(|record| record.identity.until) {
            Some(Record { identity: Identity { key, until, .. }, .. }) => {
                let now = OffsetDateTime::now_utc();
                if *until <= now {
                    lapsed.check(device, now).map_err(|shut| RenewError::Lapsed(*until, shut))?;
                }
                *key
            }
            None if known.count() > 0 => return Err(RenewError::Revoked(signer)),
            None => {
                let owner = registry.owner(&signer).cloned();
                return Err(owner.map_or(RenewError::UnknownKey(signer), RenewError::OtherDevice));
            }
        };
        let request = envelope.verify::<RenewalRequest<'_>>(&key)?;
        if request.audience != Audience::Device(device.clone()) {
            return Err(RenewError::Audience);
        }
        let read = |usage, der| {
            let csr = Csr::decode(der).map_err(|error| RenewError::Request(usage, error))?;
            if csr.id == *device { Ok(csr.key) } else { Err(RenewError::OtherId(csr.id)) }
        };
        let identity = read(KeyUse::Identity, request.identity_csr)?;
        let tls = read(KeyUse::Tls, request.tls_csr)?;
        if identity == tls {
            return Err(RenewError::SameKey);
        }
        let number = request.number.checked_add(1).ok_or(RenewError::Number)?;
        let same = |known: &&Identity| known.key == identity && known.tls == tls;
        let before = registry.in_force(device).rev().find(same).cloned();
        let copy = before.and_then(|identity| copies.find(&identity).map(|der| (identity, der)));
        let repeated = copy.is_some();
        let (new, der) = match copy {
            Some(copy) => copy,
            None => issue(&mut registry, issuer, &copies, device, (identity, tls))?,
        };
        let mut chain = Certificates::default();
        // One always fits.
        let _ = chain.0.push(der.as_slice());
        let audience = Audience::Device(device.clone());
        let answer = IdentityCertificate { audience, number, identity: new.key.id(), chain };
        let document = powers::sign(&power.now(), &answer).map_err(RenewError::Powers)?;
        Ok(Granted { document, identity: new, signer, repeated })
    }
}

/// A new certificate for the two keys, which is in the registry when this gives it.
fn issue(
    registry: &mut Turn<'_>,
    issuer: &Authority,
    copies: &Copies<'_>,
    device: &DeviceId,
    (key, tls): (PublicKey, PublicKey),
) -> Result<(Identity, Vec<u8>), RenewError> {
    // A certificate that was issued for both of them and got lost may be issued again.
    let together = registry.in_force(device).any(|known| known.key == key && known.tls == tls);
    let used = [key, tls].into_iter().find_map(|key| registry.owner(&key.id()).cloned());
    if let (Some(owner), false) = (used, together) {
        return Err(RenewError::KeyUsed(owner));
    }
    let now = OffsetDateTime::now_utc();
    if registry.in_force(device).filter(|identity| identity.until > now).count() >= IDENTITIES_MAX {
        return Err(RenewError::TooMany);
    }
    let made = issuer.issue_device(device, &tls, copies.days).map_err(RenewError::Authority)?;
    copies.keep(&made)?;
    let (certificate, until) = (made.fingerprint(), made.until);
    let identity = Identity { id: device.clone(), key, tls, certificate, serial: made.serial, until };
    registry.append(&[Event::Registered(identity.clone())])?;
    Ok((identity, made.der))
}

/// The copies of certificates.
struct Copies<'r> {
    folder: &'r Path,
    days: u32,
}

impl Copies<'_> {
    fn place(&self, serial: &[u8]) -> PathBuf {
        self.folder.join(format!("{}.der", base16ct::lower::encode_string(serial)))
    }

    fn keep(&self, issued: &Issued) -> Result<(), RenewError> {
        let made = std::fs::create_dir_all(self.folder);
        made.map_err(|error| RenewError::Folder(io_error("make", self.folder)(error)))?;
        folder::replace(&self.place(&issued.serial), &issued.der).map_err(RenewError::Folder)
    }

    /// The certificate of an identity, where there is a copy of exactly that one and a third of its life is left.
    fn find(&self, identity: &Identity) -> Option<Vec<u8>> {
        let der = std::fs::read(self.place(&identity.serial)).ok()?;
        let left = identity.until - OffsetDateTime::now_utc();
        let fresh = left.whole_seconds() * 3 > i64::from(self.days) * 86_400;
        (fresh && protocol::key::sha256(&[&der]) == identity.certificate).then_some(der)
    }
}

/// Where the copies of an authority's certificates are.
pub fn issued_folder(ca: &Path) -> PathBuf {
    ca.join("issued")
}

#[cfg(test)]
mod tests;
