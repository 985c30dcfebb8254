#![allow(dead_code, reason = "each test binary uses its part of the world")]
//! A world for the device in virtual time: a network that breaks, a broker that restarts, time servers, a store, a
//! ledger of what the service received. Everything comes from one seed.

pub mod bench;
pub mod factory;
pub mod field;
pub mod log;
pub mod power;
pub mod release;
pub mod service;
pub mod site;
pub mod slots;
pub mod vault;

use device::clock::sntp::PACKET_LEN;
use device::platform::BACKLOG_SLOTS;
use device::provisioning::{Development, adopt};
use device::{
    BootInfo, Command, Device, Entropy, EntropyError, Event, Key, KeyValue, Pace, Policy, Product,
    StorageError, Uptime,
};
use fastrand::Rng;
use protocol::config::{CONFIGURATION_BYTES_MAX, Draft};
use protocol::document::Power;
use protocol::signed::Envelope;
use protocol::{
    Batch, Channel, CommandAnswer, ConfigurationState, DeviceId, EpochMillis, Failure, FirmwareState, Hello,
    IdentityState, Measurement, ResetCause, SensorFault, State, Topic, Uuid,
};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::OnceLock;

pub const BUILD: EpochMillis = EpochMillis::from_seconds(1_790_000_000);
/// How far a sample's time may be off: no honest answer takes longer than a second, and two liars never agree; a device that
/// starts takes a liar up to 2 s (and both answers' errors) away from an honest server as one with it, half-way between.
const TIME_TOLERANCE_MS: i64 = 2_500;
const TRUE_START: u64 = 1_800_000_000_000;

/// A store and a generator that survive the device.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    pub store: Rc<RefCell<HashMap<Key, Vec<u8>>>>,
    /// Every key that was written, in order.
    pub written: Rc<RefCell<Vec<Key>>>,
    pub rng: Rc<RefCell<Rng>>,
    pub entropy_fails: bool,
    pub storage_fails: bool,
    /// How many reads will fail from now on.
    pub fail_reads: Rc<Cell<u32>>,
    /// What the vault holds.
    pub keys: Rc<RefCell<vault::Keys>>,
    /// Keys that were written to the vault.
    pub imports: Rc<Cell<u32>>,
    /// After how many calls of the vault one fails.
    pub vault_calls: Rc<Cell<Option<u32>>>,
    /// After how many changes of the store one fails.
    pub store_calls: Rc<Cell<Option<u32>>>,
    /// The two places for firmware.
    pub slots: Rc<RefCell<slots::Memory>>,
    /// Where the security log lies.
    pub log: Rc<RefCell<log::Memory>>,
    pub power: Rc<power::Power>,
}

impl KeyValue for Platform {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        if self.fail_reads.get() > 0 {
            self.fail_reads.set(self.fail_reads.get() - 1);
            return Err(StorageError::Medium);
        }
        let store = self.store.borrow();
        let Some(value) = store.get(&key) else { return Ok(None) };
        let place = buffer.get_mut(..value.len()).ok_or(StorageError::TooLong)?;
        place.copy_from_slice(value);
        Ok(Some(place))
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        if self.storage_fails {
            return Err(StorageError::Medium);
        }
        self.store_fails()?;
        if self.power.change() == power::Change::Lost {
            return Err(StorageError::Medium);
        }
        self.written.borrow_mut().push(key);
        self.store.borrow_mut().insert(key, value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        if self.store.borrow().contains_key(&key) {
            self.store_fails()?;
            if self.power.change() == power::Change::Lost {
                return Err(StorageError::Medium);
            }
        }
        self.store.borrow_mut().remove(&key);
        Ok(())
    }
}

impl Entropy for Platform {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        if self.entropy_fails {
            return Err(EntropyError);
        }
        self.rng.borrow_mut().fill(buffer);
        Ok(())
    }
}

impl Platform {
    pub fn seeded(seed: u64) -> Self {
        Self::adopted(seed, false)
    }

    /// One that the authorities have power over.
    pub fn governed(seed: u64) -> Self {
        Self::adopted(seed, true)
    }

    fn adopted(seed: u64, authorities: bool) -> Self {
        let (store, keys) = adopted(authorities).clone();
        let platform = Self { rng: Rc::new(RefCell::new(Rng::with_seed(seed))), ..Self::default() };
        *platform.store.borrow_mut() = store;
        *platform.keys.borrow_mut() = keys;
        platform
    }

    /// A blank one.
    pub fn blank(seed: u64) -> Self {
        Self { rng: Rc::new(RefCell::new(Rng::with_seed(seed))), ..Self::default() }
    }

    fn store_fails(&self) -> Result<(), StorageError> {
        let left = self.store_calls.get();
        self.store_calls.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) { Err(StorageError::Medium) } else { Ok(()) }
    }

    /// Stores a configuration: three time servers, a sample a second, a report every five, and what `change` changes.
    pub fn configure(&self, change: impl FnOnce(&mut Draft)) {
        let mut draft = Draft::new(DeviceId::new("dev-1").unwrap(), "broker.example", "t0.example").unwrap();
        for server in ["t1.example", "t2.example"] {
            let server = protocol::Endpoint::parse(server, 123, "time_servers").unwrap();
            draft.time_servers.push(server).unwrap();
        }
        (draft.sample_period_ms, draft.report_period_ms) = (1_000, 5_000);
        change(&mut draft);
        let mut buffer = [0; CONFIGURATION_BYTES_MAX];
        let len = draft.check().unwrap().encode(&mut buffer).unwrap();
        self.store.borrow_mut().insert(Key::Configuration, buffer[..len].to_vec());
    }
}

/// Store and vault.
type Holdings = (HashMap<Key, Vec<u8>>, vault::Keys);

/// What a development device holds: the same for all, because making it costs more than a short life. With or without
/// authorities.
fn adopted(authorities: bool) -> &'static Holdings {
    static ADOPTED: [OnceLock<Holdings>; 2] = [OnceLock::new(), OnceLock::new()];
    let power = |power| authorities.then(|| vault::public(&service::key_of(power)));
    ADOPTED[usize::from(authorities)].get_or_init(|| {
        let mut platform = Platform::blank(0);
        platform.configure(|_| {});
        let configuration = device::config::load(&mut platform).unwrap();
        let service = service::Service::new();
        let tls = [0x21; 32];
        let leaf = service.ca.issue("dev-1", &vault::public(&tls), service.leaf);
        let development = Development {
            chain: service::certificates(&[&leaf]),
            roots: service::certificates(&[&service.ca.root]),
            configuration: &configuration,
            tls: &tls,
            firmware: power(Power::Firmware),
            configuration_key: power(Power::Configuration),
            group: protocol::Name::EMPTY,
        };
        adopt(&mut platform, &development).unwrap();
        (platform.store.take(), platform.keys.take())
    })
}

pub fn boot_info(policy: Policy) -> BootInfo {
    BootInfo {
        firmware: "0.1.0".try_into().unwrap(),
        board: "world".try_into().unwrap(),
        reset: ResetCause::PowerOn,
        build: BUILD,
        policy,
        product: product(),
        pace: Pace::default(),
    }
}

/// What the devices of all tests are.
pub fn product() -> Product {
    Product { vendor: Uuid([0x5e; 16]), class: Uuid([0xc1; 16]), image_key: None }
}

/// What an honest time server answers to `request` at `time`.
pub fn sntp_answer(request: &[u8; PACKET_LEN], time: EpochMillis) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    (packet[0], packet[1]) = ((4 << 3) | 4, 1);
    packet[24..32].copy_from_slice(&request[40..48]);
    let stamp = (((time.seconds() + 2_208_988_800) << 32) | (((time.0 % 1000) << 32) / 1000)).to_be_bytes();
    packet[32..40].copy_from_slice(&stamp);
    packet[40..48].copy_from_slice(&stamp);
    packet
}

/// What the service has received of one boot.
#[derive(Debug, Default)]
pub struct BootLedger {
    pub received: BTreeMap<u32, u32>,
    pub last_lost: u32,
    pub newest: Option<u32>,
}

/// What the service has received.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every sample as it was measured: by boot and sequence number, when it truly was and what was read.
    pub truth: HashMap<(u32, u32), (EpochMillis, Result<Measurement, SensorFault>)>,
    pub boots: BTreeMap<u32, BootLedger>,
    pub hellos: Vec<Hello>,
    pub states: Vec<State>,
}

impl Ledger {
    pub fn take(&mut self, topic: &str, payload: &[u8]) {
        match Topic::decode(topic).expect("a topic of ours").channel {
            Channel::Hello => self.hellos.push(Hello::decode(payload).unwrap()),
            Channel::State => self.states.push(State::decode(payload).unwrap()),
            Channel::Telemetry => {
                let batch = Batch::decode(payload).unwrap();
                let boot = self.boots.entry(batch.boot).or_default();
                for (seq, time, reading) in batch.iter() {
                    let (measured, truth) = self.truth[&(batch.boot, seq)];
                    assert_eq!(reading, truth, "boot {} sample {seq}", batch.boot);
                    match time {
                        Some(time) => {
                            let off = time.since(measured);
                            assert!(
                                off.abs() < TIME_TOLERANCE_MS,
                                "boot {} sample {seq}: {off} ms off",
                                batch.boot
                            );
                        }
                        // A boot that never knew the time can only have left its samples to a later one.
                        None => assert!(self.hellos.last().is_some_and(|hello| hello.boot > batch.boot)),
                    }
                    *boot.received.entry(seq).or_default() += 1;
                    if boot.received[&seq] == 1 {
                        // A sample that comes for the first time is newer than every other of its boot, and what is
                        // missing between the two is what the device says it has lost.
                        let next = boot.newest.map_or(0, |newest| newest + 1);
                        assert!(seq >= next, "boot {} sample {seq} after {next}", batch.boot);
                        assert_eq!(
                            seq - next,
                            batch.lost - boot.last_lost,
                            "boot {} sample {seq}",
                            batch.boot
                        );
                        boot.last_lost = batch.lost;
                        boot.newest = Some(seq);
                    }
                }
            }
            Channel::IdentityState => {
                IdentityState::decode(payload).unwrap();
            }
            Channel::FirmwareState => {
                FirmwareState::decode(payload).unwrap();
            }
            Channel::ConfigState => {
                ConfigurationState::decode(payload).unwrap();
            }
            Channel::CommandAnswer => {
                CommandAnswer::decode(payload).unwrap();
            }
            Channel::Log => {
                Envelope::decode(payload).unwrap();
            }
            Channel::IdentityRequest
            | Channel::ConfigDesired
            | Channel::LogDesired
            | Channel::RootsDesired
            | Channel::AuthorityDesired
            | Channel::IdentityDesired
            | Channel::Command => panic!("the device publishes to {topic}"),
        }
    }

    pub fn unique(&self, boot: u32) -> u32 {
        self.boots.get(&boot).map_or(0, |boot| boot.received.len() as u32)
    }

    pub fn duplicates(&self) -> u32 {
        self.boots.values().flat_map(|boot| boot.received.values()).map(|times| times - 1).sum()
    }
}

/// What travels towards the device and when it arrives.
enum Arrival {
    Connected,
    Failed(Failure),
    Subscribed,
    Acknowledged(u16),
    Alive,
    Time(Vec<u8>),
}

/// How hostile the world is.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Chance in 1000 per message that the link breaks with it.
    pub cut: u32,
    /// Chance in 1000 that an attempt to connect fails.
    pub refuse: u32,
    /// Chance in 1000 per answer of a time server that it lies.
    pub lie: u32,
    /// Chance in 1000 per request for time that nobody answers.
    pub silence: u32,
}

pub struct World {
    pub platform: Platform,
    pub device: Option<Device<Platform>>,
    pub ledger: Ledger,
    pub rng: Rng,
    pub weather: Weather,
    pub policy: Policy,
    pub now: u64,
    booted: u64,
    link: Option<u32>,
    generation: u32,
    arrivals: BTreeMap<(u64, u32), (u32, Arrival)>,
    order: u32,
    pub cuts: u32,
    pub sampled: BTreeMap<u32, u32>,
    /// Boots at whose end every slot of the backlog was taken.
    pub full_at_stop: BTreeSet<u32>,
    pub log: VecDeque<String>,
}

impl World {
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            platform: Platform::seeded(seed ^ 0x5eed),
            device: None,
            ledger: Ledger::default(),
            rng: Rng::with_seed(seed),
            weather,
            policy: Policy::default(),
            now: 0,
            booted: 0,
            link: None,
            generation: 0,
            arrivals: BTreeMap::new(),
            order: 0,
            cuts: 0,
            sampled: BTreeMap::new(),
            full_at_stop: BTreeSet::new(),
            log: VecDeque::new(),
        }
    }

    fn uptime(&self) -> Uptime {
        Uptime(self.now - self.booted)
    }

    pub fn true_time(&self) -> EpochMillis {
        EpochMillis(TRUE_START + self.now)
    }

    pub fn device(&mut self) -> &mut Device<Platform> {
        self.device.as_mut().expect("the device runs")
    }

    pub fn boot(&mut self) {
        self.booted = self.now;
        self.device =
            Some(Device::start(self.platform.clone(), boot_info(self.policy), Uptime(0)).expect("starts"));
        self.drive();
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.u32(0..1000) < per_mille
    }

    fn later(&mut self, millis: u64, arrival: Arrival) {
        self.order += 1;
        let generation = self.generation;
        self.arrivals.insert((self.now + millis, self.order), (generation, arrival));
    }

    /// Breaks the link, if there is one; the device hears of it at once.
    pub fn cut(&mut self) {
        self.generation += 1;
        if self.link.take().is_some() {
            self.cuts += 1;
            self.tell(Event::Disconnected(Failure::LinkLost));
        }
    }

    /// Power fails.
    pub fn power_cut(&mut self) {
        self.generation += 1;
        self.link = None;
        self.note_samples();
        self.device = None;
    }

    /// An orderly stop.
    pub fn stop(&mut self) {
        self.tell(Event::Shutdown);
        self.note_samples();
        let taken = |slot: &u8| self.platform.store.borrow().contains_key(&Key::Backlog(*slot));
        if (0..BACKLOG_SLOTS).all(|slot| taken(&slot)) {
            let boot = self.device().boot();
            self.full_at_stop.insert(boot);
        }
        self.generation += 1;
        self.link = None;
        self.device = None;
    }

    fn note_samples(&mut self) {
        if let Some(device) = &self.device {
            self.sampled.insert(device.boot(), device.next_seq());
        }
    }

    pub fn tell(&mut self, event: Event<'_>) {
        let now = self.uptime();
        self.device().handle(now, event);
        self.drive();
    }

    /// Runs for `millis`.
    pub fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        let mut calls = 0u64;
        loop {
            let uptime = self.uptime();
            let deadline = self.device().next_deadline(uptime).0.saturating_add(self.booted);
            let arrival = self.arrivals.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let next = deadline.min(arrival).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            // A device that names a deadline and does nothing then would keep a processor awake for ever.
            calls = if next == self.now { calls + 1 } else { 0 };
            assert!(calls < 10_000, "the device spins");
            self.now = next;
            if arrival <= next {
                let (_, (generation, arrival)) = self.arrivals.pop_first().expect("there is one");
                self.arrive(generation, arrival);
            } else {
                self.tell(Event::Tick);
            }
        }
    }

    fn arrive(&mut self, generation: u32, arrival: Arrival) {
        if let Arrival::Time(datagram) = arrival {
            return self.tell(Event::TimeAnswer(&datagram));
        }
        if generation != self.generation {
            return;
        }
        match arrival {
            Arrival::Connected => self.tell(Event::Connected { handshake_ms: 70 }),
            Arrival::Failed(failure) => {
                self.link = None;
                self.tell(Event::Disconnected(failure));
            }
            Arrival::Subscribed => self.tell(Event::Subscribed { granted: true }),
            Arrival::Acknowledged(token) => self.tell(Event::Acknowledged(token)),
            Arrival::Alive => {
                self.later(20_000, Arrival::Alive);
                self.tell(Event::Alive);
            }
            Arrival::Time(_) => {}
        }
    }

    /// Carries out what the device wants until it wants nothing.
    fn drive(&mut self) {
        for _ in 0..10_000 {
            let now = self.uptime();
            match self.device().poll_output(now).map(Act::from) {
                None => return,
                Some(act) => self.carry_out(now, act),
            }
        }
        panic!("the device never has enough");
    }

    fn carry_out(&mut self, now: Uptime, act: Act) {
        match act {
            Act::Query(packet) => {
                if self.chance(self.weather.silence) {
                    if self.rng.bool() {
                        self.device().handle(now, Event::TimeUnreachable);
                    }
                    return;
                }
                let lie = if self.chance(self.weather.lie) { self.rng.i64(-4_000_000..4_000_000) } else { 0 };
                let there = self.rng.u64(1..400);
                let back = self.rng.u64(1..400);
                let time = self.true_time().offset(lie + there as i64);
                self.later(there + back, Arrival::Time(sntp_answer(&packet, time).to_vec()));
            }
            Act::SetClock(time) => assert!(time >= BUILD),
            Act::Connect => {
                assert!(self.device().clock().is_plausible(now), "connects without a plausible time");
                assert_eq!(self.link, None, "connects while connected");
                self.generation += 1;
                self.link = Some(self.generation);
                let failure = Failure::ALL[self.rng.usize(0..Failure::ALL.len())];
                let refused = self.chance(self.weather.refuse);
                let delay = self.rng.u64(10..3_000);
                self.later(delay, if refused { Arrival::Failed(failure) } else { Arrival::Connected });
            }
            Act::Subscribe(topics) => {
                assert!(self.link.is_some());
                assert!(topics[..2].iter().all(|topic| topic.starts_with("device/dev-1/")));
                self.later(50, Arrival::Subscribed);
                self.later(20_000, Arrival::Alive);
            }
            Act::Publish(token, topic, payload, retain) => {
                assert!(self.link.is_some(), "publishes without a connection");
                assert_eq!(retain, topic.ends_with("/state"));
                assert!(token != 0);
                // The link breaks before the message arrives, or after it and before its acknowledgement, or not.
                let fate = if self.chance(self.weather.cut) { self.rng.u8(0..2) } else { 2 };
                if fate > 0 {
                    self.ledger.take(&topic, &payload);
                }
                if fate < 2 {
                    self.generation += 1;
                    self.link = None;
                    self.cuts += 1;
                    self.device().handle(now, Event::Disconnected(Failure::LinkLost));
                } else {
                    let delay = self.rng.u64(1..900);
                    self.later(delay, Arrival::Acknowledged(token));
                }
            }
            Act::Disconnect => {
                self.generation += 1;
                self.link = None;
            }
            Act::Sample => {
                let value = self.rng.i32(-4_000..8_500);
                let reading = if self.chance(20) {
                    Err(SensorFault::NoAnswer)
                } else {
                    Measurement::new(value, 5_000, 100_000)
                };
                let number = (self.device().boot(), self.device().next_seq());
                self.ledger.truth.insert(number, (self.true_time(), reading));
                self.device().handle(now, Event::Reading(reading));
            }
            Act::Log(line) => {
                self.log.push_back(line);
                if self.log.len() > 200 {
                    self.log.pop_front();
                }
            }
            Act::Stopped => {}
        }
    }
}

/// A command without what it borrows.
enum Act {
    Query([u8; PACKET_LEN]),
    SetClock(EpochMillis),
    Connect,
    Subscribe(Vec<String>),
    Publish(u16, String, Vec<u8>, bool),
    Disconnect,
    Sample,
    Log(String),
    Stopped,
}

impl From<Command<'_>> for Act {
    fn from(command: Command<'_>) -> Self {
        match command {
            Command::QueryTime { packet, .. } => Self::Query(packet),
            Command::SetClock(time) => Self::SetClock(time),
            Command::Connect { .. } => Self::Connect,
            Command::Subscribe(topics) => {
                Self::Subscribe(topics.iter().map(|topic| topic.as_str().to_owned()).collect())
            }
            Command::Publish { token, topic, payload, retain } => {
                Self::Publish(token, topic.as_str().to_owned(), payload.to_vec(), retain)
            }
            Command::Disconnect => Self::Disconnect,
            Command::Sample => Self::Sample,
            Command::Log(note) => Self::Log(note.to_string()),
            Command::LogTime(trouble) => Self::Log(trouble.to_string()),
            Command::LogReason(reason) => Self::Log(reason.to_owned()),
            Command::Stopped => Self::Stopped,
            Command::Fetch(topic) | Command::Release(topic) => panic!("nobody announced firmware: {topic}"),
            Command::Restart => panic!("nobody announced firmware"),
            Command::Retired(end) => panic!("nobody ended this life: {end:?}"),
        }
    }
}
