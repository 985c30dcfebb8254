//! The command line: arguments in, exit code and message out. One file for each area of work; what they do lies in the
//! library's other modules.

mod ca;
mod device;
mod watch;

use clap::{Parser, Subcommand};
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

/// The factory and the operator of a fleet of secure sensor devices.
#[derive(Debug, Parser)]
#[command(name = "sensorctl", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    area: Area,
}

#[derive(Debug, Subcommand)]
enum Area {
    /// The test authority: certificates for a broker, an operator and devices
    Ca(ca::Ca),
    /// Devices: enrolment for simulators and development boards
    Device(device::Device),
    /// What devices send: live, verified, with every loss and duplicate counted
    ///
    /// A screen on a terminal, lines elsewhere; a summary at the end. Connects with the operator's certificate over
    /// mutual TLS, and again where the link breaks: the broker keeps what comes in between. q or Ctrl-C ends it.
    Watch(watch::Watch),
}

/// Why the program ends without having done what it was asked for.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

/// The arguments cannot be carried out as they are.
const USAGE: u8 = 2;

impl Failure {
    /// Exit code 1.
    fn error(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Exit code 2, as clap itself has it for arguments that it refuses.
    fn usage(message: impl Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }
}

/// Prints a line on the standard output.
fn say(line: impl Display) -> Result<(), Failure> {
    let written = writeln!(std::io::stdout(), "{line}");
    written.map_err(|error| Failure::error(format!("cannot write to the standard output: {error}")))
}

/// Does what the arguments say and reports failure on stderr.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.area {
        Area::Ca(arguments) => arguments.run().map(|()| 0),
        Area::Device(arguments) => arguments.run().map(|()| 0),
        Area::Watch(arguments) => arguments.run(),
    };
    match done {
        Ok(code) => code.into(),
        Err(Failure { code, message }) => {
            eprintln!("error: {message}");
            code.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
