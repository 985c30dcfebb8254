//! Images for tests, and what a device asks of one.

use super::{public, sign};
use p256::ecdsa::SigningKey;
use protocol::image::{Content, Image};
use protocol::key::sha256;
use protocol::{PublicKey, UpdateFault, Uuid};

pub const VENDOR: Uuid = Uuid(*b"vendor-of-device");
pub const CLASS: Uuid = Uuid(*b"class-of-devices");

/// The image of this content.
pub fn sealed(content: &Content<'_>, signer: &SigningKey) -> Vec<u8> {
    let mut out = vec![0; content.bytes_max()];
    let len = content
        .seal(&public(signer), &mut out, |digest| Ok::<_, ()>(sign(signer, digest)))
        .expect("an image");
    out.truncate(len);
    out
}

/// Everything that a device asks of an image, in its order.
pub fn accepted(bytes: &[u8], key: &PublicKey) -> Result<Image, UpdateFault> {
    let image = Image::decode(bytes)?;
    if image.bytes() as usize != bytes.len() {
        return Err(UpdateFault::ImageSize);
    }
    image.verify(&sha256(&[&bytes[..image.hashed_bytes() as usize]]), key)?;
    image.check_class(VENDOR, CLASS)?;
    Ok(image)
}
