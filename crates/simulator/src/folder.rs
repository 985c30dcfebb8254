//! An enrolled device's folder: configuration, key, certificate, roots. Owns how they are read and how the
//! configuration gets into the device's store, never what they mean. R-CONF, R-TLS-CLIENT.

use crate::tls::Credentials;
use device::{KeyValue, StorageError, config, config::LoadError};
use protocol::config::CONFIGURATION_BYTES_MAX;
use protocol::{Configuration, ConfigurationError, DeviceId};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

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
    #[error("cannot read {path}: {error}; is this the folder of an enrolled device?")]
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
        Ok(Self { configuration, credentials: Credentials { key, chain, roots } })
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

/// Puts `configuration` into `store` where it has none or one with a smaller number; true where it did. What is stored
/// stays in force otherwise.
pub fn provision(store: &mut impl KeyValue, configuration: &Configuration) -> Result<bool, ProvisionError> {
    match config::load(store) {
        Ok(stored) if stored.id != configuration.id => {
            return Err(ProvisionError::OtherDevice {
                stored: stored.id.clone(),
                given: configuration.id.clone(),
            });
        }
        Ok(stored) if stored.number >= configuration.number => return Ok(false),
        Ok(_older) => {}
        Err(LoadError::Missing) => {}
        Err(error) => return Err(ProvisionError::Load(error)),
    }
    config::store(store, configuration).map_err(ProvisionError::Store)?;
    Ok(true)
}

const _: () = assert!(CONFIGURATION_BYTES_MAX < FILE_MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use norflash::{Flash, Store};

    fn configuration(id: &str, number: u32) -> Configuration {
        let mut draft =
            protocol::config::Draft::new(DeviceId::new(id).unwrap(), "localhost", "localhost:1123").unwrap();
        draft.number = number;
        draft.check().unwrap()
    }

    #[test]
    fn only_a_newer_configuration_replaces_the_stored_one() {
        let mut store = Store::open(Flash::in_memory()).unwrap();
        assert!(provision(&mut store, &configuration("a", 2)).unwrap());
        assert!(!provision(&mut store, &configuration("a", 2)).unwrap());
        assert!(!provision(&mut store, &configuration("a", 1)).unwrap());
        assert_eq!(config::load(&mut store).unwrap().number, 2);
        assert!(provision(&mut store, &configuration("a", 3)).unwrap());
        assert_eq!(config::load(&mut store).unwrap().number, 3);
    }

    #[test]
    fn a_flash_of_another_device_is_refused() {
        let mut store = Store::open(Flash::in_memory()).unwrap();
        provision(&mut store, &configuration("a", 1)).unwrap();
        let refused = provision(&mut store, &configuration("b", 9)).unwrap_err();
        assert!(refused.to_string().contains("belongs to device a"), "{refused}");
        assert_eq!(config::load(&mut store).unwrap().id.as_str(), "a");
    }

    #[test]
    fn a_folder_that_is_none_says_which_file_is_missing() {
        let error = Folder::load(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/config.json"), "{error}");
    }
}
