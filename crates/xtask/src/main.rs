//! `cargo xtask`: the one entry to everything a person runs on this repository. Owns the order of things and the
//! words to the person; every piece of work is a program of its own.

mod bench;
mod cuts;
mod demo;
mod fuzz;
mod process;
mod python;
mod record;
mod size;
mod steps;
mod suite;
mod supervise;
mod toolchain;
mod tools;
mod zephyr;

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
    /// Cut the power of the virtual board at every flash operation of an update, and see that it always comes back
    Cuts(cuts::Arguments),
    /// Run the virtual board with every flash operation noted, until the standard input ends: for cuts --log
    Record(record::Arguments),
    /// Fuzz every parser of outside bytes, or one
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
        Task::Cuts(arguments) => cuts::run(arguments),
        Task::Record(arguments) => record::run(arguments),
        Task::Fuzz(arguments) => fuzz::run(arguments),
    }
}
