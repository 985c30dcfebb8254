//! What a record means: for people as a sentence, for programs as names and values. One table; owns no format. R-LOG.

use protocol::audit::{Event, Record};
use protocol::command::ActionName;
use protocol::document::{Action, End};
use protocol::{KeyId, UpdateFault};
use serde_json::Value;

/// How grave a record is, as syslog has it (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// Somebody should look now.
    Alert = 1,
    /// Something failed.
    Error = 3,
    /// Somebody tried what is not allowed, or something was taken back.
    Warning = 4,
    /// Something that changes what the device is or trusts.
    Notice = 5,
    /// What happens on any day.
    Info = 6,
}

impl Severity {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
        }
    }
}

/// How grave an event is.
pub const fn severity(event: &Event) -> Severity {
    match event {
        Event::Lost { .. } => Severity::Alert,
        Event::StorageFailed | Event::EntropyFailed => Severity::Error,
        Event::IdentityRefused
        | Event::IdentityFellBack { .. }
        | Event::RootsUndone { .. }
        | Event::ConfigurationUndone { .. }
        | Event::DocumentRefused { .. }
        | Event::PeerRefused { .. }
        | Event::TimeRefused
        | Event::UpdateRefused { .. }
        | Event::UpdateUndone { .. }
        | Event::UpdateReverted { .. }
        | Event::Repeated { .. }
        | Event::CertificateEnded { .. }
        | Event::CommandRefused { .. } => Severity::Warning,
        Event::Provisioned { .. }
        | Event::Retired { .. }
        | Event::IdentityReplaced { .. }
        | Event::CertifiedOnLine { .. }
        | Event::IdentityWiped
        | Event::RootsReplaced { .. }
        | Event::AuthorityReplaced { .. }
        | Event::Configured { .. }
        | Event::Commanded { .. }
        | Event::UpdateInstalling { .. }
        | Event::UpdateConfirmed { .. } => Severity::Notice,
        Event::Boot { .. }
        | Event::KeysMade
        | Event::ClockSet { .. }
        | Event::UpdateNoticed { .. }
        | Event::UpdateWithdrawn
        | Event::UpdateDownloaded { .. }
        | Event::Seal { .. } => Severity::Info,
    }
}

/// What an event is called.
pub fn name(event: &Event) -> &'static str {
    Event::name(event.kind()).unwrap_or("unknown")
}

const fn end(end: End) -> &'static str {
    match end {
        End::Blank => "blank",
        End::Destroyed => "destroyed",
    }
}

fn hex(key: &KeyId) -> Value {
    base16ct::lower::encode_string(&key.0).into()
}

/// The details of an event, each with its name.
pub fn details(event: &Event) -> Vec<(&'static str, Value)> {
    let fault = |why: &UpdateFault| vec![("why", why.as_str().into())];
    match event {
        Event::Boot { reset, firmware } => {
            vec![("reset", reset.as_str().into()), ("firmware", firmware.as_str().into())]
        }
        Event::Provisioned { identity }
        | Event::IdentityReplaced { identity }
        | Event::CertifiedOnLine { identity }
        | Event::IdentityFellBack { identity } => {
            vec![("identity", hex(identity))]
        }
        Event::CertificateEnded { until } => vec![("until", until.to_string().into())],
        Event::Retired { end: how } => vec![("end", end(*how).into())],
        Event::RootsReplaced { number } | Event::RootsUndone { number } => vec![("number", (*number).into())],
        Event::AuthorityReplaced { power, key } => vec![("power", power.as_str().into()), ("key", hex(key))],
        Event::Configured { layer, number } | Event::ConfigurationUndone { layer, number } => {
            vec![("layer", layer.as_str().into()), ("number", (*number).into())]
        }
        Event::Commanded { number, action } => {
            let mut details =
                vec![("number", (*number).into()), ("action", ActionName::from(action).as_str().into())];
            match action {
                Action::Burst { samples, period_ms } => {
                    details.extend([("samples", (*samples).into()), ("period_ms", (*period_ms).into())]);
                }
                Action::SendLog { from } => details.push(("from", (*from).into())),
                Action::Report | Action::Reboot | Action::Rotate => {}
            }
            details
        }
        Event::DocumentRefused { channel, why } => {
            let channel = channel.map_or(Value::Null, |channel| channel.as_str().into());
            vec![("channel", channel), ("why", why.as_str().into())]
        }
        Event::PeerRefused { why } => vec![("why", why.as_str().into())],
        Event::CommandRefused { why } => vec![("why", why.as_str().into())],
        Event::ClockSet { by_ms } => vec![("by_ms", by_ms.map_or(Value::Null, Value::from))],
        Event::UpdateNoticed { version, sequence } => {
            vec![("version", version.to_string().into()), ("manifest", (*sequence).into())]
        }
        Event::UpdateRefused { why } | Event::UpdateUndone { why } | Event::UpdateReverted { why } => {
            fault(why)
        }
        Event::UpdateDownloaded { bytes } => vec![("bytes", (*bytes).into())],
        Event::UpdateInstalling { version } | Event::UpdateConfirmed { version } => {
            vec![("version", version.to_string().into())]
        }
        Event::Repeated { kind, count } => {
            let kind = Event::name(*kind).map_or_else(|| (*kind).into(), Value::from);
            vec![("event", kind), ("count", (*count).into())]
        }
        Event::Lost { first, count } => vec![("first", (*first).into()), ("count", (*count).into())],
        Event::Seal { identity, .. } => vec![("identity", hex(identity))],
        Event::KeysMade
        | Event::IdentityRefused
        | Event::IdentityWiped
        | Event::TimeRefused
        | Event::UpdateWithdrawn
        | Event::StorageFailed
        | Event::EntropyFailed => Vec::new(),
    }
}

/// The same as texts, for forms that know nothing else: without those that are not there.
pub fn texts(event: &Event) -> Vec<(&'static str, String)> {
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    details(event).into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
}

/// An event as a sentence.
pub fn sentence(event: &Event) -> String {
    match event {
        Event::Boot { reset, firmware } => format!("started with firmware {firmware}: {reset}"),
        Event::Provisioned { identity } => format!("the factory gave it the identity {identity}"),
        Event::Retired { end: how } => format!("its life ends: {}", end(*how)),
        Event::KeysMade => "made the keys of a new identity".to_owned(),
        Event::IdentityReplaced { identity } => format!("the new identity {identity} is in force"),
        Event::IdentityRefused => "the service refused the new identity, which is wiped".to_owned(),
        Event::IdentityFellBack { identity } => {
            format!("the service refused the identity in force; the former one {identity} is in force again")
        }
        Event::CertificateEnded { until } => format!("its certificate ended on {until}"),
        Event::CertifiedOnLine { identity } => {
            format!("got a certificate for the new identity {identity} over the factory's line")
        }
        Event::IdentityWiped => "the former identity is wiped".to_owned(),
        Event::RootsReplaced { number } => format!("list of roots {number} is in force"),
        Event::RootsUndone { number } => {
            format!("the service was not reached with list of roots {number}; the former one stays")
        }
        Event::AuthorityReplaced { power, key } => format!("the key of the power {power} is now {key}"),
        Event::Configured { layer, number } => {
            format!("configuration {number} of the {} is in force", layer.as_str())
        }
        Event::ConfigurationUndone { layer, number } => {
            format!("configuration {number} of the {} was tried and taken back", layer.as_str())
        }
        Event::Commanded { number, action } => {
            format!("begins command {number}: {}", ActionName::from(action))
        }
        Event::DocumentRefused { channel: Some(channel), why } => {
            format!("refused a document on {}: {why}", channel.as_str())
        }
        Event::DocumentRefused { channel: None, why } => {
            format!("refused a document on an unknown topic: {why}")
        }
        Event::PeerRefused { why } => format!("no connection to the service: {why}"),
        Event::CommandRefused { why } => format!("refused a command: {why}"),
        Event::ClockSet { by_ms: None } => "set its clock for the first time".to_owned(),
        Event::ClockSet { by_ms: Some(by) } => format!("its clock stepped by {by} ms"),
        Event::TimeRefused => "refused an answer of a time server".to_owned(),
        Event::UpdateNoticed { version, sequence } => {
            format!("firmware {version} is announced (manifest {sequence})")
        }
        Event::UpdateRefused { why } => format!("refused firmware: {why}"),
        Event::UpdateWithdrawn => "the announced firmware is not wanted any more".to_owned(),
        Event::UpdateDownloaded { bytes } => format!("firmware is complete, {bytes} bytes travelled"),
        Event::UpdateInstalling { version } => format!("restarts into firmware {version}"),
        Event::UpdateConfirmed { version } => format!("firmware {version} stays"),
        Event::UpdateUndone { why } => format!("the firmware goes: {why}"),
        Event::UpdateReverted { why } => format!("the former firmware runs again: {why}"),
        Event::StorageFailed => "its storage failed".to_owned(),
        Event::EntropyFailed => "its random generator failed".to_owned(),
        Event::Repeated { kind, count } => {
            let kind = Event::name(*kind).map_or_else(|| format!("events of kind {kind}"), str::to_owned);
            format!("{count} more times: {kind}")
        }
        Event::Lost { first, count } => {
            let last = first.saturating_add(count.saturating_sub(1));
            format!("LOST {count} records, from {first} to {last}, before they were acknowledged")
        }
        Event::Seal { identity, .. } => format!("sealed everything before with {identity}"),
    }
}

/// A record as a line for people, without whose it is.
pub fn text(record: &Record) -> String {
    let time = record.time.map_or_else(|| format!("{:<24}", "time unknown"), |time| time.to_string());
    let Record { sequence, boot, event, .. } = record;
    format!(
        "{time} #{sequence} boot {boot} {:<7} {}: {}",
        severity(event).as_str(),
        name(event),
        sentence(event)
    )
}
