//! Firmware updates on the wire: what a device says about them, where the service puts them, and a name for everything
//! that can be wrong. Owns the words; the manifest is [`crate::suit`]'s, the image [`crate::image`]'s, the blocks
//! [`crate::blocks`]'. R-FW-TIMELY, R-FW-MANIFEST.

mod topic;

use crate::json::{self, DecodeError, EncodeError, check_version};
use crate::reason::named;
use crate::{EpochMillis, Name, PROTOCOL_VERSION};
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
pub use topic::{FirmwareTopic, class_filter};

/// Longest [`FirmwareState`] in bytes.
pub const FIRMWARE_STATE_BYTES_MAX: usize = 512;

/// All of a fleet in a [`crate::document::Rollout`].
pub const SHARE_MAX: u16 = 1_000;

/// A UUID (RFC 9562) in the order of its text. Vendor and class are of version 5 (RFC 9124, section 3.3 and 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl Uuid {
    /// Length of its text in bytes.
    pub const TEXT_BYTES: usize = 36;

    /// Reads the hyphenated form in lower case.
    pub fn decode(text: &str) -> Option<Self> {
        let mut uuid = Self::default();
        let mut groups = text.split('-');
        for range in [0..4, 4..6, 6..8, 8..10, 10..16] {
            base16ct::lower::decode(groups.next()?, uuid.0.get_mut(range)?).ok()?;
        }
        // No group is longer than its place: so none is shorter either where the sum is right.
        (text.len() == Self::TEXT_BYTES && groups.next().is_none()).then_some(uuid)
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::decode(<&str>::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("uuid"))
    }
}

/// Whether a device with this id takes part when a release is rolled out to `share` of 1000: the same devices for every
/// larger share, others for every other manifest.
pub fn takes_part(manifest: &[u8; 32], id: &crate::DeviceId, share: u16) -> bool {
    let digest = crate::key::sha256(&[manifest, id.as_str().as_bytes()]);
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d]) % u32::from(SHARE_MAX) < u32::from(share)
}

named! {
    /// What is wrong with a manifest, a block or an image, or how an update ended that did not stay.
    UpdateFault {
        Malformed = "malformed", "the manifest is no SUIT envelope, or not in its one form";
        Unsupported = "unsupported", "the manifest uses a part of SUIT that the device does not know";
        TooLong = "too_long", "the manifest is longer than the device can hold";
        Unsigned = "unsigned", "the manifest carries no signature";
        Algorithm = "algorithm", "the manifest is signed or digested with another algorithm than ES256 and SHA-256";
        UnknownKey = "unknown_key", "the manifest is signed with another key than the firmware authority's";
        Signature = "signature", "the manifest's signature is wrong";
        ManifestDigest = "manifest_digest", "the manifest or a severed part of it is not the one whose digest is signed";
        Vendor = "vendor", "the manifest is for another vendor's devices";
        Class = "class", "the manifest is for another class of devices";
        Sequence = "sequence", "the manifest's sequence number is not newer than the last one that was installed";
        Expired = "expired", "the manifest may not be used any more";
        Incomplete = "incomplete", "the manifest lacks its number, vendor or class, the image's digest, size or version, or the part that installs it";
        Older = "older", "the image is older than the one that runs";
        Equal = "equal", "the image has the version that runs already";
        TooLarge = "too_large", "the image does not fit into its slot";
        NoSource = "no_source", "the manifest names no place from which this device could take the image";
        Attempts = "attempts", "this image was started too often and never stayed";
        Withdrawn = "withdrawn", "the update was withdrawn";
        BlockMissing = "block_missing", "a block of the image does not come";
        BlockAltered = "block_altered", "a block is not the one that the manifest promises";
        Patch = "patch", "the delta is damaged or does not make the image";
        Base = "base", "the delta is for another image than the one that runs";
        Truncated = "truncated", "the image is shorter than its header says";
        ImageForm = "image_form", "the image has no valid header or list of TLVs";
        ImageSize = "image_size", "the image has another size than the manifest promises";
        ImageDigest = "image_digest", "the image has another digest than the manifest promises";
        ImageHash = "image_hash", "the image's content is not the one whose hash it carries";
        ImageUnsigned = "image_unsigned", "the image is not signed";
        ImageKey = "image_key", "the image is signed with another key than the bootloader's";
        ImageSignature = "image_signature", "the image's signature is wrong";
        ImageVersion = "image_version", "the image has another version than the manifest promises";
        ImageClass = "image_class", "the image is for another vendor's or another class of devices";
        NotBooted = "not_booted", "the bootloader did not start the image";
        Reverted = "reverted", "the image was started and did not confirm itself";
        NoService = "no_service", "with the image the device did not reach the service in time";
        NoSensor = "no_sensor", "with the image the sensor did not answer in time";
        Worse = "worse", "with the image the device's storage failed";
        Storage = "storage", "the device's flash failed";
    }
}

named! {
    /// Where a device is with its firmware.
    Phase {
        Idle = "idle", "nothing newer is wanted";
        Waiting = "waiting", "an update is known and waits for its turn or its window";
        Downloading = "downloading", "blocks are being fetched";
        Verifying = "verifying", "the image is complete and is being checked";
        Installing = "installing", "the image is marked and the device restarts into it";
        Trial = "trial", "the new image runs and has not confirmed itself yet";
        Failed = "failed", "the last update was refused or did not stay";
    }
}

/// How a device's firmware is, as it says itself: a retained message that replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareState {
    v: u8,
    /// When this was said.
    #[serde(deserialize_with = "json::nullable")]
    pub t: Option<EpochMillis>,
    /// Which devices it is one of ([`Uuid`] of the class).
    pub class: Uuid,
    /// Version of the image that runs.
    pub version: Name,
    /// The first eight bytes of the digest of the image that runs, in hex; empty where it is not known.
    pub image: Name,
    /// Where the device is.
    pub phase: Phase,
    /// Sequence number of the last manifest whose image confirmed itself; 0 for none.
    pub sequence: u64,
    /// Version that is wanted; empty where nothing is.
    pub target: Name,
    /// Sequence number of the manifest that is being worked on or has failed; 0 for none.
    pub target_sequence: u64,
    /// Bytes of the payload that are there.
    pub done: u32,
    /// Bytes of the payload in all.
    pub size: u32,
    /// True where the payload is a delta against the image that runs.
    pub delta: bool,
    /// How often the image that is wanted was started.
    pub attempts: u32,
    /// What was wrong last.
    #[serde(deserialize_with = "json::nullable")]
    pub fault: Option<UpdateFault>,
    /// Manifests and rollouts that were refused since start.
    pub refused: u32,
    /// Blocks that were refused since start.
    pub blocks_refused: u32,
}

impl FirmwareState {
    /// A state of this version of the protocol for a device of this class that runs this version.
    pub const fn new(class: Uuid, version: Name) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            t: None,
            class,
            version,
            image: Name::EMPTY,
            phase: Phase::Idle,
            sequence: 0,
            target: Name::EMPTY,
            target_sequence: 0,
            done: 0,
            size: 0,
            delta: false,
            attempts: 0,
            fault: None,
            refused: 0,
            blocks_refused: 0,
        }
    }

    /// Writes the message as JSON into `buffer` ([`FIRMWARE_STATE_BYTES_MAX`] bytes always suffice); gives its length in
    /// bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(self, buffer)
    }

    /// Reads such a message of at most [`FIRMWARE_STATE_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let state: Self = json::decode(bytes, FIRMWARE_STATE_BYTES_MAX)?;
        check_version(state.v)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests;
