//! `sensorctl config get`.

use super::super::{Failure, say};
use super::arguments::{Ask, Devices, tell};
use crate::config::reported;
use crate::operator::now;
use crate::output;
use clap::Args;
use protocol::DeviceId;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
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
    pub(super) fn run(self) -> Result<(), Failure> {
        output::shows_only();
        let whom = self.devices.named()?;
        let operator = self.ask.operator()?;
        let (fleet, odd) = self.ask.read(&operator, &whom, &self.devices, self.authority.as_deref())?;
        let ids: Vec<&DeviceId> = fleet.of(&whom);
        if self.json {
            return say(reported::json(&ids, &fleet, &odd, now()));
        }
        tell(&odd);
        let broker = self.ask.connect.broker();
        let values = self.values || matches!(&whom, crate::config::Whom::Devices(ids) if ids.len() == 1);
        say(reported::text(&ids, &fleet, now(), &broker, values).trim_end())?;
        super::diff::unknown(&whom, &fleet).map_or(Ok(()), say)
    }
}
