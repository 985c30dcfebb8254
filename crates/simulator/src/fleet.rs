//! Many devices in one process, to load a broker and to see what a device costs. Owns the counting, never how a device
//! behaves. R-FLEET.

mod outcome;

use crate::folder::{self, Folder, FolderError, Powers, ProvisionError};
use crate::machine::{Machine, MachineError};
use crate::port::{Port, PortError, Report, Stop, Summary};
use crate::product::product;
use crate::sensor::Model;
use crate::slots::Booted;
use crate::vault::Injection;
use device::{Note, Pace, Policy};
use hdrhistogram::Histogram;
use protocol::image::Version;
use protocol::{Name, PublicKey};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::JoinSet;

pub use outcome::{Outcome, Percentiles};

/// How often progress is told.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// Highest latency that is told apart, in microseconds: beyond the device's patience of 20 s.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Ticks of `/proc/self/stat` in a second: `USER_HZ`, the same on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Why a fleet cannot run.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The folder cannot be read.
    #[error("cannot read the folder {path}: {error}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It has no device in it.
    #[error("{0} has no sub-folder: enrol devices into it first")]
    Empty(PathBuf),
    /// A device's folder cannot be used.
    #[error("{0}")]
    Device(#[from] FolderError),
    /// The flash folder cannot be made.
    #[error("cannot make the folder {path} for flash files: {error}")]
    FlashFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Why one device of the fleet did not run.
#[derive(Debug, Error)]
enum DeviceError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Is told how it goes.
pub type Tell = Box<dyn FnMut(&Progress) + Send>;

/// Devices that are going to run.
pub struct Fleet {
    devices: Vec<Folder>,
    /// The timing of their sessions.
    pub policy: Policy,
    /// The timing of their updates.
    pub pace: Pace,
    /// Whose images they take.
    pub image_key: Option<PublicKey>,
    /// What a new device begins with; `None` is [`crate::slots::factory`].
    pub firmware: Option<Arc<[u8]>>,
    /// Where each device's flash is a file; in RAM where `None`.
    pub flash_dir: Option<PathBuf>,
    /// How many devices are started in a second. All at once, their requests would overrun a time server's socket.
    pub starts_per_second: u32,
    /// Who is told once a second how it goes.
    pub progress: Option<Tell>,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Seconds since start.
    pub seconds: u64,
    /// Devices that are connected.
    pub connected: u64,
    /// Devices in all.
    pub devices: u64,
    /// Messages acknowledged so far.
    pub acknowledged: u64,
    /// Attempts and connections that failed so far.
    pub failures: u64,
    /// How many devices run which version.
    pub versions: BTreeMap<Version, u64>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, connected, devices, acknowledged, failures, versions } = self;
        write!(
            f,
            "{seconds:>5} s  {connected}/{devices} connected  {acknowledged} messages  {failures} failures"
        )?;
        versions.iter().try_for_each(|(version, count)| write!(f, "  {count} x {version}"))
    }
}

struct Counters {
    connect: Histogram<u64>,
    acknowledge: Histogram<u64>,
    connected: u64,
    samples: u64,
    /// Samples that were dropped before the boot in which each device is.
    lost: u64,
    messages: u64,
    payload_bytes: u64,
    received_bytes: u64,
    versions: BTreeMap<Version, u64>,
    swapped: u64,
    reverted: u64,
    failures: BTreeMap<&'static str, u64>,
}

impl Counters {
    fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("three digits of a wide range");
        Self {
            connect: histogram(),
            acknowledge: histogram(),
            connected: 0,
            samples: 0,
            lost: 0,
            messages: 0,
            payload_bytes: 0,
            received_bytes: 0,
            versions: BTreeMap::new(),
            swapped: 0,
            reverted: 0,
            failures: BTreeMap::new(),
        }
    }

    /// Takes in what one device did, which was `seen` as it was before.
    fn count(&mut self, report: &Report, seen: &mut Seen) {
        match report {
            Report::Note { note: Note::Connected { handshake_ms }, .. } => {
                self.connect.saturating_record(u64::from(*handshake_ms) * 1_000);
                self.connected += u64::from(!seen.up);
                seen.up = true;
            }
            Report::Note { note: Note::Disconnected(failure), .. } => {
                *self.failures.entry(failure.as_str()).or_default() += 1;
                self.down(seen);
            }
            Report::Restarting { lost, .. } => {
                self.lost += u64::from(*lost);
                self.down(seen);
            }
            Report::Sampled(_) => self.samples += 1,
            Report::Published { bytes } => self.payload_bytes += *bytes as u64,
            Report::Received { bytes, .. } => self.received_bytes += *bytes as u64,
            Report::Acknowledged { after } => {
                self.messages += 1;
                self.acknowledge.saturating_record(after.as_micros() as u64);
            }
            Report::Booted(booted) => self.booted(*booted, seen),
            Report::Started { .. }
            | Report::Note { .. }
            | Report::Warning { .. }
            | Report::Unusable(_)
            | Report::NotReached { .. }
            | Report::Dropped(_)
            | Report::Fetching(_) => {}
        }
    }

    fn down(&mut self, seen: &mut Seen) {
        self.connected -= u64::from(seen.up);
        seen.up = false;
    }

    fn booted(&mut self, booted: Booted, seen: &mut Seen) {
        let version = match booted {
            Booted::Again(version) => version,
            Booted::Swapped(version) => {
                self.swapped += 1;
                version
            }
            Booted::Reverted(version) => {
                self.reverted += 1;
                version
            }
            Booted::Refused(_) => return,
        };
        if let Some(before) =
            seen.version.replace(version).and_then(|version| self.versions.get_mut(&version))
        {
            *before -= 1;
        }
        *self.versions.entry(version).or_default() += 1;
        self.versions.retain(|_, count| *count > 0);
    }
}

/// How one device was last seen.
#[derive(Default)]
struct Seen {
    up: bool,
    version: Option<Version>,
}

impl Fleet {
    /// Reads every sub-folder of `path` as an enrolled device's.
    pub fn load(path: &Path) -> Result<Self, FleetError> {
        let error = |error| FleetError::Folder { path: path.to_owned(), error };
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(path).map_err(error)? {
            let entry = entry.map_err(error)?.path();
            if entry.is_dir() {
                folders.push(entry);
            }
        }
        if folders.is_empty() {
            return Err(FleetError::Empty(path.to_owned()));
        }
        folders.sort();
        let devices = folders.iter().map(|folder| Folder::load(folder)).collect::<Result<_, _>>()?;
        Ok(Self {
            devices,
            policy: Policy::default(),
            pace: Pace::default(),
            image_key: None,
            firmware: None,
            flash_dir: None,
            starts_per_second: 500,
            progress: None,
        })
    }

    /// Whose documents they obey, and the group to which all of them belong.
    pub fn set_powers(&mut self, powers: Powers, group: &Name) {
        for device in &mut self.devices {
            (device.powers, device.group) = (powers, group.clone());
        }
    }

    /// The devices themselves, for who runs them otherwise.
    pub fn into_devices(self) -> Vec<Folder> {
        self.devices
    }

    /// How many devices there are.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Never true: a fleet has devices.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Runs all of them until `stop`; `model` makes the sensor of each, by its number.
    pub async fn run(mut self, model: impl Fn(u64) -> Model, stop: Stop) -> Result<Outcome, FleetError> {
        if let Some(path) = &self.flash_dir {
            let error = |error| FleetError::FlashFolder { path: path.clone(), error };
            std::fs::create_dir_all(path).map_err(error)?;
        }
        let (memory, cpu, started) = (resident_kib(), cpu_seconds(), Instant::now());
        let counters = Arc::new(Mutex::new(Counters::new()));
        let mut running = JoinSet::new();
        let mut outcome = Outcome { devices: self.devices.len(), ..Outcome::default() };
        for (number, folder) in (0..).zip(std::mem::take(&mut self.devices)) {
            let flash =
                self.flash_dir.as_ref().map(|dir| dir.join(format!("{}.bin", folder.configuration.id)));
            let mut port = Port::new(model(number));
            (port.info.policy, port.info.pace) = (self.policy, self.pace);
            port.info.product = product(self.image_key);
            let mut seen = Seen::default();
            let told = counters.clone();
            port.observer = Box::new(move |report| lock(&told).count(report, &mut seen));
            let run = one(folder, flash, self.firmware.clone(), port, stop.clone());
            let start = Duration::from_secs(1) * number as u32 / self.starts_per_second.max(1);
            running.spawn(async move {
                tokio::time::sleep(start).await;
                run.await
            });
        }
        let mut peak = memory;
        let mut tick = tokio::time::interval(PROGRESS_PERIOD);
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => break,
                    Some(Ok((_, Ok(summary)))) => outcome.add(&summary),
                    Some(Ok((id, Err(error)))) => outcome.broken.push(format!("{id}: {error}")),
                    Some(Err(error)) => outcome.broken.push(error.to_string()),
                },
                _ = tick.tick() => {
                    peak = peak.max(resident_kib());
                    let counters = lock(&counters);
                    let progress = Progress {
                        seconds: started.elapsed().as_secs(),
                        connected: counters.connected,
                        devices: outcome.devices as u64,
                        acknowledged: counters.messages,
                        failures: counters.failures.values().sum(),
                        versions: counters.versions.clone(),
                    };
                    if let Some(tell) = &mut self.progress {
                        tell(&progress);
                    }
                }
            }
        }
        outcome.seconds = started.elapsed().as_secs_f64();
        outcome.memory_kib_per_device = peak.saturating_sub(memory) as f64 / outcome.devices as f64;
        outcome.cpu_seconds = cpu_seconds() - cpu;
        outcome.take(&lock(&counters));
        Ok(outcome)
    }
}

fn lock(counters: &Mutex<Counters>) -> std::sync::MutexGuard<'_, Counters> {
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One device from its flash to its end.
async fn one(
    folder: Folder,
    flash: Option<PathBuf>,
    firmware: Option<Arc<[u8]>>,
    port: Port,
    stop: Stop,
) -> (protocol::DeviceId, Result<Summary, DeviceError>) {
    let id = folder.configuration.id.clone();
    let run = async {
        let mut machine = match flash {
            Some(path) => Machine::open(&path, None, Injection::Allowed)?,
            None => Machine::in_memory()?,
        };
        folder::provision(&mut machine, &folder)?;
        if let Some(image) = firmware {
            machine.slots.begin_with(&image).map_err(PortError::Boot)?;
        }
        Ok(port.run(&mut machine, stop).await?)
    };
    (id, run.await)
}

/// Resident memory of this process in KiB; 0 where the kernel does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processor time of this process in seconds; 0 where the kernel does not tell.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields are counted from behind the name, which may contain anything: 12 and 13 are user and system time.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}
