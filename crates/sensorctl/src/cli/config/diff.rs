//! `sensorctl config diff`.

use super::super::{Failure, say};
use super::arguments::{Ask, Devices, tell};
use crate::config::difference::Difference;
use crate::config::file::ChangeFile;
use crate::config::fleet::Fleet;
use crate::config::{Whom, audience_words};
use crate::operator::now;
use clap::Args;
use protocol::DeviceId;
use protocol::config::Change;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 no device would refuse it; 1 an error, or devices would refuse it; 2 wrong arguments."
)]
pub(super) struct Diff {
    /// The change file
    file: PathBuf,
    #[command(flatten)]
    devices: Devices,
    /// Folder with the public keys of the powers: proves the changes that the broker keeps
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What a change would do to those of `whom`.
pub(super) fn difference(whom: &Whom, fleet: &Fleet, change: &Change) -> Difference {
    let devices: Vec<&DeviceId> = fleet.in_service(whom);
    Difference::of(&devices, fleet, now(), |_| change)
}

/// What it is the difference of.
pub(super) fn title(file: &std::path::Path, whom: &Whom, change: &Change) -> String {
    let whom = match whom {
        Whom::Devices(ids) if ids.len() > 1 => format!("{} devices", ids.len()),
        Whom::All => "all devices, each by itself".to_owned(),
        _ => audience_words(&change.audience),
    };
    format!("{} for {whom}", file.display())
}

/// That there may be more devices in a group than have said so.
pub(super) fn unknown(whom: &Whom, fleet: &Fleet) -> Option<String> {
    let count = if matches!(whom, Whom::Group(_)) { fleet.of_no_known_group() } else { 0 };
    match count {
        0 => None,
        1 => Some("1 device has not said to which group it belongs".to_owned()),
        _ => Some(format!("{count} devices have not said to which group they belong")),
    }
}

impl Diff {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let file = ChangeFile::open(&self.file).map_err(Failure::error)?;
        let (whom, change, _) = self.devices.change(&file)?;
        let operator = self.ask.operator()?;
        let (fleet, odd) = self.ask.read(&operator, &whom, &self.devices, self.authority.as_deref())?;
        let difference = difference(&whom, &fleet, &change);
        if self.json {
            let mut value = difference.json();
            let odd = odd.iter().map(|odd| serde_json::json!({"topic": odd.topic, "why": odd.why}));
            value["unreadable"] = odd.collect();
            value["of_no_known_group"] = fleet.of_no_known_group().into();
            say(value)?;
        } else {
            tell(&odd);
            let text = difference.text(&title(&self.file, &whom, &change), &self.ask.connect.broker());
            say(text.trim_end())?;
            if let Some(unknown) = unknown(&whom, &fleet) {
                say(unknown)?;
            }
        }
        match difference.refused() {
            Some((count, sentence)) => {
                Err(Failure::error(format_args!("{count} devices would refuse it: {sentence}")))
            }
            None => Ok(0),
        }
    }
}
