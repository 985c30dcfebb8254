//! Revocation: which identities end, and what the service must be told so that it knows. Owns no file but those that it is told
//! to write. R-SECRET-ROTATE, R-DESTROY.

use crate::authority::crl::Revoked;
use crate::authority::{Authority, AuthorityError};
use crate::folder::{self, FolderError};
use crate::powers::{Numbers, PowersError};
use crate::registry::{Event, Identity, Registry, RegistryError};
use protocol::{DeviceId, KeyId};
use std::fmt;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// Days for which a list of revoked certificates is good, unless told otherwise.
pub const LIST_DAYS: u32 = 30;

/// How long a revoked certificate stays in the list after its own end: clocks differ.
const AFTER_END: Duration = Duration::days(7);

/// Which of a device's identities end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// All but the one whose key's id begins like this: what the device's identity/state says.
    AllBut([u8; 8]),
    /// The one with this identity key.
    Key(KeyId),
}

/// Why nothing was revoked.
#[derive(Debug)]
pub enum RevokeError {
    /// The registry.
    Registry(RegistryError),
    /// The registry has never heard of this device.
    Unknown(DeviceId),
    /// The device has no such identity in force.
    NoIdentity(DeviceId),
    /// The list.
    Authority(AuthorityError),
    /// The list's number.
    Powers(PowersError),
    /// The list's file.
    Folder(FolderError),
}

impl fmt::Display for RevokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(error) => error.fmt(f),
            Self::Unknown(id) => write!(f, "the registry has never heard of {id}"),
            Self::NoIdentity(id) => write!(f, "{id} has no identity in force with this key"),
            Self::Authority(error) => error.fmt(f),
            Self::Powers(error) => error.fmt(f),
            Self::Folder(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RevokeError {}

/// Revokes identities of the device `id` in the registry and gives them. Those that were revoked before are given too where
/// all are to end, so that what the service needs can be had again.
pub fn revoke(registry: &mut Registry, id: &DeviceId, which: Which) -> Result<Vec<Identity>, RevokeError> {
    registry.refresh().map_err(RevokeError::Registry)?;
    if registry.records(id).is_empty() {
        return Err(RevokeError::Unknown(id.clone()));
    }
    let (mut chosen, mut kept_one) = (Vec::new(), true);
    registry
        .append_if(|registry| {
            let mut in_force: Vec<Identity> = registry.in_force(id).cloned().collect();
            match which {
                Which::All => {}
                Which::AllBut(kept) => {
                    let all = in_force.len();
                    in_force.retain(|identity| !identity.key.id().0.starts_with(&kept));
                    kept_one = in_force.len() < all;
                    if !kept_one {
                        in_force.clear();
                    }
                }
                Which::Key(key) => in_force.retain(|identity| identity.key.id() == key),
            }
            chosen = in_force;
            let revoked = |identity: &Identity| Event::Revoked {
                id: id.clone(),
                key: identity.key.id(),
                serial: identity.serial.clone(),
            };
            chosen.iter().map(revoked).collect()
        })
        .map_err(RevokeError::Registry)?;
    match which {
        Which::All => Ok(registry.records(id).iter().map(|record| record.identity.clone()).collect()),
        Which::Key(_) if chosen.is_empty() => Err(RevokeError::NoIdentity(id.clone())),
        Which::AllBut(_) if !kept_one => Err(RevokeError::NoIdentity(id.clone())),
        Which::AllBut(_) | Which::Key(_) => Ok(chosen),
    }
}

/// Writes the list of revoked certificates for each authority's folder in `cas` to its `ca.crl`, and all of them to `all`,
/// for a broker that trusts several. Gives the number of certificates in the list and the files.
///
/// The registry does not say who issued a certificate; serial numbers are random, so every list has all of them.
pub fn write_lists(
    registry: &Registry,
    cas: &[PathBuf],
    all: Option<&Path>,
    days: u32,
) -> Result<(usize, Vec<PathBuf>), RevokeError> {
    let now = OffsetDateTime::now_utc();
    let records = registry.devices().flat_map(|(_, records)| records);
    let revoked: Vec<Revoked> = records
        .filter(|record| record.identity.until + AFTER_END > now)
        .filter_map(|record| Some(Revoked { serial: record.identity.serial.clone(), at: record.revoked? }))
        .collect();
    let (mut together, mut files) = (String::new(), Vec::new());
    for ca in cas {
        let authority = Authority::open(ca).map_err(RevokeError::Authority)?;
        let mut numbers = Numbers::open(ca).map_err(RevokeError::Powers)?;
        let number = numbers.next("crl", 1, None).map_err(RevokeError::Powers)?;
        let list = authority.crl(number, &revoked, days).map_err(RevokeError::Authority)?;
        let file = ca.join(crate::authority::file::CRL);
        folder::replace(&file, list.as_bytes()).map_err(RevokeError::Folder)?;
        files.push(file);
        together.push_str(&list);
    }
    if let Some(all) = all {
        folder::replace(all, together.as_bytes()).map_err(RevokeError::Folder)?;
        files.push(all.to_owned());
    }
    Ok((revoked.len(), files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::random_key;
    use protocol::PublicKey;
    use rustls::pki_types::CertificateRevocationListDer;
    use rustls::pki_types::pem::PemObject;
    use x509_parser::prelude::{CertificateRevocationList, FromDer, RevokedCertificate, X509Certificate};

    fn key() -> PublicKey {
        PublicKey::new(&random_key().unwrap().public_key().to_sec1_bytes()).unwrap()
    }

    #[test]
    fn every_list_is_signed_by_its_authority_has_a_higher_number_and_every_serial_that_still_matters() {
        let temporary = tempfile::tempdir().unwrap();
        let cas = ["a", "b"].map(|name| temporary.path().join(name));
        for ca in &cas {
            crate::authority::init(ca, &["localhost".into()], 1).unwrap();
        }
        let mut registry = Registry::open(&temporary.path().join("registry.jsonl")).unwrap();
        let id: DeviceId = "dev-1".parse().unwrap();
        let authority = Authority::open(&cas[0]).unwrap();
        let mut register = |days| {
            let issued = authority.issue_device(&id, &key(), 1).unwrap();
            let until = OffsetDateTime::now_utc() + Duration::days(days);
            let certificate = issued.fingerprint();
            let serial = issued.serial;
            let identity = Identity { id: id.clone(), key: key(), tls: key(), certificate, serial, until };
            registry.append(&[Event::Registered(identity.clone())]).unwrap();
            identity
        };
        let (ended, old, newest) = (register(-30), register(1), register(1));
        let keep = |identity: &Identity| Which::AllBut(*identity.key.id().0.first_chunk().unwrap());
        assert_eq!(
            revoke(&mut registry, &id, Which::Key(ended.key.id())).unwrap(),
            std::slice::from_ref(&ended)
        );
        // Nothing ends where the one that is to stay is not there.
        assert!(matches!(revoke(&mut registry, &id, keep(&ended)), Err(RevokeError::NoIdentity(_))));
        assert_eq!(revoke(&mut registry, &id, keep(&newest)).unwrap(), std::slice::from_ref(&old));
        assert_eq!(registry.in_force(&id).collect::<Vec<_>>(), [&newest]);
        let all = temporary.path().join("all.crl");
        for number in 1..3u8 {
            assert_eq!(write_lists(&registry, &cas, Some(&all), 30).unwrap().0, 1);
            for ca in &cas {
                let der = CertificateRevocationListDer::from_pem_file(ca.join("ca.crl")).unwrap();
                let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
                let root = rustls::pki_types::CertificateDer::from_pem_file(ca.join("ca.crt")).unwrap();
                let (_, root) = X509Certificate::from_der(&root).unwrap();
                list.verify_signature(root.public_key()).unwrap();
                assert_eq!(list.crl_number().unwrap().to_bytes_be(), [number]);
                let serials: Vec<_> =
                    list.iter_revoked_certificates().map(RevokedCertificate::raw_serial).collect();
                assert_eq!(serials, [old.serial.as_slice()]);
            }
        }
        let text = std::fs::read_to_string(&all).unwrap();
        assert_eq!(text.matches("BEGIN X509 CRL").count(), 2);
        assert_eq!(revoke(&mut registry, &id, Which::All).unwrap().len(), 3);
        assert_eq!(registry.active().count(), 0);
        let unknown = revoke(&mut registry, &"dev-2".parse().unwrap(), Which::All);
        assert!(matches!(unknown, Err(RevokeError::Unknown(_))));
        assert!(matches!(
            revoke(&mut registry, &id, Which::Key(old.key.id())),
            Err(RevokeError::NoIdentity(_))
        ));
    }
}
