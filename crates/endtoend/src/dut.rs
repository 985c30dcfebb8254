//! The device under test: the Linux port with its flash in a file and a modelled sensor whose every reading is noted,
//! so that what arrives can be held against what was measured. Owns one boot at a time.

use crate::PATIENCE;
use device::platform::BACKLOG_SLOTS;
use device::{Key, KeySlot, KeyValue, Note, Pace, Policy, StorageError, Vault};
use protocol::config::Draft;
use protocol::document::KeyUse;
use protocol::firmware::FirmwareTopic;
use protocol::telemetry::BATCH_BYTES_MAX;
use protocol::{
    Configuration, DeviceId, Endpoint, Failure, Measurement, Name, PublicKey, ResetCause, SensorFault,
};
use simulator::folder::{self, Folder, Powers};
use simulator::machine::Machine;
use simulator::port::{Port, Report, Stopper, Summary, stopper};
use simulator::product::product;
use simulator::sensor::{Instrument, Model};
use simulator::slots::Booted;
use simulator::vault::Injection;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What a sensor said.
pub type Reading = Result<Measurement, SensorFault>;

/// One in so many measurements is a fault of the sensor, because faults have to arrive too.
const FAULT_RATE: f64 = 0.02;

/// A configuration with the shortest sampling period there is and a report every 200 ms.
pub fn configuration(id: &str, port: u16, time_server: SocketAddr) -> Configuration {
    let id = DeviceId::new(id).expect("an id");
    let mut draft = Draft::new(id, crate::HOST, &time_server.to_string()).expect("a host and a time server");
    draft.port = port.into();
    draft.time_servers = std::iter::once(Endpoint::parse(&time_server.to_string(), 123, "time_servers"))
        .collect::<Result<_, _>>()
        .expect("a time server");
    (draft.sample_period_ms, draft.report_period_ms) = (50, 200);
    draft.check().expect("a configuration within its bounds")
}

/// Tries again within milliseconds and gives up within seconds.
pub fn policy() -> Policy {
    Policy {
        backoff_floor_ms: 20,
        backoff_cap_ms: 200,
        healthy_ms: 500,
        connect_timeout_ms: 2_000,
        answer_timeout_ms: 1_000,
        ..Policy::default()
    }
}

/// Healthy for a third of a second and the update stays; five seconds without that and it goes. A changed way to the service has
/// as long.
pub fn pace() -> Pace {
    Pace {
        block_interval_ms: 1,
        // As in the field: nothing is lost but with the connection, and a slow machine is slow.
        block_timeout_ms: 10_000,
        trial_ms: 300,
        trial_deadline_ms: 5_000,
        configuration_ms: 5_000,
    }
}

/// What a device has done so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What its bootloader decided at each start.
    pub booted: Vec<Booted>,
    /// Why it started again, each time.
    pub resets: Vec<ResetCause>,
    /// Topics that it asked for, one for each request for a block.
    pub fetches: Vec<String>,
    /// How long each message waited for its acknowledgement: those before the first block was asked for, those until the
    /// download was complete, and those after it.
    pub waits: [Vec<Duration>; 3],
    /// Topics of blocks that came, one for each that came whole.
    pub blocks: Vec<String>,
    /// What it noted of updates, in order.
    pub updates: Vec<Note>,
    /// What it noted of its configuration, in order.
    pub configurations: Vec<Note>,
    /// What it noted of commands, in order.
    pub commands: Vec<Note>,
    /// Measurements taken.
    pub samples: u64,
    /// Connections that got as far as CONNACK.
    pub connections: u64,
    /// It is connected.
    pub connected: bool,
    /// Why connections ended and attempts failed, in order.
    pub failures: Vec<Failure>,
    /// The ring overflowed.
    pub overflowed: bool,
    /// Messages from the service that it refused.
    pub refused: u64,
    /// What its flash could not do, when it stopped too: the state in [`Summary`] is of just before.
    pub storage: Vec<StorageError>,
}

/// A device between or during its boots.
pub struct Dut {
    folder: Folder,
    flash: PathBuf,
    /// The timing of its sessions.
    pub policy: Policy,
    /// The timing of its updates.
    pub pace: Pace,
    image_key: Option<PublicKey>,
    first: Option<Vec<u8>>,
}

/// What a sensor says, with the sequence number as soon as it is known.
type Readings = Arc<Mutex<Vec<(Option<u32>, Reading)>>>;

/// A device that runs.
pub struct Running {
    /// Its identity key, with which it signs its log.
    pub identity: PublicKey,
    /// Batches that its flash has room for, at least: what it had when it was switched on.
    pub room: usize,
    stop: Stopper,
    task: JoinHandle<Summary>,
    readings: Readings,
    progress: watch::Receiver<Progress>,
}

/// A boot that is over.
#[derive(Debug)]
pub struct Life {
    /// What the device says of it.
    pub summary: Summary,
    /// What its sensor said, by sequence number; nothing where a busy machine has missed the sample.
    pub readings: Vec<Option<Reading>>,
    /// What it did.
    pub progress: Progress,
}

impl Dut {
    /// An enrolled device with its flash in a file.
    pub fn new(folder: Folder, flash: PathBuf) -> Self {
        Self { folder, flash, policy: policy(), pace: pace(), image_key: None, first: None }
    }

    /// The same device, but it can be updated: with manifests of these powers and images of this key. It begins with the image
    /// `first`.
    #[must_use]
    pub fn updatable(self, powers: Powers, image_key: PublicKey, first: Vec<u8>) -> Self {
        let folder = Folder { powers, ..self.folder };
        Self { folder, image_key: Some(image_key), first: Some(first), ..self }
    }

    /// The same device, but it obeys these powers and belongs to this group.
    #[must_use]
    pub fn obeying(self, powers: Powers, group: &str) -> Self {
        let group = Name::try_from(group).expect("the name of a group");
        Self { folder: Folder { powers, group, ..self.folder }, ..self }
    }

    /// Gives it a new configuration, which counts from the next boot on.
    pub fn configure(&mut self, change: impl FnOnce(&mut Draft)) {
        let mut draft = self.folder.configuration.draft();
        draft.number += 1;
        change(&mut draft);
        self.folder.configuration = draft.check().expect("a configuration within its bounds");
    }

    /// Switches it on, with what its flash holds.
    pub fn start(&self) -> Running {
        let mut machine = Machine::open(&self.flash, None, Injection::Allowed).expect("flash and vault");
        folder::provision(&mut machine, &self.folder).expect("a folder that fits");
        if let Some(image) = &self.first {
            machine.slots.begin_with(image).expect("a first image");
        }
        let room = room(&mut machine);
        let slot = KeySlot::new(0).expect("a slot");
        let identity = machine.public_key(slot, KeyUse::Identity).expect("the vault").expect("its key");
        let readings = Readings::default();
        let (noted, numbered) = (readings.clone(), readings.clone());
        let mut model = Model::new(1).with_fault_rate(FAULT_RATE);
        let sensor = move |uptime_ms: u64| {
            let reading = model.measure(uptime_ms);
            noted.lock().unwrap_or_else(PoisonError::into_inner).push((None, reading));
            reading
        };
        let mut port = Port::new(sensor);
        (port.info.policy, port.info.pace) = (self.policy, self.pace);
        port.info.product = product(self.image_key);
        let (out, progress) = watch::channel(Progress::default());
        port.observer = Box::new(move |report| {
            if let Report::Sampled(seq) = report
                && let Some((number, _)) = numbered.lock().unwrap_or_else(PoisonError::into_inner).last_mut()
            {
                *number = Some(*seq);
            }
            out.send_modify(|progress| progress.note(report));
        });
        let (stop, stopped) = stopper();
        let task =
            tokio::spawn(
                async move { port.run(&mut machine, stopped).await.expect("a device that can start") },
            );
        Running { identity, room, stop, task, readings, progress }
    }
}

fn room(store: &mut impl KeyValue) -> usize {
    let mut buffer = [0; BATCH_BYTES_MAX];
    (0..BACKLOG_SLOTS).filter(|slot| matches!(store.read(Key::Backlog(*slot), &mut buffer), Ok(None))).count()
}

fn is_of_an_update(note: &Note) -> bool {
    matches!(
        note,
        Note::UpdateNoticed { .. }
            | Note::UpdateRefused(_)
            | Note::UpdateRollout { .. }
            | Note::UpdateWithdrawn
            | Note::UpdateDownloaded { .. }
            | Note::UpdateVerified
            | Note::UpdateInstalling { .. }
            | Note::UpdateTrial
            | Note::UpdateConfirmed { .. }
            | Note::UpdateUndone(_)
            | Note::UpdateReverted(_)
    )
}

fn is_of_a_configuration(note: &Note) -> bool {
    matches!(
        note,
        Note::ConfigurationTried { .. }
            | Note::ConfigurationChanged { .. }
            | Note::ConfigurationUndone { .. }
            | Note::ConfigurationRefused { .. }
            | Note::ConfigurationDamaged
    )
}

fn is_of_a_command(note: &Note) -> bool {
    matches!(note, Note::Commanded { .. } | Note::CommandRefused(_) | Note::CommandDone { .. })
}

impl Progress {
    fn note(&mut self, report: &Report) {
        match report {
            Report::Sampled(_) => self.samples += 1,
            Report::Received { topic, .. }
                if matches!(FirmwareTopic::decode(topic), Some(FirmwareTopic::Block(..))) =>
            {
                self.blocks.push(topic.clone());
            }
            Report::Acknowledged { after } => {
                let complete = self.updates.iter().any(|note| matches!(note, Note::UpdateDownloaded { .. }));
                let part = usize::from(!self.fetches.is_empty()) + usize::from(complete);
                self.waits[part].push(*after);
            }
            Report::Booted(booted) => self.booted.push(*booted),
            Report::Restarting { cause, .. } => {
                self.resets.push(*cause);
                self.connected = false;
            }
            Report::Fetching(topic) => self.fetches.push(topic.as_str().to_owned()),
            Report::Note { note: Note::Connected { .. }, .. } => {
                self.connections += 1;
                self.connected = true;
            }
            Report::Note { note: Note::Disconnected(failure), .. } => {
                self.failures.push(*failure);
                self.connected = false;
            }
            Report::Note { note, .. } if is_of_an_update(note) => self.updates.push(*note),
            Report::Note { note, .. } if is_of_a_configuration(note) => {
                self.refused += u64::from(matches!(note, Note::ConfigurationRefused { .. }));
                self.configurations.push(*note);
            }
            Report::Note { note, .. } if is_of_a_command(note) => {
                self.refused += u64::from(matches!(note, Note::CommandRefused(_)));
                self.commands.push(*note);
            }
            Report::Note { note: Note::Overflow, .. } => self.overflowed = true,
            Report::Note { note: Note::DocumentRefused(_), .. } => self.refused += 1,
            Report::Note { note: Note::Storage(error), .. } => self.storage.push(*error),
            _ => {}
        }
    }
}

impl Running {
    /// What it has done so far.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until it has done enough.
    pub async fn until(&mut self, enough: impl Fn(&Progress) -> bool) -> Progress {
        let found = timeout(4 * PATIENCE, self.progress.wait_for(|progress| enough(progress))).await;
        let found = found.map(|progress| progress.expect("the device runs").clone());
        found.unwrap_or_else(|_| panic!("what was awaited never came: {:?}", self.progress()))
    }

    /// Cuts its power: nothing is kept but what is in flash. Done when it is off.
    pub async fn cut(self) -> Progress {
        self.task.abort();
        // The task is over in either way, and with it the files are free.
        let _aborted = self.task.await;
        self.progress.borrow().clone()
    }

    /// Stops it in an orderly way: what is not delivered stays in flash.
    pub async fn stop(self) -> Life {
        self.stop.stop();
        let summary = self.task.await.expect("a device that stops");
        let taken = std::mem::take(&mut *self.readings.lock().unwrap_or_else(PoisonError::into_inner));
        let mut readings = Vec::new();
        for (seq, reading) in taken {
            // What is between the numbers was missed; after a restart they begin anew.
            let missed = seq.map_or(0, |seq| (seq as usize).saturating_sub(readings.len()));
            readings.extend((0..missed).map(|_| None).chain([Some(reading)]));
        }
        let progress = self.progress.borrow().clone();
        Life { summary, readings, progress }
    }
}
