//! Images for the board: signed by MCUboot's own `imgtool`, of any size and version, and the orders that the test image
//! (`tests/boot`) obeys.

use crate::flash::{Flash, STORAGE, Slot};
use crate::{BoardError, flash};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the header that `imgtool` puts before the body. Zephyr's build has left room for it.
pub const HEADER_BYTES: usize = 0x200;

/// What the test image does by itself: `tests/boot/src/main.c`. Without orders it only tells who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Which image in slot 1 it asks for, when it is confirmed itself.
    pub mark: Mark,
    /// Confirm when on trial.
    pub confirm: bool,
    /// Restart after marking, and when on trial and not to confirm.
    pub restart: bool,
    /// The image with this major number stops before any of its drivers has started.
    pub hang_major: u8,
    /// The image with this major number panics.
    pub panic_major: u8,
}

/// Which image in slot 1 the test image asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// None.
    Nothing,
    /// One that is newer than itself, for a trial.
    Newer,
    /// Whatever is there, unchecked, for a trial.
    Anything,
    /// Whatever is there, unchecked, for good.
    AnythingForGood,
}

/// No version has this major number in the tests.
const NONE: u8 = 0xff;

impl Orders {
    /// Nothing but telling who it is.
    pub const IDLE: Self =
        Self { mark: Mark::Nothing, confirm: false, restart: false, hang_major: NONE, panic_major: NONE };
    /// Brings an update to its end: marks it, restarts, confirms it.
    pub const UPDATE: Self = Self { mark: Mark::Newer, confirm: true, restart: true, ..Self::IDLE };
    /// Never confirms, and restarts when on trial.
    pub const REVERT: Self = Self { restart: true, ..Self::IDLE };

    /// Puts them where the image looks for them.
    pub fn put(self, flash: &mut Flash) {
        let yes = |yes: bool| if yes { 1 } else { 0xff };
        let mark = match self.mark {
            Mark::Nothing => 0xff,
            Mark::Newer => 1,
            Mark::Anything => 2,
            Mark::AnythingForGood => 3,
        };
        let bytes = [mark, yes(self.confirm), yes(self.restart), self.hang_major, self.panic_major];
        let begin = STORAGE.start;
        flash.bytes_mut()[begin..begin + 4].copy_from_slice(b"ORDR");
        flash.bytes_mut()[begin + 4..begin + 4 + bytes.len()].copy_from_slice(&bytes);
    }
}

/// Signs images by `imgtool`.
#[derive(Clone, Debug)]
pub struct Signer {
    imgtool: Vec<PathBuf>,
    key: Option<PathBuf>,
}

impl Signer {
    /// With this private key (PEM); without one, images have a hash only. `mcuboot` is the folder of MCUboot's source, whose
    /// `imgtool` is used; without it the one that is installed.
    pub fn new(mcuboot: Option<&Path>, key: Option<&Path>) -> Self {
        let script = mcuboot.map(|folder| folder.join("scripts/imgtool.py")).filter(|path| path.exists());
        let imgtool = script.map_or_else(|| vec!["imgtool".into()], |script| vec!["python3".into(), script]);
        Self { imgtool, key: key.map(Path::to_path_buf) }
    }

    /// The same tool with another key, or none.
    #[must_use]
    pub fn with_key(&self, key: Option<&Path>) -> Self {
        Self { key: key.map(Path::to_path_buf), ..self.clone() }
    }

    fn run(&self, arguments: &[&str]) -> Result<(), BoardError> {
        let mut words = self.imgtool.iter();
        let program = words.next().map_or_else(PathBuf::new, Clone::clone);
        let output = Command::new(&program).args(words).args(arguments).output().map_err(|source| {
            BoardError::Start {
                program: program.display().to_string(),
                source,
                remedy: "pip install imgtool",
            }
        })?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(BoardError::Failed { program: format!("imgtool {}", arguments.join(" ")), output })
    }

    /// Makes a new private key in `path`.
    pub fn make_key(&self, path: &Path) -> Result<(), BoardError> {
        self.run(&["keygen", "--type", "ecdsa-p256", "--key", &path.display().to_string()])
    }

    /// `body` (Zephyr's `zephyr.bin`, with room for the header) as an image of this version. `extra` goes to `imgtool sign`.
    pub fn sign(&self, body: &[u8], version: &str, extra: &[&str]) -> Result<Vec<u8>, BoardError> {
        let folder = tempfile::tempdir().map_err(BoardError::file("a temporary folder"))?;
        let [from, to] = ["body.bin", "image.bin"].map(|name| folder.path().join(name));
        std::fs::write(&from, body).map_err(BoardError::file(&from))?;
        let slot = Slot::Candidate.range().len().to_string();
        let (header, align) = (HEADER_BYTES.to_string(), flash::WRITE_BYTES.to_string());
        let mut arguments =
            vec!["sign", "--version", version, "--header-size", &header, "--slot-size", &slot];
        arguments.extend(["--align", &align]);
        let key = self.key.as_ref().map(|key| key.display().to_string());
        if let Some(key) = &key {
            arguments.extend(["--key", key]);
        }
        arguments.extend(extra);
        let [from, to_text] = [&from, &to].map(|path| path.display().to_string());
        arguments.extend([from.as_str(), &to_text]);
        self.run(&arguments)?;
        std::fs::read(&to).map_err(BoardError::file(&to))
    }

    /// Like [`sign`](Self::sign), with `bytes` in all, or a few more: random ones behind the body, from `seed`, so that
    /// no two images are alike anywhere.
    pub fn sign_padded(
        &self,
        body: &[u8],
        version: &str,
        bytes: usize,
        seed: u64,
    ) -> Result<Vec<u8>, BoardError> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut padded = body.to_vec();
        padded.resize_with(bytes.max(body.len()), || rng.u8(..));
        self.sign(&padded, version, &[])
    }
}

/// The version in an image's header, as MCUboot prints it: `1.2.3`.
pub fn version(image: &[u8]) -> Option<String> {
    let &[major, minor, low, high] = image.get(20..24)? else { return None };
    Some(format!("{major}.{minor}.{}", u16::from_le_bytes([low, high])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_lie_where_the_test_image_reads_them() {
        let mut flash = Flash::erased();
        Orders::UPDATE.put(&mut flash);
        assert_eq!(flash.bytes()[0x19_1000..0x19_1009], *b"ORDR\x01\x01\x01\xff\xff");
        Orders { hang_major: 2, ..Orders::REVERT }.put(&mut flash);
        assert_eq!(flash.bytes()[0x19_1000..0x19_1009], *b"ORDR\xff\xff\x01\x02\xff");
    }

    #[test]
    fn a_version_is_read_as_mcuboot_prints_it() {
        let mut header = [0; 32];
        header[20..28].copy_from_slice(&[1, 2, 4, 1, 9, 0, 0, 0]);
        assert_eq!(version(&header).unwrap(), "1.2.260");
        assert_eq!(version(&header[..20]), None);
    }
}
