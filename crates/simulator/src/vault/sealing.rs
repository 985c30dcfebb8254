//! What a vault's content is sealed with: 32 bytes from a provider. Owns the file that holds them on Linux; there is no
//! value that it falls back on. R-SECRET-STORE.

use device::{Entropy, EntropyError};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use thiserror::Error;
use zeroize::Zeroizing;

/// Length of a sealing key in bytes: AES-256.
pub const SEALING_KEY_BYTES: usize = 32;

/// Mode bits of a file that let others than its owner in.
const OTHERS: u32 = 0o077;

/// Gives the key that a vault is sealed with, the same one each time: from a file, a TPM, a security module.
pub trait SealingKey {
    /// Writes it into `key`.
    fn give(&self, key: &mut [u8; SEALING_KEY_BYTES]) -> Result<(), SealingError>;
}

/// Why there is no sealing key.
#[derive(Debug, Error)]
pub enum SealingError {
    /// Others have seen it, or can.
    #[error(
        "{path} has mode {mode:o}: a sealing key is for its owner only; wipe what was sealed with it and make a new one"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is no sealing key.
    #[error("{path} is no sealing key, which has exactly {SEALING_KEY_BYTES} bytes: name another file")]
    WrongSize {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made or read.
    #[error("the sealing key cannot be kept in {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It cannot be made.
    #[error("there is no sealing key yet, and {0}")]
    Entropy(EntropyError),
    /// Another provider has none.
    #[error("no sealing key: {0}")]
    Provider(Box<dyn std::error::Error + Send + Sync>),
}

/// A sealing key in a file of its own, mode 0600: on another medium than the vault, or it is worth little.
#[derive(Clone, Debug)]
pub struct SealingKeyFile {
    path: PathBuf,
}

impl SealingKeyFile {
    /// The key in the file `path`; made from `entropy` where there is no such file, as a whole or not at all.
    pub fn open(path: &Path, entropy: &mut impl Entropy) -> Result<Self, SealingError> {
        let file = Self { path: path.into() };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => file.make(entropy)?,
            Err(error) => return Err(file.failed(error)),
            Ok(_there) => {}
        }
        // So that what is wrong with it is said now.
        file.give(&mut Zeroizing::new([0; SEALING_KEY_BYTES]))?;
        Ok(file)
    }

    fn make(&self, entropy: &mut impl Entropy) -> Result<(), SealingError> {
        let mut key = Zeroizing::new([0; SEALING_KEY_BYTES]);
        entropy.fill(key.as_mut()).map_err(SealingError::Entropy)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let made = NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(key.as_ref())?;
            file.as_file().sync_all()?;
            match file.persist_noclobber(&self.path) {
                Ok(_file) => {}
                // Somebody else made it first: then it is theirs that counts.
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.error),
            }
            // Keys that were sealed must not outlive the name of what seals them.
            File::open(folder)?.sync_all()
        });
        made.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> SealingError {
        SealingError::File { path: self.path.clone(), error }
    }
}

impl SealingKey for SealingKeyFile {
    fn give(&self, key: &mut [u8; SEALING_KEY_BYTES]) -> Result<(), SealingError> {
        let path = || self.path.clone();
        let mut file = File::open(&self.path).map_err(|error| self.failed(error))?;
        let metadata = file.metadata().map_err(|error| self.failed(error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(SealingError::Exposed { path: path(), mode });
        }
        if !metadata.is_file() || metadata.len() != SEALING_KEY_BYTES as u64 {
            return Err(SealingError::WrongSize { path: path() });
        }
        file.read_exact(key).map_err(|error| self.failed(error))
    }
}

/// The mode of the file `path` where it lets others in; `None` where it does not, or there is none.
pub(super) fn mode_for_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & OTHERS != 0).then_some(mode)
}
