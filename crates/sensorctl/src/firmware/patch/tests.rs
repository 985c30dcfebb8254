use super::*;
use proptest::prelude::*;

/// Something like code: words that repeat, with calls and addresses among them.
fn firmware(functions: u32, moved: u32) -> Vec<u8> {
    let mut image = Vec::new();
    for function in 0..functions {
        for word in 0..24_u32 {
            let code =
                function.wrapping_mul(0x9e37_79b1).wrapping_add((word * word).wrapping_mul(0x0101_0303));
            let bytes = match word {
                // A call relative to its place and an address: both are others where what they point to has moved.
                5 | 13 => [0x00, 0xf0, ((function + moved) % 251) as u8, 0xf8],
                23 => (0x0002_0000 + function * 96 + moved).to_le_bytes(),
                _ => code.rotate_left(word).to_le_bytes(),
            };
            image.extend(bytes);
        }
    }
    image
}

#[test]
fn a_patch_makes_the_image_and_is_the_same_every_time() {
    let (base, image) = (firmware(500, 0), [firmware(100, 0), vec![0x5a; 77], firmware(500, 77)].concat());
    let patch = encode(&base, &image).unwrap();
    assert_eq!(encode(&base, &image).as_ref(), Ok(&patch));
    assert_eq!(decode(&base, &patch), Ok(image));
}

#[test]
fn addresses_that_move_cost_little() {
    let (base, image) = (firmware(2_000, 0), firmware(2_000, 4));
    let differing = base.iter().zip(&image).filter(|(here, there)| here != there).count();
    assert!(differing > 5_000);
    let patch = encode(&base, &image).unwrap();
    assert!(patch.len() * 40 < image.len(), "{} of {} bytes", patch.len(), image.len());
}

#[test]
fn nothing_in_common_costs_little_more_than_the_image() {
    let (base, image) = (
        vec![0; 1000],
        (0..3000_u32).map(|at| (at.wrapping_mul(at).wrapping_mul(0x9e37) >> 7) as u8).collect::<Vec<u8>>(),
    );
    let patch = encode(&base, &image).unwrap();
    assert!(patch.len() < image.len() + image.len() / 20 + 64, "{} of {} bytes", patch.len(), image.len());
}

#[test]
fn empty_images_are_images_too() {
    for (base, image) in [(&b""[..], &b""[..]), (b"", b"image"), (b"base", b"")] {
        assert_eq!(decode(base, &encode(base, image).unwrap()).as_deref(), Ok(image));
    }
}

#[test]
fn a_patch_is_of_no_use_with_another_base() {
    let (base, image) = (firmware(100, 0), firmware(100, 4));
    let patch = encode(&base, &image).unwrap();
    assert_eq!(decode(&base[1..], &patch), Err(UpdateFault::Base));
    let mut other = base.clone();
    other[100] ^= 1;
    assert_ne!(decode(&other, &patch).as_ref(), Ok(&image));
    assert_eq!(decode(&base, b"no patch at all"), Err(UpdateFault::Patch));
    assert_eq!(decode(&base, &patch[..patch.len() - 1]), Err(UpdateFault::Patch));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_pair_of_images_has_a_patch(
        base in prop::collection::vec(0..4_u8, 0..400), image in prop::collection::vec(0..4_u8, 0..400),
        pieces in prop::collection::vec((any::<prop::sample::Index>(), 0..200_usize), 0..6),
    ) {
        // Parts of the base in another order, then something else.
        let mut made = Vec::new();
        for (at, len) in pieces {
            let rest = base.get(at.index(base.len() + 1)..).unwrap_or_default();
            made.extend(&rest[..len.min(rest.len())]);
        }
        made.extend(image);
        prop_assert_eq!(decode(&base, &encode(&base, &made).unwrap()), Ok(made));
    }
}
