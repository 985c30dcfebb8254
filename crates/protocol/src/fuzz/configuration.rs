//! The bodies for configurations, changes of them, and what a device says of its own.

use super::faults;
use crate::config::{
    CONFIGURATION_BYTES_MAX, CONFIGURATION_STATE_BYTES_MAX, Change, Draft, FIELDS, Field, Head, merge,
};
use crate::{Configuration, ConfigurationState, DeviceId};

/// What was accepted is inside every bound, and is written and read back as the same.
pub fn configuration(bytes: &[u8]) {
    if let Ok(configuration) = Configuration::decode(bytes) {
        is_whole(&configuration);
        assert_eq!(merge(&configuration, None, None), Ok(configuration));
    }
}

fn is_whole(configuration: &Configuration) {
    assert_eq!(configuration.draft().check().as_ref(), Ok(configuration));
    for field in FIELDS {
        if let Field::Bound(bound) = field {
            let value = configuration.get(bound).expect("a number of the table");
            assert!((bound.min..=bound.max).contains(&value));
        }
    }
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let len = configuration.encode(&mut buffer).expect("a configuration fits");
    assert_eq!(
        Configuration::decode(buffer.get(..len).expect("within the buffer")).as_ref(),
        Ok(configuration)
    );
}

/// What was accepted is written and read back as the same; with what is below it makes a configuration that keeps every
/// promise, or does not fit that.
pub fn configuration_change(bytes: &[u8]) {
    let head = Head::read(bytes);
    if let Ok(change) = Change::decode(bytes) {
        assert_eq!(head, Head { layer: Some(change.layer()), number: Some(change.number) });
        let mut buffer = [0; CONFIGURATION_BYTES_MAX];
        let len = change.encode(&mut buffer).expect("a change fits");
        assert_eq!(Change::decode(buffer.get(..len).expect("within the buffer")).as_ref(), Ok(&change));
        let id = DeviceId::new("dev-1").expect("an id");
        let base =
            Draft::new(id, "broker.example", "time.example").and_then(Draft::check).expect("the defaults");
        match merge(&base, None, Some(&change)) {
            Ok(merged) => {
                assert_eq!((merged.number, &merged.id), (change.number, &base.id));
                is_whole(&merged);
            }
            Err(error) => assert!(faults::is_of_values_together(&error), "{error:?}"),
        }
    }
}

/// What was accepted is written and read back as the same.
pub fn configuration_state(bytes: &[u8]) {
    if let Ok(state) = ConfigurationState::decode(bytes) {
        is_whole(&state.values);
        let mut buffer = [0; CONFIGURATION_STATE_BYTES_MAX];
        let len = state.encode(&mut buffer).expect("a state fits");
        assert_eq!(ConfigurationState::decode(buffer.get(..len).expect("within the buffer")), Ok(state));
    }
}
