extern crate std;

use super::*;
use proptest::prelude::*;
use std::format;
use std::vec::Vec;

/// Sizes around whole blocks and around whole trees.
const SIZES: [usize; 12] = [
    1,
    31,
    BLOCK_BYTES - 1,
    BLOCK_BYTES,
    BLOCK_BYTES + 1,
    2 * BLOCK_BYTES,
    3 * BLOCK_BYTES - 7,
    4 * BLOCK_BYTES + 1,
    5 * BLOCK_BYTES,
    7 * BLOCK_BYTES + 100,
    8 * BLOCK_BYTES,
    9 * BLOCK_BYTES - 1,
];

fn payload(size: usize) -> Vec<u8> {
    (0..size as u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect()
}

/// The URI of a payload and the messages of all of its blocks.
fn cut(payload: &[u8]) -> (PayloadUri, Vec<Vec<u8>>) {
    let mut nodes = std::vec![[0; HASH_BYTES]; Tree::nodes(payload.len() as u32)];
    let tree = Tree::new(payload, &mut nodes).expect("a payload");
    let mut out = [0; BLOCK_MESSAGE_BYTES_MAX];
    let messages = (0..tree.uri().count())
        .map(|index| {
            let len = tree.message(index, &mut out).expect("room");
            assert!(tree.message(index, &mut out[..len - 1]).is_none());
            out[..len].to_vec()
        })
        .collect();
    assert!(tree.message(tree.uri().count(), &mut out).is_none());
    (tree.uri(), messages)
}

#[test]
fn the_blocks_of_every_message_are_the_payload() {
    for size in SIZES {
        let payload = payload(size);
        let (uri, messages) = cut(&payload);
        let mut received = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            assert_eq!(message.len(), message_len(uri.size, index as u32));
            received.extend_from_slice(uri.verify(index as u32, message).expect("a block"));
        }
        assert_eq!(received, payload);
    }
}

#[test]
fn a_payload_of_one_block_is_its_own_proof() {
    let payload = payload(100);
    let (uri, messages) = cut(&payload);
    assert_eq!(messages, std::slice::from_ref(&payload));
    assert_eq!(uri.root, crate::key::sha256(&[&[0], &payload]));
}

#[test]
fn the_largest_payload_has_the_longest_message_and_larger_ones_have_no_block() {
    assert_eq!(message_len(PAYLOAD_BYTES_MAX, 0), BLOCK_MESSAGE_BYTES_MAX);
    let zeros = std::vec![0; PAYLOAD_BYTES_MAX as usize + 1];
    let (uri, messages) = cut(&zeros[1..]);
    assert_eq!(uri.verify(8_191, &messages[8_191]).map(<[u8]>::len), Ok(BLOCK_BYTES));
    let mut nodes = std::vec![[0; HASH_BYTES]; Tree::nodes(PAYLOAD_BYTES_MAX + 1)];
    assert!(Tree::new(&zeros, &mut nodes).is_none());
    assert!(Tree::new(&[], &mut nodes).is_none());
    assert!(Tree::new(&zeros[..5_000], &mut nodes[..4]).is_none());
    // A tree of that size, in which block 8192 stands alone to the right of the largest payload.
    let alone = crate::key::sha256(&[&[0], &[0]]);
    let uri =
        PayloadUri { root: crate::key::sha256(&[&[1], &uri.root, &alone]), size: PAYLOAD_BYTES_MAX + 1 };
    assert_eq!(uri.verify(8_192, &[&[0; 32][..], &[0]].concat()), Err(UpdateFault::BlockAltered));
}

#[test]
fn a_message_with_any_byte_altered_is_refused() {
    for size in [1, 33, BLOCK_BYTES + 5, 3 * BLOCK_BYTES - 7] {
        let (uri, messages) = cut(&payload(size));
        for (index, message) in messages.iter().enumerate() {
            for at in 0..message.len() {
                let mut altered = message.clone();
                altered[at] ^= 1 << (at % 8);
                assert_eq!(
                    uri.verify(index as u32, &altered),
                    Err(UpdateFault::BlockAltered),
                    "{size} {index} {at}"
                );
            }
        }
    }
}

#[test]
fn a_message_at_another_place_or_of_another_length_is_refused() {
    for size in SIZES {
        let (uri, messages) = cut(&payload(size));
        let (_, of_another) = cut(&payload(size + 1)[1..]);
        for (index, message) in messages.iter().enumerate() {
            let refused = |number: u32, message: &[u8]| {
                assert_eq!(
                    uri.verify(number, message),
                    Err(UpdateFault::BlockAltered),
                    "{size} {index} {number}"
                );
            };
            for other in (0..messages.len() + 2).filter(|other| *other != index) {
                refused(other as u32, message);
            }
            refused(u32::MAX, message);
            refused(index as u32, &message[..message.len() - 1]);
            refused(index as u32, &message[1..]);
            refused(index as u32, &[]);
            refused(index as u32, &[message, &[0][..]].concat());
            refused(index as u32, &[message, &[0; HASH_BYTES][..]].concat());
            refused(index as u32, &of_another[index]);
            if message_len(uri.size, index as u32) > HASH_BYTES {
                refused(index as u32, &message[HASH_BYTES..]);
            }
        }
    }
}

#[test]
fn a_message_of_a_payload_with_another_size_or_root_is_refused() {
    for size in SIZES {
        let (uri, messages) = cut(&payload(size));
        for (index, message) in messages.iter().enumerate() {
            for bit in 0..HASH_BYTES * 8 {
                let mut other = uri;
                other.root[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(other.verify(index as u32, message), Err(UpdateFault::BlockAltered));
            }
            let is_last = index + 1 == messages.len();
            for other in [0, uri.size - 1, uri.size + 1, uri.size + BLOCK_BYTES as u32, u32::MAX] {
                let other = PayloadUri { size: other, ..uri };
                // The last block proves the size; of the others some would be the same in a payload of another.
                if is_last
                    || other.count() != uri.count()
                        && proof_len(0, other.count()) != proof_len(0, uri.count())
                {
                    assert_eq!(
                        other.verify(index as u32, message),
                        Err(UpdateFault::BlockAltered),
                        "{other}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_hash_of_a_node_is_no_block() {
    // The two blocks' hashes, as a block of 64 bytes: without the prefixes of RFC 9162 it would be a tree with the same root.
    let (uri, messages) = cut(&payload(2 * BLOCK_BYTES));
    let leaves = [&messages[1][..HASH_BYTES], &messages[0][..HASH_BYTES]].concat();
    let forged = PayloadUri { size: leaves.len() as u32, ..uri };
    assert_eq!(forged.verify(0, &leaves), Err(UpdateFault::BlockAltered));
}

proptest! {
    #[test]
    fn a_uri_reads_back_as_written(root in any::<[u8; 32]>(), size: u32) {
        let uri = PayloadUri { root, size };
        prop_assert_eq!(PayloadUri::decode(&format!("{uri}")), Some(uri));
    }

    #[test]
    fn any_message_is_a_block_or_refused_without_a_panic(
        root in any::<[u8; 32]>(), size: u32, index: u32, message in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let uri = PayloadUri { root, size };
        prop_assert_eq!(uri.verify(index, &message), Err(UpdateFault::BlockAltered));
        prop_assert!(block_len(size, index) <= BLOCK_BYTES);
        if size <= PAYLOAD_BYTES_MAX {
            prop_assert!(message_len(size, index) <= BLOCK_MESSAGE_BYTES_MAX);
        }
    }
}
