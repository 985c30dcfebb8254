//! The broker is in an attacker's hands: it drops, reorders, repeats, replays and alters what it keeps for a device and what
//! the device delivers, as it likes, and the link is cut meanwhile. Nothing that is unsigned or old is ever applied, no command
//! is begun twice, and every alteration of the log is found, with the first record that is bad. R-CONF, R-LOG, R-AUTHORITY.
//!
//! `ENDTOEND_SEED` repeats an earlier run, `ENDTOEND_ROUNDS` sets how many rounds there are.

use device::Note;
use endtoend::archive::Archive;
use endtoend::client::{Client, options};
use endtoend::dut::Running;
use endtoend::mosquitto::Mosquitto;
use endtoend::operator::{Book, Operator};
use endtoend::orders::{Orders, SignedChange, id};
use endtoend::pki::client_config;
use endtoend::programs;
use endtoend::proxy::{Cut, Direction, Ending, Proxy};
use endtoend::vendor::Vendor;
use protocol::audit::Entries;
use protocol::command::Outcome;
use protocol::config::{Change, ConfigurationState, InForce, merge};
use protocol::document::{Action, ContentType, LogDelivery};
use protocol::signed::{Document, Envelope};
use protocol::{Configuration, Layer, PublicKey};
use sensorctl::log::fault::Fault;
use sensorctl::log::verify::Place;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

const ID: &str = "dut-1";
const GROUP: &str = "group/field-a";

/// Where a device listens.
const TOPICS: [&str; 4] = [
    "device/dut-1/config/desired",
    "group/field-a/config/desired",
    "device/dut-1/command",
    "device/dut-1/log/desired",
];

const GOOD_S: i64 = 3_600;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// What was really signed, and for where.
#[derive(Default)]
struct Genuine {
    /// Topic and document, as they were signed.
    documents: Vec<(&'static str, Vec<u8>)>,
    /// By layer and number.
    changes: BTreeMap<(&'static str, u32), (SignedChange, Change)>,
    commands: Vec<u32>,
}

impl Genuine {
    fn newest(&self, topic: &str) -> Option<&[u8]> {
        self.documents.iter().rev().find(|(it, _)| *it == topic).map(|(_, document)| document.as_slice())
    }

    /// A change of the next number for this layer.
    fn change(&mut self, orders: &Orders, layer: Layer, random: &mut fastrand::Rng) {
        let (whom, topic) = match layer {
            Layer::Device => (ID, TOPICS[0]),
            Layer::Group => (GROUP, TOPICS[1]),
        };
        let number = 10 + self.changes.len() as u32;
        // Both layers together are always valid: what one names the other does not.
        let fields = match layer {
            Layer::Device => format!(r#""sample_period_ms":{}"#, random.u32(50..200)),
            Layer::Group => format!(r#""report_period_ms":{}"#, random.u32(200..1_000)),
        };
        let signed = orders.change(whom, number, &fields);
        let envelope = Envelope::decode(&signed.document).unwrap();
        let payload = envelope.prove(ContentType::Configuration, &orders.public()).unwrap();
        let change = Change::decode(payload).unwrap();
        self.documents.push((topic, signed.document.clone()));
        self.changes.insert((layer.as_str(), number), (signed, change));
    }

    fn command(&mut self, orders: &Orders, action: Action) {
        let number = 10 + self.commands.len() as u32;
        self.documents.push((TOPICS[2], orders.command(ID, number, action, GOOD_S)));
        self.commands.push(number);
    }
}

/// One bit of it is another, or its end is missing, or there is more.
fn altered(document: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut altered = document.to_vec();
    match random.u8(0..8) {
        0 => altered.truncate(random.usize(0..altered.len())),
        1 => altered.push(random.u8(..)),
        _ => {
            let at = random.usize(0..altered.len());
            altered[at] ^= 1 << random.u8(0..8);
        }
    }
    altered
}

/// What a broker in an attacker's hands does with what it keeps: one thing in each round.
async fn publish(client: &mut Client, genuine: &Genuine, foreign: &[Vec<u8>], random: &mut fastrand::Rng) {
    let topic = random.choice(TOPICS).unwrap();
    let all = &genuine.documents;
    let any = |random: &mut fastrand::Rng| all[random.usize(0..all.len())].1.clone();
    let documents = match random.u8(0..10) {
        // What is meant for there, as often as it likes.
        0..=3 => vec![genuine.newest(topic).unwrap_or_default().to_vec(); random.usize(1..4)],
        // Another one of those that were signed, wherever it belongs.
        4 => vec![any(random)],
        // The newest, and an older one behind it.
        5 => vec![genuine.newest(topic).unwrap_or_default().to_vec(), any(random)],
        6..=7 => {
            let document = any(random);
            vec![altered(&document, random)]
        }
        8 => vec![foreign[random.usize(0..foreign.len())].clone()],
        // Nothing is kept there any more.
        _ => vec![Vec::new()],
    };
    for document in documents {
        client.publish_bytes(topic, &document, true).await.expect("the broker does what it is told");
    }
}

fn content<'b>(delivery: &'b [u8], key: &PublicKey) -> LogDelivery<'b> {
    let envelope = Envelope::decode(delivery).unwrap();
    LogDelivery::decode(envelope.prove(ContentType::Log, key).unwrap()).unwrap()
}

fn records_of(delivery: &[u8], key: &PublicKey) -> Range<u32> {
    let LogDelivery { number, entries, .. } = content(delivery, key);
    number..number + Entries::new(entries).count() as u32
}

/// The first record of a delivery that one altered byte at `at` makes bad, where that byte lies in a record.
fn altered_record(delivery: &[u8], key: &PublicKey, at: usize) -> Option<u32> {
    let document = content(delivery, key);
    let begin = document.entries.as_ptr() as usize - delivery.as_ptr() as usize;
    let mut entries = Entries::new(document.entries);
    let mut number = document.number;
    loop {
        let before = entries.rest().len();
        entries.next()?.ok()?;
        let from = begin + document.entries.len() - before;
        let to = begin + document.entries.len() - entries.rest().len();
        if (from..to).contains(&at) {
            return Some(number);
        }
        number += 1;
    }
}

/// The operator, to whom deliveries come by way of the attacker.
struct Reader {
    archive: Archive,
    key: PublicKey,
    seen: usize,
    held: Vec<Vec<u8>>,
    altered: u32,
    gaps: u32,
}

impl Reader {
    fn read(&mut self, book: &Book, random: &mut fastrand::Rng) {
        let new: Vec<_> = book.logs[self.seen..].iter().map(|(_, bytes)| bytes.clone()).collect();
        self.seen = book.logs.len();
        for delivery in new {
            for _ in 0..4 {
                self.alteration_is_found(&delivery, random);
            }
            match random.u8(0..6) {
                // It is gone.
                0 => {}
                1 => self.held.push(delivery),
                2 => {
                    self.take(&delivery);
                    self.take(&delivery);
                }
                _ => self.take(&delivery),
            }
            if random.u8(0..3) == 0 && !self.held.is_empty() {
                let late = self.held.remove(random.usize(0..self.held.len()));
                self.take(&late);
            }
        }
    }

    fn take(&mut self, delivery: &[u8]) {
        match self.archive.take(delivery) {
            Ok(Place::Ahead(_)) => self.gaps += 1,
            Ok(_) => {}
            Err(fault) => panic!("what the device has signed is refused: {fault}"),
        }
    }

    fn alteration_is_found(&mut self, delivery: &[u8], random: &mut fastrand::Rng) {
        let mut bad = delivery.to_vec();
        let at = random.usize(0..bad.len());
        bad[at] ^= 1 << random.u8(0..8);
        let before = self.archive.next();
        let Fault { record, what } = self.archive.take(&bad).expect_err("an altered delivery was taken");
        assert_eq!(self.archive.next(), before);
        if let Some(expected) = altered_record(delivery, &self.key, at) {
            assert_eq!(record, Some(expected), "byte {at}: {what:?}");
        }
        self.altered += 1;
    }
}

/// Cuts the link for ever, wherever it happens to be.
async fn cut(proxy: Arc<Proxy>, mut random: fastrand::Rng) {
    loop {
        let direction = random.choice([Direction::Up, Direction::Down]).unwrap();
        let ending = random.choice([Ending::Fin, Ending::Rst]).unwrap();
        proxy.cut(Cut { direction, after: random.u64(2_000..40_000), ending }).await;
        sleep(Duration::from_millis(random.u64(0..500))).await;
    }
}

/// What is in force was signed, is what these two changes make of the factory's, and never goes back.
fn nothing_else_was_applied(book: &Book, genuine: &Genuine, factory: &Configuration) -> usize {
    let states = book.messages.iter().filter(|(topic, _)| topic == "device/dut-1/config/state");
    let states: Vec<_> = states.map(|(_, payload)| ConfigurationState::decode(payload).unwrap()).collect();
    let mut before = (0, 0);
    for state in &states {
        let find = |layer: Layer, it: &Option<InForce>| {
            let InForce { number, digest } = (*it)?;
            let (signed, change) = genuine.changes.get(&(layer.as_str(), number)).expect("nobody signed it");
            assert_eq!(digest, signed.digest, "{layer} {number}");
            Some(change)
        };
        let (group, own) = (find(Layer::Group, &state.group), find(Layer::Device, &state.device));
        assert_eq!(state.values, merge(factory, group, own).unwrap());
        let now = (group.map_or(0, |it| it.number), own.map_or(0, |it| it.number));
        assert!(now.0 >= before.0 && now.1 >= before.1, "{now:?} after {before:?}");
        before = now;
    }
    states.len()
}

fn begun(running: &Running) -> Vec<u32> {
    let begun = |note: &Note| if let Note::Commanded { number, .. } = note { Some(*number) } else { None };
    running.progress().commands.iter().filter_map(begun).collect()
}

/// Now and then the operator signs something.
fn sign(genuine: &mut Genuine, orders: &Orders, archive: &mut Archive, random: &mut fastrand::Rng) {
    match random.u8(0..20) {
        0..=1 => genuine.change(orders, Layer::Device, random),
        2..=3 => genuine.change(orders, Layer::Group, random),
        4..=5 => genuine.command(orders, Action::Report),
        6 => genuine.command(orders, Action::SendLog { from: archive.next() }),
        7 if random.bool() => genuine.command(orders, Action::Reboot),
        8..=9 => {
            if let Some((number, hash)) = archive.acknowledge() {
                genuine.documents.push((TOPICS[3], orders.acknowledgement(ID, number, hash)));
            }
        }
        _ => {}
    }
}

/// Of what is kept, whatever is left out, exchanged or put in shows too, at its first record; unless it is there twice,
/// because the device was asked for it again.
fn whatever_is_exchanged_shows(reader: &Reader) {
    let kept = reader.archive.deliveries();
    let ranges: Vec<_> = kept.iter().map(|delivery| records_of(delivery, &reader.key)).collect();
    for at in 0..kept.len() {
        let first = |deliveries: &[Vec<u8>]| {
            let (report, _) = reader.archive.verdict(deliveries);
            report.first().unwrap_or_else(|| panic!("nobody saw it: {at}")).fault.record
        };
        let mut twice = kept.to_vec();
        twice.insert(at, kept[at].clone());
        assert!(first(&twice).is_some());
        let new = if at == 0 { 0 } else { ranges[at - 1].end };
        if ranges.get(at + 1).is_some_and(|next| next.start > new) {
            let mut without = kept.to_vec();
            without.remove(at);
            assert_eq!(first(&without), Some(new));
            let mut exchanged = kept.to_vec();
            exchanged.swap(at, at + 1);
            assert_eq!(first(&exchanged), Some(new));
        }
    }
}

#[tokio::test]
async fn a_broker_in_an_attackers_hands_applies_nothing_and_alters_no_log_unseen() {
    let seed = variable("ENDTOEND_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = variable("ENDTOEND_ROUNDS").unwrap_or(200);
    println!("ENDTOEND_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut vendor = Vendor::new(programs!()).await;
    vendor.broker = Mosquitto::with_rules(&vendor.pki, "user operator.hostile\ntopic readwrite #").await;
    let port = vendor.broker.port();
    let mut operator = Operator::start(&vendor.pki, port).await;
    let orders = Orders::open(&vendor.site.path("authority"));
    vendor.site.sensorctl("foreign", "authority init --out foreign").await;
    let strangers = Orders::open(&vendor.site.path("foreign"));
    let foreign = [
        strangers.change(ID, 9_000, r#""sample_period_ms":77"#).document,
        strangers.change(GROUP, 9_000, r#""sample_period_ms":77"#).document,
        strangers.command(ID, 9_000, Action::Reboot, GOOD_S),
        strangers.acknowledgement(ID, 1, [7; 32]),
    ];
    let tls = client_config(vendor.pki.client("operator.hostile"));
    let mut hostile = Client::connect(options("operator.hostile", port, tls)).await.expect("it gets in");

    let proxy = Arc::new(Proxy::start(port).await);
    let dut = vendor.device(ID, proxy.port()).obeying(vendor.powers(), "field-a");
    let mut running = dut.start();
    let factory = operator.until("the factory's configuration", |book| !book.configurations.is_empty()).await;
    let factory = factory.configurations[&id(ID)].values.clone();
    let archive = Archive::new(id(ID), vec![running.identity]);
    let mut reader =
        Reader { archive, key: running.identity, seen: 0, held: Vec::new(), altered: 0, gaps: 0 };
    let mut genuine = Genuine::default();
    genuine.change(&orders, Layer::Device, &mut random);
    let cutter = tokio::spawn(cut(proxy.clone(), fastrand::Rng::with_seed(random.u64(..))));

    for _ in 0..rounds {
        sign(&mut genuine, &orders, &mut reader.archive, &mut random);
        publish(&mut hostile, &genuine, &foreign, &mut random).await;
        // The device takes its time too: what comes in one connection is little.
        sleep(Duration::from_millis(random.u64(0..120))).await;
        reader.read(&operator.book(), &mut random);
    }

    // The attacker is gone: what was signed last is in force, and the log is whole.
    cutter.abort();
    for layer in [Layer::Device, Layer::Group] {
        genuine.change(&orders, layer, &mut random);
    }
    for topic in &TOPICS[..2] {
        hostile.publish_bytes(topic, genuine.newest(topic).unwrap(), true).await.unwrap();
    }
    let newest = |layer: Layer| {
        let numbers =
            genuine.changes.keys().filter(|(it, _)| *it == layer.as_str()).map(|(_, number)| *number);
        numbers.max().unwrap()
    };
    let wanted = (newest(Layer::Group), newest(Layer::Device));
    operator
        .until("what was signed last", |book| {
            book.configurations.get(&id(ID)).is_some_and(|state| {
                (state.group.map(|it| it.number), state.device.map(|it| it.number))
                    == (Some(wanted.0), Some(wanted.1))
            })
        })
        .await;
    genuine.command(&orders, Action::SendLog { from: reader.archive.next() });
    let last = *genuine.commands.last().unwrap();
    hostile.publish_bytes(TOPICS[2], genuine.newest(TOPICS[2]).unwrap(), true).await.unwrap();
    operator
        .until("the end of the log", |book| {
            book.answers[&id(ID)]
                .iter()
                .any(|answer| (answer.number, answer.outcome) == (last, Outcome::Done))
        })
        .await;
    operator.catch_up().await;
    let book = operator.book();
    for (_, delivery) in &book.logs[reader.seen..] {
        reader.take(delivery);
    }

    let states = nothing_else_was_applied(&book, &genuine, &factory);
    let begun = begun(&running);
    assert!(begun.is_sorted_by(|a, b| a < b), "a command was begun twice, or after a newer one: {begun:?}");
    assert!(begun.iter().all(|number| genuine.commands.contains(number)), "{begun:?}");
    let (report, records) = reader.archive.verify();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(records.len(), reader.archive.next() as usize, "from record 0 on nothing is missing");
    let progress = running.until(|progress| progress.connected).await;
    assert!(progress.refused > 0 && reader.altered > 0);
    println!(
        "{rounds} rounds, {} documents, {} of {} commands begun, {} refused, {} connections, {} restarts; {states} \
         states; {} records, {} altered deliveries found, {} gaps closed",
        genuine.documents.len(),
        begun.len(),
        genuine.commands.len(),
        progress.refused,
        progress.connections,
        progress.resets.len(),
        records.len(),
        reader.altered,
        reader.gaps
    );
    whatever_is_exchanged_shows(&reader);
    running.stop().await;
}
