//! What lies in a slot of a Linux device: an image in MCUboot's form whose body nobody executes. Owns the image that a device
//! begins with, and how a body says that its firmware is a bad one.

use super::{FirmwareSlots, SLOT_BYTES};
use device::Slots;
use protocol::UpdateFault;
use protocol::image::{Header, Image, Version, tlv};
use protocol::key::sha256;

/// First line of a body that makes the device behave as if its firmware were broken, without the name that follows.
const MISBEHAVE: &str = "misbehave: ";

/// Longest first line that is looked at, in bytes.
const LINE_MAX: usize = 64;

/// How a firmware can be broken: what a device must get out of by itself. The first line of an image's body says so, as
/// `misbehave: hang`; for tests and demonstrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// `hang`: it does nothing, and the watchdog ends it.
    Hang,
    /// `panic`: it works, and dies in the middle of its trial.
    Panic,
    /// `no network`: it reaches nobody.
    NoNetwork,
    /// `no sensor`: its sensor never answers.
    NoSensor,
    /// `never confirm`: it works, and its trial never ends.
    NeverConfirm,
}

impl Misbehaviour {
    /// Every one, with its name in an image.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Hang, "hang"),
        (Self::Panic, "panic"),
        (Self::NoNetwork, "no network"),
        (Self::NoSensor, "no sensor"),
        (Self::NeverConfirm, "never confirm"),
    ];

    /// The body of a firmware that does this.
    pub fn body(self) -> String {
        let name = Self::ALL.into_iter().find(|(which, _)| *which == self).map_or("", |(_, name)| name);
        format!("{MISBEHAVE}{name}\n")
    }

    /// What the body that begins with `bytes` says.
    fn find(bytes: &[u8]) -> Option<Self> {
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let said = std::str::from_utf8(line).ok()?.strip_prefix(MISBEHAVE)?;
        Self::ALL.into_iter().find(|(_, name)| *name == said).map(|(which, _)| which)
    }
}

impl FirmwareSlots {
    /// Version of the image that runs; `None` where there is none.
    pub fn version(&mut self) -> Option<Version> {
        self.header().map(|header| header.version)
    }

    /// How the image that runs is broken; `None` where it is not.
    pub fn misbehaviour(&mut self) -> Option<Misbehaviour> {
        let header = self.header()?;
        let mut line = [0; LINE_MAX];
        let len = LINE_MAX.min(header.body_size as usize);
        let line = line.get_mut(..len)?;
        self.read_running(header.header_size.into(), line).ok()?;
        Misbehaviour::find(line)
    }

    fn header(&mut self) -> Option<Header> {
        let mut header = [0; Header::BYTES];
        self.mark?;
        self.read_running(0, &mut header).ok()?;
        Header::decode(&header).ok()
    }
}

/// The image that a device begins with where nobody gives another: a line of text, with this program's version. It is not
/// signed, because the image key's private half is not here: the factory writes slot 0, not the bootloader.
pub fn factory() -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let body = format!("the sensor device's simulator, version {version}\n");
    let header = Header {
        header_size: Header::BYTES as u16,
        protected_size: 0,
        body_size: body.len() as u32,
        version: version.parse().unwrap_or_default(),
    };
    let hashed = [header.encode().as_slice(), body.as_bytes()].concat();
    let hash = sha256(&[&hashed]);
    // MCUboot's list of unprotected TLVs (bootutil/image.h), with nothing but the hash in it.
    let list = [[0x07, 0x69], 40_u16.to_le_bytes(), tlv::SHA256.to_le_bytes(), 32_u16.to_le_bytes()];
    [hashed.as_slice(), list.as_flattened(), &hash].concat()
}

/// Whether this is an image at all: its form, and the hash that it carries. Bytes behind it are an error too.
pub(super) fn check(bytes: &[u8]) -> Result<Image, UpdateFault> {
    let image = Image::decode(bytes)?;
    if image.bytes() as usize != bytes.len() {
        return Err(UpdateFault::ImageSize);
    }
    let hashed = bytes.get(..image.hashed_bytes() as usize).ok_or(UpdateFault::Truncated)?;
    if sha256(&[hashed]) == image.tlvs.hash { Ok(image) } else { Err(UpdateFault::ImageHash) }
}

/// The image at the beginning of a slot, whole; `read` gives bytes of the slot.
pub(super) fn whole(
    mut read: impl FnMut(u32, &mut [u8]) -> Result<(), UpdateFault>,
) -> Result<(Image, Vec<u8>), UpdateFault> {
    let image = Image::read(SLOT_BYTES, &mut read)?;
    let mut bytes = vec![0; image.bytes() as usize];
    read(0, &mut bytes)?;
    let image = check(&bytes)?;
    Ok((image, bytes))
}
