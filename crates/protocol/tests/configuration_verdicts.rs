//! 10 000 generated documents get the verdict of a second reader, which is built on another parser and knows the schema from
//! the table alone.

#[path = "samples/configurations.rs"]
mod samples;

use protocol::config::{CONFIGURATION_BYTES_MAX, Change, FIELDS, Field, NUMBER, THRESHOLDS};
use protocol::{Configuration, DeviceId, Endpoint, Name};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;

/// The members of an object in their order, doubled ones too.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// The document's members where it has the right form; `None` where it is to be refused.
fn members(bytes: &[u8]) -> Option<BTreeMap<String, Value>> {
    // No name and no value may be written with an escape.
    if bytes.len() > CONFIGURATION_BYTES_MAX || bytes.contains(&b'\\') {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let list = reader.deserialize_map(Members).ok()?;
    reader.end().ok()?;
    let count = list.len();
    let map: BTreeMap<_, _> = list.into_iter().collect();
    (map.len() == count).then_some(map)
}

fn is_good(field: Field, value: &Value) -> bool {
    match field {
        Field::Bound(bound) => value.as_i64().is_some_and(|n| (bound.min..=bound.max).contains(&n)),
        Field::Text(text) => match text.field {
            "auth" => ["certificate", "token"].iter().any(|it| value == it),
            "log_level" => ["error", "warning", "info"].iter().any(|it| value == it),
            "host" => value.as_str().is_some_and(|host| !host.contains(':') && server(host).is_some()),
            "time_servers" => {
                let Some(list) = value.as_array() else { return false };
                let parsed: Vec<_> = list.iter().filter_map(|it| server(it.as_str()?)).collect();
                let distinct: std::collections::BTreeSet<_> = parsed.iter().collect();
                (1..=4).contains(&list.len()) && parsed.len() == list.len() && distinct.len() == list.len()
            }
            other => panic!("{other} is unknown here"),
        },
    }
}

fn server(text: &str) -> Option<(String, u16)> {
    let server = Endpoint::parse(text, 123, "time_servers").ok()?;
    Some((server.host.to_lowercase(), server.port))
}

/// True where the second reader accepts the document.
fn accepts(bytes: &[u8], is_change: bool) -> bool {
    let Some(map) = members(bytes) else { return false };
    let Some(v) = map.get("v").and_then(Value::as_i64).filter(|v| [1, 2].contains(v)) else { return false };
    let known: Vec<_> = FIELDS.iter().filter(|field| i64::from(field.since()) <= v).collect();
    let is_known = |name: &str| known.iter().any(|field| field.name() == name);
    let is_head = |name: &str| ["v", "number", "id"].contains(&name) || (is_change && name == "group");
    let id = map.get("id").map(|it| it.as_str().is_some_and(|it| DeviceId::new(it).is_ok()));
    let group =
        map.get("group").map(|it| it.as_str().is_some_and(|it| !it.is_empty() && Name::try_from(it).is_ok()));
    let audience = match (id, group) {
        (Some(good), None) => good,
        (None, Some(good)) => is_change && good,
        _ => false,
    };
    let number = map.get("number").and_then(Value::as_i64);
    let get = |name: &str| match map.get(name) {
        Some(value) => value.as_i64(),
        None if is_change => None,
        None => FIELDS.iter().find_map(|field| match field {
            Field::Bound(bound) if bound.field == name => Some(bound.default),
            _ => None,
        }),
    };
    let fits = |name: &str, other: &str, is_bad: fn(i64, i64) -> bool| match (get(name), get(other)) {
        (Some(one), Some(other)) => !is_bad(one, other),
        _ => true,
    };
    let alarms =
        THRESHOLDS.iter().all(|of| match (get(of.low.field), get(of.high.field), get(of.hysteresis.field)) {
            (Some(low), Some(high), Some(hysteresis)) => {
                high.saturating_sub(low) >= hysteresis.saturating_mul(2)
            }
            _ => true,
        });
    number.is_some_and(|n| (NUMBER.min..=NUMBER.max).contains(&n))
        && audience
        && map.keys().all(|name| is_head(name) || is_known(name))
        && (is_change || known.iter().all(|field| map.contains_key(field.name())))
        && known.iter().all(|field| map.get(field.name()).is_none_or(|value| is_good(**field, value)))
        && fits("report_period_ms", "sample_period_ms", |report, sample| report < sample)
        && alarms
}

#[test]
fn ten_thousand_documents_get_the_same_verdict_from_a_second_reader() {
    let (mut accepted, mut refused) = ([0; 2], BTreeMap::<String, u32>::new());
    for seed in 0..10_000 {
        let change = samples::change(seed, "dev-1", "field-a", 7);
        let whole = samples::configuration(seed, "dev-1");
        assert_eq!(change, samples::change(seed, "dev-1", "field-a", 7), "the same for the same seed");
        for (bytes, is_change) in [(change, true), (whole, false)] {
            let verdict = if is_change {
                Change::decode(&bytes).map(|_| ())
            } else {
                Configuration::decode(&bytes).map(|_| ())
            };
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(verdict.is_ok(), accepts(&bytes, is_change), "seed {seed}: {verdict:?}\n{text}");
            match verdict {
                Ok(()) => accepted[usize::from(is_change)] += 1,
                Err(error) => *refused.entry(format!("{error:?}")).or_default() += 1,
            }
        }
    }
    // The generator is worth something: half of them are right, and the others wrong in many ways.
    assert!(accepted.iter().all(|n| (4_000..7_000).contains(n)), "{accepted:?}");
    assert!(refused.len() > 1_000, "{} ways", refused.len());
}
