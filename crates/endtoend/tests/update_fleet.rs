//! A fleet in one process and Mosquitto with the documented rules: a release is rolled out in stages to everybody, and one
//! that is bad stops at its first stage. R-FLEET, R-FW-TIMELY, R-FW-HEALTH.
//!
//! `ENDTOEND_FLEET` sets how many devices there are (50), and with it `cargo xtask bench` measures: what is printed is what
//! broker, fleet and tool have cost.

use endtoend::PATIENCE;
use endtoend::client::{Client, options};
use endtoend::load::Load;
use endtoend::pki::client_config;
use endtoend::programs;
use endtoend::site::Program;
use endtoend::vendor::{BODY_BYTES, FIRST, Vendor, body};
use protocol::firmware::{Phase, takes_part};
use protocol::suit::Envelope;
use protocol::{FirmwareState, Topic};
use rustix::process::{Resource, getrlimit, setrlimit};
use simulator::slots::Misbehaviour;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const GOOD: &str = "1.1.0";
const BAD: &str = "1.2.0";

/// How large the fleet is, and how fast.
struct Size {
    devices: usize,
    shares: &'static str,
    /// Words for `simulator fleet`.
    pace: &'static str,
    sample_ms: u32,
    report_ms: u32,
    spread_s: u32,
    /// How long to look at telemetry alone before and after, in seconds.
    quiet_s: u64,
}

impl Size {
    fn wanted() -> Self {
        let devices = std::env::var("ENDTOEND_FLEET").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
        if devices < 500 {
            let pace = "--trial-ms 500 --trial-deadline-ms 10000 --block-interval-ms 5";
            Self {
                devices,
                shares: "10,50,100",
                pace,
                sample_ms: 500,
                report_ms: 1_000,
                spread_s: 0,
                quiet_s: 0,
            }
        } else {
            let pace = "--trial-ms 10000 --trial-deadline-ms 120000";
            let shares = "1,10,50,100";
            Self { devices, shares, pace, sample_ms: 5_000, report_ms: 10_000, spread_s: 20, quiet_s: 30 }
        }
    }
}

/// What every device says last of its firmware.
async fn states(vendor: &Vendor) -> BTreeMap<String, FirmwareState> {
    let tls = client_config(vendor.pki.operator());
    let mut operator =
        Client::connect(options("operator", vendor.broker.port(), tls)).await.expect("the operator");
    operator.subscribe("device/nobody/command").await.unwrap();
    operator.subscribe("device/+/firmware/state").await.unwrap();
    operator.publish("device/nobody/command", "end", false).await.unwrap();
    let mut states = BTreeMap::new();
    for (topic, payload) in operator.messages_before("end").await.unwrap() {
        let id = Topic::decode(&topic).expect("a topic of the scheme").device;
        states.insert(id.to_string(), FirmwareState::decode(&payload).expect("a state"));
    }
    states
}

/// The same once none of them is in the middle of anything.
async fn settled(vendor: &Vendor) -> BTreeMap<String, FirmwareState> {
    let deadline = Instant::now() + 4 * PATIENCE;
    loop {
        let states = states(vendor).await;
        let busy =
            |state: &&FirmwareState| !matches!(state.phase, Phase::Idle | Phase::Failed | Phase::Waiting);
        let Some(busy) = states.values().find(busy) else { return states };
        assert!(Instant::now() < deadline, "still busy: {busy:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits for a program and gives its exit code, how long it took and what it cost.
async fn ended(mut program: Program) -> (i32, Duration, Load, String) {
    let (started, pid) = (Instant::now(), program.pid());
    let mut load = Load::default();
    loop {
        load = Load::of(pid).filter(|load| load.resident_kib > 0).unwrap_or(load);
        if let Some(status) = program.try_ended() {
            return (
                status.code().unwrap_or(-1),
                started.elapsed(),
                load,
                program.stdout() + &program.stderr(),
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn line(what: &str, Load { cpu_s, resident_kib, taken, given }: Load) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (taken, given, resident) = (mib(taken), mib(given), resident_kib / 1024);
    println!("| {what} | {cpu_s:.1} | {resident} | {taken:.1} | {given:.1} |");
}

#[tokio::test]
async fn a_fleet_updates_in_stages_and_a_bad_release_stops_at_its_first() {
    // Each connection is a file, at both ends.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit that the system grants");
    let size = Size::wanted();
    let vendor = Vendor::new(programs!()).await;
    let (count, port, time) = (size.devices, vendor.broker.port(), vendor.time());
    let Size { sample_ms, report_ms, spread_s, .. } = size;
    let words = format!(
        "device enrol --ca ca --out fleet --count {count} --id-prefix dev- --host localhost --port {port} --time-server {time} \
         --sample-period-ms {sample_ms} --report-period-ms {report_ms} --update-spread-s {spread_s}"
    );
    vendor.site.sensorctl("enrol", &words).await;
    let words = format!(
        "fleet --devices fleet --json --authority authority --image-key image-key/image.pub --firmware image-{FIRST}.bin \
         --starts-per-second 100 {}",
        size.pace
    );
    let mut fleet = vendor.site.start_simulator("fleet", &words);
    fleet.until_said(&format!("{count}/{count} connected"), 1).await;
    let load = |fleet: &Program| (Load::of(vendor.broker.pid()).unwrap(), Load::of(fleet.pid()).unwrap());
    let quiet = load(&fleet);
    sleep(Duration::from_secs(size.quiet_s)).await;
    let before = load(&fleet);

    let release = vendor.release(GOOD, &body(GOOD, BODY_BYTES), "").await;
    let good = vendor.start_publish(&release, &format!("--share {} --wait 15m", size.shares));
    let (code, took, costs, said) = ended(good).await;
    assert_eq!(code, 0, "{said}");
    let after = load(&fleet);
    println!("{count} devices, an image of {BODY_BYTES} bytes, stages of {} %:", size.shares);
    println!("announced to confirmed by the last one: {:.1} s\n{said}", took.as_secs_f64());
    println!("| what | CPU s | resident MiB | MiB in | MiB out |\n|---|---:|---:|---:|---:|");
    if size.quiet_s > 0 {
        line(&format!("broker, {} s of telemetry alone", size.quiet_s), before.0.since(quiet.0));
        line(&format!("fleet, {} s of telemetry alone", size.quiet_s), before.1.since(quiet.1));
    }
    line("broker, the update", after.0.since(before.0));
    line("fleet, the update", after.1.since(before.1));
    line("sensorctl firmware publish", costs);
    for (id, state) in states(&vendor).await {
        assert_eq!((state.version.as_str(), state.fault), (GOOD, None), "{id}");
    }

    // Half of them are to try it, and all of those find out that it is bad.
    let mut bad = Misbehaviour::Panic.body().into_bytes();
    bad.extend(body(BAD, 10_000));
    let release = vendor.release(BAD, &bad, "").await;
    let first = if count < 500 { 50 } else { 1 };
    let words = format!("--share {first},100 --wait 15m --stop-on-failures 10");
    let (code, took, _, said) = ended(vendor.start_publish(&release, &words)).await;
    assert_eq!(code, 3, "it says that it stopped because of failures: {said}");
    println!("\na bad release stopped after {:.1} s\n{said}", took.as_secs_f64());
    let manifest = fs::read(vendor.site.path(&release).join("manifest.suit")).unwrap();
    let manifest = Envelope::decode(&manifest).unwrap().verify(&vendor.powers().firmware.unwrap()).unwrap();
    let states = settled(&vendor).await;
    assert_eq!(states.len(), count);
    let mut tried = 0;
    for (id, state) in &states {
        let chosen = takes_part(&manifest.digest(), &id.parse().unwrap(), first * 10);
        assert!(chosen || (state.attempts == 0 && state.version.as_str() == GOOD), "{id}: {state:?}");
        tried += usize::from(state.attempts > 0);
    }
    assert!(tried > 0);
    let ran = fleet.stop().await;
    println!("{tried} of {count} had tried it\nthe fleet's own account: {}", ran.stdout);
    assert!(ran.stdout.contains(&format!("\"versions\":{{\"{GOOD}\":{count}}}")), "{}", ran.stdout);
    assert!(ran.stdout.contains("\"lost\":0"), "{}", ran.stdout);
}
