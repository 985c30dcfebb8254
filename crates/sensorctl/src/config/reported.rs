//! What devices run on, for people and for programs. Owns what is shown, never where it comes from. R-CONF, R-FLEET.

use super::fields;
use super::fleet::{Fleet, Heard, Odd, Report};
use super::standing::{SILENT_MS, in_force};
use protocol::config::{ConfigurationState, InForce, Refused};
use protocol::key::Digest;
use protocol::reason::Layer;
use protocol::{DeviceId, EpochMillis, Refusal};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The first bytes of a digest name it among others.
fn short(digest: &Digest) -> String {
    base16ct::lower::encode_string(digest.get(..4).unwrap_or_default())
}

fn change(in_force: Option<InForce>, none: &str) -> String {
    in_force.map_or_else(|| none.to_owned(), |it| format!("{} ({})", it.number, short(&it.digest)))
}

/// Why a change was refused or undone, as a sentence.
pub fn refusal(last: &Refused) -> String {
    let which = match last.layer {
        Some(layer) => format!("{} change {}", layer.as_str(), last.number),
        None if last.why == Refusal::Configuration => {
            "a proven document that names no device and no group".to_owned()
        }
        None => "a document that was not proven".to_owned(),
    };
    match (last.why, last.failure) {
        (Refusal::Undone, Some(failure)) => format!("{which} undone: {failure}"),
        (Refusal::Undone, None) => format!("{which} undone: none of the new time servers answered"),
        (why, _) if last.text.is_empty() => format!("{which} refused: {why}"),
        (_, _) => format!("{which} refused: {}", last.text),
    }
}

fn last_heard(heard: Option<&Heard>, now: EpochMillis) -> String {
    match heard.and_then(|heard| heard.at(now)) {
        Some(at) if now.0.saturating_sub(at.0) <= SILENT_MS => "now".to_owned(),
        Some(at) => at.to_string(),
        None if heard.is_some_and(|heard| heard.report != Report::Nothing) => "no time given".to_owned(),
        None => "never".to_owned(),
    }
}

/// What is remarkable of a device.
fn remarks(id: &DeviceId, heard: Option<&Heard>, fleet: &Fleet) -> Vec<String> {
    let mut remarks = Vec::new();
    let state = match heard.map(|heard| &heard.report) {
        None | Some(Report::Nothing) => return vec!["never said what it runs on".to_owned()],
        Some(Report::Unreadable(why)) => return vec![why.clone()],
        Some(Report::Said(state)) => state,
    };
    if let Some((layer, number)) = state.trial {
        remarks.push(format!("{} change {number} is being tried", layer.as_str()));
    }
    if let Some((layer, number)) = state.unstored {
        remarks.push(format!("{} change {number}: its own flash did not take it", layer.as_str()));
    }
    remarks.extend(state.last.as_ref().map(refusal));
    if state.replayed > 0 {
        remarks.push(format!("{} documents with a number that was already used", state.replayed));
    }
    let group = fleet.groups.get(&state.group_name);
    for (layer, kept) in [(Layer::Group, group), (Layer::Device, fleet.own.get(id))] {
        let Some(kept) = kept else { continue };
        if in_force(state, layer).is_none_or(|it| it.digest != kept.digest) {
            remarks.push(format!("the broker keeps {} change {} for it", layer.as_str(), kept.change.number));
        }
    }
    remarks
}

fn row(id: &DeviceId, heard: Option<&Heard>, now: EpochMillis) -> [String; 6] {
    let state = heard.and_then(Heard::said);
    let unknown = || "?".to_owned();
    let group = heard.and_then(Heard::group).map(|group| group.as_str().to_owned());
    let group = group.map_or_else(unknown, |group| if group.is_empty() { "-".to_owned() } else { group });
    let firmware =
        heard.and_then(|heard| heard.state.as_ref()).map(|state| state.firmware.as_str().to_owned());
    [
        id.to_string(),
        group,
        state.map_or_else(unknown, |state| change(state.group, "-")),
        state.map_or_else(unknown, |state| change(state.device, "factory")),
        last_heard(heard, now),
        firmware.unwrap_or_else(unknown),
    ]
}

/// A table; where `values`, every value below.
pub fn text(ids: &[&DeviceId], fleet: &Fleet, now: EpochMillis, broker: &str, values: bool) -> String {
    let mut rows =
        vec![["device", "group", "group change", "own change", "heard", "firmware"].map(str::to_owned)];
    rows.extend(ids.iter().map(|id| row(id, fleet.heard(id), now)));
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(wide);
    let word = if ids.len() == 1 { "device" } else { "devices" };
    let mut out = format!("configuration of {} {word} at {broker}\n", ids.len());
    for (place, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        // A `String` always has room.
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        let Some(id) = place.checked_sub(1).and_then(|place| ids.get(place)) else { continue };
        let heard = fleet.heard(id);
        for remark in remarks(id, heard, fleet) {
            let _ = writeln!(out, "    {remark}");
        }
        if let (true, Some(state)) = (values, heard.and_then(Heard::said)) {
            out.push_str(&all_values(state));
        }
    }
    out
}

fn all_values(state: &ConfigurationState) -> String {
    let values = fields::values(&state.values);
    let names = protocol::config::FIELDS.iter().map(|field| field.name());
    let width = names.clone().map(str::len).max().unwrap_or_default();
    let line = |name: &'static str| {
        let value = values.get(name).map(|value| fields::with_unit(name, value)).unwrap_or_default();
        format!("    {name:width$}  {value}\n")
    };
    names.map(line).collect()
}

fn in_force_json(in_force: Option<InForce>) -> Value {
    in_force.map_or(
        Value::Null,
        |it| json!({"number": it.number, "digest": base16ct::lower::encode_string(&it.digest)}),
    )
}

/// The same for programs: everything that a device said.
pub fn json(ids: &[&DeviceId], fleet: &Fleet, odd: &[Odd], now: EpochMillis) -> Value {
    let device = |id: &&DeviceId| {
        let heard = fleet.heard(id);
        let at = heard.and_then(|heard| heard.at(now));
        let mut value = json!({
            "id": id.as_str(),
            "group": heard.and_then(Heard::group).map(protocol::Name::as_str),
            "heard": at.map(|at| at.to_string()),
            "silent": at.is_none_or(|at| now.0.saturating_sub(at.0) > SILENT_MS),
            "remarks": remarks(id, heard, fleet),
        });
        if let Some(state) = heard.and_then(|heard| heard.state.as_ref()) {
            value["firmware"] = json!(state.firmware.as_str());
            value["life"] = json!(state.life.as_str());
        }
        if let Some(state) = heard.and_then(Heard::said) {
            value["group_change"] = in_force_json(state.group);
            value["own_change"] = in_force_json(state.device);
            let named = |(layer, number): (Layer, u32)| json!({"layer": layer.as_str(), "number": number});
            value["trial"] = json!(state.trial.map(named));
            value["unstored"] = json!(state.unstored.map(named));
            value["refused"] = json!(state.refused);
            value["replayed"] = json!(state.replayed);
            value["last"] = json!(state.last.as_ref().map(|last| json!({
                "layer": last.layer.map(Layer::as_str),
                "number": last.number,
                "why": last.why.as_str(),
                "text": last.text.as_str(),
                "failure": last.failure.map(protocol::Failure::as_str),
                "sentence": refusal(last),
            })));
            value["values"] = Value::Object(fields::values(&state.values));
        }
        value
    };
    let unreadable: Vec<Value> =
        odd.iter().map(|Odd { topic, why }| json!({"topic": topic, "why": why})).collect();
    json!({
        "at": now.to_string(),
        "devices": ids.iter().map(device).collect::<Vec<_>>(),
        "unreadable": unreadable,
        "of_no_known_group": fleet.of_no_known_group(),
    })
}
