//! The fuzzer's seeds for configurations are what the code writes and what people might: a change of the form shows here. To
//! write them anew: `UPDATE_SEEDS=1 cargo test --package protocol --test configuration_seeds`.

#[path = "samples/configurations.rs"]
mod samples;

use protocol::config::{
    CONFIGURATION_STATE_BYTES_MAX, CONFIGURATION_VERSION, Change, FIELDS, InForce, Refused, cut,
};
use protocol::{Configuration, ConfigurationState, EpochMillis, Failure, Layer, Name, Refusal};
use samples::{good, nothing, object, whole};
use std::collections::BTreeMap;
use std::path::Path;

type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

fn add(seeds: &mut Seeds, target: &'static str, name: &str, text: String) {
    assert!(seeds.insert((target, name.into()), text.into_bytes()).is_none(), "{target}/{name} twice");
}

fn configurations(seeds: &mut Seeds) {
    for v in 1..=CONFIGURATION_VERSION {
        add(seeds, "configuration", &format!("version-{v}"), object(&whole(v)));
    }
    let later = object(&whole(CONFIGURATION_VERSION)).replacen("\"v\":2", "\"v\":1", 1);
    add(seeds, "configuration", "too-early", later);
    let spaced = object(&whole(CONFIGURATION_VERSION)).replace(',', ",\n ");
    add(seeds, "configuration", "with-blanks", format!("\t{spaced} \r\n"));
}

fn changes(seeds: &mut Seeds) {
    let target = "configuration_change";
    for (name, audience) in [("device", "id:\"dev-1\""), ("group", "group:\"field-a/1\"")] {
        add(seeds, target, &format!("{name}-nothing"), object(&nothing(audience)));
        let mut all = nothing(audience);
        all.extend(whole(CONFIGURATION_VERSION).split_off(3));
        add(seeds, target, &format!("{name}-everything"), object(&all));
    }
    // Each field alone, at the ends of its range.
    for field in FIELDS {
        let value = good(*field).swap_remove(1);
        let mut members = nothing("group:\"a\"");
        members.push((field.name().into(), value));
        add(seeds, target, field.name(), object(&members));
    }
    for (name, more) in [
        ("fraction", "\"port\":88.5"),
        ("negative", "\"alarm_low_centi_c\":-1,\"port\":-1"),
        ("too-close", "\"alarm_low_pa\":100000,\"alarm_high_pa\":100001,\"alarm_hysteresis_pa\":1"),
        ("two-audiences", "\"id\":\"dev-1\""),
        ("unknown", "\"prot\":1"),
    ] {
        let text = object(&nothing("group:\"a\"")).replace('}', &format!(",{more}}}"));
        assert!(Change::decode(text.as_bytes()).is_err(), "{name}");
        add(seeds, target, name, text);
    }
}

fn states(seeds: &mut Seeds) {
    let values = Configuration::decode(object(&whole(CONFIGURATION_VERSION)).as_bytes()).unwrap();
    let fresh = ConfigurationState {
        t: None,
        group_name: Name::EMPTY,
        group: None,
        device: None,
        trial: None,
        unstored: None,
        refused: 0,
        replayed: 0,
        last: None,
        values,
    };
    let last = |why, text: &str, failure| Refused {
        layer: Some(Layer::Group),
        number: 8,
        why,
        text: cut(&text),
        failure,
    };
    let changed = ConfigurationState {
        t: Some(EpochMillis(1_790_000_000_000)),
        group_name: Name::try_from("field-a").unwrap(),
        group: Some(InForce { number: 7, digest: [0x1f; 32] }),
        device: Some(InForce { number: u32::MAX, digest: [0xe0; 32] }),
        trial: Some((Layer::Device, 4)),
        unstored: None,
        refused: 2,
        replayed: 1,
        last: Some(last(Refusal::Configuration, "auth must be \"certificate\" or \"token\"", None)),
        ..fresh.clone()
    };
    let undone = ConfigurationState {
        last: Some(last(Refusal::Undone, "", Some(Failure::TlsName))),
        trial: None,
        unstored: Some((Layer::Device, 5)),
        ..changed.clone()
    };
    for (name, state) in [("fresh", fresh), ("changed", changed), ("undone", undone)] {
        let mut buffer = [0; CONFIGURATION_STATE_BYTES_MAX];
        let len = state.encode(&mut buffer).unwrap();
        add(seeds, "configuration_state", name, String::from_utf8_lossy(&buffer[..len]).into());
    }
}

#[test]
fn the_seeds_are_what_the_code_writes() {
    let mut seeds = Seeds::new();
    configurations(&mut seeds);
    changes(&mut seeds);
    states(&mut seeds);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    for ((target, name), bytes) in &seeds {
        let path = folder.join(target).join(name);
        if update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        let there = std::fs::read(&path).unwrap_or_default();
        assert!(there == *bytes, "{target}/{name} differs; UPDATE_SEEDS=1 writes it anew");
    }
    // The folder `configuration` has some that were written by hand too.
    for target in ["configuration_change", "configuration_state"] {
        let count = seeds.keys().filter(|(of, _)| *of == target).count();
        assert_eq!(std::fs::read_dir(folder.join(target)).unwrap().count(), count, "{target}");
    }
}
