//! The Merkle tree of RFC 9162, section 2.1, with SHA-256.

use super::{BLOCK_BYTES, PAYLOAD_BYTES_MAX, PayloadUri, count};
use crate::key::{Digest, sha256};

/// Bytes of a hash in the tree.
pub const HASH_BYTES: usize = 32;

/// Hash of a leaf.
pub(super) fn leaf(bytes: &[u8]) -> Digest {
    sha256(&[&[0x00], bytes])
}

/// Hash of a node over two others.
fn node(left: &Digest, right: &Digest) -> Digest {
    sha256(&[&[0x01], left, right])
}

/// Hashes in the proof of leaf `index` among `count`; 0 where there is no such leaf.
pub const fn proof_len(index: u32, count: u32) -> usize {
    if index >= count {
        return 0;
    }
    let mut len = 0;
    let (mut at, mut last) = (index, count - 1);
    while last > 0 {
        // The last node of a row with nothing beside it moves up as it is.
        if at & 1 == 1 || at < last {
            len += 1;
        }
        at >>= 1;
        last >>= 1;
    }
    len
}

/// The root to which `proof` leads from `leaf`, the one with number `index` of `count`; `None` where the proof has another
/// length. RFC 9162, section 2.1.3.2, row by row: each takes one hash or none.
pub(super) fn root_of(leaf: Digest, index: u32, count: u32, proof: &[Digest]) -> Option<Digest> {
    let mut hashes = proof.iter();
    let (mut root, mut at, mut last) = (leaf, index, count.checked_sub(1)?);
    if at > last {
        return None;
    }
    while last > 0 {
        if at & 1 == 1 {
            root = node(hashes.next()?, &root);
        } else if at < last {
            root = node(&root, hashes.next()?);
        }
        at >>= 1;
        last >>= 1;
    }
    hashes.next().is_none().then_some(root)
}

/// The tree over a payload, for whoever cuts it into blocks: built once, then every proof is looked up.
///
/// Its nodes stand in order: leaf i at 2 i, and between two leaves the one node that parts them.
pub struct Tree<'p> {
    payload: &'p [u8],
    nodes: &'p [Digest],
}

impl<'p> Tree<'p> {
    /// Nodes of the tree over a payload of `size` bytes.
    pub const fn nodes(size: u32) -> usize {
        (2 * count(size) as usize).saturating_sub(1)
    }

    /// The tree over the blocks of `payload`. `nodes` is room for [`Tree::nodes`] at least. `None` where it is less, for an
    /// empty payload and for one of more than [`PAYLOAD_BYTES_MAX`] bytes.
    pub fn new(payload: &'p [u8], nodes: &'p mut [Digest]) -> Option<Self> {
        let size = u32::try_from(payload.len()).ok().filter(|size| (1..=PAYLOAD_BYTES_MAX).contains(size))?;
        let nodes = nodes.get_mut(..Self::nodes(size))?;
        for (place, block) in nodes.iter_mut().step_by(2).zip(payload.chunks(BLOCK_BYTES)) {
            *place = leaf(block);
        }
        build(nodes)?;
        Some(Self { payload, nodes })
    }

    /// Where devices find the payload.
    pub fn uri(&self) -> PayloadUri {
        let root = self.nodes.get(top(self.nodes.len())).copied().unwrap_or_default();
        PayloadUri { root, size: self.payload.len() as u32 }
    }

    /// Writes the message of block `index` into `out` ([`super::BLOCK_MESSAGE_BYTES_MAX`] bytes always suffice); gives its length
    /// in bytes. `None` where there is no such block, or no room.
    pub fn message(&self, index: u32, out: &mut [u8]) -> Option<usize> {
        let block = self.payload.chunks(BLOCK_BYTES).nth(index as usize)?;
        let hashes = proof_len(index, count(self.uri().size));
        let (proof, rest) = out.split_at_mut_checked(hashes * HASH_BYTES)?;
        prove(self.nodes, 2 * index as usize, proof.as_chunks_mut().0)?;
        rest.get_mut(..block.len())?.copy_from_slice(block);
        Some(proof.len() + block.len())
    }
}

/// Where the root of a subtree of `nodes` nodes stands among them: behind the largest power of two of leaves that leaves one
/// at least to its right.
const fn top(nodes: usize) -> usize {
    let leaves = nodes.div_ceil(2);
    if leaves < 2 { 0 } else { 2 * (1 << (leaves - 1).ilog2()) - 1 }
}

/// Fills the nodes between the leaves; gives the root. Goes as deep as the tree is high.
fn build(nodes: &mut [Digest]) -> Option<Digest> {
    let top = top(nodes.len());
    if nodes.len() > 1 {
        let (left, rest) = nodes.split_at_mut_checked(top)?;
        let (root, right) = rest.split_first_mut()?;
        *root = node(&build(left)?, &build(right)?);
    }
    nodes.get(top).copied()
}

/// Fills `proof` with the proof of the leaf at `place`, from its sibling upwards; `None` where its length is another.
fn prove(nodes: &[Digest], place: usize, proof: &mut [Digest]) -> Option<()> {
    if nodes.len() < 2 {
        return (place < nodes.len() && proof.is_empty()).then_some(());
    }
    let (left, rest) = nodes.split_at_checked(top(nodes.len()))?;
    let (_, right) = rest.split_first()?;
    let (last, before) = proof.split_last_mut()?;
    let (towards, beside, place) = if place < left.len() {
        (left, right, place)
    } else {
        (right, left, place.checked_sub(left.len() + 1)?)
    };
    *last = *beside.get(top(beside.len()))?;
    prove(towards, place, before)
}

#[cfg(test)]
mod tests;
