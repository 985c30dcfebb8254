//! The public identity keys that the broker believes, from the ledger that `sensorctl` appends to. Reads what has come to
//! the file since the last question, never writes it. R-TLS-CLIENT, R-REPROVISION.

use protocol::{DeviceId, KeyId, PublicKey};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use thiserror::Error;

/// Why the registry cannot be used. As long as it is so, nobody is let in: the line that cannot be read may be a
/// revocation.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// It cannot be read.
    #[error("cannot read the registry {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line is none of a registry.
    #[error(
        "line {number} of the registry {path} cannot be used: {error}; nobody is let in before it is mended"
    )]
    Line {
        /// Which.
        path: PathBuf,
        /// From 1.
        number: usize,
        /// Why.
        error: serde_json::Error,
    },
}

/// The keys of every device. A device may have several at once; a revoked one is never valid again.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    /// Which file it was and how far it is read: whole lines only.
    read: Option<(u64, u64)>,
    lines: usize,
    keys: HashMap<DeviceId, Vec<PublicKey>>,
    revoked: HashSet<KeyId>,
}

/// One line. What else stands in it is for others.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Entry {
    Registered {
        #[serde(deserialize_with = "id")]
        id: DeviceId,
        #[serde(deserialize_with = "key")]
        identity: PublicKey,
        #[serde(deserialize_with = "key_id")]
        key_id: KeyId,
    },
    Revoked {
        #[serde(deserialize_with = "key_id")]
        key_id: KeyId,
    },
}

impl Registry {
    /// Reads the registry at `path`. A file that is not there yet is one without devices.
    pub fn open(path: PathBuf) -> Result<Self, RegistryError> {
        let mut registry = Self { path, read: None, lines: 0, keys: HashMap::new(), revoked: HashSet::new() };
        registry.refresh()?;
        Ok(registry)
    }

    /// The keys of a device that are registered and not revoked now.
    pub fn keys(&mut self, id: &DeviceId) -> Result<Vec<PublicKey>, RegistryError> {
        self.refresh()?;
        let keys = self.keys.get(id).map_or(&[][..], Vec::as_slice);
        Ok(keys.iter().filter(|key| !self.revoked.contains(&key.id())).copied().collect())
    }

    fn refresh(&mut self) -> Result<(), RegistryError> {
        let news = self.news().map_err(|error| RegistryError::File { path: self.path.clone(), error })?;
        // A last line without its end is still being written.
        for line in news.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let number = self.lines + 1;
            if !line.trim_ascii().is_empty() {
                let entry = serde_json::from_slice(line).and_then(|entry| self.take(entry));
                entry.map_err(|error| RegistryError::Line { path: self.path.clone(), number, error })?;
            }
            self.lines = number;
            if let Some((_, read)) = &mut self.read {
                *read += line.len() as u64;
            }
        }
        Ok(())
    }

    /// What stands in the file behind what was read. A file that is another one or shorter is read anew.
    fn news(&mut self) -> io::Result<Vec<u8>> {
        let mut news = Vec::new();
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(None);
                return Ok(news);
            }
            Err(error) => return Err(error),
        };
        let (inode, len) = file.metadata().map(|metadata| (metadata.ino(), metadata.len()))?;
        if !self.read.is_some_and(|(known, read)| known == inode && read <= len) {
            self.forget(Some((inode, 0)));
        }
        let from = self.read.map_or(0, |(_, read)| read);
        if from < len {
            file.seek(SeekFrom::Start(from))?;
            file.read_to_end(&mut news)?;
        }
        Ok(news)
    }

    fn forget(&mut self, read: Option<(u64, u64)>) {
        (self.read, self.lines) = (read, 0);
        self.keys.clear();
        self.revoked.clear();
    }

    fn take(&mut self, entry: Entry) -> Result<(), serde_json::Error> {
        match entry {
            Entry::Registered { identity, key_id, .. } if identity.id() != key_id => {
                return Err(serde_json::Error::custom("key_id is not the identity's"));
            }
            Entry::Registered { id, identity, .. } => {
                let keys = self.keys.entry(id).or_default();
                if !keys.contains(&identity) {
                    keys.push(identity);
                }
            }
            Entry::Revoked { key_id } => {
                self.revoked.insert(key_id);
            }
        }
        Ok(())
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceId, D::Error> {
    DeviceId::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
    let bytes: [u8; protocol::key::PUBLIC_KEY_BYTES] = hex(&String::deserialize(deserializer)?)?;
    PublicKey::new(&bytes).map_err(D::Error::custom)
}

fn key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
    hex(&String::deserialize(deserializer)?).map(KeyId)
}

fn hex<E: serde::de::Error, const N: usize>(text: &str) -> Result<[u8; N], E> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let bytes: Option<Vec<u8>> = digits
        .filter(|digits| digits.len() == 2 * N)
        .map(|digits| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect());
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| E::custom(format_args!("not {N} bytes in hex")))
}

#[cfg(test)]
mod tests;
