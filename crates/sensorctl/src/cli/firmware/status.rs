//! `sensorctl firmware status`.

use super::super::shared::block_on;
use super::super::{Failure, SILENT, say};
use super::arguments::Connect;
use crate::firmware::chart::Overview;
use crate::firmware::manifest::Manifest;
use crate::firmware::rollout::{Kept, read_state, states};
use crate::firmware::service::{self, SILENCE};
use crate::operator::{NothingCame, now};
use crate::output::{self, note};
use crate::powers;
use crate::registry::Registry;
use clap::Args;
use protocol::PublicKey;
use protocol::document::Power;
use protocol::firmware::{FirmwareTopic, UpdateFault};
use ratatui::crossterm::terminal;
use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Characters in a line where the terminal does not say it.
const WIDTH: usize = 80;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 devices have said how their firmware is; 1 an error; 2 wrong arguments; 5 nothing came from any device."
)]
pub(super) struct Status {
    #[command(flatten)]
    connect: Connect,
    /// The registry: devices of it that were never heard of are listed
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Folder with the public keys of the powers: what is offered is shown, and who lags behind it
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    /// Listen until nothing has come for so many seconds
    #[arg(long, value_name = "N", default_value_t = SILENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// List every device that lags behind
    #[arg(long)]
    all: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The keys that manifests and roll-outs are signed with.
struct Keys {
    firmware: PublicKey,
    configuration: PublicKey,
}

impl Status {
    pub(super) fn run(self) -> Result<u8, Failure> {
        output::shows_only();
        let keys = self.authority.as_deref().map(|folder| {
            let key = |power| powers::public(folder, power);
            Ok(Keys { firmware: key(Power::Firmware)?, configuration: key(Power::Configuration)? })
        });
        let keys = keys.transpose().map_err(|error: powers::PowersError| Failure::error(error))?;
        let mut overview = Overview::default();
        if let Some(path) = &self.registry {
            let registry = Registry::open(path).map_err(Failure::error)?;
            registry.active().cloned().for_each(|id| overview.fleet.know(id));
        }
        let operator = self.connect.operator("status")?;
        let filters = [states(), "firmware/+/manifest".to_owned(), "firmware/+/rollout".to_owned()];
        let mut kept = HashMap::new();
        let mut odd = BTreeMap::new();
        let take = |topic: &str, payload: &[u8]| match FirmwareTopic::decode(topic) {
            Some(FirmwareTopic::Manifest(class)) if !payload.is_empty() => {
                let unchecked = || Err(UpdateFault::UnknownKey);
                let manifest =
                    keys.as_ref().map_or_else(unchecked, |keys| Manifest::verify(payload, &keys.firmware));
                overview.offers.entry(class).or_default().manifest = Some(manifest);
            }
            Some(FirmwareTopic::Rollout(class)) => {
                if let Some(rollout) = keys.as_ref().and_then(|keys| Kept::read(payload, &keys.configuration))
                {
                    kept.insert(class, rollout);
                }
            }
            Some(_) => {}
            None => match read_state(topic, payload) {
                Ok((device, state)) => overview.fleet.take(device, state),
                Err(why) => {
                    odd.insert(topic.to_owned(), why);
                }
            },
        };
        let silence = Duration::from_secs(self.seconds);
        block_on(async { service::read(&operator, &filters, silence, take).await.map_err(Failure::error) })?;
        overview.refused = odd.len();
        for (topic, why) in odd {
            note!("{topic:?} is of no use: {why}");
        }
        let heard = overview.refused > 0 || overview.fleet.devices().any(|(_, state)| state.is_some());
        if !heard {
            note!("{}", NothingCame(&states()));
        }
        let code = if heard { 0 } else { SILENT };
        for (class, offer) in &mut overview.offers {
            let manifest = offer.manifest.as_ref().and_then(|manifest| manifest.as_ref().ok());
            let of_it = |kept: &&Kept| manifest.is_some_and(|manifest| manifest.digest == kept.manifest);
            offer.share = kept.get(class).filter(of_it).map(|kept| kept.share);
        }
        if self.json {
            return say(overview.json(now())).map(|()| code);
        }
        let width = std::io::stdout().is_terminal().then(|| terminal::size().ok()).flatten();
        let width = width.map_or(WIDTH, |(width, _)| usize::from(width));
        say(overview.text(&self.connect.broker(), now(), width, self.all).trim_end()).map(|()| code)
    }
}
