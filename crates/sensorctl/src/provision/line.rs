//! A line to a device: a serial device or pty, a socket, or a program's standard input and output. Owns file descriptors and
//! their modes; understands no byte.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_getfl, fcntl_setfl, flock, open};
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, isatty, tcgetattr, tcsetattr};
use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Bits per second of a serial device: 8 data bits, no parity, one stop bit, no flow control.
pub const BAUD: u32 = 115_200;

/// How a line is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A serial device or pty.
    Serial(PathBuf),
    /// `unix:PATH`
    Unix(PathBuf),
    /// `tcp:HOST:PORT`
    Tcp(String),
    /// `exec:COMMAND`, run by `sh`.
    Exec(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let target = match text.split_once(':') {
            Some(("unix", path)) => Self::Unix(path.into()),
            Some(("tcp", address)) => Self::Tcp(address.to_owned()),
            Some(("exec", command)) => Self::Exec(command.to_owned()),
            _ => Self::Serial(text.into()),
        };
        let port =
            |address: &str| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match &target {
            Self::Tcp(address) if !port(address) => Err("after tcp: there must be HOST:PORT".to_owned()),
            Self::Unix(path) | Self::Serial(path) if path.as_os_str().is_empty() => {
                Err("the path is missing".to_owned())
            }
            Self::Exec(command) if command.trim().is_empty() => Err("the command is missing".to_owned()),
            _ => Ok(target),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Exec(command) => write!(f, "exec:{command}"),
        }
    }
}

/// Why a line cannot be used.
#[derive(Debug)]
pub enum LineError {
    /// It cannot be opened.
    Open(io::Error),
    /// The path is no serial device.
    NotSerial,
    /// Another program has it.
    Busy,
    /// The other end is gone.
    Closed,
    /// It failed.
    Io(io::Error),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "the line cannot be opened: {error}"),
            Self::NotSerial => f.write_str("the path is no serial device; a socket is named unix:PATH"),
            Self::Busy => f.write_str("another program uses the line: end it first"),
            Self::Closed => f.write_str("the line was closed at the other end: connect the device again"),
            Self::Io(error) => write!(f, "the line failed: {error}"),
        }
    }
}

impl std::error::Error for LineError {}

/// How long one address of a line over TCP may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the names of this tool's variables in the environment begin with.
const VARIABLES: &str = "SENSORCTL_";

/// A program that this tool starts: it inherits the environment but for what is meant for this tool alone, the PIN of a token
/// ([`crate::signer::pin::VARIABLE`]) among it. No child is started in another way.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    for (variable, _) in std::env::vars_os() {
        if variable.as_encoded_bytes().starts_with(VARIABLES.as_bytes()) {
            command.env_remove(variable);
        }
    }
    command
}

/// The first of the host's addresses that answers. The lines after this one may wait for it.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A line that is open.
#[derive(Debug)]
pub struct Line {
    input: OwnedFd,
    output: Option<OwnedFd>,
    child: Option<Child>,
}

impl Line {
    /// Opens it.
    pub fn open(target: &Target) -> Result<Self, LineError> {
        let mut child = None;
        let (input, output) = match target {
            Target::Serial(path) => (serial(path)?, None),
            Target::Unix(path) => (UnixStream::connect(path).map_err(LineError::Open)?.into(), None),
            Target::Tcp(address) => {
                let stream = connect(address).map_err(LineError::Open)?;
                stream.set_nodelay(true).map_err(LineError::Open)?;
                (stream.into(), None)
            }
            Target::Exec(command) => {
                let mut started = program("sh")
                    .args(["-c", command])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .process_group(0)
                    .spawn()
                    .map_err(LineError::Open)?;
                let pipes = started.stdout.take().zip(started.stdin.take());
                let (input, output) = pipes.ok_or(LineError::Closed)?;
                child = Some(started);
                (input.into(), Some(output.into()))
            }
        };
        let line = Self { input, output, child };
        for end in [line.input.as_fd(), line.output()] {
            let flags = fcntl_getfl(end).map_err(|error| LineError::Open(error.into()))?;
            fcntl_setfl(end, flags | OFlags::NONBLOCK).map_err(|error| LineError::Open(error.into()))?;
        }
        Ok(line)
    }

    fn output(&self) -> BorrowedFd<'_> {
        self.output.as_ref().unwrap_or(&self.input).as_fd()
    }

    /// Sends all of `bytes` by `until`; an error of the kind `TimedOut` where the line does not take them.
    pub fn send(&self, mut bytes: &[u8], until: Instant) -> Result<(), LineError> {
        while !bytes.is_empty() {
            match rustix::io::write(self.output(), bytes) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => {
                    if !ready(self.output(), PollFlags::OUT, until)? {
                        return Err(LineError::Io(io::ErrorKind::TimedOut.into()));
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Receives what is there, at least one byte; `None` where nothing has come by `until`.
    pub fn receive(&self, buffer: &mut [u8], until: Instant) -> Result<Option<usize>, LineError> {
        loop {
            match rustix::io::read(&self.input, &mut *buffer) {
                Ok(0) => return Err(LineError::Closed),
                Ok(len) => return Ok(Some(len)),
                Err(Errno::AGAIN) => {
                    if !ready(self.input.as_fd(), PollFlags::IN, until)? {
                        return Ok(None);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
                // It may have ended by itself.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
            }
            let _ = child.wait();
        }
    }
}

fn failed(error: Errno) -> LineError {
    match error {
        // What a pty and a pulled adapter say when nobody is at the other end.
        Errno::IO | Errno::PIPE | Errno::CONNRESET | Errno::NODEV | Errno::NXIO => LineError::Closed,
        error => LineError::Io(error.into()),
    }
}

fn ready(end: BorrowedFd<'_>, what: PollFlags, until: Instant) -> Result<bool, LineError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // A millisecond more than is left, so that rounding does not make it spin.
        let left = Timespec::try_from(left + Duration::from_millis(1)).ok();
        match poll(&mut [PollFd::from_borrowed_fd(end, what)], left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(LineError::Io(error.into())),
        }
    }
}

fn serial(path: &PathBuf) -> Result<OwnedFd, LineError> {
    let mode = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let line = open(path, mode, Mode::empty()).map_err(|error| match error {
        Errno::NXIO => LineError::NotSerial,
        error => LineError::Open(error.into()),
    })?;
    if !isatty(&line) {
        return Err(LineError::NotSerial);
    }
    flock(&line, FlockOperation::NonBlockingLockExclusive).map_err(|_| LineError::Busy)?;
    let set = || {
        let mut mode = tcgetattr(&line)?;
        mode.make_raw();
        mode.set_speed(BAUD)?;
        mode.control_modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
        mode.control_modes.remove(ControlModes::CSTOPB | ControlModes::CRTSCTS);
        tcsetattr(&line, OptionalActions::Now, &mode)
    };
    set().map_err(|error| LineError::Open(error.into()))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_from_their_names_and_written_back() {
        for text in ["/dev/pts/3", "unix:/a/b", "tcp:127.0.0.1:99", "exec:ssh rig cat", "COM"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "tcp:host", "tcp:host:99999", "exec: "] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_program_is_a_line_and_ends_with_it() {
        let line = Line::open(&Target::Exec("cat".into())).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        line.send(b"text", until).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(line.receive(&mut buffer, until).unwrap(), Some(4));
        assert_eq!(line.receive(&mut buffer, Instant::now()).unwrap(), None);
        drop(line);
        let line = Line::open(&Target::Exec("true".into())).unwrap();
        assert!(matches!(line.receive(&mut buffer, until), Err(LineError::Closed)));
    }

    #[test]
    fn what_is_no_serial_device_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(Line::open(&Target::Serial(path)), Err(LineError::NotSerial)));
        let missing = temporary.path().join("missing");
        assert!(matches!(Line::open(&Target::Serial(missing.clone())), Err(LineError::Open(_))));
        assert!(matches!(Line::open(&Target::Unix(missing)), Err(LineError::Open(_))));
    }
}
