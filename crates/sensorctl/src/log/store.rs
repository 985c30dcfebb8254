//! The store: what devices delivered, as they signed it, so that everything can be verified again at any time. Owns the files
//! in a folder; decides nothing about what is in them. R-LOG.
//!
//! ```text
//! dev-7.log            one line a delivery that was verified, in the order of the records; only ever added to
//! dev-7.acknowledged   the last acknowledgement, signed: what must be in dev-7.log at least
//! dev-7.refused        one line a delivery that was not taken although a key of the device has signed it, with the reason: stops
//!                      growing at 1 MiB, for all but other histories at half of it
//! .refused             the same for all that no key of the device has signed on whose topic it came: stops growing at 1 MiB
//! ```
//!
//! A line is on the disk before anything is acknowledged. The last line may be torn by a power cut: it was never acknowledged,
//! and the next one who writes takes it away.

mod line;
mod read;

use super::delivery::{Delivery, Line, recall};
use super::fault::{Fault, What};
use super::verify::{Place, Position};
use crate::folder::{self, FolderError, io_error, sync_parent};
use crate::operator::now;
use line::RefusedLine;
pub use line::{Damage, LineFault, StoredDelivery};
use protocol::audit::Hash;
use protocol::key::{Digest, sha256};
use protocol::signed::Envelope;
use protocol::{DeviceId, EpochMillis, Refusal};
pub use read::{Reader, Stored, acknowledged, acknowledged_with, device_of, forks, logs, logs_at};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Hashes of the last records of a device that are kept for comparison while following: 32 bytes each.
const KEPT_HASHES: usize = 4_096;
/// Size in bytes from which on a file of refused deliveries does not grow any more.
const REFUSED_BYTES_MAX: u64 = 1 << 20;
/// The same for a device's file and what is no other history: whoever has a former key leaves room for that evidence.
const REFUSED_OTHERS_MAX: u64 = REFUSED_BYTES_MAX / 2;
/// Refused deliveries of a device that are remembered, so that the same one is not written again and again.
const REFUSED_KNOWN: usize = 64;

/// How the names of the files end.
const LOG: &str = "log";
const ACKNOWLEDGED: &str = "acknowledged";
const REFUSED: &str = "refused";

/// Why a store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// A folder or a file.
    Folder(FolderError),
    /// Somebody follows into this folder already.
    Taken(PathBuf),
    /// A line of a log is not as it was written: the file, where the line begins in bytes, why.
    Line(PathBuf, u64, LineFault),
    /// There is no log in the folder.
    Nothing(PathBuf),
    /// The name of the file tells no device's id.
    NoDevice(PathBuf),
    /// The acknowledgement beside a log is none.
    Acknowledgement(PathBuf, Refusal),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Taken(path) => {
                write!(
                    f,
                    "another `sensorctl log follow` writes into {}: end it, or take another folder",
                    path.display()
                )
            }
            Self::Line(path, offset, why) => write!(
                f,
                "the line at byte {offset} of {} is not as it was written: {why}; nothing more is stored there: verify it \
                 with `sensorctl log verify`, and restore it from its copy",
                path.display()
            ),
            Self::Nothing(path) => write!(f, "{} holds no log of a device", path.display()),
            Self::NoDevice(path) => {
                write!(f, "the name of {} tells no device: it must be ID.{LOG}, or give --id", path.display())
            }
            Self::Acknowledgement(path, why) => write!(f, "{} is no acknowledgement: {why}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<FolderError> for StoreError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// A folder that is followed into; nobody else does while this lives.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the store in `folder`, which is made where it does not exist.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(io_error("make", folder))?;
        let path = folder.join(".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(io_error("lock", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Taken(folder.to_owned())),
            Err(error) => Err(io_error("lock", &path)(error.into()).into()),
        }
    }

    /// The devices that have a log here.
    pub fn devices(&self) -> Result<Vec<DeviceId>, StoreError> {
        Ok(logs(&self.folder)?.into_iter().map(|(id, _)| id).collect())
    }

    /// Opens the log of a device.
    pub fn journal(&self, device: &DeviceId) -> Result<Journal, StoreError> {
        Journal::open(self.folder.clone(), device.clone())
    }

    /// Notes a delivery on the topic of a device that is in no registry; gives the file where it does not grow any more.
    pub fn refuse(
        &self,
        device: &DeviceId,
        fault: &Fault,
        bytes: &[u8],
    ) -> Result<Option<PathBuf>, StoreError> {
        append_refused(unproven(&self.folder), REFUSED_BYTES_MAX, device, fault, bytes)
    }

    /// What was acknowledged to a device and what is here, as the ends of the files tell: true where they are not the same.
    pub fn owes(&self, device: &DeviceId) -> Result<bool, StoreError> {
        let log = place(&self.folder, device, LOG);
        let acknowledged = acknowledged(&log)?.map(|acknowledged| acknowledged.number);
        let end = last_line(&log).map_err(io_error("read", &log))?.and_then(|line| {
            let (_, lines) = recall(&StoredDelivery::from_line(&line).ok()?.bytes)?;
            Some(lines.last()?.record.sequence)
        });
        Ok(end != acknowledged)
    }
}

/// Where everything goes that proves nothing: whoever can publish can fill it, and nothing else.
fn unproven(folder: &Path) -> PathBuf {
    folder.join(format!(".{REFUSED}"))
}

fn place(folder: &Path, device: &DeviceId, kind: &str) -> PathBuf {
    folder.join(format!("{device}.{kind}"))
}

/// The last whole line of a file.
fn last_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(2 * line::LINE_BYTES_MAX as u64)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
    bytes.truncate(end + 1);
    let begins = bytes.iter().rev().skip(1).position(|byte| *byte == b'\n').map_or(0, |back| end - back);
    Ok(Some(bytes.split_off(begins)))
}

/// The log of one device in a store.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    device: DeviceId,
    /// Made by the first line.
    file: Option<File>,
    /// Bytes of whole lines.
    len: u64,
    position: Position,
    /// The first record of each line that was new there, and where the line begins.
    index: Vec<(u64, u64)>,
    refused: Vec<Digest>,
}

impl Journal {
    /// Reads on the way that each record is bound to the one before; signatures are not checked again.
    fn open(folder: PathBuf, device: DeviceId) -> Result<Self, StoreError> {
        let path = place(&folder, &device, LOG);
        let mut journal = Self {
            folder,
            device,
            file: None,
            len: 0,
            position: Position::new(0, KEPT_HASHES),
            index: Vec::new(),
            refused: Vec::new(),
        };
        if !path.exists() {
            return Ok(journal);
        }
        let mut reader = Reader::open(&path)?;
        while let Some(stored) = reader.next()? {
            let offset = stored.offset;
            let wrong = |why| StoreError::Line(path.clone(), offset, why);
            let line = match stored.line {
                Ok(line) => line,
                // It is taken away by the next line.
                Err(Damage { fault: LineFault::Torn, .. }) => break,
                Err(damage) => return Err(wrong(damage.fault)),
            };
            let (previous, lines) = recall(&line.bytes).ok_or_else(|| wrong(LineFault::Delivery))?;
            let number = lines.first().map_or(0, |line| line.record.sequence);
            let signer = Envelope::decode(&line.bytes).map_err(|_| wrong(LineFault::Delivery))?.signer();
            journal
                .follow(&Delivery { number, previous, lines, signer })
                .map_err(|_| wrong(LineFault::Chain))
                .map(|first| journal.index.push((first, offset)))?;
            journal.len = reader.offset();
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
        journal.file = Some(file.map_err(io_error("write", &path))?);
        Ok(journal)
    }

    /// Gives the number of the first record that was new.
    fn follow(&mut self, delivery: &Delivery) -> Result<u64, Fault> {
        let known = match self.position.place(delivery)? {
            Place::Next(known) => known,
            Place::Ahead(_) => 0,
            Place::Known | Place::Old => return Err(Fault { record: None, what: What::Repeated }),
        };
        self.position.take(delivery, known);
        Ok(u64::from(delivery.number) + known as u64)
    }

    /// Up to where it goes.
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// The last acknowledgement: number and hash of the record.
    pub fn acknowledged(&self) -> Result<Option<(u32, Hash)>, StoreError> {
        Ok(acknowledged(&place(&self.folder, &self.device, LOG))?.map(|it| (it.number, it.hash)))
    }

    /// Adds a delivery that goes on, or stands behind a gap that is accepted; gives its new records when they are on the disk.
    pub fn append(
        &mut self,
        received: EpochMillis,
        bytes: &[u8],
        delivery: &Delivery,
    ) -> Result<Vec<Line>, StoreError> {
        let path = place(&self.folder, &self.device, LOG);
        let text = StoredDelivery { received, bytes: bytes.to_vec() }.to_line();
        let new = self.file.is_none();
        let written = (|| {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(
                    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?,
                ),
            };
            // What a power cut has torn goes.
            file.set_len(self.len)?;
            file.seek(SeekFrom::Start(self.len))?;
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            if written.is_err() {
                // A line must not remain of what is reported as failed.
                let _ = file.set_len(self.len);
            }
            written?;
            if new { sync_parent(&path) } else { Ok(()) }
        })();
        written.map_err(io_error("write", &path))?;
        self.index.push((self.position.next().max(delivery.number.into()), self.len));
        self.len += text.len() as u64;
        let known = self.position.next().saturating_sub(delivery.number.into());
        Ok(self.position.take(delivery, usize::try_from(known).unwrap_or(usize::MAX)).to_vec())
    }

    /// Keeps the acknowledgement that is about to be published: number and hash were in the log before.
    pub fn acknowledge(&self, document: &[u8]) -> Result<(), StoreError> {
        Ok(folder::replace(&place(&self.folder, &self.device, ACKNOWLEDGED), document)?)
    }

    /// The first record of a delivery, or the one before it, that is stored with another hash, wherever that lies in the file.
    pub fn differs(&self, delivery: &Delivery) -> Result<Option<u32>, StoreError> {
        let path = place(&self.folder, &self.device, LOG);
        let before = u64::from(delivery.number).checked_sub(1);
        let mut said: BTreeMap<u64, Hash> =
            delivery.lines.iter().map(|line| (line.record.sequence.into(), line.hash)).collect();
        said.extend(before.map(|before| (before, delivery.previous)));
        let begins = self.index.partition_point(|(first, _)| *first <= before.unwrap_or_default());
        let lines = self.index.get(begins.saturating_sub(1)..).unwrap_or_default();
        for (_, offset) in lines.iter().take_while(|(first, _)| *first < delivery.end()) {
            let wrong = |why| StoreError::Line(path.clone(), *offset, why);
            let line = Reader::open_at(&path, *offset)?.next()?.ok_or_else(|| wrong(LineFault::Torn))?.line;
            let bytes = line.map_err(|damage| wrong(damage.fault))?.bytes;
            let (_, stored) = recall(&bytes).ok_or_else(|| wrong(LineFault::Delivery))?;
            let other =
                |line: &&Line| said.get(&line.record.sequence.into()).is_some_and(|hash| *hash != line.hash);
            if let Some(line) = stored.iter().find(other) {
                return Ok(Some(line.record.sequence));
            }
        }
        Ok(None)
    }

    /// Notes a delivery that is not taken, unless the same one was noted not long ago; gives the file where it does not grow any
    /// more from now on.
    pub fn refuse(&mut self, fault: &Fault, bytes: &[u8]) -> Result<Option<PathBuf>, StoreError> {
        let digest = sha256(&[bytes]);
        if self.refused.contains(&digest) {
            return Ok(None);
        }
        if self.refused.len() == REFUSED_KNOWN {
            self.refused.remove(0);
        }
        self.refused.push(digest);
        let (path, limit) = match &fault.what {
            what if !what.is_signed() => (unproven(&self.folder), REFUSED_BYTES_MAX),
            What::Fork => (place(&self.folder, &self.device, REFUSED), REFUSED_BYTES_MAX),
            _ => (place(&self.folder, &self.device, REFUSED), REFUSED_OTHERS_MAX),
        };
        append_refused(path, limit, &self.device, fault, bytes)
    }
}

/// Gives the file where this line is the last one.
fn append_refused(
    path: PathBuf,
    limit: u64,
    device: &DeviceId,
    fault: &Fault,
    bytes: &[u8],
) -> Result<Option<PathBuf>, StoreError> {
    let append = || {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        let len = file.metadata()?.len();
        if len >= limit {
            return Ok(false);
        }
        let mut line = RefusedLine::new(now(), device, fault, bytes).to_line();
        // A line that a power cut has torn does not swallow this one.
        if len > 0 {
            let mut last = [b'\n'];
            file.seek(SeekFrom::Start(len - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                line.insert(0, '\n');
            }
        }
        file.write_all(line.as_bytes()).map(|()| len + line.len() as u64 >= limit)
    };
    match append() {
        Ok(full) => Ok(full.then_some(path)),
        Err(error) => Err(io_error("write", &path)(error).into()),
    }
}

#[cfg(test)]
mod tests;
