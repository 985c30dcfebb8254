//! The fields of a configuration for people and programs: the table of `protocol::config`, values as text, and which of them
//! decide whether a device reaches its service. R-CONF.

use protocol::Configuration;
use protocol::config::{Bound, CONFIGURATION_BYTES_MAX, Change, FIELDS, Field, NUMBER, Text};
use serde_json::{Map, Value, json as value};
use std::fmt::Write as _;

/// A change of these is tried first, and undone where the service is not reached with it.
pub const REACH: [&str; 5] = ["host", "port", "auth", "keep_alive_s", "time_servers"];

/// The unit of a field; empty where it has none.
pub fn unit(name: &str) -> &'static str {
    FIELDS
        .iter()
        .find_map(|field| match field {
            Field::Bound(bound) if bound.field == name => Some(bound.unit),
            _ => None,
        })
        .unwrap_or_default()
}

/// Reads a value of a command line as JSON by the type that the field has. What does not fit stays text: the schema refuses it
/// by name.
pub fn json(name: &str, text: &str) -> String {
    let number = FIELDS.iter().any(|field| matches!(field, Field::Bound(_)) && field.name() == name);
    let number = number || name == "v" || name == NUMBER.field;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty()
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if number && plain {
        return text.to_owned();
    }
    if name == "time_servers" {
        let text = text.trim().trim_start_matches('[').trim_end_matches(']');
        let servers = text.split(',').map(|server| server.trim().trim_matches('"'));
        return Value::from(servers.filter(|server| !server.is_empty()).collect::<Vec<_>>()).to_string();
    }
    Value::from(text).to_string()
}

/// A configuration as JSON, field by field.
pub fn values(configuration: &Configuration) -> Map<String, Value> {
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    object(configuration.encode(&mut buffer).ok().and_then(|len| buffer.get(..len)))
}

/// What a change names, as JSON.
pub fn named(change: &Change) -> Map<String, Value> {
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let mut all = object(change.encode(&mut buffer).ok().and_then(|len| buffer.get(..len)));
    all.retain(|name, _| FIELDS.iter().any(|field| field.name() == name));
    all
}

/// What is written here was read from the schema's own types: it is an object, and fits.
fn object(bytes: Option<&[u8]>) -> Map<String, Value> {
    match bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// A value as people write it on a command line.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A value with its unit.
pub fn with_unit(name: &str, value: &Value) -> String {
    match unit(name) {
        "" => text(value),
        unit => format!("{} {unit}", text(value)),
    }
}

/// The table of the fields, `width` characters wide.
pub fn table(width: usize) -> String {
    let mut rows = vec![["field".to_owned(), "unit".into(), "range".into(), "default".into(), String::new()]];
    rows.extend(FIELDS.iter().map(|field| match field {
        Field::Bound(Bound { field, unit, min, max, default, reason, .. }) => [
            (*field).to_owned(),
            (*unit).to_owned(),
            format!("{min} to {max}"),
            default.to_string(),
            (*reason).to_owned(),
        ],
        Field::Text(Text { field, allowed, default, reason, .. }) => {
            let default = if default.is_empty() { "none" } else { default };
            let reason = format!("{}; {reason}", allowed.replace('`', ""));
            [(*field).to_owned(), String::new(), String::new(), default.to_owned(), reason]
        }
    }));
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..4).map(wide).collect();
    let mut out = String::new();
    for [field, unit, range, default, reason] in &rows {
        let tried = if REACH.contains(&field.as_str()) { "*" } else { "" };
        let first = format!(
            "{:<w0$}  {unit:<w1$}  {range:<w2$}  {default:<w3$}",
            format!("{field}{tried}"),
            w0 = widths[0] + 1,
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
        );
        // A `String` always has room.
        let _ = writeln!(out, "{}", first.trim_end());
        for line in wrap(reason, width.saturating_sub(4).max(30)) {
            let _ = writeln!(out, "    {line}");
        }
    }
    out + "\n* is tried first: the former one comes back by itself where the service is not reached with it.\n"
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The same for programs.
pub fn table_json() -> Value {
    let field = |field: &Field| {
        let tried = REACH.contains(&field.name());
        match field {
            Field::Bound(Bound { field, unit, min, max, default, since, reason }) => value!({
                "field": field, "unit": unit, "min": min, "max": max, "default": default, "since": since,
                "reason": reason, "tried_first": tried,
            }),
            Field::Text(Text { field, allowed, default, since, reason }) => value!({
                "field": field, "allowed": allowed.replace('`', ""), "since": since, "reason": reason,
                "default": (!default.is_empty()).then_some(default), "tried_first": tried,
            }),
        }
    };
    Value::Array(FIELDS.iter().map(field).collect())
}
