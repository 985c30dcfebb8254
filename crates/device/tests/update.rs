#![allow(missing_docs, reason = "shared by the modules of one test")]
//! Firmware updates of one device: noticed, fetched, verified, installed, tried, kept or taken back.

mod world;

#[path = "update/attacks.rs"]
mod attacks;
#[path = "update/download.rs"]
mod download;
#[path = "update/hostile.rs"]
mod hostile;
#[path = "update/images.rs"]
mod images;
#[path = "update/life.rs"]
mod life;
#[path = "update/refusals.rs"]
mod refusals;
#[path = "update/trial.rs"]
mod trial;

use protocol::config::Draft;
use protocol::image::Version;
use protocol::patch::{Encoder, Instruction};
use world::Platform;
use world::release::{Release, image};
use world::site::Site;
use world::slots::Memory;

pub const V1: Version = Version::new(1, 0, 0);
pub const V2: Version = Version::new(1, 1, 0);
/// Bytes of code in the images of most tests.
pub const CODE: usize = 40_000;

/// A board with version 1, in slots of 128 KiB with sectors of 4 KiB, and a configuration that `change` changes.
pub fn updatable(seed: u64, change: impl FnOnce(&mut Draft)) -> Platform {
    let platform = Platform::governed(seed);
    platform.configure(|draft| {
        draft.update_spread_s = 0;
        (draft.sample_period_ms, draft.report_period_ms) = (10_000, 60_000);
        change(draft);
    });
    *platform.slots.borrow_mut() = Memory::new(128 * 1024, 4_096, 8, &image(V1, CODE));
    platform
}

pub fn site() -> Site<Platform> {
    Site::new(updatable(1, |_| {}))
}

pub fn v2() -> Release {
    Release::new(7, V2, image(V2, CODE + 777))
}

/// A delta that says of every byte how it differs.
pub fn patch(base: &[u8], image: &[u8]) -> Vec<u8> {
    let mut patch = Vec::new();
    let mut encoder = Encoder::new(base, image, |byte| patch.push(byte)).unwrap();
    let add = base.len().min(image.len()) as u32;
    encoder.instruction(Instruction { add, insert: image.len() as u32 - add, seek: 0 }).unwrap();
    encoder.finish().unwrap();
    patch
}
