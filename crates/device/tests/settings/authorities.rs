//! Changes after the key of the configuration was replaced, because somebody had stolen it.

use crate::bench::{Bench, MINUTE_MS, Payload, change, json, own, topic_of};
use crate::world::Platform;
use crate::world::field::one;
use crate::world::service::{key_of, signed_with};
use crate::world::vault::public;
use device::{Key, Note};
use protocol::document::{AuthorityKey, Power};
use protocol::{Channel, Layer, Refusal};

const NEW: [u8; 32] = [0x31; 32];

fn by_new(layer: Layer, number: u32, fields: &str) -> Vec<u8> {
    signed_with(&Payload(json(layer, number, fields).into_bytes()), &NEW)
}

fn replace_authority(bench: &mut Bench<Platform>) {
    let key = AuthorityKey { audience: one(), number: 1, power: Power::Configuration, key: public(&NEW) };
    bench.send_on(&own(Channel::AuthorityDesired), &signed_with(&key, &key_of(Power::Anchors)));
    bench.run(MINUTE_MS);
}

fn refused(bench: &mut Bench<Platform>, layer: Layer, document: &[u8]) -> Refusal {
    bench.notes.clear();
    bench.send(layer, document);
    match bench.notes[..] {
        [Note::ConfigurationRefused { why, .. }] => why,
        _ => panic!("{:?}", bench.notes),
    }
}

#[test]
fn a_key_that_takes_the_place_of_another_counts_its_own_numbers() {
    let both = [Layer::Group, Layer::Device];
    for stays in both {
        let mut bench = Bench::running(51);
        for layer in both {
            bench.send(layer, &change(layer, u32::MAX, r#""dead_band_pa":66"#));
        }
        assert_eq!(refused(&mut bench, stays, &change(stays, 7, "")), Refusal::Older, "nothing more");
        replace_authority(&mut bench);
        bench.restart();
        bench.run(MINUTE_MS);
        for layer in both {
            let thief = change(layer, u32::MAX, r#""dead_band_pa":67"#);
            assert_eq!(refused(&mut bench, layer, &thief), Refusal::UnknownKey);
            bench.publish(layer, &by_new(layer, 7, r#""dead_band_pa":7"#));
        }
        assert_eq!(bench.configuration().dead_band_pa, 7, "{:?}", bench.notes);
        // Its numbers count, over a restart too.
        bench.restart();
        bench.run(MINUTE_MS);
        let old = by_new(stays, 6, r#""dead_band_pa":6"#);
        assert_eq!(refused(&mut bench, stays, &old), Refusal::Older);
        let same = by_new(stays, 7, r#""dead_band_pa":6"#);
        assert_eq!(refused(&mut bench, stays, &same), Refusal::Replayed);
        bench.publish(stays, &by_new(stays, u32::MAX, r#""dead_band_pa":8"#));
        assert_eq!(bench.state().values.dead_band_pa, if stays == Layer::Device { 8 } else { 7 });
    }
}

#[test]
fn what_another_key_put_in_force_stays_until_the_new_one_replaces_it_with_any_number() {
    let mut bench = Bench::running(52);
    bench.publish(Layer::Group, &change(Layer::Group, 9, r#""dead_band_pa":66"#));
    replace_authority(&mut bench);
    bench.restart();
    bench.run(MINUTE_MS);
    assert_eq!(bench.configuration().dead_band_pa, 66);
    // The number of the one in force, with other content, is not a replay: another key has signed it.
    bench.retained.retain(|(topic, _)| *topic != topic_of(Layer::Group));
    bench.publish(Layer::Group, &by_new(Layer::Group, 9, r#""dead_band_pa":5"#));
    assert_eq!(bench.configuration().dead_band_pa, 5, "{:?}", bench.notes);
}

#[test]
fn where_the_record_is_damaged_the_numbers_count_for_every_key() {
    let mut bench = Bench::running(53);
    bench.send(Layer::Device, &change(Layer::Device, 40, r#""dead_band_pa":4"#));
    bench.device().platform().store.borrow_mut().insert(Key::Settings, b"nonsense".to_vec());
    bench.restart();
    bench.run(MINUTE_MS);
    assert_eq!(refused(&mut bench, Layer::Device, &change(Layer::Device, 38, "")), Refusal::Older);
    bench.send(Layer::Device, &change(Layer::Device, 40, r#""dead_band_pa":4"#));
    assert_eq!(bench.configuration().dead_band_pa, 4);
}
