//! A change in a file that people write: TOML or JSON. Owns the file's form, and where in it a field stands; what is valid
//! is decided by `protocol::config`, with the same code and the same text as in a device. R-CONF.
//!
//! A file names whom it is for with `group` or `id`, unless the command line does. It needs no `number`: the document
//! gets its number when it is signed.

mod json;
mod toml;

use crate::folder::{self, FolderError};
use protocol::config::{CONFIGURATION_VERSION, Change, FieldFault};
use protocol::document::Audience;
use protocol::{ConfigurationError, Shown};
use std::fmt;
use std::path::{Path, PathBuf};

/// Largest file in bytes: comments and blanks are not sent.
const FILE_BYTES_MAX: u32 = 256 * 1024;

/// Stands for the number of a file that has none, until it is signed.
const NO_NUMBER: u32 = 1;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// TOML: comments are kept.
    Toml,
    /// JSON.
    Json,
}

/// A change file as it was read, or as it will be written.
#[derive(Clone, Debug)]
pub struct ChangeFile {
    path: PathBuf,
    form: Form,
    text: String,
}

/// A field as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    /// Its value as JSON.
    value: String,
    /// From 1 on.
    line: usize,
}

/// Why a file is no change.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read or written.
    Folder(FolderError),
    /// Neither TOML nor JSON by its name.
    Ending(PathBuf),
    /// There is such a file already.
    Exists(PathBuf),
    /// It is no UTF-8.
    NoText(PathBuf),
    /// It is not in its form: the file, the line, and why.
    Syntax(PathBuf, usize, String),
    /// What a device says to it, and the line where there is one.
    Invalid {
        /// The file.
        path: PathBuf,
        /// From 1 on.
        line: Option<usize>,
        /// The device's own verdict.
        error: ConfigurationError,
        /// What the parser of the file's form says, with line and column.
        parser: Option<String>,
    },
    /// The file is for somebody else than the command line says: the file, and whom it is for.
    OtherAudience(PathBuf, Audience),
    /// This cannot be a field's name.
    Name(String),
}

impl FileError {
    /// The device's own verdict, where it is the reason.
    pub const fn verdict(&self) -> Option<&ConfigurationError> {
        match self {
            Self::Invalid { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Ending(path) => {
                write!(f, "{}: the name of a change file ends in .toml or .json", path.display())
            }
            Self::Exists(path) => {
                write!(f, "{} exists; it was left as it is: choose another name", path.display())
            }
            Self::NoText(path) => write!(f, "{} is no text in UTF-8", path.display()),
            Self::Syntax(path, line, why) => {
                write!(f, "{}:{line}: ", path.display())?;
                // The parser's picture of the place has lines of its own.
                why.lines().enumerate().try_for_each(|(at, line)| {
                    write!(f, "{}{}", if at == 0 { "" } else { "\n" }, Shown(line))
                })
            }
            Self::Invalid { path, line, error, parser } => {
                write!(f, "{}:", path.display())?;
                if let Some(line) = line {
                    write!(f, "{line}:")?;
                }
                write!(f, " {error}")?;
                parser.as_ref().map_or(Ok(()), |parser| write!(f, " ({})", Shown(parser)))
            }
            Self::OtherAudience(path, audience) => write!(
                f,
                "{} is for {} and the command line says otherwise: leave one of both out",
                path.display(),
                super::audience_words(audience)
            ),
            Self::Name(name) => {
                write!(f, "{name:?} is no name of a field: `sensorctl config fields` lists them")
            }
        }
    }
}

impl std::error::Error for FileError {}

impl From<FolderError> for FileError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

fn form(path: &Path) -> Result<Form, FileError> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => Ok(Form::Toml),
        Some("json") => Ok(Form::Json),
        _ => Err(FileError::Ending(path.to_owned())),
    }
}

impl ChangeFile {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        form(path)?;
        Self::read(path, folder::read_bytes(path, FILE_BYTES_MAX)?)
    }

    /// A file with this content.
    pub fn read(path: &Path, bytes: Vec<u8>) -> Result<Self, FileError> {
        let (path, form) = (path.to_owned(), form(path)?);
        if let Err(error @ ConfigurationError::ByteOrderMark) = Change::decode(&bytes) {
            return Err(FileError::Invalid { path, line: Some(1), error, parser: None });
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, form, text }),
            Err(error) => Err(match (form, Change::decode(error.as_bytes())) {
                (Form::Json, Err(verdict)) => {
                    let parser = Some(error.utf8_error().to_string());
                    FileError::Invalid { path, line: None, error: verdict, parser }
                }
                _ => FileError::NoText(path),
            }),
        }
    }

    /// A change of nothing yet; [`Self::save`] writes it. `path` must not exist.
    pub fn begin(path: &Path, audience: &Audience) -> Result<Self, FileError> {
        let form = form(path)?;
        if path.exists() || path.is_symlink() {
            return Err(FileError::Exists(path.to_owned()));
        }
        let whom = match audience {
            Audience::Device(id) => Some(("id", id.as_str())),
            Audience::Group(group) => Some(("group", group.as_str())),
            Audience::All => None,
        };
        let version = CONFIGURATION_VERSION.to_string();
        let mut file = Self { path: path.to_owned(), form, text: String::new() };
        match form {
            Form::Toml => {
                "# A change of the configuration: `sensorctl config fields` lists what can be set.\n\
                 # It takes the place of the change before it as a whole: what it does not name is as without either.\n"
                    .clone_into(&mut file.text);
            }
            Form::Json => "{}".clone_into(&mut file.text),
        }
        file.put("v", Some(&version))?;
        if let Some((name, value)) = whom {
            let value = serde_json::Value::from(value).to_string();
            file.put(name, Some(&value))?;
        }
        Ok(file)
    }

    /// Sets a field to the value that was written on a command line, or takes it out.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), FileError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(FileError::Name(name.to_owned()));
        }
        let value = value.map(|value| super::fields::json(name, value));
        self.put(name, value.as_deref())
    }

    /// Sets a field to a value in JSON, or takes it out.
    fn put(&mut self, name: &str, value: Option<&str>) -> Result<(), FileError> {
        self.text = match self.form {
            Form::Toml => toml::put(&self.path, &self.text, name, value)?,
            Form::Json => json::put(&self.path, &self.text, name, value)?,
        };
        Ok(())
    }

    /// Writes it, whole or not at all.
    pub fn save(&self) -> Result<(), FileError> {
        Ok(folder::replace(&self.path, self.text.as_bytes())?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whom the file is for, where it says so and is valid.
    pub fn audience(&self) -> Option<Audience> {
        self.change(None).ok().map(|(change, _)| change.audience)
    }

    /// The change for the audience in the file or, where the file has none, for `audience`; and the number that the file
    /// has. The change has number 1 where it has none.
    pub fn change(&self, audience: Option<&Audience>) -> Result<(Change, Option<u32>), FileError> {
        let rows = match self.form {
            Form::Toml => toml::rows(&self.path, &self.text)?,
            Form::Json => json::rows(&self.text).unwrap_or_default(),
        };
        let no_json = if self.form == Form::Json { json::whole(&self.text).err() } else { None };
        let has = |name: &str| rows.iter().any(|row| row.name == name);
        let mut before = Vec::new();
        let numbered = has("number");
        if !numbered {
            before.push(format!("\"number\":{NO_NUMBER}"));
        }
        match audience {
            Some(Audience::Device(id)) if !has("id") && !has("group") => {
                before.push(format!("\"id\":\"{id}\""));
            }
            Some(Audience::Group(group)) if !has("id") && !has("group") => {
                before.push(format!("\"group\":\"{group}\""));
            }
            _ => {}
        }
        // As it stands, unless something is missing that the tool puts into it.
        let is_missing = |error: &ConfigurationError| {
            let fault = FieldFault::Missing;
            matches!(error, ConfigurationError::Field { fault: of, .. } if *of == fault)
                || *error == ConfigurationError::NoAudience
        };
        if self.form == Form::Json
            && let Err(error) = Change::decode(self.text.as_bytes())
            && !is_missing(&error)
        {
            let line = line(&rows, &error.to_string()).or(no_json.as_ref().map(serde_json::Error::line));
            let parser = no_json.as_ref().map(ToString::to_string);
            return Err(FileError::Invalid { path: self.path.clone(), line, error, parser });
        }
        let document = match self.form {
            Form::Toml => {
                let rows = rows.iter().map(|row| format!("\"{}\":{}", row.name, row.value));
                format!("{{{}}}", before.iter().cloned().chain(rows).collect::<Vec<_>>().join(","))
            }
            Form::Json => json::with(&self.text, &before),
        };
        let change = match (Change::decode(document.as_bytes()), &no_json) {
            (Ok(change), None) => change,
            // What a device would read is not what people read: neither is taken.
            (Ok(_), Some(why)) => {
                return Err(FileError::Syntax(self.path.clone(), why.line(), why.to_string()));
            }
            (Err(error), why) => {
                let line = line(&rows, &error.to_string()).or(why.as_ref().map(serde_json::Error::line));
                let parser = why.as_ref().map(ToString::to_string);
                return Err(FileError::Invalid { path: self.path.clone(), line, error, parser });
            }
        };
        if audience.is_some_and(|audience| *audience != change.audience) {
            return Err(FileError::OtherAudience(self.path.clone(), change.audience));
        }
        let number = numbered.then_some(change.number);
        Ok((change, number))
    }
}

/// The line of the field that a verdict is about: the first that it names, at its last place.
fn line(rows: &[Row], verdict: &str) -> Option<usize> {
    let words = verdict.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let mut lines = words.filter_map(|word| rows.iter().rev().find(|row| row.name == word));
    lines.next().map(|row| row.line)
}

#[cfg(test)]
mod tests;
