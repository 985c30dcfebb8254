//! The operator who misses nothing: a session that the broker keeps, the ledger of `sensorctl`, and beside it a plain
//! list of every sample that came, so that the ledger itself can be held against it. Connects again whatever happens.

use crate::PATIENCE;
use crate::client::options;
use crate::dut::Reading;
use crate::pki::{self, Pki};
use protocol::command::CommandAnswer;
use protocol::config::ConfigurationState;
use protocol::{Batch, Channel, DeviceId, FirmwareState, Hello, IdentityState, State, Topic};
use rumqttc::{AsyncClient, Event, EventLoop, Packet, Publish, QoS};
use sensorctl::ledger::{Arrival, Ledger};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

/// Who the operator talks to when there is nobody else to hear it.
const SENTINEL: &str = "device/nobody/command";

/// How long it waits before it connects again.
const PAUSE: Duration = Duration::from_millis(20);

/// What has come.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// What the ledger makes of it.
    pub ledger: Ledger,
    /// Boot, sequence number and value of every sample, as they came, repeated ones too.
    pub samples: Vec<(u32, u32, Reading)>,
    /// Topic and payload of every message, as they came.
    pub messages: Vec<(String, Vec<u8>)>,
    /// What each device has said last of its identity.
    pub identities: BTreeMap<DeviceId, IdentityState>,
    /// What each device has said last of its firmware.
    pub firmware: BTreeMap<DeviceId, FirmwareState>,
    /// What each device has said last of itself.
    pub states: BTreeMap<DeviceId, State>,
    /// What each device has said last of its configuration.
    pub configurations: BTreeMap<DeviceId, ConfigurationState>,
    /// What each device has said of commands, in order.
    pub answers: BTreeMap<DeviceId, Vec<CommandAnswer>>,
    /// Pieces of security logs, as they came.
    pub logs: Vec<(DeviceId, Vec<u8>)>,
    /// Connections that are ready: subscribed, or with a session that is.
    pub ready: u64,
    /// Attempts and connections that have failed.
    pub failures: u64,
    sentinels: u64,
}

/// A running operator; dropping it ends it.
pub struct Operator {
    client: AsyncClient,
    out: watch::Sender<Book>,
    book: watch::Receiver<Book>,
    asked: u64,
    task: JoinHandle<()>,
}

/// How the operator connects: its session waits for it.
fn connection(port: u16, tls: Arc<ClientConfig>) -> (AsyncClient, EventLoop) {
    let mut options = options("operator", port, tls);
    options.set_clean_session(false);
    AsyncClient::new(options, 64)
}

impl Operator {
    /// Connects to the broker on `port` and waits until it hears everything.
    pub async fn start(pki: &Pki, port: u16) -> Self {
        let (client, events) = connection(port, pki::client_config(pki.operator()));
        let (out, book) = watch::channel(Book::default());
        let task = tokio::spawn(listen(events, client.clone(), out.clone()));
        let mut operator = Self { client, out, book, asked: 0, task };
        operator.until("connected", |book| book.ready > 0).await;
        operator
    }

    /// Goes on with other credentials, in the same session. Only while the broker is stopped: then nothing is on its way that
    /// could get lost with the connection.
    pub async fn go_on(&mut self, port: u16, tls: Arc<ClientConfig>) {
        // What came before the first failure is entered before the second.
        let failures = self.book().failures;
        self.until("offline", |book| book.failures >= failures + 2).await;
        self.task.abort();
        let (client, events) = connection(port, tls);
        self.task = tokio::spawn(listen(events, client.clone(), self.out.clone()));
        self.client = client;
    }

    /// The book as it grows.
    pub fn watch(&self) -> watch::Receiver<Book> {
        self.book.clone()
    }

    /// Waits until the book says what is wanted, and gives it.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Book) -> bool) -> Book {
        let found = timeout(PATIENCE, self.book.wait_for(|book| wanted(book)))
            .await
            .map(|book| book.map(|b| b.clone()));
        match found {
            Ok(Ok(book)) => book,
            Ok(Err(_)) => panic!("the operator has ended"),
            Err(_) => {
                let book = self.book.borrow();
                let Book { ledger, firmware, configurations, states, .. } = &*book;
                panic!(
                    "{what}: never came; {:?} {firmware:?} {configurations:?} {states:?}",
                    ledger.counts()
                );
            }
        }
    }

    /// The book as it is.
    pub fn book(&self) -> Book {
        self.book.borrow().clone()
    }

    /// Publishes with QoS 1, now or when it is connected again.
    pub async fn publish(&self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("the operator's task runs");
    }

    /// The same, and the broker keeps it for who subscribes later.
    pub async fn retain(&self, topic: &str, payload: &[u8]) {
        self.client.publish(topic, QoS::AtLeastOnce, true, payload).await.expect("the operator's task runs");
    }

    /// Waits until everything has come that the broker acknowledged to anybody before this call.
    pub async fn catch_up(&mut self) {
        self.asked += 1;
        let asked = self.asked;
        self.publish(SENTINEL, &asked.to_string()).await;
        self.until("the operator's own message", |book| book.sentinels >= asked).await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Book {
    /// Values by boot and sequence number. Panics where one sample came with two values.
    pub fn values(&self) -> BTreeMap<(u32, u32), Reading> {
        let mut values = BTreeMap::new();
        for (boot, seq, reading) in &self.samples {
            let before = values.insert((*boot, *seq), *reading);
            assert!(before.is_none_or(|before| before == *reading), "{boot}/{seq} came with two values");
        }
        values
    }

    /// Boots and sequence numbers in the order in which they first came.
    pub fn first_arrivals(&self) -> Vec<(u32, u32)> {
        let mut seen = std::collections::HashSet::new();
        self.samples.iter().map(|(boot, seq, _)| (*boot, *seq)).filter(|key| seen.insert(*key)).collect()
    }

    fn enter(&mut self, message: &Publish) {
        self.messages.push((message.topic.clone(), message.payload.to_vec()));
        if message.topic == SENTINEL {
            let number = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
            self.sentinels = self.sentinels.max(number.expect("the operator's own message"));
            return;
        }
        let Topic { device, channel } = Topic::decode(&message.topic).expect("a topic of the scheme");
        match channel {
            Channel::Hello => self.ledger.hello(&device, &Hello::decode(&message.payload).expect("a hello")),
            Channel::State => {
                let state = State::decode(&message.payload).expect("a state");
                self.ledger.state(&device, &state);
                self.states.insert(device, state);
            }
            Channel::Telemetry => {
                let batch = Batch::decode(&message.payload).expect("a batch");
                let arrival = Arrival {
                    at: pki::now(),
                    topic_bytes: message.topic.len(),
                    payload_bytes: message.payload.len(),
                };
                self.ledger.batch(&arrival, &device, &batch);
                self.samples.extend(batch.iter().map(|(seq, _, reading)| (batch.boot, seq, reading)));
            }
            Channel::IdentityState => {
                let state = IdentityState::decode(&message.payload).expect("a state of the identity");
                self.identities.insert(device, state);
            }
            Channel::FirmwareState => {
                let state = FirmwareState::decode(&message.payload).expect("a state of the firmware");
                self.firmware.insert(device, state);
            }
            Channel::ConfigState => {
                let state =
                    ConfigurationState::decode(&message.payload).expect("a state of the configuration");
                self.configurations.insert(device, state);
            }
            Channel::CommandAnswer => {
                let answer = CommandAnswer::decode(&message.payload).expect("an answer to a command");
                self.answers.entry(device).or_default().push(answer);
            }
            Channel::Log => self.logs.push((device, message.payload.to_vec())),
            Channel::IdentityRequest
            | Channel::ConfigDesired
            | Channel::LogDesired
            | Channel::RootsDesired
            | Channel::AuthorityDesired
            | Channel::IdentityDesired
            | Channel::Command => {}
        }
    }
}

async fn listen(mut events: EventLoop, client: AsyncClient, out: watch::Sender<Book>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                if ack.session_present {
                    out.send_modify(|book| book.ready += 1);
                } else {
                    client.try_subscribe("device/#", QoS::AtLeastOnce).expect("room for a request");
                }
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => out.send_modify(|book| book.ready += 1),
            Ok(Event::Incoming(Packet::Publish(message))) => out.send_modify(|book| book.enter(&message)),
            Ok(_) => {}
            // The broker is being restarted.
            Err(_) => {
                out.send_modify(|book| book.failures += 1);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
