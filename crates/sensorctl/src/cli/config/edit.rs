//! `sensorctl config new` and `sensorctl config set`.

use super::super::shared::group;
use super::super::{Failure, say};
use super::arguments::anyone;
use crate::config::audience_words;
use crate::config::file::{ChangeFile, FileError};
use crate::folder;
use clap::{ArgGroup, Args};
use protocol::ConfigurationError;
use protocol::config::Change;
use protocol::document::Audience;
use protocol::{DeviceId, Name};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true, group = ArgGroup::new("whom").required(true))]
pub(super) struct New {
    /// The group that it is for
    #[arg(long, value_name = "NAME", value_parser = group, group = "whom")]
    group: Option<Name>,
    /// The device that it is for
    #[arg(long, value_name = "ID", group = "whom")]
    id: Option<DeviceId>,
    /// For devices that are named when it is pushed
    #[arg(long, group = "whom")]
    anyone: bool,
    /// The file, whose name ends in .toml or .json; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Fields to begin with
    #[arg(value_name = "FIELD=VALUE", value_parser = assignment)]
    fields: Vec<(String, Option<String>)>,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Set {
    /// The change file
    file: PathBuf,
    /// What is to be set; FIELD= takes a field out
    #[arg(value_name = "FIELD=VALUE", value_parser = assignment, required_unless_present = "unset")]
    fields: Vec<(String, Option<String>)>,
    /// A field to take out; may be repeated
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
}

/// Reads `field=value`; no value is none.
fn assignment(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not FIELD=VALUE"))?;
    Ok((name.trim().to_owned(), Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)))
}

/// Checks a file that may be for nobody yet.
pub(super) fn check(file: &ChangeFile) -> Result<(Change, bool), FileError> {
    match file.change(None) {
        Err(error) if error.verdict() == Some(&ConfigurationError::NoAudience) => {
            Ok((file.change(Some(&Audience::Device(anyone())))?.0, false))
        }
        checked => Ok((checked?.0, true)),
    }
}

fn words(change: &Change, named: bool) -> String {
    let fields = change.fields().count();
    let word = if fields == 1 { "field" } else { "fields" };
    let whom =
        if named { audience_words(&change.audience) } else { "devices that the push names".to_owned() };
    format!("{fields} {word} for {whom}")
}

impl New {
    pub(super) fn run(self) -> Result<(), Failure> {
        let audience = match (self.group, self.id) {
            (Some(group), _) => Audience::Group(group),
            (None, Some(id)) => Audience::Device(id),
            (None, None) => Audience::All,
        };
        let _turn = folder::turn(&self.out).map_err(Failure::error)?;
        let mut file = ChangeFile::begin(&self.out, &audience).map_err(Failure::error)?;
        for (name, value) in &self.fields {
            file.set(name, value.as_deref()).map_err(Failure::usage)?;
        }
        let (change, named) = check(&file).map_err(|error| nothing_written(&error))?;
        file.save().map_err(Failure::error)?;
        say(format_args!("{}: {}", self.out.display(), words(&change, named)))
    }
}

impl Set {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _turn = folder::turn(&self.file).map_err(Failure::error)?;
        let mut file = ChangeFile::open(&self.file).map_err(Failure::error)?;
        for (name, value) in &self.fields {
            file.set(name, value.as_deref()).map_err(Failure::usage)?;
        }
        for name in &self.unset {
            file.set(name, None).map_err(Failure::usage)?;
        }
        let (change, named) = check(&file).map_err(|error| nothing_written(&error))?;
        file.save().map_err(Failure::error)?;
        say(format_args!("{}: {}", self.file.display(), words(&change, named)))
    }
}

fn nothing_written(error: &FileError) -> Failure {
    Failure::usage(format_args!("{error}\nnothing was written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_a_name_and_perhaps_a_value() {
        let some = |name: &str, value: &str| Ok((name.to_owned(), Some(value.to_owned())));
        assert_eq!(assignment("port=8883"), some("port", "8883"));
        assert_eq!(assignment("host = a=b"), some("host", "a=b"));
        assert_eq!(assignment("port="), Ok(("port".to_owned(), None)));
        assert_eq!(assignment("port"), Err("\"port\" is not FIELD=VALUE".to_owned()));
    }
}
