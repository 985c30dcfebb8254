//! The device as its port and its service see it: what it refuses, what it says, in which order.

mod world;

use device::config::LoadError;
use device::{Command, Device, Event, Key, KeyValue, Note, Policy, StartError, StorageError, Uptime};
use protocol::{
    Batch, ClockQuality, ConfigurationError, EpochMillis, Failure, Hello, PreviousBoot, SensorFault, State,
    Topic,
};
use world::{Platform, boot_info, sntp_answer};

const TRUE_START: protocol::EpochMillis = protocol::EpochMillis::from_seconds(1_800_000_000);

fn start(platform: &Platform) -> Result<Device<Platform>, StartError> {
    Device::start(platform.clone(), boot_info(Policy::default()), Uptime(0))
}

/// A device with one time server, and what it wants at a point in time, as text.
struct Bench {
    device: Device<Platform>,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let platform = Platform::seeded(1);
        platform.configure(|draft| draft.time_servers.truncate(1));
        Self::on(&platform)
    }

    fn on(platform: &Platform) -> Self {
        Self { device: start(platform).unwrap(), now: 0 }
    }

    /// Runs to the first attempt to connect, which comes within the backoff's floor; gives every command up to there.
    fn attempt(&mut self) -> Vec<String> {
        let mut all = self.commands();
        while !all.last().is_some_and(|command| command.starts_with("connect ")) {
            assert!(self.now <= u64::from(Policy::default().backoff_floor_ms), "{all:?}");
            self.now = self.device.next_deadline(Uptime(self.now)).0;
            all.extend(self.tell(Event::Tick));
        }
        all
    }

    /// Connects and subscribes; gives the hello.
    fn connect(&mut self) -> Hello {
        self.attempt();
        self.tell(Event::Connected { handshake_ms: 70 });
        self.device.handle(Uptime(self.now), Event::Subscribed { granted: true });
        let Some(Command::Publish { topic, payload, .. }) = self.device.poll_output(Uptime(self.now)) else {
            panic!("the hello is first");
        };
        assert!(topic.ends_with("/hello"));
        let hello = Hello::decode(payload).unwrap();
        self.commands();
        hello
    }

    /// Every command that the device has now, by name; time requests and samples are answered, notes are kept.
    fn commands(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let now = Uptime(self.now);
            let (text, answer) = match self.device.poll_output(now) {
                None => return all,
                Some(Command::QueryTime { packet, .. }) => {
                    ("time".into(), Some(sntp_answer(&packet, TRUE_START.offset(self.now as i64))))
                }
                Some(Command::Sample) => ("sample".into(), None),
                Some(Command::Publish { token, topic, .. }) => {
                    (format!("publish {token} {:?}", Topic::decode(&topic).unwrap().channel), None)
                }
                Some(Command::Log(note)) => (note.to_string(), None),
                Some(Command::LogTime(trouble)) => (trouble.to_string(), None),
                Some(Command::LogReason(reason)) => (reason.to_owned(), None),
                Some(Command::Connect { host, port, client_id, .. }) => {
                    (format!("connect {host}:{port} as {client_id}"), None)
                }
                Some(Command::Subscribe(topics)) => (format!("subscribe {} {}", topics[0], topics[1]), None),
                Some(other) => (format!("{other:?}"), None),
            };
            if text == "sample" {
                self.device.handle(now, Event::Reading(protocol::Measurement::new(2_000, 5_000, 101_000)));
            }
            if let Some(datagram) = answer {
                self.device.handle(now, Event::TimeAnswer(&datagram));
            }
            all.push(text);
        }
    }

    fn tell(&mut self, event: Event<'_>) -> Vec<String> {
        self.device.handle(Uptime(self.now), event);
        self.commands()
    }

    fn wait(&mut self, millis: u64) -> Vec<String> {
        self.now += millis;
        self.tell(Event::Tick)
    }

    fn running() -> Self {
        let mut bench = Self::new();
        bench.attempt();
        bench.tell(Event::Connected { handshake_ms: 70 });
        let published = bench.tell(Event::Subscribed { granted: true });
        assert_eq!(
            published,
            [
                "publish 1 Hello",
                "publish 2 State",
                "publish 3 IdentityState",
                "publish 4 ConfigState",
                "publish 5 Telemetry"
            ]
        );
        for token in 1..=5 {
            bench.tell(Event::Acknowledged(token));
        }
        bench
    }

    fn state(&self) -> protocol::State {
        self.device.state(Uptime(self.now))
    }
}

#[test]
fn time_comes_before_the_connection_and_connack_before_everything_else() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.attempt(),
        [
            "time",
            "clock set to 2027-01-15T08:00:00.000Z",
            "SetClock(EpochMillis(1800000000000))",
            "sample",
            "connect broker.example:8883 as dev-1",
        ]
    );
    assert_eq!(bench.tell(Event::Subscribed { granted: true }), Vec::<String>::new(), "no CONNACK yet");
    assert_eq!(bench.tell(Event::Acknowledged(1)), Vec::<String>::new());
    assert_eq!(
        bench.tell(Event::Connected { handshake_ms: 70 }),
        ["connected to the service in 70 ms", "subscribe device/dev-1/+/desired device/dev-1/command"]
    );
    assert_eq!(
        bench.tell(Event::Subscribed { granted: true }),
        [
            "publish 1 Hello",
            "publish 2 State",
            "publish 3 IdentityState",
            "publish 4 ConfigState",
            "publish 5 Telemetry"
        ]
    );
}

#[test]
fn nothing_that_the_service_says_is_believed_without_a_signature() {
    let mut bench = Bench::running();
    let before = bench.device.configuration().clone();
    let payload = br#"{"v":1,"number":2,"id":"dev-1","host":"evil.example"}"#;
    let said = bench.tell(Event::Message { topic: "device/dev-1/config/desired", payload });
    assert!(said[0].starts_with("a configuration was refused"), "{said:?}");
    assert_eq!(said[1..], ["publish 6 ConfigState"], "and the service hears of it");
    assert_eq!((bench.state().refused, bench.device.configuration()), (1, &before));
}

#[test]
fn a_message_that_is_never_acknowledged_ends_the_connection() {
    let mut bench = unanswered();
    let timeout = u64::from(Policy::default().answer_timeout_ms);
    bench.now += timeout - 1;
    assert!(!bench.tell(Event::Alive).iter().any(|command| command == "Disconnect"));
    let commands = bench.wait(1);
    assert!(commands.contains(&"Disconnect".to_owned()), "{commands:?}");
    assert_eq!(bench.state().last_failure, Some(Failure::AckTimeout));
}

/// A device whose first messages are on their way.
fn unanswered() -> Bench {
    let mut bench = Bench::new();
    bench.attempt();
    bench.tell(Event::Connected { handshake_ms: 70 });
    bench.tell(Event::Subscribed { granted: true });
    bench
}

#[test]
fn a_long_message_that_trickles_in_does_not_end_the_connection_while_its_pieces_come() {
    let timeout = u64::from(Policy::default().answer_timeout_ms);
    let mut bench = unanswered();
    for _ in 0..60 {
        bench.now += timeout - 1;
        let commands = bench.tell(Event::Receiving);
        assert!(!commands.contains(&"Disconnect".to_owned()), "{commands:?}");
    }
    // It is over, and now there is nothing in the answer's way.
    bench.now += timeout - 1;
    bench.tell(Event::Alive);
    assert!(!bench.wait(timeout - 1).contains(&"Disconnect".to_owned()));
    assert!(bench.wait(1).contains(&"Disconnect".to_owned()));
    assert_eq!(bench.state().last_failure, Some(Failure::AckTimeout));
}

#[test]
fn a_service_that_drips_for_ever_and_acknowledges_nothing_is_given_up_after_half_an_hour() {
    let mut bench = unanswered();
    let begin = bench.now;
    let end = begin + 30 * 60 * 1_000;
    while bench.now + 10_000 < end {
        bench.now += 10_000;
        let commands = bench.tell(Event::Receiving);
        assert!(!commands.contains(&"Disconnect".to_owned()), "{} ms: {commands:?}", bench.now - begin);
    }
    bench.now = end - 1;
    assert!(!bench.tell(Event::Receiving).contains(&"Disconnect".to_owned()));
    assert!(bench.wait(1).contains(&"Disconnect".to_owned()));
    assert_eq!(bench.state().last_failure, Some(Failure::AckTimeout));
    assert!(bench.device.next_deadline(Uptime(bench.now)) > Uptime(bench.now), "and it connects again");
}

#[test]
fn a_silent_service_ends_the_connection_after_one_and_a_half_keep_alives() {
    let platform = Platform::seeded(1);
    platform.configure(|draft| {
        draft.time_servers.truncate(1);
        draft.keep_alive_s = 5;
    });
    let mut bench = Bench::on(&platform);
    bench.attempt();
    bench.tell(Event::Connected { handshake_ms: 70 });
    bench.tell(Event::Subscribed { granted: true });
    bench.now += 7_000;
    bench.tell(Event::Alive);
    assert!(!bench.wait(7_499).contains(&"Disconnect".to_owned()));
    assert!(bench.wait(1).contains(&"Disconnect".to_owned()));
    assert_eq!(bench.state().last_failure, Some(Failure::KeepAlive));
}

#[test]
fn a_refused_subscription_is_a_failure_by_name() {
    let mut bench = Bench::new();
    bench.attempt();
    bench.tell(Event::Connected { handshake_ms: 1 });
    let commands = bench.tell(Event::Subscribed { granted: false });
    assert_eq!(
        commands,
        ["not connected: the service refused a subscription (subscribe_refused)", "Disconnect"]
    );
    assert_eq!(bench.state().last_failure, Some(Failure::SubscribeRefused));
}

#[test]
fn a_certificate_that_does_not_fit_the_time_makes_an_unconfirmed_clock_ask_again() {
    for failure in [Failure::TlsExpired, Failure::TlsNotYetValid] {
        let mut bench = Bench::new();
        bench.attempt();
        bench.tell(Event::Disconnected(failure));
        assert_eq!(bench.state().clock, ClockQuality::Unset, "{failure}");
        assert!(bench.wait(20_000).contains(&"time".to_owned()));
    }
    let mut bench = Bench::new();
    bench.attempt();
    bench.tell(Event::Disconnected(Failure::TlsUnknownIssuer));
    assert_eq!(bench.state().clock, ClockQuality::Synchronised);
}

#[test]
fn a_sensor_fault_is_reported_as_a_fault() {
    let mut bench = Bench::running();
    bench.now += 1_000;
    bench.device.handle(Uptime(bench.now), Event::Tick);
    while let Some(command) = bench.device.poll_output(Uptime(bench.now)) {
        if command == Command::Sample {
            bench.device.handle(Uptime(bench.now), Event::Reading(Err(SensorFault::BadData)));
        }
    }
    assert_eq!(bench.state().sensor_faults, 1);
}

#[test]
fn the_state_is_retained_and_the_rest_is_not() {
    let mut bench = Bench::new();
    bench.attempt();
    bench.tell(Event::Connected { handshake_ms: 1 });
    let now = Uptime(bench.now);
    bench.device.handle(now, Event::Subscribed { granted: true });
    let mut seen = 0;
    while let Some(command) = bench.device.poll_output(now) {
        if let Command::Publish { topic, retain, .. } = command {
            assert_eq!(retain, topic.ends_with("/state"));
            seen += 1;
        }
    }
    assert_eq!(seen, 5);
}

#[test]
fn an_orderly_stop_keeps_samples_and_says_how_it_ended() {
    let platform = Platform::seeded(2);
    let mut bench = Bench::on(&platform);
    for _ in 0..40 {
        bench.wait(1_000);
    }
    let measured = bench.device.next_seq();
    let commands = bench.tell(Event::Shutdown);
    assert_eq!(commands.last().unwrap(), "Stopped");
    assert_eq!(bench.wait(5_000), Vec::<String>::new(), "a stopped device does nothing");
    assert!(platform.store.borrow().contains_key(&Key::Backlog(1)));

    let mut next = Bench::on(&platform);
    assert_eq!(next.device.boot(), 2);
    let hello = next.connect();
    assert_eq!(hello.previous, Some(PreviousBoot { boot: 1, next_seq: measured }));
    assert!(platform.store.borrow().contains_key(&Key::Ended), "kept until the service knows");
    next.tell(Event::Acknowledged(1));
    assert!(!platform.store.borrow().contains_key(&Key::Ended), "said once, then forgotten");
    assert!(measured >= 40);
}

#[test]
fn without_a_valid_configuration_the_device_does_not_start_and_says_why() {
    let platform = Platform::seeded(3);
    platform.store.borrow_mut().remove(&Key::Configuration);
    assert_eq!(start(&platform).unwrap_err(), StartError::Configuration(LoadError::Missing));
    platform.store.borrow_mut().insert(Key::Configuration, b"{}".to_vec());
    let error = start(&platform).unwrap_err();
    assert!(matches!(error, StartError::Configuration(LoadError::Invalid(ConfigurationError::Field { .. }))));
    assert_eq!(error.to_string(), "the stored configuration is not valid: v is missing");
    assert!(!platform.store.borrow().contains_key(&Key::Boot), "a boot that did not start is not counted");
    platform.store.borrow_mut().insert(Key::Configuration, vec![b' '; 5_000]);
    assert!(matches!(
        start(&platform),
        Err(StartError::Configuration(LoadError::Storage(StorageError::TooLong)))
    ));
}

#[test]
fn a_store_that_fails_stops_the_start_and_later_is_counted() {
    let mut platform = Platform::seeded(4);
    platform.storage_fails = true;
    assert_eq!(start(&platform).unwrap_err(), StartError::Storage(StorageError::Medium));
    platform.storage_fails = false;
    platform.write(Key::Boot, &[1, 2, 3]).unwrap();
    assert_eq!(start(&platform).unwrap_err(), StartError::Storage(StorageError::Corrupt));
}

#[test]
fn without_random_numbers_no_time_is_asked_and_nothing_spins() {
    let mut platform = Platform::seeded(5);
    platform.entropy_fails = true;
    let mut bench = Bench::on(&platform);
    let first = bench.commands();
    assert!(first.contains(&Note::Entropy.to_string()) && !first.contains(&"time".to_owned()), "{first:?}");
    assert!(bench.device.next_deadline(Uptime(0)) > Uptime(0));
    for _ in 0..10 {
        assert!(!bench.wait(1_000).contains(&"time".to_owned()));
    }
}

#[test]
fn the_confirmed_time_is_stored_at_most_once_an_hour() {
    let platform = Platform::seeded(1);
    platform.configure(|draft| draft.time_servers.truncate(1));
    let mut bench = Bench::on(&platform);
    bench.attempt();
    let mut connections = 0;
    while bench.now < 5 * 3_600_000 {
        bench.tell(Event::Connected { handshake_ms: 1 });
        bench.tell(Event::Disconnected(Failure::LinkLost));
        bench.wait(300_000);
        connections += 1;
    }
    let stored = platform.written.borrow().iter().filter(|key| **key == Key::Time).count();
    assert!(connections == 60 && stored == 5, "{stored} times in {connections} connections");
}

#[test]
fn damage_in_what_former_boots_left_costs_only_that() {
    let platform = Platform::seeded(6);
    platform.configure(|draft| draft.time_servers.truncate(1));
    let mut bench = Bench::on(&platform);
    bench.wait(1_000);
    bench.tell(Event::Shutdown);
    {
        let mut store = platform.store.borrow_mut();
        let batch = store[&Key::Backlog(0)].clone();
        store.insert(Key::Backlog(0), vec![b'x'; 5_000]);
        store.insert(Key::Backlog(1), batch);
        store.insert(Key::Ended, vec![b'x'; 5_000]);
    }
    let mut bench = Bench::on(&platform);
    bench.attempt();
    bench.tell(Event::Connected { handshake_ms: 1 });
    let published = bench.tell(Event::Subscribed { granted: true });
    assert_eq!(published[..2], ["publish 1 Hello", "publish 2 State"]);
    assert_eq!(published[2..5], ["publish 3 IdentityState", "publish 4 ConfigState", "publish 5 Telemetry"]);
    assert_eq!(bench.state().storage_errors, 2, "the end of the former boot and one batch");
    assert!(!platform.store.borrow().contains_key(&Key::Backlog(0)));
    bench.tell(Event::Acknowledged(5));
    assert!(!platform.store.borrow().contains_key(&Key::Backlog(1)), "delivered and forgotten");
}

#[test]
fn the_confirmed_time_is_the_floor_of_the_next_boot() {
    let platform = Platform::seeded(1);
    platform.configure(|draft| draft.time_servers.truncate(1));
    let mut bench = Bench::on(&platform);
    bench.connect();
    let stored = |platform: &Platform| {
        let bytes = platform.store.borrow()[&Key::Time].clone();
        EpochMillis(u64::from_le_bytes(bytes.try_into().unwrap()))
    };
    let first = stored(&platform);
    assert!((0..120_000).contains(&TRUE_START.since(first)), "{first}");
    bench.wait(600_000);
    bench.tell(Event::Shutdown);
    assert!(stored(&platform).since(first) >= 599_000, "an orderly stop stores the time again");

    // The next boot meets a server that is ten minutes behind.
    let mut bench = Bench::on(&platform);
    let said = bench.commands();
    let refused =
        "time refused: t0.example:123: the time is before the firmware's build or the last confirmed time";
    assert!(said.contains(&refused.to_owned()), "{said:?}");
    assert_eq!((bench.state().clock, bench.state().time_refused), (ClockQuality::Unset, 1));
}

#[test]
fn each_connection_says_which_one_it_is_and_the_state_what_the_clock_is_worth() {
    let mut bench = Bench::new();
    for connection in 1..=3 {
        if connection > 1 {
            bench.tell(Event::Disconnected(Failure::LinkLost));
            // The wait may be anything up to eight floors by now.
            while !bench.wait(100).iter().any(|command| command.starts_with("connect ")) {}
            bench.tell(Event::Connected { handshake_ms: 70 });
            bench.device.handle(Uptime(bench.now), Event::Subscribed { granted: true });
            let Some(Command::Publish { payload, .. }) = bench.device.poll_output(Uptime(bench.now)) else {
                panic!()
            };
            assert_eq!(Hello::decode(payload).unwrap().connection, connection);
            bench.commands();
        } else {
            assert_eq!(bench.connect().connection, 1);
        }
    }
    let state = bench.state();
    assert_eq!((state.connections, state.clock), (3, ClockQuality::Synchronised));
    let bound = bench.device.clock().error_ms(Uptime(bench.now)).unwrap();
    assert!(bound > 0 && u64::from(state.clock_error_ms) == bound);
}

#[test]
fn the_state_is_reported_every_minute_and_the_device_wakes_for_it() {
    let mut bench = Bench::running();
    let mut states = Vec::new();
    let end = bench.now + 10 * 60_000;
    while bench.now < end {
        let deadline = bench.device.next_deadline(Uptime(bench.now)).0;
        assert!(deadline > bench.now, "a deadline that has passed while nothing is to be done");
        bench.now = deadline.min(end);
        for command in bench.tell(Event::Tick) {
            if command.ends_with("State") {
                states.push(bench.now);
            }
            if let Some(token) = command.strip_prefix("publish ").and_then(|rest| rest.split(' ').next()) {
                bench.tell(Event::Acknowledged(token.parse().unwrap()));
            }
        }
    }
    assert_eq!(states.len(), 10);
    assert!(states.windows(2).all(|pair| pair[1] - pair[0] == device::STATE_PERIOD_MS), "{states:?}");
}

#[test]
fn the_device_wakes_by_itself_when_an_acknowledgement_is_overdue() {
    let platform = Platform::seeded(1);
    platform.configure(|draft| {
        draft.time_servers.truncate(1);
        (draft.sample_period_ms, draft.report_period_ms) = (86_400_000, 86_400_000);
    });
    let mut bench = Bench::on(&platform);
    bench.connect();
    let timeout = u64::from(Policy::default().answer_timeout_ms);
    let end = bench.now + timeout;
    while bench.state().last_failure.is_none() {
        bench.now = bench.device.next_deadline(Uptime(bench.now)).0;
        assert!(bench.now <= end, "it sleeps past it");
        bench.tell(Event::Tick);
    }
    assert_eq!((bench.now, bench.state().last_failure), (end, Some(Failure::AckTimeout)));
}

#[test]
fn whatever_the_service_sends_counts_as_a_sign_of_life() {
    let message = Event::Message { topic: "device/dev-1/command", payload: b"x" };
    for event in [Event::Alive, Event::Acknowledged(2), message] {
        let platform = Platform::seeded(1);
        platform.configure(|draft| {
            draft.time_servers.truncate(1);
            draft.keep_alive_s = 5;
        });
        let mut bench = Bench::on(&platform);
        bench.connect();
        bench.now += 7_000;
        bench.tell(event);
        assert!(!bench.wait(7_000).contains(&"Disconnect".to_owned()), "{event:?}");
    }
}

#[test]
fn a_time_server_that_cannot_be_reached_makes_way_for_the_next() {
    let platform = Platform::seeded(1);
    let mut device = start(&platform).unwrap();
    let mut hosts = Vec::new();
    while let Some(command) = device.poll_output(Uptime(0)) {
        match command {
            Command::QueryTime { server, .. } => {
                hosts.push(server.host.as_str().to_owned());
                device.handle(Uptime(0), Event::TimeUnreachable);
            }
            Command::Sample => device.handle(Uptime(0), Event::Reading(Err(SensorFault::NotReady))),
            _ => {}
        }
    }
    assert_eq!(hosts, ["t0.example", "t1.example", "t2.example"]);
}

#[test]
fn a_stop_while_connected_closes_the_connection_first() {
    let mut bench = Bench::running();
    let commands = bench.tell(Event::Shutdown);
    assert_eq!(commands, ["Disconnect", "Stopped"]);
    assert_eq!(bench.device.next_deadline(Uptime(bench.now)), Uptime(u64::MAX));
}

#[test]
fn what_forged_datagrams_anybody_sends_fills_no_log() {
    let mut bench = Bench::new();
    bench.attempt();
    for _ in 0..1_000 {
        assert_eq!(bench.tell(Event::TimeAnswer(&[0x24; 48])), Vec::<String>::new());
    }
    assert_eq!(bench.state().time_refused, 1_000);
}

#[test]
fn each_overflow_is_noted_once_for_each_time_without_a_connection() {
    let mut bench = Bench::running();
    for _ in 0..2 {
        bench.tell(Event::Disconnected(Failure::LinkLost));
        let mut notes = 0;
        for _ in 0..700 {
            let said = bench.wait(1_000);
            notes += said.iter().filter(|line| line.starts_with("too many samples")).count();
            if said.iter().any(|line| line.starts_with("connect ")) {
                bench.tell(Event::Disconnected(Failure::Refused));
            }
        }
        assert_eq!(notes, 1);
        while !bench.wait(1_000).iter().any(|line| line.starts_with("connect ")) {}
        bench.tell(Event::Connected { handshake_ms: 1 });
    }
}

#[test]
fn a_store_that_fails_for_a_moment_loses_no_batch() {
    let platform = Platform::seeded(7);
    platform.configure(|draft| draft.time_servers.truncate(1));
    let mut bench = Bench::on(&platform);
    bench.wait(1_000);
    bench.tell(Event::Shutdown);
    let mut bench = Bench::on(&platform);
    platform.fail_reads.set(1);
    bench.connect();
    assert_eq!(bench.state().storage_errors, 1);
    assert!(platform.store.borrow().contains_key(&Key::Backlog(0)), "not given up");
    let due = bench.device.next_deadline(Uptime(bench.now));
    assert!(due > Uptime(bench.now) && due <= Uptime(bench.now + 1_000));
    let later: Vec<_> = (0..12)
        .flat_map(|_| {
            bench.tell(Event::Alive);
            bench.wait(1_000)
        })
        .collect();
    assert!(later.iter().filter(|command| command.ends_with("Telemetry")).count() >= 2, "{later:?}");
}

#[test]
fn damage_in_the_stored_time_does_not_stop_the_device() {
    let platform = Platform::seeded(8);
    platform.store.borrow_mut().insert(Key::Time, vec![1, 2, 3]);
    let device = start(&platform).unwrap();
    assert_eq!(device.state(Uptime(0)).storage_errors, 1);
}

#[test]
fn the_service_is_told_of_every_orderly_end_even_after_restarts_without_a_connection() {
    let platform = Platform::seeded(9);
    platform.configure(|draft| draft.time_servers.truncate(1));
    for _ in 0..3 {
        let mut bench = Bench::on(&platform);
        bench.wait(1_000);
        bench.tell(Event::Shutdown);
    }
    let mut bench = Bench::on(&platform);
    let mut told = vec![bench.connect().previous.unwrap().boot];
    // Each acknowledged hello brings the next.
    for token in 1..40 {
        bench.device.handle(Uptime(bench.now), Event::Acknowledged(token));
        while let Some(command) = bench.device.poll_output(Uptime(bench.now)) {
            if let Command::Publish { topic, payload, .. } = command
                && topic.ends_with("/hello")
            {
                told.push(Hello::decode(payload).unwrap().previous.unwrap().boot);
            }
        }
    }
    assert_eq!(told, [1, 2, 3]);
    assert!(!platform.store.borrow().contains_key(&Key::Ended));
}

#[test]
fn a_sample_that_is_sent_again_says_the_same_time_whatever_the_clock_has_done() {
    let mut bench = Bench::new();
    bench.attempt();
    bench.tell(Event::Connected { handshake_ms: 1 });
    bench.device.handle(Uptime(bench.now), Event::Subscribed { granted: true });
    let batch = |bench: &mut Bench| loop {
        let now = Uptime(bench.now);
        match bench.device.poll_output(now).expect("a batch") {
            Command::Publish { topic, payload, .. } if topic.ends_with("/telemetry") => {
                break Batch::decode(payload).unwrap();
            }
            Command::Publish { topic, payload, .. } if topic.ends_with("dev-1/state") => {
                State::decode(payload).unwrap();
            }
            _ => {}
        }
    };
    let first = batch(&mut bench);
    bench.tell(Event::Disconnected(Failure::LinkLost));
    // Two answers that agree on another time: the clock steps by a minute.
    let mut asked = 0;
    while bench.device.clock().steps() == 0 {
        bench.now = bench.device.next_deadline(Uptime(bench.now)).0;
        let now = Uptime(bench.now);
        bench.device.handle(now, Event::Tick);
        while let Some(command) = bench.device.poll_output(now) {
            match command {
                Command::QueryTime { packet, .. } => {
                    let answer = sntp_answer(&packet, TRUE_START.offset(bench.now as i64 + 60_000));
                    bench.device.handle(now, Event::TimeAnswer(&answer));
                    asked += 1;
                }
                Command::Connect { .. } => bench.device.handle(now, Event::Disconnected(Failure::Refused)),
                Command::Sample => bench.device.handle(now, Event::Reading(Err(SensorFault::NoAnswer))),
                _ => {}
            }
        }
    }
    assert_eq!(asked, 2);
    while !bench.wait(1_000).iter().any(|command| command.starts_with("connect ")) {}
    bench.tell(Event::Connected { handshake_ms: 1 });
    bench.device.handle(Uptime(bench.now), Event::Subscribed { granted: true });
    let again = batch(&mut bench);
    assert_eq!((again.seq, again.time), (first.seq, first.time));
    assert_eq!(again.samples[..first.samples.len()], first.samples[..]);
}
