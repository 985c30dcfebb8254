//! Ports whose network makes them wait, in virtual time: one that waits in its only loop, and one that says that it is busy.
//! R-DATA-INTACT.

mod world;

use device::{Command, Device, Event, Policy, Uptime};
use protocol::{Batch, EpochMillis, Failure, Measurement, State, Topic};
use world::{Platform, boot_info, sntp_answer};

const TRUE_START: EpochMillis = EpochMillis::from_seconds(1_800_000_000);
const MINUTE: u64 = 60_000;

/// What the network does to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// An attempt to connect takes so many milliseconds, and fails.
    Black(u64),
    /// Everything works; a message is acknowledged at once.
    Open,
    /// The next message takes so many milliseconds to be sent, and is never acknowledged.
    Clogged(u64),
}

struct Port {
    device: Device<Platform>,
    now: u64,
    network: Network,
    /// It has a thread for the network: it says so while that is busy. Without one its loop waits.
    has_thread: bool,
    /// Until when the thread is busy, and what it says then.
    busy: Option<(u64, Option<Failure>)>,
    /// The events of a connection that was given up are not handed on.
    dropped: bool,
    arrived: Vec<Batch>,
    state: Option<State>,
    /// Commands that were given while the thread was busy.
    while_busy: Vec<String>,
}

impl Port {
    fn new(has_thread: bool, network: Network) -> Self {
        let platform = Platform::seeded(1);
        platform.configure(|draft| draft.time_servers.truncate(1));
        let device = Device::start(platform, boot_info(Policy::default()), Uptime(0)).unwrap();
        Self {
            device,
            now: 0,
            network,
            has_thread,
            busy: None,
            dropped: false,
            arrived: Vec::new(),
            state: None,
            while_busy: Vec::new(),
        }
    }

    /// Waits for the network: the whole port, or its thread.
    fn takes(&mut self, millis: u64, end: Option<Failure>) {
        // The thread is busy; or there is none, and everything stands still.
        if self.has_thread {
            self.busy = Some((self.now + millis, end));
        } else {
            self.now += millis;
            self.says(end);
        }
    }

    fn says(&mut self, end: Option<Failure>) {
        if let Some(failure) = end.filter(|_| !self.dropped) {
            self.device.handle(Uptime(self.now), Event::Disconnected(failure));
        }
    }

    fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            let done = self.busy.take_if(|(until, _)| *until <= self.now);
            if let Some((_, end)) = done {
                self.says(end);
            }
            self.device.link_is_full(self.busy.is_some());
            self.commands();
            let ready = self.busy.map_or(u64::MAX, |(until, _)| until);
            let next = self.device.next_deadline(Uptime(self.now)).0.min(ready).min(end);
            assert!(next > self.now || ready <= self.now, "the device spins at {}", self.now);
            self.now = next;
            self.device.handle(Uptime(self.now), Event::Tick);
        }
    }

    fn commands(&mut self) {
        // One after the other, until the thread has something to do.
        while let Some(act) = self.device.poll_output(Uptime(self.now)).map(Act::from) {
            if self.busy.is_some() {
                self.while_busy.push(format!("{act:?}"));
            }
            let now = Uptime(self.now);
            match act {
                Act::Other => {}
                Act::Sample => {
                    self.device.handle(now, Event::Reading(Measurement::new(2_000, 5_000, 101_000)));
                }
                Act::Time(answer) => self.device.handle(now, Event::TimeAnswer(&answer(self.now))),
                Act::Disconnect => self.dropped = true,
                Act::Connect => {
                    self.dropped = false;
                    match self.network {
                        Network::Black(millis) => self.takes(millis, Some(Failure::ConnectTimeout)),
                        Network::Open | Network::Clogged(_) => {
                            self.device.handle(now, Event::Connected { handshake_ms: 70 });
                        }
                    }
                }
                Act::Subscribe => self.device.handle(now, Event::Subscribed { granted: true }),
                Act::Publish(token, topic, payload) => {
                    if let Network::Clogged(millis) = self.network {
                        self.takes(millis, Some(Failure::LinkLost));
                    } else {
                        match Topic::decode(&topic).unwrap().channel {
                            protocol::Channel::Telemetry => {
                                self.arrived.push(Batch::decode(&payload).unwrap());
                            }
                            protocol::Channel::State => self.state = Some(State::decode(&payload).unwrap()),
                            _ => {}
                        }
                        self.device.handle(now, Event::Acknowledged(token));
                    }
                }
            }
            self.device.link_is_full(self.busy.is_some());
        }
    }

    /// Samples that have arrived, those that are said to be lost, and when the last one was taken.
    fn account(&self) -> (u32, u32, u32) {
        let mut next = 0;
        let mut lost = 0;
        let mut samples = 0;
        for batch in &self.arrived {
            assert_eq!(batch.seq - next, batch.lost - lost, "a gap is as wide as the count says");
            (next, lost) = (batch.seq + batch.samples.len() as u32, batch.lost);
            samples += batch.samples.len() as u32;
        }
        (samples, lost, next)
    }
}

/// What the device wants, without what it borrows.
enum Act {
    Time(Box<dyn Fn(u64) -> [u8; device::clock::sntp::PACKET_LEN]>),
    Connect,
    Subscribe,
    Publish(u16, String, Vec<u8>),
    Disconnect,
    Sample,
    Other,
}

impl std::fmt::Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Time(_) => "time",
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Publish(..) => "publish",
            Self::Disconnect => "disconnect",
            Self::Sample => "sample",
            Self::Other => "other",
        })
    }
}

impl From<Command<'_>> for Act {
    fn from(command: Command<'_>) -> Self {
        match command {
            Command::QueryTime { packet, .. } => {
                Self::Time(Box::new(move |now| sntp_answer(&packet, TRUE_START.offset(now as i64))))
            }
            Command::Connect { .. } => Self::Connect,
            Command::Subscribe(_) => Self::Subscribe,
            Command::Publish { token, topic, payload, .. } => {
                Self::Publish(token, topic.as_str().to_owned(), payload.to_vec())
            }
            Command::Disconnect => Self::Disconnect,
            Command::Sample => Self::Sample,
            _ => Self::Other,
        }
    }
}

#[test]
fn a_port_that_waits_in_its_loop_for_30_s_misses_samples_and_each_is_counted_by_name() {
    let mut port = Port::new(false, Network::Black(30_000));
    port.run(5 * MINUTE);
    port.network = Network::Open;
    port.run(10 * MINUTE);
    let (samples, lost, next) = port.account();
    let state = port.state.expect("it has said how it is");
    assert!(lost > 2 * 60, "hardly anything was missed: {lost}");
    assert_eq!((state.missed, state.lost), (lost, 0));
    assert_eq!(samples + lost, next);
    // One a second, all the time: what was missed is in the numbers.
    let taken = port.device.next_seq();
    assert!(u64::from(taken).abs_diff(port.now / 1_000) <= 1, "{taken} in {} ms", port.now);
}

/// Every sample is there, one a second.
fn misses_nothing(port: &Port) {
    let (samples, lost, next) = port.account();
    assert_eq!((lost, port.state.as_ref().expect("a state").missed), (0, 0));
    assert_eq!(samples, next);
    assert!(u64::from(port.device.next_seq()).abs_diff(port.now / 1_000) <= 1);
}

#[test]
fn a_port_with_a_thread_for_the_network_misses_nothing_while_it_cannot_connect() {
    // The second is longer than the device waits for it: the attempt is given up meanwhile.
    for attempt_ms in [30_000, 45_000] {
        let mut port = Port::new(true, Network::Black(attempt_ms));
        // Short of what the ring holds.
        port.run(4 * MINUTE);
        port.network = Network::Open;
        port.run(5 * MINUTE);
        misses_nothing(&port);
        let gave_up = port.while_busy.iter().any(|command| command == "disconnect");
        assert_eq!(gave_up, attempt_ms > u64::from(Policy::default().connect_timeout_ms));
    }
}

#[test]
fn while_the_network_is_busy_the_device_asks_for_nothing_that_needs_it() {
    let mut port = Port::new(true, Network::Black(45_000));
    port.run(5 * MINUTE);
    port.network = Network::Clogged(19_000);
    port.run(5 * MINUTE);
    let wanted: std::collections::BTreeSet<_> = port.while_busy.iter().map(String::as_str).collect();
    assert_eq!(wanted.into_iter().collect::<Vec<_>>(), ["disconnect", "other", "sample"]);
}

#[test]
fn a_message_that_nobody_takes_costs_no_sample() {
    let mut port = Port::new(true, Network::Open);
    port.run(MINUTE);
    port.network = Network::Clogged(19_000);
    port.run(5 * MINUTE);
    port.network = Network::Open;
    port.run(5 * MINUTE);
    misses_nothing(&port);
    assert!(port.while_busy.iter().filter(|command| *command == "sample").count() > 60);
}
