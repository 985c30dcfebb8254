extern crate std;

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// The leaves of the tests of Certificate Transparency's reference implementation (RFC 6962), which others use too.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

/// The published roots of the trees over the first 1 to 8 of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Published inclusion proofs: leaf, number of leaves, hashes.
const PROOFS: [(u32, u32, &[&str]); 4] = [
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn from_hex(hex: &str) -> Digest {
    let mut digest = [0; HASH_BYTES];
    base16ct::lower::decode(hex, &mut digest).unwrap();
    digest
}

/// The nodes of the tree over these leaves.
fn nodes(leaves: impl ExactSizeIterator<Item = Digest>) -> Vec<Digest> {
    let mut nodes = std::vec![[0; HASH_BYTES]; 2 * leaves.len() - 1];
    for (at, leaf) in leaves.enumerate() {
        nodes[2 * at] = leaf;
    }
    build(&mut nodes).unwrap();
    nodes
}

fn root(nodes: &[Digest]) -> Digest {
    nodes[top(nodes.len())]
}

fn proof(nodes: &[Digest], index: u32) -> Vec<Digest> {
    let count = nodes.len().div_ceil(2) as u32;
    let mut proof = std::vec![[0; HASH_BYTES]; proof_len(index, count)];
    prove(nodes, 2 * index as usize, &mut proof).unwrap();
    proof
}

/// MTH as RFC 9162, section 2.1.1, writes it down.
fn mth(leaves: &[Digest]) -> Digest {
    if let [leaf] = leaves {
        return *leaf;
    }
    let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
    node(&mth(left), &mth(right))
}

/// PATH as RFC 9162, section 2.1.3.1, writes it down.
fn path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, beside) =
        if index < k { (path(index, left), right) } else { (path(index - k, right), left) };
    path.push(mth(beside));
    path
}

fn largest_power_below(n: usize) -> usize {
    (0..usize::BITS).map(|bit| 1 << bit).take_while(|power| *power < n).last().unwrap()
}

#[test]
fn roots_are_the_published_ones() {
    for (count, hex) in (1..).zip(ROOTS) {
        assert_eq!(
            root(&nodes(LEAVES[..count].iter().map(|bytes| leaf(bytes)))),
            from_hex(hex),
            "{count} leaves"
        );
    }
}

#[test]
fn proofs_are_the_published_ones_and_lead_to_the_published_roots() {
    for (index, count, hashes) in PROOFS {
        let hashes: Vec<Digest> = hashes.iter().map(|hex| from_hex(hex)).collect();
        assert_eq!(proof(&nodes(LEAVES[..count as usize].iter().map(|bytes| leaf(bytes))), index), hashes);
        let root = root_of(leaf(LEAVES[index as usize]), index, count, &hashes);
        assert_eq!(root, Some(from_hex(ROOTS[count as usize - 1])), "leaf {index} of {count}");
    }
}

#[test]
fn every_tree_up_to_70_leaves_is_as_the_rfc_defines_it() {
    let leaves: Vec<Digest> = (0..70_u32).map(|number| leaf(&number.to_be_bytes())).collect();
    for count in 1..=leaves.len() {
        let leaves = &leaves[..count];
        let nodes = nodes(leaves.iter().copied());
        let expected = mth(leaves);
        assert_eq!(root(&nodes), expected);
        for (index, leaf) in leaves.iter().enumerate() {
            let path = path(index, leaves);
            let (index, count) = (index as u32, count as u32);
            assert_eq!(proof_len(index, count), path.len());
            assert_eq!(proof(&nodes, index), path);
            assert_eq!(root_of(*leaf, index, count, &path), Some(expected));
        }
    }
}

proptest! {
    #[test]
    fn a_proof_holds_for_its_leaf_its_place_and_its_tree_alone(
        count in 2..600_u32, index: u32, other_index: u32, at: prop::sample::Index, bit in 0..8_u32,
    ) {
        let (index, other_index) = (index % count, other_index % count);
        let leaves: Vec<Digest> = (0..count).map(|number| leaf(&number.to_be_bytes())).collect();
        let nodes = nodes(leaves.iter().copied());
        let (root, leaf, proof) = (root(&nodes), leaves[index as usize], proof(&nodes, index));
        prop_assert_eq!(root_of(leaf, index, count, &proof), Some(root));
        prop_assert_eq!(root_of(leaf, count, count, &proof), None);
        if other_index != index {
            prop_assert_ne!(root_of(leaf, other_index, count, &proof), Some(root));
            prop_assert_ne!(root_of(leaves[other_index as usize], index, count, &proof), Some(root));
        }
        prop_assert_eq!(root_of(leaf, index, count, &proof[1..]), None);
        let longer: Vec<Digest> = proof.iter().chain([&leaf]).copied().collect();
        prop_assert_eq!(root_of(leaf, index, count, &longer), None);
        let mut altered = proof.clone();
        altered[at.index(proof.len())][at.index(HASH_BYTES)] ^= 1 << bit;
        prop_assert_ne!(root_of(leaf, index, count, &altered), Some(root));
    }
}
