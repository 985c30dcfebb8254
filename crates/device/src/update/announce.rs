//! Whether a manifest is for this device, and whether it says anything new. Changes nothing. R-FW-AUTHORISED,
//! R-FW-MANIFEST, R-BOOT-NEWER, R-UPDATE-TRUST.

use super::record::{Record, Stage, Wanted};
use super::{ATTEMPTS_MAX, Moment};
use crate::interface::Product;
use crate::platform::SlotLayout;
use heapless::Vec;
use protocol::UpdateFault;
use protocol::blocks::{PAYLOAD_BYTES_MAX, PayloadUri};
use protocol::image::Version;
use protocol::suit::{Envelope, Manifest, SOURCES_MAX};

/// A place from which the image can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub payload: PayloadUri,
    /// Digest of the image that the payload is a delta against.
    pub base: Option<[u8; 32]>,
}

/// The manifest that the service announces on the connection in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// Its digest.
    pub manifest: [u8; 32],
    /// Its places, in its order; `None` for one that this device cannot read.
    pub sources: Vec<Option<Source>, SOURCES_MAX>,
}

/// What runs on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Present {
    pub version: Version,
    /// Bytes of the image.
    pub size: u32,
    /// Its digest, once that is known.
    pub digest: Option<[u8; 32]>,
}

/// What a manifest means for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its image runs already.
    Present { sequence: u64 },
    /// It is the one that is wanted already.
    Known(Announced),
    /// It is newer than everything before.
    New(Announced, Wanted),
}

/// A manifest that was refused; what it promised, where that was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub fault: UpdateFault,
    pub target: Option<(Version, u64)>,
}

impl From<UpdateFault> for Refused {
    fn from(fault: UpdateFault) -> Self {
        Self { fault, target: None }
    }
}

/// Judges a manifest: form, signature, vendor, class, completeness, expiry, sequence, version, size, attempts, sources.
pub(super) fn judge(
    bytes: &[u8],
    moment: &Moment<'_>,
    product: &Product,
    layout: &SlotLayout,
    present: &Present,
    record: &Record,
) -> Result<Verdict, Refused> {
    let envelope = Envelope::decode(bytes)?;
    let key = moment.firmware.ok_or(UpdateFault::UnknownKey)?;
    let manifest = envelope.verify(key)?;
    let target = Some((manifest.version.unwrap_or_default(), manifest.sequence));
    let refused = |fault| Refused { fault, target };
    if manifest.vendor != product.vendor {
        return Err(refused(UpdateFault::Vendor));
    }
    if manifest.class != product.class {
        return Err(refused(UpdateFault::Class));
    }
    let version = manifest.version.ok_or(refused(UpdateFault::Incomplete))?;
    // Where the digest is not known yet, sequence and version tell it too.
    let is_installed = manifest.sequence == record.installed_by(key.id()) && version == present.version;
    if present.digest == Some(manifest.image.digest) || is_installed && present.digest.is_none() {
        return Ok(Verdict::Present { sequence: manifest.sequence });
    }
    if manifest.use_before_s.is_some_and(|until| moment.time.seconds() >= until) {
        return Err(refused(UpdateFault::Expired));
    }
    let announced = Announced { manifest: manifest.digest(), sources: sources(&manifest) };
    // What another authority's key has proven counts for nothing any more.
    let signer = key.id();
    let wanted = record.wanted.as_ref().filter(|wanted| wanted.signer == signer);
    let installed = record.installed_by(signer);
    let is_newer = |wanted: &&Wanted| wanted.sequence > installed;
    if wanted.filter(is_newer).is_some_and(|wanted| wanted.manifest == announced.manifest) {
        return Ok(Verdict::Known(announced));
    }
    // A broker that alternates between two manifests gains nothing: only a newer one replaces one that was accepted.
    let newest = wanted.map_or(0, |wanted| wanted.sequence).max(installed);
    if manifest.sequence <= newest {
        return Err(refused(UpdateFault::Sequence));
    }
    if version < present.version {
        return Err(refused(UpdateFault::Older));
    }
    if version == present.version {
        return Err(refused(UpdateFault::Equal));
    }
    if manifest.image.size > layout.capacity {
        return Err(refused(UpdateFault::TooLarge));
    }
    if record.attempts(&manifest.image.digest) >= ATTEMPTS_MAX {
        return Err(refused(UpdateFault::Attempts));
    }
    // While the running image's digest is not known, a delta may fit.
    let usable = |source: &Option<Source>| {
        let fits = |source: &Source| source.base.is_none() || source.base == present.digest;
        source.as_ref().is_some_and(|source| present.digest.is_none() || fits(source))
    };
    if !announced.sources.iter().any(usable) {
        let delta = announced.sources.iter().flatten().any(|source| source.base.is_some());
        return Err(refused(if delta { UpdateFault::Base } else { UpdateFault::NoSource }));
    }
    let wanted = Wanted {
        manifest: announced.manifest,
        signer,
        sequence: manifest.sequence,
        image: manifest.image.digest,
        size: manifest.image.size,
        version,
        use_before_s: manifest.use_before_s,
        turn: None,
        stage: Stage::Fetching,
        source: 0,
        begun: 0,
        written: 0,
        faults: 0,
        sensor_was_dead: false,
        losses: 0,
    };
    Ok(Verdict::New(announced, wanted))
}

fn sources(manifest: &Manifest<'_>) -> Vec<Option<Source>, SOURCES_MAX> {
    let read = |source: &protocol::suit::Source<'_>| {
        let payload = PayloadUri::decode(source.uri)?;
        // A whole image is as long as it is, and nothing is longer than blocks can be.
        let whole = source.base.is_some() || payload.size == manifest.image.size;
        let possible = whole && payload.size > 0 && payload.size <= PAYLOAD_BYTES_MAX;
        possible.then_some(Source { payload, base: source.base })
    };
    manifest.sources.iter().map(read).collect()
}
