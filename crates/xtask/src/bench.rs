//! Measures what the project claims, each figure beside a named reference from the same run: flash and RAM, bytes on
//! the wire per sample, devices per core.

use crate::demo::World;
use crate::process::{self, Server};
use crate::size;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The measurements' options.
#[derive(clap::Args)]
pub struct Arguments {
    /// Devices in the fleet
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    devices: u32,
    /// Devices in the fleet whose firmware is updated
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(50..=5_000))]
    updated: u32,
    /// Seconds for each measurement of the fleet
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(10..=3_600))]
    seconds: u32,
}

/// Prints every measurement.
pub fn run(arguments: &Arguments) -> Result<()> {
    eprintln!("building with optimisation ...");
    let programs = process::build(&["simulator", "sensorctl", "reference"], true)?;
    println!("## Flash and RAM\n");
    size::run()?;
    println!("\n## Bytes on the wire per sample\n");
    wire(&programs)?;
    println!("\n## Devices per core\n");
    fleet(&programs, arguments)?;
    println!("\n## Firmware of a fleet\n");
    update(arguments.updated)
}

/// A TCP proxy that counts what passes, in both directions.
struct Meter {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Meter {
    fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = bytes.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else { continue };
                    let counter = counter.clone();
                    std::thread::spawn(move || pass_on(from, into, &counter));
                }
            }
        });
        Ok(Self { port, bytes })
    }
}

fn pass_on(mut from: TcpStream, mut into: TcpStream, counter: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        counter.fetch_add(len as u64, Ordering::Relaxed);
        if buffer.get(..len).is_none_or(|part| into.write_all(part).is_err()) {
            break;
        }
    }
    // The other side may be gone already.
    let _gone = into.shutdown(Shutdown::Both);
}

/// Milliseconds between two samples while bytes are counted.
const WIRE_PERIOD_MS: u32 = 250;
/// Seconds before counting starts: the handshake is not part of a sample.
const SETTLE_S: u64 = 3;
/// Seconds of counting: a whole number of the longest report period.
const COUNT_S: u32 = 24;

fn wire(programs: &Path) -> Result<()> {
    let world = World::start(programs, None)?;
    let samples = f64::from(COUNT_S * 1000 / WIRE_PERIOD_MS);
    let mut reference = None;
    println!("TCP payload in both directions (TLS and MQTT with acknowledgements), handshake not counted,");
    println!("{samples} samples each:\n");
    println!("| client | bytes per sample | of the reference |");
    println!("|---|---:|---:|");
    for (name, batch) in [
        ("reference: one publish per sample, self-describing JSON", None),
        ("device, 1 sample per report", Some(1)),
        ("device, 8 samples per report", Some(8)),
        ("device, 32 samples per report", Some(32)),
    ] {
        let meter = Meter::start(world.broker_port())?;
        let report = WIRE_PERIOD_MS * batch.unwrap_or(1);
        let folder = world.folder(&format!("wire-{}", batch.unwrap_or(0)));
        world.enrol(&folder.join("meter"), "meter", meter.port, WIRE_PERIOD_MS, report)?;
        let mut command;
        if batch.is_some() {
            command = Command::new(programs.join("simulator"));
            command.args(["run", "--device"]).arg(folder.join("meter"));
        } else {
            command = Command::new(programs.join("reference"));
            command
                .args(["--seconds", "60", "--period-ms", &WIRE_PERIOD_MS.to_string(), "--devices"])
                .arg(&folder);
        }
        let client = Server::background(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        std::thread::sleep(Duration::from_secs(SETTLE_S));
        let before = meter.bytes.load(Ordering::Relaxed);
        ensure!(before > 0, "{name}: nothing was sent");
        std::thread::sleep(Duration::from_secs(u64::from(COUNT_S)));
        let per_sample = (meter.bytes.load(Ordering::Relaxed) - before) as f64 / samples;
        drop(client);
        let reference = *reference.get_or_insert(per_sample);
        println!("| {name} | {per_sample:.1} | {:.0} % |", per_sample / reference * 100.0);
    }
    Ok(())
}

fn json_of(command: &mut Command) -> Result<Value> {
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "`{}` ended with {}", process::words(command), output.status);
    let text = String::from_utf8(output.stdout)?;
    let last =
        text.lines().last().with_context(|| format!("`{}` printed nothing", process::words(command)))?;
    Ok(serde_json::from_str(last)?)
}

fn number(value: &Value, field: &str) -> Result<f64> {
    value.get(field).and_then(Value::as_f64).with_context(|| format!("no {field} in {value}"))
}

fn fleet(programs: &Path, arguments: &Arguments) -> Result<()> {
    let world = World::start(programs, None)?;
    let folder: PathBuf = world.folder("fleet");
    // A report every two seconds: far more than in the field, so that the processor time can be measured at all.
    world.enrol_many(&folder, arguments.devices, 1_000, 2_000)?;
    let seconds = arguments.seconds.to_string();
    let mut command = Command::new(programs.join("simulator"));
    let device = json_of(command.args(["fleet", "--json", "--seconds", &seconds, "--devices"]).arg(&folder))?;
    let messages = number(&device, "messages")?;
    let bytes = number(&device, "payload_bytes")? / messages.max(1.0);
    let mut command = Command::new(programs.join("reference"));
    command.args(["--period-ms", "2000", "--payload-bytes", &format!("{bytes:.0}"), "--seconds", &seconds]);
    let bare = json_of(command.arg("--devices").arg(&folder))?;
    println!(
        "{} devices in one process for {seconds} s, a sample a second, a report every 2 s, mutual TLS:\n",
        arguments.devices
    );
    println!("| client | messages | CPU s | CPU ms per message | devices per core at this rate |");
    println!("|---|---:|---:|---:|---:|");
    let mut costs = Vec::new();
    for (name, outcome) in [("reference: the bare MQTT library, same publishes", &bare), ("device", &device)]
    {
        let (messages, cpu) = (number(outcome, "messages")?, number(outcome, "cpu_seconds")?);
        let per_core = f64::from(arguments.devices) * f64::from(arguments.seconds) / cpu.max(0.01);
        println!(
            "| {name} | {messages} | {cpu:.2} | {:.3} | {per_core:.0} |",
            cpu * 1000.0 / messages.max(1.0)
        );
        costs.push(cpu / messages.max(1.0));
    }
    if let [bare, device] = costs[..] {
        println!("\na message of the device costs {:.2} times one of the bare library", device / bare);
    }
    for (what, field) in [("connect", "connect"), ("publish to PUBACK", "acknowledge")] {
        let percentiles = device.get(field).context("no percentiles")?;
        println!(
            "{what}: median {:.1} ms, 99 % {:.1} ms",
            number(percentiles, "p50_ms")?,
            number(percentiles, "p99_ms")?
        );
    }
    println!("resident memory: {:.0} KiB per device", number(&device, "memory_kib_per_device")?);
    Ok(())
}

/// A staged roll-out to a fleet, and a bad release that stops: the test of the same, with more devices and its figures shown.
fn update(devices: u32) -> Result<()> {
    if !process::is_installed("mosquitto") {
        process::install(&["mosquitto"])?;
    }
    let mut test =
        process::cargo(&["test", "--release", "--quiet", "--package", "endtoend", "--test", "update_fleet"]);
    process::run(test.args(["--", "--nocapture"]).env("ENDTOEND_FLEET", devices.to_string()))
}
