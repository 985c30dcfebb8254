//! What a device's commands act on: the connection, the exchange with a time server, the sensor. Owns them for one start of the
//! device.

use super::{OnLine, Report};
use crate::machine::Machine;
use crate::mqtt::{Link, LinkEvent, Login, Password, Target};
use crate::sensor::Instrument;
use crate::slots::Misbehaviour;
use crate::time::{Exchange, Progress};
use crate::tls::{self, CredentialsError, DeviceClock, Version};
use device::dropped::Drops;
use device::identity::{self, CHAIN_BYTES_MAX, Credentials, ROOTS_BYTES_MAX};
use device::session::AddressTurn;
use device::{Command, Device, End, Event, KeyValue, StorageError, Uptime, VaultError};
use protocol::{Failure, SensorFault};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

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
    version: Version,
    clock: &DeviceClock,
) -> Result<ClientConfig, UnusableError> {
    let owned =
        |list: &[&[u8]]| list.iter().map(|der| CertificateDer::from(der.to_vec())).collect::<Vec<_>>();
    let mut buffer = [0; ROOTS_BYTES_MAX];
    let roots = identity::roots(machine, credentials.roots, &mut buffer).map_err(UnusableError::Storage)?;
    let roots = owned(&roots.0);
    if by_token {
        return Ok(tls::token_client_config(roots, version, clock.clone())?);
    }
    let mut buffer = [0; CHAIN_BYTES_MAX];
    let chain = identity::chain(machine, credentials.slot, &mut buffer).map_err(UnusableError::Storage)?;
    let chain = owned(&chain.0);
    let config = machine.vault.with_tls_key(credentials.slot, |key| {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        tls::lent_client_config(&key, chain, roots, version, clock.clone())
    });
    Ok(config.map_err(UnusableError::Vault)??)
}

/// What the last command said.
pub(super) enum Over {
    Stopped,
    Retired(End),
    Restart,
}

/// What the device's commands act on.
pub(super) struct Outside<'p> {
    pub(super) clock: DeviceClock,
    pub(super) started: Instant,
    pub(super) sensor: &'p mut (dyn Instrument + Send),
    pub(super) observer: &'p mut (dyn FnMut(&Report) + Send),
    pub(super) broken: Option<Misbehaviour>,
    pub(super) link: Option<Link>,
    /// The address that the attempt is for; `None` from CONNACK on.
    pub(super) trying: Option<SocketAddr>,
    pub(super) turn: AddressTurn,
    pub(super) known: Vec<IpAddr>,
    pub(super) tls: Version,
    pub(super) drops: Drops,
    pub(super) exchange: Option<Exchange>,
    pub(super) published: HashMap<u16, Instant>,
}

impl Outside<'_> {
    pub(super) fn now(&self) -> Uptime {
        Uptime(self.started.elapsed().as_millis() as u64)
    }

    /// Carries out commands until there are none; says how it is over after the last one.
    pub(super) async fn carry_out<S: KeyValue>(
        &mut self,
        device: &mut Device<&mut Machine<S>>,
    ) -> Option<Over> {
        let mut over = None;
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
                        turn: self.turn,
                        known: self.known.clone(),
                    };
                    wanted = Some((target, credentials));
                }
                Command::Subscribe(topics) => {
                    let topics = topics.iter().map(|topic| topic.as_str().to_owned());
                    failed = self.link.as_ref().and_then(|link| link.subscribe(topics).err());
                }
                Command::Fetch(topic) => {
                    failed = self.link.as_ref().and_then(|link| link.fetch(&topic).err());
                    (self.observer)(&Report::Fetching(topic));
                }
                Command::Release(topic) => {
                    failed = self.link.as_ref().and_then(|link| link.release(&topic).err());
                }
                Command::Publish { token, topic, payload, retain } => {
                    self.published.insert(token, Instant::now());
                    failed = self
                        .link
                        .as_ref()
                        .and_then(|link| link.publish(token, &topic, payload, retain).err());
                    (self.observer)(&Report::Published { bytes: payload.len() });
                }
                Command::Disconnect => {
                    self.not_reached(Failure::ConnectTimeout);
                    ended = self.link.take();
                }
                Command::Sample if self.broken == Some(Misbehaviour::NoSensor) => {
                    reading = Some(Err(SensorFault::NoAnswer));
                }
                Command::Sample => reading = Some(self.sensor.measure(now.0)),
                Command::Log(note) => (self.observer)(&Report::Note { uptime: now, time, note }),
                Command::LogTime(trouble) => (self.observer)(&Report::Warning {
                    uptime: now,
                    time,
                    what: Some(trouble.what),
                    line: trouble.to_string(),
                }),
                Command::LogReason(reason) => (self.observer)(&Report::Warning {
                    uptime: now,
                    time,
                    what: None,
                    line: reason.to_owned(),
                }),
                Command::Stopped => over = Some(Over::Stopped),
                Command::Restart => over = Some(Over::Restart),
                Command::Retired(how) => over = Some(Over::Retired(how)),
            }
            if wanted.is_some() && self.broken == Some(Misbehaviour::NoNetwork) {
                failed = Some(Failure::Unreachable);
            } else if let Some((target, credentials)) = wanted {
                self.published.clear();
                failed = self.open(device.platform(), &target, credentials).err();
            }
            if let Some(reading) = reading {
                (self.observer)(&Report::Sampled(device.next_seq()));
                device.handle(self.now(), Event::Reading(reading));
            }
            if let Some(failure) = failed {
                self.end_of_link(device, failure);
            }
        }
        if let (true, Some(link)) = (over.is_some(), ended) {
            link.close().await;
        }
        over
    }

    /// Begins an attempt.
    fn open<S: KeyValue>(
        &mut self,
        machine: &mut Machine<S>,
        target: &Target,
        credentials: Credentials,
    ) -> Result<(), Failure> {
        self.published.clear();
        let config = client_config(machine, credentials, target.login.is_some(), self.tls, &self.clock);
        let tls = config.map_err(|error| {
            (self.observer)(&Report::Unusable(error.to_string()));
            Failure::Credentials
        })?;
        self.link = Some(Link::open(target, Arc::new(tls)));
        Ok(())
    }

    pub(super) fn link_event<S: KeyValue>(
        &mut self,
        device: &mut Device<&mut Machine<S>>,
        event: Option<LinkEvent>,
    ) {
        let now = self.now();
        match event {
            Some(LinkEvent::Trying(address)) => self.trying = Some(address),
            Some(LinkEvent::Dropped { why, topic, bytes }) => {
                if let Some(dropped) = self.drops.add(now, why, &topic, bytes) {
                    (self.observer)(&Report::Dropped(dropped));
                }
                // Whatever came, the service is there.
                device.handle(now, Event::Alive);
            }
            Some(LinkEvent::Connected { handshake_ms }) => {
                self.trying = None;
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
            Some(LinkEvent::Receiving) => device.handle(now, Event::Receiving),
            Some(LinkEvent::Message { topic, payload }) => {
                device.handle(now, Event::Message { topic: &topic, payload: &payload });
                (self.observer)(&Report::Received { topic, bytes: payload.len() });
            }
            Some(LinkEvent::Failed(failure)) => self.end_of_link(device, failure),
            None => self.end_of_link(device, Failure::LinkLost),
        }
    }

    fn end_of_link<S: KeyValue>(&mut self, device: &mut Device<&mut Machine<S>>, failure: Failure) {
        self.link = None;
        self.not_reached(failure);
        device.handle(self.now(), Event::Disconnected(failure));
    }

    /// Where the attempt had an address, it is the next one's turn.
    fn not_reached(&mut self, failure: Failure) {
        if let Some(address) = self.trying.take() {
            self.turn.failed();
            (self.observer)(&Report::NotReached { address, failure });
        }
    }

    pub(super) fn time_event<S: KeyValue>(
        &mut self,
        device: &mut Device<&mut Machine<S>>,
        progress: Option<Progress>,
    ) {
        match progress {
            Some(Progress::Ready) => {
                // Noted before it leaves: a round trip that is measured too long is safe, one too short is not.
                device.handle(self.now(), Event::TimeSent);
                if !self.exchange.as_mut().is_some_and(Exchange::send) {
                    self.no_time(device, Event::TimeUnreachable);
                }
            }
            Some(Progress::Datagram(datagram)) => device.handle(self.now(), Event::TimeAnswer(&datagram)),
            Some(Progress::Unreachable) => self.no_time(device, Event::TimeUnreachable),
            Some(Progress::UnknownName) => self.no_time(device, Event::TimeServerUnknown),
            None => self.exchange = None,
        }
    }

    fn no_time<S: KeyValue>(&mut self, device: &mut Device<&mut Machine<S>>, event: Event<'_>) {
        self.exchange = None;
        device.handle(self.now(), event);
    }
}

pub(super) async fn next_of_link(link: &mut Option<Link>) -> Option<LinkEvent> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

/// What the factory says; waits for ever where there is no line. Nothing is lost where this is dropped.
pub(super) async fn next_of_line(line: &mut Option<OnLine<'_>>) -> Zeroizing<Vec<u8>> {
    match line {
        Some((line, _)) => line.next().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn next_of_exchange(exchange: &mut Option<Exchange>) -> Option<Progress> {
    match exchange {
        Some(exchange) => exchange.next().await,
        None => std::future::pending().await,
    }
}
