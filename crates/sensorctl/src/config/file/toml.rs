//! Change files in TOML: fields with their places, and edits that leave everything else as people wrote it.

use super::{FileError, Row};
use serde_json::Value as Json;
use std::path::Path;
use toml_edit::{Array, Document, DocumentMut, Item, TomlError, Value};

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn syntax(path: &Path, text: &str, error: &TomlError) -> FileError {
    let line = line(text, error.span().map_or(0, |span| span.start));
    FileError::Syntax(path.to_owned(), line, error.message().trim().replace('\n', ": "))
}

/// The fields of the file.
pub(super) fn rows(path: &Path, text: &str) -> Result<Vec<Row>, FileError> {
    let document = Document::parse(text).map_err(|error| syntax(path, text, &error))?;
    let row = |(name, item): (&str, &Item)| {
        let key = document.as_table().key(name).and_then(toml_edit::Key::span);
        let at = key.or_else(|| item.span()).map_or(0, |span| span.start);
        // As it stands between the quotes of JSON.
        let quoted = Json::from(name).to_string();
        let name = quoted[1..quoted.len() - 1].to_owned();
        Row { name, value: json(item), line: line(text, at) }
    };
    Ok(document.iter().map(row).collect())
}

/// A value as JSON. What JSON or the schema has no type for becomes one that fits no field.
fn json(item: &Item) -> String {
    match item {
        Item::Value(value) => value_json(value),
        _ => "{}".to_owned(),
    }
}

fn value_json(value: &Value) -> String {
    match value {
        Value::String(text) => Json::from(text.value().as_str()).to_string(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) if number.value().is_finite() => format!("{:?}", number.value()),
        Value::Boolean(flag) => flag.value().to_string(),
        Value::Array(array) => {
            format!("[{}]", array.iter().map(value_json).collect::<Vec<_>>().join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::InlineTable(_) => "{}".to_owned(),
    }
}

/// The file with the field set to `value` (JSON), or taken out. Comments stay, those of a field that is taken out too.
pub(super) fn put(path: &Path, text: &str, name: &str, value: Option<&str>) -> Result<String, FileError> {
    let mut document: DocumentMut = text.parse().map_err(|error: TomlError| syntax(path, text, &error))?;
    match value {
        Some(value) => {
            let mut value = toml(&serde_json::from_str(value).unwrap_or(Json::from(value)));
            if let Some(before) = document.get(name).and_then(Item::as_value) {
                *value.decor_mut() = before.decor().clone();
                document[name] = Item::Value(value);
            } else {
                // Comments at the end of the file stay before what is added.
                let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
                document.set_trailing("");
                document[name] = Item::Value(value);
                if let Some(mut key) = document.key_mut(name).filter(|_| !trailing.is_empty()) {
                    key.leaf_decor_mut().set_prefix(trailing);
                }
            }
        }
        None => remove(&mut document, name),
    }
    Ok(document.to_string())
}

fn remove(document: &mut DocumentMut, name: &str) {
    let names: Vec<String> = document.iter().map(|(name, _)| name.to_owned()).collect();
    let Some(place) = names.iter().position(|other| other == name) else { return };
    let prefix = |document: &DocumentMut, name: &str| {
        let key = document.key(name)?;
        Some(key.leaf_decor().prefix()?.as_str()?.to_owned())
    };
    let comments = prefix(document, name).unwrap_or_default();
    document.remove(name);
    if !comments.contains('#') {
        return;
    }
    if let Some(next) = names.get(place + 1) {
        let own = prefix(document, next).unwrap_or_default();
        if let Some(mut key) = document.key_mut(next) {
            key.leaf_decor_mut().set_prefix(comments + &own);
        }
    } else {
        let trailing = comments + document.trailing().as_str().unwrap_or_default();
        document.set_trailing(trailing);
    }
}

/// JSON of a command line as TOML; what is no text, number or list of texts stays text, and is refused by the schema.
fn toml(json: &Json) -> Value {
    match json {
        Json::Number(number) if number.is_i64() => number.as_i64().unwrap_or_default().into(),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(toml).collect::<Array>()),
        other => other.to_string().into(),
    }
}
