//! The blocks in which a payload travels, each with the proof that it belongs there: a Merkle tree (RFC 9162, section 2.1)
//! over all of them, whose hash stands in the payload's URI and so under the manifest's signature. A bad block is found when
//! it comes, and costs one block. Owns tree and form; never says which payload is wanted. R-FW-AUTHORISED.
//!
//! A block's message is its inclusion proof (section 2.1.3), [`proof_len`] hashes of 32 bytes from the leaf's sibling upwards,
//! then the block's bytes. Nothing in it says how long it is: that follows from the payload's size and the block's number.

mod tree;

use crate::UpdateFault;
use core::fmt;
pub use tree::{HASH_BYTES, Tree, proof_len};

/// Bytes of a payload in one block; the last may have fewer.
pub const BLOCK_BYTES: usize = 2_048;

/// Largest payload in bytes: 8192 blocks.
pub const PAYLOAD_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Most hashes in a proof: the height of the largest payload's tree.
pub const PROOF_HASHES_MAX: usize = (PAYLOAD_BYTES_MAX as usize / BLOCK_BYTES).ilog2() as usize;

/// Longest message of a block in bytes.
pub const BLOCK_MESSAGE_BYTES_MAX: usize = PROOF_HASHES_MAX * HASH_BYTES + BLOCK_BYTES;

/// Where a payload is: `firmware/<tree hash>/<bytes>`, a relative reference (RFC 3986, section 4.2) and the first levels of
/// the topics of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadUri {
    /// The Merkle tree hash of the payload's blocks.
    pub root: [u8; HASH_BYTES],
    /// Bytes of the payload.
    pub size: u32,
}

impl PayloadUri {
    /// Reads `firmware/<tree hash>/<bytes>`; `None` for anything else and for another form of it.
    pub fn decode(text: &str) -> Option<Self> {
        let (root, size) = text.strip_prefix("firmware/")?.split_once('/')?;
        let mut uri = Self { root: [0; HASH_BYTES], size: size.parse().ok()? };
        let read = base16ct::lower::decode(root, &mut uri.root).ok()?.len();
        let plain =
            size.bytes().all(|digit| digit.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        (read == HASH_BYTES && plain).then_some(uri)
    }

    /// Number of the payload's blocks.
    pub const fn count(&self) -> u32 {
        count(self.size)
    }

    /// The block's bytes out of the message that came for block `index`: only where the proof leads from them to the tree
    /// hash. A payload that is larger than [`PAYLOAD_BYTES_MAX`] has no block.
    pub fn verify<'m>(&self, index: u32, message: &'m [u8]) -> Result<&'m [u8], UpdateFault> {
        verify(&self.root, self.size, index, message)
    }
}

impl fmt::Display for PayloadUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("firmware/")?;
        self.root.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "/{}", self.size)
    }
}

/// Number of blocks of a payload of `size` bytes.
pub const fn count(size: u32) -> u32 {
    size.div_ceil(BLOCK_BYTES as u32)
}

/// Bytes of block `index` of a payload of `size` bytes; 0 where there is no such block.
pub const fn block_len(size: u32, index: u32) -> usize {
    let rest = (size as u64).saturating_sub(index as u64 * BLOCK_BYTES as u64);
    if rest < BLOCK_BYTES as u64 { rest as usize } else { BLOCK_BYTES }
}

/// Bytes of the message of block `index` of a payload of `size` bytes.
pub const fn message_len(size: u32, index: u32) -> usize {
    proof_len(index, count(size)) * HASH_BYTES + block_len(size, index)
}

/// See [`PayloadUri::verify`].
pub fn verify<'m>(
    root: &[u8; HASH_BYTES],
    size: u32,
    index: u32,
    message: &'m [u8],
) -> Result<&'m [u8], UpdateFault> {
    let count = count(size);
    if size > PAYLOAD_BYTES_MAX || index >= count || message.len() != message_len(size, index) {
        return Err(UpdateFault::BlockAltered);
    }
    let (proof, block) =
        message.split_at_checked(proof_len(index, count) * HASH_BYTES).ok_or(UpdateFault::BlockAltered)?;
    let (proof, _) = proof.as_chunks::<HASH_BYTES>();
    if tree::root_of(tree::leaf(block), index, count, proof) == Some(*root) {
        Ok(block)
    } else {
        Err(UpdateFault::BlockAltered)
    }
}

#[cfg(test)]
mod tests;
