//! Arguments that several of these commands have, and what they read from the broker.

use super::super::Failure;
use super::super::firmware::arguments::Connect;
use super::super::shared::{block_on, group};
use crate::config::Whom;
use crate::config::file::{ChangeFile, FileError};
use crate::config::fleet::{Fleet, Odd, kept};
use crate::firmware::service;
use crate::operator::Operator;
use crate::output::note;
use crate::powers;
use crate::registry::Registry;
use clap::Args;
use protocol::config::Change;
use protocol::document::{Audience, Power};
use protocol::{DeviceId, Name, Shown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which devices.
#[derive(Debug, Default, Args)]
pub(super) struct Devices {
    /// A device; may be repeated
    #[arg(long, value_name = "ID", conflicts_with_all = ["group", "all"])]
    id: Vec<DeviceId>,
    /// The devices of this group
    #[arg(long, value_name = "NAME", value_parser = group, conflicts_with = "all")]
    group: Option<Name>,
    /// Every device that the broker or the registry knows
    #[arg(long)]
    all: bool,
    /// The registry: devices of it that were never heard of are known then
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
}

impl Devices {
    /// Who was named; nothing where nobody was.
    pub(super) fn whom(&self) -> Option<Whom> {
        match (&self.group, self.all, self.id.is_empty()) {
            (Some(group), ..) => Some(Whom::Group(group.clone())),
            (None, true, _) => Some(Whom::All),
            (None, false, false) => Some(Whom::Devices(self.id.clone())),
            (None, false, true) => None,
        }
    }

    pub(super) fn named(&self) -> Result<Whom, Failure> {
        self.whom().ok_or_else(|| Failure::usage("no device is named: give --id, --group or --all"))
    }

    /// Reads the change for those that were named, or else for those that the file names.
    pub(super) fn change(&self, file: &ChangeFile) -> Result<(Whom, Change, Option<u32>), Failure> {
        let whom = self.whom();
        let audience = match &whom {
            None => None,
            Some(Whom::Group(group)) => Some(Audience::Group(group.clone())),
            // Stands for each of them.
            Some(Whom::Devices(ids)) => ids.first().cloned().map(Audience::Device),
            Some(Whom::All) => Some(Audience::Device(anyone())),
        };
        let (change, number) = file.change(audience.as_ref()).map_err(Failure::error)?;
        let several = matches!(&whom, Some(Whom::Devices(ids)) if ids.len() > 1);
        if let (true, Some(audience)) = (several, file.audience()) {
            return Err(Failure::error(FileError::OtherAudience(file.path().to_owned(), audience)));
        }
        let whom = whom.unwrap_or_else(|| match &change.audience {
            Audience::Group(group) => Whom::Group(group.clone()),
            Audience::Device(id) => Whom::Devices(vec![id.clone()]),
            Audience::All => Whom::All,
        });
        Ok((whom, change, number))
    }

    pub(super) fn registered(&self, fleet: &mut Fleet) -> Result<(), Failure> {
        if let Some(path) = &self.registry {
            let registry = Registry::open(path).map_err(Failure::error)?;
            fleet.registered.extend(registry.active().cloned());
        }
        if let Some(Whom::Devices(ids)) = self.whom() {
            fleet.registered.extend(ids);
        }
        Ok(())
    }
}

/// Stands for the id of a device in a file that is for nobody yet.
pub(super) fn anyone() -> DeviceId {
    DeviceId::new("any").unwrap_or_else(|_| unreachable!("three letters are an id"))
}

/// How the broker is asked.
#[derive(Debug, Args)]
pub(super) struct Ask {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// Listen until nothing has come for so many seconds
    #[arg(long, value_name = "N", default_value_t = service::SILENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

impl Ask {
    pub(super) fn operator(&self) -> Result<Operator, Failure> {
        self.connect.operator("config")
    }

    /// What the broker keeps of these devices. `authority` is the folder with the keys that prove what it keeps for them.
    pub(super) fn read(
        &self,
        operator: &Operator,
        whom: &Whom,
        devices: &Devices,
        authority: Option<&Path>,
    ) -> Result<(Fleet, Vec<Odd>), Failure> {
        let key = authority.map(|folder| powers::public(folder, Power::Configuration));
        let mut fleet = Fleet::new(key.transpose().map_err(Failure::error)?);
        devices.registered(&mut fleet)?;
        if let Whom::Devices(ids) = whom {
            fleet.registered.extend(ids.iter().cloned());
        }
        let mut odd = Vec::new();
        let take = |topic: &str, payload: &[u8]| {
            odd.extend(fleet.take(topic, payload, None).err());
        };
        let silence = Duration::from_secs(self.seconds);
        block_on(async {
            service::read(operator, &kept(whom), silence, take).await.map_err(Failure::error)
        })?;
        Ok((fleet, odd))
    }
}

/// Tells on stderr what could not be read.
pub(super) fn tell(odd: &[Odd]) {
    for Odd { topic, why } in odd {
        note!("{} is of no use: {}", Shown(topic), Shown(why));
    }
}
