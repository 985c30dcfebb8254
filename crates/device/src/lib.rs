//! Every decision the sensor device makes, without I/O, clock, thread or heap.
//!
//! Events go in ([`Device::handle`]), commands come out ([`Device::poll_output`]), and the device says when it next
//! wants to be called ([`Device::next_deadline`]). What must be answered at once and locally (key-value store,
//! entropy) is a trait in [`platform`]. So the same input gives the same output on a Cortex-M, in a test and in a
//! fuzzer.
//!
//! A port is a loop: deliver what happened, carry out commands until there are none, sleep until the deadline.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod audit;
mod backlog;
mod backoff;
mod boots;
pub mod clock;
mod commands;
pub mod config;
mod cx;
mod device;
pub mod dropped;
pub mod entropy;
mod event;
pub mod fuzz;
mod gate;
pub mod identity;
pub mod incoming;
mod interface;
mod life;
mod machine;
mod mail;
pub mod platform;
pub mod provisioning;
pub mod session;
mod settings;
mod stored;
pub mod telemetry;
mod trial;
pub mod update;
pub mod vault;

pub use clock::keeping::TIME_STORE_PERIOD_MS;
pub use cx::MESSAGE_BYTES_MAX;
pub use device::{Device, STATE_PERIOD_MS};
pub use event::Note;
pub use gate::{Own, Rejected};
pub use interface::{BootInfo, Command, End, Event, Pace, Password, Product, StartError};
pub use platform::{
    Entropy, EntropyError, Key, KeySlot, KeyValue, LogFlash, LogLayout, Platform, RootsPlace, Running,
    SlotLayout, Slots, StorageError, Uptime, Vault, VaultError,
};
pub use session::Policy;
