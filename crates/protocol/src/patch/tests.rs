extern crate std;

use super::*;
use crate::UpdateFault;
use proptest::prelude::*;
use std::vec::Vec;

const PATCH: Result<Vec<u8>, UpdateFault> = Err(UpdateFault::Patch);

/// Bytes that have no pattern.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        })
        .collect()
}

fn encoded(base: &[u8], image: &[u8], instructions: &[Instruction]) -> Result<Vec<u8>, EncoderError> {
    let mut patch = Vec::new();
    let mut encoder = Encoder::new(base, image, |byte| patch.push(byte))?;
    for instruction in instructions {
        encoder.instruction(*instruction)?;
    }
    encoder.finish()?;
    Ok(patch)
}

/// What a device makes of a patch that comes in pieces of `taken` bytes, with room for `given` bytes of the image.
fn decoded_in(
    base: &[u8],
    image_size: usize,
    patch: &[u8],
    taken: usize,
    given: usize,
) -> Result<Vec<u8>, UpdateFault> {
    let mut decoder = Decoder::new(base.len() as u32, image_size as u32);
    let mut read = |offset: u32, buffer: &mut [u8]| {
        assert!(!buffer.is_empty());
        buffer.copy_from_slice(&base[offset as usize..][..buffer.len()]);
        Ok(())
    };
    let (mut image, mut out) = (Vec::new(), std::vec![0; given]);
    for mut input in patch.chunks(taken) {
        loop {
            let len = decoder.decode(&mut input, &mut read, &mut out)?;
            image.extend_from_slice(&out[..len]);
            assert!(image.len() <= image_size, "longer than announced");
            assert!(len == given || input.is_empty());
            if len == 0 {
                break;
            }
        }
    }
    decoder.finish()?;
    assert_eq!(image.len(), image_size);
    Ok(image)
}

fn decoded(base: &[u8], image_size: usize, patch: &[u8]) -> Result<Vec<u8>, UpdateFault> {
    decoded_in(base, image_size, patch, 2048, 512)
}

/// A base, an image that has parts of it, and how it is made.
fn sample() -> (Vec<u8>, Vec<u8>, Vec<Instruction>) {
    let base = noise(1, 1000);
    let mut image = base[..400].to_vec();
    image[7] ^= 0x55;
    image[300..308].copy_from_slice(&[9; 8]);
    image.extend(noise(2, 50));
    image.extend(&base[600..1000]);
    image.extend(&base[100..300]);
    image.extend(noise(3, 33));
    let instructions = [
        Instruction { seek: 0, add: 400, insert: 50 },
        Instruction { seek: 200, add: 400, insert: 0 },
        Instruction { seek: -900, add: 200, insert: 33 },
    ];
    (base, image, instructions.to_vec())
}

#[test]
fn a_patch_makes_the_image_however_it_is_cut() {
    let (base, image, instructions) = sample();
    let patch = encoded(&base, &image, &instructions).unwrap();
    assert_eq!(sizes(&patch), Some((1000, image.len() as u32)));
    for (taken, given) in [(1, 1), (1, 100), (7, 3), (2048, 1), (2048, 128), (13, 4096), (2048, image.len())]
    {
        assert_eq!(
            decoded_in(&base, image.len(), &patch, taken, given).as_ref(),
            Ok(&image),
            "{taken} {given}"
        );
    }
}

#[test]
fn what_is_the_same_takes_next_to_nothing() {
    let base = noise(5, 300_000);
    let patch = encoded(&base, &base, &[Instruction { seek: 0, add: 300_000, insert: 0 }]).unwrap();
    assert!(patch.len() < 300, "{} bytes", patch.len());
    assert_eq!(decoded(&base, base.len(), &patch), Ok(base));
}

#[test]
fn an_empty_base_and_an_empty_image_are_images_too() {
    let image = noise(1, 100);
    let patch = encoded(&[], &image, &[Instruction { seek: 0, add: 0, insert: 100 }]).unwrap();
    assert_eq!(decoded(&[], 100, &patch), Ok(image.clone()));
    let patch = encoded(&image, &[], &[]).unwrap();
    assert_eq!(decoded(&image, 0, &patch), Ok(Vec::new()));
}

#[test]
fn a_patch_for_a_base_or_an_image_of_another_size_is_refused_by_name() {
    let (base, image, instructions) = sample();
    let patch = encoded(&base, &image, &instructions).unwrap();
    for other in [&base[1..], &base[..0], &[&base[..], &[0; 256]].concat()] {
        assert_eq!(decoded(other, image.len(), &patch), Err(UpdateFault::Base));
    }
    for other in [0, image.len() - 1, image.len() + 1, image.len() + 0x0100_0000] {
        assert_eq!(decoded(&base, other, &patch), Err(UpdateFault::ImageSize));
    }
}

#[test]
fn another_format_or_version_is_refused() {
    let (base, image, instructions) = sample();
    let patch = encoded(&base, &image, &instructions).unwrap();
    for at in 0..4 {
        let mut other = patch.clone();
        other[at] ^= 1;
        assert_eq!(decoded(&base, image.len(), &other), PATCH);
        assert_eq!(sizes(&other), None);
    }
    assert_eq!(decoded(&base, image.len(), &image), PATCH);
}

#[test]
fn a_patch_cut_off_anywhere_is_refused() {
    let (base, image, instructions) = sample();
    let patch = encoded(&base, &image, &instructions).unwrap();
    for len in 0..patch.len() {
        assert_eq!(decoded(&base, image.len(), &patch[..len]), PATCH, "{len} bytes");
    }
}

#[test]
fn a_patch_that_goes_on_behind_its_end_is_refused() {
    let (base, image, instructions) = sample();
    let patch = encoded(&base, &image, &instructions).unwrap();
    for more in [&[0][..], &[0xff], &[0; 3000], &patch] {
        assert_eq!(decoded(&base, image.len(), &[&patch, more].concat()), PATCH);
    }
}

#[test]
fn a_damaged_patch_is_refused_or_makes_another_image_of_the_same_size() {
    let (base, image, instructions) = sample();
    let patch = encoded(&base, &image, &instructions).unwrap();
    let mut refused = 0;
    for bit in 0..patch.len() * 8 {
        let mut damaged = patch.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match decoded(&base, image.len(), &damaged) {
            Err(_) => refused += 1,
            Ok(other) => assert_ne!(other, image),
        }
    }
    // What is left over at the end of the coder's bits tells nearly all.
    assert!(refused > patch.len() * 8 * 99 / 100, "{refused} of {}", patch.len() * 8);
}

#[test]
fn instructions_that_make_nothing_or_lead_outside_are_not_written() {
    let (base, image, _) = sample();
    let outside = |instructions: &[Instruction]| {
        assert_eq!(encoded(&base, &image, instructions), Err(EncoderError::Outside), "{instructions:?}");
    };
    let instruction = |seek, add, insert| Instruction { seek, add, insert };
    outside(&[instruction(0, 0, 0)]);
    outside(&[instruction(5, 0, 0)]);
    outside(&[instruction(0, 1001, 0)]);
    outside(&[instruction(1, 1000, 0)]);
    outside(&[instruction(0, u32::MAX, 2)]);
    outside(&[instruction(0, 1, u32::MAX)]);
    outside(&[instruction(0, 0, 1084)]);
    outside(&[instruction(-1, 1, 0)]);
    outside(&[instruction(1001, 0, 1)]);
    outside(&[instruction(i32::MIN, 0, 1)]);
    outside(&[instruction(i32::MAX, 0, 1)]);
    outside(&[instruction(0, 10, 0), instruction(-11, 1, 0)]);
    outside(&[instruction(0, 10, 0), instruction(990, 1, 0)]);
    assert_eq!(encoded(&base, &image, &[instruction(0, 10, 10)]), Err(EncoderError::Incomplete));
}

/// A patch whose instructions nobody holds to anything.
fn forged(base_size: u32, image_size: u32, numbers: &[u32]) -> Vec<u8> {
    let mut patch = header(base_size, image_size).to_vec();
    let mut model = model::Model::new();
    let mut bits = range::BitWriter::new(|byte| patch.push(byte));
    for number in numbers {
        let mut left = *number;
        loop {
            let byte = (left & 0x7f) as u8 | if left > 0x7f { 0x80 } else { 0 };
            let mut node = 1;
            for shift in (0..8).rev() {
                let bit = byte >> shift & 1;
                bits.bit(model.bit_of(model::NUMBERS, node), bit == 1);
                node = node << 1 | u16::from(bit);
            }
            left >>= 7;
            if left == 0 {
                break;
            }
        }
    }
    bits.finish();
    patch
}

#[test]
fn instructions_that_make_nothing_or_lead_outside_are_refused() {
    let base = noise(1, 1000);
    for numbers in [
        [0, 0, 0],
        [folded(1), 0, 0],
        [0, 1001, 0],
        [0, u32::MAX, 0],
        [0, u32::MAX, 2],
        [0, 1000, u32::MAX],
        [0, 500, 501],
        [0, 0, 1001],
        [folded(1), 1000, 0],
        [folded(-1), 10, 0],
        [folded(1001), 0, 10],
        [folded(i32::MIN), 10, 0],
        [folded(i32::MAX), 10, 0],
    ] {
        let patch = forged(1000, 1000, &numbers);
        let mut out = [0; 16];
        let mut decoder = Decoder::new(1000, 1000);
        let mut read = |_, _: &mut [u8]| panic!("nothing is read for it");
        let verdict = decoder.decode(&mut patch.as_slice(), &mut read, &mut out);
        assert_eq!(verdict, Err(UpdateFault::Patch), "{numbers:?}");
        assert_eq!(decoder.decode(&mut [0; 9].as_slice(), &mut read, &mut out), Err(UpdateFault::Patch));
    }
    // The same, within: what follows the numbers is whatever the coder's last bytes say.
    assert_eq!(
        decoded(&base, 1000, &forged(1000, 1000, &[folded(10), 990, 10])).map(|image| image.len()),
        Err(UpdateFault::Patch)
    );
}

#[test]
fn a_failure_of_the_flash_is_handed_on_and_the_call_can_be_made_again() {
    let (base, image, instructions) = sample();
    let patch = encoded(&base, &image, &instructions).unwrap();
    let mut decoder = Decoder::new(1000, image.len() as u32);
    let mut reads = 0_u32;
    let mut read = |offset: u32, buffer: &mut [u8]| {
        reads += 1;
        if reads % 2 == 1 {
            return Err(UpdateFault::Storage);
        }
        buffer.copy_from_slice(&base[offset as usize..][..buffer.len()]);
        Ok(())
    };
    let (mut input, mut made, mut failures) = (patch.as_slice(), Vec::new(), 0);
    loop {
        let mut byte = [0];
        match decoder.decode(&mut input, &mut read, &mut byte) {
            Ok(0) => break,
            Ok(_) => made.push(byte[0]),
            Err(fault) => {
                assert_eq!(fault, UpdateFault::Storage);
                failures += 1;
            }
        }
    }
    assert!(failures > 5);
    assert_eq!((made, decoder.finish()), (image, Ok(())));
}

#[test]
fn the_decoder_fits_into_4_kib() {
    assert!(core::mem::size_of::<Decoder>() <= 4096, "{}", core::mem::size_of::<Decoder>());
}

fn instruction_lists() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    prop::collection::vec((0..300_u32, 0..40_u32, any::<u32>()), 0..12)
}

proptest! {
    #[test]
    fn whatever_an_encoder_writes_is_read(
        seed: u32, base_size in 0..2000_u32, wanted in instruction_lists(), changes in 0..40_usize, cut in 1..3000_usize, room in 1..600_usize,
    ) {
        // The image is made by carrying out instructions that are brought inside the base.
        let base = noise(seed, base_size as usize);
        let (mut image, mut place, mut instructions) = (Vec::new(), 0_u32, Vec::new());
        for (add, insert, to) in wanted {
            let to = to % (base_size + 1);
            let add = add.min(base_size - to);
            if add + insert > 0 {
                image.extend(&base[to as usize..][..add as usize]);
                image.extend(noise(to, insert as usize));
                instructions.push(Instruction { seek: to as i32 - place as i32, add, insert });
                place = to + add;
            }
        }
        let len = image.len();
        for (at, byte) in noise(!seed, changes).into_iter().enumerate() {
            if len > 0 {
                image[(at * 7919 + usize::from(byte)) % len] ^= byte;
            }
        }
        let patch = encoded(&base, &image, &instructions).unwrap();
        prop_assert_eq!(decoded_in(&base, len, &patch, cut, room), Ok(image));
        prop_assert!(decoded(&base, len, &patch[..patch.len() - 1]).is_err());
    }

    #[test]
    fn any_bytes_make_no_panic_and_no_more_than_announced(
        bytes in prop::collection::vec(any::<u8>(), 0..600), base_size in 0..500_u32, image_size in 0..5000_u32,
    ) {
        let patch = [&header(base_size, image_size)[..], &[0], &bytes].concat();
        let _refused_or_not = decoded(&noise(1, base_size as usize), image_size as usize, &patch);
    }

    #[test]
    fn a_number_with_a_sign_reads_back(number: i32) {
        prop_assert_eq!(unfolded(folded(number)), number);
    }
}
