//! What goes over the wire and into flash: types with `encode` and `decode`, no behaviour.
//!
//! One definition serves the device, the tools of the factory and of the operator. Nothing here allocates,
//! does I/O or knows of a clock. Every length is bounded by a named constant; longer input is an error.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod audit;
pub mod blocks;
pub mod command;
pub mod config;
pub mod document;
mod endpoint;
pub mod firmware;
pub mod fuzz;
pub mod hello;
pub mod id;
pub mod identity_state;
pub mod image;
mod json;
pub mod key;
pub mod limits;
mod name;
pub mod patch;
pub mod provisioning;
pub mod reason;
pub mod rights;
mod shown;
pub mod signed;
pub mod state;
mod strict;
pub mod suit;
pub mod telemetry;
pub mod time;
pub mod token;
pub mod topic;
pub mod x509;

pub use command::CommandAnswer;
pub use config::{Configuration, ConfigurationError, ConfigurationState, Endpoint};
pub use firmware::{FirmwareState, UpdateFault, Uuid};
pub use hello::{Hello, PreviousBoot};
pub use id::{DeviceId, DeviceIdError};
pub use identity_state::IdentityState;
pub use json::{DecodeError, EncodeError};
pub use key::{KeyId, PublicKey, Signature};
pub use name::{NAME_MAX, Name, NameError};
pub use reason::{Failure, Layer, Refusal, ResetCause};
pub use shown::{Shown, is_plain};
pub use state::{ClockQuality, State};
pub use telemetry::{Batch, Measurement, Sample, SensorFault};
pub use time::EpochMillis;
pub use topic::{Channel, Topic};

/// Version of the messages in this crate, carried as `v` in each of them. A message with another version is refused.
pub const PROTOCOL_VERSION: u8 = 1;
