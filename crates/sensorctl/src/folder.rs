//! Folders that appear whole or not at all: written beside their place, then renamed into it. Owns files and their
//! modes, never what is in them. A folder that exists is never touched.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::Zeroizing;

/// Why a folder cannot be written or a file not be read.
#[derive(Debug)]
pub enum FolderError {
    /// There is something already.
    Exists(PathBuf),
    /// The path names no folder that could be made.
    NoName(PathBuf),
    /// The file with a private key may be read or written by others than its owner: its mode.
    Exposed(PathBuf, u32),
    /// The system refused; what was to be done, and where.
    Io {
        /// What was to be done: "read", "write", …
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(
                f,
                "{} exists and is not empty; nothing in it was changed: choose another folder or move it away",
                path.display()
            ),
            Self::NoName(path) => write!(f, "{} cannot name a new folder", path.display()),
            Self::Exposed(path, mode) => write!(
                f,
                "{0} is to be a private key and others than its owner may use the file (mode {mode:03o}); it was not read: \
                 `chmod 600 {0}`, and a new key where somebody may have read it",
                path.display()
            ),
            Self::Io { verb, path, error } => write!(f, "cannot {verb} {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for FolderError {}

pub(crate) fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |error| FolderError::Io { verb, path: path.to_owned(), error }
}

/// Reads a text file of at most 1 MiB: nothing that is read here comes near that.
pub fn read(path: &Path) -> Result<String, FolderError> {
    let bytes = read_bytes(path, 1 << 20)?;
    String::from_utf8(bytes).map_err(|_| {
        io_error("read", path)(io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"))
    })
}

/// Reads a file of at most `max` bytes.
pub fn read_bytes(path: &Path, max: u32) -> Result<Vec<u8>, FolderError> {
    let read = || {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(File::open(path)?, u64::from(max) + 1), &mut bytes)?;
        if bytes.len() as u64 > u64::from(max) {
            let why = format!("it is larger than {} KiB", max / 1024);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(bytes)
    };
    read().map_err(io_error("read", path))
}

/// Reads a file with a private key of at most 64 KiB, which nobody but its owner may read or write. The memory that it is in is
/// wiped when the text is dropped.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, FolderError> {
    let failed = || io_error("read", path);
    let mut file = File::open(path).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FolderError::Exposed(path.to_owned(), mode));
    }
    // Room for all of it at once: memory that a growing buffer has left behind is not wiped.
    let mut text = Zeroizing::new(String::with_capacity(PRIVATE_BYTES_MAX + 64));
    io::Read::read_to_string(&mut io::Read::take(&mut file, PRIVATE_BYTES_MAX as u64), &mut text)
        .map_err(failed())?;
    Ok(text)
}

/// What tells that a file was replaced or changed since it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    written_s: i64,
    written_ns: i64,
    bytes: u64,
    inode: u64,
}

impl Version {
    /// Looks at the file; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let of = fs::metadata(path).ok()?;
        Some(Self { written_s: of.mtime(), written_ns: of.mtime_nsec(), bytes: of.size(), inode: of.ino() })
    }
}

/// Longest file with a private key: a key with a chain beside it.
const PRIVATE_BYTES_MAX: usize = 64 << 10;

/// Writes `bytes` to `path` whole or not at all; replaces what is there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let partial = beside(path)?;
    let written = write_new(&partial, bytes, PUBLIC)
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| sync_parent(path));
    written.map_err(|error| {
        // The error that counts is the first one; the partial file is of no use to anyone.
        let _ = fs::remove_file(&partial);
        io_error("write", path)(error)
    })
}

/// Takes the lock that the file `path` stands for, which is made where it does not exist; waits for whoever has it. It is
/// given back when the file is closed, by a process that was killed too.
pub fn lock(path: &Path) -> Result<File, FolderError> {
    let open = || {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(PUBLIC).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    };
    open().map_err(io_error("lock", path))
}

/// Waits for its turn to change the file `path`: whoever reads a file, decides and replaces it holds this from before the first to
/// after the last. It is the lock of the folder that the file is in, and is given back as that of [`lock`] is.
pub fn turn(path: &Path) -> Result<File, FolderError> {
    let open = || {
        let folder = File::open(parent(path))?;
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(folder)
    };
    open().map_err(io_error("lock the folder of", path))
}

/// Mode of a file with a private key.
const PRIVATE: u32 = 0o600;
/// Mode of any other file.
const PUBLIC: u32 = 0o644;

/// Makes the names in the folder of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path)).and_then(|folder| folder.sync_all())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A hidden name beside `path`, on the same file system, that nobody else has: processes in two containers that share a volume
/// may have one number.
fn beside(path: &Path) -> Result<PathBuf, FolderError> {
    let name = path.file_name().ok_or_else(|| FolderError::NoName(path.to_owned()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let random = RandomState::new().hash_one(SystemTime::now());
    hidden.push(format!(".partial-{}-{random:016x}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// A folder that is being written: mode 0700, beside its place. Dropped without [`Self::publish`], it vanishes.
#[derive(Debug)]
pub struct NewFolder {
    place: PathBuf,
    partial: PathBuf,
    published: bool,
}

impl NewFolder {
    /// Begins the folder `place`, which must not exist or be empty. Missing parents are made.
    pub fn begin(place: &Path) -> Result<Self, FolderError> {
        if !vacant(place)? {
            return Err(FolderError::Exists(place.to_owned()));
        }
        let partial = beside(place)?;
        if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        DirBuilder::new().mode(0o700).create(&partial).map_err(io_error("make", &partial))?;
        Ok(Self { place: place.to_owned(), partial, published: false })
    }

    /// Writes a private key: mode 0600.
    pub fn private(&self, name: &str, text: &str) -> Result<(), FolderError> {
        self.file(name, text.as_bytes(), PRIVATE)
    }

    /// Writes any other file.
    pub fn public(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        self.file(name, bytes, PUBLIC)
    }

    fn file(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), FolderError> {
        let path = self.partial.join(name);
        write_new(&path, bytes, mode).map_err(io_error("write", &path))
    }

    /// Begins a folder inside this one; it appears with it.
    pub fn inner(&self, name: &str) -> Result<Self, FolderError> {
        Self::begin(&self.partial.join(name))
    }

    /// Puts the folder into its place.
    pub fn publish(mut self) -> Result<(), FolderError> {
        // Renaming a folder replaces an empty one and fails on any other.
        fs::rename(&self.partial, &self.place).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                FolderError::Exists(self.place.clone())
            }
            _ => io_error("make", &self.place)(error),
        })?;
        self.published = true;
        sync_parent(&self.place).map_err(io_error("write", &self.place))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done where even this fails; the error that led here is on its way.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// True where `place` does not exist or is an empty folder.
fn vacant(place: &Path) -> Result<bool, FolderError> {
    match fs::read_dir(place) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(!place.is_symlink()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(io_error("look into", place)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_folder_appears_whole_with_its_modes() {
        let temporary = tempfile::tempdir().unwrap();
        let place = temporary.path().join("a/b");
        let folder = NewFolder::begin(&place).unwrap();
        folder.private("key", "secret").unwrap();
        let inner = folder.inner("inner").unwrap();
        inner.public("open", b"text").unwrap();
        inner.publish().unwrap();
        assert!(!place.exists());
        folder.publish().unwrap();
        let mode = |name: &str| fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("key"), mode("inner"), mode("inner/open")), (0o700, 0o600, 0o700, 0o644));
        assert_eq!(names(&temporary.path().join("a")), ["b"]);
    }

    #[test]
    fn a_folder_that_is_given_up_leaves_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = NewFolder::begin(&temporary.path().join("a")).unwrap();
        folder.private("key", "secret").unwrap();
        drop(folder);
        assert_eq!(names(temporary.path()), [""; 0]);
    }

    #[test]
    fn what_exists_is_never_touched() {
        let temporary = tempfile::tempdir().unwrap();
        let place = temporary.path().join("a");
        fs::create_dir(&place).unwrap();
        let folder = NewFolder::begin(&place).expect("an empty folder may be filled");
        fs::write(place.join("mine"), "precious").unwrap();
        assert!(matches!(folder.publish(), Err(FolderError::Exists(_))));
        assert!(matches!(NewFolder::begin(&place), Err(FolderError::Exists(_))));
        assert!(matches!(NewFolder::begin(&place.join("mine")), Err(FolderError::Exists(_))));
        assert_eq!(fs::read_to_string(place.join("mine")).unwrap(), "precious");
        assert_eq!(names(temporary.path()), ["a"]);
    }

    #[test]
    fn two_that_write_beside_one_place_never_have_one_name() {
        let temporary = tempfile::tempdir().unwrap();
        let place = temporary.path().join("a");
        // The same process number: as the first process of two containers that share a volume.
        let (first, second) = (NewFolder::begin(&place).unwrap(), NewFolder::begin(&place).unwrap());
        first.public("mine", b"first").unwrap();
        second.public("mine", b"second").unwrap();
        first.publish().unwrap();
        assert!(matches!(second.publish(), Err(FolderError::Exists(_))));
        assert_eq!(fs::read(place.join("mine")).unwrap(), b"first");
        let path = temporary.path().join("file");
        let names: std::collections::BTreeSet<_> = (0..100).map(|_| beside(&path).unwrap()).collect();
        assert_eq!(names.len(), 100);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a.svg");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(replace(&temporary.path().join("no/such/folder"), b"").is_err());
        assert_eq!(names(temporary.path()), ["a.svg"]);
    }
}
