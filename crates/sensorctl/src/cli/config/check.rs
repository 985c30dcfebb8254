//! `sensorctl config check`.

use super::super::{Failure, say};
use super::arguments::Devices;
use super::arguments::{Ask, anyone, tell};
use super::edit;
use crate::config::difference::{Ahead, Difference};
use crate::config::file::ChangeFile;
use crate::config::{Whom, audience_words};
use crate::folder;
use crate::operator::now;
use clap::Args;
use protocol::config::{CONFIGURATION_BYTES_MAX, Change, merge};
use protocol::document::Audience;
use protocol::reason::Layer;
use protocol::{Configuration, DeviceId};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Check {
    /// The change file
    file: PathBuf,
    /// A whole configuration (JSON, as the factory gives it): fields are held to each other as they will be together
    #[arg(long, value_name = "FILE", conflicts_with = "device")]
    against: Option<PathBuf>,
    /// The same with what this device says it runs on
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// Folder with the public keys of the powers: proves what the broker keeps for the device
    #[arg(long, value_name = "DIR", requires = "device")]
    authority: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let file = ChangeFile::open(&self.file).map_err(Failure::error)?;
        let (change, named) = edit::check(&file).map_err(Failure::error)?;
        let mut buffer = [0; CONFIGURATION_BYTES_MAX];
        let bytes = change.encode(&mut buffer).map_err(Failure::error)?;
        let whom =
            if named { audience_words(&change.audience) } else { "devices that the push names".to_owned() };
        let with = match (&self.against, &self.device) {
            (Some(base), _) => {
                against(base, &change)?;
                format!("; fits {}", base.display())
            }
            (None, Some(device)) => {
                self.device(device, &change)?;
                format!("; fits what {device} runs on")
            }
            (None, None) => String::new(),
        };
        say(format_args!(
            "{}: valid for {whom}: {} fields, {bytes} of {CONFIGURATION_BYTES_MAX} bytes{with}",
            self.file.display(),
            change.fields().count()
        ))
    }

    fn device(&self, device: &DeviceId, change: &Change) -> Result<(), Failure> {
        if matches!(&change.audience, Audience::Device(id) if id != device && *id != anyone()) {
            return Err(Failure::usage(format_args!("the file is for {}", audience_words(&change.audience))));
        }
        let whom = Whom::Devices(vec![device.clone()]);
        let operator = self.ask.operator()?;
        let (fleet, odd) = self.ask.read(&operator, &whom, &Devices::default(), self.authority.as_deref())?;
        tell(&odd);
        let difference = Difference::of(&[device], &fleet, now(), |_| change);
        match difference.alike.first().map(|alike| &alike.ahead) {
            Some(Ahead::Known(outlook)) => match &outlook.refused {
                Some(sentence) => Err(Failure::error(format_args!("{device} would refuse it: {sentence}"))),
                None => Ok(()),
            },
            _ => Err(Failure::error(format_args!("what {device} runs on is not known: {difference}"))),
        }
    }
}

fn against(path: &Path, change: &Change) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::error(format_args!("{}: {error}", path.display()));
    let text = folder::read(path).map_err(Failure::error)?;
    let base = Configuration::decode(text.trim_end().as_bytes()).map_err(|error| failed(&error))?;
    let (group, device) = match change.layer() {
        Layer::Group => (Some(change), None),
        Layer::Device => (None, Some(change)),
    };
    let merged = merge(&base, group, device);
    merged.map(|_| ()).map_err(|error| failed(&format_args!("with this change it would be refused: {error}")))
}
