//! What is damaged in the store costs only itself: the device starts with what is whole, says so, takes no older change for a
//! newer one, and is mended by what the broker retains.

use crate::bench::{BOUND_MS, Bench, MINUTE_MS, change, decoded, factory};
use crate::changes::in_force;
use crate::world::Platform;
use device::{Key, Note, StorageError};
use protocol::config::merge;
use protocol::{Configuration, Layer, Refusal};

const OWN: &str = r#""dead_band_pa":3"#;
const GROUPS: &str = r#""report_period_ms":7200000,"host":"other.example""#;

fn expected(group: bool, device: bool) -> Configuration {
    let (of_group, own) = (decoded(Layer::Group, 7, GROUPS), decoded(Layer::Device, 7, OWN));
    merge(&factory(), group.then_some(&of_group), device.then_some(&own)).unwrap()
}

/// A device with a change of each layer, which the broker retains.
fn bench() -> Bench<Platform> {
    let mut bench = Bench::running(51);
    bench.publish(Layer::Group, &change(Layer::Group, 7, GROUPS));
    assert!(bench.await_verdict(BOUND_MS));
    bench.publish(Layer::Device, &change(Layer::Device, 7, OWN));
    bench.run(2 * MINUTE_MS);
    assert_eq!(bench.configuration(), expected(true, true));
    bench
}

/// The key of a change, found by what is in it.
fn place(bench: &mut Bench<Platform>, text: &str) -> Key {
    let kept = bench.stored();
    let holds = |value: &[u8]| value.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    kept.iter().find(|(key, value)| matches!(key, Key::Change(_)) && holds(value)).expect("it is stored").0
}

fn damage(bench: &mut Bench<Platform>, key: Key, with: impl FnOnce(&mut Vec<u8>)) {
    let store = bench.device().platform().store.clone();
    with(store.borrow_mut().get_mut(&key).expect("it is stored"));
}

fn started(bench: &mut Bench<Platform>, whole: &Configuration, what: &str) {
    let errors = bench.device().state(device::Uptime(0)).storage_errors;
    bench.notes.clear();
    bench.restart();
    assert_eq!(bench.configuration(), *whole, "{what}");
    assert!(bench.notes.contains(&Note::ConfigurationDamaged), "{what}");
    let now = bench.device().state(device::Uptime(0)).storage_errors;
    assert!(now > 0 && now >= errors, "{what}: it is counted");
}

#[test]
fn a_damaged_change_costs_only_itself_and_the_retained_one_mends_it() {
    type Damage = fn(&mut Vec<u8>);
    let ways: [(&str, Damage); 3] = [
        ("altered", |value| *value.last_mut().unwrap() ^= 1),
        ("empty", Vec::clear),
        ("another number", |value| {
            let at = value.windows(9).position(|bytes| bytes == b"\"number\":").unwrap();
            value[at + 9] = b'9';
        }),
    ];
    for (what, way) in ways {
        for (text, whole) in [("dead_band", expected(true, false)), ("other.example", expected(false, true))]
        {
            let mut bench = bench();
            let key = place(&mut bench, text);
            damage(&mut bench, key, way);
            started(&mut bench, &whole, what);
            bench.run(2 * BOUND_MS);
            assert!(bench.link.is_some(), "{what}");
            let state = bench.state();
            assert_eq!(state.group, in_force(Layer::Group, 7, GROUPS), "{what}: {:#?}", bench.notes);
            assert_eq!(state.device, in_force(Layer::Device, 7, OWN), "{what}");
            assert_eq!(state.values, expected(true, true));
            bench.notes.clear();
            bench.restart();
            assert!(!bench.notes.contains(&Note::ConfigurationDamaged), "{what}: it is whole again");
            assert_eq!(bench.configuration(), expected(true, true));
        }
    }
}

#[test]
fn a_change_that_the_store_has_lost_altogether_is_mended_as_well() {
    let mut bench = bench();
    let key = place(&mut bench, "dead_band");
    bench.device().platform().store.borrow_mut().remove(&key);
    started(&mut bench, &expected(true, false), "gone");
    let state = bench.state();
    assert_eq!((state.values, state.device), (expected(true, true), in_force(Layer::Device, 7, OWN)));
}

#[test]
fn a_damaged_record_leaves_the_factorys_configuration_and_no_older_change_counts() {
    for cut in [0, 1, 20] {
        let mut bench = bench();
        bench.retained.clear();
        damage(&mut bench, Key::Settings, |value| value.truncate(cut));
        started(&mut bench, &factory(), "the record");
        bench.run(2 * MINUTE_MS);
        for layer in [Layer::Group, Layer::Device] {
            for number in [5, 6] {
                bench.send(layer, &change(layer, number, r#""dead_band_centi_c":1"#));
                let last = bench.state().last.unwrap();
                let used = matches!((layer, number), (_, 6)) || layer == Layer::Device && number == 5;
                let why = if used { Refusal::Replayed } else { Refusal::Older };
                assert!(
                    [Refusal::Older, Refusal::Replayed].contains(&last.why)
                        && (last.why == why || number == 5),
                    "{layer:?} {number}: {last:?}"
                );
            }
        }
        assert_eq!(bench.configuration(), factory());
        // The ones that were in force are taken again.
        bench.publish(Layer::Group, &change(Layer::Group, 7, GROUPS));
        assert!(bench.await_verdict(BOUND_MS));
        bench.publish(Layer::Device, &change(Layer::Device, 7, OWN));
        bench.run(2 * MINUTE_MS);
        assert_eq!(bench.configuration(), expected(true, true));
        bench.notes.clear();
        bench.restart();
        assert!(!bench.notes.contains(&Note::ConfigurationDamaged));
        assert_eq!(bench.configuration(), expected(true, true));
    }
}

#[test]
fn what_the_store_does_not_give_at_a_start_stops_nothing_else() {
    for (key, whole) in
        [("dead_band", expected(true, false)), ("other.example", expected(false, true)), ("", factory())]
    {
        let mut bench = bench();
        let key = if key.is_empty() { Key::Settings } else { place(&mut bench, key) };
        // Longer than any buffer: reading it is an error.
        damage(&mut bench, key, |value| value.resize(5_000, 0));
        started(&mut bench, &whole, "it cannot be read");
        bench.run(3 * BOUND_MS);
        assert_eq!(bench.state().values, expected(true, true), "{key:?}: {:#?}", bench.notes);
    }
}

#[test]
fn a_trial_whose_change_is_damaged_is_undone_at_the_next_start() {
    let mut bench = Bench::running(52);
    bench.network = crate::bench::only("broker.example");
    bench.publish(Layer::Device, &change(Layer::Device, 6, r#""host":"other.example""#));
    let key = place(&mut bench, "other.example");
    damage(&mut bench, key, |value| value.truncate(30));
    bench.restart();
    let undone = Note::ConfigurationUndone { layer: Layer::Device, number: 6, failure: None };
    assert!(bench.notes.contains(&undone), "{:#?}", bench.notes);
    assert_eq!(bench.configuration(), factory());
    bench.run(MINUTE_MS);
    let state = bench.state();
    assert_eq!((state.device, state.trial), (None, None));
    assert_eq!(state.last.unwrap().why, Refusal::Undone);
}

#[test]
fn a_store_that_fails_is_no_fault_of_a_change_which_is_taken_later() {
    for calls in 0..2 {
        for fields in [r#""dead_band_pa":9"#, r#""port":8884"#] {
            let mut bench = Bench::running(53);
            let running = bench.configuration();
            bench.device().platform().store_calls.set(Some(calls));
            bench.publish(Layer::Device, &change(Layer::Device, 6, fields));
            assert_eq!(bench.notes.last(), Some(&Note::Storage(StorageError::Medium)), "{calls}");
            assert_eq!(bench.configuration(), running);
            let platform = bench.power_cut();
            bench.start(platform).expect("starts");
            assert_eq!(bench.configuration(), running);
            bench.run(5 * MINUTE_MS);
            assert_eq!(bench.state().device, in_force(Layer::Device, 6, fields), "its number is not used up");
        }
    }
}
