//! `sensorctl config`.

mod arguments;
mod check;
mod diff;
mod edit;
mod get;
mod push;
mod show;
mod status;

use super::{Failure, say};
use crate::config::fields;
use clap::{Args, Subcommand};
use ratatui::crossterm::terminal;
use std::io::IsTerminal;

/// Exit code: too many devices have failed, and the change was taken back.
const STOPPED: u8 = 3;
/// Exit code: not every device runs on it.
const UNFINISHED: u8 = 4;

/// Characters in a line where the terminal does not say it.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What devices run on: which change of their group and of their own, what they refused, when they were heard last
    Get(get::Get),
    /// Begin a change file for a group or a device
    New(edit::New),
    /// Set fields in a change file, or take them out; it is written only where a device would take it
    ///
    /// Everything else in the file, comments included, stays as it is. `FIELD=` takes the field out: devices then go back to
    /// what is below it. Several time servers are separated by commas.
    Set(edit::Set),
    /// The fields that can be set, each with unit, range, default and reason
    #[command(visible_alias = "show-schema")]
    Fields(Fields),
    /// Check a change file with the code and the sentences of the devices themselves
    Check(check::Check),
    /// What a change would do, field by field: devices with the same difference are shown together
    ///
    /// Compares with what each device says it runs on. With --authority the changes that the broker keeps are known too: then it
    /// shows where a field that is not named any more goes back to, and where a device's own change has the last word.
    Diff(diff::Diff),
    /// Sign a change, bring it to its devices, and follow them until it is in force
    ///
    /// Checks the file, shows the difference, asks, signs with the key of the power over configurations, and publishes: for a group
    /// one message, for devices one each, kept by the broker for those that come later. Then it follows what the devices say.
    /// The same command again goes on where it was: what the broker has already is not signed anew.
    Push(push::Push),
    /// Follow devices until what the broker keeps for them is in force, without publishing anything
    Status(status::Status),
}

#[derive(Debug, Args)]
struct Fields {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self.action {
            Action::Get(arguments) => arguments.run(),
            Action::New(arguments) => arguments.run().map(|()| 0),
            Action::Set(arguments) => arguments.run().map(|()| 0),
            Action::Fields(Fields { json: true }) => say(fields::table_json()).map(|()| 0),
            Action::Fields(Fields { json: false }) => say(fields::table(width()).trim_end()).map(|()| 0),
            Action::Check(arguments) => arguments.run().map(|()| 0),
            Action::Diff(arguments) => arguments.run(),
            Action::Push(arguments) => arguments.run(),
            Action::Status(arguments) => arguments.run(),
        }
    }
}

/// Characters in a line of the terminal.
fn width() -> usize {
    let width = std::io::stdout().is_terminal().then(|| terminal::size().ok()).flatten();
    width.map_or(WIDTH, |(width, _)| usize::from(width))
}
