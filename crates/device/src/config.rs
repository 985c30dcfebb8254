//! The configuration that the factory gave: loads it from the store and stores it. Owns no schema: that is
//! [`protocol::config`]; what is changed in the field is `settings`'s. R-CONF.

use crate::platform::{Key, KeyValue, StorageError};
use crate::stored;
use core::fmt;
use protocol::config::CONFIGURATION_BYTES_MAX;
use protocol::{Configuration, ConfigurationError};

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// None was ever stored: the device is blank.
    Missing,
    /// The store failed.
    Storage(StorageError),
    /// What is stored is no configuration.
    Invalid(ConfigurationError),
    /// What is stored is for another id than the device's identity.
    OtherDevice,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the device has no configuration: provision it"),
            Self::Storage(error) => write!(f, "the configuration cannot be loaded: {error}"),
            Self::OtherDevice => {
                f.write_str("the stored configuration is another device's: provision the device again")
            }
            Self::Invalid(error) => write!(f, "the stored configuration is not valid: {error}"),
        }
    }
}

impl core::error::Error for LoadError {}

/// Loads the factory's configuration.
pub fn load(store: &mut impl KeyValue) -> Result<Configuration, LoadError> {
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    read(store, &mut buffer)
}

/// The same once it was loaded; `buffer` holds [`CONFIGURATION_BYTES_MAX`] bytes. What was valid then and is not any more is
/// damaged.
pub(crate) fn load_from(store: &mut impl KeyValue, buffer: &mut [u8]) -> Result<Configuration, StorageError> {
    read(store, buffer).map_err(|error| match error {
        LoadError::Storage(error) => error,
        LoadError::Missing | LoadError::Invalid(_) | LoadError::OtherDevice => StorageError::Corrupt,
    })
}

fn read(store: &mut impl KeyValue, buffer: &mut [u8]) -> Result<Configuration, LoadError> {
    match store.read(Key::Configuration, buffer) {
        Ok(None) => Err(LoadError::Missing),
        Ok(Some(bytes)) => Configuration::decode(bytes).map_err(LoadError::Invalid),
        Err(error) => Err(LoadError::Storage(error)),
    }
}

/// Stores `configuration`, to be in force after the next start.
pub fn store(store: &mut impl KeyValue, configuration: &Configuration) -> Result<(), StorageError> {
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    // CONFIGURATION_BYTES_MAX holds the longest one.
    let len = configuration.encode(&mut buffer);
    stored::put(store, Key::Configuration, &buffer, len)
}
