//! The loop around one device: hands it what happened, carries out what it wants, sleeps until its deadline. Owns the
//! connection, the SNTP exchange and the clock for certificates; takes no decision. R-DATA-INTACT, R-TIME.
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

use crate::machine::Machine;
use crate::mqtt::{Link, LinkEvent, Login, Password, Target};
use crate::sensor::Instrument;
use crate::time::{Exchange, Progress};
use crate::tls::{self, CredentialsError, DeviceClock};
use device::identity::{self, CHAIN_BYTES_MAX, Credentials, ROOTS_BYTES_MAX};
use device::{
    BootInfo, Command, Device, End, Event, KeyValue, Note, Policy, StartError, StorageError, Uptime,
    VaultError,
};
use protocol::{DeviceId, EpochMillis, Failure, Name, ResetCause, State};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Longest sleep; deadlines beyond it are asked for again.
const SLEEP_MAX_MS: u64 = 3_600_000;

/// Everything one device needs besides its store.
pub struct Port {
    /// Firmware, board, build time and the session's timing.
    pub info: BootInfo,
    /// What it measures with.
    pub sensor: Box<dyn Instrument + Send>,
    /// Who is told what it does.
    pub observer: Box<dyn FnMut(&Report) + Send>,
}

/// Something the device did.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// It runs.
    Started {
        /// Who it is.
        id: DeviceId,
        /// Number of this boot.
        boot: u32,
    },
    /// It wrote a line into its log.
    Note {
        /// When, since start.
        uptime: Uptime,
        /// When, by its own clock.
        time: Option<EpochMillis>,
        /// What.
        note: Note,
    },
    /// Its key, certificate or roots cannot be used for a connection: why.
    Unusable(String),
    /// It measured.
    Sampled,
    /// It published a message.
    Published {
        /// Length of the payload in bytes.
        bytes: usize,
    },
    /// The service acknowledged a message.
    Acknowledged {
        /// This long after it was published.
        after: Duration,
    },
}

impl fmt::Display for Report {
    /// One line for a log, without secrets: the time where the device knows it, else the time since start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { boot, .. } => write!(f, "boot {boot}"),
            Self::Note { time: Some(time), note, .. } => write!(f, "{time} {note}"),
            Self::Note { time: None, uptime, note } => write!(f, "+{} ms {note}", uptime.0),
            Self::Unusable(why) => write!(f, "no connection: {why}"),
            Self::Sampled => f.write_str("measured"),
            Self::Published { bytes } => write!(f, "published {bytes} bytes"),
            Self::Acknowledged { after } => write!(f, "acknowledged after {} ms", after.as_millis()),
        }
    }
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

impl Port {
    /// A device with this sensor, the policy of the field, and nobody who is told.
    pub fn new(sensor: impl Instrument + Send + 'static) -> Self {
        Self {
            info: BootInfo {
                // Both are far shorter than a name may be; a longer one would be left out.
                firmware: Name::try_from(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
                board: Name::try_from("linux").unwrap_or_default(),
                reset: ResetCause::PowerOn,
                build: build_time(),
                policy: Policy::default(),
            },
            sensor: Box::new(sensor),
            observer: Box::new(|_| {}),
        }
    }

    /// Runs the device until `stop`, and until it has then kept what is not delivered. Dropping the future instead is a
    /// power cut: the store stays as it is.
    pub async fn run<S: KeyValue>(
        self,
        machine: &mut Machine<S>,
        mut stop: Stop,
    ) -> Result<Summary, PortError> {
        let started = Instant::now();
        // Boxed, because a future of 20 KiB would be moved about by everyone who runs it.
        let mut device = Box::new(Device::start(machine, self.info, Uptime(0)).map_err(PortError::Start)?);
        let mut outside = Outside {
            clock: DeviceClock::default(),
            started,
            sensor: self.sensor,
            observer: self.observer,
            link: None,
            exchange: None,
            published: HashMap::new(),
        };
        let id = device.configuration().id.clone();
        (outside.observer)(&Report::Started { id, boot: device.boot() });
        let (mut state, mut end) = (None, None);
        while !outside.carry_out(&mut device, &mut end).await {
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
                () = sleep_until(deadline) => device.handle(outside.now(), Event::Tick),
            }
        }
        let state = state.unwrap_or_else(|| device.state(outside.now()));
        Ok(Summary { boot: device.boot(), next_seq: device.next_seq(), state, end })
    }
}

/// Why a connection cannot be attempted.
#[derive(Debug, Error)]
enum UnusableError {
    #[error("{0}")]
    Storage(StorageError),
    #[error("{0}")]
    Vault(VaultError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// The TLS of the next attempt: the TLS key is taken out of the vault for it and lives as long as the connection.
fn client_config<S: KeyValue>(
    machine: &mut Machine<S>,
    credentials: Credentials,
    by_token: bool,
    clock: &DeviceClock,
) -> Result<ClientConfig, UnusableError> {
    let owned =
        |list: &[&[u8]]| list.iter().map(|der| CertificateDer::from(der.to_vec())).collect::<Vec<_>>();
    let mut buffer = [0; ROOTS_BYTES_MAX];
    let roots = identity::roots(machine, credentials.roots, &mut buffer).map_err(UnusableError::Storage)?;
    let roots = owned(&roots.0);
    if by_token {
        return Ok(tls::token_client_config(roots, clock.clone())?);
    }
    let mut buffer = [0; CHAIN_BYTES_MAX];
    let chain = identity::chain(machine, credentials.slot, &mut buffer).map_err(UnusableError::Storage)?;
    let chain = owned(&chain.0);
    let config = machine.vault.with_tls_key(credentials.slot, |key| {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        tls::lent_client_config(&key, chain, roots, clock.clone())
    });
    Ok(config.map_err(UnusableError::Vault)??)
}

/// What the device's commands act on.
struct Outside {
    clock: DeviceClock,
    started: Instant,
    sensor: Box<dyn Instrument + Send>,
    observer: Box<dyn FnMut(&Report) + Send>,
    link: Option<Link>,
    exchange: Option<Exchange>,
    published: HashMap<u16, Instant>,
}

impl Outside {
    fn now(&self) -> Uptime {
        Uptime(self.started.elapsed().as_millis() as u64)
    }

    /// Carries out commands until there are none; true after the last one.
    async fn carry_out<S: KeyValue>(
        &mut self,
        device: &mut Device<&mut Machine<S>>,
        end: &mut Option<End>,
    ) -> bool {
        let mut stopped = false;
        let mut ended = None;
        loop {
            let now = self.now();
            let time = device.clock().time(now);
            let mut reading = None;
            let mut failed = None;
            let mut wanted = None;
            let Some(command) = device.poll_output(now) else { break };
            match command {
                Command::QueryTime { server, packet } => {
                    self.exchange = Some(Exchange::start(server, packet));
                }
                Command::SetClock(time) => self.clock.set(time),
                Command::Connect {
                    host,
                    port,
                    client_id,
                    keep_alive_s,
                    credentials,
                    password,
                    timeout_ms,
                } => {
                    let user = client_id.to_owned();
                    let target = Target {
                        host: host.to_owned(),
                        port,
                        client_id: client_id.to_owned(),
                        login: password.map(|token| Login { user, password: Password::new(token.reveal()) }),
                        keep_alive_s,
                        timeout: Duration::from_millis(timeout_ms.into()),
                    };
                    wanted = Some((target, credentials));
                }
                Command::Subscribe(topics) => {
                    let topics = topics.iter().map(|topic| topic.as_str().to_owned());
                    failed = self.link.as_ref().and_then(|link| link.subscribe(topics).err());
                }
                Command::Publish { token, topic, payload, retain } => {
                    self.published.insert(token, Instant::now());
                    failed = self
                        .link
                        .as_ref()
                        .and_then(|link| link.publish(token, &topic, payload, retain).err());
                    (self.observer)(&Report::Published { bytes: payload.len() });
                }
                Command::Disconnect => ended = self.link.take(),
                Command::Sample => reading = Some(self.sensor.measure(now.0)),
                Command::Log(note) => (self.observer)(&Report::Note { uptime: now, time, note }),
                Command::Stopped => stopped = true,
                Command::Retired(how) => {
                    *end = Some(how);
                    stopped = true;
                }
            }
            if let Some((target, credentials)) = wanted {
                self.published.clear();
                match client_config(device.platform(), credentials, target.login.is_some(), &self.clock) {
                    Ok(tls) => self.link = Some(Link::open(&target, Arc::new(tls))),
                    Err(error) => {
                        (self.observer)(&Report::Unusable(error.to_string()));
                        failed = Some(Failure::Credentials);
                    }
                }
            }
            if let Some(reading) = reading {
                (self.observer)(&Report::Sampled);
                device.handle(self.now(), Event::Reading(reading));
            }
            if let Some(failure) = failed {
                self.end_of_link(device, failure);
            }
        }
        if let (true, Some(link)) = (stopped, ended) {
            link.close().await;
        }
        stopped
    }

    fn link_event<S: KeyValue>(&mut self, device: &mut Device<&mut Machine<S>>, event: Option<LinkEvent>) {
        let now = self.now();
        match event {
            Some(LinkEvent::Connected { handshake_ms }) => {
                device.handle(now, Event::Connected { handshake_ms });
            }
            Some(LinkEvent::Subscribed { granted }) => device.handle(now, Event::Subscribed { granted }),
            Some(LinkEvent::Acknowledged(token)) => {
                if let Some(at) = self.published.remove(&token) {
                    (self.observer)(&Report::Acknowledged { after: at.elapsed() });
                }
                device.handle(now, Event::Acknowledged(token));
            }
            Some(LinkEvent::Alive) => device.handle(now, Event::Alive),
            Some(LinkEvent::Message { topic, payload }) => {
                device.handle(now, Event::Message { topic: &topic, payload: &payload });
            }
            Some(LinkEvent::Failed(failure)) => self.end_of_link(device, failure),
            None => self.end_of_link(device, Failure::LinkLost),
        }
    }

    fn end_of_link<S: KeyValue>(&mut self, device: &mut Device<&mut Machine<S>>, failure: Failure) {
        self.link = None;
        device.handle(self.now(), Event::Disconnected(failure));
    }

    fn time_event<S: KeyValue>(&mut self, device: &mut Device<&mut Machine<S>>, progress: Option<Progress>) {
        match progress {
            Some(Progress::Ready) => {
                // Noted before it leaves: a round trip that is measured too long is safe, one too short is not.
                device.handle(self.now(), Event::TimeSent);
                if !self.exchange.as_mut().is_some_and(Exchange::send) {
                    self.no_time(device);
                }
            }
            Some(Progress::Datagram(datagram)) => device.handle(self.now(), Event::TimeAnswer(&datagram)),
            Some(Progress::Unreachable) => self.no_time(device),
            None => self.exchange = None,
        }
    }

    fn no_time<S: KeyValue>(&mut self, device: &mut Device<&mut Machine<S>>) {
        self.exchange = None;
        device.handle(self.now(), Event::TimeUnreachable);
    }
}

async fn next_of_link(link: &mut Option<Link>) -> Option<LinkEvent> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn next_of_exchange(exchange: &mut Option<Exchange>) -> Option<Progress> {
    match exchange {
        Some(exchange) => exchange.next().await,
        None => std::future::pending().await,
    }
}
