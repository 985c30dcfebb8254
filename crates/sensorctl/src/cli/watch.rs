//! `sensorctl watch`.

use super::Failure;
use crate::output;
use crate::watch::link::Options;
use crate::watch::picture::Form;
use crate::watch::run::{self, Plan, Show};
use crate::watch::summary::Verdict;
use clap::Args;
use protocol::DeviceId;
use std::io::IsTerminal;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 every sample is there; 1 an error; 2 wrong arguments; 3 samples are missing without \
                  explanation, came out of order or contradict each other; 4 samples are lost, and the devices said so of \
                  each of them."
)]
pub(super) struct Watch {
    /// Folder of the authority, made with `sensorctl ca init`: ca.crt, operator.crt and operator.key are used
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Host name or IP address of the broker, as in its certificate
    #[arg(long, default_value = "localhost")]
    host: String,
    /// TCP port of the broker
    #[arg(long, default_value_t = 8883, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Watch this device only
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
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
        let plan = Plan { show, seconds: self.seconds, until_samples: self.until_samples, snapshot };
        let options = Options::new(&self.ca, self.host, self.port, self.device).map_err(Failure::error)?;
        run::run(options, &plan).map(Verdict::exit_code).map_err(Failure::error)
    }
}
