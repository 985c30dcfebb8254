//! `cargo xtask`: the one entry to everything a person runs on this repository. Owns the order of things and the
//! words to the person; every piece of work is a program of its own.

mod bench;
mod demo;
mod fuzz;
mod process;
mod size;
mod suite;
mod toolchain;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Everything a person runs on this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the device on this machine: sensor, TLS, broker and a live view of what arrives
    Demo(demo::Arguments),
    /// Run every test that this machine can run
    Test(suite::Arguments),
    /// Flash and RAM of the device's code and of its parts on a Cortex-M4 (thumbv7em-none-eabihf)
    Size,
    /// Measure against references: flash and RAM, bytes per sample on the wire, devices per core
    Bench(bench::Arguments),
    /// Fuzz every parser of outside bytes (needs cargo-fuzz and a nightly compiler)
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    match task {
        Task::Demo(arguments) => demo::run(arguments),
        Task::Test(arguments) => suite::run(arguments),
        Task::Size => size::run().and_then(|()| size::parts()),
        Task::Bench(arguments) => bench::run(arguments),
        Task::Fuzz(arguments) => fuzz::run(arguments),
    }
}
