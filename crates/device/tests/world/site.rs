//! A device that is updated: a broker with retained messages and a link with a delay, a bootloader, and images that may
//! misbehave once they run. Virtual time; everything is delivered in order unless the test says otherwise.

use super::release::{MANIFEST, ROLLOUT, Release};
use super::{boot_info, release, sntp_answer};
use device::clock::sntp::PACKET_LEN;
use device::{Command, Device, Event, Note, Pace, Platform, Policy, Slots, Uptime};
use protocol::firmware::{FirmwareTopic, Phase};
use protocol::image::{Header, Image, Version};
use protocol::{
    Batch, Channel, EpochMillis, Failure, FirmwareState, Measurement, ResetCause, SensorFault, Topic,
    UpdateFault,
};
use std::collections::{BTreeMap, BTreeSet};

pub const START_S: u64 = 1_800_000_000;
pub const DAY_MS: u64 = 86_400_000;

/// A board with a bootloader.
pub trait Board: Platform + Slots + Clone {
    /// What the bootloader does at a start.
    fn boot(&mut self);
    /// Power has failed.
    fn is_off(&self) -> bool {
        false
    }
}

impl Board for super::Platform {
    fn boot(&mut self) {
        self.slots.borrow_mut().boot();
    }
}

/// What is wrong with an image once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Restarts by itself after so many milliseconds.
    Panics(u64),
    /// Does nothing from so many milliseconds on, until somebody pulls the plug.
    Hangs(u64),
    /// Reaches no service.
    NoService,
    NoSensor,
}

enum Arrival {
    Connected,
    Subscribed,
    Acknowledged(u16),
    Message(String, Vec<u8>),
    Alive,
    Time(Vec<u8>),
}

/// The topic of the device's configuration.
pub const CONFIGURATION: &str = "device/dev-1/config/desired";

/// Changes what the broker delivers: gives the messages that come in place of one.
pub type Meddler = Box<dyn FnMut(&str, &[u8]) -> Vec<(String, Vec<u8>)>>;

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the world that tests throw alone")]
pub struct Site<P: Board> {
    pub device: Option<Device<P>>,
    off: Option<P>,
    /// Why it starts, the next time and from then on.
    pub reset: ResetCause,
    pub policy: Policy,
    pub pace: Pace,
    /// What the broker retains.
    pub retained: BTreeMap<String, Vec<u8>>,
    pub now: u64,
    /// How far the world's time is from where it would be.
    pub time_offset_ms: i64,
    booted: u64,
    booted_version: (u8, u8, u16),
    /// Milliseconds from the broker to the device and back.
    pub delay_ms: u64,
    queue: BTreeMap<(u64, u32), (u32, Arrival)>,
    order: u32,
    generation: u32,
    pub link: bool,
    /// The service takes connections.
    pub open: bool,
    /// How attempts to connect fail.
    pub refusal: Failure,
    /// This version is built without the bootloader's key.
    pub keyless: Option<(u8, u8, u16)>,
    pub sensor: bool,
    pub misbehaviour: BTreeMap<(u8, u8, u16), Misbehaviour>,
    pub meddler: Option<Meddler>,
    pub notes: Vec<Note>,
    pub states: Vec<FirmwareState>,
    /// How often each block was asked for, and how often it came.
    pub asked: BTreeMap<u32, u32>,
    pub came: BTreeMap<u32, u32>,
    /// Restarts that the device asked for.
    pub restarts: u32,
    /// Starts.
    pub boots: u32,
    /// Batches of telemetry: when they came, boot and first sequence number, and when their first sample was taken.
    pub batches: Vec<(u64, u32, u32)>,
    sampled: BTreeMap<(u32, u32), u64>,
    /// Longest time from a sample to its batch.
    pub delay_max: u64,
    pub hung: bool,
    /// Blocks that are subscribed to.
    pub fetches: BTreeSet<u32>,
}

impl<P: Board> Site<P> {
    pub fn new(platform: P) -> Self {
        Self {
            device: None,
            off: Some(platform),
            reset: ResetCause::Software,
            policy: Policy::default(),
            pace: Pace::default(),
            retained: BTreeMap::new(),
            now: 0,
            time_offset_ms: 0,
            booted: 0,
            booted_version: (0, 0, 0),
            delay_ms: 20,
            queue: BTreeMap::new(),
            order: 0,
            generation: 0,
            link: false,
            open: true,
            refusal: Failure::ConnectTimeout,
            keyless: None,
            sensor: true,
            misbehaviour: BTreeMap::new(),
            meddler: None,
            notes: Vec::new(),
            states: Vec::new(),
            asked: BTreeMap::new(),
            came: BTreeMap::new(),
            restarts: 0,
            boots: 0,
            batches: Vec::new(),
            sampled: BTreeMap::new(),
            delay_max: 0,
            hung: false,
            fetches: BTreeSet::new(),
        }
    }

    pub fn device(&mut self) -> &mut Device<P> {
        self.device.as_mut().expect("the device runs")
    }

    pub fn platform(&mut self) -> &mut P {
        match &mut self.device {
            Some(device) => device.platform(),
            None => self.off.as_mut().expect("a board"),
        }
    }

    pub fn time(&self) -> EpochMillis {
        EpochMillis(START_S * 1_000 + self.now).offset(self.time_offset_ms)
    }

    fn uptime(&self) -> Uptime {
        Uptime(self.now - self.booted)
    }

    /// The whole image in slot 0.
    pub fn running(&mut self) -> Vec<u8> {
        let platform = self.platform();
        let capacity = platform.layout().expect("slots").capacity;
        let read =
            |at: u32, bytes: &mut [u8]| platform.read_running(at, bytes).map_err(|_| UpdateFault::Storage);
        let image = Image::read(capacity, read).expect("the device boots an image");
        let mut bytes = vec![0; image.bytes() as usize];
        platform.read_running(0, &mut bytes).expect("reads");
        bytes
    }

    pub fn version(&mut self) -> Version {
        Image::decode(&self.running()).expect("an image").header.version
    }

    fn misbehaves(&self) -> Option<Misbehaviour> {
        if self.misbehaviour.is_empty() {
            return None;
        }
        self.misbehaviour.get(&self.booted_version).copied()
    }

    /// Power comes on.
    pub fn start(&mut self) {
        let platform = self.off.take().expect("it is off");
        self.booted = self.now;
        self.hung = false;
        let mut info = boot_info(self.policy);
        info.reset = self.reset;
        (info.pace, info.product.image_key) = (self.pace, Some(release::image_key()));
        self.device = loop {
            let mut started = platform.clone();
            started.boot();
            self.boots += 1;
            let mut header = [0; Header::BYTES];
            started.read_running(0, &mut header).expect("power is on");
            let Version { major, minor, revision, .. } = Header::decode(&header).expect("an image").version;
            self.booted_version = (major, minor, revision);
            if self.keyless == Some(self.booted_version) {
                info.product.image_key = None;
            }
            match Device::start(started, info.clone(), Uptime(0)) {
                Ok(device) => break Some(device),
                Err(error) => assert!(platform.is_off(), "{error}"),
            }
        };
        if self.misbehaves() == Some(Misbehaviour::Hangs(0)) {
            self.hung = true;
        }
        self.drive();
    }

    /// Power fails.
    pub fn power_cut(&mut self) {
        self.generation += 1;
        self.link = false;
        self.fetches.clear();
        self.off = Some(self.device.take().expect("it runs").into_platform());
    }

    /// Power fails, and the flash with it: the device is gone.
    pub fn into_board(mut self) -> P {
        match self.device.take() {
            Some(device) => device.into_platform(),
            None => self.off.take().expect("a board"),
        }
    }

    pub fn restart(&mut self) {
        self.power_cut();
        self.start();
    }

    pub fn cut_link(&mut self) {
        if core::mem::take(&mut self.link) {
            self.generation += 1;
            self.tell(Event::Disconnected(Failure::LinkLost));
        }
    }

    pub fn tell(&mut self, event: Event<'_>) {
        if self.hung || self.device.is_none() {
            return;
        }
        let now = self.uptime();
        self.device().handle(now, event);
        self.drive();
    }

    /// The service retains this from now on, and hands it to the device where that is connected.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        if payload.is_empty() {
            self.retained.remove(topic);
        } else {
            self.retained.insert(topic.to_owned(), payload.to_vec());
        }
        if self.link {
            self.deliver(topic, payload);
        }
    }

    /// A release with its rollout to everyone.
    pub fn release(&mut self, release: &Release, number: u32) {
        self.announce(release);
        self.publish(&ROLLOUT(), &release.rollout(number, 1_000));
    }

    /// A release without a rollout.
    pub fn announce(&mut self, release: &Release) {
        self.retained.extend(release.blocks.clone());
        self.publish(&MANIFEST(), &release.manifest());
    }

    fn later(&mut self, millis: u64, arrival: Arrival) {
        self.order += 1;
        let generation = self.generation;
        self.queue.insert((self.now + millis, self.order), (generation, arrival));
    }

    fn deliver(&mut self, topic: &str, payload: &[u8]) {
        let messages = match &mut self.meddler {
            Some(meddler) => meddler(topic, payload),
            None => vec![(topic.to_owned(), payload.to_vec())],
        };
        for (topic, payload) in messages {
            self.later(self.delay_ms, Arrival::Message(topic, payload));
        }
    }

    /// Runs for `millis`, or until `enough`; true where that was.
    pub fn run_until(&mut self, millis: u64, mut enough: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + millis;
        let mut calls = 0;
        loop {
            if enough(self) {
                return true;
            }
            let uptime = self.uptime();
            let deadline = match &self.device {
                Some(device) if !self.hung => device.next_deadline(uptime).0.saturating_add(self.booted),
                _ => u64::MAX,
            };
            let arrival = self.queue.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let mut next = deadline.min(arrival).max(self.now);
            let fate = match self.misbehaves() {
                Some(Misbehaviour::Panics(after) | Misbehaviour::Hangs(after)) if !self.hung => {
                    self.booted + after
                }
                _ => u64::MAX,
            };
            next = next.min(fate.max(self.now));
            if next > end {
                self.now = end;
                return enough(self);
            }
            calls = if next == self.now { calls + 1 } else { 0 };
            assert!(calls < 5_000, "the device spins");
            self.now = next;
            if fate <= next {
                match self.misbehaves() {
                    Some(Misbehaviour::Panics(_)) => self.restart(),
                    _ => self.hung = true,
                }
            } else if arrival <= next {
                let (_, (generation, arrival)) = self.queue.pop_first().expect("there is one");
                self.arrive(generation, arrival);
            } else {
                self.tell(Event::Tick);
            }
        }
    }

    pub fn run(&mut self, millis: u64) {
        self.run_until(millis, |_| false);
    }

    /// Runs until a note of this kind comes, at most `millis`.
    pub fn await_note(&mut self, millis: u64, wanted: impl Fn(&Note) -> bool) -> Note {
        let from = self.notes.len();
        let found = |site: &Self| site.notes[from..].iter().find(|note| wanted(note)).copied();
        self.run_until(millis, |site| found(site).is_some());
        found(self).unwrap_or_else(|| panic!("no such note: {:#?}", &self.notes[from..]))
    }

    /// Runs until this version runs and stays.
    pub fn await_version(&mut self, millis: u64, version: Version) {
        let done = |site: &mut Self| site.notes.contains(&Note::UpdateConfirmed { version });
        assert!(self.run_until(millis, done), "{:#?} {:#?}", self.notes, self.states.last());
        self.run(1_000);
        assert_eq!(self.version(), version);
    }

    pub fn state(&self) -> &FirmwareState {
        self.states.last().expect("it said how its firmware is")
    }

    pub fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<_> = self.states.iter().map(|state| state.phase).collect();
        phases.dedup();
        phases
    }

    fn arrive(&mut self, generation: u32, arrival: Arrival) {
        if let Arrival::Time(datagram) = arrival {
            return self.tell(Event::TimeAnswer(&datagram));
        }
        if generation != self.generation || self.hung {
            return;
        }
        match arrival {
            Arrival::Connected => self.tell(Event::Connected { handshake_ms: 70 }),
            Arrival::Subscribed => {
                self.tell(Event::Subscribed { granted: true });
                for topic in [MANIFEST(), ROLLOUT(), CONFIGURATION.to_owned()] {
                    if let Some(payload) = self.retained.get(&topic).cloned() {
                        self.deliver(&topic, &payload);
                    }
                }
            }
            Arrival::Acknowledged(token) => self.tell(Event::Acknowledged(token)),
            Arrival::Message(topic, payload) => {
                if let Some(FirmwareTopic::Block(_, index)) = FirmwareTopic::decode(&topic) {
                    *self.came.entry(index).or_default() += 1;
                }
                self.tell(Event::Message { topic: &topic, payload: &payload });
            }
            Arrival::Alive => {
                self.later(20_000, Arrival::Alive);
                self.tell(Event::Alive);
            }
            Arrival::Time(_) => {}
        }
    }

    fn drive(&mut self) {
        for _ in 0..5_000 {
            if self.hung {
                return;
            }
            if self.platform().is_off() {
                return self.restart();
            }
            let now = self.uptime();
            let Some(command) = self.device.as_mut().and_then(|device| device.poll_output(now)) else {
                return;
            };
            let act = Act::from(command);
            if !self.carry_out(now, act) {
                return;
            }
        }
        panic!("the device never has enough");
    }

    fn carry_out(&mut self, now: Uptime, act: Act) -> bool {
        match act {
            Act::Query(packet) => {
                let answer = sntp_answer(&packet, self.time().offset(self.delay_ms as i64));
                self.later(2 * self.delay_ms, Arrival::Time(answer.to_vec()));
            }
            Act::Connect => {
                let failure = self.refusal;
                assert!(!self.link, "connects while connected");
                let open = self.open && self.misbehaves() != Some(Misbehaviour::NoService);
                self.generation += 1;
                if open {
                    self.link = true;
                    self.later(3 * self.delay_ms, Arrival::Connected);
                } else {
                    self.device().handle(now, Event::Disconnected(failure));
                }
            }
            Act::Subscribe => {
                self.later(2 * self.delay_ms, Arrival::Subscribed);
                self.later(20_000, Arrival::Alive);
            }
            Act::Fetch(topic) => {
                assert!(self.link, "asks without a connection");
                if let Some(FirmwareTopic::Block(_, index)) = FirmwareTopic::decode(&topic) {
                    *self.asked.entry(index).or_default() += 1;
                    self.fetches.insert(index);
                    assert!(self.fetches.len() <= device::update::WINDOW, "more than the window");
                }
                if let Some(payload) = self.retained.get(&topic).cloned() {
                    let delay = self.delay_ms;
                    self.delay_ms *= 2;
                    self.deliver(&topic, &payload);
                    self.delay_ms = delay;
                }
            }
            Act::Release(topic) => {
                assert!(self.link, "releases without a connection");
                if let Some(FirmwareTopic::Block(_, index)) = FirmwareTopic::decode(&topic) {
                    self.fetches.remove(&index);
                }
            }
            Act::Publish(token, text, payload) => self.published(token, &text, &payload),
            Act::Disconnect => {
                self.generation += 1;
                self.link = false;
                self.fetches.clear();
            }
            Act::Sample => {
                let alive = self.sensor && self.misbehaves() != Some(Misbehaviour::NoSensor);
                let reading =
                    if alive { Measurement::new(2_000, 5_000, 100_000) } else { Err(SensorFault::NoAnswer) };
                let number = (self.device().boot(), self.device().next_seq());
                self.sampled.insert(number, self.now);
                self.device().handle(now, Event::Reading(reading));
            }
            Act::Note(note) => {
                assert!(!note.to_string().is_empty());
                if matches!(note, Note::Disconnected(_)) {
                    self.fetches.clear();
                }
                if !matches!(note, Note::Time(_)) {
                    self.notes.push(note);
                }
            }
            Act::Restart => {
                self.restarts += 1;
                self.restart();
                return false;
            }
            Act::Other => {}
        }
        true
    }

    fn published(&mut self, token: u16, text: &str, payload: &[u8]) {
        assert!(self.link, "publishes without a connection");
        match Topic::decode(text).expect("a topic of ours").channel {
            Channel::FirmwareState => self.states.push(FirmwareState::decode(payload).expect("a state")),
            Channel::Telemetry => {
                let batch = Batch::decode(payload).expect("a batch");
                self.batches.push((self.now, batch.boot, batch.seq));
                for (seq, ..) in batch.iter() {
                    if let Some(taken) = self.sampled.remove(&(batch.boot, seq)) {
                        self.delay_max = self.delay_max.max(self.now - taken);
                    }
                }
            }
            _ => {}
        }
        self.later(2 * self.delay_ms, Arrival::Acknowledged(token));
    }
}

/// A command without what it borrows.
enum Act {
    Query([u8; PACKET_LEN]),
    Connect,
    Subscribe,
    Fetch(String),
    Release(String),
    Publish(u16, String, Vec<u8>),
    Disconnect,
    Sample,
    Note(Note),
    Restart,
    Other,
}

impl From<Command<'_>> for Act {
    fn from(command: Command<'_>) -> Self {
        match command {
            Command::QueryTime { packet, .. } => Self::Query(packet),
            Command::Connect { .. } => Self::Connect,
            Command::Subscribe(_) => Self::Subscribe,
            Command::Fetch(topic) => Self::Fetch(topic.as_str().to_owned()),
            Command::Release(topic) => Self::Release(topic.as_str().to_owned()),
            Command::Publish { token, topic, payload, .. } => {
                Self::Publish(token, topic.as_str().to_owned(), payload.to_vec())
            }
            Command::Disconnect => Self::Disconnect,
            Command::Sample => Self::Sample,
            Command::Log(note) => Self::Note(note),
            Command::Restart => Self::Restart,
            Command::SetClock(_) | Command::Stopped | Command::LogTime(_) | Command::LogReason(_) => {
                Self::Other
            }
            Command::Retired(end) => panic!("nobody ended this life: {end:?}"),
        }
    }
}
