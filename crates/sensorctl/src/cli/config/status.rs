//! `sensorctl config status`, and the following that `push` ends with.

use super::super::Failure;
use super::super::firmware::arguments::duration;
use super::super::shared::block_on;
use super::arguments::{Ask, Devices, tell};
use super::show::Show;
use super::{STOPPED, UNFINISHED};
use crate::config::change::Target;
use crate::config::follow::run::{End, RunError, run};
use crate::config::follow::{Follow, Rules};
use crate::operator::{Operator, now};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// How long devices are followed, and how that is told.
#[derive(Debug, Args)]
pub(super) struct Following {
    /// How long to wait for devices (90, 90s, 10m, 24h, 7d); a device tries a change of its service for 10 minutes at most
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    timeout: Duration,
    /// Stop when so many devices have refused or undone it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) stop_after_failures: Option<u32>,
    /// Name every device at the end that does not run on it, not only the first 20
    #[arg(long)]
    list: bool,
    /// Print a JSON object for each event, one a line
    #[arg(long)]
    pub(super) json: bool,
}

impl Following {
    /// Follows to the end.
    pub(super) async fn run(
        &self,
        operator: &Operator,
        follow: &mut Follow,
        show: &mut Show,
    ) -> Result<End, Failure> {
        let stop_after = self.stop_after_failures.map(|count| count as usize);
        let rules = Rules { timeout: self.timeout, stop_after };
        let ended = run(operator, follow, &rules, |at, news| show.tell(at, news)).await;
        let end = ended.map_err(|error| match error {
            RunError::Io(error) => {
                Failure::error(format_args!("cannot write to the standard output: {error}"))
            }
            error @ RunError::Subscription(_) => Failure::error(error),
        })?;
        show.end(end, follow, self.list).map_err(Failure::error)?;
        Ok(end)
    }
}

/// The exit code.
pub(super) fn code(end: End, follow: &Follow) -> u8 {
    match end {
        End::Stopped => STOPPED,
        _ if follow.tally().is_done() => 0,
        End::Over | End::TimeOver | End::Interrupted => UNFINISHED,
    }
}

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 everything that is wanted is in force; 1 an error; 2 wrong arguments; 3 too many devices failed; \
                  4 not everywhere: refused or undone, Ctrl-C, or the time is over."
)]
pub(super) struct Status {
    #[command(flatten)]
    devices: Devices,
    /// Folder with the public keys of the powers: proves what the broker keeps
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    #[command(flatten)]
    ask: Ask,
    #[command(flatten)]
    following: Following,
}

impl Status {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let whom = self.devices.named()?;
        let operator = self.ask.operator()?;
        let (fleet, odd) = self.ask.read(&operator, &whom, &self.devices, Some(&self.authority))?;
        let mut show = Show::new(self.following.json);
        if !show.is_json() {
            tell(&odd);
        }
        let target = Target::kept(&whom, &fleet);
        if target.is_empty() {
            return Err(Failure::error(
                "the broker keeps no change for them that is signed with the key of the power over configurations",
            ));
        }
        let mut follow = Follow::new(whom, target, fleet, now());
        let end = block_on(async { self.following.run(&operator, &mut follow, &mut show).await })?;
        Ok(code(end, &follow))
    }
}
