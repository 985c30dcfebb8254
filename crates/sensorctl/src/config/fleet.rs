//! What devices say of their configuration, and what the broker keeps for them. Owns the reading of messages, whatever is in
//! them; never a connection nor a decision. R-CONF, R-FLEET.
//!
//! What devices say here is as true as their broker: what a device has really done stands in its signed log.

use super::Whom;
use protocol::config::{Change, ConfigurationState, Refused};
use protocol::document::{Audience, ContentType};
use protocol::identity_state::Life;
use protocol::key::{Digest, PublicKey, sha256};
use protocol::reason::Layer;
use protocol::signed::Envelope;
use protocol::topic::{GROUP_ROOT, ROOT, group_topic, topic};
use protocol::{Channel, DeviceId, EpochMillis, Name, State, Topic};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Up to so many devices are asked for one by one; for more, all are listened to.
const ASKED_ONE_BY_ONE: usize = 8;

/// A device's last word on its configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Report {
    /// None.
    #[default]
    Nothing,
    /// It cannot be read, or is not about this device: why.
    Unreadable(String),
    /// What it said.
    Said(Box<ConfigurationState>),
}

/// What is known of a device.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Its last word on its configuration.
    pub report: Report,
    /// How it is, where that can be read.
    pub state: Option<State>,
    /// When the newest message came that the broker had not kept.
    live: Option<EpochMillis>,
    /// The last proven change of each layer that it refused or undid: it forgets that when it restarts.
    refusals: [Option<Refused>; 2],
    /// What it said readably of its group; that stays so for its life.
    group: Option<Name>,
}

impl Heard {
    /// What it said of its configuration.
    pub fn said(&self) -> Option<&ConfigurationState> {
        match &self.report {
            Report::Said(state) => Some(state),
            _ => None,
        }
    }

    /// True where its life is over: it says nothing any more and takes nothing.
    pub fn is_retired(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.life != Life::Provisioned)
    }

    /// The group that it belongs to, where it has said so.
    pub fn group(&self) -> Option<&Name> {
        self.group.as_ref()
    }

    /// When it was heard last: when a message came, or what its clock said when it wrote the one that was kept; never later
    /// than `now`.
    pub fn at(&self, now: EpochMillis) -> Option<EpochMillis> {
        let said = self.said().and_then(|said| said.t);
        let state = self.state.as_ref().and_then(|state| state.t);
        [said, state, self.live].into_iter().flatten().max().map(|at| at.min(now))
    }

    /// The last change of this layer that it refused or undid.
    pub const fn refusal(&self, layer: Layer) -> Option<&Refused> {
        self.refusals[layer as usize].as_ref()
    }

    fn say(&mut self, report: Report) {
        if let Report::Said(state) = &report
            && let Some(last) = &state.last
            && let Some(layer) = last.layer
        {
            self.refusals[layer as usize] = Some(last.clone());
        }
        if let Report::Said(state) = &report {
            self.group = Some(state.group_name.clone());
        }
        self.report = report;
    }
}

/// A change that the broker keeps, proven with the key of the power over configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// What it says.
    pub change: Change,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// The document as it is signed.
    pub document: Vec<u8>,
}

impl Desired {
    /// Reads and proves a document; the error says why it is none.
    pub fn read(document: &[u8], key: &PublicKey) -> Result<Self, String> {
        let envelope = Envelope::decode(document).map_err(|why| why.to_string())?;
        let payload = envelope.prove(ContentType::Configuration, key).map_err(|why| why.to_string())?;
        let change = Change::decode(payload).map_err(|error| error.to_string())?;
        Ok(Self { change, digest: sha256(&[payload]), document: document.to_vec() })
    }
}

/// A message that says less than it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// Its topic.
    pub topic: String,
    /// What is wrong.
    pub why: String,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    devices: BTreeMap<DeviceId, Heard>,
    /// Proves what the broker keeps for devices.
    key: Option<PublicKey>,
    /// The groups' changes.
    pub groups: HashMap<Name, Desired>,
    /// The devices' own changes.
    pub own: BTreeMap<DeviceId, Desired>,
    /// Devices that the registry has: they exist, whether they speak or not.
    pub registered: BTreeSet<DeviceId>,
}

/// Every device of a group may speak, and so may any other.
fn every(channel: Channel) -> String {
    format!("{ROOT}/+/{}", channel.as_str())
}

/// Where devices say how they and their configurations are.
pub fn said(whom: &Whom) -> Vec<String> {
    topics(whom, &[Channel::ConfigState, Channel::State])
}

/// The same, and where the broker keeps what is wanted of them.
pub fn kept(whom: &Whom) -> Vec<String> {
    let mut all = topics(whom, &[Channel::ConfigState, Channel::State, Channel::ConfigDesired]);
    match whom {
        Whom::Group(group) => all.extend(group_topic(group).map(|topic| topic.as_str().to_owned())),
        Whom::Devices(_) | Whom::All => {
            all.push(format!("{GROUP_ROOT}/+/{}", Channel::ConfigDesired.as_str()));
        }
    }
    all
}

fn topics(whom: &Whom, channels: &[Channel]) -> Vec<String> {
    match whom {
        Whom::Devices(ids) if ids.len() <= ASKED_ONE_BY_ONE => {
            let of = |id| channels.iter().map(move |channel| topic(id, *channel).as_str().to_owned());
            ids.iter().flat_map(of).collect()
        }
        _ => channels.iter().map(|channel| every(*channel)).collect(),
    }
}

impl Fleet {
    /// Nothing is known. What the broker keeps for devices is read where there is a `key` to prove it.
    pub fn new(key: Option<PublicKey>) -> Self {
        Self { key, ..Self::default() }
    }

    /// Takes a message; `live` is when it came, where the broker had not kept it. Gives whose it was, where it changes what is
    /// known of a device. Nothing that a message may contain is an error of the tool: what cannot be read is said in return.
    pub fn take(
        &mut self,
        topic: &str,
        payload: &[u8],
        live: Option<EpochMillis>,
    ) -> Result<Option<DeviceId>, Odd> {
        let odd = |why: String| Odd { topic: topic.to_owned(), why };
        if let Some(group) = group_of(topic) {
            self.groups.remove(&group);
            if let Some(key) = self.key.as_ref().filter(|_| !payload.is_empty()) {
                let desired = Desired::read(payload, key).map_err(odd)?;
                if desired.change.audience != Audience::Group(group.clone()) {
                    return Err(odd("the document that is kept there is not for this group".to_owned()));
                }
                self.groups.insert(group, desired);
            }
            return Ok(None);
        }
        let Some(Topic { device, channel }) = Topic::decode(topic) else {
            return Err(odd("the topic is none of a device".to_owned()));
        };
        match channel {
            Channel::ConfigDesired => {
                self.own.remove(&device);
                if let Some(key) = self.key.as_ref().filter(|_| !payload.is_empty()) {
                    let desired = Desired::read(payload, key).map_err(odd)?;
                    match &desired.change.audience {
                        Audience::Device(id) if *id == device => drop(self.own.insert(device, desired)),
                        // A device takes its group's change from here too; it is not its own.
                        Audience::Group(_) => {}
                        _ => {
                            return Err(odd(
                                "the document that is kept there is for another device".to_owned()
                            ));
                        }
                    }
                }
                Ok(None)
            }
            Channel::ConfigState => {
                let heard = self.devices.entry(device.clone()).or_default();
                heard.live = heard.live.max(live.filter(|_| !payload.is_empty()));
                let report = report(&device, payload);
                let why = match &report {
                    Report::Unreadable(why) => Some(why.clone()),
                    _ => None,
                };
                heard.say(report);
                why.map_or(Ok(Some(device)), |why| Err(odd(why)))
            }
            Channel::State => {
                let heard = self.devices.entry(device.clone()).or_default();
                heard.live = heard.live.max(live.filter(|_| !payload.is_empty()));
                if payload.is_empty() {
                    heard.state = None;
                    return Ok(Some(device));
                }
                match State::decode(payload) {
                    Ok(state) => heard.state = Some(state),
                    Err(error) => {
                        heard.state = None;
                        return Err(odd(error.to_string()));
                    }
                }
                Ok(Some(device))
            }
            _ => Ok(None),
        }
    }

    /// What is known of a device.
    pub fn heard(&self, id: &DeviceId) -> Option<&Heard> {
        self.devices.get(id)
    }

    /// Those of `whom` that are known, in order of their ids; for a group those that say that they belong to it.
    pub fn of(&self, whom: &Whom) -> Vec<&DeviceId> {
        match whom {
            Whom::Devices(ids) => {
                let known: BTreeSet<&DeviceId> = ids.iter().collect();
                known.into_iter().filter_map(|id| self.id(id)).collect()
            }
            Whom::Group(group) => {
                let member = |(_, heard): &(&DeviceId, &Heard)| heard.group() == Some(group);
                self.devices.iter().filter(member).map(|(id, _)| id).collect()
            }
            Whom::All => {
                self.devices.keys().chain(&self.registered).collect::<BTreeSet<_>>().into_iter().collect()
            }
        }
    }

    /// The same without those whose life is over.
    pub fn in_service(&self, whom: &Whom) -> Vec<&DeviceId> {
        let lives = |id: &&DeviceId| !self.heard(id).is_some_and(Heard::is_retired);
        self.of(whom).into_iter().filter(lives).collect()
    }

    fn id(&self, id: &DeviceId) -> Option<&DeviceId> {
        self.devices.get_key_value(id).map(|(id, _)| id).or_else(|| self.registered.get(id))
    }

    /// Devices that exist and have not said, or not readably, to which group they belong.
    pub fn of_no_known_group(&self) -> usize {
        let unknown =
            |id: &DeviceId| self.heard(id).is_none_or(|heard| heard.group().is_none() && !heard.is_retired());
        self.devices
            .keys()
            .chain(&self.registered)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|id| unknown(id))
            .count()
    }

    /// The highest number of a change of this layer that the broker keeps for these devices, proven: the next one is above.
    /// What devices say does not count, as it is not signed: a single one could use up the numbers of all the others.
    pub fn highest(&self, whom: &Whom, layer: Layer) -> u32 {
        let kept = match (layer, whom) {
            (Layer::Group, Whom::Group(group)) => self.groups.get(group).map(|it| it.change.number),
            (Layer::Group, _) => self.groups.values().map(|it| it.change.number).max(),
            (Layer::Device, _) => {
                let own = self.of(whom).into_iter().filter_map(|id| self.own.get(id));
                own.map(|it| it.change.number).max()
            }
        };
        kept.unwrap_or_default()
    }

    /// Those of these devices that say that they have met `number` or a higher one in this layer, with that number: where it is
    /// so, they refuse it. Nothing of it is proven.
    pub fn claims(&self, whom: &Whom, layer: Layer, number: u32) -> Vec<(&DeviceId, u32)> {
        let said = |id: &DeviceId| {
            let heard = self.heard(id)?;
            let state = heard.said()?;
            let in_force = super::standing::in_force(state, layer).map(|it| it.number);
            let trial = state.trial.filter(|(of, _)| *of == layer).map(|(_, number)| number);
            let refused = heard.refusal(layer).map(|last| last.number);
            // The factory's configuration is the beginning of the device's own.
            let factory = (layer == Layer::Device).then_some(state.values.number);
            [in_force, trial, refused, factory].into_iter().flatten().max()
        };
        let claim = |id| Some((id, said(id).filter(|said| *said >= number)?));
        self.in_service(whom).into_iter().filter_map(claim).collect()
    }
}

/// The group whose wanted configuration a topic is for.
fn group_of(topic: &str) -> Option<Name> {
    let rest = topic.strip_prefix(GROUP_ROOT)?.strip_prefix('/')?;
    let group = rest.strip_suffix(Channel::ConfigDesired.as_str())?.strip_suffix('/')?;
    Name::try_from(group).ok().filter(|name| group_topic(name).is_some_and(|text| text.as_str() == topic))
}

fn report(device: &DeviceId, payload: &[u8]) -> Report {
    if payload.is_empty() {
        return Report::Nothing;
    }
    match ConfigurationState::decode(payload) {
        Ok(state) if state.values.id == *device => Report::Said(Box::new(state)),
        Ok(state) => Report::Unreadable(format!("it speaks of {}", state.values.id)),
        Err(error) => Report::Unreadable(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
