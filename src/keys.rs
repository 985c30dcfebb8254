//! Public keys that come with the build, or from the command line of native_sim: the factory's, and the one that images are
//! verified with. Owns where they come from and their form; never what they are good for. R-AUTHORITY, R-UPDATE-TRUST.

use crate::ffi;
use base64ct::{Base64, Encoding};
use core::fmt;
use protocol::PublicKey;
use protocol::key::PUBLIC_KEY_BYTES;

/// The file that SENSOR_FACTORY_KEY_FILE names, empty where it names none.
static FACTORY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/factory.pub"));
/// The file that SENSOR_IMAGE_KEY_FILE names, or the public half of the key that signs; empty where there is neither.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/image_key.pub"));

/// SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480): all such keys begin so.
const HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const DER_BYTES: usize = HEAD.len() + PUBLIC_KEY_BYTES;
const BASE64_BYTES: usize = DER_BYTES.div_ceil(3) * 4;
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// Longest file in bytes: with carriage returns and a comment.
const FILE_BYTES_MAX: usize = 512;

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Who may provision blank devices with this firmware.
    Factory,
    /// Who signs images: the bootloader knows the same key.
    Image,
}

/// What is there is no public key on P-256 in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyForm(Owner);

impl fmt::Display for KeyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Owner::Factory => "the factory's key is no P-256 public key in PEM: take factory.pub of sensorctl",
            Owner::Image => "the key of images is no P-256 public key in PEM: take what `imgtool getpub --encoding pem` gives",
        })
    }
}

/// The key; `None` where the firmware was built without one.
pub fn read(owner: Owner) -> Result<Option<PublicKey>, KeyForm> {
    let (number, built_in) = match owner {
        Owner::Factory => (ffi::SHIM_KEY_FACTORY, FACTORY),
        Owner::Image => (ffi::SHIM_KEY_IMAGE, IMAGE),
    };
    let mut buffer = [0; FILE_BYTES_MAX];
    // SAFETY: the pointer and the length are those of one array, which outlives the call.
    let len = unsafe { ffi::shim_key_file(number, buffer.as_mut_ptr(), buffer.len()) };
    let file = match buffer.get(..len) {
        Some(file) if !file.is_empty() => file,
        _ => built_in,
    };
    if file.is_empty() {
        return Ok(None);
    }
    core::str::from_utf8(file).ok().and_then(parse).map(Some).ok_or(KeyForm(owner))
}

fn parse(pem: &str) -> Option<PublicKey> {
    let (_, rest) = pem.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let mut base64 = [0; BASE64_BYTES];
    let mut len = 0;
    for byte in body.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        *base64.get_mut(len)? = byte;
        len += 1;
    }
    let mut der = [0; DER_BYTES];
    let der = Base64::decode(base64.get(..len)?, &mut der).ok()?;
    PublicKey::new(der.strip_prefix(&HEAD)?).ok()
}
