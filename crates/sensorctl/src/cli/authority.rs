//! `sensorctl authority`.

use super::Failure;
use super::shared::NewKeys;
use crate::powers;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Authority {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key for each power: firmware, configuration, anchors, factory
    ///
    /// Writes <power>.pub (the public half, PEM) and <power>.key (PKCS#8, readable by you alone) for each of them. Keys in
    /// files are for tests: with --pkcs11 they are made in a token, which never gives them away, and <power>.pkcs11.json
    /// says where they are. Whoever needs one power alone gets a folder with that one key and all the .pub files. Keys
    /// that exist are never touched.
    Init(Init),
}

#[derive(Debug, Args)]
struct Init {
    /// Folder for the keys; must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    keys: NewKeys,
}

impl Authority {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Action::Init(Init { out, keys }) = self.action;
        for (power, id) in powers::init(&out, &keys.home()).map_err(Failure::error)? {
            super::say(format_args!("{power:<13} {id}"))?;
        }
        super::say(format_args!("keys of the powers in {}", out.display()))
    }
}
