//! The proofs that need everything together, and what they share: certificates of the project's own authority,
//! Mosquitto with the project's own configuration, a link that can be cut, a device, and an operator who keeps the
//! ledger. Nothing here is ever shipped. R-MQTT-ISOLATION, R-DATA-INTACT, R-TLS-ALL.
//!
//! Whatever is not as it must be for a test to run panics and says what to do about it.
#![forbid(unsafe_code)]

pub mod archive;
pub mod client;
pub mod dut;
pub mod handbook;
pub mod load;
pub mod mosquitto;
pub mod operator;
pub mod orders;
pub mod paths;
pub mod pki;
pub mod proxy;
pub mod records;
pub mod search;
pub mod site;
pub mod vaults;
pub mod vendor;

use std::time::Duration;

/// Long enough for a loaded machine; only a test that fails waits for it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The host name of every broker here.
pub const HOST: &str = "localhost";
