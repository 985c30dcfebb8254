//! Which commands were begun, as it is stored: one value, so that every change is whole or not at all. R-CONF.

use crate::platform::{Key, KeyValue, StorageError};
use crate::stored::Stored;
use minicbor::{Decode, Encode};
use protocol::KeyId;
use protocol::command::{AudienceKind, Outcome};
use protocol::document::Action;
use protocol::key::Digest;

/// Longest record in bytes: a key's name, three numbers with their digests, and the last command.
pub const RECORD_BYTES_MAX: usize = 256;

/// A number that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Used {
    #[n(0)]
    pub number: u32,
    /// SHA-256 of the payload that used it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: Digest,
}

/// The last command that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Last {
    #[cbor(n(0), with = "audience_kind")]
    pub audience: AudienceKind,
    #[n(1)]
    pub number: u32,
    #[n(2)]
    pub action: Action,
    #[cbor(n(3), with = "outcome")]
    pub outcome: Outcome,
}

/// Everything about commands that outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Record {
    /// Whose commands the numbers are of: another key counts its own. Else the largest number of a thief would be the last
    /// command ever.
    #[n(0)]
    signer: Option<KeyId>,
    /// The largest number of each kind of audience.
    #[n(1)]
    device: Option<Used>,
    #[n(2)]
    group: Option<Used>,
    #[n(3)]
    all: Option<Used>,
    /// `None` also where the firmware that began it can name more than this one: the numbers count all the same.
    #[cbor(n(4), with = "last")]
    pub last: Option<Last>,
}

impl Stored<RECORD_BYTES_MAX> for Record {
    const KEY: Key = Key::Command;
}

impl Record {
    /// Reads the record. Where there is none, or one that cannot be read any more, nothing was begun: what bounds a replay
    /// then is its expiry.
    pub(super) fn open(store: &mut impl KeyValue) -> (Result<Self, StorageError>, Option<StorageError>) {
        match Self::load(store) {
            Ok(record) => (Ok(record.unwrap_or_default()), None),
            // What the medium does not give now it may give later.
            Err(error @ (StorageError::Medium | StorageError::Full)) => (Err(error), Some(error)),
            Err(error) => (Ok(Self::default()), Some(error)),
        }
    }

    /// The largest number of `signer` for this kind of audience that is used up.
    pub(super) fn used(&self, signer: KeyId, audience: AudienceKind) -> Option<Used> {
        if self.signer != Some(signer) {
            return None;
        }
        match audience {
            AudienceKind::Device => self.device,
            AudienceKind::Group => self.group,
            AudienceKind::All => self.all,
        }
    }

    /// A command is about to be begun.
    pub(super) fn begin(&mut self, signer: KeyId, digest: Digest, last: Last) {
        if self.signer != Some(signer) {
            *self = Self { signer: Some(signer), ..Self::default() };
        }
        let used = Some(Used { number: last.number, digest });
        match last.audience {
            AudienceKind::Device => self.device = used,
            AudienceKind::Group => self.group = used,
            AudienceKind::All => self.all = used,
        }
        self.last = Some(last);
    }
}

mod last {
    use super::Last;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    #[expect(clippy::ref_option, reason = "minicbor gives a reference")]
    pub(super) fn encode<C, W: Write>(
        last: &Option<Last>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.encode(last)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<Last>, DecodeError> {
        let begin = d.position();
        d.skip()?;
        let item = d.input().get(begin..d.position()).unwrap_or_default();
        Ok(minicbor::decode(item).unwrap_or_default())
    }
}

/// Names, as the service is told: a record outlives the firmware that wrote it.
macro_rules! by_name {
    ($($module:ident, $name:ident;)+) => {
        $(mod $module {
            use minicbor::decode::Error as DecodeError;
            use minicbor::encode::{Error as EncodeError, Write};
            use minicbor::{Decoder, Encoder};
            use protocol::command::$name;

            pub(super) fn encode<C, W: Write>(
                value: &$name,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.str(value.as_str())?.ok()
            }

            pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<$name, DecodeError> {
                $name::from_wire(d.str()?).ok_or_else(|| DecodeError::message("name"))
            }
        })+
    };
}

by_name! {
    audience_kind, AudienceKind;
    outcome, Outcome;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::{One, stays};

    fn longest() -> Record {
        let mut record = Record::default();
        let audience = AudienceKind::ALL.iter().copied().max_by_key(|it| it.as_str().len()).unwrap();
        let outcome = Outcome::ALL.iter().copied().max_by_key(|it| it.as_str().len()).unwrap();
        for kind in [AudienceKind::Group, AudienceKind::All, audience] {
            let action = Action::Burst { samples: u16::MAX, period_ms: u32::MAX };
            record.begin(KeyId([7; 32]), [9; 32], Last { audience: kind, number: u32::MAX, action, outcome });
        }
        record
    }

    #[test]
    fn the_longest_record_reads_back_as_written() {
        let mut store = One::default();
        longest().store(&mut store).unwrap();
        assert_eq!(Record::open(&mut store), (Ok(longest()), None));
    }

    #[test]
    fn a_damaged_record_is_none_and_a_medium_that_fails_leaves_it_open() {
        let mut store = One::default();
        assert_eq!(Record::open(&mut store), (Ok(Record::default()), None));
        store.value = Some(b"nonsense".into());
        assert_eq!(Record::open(&mut store), (Ok(Record::default()), Some(StorageError::Corrupt)));
        store.fails = Some(StorageError::Medium);
        assert_eq!(Record::open(&mut store), (Err(StorageError::Medium), Some(StorageError::Medium)));
    }

    #[test]
    fn a_last_command_that_only_newer_firmware_can_name_leaves_every_number() {
        let record = longest();
        let mut store = One::default();
        record.store(&mut store).unwrap();
        let bytes = store.value.as_mut().unwrap();
        let name = record.last.unwrap().outcome.as_str().as_bytes();
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
        bytes[at] = b'X';
        assert_eq!(Record::open(&mut store), (Ok(Record { last: None, ..record }), None));
        for bytes in [b"\xa0".as_slice(), b"\xa1\x04\xf6"] {
            store.value = Some(bytes.into());
            assert_eq!(Record::open(&mut store), (Ok(Record::default()), None));
        }
    }

    #[test]
    fn each_key_counts_its_own_numbers_and_each_kind_of_audience_apart() {
        let mut record = longest();
        let last = record.last.unwrap();
        let (old, new) = (KeyId([7; 32]), KeyId([8; 32]));
        for kind in AudienceKind::ALL {
            assert_eq!(record.used(old, *kind), Some(Used { number: u32::MAX, digest: [9; 32] }));
            assert_eq!(record.used(new, *kind), None);
        }
        record.begin(new, [1; 32], Last { audience: AudienceKind::All, number: 1, ..last });
        assert_eq!(record.used(new, AudienceKind::All), Some(Used { number: 1, digest: [1; 32] }));
        assert_eq!(record.used(new, AudienceKind::Device), None);
        assert_eq!(record.used(old, AudienceKind::Device), None, "what is signed with it counts no more");
    }

    #[test]
    fn the_record_is_stored_as_it_ever_was() {
        let mut record = Record::default();
        for (number, audience) in (300..).zip(AudienceKind::ALL.iter().copied()) {
            let action = Action::Burst { samples: 12, period_ms: 500 };
            let last = Last { audience, number, action, outcome: Outcome::Begun };
            record.begin(KeyId([7; 32]), [number as u8; 32], last);
        }
        let hex = concat!(
            "a50058200707070707070707070707070707070707070707070707070707070707070707018219012c58202c",
            "2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c028219012d58202d2d2d2d2d2d",
            "2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d038219012e58202e2e2e2e2e2e2e2e2e2e2e",
            "2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e048463616c6c19012e8202820c1901f465626567756e",
        );
        stays(&record, hex, Some(0));
        stays(&Record::default(), "a0", Some(0));
    }
}
