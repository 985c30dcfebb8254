//! The device: hands events to the machines, asks them in order what is to be done, and when. Takes no decision that one of
//! them could take.

mod report;
mod start;

use crate::audit::{RingError, uplink};
use crate::backlog::Backlog;
use crate::boots::Boots;
use crate::clock::keeping::Keeping;
use crate::clock::{Clock, TimeTrouble};
use crate::commands::{Came, Commands};
use crate::cx::{Cx, NOTES_MAX};
use crate::event::Note;
use crate::gate::Entrance;
use crate::identity::token::Token;
use crate::identity::{Asked, Identity};
use crate::interface::{BootInfo, Command, Event, Password, StartError};
use crate::life::Life;
use crate::machine::Machine;
use crate::mail::Mail;
use crate::platform::{Platform, Slots, Uptime};
use crate::session::Request;
use crate::settings::Settings;
use crate::telemetry::{Ring, Telemetry};
use crate::trial::Trials;
use crate::update::{Act, Update};
use core::borrow::BorrowMut;
use protocol::config::LogLevel;
use protocol::document::Action;
use protocol::provisioning::Fault;
use protocol::topic::{group_topic, subscriptions};
use protocol::{Configuration, EpochMillis, Failure, KeyId, Measurement, Refusal, SensorFault, State, Topic};

/// How often the state is reported while connected, in milliseconds.
pub const STATE_PERIOD_MS: u64 = 60_000;

/// How the security log was opened: what was wrong with it.
#[derive(Clone, Copy, Debug)]
struct Opened(Option<RingError>);

/// The device. `R` is its ring, or a reference to it.
#[derive(Debug)]
pub struct Device<P, R = Ring> {
    cx: Cx<P>,
    identity: Identity,
    token: Token,
    settings: Settings,
    commands: Commands,
    telemetry: Telemetry<R>,
    backlog: Backlog,
    update: Update,
    uplink: uplink::Uplink,
    boots: Boots,
    keeping: Keeping,
    life: Life,
    state_due: Uptime,
    started: Uptime,
    lost_noted: bool,
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
    pub fn start_with(ring: R, platform: P, info: BootInfo, now: Uptime) -> Result<Self, StartError> {
        start::start(ring, platform, info, now)
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        &self.cx.configuration
    }

    /// The identity key that is in force.
    pub fn identity(&self) -> KeyId {
        self.identity.key()
    }

    /// Number of this boot.
    pub fn boot(&self) -> u32 {
        self.boots.hello.boot
    }

    /// The sequence number that the next sample will have.
    pub fn next_seq(&self) -> u32 {
        self.telemetry.next_seq()
    }

    /// The platform, to take it back after [`Command::Stopped`].
    pub fn into_platform(self) -> P {
        self.cx.platform
    }

    /// The platform, for a port that needs what is stored to carry out a command.
    pub fn platform(&mut self) -> &mut P {
        &mut self.cx.platform
    }

    /// The clock, to read.
    pub fn clock(&self) -> &Clock {
        &self.cx.clock
    }

    /// Delivers the security log again from this record on, as soon as there is a connection.
    pub fn send_log_from(&mut self, from: u32) {
        self.uplink.send_from(&mut self.cx, from);
    }

    /// How the device is.
    pub fn state(&self, now: Uptime) -> State {
        report::state(self, now)
    }

    /// Whoever calls the device says how late it is.
    fn begin(&mut self, now: Uptime) {
        self.cx.now = now;
        self.record_start();
        self.settle();
    }

    /// Writes down what the start was. Not while the device is made: it is too long to be put together on a stack and then
    /// moved.
    #[inline(never)]
    fn record_start(&mut self) {
        let Some(Opened(log_error)) = self.unsettled.take() else { return };
        let cx = &mut self.cx;
        if let Some(error) = log_error {
            cx.log_failed(error);
        }
        let reset = self.boots.hello.reset;
        cx.record(&protocol::audit::Event::Boot { reset, firmware: cx.firmware.clone() });
        let events = cx.notes.iter().map(|note| note.event(None));
        let events: heapless::Vec<_, NOTES_MAX> = events.flatten().collect();
        for event in &events {
            cx.record(event);
        }
        self.commands.settle(cx);
    }

    /// Tells the machines what one of them has brought about, and the context what is on trial.
    fn settle(&mut self) {
        if let Some(failure) = self.cx.lost.take() {
            self.settings.failed(failure);
            self.telemetry.disconnected();
        }
        if core::mem::take(&mut self.cx.configured) {
            self.telemetry.configure(&self.cx.configuration, self.cx.now);
        }
        self.cx.trials = Trials {
            identity: self.identity.has_trial(),
            configuration: self.settings.is_trying(),
            firmware: self.update.is_on_trial(),
        };
        self.cx.may_rotate = self.commands.is_recorded();
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, now: Uptime, event: Event<'_>) {
        self.begin(now);
        match self.life {
            Life::Running => self.take(event),
            Life::Retiring { .. } => self.life.handle_last(&mut self.cx, &self.identity, event),
            Life::Stopping | Life::Restarting | Life::Stopped => {}
        }
        self.settle();
    }

    fn take(&mut self, event: Event<'_>) {
        let cx = &mut self.cx;
        let now = cx.now;
        match event {
            Event::Tick => {}
            Event::TimeAnswer(datagram) => {
                if let Some(server) = self.keeping.answer(cx, datagram) {
                    self.settings.time_answered(server);
                }
            }
            Event::TimeSent => cx.clock.sent(now),
            Event::TimeUnreachable => cx.clock.unreachable(now),
            Event::TimeServerUnknown => cx.clock.unknown(now),
            Event::Connected { handshake_ms } => self.connected(handshake_ms),
            Event::Disconnected(failure) => self.disconnected(failure),
            Event::Subscribed { granted } => {
                let random = cx.random();
                let was_up = cx.session.is_up();
                cx.session.subscribed(now, granted, random);
                if was_up && !cx.session.is_up() {
                    cx.link_is_gone(Failure::SubscribeRefused);
                } else if cx.session.is_running() {
                    self.telemetry.connected();
                    self.settings.reached();
                    self.settings.tick(cx, &self.identity);
                }
            }
            Event::Acknowledged(token) => {
                cx.session.heard(now);
                self.acknowledged(token);
            }
            Event::Alive => cx.session.heard(now),
            Event::Receiving => cx.session.receiving(now),
            Event::Message { topic, payload } => {
                cx.session.heard(now);
                self.message(topic, payload);
                self.cx.reading = None;
            }
            Event::Reading(reading) => self.reading(reading),
            Event::Shutdown => self.stop(Life::Stopping),
        }
    }

    fn connected(&mut self, handshake_ms: u32) {
        let cx = &mut self.cx;
        if !cx.session.connected(cx.now) {
            return;
        }
        cx.note(Note::Connected { handshake_ms });
        self.boots.connected(cx.session.connections, handshake_ms);
        self.state_due = cx.now;
        self.lost_noted = false;
        cx.clock.confirm(cx.now);
        self.keeping.store(cx, false);
        self.update.connected(cx.now);
        self.identity.connected(cx);
        self.settings.tell(cx.now);
    }

    fn disconnected(&mut self, failure: Failure) {
        let cx = &mut self.cx;
        if !cx.session.is_up() {
            return;
        }
        let random = cx.random();
        if !cx.session.is_connected() {
            self.identity.failed(failure);
        }
        cx.session.lost(cx.now, failure, random);
        if failure.is_of_dates() {
            cx.clock.distrust(cx.now);
        }
        cx.link_is_gone(failure);
    }

    fn reading(&mut self, reading: Result<Measurement, SensorFault>) {
        let cx = &mut self.cx;
        self.update.vitals.reading(reading.is_ok());
        if let Err(fault) = reading {
            cx.note(Note::Sensor(fault));
        }
        let lost = self.telemetry.overflowed();
        for (alarm, begins) in self.telemetry.reading(reading) {
            // Nobody wants to hear of it a minute later.
            self.state_due = cx.now;
            cx.note(Note::Alarm { alarm, begins });
        }
        if self.telemetry.overflowed() > lost && !core::mem::replace(&mut self.lost_noted, true) {
            cx.note(Note::Overflow);
        }
    }

    /// A message on one of the topics subscribed to.
    fn message(&mut self, text: &str, payload: &[u8]) {
        let (cx, identity) = (&mut self.cx, &mut self.identity);
        if self.update.document(cx, identity, text, payload) {
            return;
        }
        if group_topic(identity.group()).is_some_and(|topic| topic == text) {
            return self.settings.document(cx, identity, Entrance::GroupConfiguration, payload);
        }
        let Some(Topic { channel, .. }) = Topic::decode(text).filter(|topic| topic.device == *identity.id())
        else {
            cx.refused = cx.refused.saturating_add(1);
            return cx.note(Note::DocumentRefused(Refusal::ContentType));
        };
        // What is retained and withdrawn comes as an empty message.
        if payload.is_empty() {
            return;
        }
        let Some(entrance) = Entrance::of(channel) else {
            identity.count(Refusal::ContentType);
            return cx.note(Note::DocumentRefused(Refusal::ContentType));
        };
        cx.reading = Some(channel);
        match entrance {
            Entrance::Configuration => return self.settings.document(cx, identity, entrance, payload),
            Entrance::Log => return self.uplink.document(cx, identity, payload),
            Entrance::Command => match self.commands.message(cx, identity, payload) {
                Came::Other => {}
                Came::Nothing => return,
                Came::Begin { command, under_way } => {
                    if under_way {
                        self.telemetry.end_burst(cx.now);
                    }
                    return self.carry_out(&command);
                }
            },
            _ => {}
        }
        if let Some(end) = identity.document(cx, channel, entrance, payload) {
            self.life.retire(cx, identity, end);
        }
    }

    /// Begins what a command says.
    fn carry_out(&mut self, command: &protocol::document::Command) {
        let cx = &mut self.cx;
        let (number, action, now) = (command.number, command.action, cx.now);
        cx.note(Note::Commanded { number, action });
        match action {
            Action::Report => {
                self.telemetry.flush();
                self.state_due = now;
                self.identity.said = false;
                self.update.say(now);
                self.settings.tell(now);
            }
            Action::Burst { samples, period_ms } => self.telemetry.burst(samples, period_ms, now),
            // As soon as the service knows.
            Action::Reboot => {}
            Action::Rotate => match self.identity.want_rotation(&mut cx.platform) {
                Ok(()) => self.commands.finish(cx),
                Err(error) => {
                    cx.stored(Err(error));
                    self.commands.give_up(now, command);
                }
            },
            Action::SendLog { from } => self.uplink.send_from(cx, from),
        }
    }

    fn acknowledged(&mut self, token: u16) {
        let cx = &mut self.cx;
        let Some(mail) = cx.outbox.acknowledged(token) else { return };
        self.update.vitals.acknowledged = true;
        match mail {
            Mail::Telemetry => self.telemetry.acknowledged(token),
            Mail::Backlog(slot) => self.backlog.delivered(slot, cx),
            Mail::Hello => self.boots.acknowledged(mail, cx),
            Mail::FirmwareState => self.update.acknowledged(mail, cx),
            Mail::CommandAnswer => self.commands.acknowledged(mail, cx),
            Mail::Log => self.uplink.acknowledged(mail, cx),
            Mail::ConfigState => self.settings.acknowledged(mail, cx),
            Mail::State | Mail::IdentityState | Mail::IdentityRequest => {}
        }
    }

    /// From now on the port can take nothing that needs the network, because it is busy with what it was given; or it can
    /// again. Until then [`Device::poll_output`] gives what needs none, and [`Command::Disconnect`]: the device goes on
    /// measuring. A port that takes everything at once need not say so.
    pub const fn link_is_full(&mut self, full: bool) {
        self.cx.link_full = full;
    }

    /// The next thing to do; `None` where there is nothing until the next event or deadline.
    pub fn poll_output(&mut self, now: Uptime) -> Option<Command<'_>> {
        self.begin(now);
        if let Some(note) = self.cx.notes.pop_front() {
            return Some(Command::Log(note));
        }
        match self.life {
            Life::Running => {}
            Life::Retiring { .. } => return self.life.poll_last(&mut self.cx, &mut self.identity),
            Life::Stopping | Life::Restarting | Life::Stopped => return self.life.poll_stop(&mut self.cx),
        }
        if self.keeping.take_set()
            && let Some(time) = self.cx.time()
        {
            return Some(Command::SetClock(time));
        }
        if let Some(query) = Keeping::ask(&mut self.cx) {
            let server = self.cx.configuration.time_servers.get(query.server)?;
            return Some(Command::QueryTime { server, packet: query.packet });
        }
        let warns = self.cx.configuration.log_level.covers(LogLevel::Warning);
        if self.settings.take_reason_due() && warns && self.settings.last().is_some() {
            return self.settings.last().map(|refused| Command::LogReason(&refused.text));
        }
        if let Some(what) = self.keeping.take_trouble(&mut self.cx)
            && warns
        {
            let servers = &self.cx.configuration.time_servers;
            return Some(Command::LogTime(TimeTrouble { servers, what }));
        }
        self.telemetry.poll_report(now);
        if self.telemetry.poll_sample(now) {
            return Some(Command::Sample);
        }
        self.tick();
        if self.life != Life::Running {
            return self.poll_output(now);
        }
        if self.cx.link_full {
            let note = self.cx.notes.pop_front().map(Command::Log);
            return note.or_else(|| self.cx.session.poll_drop().then_some(Command::Disconnect));
        }
        if let Some(request) = self.cx.session.poll_output(now, self.cx.clock.is_plausible(now)) {
            return self.request(request);
        }
        // A note that patience has just made is not to wait for the next event.
        if let Some(note) = self.cx.notes.pop_front() {
            return Some(Command::Log(note));
        }
        if self.cx.session.is_running() && !self.cx.outbox.is_full() {
            if let Some((mail, len)) = self.write() {
                return self.cx.publish(mail, len);
            }
            self.all_sent();
        }
        // Only what telemetry leaves of the link is for firmware.
        match self.update.act(&mut self.cx, &self.identity) {
            None => self.cx.notes.pop_front().map(Command::Log),
            Some(Act::Fetch(topic)) => Some(Command::Fetch(topic)),
            Some(Act::Release(topic)) => Some(Command::Release(topic)),
            Some(Act::Restart) => {
                self.stop(Life::Restarting);
                self.poll_output(now)
            }
        }
    }

    /// What time has brought.
    fn tick(&mut self) {
        self.check_patience();
        self.settle();
        self.token.tick(&mut self.cx);
        self.settle();
        self.identity.look(&mut self.cx);
        self.settle();
        self.settings.tick(&mut self.cx, &self.identity);
        self.settle();
        self.commands.tick(&mut self.cx, &self.identity);
        if self.commands.restarts(self.cx.now) {
            self.stop(Life::Restarting);
        }
        self.uplink.tick(&mut self.cx, &self.identity);
        self.settle();
    }

    /// Ends a connection whose other side does not answer in time.
    fn check_patience(&mut self) {
        let cx = &mut self.cx;
        let unanswered = cx.outbox.oldest().is_some_and(|at| cx.now >= cx.session.answer_due(at));
        let overdue = if unanswered { Some(Failure::AckTimeout) } else { cx.session.overdue(cx.now) };
        if let Some(failure) = overdue {
            let random = cx.random();
            cx.session.give_up(cx.now, failure, random);
            cx.link_is_gone(failure);
        }
    }

    fn request(&mut self, request: Request) -> Option<Command<'_>> {
        let cx = &mut self.cx;
        match request {
            Request::Connect => {
                cx.clock.attempt();
                self.identity.check_end(cx);
                let credentials = self.identity.attempt(cx.trials);
                let password = match self.token.sign(cx, &self.identity, credentials) {
                    None => None,
                    Some(Ok(len)) => Some(Password::new(self.token.text(len)?)),
                    Some(Err(())) => {
                        let random = cx.random();
                        cx.session.lost(cx.now, Failure::Credentials, random);
                        cx.link_is_gone(Failure::Credentials);
                        return cx.notes.pop_front().map(Command::Log);
                    }
                };
                let (host, port) = cx.configuration.service();
                Some(Command::Connect {
                    host,
                    port,
                    client_id: cx.configuration.id.as_str(),
                    // KEEP_ALIVE keeps it within 16 bits.
                    keep_alive_s: cx.configuration.keep_alive_s as u16,
                    credentials,
                    password,
                    timeout_ms: cx.policy.connect_timeout_ms,
                })
            }
            Request::Subscribe => Some(Command::Subscribe(subscriptions(
                &cx.configuration.id,
                cx.product.class,
                self.identity.group(),
            ))),
            Request::Disconnect => Some(Command::Disconnect),
        }
    }

    /// The next message, in the buffer: its length in bytes.
    fn write(&mut self) -> Option<(Mail, usize)> {
        for mail in Mail::RANKS {
            let (cx, trust) = (&mut self.cx, &self.identity);
            if cx.outbox.has(mail) {
                continue;
            }
            let written = match mail {
                Mail::Hello => self.boots.write(mail, cx, trust),
                Mail::State => self.write_state(),
                Mail::CommandAnswer => self.commands.write(mail, cx, trust),
                Mail::IdentityState | Mail::IdentityRequest => self.identity.write(mail, cx),
                Mail::FirmwareState => self.update.write(mail, cx, trust),
                Mail::ConfigState => self.settings.write(mail, cx, trust),
                Mail::Log => self.uplink.write(mail, cx, trust),
                Mail::Backlog(_) | Mail::Telemetry => None,
            };
            if let Some(len) = written {
                return Some((mail, len));
            }
        }
        let cx = &mut self.cx;
        if self.backlog.is_under_way(cx) {
            return None;
        }
        if let Some((slot, len)) = self.backlog.write(cx) {
            return Some((Mail::Backlog(slot), len));
        }
        let clock = &cx.clock;
        let batch = self.telemetry.poll_batch(|at| clock.time(at))?;
        let len = batch.encode(&mut cx.buffer).ok()?;
        self.telemetry.published(cx.outbox.next_token(), batch.samples.len());
        Some((Mail::Telemetry, len))
    }

    fn write_state(&mut self) -> Option<usize> {
        if self.cx.now < self.state_due {
            return None;
        }
        self.state_due = self.cx.now.after(STATE_PERIOD_MS);
        self.keeping.store(&mut self.cx, false);
        self.state(self.cx.now).encode(&mut self.cx.buffer).ok()
    }

    /// Nothing waits to be sent.
    fn all_sent(&mut self) {
        let sent = match self.commands.sending() {
            None => false,
            Some(Action::SendLog { .. }) => !self.cx.audit.has_more(),
            Some(_) => !self.telemetry.is_bursting(),
        };
        if sent && self.cx.outbox.is_empty() {
            self.commands.finish(&mut self.cx);
            self.settle();
        }
    }

    /// Keeps what is not delivered and closes. How the boot ended is written last: where power fails before, the next
    /// boot says that nobody knows.
    fn stop(&mut self, life: Life) {
        self.life = life;
        let cx = &mut self.cx;
        cx.session.close();
        self.telemetry.disconnected();
        self.update.stopping(cx.now, &mut cx.platform);
        self.update.settle_with(cx);
        uplink::stopping(cx);
        self.backlog.keep(&mut self.telemetry, cx);
        self.keeping.store(cx, true);
        self.boots.end(self.telemetry.next_seq(), cx);
    }

    /// When the device next wants [`Event::Tick`], if nothing happens before.
    pub fn next_deadline(&self, now: Uptime) -> Uptime {
        let cx = &self.cx;
        match self.life {
            Life::Running => {}
            Life::Retiring { .. } => return Life::last_deadline(cx),
            Life::Stopping | Life::Restarting | Life::Stopped => return Uptime(u64::MAX),
        }
        let patience = cx.outbox.oldest().map(|oldest| cx.session.answer_due(oldest));
        if cx.link_full {
            // What needs the network is asked for when it can be taken.
            let link = [cx.session.next_deadline(false), patience];
            return link.into_iter().flatten().fold(self.telemetry.next_deadline(), Uptime::min);
        }
        let can_send = cx.session.is_running() && !cx.outbox.is_full();
        let machines = [
            cx.session.next_deadline(cx.clock.is_plausible(now)),
            can_send.then_some(self.state_due),
            self.boots.next_deadline(cx, &self.identity),
            self.identity.next_deadline(cx).filter(|_| can_send),
            self.backlog.next_deadline(cx),
            self.update.next_deadline(cx, &self.identity),
            self.settings.next_deadline(cx, &self.identity),
            self.commands.next_deadline(cx, &self.identity),
            self.uplink.next_deadline(cx, &self.identity),
            self.token.next_deadline(cx),
            patience,
        ];
        let own = cx.clock.next_deadline().min(self.telemetry.next_deadline());
        machines.into_iter().flatten().fold(own, Uptime::min)
    }

    /// What the factory's line says of the identity in force: its key, and when its certificate ends.
    pub(crate) fn line_identity(&self) -> (KeyId, EpochMillis) {
        (self.identity.key(), self.identity.ends())
    }

    /// [`Identity::line_request`].
    pub(crate) fn line_request(
        &mut self,
        now: Uptime,
        said: EpochMillis,
        out: &mut [u8],
    ) -> Result<Asked, Fault> {
        self.on_line(now)?;
        self.identity.line_request(&mut self.cx, said, out)
    }

    /// [`Identity::line_certificate`].
    pub(crate) fn line_certificate(
        &mut self,
        now: Uptime,
        said: EpochMillis,
        document: &[u8],
    ) -> Result<KeyId, Fault> {
        self.on_line(now)?;
        self.identity.line_certificate(&mut self.cx, said, document)
    }

    fn on_line(&mut self, now: Uptime) -> Result<(), Fault> {
        self.begin(now);
        if self.life == Life::Running { Ok(()) } else { Err(Fault::Locked) }
    }
}
