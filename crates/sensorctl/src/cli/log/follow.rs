//! `sensorctl log follow`.

use super::super::Failure;
use super::super::firmware::arguments::Connect;
use super::super::shared::block_on;
use crate::log::describe;
use crate::log::export::{cef, json};
use crate::log::follow::run::{self, RunError, Told};
use crate::log::follow::{Collector, News, Options};
use crate::log::store::Store;
use crate::operator::now;
use crate::output::{Out, note};
use crate::powers::LiveKey;
use crate::registry::Registry;
use clap::{Args, ValueEnum};
use protocol::document::Power;
use protocol::{DeviceId, EpochMillis};
use serde_json::json;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Follow {
    #[command(flatten)]
    connect: Connect,
    /// The registry: a log is signed with an identity key of the device
    #[arg(long, value_name = "FILE")]
    registry: PathBuf,
    /// Folder where the logs are kept; it is made where it does not exist
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Folder with the keys of the powers; the private key of the power over configurations acknowledges
    #[arg(long, value_name = "DIR", required_unless_present = "no_acknowledge")]
    authority: Option<PathBuf>,
    /// Only keep what comes: devices keep it too, until somebody acknowledges it
    #[arg(long)]
    no_acknowledge: bool,
    /// Only this device; may be repeated
    #[arg(long)]
    id: Vec<DeviceId>,
    /// Take records behind the first gap of these devices that no record explains, when it has waited for a minute: what is
    /// missing stays missing
    ///
    /// For a store that begins late or was restored from an older copy. The gap shows in `log verify` for ever, and the device
    /// never delivers again what is missing.
    #[arg(long, requires = "id")]
    accept_gaps: bool,
    /// What records are printed as
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// End after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Name of the session at the broker, which keeps deliveries for it: one for each that runs at the same time
    #[arg(long, value_name = "TEXT", default_value = "operator.log")]
    client_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// A JSON object a line, for whatever else happens too
    Json,
    /// `ArcSight` Common Event Format
    Cef,
}

impl Follow {
    pub(super) fn run(self) -> Result<(), Failure> {
        let authority = self.authority.filter(|_| !self.no_acknowledge);
        let signer = authority.map(|folder| LiveKey::open(&folder, Power::Configuration));
        let signer = signer.transpose().map_err(Failure::error)?;
        let operator = self.connect.operator("log")?.named(self.client_id);
        if !self.registry.exists() {
            let why = format!("{} does not exist: `sensorctl provision` begins it", self.registry.display());
            return Err(Failure::error(why));
        }
        let registry = Registry::open(&self.registry).map_err(Failure::error)?;
        let store = Store::open(&self.store).map_err(Failure::error)?;
        let options = Options { only: self.id.into_iter().collect(), signer, accept_gaps: self.accept_gaps };
        let mut collector = Collector::new(registry, store, options, now()).map_err(Failure::error)?;
        let format = self.format;
        let ended = block_on(async {
            Ok(run::run(&operator, &mut collector, self.count, |at, told| tell(format, at, told)).await)
        })?;
        let done = ended.map_err(|error| match error {
            RunError::Io(error) => Failure::error(format!("cannot write to the standard output: {error}")),
            error => Failure::error(error),
        })?;
        let summary = format!(
            "{} records kept, {} deliveries refused, {} dropped unread, {} acknowledgements sent",
            done.records, done.refused, done.dropped, done.acknowledged
        );
        if format == Format::Text {
            return super::super::say(summary);
        }
        note!("{summary}");
        Ok(())
    }
}

fn tell(format: Format, at: EpochMillis, told: &Told<'_>) -> io::Result<()> {
    if let Told::Device(device, News::Records(lines)) = told {
        let mut out = Out;
        for line in *lines {
            match format {
                Format::Text => writeln!(out, "{device} {}", describe::text(&line.record))?,
                Format::Json => writeln!(out, "{}", json::write(device, line))?,
                Format::Cef => writeln!(out, "{}", cef::write(device, line))?,
            }
        }
        return out.flush();
    }
    let (id, what, text) = match told {
        Told::Up => (None, "up", "connected, listening to logs".to_owned()),
        Told::Down(why, retry_ms) => (None, "down", format!("no connection: {why}; again in {retry_ms} ms")),
        Told::Stray(bytes) => {
            (None, "stray", format!("the broker sent {bytes} bytes on a topic that is none of a log"))
        }
        Told::Dropped(id, why) => (Some(*id), "dropped", format!("DROPPED: {why}")),
        Told::Device(id, news) => {
            let (what, text) = news_text(news);
            (Some(*id), what, text)
        }
    };
    match (format, id) {
        (Format::Json, id) => note!(
            "{}",
            json!({"at": at.to_string(), "news": what, "id": id.map(DeviceId::as_str), "text": text})
        ),
        (_, Some(id)) => note!("{at} {id}: {text}"),
        (_, None) => note!("{at} {text}"),
    }
    Ok(())
}

fn news_text(news: &News<'_>) -> (&'static str, String) {
    match news {
        News::Records(lines) => ("records", format!("{} records", lines.len())),
        News::Gap(from, to, true) => (
            "lost",
            format!("records {from} to {to} are LOST: the device says so; what comes after them is kept"),
        ),
        News::Gap(from, to, false) => (
            "gap",
            format!(
                "records {from} to {to} are MISSING and nothing explains it; what comes after them is kept (--accept-gaps)"
            ),
        ),
        News::Missing(from, to) => (
            "missing",
            format!(
                "records {from} to {to} have not come; what comes after them waits and is not acknowledged. Ask for them with \
                 `sensorctl command send-log --from {from}`; if they are kept elsewhere: --accept-gaps with --id"
            ),
        ),
        News::Former(key, former) => {
            let former: Vec<String> = former.iter().map(ToString::to_string).collect();
            (
                "former_keys",
                format!(
                    "it signs with the key {key}, and its former keys are not revoked: {}. Whoever has one of them can still \
                     speak for it: `sensorctl revoke --keep {key}`",
                    former.join(", ")
                ),
            )
        }
        News::Refused(fault) => ("refused", format!("REFUSED: {fault}")),
        News::Full(path) => (
            "full",
            format!("{} has reached its limit: what is refused is not kept there any more", path.display()),
        ),
        News::Damaged(error) => ("damaged", format!("NOT KEPT: {error}")),
    }
}
