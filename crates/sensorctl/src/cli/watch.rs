//! `sensorctl watch`.

use super::Failure;
use super::firmware::arguments::Connect;
use crate::output;
use crate::registry::Registry;
use crate::watch::link::Options;
use crate::watch::picture::Form;
use crate::watch::run::{self, Plan, Show};
use crate::watch::summary::Verdict;
use clap::Args;
use protocol::DeviceId;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 every sample is there; 1 an error; 2 wrong arguments; 3 samples are missing without \
                  explanation, came out of order or contradict each other; 4 samples are lost, and the devices said so of \
                  each of them; 5 nothing came, from any device or from one that is in service (--registry, --device)."
)]
pub(super) struct Watch {
    #[command(flatten)]
    connect: Connect,
    /// Watch this device only
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// The registry: every device in service has something to say, and one that says nothing is told at the end
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4_294_967_295))]
    seconds: Option<u64>,
    /// End when so many samples have come; an error where --seconds ends before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    until_samples: Option<u64>,
    /// Print a JSON object for each event, one a line, and a summary last
    #[arg(long)]
    json: bool,
    /// Print a line for each event, also on a terminal
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Write the last screen as a picture
    #[arg(long, value_name = "FILE.svg|FILE.txt")]
    snapshot: Option<PathBuf>,
}

impl Watch {
    pub(super) fn run(self) -> Result<u8, Failure> {
        // A picture is written at the end, whoever looks on.
        if self.snapshot.is_none() {
            output::shows_only();
        }
        let form = |path: PathBuf| Form::of(&path).map(|form| (path, form));
        let snapshot = self.snapshot.map(form).transpose().map_err(Failure::usage)?;
        let show = match (self.json, self.plain || !std::io::stdout().is_terminal()) {
            (true, _) => Show::Json,
            (false, true) => Show::Lines,
            (false, false) => Show::Live,
        };
        let operator = self.connect.operator("watch")?;
        let registry = self.registry.as_deref().map(Registry::open).transpose().map_err(Failure::error)?;
        let mut expected: BTreeSet<DeviceId> =
            registry.iter().flat_map(|registry| registry.active().cloned()).collect();
        if let Some(device) = &self.device {
            expected = BTreeSet::from([device.clone()]);
        }
        let (seconds, until_samples) = (self.seconds, self.until_samples);
        let plan = Plan { show, seconds, until_samples, expected, snapshot };
        let options = Options { operator, device: self.device };
        run::run(options, &plan).map(Verdict::exit_code).map_err(Failure::error)
    }
}
