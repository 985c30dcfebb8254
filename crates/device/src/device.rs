//! The device: routes events to the machines and asks them in turn what is to be done. Owns the platform and the buffer
//! of the message that is being sent; takes no decision that one of the machines could take.

use crate::backlog::Backlog;
use crate::clock::{self, Clock};
use crate::config::{self, LoadError};
use crate::note::Note;
use crate::outbox::{Kind, Outbox};
use crate::platform::{Key, Platform, StorageError, Uptime};
use crate::session::{Policy, Request, Session};
use crate::telemetry::{RING_SAMPLES, Telemetry};
use core::fmt;
use heapless::Deque;
use protocol::hello::PREVIOUS_BYTES_MAX;
use protocol::telemetry::BATCH_BYTES_MAX;
use protocol::topic::{TopicText, topic};
use protocol::{
    Channel, Configuration, Endpoint, EpochMillis, Failure, Hello, Measurement, Name, PreviousBoot, ResetCause,
    SensorFault, State,
};

/// How often the state is reported while connected, in milliseconds.
pub const STATE_PERIOD_MS: u64 = 60_000;

/// Shortest time between two writes of the confirmed time, in milliseconds: at most 24 writes a day.
pub const TIME_STORE_PERIOD_MS: u64 = 3_600_000;

/// Notes that wait for the port. More at once would only repeat each other.
const NOTES_MAX: usize = 8;

/// What the port knows about this start.
#[derive(Clone, Debug)]
pub struct BootInfo {
    /// Version of the firmware.
    pub firmware: Name,
    /// The board.
    pub board: Name,
    /// Why it started.
    pub reset: ResetCause,
    /// When the firmware was built: no time before it is believed.
    pub build: EpochMillis,
    /// The session's timing.
    pub policy: Policy,
}

/// Why the device cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// It has no valid configuration.
    Configuration(LoadError),
    /// Its store failed.
    Storage(StorageError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(error) => error.fmt(f),
            Self::Storage(error) => write!(f, "the device cannot start: {error}"),
        }
    }
}

impl core::error::Error for StartError {}

/// What has happened outside.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Nothing: a deadline was reached.
    Tick,
    /// A datagram from a time server.
    TimeAnswer(&'a [u8]),
    /// The request for time could not be sent or will not be answered.
    TimeUnreachable,
    /// CONNACK with return code 0 has come.
    Connected {
        /// From the first packet to CONNACK, in milliseconds.
        handshake_ms: u32,
    },
    /// The attempt to connect failed or the connection is over. Not to be sent after [`Command::Disconnect`].
    Disconnected(Failure),
    /// SUBACK has come.
    Subscribed {
        /// True where every topic is granted.
        granted: bool,
    },
    /// PUBACK for this token has come.
    Acknowledged(u16),
    /// The service answered a ping.
    Alive,
    /// A message on one of the topics subscribed to.
    Message {
        /// Its topic.
        topic: &'a str,
        /// Its payload.
        payload: &'a [u8],
    },
    /// The sensor's answer to [`Command::Sample`].
    Reading(Result<Measurement, SensorFault>),
    /// The port is going to stop or restart the device: keep what is not delivered.
    Shutdown,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Send this datagram to a time server, from a new UDP port; hand what comes back to [`Event::TimeAnswer`].
    QueryTime {
        /// The server.
        server: &'a Endpoint,
        /// The datagram.
        packet: [u8; clock::sntp::PACKET_LEN],
    },
    /// Set the clock that certificates are checked against.
    SetClock(EpochMillis),
    /// Connect: TCP, TLS with the server verified, MQTT CONNECT with a clean session.
    Connect {
        /// Host name that the certificate must have.
        host: &'a str,
        /// TCP port.
        port: u16,
        /// MQTT client identifier.
        client_id: &'a str,
        /// MQTT keep-alive in seconds.
        keep_alive_s: u16,
        /// After this many milliseconds the device gives up by itself.
        timeout_ms: u32,
    },
    /// Subscribe to these topics with QoS 1.
    Subscribe([TopicText; 2]),
    /// Publish with QoS 1.
    Publish {
        /// What [`Event::Acknowledged`] must carry. Never 0.
        token: u16,
        /// The topic.
        topic: TopicText,
        /// The payload.
        payload: &'a [u8],
        /// MQTT's retain flag.
        retain: bool,
    },
    /// Drop the connection or the attempt. No event of it may follow.
    Disconnect,
    /// Ask the sensor; the answer is [`Event::Reading`].
    Sample,
    /// Write this to the log.
    Log(Note),
    /// Everything is kept: the port may stop or restart.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Stopping,
    Stopped,
}

/// The device.
#[derive(Debug)]
pub struct Device<P> {
    platform: P,
    configuration: Configuration,
    policy: Policy,
    clock: Clock,
    session: Session,
    telemetry: Telemetry,
    backlog: Backlog,
    outbox: Outbox,
    hello: Hello,
    hello_due: bool,
    state_due: Uptime,
    time_stored: Option<Uptime>,
    time_set: Option<EpochMillis>,
    started: Uptime,
    lost_noted: u32,
    refused: u32,
    storage_errors: u32,
    notes: Deque<Note, NOTES_MAX>,
    life: Life,
    buffer: [u8; BATCH_BYTES_MAX],
}

impl<P: Platform> Device<P> {
    /// Loads the configuration, counts the boot and is ready to be polled.
    pub fn start(mut platform: P, info: BootInfo, now: Uptime) -> Result<Self, StartError> {
        let configuration = config::load(&mut platform).map_err(StartError::Configuration)?;
        let storage = StartError::Storage;
        let boot = count_boot(&mut platform).map_err(storage)?;
        let previous = take_end(&mut platform).map_err(storage)?.filter(|end| end.boot.wrapping_add(1) == boot);
        let stored = read_number(&mut platform, Key::Time).map_err(storage)?.map(EpochMillis);
        let backlog = Backlog::load(&mut platform).map_err(storage)?;
        let mut hello = Hello::new(configuration.id.clone(), info.firmware, info.board, boot, info.reset);
        hello.previous = previous;
        Ok(Self {
            platform,
            policy: info.policy,
            clock: Clock::new(info.build, stored, configuration.time_servers.len()),
            session: Session::new(info.policy, configuration.keep_alive_s),
            telemetry: Telemetry::new(boot, configuration.sample_period_ms, configuration.report_period_ms, now),
            configuration,
            backlog,
            outbox: Outbox::default(),
            hello,
            hello_due: false,
            state_due: now,
            time_stored: None,
            time_set: None,
            started: now,
            lost_noted: 0,
            refused: 0,
            storage_errors: 0,
            notes: Deque::new(),
            life: Life::Running,
            buffer: [0; BATCH_BYTES_MAX],
        })
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Number of this boot.
    pub fn boot(&self) -> u32 {
        self.hello.boot
    }

    /// The sequence number that the next sample will have.
    pub fn next_seq(&self) -> u32 {
        self.telemetry.next_seq()
    }

    /// The platform, to take it back after [`Command::Stopped`].
    pub fn into_platform(self) -> P {
        self.platform
    }

    /// The clock, to read.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How the device is.
    pub fn state(&self, now: Uptime) -> State {
        let mut state = State::new(self.hello.firmware.clone(), self.hello.boot);
        state.t = self.clock.time(now);
        state.uptime_s = (now.since(self.started) / 1000) as u32;
        state.config = self.configuration.number;
        state.clock = self.clock.quality(now);
        state.clock_error_ms = u32::try_from(self.clock.error_ms(now).unwrap_or(0)).unwrap_or(u32::MAX);
        state.clock_steps = self.clock.steps();
        state.time_refused = self.clock.refused();
        state.waiting = self.telemetry.held() as u32;
        state.capacity = RING_SAMPLES as u32;
        state.lost = self.telemetry.lost();
        state.sensor_faults = self.telemetry.faults();
        state.connections = self.session.connections;
        state.failures = self.session.failures;
        state.last_failure = self.session.last_failure;
        state.refused = self.refused;
        state.storage_errors = self.storage_errors;
        state
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, now: Uptime, event: Event<'_>) {
        if self.life != Life::Running {
            return;
        }
        match event {
            Event::Tick => {}
            Event::TimeAnswer(datagram) => self.time_answer(now, datagram),
            Event::TimeUnreachable => self.clock.unreachable(now),
            Event::Connected { handshake_ms } => self.connected(now, handshake_ms),
            Event::Disconnected(failure) => self.disconnected(now, failure),
            Event::Subscribed { granted } => {
                let random = self.random();
                let was_up = self.session.is_up();
                self.session.subscribed(now, granted, random);
                if was_up && !self.session.is_up() {
                    self.link_is_gone(Failure::SubscribeRefused);
                } else if self.session.is_running() {
                    self.telemetry.connected();
                }
            }
            Event::Acknowledged(token) => {
                self.session.heard(now);
                self.acknowledged(token);
            }
            Event::Alive => self.session.heard(now),
            Event::Message { .. } => {
                // Documents come with their verifier; until then nothing that the broker says is believed.
                self.session.heard(now);
                self.refused = self.refused.saturating_add(1);
                self.note(Note::MessageRefused);
            }
            Event::Reading(reading) => {
                if let Err(fault) = reading {
                    self.note(Note::Sensor(fault));
                }
                self.telemetry.reading(reading);
                if self.telemetry.lost() > 0 && self.lost_noted == 0 {
                    self.note(Note::Overflow);
                }
                self.lost_noted = self.telemetry.lost();
            }
            Event::Shutdown => self.stop(now),
        }
    }

    /// The next thing to do; `None` where there is nothing until the next event or deadline.
    pub fn poll_output(&mut self, now: Uptime) -> Option<Command<'_>> {
        if let Some(note) = self.notes.pop_front() {
            return Some(Command::Log(note));
        }
        if self.life != Life::Running {
            return self.poll_stop();
        }
        if let Some(time) = self.time_set.take() {
            return Some(Command::SetClock(time));
        }
        if self.clock.wants_to_ask(now)
            && let Some(query) = self.poll_time(now)
        {
            let server = self.configuration.time_servers.get(query.server)?;
            return Some(Command::QueryTime { server, packet: query.packet });
        }
        if self.telemetry.poll_sample(now) {
            return Some(Command::Sample);
        }
        self.check_patience(now);
        if let Some(request) = self.session.poll_output(now, self.clock.is_plausible(now)) {
            return Some(self.session_command(request));
        }
        // A note that patience has just made is not to wait for the next event.
        if let Some(note) = self.notes.pop_front() {
            return Some(Command::Log(note));
        }
        if self.session.is_running() && !self.outbox.is_full() {
            let (token, channel, len) = self.poll_message(now)?;
            let payload = self.buffer.get(..len)?;
            let topic = topic(&self.configuration.id, channel);
            return Some(Command::Publish { token, topic, payload, retain: channel == Channel::State });
        }
        None
    }

    /// When the device next wants [`Event::Tick`], if nothing happens before.
    pub fn next_deadline(&self, now: Uptime) -> Uptime {
        let running = self.session.is_running();
        let mut next = self.clock.next_deadline().min(self.telemetry.next_deadline(running));
        if let Some(deadline) = self.session.next_deadline(self.clock.is_plausible(now)) {
            next = next.min(deadline);
        }
        if running {
            next = next.min(self.state_due);
        }
        if let Some(oldest) = self.outbox.oldest() {
            next = next.min(oldest.after(self.session.answer_timeout_ms()));
        }
        next
    }

    fn note(&mut self, note: Note) {
        // A full queue means that the port does not poll: the counters in the state still tell.
        let _full = self.notes.push_back(note);
    }

    /// A random number; the largest, for the longest wait, where the generator fails.
    fn random(&mut self) -> u32 {
        let mut bytes = [0; 4];
        match self.platform.fill(&mut bytes) {
            Ok(()) => u32::from_le_bytes(bytes),
            Err(_) => {
                self.note(Note::Entropy);
                u32::MAX
            }
        }
    }

    fn stored(&mut self, result: Result<(), StorageError>) {
        if let Err(error) = result {
            self.storage_errors = self.storage_errors.saturating_add(1);
            self.note(Note::Storage(error));
        }
    }

    fn time_answer(&mut self, now: Uptime, datagram: &[u8]) {
        match self.clock.answer(now, datagram) {
            Ok(Some(set)) => {
                self.time_set = self.clock.time(now);
                self.note(Note::Time(set));
            }
            Ok(None) => {}
            Err(error) => self.note(Note::TimeRefused(error)),
        }
    }

    fn poll_time(&mut self, now: Uptime) -> Option<clock::Query> {
        let mut nonce = [0; 8];
        if self.platform.fill(&mut nonce).is_ok() {
            self.clock.poll_output(now, nonce)
        } else {
            self.note(Note::Entropy);
            self.clock.postpone(now);
            None
        }
    }

    fn connected(&mut self, now: Uptime, handshake_ms: u32) {
        if !self.session.connected(now) {
            return;
        }
        self.note(Note::Connected { handshake_ms });
        self.hello.connection = self.session.connections;
        self.hello.handshake_ms = handshake_ms;
        self.hello_due = true;
        self.state_due = now;
        if let Some(floor) = self.clock.confirm(now)
            && self.time_stored.is_none_or(|last| now.since(last) >= TIME_STORE_PERIOD_MS)
        {
            self.time_stored = Some(now);
            let result = self.platform.write(Key::Time, &floor.0.to_le_bytes());
            self.stored(result);
        }
    }

    fn disconnected(&mut self, now: Uptime, failure: Failure) {
        if !self.session.is_up() {
            return;
        }
        let random = self.random();
        self.session.lost(now, failure, random);
        if matches!(failure, Failure::TlsExpired | Failure::TlsNotYetValid) {
            self.clock.distrust(now);
        }
        self.link_is_gone(failure);
    }

    fn link_is_gone(&mut self, failure: Failure) {
        self.note(Note::Disconnected(failure));
        self.outbox.clear();
        self.telemetry.disconnected();
    }

    /// Ends a connection whose other side does not answer in time.
    fn check_patience(&mut self, now: Uptime) {
        let unanswered = self.outbox.oldest().is_some_and(|at| now.since(at) >= self.session.answer_timeout_ms());
        let overdue = if unanswered { Some(Failure::AckTimeout) } else { self.session.overdue(now) };
        if let Some(failure) = overdue {
            let random = self.random();
            self.session.give_up(now, failure, random);
            self.link_is_gone(failure);
        }
    }

    fn session_command(&self, request: Request) -> Command<'_> {
        match request {
            Request::Connect => {
                let (host, port) = self.configuration.service();
                Command::Connect {
                    host,
                    port,
                    client_id: self.configuration.id.as_str(),
                    // KEEP_ALIVE keeps it within 16 bits.
                    keep_alive_s: self.configuration.keep_alive_s as u16,
                    timeout_ms: self.policy.connect_timeout_ms,
                }
            }
            Request::Subscribe => {
                let id = &self.configuration.id;
                Command::Subscribe([topic(id, Channel::ConfigDesired), topic(id, Channel::Command)])
            }
            Request::Disconnect => Command::Disconnect,
        }
    }

    /// The next message, in the buffer: hello first, then the state, then what former boots left, then telemetry.
    fn poll_message(&mut self, now: Uptime) -> Option<(u16, Channel, usize)> {
        if core::mem::take(&mut self.hello_due) {
            let len = self.hello.encode(&mut self.buffer).ok()?;
            return Some((self.outbox.send(Kind::Hello, now), Channel::Hello, len));
        }
        if now >= self.state_due {
            self.state_due = now.after(STATE_PERIOD_MS);
            let len = self.state(now).encode(&mut self.buffer).ok()?;
            return Some((self.outbox.send(Kind::State, now), Channel::State, len));
        }
        while let Some(slot) = self.backlog.head() {
            if self.outbox.has(Kind::Backlog(slot)) {
                return None;
            }
            match self.platform.read(Key::Backlog(slot), &mut self.buffer) {
                Ok(Some(bytes)) => {
                    let len = bytes.len();
                    return Some((self.outbox.send(Kind::Backlog(slot), now), Channel::Telemetry, len));
                }
                unreadable => {
                    let unreadable = unreadable.map(|_| ());
                    self.stored(unreadable);
                    let removed = self.backlog.remove(slot, &mut self.platform);
                    self.stored(removed);
                }
            }
        }
        let clock = &self.clock;
        let batch = self.telemetry.poll_batch(now, |at| clock.time(at))?;
        let len = batch.encode(&mut self.buffer).ok()?;
        let token = self.outbox.send(Kind::Telemetry, now);
        self.telemetry.published(token, batch.samples.len());
        Some((token, Channel::Telemetry, len))
    }

    fn acknowledged(&mut self, token: u16) {
        match self.outbox.acknowledged(token) {
            Some(Kind::Telemetry) => self.telemetry.acknowledged(token),
            Some(Kind::Backlog(slot)) => {
                let removed = self.backlog.remove(slot, &mut self.platform);
                self.stored(removed);
            }
            Some(Kind::Hello | Kind::State) | None => {}
        }
    }

    /// Keeps what is not delivered and closes. How the boot ended is written last: where power fails before, the next
    /// boot says that nobody knows.
    fn stop(&mut self, _now: Uptime) {
        self.life = Life::Stopping;
        self.session.close();
        self.telemetry.disconnected();
        let kept = self.keep_samples();
        self.stored(kept);
        let ended = PreviousBoot { boot: self.hello.boot, next_seq: self.telemetry.next_seq() };
        let mut buffer = [0; PREVIOUS_BYTES_MAX];
        let written = match ended.encode(&mut buffer) {
            Ok(len) => self.platform.write(Key::Ended, buffer.get(..len).unwrap_or_default()),
            Err(_) => Err(StorageError::TooLong),
        };
        self.stored(written);
    }

    fn keep_samples(&mut self) -> Result<(), StorageError> {
        self.backlog.compact(&mut self.platform)?;
        let clock = &self.clock;
        while let Some(batch) = self.telemetry.drain(|at| clock.time(at)) {
            let len = batch.encode(&mut self.buffer).map_err(|_| StorageError::TooLong)?;
            let bytes = self.buffer.get(..len).ok_or(StorageError::TooLong)?;
            self.backlog.push(bytes, &mut self.platform)?;
        }
        Ok(())
    }

    fn poll_stop(&mut self) -> Option<Command<'_>> {
        if let Some(Request::Disconnect) = self.session.poll_output(Uptime(0), false) {
            return Some(Command::Disconnect);
        }
        (core::mem::replace(&mut self.life, Life::Stopped) == Life::Stopping).then_some(Command::Stopped)
    }
}

fn read_number<P: Platform>(platform: &mut P, key: Key) -> Result<Option<u64>, StorageError> {
    let mut buffer = [0; 8];
    match platform.read(key, &mut buffer)?.map(<[u8; 8]>::try_from) {
        None => Ok(None),
        Some(Ok(bytes)) => Ok(Some(u64::from_le_bytes(bytes))),
        Some(Err(_)) => Err(StorageError::Corrupt),
    }
}

fn count_boot<P: Platform>(platform: &mut P) -> Result<u32, StorageError> {
    let last = read_number(platform, Key::Boot)?.unwrap_or(0);
    let boot = last.wrapping_add(1);
    platform.write(Key::Boot, &boot.to_le_bytes())?;
    Ok(boot as u32)
}

/// How the last boot ended. It is forgotten at once: a boot that ends without a word must not inherit it.
fn take_end<P: Platform>(platform: &mut P) -> Result<Option<PreviousBoot>, StorageError> {
    let mut buffer = [0; PREVIOUS_BYTES_MAX];
    let end = platform.read(Key::Ended, &mut buffer)?.and_then(|bytes| PreviousBoot::decode(bytes).ok());
    platform.remove(Key::Ended)?;
    Ok(end)
}

#[cfg(test)]
mod tests;
