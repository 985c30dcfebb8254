//! `sensorctl device show`.

use crate::cli::firmware::arguments::Connect;
use crate::cli::shared::block_on;
use crate::cli::{Failure, SILENT, registry, say};
use crate::identity::{self, says};
use crate::operator::NothingCame;
use crate::output::note;
use crate::registry::{Record, Registry};
use clap::Args;
use protocol::topic::ROOT;
use protocol::{Channel, DeviceId, IdentityState};
use serde_json::{Value, json};
use std::path::PathBuf;
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    connect: Connect,
    /// A device; may be repeated
    #[arg(long)]
    id: Vec<DeviceId>,
    /// Every device that has an identity in force in the registry
    #[arg(long, requires = "registry", conflicts_with = "id")]
    all: bool,
    /// The registry: which identities the device has
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Print a JSON object for each device, one a line
    #[arg(long)]
    json: bool,
}

/// What is known of a device.
struct Known<'a> {
    id: &'a DeviceId,
    said: Option<&'a Result<IdentityState, String>>,
    records: &'a [Record],
}

impl Show {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let registry = self.registry.as_deref().map(Registry::open).transpose().map_err(Failure::error)?;
        let mut ids = self.id.clone();
        if let (true, Some(registry)) = (self.all, &registry) {
            ids.extend(registry.active().cloned());
        }
        if ids.is_empty() {
            return Err(Failure::usage(
                "no device is named: give --id, or --all with a registry that has devices",
            ));
        }
        let operator = self.connect.operator("show")?;
        let said = block_on(async { identity::read(&operator, &ids).await.map_err(Failure::error) })?;
        for id in &ids {
            let records = registry.as_ref().map_or(&[][..], |registry| registry.records(id));
            let known = Known { id, said: said.get(id), records };
            if self.json { say(known.value())? } else { known.lines().iter().try_for_each(say)? }
        }
        if said.is_empty() {
            note!("{}", NothingCame(&format!("{ROOT}/+/{}", Channel::IdentityState.as_str())));
            return Ok(SILENT);
        }
        Ok(0)
    }
}

impl Known<'_> {
    fn state(&self) -> Option<&IdentityState> {
        self.said?.as_ref().ok()
    }

    /// The registry's words for each of its identities, oldest first, and whether the device says that it uses it.
    fn identities(&self) -> impl Iterator<Item = (&Record, &'static str, bool)> {
        let now = OffsetDateTime::now_utc();
        let newest = self.records.iter().rposition(|record| record.revoked.is_none());
        let state = self.state();
        self.records.iter().enumerate().map(move |(number, record)| {
            let used = state.is_some_and(|state| says(state, &record.identity.key.id()));
            (record, registry::state(record, newest == Some(number), now), used)
        })
    }

    fn lines(&self) -> Vec<String> {
        let id = self.id;
        let mut lines = match self.said {
            None => vec![format!(
                "{id}: the broker keeps nothing that it has said of its identity (or does not let this operator read it)"
            )],
            Some(Err(why)) => vec![format!("{id}: what it says of its identity cannot be read: {why}")],
            Some(Ok(state)) => said(id, state),
        };
        for (record, word, used) in self.identities() {
            let identity = &record.identity;
            lines.push(format!(
                "  registry      {}  since {}  until {}  {word}{}",
                identity.key.id(),
                record.registered.date(),
                identity.until.date(),
                if used { ", IN USE" } else { "" }
            ));
        }
        if self.state().is_some() && !self.records.is_empty() && !self.identities().any(|(.., used)| used) {
            lines.push("  registry      has NOT the key that the device uses".to_owned());
        }
        lines
    }

    fn value(&self) -> Value {
        let identities: Vec<Value> = self
            .identities()
            .map(|(record, word, used)| {
                let key = base16ct::lower::encode_string(&record.identity.key.id().0);
                json!({ "key_id": key, "state": word, "in_use": used })
            })
            .collect();
        let (said, unreadable) = match self.said {
            None => (None, None),
            Some(Ok(state)) => (Some(state), None),
            Some(Err(why)) => (None, Some(why)),
        };
        json!({ "id": self.id.as_str(), "said": said, "unreadable": unreadable, "registry": identities })
    }
}

fn said(id: &DeviceId, state: &IdentityState) -> Vec<String> {
    let at = state.t.map_or_else(|| "when its clock was not set".to_owned(), |at| at.to_string());
    let soon = |soon: bool| if soon { ", which is soon" } else { "" };
    let former = if state.retired_kept {
        "kept for a day after the renewal: the device may return to it"
    } else {
        "none that it could return to"
    };
    let refused = state.last_refusal.map(|why| format!(", the last one because {why}")).unwrap_or_default();
    vec![
        format!("{id}: {} ({}), as it said {at}", state.life.as_str(), state.life),
        format!(
            "  identity key  {}, certificate {} until {}{}",
            state.key,
            state.certificate,
            state.certificate_until,
            soon(state.certificate_ends_soon)
        ),
        format!("  new identity  {} ({})", state.rotation.as_str(), state.rotation),
        format!("  former one    {former}"),
        format!(
            "  roots         list {}, {} of them, the first ends {}{}; {} lists undone",
            state.roots,
            state.roots_count,
            state.roots_until,
            soon(state.roots_end_soon),
            state.roots_undone
        ),
        format!("  refused       {} documents since its start{refused}", state.refused),
    ]
}
