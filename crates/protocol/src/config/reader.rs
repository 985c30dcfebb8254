//! Reads a document so that an error names the field, whichever it is: a whole configuration or a change. Owns the form of
//! the document, not the bounds of its content.

use super::schema::{NUMBER, Values};
use super::value::{Value, number_fault};
use super::{CONFIGURATION_BYTES_MAX, CONFIGURATION_VERSION, ConfigurationError, FieldFault, FieldName};
use crate::shown::Escaped;
use crate::{DeviceId, Layer, Name, NameError, json};
use core::fmt::{self, Write};
use serde::Deserializer;
use serde::de::{Deserialize, IgnoredAny, MapAccess, Visitor};

/// What kind of document is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A whole configuration: for a device.
    Whole,
    /// A change: for a device or a group.
    Change,
}

/// A document as it was read: each field that is there is inside its bounds, and known to the document's version.
pub(super) struct Read {
    pub(super) v: u8,
    pub(super) number: u32,
    pub(super) id: Option<DeviceId>,
    pub(super) group: Option<Name>,
    pub(super) values: Values,
}

/// The byte order mark of UTF-8.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a document of at most [`CONFIGURATION_BYTES_MAX`] bytes.
pub(super) fn read(bytes: &[u8], form: Form) -> Result<Read, ConfigurationError> {
    // UTF-8, UTF-16 in both orders.
    if [UTF8_MARK, b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(ConfigurationError::ByteOrderMark);
    }
    if bytes.len() > CONFIGURATION_BYTES_MAX {
        return Err(ConfigurationError::TooLong { len: bytes.len() });
    }
    if json::has_empty_element(bytes) {
        return Err(ConfigurationError::Syntax(serde_json_core::de::Error::ExpectedSomeValue));
    }
    let mut deserializer = serde_json_core::de::Deserializer::new(bytes, None);
    let mut error = None;
    let read = deserializer
        .deserialize_map(Reader { form, bytes, error: &mut error })
        .and_then(|read| deserializer.end().map(|_| read));
    match (error, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(ConfigurationError::Syntax(error)),
        (None, Ok(read)) => Ok(read),
    }
}

/// Reads a [`Read`]; what is wrong goes into `error`, because an error of `serde-json-core` cannot say it.
pub(super) struct Reader<'b, 'e> {
    pub(super) form: Form,
    /// The whole document, to look at a number as it is written; may be empty.
    pub(super) bytes: &'b [u8],
    pub(super) error: &'e mut Option<ConfigurationError>,
}

impl Reader<'_, '_> {
    /// Reads one field's value into its place.
    pub(super) fn value<'de, A: MapAccess<'de>, V: Value>(
        &mut self,
        map: &mut A,
        name: &'de str,
        about: &'static V::About,
        place: &mut Option<V>,
    ) -> Result<(), A::Error> {
        self.read(map, name, V::fault, place, |json| V::from_json(json, about))
    }

    fn read<'de, A: MapAccess<'de>, J: Deserialize<'de>, T>(
        &mut self,
        map: &mut A,
        name: &'de str,
        fault: fn(&[u8]) -> Option<FieldFault>,
        place: &mut Option<T>,
        take: impl FnOnce(J) -> Result<T, ConfigurationError>,
    ) -> Result<(), A::Error> {
        if place.is_some() {
            return Err(self.fault(name, FieldFault::Twice));
        }
        if let Some(fault) = self.value_text(name).and_then(fault) {
            return Err(self.fault(name, fault));
        }
        let json = map.next_value().map_err(|_| self.fault(name, FieldFault::WrongType))?;
        *place = Some(take(json).map_err(|error| self.refuse(error))?);
        Ok(())
    }

    /// The document from the value of the field `name` on. `name` is a part of the document.
    fn value_text(&self, name: &str) -> Option<&[u8]> {
        let at = name.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        let after = self.bytes.get(at.checked_add(name.len())?..)?.strip_prefix(b"\"")?;
        Some(after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
    }

    fn refuse<E: serde::de::Error>(&mut self, error: ConfigurationError) -> E {
        *self.error = Some(error);
        E::custom("configuration")
    }

    fn fault<E: serde::de::Error>(&mut self, name: &str, fault: FieldFault) -> E {
        let mut field = FieldName::new();
        // It may be shown on a terminal and is sent in a report: what would end a text is not taken over.
        let plain = |c: char| if "\"\\[]{}".contains(c) { '?' } else { c };
        // What does not fit any more is what is cut.
        let _cut = name.chars().try_for_each(|c| Escaped(&mut field).write_char(plain(c)));
        self.refuse(ConfigurationError::Field { field, fault })
    }

    fn present<T, E: serde::de::Error>(&mut self, name: &str, place: Option<T>) -> Result<T, E> {
        place.ok_or_else(|| self.fault(name, FieldFault::Missing))
    }
}

fn version(v: i64) -> Result<u8, ConfigurationError> {
    let known = u8::try_from(v).ok().filter(|v| (1..=CONFIGURATION_VERSION).contains(v));
    known.ok_or(ConfigurationError::Version(v))
}

fn group(text: &str) -> Result<Name, ConfigurationError> {
    let name = Name::try_from(text).map_err(ConfigurationError::BadGroup)?;
    // A device without a group has the empty name: nothing may be for all of those.
    if name.is_empty() { Err(ConfigurationError::BadGroup(NameError)) } else { Ok(name) }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Read, A::Error> {
        let (mut v, mut number, mut id, mut for_group) = (None, None, None, None);
        let mut values = Values::default();
        let mut last = None;
        loop {
            let name = match (map.next_key::<&'de str>(), last) {
                (Ok(Some(name)), _) => name,
                (Ok(None), _) => break,
                (Err(_), Some(last)) => return Err(self.fault(last, FieldFault::BadEnd)),
                (Err(error), None) => return Err(error),
            };
            match name {
                "v" => self.read(&mut map, name, number_fault, &mut v, version)?,
                "number" => self.value(&mut map, name, &NUMBER, &mut number)?,
                "id" => self.read(
                    &mut map,
                    name,
                    |_| None,
                    &mut id,
                    |text| DeviceId::new(text).map_err(ConfigurationError::BadId),
                )?,
                "group" if self.form == Form::Change => {
                    self.read(&mut map, name, |_| None, &mut for_group, group)?;
                }
                other => {
                    if !values.read(&mut self, &mut map, other)? {
                        return Err(self.fault(other, FieldFault::Unknown));
                    }
                }
            }
            last = Some(name);
        }
        let v = self.present("v", v)?;
        let number = self.present("number", number)?;
        if let Some(later) = values.named().find(|field| field.since() > v) {
            return Err(self.fault(later.name(), FieldFault::Later { v, since: later.since() }));
        }
        Ok(Read { v, number, id, group: for_group, values })
    }
}

/// For whom a document is and which number it has, as far as it says so: of one that is proven and not valid, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its layer; `None` where it names neither a device nor a group, or both.
    pub layer: Option<Layer>,
    /// Its number; `None` where it has none.
    pub number: Option<u32>,
}

impl Head {
    /// Reads what can be read.
    pub fn read(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
        let bytes = bytes.get(..CONFIGURATION_BYTES_MAX.min(bytes.len())).unwrap_or_default();
        let mut head = Heading::default();
        // Where it breaks off, what stood before counts.
        let _broken = serde_json_core::de::Deserializer::new(bytes, None).deserialize_map(&mut head);
        let layer = match (head.id, head.group) {
            (true, false) => Some(Layer::Device),
            (false, true) => Some(Layer::Group),
            _ => None,
        };
        Self { layer, number: head.number }
    }
}

#[derive(Default)]
struct Heading {
    number: Option<u32>,
    id: bool,
    group: bool,
}

impl<'de> Visitor<'de> for &mut Heading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<&'de str>()? {
            match name {
                "number" => self.number = Some(map.next_value()?),
                "id" => self.id |= DeviceId::new(map.next_value()?).is_ok(),
                "group" => self.group |= group(map.next_value()?).is_ok(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}
