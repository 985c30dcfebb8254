//! Puts together what is in force from the store: the factory's configuration, over it the group's change, over it the
//! device's own. One change is in memory at a time. R-CONF.

use super::record::Held;
use crate::config;
use crate::platform::{Key, KeyValue, StorageError};
use protocol::config::{Change, Draft};
use protocol::key::sha256;
use protocol::{Configuration, ConfigurationError};

/// Where the change of a layer is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'c> {
    /// There is none.
    None,
    Stored(Held),
    Given(&'c Change),
}

impl From<Option<Held>> for Source<'_> {
    fn from(held: Option<Held>) -> Self {
        held.map_or(Self::None, Self::Stored)
    }
}

/// Why nothing can be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is stored is damaged, or the store failed.
    Storage(StorageError),
    /// The values do not fit each other.
    Invalid(ConfigurationError),
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The same as [`protocol::config::merge`] of what is stored.
pub(super) fn compose<S: KeyValue>(
    group: Source<'_>,
    device: Source<'_>,
    store: &mut S,
    scratch: &mut [u8],
) -> Result<Configuration, Fault> {
    let mut draft = config::load_from(store, scratch)?.draft();
    put(group, &mut draft, store, scratch)?;
    if let Some(number) = put(device, &mut draft, store, scratch)? {
        draft.number = number;
    }
    draft.check().map_err(Fault::Invalid)
}

/// Puts a change over `draft`; gives its number.
fn put<S: KeyValue>(
    source: Source<'_>,
    draft: &mut Draft,
    store: &mut S,
    scratch: &mut [u8],
) -> Result<Option<u32>, StorageError> {
    let held = match source {
        Source::None => return Ok(None),
        Source::Given(change) => {
            change.apply(draft);
            return Ok(Some(change.number));
        }
        Source::Stored(held) => held,
    };
    let payload = store.read(Key::Change(held.place), scratch)?.ok_or(StorageError::Corrupt)?;
    if sha256(&[payload]) != held.digest {
        return Err(StorageError::Corrupt);
    }
    Change::decode(payload).map_err(|_| StorageError::Corrupt)?.apply(draft);
    Ok(Some(held.number))
}
