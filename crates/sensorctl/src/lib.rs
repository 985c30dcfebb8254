//! The factory and the operator of a fleet: certificates of a test authority, enrolment of devices, and watching what
//! they send. The binary `sensorctl` is a thin face over this library.
#![forbid(unsafe_code)]

pub mod authority;
pub mod cli;
pub mod enrol;
pub mod folder;
pub mod ledger;
pub mod settings;
pub mod watch;
