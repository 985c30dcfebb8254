//! Runs that are recorded once so that power can be cut anywhere in them: an update from the mark to the confirmation, and one
//! that is never confirmed and reverted. With images of several sizes, in fresh slots and in used ones.

use crate::bench::Expectation;
use crate::flash::{Flash, Slot};
use crate::image::{Orders, version};
use crate::log::OperationLog;
use crate::qemu::Setup;
use crate::record::{Program, Recorder};
use crate::{BoardError, Builds, PATIENCE};
use std::path::Path;

/// A run with power cuts to come.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Every flash operation of it.
    pub log: OperationLog,
    /// What must become of a board whose power is cut in it.
    pub expected: Expectation,
    /// How often the board is reset after it has settled, each time to settle again.
    pub resets: u32,
}

/// What the test image says when nothing more will happen.
pub const STEADY: &str = "boot-test: steady";

/// Body sizes of the images in bytes, roughly: the smallest, a usual one, the firmware's.
pub const SIZES: [usize; 3] = [24_000, 100_000, 400_000];

/// Two images of about `bytes` bytes each, alike nowhere: versions 1.0.0 and 2.0.0.
pub fn images(builds: &Builds, bytes: usize, seed: u64) -> Result<[Vec<u8>; 2], BoardError> {
    let (signer, body) = (builds.signer()?, builds.body()?);
    // Not the same size: the longer one's end must not stay behind the shorter one.
    let larger = bytes + bytes / 10;
    Ok([
        signer.sign_padded(&body, "1.0.0", bytes, seed)?,
        signer.sign_padded(&body, "2.0.0", larger, seed.wrapping_add(1))?,
    ])
}

/// Flash with version 1 running and version 2 in slot 1, not marked.
pub fn before_update([running, candidate]: &[Vec<u8>; 2]) -> Result<Flash, BoardError> {
    let mut flash = Flash::erased();
    flash.install(Slot::Running, running)?;
    flash.install(Slot::Candidate, candidate)?;
    Ok(flash)
}

impl Scenario {
    /// The update of `images`: marked by the test image, swapped by MCUboot, confirmed by the new test image. `used`: both
    /// slots have seen an update before, and their former content lies behind the new.
    pub fn update(
        builds: &Builds,
        name: &str,
        images: &[Vec<u8>; 2],
        used: bool,
        folder: &Path,
    ) -> Result<Self, BoardError> {
        let mut start = before_update(images)?;
        if used {
            // As an update leaves it: a larger image before it in slot 1, and a trailer in slot 0.
            let slot = Slot::Candidate;
            let mut rng = fastrand::Rng::with_seed(1);
            start.bytes_mut()[slot.range()].fill_with(|| rng.u8(..));
            start.overlay(slot, &images[1])?;
            let end = Slot::Running.range().end;
            let mut marked = Flash::erased();
            marked.mark(false);
            let from = slot.range().end;
            start.bytes_mut()[end - 16..end].copy_from_slice(&marked.bytes()[from - 16..from]);
            // image_ok and copy_done.
            start.bytes_mut()[end - 24] = 1;
            start.bytes_mut()[end - 32] = 1;
        }
        Orders::UPDATE.put(&mut start);
        let end = format!("{STEADY} 2.0.0 confirmed");
        let mut log = record(builds, &format!("update, {name}"), &start, &end, folder)?;
        log.name_phases(&["mark", "swap", "confirm"]);
        let expected = Expectation { settled: vec![STEADY.into()], images: images.to_vec(), end: Some(end) };
        Ok(Self { log, expected, resets: 1 })
    }

    /// The way back of an update that was not confirmed, from the flash as the swap has left it.
    pub fn revert(
        builds: &Builds,
        name: &str,
        images: &[Vec<u8>; 2],
        update: &OperationLog,
        folder: &Path,
    ) -> Result<Self, BoardError> {
        let mut start = update.start();
        for operation in &update.operations[..update.range("swap").end] {
            start.apply(&operation.change);
        }
        Orders::REVERT.put(&mut start);
        let end = format!("{STEADY} 1.0.0 confirmed");
        let mut log = record(builds, &format!("revert, {name}"), &start, &end, folder)?;
        log.name_phases(&["revert"]);
        let expected = Expectation { settled: vec![STEADY.into()], images: images.to_vec(), end: Some(end) };
        Ok(Self { log, expected, resets: 1 })
    }

    /// A run that was recorded elsewhere. Every image that slot 0 or slot 1 holds at its begin or its end may run.
    pub fn from_log(log: OperationLog) -> Self {
        let (start, end) = (log.start(), log.end());
        let mut images: Vec<Vec<u8>> = Vec::new();
        for flash in [&start, &end] {
            for slot in [Slot::Running, Slot::Candidate] {
                let image = flash.image(slot).filter(|image| version(image).is_some());
                // Of two with the same version the first counts.
                if let Some(image) = image
                    && images.iter().all(|known| version(known) != version(image))
                {
                    images.push(image.to_vec());
                }
            }
        }
        let expected = Expectation { settled: log.settled.clone(), images, end: None };
        Self { log, expected, resets: 1 }
    }
}

fn record(
    builds: &Builds,
    name: &str,
    start: &Flash,
    end: &str,
    folder: &Path,
) -> Result<OperationLog, BoardError> {
    let path = folder.join("recorded.bin");
    start.write(&path)?;
    let programs: Vec<Program> = builds.programs()?;
    let setup = Setup::new(builds.bootloader(), &path);
    let mut recorder = Recorder::start(&setup, name, programs, &[STEADY])?;
    let lines = recorder.run_until("the end of the update", PATIENCE, |line| line.contains(STEADY))?;
    let log = recorder.finish()?;
    if lines.last().is_some_and(|line| line.contains(end)) {
        Ok(log)
    } else {
        Err(BoardError::Scenario { wanted: end.to_owned(), console: lines.join("\n") })
    }
}
