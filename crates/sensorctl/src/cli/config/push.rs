//! `sensorctl config push`.

use super::super::shared::block_on;
use super::super::{Failure, say};
use super::arguments::{Ask, Devices, tell};
use super::diff::{difference, title, unknown};
use super::show::Show;
use super::status::{Following, code};
use crate::config::change::{self, Former, Signed, Target};
use crate::config::file::ChangeFile;
use crate::config::fleet::Fleet;
use crate::config::follow::Follow;
use crate::config::follow::run::End;
use crate::config::standing::Wanted;
use crate::config::{Whom, fields};
use crate::firmware::service;
use crate::operator::{Operator, now};
use crate::output;
use crate::powers::{self, NUMBERS};
use crate::signer::Signer;
use clap::Args;
use protocol::DeviceId;
use protocol::config::Change;
use protocol::document::{Audience, Power};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 it is in force on every device (or is published, with --no-follow; or would be, with --dry-run); \
                  1 an error; 2 wrong arguments; 3 stopped by --stop-after-failures: what was wanted before is signed anew and published; \
                  4 not in force everywhere: refused or undone, Ctrl-C, or the time is over."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Push {
    /// The change file
    file: PathBuf,
    /// Folder with the keys of the powers; the private key of the power over configurations is used
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    #[command(flatten)]
    devices: Devices,
    #[command(flatten)]
    ask: Ask,
    /// Its number; devices take only a higher one than they have [default: one more than the last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: Option<u32>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Publish it although devices would refuse it
    #[arg(long)]
    anyway: bool,
    /// Sign it anew although the broker has the same change already: after it was undone or refused, for instance
    #[arg(long)]
    again: bool,
    /// End when the broker has it
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    following: Following,
}

impl Push {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let file = ChangeFile::open(&self.file).map_err(Failure::error)?;
        let (whom, change, in_file) = self.devices.change(&file)?;
        let signer = powers::signer(&self.authority, Power::Configuration).map_err(Failure::error)?;
        let operator = self.ask.operator()?;
        let (fleet, odd) = self.ask.read(&operator, &whom, &self.devices, Some(&self.authority))?;
        let mut show = Show::new(self.following.json);
        if !show.is_json() {
            tell(&odd);
        }
        let ids: Vec<DeviceId> = fleet.in_service(&whom).into_iter().cloned().collect();
        if ids.is_empty() && !matches!(whom, Whom::Group(_)) {
            return Err(Failure::error("no device is known: give --id, or the --registry"));
        }
        self.show_difference(&whom, &fleet, &change, &show)?;
        let wanted = self.number.or(in_file);
        let anew = self.again || wanted.is_some();
        let there = if anew { None } else { there(&change, &fleet, &ids) };
        if self.dry_run {
            let line =
                if there.is_some() { "the broker has this change already" } else { "nothing was published" };
            show.say(|| json!({"event": "dry-run", "there": there.is_some()}), line)
                .map_err(Failure::error)?;
            return Ok(0);
        }
        let layer = change.layer();
        let mut former = Former::of(&change, &fleet, &ids);
        let target = if let Some(target) = there {
            // What the broker keeps is the change itself.
            former = former.unknown();
            show.say(
                || json!({"event": "there"}),
                "the broker has this change already: it is not signed anew",
            )
            .map_err(Failure::error)?;
            target
        } else {
            let highest = fleet.highest(&whom, layer);
            let next = wanted.map_or_else(|| change::next(&self.authority, layer, highest), Ok);
            let next = next.map_err(Failure::error)?;
            show_claims(&fleet.claims(&whom, layer, next), next, &show)?;
            self.ask_first(&ids, &whom)?;
            let number = change::number(&self.authority, layer, highest, wanted).map_err(Failure::error)?;
            let documents = change::sign(&signer, &change, number, &ids).map_err(Failure::error)?;
            block_on(async { publish(&operator, &documents, &show).await })?;
            documents.target
        };
        if self.no_follow {
            return Ok(0);
        }
        let highest = fleet.highest(&whom, layer);
        let mut follow = Follow::new(whom, target, fleet, now());
        block_on(async {
            let end = self.following.run(&operator, &mut follow, &mut show).await?;
            if end == End::Stopped {
                let number = change::number(&self.authority, layer, highest, None).map_err(Failure::error)?;
                take_back(&operator, &signer, &former, number, &show).await?;
            }
            Ok(code(end, &follow))
        })
    }

    fn show_difference(
        &self,
        whom: &Whom,
        fleet: &Fleet,
        change: &Change,
        show: &Show,
    ) -> Result<(), Failure> {
        let difference = difference(whom, fleet, change);
        let text = difference.text(&title(&self.file, whom, change), &self.ask.connect.broker());
        let value = || json!({"event": "difference", "difference": difference.json()});
        show.say(value, text.trim_end()).map_err(Failure::error)?;
        if let (false, Some(unknown)) = (show.is_json(), unknown(whom, fleet)) {
            say(unknown)?;
        }
        match difference.refused() {
            Some((count, sentence)) if !self.anyway => Err(Failure::error(format_args!(
                "{count} devices would refuse it: {sentence}\nnothing was published; --anyway publishes it for the others"
            ))),
            _ => Ok(()),
        }
    }

    fn ask_first(&self, ids: &[DeviceId], whom: &Whom) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::usage("nobody can be asked here: say --yes to publish it"));
        }
        let count = match whom {
            Whom::Group(group) => format!("group {group} ({} known devices)", ids.len()),
            _ => format!("{} devices", ids.len()),
        };
        output::tell(format_args!("Publish it for {count}? [y/N] "));
        let mut answer = String::new();
        let failed = |error: io::Error| Failure::error(format_args!("no answer can be read: {error}"));
        io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer)).map_err(failed)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            Ok(())
        } else {
            Err(Failure::error("nothing was published"))
        }
    }
}

/// Who says, without proof, that this number would be refused. It is for people to judge: where it is believed, one device uses up
/// the numbers of all.
fn show_claims(claims: &[(&DeviceId, u32)], next: u32, show: &Show) -> Result<(), Failure> {
    let Some((id, number)) = claims.iter().max_by_key(|(_, number)| *number) else { return Ok(()) };
    let others = match claims.len() {
        1 => String::new(),
        count => format!(" ({} others say the like)", count - 1),
    };
    show.say(
        || json!({"event": "claimed", "id": id.as_str(), "number": number, "devices": claims.len(), "next": next}),
        format_args!(
            "{id} says that it has met number {number}{others}: that is not proven and not believed; number {next} is used, which it \
             refuses if it is so. Where another folder of keys, or a {NUMBERS} that was lost, explains it: --number"
        ),
    )
    .map_err(Failure::error)
}

/// What devices report of the change that the broker keeps, where it says for everybody the same as this one.
fn there(change: &Change, fleet: &Fleet, ids: &[DeviceId]) -> Option<Target> {
    let mut target = Target::default();
    let same = |kept: &Change| fields::named(kept) == fields::named(change);
    if let Audience::Group(group) = &change.audience {
        let kept = fleet.groups.get(group).filter(|kept| same(&kept.change))?;
        target.groups.insert(group.clone(), Wanted::new(&kept.change, kept.digest));
        return Some(target);
    }
    for id in ids {
        let kept = fleet.own.get(id).filter(|kept| same(&kept.change))?;
        target.devices.insert(id.clone(), Wanted::new(&kept.change, kept.digest));
    }
    Some(target)
}

async fn publish(operator: &Operator, signed: &Signed, show: &Show) -> Result<(), Failure> {
    service::keep(operator, &signed.messages, |_| {}).await.map_err(Failure::error)?;
    let (number, count) = (signed.number, signed.messages.len());
    let word = if count == 1 { "message" } else { "messages" };
    show.say(
        || json!({"event": "published", "number": number, "messages": count}),
        format_args!("number {number} is published: {count} {word}, kept by the broker and read back"),
    )
    .map_err(Failure::error)
}

async fn take_back(
    operator: &Operator,
    signer: &Signer,
    former: &Former,
    number: u32,
    show: &Show,
) -> Result<(), Failure> {
    let messages = former.sign(signer, number).map_err(Failure::error)?;
    service::keep(operator, &messages, |_| {}).await.map_err(Failure::error)?;
    let kept = former.known();
    let line = match kept {
        0 => "the broker does not keep it any more; what devices ran on before is not known here: those that took it stay with it \
              until a newer one comes"
            .to_owned(),
        _ => format!("what was wanted before is published again as number {number}: devices that took the change go back to it"),
    };
    show.say(|| json!({"event": "taken-back", "former": kept, "number": number}), line)
        .map_err(Failure::error)
}
