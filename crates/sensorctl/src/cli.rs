//! The command line: arguments in, exit code and message out. One file for each area of work; what they do lies in the
//! library's other modules.

mod authority;
mod ca;
mod command;
mod config;
mod device;
mod document;
mod firmware;
mod log;
mod provision;
mod registry;
mod renew;
mod revoke;
mod shared;
mod watch;

use crate::output::{self, Out, Unread, note};
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
    /// The keys of the powers over devices: firmware, configuration, trust anchors, factory
    Authority(authority::Authority),
    /// The test authority: certificates for a broker, an operator and devices
    Ca(ca::Ca),
    /// Devices: enrolment for simulators
    Device(device::Device),
    /// Give blank devices on serial lines their identity, all lines at once
    ///
    /// Each device makes its keys itself and asks for its certificates; what it gets is signed with the factory's key,
    /// checked by the device as a whole and committed at once. No secret leaves a device or is written here. A run that was
    /// cut is repeated: a device that had committed is registered, any other begins anew with its id.
    Provision(provision::Provision),
    /// Configurations: what devices run on, change files, what a change would do, and bringing it to devices
    Config(config::Config),
    /// Commands to devices, signed, numbered and done at most once, and what became of them
    Command(command::Command),
    /// The security logs of devices: fetched, verified, acknowledged, exported
    Log(log::Log),
    /// Sign documents for devices in service: roots, new keys of the powers
    Document(document::Document),
    /// Firmware: images, signed releases with deltas, roll-outs in stages, and how far the devices are
    Firmware(firmware::Firmware),
    /// Answer devices that ask for a certificate for new keys
    ///
    /// Connects as the operator and listens to every device's identity/request. A request is granted where it is signed with
    /// an identity of that device in the registry; the new one is in the registry before the device hears of it, so both are
    /// valid until one is revoked. Everything else is refused by name. Ctrl-C ends it; the broker keeps requests until it
    /// runs again.
    Renew(renew::Renew),
    /// End identities of devices, and tell what the service needs to know of it
    Revoke(revoke::Revoke),
    /// The registry of devices and their identities
    Registry(registry::Registry),
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

/// Exit code of programs that read what devices say, where nothing came.
const SILENT: u8 = 5;

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

/// Prints a line on the standard output. An error ends commands that only show something, and no other ([`Out`]).
fn say(line: impl Display) -> Result<(), Failure> {
    let written = writeln!(Out, "{line}");
    written.map_err(|error| Failure::error(format!("cannot write to the standard output: {error}")))
}

/// Does what the arguments say and reports failure on stderr.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.area {
        Area::Authority(arguments) => arguments.run().map(|()| 0),
        Area::Ca(arguments) => arguments.run().map(|()| 0),
        Area::Device(arguments) => arguments.run(),
        Area::Provision(arguments) => arguments.run(),
        Area::Config(arguments) => arguments.run(),
        Area::Command(arguments) => arguments.run(),
        Area::Log(arguments) => arguments.run(),
        Area::Document(arguments) => arguments.run().map(|()| 0),
        Area::Firmware(arguments) => arguments.run(),
        Area::Renew(arguments) => arguments.run(),
        Area::Revoke(arguments) => arguments.run().map(|()| 0),
        Area::Registry(arguments) => arguments.run().map(|()| 0),
        Area::Watch(arguments) => arguments.run(),
    };
    let done = match output::finish() {
        Ok(()) => done,
        Err(Unread::Closed) => return ExitCode::SUCCESS,
        Err(Unread::Failed(error)) => {
            done.and(Err(Failure::error(format!("cannot write to the standard output: {error}"))))
        }
    };
    match done {
        Ok(code) => code.into(),
        Err(Failure { code, message }) => {
            note!("error: {message}");
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
