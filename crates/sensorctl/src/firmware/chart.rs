//! The firmware of a fleet at a glance: bars by version, phase and reason, and the devices that lag behind. Owns what is
//! shown, never where it comes from. R-FLEET.

use super::fleet::{Fleet, Standing, Target};
use super::manifest::{Manifest, date, hex};
use super::stages::Share;
use protocol::firmware::{Phase, UpdateFault, Uuid, takes_part};
use protocol::image::Version;
use protocol::{DeviceId, EpochMillis, FirmwareState};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};

/// Most devices that are listed one by one, unless all are wanted.
const LISTED: usize = 10;

/// What a broker offers to a class of devices.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// The manifest; an error where it is none that was signed with the key that was given.
    pub manifest: Option<Result<Manifest, UpdateFault>>,
    /// The share; none where there is no roll-out of this manifest.
    pub share: Option<Share>,
}

impl Offer {
    fn target(&self) -> Option<(&Manifest, Target)> {
        let manifest = self.manifest.as_ref()?.as_ref().ok()?;
        Some((manifest, Target::from(manifest)))
    }
}

/// A fleet and what is offered to it.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Every device that is known.
    pub fleet: Fleet,
    /// What is offered, by class.
    pub offers: HashMap<Uuid, Offer>,
    /// Messages that could not be read.
    pub refused: usize,
}

/// A device that does not run what it is offered, or failed.
struct Straggler<'a> {
    id: &'a DeviceId,
    state: Option<&'a FirmwareState>,
    standing: Option<Standing>,
}

impl Overview {
    /// Lines for people: `width` characters wide, every device that lags behind where `all`.
    pub fn text(&self, broker: &str, at: EpochMillis, width: usize, all: bool) -> String {
        let mut text = format!("firmware of {} devices at {broker}, {at}\n", self.fleet.devices().len());
        let lines = |text: &mut String, arguments: fmt::Arguments<'_>| {
            // A `String` always has room.
            let _ = text.write_fmt(arguments);
        };
        for (class, offer) in self.offers() {
            lines(&mut text, format_args!("\nclass {class}: {}\n", self.offered(*class, offer)));
        }
        for (title, counts) in [
            ("version", self.counts(|state| Some(printable(&state.version)))),
            ("phase", self.counts(|state| Some(state.phase.as_str().to_owned()))),
            ("fault", self.counts(|state| state.fault.map(|fault| fault.as_str().to_owned()))),
        ] {
            if !counts.is_empty() {
                lines(&mut text, format_args!("\n{title}\n"));
                bars(&counts, width, &mut text);
            }
        }
        let stragglers = self.stragglers();
        if !stragglers.is_empty() {
            lines(&mut text, format_args!("\nbehind\n"));
            let shown = if all { stragglers.len() } else { LISTED };
            for straggler in stragglers.iter().take(shown) {
                lines(&mut text, format_args!("  {straggler}\n"));
            }
            if stragglers.len() > shown {
                lines(&mut text, format_args!("  and {} more: --all lists them\n", stragglers.len() - shown));
            }
        }
        if self.refused > 0 {
            lines(&mut text, format_args!("\n{} messages could not be read\n", self.refused));
        }
        text
    }

    /// What is offered, in order of the classes.
    fn offers(&self) -> Vec<(&Uuid, &Offer)> {
        let mut offers: Vec<_> = self.offers.iter().collect();
        offers.sort_by_key(|(class, _)| class.0);
        offers
    }

    fn offered(&self, class: Uuid, offer: &Offer) -> String {
        let share = offer.share.map_or_else(|| "to nobody".to_owned(), |share| format!("to {share}"));
        match &offer.manifest {
            None => "nothing is offered".to_owned(),
            Some(Err(UpdateFault::UnknownKey)) => {
                "a manifest that was not checked is offered (--authority)".to_owned()
            }
            Some(Err(fault)) => format!("a manifest that no device takes is offered: {fault}"),
            Some(Ok(manifest)) => {
                let end =
                    manifest.use_before_s.map_or_else(String::new, |end| format!(", before {}", date(end)));
                let tally = self.fleet.tally(&manifest.into(), Share::ALL, false);
                debug_assert_eq!(manifest.class, class);
                format!(
                    "{} is offered {share} (sequence {}{end}); {} of {} have it",
                    manifest.version_text(),
                    manifest.sequence,
                    tally.confirmed(),
                    tally.devices
                )
            }
        }
    }

    /// An object for programs.
    pub fn json(&self, at: EpochMillis) -> Value {
        let offer = |(class, offer): (&Uuid, &Offer)| {
            json!({
                "class": class.to_string(), "share": offer.share.map(|share| f64::from(share.0) / 10.0),
                "manifest": offer.target().map(|(manifest, _)| manifest.json()),
                "fault": offer.manifest.as_ref().and_then(|m| m.as_ref().err()).map(|fault| fault.as_str()),
                "standing": offer.target().map(|(_, target)| {
                    let tally = self.fleet.tally(&target, Share::ALL, false);
                    json!({"devices": tally.devices, "by_standing": tally.by_standing, "by_fault": tally.by_fault})
                }),
            })
        };
        let device = |(id, state): (&DeviceId, Option<&FirmwareState>)| {
            json!({
                "id": id.as_str(), "state": state,
                "standing": self.standing(id, state).map(Standing::name),
            })
        };
        json!({
            "at": at.to_string(), "devices": self.fleet.devices().map(device).collect::<Vec<_>>(),
            "offers": self.offers().into_iter().map(offer).collect::<Vec<_>>(), "refused": self.refused,
            "by_version": self.counts(|state| Some(printable(&state.version))),
            "by_phase": self.counts(|state| Some(state.phase.as_str().to_owned())),
            "by_fault": self.counts(|state| state.fault.map(|fault| fault.as_str().to_owned())),
        })
    }

    /// How a device stands to what its class is offered, where it takes part in it.
    fn standing(&self, id: &DeviceId, state: Option<&FirmwareState>) -> Option<Standing> {
        let Some(state) = state else { return Some(Standing::Silent) };
        let offer = self.offers.get(&state.class)?;
        let (manifest, target) = offer.target()?;
        let part = offer.share.is_some_and(|share| takes_part(&manifest.digest, id, share.0));
        part.then(|| Standing::of(Some(state), &target))
    }

    fn counts(&self, of: impl Fn(&FirmwareState) -> Option<String>) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for name in self.fleet.devices().filter_map(|(_, state)| of(state?)) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// Devices that are not done with what they are offered, or that failed; worst first.
    fn stragglers(&self) -> Vec<Straggler<'_>> {
        let all = self.fleet.devices().map(|(id, state)| Straggler {
            id,
            state,
            standing: self.standing(id, state),
        });
        let failed =
            |straggler: &Straggler<'_>| straggler.state.is_some_and(|state| state.phase == Phase::Failed);
        let behind = |straggler: &Straggler<'_>| {
            failed(straggler) || straggler.standing.is_some_and(|standing| standing != Standing::Confirmed)
        };
        let mut stragglers: Vec<_> = all.filter(behind).collect();
        let rank = |straggler: &Straggler<'_>| (failed(straggler), straggler.standing.map(Standing::rank));
        stragglers.sort_by_key(|straggler| (std::cmp::Reverse(rank(straggler)), straggler.id));
        stragglers
    }
}

impl fmt::Display for Straggler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(state) = self.state else { return write!(f, "{:<20} never heard of", self.id) };
        write!(f, "{:<20} {} {}", self.id, printable(&state.version), state.phase.as_str())?;
        if !state.target.is_empty() {
            write!(f, " {}", printable(&state.target))?;
        }
        if state.phase == Phase::Downloading && state.size > 0 {
            let percent = u64::from(state.done) * 100 / u64::from(state.size);
            write!(f, " {percent} %{}", if state.delta { " of a delta" } else { "" })?;
        }
        if let Some(fault) = state.fault {
            write!(f, ": {fault}")?;
        }
        if let Some(time) = state.t {
            write!(f, " (since {time})")?;
        }
        Ok(())
    }
}

/// A bar for each count; the longest fills the width.
fn bars(counts: &BTreeMap<String, usize>, width: usize, text: &mut String) {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let names = counts.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    let most = counts.values().copied().max().unwrap_or(1).max(1);
    let digits = most.to_string().len();
    let room = width.saturating_sub(names + digits + 6).max(8);
    let mut order: Vec<_> = counts.iter().collect();
    // Versions in their order, the newest first; anything else by its count.
    order.sort_by_key(|(name, count)| {
        (std::cmp::Reverse(name.parse::<Version>().ok()), std::cmp::Reverse(**count), *name)
    });
    for (name, count) in order {
        let eighths = (count * room * 8).div_ceil(most);
        let mut bar = "█".repeat(eighths / 8);
        bar.extend((eighths % 8).checked_sub(1).and_then(|part| EIGHTHS.get(part)));
        let _ = writeln!(text, "  {name:<names$}  {count:>digits$}  {bar}");
    }
}

/// A name as a device gave it: it has no control characters, but may be empty.
fn printable(name: &str) -> String {
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

/// The digest of a manifest, for people.
pub fn named(manifest: &Manifest) -> String {
    format!("{} (sequence {}, {})", manifest.version_text(), manifest.sequence, hex(&manifest.digest[..8]))
}

#[cfg(test)]
mod tests;
