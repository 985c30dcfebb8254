//! `sensorctl firmware withdraw`.

use super::super::shared::block_on;
use super::super::{Failure, say};
use super::arguments::{self, Connect, Names};
use crate::firmware::chart::named;
use crate::firmware::manifest::{Manifest, Source};
use crate::firmware::payload;
use crate::firmware::release::Release;
use crate::firmware::rollout::{Author, Kept};
use crate::firmware::service::{self, SILENCE};
use crate::firmware::stages::Share;
use crate::operator::Operator;
use crate::powers::{self, LiveKey};
use crate::publish::Message;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::document::{Audience, Power};
use protocol::firmware::FirmwareTopic;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Withdraw {
    /// Folder with the keys of the powers; the private key of the power over configurations is used
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    #[command(flatten)]
    connect: Connect,
    /// Folder of the release [default: the one that the broker offers to the class of --product and --board]
    #[arg(long, value_name = "FOLDER")]
    release: Option<PathBuf>,
    #[command(flatten)]
    names: Names,
    /// Clear the blocks as well: the broker's memory is free again, and publishing takes longer
    #[arg(long)]
    purge: bool,
    /// Whom the roll-out was for: all, or group:NAME
    #[arg(long = "for", value_name = "WHOM", default_value = "all", value_parser = arguments::audience)]
    whom: Audience,
}

impl Withdraw {
    pub(super) fn run(self) -> Result<(), Failure> {
        let firmware = powers::public(&self.authority, Power::Firmware).map_err(Failure::error)?;
        let signer = LiveKey::open(&self.authority, Power::Configuration).map_err(Failure::error)?;
        let release = self.release.as_deref().map(|folder| Release::open(folder, &firmware));
        let release = release.transpose().map_err(Failure::error)?.map(|release| release.manifest);
        let class = match &release {
            Some(manifest) => manifest.class,
            None => self.names.product()?.class(),
        };
        let operator = self.connect.operator("firmware")?;
        let topics = [FirmwareTopic::Manifest(class), FirmwareTopic::Rollout(class)];
        let [offered_at, share_at] = topics.map(|topic| topic.encode().as_str().to_owned());
        block_on(async {
            let (mut offered, mut kept) = (None, None);
            let take = |topic: &str, payload: &[u8]| {
                if topic == offered_at && !payload.is_empty() {
                    offered = Some(Manifest::verify(payload, &firmware));
                } else if topic == share_at {
                    kept = Kept::read(payload, signer.now().public());
                }
            };
            let filters = [offered_at.clone(), share_at.clone()];
            service::read(&operator, &filters, SILENCE, take).await.map_err(Failure::error)?;
            // One that no device takes is of no use to anybody; another release's stays.
            let clear = offered.as_ref().is_some_and(|offered| match (offered, &release) {
                (Ok(offered), Some(release)) => offered.digest == release.digest,
                (Err(_), Some(_)) => false,
                (_, None) => true,
            });
            let manifest = release.or_else(|| offered.and_then(Result::ok));
            let Some(manifest) = manifest else {
                if clear {
                    return take_back(&operator, offered_at).await;
                }
                return Err(Failure::error(format_args!(
                    "the broker offers nothing to class {class} ({offered_at}): nothing to withdraw; where devices may have \
                     a release still, name it with --release"
                )));
            };
            let author = Author {
                signer: &signer,
                folder: &self.authority,
                audience: self.whom.clone(),
                manifest: manifest.digest,
                class,
                above: kept.map_or(0, |kept| kept.number),
            };
            // A roll-out of another release says nothing about this one.
            if clear || kept.is_none_or(|kept| kept.manifest == manifest.digest) {
                let (message, number) = author.sign(Share::NONE).map_err(Failure::error)?;
                service::keep(&operator, &[message], |_| {}).await.map_err(Failure::error)?;
                say(format_args!("{} is given to nobody (roll-out number {number})", named(&manifest)))?;
            }
            if clear {
                take_back(&operator, offered_at).await?;
            }
            if self.purge {
                let uris = manifest.sources.iter().filter_map(Source::payload);
                let messages: Vec<Message> = uris.flat_map(payload::clearing).collect();
                let style = ProgressStyle::with_template("clearing {wide_bar} {pos}/{len} {eta}");
                let bar = ProgressBar::new(messages.len() as u64)
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                let cleared = service::keep(&operator, &messages, |done| bar.set_position(done as u64)).await;
                bar.finish_and_clear();
                cleared.map_err(Failure::error)?;
                say(format_args!("{} blocks are cleared", messages.len()))?;
            }
            Ok(())
        })
    }
}

async fn take_back(operator: &Operator, topic: String) -> Result<(), Failure> {
    let message = Message { topic, retained: true, payload: Vec::new() };
    service::keep(operator, &[message], |_| {}).await.map_err(Failure::error)?;
    say("the manifest is cleared")
}
