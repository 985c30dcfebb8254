//! Runs the virtual board as `scripts/virtual_board.py` does, with every flash operation noted, for `cargo xtask cuts --log`.
//! Owns the forwarding of the console; the work is the crate `virtualboard`'s.

use crate::process::{self, is_installed};
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;
use virtualboard::qemu::Network;
use virtualboard::{Program, Recorder, Setup};

/// The recorder's options.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where the log goes
    #[arg(long)]
    log: PathBuf,
    /// The run's name in tables
    #[arg(long, default_value = "recorded")]
    name: String,
    /// The flash file that the board runs on (`scripts/virtual_board.py --no-run` makes one)
    #[arg(long)]
    flash: PathBuf,
    /// MCUboot as raw bytes (mcuboot/zephyr/zephyr.bin)
    #[arg(long)]
    bootloader: PathBuf,
    /// ELF files of what changes the flash: MCUboot's first, then the firmware's; may be given several times
    #[arg(long, required = true)]
    elf: Vec<PathBuf>,
    /// Where the factory's line is served, as a socket in the file system
    #[arg(long)]
    line: Option<PathBuf>,
    /// Words on the console that say that a board has started
    #[arg(long, default_value = "sensor device")]
    settled: String,
}

/// How often what is typed is looked at.
const TURN: Duration = Duration::from_millis(100);
/// How long a firmware that changes its flash now and then may take until the next time.
const LAST_OPERATION: Duration = Duration::from_secs(3);

/// Records until the standard input ends.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !is_installed("qemu-system-arm") {
        process::install(&["qemu-system-arm"])?;
    }
    let mut setup = Setup::new(&arguments.bootloader, &arguments.flash);
    setup.network = Network::User { forward: Vec::new() };
    setup.line.clone_from(&arguments.line);
    let programs: Result<Vec<Program>, _> =
        arguments.elf.iter().map(|path| Program::from_elf(path.display().to_string(), path)).collect();
    let mut recorder = Recorder::start(&setup, &arguments.name, programs?, &[&arguments.settled])?;
    let typed = typed();
    let show = |line: &str| {
        let mut stdout = std::io::stdout().lock();
        // Recording goes on where nobody watches any more.
        let _closed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    };
    loop {
        recorder.run_for(TURN, show)?;
        match typed.try_recv() {
            Ok(bytes) => recorder.board().type_in(&bytes)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
    }
    recorder.run_to_operation(LAST_OPERATION, show)?;
    let mut log = recorder.finish()?;
    log.name_update_phases(0);
    ensure!(!log.operations.is_empty(), "the board has changed nothing in its flash");
    log.save(&arguments.log).with_context(|| format!("cannot write {}", arguments.log.display()))?;
    let phases = log.phases.iter().map(|phase| format!("{} {}", phase.name, log.range(&phase.name).len()));
    eprintln!(
        "{} flash operations are in {}: {}",
        log.operations.len(),
        arguments.log.display(),
        phases.collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// What comes on the standard input; disconnected at its end.
fn typed() -> Receiver<Vec<u8>> {
    let (send, typed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(len @ 1..) = std::io::stdin().read(&mut bytes) {
            if send.send(bytes[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}
