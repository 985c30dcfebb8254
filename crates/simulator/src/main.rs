//! `simulator`: the sensor device on Linux, many of them, and the broker and time server to try them with.

mod arguments;

use anyhow::{Context, Result, bail};
use arguments::{Listen, Sensing, Timing, TokenArgs, Updates};
use clap::{Args, Parser, Subcommand};
use device::provisioning::{Standing, standing};
use rustix::process::{Resource, getrlimit, setrlimit};
use simulator::broker::tokens::{Refused, Tokens};
use simulator::broker::{self, Broker};
use simulator::fleet::Fleet;
use simulator::folder::{self, Folder, public_key};
use simulator::life::{self, Outcome};
use simulator::line::{Line, Place};
use simulator::machine::Machine;
use simulator::port::{Port, Report, Stop, Stopper, Summary, stopper};
use simulator::slots::{self, Booted};
use simulator::time_server::{Behaviour, TimeServer};
use simulator::tls::Version;
use simulator::vault::{self, Injection};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The secure sensor device on Linux.
///
/// Every command that serves prints one line that begins with "ready" on standard output as soon as it does, and ends
/// in an orderly way on Ctrl-C or SIGTERM.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one device and print its log
    Run(Run),
    /// Run every device below a folder in one process and measure rates, latencies and memory
    Fleet(FleetArgs),
    /// Run a broker with mutual TLS from a CA folder (for demonstrations: no access control by topic)
    Broker {
        /// Folder with ca.crt, broker.key and broker.crt
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        tokens: TokenArgs,
    },
    /// Run an SNTP server with this machine's clock (for demonstrations)
    TimeServer {
        #[command(flatten)]
        listen: Listen,
        /// Milliseconds that the answers are ahead of this machine's clock
        #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
        offset_ms: i64,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Folder of the device: with --line what it keeps itself, else config.json, device.key, device.crt and roots.crt
    /// of `sensorctl device enrol`
    #[arg(long, value_name = "DIR")]
    device: PathBuf,
    /// File that stands for the device's flash; the vault lies beside it [default: flash.bin in its folder]
    #[arg(long, value_name = "FILE")]
    flash: Option<PathBuf>,
    /// File with what seals the vault, made where it is not there [default: beside the flash]
    #[arg(long, value_name = "FILE")]
    sealing_key: Option<PathBuf>,
    /// The factory's serial line, on which a blank device waits for `sensorctl provision`: pty:LINK, unix:PATH or stdio
    #[arg(long, value_name = "LINE", requires = "factory_key")]
    line: Option<Place>,
    /// Who may provision it: factory.pub of `sensorctl authority init`
    #[arg(long, value_name = "FILE", requires = "line")]
    factory_key: Option<PathBuf>,
    /// Take keys from the factory too, instead of only those that are made in here
    #[arg(long, requires = "line")]
    injection: bool,
    /// Stop after this many seconds instead of on Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Speak TLS 1.2 alone with the service, as firmware that is built for it does, instead of TLS 1.3 alone
    #[arg(long)]
    tls12: bool,
    #[command(flatten)]
    sensing: Sensing,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    updates: Updates,
}

#[derive(Debug, Args)]
struct FleetArgs {
    /// Folder whose sub-folders are enrolled devices
    #[arg(long, value_name = "DIR")]
    devices: PathBuf,
    /// Stop after this many seconds instead of on Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Folder for one flash file per device [default: everything is kept in RAM and forgotten]
    #[arg(long, value_name = "DIR")]
    flash_dir: Option<PathBuf>,
    /// How many devices are started in a second
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    starts_per_second: u32,
    #[command(flatten)]
    sensing: Sensing,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    updates: Updates,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = vault::no_core_dumps() {
        eprintln!("simulator: core dumps cannot be forbidden: {error}");
        return ExitCode::FAILURE;
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("cannot start").and_then(|runtime| runtime.block_on(carry_out(cli.command)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => run(args).await,
        Command::Fleet(args) => run_fleet(args).await,
        Command::Broker { ca, listen, tokens } => run_broker(&ca, &listen, tokens).await,
        Command::TimeServer { listen, offset_ms } => {
            let interrupted = interruption()?;
            let address = SocketAddr::new(listen.address, listen.port);
            let behaviour = Behaviour { offset_ms, ..Behaviour::default() };
            let server = TimeServer::start(address, behaviour);
            let mut server = server.await.with_context(|| format!("cannot listen on {address}"))?;
            ready(&format!("time-server port={}", server.address().port()))?;
            tokio::select! {
                () = server.ended() => bail!("the time server's socket failed"),
                () = interrupted => Ok(()),
            }
        }
    }
}

async fn run_broker(ca: &Path, listen: &Listen, tokens: TokenArgs) -> Result<()> {
    let interrupted = interruption()?;
    let address = SocketAddr::new(listen.address, listen.port);
    let TokenArgs { registry, token_port, audience } = tokens;
    let mut again: Vec<OsString> = vec!["broker".into(), "--ca".into(), ca.into()];
    let mut broker = match registry {
        None => Broker::start(ca, address)?,
        Some(registry) => {
            again.extend([
                "--registry".into(),
                registry.clone().into(),
                "--audience".into(),
                (&audience).into(),
            ]);
            let address_of_tokens = SocketAddr::new(listen.address, token_port);
            let refused: Refused = Box::new(|client, why| eprintln!("refused {client:?}: {why}"));
            let tokens = Tokens { registry, address: address_of_tokens, audience, refused };
            Broker::start_with_tokens(ca, address, tokens)?
        }
    };
    let port = broker.address().port();
    let mut text = format!("broker port={port}");
    let numbers = [("--address", listen.address.to_string()), ("--port", port.to_string())];
    again.extend(numbers.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
    if let Some(address) = broker.token_address() {
        text = format!("{text} token_port={}", address.port());
        again.extend(["--token-port".into(), address.port().to_string().into()]);
    }
    broker::start_over_on_panic(again);
    ready(&text)?;
    tokio::select! {
        error = broker.ended() => Err(error.into()),
        () = interrupted => Ok(()),
    }
}

async fn run(args: Run) -> Result<()> {
    let (stop, stopped) = stopper();
    let stop_later = stop_later(stop, args.seconds)?;
    tokio::select! {
        never = stop_later => match never {},
        done = run_until_stopped(args, stopped) => done,
    }
}

async fn run_until_stopped(args: Run, stop: Stop) -> Result<()> {
    let (policy, update) = (args.timing.policy()?, args.updates.read()?);
    let path = args.flash.unwrap_or_else(|| args.device.join("flash.bin"));
    let injection = if args.injection { Injection::Allowed } else { Injection::Refused };
    let new_port = || {
        let mut port = Port::new(args.sensing.model(0));
        port.info.policy = policy;
        port.tls = if args.tls12 { Version::Tls12 } else { Version::Tls13 };
        update.apply(&mut port);
        port.observer = Box::new(move |report| {
            // A log that nobody reads (a closed pipe) is no reason to stop measuring.
            let _unread = match report {
                Report::Started { id, boot } => ready(&format!("device id={id} boot={boot}")),
                Report::Booted(Booted::Again(_)) => Ok(()),
                Report::Note { .. }
                | Report::Warning { .. }
                | Report::Unusable(_)
                | Report::NotReached { .. }
                | Report::Dropped(_)
                | Report::Booted(_)
                | Report::Restarting { .. } => line(&report.to_string()),
                _ => Ok(()),
            };
        });
        port
    };
    let Some(place) = &args.line else {
        let folder =
            Folder { powers: update.powers, group: update.group.clone(), ..Folder::load(&args.device)? };
        let mut machine = Machine::open(&path, args.sealing_key.as_deref(), Injection::Allowed)?;
        begin(&mut machine, update.firmware.as_deref())?;
        folder::provision(&mut machine, &folder)?;
        let summary = new_port().run(&mut machine, stop).await?;
        return stopped(&summary);
    };
    std::fs::create_dir_all(&args.device)
        .with_context(|| format!("cannot make {}", args.device.display()))?;
    let mut machine = Machine::open(&path, args.sealing_key.as_deref(), injection)?;
    begin(&mut machine, update.firmware.as_deref())?;
    let factory = args.factory_key.as_deref().context("--line needs --factory-key")?;
    let about = life::about(public_key(factory)?, args.injection);
    let mut serial = Line::open(place).with_context(|| format!("cannot open the line {place:?}"))?;
    if standing(&mut machine)? == Standing::Blank {
        ready("blank device")?;
    }
    loop {
        let outcome = life::serve(&mut machine, &mut serial, &about, new_port(), stop.clone()).await?;
        match &outcome {
            Outcome::Provisioned => line("provisioned")?,
            Outcome::StillBlank => line("stopped: still blank")?,
            Outcome::Ran(summary) => stopped(summary)?,
        }
        if !life::begins_again(&outcome) {
            return Ok(());
        }
    }
}

/// Gives a new device its first firmware.
fn begin(machine: &mut Machine, firmware: Option<&[u8]>) -> Result<()> {
    machine.slots.begin_with(firmware.unwrap_or(&slots::factory()))?;
    Ok(())
}

fn stopped(summary: &Summary) -> Result<()> {
    let state = &summary.state;
    line(&format!(
        "stopped after {} samples: {} lost, {} missed, {} kept for the next start, {} connections, {} failures",
        summary.next_seq, state.lost, state.missed, state.waiting, state.connections, state.failures
    ))
}

async fn run_fleet(args: FleetArgs) -> Result<()> {
    let mut fleet = Fleet::load(&args.devices)?;
    fleet.policy = args.timing.policy()?;
    let update = args.updates.read()?;
    (fleet.image_key, fleet.firmware, fleet.pace) = (update.image_key, update.firmware, update.pace);
    fleet.set_powers(update.powers, &update.group);
    fleet.flash_dir = args.flash_dir;
    fleet.starts_per_second = args.starts_per_second;
    fleet.progress = Some(Box::new(|progress| eprintln!("{progress}")));
    let (stop, stopped) = stopper();
    let stop_later = stop_later(stop, args.seconds)?;
    ready(&format!("fleet devices={}", fleet.len()))?;
    let outcome = tokio::select! {
        never = stop_later => match never {},
        outcome = fleet.run(|number| args.sensing.model(number), stopped) => outcome?,
    };
    if args.json {
        line(&outcome.json())?;
    } else {
        line(&outcome.to_string())?;
    }
    if !outcome.broken.is_empty() {
        bail!(
            "{} of {} devices could not run: {}",
            outcome.broken.len(),
            outcome.devices,
            outcome.broken.join("; ")
        );
    }
    Ok(())
}

/// Stops devices on Ctrl-C, SIGTERM or after `seconds`. Its future never ends, so that it can stand beside theirs.
fn stop_later(stop: Stopper, seconds: Option<u64>) -> Result<impl Future<Output = Infallible>> {
    let interrupted = interruption()?;
    Ok(async move {
        match seconds {
            Some(seconds) => {
                let seconds = Duration::from_secs(seconds);
                tokio::select! { () = interrupted => {}, () = tokio::time::sleep(seconds) => {} }
            }
            None => interrupted.await,
        }
        stop.stop();
        std::future::pending().await
    })
}

/// Listens for Ctrl-C and SIGTERM from now on; the future waits for one of them.
fn interruption() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}

fn ready(what: &str) -> Result<()> {
    line(&format!("ready {what}"))
}

/// Prints at once, also where standard output is a pipe.
fn line(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Lets the process open as many files as the system grants it: each connection is one.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it fails, who goes beyond the old limit reports what is missing.
    let _as_before = setrlimit(Resource::Nofile, limit);
}
