//! The fuzzer's seeds for images, blocks and patches.

use super::samples::images::sealed;
use super::samples::{key, public};
use p256::ecdsa::SigningKey;
use protocol::Uuid;
use protocol::blocks::{BLOCK_BYTES, BLOCK_MESSAGE_BYTES_MAX, HASH_BYTES, Tree};
use protocol::fuzz::{BASE_BYTES, base_byte};
use protocol::image::{Content, Version, key_hash};
use protocol::patch::{Encoder, Instruction};

/// Target, name and bytes of each.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let content = Content::new(&[0xb0; 40], Version::new(1, 2, 3));
    let full = Content {
        vendor: Some(Uuid([4; 16])),
        class: Some(Uuid([5; 16])),
        security_counter: Some(7),
        header_size: 64,
        ..content
    };
    seeds.push(("image", "plain", sealed(&content, &key(1))));
    seeds.push(("image", "class-and-counter", sealed(&full, &key(1))));
    seeds.push(("image", "in-a-slot", [&sealed(&full, &key(1))[..], &[0xff; 64]].concat()));
    seeds.push(("image", "signature", named_as_the_generators(&sealed(&full, &key(1)))));
    seeds.push(("block", "alone", block(100, 0)));
    seeds.push(("block", "last-of-two", block(BLOCK_BYTES + 20, 1)));
    seeds.push(("block", "last-of-seven", block(6 * BLOCK_BYTES + 1, 6)));
    seeds.push(("block", "first-of-seven", block(6 * BLOCK_BYTES + 1, 0)));
    let base: Vec<u8> = (0..BASE_BYTES).map(base_byte).collect();
    let altered: Vec<u8> = base.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at % 37 == 2)).collect();
    let moved = [&[7], &base[512..], &altered[..300], &[1, 2, 3], &base[100..200]].concat();
    seeds.push(("patch", "same", patch(&base, &base, &[(0, BASE_BYTES, 0)])));
    seeds.push(("patch", "altered", patch(&base, &altered, &[(0, BASE_BYTES, 0)])));
    seeds.push((
        "patch",
        "moved",
        patch(&base, &moved, &[(0, 0, 1), (512, 512, 0), (-1024, 300, 3), (-200, 100, 0)]),
    ));
    seeds.push(("patch", "new", patch(&base, b"something else altogether", &[(0, 0, 25)])));
    seeds
}

/// The image with the name of the key that the fuzz target tries: only its signature is still another's.
fn named_as_the_generators(image: &[u8]) -> Vec<u8> {
    let one = SigningKey::from_slice(&[&[0; 31][..], &[1]].concat()).expect("a private key");
    let (own, generators) = (key_hash(&public(&key(1))), key_hash(&public(&one)));
    let at = image.windows(own.len()).position(|window| *window == own).expect("the key's name");
    [&image[..at], &generators, &image[at + own.len()..]].concat()
}

/// Tree hash, size, number and message of a block.
fn block(size: usize, index: u32) -> Vec<u8> {
    let payload: Vec<u8> = (0..size).map(|at| ((at * at) >> 5) as u8).collect();
    let mut nodes = vec![[0; HASH_BYTES]; Tree::nodes(size as u32)];
    let tree = Tree::new(&payload, &mut nodes).expect("a payload");
    let mut message = [0; BLOCK_MESSAGE_BYTES_MAX];
    let len = tree.message(index, &mut message).expect("a block");
    [&tree.uri().root[..], &tree.uri().size.to_le_bytes(), &index.to_le_bytes(), &message[..len]].concat()
}

fn patch(base: &[u8], image: &[u8], instructions: &[(i32, u32, u32)]) -> Vec<u8> {
    let mut patch = Vec::new();
    let mut encoder = Encoder::new(base, image, |byte| patch.push(byte)).expect("small");
    for (seek, add, insert) in instructions {
        encoder.instruction(Instruction { seek: *seek, add: *add, insert: *insert }).expect("inside");
    }
    encoder.finish().expect("complete");
    patch
}
