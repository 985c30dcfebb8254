//! Devices that say things, for tests.

use super::fleet::Fleet;
use crate::folder::NewFolder;
use crate::signer::{Home, Signer};
use protocol::config::{CONFIGURATION_STATE_BYTES_MAX, Change, ConfigurationState, Draft, InForce};
use protocol::key::sha256;
use protocol::{Configuration, DeviceId, EpochMillis};
use tempfile::TempDir;

/// Some time.
pub(crate) const NOW: EpochMillis = EpochMillis(1_790_000_000_000);

pub(crate) fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

pub(crate) fn base(name: &str) -> Configuration {
    Draft::new(id(name), "broker.example", "time.example").unwrap().check().unwrap()
}

pub(crate) fn change(json: &str) -> Change {
    Change::decode(json.as_bytes()).unwrap()
}

/// What a device of the group field-a says that has just started with what the factory gave it.
pub(crate) fn state(name: &str) -> ConfigurationState {
    ConfigurationState {
        t: Some(NOW),
        group_name: "field-a".try_into().unwrap(),
        group: None,
        device: None,
        trial: None,
        unstored: None,
        refused: 0,
        replayed: 0,
        last: None,
        values: base(name),
    }
}

/// The digest of a change's payload.
pub(crate) fn in_force(change: &Change) -> InForce {
    let mut buffer = [0; 1_400];
    let len = change.encode(&mut buffer).unwrap();
    InForce { number: change.number, digest: sha256(&[&buffer[..len]]) }
}

/// The same device running on these changes.
pub(crate) fn running(name: &str, group: Option<&Change>, device: Option<&Change>) -> ConfigurationState {
    let mut state = state(name);
    state.group = group.map(in_force);
    state.device = device.map(in_force);
    state.values = protocol::config::merge(&base(name), group, device).unwrap();
    state
}

pub(crate) fn encode(state: &ConfigurationState) -> Vec<u8> {
    let mut buffer = [0; CONFIGURATION_STATE_BYTES_MAX];
    let len = state.encode(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

pub(crate) fn topic(name: &str) -> String {
    format!("device/{name}/config/state")
}

/// The broker keeps these states.
pub(crate) fn fleet(states: &[ConfigurationState]) -> Fleet {
    let mut fleet = Fleet::default();
    for state in states {
        fleet.take(&topic(state.values.id.as_str()), &encode(state), None).unwrap();
    }
    fleet
}

pub(crate) fn signer() -> (TempDir, Signer) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = NewFolder::begin(&temporary.path().join("a")).unwrap();
    let signer = Signer::make(&folder, "configuration", &Home::Files).unwrap();
    (temporary, signer)
}
