//! Configurations of devices in service: change files that people write, what a change would do to which device, how far
//! devices are with one, and the signed document. What is valid is decided by `protocol::config` alone, with the code that
//! runs in the device. R-CONF, R-NET-CONFIG, R-FLEET.

pub mod change;
pub mod difference;
pub mod fields;
pub mod file;
pub mod fleet;
pub mod follow;
pub mod reported;
#[cfg(test)]
pub(crate) mod samples;
pub mod standing;

use protocol::document::Audience;
use protocol::{DeviceId, Name};

/// Whom a change is for, in words.
pub fn audience_words(audience: &Audience) -> String {
    match audience {
        Audience::Device(id) => format!("device {id}"),
        Audience::Group(group) => format!("group {group}"),
        Audience::All => "all devices".to_owned(),
    }
}

/// Which devices a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// These.
    Devices(Vec<DeviceId>),
    /// Those that say that they belong to this group.
    Group(Name),
    /// Every one that the broker or the registry knows.
    All,
}
