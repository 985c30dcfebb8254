//! Mosquitto with the configuration in `brokers/mosquitto`, the very files that are documented: only the port and the
//! address change, and where it runs as root it stays root. Owns the process and its folder.

use crate::pki::Pki;
use rustix::process::{Pid, Signal, kill_process};
use sensorctl::authority::file;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../brokers/mosquitto/mosquitto.conf");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../brokers/mosquitto/acl");

/// Where Debian puts it, which is not in everybody's `PATH`.
const DEBIAN: &str = "/usr/sbin/mosquitto";

/// How long it may take to listen or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that are tried. All lie below the range from which Linux takes ports for outgoing connections: one of those
/// could otherwise take the broker's port while it restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How a broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM: it writes what it has to keep.
    Orderly,
    /// SIGKILL: it writes nothing.
    Killed,
}

/// A running broker; dropping it kills it.
pub struct Mosquitto {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Mosquitto {
    /// Starts a broker with the certificates of `pki` and waits until it listens.
    pub async fn start(pki: &Pki) -> Self {
        Self::launch(pki, "", None).await
    }

    /// The same with the documented option for a list of revoked certificates, which is this one in PEM.
    pub async fn with_list(pki: &Pki, list: &str) -> Self {
        Self::launch(pki, "", Some(list)).await
    }

    /// The same with more rules behind the documented ones: only to show what those refuse.
    pub async fn with_rules(pki: &Pki, more: &str) -> Self {
        Self::launch(pki, more, None).await
    }

    async fn launch(pki: &Pki, more: &str, revoked: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the broker");
        let at = |name: &str| folder.path().join(name);
        for (from, to) in
            [(file::ROOT, "roots.crt"), (file::BROKER, "server.crt"), (file::BROKER_KEY, "server.key")]
        {
            fs::copy(pki.file(from), at(to)).expect("a certificate can be copied");
        }
        write(&at("acl"), &format!("{}\n{more}\n", read(Path::new(RULES))));
        if let Some(revoked) = revoked {
            write(&at("ca.crl"), revoked);
        }
        let mut broker = Self { folder, port: 0, process: None };
        let mut last = String::new();
        // Somebody else may take the port between the look and the start.
        for _ in 0..5 {
            broker.port = free_port();
            write(
                &broker.folder.path().join("mosquitto.conf"),
                &configuration(broker.port, revoked.is_some()),
            );
            match broker.spawn().await {
                Ok(()) => return broker,
                Err(why) => last = why,
            }
        }
        panic!("mosquitto does not start: {last}");
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the broker and waits until it is gone.
    pub async fn stop(&mut self, ending: Ending) {
        let Some(mut process) = self.process.take() else { return };
        let signal = match ending {
            Ending::Orderly => Signal::TERM,
            Ending::Killed => Signal::KILL,
        };
        let pid = Pid::from_child(&process);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} cannot be sent: {error}"));
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait().expect("the state of a child").is_none() {
            assert!(Instant::now() < deadline, "mosquitto does not end after {signal:?}: {}", self.log());
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Starts it again on the same port, with what it has kept.
    pub async fn start_again(&mut self) {
        if let Err(why) = self.spawn().await {
            panic!("mosquitto does not start again: {why}");
        }
    }

    /// Puts this text in the place of a file of its folder, for its next start or [`Self::reload`].
    pub fn put(&self, name: &str, text: &str) {
        write(&self.folder.path().join(name), text);
    }

    /// Has it read certificates, rules and lists again (SIGHUP). Nothing tells when it is done.
    pub fn reload(&self) {
        let process = self.process.as_ref().expect("a running broker");
        kill_process(Pid::from_child(process), Signal::HUP).expect("a signal to a child");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running broker").id()
    }

    /// Its folder: configuration, certificates, log, and what it has kept.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it wrote into its log.
    pub fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    async fn spawn(&mut self) -> Result<(), String> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log for the broker");
        let process = Command::new(program())
            .args(["-c", "mosquitto.conf"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let process = self.process.insert(process);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listens = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok();
            let ended = process.try_wait().expect("the state of a child");
            if listens && ended.is_none() {
                return Ok(());
            }
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("{ended:?}: {}", self.log()));
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; either way nothing of it is left.
            let _ended = process.kill();
            let _reaped = process.wait();
        }
    }
}

fn program() -> PathBuf {
    let in_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("mosquitto")).find(|p| p.is_file())
    });
    let found = in_path.or_else(|| Some(PathBuf::from(DEBIAN)).filter(|path| path.is_file()));
    found.unwrap_or_else(|| panic!("mosquitto is missing, which these tests need: apt-get install mosquitto"))
}

/// The documented configuration on another port, for this host only, and with the option for a list where one is wanted.
fn configuration(port: u16, list: bool) -> String {
    let mut documented = read(Path::new(CONFIGURATION));
    let (listener, option) = ("\nlistener 8883\n", "\n#crlfile ca.crl\n");
    for known in [listener, option] {
        assert_eq!(
            documented.matches(known).count(),
            1,
            "{CONFIGURATION} has no {known:?} as these tests know it"
        );
    }
    if list {
        documented = documented.replace(option, "\ncrlfile ca.crl\n");
    }
    // As root Mosquitto would become a user who may not read the folder of a test; anybody else it leaves as they are.
    format!("user root\n{}", documented.replace(listener, &format!("\nlistener {port} 127.0.0.1\n")))
}

/// A port that is free, and another one each time: tests run side by side.
fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    let next = || PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(next).take(PORTS.len()).find(free).expect("a free port")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
