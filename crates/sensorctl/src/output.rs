//! The one door to the standard output and the standard error. Owns what happens when nobody reads them any more. R-AVAILABLE
//! of the operator's side: a command that acts does so to its end, whoever looks on.
//!
//! `sensorctl … | head` closes the output while a command is at work. What it does is the point and what it prints is not, so a
//! closed output is no error. A command that only shows something may end then ([`shows_only`]). Any other error of the output,
//! a full disk, is told at the end, when everything is done. What cannot be said on the standard error is not said.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static SHOWS_ONLY: AtomicBool = AtomicBool::new(false);
/// The first error that is not that the output is closed.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// This command changes nothing: there is no reason to go on when nobody reads.
pub fn shows_only() {
    SHOWS_ONLY.store(true, Ordering::Relaxed);
}

/// The standard output. Writing to it fails in a command that only shows, where it is closed, and never in another.
#[derive(Clone, Copy, Debug)]
pub struct Out;

fn settle(result: io::Result<usize>, all: usize) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
        Err(error) if SHOWS_ONLY.load(Ordering::Relaxed) => Err(error),
        Err(error) => {
            if error.kind() != io::ErrorKind::BrokenPipe {
                FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            Ok(all)
        }
        written => written,
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        settle(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        settle(io::stdout().flush().map(|()| 0), 0).map(|_| ())
    }
}

/// Says that everything is done; gives why something could not be printed, where there is a reason but that nobody reads.
pub fn finish() -> Option<io::Error> {
    let flushed = io::stdout().flush();
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.or_else(|| flushed.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe))
}

/// Writes to the standard error; whether anybody reads it is of no concern.
pub fn tell(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}

/// Writes a line to the standard error as `eprintln!` does, and goes on where that is closed.
macro_rules! note {
    ($($text:tt)*) => { $crate::output::tell(format_args!("{}\n", format_args!($($text)*))) };
}
pub(crate) use note;
