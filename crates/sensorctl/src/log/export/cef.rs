//! A record in the Common Event Format ("Implementing `ArcSight` Common Event Format", version 0): a header of seven fields with
//! `|` between them, then `key=value` with blanks between them.
//!
//! In the header `\` and `|` are escaped with `\`; in a value `\` and `=`, and line ends become `\n` and `\r`.

use crate::log::delivery::Line;
use crate::log::describe::{self, Severity};
use protocol::DeviceId;
use protocol::audit::Event;
use std::fmt::Write;

/// What stands in the header before what happened.
const VENDOR: &str = "sensor.example";
const PRODUCT: &str = "secure-sensor";

/// Writes it.
pub fn write(device: &DeviceId, line: &Line) -> String {
    let record = &line.record;
    let name = describe::name(&record.event);
    let mut out = String::from("CEF:0");
    let kind = record.event.kind().to_string();
    let severity = severity(&record.event).to_string();
    for field in [VENDOR, PRODUCT, env!("CARGO_PKG_VERSION"), &kind, name, &severity] {
        out.push('|');
        header(&mut out, field);
    }
    out.push('|');
    let details = describe::texts(&record.event).into_iter().map(|(name, value)| format!("{name}={value}"));
    let mut fields = vec![
        ("deviceExternalId", device.to_string()),
        ("externalId", record.sequence.to_string()),
        ("cat", name.to_owned()),
        ("cn1Label", "boot".to_owned()),
        ("cn1", record.boot.to_string()),
        ("cs1Label", "clock".to_owned()),
        ("cs1", record.clock.as_str().to_owned()),
        ("cs2Label", "hash".to_owned()),
        ("cs2", base16ct::lower::encode_string(&line.hash)),
        ("cs3Label", "details".to_owned()),
        ("cs3", details.collect::<Vec<_>>().join(" ")),
        ("msg", describe::sentence(&record.event)),
    ];
    if let Some(time) = record.time {
        fields.insert(2, ("rt", time.0.to_string()));
    }
    for (place, (key, value)) in fields.iter().enumerate() {
        if place > 0 {
            out.push(' ');
        }
        out.push_str(key);
        out.push('=');
        self::value(&mut out, value);
    }
    out
}

/// From 0, the least, to 10.
const fn severity(event: &Event) -> u8 {
    match describe::severity(event) {
        Severity::Alert => 9,
        Severity::Error => 7,
        Severity::Warning => 5,
        Severity::Notice => 3,
        Severity::Info => 1,
    }
}

/// A line end has no place in a header: it becomes a blank.
pub(super) fn header(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' | '|' => out.extend(['\\', character]),
            _ if is_line_end(character) => out.push(' '),
            _ => out.push(character),
        }
    }
}

/// Other control characters are written as numbers, so that no program takes them for a line end.
pub(super) fn value(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' | '=' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ if is_line_end(character) => {
                // A text never fails to be written.
                let _ = write!(out, "U+{:04X}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
}

/// What some program might take for the end of a line.
fn is_line_end(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}
