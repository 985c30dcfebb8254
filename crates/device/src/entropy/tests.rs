//! What a generator draws, when, and what it gives; broken sources are in `broken`.

extern crate std;

mod broken;

use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

/// A source with `MILLI` thousandths of a bit per sample, made of a function from the number of the sample.
struct Noise<const MILLI: u16, F>(F, Rc<Cell<u64>>);

impl<const MILLI: u16, F: FnMut(u64) -> Option<u8>> Source for Noise<MILLI, F> {
    const MIN_ENTROPY: MinEntropy = MinEntropy::milli_bits(MILLI);

    fn fill(&mut self, samples: &mut [u8]) -> Result<(), EntropyError> {
        for sample in samples {
            let number = self.1.get();
            *sample = (self.0)(number).ok_or(EntropyError)?;
            self.1.set(number + 1);
        }
        Ok(())
    }
}

/// A generator over such a source, and how many samples were drawn.
fn generator<const MILLI: u16, F: FnMut(u64) -> Option<u8>>(
    sample: F,
) -> (Generator<Noise<MILLI, F>>, Rc<Cell<u64>>) {
    let drawn = Rc::new(Cell::new(0));
    (Generator::new(Noise(sample, drawn.clone())), drawn)
}

fn good(seed: u64) -> impl FnMut(u64) -> Option<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    move |_| Some(random.u8(..))
}

#[test]
fn nothing_is_drawn_before_it_is_needed_and_the_start_up_samples_seed_nothing() {
    let (mut first, drawn) = generator::<8000, _>(good(5));
    assert_eq!((drawn.get(), first.failure()), (0, None));
    let mut out = [0; 32];
    first.fill(&mut out).expect("a good source");
    assert_eq!(drawn.get(), 1024 + 32 + 16);
    // Another start-up, the same samples after it: the same output.
    let (mut same, mut other) = (good(5), good(6));
    let (mut second, _) = generator::<8000, _>(|number| {
        let sample = same(number);
        if number < 1024 { other(number) } else { sample }
    });
    let mut again = [0; 32];
    second.fill(&mut again).expect("a good source");
    assert_eq!(out, again);
}

#[test]
fn a_seed_holds_one_and_a_half_times_the_security_strength() {
    fn drawn<const MILLI: u16>() -> [u64; 2] {
        let (mut generator, drawn) = generator::<MILLI, _>(good(7));
        generator.start(b"").expect("a good source");
        let seed = drawn.get() - 1024;
        generator.reseed().expect("a good source");
        [seed, drawn.get() - seed - 1024]
    }
    assert_eq!(drawn::<8000>(), [48, 32]);
    assert_eq!(drawn::<7000>(), [37 + 19, 37]);
    assert_eq!(drawn::<4000>(), [96, 64]);
    assert_eq!(drawn::<1000>(), [384, 256]);
}

#[test]
fn entropy_is_drawn_again_after_the_stated_number_of_requests_and_on_demand() {
    let (mut generator, drawn) = generator::<8000, _>(good(8));
    for request in 0..3 * RESEED_AFTER {
        generator.fill(&mut [0; 4]).expect("a good source");
        assert_eq!(drawn.get(), 1072 + 32 * (request / RESEED_AFTER));
    }
    generator.reseed().expect("a good source");
    assert_eq!(drawn.get(), 1072 + 32 * 3);
    // A request that is longer than the generator's counts as several.
    let mut long = std::vec![0; MAX_REQUEST * RESEED_AFTER as usize + 1];
    generator.fill(&mut long).expect("a good source");
    assert_eq!(drawn.get(), 1072 + 32 * 4);
    let tail = long.len() - 1;
    assert!(long[tail - 32..tail].iter().any(|&byte| byte != 0) && long[..32] != long[MAX_REQUEST..][..32]);
}

#[test]
fn a_reseed_changes_what_comes_and_so_does_the_personalization() {
    let output = |personalization: &[u8], reseed: bool| {
        let (mut generator, _) = generator::<8000, _>(good(9));
        generator.start(personalization).expect("a good source");
        if reseed {
            generator.reseed().expect("a good source");
        }
        let mut out = [0; 32];
        generator.fill(&mut out).expect("a good source");
        out
    };
    assert_eq!(output(b"a", false), output(b"a", false));
    assert_ne!(output(b"a", false), output(b"b", false));
    assert_ne!(output(b"a", false), output(b"a", true));
}

#[test]
fn a_personalization_that_is_too_long_is_refused_by_name() {
    let (mut generator, _) = generator::<8000, _>(good(10));
    let failure = Failure::Drbg(DrbgError::InputTooLong);
    assert_eq!(generator.start(&std::vec![0; drbg::MAX_INPUT + 1]), Err(failure));
    assert_eq!(generator.failure(), Some(failure));
}

proptest! {
    #[test]
    fn every_request_is_answered_in_full_or_not_at_all(
        seed: u64,
        broken in 0u64..1300,
        requests in prop::collection::vec((0usize..600, any::<bool>()), 1..40),
    ) {
        let mut random = good(seed);
        let (mut generator, _) = generator::<6000, _>(move |number| {
            if number == broken { None } else { random(number) }
        });
        let mut failed = false;
        let mut former = Vec::new();
        for (len, reseed) in requests {
            if reseed {
                failed |= generator.reseed().is_err();
            }
            let mut out = std::vec![0xa5; len];
            let answer = generator.fill(&mut out);
            prop_assert!(answer.is_err() || !failed, "it answers after a failure");
            failed = answer.is_err();
            prop_assert_eq!(failed, generator.failure().is_some());
            if failed {
                prop_assert!(out.iter().all(|&byte| byte == 0));
            } else if len >= 16 {
                prop_assert!(!former.contains(&out[..16].to_vec()));
                former.push(out[..16].to_vec());
            }
        }
    }
}
