//! A device whose configuration changes: services and time servers by name, each of which behaves as the test says, a broker
//! that retains, and everything that the device says. Virtual time, and a network without delay.

#![allow(dead_code, reason = "each test binary uses its part of the bench")]

use crate::world::factory::provision;
use crate::world::field::{DAY_MS, Field, ID, START_S};
use crate::world::service::{Service, signed_with};
use crate::world::vault::Keys;
use crate::world::{boot_info, sntp_answer};
use device::clock::sntp::PACKET_LEN;
use device::identity::Credentials;
use device::{Command, Device, Event, Key, Note, Pace, Platform, Policy, Slots, StartError, Uptime};
use protocol::config::{Change, Draft, Endpoint};
use protocol::document::{Audience, ContentType, Power};
use protocol::signed::Document;
use protocol::topic::topic;
use protocol::{
    Batch, Channel, Configuration, ConfigurationState, DeviceId, EncodeError, EpochMillis, Failure, Layer,
    Measurement, Refusal, SensorFault, State, Topic,
};
use std::collections::HashMap;
use std::sync::OnceLock;

pub const GROUP: &str = "north";
pub const MINUTE_MS: u64 = 60_000;
/// The bound of a trial.
pub const BOUND_MS: u64 = 600_000;

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    Serves,
    Fails(Failure),
    /// TCP and nothing else.
    Mute,
    /// CONNACK, and no SUBACK.
    Deaf,
    /// A SUBACK that grants nothing.
    Refuses,
}

/// An attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub at: u64,
    pub host: String,
    pub port: u16,
    pub keep_alive_s: u16,
    pub token: bool,
    pub credentials: Credentials,
}

/// How the services behave.
pub type Network = Box<dyn FnMut(&Call) -> Meeting>;

/// By how many milliseconds a time server is wrong; `None` for one that does not answer.
pub type Clocks = Box<dyn FnMut(&Endpoint) -> Option<i64>>;

pub struct Bench<P: Platform + Slots> {
    pub device: Option<Device<P>>,
    pub now: u64,
    booted: u64,
    pub policy: Policy,
    pub pace: Pace,
    pub network: Network,
    pub clocks: Clocks,
    /// What the broker retains: topic and payload.
    pub retained: Vec<(String, Vec<u8>)>,
    pub link: Option<Call>,
    alive: u64,
    pub calls: Vec<Call>,
    pub notes: Vec<Note>,
    /// Why configurations were refused, as it was logged.
    pub reasons: Vec<String>,
    pub states: Vec<ConfigurationState>,
    pub reports: Vec<State>,
    /// Samples that came, and when they were taken.
    pub samples: Vec<(u64, Result<Measurement, SensorFault>)>,
    /// When the sensor was asked.
    pub sampled: Vec<u64>,
    /// When batches came.
    pub batches: Vec<u64>,
    pub reading: Result<Measurement, SensorFault>,
    pub requests: Vec<Vec<u8>>,
    /// Servers that were asked for the time, and when.
    pub asked: Vec<(u64, String)>,
    subscribed: Vec<String>,
    /// After how many commands power fails and comes back.
    pub restart_after: Option<u32>,
    pub restarts: u32,
}

/// A payload that is signed as a change of the configuration, whatever it is.
pub struct Payload(pub Vec<u8>);

impl Document<'_> for Payload {
    const CONTENT_TYPE: ContentType = ContentType::Configuration;

    fn decode(payload: &[u8]) -> Result<Self, Refusal> {
        Ok(Self(payload.to_vec()))
    }

    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        out.get_mut(..self.0.len()).ok_or(EncodeError)?.copy_from_slice(&self.0);
        Ok(self.0.len())
    }

    fn audience(&self) -> Audience {
        Audience::All
    }

    fn number(&self) -> u32 {
        0
    }
}

/// A change, signed by the configuration's authority: `fields` is JSON without braces.
pub fn change(layer: Layer, number: u32, fields: &str) -> Vec<u8> {
    sealed(&json(layer, number, fields))
}

pub fn json(layer: Layer, number: u32, fields: &str) -> String {
    let audience = match layer {
        Layer::Group => format!("\"group\":\"{GROUP}\""),
        Layer::Device => format!("\"id\":\"{ID}\""),
    };
    let comma = if fields.is_empty() { "" } else { "," };
    format!("{{\"v\":2,\"number\":{number},{audience}{comma}{fields}}}")
}

pub fn sealed(payload: &str) -> Vec<u8> {
    signed_with(&Payload(payload.as_bytes().to_vec()), &crate::world::service::key_of(Power::Configuration))
}

pub fn decoded(layer: Layer, number: u32, fields: &str) -> Change {
    Change::decode(json(layer, number, fields).as_bytes()).expect("a change")
}

/// What the factory gives: two time servers, a sample and a report a day.
pub fn factory() -> Configuration {
    let mut draft = Draft::new(DeviceId::new(ID).unwrap(), "broker.example", "t0.example").unwrap();
    draft.time_servers.push(Endpoint::parse("t1.example", 123, "time_servers").unwrap()).unwrap();
    (draft.sample_period_ms, draft.report_period_ms) = (3_600_000, 3_600_000);
    draft.keep_alive_s = 1_200;
    draft.number = 5;
    draft.check().unwrap()
}

/// A platform that was provisioned with [`factory`], and whose identity has been replaced since, as it always is first.
pub fn provisioned(seed: u64) -> crate::world::Platform {
    static HOLDINGS: OnceLock<(HashMap<Key, Vec<u8>>, Keys)> = OnceLock::new();
    let (store, keys) = HOLDINGS.get_or_init(|| {
        let service = Service::new();
        let platform = provision(crate::world::Platform::blank(7), &service, &factory());
        let mut field = Field::new(service);
        field.start(platform).expect("starts");
        field.await_note(2 * DAY_MS, |note| *note == Note::IdentityWiped);
        let platform = field.power_cut();
        (platform.store.take(), platform.keys.take())
    });
    let platform = crate::world::Platform::blank(seed);
    platform.store.borrow_mut().clone_from(store);
    platform.keys.borrow_mut().clone_from(keys);
    platform
}

pub fn own(channel: Channel) -> String {
    topic(&DeviceId::new(ID).unwrap(), channel).as_str().to_owned()
}

pub fn group_topic() -> String {
    format!("group/{GROUP}/config/desired")
}

/// The topic that a change of a layer is retained on.
pub fn topic_of(layer: Layer) -> String {
    match layer {
        Layer::Group => group_topic(),
        Layer::Device => own(Channel::ConfigDesired),
    }
}

/// Every service serves but those that `fails` names.
pub fn only(host: &'static str) -> Network {
    Box::new(move |call| if call.host == host { Meeting::Serves } else { Meeting::Fails(Failure::Dns) })
}

impl Bench<crate::world::Platform> {
    /// A device that is connected for the first time.
    pub fn running(seed: u64) -> Self {
        let mut bench = Self::new();
        bench.start(provisioned(seed)).expect("starts");
        bench.run(MINUTE_MS);
        assert!(bench.link.is_some(), "{:?}", bench.notes);
        bench.notes.clear();
        bench
    }

    /// Everything that is stored of the configuration.
    pub fn stored(&mut self) -> Vec<(Key, Vec<u8>)> {
        let store = self.device().platform().store.borrow().clone();
        let mut kept: Vec<_> = store
            .into_iter()
            .filter(|(key, _)| matches!(key, Key::Configuration | Key::Settings | Key::Change(_)))
            .collect();
        kept.sort_by_key(|(key, _)| key.number());
        kept
    }
}

impl<P: Platform + Slots> Bench<P> {
    pub fn new() -> Self {
        Self {
            device: None,
            // What was provisioned and settled has known the time before.
            now: 3 * DAY_MS,
            booted: 3 * DAY_MS,
            policy: Policy::default(),
            pace: Pace { configuration_ms: BOUND_MS as u32, ..Pace::default() },
            network: Box::new(|_| Meeting::Serves),
            clocks: Box::new(|_| Some(0)),
            retained: Vec::new(),
            link: None,
            alive: u64::MAX,
            calls: Vec::new(),
            notes: Vec::new(),
            reasons: Vec::new(),
            states: Vec::new(),
            reports: Vec::new(),
            samples: Vec::new(),
            sampled: Vec::new(),
            batches: Vec::new(),
            reading: Measurement::new(2_000, 5_000, 100_000),
            requests: Vec::new(),
            asked: Vec::new(),
            subscribed: Vec::new(),
            restart_after: None,
            restarts: 0,
        }
    }

    pub fn uptime(&self) -> Uptime {
        Uptime(self.now - self.booted)
    }

    pub fn time(&self) -> EpochMillis {
        EpochMillis(START_S * 1_000 + self.now)
    }

    pub fn device(&mut self) -> &mut Device<P> {
        self.device.as_mut().expect("the device runs")
    }

    pub fn configuration(&mut self) -> Configuration {
        self.device().configuration().clone()
    }

    pub fn start(&mut self, platform: P) -> Result<(), StartError> {
        (self.booted, self.link, self.alive) = (self.now, None, u64::MAX);
        let mut info = boot_info(self.policy);
        info.pace = self.pace;
        self.device = Some(Device::start(platform, info, Uptime(0))?);
        self.drive();
        Ok(())
    }

    pub fn power_cut(&mut self) -> P {
        self.link = None;
        self.device.take().expect("it runs").into_platform()
    }

    pub fn restart(&mut self) {
        self.restarts += 1;
        let platform = self.power_cut();
        self.start(platform).expect("starts again");
    }

    pub fn cut_link(&mut self) {
        if self.link.take().is_some() {
            self.alive = u64::MAX;
            self.tell(Event::Disconnected(Failure::LinkLost));
        }
    }

    pub fn tell(&mut self, event: Event<'_>) {
        let now = self.uptime();
        self.device().handle(now, event);
        self.drive();
    }

    /// The broker hands this over now, and does not retain it.
    pub fn send(&mut self, layer: Layer, document: &[u8]) {
        self.send_on(&topic_of(layer), document);
    }

    pub fn send_on(&mut self, topic: &str, document: &[u8]) {
        assert!(self.link.is_some(), "there is nobody to send it to");
        self.tell(Event::Message { topic, payload: document });
    }

    /// The broker retains this from now on, and hands it over where the device is connected.
    pub fn publish(&mut self, layer: Layer, document: &[u8]) {
        let topic = topic_of(layer);
        self.retained.retain(|(other, _)| *other != topic);
        self.retained.push((topic.clone(), document.to_vec()));
        if self.link.is_some() {
            self.tell(Event::Message { topic: &topic, payload: document });
        }
    }

    pub fn run_until(&mut self, millis: u64, mut enough: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + millis;
        let mut calls = 0;
        while !enough(self) {
            let uptime = self.uptime();
            let deadline = self.device().next_deadline(uptime).0.saturating_add(self.booted);
            let next = deadline.min(self.alive).max(self.now);
            if next > end {
                self.now = end;
                return enough(self);
            }
            calls = if next == self.now { calls + 1 } else { 0 };
            assert!(calls < 1_000, "the device spins at {next}");
            self.now = next;
            if next == self.alive {
                self.ping();
                self.tell(Event::Alive);
            } else {
                self.tell(Event::Tick);
            }
        }
        true
    }

    pub fn run(&mut self, millis: u64) {
        self.run_until(millis, |_| false);
    }

    /// Runs until a note of this kind comes, at most `millis`.
    pub fn await_note(&mut self, millis: u64, wanted: impl Fn(&Note) -> bool) -> Note {
        let from = self.notes.len();
        let found = |bench: &Self| bench.notes[from..].iter().find(|note| wanted(note)).copied();
        self.run_until(millis, |bench| found(bench).is_some());
        found(self).unwrap_or_else(|| panic!("no such note: {:#?}", &self.notes[from..]))
    }

    /// Runs until a trial is decided; true where the change is in force.
    pub fn await_verdict(&mut self, millis: u64) -> bool {
        let decided = |note: &Note| {
            matches!(note, Note::ConfigurationChanged { .. } | Note::ConfigurationUndone { .. })
        };
        matches!(self.await_note(millis, decided), Note::ConfigurationChanged { .. })
    }

    /// What it said last, once it is connected and has said everything.
    pub fn state(&mut self) -> ConfigurationState {
        self.run_until(2 * BOUND_MS, |bench| bench.link.is_some());
        // What was refused is said once a minute.
        self.run(2 * MINUTE_MS);
        self.states.last().expect("it said what is in force").clone()
    }

    fn ping(&mut self) {
        let period = self.link.as_ref().map_or(u64::MAX, |call| u64::from(call.keep_alive_s) * 1_000);
        self.alive = self.now.saturating_add(period);
    }

    fn drive(&mut self) {
        for _ in 0..10_000 {
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
            Act::Query(server, packet) => {
                self.asked.push((self.now, server.to_string()));
                if let Some(wrong) = (self.clocks)(&server) {
                    let answer = sntp_answer(&packet, self.time().offset(wrong));
                    self.device().handle(now, Event::TimeAnswer(&answer));
                }
            }
            Act::Connect(call) => {
                assert!(self.link.is_none(), "connects while connected");
                let call = Call { at: self.now, ..call };
                self.calls.push(call.clone());
                match (self.network)(&call) {
                    Meeting::Fails(failure) => self.device().handle(now, Event::Disconnected(failure)),
                    Meeting::Mute => self.link = Some(call),
                    Meeting::Serves | Meeting::Deaf | Meeting::Refuses => {
                        self.link = Some(call);
                        self.ping();
                        self.device().handle(now, Event::Connected { handshake_ms: 1 });
                    }
                }
            }
            Act::Subscribe(topics) => {
                self.subscribed = topics;
                let call = self.link.clone().expect("subscribes without a connection");
                match (self.network)(&call) {
                    Meeting::Deaf | Meeting::Mute => {}
                    Meeting::Refuses => self.device().handle(now, Event::Subscribed { granted: false }),
                    Meeting::Serves | Meeting::Fails(_) => {
                        self.device().handle(now, Event::Subscribed { granted: true });
                        self.hand_over();
                    }
                }
            }
            Act::Publish(token, text, payload, retain) => self.published(token, &text, &payload, retain),
            Act::Disconnect => (self.link, self.alive) = (None, u64::MAX),
            Act::Sample => {
                self.sampled.push(self.now);
                let reading = self.reading;
                self.device().handle(now, Event::Reading(reading));
            }
            Act::Note(note) => {
                assert!(!note.to_string().is_empty());
                self.notes.push(note);
            }
            Act::Reason(reason) => self.reasons.push(reason),
            Act::Other => {}
        }
    }

    fn hand_over(&mut self) {
        for (topic, payload) in self.retained.clone() {
            let wanted = self.subscribed.iter().any(|filter| matches(filter, &topic));
            // The device may have had enough after the first.
            if wanted && self.link.is_some() {
                let now = self.uptime();
                self.device().handle(now, Event::Message { topic: &topic, payload: &payload });
                self.drive();
            }
        }
    }

    fn published(&mut self, token: u16, text: &str, payload: &[u8], retain: bool) {
        assert!(self.link.is_some(), "publishes without a connection");
        let now = self.uptime();
        match Topic::decode(text).expect("a topic of ours").channel {
            Channel::ConfigState => {
                assert!(retain);
                self.states.push(ConfigurationState::decode(payload).expect("a state"));
            }
            Channel::State => self.reports.push(State::decode(payload).expect("a state")),
            Channel::IdentityRequest => self.requests.push(payload.to_vec()),
            Channel::Telemetry => {
                self.batches.push(self.now);
                for (_, time, reading) in Batch::decode(payload).expect("a batch").iter() {
                    let at = time.map_or(0, |time| time.0.saturating_sub(START_S * 1_000));
                    self.samples.push((at, reading));
                }
            }
            _ => {}
        }
        self.device().handle(now, Event::Acknowledged(token));
    }
}

/// MQTT 3.1.1, section 4.7.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), levels.next()) {
            (None, None) | (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// A command without what it borrows.
enum Act {
    Query(Endpoint, [u8; PACKET_LEN]),
    Connect(Call),
    Subscribe(Vec<String>),
    Publish(u16, String, Vec<u8>, bool),
    Disconnect,
    Sample,
    Note(Note),
    Reason(String),
    Other,
}

impl From<Command<'_>> for Act {
    fn from(command: Command<'_>) -> Self {
        match command {
            Command::QueryTime { server, packet } => Self::Query(server.clone(), packet),
            Command::Connect { host, port, keep_alive_s, credentials, password, .. } => Self::Connect(Call {
                at: 0,
                host: host.to_owned(),
                port,
                keep_alive_s,
                token: password.is_some(),
                credentials,
            }),
            Command::Subscribe(topics) => {
                Self::Subscribe(topics.iter().map(|topic| topic.as_str().to_owned()).collect())
            }
            Command::Publish { token, topic, payload, retain } => {
                Self::Publish(token, topic.as_str().to_owned(), payload.to_vec(), retain)
            }
            Command::Disconnect => Self::Disconnect,
            Command::Sample => Self::Sample,
            Command::Log(note) => Self::Note(note),
            Command::LogReason(reason) => Self::Reason(reason.to_owned()),
            Command::LogTime(_)
            | Command::Retired(_)
            | Command::SetClock(_)
            | Command::Stopped
            | Command::Fetch(_)
            | Command::Release(_)
            | Command::Restart => Self::Other,
        }
    }
}
