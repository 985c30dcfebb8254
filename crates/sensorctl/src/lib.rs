//! The factory and the operator of a fleet: certificates of a test authority, the keys of the powers over devices,
//! provisioning and enrolment, signed documents, renewal and revocation, firmware, and watching what devices send. The
//! binary `sensorctl` is a thin face over this library.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "`output` is the one door")]

pub mod authority;
pub mod clear;
pub mod cli;
pub mod command;
pub mod config;
pub mod credentials;
pub mod documents;
pub mod enrol;
pub mod firmware;
pub mod folder;
pub mod identity;
pub mod judge;
pub mod ledger;
pub mod log;
pub mod operator;
pub mod output;
pub mod powers;
pub mod provision;
pub mod publish;
pub mod registry;
pub mod renew;
pub mod revoke;
pub mod signer;
pub mod watch;
