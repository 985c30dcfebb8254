//! Arguments that several of these commands have.

use super::super::Failure;
use crate::log::keys::Keys;
use crate::registry::Registry;
use crate::signer;
use clap::Args;
use protocol::{DeviceId, PublicKey};
use std::path::PathBuf;

/// Whose keys the logs are signed with.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Signers {
    /// The registry: every key that a device has or had
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Public identity key of the device, PEM; may be repeated
    #[arg(long, value_name = "PEM")]
    key: Vec<PathBuf>,
}

/// What [`Signers`] name, read.
pub(super) struct Opened {
    registry: Option<Registry>,
    keys: Vec<PublicKey>,
}

impl Signers {
    pub(super) fn open(&self) -> Result<Opened, Failure> {
        let registry = match &self.registry {
            Some(path) if !path.exists() => {
                return Err(Failure::error(format!("{} does not exist", path.display())));
            }
            Some(path) => Some(Registry::open(path).map_err(Failure::error)?),
            None => None,
        };
        let keys = self.key.iter().map(|path| signer::read_public(path)).collect::<Result<_, _>>();
        Ok(Opened { registry, keys: keys.map_err(Failure::error)? })
    }
}

impl Opened {
    pub(super) fn keys(&self) -> Keys<'_> {
        self.registry.as_ref().map_or(Keys::Given(&self.keys), Keys::Registry)
    }
}

/// Which logs.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The store that `log follow` writes, or the log of a device in it (ID.log); several
    #[arg(required = true, value_name = "STORE|FILE")]
    paths: Vec<PathBuf>,
    /// Only this device; whose log a file is, where its name does not tell
    #[arg(long)]
    id: Option<DeviceId>,
}

impl Logs {
    pub(super) fn find(&self) -> Result<Vec<(DeviceId, PathBuf)>, Failure> {
        let mut logs = Vec::new();
        for path in &self.paths {
            logs.extend(crate::log::store::logs_at(path, self.id.as_ref()).map_err(Failure::error)?);
        }
        Ok(logs)
    }
}
