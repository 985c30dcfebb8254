extern crate std;
use super::*;
use proptest::prelude::*;
use std::string::{String, ToString};

const GOOD: &str = concat!(
    r#"{"v":1,"number":1,"id":"dev-1","host":"broker.example","port":8883,"keep_alive_s":60,"auth":"certificate","#,
    r#""time_servers":["time.example","10.0.0.1:1123"],"sample_period_ms":10000,"report_period_ms":60000,"#,
    r#""update_start_min":0,"update_length_min":1440,"update_deadline_h":168,"update_spread_s":600}"#
);

fn refused(document: &str) -> String {
    Configuration::decode(document.as_bytes()).expect_err(document).to_string()
}

/// `GOOD` with the value of one field replaced.
fn with(field: &str, value: &str) -> String {
    let start = GOOD.find(&std::format!("\"{field}\":")).unwrap() + field.len() + 3;
    let end = if GOOD[start..].starts_with('[') {
        start + GOOD[start..].find(']').unwrap() + 1
    } else {
        start + GOOD[start..].find([',', '}']).unwrap()
    };
    std::format!("{}{value}{}", &GOOD[..start], &GOOD[end..])
}

#[test]
fn the_documented_example_is_accepted() {
    let configuration = Configuration::decode(GOOD.as_bytes()).unwrap();
    assert_eq!(configuration.service(), ("broker.example", 8883));
    assert_eq!(configuration.time_servers[0].port, SNTP_PORT);
    assert_eq!(configuration.time_servers[1].to_string(), "10.0.0.1:1123");
}

#[test]
fn every_number_is_held_to_its_bounds_and_the_error_names_them() {
    for bound in BOUNDS {
        for value in [u64::from(bound.min).wrapping_sub(1), u64::from(bound.max) + 1] {
            if value == u64::MAX {
                continue;
            }
            let text = refused(&with(bound.field, &value.to_string()));
            for part in
                [bound.field, &value.to_string(), &bound.min.to_string(), &bound.max.to_string(), bound.unit]
            {
                assert!(text.contains(part), "{text}");
            }
        }
        assert!((bound.min..=bound.max).contains(&bound.default), "{}", bound.field);
    }
    // Each bound itself is accepted; the reporting period follows so that only one thing is tested.
    for bound in [&NUMBER, &PORT, &KEEP_ALIVE] {
        for value in [bound.min, bound.max] {
            assert!(Configuration::decode(with(bound.field, &value.to_string()).as_bytes()).is_ok());
        }
    }
}

#[test]
fn a_wrong_type_a_missing_an_unknown_and_a_doubled_field_are_refused_by_name() {
    let fields = [
        "v",
        "number",
        "id",
        "host",
        "port",
        "keep_alive_s",
        "auth",
        "time_servers",
        "sample_period_ms",
        "report_period_ms",
        "update_start_min",
        "update_length_min",
        "update_deadline_h",
        "update_spread_s",
    ];
    for name in fields {
        for value in ["null", "true", "-1", "{}"] {
            assert_eq!(refused(&with(name, value)), std::format!("{name} has a value of the wrong type"));
        }
        let renamed = GOOD.replacen(&std::format!("\"{name}\""), "\"nmae\"", 1);
        assert!(refused(&renamed).contains("nmae is no field"));
        let twice = GOOD.replacen('{', &std::format!("{{\"{name}\":{},", value_of(name)), 1);
        assert!(refused(&twice).contains(&std::format!("{name} is there twice")));
        let without = GOOD.replacen(&std::format!("\"{name}\":{}", value_of(name)), "", 1);
        let without = without.replace(",,", ",").replace("{,", "{").replace(",}", "}");
        assert!(refused(&without).contains(&std::format!("{name} is missing")), "{without}");
    }
}

fn value_of(name: &str) -> String {
    let start = GOOD.find(&std::format!("\"{name}\":")).unwrap() + name.len() + 3;
    let end = GOOD.len() - (with(name, "").len() - start);
    GOOD[start..end].to_string()
}

#[test]
fn bad_hosts_ids_and_time_servers_are_refused_by_name() {
    let label = "x".repeat(64);
    for (field, value, reason) in [
        ("host", "\"\"", "host is empty"),
        ("host", "\"a_b\"", "host has a character"),
        ("host", "\"a b\"", "host has a character"),
        ("host", "\"mqtt://a\"", "host has a character"),
        ("host", "\"a..b\"", "host has a part"),
        ("host", "\"-a.b\"", "host has a part"),
        ("host", "\"a-.b\"", "host has a part"),
        ("host", "\"a.\"", "host has a part"),
        ("host", std::format!("\"{label}\"").as_str(), "host has a part"),
        ("host", std::format!("\"{label}x\"").as_str(), "host is longer than 64"),
        ("id", "\"\"", "id: a device id has at least 1"),
        ("id", "\"a/b\"", "id: a device id has only"),
        ("id", std::format!("\"{label}\"").as_str(), "id: a device id has at most 32"),
        ("auth", "\"none\"", "auth must be \"certificate\" or \"token\""),
        ("auth", "\"Token\"", "auth must be"),
        ("time_servers", "[]", "time_servers has 0 entries"),
        ("time_servers", r#"["a","b","c","d","e"]"#, "time_servers has 5 entries"),
        ("time_servers", r#"["a","A"]"#, "the same server twice"),
        ("time_servers", r#"["a","b","a:123"]"#, "the same server twice"),
        ("time_servers", r#"[,"a"]"#, "is no JSON object"),
        ("time_servers", r#"["a:0"]"#, "time_servers: what follows"),
        ("time_servers", r#"["a:"]"#, "time_servers: what follows"),
        ("time_servers", r#"["a:+5"]"#, "time_servers: what follows"),
        ("time_servers", r#"["a:65536"]"#, "time_servers: what follows"),
        ("time_servers", r#"["a:1:2"]"#, "time_servers: what follows"),
        ("time_servers", r#"[":1"]"#, "time_servers is empty"),
        ("time_servers", r#"["a","b","c","d","e","f"]"#, "time_servers has a value of the wrong type"),
    ] {
        let text = refused(&with(field, value));
        assert!(text.contains(reason), "{field} {value}: {text}");
    }
}

#[test]
fn reports_are_not_oftener_than_samples() {
    let document = with("report_period_ms", "9999");
    assert_eq!(
        refused(&document),
        "report_period_ms is 9999; it must not be below sample_period_ms, which is 10000"
    );
    assert!(Configuration::decode(with("report_period_ms", "10000").as_bytes()).is_ok());
}

#[test]
fn other_versions_trailing_bytes_and_every_cut_are_refused() {
    assert!(refused(&with("v", "2")).contains("v is 2"));
    assert!(refused(&std::format!("{GOOD} x")).contains("is no JSON object"));
    assert!(refused("[]").contains("is no JSON object"));
    assert!(refused(&with("port", "88.5")).contains("follows the value of port"));
    let long = GOOD.replacen("\"v\"", &std::format!("\"{}\"", "é".repeat(200)), 1);
    assert_eq!(
        refused(&long),
        std::format!("{} is no field of the configuration", "é".repeat(FIELD_NAME_MAX / 2))
    );
    assert!(refused(&std::format!("{GOOD}{}", " ".repeat(CONFIGURATION_BYTES_MAX))).contains("at most 768"));
    for cut in 0..GOOD.len() {
        assert!(Configuration::decode(&GOOD.as_bytes()[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn the_longest_configuration_fits() {
    let id = DeviceId::new(&"x".repeat(DeviceId::MAX_LEN)).unwrap();
    let host = std::format!("{}.{}", "a".repeat(32), "b".repeat(31));
    let mut draft = Draft::new(id, &host, &std::format!("{host}:65535")).unwrap();
    for port in 10_001.. {
        let server = Endpoint { host: draft.host.clone(), port };
        if draft.time_servers.push(server).is_err() {
            break;
        }
    }
    draft.number = NUMBER.max;
    draft.port = PORT.max;
    draft.keep_alive_s = KEEP_ALIVE.max;
    (draft.sample_period_ms, draft.report_period_ms) = (SAMPLE_PERIOD.max, REPORT_PERIOD.max);
    let configuration = draft.check().unwrap();
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let len = configuration.encode(&mut buffer).unwrap();
    assert_eq!(Configuration::decode(&buffer[..len]), Ok(configuration));
}

proptest! {
    #[test]
    fn a_configuration_reads_back_as_written(
        number in 1u32.., port in 1u32..=65_535, keep_alive_s in 5u32..=1200, sample in 50u32..=86_400_000,
        more in 0u32..=86_400_000, servers in proptest::collection::btree_set("[a-z]{1,9}(\\.[a-z]{2,9}){0,3}:[1-9][0-9]{0,3}", 1..=4),
    ) {
        let servers: std::vec::Vec<_> = servers.into_iter().collect();
        let mut draft = Draft::new(DeviceId::new("dev").unwrap(), "broker.example", &servers[0]).unwrap();
        for server in &servers[1..] {
            draft.time_servers.push(Endpoint::parse(server, SNTP_PORT, "time_servers").unwrap()).unwrap();
        }
        (draft.number, draft.port, draft.keep_alive_s) = (number, port, keep_alive_s);
        (draft.sample_period_ms, draft.report_period_ms) = (sample, (sample + more).min(86_400_000));
        let configuration = draft.check().unwrap();
        let mut buffer = [0; CONFIGURATION_BYTES_MAX];
        let len = configuration.encode(&mut buffer).unwrap();
        prop_assert_eq!(Configuration::decode(&buffer[..len]), Ok(configuration));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
        let _verdict = Configuration::decode(&bytes);
    }
}

#[test]
fn a_draft_made_by_hand_is_held_to_the_same_bounds() {
    let draft = Draft::new(DeviceId::new("dev").unwrap(), "broker.example", "time.example").unwrap();
    let mut zero = draft.clone();
    zero.time_servers[0].port = 0;
    assert_eq!(zero.check(), Err(ConfigurationError::BadPort { field: "time_servers" }));
    let escape = GOOD.replacen("\"v\"", "\"\u{1b}[2Jv\"", 1);
    assert_eq!(refused(&escape), "?[2Jv is no field of the configuration");
}
