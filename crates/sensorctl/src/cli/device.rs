//! `sensorctl device`.

mod show;

use super::Failure;
use super::shared::Configured;
use crate::authority::{Authority, AuthorityError};
use crate::enrol::{self, EnrolError};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::DeviceId;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Device {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Enrol a device, or many, for a simulator
    ///
    /// Writes a folder with config.json (the configuration), device.key (PKCS#8, readable by you alone), device.crt
    /// (the certificate chain, leaf first, CN = the device's id) and roots.crt (what the device trusts). With --count
    /// and --id-prefix, one such folder for each device: dev-001, dev-002, … A folder that exists is never touched.
    Enrol(Enrol),
    /// Show which identity a device uses and how its trust is, as it has said last, and which identities the registry has for it
    ///
    /// What a device says is kept by the broker and not signed: it is as true as the broker.
    Show(show::Show),
}

#[derive(Debug, Args)]
struct Enrol {
    /// Folder of the authority, made with `sensorctl ca init`
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The device's id: 1 to 32 of A-Z a-z 0-9 - _
    #[arg(long, required_unless_present = "count", conflicts_with_all = ["count", "id_prefix"])]
    id: Option<DeviceId>,
    /// Enrol so many devices
    #[arg(long, value_name = "N", requires = "id_prefix")]
    count: Option<u32>,
    /// What the ids of --count devices begin with
    #[arg(long, value_name = "TEXT", requires = "count")]
    id_prefix: Option<String>,
    #[command(flatten)]
    configured: Configured,
    /// Days for which the certificate is valid
    #[arg(long, value_name = "N", default_value_t = enrol::DEVICE_DAYS)]
    days: u32,
    /// Folder for the device or, with --count, for all of them; must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Device {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self.action {
            Action::Show(arguments) => arguments.run(),
            Action::Enrol(arguments) => match arguments.run() {
                Ok(done) => super::say(done).map(|()| 0),
                Err(
                    error @ (EnrolError::Configuration(_)
                    | EnrolError::Id(..)
                    | EnrolError::Count(_)
                    | EnrolError::Authority(AuthorityError::BadArgument(_))),
                ) => Err(Failure::usage(error)),
                Err(error) => Err(Failure::error(error)),
            },
        }
    }
}

impl Enrol {
    /// Gives what there is to say of it.
    fn run(self) -> Result<String, EnrolError> {
        let wanted = self.configured.wanted();
        let out = self.out.display();
        if let Some(id) = self.id {
            // What is wrong with the arguments is said before what is wrong with the files.
            let configuration = wanted.configuration(id)?;
            enrol::device(&Authority::open(&self.ca)?, &configuration, self.days, &self.out)?;
            return Ok(format!("{} enrolled in {out} for {} days", configuration.id, self.days));
        }
        let (prefix, count) = (self.id_prefix.unwrap_or_default(), self.count.unwrap_or_default());
        let authority = Authority::open(&self.ca)?;
        // Drawn on stderr, and only where that is a terminal.
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
        let bar =
            ProgressBar::new(count.into()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        enrol::fleet(&authority, &wanted, (&prefix, count), self.days, &self.out, |id| {
            bar.set_message(id.to_string());
            bar.inc(1);
        })?;
        bar.finish_and_clear();
        Ok(format!("{count} devices enrolled in {out} for {} days", self.days))
    }
}
