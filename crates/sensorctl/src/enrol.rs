//! Enrolment of devices for simulators and development boards: a key, a certificate and the first configuration in one
//! folder. Owns the folder's form, never the authority. The key is made here and lies in a file: real devices make
//! theirs themselves. R-CONF, R-TLS-CLIENT.

use crate::authority::{Authority, AuthorityError, Credentials};
use crate::folder::{self, FolderError, NewFolder};
use protocol::config::{Authentication, CONFIGURATION_BYTES_MAX, SNTP_PORT};
use protocol::{Configuration, ConfigurationError, DeviceId, DeviceIdError, Endpoint};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::{Path, PathBuf};

/// Days for which a device's certificate is valid, unless told otherwise, whether it comes from the factory or from a renewal: a
/// year on a shelf, or the third of a year that is left at least to a device that was in service before. What a stolen TLS key is
/// worth meanwhile ends with a revocation.
pub const DEVICE_DAYS: u32 = 365;

/// Most devices that are enrolled at once.
pub const FLEET_MAX: u32 = 100_000;

/// Names of the files in a device's folder.
pub mod file {
    /// The configuration: the JSON document of `protocol::Configuration`.
    pub const CONFIGURATION: &str = "config.json";
    /// The private key, PKCS#8 as PEM.
    pub const KEY: &str = "device.key";
    /// The certificate chain as PEM, leaf first.
    pub const CHAIN: &str = "device.crt";
    /// The roots that the device trusts, as PEM.
    pub const ROOTS: &str = "roots.crt";
}

/// Why a device cannot be enrolled, or its folder not be used.
#[derive(Debug)]
pub enum EnrolError {
    /// A field of the configuration.
    Configuration(ConfigurationError),
    /// The prefix and a number make no id.
    Id(String, DeviceIdError),
    /// None at all, or more than [`FLEET_MAX`].
    Count(u32),
    /// The authority.
    Authority(AuthorityError),
    /// The folder.
    Folder(FolderError),
    /// A file in the folder cannot be used: which, and why.
    Unusable(PathBuf, String),
}

impl fmt::Display for EnrolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(error) => error.fmt(f),
            Self::Id(id, error) => write!(f, "{id:?} would be an id of the fleet, but {error}"),
            Self::Count(count) => write!(f, "count is {count}; it must be from 1 to {FLEET_MAX}"),
            Self::Authority(error) => error.fmt(f),
            Self::Folder(error) => error.fmt(f),
            Self::Unusable(path, why) => write!(f, "{} cannot be used: {why}", path.display()),
        }
    }
}

impl std::error::Error for EnrolError {}

impl From<ConfigurationError> for EnrolError {
    fn from(error: ConfigurationError) -> Self {
        Self::Configuration(error)
    }
}

impl From<AuthorityError> for EnrolError {
    fn from(error: AuthorityError) -> Self {
        Self::Authority(error)
    }
}

impl From<FolderError> for EnrolError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// What is wanted of a configuration; `None` is the schema's default.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The service's host name or IPv4 address.
    pub host: String,
    /// Its TCP port.
    pub port: Option<u32>,
    /// Time servers as `host` or `host:port`; none stands for the service's host itself.
    pub time_servers: Vec<String>,
    /// Milliseconds between two samples.
    pub sample_period_ms: Option<u32>,
    /// Milliseconds between two reports.
    pub report_period_ms: Option<u32>,
    /// MQTT keep-alive in seconds.
    pub keep_alive_s: Option<u32>,
    /// How the device proves to the service who it is.
    pub auth: Option<Authentication>,
    /// When firmware updates may begin: minutes after midnight UTC.
    pub update_start_min: Option<u32>,
    /// For how many minutes from then.
    pub update_length_min: Option<u32>,
    /// Hours after which an update waits for no window any more.
    pub update_deadline_h: Option<u32>,
    /// Seconds over which the devices of a fleet spread.
    pub update_spread_s: Option<u32>,
    /// The number that the device's own changes have to exceed; 1 where there were none.
    pub number: Option<u32>,
}

impl Wanted {
    /// The time servers; where none is named, the service's host is one.
    pub fn time_servers(&self) -> Result<Vec<Endpoint>, ConfigurationError> {
        let servers =
            if self.time_servers.is_empty() { std::slice::from_ref(&self.host) } else { &self.time_servers };
        servers.iter().map(|server| Endpoint::parse(server, SNTP_PORT, "time_servers")).collect()
    }

    /// The configuration of the device `id`, every field checked.
    pub fn configuration(&self, id: DeviceId) -> Result<Configuration, ConfigurationError> {
        // A stand-in that is always right, so that a bad host is reported as the host and not as a time server.
        let mut draft = protocol::config::Draft::new(id, &self.host, "localhost")?;
        draft.time_servers.clear();
        let servers = self.time_servers()?;
        let count = servers.len();
        for server in servers {
            draft.time_servers.push(server).map_err(|_| ConfigurationError::TimeServers(count))?;
        }
        draft.number = self.number.unwrap_or(draft.number);
        draft.port = self.port.unwrap_or(draft.port);
        draft.keep_alive_s = self.keep_alive_s.unwrap_or(draft.keep_alive_s);
        draft.auth = self.auth.unwrap_or(draft.auth);
        draft.sample_period_ms = self.sample_period_ms.unwrap_or(draft.sample_period_ms);
        draft.report_period_ms = self.report_period_ms.unwrap_or(draft.report_period_ms);
        draft.update_start_min = self.update_start_min.unwrap_or(draft.update_start_min);
        draft.update_length_min = self.update_length_min.unwrap_or(draft.update_length_min);
        draft.update_deadline_h = self.update_deadline_h.unwrap_or(draft.update_deadline_h);
        draft.update_spread_s = self.update_spread_s.unwrap_or(draft.update_spread_s);
        draft.check()
    }
}

/// Enrols the device that `configuration` names into the new folder `out`; its certificate is valid for `days`.
pub fn device(
    authority: &Authority,
    configuration: &Configuration,
    days: u32,
    out: &Path,
) -> Result<(), EnrolError> {
    let folder = NewFolder::begin(out)?;
    write(&folder, authority, configuration, days)?;
    Ok(folder.publish()?)
}

/// Enrols `count` devices into sub-folders of the new folder `out`, named `prefix` and a number from 1 on, padded to
/// equal length. Either all of them appear or none. `progress` hears of each device that is done.
pub fn fleet(
    authority: &Authority,
    wanted: &Wanted,
    (prefix, count): (&str, u32),
    days: u32,
    out: &Path,
    mut progress: impl FnMut(&DeviceId),
) -> Result<(), EnrolError> {
    if !(1..=FLEET_MAX).contains(&count) {
        return Err(EnrolError::Count(count));
    }
    let width = count.to_string().len();
    let id = |number: u32| {
        let text = format!("{prefix}{number:0width$}");
        DeviceId::new(&text).map_err(|error| EnrolError::Id(text, error))
    };
    // Everything that can be wrong with the arguments is wrong with the first device too.
    wanted.configuration(id(1)?)?;
    let folder = NewFolder::begin(out)?;
    for number in 1..=count {
        let id = id(number)?;
        let inner = folder.inner(id.as_str())?;
        write(&inner, authority, &wanted.configuration(id.clone())?, days)?;
        inner.publish()?;
        progress(&id);
    }
    Ok(folder.publish()?)
}

fn write(
    folder: &NewFolder,
    authority: &Authority,
    configuration: &Configuration,
    days: u32,
) -> Result<(), EnrolError> {
    let Credentials { key, chain } = authority.issue_client(configuration.id.as_str(), days)?;
    let mut document = document(configuration);
    document.push(b'\n');
    folder.public(file::CONFIGURATION, &document)?;
    folder.private(file::KEY, &key)?;
    folder.public(file::CHAIN, chain.as_bytes())?;
    Ok(folder.public(file::ROOTS, authority.root().as_bytes())?)
}

/// The configuration as the JSON document that devices read.
pub fn document(configuration: &Configuration) -> Vec<u8> {
    let mut document = vec![0; CONFIGURATION_BYTES_MAX];
    let len = configuration
        .encode(&mut document)
        .expect("CONFIGURATION_BYTES_MAX suffices for every configuration");
    document.truncate(len);
    document
}

/// An enrolled device, read from its folder: the key belongs to the certificate.
#[derive(Debug)]
pub struct Enrolled {
    /// The configuration.
    pub configuration: Configuration,
    /// Certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// The roots that the device trusts.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Enrolled {
    /// Reads the folder of an enrolled device.
    pub fn open(folder: &Path) -> Result<Self, EnrolError> {
        let path = |name: &str| folder.join(name);
        let unusable = |name: &str, why: String| EnrolError::Unusable(path(name), why);
        let certificates = |name: &str| {
            let text = folder::read(&path(name))?;
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            let all = all.map_err(|error| unusable(name, error.to_string()))?;
            if all.is_empty() {
                return Err(unusable(name, "it holds no certificate in PEM form".into()));
            }
            Ok(all)
        };
        let document = folder::read(&path(file::CONFIGURATION))?;
        let configuration = Configuration::decode(document.trim_end().as_bytes())
            .map_err(|error| unusable(file::CONFIGURATION, error.to_string()))?;
        let chain = certificates(file::CHAIN)?;
        let roots = certificates(file::ROOTS)?;
        let key = PrivateKeyDer::from_pem_slice(folder::read(&path(file::KEY))?.as_bytes())
            .map_err(|error| unusable(file::KEY, format!("it holds no private key in PEM form ({error})")))?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &rustls::crypto::ring::default_provider())
            .map_err(|error| unusable(file::KEY, format!("it does not go with {}: {error}", file::CHAIN)))?;
        Ok(Self { configuration, chain, key, roots })
    }
}

#[cfg(test)]
mod tests;
