//! What a change would do: field by field for each device, from what it runs on and from the changes that the broker keeps.
//! Owns the comparison, never a connection; what fits together is decided by `protocol::config`. R-CONF, R-FLEET.
//!
//! A change takes the place of the former one of its layer as a whole: a field that it does not name any more goes back to
//! what is below it. What a device cannot be asked for is said to be unknown, and never guessed.

mod show;

pub use show::crowd;

use super::fields::{self, REACH};
use super::fleet::{Fleet, Report};
use super::standing::{SILENT_MS, in_force};
use protocol::config::{Change, ConfigurationState, FIELDS};
use protocol::reason::Layer;
use protocol::{Configuration, DeviceId, EpochMillis};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a field will be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// This, as people write it.
    Value(String),
    /// What the factory gave, which the device does not say.
    Factory,
    /// Something that cannot be known here.
    Unknown,
}

/// A field that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Its name.
    pub field: &'static str,
    /// What is in force, as people write it.
    pub from: String,
    /// What will be.
    pub to: To,
}

impl Row {
    /// True where the device will try it before it keeps it.
    pub fn is_tried(&self) -> bool {
        REACH.contains(&self.field)
    }
}

/// What a change would do to a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outlook {
    /// Fields that change.
    pub rows: Vec<Row>,
    /// Fields that the group's change names and the device's own change has as well: the value that stays.
    pub stays: Vec<(&'static str, String)>,
    /// The sentence with which the device will refuse it.
    pub refused: Option<String>,
    /// The former change of the layer is in force and not known here: fields that it names may go back to what is below.
    pub former_unknown: bool,
    /// The device has a change of its own that is not known here: fields that it names stay as they are.
    pub own_unknown: bool,
}

impl Outlook {
    /// True where the device will not be another one by it.
    pub fn is_nothing(&self) -> bool {
        self.rows.is_empty() && self.refused.is_none() && !self.former_unknown
    }
}

/// What is in force of a layer.
enum Known<'a> {
    Nothing,
    Change(&'a Change),
    Unknown,
}

impl<'a> Known<'a> {
    fn of(state: &ConfigurationState, fleet: &'a Fleet, layer: Layer) -> Self {
        let kept = match layer {
            Layer::Group => fleet.groups.get(&state.group_name),
            Layer::Device => fleet.own.get(&state.values.id),
        };
        match (in_force(state, layer), kept) {
            (None, _) => Self::Nothing,
            (Some(it), Some(kept)) if kept.digest == it.digest => Self::Change(&kept.change),
            (Some(_), _) => Self::Unknown,
        }
    }

    fn named(&self) -> Map<String, Value> {
        match self {
            Self::Change(change) => fields::named(change),
            _ => Map::new(),
        }
    }
}

/// What `change` would do to the device that said `state`.
pub fn outlook(state: &ConfigurationState, fleet: &Fleet, change: &Change) -> Outlook {
    let layer = change.layer();
    let (group, own) = (Known::of(state, fleet, Layer::Group), Known::of(state, fleet, Layer::Device));
    let (former, below, above) = match layer {
        Layer::Group => (&group, &Known::Nothing, Some(&own)),
        Layer::Device => (&own, &group, None),
    };
    let mut outlook = Outlook {
        former_unknown: matches!(former, Known::Unknown),
        own_unknown: matches!(above, Some(Known::Unknown)),
        ..Outlook::default()
    };
    let now = fields::values(&state.values);
    let (wanted, former, under) = (fields::named(change), former.named(), below.named());
    let above = above.map(Known::named).unwrap_or_default();
    let mut merged = now.clone();
    for field in FIELDS.iter().map(|field| field.name()) {
        let Some(from) = now.get(field) else { continue };
        let named = wanted.get(field);
        if above.contains_key(field) {
            if named.is_some_and(|value| value != from) {
                outlook.stays.push((field, fields::with_unit(field, from)));
            }
            continue;
        }
        let (to, value) = match (named, former.contains_key(field), below, under.get(field)) {
            (Some(value), ..) | (None, true, _, Some(value)) => {
                (To::Value(fields::with_unit(field, value)), Some(value))
            }
            (None, true, Known::Unknown, None) => (To::Unknown, None),
            (None, true, _, None) => (To::Factory, None),
            (None, false, ..) => continue,
        };
        if value == Some(from) {
            continue;
        }
        if let Some(value) = value {
            merged.insert(field.to_owned(), value.clone());
        }
        outlook.rows.push(Row { field, from: fields::with_unit(field, from), to });
    }
    outlook.refused = verdict(&merged);
    outlook
}

/// What a device says to a whole configuration; nothing where it takes it.
fn verdict(values: &Map<String, Value>) -> Option<String> {
    let bytes = Value::Object(values.clone()).to_string();
    Configuration::decode(bytes.as_bytes()).err().map(|error| error.to_string())
}

/// What is ahead of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ahead {
    /// This.
    Known(Outlook),
    /// It has never said what it runs on.
    NeverHeard,
    /// What it said cannot be read: why.
    Unreadable(String),
}

/// A device, and when it was heard last.
pub type NotHeard = (DeviceId, Option<EpochMillis>);

/// Devices that have the same ahead of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// What.
    pub ahead: Ahead,
    /// Which devices.
    pub devices: Vec<DeviceId>,
    /// Those of them that have not been heard for a while, and since when.
    pub silent: Vec<NotHeard>,
}

/// What changes would do to many devices: `change` gives the one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Devices in all.
    pub devices: usize,
    /// The larger groups first.
    pub alike: Vec<Alike>,
}

impl Difference {
    /// Compares for these devices.
    pub fn of<'c>(
        devices: &[&DeviceId],
        fleet: &Fleet,
        now: EpochMillis,
        mut change: impl FnMut(&DeviceId) -> &'c Change,
    ) -> Self {
        let mut alike: BTreeMap<Ahead, (Vec<DeviceId>, Vec<NotHeard>)> = BTreeMap::new();
        for id in devices {
            let heard = fleet.heard(id);
            let ahead = match heard.map(|heard| &heard.report) {
                Some(Report::Said(state)) => Ahead::Known(outlook(state, fleet, change(id))),
                Some(Report::Unreadable(why)) => Ahead::Unreadable(why.clone()),
                Some(Report::Nothing) | None => Ahead::NeverHeard,
            };
            let never = ahead == Ahead::NeverHeard;
            let (same, silent) = alike.entry(ahead).or_default();
            same.push((*id).clone());
            let at = heard.and_then(|heard| heard.at(now));
            if !never && at.is_none_or(|at| now.0.saturating_sub(at.0) > SILENT_MS) {
                silent.push(((*id).clone(), at));
            }
        }
        let group = |(ahead, (devices, silent))| Alike { ahead, devices, silent };
        let mut alike: Vec<Alike> = alike.into_iter().map(group).collect();
        alike.sort_by_key(|alike| std::cmp::Reverse(alike.devices.len()));
        Self { devices: devices.len(), alike }
    }

    /// Devices that will refuse it, and the sentence of the first.
    pub fn refused(&self) -> Option<(usize, &str)> {
        let refused = |alike: &Alike| match &alike.ahead {
            Ahead::Known(outlook) => outlook.refused.is_some().then_some(alike.devices.len()),
            _ => None,
        };
        let count = self.alike.iter().filter_map(refused).sum();
        let mut sentences = self.alike.iter().filter_map(|alike| match &alike.ahead {
            Ahead::Known(outlook) => outlook.refused.as_deref(),
            _ => None,
        });
        sentences.next().map(|sentence| (count, sentence))
    }

    /// Devices that will try it before they keep it.
    pub fn tried(&self) -> usize {
        let tried = |alike: &&Alike| match &alike.ahead {
            Ahead::Known(outlook) => outlook.rows.iter().any(Row::is_tried),
            _ => false,
        };
        self.alike.iter().filter(tried).map(|alike| alike.devices.len()).sum()
    }
}

#[cfg(test)]
mod tests;
