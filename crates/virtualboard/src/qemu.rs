//! One board: a QEMU with its console, its monitor and, if wanted, its debugger. QEMU connects to sockets of ours, so that
//! nothing is polled and no port is taken. A board that goes out of scope is killed.

use crate::{BoardError, flash};
use serde_json::Value;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// The board's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A cable that leads nowhere.
    #[default]
    None,
    /// QEMU's user networking: the host is 10.0.2.2.
    User {
        /// TCP ports of 127.0.0.1 that lead to ports of the board.
        forward: Vec<(u16, u16)>,
    },
}

/// How a board is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// QEMU's program.
    pub qemu: PathBuf,
    /// MCUboot as raw bytes (`zephyr.bin`): at the begin of the flash again after each reset.
    pub bootloader: PathBuf,
    /// The flash file ([`Flash::write`](crate::Flash::write)).
    pub flash: PathBuf,
    /// Its network.
    pub network: Network,
    /// Whether there is a debugger. The board then waits for [`Board::resume`](Board::resume).
    pub debugger: bool,
    /// Where the factory's line is served, as a socket in the file system; `None` leaves it unconnected.
    pub line: Option<PathBuf>,
    /// Further arguments for QEMU.
    pub extra: Vec<OsString>,
}

impl Setup {
    /// A board without network, debugger and line.
    pub fn new(bootloader: impl Into<PathBuf>, flash: impl Into<PathBuf>) -> Self {
        Self {
            qemu: "qemu-system-arm".into(),
            bootloader: bootloader.into(),
            flash: flash.into(),
            network: Network::None,
            debugger: false,
            line: None,
            extra: Vec::new(),
        }
    }
}

/// What a board says, over all its sockets.
#[derive(Debug)]
pub(crate) enum Event {
    Line(String),
    Monitor(Value),
    Debugger(Vec<u8>),
    Closed,
}

/// A running board.
#[derive(Debug)]
pub struct Board {
    setup: Setup,
    process: Process,
    events: Receiver<Event>,
    monitor: UnixStream,
    pub(crate) debugger: Option<UnixStream>,
    /// Lines that came while something else was waited for.
    lines: VecDeque<String>,
    /// The last lines, for messages.
    recent: VecDeque<String>,
    /// What the debugger said while something else was waited for.
    pub(crate) packets: VecDeque<Vec<u8>>,
    console: UnixStream,
    /// Resets that the monitor has told of.
    resets: u32,
    _folder: tempfile::TempDir,
}

/// QEMU's process, killed with its owner.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Lines of the console that are kept for messages.
const RECENT_LINES: usize = 40;

impl Board {
    /// Starts it and waits until its sockets are connected. With a debugger it does not run yet.
    pub fn start(setup: &Setup) -> Result<Self, BoardError> {
        let folder = tempfile::tempdir().map_err(BoardError::file("a temporary folder"))?;
        let socket = |name: &str| {
            let path = folder.path().join(name);
            UnixListener::bind(&path).map(|listener| (listener, path.clone())).map_err(BoardError::file(path))
        };
        let (console, console_path) = socket("console")?;
        let (monitor, monitor_path) = socket("monitor")?;
        let debugger = setup.debugger.then(|| socket("debugger")).transpose()?;
        let mut command = Command::new(&setup.qemu);
        let path = |path: &std::path::Path| path.display().to_string();
        command.args(["-cpu", "cortex-m3", "-machine", "mps2-an385,memory-backend=flash"]);
        command.args(["-display", "none", "-nodefaults"]);
        let file = path(&setup.flash);
        let backend =
            format!("memory-backend-file,id=flash,mem-path={file},size={},share=on", flash::FILE_BYTES);
        command.args(["-object", &backend, "-global", &format!("armv7m.init-nsvtor={:#x}", flash::ADDRESS)]);
        let loader =
            format!("loader,file={},addr={:#x},force-raw=on", path(&setup.bootloader), flash::ADDRESS);
        command.args(["-device", &loader]);
        let mut chardev = |id: &str, at: &std::path::Path| {
            command.args(["-chardev", &format!("socket,id={id},path={},server=off", path(at))]);
        };
        chardev("console", &console_path);
        chardev("monitor", &monitor_path);
        if let Some((_, at)) = &debugger {
            chardev("debugger", at);
            command.args(["-gdb", "chardev:debugger", "-S"]);
        }
        command.args(["-serial", "chardev:console", "-mon", "chardev=monitor,mode=control"]);
        let line =
            setup.line.as_ref().map_or("null".into(), |at| format!("unix:{},server=on,wait=off", path(at)));
        command.args(["-serial", &line]);
        let nic = match &setup.network {
            Network::None => "none".to_owned(),
            Network::User { forward } => {
                let forward =
                    forward.iter().map(|(host, board)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{board}"));
                format!("user,model=lan9118{}", forward.collect::<String>())
            }
        };
        command.args(["-nic", &nic]);
        command.args(&setup.extra).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| BoardError::Start {
            program: path(&setup.qemu),
            source,
            remedy: "apt-get install qemu-system-arm",
        })?;
        let mut process = Process(child);
        let (send, events) = mpsc::channel();
        let console = accept(&console, &mut process)?;
        let monitor = accept(&monitor, &mut process)?;
        let debugger = debugger.map(|(listener, _)| accept(&listener, &mut process)).transpose()?;
        read_lines(&console, send.clone(), |text| Some(Event::Line(text.to_owned())))?;
        read_lines(&monitor, send.clone(), |text| serde_json::from_str(text).ok().map(Event::Monitor))?;
        if let Some(debugger) = &debugger {
            crate::gdb::read_packets(debugger, send)?;
        }
        let mut board = Self {
            setup: setup.clone(),
            process,
            events,
            monitor,
            debugger,
            lines: VecDeque::new(),
            recent: VecDeque::new(),
            packets: VecDeque::new(),
            console,
            resets: 0,
            _folder: folder,
        };
        board.ask_monitor("qmp_capabilities")?;
        Ok(board)
    }

    /// How it was started.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Ends it as a power cut would, whatever it is doing, and starts another one on the same flash file.
    pub fn power_cycle(&mut self) -> Result<(), BoardError> {
        let setup = self.setup.clone();
        // Two QEMUs never share a flash file.
        let _gone = self.process.0.kill();
        let _status = self.process.0.wait();
        *self = Self::start(&setup)?;
        Ok(())
    }

    /// Presses the reset button. A board that is stopped stays so.
    pub fn reset(&mut self) -> Result<(), BoardError> {
        let before = self.resets;
        self.ask_monitor("system_reset")?;
        let deadline = Instant::now() + crate::PATIENCE;
        while self.resets == before {
            let event = self.event(deadline, "the reset")?;
            self.keep(event);
        }
        Ok(())
    }

    /// Asks QEMU to end and waits for it.
    pub fn quit(mut self) -> Result<(), BoardError> {
        match self.ask_monitor("quit") {
            // Its sockets may close before the answer is read.
            Ok(_) | Err(BoardError::Ended(_)) => {}
            Err(error) => return Err(error),
        }
        self.process.0.wait().map_err(BoardError::file("QEMU"))?;
        Ok(())
    }

    /// Writes to the console.
    pub fn type_in(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        self.console.write_all(bytes).map_err(BoardError::file("QEMU's console"))
    }

    /// Gives a command to QEMU's monitor (QMP) and waits for its answer.
    pub fn ask_monitor(&mut self, command: &str) -> Result<Value, BoardError> {
        let text = serde_json::json!({ "execute": command }).to_string();
        self.monitor.write_all(format!("{text}\n").as_bytes()).map_err(BoardError::file("QEMU's monitor"))?;
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            match self.event(deadline, command)? {
                Event::Monitor(value) if value.get("return").is_some() => return Ok(value),
                Event::Monitor(value) if value.get("error").is_some() => {
                    return Err(BoardError::Protocol("monitor", value.to_string()));
                }
                other => self.keep(other),
            }
        }
    }

    /// The console's next line; `None` where none came until `deadline`.
    pub fn line(&mut self, deadline: Instant) -> Result<Option<String>, BoardError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            match self.receive(deadline)? {
                None => return Ok(None),
                Some(event) => self.keep(event),
            }
        }
    }

    /// Lines up to the first one that `wanted` takes, that one included.
    pub fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Vec<String>, BoardError> {
        let deadline = Instant::now() + patience;
        let mut lines = Vec::new();
        loop {
            match self.line(deadline)? {
                None => return Err(self.silent(what, patience)),
                Some(line) => {
                    let done = wanted(&line);
                    lines.push(line);
                    if done {
                        return Ok(lines);
                    }
                }
            }
        }
    }

    /// Forgets what the console has said so far.
    pub fn forget_lines(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.keep(event);
        }
        self.lines.clear();
    }

    pub(crate) fn silent(&self, what: &str, patience: Duration) -> BoardError {
        let console = self.recent.iter().fold(String::new(), |text, line| text + "    " + line + "\n");
        BoardError::Silent { what: what.to_owned(), seconds: patience.as_secs(), console }
    }

    /// A line, or a packet of the debugger, whichever comes first.
    pub(crate) fn line_or_packet(&mut self, deadline: Instant) -> Result<Option<Heard>, BoardError> {
        loop {
            // Lines first: what the board said before it stopped.
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(Heard::Line(line)));
            }
            if let Some(packet) = self.packets.pop_front() {
                return Ok(Some(Heard::Packet(packet)));
            }
            match self.receive(deadline)? {
                None => return Ok(None),
                Some(event) => self.keep(event),
            }
        }
    }

    pub(crate) fn event(&mut self, deadline: Instant, what: &str) -> Result<Event, BoardError> {
        match self.receive(deadline)? {
            Some(event) => Ok(event),
            None => Err(self.silent(what, crate::PATIENCE)),
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Event>, BoardError> {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => Err(self.process.ended()),
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
        }
    }

    pub(crate) fn keep(&mut self, event: Event) {
        match event {
            Event::Line(line) => {
                if self.recent.len() == RECENT_LINES {
                    self.recent.pop_front();
                }
                self.recent.push_back(line.clone());
                self.lines.push_back(line);
            }
            Event::Debugger(packet) => self.packets.push_back(packet),
            Event::Monitor(value) => {
                if value.get("event").is_some_and(|event| event == "RESET") {
                    self.resets += 1;
                }
            }
            Event::Closed => {}
        }
    }
}

/// What [`Board::line_or_packet`] heard.
pub(crate) enum Heard {
    Line(String),
    Packet(Vec<u8>),
}

impl Process {
    /// What QEMU said before it ended.
    fn ended(&mut self) -> BoardError {
        let _gone = self.0.kill();
        let mut text = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            // Whatever can be read helps.
            let _read = stderr.read_to_string(&mut text);
        }
        BoardError::Ended(text.trim().to_owned())
    }
}

/// Waits until QEMU has connected, or has ended.
fn accept(listener: &UnixListener, process: &mut Process) -> Result<UnixStream, BoardError> {
    let file = || BoardError::file("QEMU's socket");
    listener.set_nonblocking(true).map_err(file())?;
    let deadline = Instant::now() + crate::PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(file())?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                if process.0.try_wait().map_err(file())?.is_some() {
                    return Err(process.ended());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(file()(error)),
        }
    }
}

fn read_lines(
    stream: &UnixStream,
    send: Sender<Event>,
    make: impl Fn(&str) -> Option<Event> + Send + 'static,
) -> Result<(), BoardError> {
    let stream = stream.try_clone().map_err(BoardError::file("QEMU's socket"))?;
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&bytes);
            if let Some(event) = make(text.trim_end())
                && send.send(event).is_err()
            {
                return;
            }
            bytes.clear();
        }
        // Nobody listens any more where the board is gone.
        let _gone = send.send(Event::Closed);
    });
    Ok(())
}
