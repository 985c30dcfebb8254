//! What the table of the schema says of a field.

use core::fmt;

/// A bounded number of the configuration: its name, unit, range, default and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The field's name in the document.
    pub field: &'static str,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// Smallest value.
    pub min: i64,
    /// Largest value.
    pub max: i64,
    /// Value of a fresh configuration.
    pub default: i64,
    /// The first version of the schema that has it.
    pub since: u8,
    /// Why these.
    pub reason: &'static str,
}

/// A field that is text, or a list of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// The field's name in the document.
    pub field: &'static str,
    /// What it may be, for people.
    pub allowed: &'static str,
    /// Value of a fresh configuration; empty where there is none and one has to be given.
    pub default: &'static str,
    /// The first version of the schema that has it.
    pub since: u8,
    /// Why these.
    pub reason: &'static str,
}

/// A field of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Bound(&'static Bound),
    /// Anything else.
    Text(&'static Text),
}

impl Field {
    /// Its name in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bound(bound) => bound.field,
            Self::Text(text) => text.field,
        }
    }

    /// The first version of the schema that has it.
    pub const fn since(self) -> u8 {
        match self {
            Self::Bound(bound) => bound.since,
            Self::Text(text) => text.since,
        }
    }
}

impl fmt::Display for Field {
    /// A row of a table in Markdown: name, unit, range, default, version, reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound(Bound { field, unit, min, max, default, since, reason }) => {
                write!(f, "| `{field}` | {unit} | {min} to {max} | {default} | {since} | {reason} |")
            }
            Self::Text(Text { field, allowed, default, since, reason }) => {
                let default = if default.is_empty() { "none: the factory gives it" } else { default };
                write!(f, "| `{field}` |  | {allowed} | {default} | {since} | {reason} |")
            }
        }
    }
}
