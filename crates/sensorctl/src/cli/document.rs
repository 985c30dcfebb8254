//! `sensorctl document`.

use super::Failure;
use super::shared::{Broker, Trust, send};
use crate::authority::issue;
use crate::documents::{Content, DocumentError, For, Letter};
use crate::folder::{self, NewFolder};
use crate::powers::{self, Numbers};
use crate::registry::Registry;
use crate::signer;
use clap::{Args, Subcommand, ValueEnum};
use protocol::DeviceId;
use protocol::document::{Audience, Power};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Document {
    #[command(subcommand)]
    content: Wanted,
}

#[derive(Debug, Subcommand)]
enum Wanted {
    /// The roots that devices trust from now on, in place of those before (signed by the power over anchors)
    ///
    /// A device keeps them only if it reaches its service with them; otherwise it returns to the former ones.
    Roots {
        /// A root certificate, or several, PEM; may be repeated; three at most in all
        #[arg(long, value_name = "FILE", required = true)]
        root: Vec<PathBuf>,
        #[command(flatten)]
        signed: Signed,
    },
    /// A new key for a power, in place of the one before (signed by the power over anchors)
    AuthorityKey {
        /// Whose key
        #[arg(long)]
        power: Replaceable,
        /// The new public key, PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        signed: Signed,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Replaceable {
    Firmware,
    Configuration,
    Anchors,
}

#[derive(Debug, Args)]
struct Signed {
    /// Folder with the keys of the powers; the private key of the one that signs this is used
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// A device; may be repeated
    #[arg(long)]
    id: Vec<DeviceId>,
    /// Every device that has an identity in force in the registry
    #[arg(long, requires = "registry", conflicts_with = "id")]
    all: bool,
    /// The registry
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Whom it is for: device (one for each), all, or group:NAME (the same for everybody)
    #[arg(long = "for", value_name = "WHOM", default_value = "device")]
    whom: For,
    /// Its number; devices take only a higher one than they have [default: one more than the last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: Option<u32>,
    /// Write it to this file; where there are several, to this folder, one file for each device
    #[arg(long, value_name = "PATH", required_unless_present = "publish")]
    out: Option<PathBuf>,
    /// Send it to the devices by way of this broker
    #[arg(long, value_name = "HOST[:PORT]", requires = "ca")]
    publish: Option<Broker>,
    #[command(flatten)]
    trust: Trust,
}

impl Document {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (content, signed) = match self.content {
            Wanted::Roots { root, signed } => {
                let mut roots = Vec::new();
                for path in &root {
                    roots.extend(issue::certificates(path).map_err(Failure::error)?);
                }
                (Content::Roots(roots), signed)
            }
            Wanted::AuthorityKey { power, key, signed } => {
                let power = match power {
                    Replaceable::Firmware => Power::Firmware,
                    Replaceable::Configuration => Power::Configuration,
                    Replaceable::Anchors => Power::Anchors,
                };
                (Content::AuthorityKey(power, signer::read_public(&key).map_err(Failure::error)?), signed)
            }
        };
        signed.run(&content)
    }
}

fn failure(error: DocumentError) -> Failure {
    match error {
        DocumentError::Roots(_) => Failure::usage(error),
        error => Failure::error(error),
    }
}

impl Signed {
    fn run(self, content: &Content) -> Result<(), Failure> {
        let registry = self.registry.as_deref().map(Registry::open).transpose().map_err(Failure::error)?;
        let mut ids = self.id.clone();
        if let (true, Some(registry)) = (self.all, &registry) {
            ids.extend(registry.active().cloned());
        }
        let many = self.whom == For::Each || self.publish.is_some();
        if ids.is_empty() && many {
            return Err(Failure::usage(
                "no device is named: give --id, or --all with a registry that has devices",
            ));
        }
        let power = content.content_type().power();
        let key = powers::public(&self.authority, power).map_err(Failure::error)?;
        // Any of the audiences: they differ in nothing that a device checks here.
        let audience = match &self.whom {
            For::Group(group) => Audience::Group(group.clone()),
            For::Each | For::All => ids.first().cloned().map_or(Audience::All, Audience::Device),
        };
        content.check(key.id(), &self.authority, registry.as_ref(), &audience).map_err(failure)?;
        let operator = match &self.publish {
            Some(broker) => Some(self.trust.operator(broker, "sign").map_err(Failure::error)?),
            None => None,
        };
        let signer = powers::signer(&self.authority, power).map_err(Failure::error)?;
        let number = {
            let mut numbers = Numbers::open(&self.authority).map_err(Failure::error)?;
            numbers.next(content.name(), 1, self.number).map_err(Failure::error)?
        };
        let sign = |audience| content.sign(&signer, audience, number).map_err(failure);
        let documents = match &self.whom {
            For::Each => {
                let one = |id: &DeviceId| Ok((id.to_string(), sign(Audience::Device(id.clone()))?));
                ids.iter().map(one).collect::<Result<Vec<_>, Failure>>()?
            }
            For::Group(group) => vec![(format!("group-{group}"), sign(Audience::Group(group.clone()))?)],
            For::All => vec![("all".to_owned(), sign(Audience::All)?)],
        };
        if let Some(out) = &self.out {
            write(out, content, &documents)?;
        }
        if let Some(operator) = operator {
            let channel = content.channel();
            // One for each device, or one and the same for all of them.
            let payloads = documents.iter().map(|(_, document)| document).cycle();
            let letter = |(device, payload): (&DeviceId, &Vec<u8>)| Letter {
                device: device.clone(),
                channel,
                retained: true,
                payload: payload.clone(),
            };
            let letters: Vec<Letter> = ids.iter().zip(payloads).map(letter).collect();
            send(&operator, &letters)?;
            super::say(format_args!(
                "{} sent to {} devices, kept for them by the broker",
                content.name(),
                letters.len()
            ))?;
        }
        super::say(format_args!("{} number {number}, signed with {}", content.name(), signer.public().id()))
    }
}

fn write(out: &Path, content: &Content, documents: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    if let [(_, document)] = documents {
        return folder::replace(out, document).map_err(Failure::error);
    }
    let new = NewFolder::begin(out).map_err(Failure::error)?;
    for (name, document) in documents {
        // A group's name may have a stroke in it.
        let name = format!("{}.{}.cose", name.replace('/', "_"), content.name());
        new.public(&name, document).map_err(Failure::error)?;
    }
    new.publish().map_err(Failure::error)
}
