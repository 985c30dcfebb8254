//! A device of the project's own program, provisioned on its line, and Mosquitto with the documented rules: what happened to it
//! is in its log, signed and delivered until it is acknowledged; kept while nobody listens, over SIGKILL and restarts; and no byte
//! of it can be altered unseen. R-LOG.

use endtoend::archive::Archive;
use endtoend::mosquitto::{Ending, Mosquitto};
use endtoend::operator::Operator;
use endtoend::orders::{Orders, id};
use endtoend::programs;
use endtoend::site::Site;
use protocol::audit::Event;
use protocol::command::Outcome;
use protocol::document::Action;
use protocol::{Layer, ResetCause};
use sensorctl::log::verify::Place;
use std::fs;

const ID: &str = "dev-1";

struct World {
    site: Site,
    broker: Mosquitto,
    operator: Operator,
    orders: Orders,
    archive: Archive,
    seen: usize,
    commands: u32,
}

impl World {
    /// Takes what has come of the log.
    fn read(&mut self) {
        let book = self.operator.book();
        for (_, delivery) in &book.logs[self.seen..] {
            let place = self.archive.take(delivery).expect("what the device signs");
            assert!(!matches!(place, Place::Ahead(_)), "there is a gap: {place:?}");
        }
        self.seen = book.logs.len();
    }

    /// Has the device do this.
    async fn command(&mut self, action: Action) {
        self.commands += 1;
        let number = self.commands;
        let command = self.orders.command(ID, number, action, 600);
        self.operator.retain("device/dev-1/command", &command).await;
        self.operator
            .until("the command", |book| {
                book.answers.get(&id(ID)).is_some_and(|answers| {
                    answers.iter().any(|it| (it.number, it.outcome) == (number, Outcome::Done))
                })
            })
            .await;
    }

    /// Has the device say everything that it has, and takes it.
    async fn everything(&mut self) {
        self.command(Action::Report).await;
        self.command(Action::SendLog { from: self.archive.next() }).await;
        self.operator.catch_up().await;
        self.read();
    }

    /// How many records wait for an acknowledgement, as the device says.
    fn log_waiting(&self) -> u32 {
        self.operator.book().states[&id(ID)].log_waiting
    }

    fn events(&self) -> Vec<Event> {
        self.archive.verify().1.into_iter().map(|record| record.event).collect()
    }
}

#[tokio::test]
async fn a_log_is_delivered_until_it_is_acknowledged_and_kept_over_kills_and_restarts() {
    let site = Site::new(programs!()).await;
    let broker = Mosquitto::start(&site.pki()).await;
    let operator = Operator::start(&site.pki(), broker.port()).await;
    let orders = Orders::open(&site.path("authority"));
    let (_time, time_port) = site.time_server(0).await;
    let mut device = site.device(1, "");
    device.until_said("ready blank device", 1).await;
    let provision = site.provisioning(broker.port(), time_port) + " --line tty1 --id dev-1";
    site.sensorctl("provision", &provision).await;
    device.until_said("connected to the service", 1).await;
    let registry = site.registry();
    let keys: Vec<_> = registry.records(&id(ID)).iter().map(|record| record.identity.key).collect();
    let archive = Archive::new(id(ID), keys);
    let mut world = World { site, broker, operator, orders, archive, seen: 0, commands: 0 };

    // What has happened until now comes by itself, from the factory on.
    world.operator.until("the log", |book| !book.logs.is_empty()).await;
    world.read();
    assert!(world.archive.next() > 1);
    world.everything().await;
    let events = world.events();
    let boot = |event: &Event| matches!(event, Event::Boot { .. });
    assert!(events.iter().any(|event| matches!(event, Event::Provisioned { .. })), "{events:?}");
    assert_eq!(events.iter().filter(|event| boot(event)).count(), 1, "{events:?}");
    let change = world.orders.change(ID, 10, r#""sample_period_ms":100"#);
    world.operator.retain(&change.topic, &change.document).await;
    world.operator.until("the change", |book| book.configurations[&id(ID)].device.is_some()).await;
    world.everything().await;
    assert!(world.events().contains(&Event::Configured { layer: Layer::Device, number: 10 }));

    // Acknowledged, it need not be kept.
    let before = world.archive.next();
    let (number, hash) = world.archive.acknowledge().expect("records");
    let acknowledgement = world.orders.acknowledgement(ID, number, hash);
    world.operator.retain("device/dev-1/log/desired", &acknowledgement).await;
    world.everything().await;
    let after = world.log_waiting();
    assert!(after <= world.archive.next() - before, "{after} of {} records wait", world.archive.next());

    // Power fails while nobody listens, again and again. What happened then is told later.
    world.broker.stop(Ending::Orderly).await;
    for start in 2..=4 {
        // SIGKILL.
        drop(device);
        device = world.site.device(1, "");
        device.until_said("ready device", start).await;
    }
    world.broker.start_again().await;
    device.until_said("connected to the service", 2).await;
    world.everything().await;
    let (report, records) = world.archive.verify();
    assert!(report.is_whole(), "{report:?}");
    let boots: Vec<u32> =
        records.iter().filter(|record| boot(&record.event)).map(|record| record.boot).collect();
    assert_eq!(boots, [1, 2, 3, 4], "every start is there, and once");
    assert!(records.iter().zip(0..).all(|(record, number)| record.sequence == number));
    let power_on = |event: &Event| matches!(event, Event::Boot { reset: ResetCause::PowerOn, .. });
    assert_eq!(records.iter().filter(|record| power_on(&record.event)).count(), 4);
    println!("{} records in {} deliveries", records.len(), world.archive.deliveries().len());

    // Whoever alters a single byte of what is kept is found out, and told at which record.
    let kept = world.archive.deliveries();
    for (at, delivery) in kept.iter().enumerate() {
        for byte in (0..delivery.len()).step_by(7) {
            let mut altered = kept.to_vec();
            altered[at][byte] ^= 0x10;
            let (report, _) = world.archive.verdict(&altered);
            let first = report.first().unwrap_or_else(|| panic!("byte {byte} of delivery {at}"));
            assert!(first.fault.record.is_some(), "{first:?}");
        }
    }
    device.stop().await;
}

#[tokio::test]
async fn what_the_tool_has_followed_it_verifies_and_it_names_the_first_bad_record() {
    let site = Site::new(programs!()).await;
    let broker = Mosquitto::start(&site.pki()).await;
    for name in ["log", "command"] {
        site.operator("ca", name).await;
    }
    let (_time, time_port) = site.time_server(0).await;
    let mut device = site.device(1, "");
    device.until_said("ready blank device", 1).await;
    let provision = site.provisioning(broker.port(), time_port) + " --line tty1 --id dev-1";
    site.sensorctl("provision", &provision).await;
    let port = broker.port();
    let follow = format!(
        "log follow --ca ca --operator ca-operator.log --port {port} --registry registry.jsonl --store logs --authority \
         authority --format json"
    );
    let mut follower = site.start_sensorctl("follow", &follow);
    follower.until_said("provisioned", 1).await;
    // It is killed, and the device too; both go on where they were.
    drop(follower);
    drop(device);
    let mut device = site.device(1, "");
    device.until_said("connected to the service", 2).await;
    let mut follower = site.start_sensorctl("follow", &follow);
    let report = format!(
        "command report --id dev-1 --authority authority --ca ca --operator ca-operator.command --port {port}"
    );
    site.sensorctl("report", &report).await;
    follower.until_said("commanded", 1).await;
    follower.stop().await;
    let verify = "log verify logs --registry registry.jsonl --authority authority";
    let told = site.sensorctl("verify", verify).await;
    println!("{told}");

    // One byte of what is kept.
    let file = site.path("logs/dev-1.log");
    let good = fs::read(&file).expect("the log");
    let mut bad = good.clone();
    let at = bad.len() / 2;
    bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
    fs::write(&file, &bad).expect("an altered log");
    let ran = site.try_sensorctl("verify-bad", verify).await;
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    assert!((ran.stdout.clone() + &ran.stderr).contains("record"), "{ran:?}");
    println!("{}{}", ran.stdout, ran.stderr);
    fs::write(&file, &good).expect("the log as it was");
    site.sensorctl("verify-again", verify).await;
    device.stop().await;
}
