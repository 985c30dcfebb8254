//! Reading the files of a store, by whoever writes into it and by whoever only looks.

use super::line::{self, RefusedLine};
use super::{ACKNOWLEDGED, Damage, LOG, REFUSED, REFUSED_BYTES_MAX, StoreError, StoredDelivery};
use crate::folder::{self, io_error};
use crate::powers::Held;
use protocol::document::LogAcknowledgement;
use protocol::signed::Envelope;
use protocol::{DeviceId, Refusal};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A line of a log's file.
#[derive(Debug)]
pub struct Stored {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What it is.
    pub line: Result<StoredDelivery, Damage>,
}

/// Reads the file of a log, line by line.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
}

impl Reader {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(io_error("read", path))?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), offset: 0 })
    }

    /// The same from a line on that begins there, in bytes.
    pub(super) fn open_at(path: &Path, offset: u64) -> Result<Self, StoreError> {
        let mut reader = Self::open(path)?;
        reader.file.seek(SeekFrom::Start(offset)).map_err(io_error("read", path))?;
        Ok(Self { offset, ..reader })
    }

    /// The next line. A line that is too long ends at what a line can have.
    #[expect(clippy::should_implement_trait, reason = "an error of the file is no item")]
    pub fn next(&mut self) -> Result<Option<Stored>, StoreError> {
        let mut bytes = Vec::new();
        let mut limited = io::Read::take(&mut self.file, line::LINE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut bytes).map_err(io_error("read", &self.path))?;
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        Ok((!bytes.is_empty()).then(|| Stored { offset, line: StoredDelivery::from_line(&bytes) }))
    }

    /// Bytes that were read.
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}

/// The logs in a folder, with the ids that their names tell, in order.
pub fn logs(folder: &Path) -> Result<Vec<(DeviceId, PathBuf)>, StoreError> {
    let names = || -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let names = names().map_err(io_error("look into", folder))?;
    let mut logs: Vec<_> = names.into_iter().filter_map(|path| Some((device_of(&path)?, path))).collect();
    logs.sort();
    Ok(logs)
}

/// The device that the name of a log's file tells.
pub fn device_of(path: &Path) -> Option<DeviceId> {
    DeviceId::new(path.file_name()?.to_str()?.strip_suffix(&format!(".{LOG}"))?).ok()
}

/// The logs at `path`: those of a store, or a file.
pub fn logs_at(path: &Path, device: Option<&DeviceId>) -> Result<Vec<(DeviceId, PathBuf)>, StoreError> {
    if path.is_dir() {
        let mut logs = logs(path)?;
        logs.retain(|(id, _)| device.is_none_or(|device| device == id));
        return if logs.is_empty() { Err(StoreError::Nothing(path.to_owned())) } else { Ok(logs) };
    }
    let id = device.cloned().or_else(|| device_of(path));
    Ok(vec![(id.ok_or_else(|| StoreError::NoDevice(path.to_owned()))?, path.to_owned())])
}

/// What was acknowledged of the log at `path`, as the file beside it says; its signature is not checked.
pub fn acknowledged(path: &Path) -> Result<Option<LogAcknowledgement>, StoreError> {
    read_acknowledged(path, peek)
}

/// The same, proven with a key of the power over configurations: one that is or was in force, and which one it is.
pub fn acknowledged_with(
    path: &Path,
    keys: &[Held],
) -> Result<Option<(LogAcknowledgement, Held)>, StoreError> {
    read_acknowledged(path, |document| {
        let envelope = Envelope::decode(document)?;
        let held = keys.iter().find(|held| held.key.id() == envelope.signer()).ok_or(Refusal::UnknownKey)?;
        Ok((envelope.verify::<LogAcknowledgement>(&held.key)?.into_inner(), *held))
    })
}

fn read_acknowledged<T>(
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, Refusal>,
) -> Result<Option<T>, StoreError> {
    let path = path.with_extension(ACKNOWLEDGED);
    if !path.exists() {
        return Ok(None);
    }
    let document = folder::read_bytes(&path, 4_096)?;
    read(&document).map(Some).map_err(|why| StoreError::Acknowledgement(path, why))
}

/// The content of a document of which nothing is proven.
fn peek(document: &[u8]) -> Result<LogAcknowledgement, Refusal> {
    let envelope = Envelope::decode(document)?;
    if envelope.content_type() != protocol::document::ContentType::LogAcknowledgement {
        return Err(Refusal::ContentType);
    }
    let mut parts = minicbor::Decoder::new(document);
    let payload = (|| {
        parts.tag()?;
        parts.array()?;
        parts.bytes()?;
        parts.map()?;
        parts.bytes()
    })();
    payload.ok().and_then(|payload| minicbor::decode(payload).ok()).ok_or(Refusal::Payload)
}

/// Deliveries of a device that were not taken because they contradict what was, and when they came: who can sign them has told
/// two histories.
pub fn forks(path: &Path) -> Result<Vec<StoredDelivery>, StoreError> {
    let path = path.with_extension(REFUSED);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let limit = u32::try_from(2 * REFUSED_BYTES_MAX).unwrap_or(u32::MAX);
    let bytes = folder::read_bytes(&path, limit)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(RefusedLine::delivery_of_fork).collect())
}
