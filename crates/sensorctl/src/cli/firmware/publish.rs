//! `sensorctl firmware publish`.

mod show;

use super::super::shared::block_on;
use super::super::{Failure, say};
use super::arguments::{self, Connect};
use crate::firmware::chart::named;
use crate::firmware::fleet::{Fleet, Target};
use crate::firmware::manifest::Manifest;
use crate::firmware::release::Release;
use crate::firmware::rollout::run::{self, End, Plan, RunError};
use crate::firmware::rollout::{Author, Kept};
use crate::firmware::service::{self, SILENCE};
use crate::firmware::stages::{Rules, Share, Shares};
use crate::operator::{Operator, now};
use crate::powers::{self, LiveKey};
use crate::publish::Message;
use crate::registry::Registry;
use clap::Args;
use protocol::PublicKey;
use protocol::document::{Audience, Power};
use protocol::firmware::FirmwareTopic;
use serde_json::json;
use show::Show;
use std::path::PathBuf;
use std::time::Duration;

/// Too many devices failed.
const STOPPED: u8 = 3;
/// It has not come to its end: a signal, or the last stage's time is over.
const UNFINISHED: u8 = 4;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 every device of the last stage is confirmed (or the first share is published, with --no-follow); \
                  1 an error; 2 wrong arguments; 3 stopped because too many devices failed; 4 not finished: Ctrl-C, the last stage's \
                  time is over, or a stage in which no device has confirmed the image."
)]
pub(super) struct Publish {
    /// Folder of the release, made with `sensorctl firmware sign`
    #[arg(long, value_name = "FOLDER")]
    release: PathBuf,
    /// Folder with the keys of the powers; the private key of the power over configurations is used
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    #[command(flatten)]
    connect: Connect,
    /// Percent of the devices, one stage after the other
    ///
    /// Which devices a share has follows from the manifest and their ids: those of a smaller share are among those of a larger
    /// one, and another release begins with others.
    #[arg(long, value_name = "PERCENT,...", default_value = "1,10,50,100")]
    share: Shares,
    /// How long a stage lasts at least, also where all its devices are done (90, 90s, 10m, 24h, 7d)
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = arguments::duration)]
    pause: Duration,
    /// How long a stage waits at most for devices that have not come to an end
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = arguments::duration)]
    wait: Duration,
    /// Stop when more than so many percent of a stage's devices, and at least two, have failed; 100 never stops, 0 stops at the
    /// first
    ///
    /// What one device says of itself proves nothing. Where the only device of a stage fails, nothing larger follows by itself:
    /// look at that device, then give a larger --share.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    stop_on_failures: u32,
    /// The registry: its devices count for their stage although they have said nothing yet
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Whom it is for: all, or group:NAME (then only devices count that have said that they know of the release)
    #[arg(long = "for", value_name = "WHOM", default_value = "all", value_parser = arguments::audience)]
    whom: Audience,
    /// Begin again with a release that was withdrawn or has stopped
    #[arg(long)]
    again: bool,
    /// Publish the next share and end
    #[arg(long)]
    no_follow: bool,
    /// Print a JSON object for each event, one a line
    #[arg(long)]
    json: bool,
}

/// What the broker has of this class.
#[derive(Default)]
struct Before {
    manifest: Option<Vec<u8>>,
    kept: Option<Kept>,
}

impl Publish {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let firmware = powers::public(&self.authority, Power::Firmware).map_err(Failure::error)?;
        let release = Release::open(&self.release, &firmware).map_err(Failure::error)?;
        release.image().map_err(Failure::error)?;
        release.check_blocks().map_err(Failure::error)?;
        if release.manifest.has_expired(now().0 / 1000) {
            return Err(Failure::error(
                "the manifest may not be used any more (--use-before): sign the release anew",
            ));
        }
        let signer = LiveKey::open(&self.authority, Power::Configuration).map_err(Failure::error)?;
        let mut fleet = Fleet::default();
        if let Some(path) = &self.registry {
            let registry = Registry::open(path).map_err(Failure::error)?;
            registry.active().cloned().for_each(|id| fleet.know(id));
        }
        let operator = self.connect.operator("firmware")?;
        let mut show = Show::new(self.json, &self.connect.broker());
        block_on(async {
            let before = read_before(&operator, &release.manifest, signer.now().public()).await?;
            self.check(&release.manifest, &before, &firmware, &mut show)?;
            let same = before.kept.filter(|kept| kept.manifest == release.manifest.digest);
            let shares = self.shares(same)?;
            let author = Author {
                signer: &signer,
                folder: &self.authority,
                audience: self.whom.clone(),
                manifest: release.manifest.digest,
                class: release.manifest.class,
                above: before.kept.map_or(0, |kept| kept.number),
            };
            self.bring(&operator, &release, &before, &mut show).await?;
            let rules = Rules { pause: self.pause, wait: self.wait, stop_percent: self.stop_on_failures };
            let target = Target::from(&release.manifest);
            let aware_only = self.whom != Audience::All;
            let plan = Plan { author, target, shares, kept: same, rules, aware_only };
            if self.no_follow {
                return give(&operator, &plan, &mut show).await;
            }
            let ended = run::run(&operator, &plan, fleet, |at, news| show.tell(at, news)).await;
            let end = ended.map_err(|error| match error {
                RunError::Io(error) => {
                    Failure::error(format!("cannot write to the standard output: {error}"))
                }
                error => Failure::error(error),
            })?;
            show.end(&end).map_err(Failure::error)?;
            Ok(match end {
                End::Done(tally) if tally.confirmed() == tally.devices => 0,
                End::Stopped(_) => STOPPED,
                End::Done(_) | End::TimeOver(_) | End::Unproven(_) | End::Interrupted(_) => UNFINISHED,
            })
        })
    }

    /// Refuses what devices would refuse because of what they may have accepted.
    fn check(
        &self,
        manifest: &Manifest,
        before: &Before,
        key: &PublicKey,
        show: &mut Show,
    ) -> Result<(), Failure> {
        let stopped =
            before.kept.is_some_and(|kept| kept.manifest == manifest.digest && kept.share == Share::NONE);
        if stopped && !self.again {
            return Err(Failure::error(
                "this release was withdrawn, or stopped because devices failed: `sensorctl firmware status` tells; to \
                 begin again say --again",
            ));
        }
        let Some(envelope) = &before.manifest else { return Ok(()) };
        match Manifest::verify(envelope, key) {
            Err(fault) => show.note(format_args!("the broker had a manifest that no device takes ({fault}): it is replaced")),
            Ok(other) if other.digest == manifest.digest => Ok(()),
            Ok(other) if other.sequence >= manifest.sequence => {
                return Err(Failure::error(format!(
                    "the broker offers {}; devices that have accepted it refuse sequence number {}: sign the release anew",
                    named(&other),
                    manifest.sequence
                )));
            }
            Ok(other) => show.note(format_args!("it takes the place of {}", named(&other))),
        }
        .map_err(Failure::error)
    }

    /// The shares that are left, from the one that the broker has.
    fn shares(&self, same: Option<Kept>) -> Result<Vec<Share>, Failure> {
        let already = same.map_or(Share::NONE, |kept| kept.share);
        let mut shares = self.share.from(already);
        if shares.is_empty() {
            return Err(Failure::usage(format_args!(
                "the release is given to {already} already, and --share ends below it: a share is not made smaller; \
                 `sensorctl firmware withdraw` stops it"
            )));
        }
        // A stage that is under way is finished first.
        if already != Share::NONE && shares.first() != Some(&already) {
            shares.insert(0, already);
        }
        Ok(shares)
    }

    /// Brings blocks and manifest to the broker.
    async fn bring(
        &self,
        operator: &Operator,
        release: &Release,
        before: &Before,
        show: &mut Show,
    ) -> Result<(), Failure> {
        let payloads: Vec<_> = release.parts.iter().map(|part| &part.payload).collect();
        let uploaded = service::upload(operator, &payloads, |step| show.upload(step)).await;
        show.uploaded(&uploaded.map_err(Failure::error)?).map_err(Failure::error)?;
        let manifest = &release.manifest;
        if before.manifest.as_ref() != Some(&manifest.envelope) {
            let topic = FirmwareTopic::Manifest(manifest.class).encode().as_str().to_owned();
            let message = Message { topic, retained: true, payload: manifest.envelope.clone() };
            service::keep(operator, &[message], |_| {}).await.map_err(Failure::error)?;
        }
        show.manifest(manifest).map_err(Failure::error)
    }
}

/// What the broker keeps of a class, with the roll-out that `key` has signed.
async fn read_before(operator: &Operator, manifest: &Manifest, key: &PublicKey) -> Result<Before, Failure> {
    let mut before = Before::default();
    let [offered, share] = [FirmwareTopic::Manifest(manifest.class), FirmwareTopic::Rollout(manifest.class)];
    let [offered, share] = [offered, share].map(|topic| topic.encode().as_str().to_owned());
    let take = |topic: &str, payload: &[u8]| {
        if topic == offered && !payload.is_empty() {
            before.manifest = Some(payload.to_vec());
        } else if topic == share {
            before.kept = Kept::read(payload, key);
        }
    };
    let filters = [offered.clone(), share.clone()];
    service::read(operator, &filters, SILENCE, take).await.map_err(Failure::error)?;
    Ok(before)
}

/// Publishes the next share, and no more.
async fn give(operator: &Operator, plan: &Plan<'_>, show: &mut Show) -> Result<u8, Failure> {
    let already = plan.kept.map(|kept| kept.share);
    let next = plan.shares.iter().find(|share| Some(**share) != already);
    let Some(share) = next.copied() else {
        let share = already.unwrap_or(Share::NONE);
        if !show.is_json() {
            say(format_args!("the release is given to {share} already"))?;
        }
        return Ok(0);
    };
    let (message, number) = plan.author.sign(share).map_err(Failure::error)?;
    service::keep(operator, &[message], |_| {}).await.map_err(Failure::error)?;
    if show.is_json() {
        say(
            json!({"at": now().to_string(), "event": "share", "share": show::percent(share), "number": number}),
        )?;
    } else {
        say(format_args!("given to {share} (roll-out number {number})"))?;
    }
    Ok(0)
}
