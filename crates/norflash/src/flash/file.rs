//! The file under a flash: made as a whole, used by one process at a time, never resized.

use super::ERASED;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Why there is no flash.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is no flash of this size.
    #[error(
        "{path} has {is} bytes, but this flash has {wanted}: name another file, or move this one away to begin with erased flash"
    )]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        is: u64,
        /// The size of the flash in bytes.
        wanted: u64,
    },
    /// Two processes would destroy each other's content.
    #[error("{path} is in use by another process: stop that one or name another file")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened, made or read.
    #[error("the flash cannot be kept in {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The file with its content of `total` bytes, made where there is none.
pub(super) fn open(path: &Path, total: usize) -> Result<(File, Vec<u8>), OpenError> {
    let failed = |error| OpenError::File { path: path.into(), error };
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, total).map_err(failed)?,
        other => other.map_err(failed)?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::InUse { path: path.into() }),
        other => other.map_err(|error| failed(error.into()))?,
    }
    let is = file.metadata().map_err(failed)?.len();
    let wanted = total as u64;
    if is != wanted {
        return Err(OpenError::WrongSize { path: path.into(), is, wanted });
    }
    let mut content = vec![0; total];
    file.read_exact(&mut content).map_err(failed)?;
    Ok((file, content))
}

/// The page cache survives the process; only a crash of the whole machine can lose what was written last, and what is
/// `durable` not even that.
pub(super) fn write_at(file: &File, address: u32, bytes: &[u8], durable: bool) -> io::Result<()> {
    file.write_all_at(bytes, u64::from(address))?;
    if durable { file.sync_data() } else { Ok(()) }
}

/// Made beside its place and renamed, so that a kill in between leaves no half file. Mode 0600 is [`NamedTempFile`]'s.
fn create(path: &Path, total: usize) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(&vec![ERASED; total])?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        // Somebody else made it first: then it is theirs that counts.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.error),
    }
    OpenOptions::new().read(true).write(true).open(path)
}
