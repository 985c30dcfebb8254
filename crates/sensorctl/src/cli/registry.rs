//! `sensorctl registry`.

use super::Failure;
use crate::output;
use crate::registry::{Record, Registry as Devices};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// Days ahead of its end from which a certificate is said to end soon.
const SOON: Duration = Duration::days(14);

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Registry {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show devices, their identities and when their certificates end
    List(List),
}

#[derive(Debug, Args)]
struct List {
    /// The registry
    #[arg(long, value_name = "FILE")]
    registry: PathBuf,
    /// Show identities that were revoked too
    #[arg(long)]
    revoked: bool,
    /// Print a JSON object for each identity, one a line
    #[arg(long)]
    json: bool,
}

impl Registry {
    pub(super) fn run(self) -> Result<(), Failure> {
        output::shows_only();
        let Action::List(List { registry, revoked, json }) = self.action;
        if !registry.exists() {
            let why = format!("{} does not exist: `sensorctl provision` begins it", registry.display());
            return Err(Failure::error(why));
        }
        let devices = Devices::open(&registry).map_err(Failure::error)?;
        let now = OffsetDateTime::now_utc();
        if !json {
            super::say(format_args!(
                "{:<32}  {:<16}  {:<10}  {:<10}  state",
                "id", "identity key", "since", "until"
            ))?;
        }
        let (mut active, mut soon, mut ended) = (0, 0, 0);
        for (_, records) in devices.devices() {
            let newest = records.iter().rposition(|record| record.revoked.is_none());
            active += u32::from(newest.is_some());
            for (number, record) in records.iter().enumerate() {
                let state = state(record, newest == Some(number), now);
                soon += u32::from(state == "ends soon");
                ended += u32::from(state == "ended");
                if record.revoked.is_some() && !revoked {
                    continue;
                }
                if json { super::say(value(record, state))? } else { super::say(line(record, state))? }
            }
        }
        if json {
            return Ok(());
        }
        super::say(format_args!(
            "{active} devices in service; {soon} certificates end soon, {ended} have ended"
        ))
    }
}

pub(super) fn state(record: &Record, newest: bool, now: OffsetDateTime) -> &'static str {
    match record.identity.until - now {
        _ if record.revoked.is_some() => "revoked",
        // The device may use it still: its identity/state tells.
        _ if !newest => "older",
        left if left.is_negative() => "ended",
        left if left < SOON => "ends soon",
        _ => "in force",
    }
}

fn line(record: &Record, state: &str) -> String {
    let Record { identity, registered, .. } = record;
    let (since, until) = (registered.date().to_string(), identity.until.date().to_string());
    // Ids and key ids are formatted by hand: their own formats pad.
    format!("{:<32}  {:<16}  {since:<10}  {until:<10}  {state}", identity.id, identity.key.id().to_string())
}

fn value(record: &Record, state: &str) -> Value {
    let identity = &record.identity;
    let date = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    json!({
        "id": identity.id.as_str(),
        "key_id": base16ct::lower::encode_string(&identity.key.id().0),
        "certificate": base16ct::lower::encode_string(&identity.certificate),
        "serial": base16ct::lower::encode_string(&identity.serial),
        "since": date(record.registered), "until": date(identity.until), "revoked": record.revoked.map(date),
        "state": state,
    })
}
