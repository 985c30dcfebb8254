//! The certificates of a test: what `sensorctl` issues, and those that it would not. Owns a folder that vanishes with
//! it.

use crate::HOST;
use protocol::{Configuration, EpochMillis};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use sensorctl::authority::{self, Authority, SERVICE_DAYS, file};
use sensorctl::enrol::{self, DEVICE_DAYS};
use simulator::folder::Folder;
use simulator::tls::{self, Credentials, DeviceClock};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// An authority with what it has issued.
pub struct Pki {
    ca: PathBuf,
    authority: Authority,
    /// Vanishes with it where it was made for this.
    _folder: Option<TempDir>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// A new authority with a broker and an operator, as `sensorctl ca init` makes it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for certificates");
        let ca = folder.path().join("ca");
        authority::init(&ca, &[HOST.to_owned()], SERVICE_DAYS).expect("a new authority");
        Self { _folder: Some(folder), ..Self::open(ca) }
    }

    /// The authority in the folder `ca`, which stays; devices are enrolled beside it.
    pub fn open(ca: PathBuf) -> Self {
        let authority = Authority::open(&ca).expect("an authority");
        Self { ca, authority, _folder: None }
    }

    /// A file of the authority's folder; `name` is one of [`sensorctl::authority::file`].
    pub fn file(&self, name: &str) -> PathBuf {
        self.ca.join(name)
    }

    /// Enrols a device, as `sensorctl device enrol` does, and reads its folder as the device does.
    pub fn enrol(&self, configuration: &Configuration) -> Folder {
        let out = self.ca.with_file_name(configuration.id.as_str());
        enrol::device(&self.authority, configuration, DEVICE_DAYS, &out)
            .expect("a device that can be enrolled");
        Folder::load(&out).expect("the folder of the device just enrolled")
    }

    /// A valid client certificate for `name`.
    pub fn client(&self, name: &str) -> Credentials {
        let issued = self.authority.issue_client(name, DEVICE_DAYS).expect("a client certificate");
        self.credentials(&issued.key, &issued.chain)
    }

    /// The operator's certificate.
    pub fn operator(&self) -> Credentials {
        self.credentials(&self.read(file::OPERATOR_KEY), &self.read(file::OPERATOR))
    }

    /// The operator's certificate for a service whose authority is `other` or this one.
    pub fn operator_between(&self, other: &Self) -> Credentials {
        let mut credentials = self.operator();
        credentials.roots.extend(other.roots());
        credentials
    }

    /// The broker's own certificate, which is for servers only.
    pub fn broker(&self) -> Credentials {
        self.credentials(&self.read(file::BROKER_KEY), &self.read(file::BROKER))
    }

    /// A client certificate of this authority for `name` that has expired.
    pub fn expired(&self, name: &str) -> Credentials {
        let key = KeyPair::from_pem(&self.read(file::ROOT_KEY)).expect("the authority's key");
        let issuer =
            Issuer::from_ca_cert_pem(self.authority.root(), key).expect("the authority's certificate");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        let key = KeyPair::generate().expect("a new key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        self.credentials(&key.serialize_pem(), &certificate.pem())
    }

    /// The same key and certificate, but whom `self` trusts: what a client of another authority shows here.
    pub fn trusted_by(&self, foreign: Credentials) -> Credentials {
        Credentials { roots: self.roots(), ..foreign }
    }

    /// A client without any certificate, which trusts this authority.
    pub fn anonymous(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots());
        let config = ClientConfig::builder_with_provider(Arc::new(tls::provider(tls::Version::default())))
            .with_protocol_versions(&[tls::Version::default().supported()])
            .expect("the version of the provider")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        certificates(self.authority.root())
    }

    fn read(&self, name: &str) -> String {
        read(&self.file(name))
    }

    fn credentials(&self, key: &str, chain: &str) -> Credentials {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key in PEM");
        Credentials { key, chain: certificates(chain), roots: self.roots() }
    }
}

/// The TLS of a client with these credentials, which goes by the host's clock.
pub fn client_config(credentials: Credentials) -> Arc<ClientConfig> {
    let clock = DeviceClock::default();
    clock.set(now());
    Arc::new(tls::client_config(credentials, clock).expect("credentials that go together"))
}

/// The time of the host.
pub fn now() -> EpochMillis {
    EpochMillis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("certificates in PEM")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
