//! A record as a syslog message (RFC 5424) with structured data: `[record@32473 …][event@32473 …]`. 32473 is the number that
//! RFC 5612 keeps for examples: a company puts its own there.

use crate::log::delivery::Line;
use crate::log::describe;
use protocol::DeviceId;
use std::fmt::Write;

/// "Log audit" (section 6.2.1).
const FACILITY: u8 = 13;
/// The program's name (section 6.2.5).
const APPLICATION: &str = "sensor";
/// Whose names the structured data has (section 7.2.2).
const ENTERPRISE: u32 = 32_473;

/// Writes it.
pub fn write(device: &DeviceId, line: &Line) -> String {
    let record = &line.record;
    let name = describe::name(&record.event);
    let priority = FACILITY * 8 + describe::severity(&record.event) as u8;
    let time = record.time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let mut out = format!("<{priority}>1 {time} {device} {APPLICATION} {} {name} ", record.boot);
    let mut fields = vec![("sequence", record.sequence.to_string()), ("boot", record.boot.to_string())];
    fields.push(("clock", record.clock.as_str().to_owned()));
    fields.push(("hash", base16ct::lower::encode_string(&line.hash)));
    element(&mut out, "record", &fields);
    let details = describe::texts(&record.event);
    if !details.is_empty() {
        element(&mut out, "event", &details);
    }
    out.push(' ');
    message(&mut out, &describe::sentence(&record.event));
    out
}

fn element(out: &mut String, id: &str, fields: &[(&'static str, String)]) {
    // A text never fails to be written.
    let _ = write!(out, "[{id}@{ENTERPRISE}");
    for (name, text) in fields {
        let _ = write!(out, " {name}=\"");
        value(out, text);
        out.push('"');
    }
    out.push(']');
}

/// `"`, `\` and `]` are escaped with `\` (section 6.3.3).
pub(super) fn value(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' | '\\' | ']' => out.extend(['\\', character]),
            _ => plain(out, character),
        }
    }
}

fn message(out: &mut String, text: &str) {
    for character in text.chars() {
        plain(out, character);
    }
}

/// Control characters are written as numbers: messages are told apart by line ends.
fn plain(out: &mut String, character: char) {
    if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
        let _ = write!(out, "U+{:04X}", u32::from(character));
    } else {
        out.push(character);
    }
}
