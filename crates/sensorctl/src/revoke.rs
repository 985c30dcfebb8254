//! Revocation: which identities end, and what the service must be told so that it knows. Owns no file but those that it is told
//! to write. R-SECRET-ROTATE, R-DESTROY.

use crate::authority::crl::{Revoked, Written, plain};
use crate::authority::{self, Authority, AuthorityError};
use crate::folder::{self, FolderError};
use crate::powers::{Numbers, PowersError};
use crate::registry::{Event, Identity, Registry, RegistryError, Turn};
use protocol::{DeviceId, KeyId};
use std::collections::BTreeSet;
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
    /// A list has so many revocations that the registry does not know; the serial number of the first one.
    Loses(PathBuf, usize, String),
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
            Self::Loses(path, count, serial) => write!(
                f,
                "{} revokes {count} certificates that the registry does not know as revoked, first the one with the serial \
                 number {serial}: a new list would let them in again, and was not written. Is it the right registry, or an \
                 older copy of it? Where the list is of no use any more, move it away",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RevokeError {}

/// Revokes identities of the devices `ids` in the registry, all of them or none, and gives them. Those that were revoked before
/// are given too where all are to end, so that what the service needs can be had again.
pub fn revoke(
    registry: &mut Turn<'_>,
    ids: &[DeviceId],
    which: Which,
) -> Result<Vec<(DeviceId, Vec<Identity>)>, RevokeError> {
    let chosen = ids.iter().map(|id| Ok((id.clone(), choose(registry, id, which)?)));
    let mut chosen = chosen.collect::<Result<Vec<_>, RevokeError>>()?;
    let revoked = |identity: &Identity| Event::Revoked {
        id: identity.id.clone(),
        key: identity.key.id(),
        serial: identity.serial.clone(),
    };
    let events: Vec<Event> = chosen.iter().flat_map(|(_, identities)| identities).map(revoked).collect();
    registry.append(&events).map_err(RevokeError::Registry)?;
    if which == Which::All {
        for (id, identities) in &mut chosen {
            *identities = registry.records(id).iter().map(|record| record.identity.clone()).collect();
        }
    }
    Ok(chosen)
}

/// The identities in force of a device that end.
fn choose(registry: &Registry, id: &DeviceId, which: Which) -> Result<Vec<Identity>, RevokeError> {
    if registry.records(id).is_empty() {
        return Err(RevokeError::Unknown(id.clone()));
    }
    let mut chosen: Vec<Identity> = registry.in_force(id).cloned().collect();
    let all = chosen.len();
    let is_there = match which {
        Which::All => true,
        Which::AllBut(kept) => {
            chosen.retain(|identity| !identity.key.id().0.starts_with(&kept));
            chosen.len() < all
        }
        Which::Key(key) => {
            chosen.retain(|identity| identity.key.id() == key);
            !chosen.is_empty()
        }
    };
    if is_there { Ok(chosen) } else { Err(RevokeError::NoIdentity(id.clone())) }
}

/// An authority that signs a list, and its folder.
pub struct Issuer {
    folder: PathBuf,
    authority: Authority,
}

impl Issuer {
    /// Opens the authority in `folder`. To be done before anything is revoked: a token may ask for its PIN, or refuse it.
    pub fn open(folder: &Path) -> Result<Self, RevokeError> {
        let authority = Authority::open(folder).map_err(RevokeError::Authority)?;
        Ok(Self { folder: folder.to_owned(), authority })
    }
}

/// Writes the list of revoked certificates of each authority to `ca.crl` in its folder, and all of them to `all`, for a broker
/// that trusts several. Gives the number of certificates in the list and the files.
///
/// The registry does not say who issued a certificate; serial numbers are random, so every list has all of them. All is done
/// in the registry's turn: a list that is written later says all that an earlier one said. One that did not is refused.
pub fn write_lists(
    registry: &Turn<'_>,
    issuers: &[Issuer],
    all: Option<&Path>,
    days: u32,
) -> Result<(usize, Vec<PathBuf>), RevokeError> {
    let now = OffsetDateTime::now_utc();
    let records = || registry.devices().flat_map(|(_, records)| records);
    let revoked: Vec<Revoked> = records()
        .filter(|record| record.identity.until + AFTER_END > now)
        .filter_map(|record| Some(Revoked { serial: record.identity.serial.clone(), at: record.revoked? }))
        .collect();
    // Those that ended long ago may leave the list.
    let known: BTreeSet<Vec<u8>> = records()
        .filter(|record| record.revoked.is_some())
        .map(|record| plain(&record.identity.serial))
        .collect();
    let before = |path: &Path| {
        let written = Written::read(path).map_err(RevokeError::Authority)?;
        let mut lost = written.serials.difference(&known);
        match lost.next() {
            None => Ok(written.number),
            Some(first) => {
                let serial = base16ct::lower::encode_string(first);
                Err(RevokeError::Loses(path.to_owned(), 1 + lost.count(), serial))
            }
        }
    };
    if let Some(all) = all {
        before(all)?;
    }
    let (mut together, mut files) = (String::new(), Vec::new());
    for Issuer { folder, authority } in issuers {
        let file = folder.join(authority::file::CRL);
        // Another registry may be revoked from with the same authority: this waits for it.
        let mut numbers = Numbers::open(folder).map_err(RevokeError::Powers)?;
        numbers.used("crl", before(&file)?);
        let number = numbers.next("crl", 1, None).map_err(RevokeError::Powers)?;
        let list = authority.crl(number, &revoked, days).map_err(RevokeError::Authority)?;
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

    fn end(registry: &mut Registry, id: &DeviceId, which: Which) -> Result<Vec<Identity>, RevokeError> {
        let ended = revoke(&mut registry.turn().unwrap(), std::slice::from_ref(id), which)?;
        Ok(ended.into_iter().flat_map(|(_, identities)| identities).collect())
    }

    fn registered(registry: &mut Registry, id: &str, days: i64) -> Identity {
        let mut serial = vec![0x41; 16];
        crate::signer::random(&mut serial[1..]).unwrap();
        let until = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + Duration::days(days);
        let id = id.parse().unwrap();
        let identity = Identity { id, key: key(), tls: key(), certificate: [0; 32], serial, until };
        registry.append(&[Event::Registered(identity.clone())]).unwrap();
        identity
    }

    #[test]
    fn a_list_that_would_lose_a_revocation_is_refused_and_the_last_one_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        crate::authority::init(&path("ca"), &["localhost".into()], 1).unwrap();
        let issuers = [Issuer::open(&path("ca")).unwrap()];
        let mut registry = Registry::open(&path("registry.jsonl")).unwrap();
        let (first, second) = (registered(&mut registry, "dev-1", 9), registered(&mut registry, "dev-2", 9));
        end(&mut registry, &first.id, Which::All).unwrap();
        std::fs::copy(path("registry.jsonl"), path("older.jsonl")).unwrap();
        end(&mut registry, &second.id, Which::All).unwrap();
        let write = |name: &str, all: Option<&Path>| {
            write_lists(&Registry::open(&path(name)).unwrap().turn().unwrap(), &issuers, all, 30)
        };
        assert_eq!(write("registry.jsonl", None).unwrap().0, 2);
        let last = std::fs::read(path("ca/ca.crl")).unwrap();
        for name in ["older.jsonl", "another.jsonl"] {
            let error = write(name, None).unwrap_err();
            assert!(matches!(&error, RevokeError::Loses(file, ..) if file.ends_with("ca.crl")), "{error}");
            assert_eq!(std::fs::read(path("ca/ca.crl")).unwrap(), last);
        }
        // The list for a broker that trusts several is held to the same.
        std::fs::rename(path("ca/ca.crl"), path("all.crl")).unwrap();
        let error = write("older.jsonl", Some(&path("all.crl"))).unwrap_err();
        assert!(matches!(&error, RevokeError::Loses(file, 1, _) if file.ends_with("all.crl")), "{error}");
        assert!(!path("ca/ca.crl").exists());
        // What cannot be read may say anything.
        std::fs::write(path("ca/ca.crl"), "rubbish").unwrap();
        assert!(matches!(write("registry.jsonl", None), Err(RevokeError::Authority(_))));
        // Numbers that were lost go on above the last list.
        std::fs::write(path("ca/ca.crl"), &last).unwrap();
        std::fs::write(path("ca/numbers.json"), "{}").unwrap();
        write("registry.jsonl", None).unwrap();
        assert_eq!(Written::read(&path("ca/ca.crl")).unwrap().number, 2);
    }

    #[test]
    fn a_revocation_that_ended_long_ago_may_leave_the_list() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        crate::authority::init(&path("ca"), &["localhost".into()], 1).unwrap();
        let issuers = [Issuer::open(&path("ca")).unwrap()];
        let mut registry = Registry::open(&path("registry.jsonl")).unwrap();
        let ended = registered(&mut registry, "dev-1", -8);
        end(&mut registry, &ended.id, Which::All).unwrap();
        let at = OffsetDateTime::now_utc();
        let old = [Revoked { serial: ended.serial, at }];
        std::fs::write(path("ca/ca.crl"), issuers[0].authority.crl(7, &old, 30).unwrap()).unwrap();
        assert_eq!(write_lists(&registry.turn().unwrap(), &issuers, None, 30).unwrap().0, 0);
        let written = Written::read(&path("ca/ca.crl")).unwrap();
        assert_eq!((written.number, written.serials.len()), (8, 0));
    }

    #[test]
    fn every_list_is_signed_by_its_authority_has_a_higher_number_and_every_serial_that_still_matters() {
        let temporary = tempfile::tempdir().unwrap();
        let cas = ["a", "b"].map(|name| temporary.path().join(name));
        for ca in &cas {
            crate::authority::init(ca, &["localhost".into()], 1).unwrap();
        }
        let issuers = cas.each_ref().map(|ca| Issuer::open(ca).unwrap());
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
            end(&mut registry, &id, Which::Key(ended.key.id())).unwrap(),
            std::slice::from_ref(&ended)
        );
        // Nothing ends where the one that is to stay is not there.
        assert!(matches!(end(&mut registry, &id, keep(&ended)), Err(RevokeError::NoIdentity(_))));
        assert_eq!(end(&mut registry, &id, keep(&newest)).unwrap(), std::slice::from_ref(&old));
        assert_eq!(registry.in_force(&id).collect::<Vec<_>>(), [&newest]);
        let all = temporary.path().join("all.crl");
        for number in 1..3u8 {
            assert_eq!(write_lists(&registry.turn().unwrap(), &issuers, Some(&all), 30).unwrap().0, 1);
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
        assert_eq!(end(&mut registry, &id, Which::All).unwrap().len(), 3);
        assert_eq!(registry.active().count(), 0);
        let unknown = end(&mut registry, &"dev-2".parse().unwrap(), Which::All);
        assert!(matches!(unknown, Err(RevokeError::Unknown(_))));
        assert!(matches!(end(&mut registry, &id, Which::Key(old.key.id())), Err(RevokeError::NoIdentity(_))));
    }
}
