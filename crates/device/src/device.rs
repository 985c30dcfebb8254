//! The device: routes events to the machines and asks them in turn what is to be done. Owns the platform and the buffer
//! of the message that is being sent; takes no decision that one of the machines could take.

mod commands;
mod firmware;
mod kept;
mod log;
mod messages;
mod settings;
mod trust;

use crate::audit::RingError;
use crate::backlog::Backlog;
use crate::clock::{self, Clock, TimeError, TimeTrouble, Trouble};
use crate::commands::Commands;
use crate::config;
use crate::identity::{Identity, record};
use crate::interface::{BootInfo, Command, End, Event, Password, Product, StartError};
use crate::note::Note;
use crate::outbox::{Kind, Outbox};
use crate::platform::{Key, Platform, Slots, StorageError, Uptime};
use crate::session::{Policy, Request, Session};
use crate::settings::{Owner, Settings, Started};
use crate::telemetry::{RING_SAMPLES, Ring, Telemetry};
use crate::update::Update;
use core::borrow::BorrowMut;
use firmware::Vitals;
use heapless::Deque;
use kept::{count_boot, read_ends, read_number};
use log::Log;
use protocol::config::{CONFIGURATION_BYTES_MAX, LogLevel};
use protocol::hello::PreviousBoots;
use protocol::limits::LONGEST_FROM_DEVICE;
use protocol::topic::{subscriptions, topic};
use protocol::{Channel, Configuration, EpochMillis, Failure, Hello, KeyId, State, audit};
use trust::Token;

/// How often the state is reported while connected, in milliseconds.
pub const STATE_PERIOD_MS: u64 = 60_000;

/// Shortest time between two writes of the confirmed time, in milliseconds: at most 24 writes a day.
pub const TIME_STORE_PERIOD_MS: u64 = 3_600_000;

/// Longest message of a device in bytes: the buffer in which each of them is made, so that nothing longer can leave.
pub const MESSAGE_BYTES_MAX: usize = LONGEST_FROM_DEVICE;

/// Notes that wait for the port. More at once would only repeat each other.
const NOTES_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Stopping,
    /// The same, and then the bootloader has something to do.
    Restarting,
    /// Its secrets are wiped; it says so as long as the connection lasts.
    Retiring(End),
    Stopped,
}

/// How the security log was opened: what was wrong with it.
#[derive(Clone, Copy, Debug)]
struct Opened(Option<RingError>);

/// The device. `R` is its ring, or a reference to it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct Device<P, R = Ring> {
    platform: P,
    /// What the device runs on: what is in force, or what is on trial.
    configuration: Configuration,
    settings: Settings,
    commands: Commands,
    identity: Identity,
    token: Token,
    token_renewal: Option<Uptime>,
    policy: Policy,
    product: Product,
    clock: Clock,
    session: Session,
    telemetry: Telemetry<R>,
    backlog: Backlog,
    backlog_retry: Uptime,
    update: Update,
    log: Log,
    vitals: Vitals,
    ends: PreviousBoots,
    outbox: Outbox,
    hello: Hello,
    hello_due: bool,
    state_due: Uptime,
    time_stored: Option<Uptime>,
    time_set: bool,
    /// The reason for which a configuration was refused is to be written to the log.
    reason_due: bool,
    /// What is to be said of the time servers.
    time_trouble: Option<Trouble>,
    started: Uptime,
    lost_noted: bool,
    refused: u32,
    storage_errors: u32,
    notes: Deque<Note, NOTES_MAX>,
    /// The port can take nothing for the network.
    link_full: bool,
    life: Life,
    /// When the device was last called.
    now: Uptime,
    buffer: [u8; MESSAGE_BYTES_MAX],
    /// The start is not recorded yet: what was wrong with the log.
    unsettled: Option<Opened>,
}

impl<P: Platform + Slots> Device<P> {
    /// Loads the configuration, counts the boot and is ready to be polled. The ring is part of the device.
    pub fn start(platform: P, info: BootInfo, now: Uptime) -> Result<Self, StartError> {
        Self::start_with(Ring::new(), platform, info, now)
    }
}

impl<P: Platform + Slots, R: BorrowMut<Ring>> Device<P, R> {
    /// The same with a ring that lies elsewhere, such as a `&'static mut Ring`.
    pub fn start_with(ring: R, mut platform: P, info: BootInfo, now: Uptime) -> Result<Self, StartError> {
        let mut identity = match record::open(&mut platform).map_err(StartError::Identity)? {
            None => return Err(StartError::Blank),
            Some(record::Life::Destroyed | record::Life::Ending(_)) => return Err(StartError::Destroyed),
            Some(record::Life::Provisioned(record)) => {
                Identity::load(record, &mut platform).map_err(StartError::Identity)?
            }
        };
        let mut notes = Deque::new();
        if let Err(error) = identity.clear(EpochMillis(0), &mut platform) {
            // The first of a few that fit.
            let _fits = notes.push_back(Note::IdentityFailed(error));
        }
        let configuration = config::load(&mut platform).map_err(StartError::Configuration)?;
        if configuration.id != *identity.id() {
            return Err(StartError::Configuration(config::LoadError::OtherDevice));
        }
        let storage = StartError::Storage;
        let boot = count_boot(&mut platform).map_err(storage)?;
        // What former boots have left is worth less than this one: damage in it is counted, and costs only that.
        let mut storage_errors = 0;
        let ends = read_ends(&mut platform).unwrap_or_else(|_| {
            storage_errors += 1;
            PreviousBoots::default()
        });
        let stored = read_number(&mut platform, Key::Time).unwrap_or_else(|_| {
            storage_errors += 1;
            None
        });
        let Started { settings, configuration, sought, .. } = {
            let mut scratch = [0; CONFIGURATION_BYTES_MAX];
            let owner = Owner { id: identity.id(), group: identity.group() };
            let bound = info.pace.configuration_ms;
            let started = Settings::load(configuration, bound, owner, now, &mut platform, &mut scratch);
            if started.damaged {
                storage_errors += 1;
                let _fits = notes.push_back(Note::ConfigurationDamaged);
            }
            if let Some(error) = started.storage {
                storage_errors += 1;
                let _fits = notes.push_back(Note::Storage(error));
            }
            if let Some(undone) = &started.undone {
                let (layer, number) = (undone.layer, undone.number);
                let _fits = notes.push_back(Note::ConfigurationUndone { layer, number, failure: None });
            }
            started
        };
        let mut clock = Clock::new(info.build, stored.map(EpochMillis), 0);
        clock.replace(now, configuration.time_servers.len(), sought);
        let backlog = Backlog::load(&mut platform);
        let update = Update::load(info.product, info.pace, info.reset, now, &mut platform);
        let (log, log_error) = Log::open(&mut platform, identity.id(), boot);
        let commands = Commands::load(identity.is_rotating(), &mut platform);
        let mut random = [0; 4];
        // Without a random number the first attempt comes at the end of its window.
        let random = platform.fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
        let hello = Hello::new(configuration.id.clone(), info.firmware, info.board, boot, info.reset);
        Ok(Self {
            platform,
            policy: info.policy,
            product: info.product,
            clock,
            session: Session::new(info.policy, configuration.keep_alive_s, now, random),
            telemetry: Telemetry::new(ring, boot, &configuration, now),
            configuration,
            settings,
            commands,
            identity,
            token: Token::default(),
            token_renewal: None,
            backlog,
            backlog_retry: now,
            update,
            log,
            vitals: Vitals::default(),
            ends,
            outbox: Outbox::default(),
            hello,
            hello_due: false,
            state_due: now,
            time_stored: None,
            time_set: false,
            reason_due: false,
            time_trouble: None,
            started: now,
            lost_noted: false,
            refused: 0,
            storage_errors,
            notes,
            link_full: false,
            life: Life::Running,
            now,
            buffer: [0; MESSAGE_BYTES_MAX],
            unsettled: Some(Opened(log_error)),
        })
    }

    /// Writes down what the start was. Not while the device is made: it is too long to be put together on a stack and then
    /// moved.
    fn settle_start(&mut self) {
        if let Some(Opened(log_error)) = self.unsettled.take() {
            self.log_started(log_error);
            self.command_settled();
        }
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The identity key that is in force.
    pub fn identity(&self) -> KeyId {
        self.identity.key()
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

    /// The platform, for a port that needs what is stored to carry out a command.
    pub fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    /// The clock, to read.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How the device is.
    pub fn state(&self, now: Uptime) -> State {
        let mut state = State::new(self.hello.firmware.clone(), self.hello.boot, self.hello.reset);
        state.t = self.clock.time(now);
        state.uptime_s = (now.since(self.started) / 1000) as u32;
        state.config = self.settings.number();
        state.group_config = self.settings.group_number();
        state.clock = self.clock.quality(now);
        state.clock_error_ms = u32::try_from(self.clock.error_ms(now).unwrap_or(0)).unwrap_or(u32::MAX);
        state.clock_steps = self.clock.steps();
        state.time_refused = self.clock.refused();
        state.waiting = self.telemetry.held() as u32;
        state.capacity = RING_SAMPLES as u32;
        state.lost = self.telemetry.overflowed();
        state.missed = self.telemetry.missed();
        state.suppressed = self.telemetry.suppressed();
        state.sensor_faults = self.telemetry.faults();
        state.alarms = self.telemetry.alarms();
        state.connections = self.session.connections;
        state.failures = self.session.failures;
        state.last_failure = self.session.last_failure;
        state.refused =
            self.refused.saturating_add(self.identity.refused()).saturating_add(self.update.refused());
        state.refused = state.refused.saturating_add(self.settings.refused());
        state.storage_errors = self.storage_errors;
        state.log_waiting = self.log.waiting();
        state
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, now: Uptime, event: Event<'_>) {
        self.now = now;
        self.settle_start();
        match self.life {
            Life::Running => {}
            Life::Retiring(_) => return self.handle_last(now, event),
            Life::Stopping | Life::Restarting | Life::Stopped => return,
        }
        match event {
            Event::Tick => {}
            Event::TimeAnswer(datagram) => self.time_answer(now, datagram),
            Event::TimeSent => self.clock.sent(now),
            Event::TimeUnreachable => self.clock.unreachable(now),
            Event::TimeServerUnknown => self.clock.unknown(now),
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
                    self.settings_reached(now);
                }
            }
            Event::Acknowledged(token) => {
                self.session.heard(now);
                self.acknowledged(token);
            }
            Event::Alive => self.session.heard(now),
            Event::Message { topic, payload } => {
                self.session.heard(now);
                self.message(now, topic, payload);
                self.log.reading = None;
            }
            Event::Reading(reading) => {
                match reading {
                    Ok(_) => self.vitals.sensor_faults = 0,
                    Err(fault) => {
                        self.vitals.sensor_faults = self.vitals.sensor_faults.saturating_add(1);
                        self.note(Note::Sensor(fault));
                    }
                }
                let lost = self.telemetry.overflowed();
                for (alarm, begins) in self.telemetry.reading(reading) {
                    // Nobody wants to hear of it a minute later.
                    self.state_due = now;
                    self.note(Note::Alarm { alarm, begins });
                }
                if self.telemetry.overflowed() > lost && !core::mem::replace(&mut self.lost_noted, true) {
                    self.note(Note::Overflow);
                }
            }
            Event::Shutdown => self.stop(now),
        }
    }

    /// From now on the port can take nothing that needs the network, because it is busy with what it was given; or it can
    /// again. Until then [`Device::poll_output`] gives what needs none, and [`Command::Disconnect`]: the device goes on
    /// measuring. A port that takes everything at once need not say so.
    pub const fn link_is_full(&mut self, full: bool) {
        self.link_full = full;
    }

    /// The next thing to do; `None` where there is nothing until the next event or deadline.
    pub fn poll_output(&mut self, now: Uptime) -> Option<Command<'_>> {
        self.now = now;
        self.settle_start();
        if let Some(note) = self.notes.pop_front() {
            return Some(Command::Log(note));
        }
        match self.life {
            Life::Running => {}
            Life::Retiring(end) => return self.poll_last(now, end),
            Life::Stopping | Life::Restarting | Life::Stopped => return self.poll_stop(),
        }
        if core::mem::take(&mut self.time_set)
            && let Some(time) = self.clock.time(now)
        {
            return Some(Command::SetClock(time));
        }
        if !self.link_full
            && self.clock.wants_to_ask(now)
            && let Some(query) = self.poll_time(now)
        {
            let server = self.configuration.time_servers.get(query.server)?;
            return Some(Command::QueryTime { server, packet: query.packet });
        }
        let warns = self.configuration.log_level.covers(LogLevel::Warning);
        if core::mem::take(&mut self.reason_due) && warns && self.settings.last().is_some() {
            return self.settings.last().map(|refused| Command::LogReason(&refused.text));
        }
        let silence = self.clock.poll_silence(now).map(Trouble::Silence);
        if let Some(what) = self.time_trouble.take().or(silence)
            && warns
        {
            return Some(Command::LogTime(TimeTrouble { servers: &self.configuration.time_servers, what }));
        }
        self.telemetry.poll_report(now);
        if self.telemetry.poll_sample(now) {
            return Some(Command::Sample);
        }
        self.check_patience(now);
        self.check_token(now);
        self.check_identity(now);
        self.check_settings(now);
        self.check_command(now);
        self.check_log(now);
        if self.life != Life::Running {
            return self.poll_output(now);
        }
        if self.link_full {
            let note = self.notes.pop_front().map(Command::Log);
            return note.or_else(|| self.session.poll_drop().then_some(Command::Disconnect));
        }
        if let Some(request) = self.session.poll_output(now, self.clock.is_plausible(now)) {
            return self.session_command(now, request);
        }
        // A note that patience has just made is not to wait for the next event.
        if let Some(note) = self.notes.pop_front() {
            return Some(Command::Log(note));
        }
        if self.session.is_running() && !self.outbox.is_full() {
            if let Some((token, channel, len)) = self.poll_message(now) {
                let payload = self.buffer.get(..len)?;
                let topic = topic(&self.configuration.id, channel);
                let retain = matches!(
                    channel,
                    Channel::State
                        | Channel::IdentityState
                        | Channel::FirmwareState
                        | Channel::ConfigState
                        | Channel::CommandAnswer
                );
                return Some(Command::Publish { token, topic, payload, retain });
            }
            self.all_sent(now);
        }
        // Only what telemetry leaves of the link is for firmware.
        self.poll_update(now)
    }

    /// When the device next wants [`Event::Tick`], if nothing happens before.
    pub fn next_deadline(&self, now: Uptime) -> Uptime {
        match self.life {
            Life::Running => {}
            Life::Retiring(_) => return self.last_deadline(now),
            Life::Stopping | Life::Restarting | Life::Stopped => return Uptime(u64::MAX),
        }
        if self.link_full {
            // What needs the network is asked for when it can be taken.
            let own = self.telemetry.next_deadline();
            let patience = self.outbox.oldest().map(|oldest| oldest.after(self.session.answer_timeout_ms()));
            return [self.session.next_deadline(false), patience]
                .into_iter()
                .flatten()
                .fold(own, Uptime::min);
        }
        let mut next = self.clock.next_deadline().min(self.telemetry.next_deadline());
        if let Some(deadline) = self.session.next_deadline(self.clock.is_plausible(now)) {
            next = next.min(deadline);
        }
        if self.session.is_running() && !self.outbox.is_full() {
            next = next.min(self.state_due);
            for deadline in [
                self.identity.next_request(),
                self.identity.next_rotation().filter(|_| self.commands.is_recorded()),
            ]
            .into_iter()
            .flatten()
            {
                next = next.min(deadline);
            }
            if self.backlog.head().is_some() && now < self.backlog_retry {
                next = next.min(self.backlog_retry);
            }
        }
        let machines = [
            self.update_deadline(now),
            self.settings_deadline(now),
            self.command_deadline(now),
            self.log_deadline(now),
        ];
        for deadline in machines.into_iter().flatten() {
            next = next.min(deadline);
        }
        if let Some(renewal) = self.token_renewal.filter(|_| self.session.is_running()) {
            next = next.min(renewal);
        }
        if let Some(oldest) = self.outbox.oldest() {
            next = next.min(oldest.after(self.session.answer_timeout_ms()));
        }
        next
    }

    fn note(&mut self, note: Note) {
        self.record(&note);
        if !self.configuration.log_level.covers(note.level()) {
            return;
        }
        // A full queue means that the port does not poll: the counters in the state still tell.
        let _full = self.notes.push_back(note);
    }

    /// A random number; the largest, for the longest wait, where the generator fails.
    fn random(&mut self) -> u32 {
        let mut bytes = [0; 4];
        if self.platform.fill(&mut bytes).is_ok() {
            u32::from_le_bytes(bytes)
        } else {
            self.note(Note::Entropy);
            u32::MAX
        }
    }

    fn stored(&mut self, result: Result<(), StorageError>) {
        if let Err(error) = result {
            self.storage_errors = self.storage_errors.saturating_add(1);
            self.note(Note::Storage(error));
        }
    }

    fn time_answer(&mut self, now: Uptime, datagram: &[u8]) {
        let asked = self.clock.asked();
        match self.clock.answer(now, datagram) {
            Ok(Some(set)) => {
                self.settings_time_answered();
                self.time_set = true;
                self.note(Note::Time(set));
            }
            // Anybody can send what answers no request: it is counted, and does not fill the log.
            Ok(None) | Err(TimeError::Unasked | TimeError::Originate | TimeError::Length) => {}
            Err(error) => {
                self.log_event(&audit::Event::TimeRefused);
                let refused = asked.map(|server| Trouble::Refused(server, error));
                let disagreement = self.clock.disagreement().filter(|_| error == TimeError::Disagree);
                self.time_trouble = disagreement.map(Trouble::Disagree).or(refused);
            }
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
        self.lost_noted = false;
        self.clock.confirm(now);
        self.store_time(now);
        self.update.connected(now);
        self.identity_accepted(now);
        self.settings_connected(now);
    }

    fn disconnected(&mut self, now: Uptime, failure: Failure) {
        if !self.session.is_up() {
            return;
        }
        let random = self.random();
        if !self.session.is_connected() {
            self.identity.failed(failure);
        }
        self.session.lost(now, failure, random);
        if failure.is_of_dates() {
            self.clock.distrust(now);
        }
        self.link_is_gone(failure);
    }

    fn link_is_gone(&mut self, failure: Failure) {
        self.settings.failed(failure);
        self.note(Note::Disconnected(failure));
        self.outbox.clear();
        self.telemetry.disconnected();
    }

    /// Ends a connection whose other side does not answer in time.
    fn check_patience(&mut self, now: Uptime) {
        let unanswered =
            self.outbox.oldest().is_some_and(|at| now.since(at) >= self.session.answer_timeout_ms());
        let overdue = if unanswered { Some(Failure::AckTimeout) } else { self.session.overdue(now) };
        if let Some(failure) = overdue {
            let random = self.random();
            self.session.give_up(now, failure, random);
            self.link_is_gone(failure);
        }
    }

    fn session_command(&mut self, now: Uptime, request: Request) -> Option<Command<'_>> {
        match request {
            Request::Connect => {
                self.clock.attempt();
                self.check_end(now);
                let credentials = self.identity.attempt(self.settings.is_trying());
                let token = self.sign_token(now, credentials);
                let password = match token {
                    None => None,
                    Some(Ok(len)) => {
                        let text = self.token.0.get(..len).and_then(|token| core::str::from_utf8(token).ok());
                        Some(Password::new(text?))
                    }
                    Some(Err(())) => {
                        let random = self.random();
                        self.session.lost(now, Failure::Credentials, random);
                        self.link_is_gone(Failure::Credentials);
                        return self.notes.pop_front().map(Command::Log);
                    }
                };
                let (host, port) = self.configuration.service();
                Some(Command::Connect {
                    host,
                    port,
                    client_id: self.configuration.id.as_str(),
                    // KEEP_ALIVE keeps it within 16 bits.
                    keep_alive_s: self.configuration.keep_alive_s as u16,
                    credentials,
                    password,
                    timeout_ms: self.policy.connect_timeout_ms,
                })
            }
            Request::Subscribe => {
                let topics = subscriptions(&self.configuration.id, self.product.class, self.identity.group());
                Some(Command::Subscribe(topics))
            }
            Request::Disconnect => Some(Command::Disconnect),
        }
    }

    fn acknowledged(&mut self, token: u16) {
        let acknowledged = self.outbox.acknowledged(token);
        self.vitals.acknowledged |= acknowledged.is_some();
        match acknowledged {
            Some(Kind::Telemetry) => self.telemetry.acknowledged(token),
            Some(Kind::Backlog(slot)) => {
                let removed = self.backlog.remove(slot, &mut self.platform);
                self.stored(removed);
            }
            Some(Kind::Hello) => self.end_is_known(),
            Some(Kind::FirmwareState) => self.update.state_acknowledged(),
            Some(Kind::CommandAnswer) => self.answer_acknowledged(),
            Some(Kind::Log) => self.log_delivered(),
            Some(Kind::State | Kind::IdentityState | Kind::IdentityRequest | Kind::ConfigState) | None => {}
        }
    }

    fn poll_stop(&mut self) -> Option<Command<'_>> {
        if let Some(Request::Disconnect) = self.session.poll_output(Uptime(0), false) {
            return Some(Command::Disconnect);
        }
        match core::mem::replace(&mut self.life, Life::Stopped) {
            Life::Stopping => Some(Command::Stopped),
            Life::Restarting => Some(Command::Restart),
            Life::Running | Life::Retiring(_) | Life::Stopped => None,
        }
    }
}
