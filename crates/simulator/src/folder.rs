//! An enrolled device's folder: configuration, key, certificate, roots. Owns how they are read and how the
//! configuration gets into the device's store, never what they mean. R-CONF, R-TLS-CLIENT.

use crate::machine::Machine;
use crate::tls::Credentials;
use device::identity::IdentityError;
use device::provisioning::{self, AdoptError, Development, Standing};
use device::{KeyValue, StorageError, config, config::LoadError};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey};
use protocol::config::CONFIGURATION_BYTES_MAX;
use protocol::document::{CHAIN_MAX, Certificates, ROOTS_MAX};
use protocol::{Configuration, ConfigurationError, DeviceId, Name, PublicKey};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The configuration that the device starts with: [`Configuration`] as JSON.
pub const CONFIGURATION: &str = "config.json";
/// The device's key: PKCS#8 in PEM.
pub const KEY: &str = "device.key";
/// The device's certificate and those above it: PEM, leaf first.
pub const CHAIN: &str = "device.crt";
/// The roots that may vouch for the service: PEM.
pub const ROOTS: &str = "roots.crt";

/// Why a folder is no enrolled device's.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}; is this the folder of an enrolled device, or of the authority?")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The configuration is none.
    #[error("{path}: {error}")]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Why.
        error: ConfigurationError,
    },
    /// A key or certificate file holds none.
    #[error("{path} holds no usable PEM: {error}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The file holds no key of the kind that is used everywhere here.
    #[error("{path} holds no ECDSA P-256 public key in PEM")]
    Key {
        /// The file.
        path: PathBuf,
    },
}

/// Why a configuration cannot be put into a store.
#[derive(Debug, Error)]
pub enum ProvisionError {
    /// What is stored cannot be read.
    #[error("{0}")]
    Load(LoadError),
    /// The store failed.
    #[error("the configuration cannot be stored: {0}")]
    Store(StorageError),
    /// Store or vault failed.
    #[error("{0}")]
    Identity(IdentityError),
    /// The device was destroyed.
    #[error("the device in this flash was destroyed: give the new one a flash of its own")]
    Destroyed,
    /// The key is no ECDSA P-256 key in PKCS#8.
    #[error("{KEY} holds no ECDSA P-256 key in PKCS#8")]
    Key,
    /// More certificates than a device holds.
    #[error("at most {CHAIN_MAX} certificates in {CHAIN} and {ROOTS_MAX} in {ROOTS} are held by a device")]
    TooMany,
    /// Key, certificates and configuration do not belong together.
    #[error("the folder's parts do not fit together: {0}")]
    Adopt(AdoptError),
    /// The store is another device's.
    #[error(
        "the flash belongs to device {stored}, the folder to {given}: give each device a flash of its own"
    )]
    OtherDevice {
        /// Who is in the store.
        stored: DeviceId,
        /// Who is in the folder.
        given: DeviceId,
    },
}

/// What an enrolled device's folder holds.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The configuration it starts with.
    pub configuration: Configuration,
    /// What it proves itself with and whom it believes.
    pub credentials: Credentials,
    /// Whose documents it obeys: nobody's, unless told otherwise.
    pub powers: Powers,
    /// The group that it belongs to: none, unless told otherwise.
    pub group: Name,
}

/// Whose documents an enrolled device obeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Powers {
    /// Who says which firmware it may run.
    pub firmware: Option<PublicKey>,
    /// Who says what its configuration is, and when it is updated.
    pub configuration: Option<PublicKey>,
}

impl Powers {
    /// Reads `firmware.pub` and `configuration.pub` of `sensorctl authority init` in the folder `path`.
    pub fn load(path: &Path) -> Result<Self, FolderError> {
        let read = |name: &str| public_key(&path.join(name)).map(Some);
        Ok(Self { firmware: read("firmware.pub")?, configuration: read("configuration.pub")? })
    }
}

impl Folder {
    /// Reads the folder at `path`.
    pub fn load(path: &Path) -> Result<Self, FolderError> {
        let file = path.join(CONFIGURATION);
        let configuration = Configuration::decode(&read(&file)?)
            .map_err(|error| FolderError::Configuration { path: file, error })?;
        let file = path.join(KEY);
        let key = PrivateKeyDer::from_pem_slice(&read(&file)?)
            .map_err(|error| FolderError::Pem { path: file, error })?;
        let chain = certificates(path.join(CHAIN))?;
        let roots = certificates(path.join(ROOTS))?;
        Ok(Self {
            configuration,
            credentials: Credentials { key, chain, roots },
            powers: Powers::default(),
            group: Name::EMPTY,
        })
    }
}

/// Largest file of a folder, in bytes: dozens of certificates.
const FILE_MAX: u64 = 256 * 1024;

fn read(path: &Path) -> Result<Vec<u8>, FolderError> {
    let error = |error| FolderError::Read { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(error)?.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(error(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(bytes)
}

fn certificates(path: PathBuf) -> Result<Vec<CertificateDer<'static>>, FolderError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_none) => Err(FolderError::Pem { path, error: pem::Error::NoItemsFound }),
        Err(error) => Err(FolderError::Pem { path, error }),
    }
}

/// A public key: `SubjectPublicKeyInfo` in PEM.
pub fn public_key(path: &Path) -> Result<PublicKey, FolderError> {
    let key = || FolderError::Key { path: path.to_owned() };
    let text = String::from_utf8(read(path)?).map_err(|_| key())?;
    let found = p256::PublicKey::from_public_key_pem(&text).map_err(|_| key())?;
    PublicKey::new(found.to_sec1_point(false).as_bytes()).map_err(|_| key())
}

/// Gives a blank `machine` the folder's key, certificates and configuration. One that has them keeps them, and takes the
/// configuration where its number is larger; true where anything changed.
pub fn provision<S: KeyValue>(machine: &mut Machine<S>, folder: &Folder) -> Result<bool, ProvisionError> {
    let standing = provisioning::standing(machine).map_err(ProvisionError::Identity)?;
    let configuration = &folder.configuration;
    match standing {
        Standing::Destroyed => Err(ProvisionError::Destroyed),
        Standing::Blank => {
            let key = match &folder.credentials.key {
                PrivateKeyDer::Pkcs8(key) => SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok(),
                _ => None,
            };
            let scalar = key.map(|key| Zeroizing::new(<[u8; 32]>::from(key.to_bytes())));
            let development = Development {
                chain: borrowed(&folder.credentials.chain)?,
                roots: borrowed(&folder.credentials.roots)?,
                configuration,
                firmware: folder.powers.firmware,
                configuration_key: folder.powers.configuration,
                group: folder.group.clone(),
                tls: &*scalar.ok_or(ProvisionError::Key)?,
            };
            provisioning::adopt(machine, &development).map_err(ProvisionError::Adopt)?;
            Ok(true)
        }
        Standing::Provisioned => match config::load(machine).map_err(ProvisionError::Load)? {
            stored if stored.id != configuration.id => Err(ProvisionError::OtherDevice {
                stored: stored.id.clone(),
                given: configuration.id.clone(),
            }),
            stored if stored.number >= configuration.number => Ok(false),
            _older => {
                config::store(machine, configuration).map_err(ProvisionError::Store)?;
                Ok(true)
            }
        },
    }
}

fn borrowed<'a, const MAX: usize>(
    list: &'a [CertificateDer<'static>],
) -> Result<Certificates<'a, MAX>, ProvisionError> {
    list.iter().map(|der| Ok(der.as_ref())).collect::<Result<Vec<_>, ProvisionError>>().and_then(|list| {
        heapless::Vec::from_slice(&list).map(Certificates).map_err(|_| ProvisionError::TooMany)
    })
}

const _: () = assert!(CONFIGURATION_BYTES_MAX < FILE_MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_none_says_which_file_is_missing() {
        let error = Folder::load(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/config.json"), "{error}");
    }
}
