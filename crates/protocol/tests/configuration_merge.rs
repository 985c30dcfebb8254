//! The rule by which the factory's configuration, a group's change and a device's own come together, held against one that
//! knows nothing of the schema: maps laid over each other.

#[path = "samples/configurations.rs"]
mod samples;

use proptest::prelude::*;
use protocol::Configuration;
use protocol::config::{CONFIGURATION_BYTES_MAX, CONFIGURATION_VERSION, Change, FIELDS, Field, merge};
use samples::{Member, Random, good, object, whole};
use serde_json::{Map, Value};

fn base() -> Configuration {
    let mut members = whole(CONFIGURATION_VERSION);
    members[1].1 = "4".into();
    Configuration::decode(object(&members).as_bytes()).unwrap()
}

fn members(configuration: &Configuration) -> Map<String, Value> {
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let len = configuration.encode(&mut buffer).unwrap();
    serde_json::from_slice(&buffer[..len]).unwrap()
}

/// A change that names some fields; no two tie each other in a way that would be refused.
fn some_change(seed: u64, audience: &str, number: u32) -> Change {
    let random = &mut Random(seed);
    let (name, value) = audience.split_once(':').unwrap();
    let mut members: Vec<Member> =
        vec![("v".into(), "2".into()), ("number".into(), number.to_string()), (name.into(), value.into())];
    for field in FIELDS {
        if random.one_in(3) {
            members.push((field.name().into(), harmless(random, *field)));
        }
    }
    Change::decode(object(&members).as_bytes()).unwrap()
}

/// Values that fit whatever the other fields have.
fn harmless(random: &mut Random, field: Field) -> String {
    let Field::Bound(bound) = field else { return random.pick(&good(field)).clone() };
    let (min, max) = match bound.field {
        "sample_period_ms" => (50, 10_000),
        "report_period_ms" => (10_000, 86_400_000),
        name if name.starts_with("alarm_low") => (bound.min, bound.min + 10),
        name if name.starts_with("alarm_high") => (bound.max - 10, bound.max),
        _ => (bound.min, bound.max),
    };
    (min + (random.next() % (max - min + 1) as u64) as i64).to_string()
}

/// What a change names, as it reads once a configuration has it.
fn named(change: &Change) -> Map<String, Value> {
    let whole = members(&merge(&base(), None, Some(change)).unwrap());
    change.fields().map(|field| (field.name().to_string(), whole[field.name()].clone())).collect()
}

proptest! {
    #[test]
    fn the_devices_own_wins_over_the_groups_and_what_neither_names_is_the_factorys(seeds in any::<[u64; 2]>()) {
        let group = some_change(seeds[0], "group:\"field-a\"", 9);
        let device = some_change(seeds[1], "id:\"dev-1\"", 7);
        let factory = members(&base());
        for (g, d) in [(None, None), (Some(&group), None), (None, Some(&device)), (Some(&group), Some(&device))] {
            let mut expected = factory.clone();
            expected.extend(g.map(named).unwrap_or_default());
            expected.extend(d.map(named).unwrap_or_default());
            // The group's number is not the device's: it counts in its own layer.
            expected["number"] = if d.is_some() { 7.into() } else { 4.into() };
            expected["id"] = "dev-1".into();
            let merged = merge(&base(), g, d).unwrap();
            prop_assert_eq!(members(&merged), expected);
        }
    }

    #[test]
    fn to_merge_the_same_again_changes_nothing(seeds in any::<[u64; 2]>()) {
        let group = some_change(seeds[0], "group:\"field-a\"", 9);
        let device = some_change(seeds[1], "id:\"dev-1\"", 7);
        let once = merge(&base(), Some(&group), Some(&device)).unwrap();
        // The device's own over everything again.
        prop_assert_eq!(merge(&once, None, Some(&device)), Ok(once.clone()));
        let only_group = merge(&base(), Some(&group), None).unwrap();
        prop_assert_eq!(merge(&only_group, Some(&group), None), Ok(only_group.clone()));
        prop_assert_eq!(merge(&only_group, Some(&group), Some(&device)), Ok(once));
    }

    #[test]
    fn a_newer_change_replaces_the_one_before_as_a_whole(seeds in any::<[u64; 2]>()) {
        let (older, newer) = (some_change(seeds[0], "id:\"dev-1\"", 7), some_change(seeds[1], "id:\"dev-1\"", 8));
        let merged = members(&merge(&base(), None, Some(&newer)).unwrap());
        let factory = members(&base());
        for field in older.fields().filter(|field| newer.fields().all(|it| it != *field)) {
            prop_assert_eq!(&merged[field.name()], &factory[field.name()]);
        }
    }

    #[test]
    fn a_change_reads_back_as_written(seed in any::<u64>(), number in 1u32.., for_group in any::<bool>()) {
        let change = some_change(seed, if for_group { "group:\"g/1@x\"" } else { "id:\"a\"" }, number);
        let mut buffer = [0; CONFIGURATION_BYTES_MAX];
        let len = change.encode(&mut buffer).unwrap();
        prop_assert_eq!(Change::decode(&buffer[..len]), Ok(change));
    }
}

#[test]
fn what_fits_alone_is_refused_where_it_does_not_fit_the_rest() {
    let change = |text: &str| Change::decode(text.as_bytes()).unwrap();
    let slow = change(r#"{"v":2,"number":1,"group":"a","sample_period_ms":60001}"#);
    let reports = change(r#"{"v":2,"number":1,"id":"dev-1","report_period_ms":60001}"#);
    let hot = change(r#"{"v":2,"number":2,"id":"dev-1","alarm_low_centi_c":8401}"#);
    let error = merge(&base(), Some(&slow), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "report_period_ms is 60000; it must not be below sample_period_ms, which is 60001"
    );
    assert!(merge(&base(), Some(&slow), Some(&reports)).is_ok(), "the device's own mends it");
    assert!(merge(&base(), None, Some(&reports)).is_ok());
    assert_eq!(
        merge(&base(), None, Some(&hot)).unwrap_err().to_string(),
        "alarm_low_centi_c is 8401, alarm_high_centi_c 8500, alarm_hysteresis_centi_c 50: \
         low + hysteresis must not be above high - hysteresis"
    );
    // The other way round: neither is in force before both are.
    assert!(merge(&base(), Some(&slow), Some(&hot)).is_err());
}

#[test]
fn a_change_that_names_nothing_gives_the_device_back_to_what_is_below() {
    let nothing = Change::decode(br#"{"v":2,"number":9,"id":"dev-1"}"#).unwrap();
    assert_eq!(nothing.fields().count(), 0);
    let group = some_change(1, "group:\"a\"", 3);
    let merged = merge(&base(), Some(&group), Some(&nothing)).unwrap();
    assert_eq!(merged.number, 9);
    let mut draft = merged.draft();
    draft.number = base().number;
    assert_eq!(draft.check(), merge(&base(), Some(&group), None));
}
