//! The loop around one device: starts what the bootloader gives it, hands it what happened, carries out what it wants, sleeps
//! until its deadline, and starts again where it asks for that. Owns the connection, the SNTP exchange and the clock for
//! certificates; takes no decision. R-DATA-INTACT, R-TIME.
//!
//! ```no_run
//! # use simulator::{folder::{self, Folder}, machine::Machine, port::{Port, stopper}, sensor::Model};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = Folder::load("device-1".as_ref())?;
//! let mut machine = Machine::in_memory()?;
//! folder::provision(&mut machine, &folder)?;
//! let (stop, stopped) = stopper();
//! let port = Port::new(Model::new(1));
//! let running = tokio::spawn(async move { port.run(&mut machine, stopped).await });
//! stop.stop();
//! let summary = running.await??;
//! # Ok(()) }
//! ```

mod outside;
mod report;

pub use report::Report;

use crate::life::OwnDocument;
use crate::line::Line;
use crate::machine::Machine;
use crate::product::{self, BOARD};
use crate::sensor::Instrument;
use crate::slots::{BootError, Misbehaviour};
use crate::tls::{DeviceClock, Version as TlsVersion};
use device::dropped::Drops;
use device::provisioning::InService;
use device::session::AddressTurn;
use device::{BootInfo, Device, End, Event, KeyValue, Pace, Policy, StartError, Uptime};
use outside::{Outside, Over, next_of_exchange, next_of_line, next_of_link};
use protocol::image::Version;
use protocol::provisioning::MESSAGE_BYTES_MAX;
use protocol::{EpochMillis, Name, ResetCause, State};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Longest sleep; deadlines beyond it are asked for again.
const SLEEP_MAX_MS: u64 = 3_600_000;

/// How long a firmware that hangs is left alone. Ten times as long in the field.
const WATCHDOG: Duration = Duration::from_millis(800);

/// Everything one device needs besides its store.
pub struct Port {
    /// Firmware, board, build time and the session's timing.
    pub info: BootInfo,
    /// What it measures with.
    pub sensor: Box<dyn Instrument + Send>,
    /// The service's addresses; where there are none the name service is asked.
    pub known: Vec<IpAddr>,
    /// What it speaks with the service.
    pub tls: TlsVersion,
    /// Who is told what it does.
    pub observer: Box<dyn FnMut(&Report) + Send>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Number of the boot.
    pub boot: u32,
    /// Samples that were taken; the sequence number that the next would have had.
    pub next_seq: u32,
    /// How the device was just before it stopped.
    pub state: State,
    /// How its life ended, where it did.
    pub end: Option<End>,
}

/// Why a device cannot run.
#[derive(Debug, Error)]
pub enum PortError {
    /// The device itself says so.
    #[error("{0}")]
    Start(StartError),
    /// There is no image to start.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Its firmware hangs, so that it cannot stop in an orderly way.
    #[error("the device was switched off while its firmware hung")]
    Hung,
}

/// Stops a device; dropping it does too.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<watch::Sender<bool>>);

/// Knows whether a device is to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// A handle to stop devices with, and what they have to be given. One handle may stop many.
pub fn stopper() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(Arc::new(sender)), Stop(receiver))
}

impl Stopper {
    /// Asks for an orderly stop: the device keeps what is not delivered.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Waits until a stop is asked for.
    pub async fn requested(&mut self) {
        // An error says that the handle is gone: nobody else could stop the device any more.
        let _gone = self.0.wait_for(|stop| *stop).await;
    }
}

/// When this program was built.
pub fn build_time() -> EpochMillis {
    EpochMillis::from_seconds(env!("BUILD_SECONDS").parse().unwrap_or(0))
}

/// A version as the device reports it.
pub fn version_name(version: Version) -> Option<Name> {
    Name::try_from(version.to_string().as_str()).ok()
}

/// The factory's line of a device in service.
pub(crate) type OnLine<'l> = (&'l mut Line, InService<OwnDocument>);

/// How a device ended.
enum Ended {
    Stopped(Summary),
    Restart(ResetCause, u32),
}

impl Port {
    /// A device with this sensor, the policy and the pace of the field, no image key, and nobody who is told.
    pub fn new(sensor: impl Instrument + Send + 'static) -> Self {
        Self {
            info: BootInfo {
                // Both are far shorter than a name may be; a longer one would be left out.
                firmware: Name::try_from(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
                board: Name::try_from(BOARD).unwrap_or_default(),
                reset: ResetCause::PowerOn,
                build: build_time(),
                policy: Policy::default(),
                product: product::product(None),
                pace: Pace::default(),
            },
            sensor: Box::new(sensor),
            known: Vec::new(),
            tls: TlsVersion::default(),
            observer: Box::new(|_| {}),
        }
    }

    /// Runs the device until `stop`, and until it has then kept what is not delivered, or to the end of its life; over as
    /// many restarts as it asks for. Dropping the future instead is a power cut: store and slots stay as they are.
    pub async fn run<S: KeyValue>(self, machine: &mut Machine<S>, stop: Stop) -> Result<Summary, PortError> {
        self.run_on(machine, stop, None).await
    }

    /// The same for a device that is on its factory's line.
    pub(crate) async fn run_on<S: KeyValue>(
        mut self,
        machine: &mut Machine<S>,
        mut stop: Stop,
        mut line: Option<OnLine<'_>>,
    ) -> Result<Summary, PortError> {
        loop {
            let booted = machine.slots.boot(&self.info.product)?;
            (self.observer)(&Report::Booted(booted));
            if let Some(version) = machine.slots.version().and_then(version_name) {
                self.info.firmware = version;
            }
            let (cause, lost) = match machine.slots.misbehaviour() {
                Some(Misbehaviour::Hang) => tokio::select! {
                    () = stop.requested() => return Err(PortError::Hung),
                    () = tokio::time::sleep(WATCHDOG) => (ResetCause::Watchdog, 0),
                },
                broken => match self.start(machine, &mut stop, &mut line, broken).await? {
                    Ended::Stopped(summary) => return Ok(summary),
                    Ended::Restart(cause, lost) => (cause, lost),
                },
            };
            (self.observer)(&Report::Restarting { cause, lost });
            self.info.reset = cause;
        }
    }

    /// One start of the device, up to its next.
    async fn start<S: KeyValue>(
        &mut self,
        machine: &mut Machine<S>,
        stop: &mut Stop,
        line: &mut Option<OnLine<'_>>,
        broken: Option<Misbehaviour>,
    ) -> Result<Ended, PortError> {
        let started = Instant::now();
        let mut info = self.info.clone();
        if broken == Some(Misbehaviour::NeverConfirm) {
            info.pace.trial_ms = u32::MAX;
        }
        let fault = match broken {
            Some(Misbehaviour::Panic) => started + Duration::from_millis((info.pace.trial_ms / 2).into()),
            _ => started + Duration::from_secs(u32::MAX.into()),
        };
        // Boxed, because a future of 20 KiB would be moved about by everyone who runs it.
        let mut device = Box::new(Device::start(machine, info, Uptime(0)).map_err(PortError::Start)?);
        let mut outside = Outside {
            clock: DeviceClock::default(),
            started,
            sensor: &mut *self.sensor,
            observer: &mut *self.observer,
            broken,
            link: None,
            tls: self.tls,
            trying: None,
            turn: AddressTurn::default(),
            known: self.known.clone(),
            drops: Drops::new(),
            exchange: None,
            published: HashMap::new(),
        };
        let id = device.configuration().id.clone();
        (outside.observer)(&Report::Started { id, boot: device.boot() });
        let mut state = None;
        let over = loop {
            if let Some(over) = outside.carry_out(&mut device).await {
                break over;
            }
            let wait = device.next_deadline(outside.now()).0.min(outside.now().0 + SLEEP_MAX_MS);
            let deadline = started + Duration::from_millis(wait);
            tokio::select! {
                () = stop.requested(), if state.is_none() => {
                    let mut before = device.state(outside.now());
                    device.handle(outside.now(), Event::Shutdown);
                    // What could not be kept is part of how it was.
                    before.storage_errors = device.state(outside.now()).storage_errors;
                    state = Some(before);
                }
                event = next_of_link(&mut outside.link) => outside.link_event(&mut device, event),
                progress = next_of_exchange(&mut outside.exchange) => {
                    outside.time_event(&mut device, progress);
                }
                message = next_of_line(line) => if let Some((line, in_service)) = line {
                    let mut answer = [0; MESSAGE_BYTES_MAX];
                    let len = in_service.message(&mut device, outside.now(), &message, &mut answer);
                    line.send(&answer[..len]);
                },
                () = sleep_until(deadline) => device.handle(outside.now(), Event::Tick),
                () = sleep_until(fault) => {
                    return Ok(Ended::Restart(ResetCause::Fault, device.state(outside.now()).lost));
                }
            }
        };
        let end = match over {
            Over::Stopped => None,
            Over::Retired(end) => Some(end),
            Over::Restart if state.is_some() => None,
            Over::Restart => {
                return Ok(Ended::Restart(ResetCause::Software, device.state(outside.now()).lost));
            }
        };
        let state = state.unwrap_or_else(|| device.state(outside.now()));
        Ok(Ended::Stopped(Summary { boot: device.boot(), next_seq: device.next_seq(), state, end }))
    }
}
