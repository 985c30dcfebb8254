//! Change files in JSON: fields with their places, edits, and the form without blanks in which a device gets them.

use super::{FileError, Row};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::path::Path;

/// Names and values as they stand there, doubled ones included.
struct Entries<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// That the text is one object and nothing else.
pub(super) fn whole(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Entries<'_>>(text).map(|_| ())
}

/// The fields of the object at the beginning of the file, whatever stands behind it.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, serde_json::Error> {
    let Entries(entries) = Entries::deserialize(&mut serde_json::Deserializer::from_str(text))?;
    let row = |(name, value): (String, &RawValue)| {
        let at = value.get().as_ptr().addr() - text.as_ptr().addr();
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        Row { name, value: compact(value.get()), line }
    };
    Ok(entries.into_iter().map(row).collect())
}

/// The file with the field set to `value`, or taken out; the others stay in their order.
pub(super) fn put(path: &Path, text: &str, name: &str, value: Option<&str>) -> Result<String, FileError> {
    let rows = whole(text)
        .and_then(|()| rows(text))
        .map_err(|error| FileError::Syntax(path.to_owned(), error.line(), error.to_string()))?;
    let mut fields: Vec<(&str, &str)> =
        rows.iter().map(|row| (row.name.as_str(), row.value.as_str())).collect();
    match (fields.iter_mut().find(|(other, _)| *other == name), value) {
        (Some(place), Some(value)) => place.1 = value,
        (None, Some(value)) => fields.push((name, value)),
        (_, None) => fields.retain(|(other, _)| *other != name),
    }
    let line = |(name, value): &(&str, &str)| format!("  {}: {value}", serde_json::Value::from(*name));
    let lines: Vec<String> = fields.iter().map(line).collect();
    Ok(if lines.is_empty() { "{}\n".to_owned() } else { format!("{{\n{}\n}}\n", lines.join(",\n")) })
}

/// The text without the blanks that mean nothing. Two values never become one by it.
pub(super) fn compact(text: &str) -> String {
    let structural = |c: char| matches!(c, '{' | '}' | '[' | ']' | ',' | ':');
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped, mut blank) = (false, false, false);
    for c in text.chars() {
        if inside {
            out.push(c);
            (inside, escaped) = (escaped || c != '"', c == '\\' && !escaped);
            continue;
        }
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            blank = true;
            continue;
        }
        if blank && !structural(c) && out.chars().last().is_some_and(|last| !structural(last)) {
            out.push(' ');
        }
        blank = false;
        inside = c == '"';
        out.push(c);
    }
    out
}

/// The object with these members put before its own.
pub(super) fn with(object: &str, members: &[String]) -> String {
    let blank = |c| matches!(c, ' ' | '\t' | '\r' | '\n');
    let start = object.trim_start_matches(blank);
    match start.strip_prefix('{') {
        Some(rest) if !members.is_empty() => {
            let blanks = object.get(..object.len() - start.len()).unwrap_or_default();
            let comma = if rest.trim_start_matches(blank).starts_with('}') { "" } else { "," };
            format!("{blanks}{{{}{comma}{rest}", members.join(","))
        }
        _ => object.to_owned(),
    }
}
