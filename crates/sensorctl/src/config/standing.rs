//! How a device stands to a change, from what it says itself. Owns the reading of one device's state; which devices count
//! is [`super::follow`]'s. R-CONF, R-FLEET.

use super::fields;
use super::fleet::{Heard, Report};
use protocol::config::{Change, ConfigurationState, InForce};
use protocol::key::Digest;
use protocol::reason::Layer;
use protocol::{EpochMillis, Failure, Refusal};
use serde_json::{Map, Value};
use std::fmt;

/// A device sends its state every minute: whoever has missed three is not there.
pub const SILENT_MS: u64 = 3 * 60_000;

/// A change as one device must report it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which layer it belongs to.
    pub layer: Layer,
    /// Its number.
    pub number: u32,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// The values that it names.
    pub named: Map<String, Value>,
}

impl Wanted {
    /// This change, whose payload has this digest.
    pub fn new(change: &Change, digest: Digest) -> Self {
        Self { layer: change.layer(), number: change.number, digest, named: fields::named(change) }
    }
}

/// How a device stands to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs on it.
    InForce,
    /// It looks whether it reaches its service with it.
    Trying,
    /// It is there and has not said anything of it yet.
    Waiting,
    /// It tries something else now, and will be given it again.
    Postponed,
    /// Its own store failed: it is given it again with its next connection.
    Unstored,
    /// It is there, has said nothing of it, and the last document it refused was not proven: it may have been this one.
    Unproven(Refusal),
    /// It has not been heard for a while; never where there is no time.
    Silent(Option<EpochMillis>),
    /// What it said last cannot be read, or is not about itself: why.
    Unreadable(String),
    /// It has a newer one than this.
    Newer(u32),
    /// It has another one with the same number.
    Other,
    /// It says that it runs on it, and has another value in this field.
    Contradicts(String),
    /// It went back to the former one because it did not reach its service: why; none where a time server did not answer.
    Undone(Option<Failure>),
    /// It refused it; the sentence is empty where the reason says it all.
    Refused(Refusal, String),
}

impl Standing {
    /// How the device of `heard` stands to `wanted` at the time `now`.
    pub fn of(heard: Option<&Heard>, wanted: &Wanted, now: EpochMillis) -> Self {
        let Some(heard) = heard else { return Self::Silent(None) };
        let state = match &heard.report {
            Report::Nothing => return Self::absent(heard, now),
            Report::Unreadable(why) => return Self::Unreadable(why.clone()),
            Report::Said(state) => state,
        };
        let in_force = in_force(state, wanted.layer);
        match in_force {
            Some(InForce { number, digest }) if number == wanted.number => {
                return if digest == wanted.digest {
                    contradiction(state, wanted).map_or(Self::InForce, Self::Contradicts)
                } else {
                    Self::Other
                };
            }
            Some(InForce { number, .. }) if number > wanted.number => return Self::Newer(number),
            _ => {}
        }
        if state.trial == Some((wanted.layer, wanted.number)) {
            return Self::Trying;
        }
        if state.unstored == Some((wanted.layer, wanted.number)) {
            return Self::Unstored;
        }
        if let Some(last) = heard.refusal(wanted.layer).filter(|last| last.number == wanted.number) {
            return match last.why {
                Refusal::Undone => Self::Undone(last.failure),
                Refusal::Unexpected => Self::Postponed,
                why => Self::Refused(why, last.text.as_str().to_owned()),
            };
        }
        match (Self::absent(heard, now), &state.last) {
            (Self::Waiting, Some(last)) if last.layer.is_none() => Self::Unproven(last.why),
            (standing, _) => standing,
        }
    }

    fn absent(heard: &Heard, now: EpochMillis) -> Self {
        match heard.at(now) {
            Some(at) if now.0.saturating_sub(at.0) <= SILENT_MS => Self::Waiting,
            at => Self::Silent(at),
        }
    }

    /// Its name in tables and in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InForce => "in-force",
            Self::Trying => "trying",
            Self::Waiting => "waiting",
            Self::Postponed => "postponed",
            Self::Unstored => "unstored",
            Self::Unproven(_) => "unproven",
            Self::Silent(_) => "silent",
            Self::Unreadable(_) => "unreadable",
            Self::Newer(_) => "newer",
            Self::Other => "other",
            Self::Contradicts(_) => "contradicts",
            Self::Undone(_) => "undone",
            Self::Refused(..) => "refused",
        }
    }

    /// Every name, from best to worst.
    pub const NAMES: [&'static str; 13] = [
        "in-force",
        "trying",
        "waiting",
        "postponed",
        "unstored",
        "unproven",
        "silent",
        "unreadable",
        "newer",
        "other",
        "contradicts",
        "undone",
        "refused",
    ];

    /// Its place in the order from best to worst.
    pub fn rank(&self) -> usize {
        Self::NAMES.iter().position(|name| *name == self.name()).unwrap_or(Self::NAMES.len())
    }

    /// True where the device will not come to this change by itself any more.
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Newer(_) | Self::Other | Self::Contradicts(_) | Self::Undone(_) | Self::Refused(..)
        )
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InForce => f.write_str("it is in force"),
            Self::Trying => f.write_str("it is being tried"),
            Self::Waiting => f.write_str("nothing said of it yet"),
            Self::Unstored => {
                f.write_str("the device's own flash failed; it gets it again when it connects anew")
            }
            Self::Postponed => {
                f.write_str("an identity or roots are being tried; it gets it again when it connects anew")
            }
            Self::Unproven(why) => {
                write!(f, "nothing said of it yet; the last document that was refused: {why}")
            }
            Self::Silent(Some(at)) => write!(f, "not heard since {at}"),
            Self::Silent(None) => f.write_str("never heard of"),
            Self::Unreadable(why) => write!(f, "of no use: {why}"),
            Self::Newer(number) => write!(f, "a newer one is in force there, number {number}"),
            Self::Other => f.write_str("another document with the same number is in force there"),
            Self::Contradicts(field) => {
                write!(f, "the device says that it is in force, and has another value in {field}")
            }
            Self::Undone(Some(why)) => write!(f, "undone: {why}"),
            Self::Undone(None) => f.write_str("undone: none of the new time servers answered"),
            Self::Refused(why, text) if text.is_empty() => write!(f, "refused: {why}"),
            Self::Refused(_, text) => write!(f, "refused: {text}"),
        }
    }
}

/// What is in force of a layer.
pub const fn in_force(state: &ConfigurationState, layer: Layer) -> Option<InForce> {
    match layer {
        Layer::Group => state.group,
        Layer::Device => state.device,
    }
}

/// The first field that a change names and that has another value, where nothing else can have set it.
fn contradiction(state: &ConfigurationState, wanted: &Wanted) -> Option<String> {
    if wanted.layer == Layer::Group && state.device.is_some() {
        return None;
    }
    let values = fields::values(&state.values);
    let differs = |(name, value): &(&String, &Value)| values.get(*name) != Some(*value);
    wanted.named.iter().find(differs).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests;
