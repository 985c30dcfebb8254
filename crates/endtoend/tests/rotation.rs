//! The authority is replaced under fifty devices in service while their links are cut, and nobody touches a device: roots, the
//! broker's certificate, the devices' certificates, and in the end the old authority counts for nothing. R-ROOTS,
//! R-SECRET-ROTATE, R-TLS-CLIENT, R-DATA-INTACT.
//!
//! What the operator does is what the tools offer: a document goes once more to those whose state does not say that it is in
//! force, because a device that is cut off at each attempt with something new returns to what worked.
//!
//! `ENDTOEND_SEED` repeats the cuts of an earlier run.

use device::{Note, Policy};
use endtoend::mosquitto::{Ending as BrokerEnding, Mosquitto};
use endtoend::operator::{Book, Operator};
use endtoend::pki::{Pki, client_config};
use endtoend::programs;
use endtoend::proxy::{Cut, Direction, Ending, Mode, Proxy};
use endtoend::site::{Program, Site};
use protocol::document::Power;
use protocol::identity_state::Rotation;
use protocol::{DeviceId, IdentityState};
use sensorctl::powers;
use sensorctl::registry::Registry;
use simulator::life::{self, Outcome};
use simulator::line::{Line, Place};
use simulator::machine::Machine;
use simulator::port::{Port, Report, Stop, Stopper, Summary, stopper};
use simulator::sensor::Model;
use simulator::time_server::{Behaviour, TimeServer};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const DEVICES: usize = 50;

/// How long the operator waits for a state to change before it sends a document once more.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often it does.
const ATTEMPTS: usize = 15;

type Tally = Arc<Mutex<BTreeMap<&'static str, u32>>>;

fn policy() -> Policy {
    Policy {
        backoff_floor_ms: 50,
        backoff_cap_ms: 500,
        healthy_ms: 500,
        connect_timeout_ms: 3_000,
        answer_timeout_ms: 3_000,
        ..Policy::default()
    }
}

fn tell(tally: &Tally, what: &'static str) {
    *tally.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
}

/// A device from blank to its stop.
async fn live(
    mut line: Line,
    about: device::provisioning::About,
    seed: u64,
    tally: Tally,
    stop: Stop,
) -> Summary {
    let mut machine = Machine::in_memory().expect("a machine");
    loop {
        let mut port = Port::new(Model::new(seed));
        port.info.policy = policy();
        let tally = tally.clone();
        port.observer = Box::new(move |report| {
            let Report::Note { note, .. } = report else { return };
            match note {
                Note::Connected { .. } => tell(&tally, "connections"),
                Note::Disconnected(failure) => tell(&tally, failure.as_str()),
                Note::RootsReplaced { .. } => tell(&tally, "lists of roots in force"),
                Note::RootsUndone { .. } => tell(&tally, "lists of roots undone"),
                Note::IdentityReplaced { .. } => tell(&tally, "identities in force"),
                Note::IdentityRefused => tell(&tally, "identities dropped"),
                Note::IdentityFellBack { .. } => tell(&tally, "identities fallen back"),
                Note::Storage(_) | Note::Entropy | Note::IdentityFailed(_) => tell(&tally, "ERRORS"),
                _ => {}
            }
        });
        let outcome = life::serve(&mut machine, &mut line, &about, port, stop.clone()).await.expect("a life");
        match outcome {
            Outcome::Provisioned => {}
            Outcome::Ran(summary) => return *summary,
            Outcome::StillBlank => panic!("a device was never provisioned"),
        }
    }
}

/// Cuts links for ever: a single one at any byte, and now and then all at once.
async fn cut(proxy: Arc<Proxy>, mut random: fastrand::Rng, tally: Tally) {
    loop {
        if random.u8(0..40) == 0 {
            proxy.set(random.choice([Mode::Closed, Mode::Hole]).expect("one of two"));
            sleep(Duration::from_millis(random.u64(50..250))).await;
            proxy.set(Mode::Open);
            tell(&tally, "cuts of all links");
        }
        let cut = Cut {
            direction: random.choice([Direction::Up, Direction::Down]).expect("one of two"),
            after: random.u64(0..8_000),
            ending: if random.u8(0..16) == 0 {
                Ending::Hole
            } else {
                random.choice([Ending::Fin, Ending::Rst]).expect("one of two")
            },
        };
        proxy.cut(cut).await;
        tell(&tally, "cuts of a link");
        sleep(Duration::from_millis(random.u64(0..60))).await;
    }
}

struct World {
    site: Site,
    /// The authority that goes.
    old: Pki,
    broker: Mosquitto,
    operator: Operator,
    renew: Program,
    proxy: Arc<Proxy>,
    cutter: JoinHandle<()>,
    ids: Vec<DeviceId>,
    devices: Vec<JoinHandle<Summary>>,
    stop: Stopper,
    tally: Tally,
    _time: TimeServer,
    started: Instant,
}

/// A text for each of these, one behind the other.
fn joined<T>(all: impl IntoIterator<Item = T>, text: impl Fn(T) -> String) -> String {
    all.into_iter().map(text).collect::<Vec<_>>().concat()
}

impl World {
    /// Fifty blank devices, each with its line; a broker behind links that are cut from now on; and one command.
    async fn new(seed: u64) -> Self {
        let started = Instant::now();
        let site = Site::new(programs!()).await;
        let old = site.pki();
        let broker = Mosquitto::start(&old).await;
        let operator = Operator::start(&old, broker.port()).await;
        let renew = site.renew(&site.operator("ca", "renew").await, broker.port()).await;
        let proxy = Arc::new(Proxy::start(broker.port()).await);
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let time = TimeServer::start(loopback, Behaviour::default()).await.expect("a time server");
        let tally = Tally::default();
        let (stop, stopped) = stopper();
        let factory = powers::public(&site.path("authority"), Power::Factory).expect("the factory's key");
        fs::create_dir(site.path("line")).expect("a folder for lines");
        let start = |number: usize| {
            let line = Line::open(&Place::Unix(site.path(&format!("line/{number}")))).expect("a line");
            let about = life::about(factory, false);
            tokio::spawn(live(line, about, number as u64, tally.clone(), stopped.clone()))
        };
        let devices = (1..=DEVICES).map(start).collect();
        let id = |number| DeviceId::new(&format!("dev-{number}")).expect("an id");
        let ids = (1..=DEVICES).map(id).collect();
        let cutter = tokio::spawn(cut(proxy.clone(), fastrand::Rng::with_seed(seed), tally.clone()));
        let lines = joined(1..=DEVICES, |number| format!(" --line unix:line/{number} --id dev-{number}"));
        let provision = format!(
            "provision --ca ca --authority authority --registry registry.jsonl --timeout-s 60 --host localhost --port {} \
             --time-server {} --sample-period-ms 500 --report-period-ms 1000{lines}",
            proxy.port(),
            time.address()
        );
        let table = site.sensorctl("provision", &provision).await;
        assert!(table.ends_with(&format!("{DEVICES} of {DEVICES} done\n")), "{table}");
        Self {
            site,
            old,
            broker,
            operator,
            renew,
            proxy,
            cutter,
            ids,
            devices,
            stop,
            tally,
            _time: time,
            started,
        }
    }

    /// The broker takes a certificate of the new authority, and lets clients of both in.
    async fn change_broker(&mut self) {
        self.broker.stop(BrokerEnding::Orderly).await;
        let new = Pki::open(self.site.path("ca2"));
        self.operator.go_on(self.broker.port(), client_config(new.operator_between(&self.old))).await;
        self.broker.put("roots.crt", &(self.ca("ca", "ca.crt") + &self.ca("ca2", "ca.crt")));
        self.broker.put("server.crt", &self.ca("ca2", "broker.crt"));
        self.broker.put("server.key", &self.ca("ca2", "broker.key"));
        self.broker.start_again().await;
        self.say("the broker has a certificate of the new authority");
    }

    /// The broker lets nobody in any more who comes with a certificate of the old authority.
    async fn forget_old(&mut self) {
        let ready = self.operator.book().ready;
        self.broker.stop(BrokerEnding::Orderly).await;
        self.broker.put("roots.crt", &self.ca("ca2", "ca.crt"));
        self.broker.start_again().await;
        self.operator.until("connected again", |book| book.ready > ready).await;
        self.say("the broker has forgotten the old authority");
    }

    /// Waits until each device has reported several times from now on.
    async fn until_all_report(&self, what: &str) {
        let samples =
            |book: &Book, id: &DeviceId| book.ledger.device(id).map_or(0, |device| device.counts().samples);
        let before: BTreeMap<_, _> = {
            let book = self.operator.book();
            self.ids.iter().map(|id| (id, samples(&book, id))).collect()
        };
        let silent = |book: &Book| {
            let silent = before.iter().filter(|(id, before)| samples(book, id) < **before + 6);
            silent.map(|(id, _)| id.to_string()).collect::<Vec<_>>()
        };
        let mut watch = self.operator.watch();
        let all =
            timeout(2 * endtoend::PATIENCE, watch.wait_for(|book| silent(book).is_empty())).await.is_ok();
        assert!(all, "{what}: silent: {:?}", silent(&self.operator.book()));
        self.say(what);
    }

    /// Leaves the links alone, lets everything arrive, and ends it. Every sample is accounted for, and every device is where
    /// it should be.
    async fn account(mut self, registry: &Registry) {
        self.cutter.abort();
        self.proxy.set(Mode::Open);
        self.until_all_report("all report with whole links").await;
        self.stop.stop();
        let mut summaries = Vec::new();
        for device in std::mem::take(&mut self.devices) {
            summaries.push(device.await.expect("a device that stops"));
        }
        self.operator.catch_up().await;
        let book = self.operator.book();
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        println!("{tally:#?}\n{:?}", book.ledger.counts());
        assert_eq!((summaries.len(), book.identities.len()), (DEVICES, DEVICES));
        for (summary, id) in summaries.iter().zip(&self.ids) {
            let identity = &book.identities[id];
            assert!(issued_in(&self.site, "ca2", registry, id, identity), "{id}: {identity:?}");
            assert_eq!(identity.roots_count, 1, "{id}: {identity:?}");
            let state = &summary.state;
            assert_eq!((summary.boot, state.lost, state.storage_errors), (1, 0, 0), "{id}: {state:?}");
            let counts = book.ledger.device(id).expect("it has reported").counts();
            assert_eq!(counts.unexplained, 0, "{id}: {counts:?}");
            // What a busy machine has missed, and nothing else.
            assert!(counts.lost <= u64::from(state.missed), "{id}: {counts:?} {state:?}");
            let (taken, waiting) = (u64::from(summary.next_seq - state.missed), u64::from(state.waiting));
            let all_but_waiting = taken - waiting..=taken;
            assert!(all_but_waiting.contains(&counts.samples), "{id}: {all_but_waiting:?} taken: {counts:?}");
        }
        assert_eq!(tally.get("ERRORS"), None);
        assert!(tally["cuts of a link"] > 30, "the links were cut");
    }

    fn say(&self, what: &str) {
        println!("{:5.1} s  {what}", self.started.elapsed().as_secs_f32());
    }

    /// Sends a document with `words` to these devices by way of the broker; gives its number.
    async fn send(&self, words: &str, ca: &str, ids: &[DeviceId]) -> u32 {
        let to = joined(ids, |id| format!(" --id {id}"));
        let port = self.broker.port();
        let words = match words {
            "rotate" => format!(
                "command rotate --authority authority --ca {ca} --operator {ca}-operator.command --port {port} --no-wait{to}"
            ),
            words => format!(
                "document {words} --authority authority --registry registry.jsonl --ca {ca} --operator {ca}-operator.sign \
                 --publish localhost:{port}{to}"
            ),
        };
        let said = self.site.sensorctl("document", &words).await;
        let (_, number) = said.split_once(" number ").expect("its number");
        let (number, _) = number.split_once(|c: char| !c.is_ascii_digit()).expect("something behind it");
        number.parse().expect("a number")
    }

    /// Sends a document until every device's state says that it is in force: to all, then to those that do not say so. Each
    /// time it has a higher number; `done` is given the first one.
    async fn until_all(
        &self,
        what: &str,
        words: &str,
        ca: &str,
        at_once: bool,
        done: impl Fn(&IdentityState, &DeviceId, u32) -> bool,
    ) {
        let mut watch = self.operator.watch();
        let open = |book: &Book, first: u32| -> Vec<(DeviceId, bool)> {
            let state = |id: &DeviceId| book.identities.get(id);
            let open = self.ids.iter().filter(|id| !state(id).is_some_and(|state| done(state, id, first)));
            let busy = |id: &DeviceId| state(id).is_some_and(|state| state.rotation != Rotation::None);
            open.map(|id| (id.clone(), busy(id))).collect()
        };
        let mut to = if at_once { self.ids.clone() } else { Vec::new() };
        let mut first = None;
        for attempt in 1..=ATTEMPTS {
            if !to.is_empty() {
                let number = self.send(words, ca, &to).await;
                self.say(&format!("{what}: number {number} sent to {}", to.len()));
                first.get_or_insert(number);
            }
            let number = first.unwrap_or(0);
            if timeout(PATIENCE, watch.wait_for(|book| open(book, number).is_empty())).await.is_ok() {
                return self.say(&format!("{what}: all {}", self.ids.len()));
            }
            let left = open(&watch.borrow(), number);
            self.say(&format!("{what}: {} of {}", self.ids.len() - left.len(), self.ids.len()));
            // Who is at it is left to it for a while.
            to = left.into_iter().filter(|(_, busy)| !busy || attempt % 3 == 0).map(|(id, _)| id).collect();
        }
        let book = self.operator.book();
        let left = open(&book, first.unwrap_or(0));
        let states: Vec<_> = left.iter().map(|(id, _)| (id, book.identities.get(id))).collect();
        panic!("{what}: {} devices are left behind: {states:?}", left.len());
    }

    fn ca(&self, name: &str, file: &str) -> String {
        fs::read_to_string(self.site.path(name).join(file)).expect("a file of an authority")
    }
}

/// True where the certificate of the device's identity in force, as its state has it, was issued in this folder.
fn issued_in(site: &Site, ca: &str, registry: &Registry, id: &DeviceId, state: &IdentityState) -> bool {
    let fits = |key: String| key == state.key.as_str();
    let known = registry.in_force(id).find(|identity| fits(identity.key.id().to_string()));
    known.is_some_and(|identity| {
        let name = format!("{}.der", base16ct::lower::encode_string(&identity.serial));
        site.path(ca).join("issued").join(name).is_file()
    })
}

#[tokio::test]
async fn the_authority_is_replaced_under_fifty_devices_with_bad_links_and_nobody_is_lost() {
    let seed = std::env::var("ENDTOEND_SEED");
    let seed =
        seed.map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("ENDTOEND_SEED is a number"));
    println!("ENDTOEND_SEED={seed}");
    let mut world = World::new(seed).await;
    world.say("all are provisioned by one command");
    world.site.operator("ca", "sign").await;
    world.site.operator("ca", "command").await;
    let replaced = |state: &IdentityState, _: &DeviceId, _| state.certificate > 0;
    world.until_all("the factory's identity replaced", "rotate", "ca", false, replaced).await;

    // The new authority is announced while the old one still vouches for the broker.
    world.site.sensorctl("ca2", "ca init --out ca2").await;
    world.site.operator("ca2", "sign").await;
    world.site.operator("ca2", "command").await;
    let own = world.site.operator("ca2", "renew").await;
    let listed = |count| {
        move |state: &IdentityState, _: &DeviceId, number| state.roots >= number && state.roots_count == count
    };
    let both = "roots --root ca/ca.crt --root ca2/ca.crt";
    world.until_all("roots of both authorities", both, "ca", true, listed(2)).await;

    // From now on certificates are of the new one.
    world.renew.stop().await;
    world.change_broker().await;
    let words = format!(
        "renew --ca ca --ca ca2 --operator {} --authority authority --registry registry.jsonl --host localhost --port {}",
        own.display(),
        world.broker.port()
    );
    world.renew = world.site.start_sensorctl("renew2", &words);
    world.renew.until_said("listening", 1).await;
    let registry = Mutex::new(world.site.registry());
    let of_new = |state: &IdentityState, id: &DeviceId, _| {
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.refresh().expect("the registry");
        issued_in(&world.site, "ca2", &registry, id, state)
    };
    world.until_all("certificates of the new authority", "rotate", "ca2", true, of_new).await;

    // The old one goes: from the devices, then from the broker.
    let only = "roots --root ca2/ca.crt";
    world.until_all("roots of the new authority alone", only, "ca2", true, listed(1)).await;
    world.forget_old().await;
    world.until_all_report("all report with bad links and without the old authority").await;
    world.renew.stop().await;
    let registry = world.site.registry();
    world.account(&registry).await;
}
