//! The report of the configuration in force: its form, its length, and how strictly it is read.

#[path = "samples/configurations.rs"]
mod samples;

use proptest::prelude::*;
use protocol::config::{
    CONFIGURATION_STATE_BYTES_MAX, CONFIGURATION_VERSION, Draft, InForce, NUMBER, REFUSAL_TEXT_MAX, Refused,
    cut,
};
use protocol::{
    Configuration, ConfigurationState, DeviceId, Endpoint, EpochMillis, Failure, Layer, Name, Refusal,
};
use samples::{object, whole};

fn values() -> Configuration {
    Configuration::decode(object(&whole(CONFIGURATION_VERSION)).as_bytes()).unwrap()
}

fn empty() -> ConfigurationState {
    ConfigurationState {
        t: None,
        group_name: Name::EMPTY,
        group: None,
        device: None,
        trial: None,
        unstored: None,
        refused: 0,
        replayed: 0,
        last: None,
        values: values(),
    }
}

fn full() -> ConfigurationState {
    let in_force = |number, byte| Some(InForce { number, digest: [byte; 32] });
    ConfigurationState {
        t: Some(EpochMillis(1_790_000_000_000)),
        group_name: Name::try_from("field-a").unwrap(),
        group: in_force(7, 0x0f),
        device: in_force(3, 0xa0),
        trial: Some((Layer::Device, 4)),
        unstored: Some((Layer::Group, 9)),
        refused: 2,
        replayed: 1,
        last: Some(Refused {
            layer: Some(Layer::Group),
            number: 8,
            why: Refusal::Undone,
            text: cut(&"auth must be \"certificate\" or \"token\""),
            failure: Some(Failure::Dns),
        }),
        values: values(),
    }
}

fn written(state: &ConfigurationState) -> String {
    let mut buffer = [0; CONFIGURATION_STATE_BYTES_MAX];
    let len = state.encode(&mut buffer).expect("a state fits");
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

fn read(text: &str) -> Option<ConfigurationState> {
    ConfigurationState::decode(text.as_bytes()).ok()
}

#[test]
fn the_message_is_as_documented() {
    let values = object(&whole(CONFIGURATION_VERSION));
    assert_eq!(
        written(&empty()),
        format!(
            r#"{{"v":1,"t":null,"group_name":"","group":null,"device":null,"trial":null,"unstored":null,"refused":0,"replayed":0,"last":null,"values":{values}}}"#
        )
    );
    let (low, high) = ("0f".repeat(32), "a0".repeat(32));
    assert_eq!(
        written(&full()),
        format!(
            r#"{{"v":1,"t":1790000000000,"group_name":"field-a","group":{{"number":7,"digest":"{low}"}},"device":{{"number":3,"digest":"{high}"}},"trial":{{"layer":"device","number":4}},"unstored":{{"layer":"group","number":9}},"refused":2,"replayed":1,"last":{{"layer":"group","number":8,"why":"undone","text":"auth must be \"certificate\" or \"token\"","failure":"dns"}},"values":{values}}}"#
        )
    );
    for state in [empty(), full()] {
        assert_eq!(read(&written(&state)), Some(state));
    }
}

/// As long as a state can be.
fn longest() -> ConfigurationState {
    let host = format!("{}.{}", "a".repeat(32), "b".repeat(31));
    let id = DeviceId::new(&"i".repeat(DeviceId::MAX_LEN)).unwrap();
    let mut draft = Draft::new(id, &host, &format!("{host}:65535")).unwrap();
    for port in 10_001.. {
        let server = Endpoint { host: draft.host.clone(), port };
        if draft.time_servers.push(server).is_err() {
            break;
        }
    }
    draft.number = NUMBER.max as u32;
    (draft.port, draft.keep_alive_s) = (65_535, 1_200);
    (draft.sample_period_ms, draft.report_period_ms) = (86_400_000, 86_400_000);
    (draft.update_start_min, draft.update_deadline_h, draft.update_spread_s) = (1_439, 8_760, 86_400);
    (draft.dead_band_centi_c, draft.dead_band_centi_percent, draft.dead_band_pa) = (12_500, 10_000, 80_000);
    (draft.alarm_low_centi_c, draft.alarm_high_centi_c) = (-4_000, -1_000);
    draft.alarm_hysteresis_centi_c = 1_000;
    (draft.alarm_low_centi_percent, draft.alarm_high_centi_percent) = (1_000, 10_000);
    draft.alarm_hysteresis_centi_percent = 2_000;
    (draft.alarm_low_pa, draft.alarm_high_pa, draft.alarm_hysteresis_pa) = (100_000, 110_000, 1_000);
    draft.log_level = protocol::config::LogLevel::Warning;
    let in_force = Some(InForce { number: u32::MAX, digest: [0xff; 32] });
    let refusal = Refusal::ALL.iter().copied().max_by_key(|it| it.as_str().len()).unwrap();
    ConfigurationState {
        t: Some(EpochMillis(u64::MAX)),
        group_name: Name::try_from("g".repeat(protocol::NAME_MAX).as_str()).unwrap(),
        group: in_force,
        device: in_force,
        trial: Some((Layer::Device, u32::MAX)),
        unstored: Some((Layer::Device, u32::MAX)),
        refused: u32::MAX,
        replayed: u32::MAX,
        last: Some(Refused {
            layer: Some(Layer::Device),
            number: u32::MAX,
            why: refusal,
            // A quote takes two bytes on the wire: no sentence has so many.
            text: cut(&"\"".repeat(REFUSAL_TEXT_MAX)),
            failure: Failure::ALL.iter().copied().max_by_key(|it| it.as_str().len()),
        }),
        values: draft.check().unwrap(),
    }
}

#[test]
fn the_longest_state_fits_and_no_part_of_it_is_accepted() {
    let text = written(&longest());
    assert!(text.len() > CONFIGURATION_STATE_BYTES_MAX * 3 / 4, "{}", text.len());
    assert_eq!(read(&text), Some(longest()));
    for cut in 0..text.len() {
        assert_eq!(read(&text[..cut]), None, "{cut}");
    }
    let padded = |len: usize| format!("{text}{}", " ".repeat(len - text.len()));
    assert!(read(&padded(CONFIGURATION_STATE_BYTES_MAX)).is_some());
    let error = ConfigurationState::decode(padded(CONFIGURATION_STATE_BYTES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the message has 2049 bytes; at most 2048 are allowed");
}

#[test]
fn every_sentence_of_the_schema_fits_into_a_report() {
    use protocol::config::{Change, FIELDS};
    for field in FIELDS {
        for (value, sentence) in samples::bad(*field) {
            let text = format!("{{\"v\":2,\"number\":1,\"id\":\"a\",\"{}\":{value}}}", field.name());
            let error = Change::decode(text.as_bytes()).unwrap_err();
            assert_eq!(cut(&error).as_str(), sentence, "cut");
        }
    }
    let text = r#"{"v":2,"number":1,"id":"a","alarm_low_centi_percent":10000,"alarm_high_centi_percent":10000,"alarm_hysteresis_centi_percent":2000}"#;
    assert!(cut(&Change::decode(text.as_bytes()).unwrap_err()).ends_with("high - hysteresis"));
}

#[test]
fn a_missing_an_unknown_and_a_doubled_member_is_refused_at_every_depth() {
    let text = written(&full());
    for name in [
        "v",
        "t",
        "group_name",
        "group",
        "device",
        "trial",
        "unstored",
        "refused",
        "replayed",
        "last",
        "values",
        "digest",
        "layer",
        "why",
        "text",
        "failure",
        "number",
        "host",
        "log_level",
        "id",
    ] {
        assert_eq!(read(&text.replacen(&format!("\"{name}\""), "\"other\"", 1)), None, "{name}");
    }
    for place in ["{\"v\":1", "{\"number\":7", "{\"layer\":\"device\"", "{\"layer\":\"group\"", "{\"v\":2"] {
        assert_eq!(read(&text.replacen(place, &format!("{place},\"more\":1"), 1)), None, "{place}");
        let (_, member) = place.split_once('{').unwrap();
        assert_eq!(read(&text.replacen(place, &format!("{place},{member}"), 1)), None, "{place} twice");
    }
}

#[test]
fn values_that_no_device_would_write_are_refused() {
    let text = written(&full());
    let digest = "0f".repeat(32);
    for (from, to) in [
        (digest.as_str(), "0F".repeat(32).as_str()),
        (&digest, "0f".repeat(31).as_str()),
        (&digest, "0f".repeat(33).as_str()),
        (&digest, "0g".repeat(32).as_str()),
        (&digest, ""),
        ("\"v\":1", "\"v\":2"),
        ("\"v\":2", "\"v\":3"),
        ("\"port\":8883", "\"port\":0"),
        ("\"port\":8883", "\"port\":8883.0"),
        ("\"sample_period_ms\":10000", "\"sample_period_ms\":70000"),
        ("\"why\":\"undone\"", "\"why\":\"unknown\""),
        ("\"group_name\":\"field-a\"", "\"group_name\":\"field a\""),
        ("\"group_name\":\"field-a\"", "\"group_name\":null"),
        ("auth must", "\\u001b[2J"),
        ("auth must", "\u{1b}[2J"),
        ("auth must", "\u{9b}2J"),
        ("auth must", "["),
        ("auth must", "\\u005b\\u002c"),
        ("auth must", &"x".repeat(REFUSAL_TEXT_MAX)),
        ("\"refused\":2", "\"refused\":-2"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(read(&text.replacen(from, to, 1)), None, "{from} {to}");
    }
    assert!(read(&format!("{text} {{}}")).is_none());
    let old = text.replacen(&object(&whole(CONFIGURATION_VERSION)), &object(&whole(1)), 1);
    assert_eq!(read(&old).map(|state| state.values), Some(values()), "of a device that knows less");
}

proptest! {
    #[test]
    fn a_state_reads_back_as_written(
        numbers in any::<[u32; 5]>(), t in any::<Option<u64>>(), digest in any::<[u8; 32]>(), there in any::<[bool; 4]>(),
        text in "[ -~é]{0,160}", why in 0..Refusal::ALL.len(), failure in 0..Failure::ALL.len(),
    ) {
        let [one, two, three, refused, replayed] = numbers;
        let state = ConfigurationState {
            t: t.map(EpochMillis),
            group: there[0].then_some(InForce { number: one, digest }),
            device: there[1].then_some(InForce { number: two, digest }),
            trial: there[2].then_some((Layer::Group, three)),
            unstored: there[1].then_some((Layer::Device, two)),
            last: there[3].then(|| Refused {
                layer: there[0].then_some(Layer::Device), number: one, why: Refusal::ALL[why], text: cut(&text),
                failure: there[1].then_some(Failure::ALL[failure]),
            }),
            refused, replayed, ..full()
        };
        prop_assert_eq!(read(&written(&state)), Some(state));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _verdict = ConfigurationState::decode(&bytes);
    }
}
