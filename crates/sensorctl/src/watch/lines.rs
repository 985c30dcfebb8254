//! Events as lines: for people, and as JSON for machines. Owns the wording.

use super::{Event, Link, News, QUANTITIES};
use crate::ledger::Receipt;
use protocol::{Batch, DeviceId, EpochMillis, Hello, Measurement, SensorFault, Shown, State};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A line for people.
pub fn text(event: &Event) -> String {
    let at = event.at.to_string();
    let time = at.get(11..23).unwrap_or(&at);
    format!("{time} {}", body(&event.news))
}

fn body(news: &News) -> String {
    match news {
        News::Hello(hello) => format!(
            "{} connected in {} ms: firmware {} on {}, boot {} ({}), connection {}{}",
            hello.id,
            hello.handshake_ms,
            hello.firmware,
            hello.board,
            hello.boot,
            hello.reset,
            hello.connection,
            match hello.previous {
                None if hello.boot > 1 => "; the boot before ended without a word",
                _ => "",
            }
        ),
        News::State(device, state) => {
            let failure =
                state.last_failure.map(|failure| format!(", last failure: {failure}")).unwrap_or_default();
            format!(
                "{device} state: clock {} (±{} ms), {} of {} samples waiting, {} lost, {} missed, {} faults, up {} s{failure}",
                state.clock.as_str(),
                state.clock_error_ms,
                state.waiting,
                state.capacity,
                state.lost,
                state.missed,
                state.sensor_faults,
                state.uptime_s
            )
        }
        News::Batch(device, batch, receipt) => batch_text(device, batch, *receipt),
        News::Refused(topic, reason) => format!("refused a message on {}: {}", Shown(topic), Shown(reason)),
        News::Link(Link::Connecting) => "connecting".to_owned(),
        News::Link(Link::Up { missed: false, shared: false }) => "connected to the broker".to_owned(),
        News::Link(Link::Up { missed: false, shared: true }) => {
            "connected to the broker, which had a session under this name already: another program uses this certificate, or a \
             watch was killed. Each program needs a certificate of its own: `sensorctl ca operator`, then --operator"
                .to_owned()
        }
        News::Link(Link::Up { missed: true, .. }) => {
            "connected to the broker again; it has kept nothing, or gave it to somebody else: messages may have passed unseen"
                .to_owned()
        }
        News::Link(Link::Down { reason, retry_ms }) => {
            format!("no connection to the broker ({}); next attempt in {retry_ms} ms", Shown(reason))
        }
    }
}

fn batch_text(device: &DeviceId, batch: &Batch, receipt: Receipt) -> String {
    let last = batch.seq as usize + batch.samples.len() - 1;
    let value = batch.samples.last().map(|sample| match sample.reading {
        Ok(measurement) => values(measurement),
        Err(fault) => format!("no value: {fault}"),
    });
    let faults = batch.samples.iter().filter(|sample| sample.reading.is_err()).count() as u64;
    let mut line =
        format!("{device} boot {} samples {}…{last}: {}", batch.boot, batch.seq, value.unwrap_or_default());
    for (count, text) in [
        (receipt.duplicates, "again"),
        (faults, "faults"),
        (receipt.lost, "LOST"),
        (receipt.unexplained, "MISSING, UNEXPLAINED"),
        (receipt.out_of_order, "OUT OF ORDER"),
    ] {
        if count > 0 {
            // Writing into a String cannot fail.
            let _ = write!(line, ", {count} {text}");
        }
    }
    line
}

/// The three values with their units.
pub(super) fn values(measurement: Measurement) -> String {
    let parts = QUANTITIES.map(|quantity| format!("{:.2} {}", (quantity.value)(measurement), quantity.unit));
    parts.join("  ")
}

/// A JSON object for machines.
pub fn json(event: &Event) -> Value {
    let mut object = match &event.news {
        News::Hello(hello) => hello_json(hello),
        News::State(device, state) => state_json(device, state),
        News::Batch(device, batch, receipt) => batch_json(device, batch, *receipt),
        News::Refused(topic, reason) => json!({ "type": "refused", "topic": topic, "reason": reason }),
        News::Link(Link::Connecting) => json!({ "type": "link", "state": "connecting" }),
        News::Link(Link::Up { missed, shared }) => {
            json!({ "type": "link", "state": "up", "missed": missed, "shared": shared })
        }
        News::Link(Link::Down { reason, retry_ms }) => {
            json!({ "type": "link", "state": "down", "reason": reason, "retry_ms": retry_ms })
        }
    };
    if let Some(object) = object.as_object_mut() {
        object.insert("at".to_owned(), Value::from(event.at.to_string()));
    }
    object
}

fn hello_json(hello: &Hello) -> Value {
    json!({
        "type": "hello",
        "device": hello.id.as_str(),
        "firmware": hello.firmware.as_str(),
        "board": hello.board.as_str(),
        "boot": hello.boot,
        "reset": hello.reset.as_str(),
        "previous": hello.previous.map(|previous| json!({ "boot": previous.boot, "next_seq": previous.next_seq })),
        "connection": hello.connection,
        "handshake_ms": hello.handshake_ms,
    })
}

fn state_json(device: &DeviceId, state: &State) -> Value {
    json!({
        "type": "state",
        "device": device.as_str(),
        "firmware": state.firmware.as_str(),
        "boot": state.boot,
        "time": time(state.t),
        "uptime_s": state.uptime_s,
        "config": state.config,
        "clock": state.clock.as_str(),
        "clock_error_ms": state.clock_error_ms,
        "clock_steps": state.clock_steps,
        "time_refused": state.time_refused,
        "waiting": state.waiting,
        "capacity": state.capacity,
        "lost": state.lost,
        "missed": state.missed,
        "sensor_faults": state.sensor_faults,
        "connections": state.connections,
        "failures": state.failures,
        "last_failure": state.last_failure.map(protocol::Failure::as_str),
        "refused": state.refused,
        "storage_errors": state.storage_errors,
    })
}

fn batch_json(device: &DeviceId, batch: &Batch, receipt: Receipt) -> Value {
    json!({
        "type": "batch",
        "device": device.as_str(),
        "boot": batch.boot,
        "seq": batch.seq,
        "lost_in_boot": batch.lost,
        "new": receipt.new,
        "duplicates": receipt.duplicates,
        "lost": receipt.lost,
        "unexplained": receipt.unexplained,
        "out_of_order": receipt.out_of_order,
        "samples": batch.iter().map(sample_json).collect::<Vec<_>>(),
    })
}

fn sample_json((seq, at, reading): (u32, Option<EpochMillis>, Result<Measurement, SensorFault>)) -> Value {
    match reading {
        Ok(measurement) => json!({
            "seq": seq,
            "time": time(at),
            "temperature_c": f64::from(measurement.temperature_centi_c()) / 100.0,
            "humidity_percent": f64::from(measurement.humidity_centi_percent()) / 100.0,
            "pressure_hpa": f64::from(measurement.pressure_pa()) / 100.0,
        }),
        Err(fault) => json!({ "seq": seq, "time": time(at), "fault": fault.as_str() }),
    }
}

fn time(at: Option<EpochMillis>) -> Option<String> {
    at.map(|at| at.to_string())
}
