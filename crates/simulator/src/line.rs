//! The serial line between a simulated device and its factory: a pseudo terminal, a Unix socket, or standard input and
//! output. Owns bytes and frames, never what a message means. R-PROVISION.

use protocol::provisioning::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Messages that wait to be answered: the factory waits for each answer.
const WAITING_MAX: usize = 4;

/// Where a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A new pseudo terminal, which this name is a symbolic link to.
    Pty(PathBuf),
    /// A Unix socket with this name; one factory after the other.
    Unix(PathBuf),
    /// Standard input and output.
    Stdio,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("pty", path)) if !path.is_empty() => Ok(Self::Pty(path.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            None if text == "stdio" => Ok(Self::Stdio),
            _ => Err("must be pty:PATH, unix:PATH or stdio".to_owned()),
        }
    }
}

type Writer = Arc<Mutex<Option<Box<dyn Write + Send>>>>;

/// A line that is open.
pub struct Line {
    messages: mpsc::Receiver<Zeroizing<Vec<u8>>>,
    writer: Writer,
    /// What has to go with the line.
    name: Option<PathBuf>,
    /// Keeps a pseudo terminal alive while nobody is on it.
    _other_end: Option<File>,
}

impl Line {
    /// Opens a line. An old name in its place that is a link or a socket is replaced.
    pub fn open(place: &Place) -> io::Result<Self> {
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        let writer = Writer::default();
        let (name, other_end) = match place {
            Place::Pty(name) => {
                let (near, far) = pseudo_terminal()?;
                vacate(name)?;
                symlink(&far.1, name)?;
                attach(Box::new(near.try_clone()?), &writer);
                spawn(near, sender);
                (Some(name.clone()), Some(far.0))
            }
            Place::Unix(name) => {
                vacate(name)?;
                let listener = UnixListener::bind(name)?;
                let writer = writer.clone();
                thread::Builder::new().name("line".to_owned()).spawn(move || {
                    for stream in listener.incoming().flatten() {
                        let Ok(far) = stream.try_clone() else { continue };
                        attach(Box::new(far), &writer);
                        if read(stream, &sender).is_err() {
                            return;
                        }
                    }
                })?;
                (Some(name.clone()), None)
            }
            Place::Stdio => {
                attach(Box::new(io::stdout()), &writer);
                spawn(io::stdin(), sender);
                (None, None)
            }
        };
        Ok(Self { messages, writer, name, _other_end: other_end })
    }

    /// The next message of the factory; waits for ever where none comes any more.
    pub async fn next(&mut self) -> Zeroizing<Vec<u8>> {
        match self.messages.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }

    /// Sends an answer. A factory that has gone does not get it, and asks again when it is back.
    pub fn send(&self, message: &[u8]) {
        let mut frame = [0; FRAME_BYTES_MAX];
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(len), Some(out)) = (encode_frame(message, &mut frame), writer.as_mut()) {
            let _gone = out.write_all(&frame[..len]).and_then(|()| out.flush());
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Where it is gone already, that is what is wanted.
            let _gone = fs::remove_file(name);
        }
    }
}

fn attach(out: Box<dyn Write + Send>, writer: &Writer) {
    *writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(out);
}

fn spawn(from: impl Read + Send + 'static, to: mpsc::Sender<Zeroizing<Vec<u8>>>) {
    // The end of the thread is the end of the line: `next` then waits for ever.
    let _thread = thread::Builder::new().name("line".to_owned()).spawn(move || read(from, &to));
}

/// Finds messages until the line ends (no error) or nobody wants any more (an error).
fn read(mut from: impl Read, to: &mpsc::Sender<Zeroizing<Vec<u8>>>) -> Result<(), ()> {
    let mut frames = FrameReader::<FRAME_BYTES_MAX>::new();
    let mut bytes = Zeroizing::new([0; 256]);
    loop {
        match from.read(&mut *bytes) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                for byte in &bytes[..len] {
                    if let Some(message) = frames.push(*byte) {
                        to.blocking_send(Zeroizing::new(message.to_vec())).map_err(|_| ())?;
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(()),
        }
    }
}

/// A pseudo terminal that passes bytes as they are: the near end, and the far end with its name.
fn pseudo_terminal() -> io::Result<(File, (File, PathBuf))> {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&near)?;
    unlockpt(&near)?;
    let name = ptsname(&near, Vec::new())?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let far = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut modes = tcgetattr(&far)?;
    modes.make_raw();
    tcsetattr(&far, OptionalActions::Now, &modes)?;
    Ok((File::from(near), (far, path)))
}

/// Removes what an earlier device has left under `name`; anything else stays, and is an error of who binds it.
fn vacate(name: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(name) {
        Ok(found) if found.file_type().is_symlink() || found.file_type().is_socket() => fs::remove_file(name),
        Ok(_) | Err(_) => Ok(()),
    }
}
