//! `sensorctl log`.

mod arguments;
mod follow;
mod show;
mod verify;

use super::Failure;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Log {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Take the logs of devices from the broker, keep them, and acknowledge them to the devices
    ///
    /// Runs as long as the service does. Each delivery is verified: signed with an identity key of that device in the registry,
    /// its records bound to each other and to what is stored. It is stored as the device signed it, and only then acknowledged.
    /// What is not proven, contradicts what is stored or stands behind records that have not come is named on the standard
    /// error and never acknowledged: the device sends again what it still has. Ctrl-C ends it; the broker keeps deliveries
    /// until it runs again.
    Follow(follow::Follow),
    /// Verify stored logs: every signature, every seal, the chain, and that nothing is missing
    Verify(verify::Verify),
    /// Show stored logs to people, verified
    Show(show::Show),
}

impl Log {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self.action {
            Action::Follow(arguments) => arguments.run().map(|()| 0),
            Action::Verify(arguments) => arguments.run(),
            Action::Show(arguments) => arguments.run(),
        }
    }
}
