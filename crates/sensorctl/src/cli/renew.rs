//! `sensorctl renew`.

use super::Failure;
use super::shared::{Broker, Trust, block_on};
use crate::authority::Authority;
use crate::enrol::DEVICE_DAYS;
use crate::output::{Out, note};
use crate::powers::LiveKey;
use crate::provision;
use crate::provision::exchange::Patience;
use crate::provision::lapsed::Office;
use crate::provision::line::Target;
use crate::provision::show::Show;
use crate::registry::Registry;
use crate::renew::run::{self, Done, News, RunError};
use crate::renew::{self, Lapsed, Registrar};
use clap::Args;
use protocol::document::Power;
use protocol::{DeviceId, EpochMillis};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// In place of a device's id: every device.
const ALL: &str = "all";

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Renew {
    // The last authority of several issues; copies of its certificates are in `issued` in its folder.
    #[command(flatten)]
    trust: Trust,
    /// Folder with the keys of the powers; the private key of the power over configurations is used
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// The registry
    #[arg(long, value_name = "FILE")]
    registry: PathBuf,
    /// Host name or IP address of the broker, as in its certificate
    #[arg(long, default_value = "localhost")]
    host: String,
    /// TCP port of the broker
    #[arg(long, default_value_t = 8883, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Days for which the certificates are valid
    #[arg(long, value_name = "N", default_value_t = DEVICE_DAYS)]
    days: u32,
    /// Over a line with a device whose certificate has ended, instead of the broker; named as with `provision`; may be repeated
    #[arg(long, conflicts_with_all = ["count", "client_id", "lapsed"])]
    line: Vec<Target>,
    /// Let this device, or `all`, have a certificate though its own has ended: a window that you open; may be repeated
    ///
    /// Such a device has proven itself to the broker with a token, where the broker takes tokens. Without this its request is
    /// refused by name, so that a certificate's end keeps its meaning.
    #[arg(long, value_name = "ID")]
    lapsed: Vec<DeviceId>,
    /// Hours from the start after which the window is closed again
    #[arg(long, value_name = "H", default_value_t = 24, requires = "lapsed", value_parser = clap::value_parser!(u16).range(1..=168))]
    window: u16,
    /// Seconds that a device on a line may take for an answer; ten times as many for making keys
    #[arg(long, value_name = "S", default_value_t = 2, requires = "line", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_s: u64,
    /// End after so many certificates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Name of the session at the broker, which keeps requests for it: one for each that runs at the same time
    #[arg(long, value_name = "TEXT", default_value = "operator-renew")]
    client_id: String,
    /// Print a JSON object for each event, one a line
    #[arg(long)]
    json: bool,
}

impl Renew {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let Some(ca) = self.trust.authorities().last() else {
            return Err(Failure::usage("--ca is missing: the last one issues the certificates"));
        };
        let mut registrar = Registrar {
            issuer: Authority::open(ca).map_err(Failure::error)?,
            signer: LiveKey::open(&self.authority, Power::Configuration).map_err(Failure::error)?,
            registry: Registry::open(&self.registry).map_err(Failure::error)?,
            issued: renew::issued_folder(ca),
            days: self.days,
            lapsed: if self.line.is_empty() { window(&self.lapsed, self.window) } else { Lapsed::OnLine },
        };
        if !self.line.is_empty() {
            return on_lines(registrar, &self.registry, &self.line, self.timeout_s, self.json);
        }
        let broker = Broker { host: self.host, port: self.port };
        let operator = self.trust.operator(&broker, "renew").map_err(Failure::error)?.named(self.client_id);
        let json = self.json;
        let ended = block_on(async {
            let tell = |at, news: &News<'_>| tell(json, at, news);
            Ok(run::run(&operator, &mut registrar, self.count, tell).await)
        })?;
        let Done { granted, refused, dropped } = ended.map_err(|error| match error {
            RunError::Io(error) => Failure::error(format!("cannot write to the standard output: {error}")),
            error => Failure::error(error),
        })?;
        if json {
            super::say(
                json!({"event": "summary", "granted": granted, "refused": refused, "dropped": dropped}),
            )?;
        } else {
            super::say(format_args!(
                "{granted} certificates issued, {refused} requests refused, {dropped} dropped unread"
            ))?;
        }
        Ok(0)
    }
}

/// The window for these devices, or for all, from now on.
fn window(devices: &[DeviceId], hours: u16) -> Lapsed {
    let until = OffsetDateTime::now_utc() + Duration::hours(hours.into());
    match devices {
        [] => Lapsed::Refused,
        devices if devices.iter().any(|id| id.as_str() == ALL) => Lapsed::Until(until, Vec::new()),
        devices => Lapsed::Until(until, devices.to_vec()),
    }
}

fn on_lines(
    registrar: Registrar,
    registry: &Path,
    lines: &[Target],
    timeout_s: u64,
    json: bool,
) -> Result<u8, Failure> {
    let registry = Mutex::new(Registry::open(registry).map_err(Failure::error)?);
    let mut registrar = Some(registrar);
    let office = Office::new(Box::new(move || registrar.take().ok_or_else(|| "it was opened before".into())));
    let show = Show::new(lines, json);
    let mut told = Ok(());
    let ended = provision::renew(&registry, &office, Patience::seconds(timeout_s), lines, |number, news| {
        let result = show.tell(number, &news);
        told = std::mem::replace(&mut told, Ok(())).and(result);
    });
    let shown = told.and_then(|()| show.finish(&ended));
    shown.map_err(|error| Failure::error(format!("cannot write to the standard output: {error}")))?;
    Ok(u8::from(ended.iter().any(Result::is_err)))
}

fn tell(json: bool, at: EpochMillis, news: &News<'_>) -> io::Result<()> {
    if json { writeln!(Out, "{}", value(at, news)) } else { line(at, news) }
}

fn value(at: EpochMillis, news: &News<'_>) -> Value {
    let at = at.to_string();
    match news {
        News::Up => json!({"at": at, "event": "up"}),
        News::Down(why, retry_ms) => json!({"at": at, "event": "down", "why": why, "retry_ms": retry_ms}),
        News::Granted(id, granted) => json!({
            "at": at, "event": if granted.repeated { "repeated" } else { "granted" }, "id": id.as_str(),
            "key_id": base16ct::lower::encode_string(&granted.identity.key.id().0),
            "certificate": base16ct::lower::encode_string(&granted.identity.certificate),
            "until": granted.identity.until.format(&Rfc3339).unwrap_or_default(),
            "signed_with": base16ct::lower::encode_string(&granted.signer.0),
        }),
        News::Dropped(id, why) => {
            json!({"at": at, "event": "dropped", "id": id.as_str(), "why": why.to_string()})
        }
        News::Refused(id, why) => json!({"at": at, "event": "refused", "id": id, "why": why.to_string()}),
    }
}

fn line(at: EpochMillis, news: &News<'_>) -> io::Result<()> {
    match news {
        News::Up => note!("{at} connected, listening to requests"),
        News::Down(why, retry_ms) => note!("{at} no connection: {why}; again in {retry_ms} ms"),
        News::Granted(id, granted) => {
            let again = if granted.repeated { " once more" } else { "" };
            let until = granted.identity.until.date();
            let (old, new) = (granted.signer, granted.identity.key.id());
            writeln!(Out, "{at} {id}: certificate until {until}{again}; {old} asked for {new}")?;
        }
        News::Dropped(id, why) => writeln!(Out, "{at} {id}: dropped: {why}")?,
        News::Refused(id, why) => writeln!(Out, "{at} {id}: refused: {why}")?,
    }
    Ok(())
}
