//! `HMAC_DRBG` against NIST's published vectors (`vectors/hmac_drbg_sha256.rsp`), its limits, and its end.

use device::entropy::drbg::{DrbgError, HmacDrbg, MAX_INPUT, MAX_REQUEST};
use std::mem::MaybeUninit;

/// One vector: its lines in their order.
struct Vector<'a>(Vec<(&'a str, Vec<u8>)>);

impl Vector<'_> {
    /// The `n`th line called `name`.
    fn get(&self, name: &str, n: usize) -> Option<&[u8]> {
        self.0.iter().filter(|line| line.0 == name).nth(n).map(|line| &*line.1)
    }

    fn need(&self, name: &str, n: usize) -> &[u8] {
        self.get(name, n).unwrap_or_else(|| panic!("a vector lacks {name} {n}"))
    }

    /// The bits that this vector's two requests return at last.
    fn returned(&self) -> Result<Vec<u8>, DrbgError> {
        let mut generator = HmacDrbg::new();
        generator.instantiate(
            self.need("EntropyInput", 0),
            self.need("Nonce", 0),
            self.need("PersonalizationString", 0),
        )?;
        if let Some(entropy) = self.get("EntropyInputReseed", 0) {
            generator.reseed(entropy, self.need("AdditionalInputReseed", 0))?;
        }
        let mut out = vec![0; self.need("ReturnedBits", 0).len()];
        generator.generate(&mut out, self.need("AdditionalInput", 0))?;
        generator.generate(&mut out, self.need("AdditionalInput", 1))?;
        Ok(out)
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "half a byte: {hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn vectors(file: &str) -> Vec<Vector<'_>> {
    let mut vectors = Vec::new();
    let lines = file.lines().filter(|line| !line.starts_with(['#', '[']));
    for (name, value) in lines.filter_map(|line| line.split_once(" =")) {
        if name == "COUNT" {
            vectors.push(Vector(Vec::new()));
        } else {
            let vector = vectors.last_mut().expect("a vector begins with COUNT");
            vector.0.push((name, bytes(value.trim())));
        }
    }
    vectors
}

const FILE: &str = include_str!("vectors/hmac_drbg_sha256.rsp");

#[test]
fn it_returns_what_nist_published() {
    let vectors = vectors(FILE);
    for (n, vector) in vectors.iter().enumerate() {
        assert_eq!(vector.returned().as_deref(), Ok(vector.need("ReturnedBits", 0)), "vector {n}");
    }
    let kinds = |reseed: bool, personalization: bool, additional: bool| {
        let of = |vector: &&Vector<'_>| {
            vector.get("EntropyInputReseed", 0).is_some() == reseed
                && vector.need("PersonalizationString", 0).is_empty() != personalization
                && vector.need("AdditionalInput", 0).is_empty() != additional
        };
        vectors.iter().filter(of).count()
    };
    for kind in 0..8 {
        assert_eq!(
            kinds(kind & 1 != 0, kind & 2 != 0, kind & 4 != 0),
            3,
            "three vectors of each kind: {kind:b}"
        );
    }
}

#[test]
fn every_input_counts_in_every_bit() {
    for vector in vectors(FILE) {
        for line in 0..vector.0.len() {
            if vector.0[line].0 == "ReturnedBits" || vector.0[line].1.is_empty() {
                continue;
            }
            let last = vector.0[line].1.len() - 1;
            let mut changed = Vector(vector.0.clone());
            changed.0[line].1[last] ^= 1;
            assert_ne!(
                changed.returned().as_deref(),
                Ok(vector.need("ReturnedBits", 0)),
                "{}",
                vector.0[line].0
            );
        }
    }
}

fn seeded() -> HmacDrbg {
    let mut generator = HmacDrbg::new();
    generator.instantiate(&[1; 32], &[2; 16], b"test").expect("enough entropy");
    generator
}

#[test]
fn it_gives_nothing_before_it_is_instantiated_and_nothing_afterwards() {
    let mut out = [7; 32];
    let mut generator = HmacDrbg::new();
    assert_eq!(generator.generate(&mut out, &[]), Err(DrbgError::NotInstantiated));
    assert_eq!(generator.reseed(&[1; 32], &[]), Err(DrbgError::NotInstantiated));
    let mut generator = seeded();
    generator.uninstantiate();
    assert_eq!(generator.generate(&mut out, &[]), Err(DrbgError::NotInstantiated));
    assert_eq!(out, [7; 32]);
}

#[test]
fn too_little_entropy_is_refused_and_leaves_the_state_as_it_was() {
    let mut generator = HmacDrbg::new();
    assert_eq!(generator.instantiate(&[1; 31], &[2; 16], &[]), Err(DrbgError::TooLittleEntropy));
    assert_eq!(generator.instantiate(&[1; 32], &[2; 15], &[]), Err(DrbgError::TooLittleEntropy));
    assert_eq!(generator.generate(&mut [0; 1], &[]), Err(DrbgError::NotInstantiated));
    let (mut one, mut other) = (seeded(), seeded());
    assert_eq!(one.reseed(&[1; 31], &[]), Err(DrbgError::TooLittleEntropy));
    let mut outs = [[0; 32]; 2];
    one.generate(&mut outs[0], &[]).expect("seeded");
    other.generate(&mut outs[1], &[]).expect("seeded");
    assert_eq!(outs[0], outs[1]);
}

#[test]
fn requests_and_inputs_have_the_stated_limits() {
    let long = vec![0; MAX_INPUT + 1];
    let mut generator = seeded();
    assert_eq!(generator.instantiate(&long, &[2; 16], &[]), Err(DrbgError::InputTooLong));
    assert_eq!(generator.instantiate(&[1; 32], &long, &[]), Err(DrbgError::InputTooLong));
    assert_eq!(generator.instantiate(&[1; 32], &[2; 16], &long), Err(DrbgError::InputTooLong));
    assert_eq!(generator.reseed(&[1; 32], &long), Err(DrbgError::InputTooLong));
    assert_eq!(generator.generate(&mut [0; 1], &long), Err(DrbgError::InputTooLong));
    let mut out = vec![7; MAX_REQUEST + 1];
    assert_eq!(generator.generate(&mut out, &[]), Err(DrbgError::RequestTooLong));
    assert!(out.iter().all(|&byte| byte == 7));
    assert_eq!(generator.generate(&mut out[..MAX_REQUEST], &long[..MAX_INPUT]), Ok(()));
    assert_eq!(generator.requests(), 1, "what was refused was no request");
}

#[test]
fn nothing_of_the_state_is_left_where_it_was() {
    let mut place = MaybeUninit::<HmacDrbg>::uninit();
    let raw = |place: &MaybeUninit<HmacDrbg>| -> Vec<u8> {
        let start = place.as_ptr().cast::<u8>();
        // SAFETY: the place is alive, and the generator of two arrays of 32 bytes and a u64 has no padding (asserted
        // below), so that every byte of it was written.
        (0..size_of::<HmacDrbg>()).map(|at| unsafe { start.add(at).read() }).collect()
    };
    assert_eq!(size_of::<HmacDrbg>(), 32 + 32 + 8);
    place.write(seeded());
    assert!(
        raw(&place).iter().filter(|&&byte| byte != 0).count() > 40,
        "the state is visible while it lives"
    );
    // SAFETY: it was written above and is not used as a generator afterwards.
    unsafe { place.assume_init_drop() };
    assert!(raw(&place).iter().all(|&byte| byte == 0));
}
