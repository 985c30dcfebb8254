//! A difference for people and for programs.

use super::{Ahead, Alike, Difference, Outlook, To};
use protocol::DeviceId;
use serde_json::{Value, json};
use std::fmt::{self, Write as _};

/// Devices that are named where there are many.
const NAMED: usize = 3;

/// `3 devices (dev-1, dev-2, dev-3)`, or the first ones and how many more.
pub fn crowd<'a>(devices: impl ExactSizeIterator<Item = &'a DeviceId>) -> String {
    let count = devices.len();
    let named: Vec<&str> = devices.take(NAMED).map(DeviceId::as_str).collect();
    let more = count - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let word = if count == 1 { "device" } else { "devices" };
    format!("{count} {word} ({}{more})", named.join(", "))
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.write_str(value),
            Self::Factory => f.write_str("what the factory gave (not known here)"),
            Self::Unknown => f.write_str("what its group's change says (not known here)"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for alike in &self.alike {
            alike.fmt(f)?;
        }
        if self.tried() > 0 {
            f.write_str(
                "! is tried first: a device that does not reach its service with it goes back to what is in force now.\n",
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Alike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", crowd(self.devices.iter()))?;
        match &self.ahead {
            Ahead::NeverHeard => writeln!(f, " never heard of; what will change there is not known")?,
            Ahead::Unreadable(why) => {
                writeln!(f, " what will change there is not known: {why}")?;
            }
            Ahead::Known(outlook) => outlook.fmt(f)?,
        }
        if !self.silent.is_empty() {
            let oldest = self.silent.iter().min_by_key(|(_, at)| *at);
            let since = match oldest {
                Some((id, Some(at))) => format!("{id} since {at}"),
                Some((id, None)) => format!("{id} without a time"),
                None => String::new(),
            };
            writeln!(f, "    not heard of late: {} of these, longest {since}", self.silent.len())?;
        }
        Ok(())
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() && self.stays.is_empty() {
            return writeln!(f, " nothing changes");
        }
        f.write_str("\n")?;
        let fields = self.rows.iter().map(|row| row.field).chain(self.stays.iter().map(|(field, _)| *field));
        let width = fields.map(str::len).max().unwrap_or_default();
        for row in &self.rows {
            let mark = if row.is_tried() { '!' } else { ' ' };
            writeln!(f, "  {mark} {:width$}  {} -> {}", row.field, row.from, row.to)?;
        }
        for (field, value) in &self.stays {
            writeln!(f, "    {field:width$}  stays {value}: the device's own change names it")?;
        }
        if self.former_unknown {
            f.write_str(
                "    what the former change names and this one does not goes back to what is below it (the former change \
                 is not known here)\n",
            )?;
        }
        if self.own_unknown {
            f.write_str("    what the devices' own changes name stays as it is (they are not known here)\n")?;
        }
        match &self.refused {
            Some(sentence) => writeln!(f, "    REFUSED by these devices: {sentence}"),
            None => Ok(()),
        }
    }
}

impl Difference {
    /// For programs: every device by name.
    pub fn json(&self) -> Value {
        let alike = |alike: &Alike| {
            let ids: Vec<&str> = alike.devices.iter().map(DeviceId::as_str).collect();
            let silent: Vec<Value> = alike
                .silent
                .iter()
                .map(|(id, at)| json!({"id": id.as_str(), "since": at.map(|at| at.to_string())}))
                .collect();
            let mut value = json!({"devices": ids, "not_heard": silent});
            match &alike.ahead {
                Ahead::NeverHeard => value["unknown"] = json!("never heard of"),
                Ahead::Unreadable(why) => value["unknown"] = json!(why),
                Ahead::Known(outlook) => {
                    let row = |row: &super::Row| {
                        let to = match &row.to {
                            To::Value(value) => json!(value),
                            To::Factory | To::Unknown => Value::Null,
                        };
                        json!({"field": row.field, "from": row.from, "to": to, "tried_first": row.is_tried(),
                               "to_factory": row.to == To::Factory})
                    };
                    let stays = |(field, value): &(&str, String)| json!({"field": field, "value": value});
                    value["changes"] = outlook.rows.iter().map(row).collect();
                    value["stays"] = outlook.stays.iter().map(stays).collect();
                    value["refused"] = json!(outlook.refused);
                    value["former_unknown"] = json!(outlook.former_unknown);
                    value["own_unknown"] = json!(outlook.own_unknown);
                }
            }
            value
        };
        json!({"devices": self.devices, "alike": self.alike.iter().map(alike).collect::<Vec<_>>()})
    }

    /// The whole for people, with a line above it.
    pub fn text(&self, what: &str, broker: &str) -> String {
        let word = if self.devices == 1 { "device" } else { "devices" };
        let mut text = format!("{what}: {} {word} at {broker}\n", self.devices);
        // A `String` always has room.
        let _ = write!(text, "{self}");
        text
    }
}
