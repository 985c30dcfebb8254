//! A provisioned device in the field: a network without delay, honest time, and a service that takes the connections
//! that the test says, answers requests for certificates, and keeps what the device says.

use super::factory::{configuration, provision};
use super::service::Service;
use super::vault::public;
use super::{BUILD, boot_info, sntp_answer};
use device::clock::sntp::PACKET_LEN;
use device::identity::{Credentials, ROOTS_BYTES_MAX};
use device::{BootInfo, Command, Device, Event, KeySlot, Note, Platform, Policy, Slots, StartError, Uptime};
use protocol::config::Authentication;
use protocol::document::{Audience, End, KeyUse};
use protocol::signed::Envelope;
use protocol::topic::topic;
use protocol::x509::Certificate;
use protocol::{
    Batch, Channel, CommandAnswer, ConfigurationState, DeviceId, EpochMillis, Failure, FirmwareState,
    IdentityState, Measurement, PublicKey, ResetCause, State, Topic,
};

pub const ID: &str = "dev-1";
/// True time at which a field begins, in seconds.
pub const START_S: u64 = 1_800_000_000;
pub const DAY_MS: u64 = 86_400_000;

pub fn id() -> DeviceId {
    DeviceId::new(ID).unwrap()
}

pub fn one() -> Audience {
    Audience::Device(id())
}

/// An attempt to connect.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub credentials: Credentials,
    pub password: Option<String>,
    pub at: u64,
    pub accepted: bool,
}

/// Whether the service takes a connection with these credentials.
pub type Door = Box<dyn FnMut(Credentials) -> bool>;

#[expect(clippy::struct_excessive_bools, reason = "each switches something else")]
pub struct Field<P: Platform + Slots> {
    pub device: Option<Device<P>>,
    pub service: Service,
    pub policy: Policy,
    pub now: u64,
    /// By how much the time servers are off.
    pub offset_ms: i64,
    booted: u64,
    pub door: Door,
    /// How an attempt fails that the door does not let in.
    pub refusal: Failure,
    /// Whether requests for certificates are answered.
    pub answers: bool,
    /// Whether subscriptions are granted, at once.
    pub subscribes: bool,
    /// Whether messages are acknowledged.
    pub acknowledges: bool,
    /// What comes right after every subscription, as retained messages do.
    pub retained: Vec<(Channel, Vec<u8>)>,
    /// Something is connected, with these.
    pub link: Option<Credentials>,
    pub attempts: Vec<Attempt>,
    pub notes: Vec<Note>,
    pub requests: Vec<Vec<u8>>,
    pub states: Vec<IdentityState>,
    pub reports: Vec<State>,
    /// What it runs on.
    pub configurations: Vec<ConfigurationState>,
    /// What became of commands.
    pub outcomes: Vec<CommandAnswer>,
    /// What else came, in order: channel and payload.
    pub published: Vec<(Channel, Vec<u8>)>,
    /// Whether the sensor answers.
    pub sensor: bool,
    /// When it was asked.
    pub sampled: Vec<u64>,
    /// How often the device has restarted by itself.
    pub restarts: u32,
    /// Why it started last.
    pub reset: ResetCause,
    pub ended: Option<End>,
    /// Whether power was out; it is back then.
    pub outage: fn(&P) -> bool,
    /// Another handle to the same platform, where a start without power must be gone on with.
    pub copy: fn(&P) -> Option<P>,
    /// After how many commands power fails and comes back.
    pub restart_after: Option<u32>,
    /// Looks at what an attempt is made with.
    pub inspect: fn(&mut P, Credentials),
    unacknowledged: Vec<u16>,
}

impl<P: Platform + Slots> Field<P> {
    /// A device on a platform that is provisioned, not started yet.
    pub fn new(service: Service) -> Self {
        Self {
            device: None,
            service,
            policy: Policy::default(),
            now: 0,
            offset_ms: 0,
            booted: 0,
            door: Box::new(|_| true),
            refusal: Failure::TlsClientRejected,
            answers: true,
            subscribes: true,
            acknowledges: true,
            retained: Vec::new(),
            link: None,
            attempts: Vec::new(),
            notes: Vec::new(),
            requests: Vec::new(),
            states: Vec::new(),
            reports: Vec::new(),
            configurations: Vec::new(),
            outcomes: Vec::new(),
            published: Vec::new(),
            sensor: false,
            sampled: Vec::new(),
            restarts: 0,
            reset: ResetCause::PowerOn,
            ended: None,
            outage: |_| false,
            copy: |_| None,
            restart_after: None,
            inspect: usable,
            unacknowledged: Vec::new(),
        }
    }

    pub fn uptime(&self) -> Uptime {
        Uptime(self.now - self.booted)
    }

    pub fn time(&self) -> EpochMillis {
        EpochMillis(START_S * 1000 + self.now).offset(self.offset_ms)
    }

    pub fn device(&mut self) -> &mut Device<P> {
        self.device.as_mut().expect("the device runs")
    }

    pub fn platform(&mut self) -> &mut P {
        self.device().platform()
    }

    /// Starts the device, and runs until it has nothing to do.
    pub fn start(&mut self, platform: P) -> Result<(), StartError> {
        (self.booted, self.link) = (self.now, None);
        let info = BootInfo { reset: self.reset, ..boot_info(self.policy) };
        self.device = Some(Device::start(platform, info, Uptime(0))?);
        self.drive();
        Ok(())
    }

    /// Power fails: gives what is left.
    pub fn power_cut(&mut self) -> P {
        self.link = None;
        self.device.take().expect("the device runs").into_platform()
    }

    /// Is without power for `millis`.
    pub fn skip(&mut self, millis: u64) {
        let platform = self.power_cut();
        self.now += millis;
        self.start(platform).expect("starts again");
        self.connect();
        self.run(1_000);
    }

    pub fn restart(&mut self) {
        let platform = self.power_cut();
        let spare = (self.copy)(&platform);
        match (self.start(platform), spare) {
            (Ok(()), _) => {}
            (Err(_), Some(spare)) if (self.outage)(&spare) => {
                self.start(spare).expect("starts again");
            }
            (Err(error), _) => panic!("it does not start again: {error}"),
        }
    }

    pub fn cut_link(&mut self, failure: Failure) {
        if self.link.take().is_some() {
            self.tell(Event::Disconnected(failure));
        }
    }

    pub fn tell(&mut self, event: Event<'_>) {
        let now = self.uptime();
        self.device().handle(now, event);
        self.drive();
    }

    pub fn send(&mut self, channel: Channel, document: &[u8]) {
        let topic = topic(&self.device().configuration().id.clone(), channel);
        self.tell(Event::Message { topic: &topic, payload: document });
    }

    /// Runs for `millis`, or until `enough`; true where that was.
    pub fn run_until(&mut self, millis: u64, mut enough: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + millis;
        let mut calls = 0;
        while self.ended.is_none() && !enough(self) {
            let uptime = self.uptime();
            let next = (self.device().next_deadline(uptime).0.saturating_add(self.booted)).max(self.now);
            if next > end {
                self.now = end;
                return enough(self);
            }
            calls = if next == self.now { calls + 1 } else { 0 };
            assert!(calls < 1_000, "the device spins");
            self.now = next;
            self.tell(Event::Tick);
        }
        enough(self)
    }

    pub fn run(&mut self, millis: u64) {
        self.run_until(millis, |_| false);
    }

    /// Runs until a note of this kind comes, at most `millis`.
    pub fn await_note(&mut self, millis: u64, wanted: impl Fn(&Note) -> bool) -> Note {
        let from = self.notes.len();
        let found = |field: &Self| field.notes[from..].iter().find(|note| wanted(note)).copied();
        self.run_until(millis, |field| found(field).is_some());
        found(self).unwrap_or_else(|| panic!("no such note: {:#?}", &self.notes[from..]))
    }

    pub fn connect(&mut self) {
        assert!(self.run_until(DAY_MS, |field| field.link.is_some()), "never connects");
    }

    pub fn state(&self) -> &IdentityState {
        self.states.last().expect("it said how it is")
    }

    /// What is sent once a minute where something was refused.
    pub fn settle(&mut self) {
        self.run(200_000);
    }

    pub fn key(&mut self, slot: KeySlot, usage: KeyUse) -> Option<PublicKey> {
        self.platform().public_key(slot, usage).unwrap()
    }

    /// The identity key that is in force: the one that the device names, as the service has registered it.
    pub fn identity(&self) -> PublicKey {
        let said = self.state().key.as_str();
        let registered = self.service.registered.borrow();
        *registered.iter().find(|key| key.id().to_string() == said).expect("a registered key")
    }

    fn drive(&mut self) {
        self.service.now_s = self.time().seconds();
        for _ in 0..1_000 {
            if self.device.as_mut().is_some_and(|device| (self.outage)(device.platform())) {
                return self.restart();
            }
            let left = self.restart_after;
            self.restart_after = left.and_then(|left| left.checked_sub(1));
            if left == Some(0) {
                return self.restart();
            }
            let now = self.uptime();
            let Some(command) = self.device.as_mut().and_then(|device| device.poll_output(now)) else {
                return;
            };
            let act = Act::from(command);
            self.carry_out(act);
        }
        panic!("the device never has enough");
    }

    fn carry_out(&mut self, act: Act) {
        let now = self.uptime();
        match act {
            Act::Query(packet) => {
                let answer = sntp_answer(&packet, self.time());
                self.device().handle(now, Event::TimeAnswer(&answer));
            }
            Act::Connect(credentials, password) => {
                assert!(self.link.is_none(), "connects while connected");
                (self.inspect)(self.device.as_mut().expect("it runs").platform(), credentials);
                let accepted = (self.door)(credentials);
                self.attempts.push(Attempt { credentials, password, at: self.now, accepted });
                let event = if accepted {
                    self.link = Some(credentials);
                    self.unacknowledged.clear();
                    Event::Connected { handshake_ms: 1 }
                } else {
                    Event::Disconnected(self.refusal)
                };
                self.device().handle(now, event);
            }
            Act::Subscribe if !self.subscribes => {}
            Act::Subscribe => {
                self.device().handle(now, Event::Subscribed { granted: true });
                for (channel, document) in self.retained.clone() {
                    if self.link.is_some() {
                        let topic = topic(&self.device().configuration().id.clone(), channel);
                        self.device().handle(now, Event::Message { topic: &topic, payload: &document });
                    }
                }
            }
            Act::Publish(token, text, payload, retain) => self.publish(token, &text, &payload, retain),
            Act::Disconnect => self.link = None,
            Act::Sample => {
                self.sampled.push(self.now);
                if self.sensor {
                    let reading = Measurement::new(2_000, 5_000, 100_000);
                    self.device().handle(now, Event::Reading(reading));
                }
            }
            Act::Restart => {
                self.restarts += 1;
                self.reset = ResetCause::Software;
                self.restart();
            }
            Act::Note(note) => {
                assert!(!note.to_string().is_empty());
                self.notes.push(note);
            }
            Act::Retired(end) => {
                assert_eq!(self.ended.replace(end), None, "it ends once");
            }
            Act::Other => {}
        }
    }

    fn publish(&mut self, token: u16, text: &str, payload: &[u8], retain: bool) {
        let now = self.uptime();
        assert!(self.link.is_some(), "publishes without a connection");
        let channel = Topic::decode(text).unwrap().channel;
        assert_eq!(
            retain,
            matches!(
                channel,
                Channel::State
                    | Channel::IdentityState
                    | Channel::FirmwareState
                    | Channel::ConfigState
                    | Channel::CommandAnswer
            )
        );
        self.published.push((channel, payload.to_vec()));
        match channel {
            Channel::IdentityState => self.states.push(IdentityState::decode(payload).unwrap()),
            Channel::State => self.reports.push(State::decode(payload).unwrap()),
            Channel::IdentityRequest => self.requests.push(payload.to_vec()),
            Channel::CommandAnswer => self.outcomes.push(CommandAnswer::decode(payload).unwrap()),
            Channel::ConfigState => {
                self.configurations.push(ConfigurationState::decode(payload).unwrap());
            }
            Channel::FirmwareState => drop(FirmwareState::decode(payload).unwrap()),
            Channel::Telemetry => drop(Batch::decode(payload).unwrap()),
            _ => {}
        }
        if self.acknowledges {
            self.device().handle(now, Event::Acknowledged(token));
        } else {
            self.unacknowledged.push(token);
        }
        if channel == Channel::IdentityRequest && self.answers {
            let answer = self.answer(payload);
            self.retained.retain(|(channel, _)| *channel != Channel::IdentityDesired);
            self.retained.push((Channel::IdentityDesired, answer.clone()));
            let topic = topic(&self.device().configuration().id.clone(), Channel::IdentityDesired);
            self.device().handle(now, Event::Message { topic: &topic, payload: &answer });
        }
    }

    /// The service's answer to a request, which must be signed with a key that it has registered.
    pub fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let signer = Envelope::decode(request).unwrap().signer();
        let registered = self.service.registered.borrow().clone();
        let key = registered.into_iter().find(|key| key.id() == signer).expect("a registered key");
        self.service.answer(request, &key)
    }

    /// Acknowledges the message that has waited longest.
    pub fn acknowledge_one(&mut self) {
        let token = self.unacknowledged.remove(0);
        self.tell(Event::Acknowledged(token));
    }

    /// Acknowledges what waits for it.
    pub fn acknowledge(&mut self) {
        for token in std::mem::take(&mut self.unacknowledged) {
            self.tell(Event::Acknowledged(token));
        }
    }
}

impl Field<super::Platform> {
    /// A device that was provisioned, and has not been started yet, and its platform.
    pub fn provisioned(auth: Authentication) -> (Self, super::Platform) {
        let service = Service::new();
        let platform = provision(super::Platform::blank(7), &service, &configuration(ID, auth));
        (Self::new(service), platform)
    }

    /// A device that has replaced its factory's identity, with no former one left.
    pub fn settled() -> Self {
        let (mut field, platform) = Self::provisioned(Authentication::Certificate);
        field.start(platform).unwrap();
        field.await_note(2 * DAY_MS, |note| matches!(note, Note::IdentityWiped));
        field.settle();
        field.retained.clear();
        field
    }

    /// Everything that is stored, without what changes by itself: the number of the boot and the time.
    pub fn snapshot(&mut self) -> Snapshot {
        let platform = self.platform();
        let mut store: Vec<_> = platform
            .store
            .borrow()
            .iter()
            .map(|(key, value)| (key.name().to_string(), value.clone()))
            .collect();
        store.retain(|(name, _)| !["sensor/boot", "sensor/time"].contains(&name.as_str()));
        store.sort();
        Snapshot { store, keys: platform.keys.borrow().clone() }
    }
}

/// Both keys are there, the chain is for the TLS key, and the roots can be read.
pub fn usable<P: Platform>(platform: &mut P, credentials: Credentials) {
    let slot = credentials.slot;
    assert!(platform.public_key(slot, KeyUse::Identity).unwrap().is_some(), "no identity key in {slot:?}");
    let tls = platform.public_key(slot, KeyUse::Tls).unwrap().expect("a TLS key");
    let mut buffer = [0; ROOTS_BYTES_MAX];
    let chain = device::identity::chain(platform, slot, &mut buffer).expect("a chain");
    assert_eq!(Certificate::decode(chain.0[0]).unwrap().public_key(), tls, "the chain of {slot:?}");
    let mut buffer = [0; ROOTS_BYTES_MAX];
    let roots = device::identity::roots(platform, credentials.roots, &mut buffer).expect("roots");
    assert!(!roots.0.is_empty());
}

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub store: Vec<(String, Vec<u8>)>,
    pub keys: super::vault::Keys,
}

/// A command without what it borrows.
enum Act {
    Query([u8; PACKET_LEN]),
    Connect(Credentials, Option<String>),
    Subscribe,
    Publish(u16, String, Vec<u8>, bool),
    Disconnect,
    Note(Note),
    Retired(End),
    Sample,
    Restart,
    Other,
}

impl From<Command<'_>> for Act {
    fn from(command: Command<'_>) -> Self {
        match command {
            Command::QueryTime { packet, .. } => Self::Query(packet),
            Command::Connect { credentials, password, .. } => {
                Self::Connect(credentials, password.map(|password| password.reveal().to_owned()))
            }
            Command::Subscribe(_) => Self::Subscribe,
            Command::Publish { token, topic, payload, retain } => {
                Self::Publish(token, topic.as_str().to_owned(), payload.to_vec(), retain)
            }
            Command::Disconnect => Self::Disconnect,
            Command::Log(note) => Self::Note(note),
            Command::Retired(end) => Self::Retired(end),
            Command::SetClock(time) => {
                assert!(time >= BUILD);
                Self::Other
            }
            Command::Sample => Self::Sample,
            Command::Restart => Self::Restart,
            Command::Stopped
            | Command::Fetch(_)
            | Command::Release(_)
            | Command::LogTime(_)
            | Command::LogReason(_) => Self::Other,
        }
    }
}

/// The public half of a key that is none of the device's nor of any power's.
pub fn stranger() -> PublicKey {
    public(&[0x66; 32])
}
