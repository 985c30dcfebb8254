//! What the bootloader does at each start, as MCUboot does it with swap, revert and downgrade prevention. Owns which image
//! runs next; never downloads, never confirms. R-BOOT-VERIFY, R-BOOT-NEWER, R-FW-HEALTH.

use super::marks::{Half, Standing};
use super::{FirmwareSlots, SECTOR_BYTES, image, storage};
use device::{Product, StorageError};
use protocol::UpdateFault;
use protocol::image::{Image, Version};
use protocol::key::sha256;
use std::fmt;
use thiserror::Error;

/// Why no image is started.
#[derive(Debug, Error)]
pub enum BootError {
    /// The flash failed.
    #[error("the flash of the firmware's slots: {0}")]
    Storage(#[from] StorageError),
    /// The image that was to be the first is none.
    #[error("the device's first firmware image cannot be used: {0}")]
    First(UpdateFault),
    /// It does not fit.
    #[error("the device's first firmware image is longer than its slot of {} bytes", super::SLOT_BYTES)]
    TooLong,
    /// The image that should run is damaged, and there is no other.
    #[error("the firmware image in slot 0 is damaged: {0}")]
    Damaged(UpdateFault),
}

/// What was decided at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booted {
    /// The image that ran before runs again.
    Again(Version),
    /// The candidate was swapped in for a test.
    Swapped(Version),
    /// The candidate was to be tried and is not genuine or is older: it is gone.
    Refused(UpdateFault),
    /// The image on trial was not confirmed: the one before it is back.
    Reverted(Version),
}

impl fmt::Display for Booted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Again(version) => write!(f, "bootloader: version {version}"),
            Self::Swapped(version) => write!(f, "bootloader: version {version} is swapped in for a test"),
            Self::Refused(why) => write!(f, "bootloader: the candidate is refused: {why}"),
            Self::Reverted(version) => write!(f, "bootloader: not confirmed, back to version {version}"),
        }
    }
}

impl FirmwareSlots {
    /// Does what is to be done before the image in slot 0 runs. `product` says whose images it takes; without a key for them it
    /// takes none. Empty slots get [`image::factory`].
    pub fn boot(&mut self, product: &Product) -> Result<Booted, BootError> {
        self.begin_with(&image::factory())?;
        let running = self.running_half();
        let booted = match self.standing() {
            Standing::Confirmed => None,
            Standing::Pending => Some(match self.judge(product) {
                Ok(version) => {
                    self.put(running.other(), Standing::OnTrial)?;
                    Booted::Swapped(version)
                }
                Err(why) => {
                    self.put(running, Standing::Confirmed)?;
                    let first = running.other().base();
                    self.flash.erase(first, first + SECTOR_BYTES).map_err(storage)?;
                    Booted::Refused(why)
                }
            }),
            Standing::OnTrial => {
                self.put(running.other(), Standing::Confirmed)?;
                let version = self.image(self.running_half()).map_err(BootError::Damaged)?.header.version;
                Some(Booted::Reverted(version))
            }
        };
        let version = self.image(self.running_half()).map_err(BootError::Damaged)?.header.version;
        Ok(booted.unwrap_or(Booted::Again(version)))
    }

    /// Whether the candidate may run: genuine, for this product, and not older than the image that runs. MCUboot takes an equal
    /// one; it is the application that refuses it.
    fn judge(&mut self, product: &Product) -> Result<Version, UpdateFault> {
        let running = self.image(self.running_half())?;
        let half = self.running_half().other();
        let (candidate, bytes) = image::whole(|offset, buffer| read(self, half, offset, buffer))?;
        let hashed = bytes.get(..candidate.hashed_bytes() as usize).ok_or(UpdateFault::Truncated)?;
        let key = product.image_key.as_ref().ok_or(UpdateFault::ImageKey)?;
        candidate.verify(&sha256(&[hashed]), key)?;
        candidate.check_class(product.vendor, product.class)?;
        let version = candidate.header.version;
        if version < running.header.version { Err(UpdateFault::Older) } else { Ok(version) }
    }

    fn image(&mut self, half: Half) -> Result<Image, UpdateFault> {
        image::whole(|offset, buffer| read(self, half, offset, buffer)).map(|(image, _)| image)
    }
}

fn read(slots: &mut FirmwareSlots, half: Half, offset: u32, buffer: &mut [u8]) -> Result<(), UpdateFault> {
    slots.read(half, offset, buffer).map_err(|_| UpdateFault::Storage)
}
