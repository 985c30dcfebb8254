//! What a folder of `sensorctl device enrol` does to a device that has an identity, and to one that has none.

mod support;

use device::{config, provisioning};
use simulator::folder::{Folder, Powers, ProvisionError, provision};
use simulator::machine::Machine;
use support::{Authority, configuration};

fn folder(authority: &Authority, id: &str, number: u32) -> Folder {
    let time = "127.0.0.1:123".parse().unwrap();
    let mut draft = configuration(id, "localhost", 8_883, &[time]).draft();
    draft.number = number;
    Folder {
        configuration: draft.check().unwrap(),
        credentials: authority.credentials(id),
        powers: Powers::default(),
        group: protocol::Name::EMPTY,
    }
}

#[test]
fn only_a_newer_configuration_replaces_the_stored_one() {
    let authority = Authority::new("ours");
    let mut machine = Machine::in_memory().unwrap();
    for (number, changes) in [(2, true), (2, false), (1, false), (3, true)] {
        let changed = provision(&mut machine, &folder(&authority, "a", number)).unwrap();
        assert_eq!(changed, changes, "{number}");
    }
    assert_eq!(config::load(&mut machine).unwrap().number, 3);
}

#[test]
fn a_flash_of_another_device_is_refused() {
    let authority = Authority::new("ours");
    let mut machine = Machine::in_memory().unwrap();
    provision(&mut machine, &folder(&authority, "a", 1)).unwrap();
    let refused = provision(&mut machine, &folder(&authority, "b", 9)).unwrap_err();
    assert!(refused.to_string().contains("belongs to device a"), "{refused}");
    assert_eq!(config::load(&mut machine).unwrap().id.as_str(), "a");
}

#[test]
fn a_certificate_for_another_name_or_key_leaves_the_device_blank() {
    let authority = Authority::new("ours");
    let (right, other) = (folder(&authority, "a", 1), folder(&authority, "b", 1));
    let mut named = right.clone();
    named.credentials = other.credentials.clone();
    let mut keyed = right.clone();
    keyed.credentials.key = other.credentials.key.clone_key();
    for wrong in [named, keyed] {
        let mut machine = Machine::in_memory().unwrap();
        let refused = provision(&mut machine, &wrong).unwrap_err();
        assert!(matches!(refused, ProvisionError::Adopt(_)), "{refused}");
        assert_eq!(provisioning::standing(&mut machine), Ok(provisioning::Standing::Blank));
    }
}
