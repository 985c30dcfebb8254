//! `sensorctl renew`.

use super::Failure;
use super::shared::{Broker, Trust, block_on};
use crate::authority::Authority;
use crate::output::{Out, note};
use crate::powers::LiveKey;
use crate::registry::Registry;
use crate::renew::run::{self, Done, News, RunError};
use crate::renew::{self, Registrar};
use clap::Args;
use protocol::EpochMillis;
use protocol::document::Power;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use time::format_description::well_known::Rfc3339;

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
    #[arg(long, value_name = "N", default_value_t = renew::CERTIFICATE_DAYS)]
    days: u32,
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
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(ca) = self.trust.authorities().last() else {
            return Err(Failure::usage("--ca is missing: the last one issues the certificates"));
        };
        let mut registrar = Registrar {
            issuer: Authority::open(ca).map_err(Failure::error)?,
            signer: LiveKey::open(&self.authority, Power::Configuration).map_err(Failure::error)?,
            registry: Registry::open(&self.registry).map_err(Failure::error)?,
            issued: renew::issued_folder(ca),
            days: self.days,
        };
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
            )
        } else {
            super::say(format_args!(
                "{granted} certificates issued, {refused} requests refused, {dropped} dropped unread"
            ))
        }
    }
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
