//! What west has built for the board, and how it is built where it is not there yet.

use crate::{BoardError, Program, Signer};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with builds: `boot` in it is the build directory of `tests/boot`.
#[derive(Clone, Debug)]
pub struct Builds {
    folder: PathBuf,
    mcuboot: Option<PathBuf>,
}

/// The environment variable that names the folder.
pub const VARIABLE: &str = "SENSOR_BOARD_BUILDS";

impl Builds {
    /// Of this folder. `mcuboot` is the folder of MCUboot's source, with its `imgtool` and the development key.
    pub fn new(folder: &Path, mcuboot: Option<&Path>) -> Self {
        Self { folder: folder.to_path_buf(), mcuboot: mcuboot.map(Path::to_path_buf) }
    }

    /// Of the folder that [`VARIABLE`] names; `None` where it is not set. MCUboot's source is where the Zephyr workspace of
    /// `ZEPHYR_BASE`, or the one in the home directory, has it.
    pub fn from_environment() -> Option<Self> {
        let folder = std::env::var_os(VARIABLE)?;
        let base = std::env::var_os("ZEPHYR_BASE").map(PathBuf::from);
        let base =
            base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join("zephyrproject/zephyr")))?;
        let mcuboot = base.parent().map(|workspace| workspace.join("bootloader/mcuboot"));
        Some(Self::new(Path::new(&folder), mcuboot.filter(|path| path.exists()).as_deref()))
    }

    /// Builds `tests/boot` of the repository at `root` by `west` (which the caller has set up with its environment).
    pub fn build(&self, mut west: Command, root: &Path) -> Result<(), BoardError> {
        west.args(["build", "-b", "mps2/an385", "--sysbuild", "-o=-j2"]);
        west.arg(root.join("tests/boot")).arg("-d").arg(self.boot());
        let output = west.output().map_err(|source| BoardError::Start {
            program: "west".into(),
            source,
            remedy: "pip install west, in a Zephyr workspace",
        })?;
        if output.status.success() {
            return Ok(());
        }
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        Err(BoardError::Failed { program: "west build of tests/boot".into(), output: tail })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn boot(&self) -> PathBuf {
        self.folder.join("boot")
    }

    /// MCUboot as raw bytes.
    pub fn bootloader(&self) -> PathBuf {
        self.boot().join("mcuboot/zephyr/zephyr.bin")
    }

    /// Whether everything is there.
    pub fn are_there(&self) -> bool {
        self.bootloader().exists() && self.boot().join("boot/zephyr/zephyr.bin").exists()
    }

    /// The test image's body, not signed yet.
    pub fn body(&self) -> Result<Vec<u8>, BoardError> {
        let path = self.boot().join("boot/zephyr/zephyr.bin");
        std::fs::read(&path).map_err(BoardError::file(path))
    }

    /// MCUboot and the test image, for the recorder.
    pub fn programs(&self) -> Result<Vec<Program>, BoardError> {
        Ok(vec![
            Program::from_elf("mcuboot", &self.boot().join("mcuboot/zephyr/zephyr.elf"))?,
            Program::from_elf("boot-test", &self.boot().join("boot/zephyr/zephyr.elf"))?,
        ])
    }

    /// Signs with the development key that this MCUboot trusts.
    pub fn signer(&self) -> Result<Signer, BoardError> {
        let Some(mcuboot) = &self.mcuboot else {
            return Err(BoardError::Failed {
                program: "signing".into(),
                output:
                    "MCUboot's development key is in its source, which is in no Zephyr workspace here: set \
                         ZEPHYR_BASE"
                        .into(),
            });
        };
        Ok(Signer::new(Some(mcuboot), Some(&mcuboot.join("root-ec-p256.pem"))))
    }
}
