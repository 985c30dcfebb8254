//! What is unfinished: an id that is being given to a device, and the identity that the device may have committed without
//! the answer having come back. Owns the folder `<registry>.pending`, one file for each id. R-PROVISION.
//!
//! A file is locked while a process works on its id, so that two never give the same one; the lock ends with the process. An
//! empty file only holds the id. An identity is in the file, on the disk, before the device is told to commit, and goes to
//! the registry when the device says that it has committed: whatever is cut in between, the next run finds the one or the
//! other.

use crate::folder::{FolderError, io_error, sync_parent};
use crate::registry::{Event, Identity, Registry, RegistryError};
use protocol::DeviceId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An identity that a device may or may not have committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The identity.
    pub identity: Identity,
    /// The line that the device was on.
    pub line: String,
    /// The serial number of its hardware; empty where it has none.
    pub serial: String,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Pending {
    folder: PathBuf,
}

/// An id that no other process gets while this lives.
#[derive(Debug)]
pub struct Reservation {
    id: DeviceId,
    path: PathBuf,
    file: File,
    intent: Option<Intent>,
    kept: bool,
}

impl Pending {
    /// The folder beside the registry at `path`.
    pub fn beside(path: &Path) -> Result<Self, FolderError> {
        let name = path.file_name().ok_or_else(|| FolderError::NoName(path.to_owned()))?;
        let mut name = name.to_owned();
        name.push(".pending");
        let folder = path.with_file_name(name);
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        Ok(Self { folder })
    }

    /// Ids with a file, in order.
    pub fn ids(&self) -> Result<Vec<DeviceId>, FolderError> {
        let failed = || io_error("look into", &self.folder);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.and_then(|id| DeviceId::new(id).ok()));
        }
        ids.sort();
        Ok(ids)
    }

    /// What is unfinished at this moment, in order of the ids. Nothing is locked, so that nobody who works on one of them is in
    /// anybody's way: whoever acts on it reserves its id and looks again.
    pub fn intents(&self) -> Result<Vec<Intent>, FolderError> {
        let mut intents = Vec::new();
        for id in self.ids()? {
            let path = self.path(&id);
            match fs::read(&path) {
                Ok(bytes) => {
                    let intent = std::str::from_utf8(&bytes).ok().and_then(read);
                    intents.extend(intent.filter(|intent| intent.identity.id == id));
                }
                // It was finished in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("read", &path)(error)),
            }
        }
        Ok(intents)
    }

    fn path(&self, id: &DeviceId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// Takes `id`; `None` where another process has it.
    pub fn reserve(&self, id: &DeviceId) -> Result<Option<Reservation>, FolderError> {
        let path = self.path(id);
        let failed = |error| io_error("lock", &path)(error);
        loop {
            let mut options = OpenOptions::new();
            let mut file =
                options.create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(failed(error.into())),
            }
            // Whoever had it may have finished with it and removed the file in between.
            if file.metadata().map_err(failed)?.nlink() == 0 {
                continue;
            }
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(failed)?;
            // A file that was torn while it was written belongs to a device that was not told to commit yet.
            let intent = read(&text).filter(|intent| intent.identity.id == *id);
            return Ok(Some(Reservation { id: id.clone(), path, file, intent, kept: false }));
        }
    }
}

impl Reservation {
    /// The id.
    pub const fn id(&self) -> &DeviceId {
        &self.id
    }

    /// What an earlier run has left.
    pub const fn intent(&self) -> Option<&Intent> {
        self.intent.as_ref()
    }

    /// Forgets what an earlier run has left: the device has not committed it.
    pub fn forget(&mut self) -> Result<(), FolderError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.sync_all());
        emptied.map_err(io_error("write", &self.path))?;
        self.intent = None;
        Ok(())
    }

    /// Gives up what an earlier run has left, whether the device has committed it or not: its identity is revoked.
    pub fn give_up(&mut self, registry: &mut Registry) -> Result<(), RegistryError> {
        if let Some(Intent { identity, .. }) = &self.intent {
            let (id, key, serial) = (identity.id.clone(), identity.key.id(), identity.serial.clone());
            registry.append(&[Event::Registered(identity.clone()), Event::Revoked { id, key, serial }])?;
        }
        self.forget().map_err(RegistryError::Folder)
    }

    /// Stores what the device is about to be told to commit.
    pub fn intend(&mut self, intent: Intent) -> Result<(), FolderError> {
        let text = write(&intent);
        let mut write = || -> io::Result<()> {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(text.as_bytes())?;
            self.file.sync_all()?;
            sync_parent(&self.path)
        };
        write().map_err(io_error("write", &self.path))?;
        self.intent = Some(intent);
        Ok(())
    }

    /// The device has committed: the identity goes to the registry and the file away. Gives the identity.
    pub fn finish(mut self, registry: &mut Registry) -> Result<Option<Identity>, RegistryError> {
        let Some(intent) = self.intent.take() else { return Ok(None) };
        let identity = intent.identity;
        self.kept = true;
        let mut registry = registry.turn()?;
        if !registry.records(&identity.id).iter().any(|record| record.identity.key == identity.key) {
            registry.append(&[Event::Registered(identity.clone())])?;
        }
        self.kept = false;
        Ok(Some(identity))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.intent.is_none() && !self.kept {
            // A file that remains is empty or known to the registry: the next run sees that.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write(intent: &Intent) -> String {
    let Intent { identity, line, serial } = intent;
    let identity = Event::Registered(identity.clone()).to_json();
    let intent = json!({"v": 1, "identity": identity, "line": line, "serial": serial});
    format!("{intent}\n")
}

fn read(text: &str) -> Option<Intent> {
    let value: Value = serde_json::from_str(text).ok()?;
    let Event::Registered(identity) = Event::from_json(value.get("identity")?).ok()? else { return None };
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    (value.get("v")?.as_u64()? == 1).then_some(())?;
    Some(Intent { identity, line: text("line")?, serial: text("serial")? })
}
