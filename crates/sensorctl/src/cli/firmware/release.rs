//! `sensorctl firmware sign` and `firmware verify`.

use super::super::{Failure, say};
use super::arguments::{self, Names};
use crate::firmware::image::{ImageError, ImageFile};
use crate::firmware::manifest::short;
use crate::firmware::release::Release;
use crate::firmware::sign::{self, KEEP_BELOW_PERCENT, SignError, Wanted};
use crate::operator::now;
use crate::powers::{self, Numbers};
use crate::signer;
use clap::Args;
use indicatif::ProgressBar;
use protocol::PublicKey;
use protocol::document::Power;
use protocol::firmware::Uuid;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Sign {
    /// The signed image: zephyr.signed.bin, or one made with `sensorctl firmware image`
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Folder with the keys of the powers; the private key of the power over firmware is used
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    #[command(flatten)]
    names: Names,
    /// Folder for the release; must not exist yet, or be empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The manifest's sequence number; devices take only a higher one than any they have accepted
    ///
    /// Left out, it is the time in seconds since 1970, or one more than the last one of these devices where that is higher:
    /// numbers.json beside the keys has the last one. So it grows on any build machine, and when a clock goes back.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sequence: Option<u64>,
    /// An older image that devices run, for a delta against it; up to three
    #[arg(long, value_name = "FILE")]
    base: Vec<PathBuf>,
    /// Keep a delta only where it has less than so many percent of the image's bytes
    #[arg(long, value_name = "PERCENT", default_value_t = KEEP_BELOW_PERCENT, value_parser = clap::value_parser!(u32).range(1..=100))]
    keep_below: u32,
    /// The bootloader's public key (PEM): an image that is signed with another one is refused
    #[arg(long, value_name = "FILE")]
    image_key: Option<PathBuf>,
    /// Bytes that a slot of these devices takes: a larger image is refused
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    capacity: Option<u32>,
    /// No device installs it from then on: 2027-01-31, or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = arguments::date)]
    use_before: Option<u64>,
    /// What it is, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Address of the bill of materials of the image
    #[arg(long, value_name = "URI", value_parser = arguments::address)]
    sbom: Option<String>,
    /// Address of the MUD file (RFC 8520), which says what the device needs of the network
    #[arg(long, value_name = "URI", value_parser = arguments::address)]
    mud: Option<String>,
    /// The key that signs the MUD file (public, PEM) [default: the one of the power over firmware]
    #[arg(long, value_name = "FILE", requires = "mud")]
    mud_key: Option<PathBuf>,
}

/// What the arguments are to blame for, and what the world is.
fn failure(error: SignError) -> Failure {
    match error {
        SignError::TooMany(_) | SignError::Twice(_) | SignError::Expired | SignError::TooLong => {
            Failure::usage(error)
        }
        error => Failure::error(error),
    }
}

fn public_key(path: Option<&Path>) -> Result<Option<PublicKey>, Failure> {
    path.map(signer::read_public).transpose().map_err(Failure::error)
}

/// The kind of a class's manifests in the list of numbers.
fn kind(class: Uuid) -> String {
    format!("manifest {class}")
}

impl Sign {
    pub(super) fn run(self) -> Result<(), Failure> {
        let product = self.names.product()?;
        let image = ImageFile::read(&self.image).map_err(Failure::error)?;
        let bases =
            self.base.iter().map(|path| ImageFile::read(path)).collect::<Result<Vec<_>, ImageError>>();
        let bases = bases.map_err(Failure::error)?;
        let signer = powers::signer(&self.authority, Power::Firmware).map_err(Failure::error)?;
        let mud_key = public_key(self.mud_key.as_deref())?.unwrap_or(*signer.public());
        let (kind, class) = (kind(product.class()), product.class());
        let wanted = Wanted {
            product,
            image_key: public_key(self.image_key.as_deref())?,
            capacity: self.capacity,
            keep_below: self.keep_below,
            use_before_s: self.use_before,
            description: self.description,
            sbom: self.sbom,
            mud: self.mud.map(|url| (url, mud_key.id())),
        };
        // Nothing is written before everything is known to be right; but where that cannot be, say so now.
        let vacant = crate::folder::NewFolder::begin(&self.out).map_err(Failure::error)?;
        drop(vacant);
        let now_s = now().0 / 1000;
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        let prepared = sign::prepare(image, &bases, wanted, now_s, |base| {
            bar.set_message(format!("delta against {}", base.version()));
        });
        bar.finish_and_clear();
        let prepared = prepared.map_err(failure)?;
        let (deltas, version) = (prepared.deltas.clone(), prepared.image().version());
        let sequence = {
            let mut numbers = Numbers::open(&self.authority).map_err(Failure::error)?;
            numbers.next_after(&kind, now_s, self.sequence).map_err(Failure::error)?
        };
        let release = prepared.seal(sequence, &signer).map_err(failure)?;
        release.write(&self.out).map_err(Failure::error)?;
        say(format_args!(
            "{version} for class {class}, sequence number {sequence}, signed with {}",
            signer.public().id()
        ))?;
        say(format_args!("image {} bytes", release.manifest.image.size))?;
        for delta in &deltas {
            let percent = delta.bytes as f64 * 100.0 / f64::from(release.manifest.image.size.max(1));
            say(format_args!("{delta} ({percent:.1} %)"))?;
        }
        if self.image_key.is_none() {
            say("not checked: whose key the image is signed with (--image-key)")?;
        }
        if self.capacity.is_none() {
            say("not checked: whether the image fits into a slot (--capacity)")?;
        }
        say(format_args!("release in {}", self.out.display()))
    }
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Verify {
    /// Folder of the release
    #[arg(long, value_name = "FOLDER")]
    release: PathBuf,
    /// Folder with the public keys of the powers
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// The bootloader's public key (PEM): the image's signature is checked too
    #[arg(long, value_name = "FILE")]
    image_key: Option<PathBuf>,
    /// An older image: the delta against it is decoded and compared; may be repeated
    #[arg(long, value_name = "FILE")]
    base: Vec<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let key = powers::public(&self.authority, Power::Firmware).map_err(Failure::error)?;
        let release = Release::open(&self.release, &key).map_err(Failure::error)?;
        let mut checked = vec![format!("manifest signed with {}", key.id())];
        let blocks = release.check_blocks().map_err(Failure::error)?;
        checked.push(format!("{blocks} blocks lead to the tree hashes in the manifest"));
        let image = release.image().map_err(Failure::error)?;
        match (&image, public_key(self.image_key.as_deref())?) {
            (Some(image), Some(key)) => {
                image.check_key(&key).map_err(Failure::error)?;
                checked.push(format!(
                    "image: digest, size, form, hash, version, vendor, class; signed with {}",
                    key.id()
                ));
            }
            (Some(_), None) => {
                checked.push("image: digest, size, form, hash, version, vendor, class; not its signature (--image-key)".into());
            }
            (None, _) => checked.push("no whole image comes in blocks: not checked".into()),
        }
        for path in &self.base {
            let base = ImageFile::read(path).map_err(Failure::error)?;
            if !release.check_delta(&base).map_err(Failure::error)? {
                let (name, digest) = (path.display(), short(&base.digest()));
                return Err(Failure::error(format_args!(
                    "the release has no delta against {name} ({digest})"
                )));
            }
            checked.push(format!("delta against {} gives the image", base.version()));
        }
        let expired = release.manifest.has_expired(now().0 / 1000);
        if self.json {
            let mut value = release.json();
            if let Some(object) = value.as_object_mut() {
                object.insert("checked".to_owned(), json!(checked));
                object.insert("expired".to_owned(), json!(expired));
            }
            say(value)?;
        } else {
            say(format_args!("{}", release.manifest.to_string().trim_end()))?;
            for part in &release.parts {
                let (bytes, percent) = (part.payload.uri().size, release.percent(part));
                say(format_args!("file         {}: {bytes} bytes, {percent:.1} % of the image", part.file))?;
            }
            for line in checked {
                say(format_args!("checked      {line}"))?;
            }
        }
        if expired {
            Err(Failure::error("the manifest may not be used any more: devices refuse it"))
        } else {
            Ok(())
        }
    }
}
