//! The one door to the standard output and the standard error. Owns what happens when nobody reads them any more.
//!
//! `sensorctl … | head` closes the output while a command is at work. What it does is the point and what it prints is not, so a
//! closed output is no error. A command that only shows something, and gives no verdict, may end then ([`shows_only`]). Any other
//! error of the output, a full disk, is told at the end, when everything is done. What cannot be said on the standard error is not
//! said.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static SHOWS_ONLY: AtomicBool = AtomicBool::new(false);
/// A command that only shows was told that nobody reads.
static CLOSED: AtomicBool = AtomicBool::new(false);
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
    let error = match result {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => error,
        other => return other,
    };
    let closed = error.kind() == io::ErrorKind::BrokenPipe;
    if SHOWS_ONLY.load(Ordering::Relaxed) {
        CLOSED.fetch_or(closed, Ordering::Relaxed);
        return Err(error);
    }
    if !closed {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
    Ok(all)
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        settle(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        settle(io::stdout().flush().map(|()| 0), 0).map(|_| ())
    }
}

/// Why not everything that there was to print has been read or written.
#[derive(Debug)]
pub enum Unread {
    /// A command that only shows has ended before its end: nobody reads. There is no more to say.
    Closed,
    /// The output failed, and the command has done its work all the same.
    Failed(io::Error),
}

/// To be called when everything is done.
pub fn finish() -> Result<(), Unread> {
    let flushed = Out.flush();
    if CLOSED.load(Ordering::Relaxed) {
        return Err(Unread::Closed);
    }
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.map_or(flushed, Err).map_err(Unread::Failed)
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
