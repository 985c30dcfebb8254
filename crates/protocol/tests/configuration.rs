//! The schema of the configuration, field by field: what is accepted, what is refused, and in which words. The table drives
//! every test, so that a new field is tested as soon as it is in the table.

#[path = "samples/configurations.rs"]
mod samples;

use protocol::config::{
    CONFIGURATION_BYTES_MAX, CONFIGURATION_VERSION, Change, Draft, FIELD_NAME_MAX, FIELDS, Field, NUMBER,
    TIME_SERVERS_MAX,
};
use protocol::{Configuration, ConfigurationError, DeviceId, Endpoint};
use samples::{Member, bad, default, good, nothing, object, typing_errors, whole, with, without};

const FOR_DEVICE: &str = "id:\"dev-1\"";
const FOR_GROUP: &str = "group:\"field-a\"";

fn verdict(document: &str) -> Result<Configuration, String> {
    Configuration::decode(document.as_bytes()).map_err(|error| error.to_string())
}

fn change(members: &[Member]) -> Result<Change, String> {
    Change::decode(object(members).as_bytes()).map_err(|error| error.to_string())
}

fn written(configuration: &Configuration) -> String {
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let len = configuration.encode(&mut buffer).expect("a configuration fits");
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

#[test]
fn the_table_is_sound() {
    let mut names: Vec<_> = FIELDS.iter().map(|field| field.name()).collect();
    names.extend(["v", "number", "id", "group"]);
    assert!(names.iter().all(|name| name.len() <= FIELD_NAME_MAX));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each name once");
    for field in FIELDS {
        let name = field.name();
        assert!((1..=CONFIGURATION_VERSION).contains(&field.since()), "{name}");
        match field {
            Field::Bound(bound) => {
                assert!((bound.min..=bound.max).contains(&bound.default), "{name}");
                // A field is an i32 where it may be negative, else a u32.
                let may_be = if bound.min < 0 {
                    i32::MIN.into()..=i32::MAX.into()
                } else {
                    u32::MIN.into()..=i64::from(u32::MAX)
                };
                assert!(may_be.contains(&bound.min) && may_be.contains(&bound.max), "{name}");
                assert!(!bound.reason.is_empty());
            }
            Field::Text(text) => {
                assert!(text.since == 1 || !text.default.is_empty(), "{name} came later and needs a default");
                assert!(!text.reason.is_empty() && !text.allowed.is_empty());
            }
        }
    }
}

#[test]
fn a_fresh_configuration_has_the_defaults_of_the_table_in_its_order() {
    let mut draft = Draft::new(DeviceId::new("dev-1").unwrap(), "broker.example", "time.example").unwrap();
    draft.time_servers.push(Endpoint::parse("10.0.0.1:1123", 123, "time_servers").unwrap()).unwrap();
    for field in FIELDS {
        if let Field::Bound(bound) = field {
            assert_eq!(draft.get(bound), Some(bound.default));
        }
    }
    assert_eq!(draft.get(&NUMBER), None, "no field of the table");
    assert_eq!(written(&draft.check().unwrap()), object(&whole(CONFIGURATION_VERSION)));
}

#[test]
fn each_bad_value_of_each_field_is_refused_with_its_sentence_in_a_configuration_and_in_a_change() {
    let mut tried = 0;
    for field in FIELDS {
        for (value, sentence) in bad(*field) {
            let document = with(&whole(CONFIGURATION_VERSION), field.name(), &value);
            assert_eq!(verdict(&object(&document)), Err(sentence.clone()), "{}: {value}", field.name());
            for audience in [FOR_DEVICE, FOR_GROUP] {
                let members = with(&nothing(audience), field.name(), &value);
                assert_eq!(change(&members), Err(sentence.clone()), "{}: {value}", field.name());
                // With blanks around it, and wherever it stands.
                let wide = format!("\"{}\" \t:\r\n {value}", field.name());
                let spaced = object(&members).replace(&format!("\"{}\":{value}", field.name()), &wide);
                assert!(spaced.contains(&wide));
                let error = Change::decode(spaced.as_bytes()).unwrap_err().to_string();
                assert_eq!(error, sentence, "{}: {value} with blanks", field.name());
                let mut first = members;
                first.rotate_right(1);
                if !sentence.starts_with("the configuration") {
                    assert_eq!(change(&first), Err(sentence.clone()), "{}: {value} first", field.name());
                }
            }
            tried += 1;
        }
    }
    assert!(tried > 30 * FIELDS.len(), "{tried}");
}

#[test]
fn each_good_value_of_each_field_is_accepted_in_a_change_and_lands_in_its_place() {
    let base = Configuration::decode(object(&whole(CONFIGURATION_VERSION)).as_bytes()).unwrap();
    for field in FIELDS {
        for value in good(*field) {
            for audience in [FOR_DEVICE, FOR_GROUP] {
                let members = with(&nothing(audience), field.name(), &value);
                let change = change(&members).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(change.fields().collect::<Vec<_>>(), [*field]);
                let mut draft = base.draft();
                change.apply(&mut draft);
                if let Field::Bound(bound) = field {
                    assert_eq!(draft.get(bound).map(|n| n.to_string()), Some(value.clone()));
                }
                for other in FIELDS.iter().filter(|other| *other != field) {
                    if let Field::Bound(bound) = other {
                        assert_eq!(draft.get(bound), Some(bound.default), "{} moved", bound.field);
                    }
                }
                assert_eq!((draft.number, &draft.id), (base.number, &base.id));
            }
        }
    }
}

#[test]
fn each_boundary_is_accepted_in_a_configuration_unless_another_field_forbids_it() {
    let mut forbidden = Vec::new();
    for field in FIELDS {
        let Field::Bound(bound) = field else { continue };
        for (value, end) in [(bound.min, "min"), (bound.max, "max")] {
            let document = with(&whole(CONFIGURATION_VERSION), bound.field, &value.to_string());
            match verdict(&object(&document)) {
                Ok(configuration) => assert_eq!(configuration.get(bound), Some(value)),
                Err(text) => {
                    assert!(text.contains(bound.field), "{text}");
                    forbidden.push(format!("{} {end}", bound.field));
                }
            }
        }
    }
    let expected = [
        "sample_period_ms max",
        "report_period_ms min",
        "alarm_low_centi_c max",
        "alarm_high_centi_c min",
        "alarm_low_centi_percent max",
        "alarm_high_centi_percent min",
        "alarm_low_pa max",
        "alarm_high_pa min",
    ];
    forbidden.sort();
    let mut sorted = expected.map(String::from);
    sorted.sort();
    assert_eq!(forbidden, sorted);
}

#[test]
fn a_missing_a_doubled_and_a_mistyped_field_are_refused_by_name() {
    for v in 1..=CONFIGURATION_VERSION {
        let document = whole(v);
        for (name, value) in &document {
            let missing = without(&document, name);
            assert_eq!(verdict(&object(&missing)), Err(format!("{name} is missing")), "version {v}");
            let twice = format!("{},\"{name}\":{value}}}", object(&document).trim_end_matches('}'));
            assert_eq!(verdict(&twice), Err(format!("{name} is there twice")));
            for typed in typing_errors(name) {
                let position = document.iter().position(|(it, _)| it == name).unwrap();
                let mut mistyped = document.clone();
                mistyped[position].0.clone_from(&typed);
                let shown = typed.replace('\\', "?");
                let sentence = format!("{shown} is no field of the configuration");
                assert_eq!(verdict(&object(&mistyped)), Err(sentence.clone()));
                let mut named = nothing(FOR_DEVICE);
                named.push((typed, value.clone()));
                assert_eq!(change(&named), Err(sentence));
            }
        }
    }
    assert_eq!(
        verdict(&object(&with(&whole(CONFIGURATION_VERSION), "group", "\"a\""))),
        Err("group is no field of the configuration".into())
    );
}

#[test]
fn a_field_that_came_later_is_unknown_to_an_older_version_and_takes_its_default_there() {
    let later: Vec<_> = FIELDS.iter().filter(|field| field.since() > 1).collect();
    assert_eq!(later.len(), 13);
    for field in &later {
        let (name, since) = (field.name(), field.since());
        let sentence =
            format!("{name} is no field of version 1 of the configuration: it came with version {since}");
        let document = with(&whole(1), name, &default(**field));
        assert_eq!(verdict(&object(&document)), Err(sentence.clone()));
        let mut members = with(&with(&nothing(FOR_GROUP), "v", "1"), name, &default(**field));
        assert_eq!(change(&members), Err(sentence.clone()));
        members.reverse();
        assert_eq!(change(&members), Err(sentence), "v comes last");
    }
    let old = verdict(&object(&whole(1))).unwrap();
    assert_eq!(written(&old), object(&whole(CONFIGURATION_VERSION)), "and is written in the newest version");
}

#[test]
fn fields_that_tie_each_other_are_refused_together_and_each_limit_itself_is_accepted() {
    type Case = (Vec<(String, i64)>, Option<String>);
    let reports = |report, sample| {
        format!("report_period_ms is {report}; it must not be below sample_period_ms, which is {sample}")
    };
    let alarm = |unit: &str, low: i64, high: i64, hysteresis: i64| {
        format!(
            "alarm_low_{unit} is {low}, alarm_high_{unit} {high}, alarm_hysteresis_{unit} {hysteresis}: \
             low + hysteresis must not be above high - hysteresis"
        )
    };
    let mut cases: Vec<Case> = Vec::new();
    for (report, sample, is_bad) in
        [(9_999, 10_000, true), (10_000, 10_000, false), (50, 86_400_000, true), (50, 50, false)]
    {
        let values = vec![("report_period_ms".into(), report), ("sample_period_ms".into(), sample)];
        cases.push((values, is_bad.then(|| reports(report, sample))));
    }
    for (unit, low, high, hysteresis, is_bad) in [
        ("centi_c", 2_000, 2_100, 50, false),
        ("centi_c", 2_001, 2_100, 50, true),
        ("centi_c", 2_000, 2_099, 50, true),
        ("centi_c", 2_000, 2_100, 51, true),
        ("centi_c", -200, -100, 50, false),
        ("centi_c", -200, -100, 51, true),
        ("centi_c", 100, -100, 0, true),
        ("centi_c", 0, 0, 0, false),
        ("centi_percent", 4_000, 8_000, 2_000, false),
        ("centi_percent", 4_001, 8_000, 2_000, true),
        ("centi_percent", 10_000, 10_000, 2_000, true),
        ("pa", 90_000, 110_000, 10_000, false),
        ("pa", 90_001, 110_000, 10_000, true),
        ("pa", 30_000, 30_000, 0, false),
        ("pa", 30_001, 30_000, 0, true),
    ] {
        let values = [("low", low), ("high", high), ("hysteresis", hysteresis)];
        let values = values.map(|(which, value)| (format!("alarm_{which}_{unit}"), value)).into();
        cases.push((values, is_bad.then(|| alarm(unit, low, high, hysteresis))));
    }
    for (values, sentence) in cases {
        let (mut document, mut members) = (whole(CONFIGURATION_VERSION), nothing(FOR_GROUP));
        for (name, value) in &values {
            document = with(&document, name, &value.to_string());
            members = with(&members, name, &value.to_string());
        }
        assert_eq!(verdict(&object(&document)).err(), sentence);
        assert_eq!(change(&members).err(), sentence);
        assert!(sentence.is_none_or(|text| values.iter().all(|(name, _)| text.contains(name))));
        // What is not all there can only be judged once it is merged.
        for (name, _) in &values {
            assert!(change(&without(&members, name)).is_ok(), "without {name}");
        }
    }
}

/// The longest value of each field.
fn longest() -> Vec<Member> {
    let longest = |field: &Field| {
        let value = good(*field).into_iter().max_by_key(String::len).expect("values");
        // As it is written: every time server with its port, and one that is five digits long.
        let label = format!("{}.{}", "a".repeat(63 - 2), "b2");
        let servers: Vec<_> = (0..TIME_SERVERS_MAX).map(|n| format!("\"{label}:6553{n}\"")).collect();
        if field.name() == "time_servers" { format!("[{}]", servers.join(",")) } else { value }
    };
    let widest = |field: &Field| (field.name().to_string(), longest(field));
    let mut members = nothing(&format!("id:\"{}\"", "i".repeat(DeviceId::MAX_LEN)));
    members[1].1 = NUMBER.max.to_string();
    members.extend(FIELDS.iter().map(widest));
    // Those that tie each other, at their longest that fits.
    for (name, value) in [
        ("alarm_low_centi_c", "-4000"),
        ("alarm_high_centi_c", "-1000"),
        ("alarm_hysteresis_centi_c", "1000"),
        ("alarm_low_centi_percent", "1000"),
        ("alarm_high_centi_percent", "10000"),
        ("alarm_hysteresis_centi_percent", "2000"),
        ("alarm_low_pa", "100000"),
        ("alarm_high_pa", "110000"),
        ("alarm_hysteresis_pa", "1000"),
    ] {
        members = with(&members, name, value);
    }
    members
}

#[test]
fn the_longest_configuration_and_the_longest_change_fit_and_read_back() {
    let document = object(&longest());
    assert!(document.len() > 1_000, "{}", document.len());
    let configuration = verdict(&document).unwrap();
    assert_eq!(written(&configuration), document);
    let mut for_group = longest();
    for_group[2] = ("group".into(), format!("\"{}\"", "g".repeat(32)));
    for members in [longest(), for_group] {
        let change = change(&members).unwrap();
        let mut buffer = [0; CONFIGURATION_BYTES_MAX];
        let len = change.encode(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..len]), object(&members));
        assert_eq!(Change::decode(&buffer[..len]), Ok(change.clone()));
        assert!(change.encode(&mut buffer[..len - 1]).is_err());
    }
}

#[test]
fn a_draft_made_by_hand_is_held_to_the_same_rules() {
    let draft = Draft::new(DeviceId::new("dev").unwrap(), "broker.example", "time.example").unwrap();
    let refused = |alter: &dyn Fn(&mut Draft)| {
        let mut draft = draft.clone();
        alter(&mut draft);
        draft.check().expect_err("refused").to_string()
    };
    assert_eq!(refused(&|it| it.number = 0), "number is 0; it must be from 1 to 4294967295");
    assert_eq!(refused(&|it| it.port = 65_536), "port is 65536; it must be from 1 to 65535");
    assert_eq!(
        refused(&|it| it.alarm_low_centi_c = i32::MIN),
        "alarm_low_centi_c is -2147483648; it must be from -4000 to 8500 hundredths of °C"
    );
    assert_eq!(refused(&|it| it.host.clear()), "host is empty");
    assert_eq!(
        refused(&|it| it.time_servers[0].port = 0),
        "time_servers: what follows the ':' must be a port from 1 to 65535"
    );
    assert_eq!(refused(&|it| it.time_servers[0].host.clear()), "time_servers is empty");
    assert_eq!(
        refused(&|it| it.time_servers.clear()),
        "time_servers has 0 entries; it must have from 1 to 4"
    );
    assert_eq!(
        refused(&|it| it.time_servers.push(it.time_servers[0].clone()).unwrap()),
        "time_servers has the same server twice"
    );
    assert_eq!(
        refused(&|it| it.report_period_ms = 9_999),
        "report_period_ms is 9999; it must not be below sample_period_ms, which is 10000"
    );
    assert!(refused(&|it| it.alarm_high_pa = 30_000).starts_with("alarm_low_pa is 30000, alarm_high_pa"));
    let host = Draft::new(DeviceId::new("dev").unwrap(), "", "time.example").unwrap_err();
    assert_eq!(host.to_string(), "host is empty");
    let server = Draft::new(DeviceId::new("dev").unwrap(), "a", "b:0").unwrap_err();
    assert_eq!(server, ConfigurationError::BadPort { field: "time_servers" });
}
