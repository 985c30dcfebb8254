//! The binary `sensorctl`: see the library of the same name.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    sensorctl::cli::run(sensorctl::cli::Cli::parse())
}
