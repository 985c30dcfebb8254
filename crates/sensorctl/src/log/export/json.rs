//! A record as a JSON object on one line. It carries the record's own bytes and its hash too, so that what was exported can
//! be bound together again anywhere.

use crate::log::delivery::Line;
use crate::log::describe;
use protocol::DeviceId;
use protocol::audit::{HASH_BYTES, RECORD_BYTES_MAX, Record};
use serde_json::{Map, Value, json};

/// Writes it.
pub fn write(device: &DeviceId, line: &Line) -> String {
    value(device, line).to_string()
}

/// It as a JSON object.
pub fn value(device: &DeviceId, line: &Line) -> Value {
    let record = &line.record;
    let details: Map<String, Value> =
        describe::details(&record.event).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    json!({
        "id": device.as_str(),
        "sequence": record.sequence,
        "boot": record.boot,
        "time": record.time.map(|time| time.to_string()),
        "clock": record.clock.as_str(),
        "event": describe::name(&record.event),
        "severity": describe::severity(&record.event).as_str(),
        "details": details,
        "text": describe::sentence(&record.event),
        "record": base16ct::lower::encode_string(&bytes(record)),
        "hash": base16ct::lower::encode_string(&line.hash),
    })
}

/// Reads what was written; `None` where what it says is not what the record in it says.
pub fn read(text: &str) -> Option<(DeviceId, Line)> {
    let object: Value = serde_json::from_str(text).ok()?;
    let field = |name: &str| object.get(name).and_then(Value::as_str);
    let device = DeviceId::new(field("id")?).ok()?;
    let record = Record::decode(&base16ct::lower::decode_vec(field("record")?).ok()?)?;
    let hash: [u8; HASH_BYTES] = base16ct::lower::decode_vec(field("hash")?).ok()?.try_into().ok()?;
    let line = Line { record, hash };
    (object == value(&device, &line)).then_some((device, line))
}

/// A record's bytes: it has one form.
fn bytes(record: &Record) -> Vec<u8> {
    let mut out = [0; RECORD_BYTES_MAX];
    let len = record.encode(&mut out).unwrap_or_default();
    out.get(..len).unwrap_or_default().to_vec()
}
