//! A change as signed documents: for a group one, for devices one each. Owns their numbers; publishing them is
//! [`crate::publish`]'s. R-CONF, R-AUTHORITY.

use super::Whom;
use super::fleet::{Desired, Fleet, Heard};
use super::standing::{Wanted, in_force};
use crate::powers::{self, Numbers, PowersError};
use crate::publish::Message;
use crate::signer::Signer;
use protocol::config::{CONFIGURATION_BYTES_MAX, CONFIGURATION_VERSION, Change};
use protocol::document::Audience;
use protocol::key::sha256;
use protocol::reason::Layer;
use protocol::topic::{group_topic, topic};
use protocol::{Channel, DeviceId, Name};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

/// Kind of the devices' own changes in the list of numbers.
pub const DEVICE: &str = "configuration";
/// Kind of the groups' changes: one series for all groups, so that it grows in whichever group a device is.
const GROUP: &str = "group-configuration";
/// The factory's configuration has number 1.
const FIRST: u32 = 2;

/// What every device must report when it has taken what was published.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// By group.
    pub groups: HashMap<Name, Wanted>,
    /// By device.
    pub devices: BTreeMap<DeviceId, Wanted>,
}

impl Target {
    /// What the broker keeps for `whom`, where it is proven.
    pub fn kept(whom: &Whom, fleet: &Fleet) -> Self {
        let mut target = Self::default();
        let own = |id: &DeviceId| {
            let desired = fleet.own.get(id)?;
            Some((id.clone(), Wanted::new(&desired.change, desired.digest)))
        };
        match whom {
            Whom::Group(group) => {
                let desired = fleet.groups.get(group);
                target.groups.extend(
                    desired.map(|desired| (group.clone(), Wanted::new(&desired.change, desired.digest))),
                );
            }
            Whom::Devices(ids) => {
                target.devices = ids.iter().filter_map(own).collect();
                target.groups = groups(fleet);
            }
            Whom::All => {
                target.devices = fleet.own.keys().filter_map(own).collect();
                target.groups = groups(fleet);
            }
        }
        target
    }

    /// True where nothing is wanted of anybody.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.devices.is_empty()
    }
}

fn groups(fleet: &Fleet) -> HashMap<Name, Wanted> {
    let wanted =
        |(group, desired): (&Name, &Desired)| (group.clone(), Wanted::new(&desired.change, desired.digest));
    fleet.groups.iter().map(wanted).collect()
}

/// Why a change is not signed.
#[derive(Debug)]
pub enum ChangeError {
    /// Keys or numbers.
    Powers(PowersError),
    /// It is longer than a device can hold.
    TooLong,
    /// There is no topic for this group.
    NoTopic(Name),
    /// A change is for devices or for a group.
    Audience,
    /// The broker keeps a change with this number already, and it was asked for one that is not higher: the highest, and the
    /// wanted one.
    Number(u32, u32),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Powers(error) => error.fmt(f),
            Self::TooLong => {
                write!(
                    f,
                    "the change is longer than the {CONFIGURATION_BYTES_MAX} bytes that a device can hold"
                )
            }
            Self::NoTopic(group) => {
                write!(
                    f,
                    "{group} cannot be a level of a topic (it is empty, or has a / or + in it): push to its devices"
                )
            }
            Self::Audience => {
                f.write_str("a change is for devices or for a group, never for everybody at once")
            }
            Self::Number(highest, wanted) => write!(
                f,
                "the number {wanted} would be refused: the broker keeps number {highest} for these devices already; leave \
                 --number out"
            ),
        }
    }
}

impl std::error::Error for ChangeError {}

impl From<PowersError> for ChangeError {
    fn from(error: PowersError) -> Self {
        Self::Powers(error)
    }
}

/// A change that is signed for everybody it is for.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its number.
    pub number: u32,
    /// What is published.
    pub messages: Vec<Message>,
    /// What devices report then.
    pub target: Target,
}

/// The number that the next change of `layer` gets, as far as is known before it is used up: one more than the last and than
/// `highest`, which is proven to have been used.
pub fn next(folder: &Path, layer: Layer, highest: u32) -> Result<u32, ChangeError> {
    Ok(numbers(folder, layer, highest)?.peek(kind(layer), FIRST)?)
}

/// The number that the next change of `layer` gets: `wanted`, or one more than the last and than `highest`, which is proven to
/// have been used. It is used up by this.
pub fn number(folder: &Path, layer: Layer, highest: u32, wanted: Option<u32>) -> Result<u32, ChangeError> {
    if let Some(wanted) = wanted.filter(|wanted| *wanted <= highest) {
        return Err(ChangeError::Number(highest, wanted));
    }
    Ok(numbers(folder, layer, highest)?.next(kind(layer), FIRST, wanted)?)
}

const fn kind(layer: Layer) -> &'static str {
    match layer {
        Layer::Group => GROUP,
        Layer::Device => DEVICE,
    }
}

fn numbers(folder: &Path, layer: Layer, highest: u32) -> Result<Numbers, ChangeError> {
    let mut numbers = Numbers::open(folder)?;
    numbers.used(kind(layer), highest);
    Ok(numbers)
}

/// Signs `change` with this number for its group, or for each of `devices`.
pub fn sign(
    signer: &Signer,
    change: &Change,
    number: u32,
    devices: &[DeviceId],
) -> Result<Signed, ChangeError> {
    let mut all = Signed { number, messages: Vec::new(), target: Target::default() };
    let mut seal = |audience: Audience, topic: &str| {
        let mut change = change.clone();
        (change.audience, change.number) = (audience, number);
        let mut payload = [0; CONFIGURATION_BYTES_MAX];
        let len = change.encode(&mut payload).map_err(|_| ChangeError::TooLong)?;
        let payload = payload.get(..len).ok_or(ChangeError::TooLong)?;
        let document = powers::sign(signer, &change)?;
        all.messages.push(Message { topic: topic.to_owned(), retained: true, payload: document });
        Ok::<_, ChangeError>(Wanted::new(&change, sha256(&[payload])))
    };
    match &change.audience {
        Audience::Group(group) => {
            let topic = group_topic(group).ok_or_else(|| ChangeError::NoTopic(group.clone()))?;
            let wanted = seal(change.audience.clone(), &topic)?;
            all.target.groups.insert(group.clone(), wanted);
        }
        Audience::Device(_) => {
            for id in devices {
                let wanted = seal(Audience::Device(id.clone()), &topic(id, Channel::ConfigDesired))?;
                all.target.devices.insert(id.clone(), wanted);
            }
        }
        Audience::All => return Err(ChangeError::Audience),
    }
    Ok(all)
}

/// What was wanted of everybody that a change is for before it came.
#[derive(Clone, Debug)]
pub struct Former(Vec<(String, Option<Change>)>);

impl Former {
    /// What the broker kept in the place of `change`. Where it kept nothing and nobody says that one is in force, nothing was
    /// wanted; where one is in force that is not known here, neither is what was wanted.
    pub fn of(change: &Change, fleet: &Fleet, ids: &[DeviceId]) -> Self {
        let layer = change.layer();
        let runs_on_one = |id: &DeviceId| {
            let said = fleet.heard(id).and_then(Heard::said);
            said.is_some_and(|state| in_force(state, layer).is_some())
        };
        let nothing = |audience: Audience, ids: &[DeviceId]| {
            (!ids.iter().any(runs_on_one)).then(|| nothing(&audience)).flatten()
        };
        let content = |kept: Option<&Desired>| kept.map(|kept| kept.change.clone());
        Self(match &change.audience {
            Audience::Group(group) => {
                let kept = content(fleet.groups.get(group));
                let topic = group_topic(group).map(|topic| topic.as_str().to_owned());
                let kept = kept.or_else(|| nothing(change.audience.clone(), ids));
                topic.map(|topic| (topic, kept)).into_iter().collect()
            }
            _ => ids
                .iter()
                .map(|id| {
                    let kept = content(fleet.own.get(id));
                    let kept =
                        kept.or_else(|| nothing(Audience::Device(id.clone()), std::slice::from_ref(id)));
                    (topic(id, Channel::ConfigDesired).as_str().to_owned(), kept)
                })
                .collect(),
        })
    }

    /// The same where it is not known for anybody.
    #[must_use]
    pub fn unknown(self) -> Self {
        Self(self.0.into_iter().map(|(topic, _)| (topic, None)).collect())
    }

    /// For how many topics it is known.
    pub fn known(&self) -> usize {
        self.0.iter().filter(|(_, content)| content.is_some()).count()
    }

    /// What takes the change back: the former content with a number above that of the change, so that devices that have taken it
    /// go back, and nobody takes it later from whoever has kept it. Where it is not known, nothing is kept.
    pub fn sign(&self, signer: &Signer, number: u32) -> Result<Vec<Message>, ChangeError> {
        let mut messages = Vec::new();
        for (topic, content) in &self.0 {
            let Some(change) = content else {
                messages.push(Message { topic: topic.clone(), retained: true, payload: Vec::new() });
                continue;
            };
            let ids = match &change.audience {
                Audience::Device(id) => std::slice::from_ref(id),
                _ => &[],
            };
            messages.extend(sign(signer, change, number, ids)?.messages);
        }
        Ok(messages)
    }
}

/// The change that names no field.
fn nothing(audience: &Audience) -> Option<Change> {
    let json = match audience {
        Audience::Group(group) => {
            json!({"v": CONFIGURATION_VERSION, "number": FIRST, "group": group.as_str()})
        }
        Audience::Device(id) => json!({"v": CONFIGURATION_VERSION, "number": FIRST, "id": id.as_str()}),
        Audience::All => return None,
    };
    Change::decode(json.to_string().as_bytes()).ok()
}

#[cfg(test)]
mod tests;
