//! Which changes of the configuration count, as it is stored: one value, so that every change is whole or not at all. Changes
//! that it does not name are left-overs. Numbers only grow. R-CONF.

use super::Owner;
use crate::platform::{ChangePlace, Key, KeyValue};
use crate::stored::Stored;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use protocol::config::Change;
use protocol::document::Audience;
use protocol::key::Digest;
use protocol::{KeyId, Layer};

/// Longest record in bytes: five digests, a key's name, and numbers.
pub const RECORD_BYTES_MAX: usize = 320;

/// A change that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Held {
    #[n(0)]
    pub place: ChangePlace,
    #[n(1)]
    pub number: u32,
    /// Of its payload, as it was signed.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub digest: Digest,
}

/// A change that is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Trial {
    #[cbor(n(0), with = "layer")]
    pub layer: Layer,
    #[n(1)]
    pub held: Held,
    /// How often the device has started since it began.
    #[n(2)]
    pub starts: u8,
}

/// The largest number of a layer that was ever taken, and of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Seen {
    #[n(0)]
    pub number: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: Digest,
}

/// Which changes count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Record {
    #[n(0)]
    pub group: Option<Held>,
    #[n(1)]
    pub device: Option<Held>,
    #[n(2)]
    pub trial: Option<Trial>,
    #[n(3)]
    group_seen: Seen,
    #[n(4)]
    device_seen: Seen,
    /// Whose changes the numbers are of: another key counts its own. Else the largest number of a thief would be the last
    /// change ever. `None` where nobody knows: then they count for every key.
    #[n(5)]
    signer: Option<KeyId>,
}

impl Stored<RECORD_BYTES_MAX> for Record {
    const KEY: Key = Key::Settings;
}

impl Record {
    pub(super) const fn in_force(&self, layer: Layer) -> Option<Held> {
        match layer {
            Layer::Group => self.group,
            Layer::Device => self.device,
        }
    }

    pub(super) const fn set(&mut self, layer: Layer, held: Option<Held>) {
        match layer {
            Layer::Group => self.group = held,
            Layer::Device => self.device = held,
        }
    }

    /// The largest number of `signer` that was ever taken.
    pub(super) fn seen(&self, signer: KeyId, layer: Layer) -> Seen {
        match layer {
            _ if !self.counts_for(signer) => Seen::default(),
            Layer::Group => self.group_seen,
            Layer::Device => self.device_seen,
        }
    }

    /// The number of a change of `signer` is used up.
    pub(super) fn see(&mut self, signer: KeyId, layer: Layer, held: Held) {
        if !self.counts_for(signer) {
            (self.group_seen, self.device_seen) = (Seen::default(), Seen::default());
        }
        self.signer = Some(signer);
        self.raise(layer, Seen { number: held.number, digest: held.digest });
    }

    /// Whether the numbers are those of `signer`.
    pub(super) fn counts_for(&self, signer: KeyId) -> bool {
        self.signer.is_none_or(|own| own == signer)
    }

    const fn raise(&mut self, layer: Layer, seen: Seen) {
        let former = match layer {
            Layer::Group => self.group_seen,
            Layer::Device => self.device_seen,
        };
        if seen.number < former.number {
            return;
        }
        match layer {
            Layer::Group => self.group_seen = seen,
            Layer::Device => self.device_seen = seen,
        }
    }

    /// A place for another change: there are three, and no more than two changes when one is taken.
    pub(super) fn free_place(&self) -> Option<ChangePlace> {
        let named = [self.group, self.device, self.trial.map(|trial| trial.held)];
        let is_named = |place: &ChangePlace| named.iter().flatten().any(|held| held.place == *place);
        ChangePlace::ALL.into_iter().find(|place| !is_named(place))
    }
}

impl<C> Encode<C> for ChangePlace {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u8(self.number())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ChangePlace {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::new(d.u8()?).ok_or_else(|| DecodeError::message("place"))
    }
}

mod layer {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};
    use protocol::Layer;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "minicbor gives a reference")]
    pub(super) fn encode<C, W: Write>(
        layer: &Layer,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bool(matches!(layer, Layer::Device))?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Layer, DecodeError> {
        Ok(if d.bool()? { Layer::Device } else { Layer::Group })
    }
}

/// The record, and whether it is damaged. Of a damaged one the numbers are what the changes that are still there leave: an
/// older change is refused, and the newest that was there is taken again when it comes, because nobody knows whether it was
/// in force.
pub(super) fn load(owner: Owner<'_>, store: &mut impl KeyValue, scratch: &mut [u8]) -> (Record, bool) {
    if let Ok(record) = Record::load(store) {
        return (record.unwrap_or_default(), false);
    }
    let mut record = Record::default();
    for place in ChangePlace::ALL {
        let Ok(Some(payload)) = store.read(Key::Change(place), scratch) else { continue };
        let Ok(change) = Change::decode(payload) else { continue };
        let own = match &change.audience {
            Audience::Device(id) => id == owner.id,
            Audience::Group(group) => group == owner.group,
            Audience::All => false,
        };
        if own {
            let number = change.number.saturating_sub(1);
            record.raise(change.layer(), Seen { number, digest: Digest::default() });
        }
    }
    (record, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::{One, stays};

    #[test]
    fn the_longest_record_fits_and_reads_back() {
        let held =
            |place| Held { place: ChangePlace::new(place).unwrap(), number: u32::MAX, digest: [0xff; 32] };
        let seen = Seen { number: u32::MAX, digest: [0xff; 32] };
        let record = Record {
            group: Some(held(0)),
            device: Some(held(1)),
            trial: Some(Trial { layer: Layer::Device, held: held(2), starts: u8::MAX }),
            group_seen: seen,
            device_seen: seen,
            signer: Some(KeyId([0xff; 32])),
        };
        assert_eq!(record.free_place(), None);
        let mut store = One::default();
        record.store(&mut store).unwrap();
        assert_eq!(Record::load(&mut store), Ok(Some(record)));
        assert_eq!(Record::default().free_place(), ChangePlace::new(0));
    }

    #[test]
    fn the_record_is_stored_as_it_ever_was() {
        let held = |place: u8| Held {
            place: ChangePlace::new(place).unwrap(),
            number: 10 + u32::from(place),
            digest: [place; 32],
        };
        let record = Record {
            group: Some(held(0)),
            device: Some(held(1)),
            trial: Some(Trial { layer: Layer::Device, held: held(2), starts: 2 }),
            group_seen: Seen { number: 20, digest: [3; 32] },
            device_seen: Seen { number: 21, digest: [4; 32] },
            signer: Some(KeyId([5; 32])),
        };
        let hex = concat!(
            "a60083000a582000000000000000000000000000000000000000000000000000000000000000000183010b58",
            "2001010101010101010101010101010101010101010101010101010101010101010283f583020c5820020202",
            "0202020202020202020202020202020202020202020202020202020202020382145820030303030303030303",
            "0303030303030303030303030303030303030303030303048215582004040404040404040404040404040404",
            "0404040404040404040404040404040405582005050505050505050505050505050505050505050505050505",
            "05050505050505",
        );
        stays(&record, hex, Some(0));
        let hex = concat!(
            "a203820058200000000000000000000000000000000000000000000000000000000000000000048200582000",
            "00000000000000000000000000000000000000000000000000000000000000",
        );
        stays(&Record::default(), hex, Some(0));
    }
}
