//! The device on this machine: a test authority, a time server, a broker, a registration authority, a blank device that is
//! provisioned over its serial line, a release of its firmware, a change of its configuration, its security log, and the
//! operator's view, each a program of its own, as they would be in the field.

use crate::process::{self, Server};
use crate::supervise::{self, Ended};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The demo's options.
#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds to run after everything is up
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(3..=86_400))]
    seconds: u32,
    /// Run until Ctrl-C
    #[arg(long, conflicts_with = "seconds")]
    forever: bool,
    /// Show nothing but one JSON object with the summary, at the end
    #[arg(long, conflicts_with = "forever")]
    json: bool,
    /// Keep keys, configuration, flash and logs in this folder, which must not exist yet
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Run in this folder and leave it: what the demo itself asks for
    #[arg(long, hide = true, value_name = "DIR")]
    inside: Option<PathBuf>,
    /// Write the last screen of the live view to this file (.svg or .txt)
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
}

/// Milliseconds between two samples and between two reports: fast, so that something moves.
const PERIODS_MS: [u32; 2] = [250, 1_000];

/// Longest wait before another connection, in milliseconds: the factory's keys are replaced while one looks on.
const RECONNECT_MS: &str = "2000";

/// How long a program may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long new firmware must be healthy before it stays, in milliseconds: two minutes in the field.
const TRIAL_MS: &str = "3000";

/// Seconds after the device's start until the release is published, and the least that the demo must last to show it.
const RELEASE_AFTER: Duration = Duration::from_secs(7);
const RELEASE_SECONDS: u32 = 25;

/// How long the device gets to take the release, before its configuration is changed.
const RELEASE_TIME: Duration = Duration::from_secs(20);

/// Milliseconds between two samples from then on.
const CHANGED_SAMPLE_MS: u32 = 500;

/// Version of the release, newer than the one that this program is, and the bytes of its image's body.
const RELEASE: &str = "0.2.0";
const RELEASE_BYTES: usize = 64 * 1024;

/// Modelled seconds per second: a day passes in a quarter of an hour.
const SPEED: &str = "100";

/// What is built for it.
pub const PROGRAMS: [&str; 2] = ["simulator", "sensorctl"];

/// What the folder of a demo is called, before the number of its process.
const FOLDER: &str = "demo-";

/// Removes what demos have left that were killed with everything that could have done it: their folders hold keys.
pub fn remove_left_overs() {
    for entry in std::fs::read_dir(process::target()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            remove(&entry.path());
        }
    }
}

fn remove(folder: &Path) {
    if folder.exists() && std::fs::remove_dir_all(folder).is_err() {
        eprintln!("{} could not be removed", folder.display());
    }
}

fn own_folder() -> PathBuf {
    process::target().join(format!("{FOLDER}{}", std::process::id()))
}

/// A world for one device, in a folder of its own.
pub struct World {
    folder: PathBuf,
    programs: PathBuf,
    keep: bool,
    broker: Server,
    time_server: Server,
    _renew: Server,
}

impl World {
    /// Makes the authority and starts time server and broker.
    pub fn start(programs: &Path, folder: Option<&Path>) -> Result<Self> {
        let keep = folder.is_some();
        let folder = folder.map_or_else(own_folder, Path::to_path_buf);
        if folder.exists() {
            bail!("{} exists already: give another folder, or remove it", folder.display());
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let program = |name: &str| Command::new(programs.join(name));
        let log = |name: &str| -> Result<Stdio> { Ok(std::fs::File::create(folder.join(name))?.into()) };
        let ca = folder.join("ca");
        process::run(program("sensorctl").args(["ca", "init", "--out"]).arg(&ca).stdout(Stdio::null()))?;
        let authority = folder.join("authority");
        let mut init = program("sensorctl");
        init.args(["authority", "init", "--out"]).arg(&authority).stdout(Stdio::null());
        process::run(&mut init)?;
        let mut key = program("sensorctl");
        key.args(["firmware", "key", "--out"]).arg(folder.join("image-key")).stdout(Stdio::null());
        process::run(&mut key)?;
        let time_server = Server::start(
            program("simulator").args(["time-server", "--port", "0"]).stderr(log("time-server.log")?),
        )?;
        let broker = Server::start(
            program("simulator").args(["broker", "--port", "0", "--ca"]).arg(&ca).stderr(log("broker.log")?),
        )?;
        let mut renew = program("sensorctl");
        renew.args(["renew", "--host", "localhost", "--port", &broker.port.to_string(), "--ca"]).arg(&ca);
        renew.arg("--authority").arg(&authority).arg("--registry").arg(folder.join("registry.jsonl"));
        let renew = Server::background(renew.stdout(log("renew.log")?).stderr(log("renew.err.log")?))?;
        Ok(Self { folder, programs: programs.to_path_buf(), keep, broker, time_server, _renew: renew })
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// The broker's port.
    pub fn broker_port(&self) -> u16 {
        self.broker.port
    }

    /// A folder of this world.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn enrolment(&self, port: u16, sample_ms: u32, report_ms: u32) -> Command {
        let mut enrol = self.program("sensorctl");
        enrol.args(["device", "enrol", "--host", "localhost", "--port", &port.to_string()]);
        enrol.args(["--time-server", &format!("127.0.0.1:{}", self.time_server.port)]);
        enrol.args([
            "--sample-period-ms",
            &sample_ms.to_string(),
            "--report-period-ms",
            &report_ms.to_string(),
        ]);
        enrol.arg("--ca").arg(self.folder("ca")).stdout(Stdio::null());
        enrol
    }

    /// Enrols one device, which reaches its service at `port`, into `folder`.
    pub fn enrol(&self, folder: &Path, id: &str, port: u16, sample_ms: u32, report_ms: u32) -> Result<()> {
        let mut enrol = self.enrolment(port, sample_ms, report_ms);
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent)?;
        }
        process::run(enrol.args(["--id", id, "--out"]).arg(folder))
    }

    /// Enrols `count` devices into sub-folders of `folder`.
    pub fn enrol_many(&self, folder: &Path, count: u32, sample_ms: u32, report_ms: u32) -> Result<()> {
        let mut enrol = self.enrolment(self.broker.port, sample_ms, report_ms);
        enrol.args(["--count", &count.to_string(), "--id-prefix", "dev-", "--out"]);
        process::run(enrol.arg(folder))
    }

    /// Starts a blank device and provisions it over its serial line; what it notes goes to a file.
    pub fn device(&self) -> Result<Server> {
        let line = format!("unix:{}", self.folder("line").display());
        let log = std::fs::File::create(self.folder("device.log"))?;
        let mut run = self.program("simulator");
        run.args(["run", "--speed", SPEED, "--backoff-cap-ms", RECONNECT_MS, "--device"])
            .arg(self.folder("dev-1"));
        run.args(["--line", &line, "--factory-key"]).arg(self.folder("authority").join("factory.pub"));
        run.args(["--trial-ms", TRIAL_MS, "--image-key"]).arg(self.folder("image-key").join("image.pub"));
        let device = Server::background(run.stdout(log.try_clone()?).stderr(log))?;
        let blank = || self.device_log().contains("ready blank device");
        let deadline = Instant::now() + START_TIMEOUT;
        while !blank() {
            if Instant::now() > deadline {
                bail!("the device did not start");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let [sample_ms, report_ms] = PERIODS_MS.map(|millis| millis.to_string());
        let mut provision = self.program("sensorctl");
        provision.args(["provision", "--line", &line, "--id", "dev-1", "--host", "localhost"]);
        provision.args(["--port", &self.broker.port.to_string()]);
        provision.args(["--time-server", &format!("127.0.0.1:{}", self.time_server.port)]);
        provision.args(["--sample-period-ms", &sample_ms, "--report-period-ms", &report_ms]);
        provision.args(["--update-spread-s", "0"]);
        provision.arg("--ca").arg(self.folder("ca")).arg("--authority").arg(self.folder("authority"));
        provision.arg("--registry").arg(self.folder("registry.jsonl"));
        let log = std::fs::File::create(self.folder("provision.log"))?;
        process::run(provision.stdout(log.try_clone()?).stderr(log))?;
        Ok(device)
    }

    /// Makes a release of new firmware and publishes it; who publishes notes in a file what comes of it.
    pub fn release(&self) -> Result<Server> {
        let (body, image) = (self.folder("firmware-body"), self.folder("firmware.bin"));
        // Something that a device could run, as far as anybody here can tell.
        std::fs::write(&body, format!("firmware {RELEASE}\n").repeat(RELEASE_BYTES / 15))?;
        let log = std::fs::File::create(self.folder("firmware.log"))?;
        let sensorctl = || -> Result<Command> {
            let mut command = self.program("sensorctl");
            command.arg("firmware").stdout(log.try_clone()?).stderr(log.try_clone()?);
            Ok(command)
        };
        let mut make = sensorctl()?;
        make.args(["image", "--version", RELEASE, "--board", "linux", "--body"]).arg(&body);
        make.arg("--key").arg(self.folder("image-key")).arg("--out").arg(&image);
        process::run(&mut make)?;
        let mut sign = sensorctl()?;
        sign.args(["sign", "--board", "linux", "--image"]).arg(&image);
        sign.arg("--authority").arg(self.folder("authority")).arg("--out").arg(self.folder("release"));
        process::run(sign.arg("--image-key").arg(self.folder("image-key").join("image.pub")))?;
        let mut publish = sensorctl()?;
        publish.args(["publish", "--share", "100", "--host", "localhost"]);
        publish.args(["--port", &self.broker.port.to_string(), "--release"]).arg(self.folder("release"));
        publish.arg("--authority").arg(self.folder("authority")).arg("--ca").arg(self.folder("ca"));
        publish.arg("--registry").arg(self.folder("registry.jsonl"));
        Server::background(&mut publish)
    }

    /// Has the device take samples at another period; who pushes that notes in a file what comes of it.
    fn change(&self) -> Result<Server> {
        let change = self.folder("change.json");
        std::fs::write(
            &change,
            format!("{{\"v\":2,\"id\":\"dev-1\",\"sample_period_ms\":{CHANGED_SAMPLE_MS}}}\n"),
        )?;
        let log = std::fs::File::create(self.folder("change.log"))?;
        let mut push = self.program("sensorctl");
        push.args([
            "config",
            "push",
            "--yes",
            "--host",
            "localhost",
            "--port",
            &self.broker.port.to_string(),
        ]);
        push.arg("--ca").arg(self.folder("ca")).arg("--authority").arg(self.folder("authority")).arg(change);
        Server::background(push.stdout(log.try_clone()?).stderr(log))
    }

    /// Takes the device's security log from the broker, verifies it, keeps it and acknowledges it.
    fn follow_log(&self) -> Result<Server> {
        let log = std::fs::File::create(self.folder("security.log"))?;
        let mut follow = self.program("sensorctl");
        follow.args(["log", "follow", "--host", "localhost", "--port", &self.broker.port.to_string()]);
        follow.arg("--ca").arg(self.folder("ca")).arg("--authority").arg(self.folder("authority"));
        follow.arg("--registry").arg(self.folder("registry.jsonl")).arg("--store").arg(self.folder("logs"));
        Server::background(follow.stdout(log.try_clone()?).stderr(log))
    }

    /// Verifies what was taken of the security log, all of it once more, and shows it.
    fn verify_log(&self) -> Result<()> {
        let logs = |action: &str| {
            let mut command = self.program("sensorctl");
            command.args(["log", action]).arg(self.folder("logs"));
            command.arg("--registry").arg(self.folder("registry.jsonl"));
            command
        };
        process::run(&mut logs("show"))?;
        process::run(&mut logs("verify"))
    }

    /// The operator's view, not started yet.
    pub fn watch(&self) -> Command {
        let mut watch = self.program("sensorctl");
        watch.arg("watch").args(["--host", "localhost", "--port", &self.broker.port.to_string()]);
        watch.arg("--ca").arg(self.folder("ca"));
        watch
    }

    /// What the device has noted so far.
    pub fn device_log(&self) -> String {
        std::fs::read_to_string(self.folder("device.log")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.folder);
        }
    }
}

/// Runs the demo. Everything happens in a process of its own, so that whatever ends it, by Ctrl-C too, leaves no folder with
/// keys and no program behind.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.inside {
        return run_in(folder, arguments);
    }
    remove_left_overs();
    let folder = arguments.keep.clone().unwrap_or_else(own_folder);
    let mut inside = Command::new("/proc/self/exe");
    inside.args(std::env::args_os().skip(1)).arg("--inside").arg(&folder);
    let ended = supervise::run(&mut inside, None);
    if arguments.keep.is_none() {
        remove(&folder);
    }
    match ended? {
        Ended::Status(status) if status.success() => Ok(()),
        // It has said why.
        Ended::Status(status) => std::process::exit(status.code().unwrap_or(1)),
        Ended::Signal(signal) => supervise::exit_for(signal),
        Ended::Late => bail!("the demo did not end in time"),
    }
}

fn run_in(folder: &Path, arguments: &Arguments) -> Result<()> {
    if process::target().join("debug/simulator").exists() {
        eprintln!("building what has changed of the device and its tools ...");
    } else {
        eprintln!(
            "building the device and its tools from source: some 400 steps, which take six minutes on two cores, \
             and seconds from then on ..."
        );
    }
    let programs = process::build(&PROGRAMS, false)?;
    let world = World::start(&programs, Some(folder))?;
    let mut watch = world.watch();
    if !arguments.forever {
        watch.args(["--seconds", &arguments.seconds.to_string()]);
    }
    if let Some(file) = &arguments.snapshot {
        watch.arg("--snapshot").arg(file);
    }
    let outcome = if arguments.json {
        summary(&world, &mut watch).map(|text| println!("{text}"))
    } else {
        let released = arguments.forever || arguments.seconds >= RELEASE_SECONDS;
        show(&world, &mut watch, released)
    };
    if outcome.is_err() {
        eprintln!("what the device noted:\n{}", world.device_log());
    }
    if outcome.is_ok() && !arguments.json {
        println!("how it got there, as the device noted it:");
        for line in world.device_log().lines().filter(|line| !line.is_empty()) {
            println!("    {line}");
        }
        // Nothing has come yet where the demo was very short.
        if world.folder("logs").join("dev-1.log").exists() {
            println!("what the device has signed of that, as the operator keeps it:");
            world.verify_log()?;
        }
    }
    if let Some(folder) = &arguments.keep {
        eprintln!("keys, configuration, flash and logs are in {}", folder.display());
    }
    outcome
}

/// How long the view gets to subscribe before the device says hello.
const HEAD_START: Duration = Duration::from_secs(1);

fn show(world: &World, watch: &mut Command, released: bool) -> Result<()> {
    let text = process::words(watch);
    let mut view = watch.spawn().with_context(|| format!("`{text}` cannot be started"))?;
    std::thread::sleep(HEAD_START);
    let device = world.device();
    let acts = device.is_ok().then(|| act(world, released));
    let status = view.wait()?;
    drop(device?);
    drop(acts.transpose()?);
    if status.success() { Ok(()) } else { bail!("`{text}` ended with {status}") }
}

/// What happens to the device: what runs for that.
fn act(world: &World, released: bool) -> Result<Vec<Server>> {
    let mut acts = vec![world.follow_log()?];
    if released {
        std::thread::sleep(RELEASE_AFTER);
        acts.push(world.release()?);
        let stays = || world.device_log().contains("has proven itself and stays");
        let deadline = Instant::now() + RELEASE_TIME;
        while !stays() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        acts.push(world.change()?);
    }
    Ok(acts)
}

/// Runs the view without a screen, starts the device once the view is connected, and gives the last line of its JSON,
/// which is the summary. No sample at all is a failure.
pub fn summary(world: &World, watch: &mut Command) -> Result<Value> {
    let mut view = watch
        .arg("--json")
        .stdout(Stdio::piped())
        .spawn()
        .context("the operator's view cannot be started")?;
    let lines = BufReader::new(view.stdout.take().context("the view has no output")?).lines();
    let mut device = None;
    let mut last = None;
    for line in lines {
        let event: Value = serde_json::from_str(&line?)?;
        if device.is_none() && event.get("type").is_some_and(|kind| kind == "link") {
            device = Some(world.device()?);
        }
        last = Some(event);
    }
    let status = view.wait()?;
    let summary = last.context("the operator's view printed nothing")?;
    // It tells losses by its exit code; the caller judges by the numbers.
    if status.code().is_none_or(|code| code == 1 || code == 2) {
        bail!("the operator's view ended with {status}: {summary}");
    }
    match summary.get("samples").and_then(Value::as_u64) {
        Some(samples) if samples > 0 => Ok(summary),
        _ => bail!("no sample has arrived: {summary}"),
    }
}
