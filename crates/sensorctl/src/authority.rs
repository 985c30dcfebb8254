//! The test authority: its root certificate and the certificates it issues. Owns the root key on disk; trusts nothing
//! it has not checked against its own certificate. A real fleet has its own public key infrastructure in this place.
//! R-TLS-CLIENT, R-TLS-SERVER.
//!
//! All keys are ECDSA P-256. The authority's name is derived from its key, so that the key alone tells the issuer's
//! name.

pub mod crl;
mod error;
pub mod issue;
pub mod service;

pub use error::AuthorityError;
pub use issue::Issued;

use crate::folder::{self, NewFolder};
use crate::signer::{self, Home, Signer, SignerError};
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use protocol::PublicKey;
use protocol::id::OPERATOR;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore};
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// Days for which the root certificate is valid.
pub const ROOT_DAYS: u32 = 3_650;
/// Days for which certificates of the broker and of the operator are valid, unless told otherwise.
pub const SERVICE_DAYS: u32 = 365;
/// Seconds by which a certificate is valid before it was made: clocks differ.
pub const BACKDATED_S: u64 = 86_400;
/// Days for which any certificate other than the root may be valid.
pub const DAYS_MAX: u32 = 398;

/// Name of the root's private key: `ca.key`, or `ca.pkcs11.json` where a token holds it.
const ROOT_SIGNER: &str = "ca";

/// Names of the files in the authority's folder.
pub mod file {
    /// The root's private key.
    pub const ROOT_KEY: &str = "ca.key";
    /// The root certificate.
    pub const ROOT: &str = "ca.crt";
    /// The broker's private key.
    pub const BROKER_KEY: &str = "broker.key";
    /// The broker's certificate.
    pub const BROKER: &str = "broker.crt";
    /// The operator's private key.
    pub const OPERATOR_KEY: &str = "operator.key";
    /// The operator's certificate.
    pub const OPERATOR: &str = "operator.crt";
    /// The list of revoked certificates.
    pub const CRL: &str = "ca.crl";
}

/// A private key and the certificate for it, both as PEM.
pub struct Credentials {
    /// PKCS#8 (RFC 5958); wiped from memory with this.
    pub key: Zeroizing<String>,
    /// Chain with the leaf first, without the root.
    pub chain: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// An authority that can issue certificates.
pub struct Authority {
    issuer: Issuer<'static, Signer>,
    root: String,
    path: PathBuf,
    verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>,
}

/// What a certificate is for.
enum Use {
    Server(Vec<SanType>),
    Client,
}

/// Makes an authority with credentials for a broker that is dialled by one of `hosts` (names or IP addresses) and for
/// the operator, valid for `days`, in `folder`. Its key lies in a file.
pub fn init(folder: &Path, hosts: &[String], days: u32) -> Result<(), AuthorityError> {
    init_in(&Home::Files, folder, hosts, days)
}

/// The same with the authority's key in the place that `home` names.
pub fn init_in(home: &Home, folder: &Path, hosts: &[String], days: u32) -> Result<(), AuthorityError> {
    check_days(days)?;
    let names = service::names(hosts)?;
    if folder.join(file::ROOT).exists() || folder.join(file::ROOT_KEY).exists() {
        return Err(AuthorityError::Exists(folder.to_owned()));
    }
    let new = NewFolder::begin(folder)?;
    let key = Signer::make(&new, ROOT_SIGNER, home)?;
    let now = SystemTime::now();
    let mut params = root_params(&key);
    (params.not_before, params.not_after) = validity(now, ROOT_DAYS);
    params.serial_number = Some(serial()?);
    let root = params.self_signed(&key).map_err(|error| named(&key, error))?.pem();
    new.public(file::ROOT, root.as_bytes())?;
    let authority = Authority::from_parts(key, root, folder.join(file::ROOT))?;
    let broker = authority.issue(service::BROKER, Use::Server(names), days, now)?;
    new.private(file::BROKER_KEY, &broker.key)?;
    new.public(file::BROKER, broker.chain.as_bytes())?;
    let operator = authority.issue(OPERATOR, Use::Client, days, now)?;
    new.private(file::OPERATOR_KEY, &operator.key)?;
    new.public(file::OPERATOR, operator.chain.as_bytes())?;
    Ok(new.publish()?)
}

impl Authority {
    /// Opens the authority in `folder` and checks that its root certificate belongs to its key.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let key = Signer::open(folder, ROOT_SIGNER).map_err(|error| match error {
            SignerError::Missing(..) => AuthorityError::Missing(folder.to_owned()),
            SignerError::Unusable(path, why) => AuthorityError::Unusable(path, why),
            error => AuthorityError::Signer(error),
        })?;
        let root_path = folder.join(file::ROOT);
        let root = folder::read(&root_path)?;
        Self::from_parts(key, root, root_path)
    }

    fn from_parts(key: Signer, root: String, path: PathBuf) -> Result<Self, AuthorityError> {
        let unusable = |why: String| AuthorityError::Unusable(path.clone(), why);
        let certificate =
            CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { issuer: Issuer::new(root_params(&key), key), root, path, verifier })
    }

    /// The root certificate as PEM.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Makes a key and a client certificate for `common_name`, valid for `days`.
    pub fn issue_client(&self, common_name: &str, days: u32) -> Result<Credentials, AuthorityError> {
        self.issue(common_name, Use::Client, days, SystemTime::now())
    }

    fn issue(
        &self,
        name: &str,
        usage: Use,
        days: u32,
        now: SystemTime,
    ) -> Result<Credentials, AuthorityError> {
        let key = signer::random_key()?;
        let public = PublicKey::new(&key.public_key().to_sec1_bytes()).map_err(|_| SignerError::Random)?;
        let chain = self.certify(&public, name, usage, days, now)?;
        Ok(Credentials { key: key.to_pkcs8_pem(LineEnding::LF).map_err(|_| SignerError::Random)?, chain })
    }

    /// A certificate for a key, as PEM.
    fn certify(
        &self,
        key: &PublicKey,
        name: &str,
        usage: Use,
        days: u32,
        now: SystemTime,
    ) -> Result<String, AuthorityError> {
        check_days(days)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        (params.not_before, params.not_after) = validity(now, days);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let client = matches!(usage, Use::Client);
        params.extended_key_usages = match usage {
            Use::Server(names) => {
                params.subject_alt_names = names;
                vec![ExtendedKeyUsagePurpose::ServerAuth]
            }
            Use::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.serial_number = Some(serial()?);
        let signed = params.signed_by(&issue::Subject(key), &self.issuer);
        let certificate = signed.map_err(|error| named(self.issuer.key(), error))?;
        self.check_root(days, now)?;
        if client {
            self.check(certificate.der(), now).map_err(|_| AuthorityError::Foreign(self.path.clone()))?;
        }
        Ok(certificate.pem())
    }

    /// Checks a client certificate against the root.
    fn check(&self, certificate: &CertificateDer<'_>, at: SystemTime) -> Result<(), rustls::Error> {
        let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        self.verifier.verify_client_cert(certificate, &[], at).map(|_| ())
    }

    /// Refuses a root that is not valid from now until `days` from now.
    fn check_root(&self, days: u32, now: SystemTime) -> Result<(), AuthorityError> {
        let root = CertificateDer::from_pem_slice(self.root.as_bytes())
            .map_err(|error| AuthorityError::Unusable(self.path.clone(), error.to_string()))?;
        for at in [now, now + seconds(days)] {
            // The verifier looks at the dates first and then refuses a root in a leaf's place, as it must.
            if let Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) = self.check(&root, at)
            {
                return Err(AuthorityError::EndsBefore(self.path.clone(), days));
            }
        }
        Ok(())
    }
}

/// What is fixed in a root certificate: all but the dates.
fn root_params(key: &impl PublicKeyData) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = String::from("Sensor test authority ");
    for byte in params.key_identifier(key).iter().take(8) {
        // Writing into a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    params.distinguished_name = common_name(&name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A serial number that nobody can guess: 128 random bits, the first one never 0, so that it is positive and 16 bytes long.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    crate::signer::random(&mut bytes)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// What was wrong with the key, where rcgen only knows that something was.
fn named(key: &Signer, error: rcgen::Error) -> AuthorityError {
    key.failure().map_or(AuthorityError::Making(error), AuthorityError::Signer)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn seconds(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

fn validity(now: SystemTime, days: u32) -> (OffsetDateTime, OffsetDateTime) {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let begin = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(now.saturating_sub(BACKDATED_S));
    (begin, OffsetDateTime::UNIX_EPOCH + Duration::from_secs(now) + seconds(days))
}

fn check_days(days: u32) -> Result<(), AuthorityError> {
    if (1..=DAYS_MAX).contains(&days) {
        Ok(())
    } else {
        Err(AuthorityError::BadArgument(format!("days is {days}; it must be from 1 to {DAYS_MAX}")))
    }
}

fn subject_name(host: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    // The rules for a host are those of a device's configuration: what a device may dial can be certified.
    match protocol::Endpoint::parse(host, protocol::config::SNTP_PORT, "host") {
        Ok(_) if !host.contains(':') => Ok(SanType::DnsName(host.try_into()?)),
        _ => Err(AuthorityError::BadHost(host.to_owned())),
    }
}

#[cfg(test)]
mod tests;
