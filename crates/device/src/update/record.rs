//! What the device knows of its updates, as it is stored: one value, so that every change is whole or not at all.
//! R-FW-ATOMIC, R-FW-TIMELY, R-UPDATE-TRUST.

use crate::platform::Key;
use crate::stored::Stored;
use heapless::Vec;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use protocol::image::Version;
use protocol::{KeyId, UpdateFault};

/// Longest record in bytes: a rollout, an update and the images that did not stay, with room to spare.
pub const RECORD_BYTES_MAX: usize = 640;

/// Starts of one image that power cuts may end without being counted: each costs a swap and the way back.
const EXCUSED_MAX: u8 = 4;

/// Images that did not stay and are remembered. Each of them took a manifest with a larger number than the one before: who
/// can sign five of these needs no trick with the first.
const SPENT_MAX: usize = 4;

/// How far an update has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
#[cbor(index_only)]
pub(crate) enum Stage {
    /// Its payload is not all there.
    #[n(0)]
    Fetching,
    /// The image is in the candidate's slot, as far as it was written without an error.
    #[n(1)]
    Complete,
    /// The bootloader is told to start it, or was about to be.
    #[n(2)]
    Marked,
    /// It was started for a test.
    #[n(3)]
    Trial,
    /// It is given up.
    #[n(4)]
    Failed,
}

/// The update that is wanted: the newest manifest that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Wanted {
    /// Digest of its manifest, as it is signed.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: [u8; 32],
    /// Whose key proved it: where that is replaced, the manifest counts for nothing any more.
    #[n(1)]
    pub signer: KeyId,
    #[n(2)]
    pub sequence: u64,
    /// Digest of the image.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub image: [u8; 32],
    /// Bytes of the image.
    #[n(4)]
    pub size: u32,
    #[cbor(n(5), with = "version")]
    pub version: Version,
    /// Seconds since 1970 from which on it is not installed any more.
    #[n(6)]
    pub use_before_s: Option<u64>,
    /// When the device was allowed to take it, and when its turn comes: seconds since 1970.
    #[n(7)]
    pub turn: Option<Turn>,
    #[n(8)]
    pub stage: Stage,
    /// Which of the manifest's sources is in use.
    #[n(9)]
    pub source: u8,
    /// How often that source was begun.
    #[n(10)]
    pub begun: u8,
    /// Bytes of the image that are in the slot for certain; a whole number of blocks and sectors.
    #[n(11)]
    pub written: u32,
    /// How often flash or store failed since it came further.
    #[n(12)]
    pub faults: u8,
    /// The sensor did not answer before the image was started: that it does not with it either is no reason.
    #[n(13)]
    pub sensor_was_dead: bool,
    /// How often the slot did not hold the image in the end.
    #[n(14)]
    #[cbor(default)]
    pub losses: u8,
}

/// When an update may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Turn {
    /// When the device learned that it may take it: the deadline counts from here.
    #[n(0)]
    pub noticed_s: u64,
    /// Its place among all devices that learn it at one instant.
    #[n(1)]
    pub from_s: u64,
}

/// The rollout in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Rollout {
    #[n(0)]
    pub number: u32,
    /// Whose key proved it: another key counts its own numbers.
    #[n(1)]
    pub signer: KeyId,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub manifest: [u8; 32],
    #[n(3)]
    pub share: u16,
}

/// An image that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Spent {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub image: [u8; 32],
    /// How often.
    #[n(1)]
    pub attempts: u8,
    /// How often a start was not counted, because power failed in it.
    #[n(2)]
    pub excused: u8,
}

/// Everything about updates that outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Record {
    /// Of the last manifest whose image confirmed itself.
    ///
    /// Where the record is lost this is 0 again, and an older manifest than the last one would pass. It would lead nowhere:
    /// its image must be newer than the one that runs, whose version stands in the image itself, and the bootloader holds to
    /// that as well.
    #[n(0)]
    installed: u64,
    #[n(1)]
    pub rollout: Option<Rollout>,
    #[n(2)]
    pub wanted: Option<Wanted>,
    #[n(3)]
    spent: List,
    /// What was wrong last.
    #[cbor(n(4), with = "fault")]
    pub fault: Option<UpdateFault>,
    /// Whose key had proven the manifest of `installed`.
    #[n(5)]
    installed_by: Option<KeyId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List(Vec<Spent, SPENT_MAX>);

impl Stored<RECORD_BYTES_MAX> for Record {
    const KEY: Key = Key::Update;
}

impl Record {
    /// Sequence number of the last manifest whose image confirmed itself.
    pub(crate) const fn installed(&self) -> u64 {
        self.installed
    }

    /// The same as far as it binds this key. An authority that takes the place of one whose key was stolen counts its own
    /// numbers: else the thief's largest number would be the last update ever. The image's version still only grows.
    pub(crate) fn installed_by(&self, signer: KeyId) -> u64 {
        if self.installed_by == Some(signer) { self.installed } else { 0 }
    }

    /// Notes that the image of a manifest is installed; true where that is new.
    pub(crate) fn install(&mut self, sequence: u64, signer: KeyId) -> bool {
        let newer = self.installed_by != Some(signer) || sequence > self.installed;
        if newer {
            (self.installed, self.installed_by) = (sequence, Some(signer));
        }
        newer
    }

    /// How often this image was started.
    pub(crate) fn attempts(&self, image: &[u8; 32]) -> u8 {
        self.spent.0.iter().find(|spent| spent.image == *image).map_or(0, |spent| spent.attempts)
    }

    /// Takes back the last start of this image, of which a power cut is to blame; false where that was done often enough.
    pub(crate) fn excuse(&mut self, image: &[u8; 32]) -> bool {
        let spent = self.spent.0.iter_mut().find(|spent| spent.image == *image);
        let Some(spent) = spent.filter(|spent| spent.excused < EXCUSED_MAX) else { return false };
        spent.attempts = spent.attempts.saturating_sub(1);
        spent.excused += 1;
        true
    }

    /// Counts a start of this image, or forgets the image where `attempts` is 0.
    pub(crate) fn set_attempts(&mut self, image: &[u8; 32], attempts: u8) {
        let known = self.spent.0.iter().find(|spent| spent.image == *image);
        let excused = known.map_or(0, |spent| spent.excused);
        self.spent.0.retain(|spent| spent.image != *image);
        if attempts == 0 {
            return;
        }
        if self.spent.0.is_full() {
            self.spent.0.remove(0);
        }
        // There is room for one now.
        let _fits = self.spent.0.push(Spent { image: *image, attempts, excused });
    }
}

/// A stage that a later version has and this one does not know is the end of that update here: what matters is that the rest
/// of the record is not lost with it, and with it the count of attempts.
impl<'b, C> Decode<'b, C> for Stage {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Ok(match d.u32()? {
            0 => Self::Fetching,
            1 => Self::Complete,
            2 => Self::Marked,
            3 => Self::Trial,
            _ => Self::Failed,
        })
    }
}

impl<C> Encode<C> for List {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(self.0.len() as u64)?;
        self.0.iter().try_for_each(|spent| e.encode_with(spent, context).map(|_| ()))
    }
}

impl<'b, C> Decode<'b, C> for List {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let mut list = Vec::new();
        for spent in d.array_iter_with(context)? {
            // A later version may remember more: the last ones count.
            if list.is_full() {
                list.remove(0);
            }
            list.push(spent?).map_err(|_| DecodeError::message("too many images"))?;
        }
        Ok(Self(list))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "minicbor hands over references")]
mod version {
    use super::{DecodeError, Decoder, EncodeError, Encoder, Version, Write};

    pub(super) fn encode<C, W: Write>(
        version: &Version,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(3)?.u8(version.major)?.u8(version.minor)?.u16(version.revision)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Version, DecodeError> {
        if d.array()? != Some(3) {
            return Err(DecodeError::message("version"));
        }
        Ok(Version::new(d.u8()?, d.u8()?, d.u16()?))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, clippy::ref_option, reason = "minicbor hands over references")]
mod fault {
    use super::{DecodeError, Decoder, EncodeError, Encoder, UpdateFault, Write};

    /// By name: numbers would change with the table.
    pub(super) fn encode<C, W: Write>(
        fault: &Option<UpdateFault>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(fault.map_or("", UpdateFault::as_str))?.ok()
    }

    /// A name that this firmware does not know, such as a newer one's, is no fault that it could tell.
    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<UpdateFault>, DecodeError> {
        Ok(UpdateFault::from_wire(d.str()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::StorageError;
    use crate::stored::tests::{One, bytes, stays};

    fn longest() -> Record {
        let wanted = Wanted {
            manifest: [0xff; 32],
            signer: KeyId([0xff; 32]),
            sequence: u64::MAX,
            image: [0xff; 32],
            size: u32::MAX,
            version: Version::new(255, 255, 65_535),
            use_before_s: Some(u64::MAX),
            turn: Some(Turn { noticed_s: u64::MAX, from_s: u64::MAX }),
            stage: Stage::Failed,
            source: 255,
            begun: 255,
            written: u32::MAX,
            faults: 255,
            sensor_was_dead: true,
            losses: 255,
        };
        let rollout =
            Rollout { number: u32::MAX, signer: KeyId([0xff; 32]), manifest: [0xff; 32], share: u16::MAX };
        let mut record = Record {
            installed: u64::MAX,
            installed_by: Some(KeyId([0xff; 32])),
            rollout: Some(rollout),
            wanted: Some(wanted),
            fault: UpdateFault::ALL.iter().copied().max_by_key(|fault| fault.as_str().len()),
            ..Record::default()
        };
        for image in 0..9 {
            record.set_attempts(&[image; 32], 255);
        }
        record
    }

    #[test]
    fn the_longest_record_fits_and_reads_back() {
        let mut store = One::default();
        longest().store(&mut store).unwrap();
        let form = store.value.clone().unwrap();
        assert!(form.len() > RECORD_BYTES_MAX / 2, "{}", form.len());
        assert_eq!(Record::load(&mut store), Ok(Some(longest())));
        for cut in 0..form.len() {
            let cut = Record::load(&mut One::holding(&form[..cut]));
            assert_eq!(cut, Err(StorageError::Corrupt));
        }
    }

    #[test]
    fn every_fault_is_stored_by_its_name() {
        for fault in UpdateFault::ALL.iter().copied().map(Some).chain([None]) {
            let record = Record { fault, ..Record::default() };
            let mut store = One::default();
            record.store(&mut store).unwrap();
            assert_eq!(Record::load(&mut store), Ok(Some(record)));
        }
    }

    #[test]
    fn the_last_four_images_are_remembered() {
        let mut record = longest();
        assert_eq!([4, 5, 8].map(|image| record.attempts(&[image; 32])), [0, 255, 255]);
        record.set_attempts(&[8; 32], 1);
        record.set_attempts(&[5; 32], 0);
        assert_eq!([5, 7, 8].map(|image| record.attempts(&[image; 32])), [0, 255, 1]);
    }

    #[test]
    fn the_record_is_stored_as_it_ever_was() {
        let wanted = Wanted {
            manifest: [1; 32],
            signer: KeyId([2; 32]),
            sequence: 17,
            image: [3; 32],
            size: 300_000,
            version: Version::new(1, 2, 3),
            use_before_s: Some(1_900_000_000),
            turn: Some(Turn { noticed_s: 1_800_000_000, from_s: 1_800_000_060 }),
            stage: Stage::Trial,
            source: 1,
            begun: 2,
            written: 65_536,
            faults: 3,
            sensor_was_dead: true,
            losses: 4,
        };
        let rollout = Rollout { number: 9, signer: KeyId([4; 32]), manifest: [1; 32], share: 500 };
        let mut record = Record {
            installed: 16,
            installed_by: Some(KeyId([2; 32])),
            rollout: Some(rollout),
            wanted: Some(wanted),
            fault: Some(UpdateFault::Storage),
            ..Record::default()
        };
        record.set_attempts(&[5; 32], 2);
        record.set_attempts(&[6; 32], 1);
        let hex = concat!(
            "a600100184095820040404040404040404040404040404040404040404040404040404040404040458200101",
            "0101010101010101010101010101010101010101010101010101010101011901f402af005820010101010101",
            "0101010101010101010101010101010101010101010101010101015820020202020202020202020202020202",
            "0202020202020202020202020202020202021103582003030303030303030303030303030303030303030303",
            "03030303030303030303041a000493e00583010203061a713fb30007821a6b49d2001a6b49d23c080309010a",
            "020b1a000100000c030df50e0403828358200505050505050505050505050505050505050505050505050505",
            "0505050505050200835820060606060606060606060606060606060606060606060606060606060606060601",
            "00046773746f7261676505582002020202020202020202020202020202020202020202020202020202020202",
            "02",
        );
        stays(&record, hex, Some(0));
        // Firmware that did not count losses.
        let former = hex.replacen("af0058", "ae0058", 1).replacen("f50e04", "f5", 1);
        record.wanted.as_mut().unwrap().losses = 0;
        assert_eq!(Record::load(&mut One::holding(&bytes(&former))), Ok(Some(record)));
        stays(&Record::default(), "a200000380", Some(0));
    }
}
