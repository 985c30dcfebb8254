//! The registry: which device has which identity. Owns the file `registry.jsonl`, one JSON object a line, to which lines are
//! only ever added; the service's broker reads it to know whose tokens to believe. R-PROVISION, R-SECRET-ROTATE.
//!
//! A line is on the disk before anything depends on it. Processes take turns by a lock on the file: whoever decides by what the
//! registry says and then writes does both in one turn ([`Registry::turn`]). A last line that a power cut has torn counts for
//! nothing and is taken away by the next one who writes.

mod line;

pub use line::Event;

use crate::folder::{FolderError, io_error, sync_parent};
use protocol::{DeviceId, KeyId, PublicKey};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Why the registry cannot be used.
#[derive(Debug)]
pub enum RegistryError {
    /// The file.
    Folder(FolderError),
    /// A line in the middle cannot be read: the file, its number from 1 on, and why.
    Line(PathBuf, usize, String),
    /// The file has become shorter while it was in use.
    Shrunk(PathBuf),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Line(path, line, why) => write!(
                f,
                "line {line} of {} cannot be used: {why}; the file was left as it is: restore it from its copy",
                path.display()
            ),
            Self::Shrunk(path) => {
                write!(f, "{} has lost lines while it was in use: restore it from its copy", path.display())
            }
        }
    }
}

impl std::error::Error for RegistryError {}

/// An identity of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub id: DeviceId,
    /// The identity key: signs tokens and requests.
    pub key: PublicKey,
    /// The key of the TLS client certificate.
    pub tls: PublicKey,
    /// SHA-256 of the certificate's DER.
    pub certificate: [u8; 32],
    /// The certificate's serial number, big endian.
    pub serial: Vec<u8>,
    /// When the certificate ends.
    pub until: OffsetDateTime,
}

/// An identity in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub identity: Identity,
    /// Since when it is there.
    pub registered: OffsetDateTime,
    /// Since when it is revoked.
    pub revoked: Option<OffsetDateTime>,
}

/// The registry's file and what it says.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    /// Bytes and lines that were read so far.
    read: u64,
    lines: usize,
    devices: BTreeMap<DeviceId, Vec<Record>>,
}

impl Registry {
    /// Reads the registry at `path`; a file that does not exist is an empty one.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let mut registry = Self { path: path.to_owned(), read: 0, lines: 0, devices: BTreeMap::new() };
        registry.refresh()?;
        Ok(registry)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what others have added.
    pub fn refresh(&mut self) -> Result<(), RegistryError> {
        match File::open(&self.path) {
            Ok(file) => self.read_on(&file).map(|_| ()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.read == 0 => Ok(()),
            Err(error) => Err(RegistryError::Folder(io_error("read", &self.path)(error))),
        }
    }

    /// Adds events and gives when they are on the disk; where that fails, none of them remains.
    pub fn append(&mut self, events: &[Event]) -> Result<(), RegistryError> {
        self.turn()?.append(events)
    }

    /// Waits until nobody else writes, and reads everything that others have written.
    pub fn turn(&mut self) -> Result<Turn<'_>, RegistryError> {
        let failed = |verb, error| RegistryError::Folder(io_error(verb, &self.path)(error));
        let new = !self.path.exists();
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).open(&self.path);
        let file = file.map_err(|error| failed("write", error))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed("lock", error.into()))?;
        let torn = self.read_on(&file)?;
        Ok(Turn { registry: self, file, torn, new })
    }

    /// Reads from where it ended; true where something follows that is torn.
    fn read_on(&mut self, mut file: &File) -> Result<bool, RegistryError> {
        let mut read = || {
            let mut bytes = Vec::new();
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut bytes)?;
            Ok((len, bytes))
        };
        let (len, bytes) =
            read().map_err(|error| RegistryError::Folder(io_error("read", &self.path)(error)))?;
        if len < self.read {
            return Err(RegistryError::Shrunk(self.path.clone()));
        }
        let mut rest = bytes.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            match Event::from_line(line) {
                Ok((at, event)) => self.apply(at, event),
                // A power cut may leave zeros where bytes were to be, an end of a line behind them too.
                Err(_) if line.contains(&0) && !after.split(|byte| *byte == b'\n').any(is_line) => {
                    return Ok(true);
                }
                Err(why) => return Err(RegistryError::Line(self.path.clone(), self.lines + 1, why)),
            }
            self.lines += 1;
            self.read += line.len() as u64;
            rest = after;
        }
        Ok(!rest.is_empty())
    }

    fn apply(&mut self, at: OffsetDateTime, event: Event) {
        match event {
            Event::Registered(identity) => {
                let records = self.devices.entry(identity.id.clone()).or_default();
                records.push(Record { identity, registered: at, revoked: None });
            }
            Event::Revoked { id, key, serial } => {
                let records = self.devices.entry(id).or_default();
                for record in records {
                    if record.identity.key.id() == key && record.identity.serial == serial {
                        record.revoked.get_or_insert(at);
                    }
                }
            }
        }
    }

    /// Every device that ever was, in order of the ids.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceId, &[Record])> {
        self.devices.iter().map(|(id, records)| (id, records.as_slice()))
    }

    /// Every identity that the device ever had, oldest first.
    pub fn records(&self, id: &DeviceId) -> &[Record] {
        self.devices.get(id).map_or(&[], Vec::as_slice)
    }

    /// The device's identities that are not revoked, oldest first.
    pub fn in_force(&self, id: &DeviceId) -> impl DoubleEndedIterator<Item = &Identity> {
        self.records(id).iter().filter(|record| record.revoked.is_none()).map(|record| &record.identity)
    }

    /// Devices with an identity in force.
    pub fn active(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.keys().filter(|id| self.in_force(id).next().is_some())
    }

    /// Whose key this is, whatever it is or was for.
    pub fn owner(&self, key: &KeyId) -> Option<&DeviceId> {
        let has = |record: &Record| record.identity.key.id() == *key || record.identity.tls.id() == *key;
        self.devices.iter().find(|(_, records)| records.iter().any(has)).map(|(id, _)| id)
    }
}

fn is_line(line: &[u8]) -> bool {
    Event::from_line(line).is_ok()
}

/// The registry while nobody else writes to it: what it says stays true until this is dropped.
#[derive(Debug)]
pub struct Turn<'r> {
    registry: &'r mut Registry,
    /// Locked.
    file: File,
    torn: bool,
    new: bool,
}

impl Deref for Turn<'_> {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        self.registry
    }
}

impl Turn<'_> {
    /// Adds events and gives when they are on the disk; where that fails, none of them remains.
    pub fn append(&mut self, events: &[Event]) -> Result<(), RegistryError> {
        if events.is_empty() {
            return Ok(());
        }
        let Self { registry, file, torn, new } = self;
        let at = line::now();
        let lines: String = events.iter().map(|event| event.to_line(at)).collect();
        let write = |file: &mut File| {
            if *torn {
                file.set_len(registry.read)?;
            }
            file.seek(SeekFrom::Start(registry.read))?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            if *new { sync_parent(&registry.path) } else { Ok(()) }
        };
        if let Err(error) = write(file) {
            // Whole lines must not remain of what is reported as failed.
            let _ = file.set_len(registry.read);
            *torn = true;
            return Err(RegistryError::Folder(io_error("write", &registry.path)(error)));
        }
        (*torn, *new) = (false, false);
        registry.read_on(file).map(|_| ())
    }
}

#[cfg(test)]
mod tests;
