//! A device and Mosquitto with the documented rules, over mutual TLS: what an operator signs is in force and reported, by number
//! and digest; what cuts a device off is undone by the device itself, and named; no sample is lost meanwhile. R-CONF,
//! R-NET-CONFIG, R-DATA-INTACT.

use device::Note;
use endtoend::dut::{Life, Running};
use endtoend::operator::{Book, Operator};
use endtoend::orders::{Orders, SignedChange, id};
use endtoend::programs;
use endtoend::proxy::Proxy;
use endtoend::vendor::Vendor;
use protocol::config::ConfigurationState;
use protocol::{Batch, Failure, Layer, Refusal, Topic};
use std::net::UdpSocket;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

const ID: &str = "dut-1";
const GROUP: &str = "field-a";

/// A bound that a slow machine keeps too, for a connection that comes about.
const BOUND_MS: u32 = 4_000;

struct World {
    vendor: Vendor,
    operator: Operator,
    orders: Orders,
    running: Running,
}

impl World {
    async fn new() -> Self {
        let vendor = Vendor::new(programs!()).await;
        let operator = Operator::start(&vendor.pki, vendor.broker.port()).await;
        let orders = Orders::open(&vendor.site.path("authority"));
        let mut dut = vendor.device(ID, vendor.broker.port()).obeying(vendor.powers(), GROUP);
        dut.pace.configuration_ms = BOUND_MS;
        // A slow machine is no reason to give a connection up.
        dut.policy.answer_timeout_ms = 20_000;
        let mut running = dut.start();
        running.until(|progress| progress.connected).await;
        Self { vendor, operator, orders, running }
    }

    /// Retains a change where it belongs.
    async fn publish(&self, change: &SignedChange) {
        self.operator.retain(&change.topic, &change.document).await;
    }

    /// What the device says of its configuration, once it says this.
    async fn reported(
        &mut self,
        what: &str,
        wanted: impl Fn(&ConfigurationState) -> bool,
    ) -> ConfigurationState {
        let book = self.operator.until(what, |book| said(book).is_some_and(&wanted)).await;
        said(&book).expect("what was waited for").clone()
    }

    /// Stops the device and holds what has arrived against what it has measured: nothing but its end may be missing, and that
    /// is in its flash.
    async fn nothing_is_lost(mut self) {
        let Life { summary, readings, .. } = self.running.stop().await;
        self.operator.catch_up().await;
        let values = self.operator.book().values();
        assert_eq!(summary.state.lost, 0);
        let arrived = values.len();
        let waiting = summary.state.waiting as usize;
        let measured = readings.iter().flatten().count();
        assert!(arrived + waiting >= measured, "{arrived} arrived, {waiting} wait, {measured}");
        let taken = (0..).zip(&readings).filter(|(_, reading)| reading.is_some());
        for (seq, reading) in taken.take(arrived) {
            assert_eq!(values.get(&(1, seq)), reading.as_ref(), "sample {seq}");
        }
    }
}

fn said(book: &Book) -> Option<&ConfigurationState> {
    book.configurations.get(&id(ID))
}

/// Milliseconds between one sample and the next, in the last batch of at least two.
fn period(book: &Book) -> Option<u64> {
    let batches = book.messages.iter().rev().filter(|(topic, _)| {
        Topic::decode(topic).is_some_and(|topic| topic.channel == protocol::Channel::Telemetry)
    });
    let mut periods = batches.filter_map(|(_, payload)| {
        let batch = Batch::decode(payload).ok()?;
        let [.., before, last] = batch.samples.as_slice() else { return None };
        Some(u64::from(last.after_ms - before.after_ms))
    });
    periods.next()
}

#[tokio::test]
async fn a_group_and_a_device_are_configured_live_and_the_devices_own_change_wins() {
    let mut world = World::new().await;
    let first = world.reported("the factory's configuration", |_| true).await;
    assert_eq!((first.group_name.as_str(), first.group, first.device), (GROUP, None, None));

    let group = world.orders.change("group/field-a", 1, r#""sample_period_ms":200,"report_period_ms":800"#);
    world.publish(&group).await;
    let state = world.reported("the group's change", |state| state.group.is_some()).await;
    let in_force = state.group.unwrap();
    assert_eq!((in_force.number, in_force.digest), (group.number, group.digest));
    assert_eq!((state.values.sample_period_ms, state.values.report_period_ms), (200, 800));
    assert_eq!(state.values.number, first.values.number, "the device's own layer is as it was");

    let own = world.orders.change(ID, 10, r#""sample_period_ms":400"#);
    world.publish(&own).await;
    let state = world.reported("the device's own change", |state| state.device.is_some()).await;
    let in_force = state.device.unwrap();
    assert_eq!((in_force.number, in_force.digest), (own.number, own.digest));
    assert_eq!((state.values.sample_period_ms, state.values.report_period_ms), (400, 800), "its own wins");
    world.operator.until("samples at that period", |book| period(book).is_some_and(|ms| ms >= 350)).await;

    // The group's next change does not get past the device's own, which names the sampling period.
    let group = world.orders.change("group/field-a", 2, r#""sample_period_ms":100,"report_period_ms":1600"#);
    world.publish(&group).await;
    let state =
        world.reported("the group's next change", |state| state.group.is_some_and(|it| it.number == 2)).await;
    assert_eq!((state.values.sample_period_ms, state.values.report_period_ms), (400, 1600));
    // A newer change replaces the former one as a whole: what it does not name is the group's again.
    let own = world.orders.change(ID, 11, r#""keep_alive_s":60"#);
    world.publish(&own).await;
    let state =
        world.reported("the device's next", |state| state.device.is_some_and(|it| it.number == 11)).await;
    assert_eq!((state.values.sample_period_ms, state.values.report_period_ms), (100, 1600));

    let notes = world.running.progress();
    assert_eq!(notes.connections, 1, "nothing of that needs another connection");
    assert!(notes.configurations.iter().all(|note| matches!(note, Note::ConfigurationChanged { .. })));
    world.nothing_is_lost().await;
}

#[tokio::test]
async fn what_is_old_or_unsigned_or_for_others_changes_nothing_and_is_counted() {
    let mut world = World::new().await;
    let first = world.orders.change(ID, 10, r#""sample_period_ms":100"#);
    let second = world.orders.change(ID, 11, r#""sample_period_ms":150"#);
    world.publish(&first).await;
    world.publish(&second).await;
    world.reported("the second change", |state| state.device.is_some_and(|it| it.number == 11)).await;

    let other = world.orders.change(ID, 11, r#""sample_period_ms":175"#);
    let others = world.orders.change("group/field-b", 9, r#""sample_period_ms":175"#);
    let mut altered = world.orders.change(ID, 12, r#""sample_period_ms":175"#);
    *altered.document.last_mut().unwrap() ^= 1;
    let topic = first.topic.clone();
    for (refused, (document, why)) in (1..).zip([
        (&first.document, Refusal::Older),
        (&other.document, Refusal::Replayed),
        (&altered.document, Refusal::Signature),
        (&others.document, Refusal::OtherGroup),
    ]) {
        world.operator.retain(&topic, document).await;
        let progress = world.running.until(|progress| progress.refused >= refused).await;
        let last = progress.configurations.last().unwrap();
        assert!(matches!(last, Note::ConfigurationRefused { why: said, .. } if *said == why), "{last:?}");
    }
    // The one in force again, as a broker hands it over with each connection: nothing, and nothing to count.
    world.publish(&second).await;
    let next = world.orders.change(ID, 12, r#""sample_period_ms":125"#);
    world.publish(&next).await;
    let state =
        world.reported("the next change", |state| state.device.is_some_and(|it| it.number == 12)).await;
    assert_eq!((state.refused, state.replayed), (3, 1), "a replay is counted apart: {state:?}");
    assert_eq!(state.values.sample_period_ms, 125);
    world.nothing_is_lost().await;
}

/// The broker, under an address that its certificate does not have.
async fn at_another_host(port: u16) {
    let listener =
        TcpListener::bind(("127.0.0.2", port)).await.expect("a port at another address of this host");
    loop {
        let Ok((mut device, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let Ok(mut broker) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            // It ends as it ends.
            let _over = copy_bidirectional(&mut device, &mut broker).await;
        });
    }
}

#[tokio::test]
async fn a_configuration_that_makes_the_device_unreachable_is_undone_within_its_bound_and_named() {
    let mut world = World::new().await;
    let before = world.reported("the factory's configuration", |_| true).await.values;
    // Somebody who takes questions and answers none.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let elsewhere = tokio::spawn(at_another_host(world.vendor.broker.port()));
    let cases = [
        (r#""host":"no-such-host.invalid""#.to_owned(), Some(Failure::Dns)),
        (format!(r#""port":{nobody}"#), Some(Failure::Refused)),
        (r#""host":"127.0.0.2""#.to_owned(), Some(Failure::TlsName)),
        (format!(r#""time_servers":["{}"]"#, silent.local_addr().unwrap()), None),
    ];
    for (number, (fields, failure)) in (20..).zip(&cases) {
        let change = world.orders.change(ID, number, fields);
        world.publish(&change).await;
        let (layer, number) = (Layer::Device, change.number);
        let progress = world
            .running
            .until(|progress| {
                progress.connected
                    && progress.configurations.iter().any(
                        |note| matches!(note, Note::ConfigurationUndone { number: it, .. } if *it == number),
                    )
            })
            .await;
        let wanted = [
            Note::ConfigurationTried { layer, number },
            Note::ConfigurationUndone { layer, number, failure: *failure },
        ];
        assert!(progress.configurations.ends_with(&wanted), "{fields}: {:?}", progress.configurations);
        let state = world
            .reported("what was undone", |state| state.last.as_ref().is_some_and(|it| it.number == number))
            .await;
        let last = state.last.unwrap();
        assert_eq!(
            (last.layer, last.why, last.failure),
            (Some(layer), Refusal::Undone, *failure),
            "{fields}"
        );
        assert_eq!((&state.values, state.trial), (&before, None), "{fields}");
    }
    // What is retained comes again with each connection, and is not tried again.
    let tried = world.running.progress().configurations.len();
    assert_eq!(tried, 2 * cases.len(), "{:?}", world.running.progress().configurations);

    elsewhere.abort();

    // One with which the service is reached stays.
    let proxy = Proxy::start(world.vendor.broker.port()).await;
    let change = world.orders.change(ID, 30, &format!(r#""port":{}"#, proxy.port()));
    world.publish(&change).await;
    let state =
        world.reported("the other port", |state| state.device.is_some_and(|it| it.number == 30)).await;
    assert_eq!((state.values.port, state.trial), (u32::from(proxy.port()), None));
    assert_eq!(proxy.recordings().len(), 1, "the device goes through the proxy now");
    world.nothing_is_lost().await;
}
