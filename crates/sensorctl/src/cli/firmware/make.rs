//! `sensorctl firmware key` and `firmware image`.

use super::super::Failure;
use super::super::shared::NewKeys;
use super::arguments::Names;
use crate::firmware::image::{self, IMAGE_BYTES_MAX, Recipe};
use crate::firmware::manifest::hex;
use crate::folder::{self, NewFolder};
use crate::signer::{self, Signer};
use clap::Args;
use protocol::image::Version;
use std::path::PathBuf;

/// Name of the key in its folder.
pub(super) const KEY: &str = "image";

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Key {
    /// Folder for the key; must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    keys: NewKeys,
}

impl Key {
    pub(super) fn run(self) -> Result<(), Failure> {
        let new = NewFolder::begin(&self.out).map_err(Failure::error)?;
        let signer = Signer::make(&new, KEY, &self.keys.home()).map_err(Failure::error)?;
        let public = signer::public_pem(signer.public());
        new.public(&format!("{KEY}.pub"), public.as_bytes()).map_err(Failure::error)?;
        new.publish().map_err(Failure::error)?;
        let id = signer.public().id();
        super::super::say(format_args!("key for images {id} in {}", self.out.display()))
    }
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Image {
    /// What the device executes
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// The image's version: 1.2.3, or 1.2.3+4 with a build number
    #[arg(long)]
    version: Version,
    #[command(flatten)]
    names: Names,
    /// The bootloader's key: a folder made with `sensorctl firmware key`, a private key (PEM), or a .pkcs11.json
    #[arg(long, value_name = "PATH")]
    key: PathBuf,
    /// File for the image; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Bytes before the body
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(32..))]
    header_bytes: u16,
    /// The image's security counter [default: none]
    #[arg(long, value_name = "N")]
    security_counter: Option<u32>,
}

impl Image {
    pub(super) fn run(self) -> Result<(), Failure> {
        let product = self.names.product()?;
        let recipe = Recipe {
            body: folder::read_bytes(&self.body, IMAGE_BYTES_MAX).map_err(Failure::error)?,
            version: self.version,
            product,
            header_bytes: self.header_bytes,
            security_counter: self.security_counter,
        };
        let signer = Signer::open_path(&self.key, KEY).map_err(Failure::error)?;
        let image = image::make(&recipe, &signer, &self.out).map_err(Failure::error)?;
        folder::replace(&self.out, image.bytes()).map_err(Failure::error)?;
        super::super::say(format_args!(
            "image {} for {}: {} bytes, SHA-256 {}",
            image.version(),
            recipe.product,
            image.bytes().len(),
            hex(&image.digest())
        ))
    }
}
