//! `sensorctl config get`.

use super::super::{Failure, SILENT, say};
use super::arguments::{Ask, Devices, tell};
use crate::config::fleet::{Report, said};
use crate::config::reported;
use crate::operator::{NothingCame, now};
use crate::output::{self, note};
use clap::Args;
use protocol::DeviceId;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 devices have said what they run on; 1 an error; 2 wrong arguments; 5 nothing came from any device."
)]
pub(super) struct Get {
    #[command(flatten)]
    devices: Devices,
    /// Folder with the public keys of the powers: shows where the broker keeps a change that a device does not run on yet
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
    /// Print every value as well (always where one device is named)
    #[arg(long)]
    values: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Get {
    pub(super) fn run(self) -> Result<u8, Failure> {
        output::shows_only();
        let whom = self.devices.named()?;
        let operator = self.ask.operator()?;
        let (fleet, odd) = self.ask.read(&operator, &whom, &self.devices, self.authority.as_deref())?;
        let ids: Vec<&DeviceId> = fleet.of(&whom);
        let heard = ids.iter().any(|id| fleet.heard(id).is_some_and(|heard| heard.report != Report::Nothing));
        let code = if heard { 0 } else { SILENT };
        if !heard {
            for filter in said(&whom) {
                note!("{}", NothingCame(&filter));
            }
        }
        if self.json {
            return say(reported::json(&ids, &fleet, &odd, now())).map(|()| code);
        }
        tell(&odd);
        let broker = self.ask.connect.broker();
        let values = self.values || matches!(&whom, crate::config::Whom::Devices(ids) if ids.len() == 1);
        say(reported::text(&ids, &fleet, now(), &broker, values).trim_end())?;
        super::diff::unknown(&whom, &fleet).map_or(Ok(()), say).map(|()| code)
    }
}
