//! The virtual board: QEMU's `mps2-an385` with the real MCUboot and flash in a file. Owns how it is started, watched,
//! stopped and cut off from power, and what its flash holds; decides nothing that a device decides. R-BOOT-VERIFY,
//! R-BOOT-NEWER, R-FW-ATOMIC.
//!
//! - [`Flash`] builds and reads flash content: images in slots, trailers. [`image`] signs images by `imgtool`.
//! - [`Board`] is a QEMU: consoles, resets, kills, and a [debugger](gdb).
//! - [`Recorder`] notes every flash operation of a run in an [`OperationLog`], which can be kept in a file.
//! - [`Bench`] puts flash as it was at an operation, whole or [torn](Tear), into a board and sees what becomes of it;
//!   [`campaign`] does so thousands of times.
#![forbid(unsafe_code)]

pub mod bench;
pub mod builds;
pub mod campaign;
pub mod flash;
pub mod gdb;
pub mod image;
pub mod log;
pub mod qemu;
pub mod record;
pub mod scenario;
pub mod tear;

pub use bench::{Bench, Brick, Settled};
pub use builds::Builds;
pub use flash::{Flash, Slot, Trailer};
pub use image::{Orders, Signer};
pub use log::{Change, Operation, OperationLog};
pub use qemu::{Board, Network, Setup};
pub use record::{Program, Recorder};
pub use tear::Tear;

use std::path::PathBuf;
use std::time::Duration;

/// What keeps the virtual board from working. What becomes of a device under test is no error but a result.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program is not there or cannot be started.
    #[error("{program} cannot be started ({source}): {remedy}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
        /// What helps.
        remedy: &'static str,
    },
    /// A program failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// What it said.
        output: String,
    },
    /// QEMU is gone.
    #[error("QEMU has ended; it said: {0}")]
    Ended(String),
    /// Nothing came for too long.
    #[error("{what} did not come within {seconds} s; the console's last lines:\n{console}")]
    Silent {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What the board said last.
        console: String,
    },
    /// QEMU's monitor or debugger said something else than expected.
    #[error("QEMU's {0} answered {1:?}, which was not expected")]
    Protocol(&'static str, String),
    /// A program's file lacks what the recorder needs.
    #[error("{path}: {why}")]
    Program {
        /// The program's ELF file.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// An image does not fit.
    #[error("the image has {0} bytes, the slot has room for {1}")]
    TooLarge(usize, usize),
    /// A log of operations is none.
    #[error("{path} is no log of flash operations: {why}")]
    Log {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What was recorded does not lead to what the flash holds.
    #[error(
        "the flash differs at offset {offset:#x} from what the recorded operations give: the recorder has missed one"
    )]
    Incomplete {
        /// First difference.
        offset: usize,
    },
    /// A run went another way than the scenario wants before any power was cut.
    #[error("without any power cut the board should have said {wanted:?}; it said:\n{console}")]
    Scenario {
        /// What it should have said.
        wanted: String,
        /// What it said.
        console: String,
    },
}

impl BoardError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// Longest time a board may say nothing, on a loaded machine. Only a failure waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);
