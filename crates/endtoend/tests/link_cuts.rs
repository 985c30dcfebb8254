//! One device at 20 samples a second, Mosquitto, and a link that is cut two hundred times wherever it happens to be,
//! while broker and device restart: what was measured arrives, unmodified and in order, and what neither the ring nor,
//! over restarts, the flash could hold is counted exactly. R-DATA-INTACT.
//!
//! `ENDTOEND_SEED` repeats the cuts of an earlier run, `ENDTOEND_CUTS` sets how many there are.

use device::StorageError;
use device::platform::BACKLOG_SLOTS;
use device::telemetry::{BATCHES_IN_FLIGHT, RING_SAMPLES};
use endtoend::dut::{Dut, Life, Running, configuration};
use endtoend::mosquitto::{self, Mosquitto};
use endtoend::operator::{Book, Operator};
use endtoend::pki::Pki;
use endtoend::proxy::{Cut, Direction, Ending, Mode, Proxy};
use endtoend::{PATIENCE, records};
use protocol::telemetry::BATCH_SAMPLES_MAX;
use sensorctl::ledger::{BOOTS_MAX, Counts};
use simulator::time_server::{Behaviour, TimeServer};
use std::collections::BTreeMap;
use std::time::Instant;
use tempfile::TempDir;
use tokio::time::timeout;

/// An hour, in milliseconds: a boot with this period takes one sample.
const HOUR_MS: u32 = 3_600_000;

/// Restarts of the device. The ledger tells so many boots apart: one more than restarts, and one that delivers what
/// is left.
const RESTARTS: usize = BOOTS_MAX - 2;

/// Samples that a device measures in the dark before it is restarted.
const DARK_SAMPLES: usize = 40;

/// Samples on their way at once: that many may have arrived although the device does not know it.
const SENT_SAMPLES: usize = BATCHES_IN_FLIGHT * BATCH_SAMPLES_MAX;

/// Device, link, broker, operator and time, all running.
struct World {
    broker: Mosquitto,
    proxy: Proxy,
    operator: Operator,
    dut: Dut,
    _time: TimeServer,
    _flash: TempDir,
}

impl World {
    async fn new() -> Self {
        let pki = Pki::new();
        let broker = Mosquitto::start(&pki).await;
        let proxy = Proxy::start(broker.port()).await;
        let operator = Operator::start(&pki, broker.port()).await;
        let loopback = "127.0.0.1:0".parse().unwrap();
        let time = TimeServer::start(loopback, Behaviour::default()).await.unwrap();
        let flash = tempfile::tempdir().unwrap();
        let folder = pki.enrol(&configuration("dut-1", proxy.port(), time.address()));
        let dut = Dut::new(folder, flash.path().join("flash"));
        Self { broker, proxy, operator, dut, _time: time, _flash: flash }
    }

    /// Ends the broker and starts it again. Nothing that it has acknowledged may be lost by the test's own broker, so:
    /// at SIGTERM it writes down what the operator has not got yet. At SIGKILL it does not, nor does it before it sends
    /// PUBACK; therefore the device is kept away and the operator has everything before the broker is killed.
    async fn restart_broker(&mut self, ending: mosquitto::Ending) {
        let ready = self.operator.book().ready;
        if ending == mosquitto::Ending::Killed {
            self.proxy.set(Mode::Closed);
            self.operator.catch_up().await;
        }
        self.broker.stop(ending).await;
        self.broker.start_again().await;
        self.operator.until("connected again", |book| book.ready > ready).await;
        self.proxy.set(Mode::Open);
    }

    /// True where the device can hold what it has and what comes until the next cut or until it is stopped: in its ring
    /// while it runs, in its flash when it stops. A link this bad can leave more than that: a batch in flash goes out
    /// again and again where the connection never lasts until its PUBACK, and every restart adds what waits in the ring
    /// to the same flash.
    fn fits(&self, running: &Running, boot: usize) -> bool {
        let arrivals = self.operator.book().first_arrivals();
        let arrived = arrivals.iter().filter(|(number, _)| *number as usize == boot).count();
        let waiting = running.progress().samples as usize - arrived;
        let held = waiting + SENT_SAMPLES + DARK_SAMPLES + 24;
        // Two to spare for batches that a correction of the clock keeps short.
        held <= RING_SAMPLES && held.div_ceil(BATCH_SAMPLES_MAX) + 2 <= running.room
    }

    /// Leaves the link whole until the device has delivered everything that it has: what is in flash, then the rest.
    async fn let_through(&mut self, running: &mut Running, boot: usize) {
        let newest = running.progress().samples as u32;
        self.operator
            .until("the newest sample", |book| {
                book.samples.iter().any(|(number, seq, _)| *number as usize == boot && *seq >= newest)
            })
            .await;
        running.room = BACKLOG_SLOTS.into();
    }

    /// One more boot that takes a single sample and delivers everything that earlier ones have left in flash. Gives
    /// what has come in the end.
    async fn deliver(&mut self, lives: &mut Vec<Life>) -> Book {
        self.dut.configure(|draft| (draft.sample_period_ms, draft.report_period_ms) = (HOUR_MS, HOUR_MS));
        let running = self.dut.start();
        let last = lives.len() as u32 + 1;
        // Its own sample comes after everything else.
        self.operator
            .until("the last sample", |book| book.samples.iter().any(|(boot, _, _)| *boot == last))
            .await;
        self.operator.catch_up().await;
        lives.push(running.stop().await);
        self.operator.book()
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// A cut in a handshake, which takes about 1 KB up and 3 KB down, or in a session, where a report takes some 200
/// bytes up and its acknowledgement 26 down.
fn random_cut(random: &mut fastrand::Rng, in_session: bool) -> Cut {
    let direction = random.choice([Direction::Up, Direction::Down]).unwrap();
    let ending = match random.u8(0..24) {
        0 => Ending::Hole,
        number if number % 2 == 0 => Ending::Fin,
        _ => Ending::Rst,
    };
    let bytes = match (direction, in_session) {
        (Direction::Up, _) => 0..1_000,
        (Direction::Down, false) => 0..2_900,
        (Direction::Down, true) => 0..150,
    };
    Cut { direction, after: random.u64(bytes), ending }
}

/// What was due and not measured, because the machine was busy.
fn missed(lives: &[Life]) -> Vec<(u32, u32)> {
    let numbered = lives.iter().zip(1..).map(|(life, boot)| (life.readings.iter().zip(0..), boot));
    numbered
        .flat_map(|(readings, boot)| {
            readings.filter(|(reading, _)| reading.is_none()).map(move |(_, seq)| (boot, seq))
        })
        .collect()
}

/// Everything that arrived was measured, with this value; it came in order; and the ledger says the same as the plain
/// list. Gives what is missing.
fn missing(book: &Book, lives: &[Life]) -> Vec<(u32, u32)> {
    let (values, arrivals) = (book.values(), book.first_arrivals());
    assert!(arrivals.is_sorted(), "samples overtook each other: {arrivals:?}");
    let mut missing = Vec::new();
    for (life, boot) in lives.iter().zip(1..) {
        assert_eq!((life.summary.boot, life.summary.next_seq as usize), (boot, life.readings.len()));
        for (reading, seq) in life.readings.iter().zip(0..) {
            match values.get(&(boot, seq)) {
                Some(arrived) => {
                    assert_eq!(Some(arrived), reading.as_ref(), "{boot}/{seq} was changed on the way");
                }
                None => missing.push((boot, seq)),
            }
        }
    }
    let measured: usize = lives.iter().map(|life| life.readings.len()).sum();
    assert_eq!(values.len() + missing.len(), measured, "something arrived that was never measured");
    let expected = Counts {
        samples: values.len() as u64,
        duplicates: (book.samples.len() - values.len()) as u64,
        lost: missing.len() as u64,
        ..Counts::default()
    };
    assert_eq!(book.ledger.counts(), expected, "the ledger does not say what happened");
    let (_, device) = book.ledger.devices().next().unwrap();
    assert_eq!(device.boots_without_end, 0);
    missing
}

#[tokio::test]
async fn over_two_hundred_cuts_and_restarts_everything_arrives_once_counted_and_in_order() {
    let started = Instant::now();
    let seed = variable("ENDTOEND_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cuts = variable("ENDTOEND_CUTS").unwrap_or(200);
    println!("ENDTOEND_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new().await;
    let (mut lives, mut kinds) = (Vec::new(), BTreeMap::<String, u32>::new());
    let mut restarts = BTreeMap::<&str, u32>::new();
    let mut running = world.dut.start();
    let life = (cuts / RESTARTS as u64).max(1);
    let (mut let_through, mut most_kept) = (0, 0);
    for number in 1..=cuts {
        let in_session = random.bool();
        let cut = random_cut(&mut random, in_session);
        let failures = running.progress().failures.len();
        let done = timeout(PATIENCE, async {
            if in_session {
                running.until(|progress| progress.connected).await;
            }
            world.proxy.cut(cut).await;
            running.until(|progress| progress.failures.len() > failures).await;
        });
        let done = done.await;
        assert!(done.is_ok(), "{cut:?} was never noticed; {:?}", running.progress());
        *kinds.entry(format!("{:?} {:?}", cut.direction, cut.ending)).or_default() += 1;
        if !world.fits(&running, lives.len() + 1) {
            world.let_through(&mut running, lives.len() + 1).await;
            let_through += 1;
        }
        if number % life == life / 2 && lives.len() < RESTARTS {
            let dark = random.bool();
            if dark {
                // It has something to keep when it stops.
                world.proxy.set(Mode::Closed);
                let samples = running.progress().samples;
                running.until(|progress| progress.samples >= samples + DARK_SAMPLES as u64).await;
            }
            *restarts.entry(if dark { "device offline" } else { "device" }).or_default() += 1;
            lives.push(running.stop().await);
            running = world.dut.start();
            most_kept = most_kept.max(usize::from(BACKLOG_SLOTS) - running.room);
            world.proxy.set(Mode::Open);
        }
        if number % 25 == 0 {
            // Killed only early on, before it first writes a file: an old one would bring old messages back.
            let killed = number <= 50;
            *restarts.entry(if killed { "broker by SIGKILL" } else { "broker by SIGTERM" }).or_default() += 1;
            let ending = if killed { mosquitto::Ending::Killed } else { mosquitto::Ending::Orderly };
            world.restart_broker(ending).await;
        }
    }
    lives.push(running.stop().await);
    let book = world.deliver(&mut lives).await;

    let recordings = world.proxy.recordings();
    let connections: u64 = lives.iter().map(|life| life.progress.connections).sum();
    let inside = recordings
        .iter()
        .filter(|recording| {
            let torn = |stream: &[u8]| !records::split(stream).expect("TLS").1.is_empty();
            torn(&recording.up) || torn(&recording.down)
        })
        .count();
    let mut failures = BTreeMap::<&str, u32>::new();
    for failure in lives.iter().flat_map(|life| &life.progress.failures) {
        *failures.entry(failure.as_str()).or_default() += 1;
    }
    let counts = book.ledger.counts();
    println!("cuts: {cuts} {kinds:?}");
    println!(
        "connections: {} reached the broker, {connections} were made, {inside} ended inside a record",
        recordings.len()
    );
    println!("the device noted: {failures:?}");
    println!("restarts: {restarts:?}, at which flash kept up to {most_kept} batches of {BACKLOG_SLOTS}");
    println!("left whole until everything was delivered: {let_through} times");
    println!(
        "samples {} duplicates {} lost {} unexplained {}",
        counts.samples, counts.duplicates, counts.lost, counts.unexplained
    );
    println!("seconds: {}", started.elapsed().as_secs());

    let storage: Vec<_> = lives.iter().flat_map(|life| &life.progress.storage).collect();
    assert!(storage.is_empty(), "the test asked more of the flash than it holds, or it failed: {storage:?}");
    assert!(lives.iter().all(|life| life.summary.state.lost == 0 && life.summary.state.storage_errors == 0));
    assert_eq!(missing(&book, &lives), missed(&lives));
    assert_eq!(book.ledger.devices().next().unwrap().1.boots_seen, lives.len() as u64);
    assert!(most_kept > 0, "nothing was kept over a restart");
    assert!(let_through < RESTARTS, "the link was left whole {let_through} times: the cuts prove little");
    assert!(counts.duplicates > 0, "no acknowledgement was ever cut off: the cuts prove nothing");
    assert!(inside as u64 > cuts / 20, "hardly any cut was inside a record");
    let cut_short = recordings.len() as u64 - connections;
    assert!(
        cut_short > cuts / 20 && connections > cuts / 20,
        "cuts are not spread over handshake and session"
    );
}

#[tokio::test]
async fn an_outage_longer_than_the_ring_loses_exactly_what_is_counted() {
    let started = Instant::now();
    let mut world = World::new().await;
    let mut running = world.dut.start();
    world.operator.until("the first samples", |book| book.samples.len() >= 20).await;

    world.proxy.set(Mode::Hole);
    let dark_from = running.progress().samples as usize;
    let held_at_most = RING_SAMPLES + SENT_SAMPLES;
    let progress = running.until(|now| now.samples as usize >= dark_from + held_at_most + 20).await;
    let dark = progress.samples as usize - dark_from;
    assert!(progress.overflowed && !progress.failures.is_empty(), "{progress:?}");
    world.proxy.set(Mode::Open);
    let newest = running.progress().samples as u32;
    world
        .operator
        .until("the newest sample", |book| book.samples.iter().any(|(_, seq, _)| *seq >= newest))
        .await;
    let mut lives = vec![running.stop().await];
    let book = world.deliver(&mut lives).await;

    let missing = missing(&book, &lives);
    let counts = book.ledger.counts();
    println!(
        "dark for {dark} samples; samples {} duplicates {} lost {} unexplained {}; seconds: {}",
        counts.samples,
        counts.duplicates,
        counts.lost,
        counts.unexplained,
        started.elapsed().as_secs()
    );
    let missed = missed(&lives);
    let state = &lives[0].summary.state;
    assert_eq!(missing.len(), (state.lost + state.missed) as usize);
    let missing: Vec<_> = missing.into_iter().filter(|sample| !missed.contains(sample)).collect();
    // One gap, which is as wide as the device says.
    let joined = |pair: &[(u32, u32)]| (pair[0].1 + 1..pair[1].1).all(|seq| missed.contains(&(1, seq)));
    assert!(missing.windows(2).all(joined), "{missing:?}");
    assert_eq!(missing.len(), state.lost as usize);
    // The oldest are gone, and no more than the ring could not hold; a few more were measured before the link was back.
    assert!((20..=dark - RING_SAMPLES + 100).contains(&missing.len()), "{} of {dark}", missing.len());
}

#[tokio::test]
async fn restarts_in_an_outage_lose_exactly_what_flash_has_no_room_for_and_it_is_counted() {
    let started = Instant::now();
    let mut world = World::new().await;
    let mut running = world.dut.start();
    // Somebody must have heard of the device before, or nobody knows what to expect of it.
    world.operator.until("the first samples", |book| book.samples.len() >= 20).await;
    world.proxy.set(Mode::Closed);
    let mut lives = Vec::new();
    // The device tells how its last four boots ended. One sample more than five batches fill six slots.
    let boots = 4;
    let most = 5 * BATCH_SAMPLES_MAX as u64 + 1;
    while lives.len() + 1 < boots {
        let samples = running.progress().samples;
        running.until(|progress| progress.samples >= samples + most).await;
        lives.push(running.stop().await);
        running = world.dut.start();
    }
    let room = running.room * BATCH_SAMPLES_MAX;
    running.until(|progress| progress.samples as usize >= room + 20).await;
    lives.push(running.stop().await);
    world.proxy.set(Mode::Open);
    let book = world.deliver(&mut lives).await;

    let missing = missing(&book, &lives);
    println!("missing {} samples; room for {room}; seconds: {}", missing.len(), started.elapsed().as_secs());
    assert!((1..=3 * BATCH_SAMPLES_MAX).contains(&room), "the flash was not nearly full: room for {room}");
    // The newest of the boot that found no room, up to its end: what is already kept is never given up for them.
    let end = lives[boots - 1].readings.len() as u32;
    let missed = missed(&lives);
    let missing: Vec<_> = missing.into_iter().filter(|sample| !missed.contains(sample)).collect();
    let newest =
        |from: u32| (from..end).map(|seq| (boots as u32, seq)).filter(|sample| !missed.contains(sample));
    // A batch ends where a sample was missed: then there is less room than for whole ones.
    let from = missing.first().expect("more than there was room for").1;
    assert!(from as usize <= room && (from as usize == room || !missed.is_empty()), "{from} of {room}");
    assert!(missing.iter().copied().eq(newest(from)), "{missing:?}");
    let storage: Vec<_> = lives.iter().map(|life| life.progress.storage.as_slice()).collect();
    assert_eq!(storage, [&[] as &[_], &[], &[], &[StorageError::Full], &[]]);
}
