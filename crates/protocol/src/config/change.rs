//! A change of the configuration: some of its fields, for one device or for a group. Owns how group and device come
//! together. R-CONF.
//!
//! ```json
//! {"v":2,"number":7,"group":"field-a","sample_period_ms":5000,"report_period_ms":30000}
//! {"v":2,"number":3,"id":"dev-1","host":"other.example"}
//! ```
//!
//! The rule: for each field the value of the device's own change counts where it names the field; else that of its group's
//! change; else what the factory gave it. A newer change replaces the one before of the same layer as a whole, so a field
//! that is not named any more goes back to what is below it.

use super::reader::{self, Form};
use super::schema::{NUMBER, Values};
use super::{CONFIGURATION_VERSION, Configuration, ConfigurationError, Draft, Field, dependencies};
use crate::document::Audience;
use crate::json::{self, EncodeError};
use crate::reason::Layer;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// A change: every field that is there is inside its bounds. Whether they fit the others shows only when it is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whom it is for: a device or a group, never all.
    pub audience: Audience,
    /// Grows with every change of its layer.
    pub number: u32,
    values: Values,
}

impl Change {
    /// Reads a change of at most [`super::CONFIGURATION_BYTES_MAX`] bytes. `v`, `number` and one of `id` and `group` must be
    /// there; a field that the schema does not know is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        let read = reader::read(bytes, Form::Change)?;
        let audience = match (read.id, read.group) {
            (Some(id), None) => Audience::Device(id),
            (None, Some(group)) => Audience::Group(group),
            (None, None) => return Err(ConfigurationError::NoAudience),
            (Some(_), Some(_)) => return Err(ConfigurationError::TwoAudiences),
        };
        dependencies::check(|bound| read.values.get(bound))?;
        Ok(Self { audience, number: read.number, values: read.values })
    }

    /// Writes it as JSON into `buffer` ([`super::CONFIGURATION_BYTES_MAX`] bytes always suffice); gives its length in bytes.
    /// What [`Self::decode`] would not read again for its audience or its number is not written.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        let audience = match &self.audience {
            Audience::Device(id) => ("id", id.as_str()),
            Audience::Group(group) if !group.is_empty() => ("group", group.as_str()),
            Audience::Group(_) | Audience::All => return Err(EncodeError),
        };
        NUMBER.check(self.number.into()).map_err(|_| EncodeError)?;
        json::encode(&Written { audience, change: self }, buffer)
    }

    /// Which layer it belongs to.
    pub const fn layer(&self) -> Layer {
        match self.audience {
            Audience::Group(_) | Audience::All => Layer::Group,
            Audience::Device(_) => Layer::Device,
        }
    }

    /// The fields that it names, in order of the document.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.values.named()
    }

    /// Puts its values over those of `draft`; number and id stay.
    pub fn apply(&self, draft: &mut Draft) {
        draft.put(&self.values);
    }
}

/// A change as it is written. An error of its own is nothing that `serde-json-core` could give: what might be wrong is
/// looked at before.
struct Written<'c> {
    audience: (&'static str, &'c str),
    change: &'c Change,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = &self.change.values;
        let mut object = serializer.serialize_struct("Change", 3 + values.named().count())?;
        object.serialize_field("v", &CONFIGURATION_VERSION)?;
        object.serialize_field("number", &self.change.number)?;
        object.serialize_field(self.audience.0, self.audience.1)?;
        values.write(&mut object)?;
        object.end()
    }
}

/// What is in force: the factory's configuration, over it the group's change, over it the device's own. Its number is that of
/// the device's change, else the factory's; its id is the factory's.
pub fn merge(
    base: &Configuration,
    group: Option<&Change>,
    device: Option<&Change>,
) -> Result<Configuration, ConfigurationError> {
    let mut draft = base.draft();
    for change in [group, device].into_iter().flatten() {
        change.apply(&mut draft);
    }
    if let Some(device) = device {
        draft.number = device.number;
    }
    draft.check()
}
