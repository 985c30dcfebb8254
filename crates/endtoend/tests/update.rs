//! One Linux device and Mosquitto with the documented rules, over mutual TLS: what `sensorctl firmware publish` puts there is
//! fetched, installed and confirmed, however often link, broker and power fail meanwhile. R-FW-ATOMIC, R-FW-TIMELY,
//! R-DATA-INTACT.
//!
//! `ENDTOEND_SEED` repeats the cuts of an earlier run.

use device::{Note, Pace, Policy};
use endtoend::dut::{Progress, Running};
use endtoend::mosquitto;
use endtoend::operator::Operator;
use endtoend::programs;
use endtoend::proxy::{Cut, Direction, Ending, Proxy};
use endtoend::vendor::{BODY_BYTES, FIRST, Vendor, body};
use protocol::blocks::BLOCK_BYTES;
use protocol::image::Version;
use simulator::slots::Booted;
use std::collections::BTreeSet;

/// Blocks that a device fetches at once.
const WINDOW: usize = 4;

/// Bytes between two records of how far a download is: what a power cut may cost.
const KEPT_EVERY: usize = 16 * 1024;

const NEW: &str = "1.1.0";

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

fn confirmed(progress: &Progress) -> bool {
    progress.updates.iter().any(|note| matches!(note, Note::UpdateConfirmed { .. }))
}

fn seed() -> u64 {
    let seed = std::env::var("ENDTOEND_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("ENDTOEND_SEED={seed}");
    seed
}

/// Different blocks among these.
fn different(topics: &[String]) -> usize {
    topics.iter().collect::<BTreeSet<_>>().len()
}

/// How many of these are there once more.
fn repeated(topics: &[String]) -> usize {
    topics.len() - different(topics)
}

#[tokio::test]
async fn a_device_takes_v2_from_the_broker_confirms_it_and_says_so() {
    let vendor = Vendor::new(programs!()).await;
    let mut operator = Operator::start(&vendor.pki, vendor.broker.port()).await;
    let mut running = vendor.device("dut-1", vendor.broker.port()).start();
    running.until(|progress| progress.connected).await;
    let release = vendor.release(NEW, &body(NEW, BODY_BYTES), "").await;
    // Its exit code says that every device has confirmed it.
    let mut publish = vendor.start_publish(&release, "--share 100 --wait 60s --registry registry.jsonl");
    let progress = running.until(confirmed).await;
    assert_eq!(progress.booted, [Booted::Again(version(FIRST)), Booted::Swapped(version(NEW))]);
    assert_eq!(repeated(&progress.fetches), 0);
    operator
        .until("the new version", |book| {
            book.firmware.values().any(|state| state.version.as_str() == NEW && state.sequence > 0)
        })
        .await;
    let ran = publish.ended().await;
    assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
    let life = running.stop().await;
    assert_eq!(life.summary.state.lost, 0);
}

#[tokio::test]
async fn telemetry_goes_on_while_firmware_is_fetched_at_the_pace_of_the_field() {
    let vendor = Vendor::new(programs!()).await;
    let mut dut = vendor.device("dut-1", vendor.broker.port());
    dut.pace.block_interval_ms = Pace::default().block_interval_ms;
    // A slow machine is no reason to give a connection up.
    dut.policy = Policy::default();
    let mut running = dut.start();
    running.until(|progress| progress.waits[0].len() >= 30).await;
    let release = vendor.release(NEW, &body(NEW, 6 * BODY_BYTES), "").await;
    vendor.publish(&release).await;
    let mut progress = running.until(confirmed).await;
    for (waits, what) in progress.waits.iter_mut().zip(["before", "during", "after"]) {
        waits.sort_unstable();
        let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
        let (half, most, all) = (at(0.5), at(0.99), at(1.0));
        let count = waits.len();
        println!(
            "{what} the download: PUBACK after {half:.1} ms, 99 % {most:.1} ms, all {all:.1} ms (of {count})"
        );
    }
    // A report each 200 ms, and 300 blocks take 6 s at least.
    assert!(progress.waits[1].len() >= 15, "{} messages during the download", progress.waits[1].len());
    assert_eq!(progress.failures, []);
    let life = running.stop().await;
    assert_eq!(life.summary.state.lost, 0);
}

#[tokio::test]
async fn a_small_change_travels_as_a_delta() {
    let vendor = Vendor::new(programs!()).await;
    let mut running = vendor.device("dut-1", vendor.broker.port()).start();
    let mut changed = body(FIRST, BODY_BYTES);
    changed[50_000..50_100].fill(7);
    let release = vendor.release(NEW, &changed, &format!("--base image-{FIRST}.bin")).await;
    vendor.publish(&release).await;
    let progress = running.until(confirmed).await;
    assert_eq!(progress.booted.last(), Some(&Booted::Swapped(version(NEW))));
    let whole = BODY_BYTES / BLOCK_BYTES;
    assert!(progress.fetches.len() * 20 < whole * 2, "{} of {whole} blocks", progress.fetches.len());
    running.stop().await;
}

#[tokio::test]
async fn a_hundred_cuts_of_the_link_cost_at_most_a_window_each() {
    const CUTS: usize = 100;
    let mut random = fastrand::Rng::with_seed(seed());
    let vendor = Vendor::new(programs!()).await;
    let proxy = Proxy::start(vendor.broker.port()).await;
    let release = vendor.release(NEW, &body(NEW, 4 * BODY_BYTES), "").await;
    vendor.publish(&release).await;
    let mut dut = vendor.device("dut-1", proxy.port());
    dut.pace.block_interval_ms = 2;
    let mut running = dut.start();
    let blocks = vendor.payloads(&release)[0].size as usize / BLOCK_BYTES + 1;
    let mut cuts = 0;
    while cuts < CUTS {
        let connections = running.progress().connections;
        running.until(|progress| progress.connections > connections || progress.connected).await;
        // Two blocks on average: some pass before each cut, so that it goes on.
        let after = random.u64(2_000..12_000);
        let cut = Cut {
            direction: Direction::Down,
            after,
            ending: random.choice([Ending::Fin, Ending::Rst]).unwrap(),
        };
        proxy.cut(cut).await;
        cuts += 1;
        let fetched = different(&running.progress().fetches);
        assert!(fetched < blocks, "the download was over after {cuts} cuts");
    }
    let progress = running.until(confirmed).await;
    let (down, up) = proxy.recordings().iter().fold((0, 0), |(d, u), r| (d + r.down.len(), u + r.up.len()));
    let (again, twice) = (repeated(&progress.fetches), repeated(&progress.blocks));
    println!(
        "{CUTS} cuts, {blocks} blocks: {again} asked for again, {twice} came again; through the proxy {down} bytes down, {up} up"
    );
    assert!(again <= CUTS * WINDOW, "{again} blocks were asked for again");
    assert!(twice <= WINDOW, "{twice} blocks had come whole and came once more");
    assert!(different(&progress.fetches) >= blocks);
    running.stop().await;
}

#[tokio::test]
async fn a_broker_that_restarts_in_the_middle_is_waited_for() {
    let mut vendor = Vendor::new(programs!()).await;
    let release = vendor.release(NEW, &body(NEW, 2 * BODY_BYTES), "").await;
    vendor.publish(&release).await;
    let mut dut = vendor.device("dut-1", vendor.broker.port());
    dut.pace.block_interval_ms = 10;
    let mut running = dut.start();
    for part in 1..=4 {
        running.until(|progress| progress.fetches.len() >= 20 * part).await;
        vendor.broker.stop(mosquitto::Ending::Orderly).await;
        vendor.broker.start_again().await;
    }
    let progress = running.until(confirmed).await;
    assert!(repeated(&progress.fetches) <= 4 * WINDOW, "{}", repeated(&progress.fetches));
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_loses_power_ten_times_goes_on_where_it_was() {
    let vendor = Vendor::new(programs!()).await;
    let release = vendor.release(NEW, &body(NEW, 4 * BODY_BYTES), "").await;
    vendor.publish(&release).await;
    let mut dut = vendor.device("dut-1", vendor.broker.port());
    dut.pace.block_interval_ms = 2;
    let blocks = vendor.payloads(&release)[0].size as usize / BLOCK_BYTES + 1;
    let mut fetches = Vec::new();
    for _ in 0..10 {
        let mut running: Running = dut.start();
        running.until(|progress| progress.fetches.len() >= 16).await;
        let progress = running.cut().await;
        assert_eq!(progress.booted, [Booted::Again(version(FIRST))]);
        fetches.extend(progress.fetches);
    }
    let mut running = dut.start();
    let progress = running.until(confirmed).await;
    fetches.extend(progress.fetches);
    let (again, per_cut) = (repeated(&fetches), WINDOW + KEPT_EVERY / BLOCK_BYTES);
    println!("10 power cuts, {blocks} blocks, {again} asked for twice");
    assert!(again <= 10 * per_cut, "{again} blocks were asked for again");
    running.stop().await;
}
