//! A run of provisioning as a person or a program follows it: bars on a terminal, lines elsewhere, or JSON; and a table at the
//! end. Owns the two output streams while it lasts.

use super::line::Target;
use super::{Done, Failed, News, Step};
use crate::output::{Out, note};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use time::format_description::well_known::Rfc3339;

/// How a run is shown.
pub struct Show {
    json: bool,
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    lines: Vec<String>,
}

fn text(step: &Step) -> String {
    match step {
        Step::Identified(hardware) => {
            let serial = if hardware.serial.is_empty() { "none" } else { &hardware.serial };
            format!("{} with firmware {}, serial number {serial}", hardware.board, hardware.firmware)
        }
        Step::Named(id) => format!("becomes {id}"),
        Step::KeysMade => "keys are made and certificates asked for".to_owned(),
        Step::Certified => "certificate is issued, everything is signed".to_owned(),
        Step::Sent { bytes, of } => format!("{bytes} of {of} bytes sent"),
        Step::Committing => "told to commit".to_owned(),
        Step::Again(why) => format!("once more: {why}"),
    }
}

fn end(end: &Result<Done, Failed>) -> String {
    match end {
        Ok(Done::Provisioned(_)) => "provisioned".to_owned(),
        Ok(Done::Finished(_)) => "provisioned by an earlier run; registered now".to_owned(),
        Ok(Done::Renewed { identity, ended }) => format!(
            "its certificate had ended on {}; it has a new one until {} and tries it",
            ended.date(),
            identity.until.date()
        ),
        Ok(Done::Already(_)) => "provisioned and registered before; nothing was done".to_owned(),
        Err(Failed { error, unfinished: None }) => format!("failed: {error}"),
        Err(Failed { error, unfinished: Some(id) }) => {
            format!("failed: {error}; it may have become {id} all the same: connect it and run this again")
        }
    }
}

fn step_json(step: &Step) -> Value {
    match step {
        Step::Identified(hardware) => json!({
            "event": "identified", "firmware": hardware.firmware, "board": hardware.board, "serial": hardware.serial,
        }),
        Step::Named(id) => json!({"event": "named", "id": id.as_str()}),
        Step::KeysMade => json!({"event": "keys_made"}),
        Step::Certified => json!({"event": "certified"}),
        Step::Sent { bytes, of } => json!({"event": "sent", "bytes": bytes, "of": of}),
        Step::Committing => json!({"event": "committing"}),
        Step::Again(why) => json!({"event": "again", "why": why}),
    }
}

fn end_json(line: &str, end: &Result<Done, Failed>) -> Value {
    match end {
        Ok(done) => {
            let outcome = match done {
                Done::Provisioned(_) => "provisioned",
                Done::Finished(_) => "finished",
                Done::Already(_) => "already",
                Done::Renewed { .. } => "renewed",
            };
            let mut value = json!({"line": line, "id": done.id().as_str(), "outcome": outcome});
            if let (Some(identity), Some(object)) = (done.identity(), value.as_object_mut()) {
                let hex = |bytes: &[u8]| Value::from(base16ct::lower::encode_string(bytes));
                object.insert("key_id".to_owned(), hex(&identity.key.id().0));
                object.insert("identity".to_owned(), hex(identity.key.as_bytes()));
                object.insert("certificate".to_owned(), hex(&identity.certificate));
                object.insert("until".to_owned(), identity.until.format(&Rfc3339).unwrap_or_default().into());
            }
            value
        }
        Err(failed) => json!({
            "line": line, "id": failed.unfinished.as_ref().map(protocol::DeviceId::as_str), "outcome": "failed",
            "why": failed.error.to_string(),
        }),
    }
}

impl Show {
    /// Begins to show a run on `targets`.
    pub fn new(targets: &[Target], json: bool) -> Self {
        let lines: Vec<String> = targets.iter().map(Target::to_string).collect();
        let bars = (!json && io::stderr().is_terminal()).then(|| {
            let all = MultiProgress::new();
            let width = lines.iter().map(String::len).max().unwrap_or(0);
            let style = ProgressStyle::with_template("{prefix} {bar:20} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = |line: &String| {
                let bar = all.add(ProgressBar::new(100).with_style(style.clone()));
                bar.set_prefix(format!("{line:<width$}"));
                bar.set_message("is asked who it is");
                bar
            };
            let bars = lines.iter().map(bar).collect();
            (all, bars)
        });
        Self { json, bars, lines }
    }

    /// Shows that something happened on line `number`.
    pub fn tell(&self, number: usize, news: &News<'_>) -> io::Result<()> {
        let line = self.lines.get(number).map_or("", String::as_str);
        if self.json {
            let News::Step(step) = news else { return Ok(()) };
            let mut value = step_json(step);
            if let Some(object) = value.as_object_mut() {
                object.insert("line".to_owned(), line.into());
            }
            return writeln!(Out, "{value}");
        }
        let bar = self.bars.as_ref().and_then(|(_, bars)| bars.get(number));
        match (bar, news) {
            (Some(bar), News::Step(step)) => {
                let position = match step {
                    Step::Identified(_) => 5,
                    Step::Named(_) => 10,
                    Step::KeysMade => 30,
                    Step::Certified => 35,
                    Step::Sent { bytes, of } => 35 + 55 * (*bytes as u64) / (*of as u64).max(1),
                    Step::Committing => 92,
                    Step::Again(_) => 0,
                };
                bar.set_position(position);
                bar.set_message(text(step));
            }
            (Some(bar), News::End(ended)) => {
                bar.set_position(if ended.is_ok() { 100 } else { bar.position() });
                bar.finish_with_message(end(ended));
            }
            // One line for each part would drown the rest.
            (None, News::Step(Step::Sent { bytes, of })) if bytes < of => {}
            (None, News::Step(step)) => note!("{line}: {}", text(step)),
            (None, News::End(ended)) => note!("{line}: {}", end(ended)),
        }
        Ok(())
    }

    /// Shows how all lines ended.
    pub fn finish(&self, ended: &[Result<Done, Failed>]) -> io::Result<()> {
        let done = ended.iter().filter(|end| end.is_ok()).count();
        let mut out = Out;
        if self.json {
            let devices: Vec<Value> =
                self.lines.iter().zip(ended).map(|(line, end)| end_json(line, end)).collect();
            let summary = json!({
                "event": "summary", "done": done, "failed": ended.len() - done, "devices": devices,
            });
            return writeln!(out, "{summary}");
        }
        let width = self.lines.iter().map(String::len).max().unwrap_or(0).max(4);
        writeln!(out, "{:<width$}  {:<32}  {:<16}  outcome", "line", "id", "identity key")?;
        for (line, ended) in self.lines.iter().zip(ended) {
            let (id, key) = match ended {
                Ok(done) => {
                    let key =
                        done.identity().map_or("-".to_owned(), |identity| identity.key.id().to_string());
                    (done.id().to_string(), key)
                }
                Err(_) => ("-".to_owned(), "-".to_owned()),
            };
            writeln!(out, "{line:<width$}  {id:<32}  {key:<16}  {}", end(ended))?;
        }
        writeln!(out, "{done} of {} done", ended.len())
    }
}
