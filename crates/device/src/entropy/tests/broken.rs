//! Broken sources of every kind are refused and stay refused; good ones are not; what no test can see is named.

use super::*;

/// Asks until the generator refuses, at most `requests` times, then checks that it stays so. How often it answered.
fn refused<S: Source>(generator: &mut Generator<S>, requests: usize) -> Option<(usize, Failure)> {
    let answered = (0..requests).position(|_| {
        let mut out = [0xa5; 48];
        let failed = generator.fill(&mut out).is_err();
        assert!(!failed || out == [0; 48], "a refused request leaves no random numbers");
        failed
    })?;
    let failure = generator.failure().expect("a refusal has a reason");
    for _ in 0..10 {
        assert_eq!(generator.fill(&mut [0; 16]), Err(EntropyError));
        assert_eq!(generator.fill(&mut []), Err(EntropyError));
        assert_eq!(generator.reseed(), Err(failure));
        assert_eq!(generator.start(b"again"), Err(failure));
    }
    assert_eq!(generator.failure(), Some(failure));
    Some((answered, failure))
}

/// Reseeds until the generator refuses, at most [`MANY`] times, then checks that it stays so.
fn refused_in_time<S: Source>(generator: &mut Generator<S>) -> Option<Failure> {
    (0..MANY).find_map(|_| generator.reseed().err())?;
    let (answered, failure) = refused(generator, 1)?;
    assert_eq!(answered, 0);
    Some(failure)
}

const MANY: usize = 500;

#[test]
fn a_stuck_source_never_gives_a_number() {
    for byte in [0x00, 0x5a, 0xff] {
        let (mut eight, drawn) = generator::<8000, _>(|_| Some(byte));
        assert_eq!(refused(&mut eight, 1), Some((0, Failure::RepetitionCount)));
        assert!(drawn.get() <= STARTUP_SAMPLES as u64);
        let (mut one, _) = generator::<1000, _>(|_| Some(byte));
        assert_eq!(refused(&mut one, 1), Some((0, Failure::RepetitionCount)));
    }
}

#[test]
fn a_source_that_sticks_later_is_refused_at_the_next_reseed_even_if_it_recovers() {
    let mut random = good(1);
    let (mut generator, drawn) = generator::<6000, _>(|number| match number {
        2000..2020 => Some(0x42),
        _ => random(number),
    });
    let (answered, failure) = refused(&mut generator, 100 * RESEED_AFTER as usize).expect("it is refused");
    assert_eq!(failure, Failure::RepetitionCount);
    // 1024 + 43 + 22 samples at the start and 43 at each reseed: sample 2000 is in the 22nd reseed.
    assert_eq!(answered, 22 * RESEED_AFTER as usize);
    assert!((2004..2100).contains(&drawn.get()));
}

#[test]
fn a_source_that_alternates_between_two_values_is_refused() {
    let (mut eight, drawn) = generator::<8000, _>(|number| Some([0x00, 0xff][number as usize % 2]));
    assert_eq!(refused(&mut eight, 1), Some((0, Failure::AdaptiveProportion)));
    assert!(drawn.get() <= STARTUP_SAMPLES as u64);
    let (mut four, _) = generator::<4000, _>(|number| Some([0x00, 0xff][number as usize % 2]));
    assert_eq!(refused(&mut four, 1), Some((0, Failure::AdaptiveProportion)));
}

#[test]
fn a_source_that_starts_to_alternate_later_is_refused() {
    let mut random = good(2);
    let (mut generator, _) = generator::<8000, _>(|number| match number {
        0..2000 => random(number),
        _ => Some([0x13, 0x37][number as usize % 2]),
    });
    let (answered, failure) = refused(&mut generator, 100 * RESEED_AFTER as usize).expect("it is refused");
    assert_eq!(failure, Failure::AdaptiveProportion);
    assert!(answered >= 29 * RESEED_AFTER as usize, "{answered}");
}

#[test]
fn a_source_that_repeats_a_short_block_is_refused() {
    let block: Vec<u8> = (0..32).map(|n| n * 7).collect();
    let (mut generator, _) = generator::<8000, _>(|number| Some(block[number as usize % 32]));
    assert_eq!(refused(&mut generator, 1), Some((0, Failure::AdaptiveProportion)));
}

#[test]
fn what_the_tests_cannot_see_is_known() {
    // Two values in turn where one bit is stated; a long block; a counter: not one bit of entropy, and no alarm.
    let (mut alternating, _) = generator::<1000, _>(|number| Some([0x00, 0xff][number as usize % 2]));
    assert_eq!(refused_in_time(&mut alternating), None);
    let (mut block, _) = generator::<8000, _>(|number| Some((number % 64) as u8));
    assert_eq!(refused_in_time(&mut block), None);
    let (mut counter, _) = generator::<8000, _>(|number| Some(number as u8));
    assert_eq!(refused_in_time(&mut counter), None);
}

/// Each bit is 1 with probability `ones` / 100.
fn biased(seed: u64, ones: u8) -> impl FnMut(u64) -> Option<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    move |_| Some((0..8).fold(0, |byte, _| byte << 1 | u8::from(random.u8(0..100) < ones)))
}

#[test]
fn a_source_with_biased_bits_is_refused_once_its_commonest_byte_exceeds_the_cut_off() {
    for seed in 0..20 {
        // p(1) = 0.75: 0xff makes up 10 %, 51 of a window; the cut-off for 8 bits is 13.
        let (mut eight, _) = generator::<8000, _>(biased(seed, 75));
        assert!(refused_in_time(&mut eight).is_some(), "seed {seed}");
        // p(1) = 0.9: 43 %, 220 of a window; the cut-off for 4 bits is 62.
        let (mut four, _) = generator::<4000, _>(biased(seed, 90));
        assert!(refused_in_time(&mut four).is_some(), "seed {seed}");
        // p(1) = 0.6: 1.7 %, 9 of a window: honest at 5.8 bits, and no alarm there.
        let (mut honest, _) = generator::<5800, _>(biased(seed, 60));
        assert_eq!(refused_in_time(&mut honest), None);
    }
}

#[test]
fn a_source_with_one_byte_far_too_often_is_refused() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        // A fifth of all samples, 102 of a window, where 62 are too many for 4 bits; but never twice in a row.
        let mut common = false;
        let (mut generator, _) = generator::<4000, _>(move |_| {
            common = !common && random.u8(0..4) == 0;
            Some(if common { 0xee } else { random.u8(0..0xee) })
        });
        let failure = refused_in_time(&mut generator);
        assert_eq!(failure, Some(Failure::AdaptiveProportion), "seed {seed}");
    }
}

#[test]
fn a_source_that_reports_an_error_is_refused_wherever_it_happens() {
    // In the start-up samples, in the entropy input, in the nonce, in a reseed; and it works again afterwards.
    for (broken, answers) in
        [(0, 0), (1023, 0), (1024, 0), (1056, 0), (1071, 0), (1072, RESEED_AFTER as usize)]
    {
        let mut random = good(3);
        let mut reported = false;
        let (mut generator, _) = generator::<8000, _>(move |number| {
            if number == broken && !reported {
                reported = true;
                return None;
            }
            random(number)
        });
        assert_eq!(
            refused(&mut generator, 100 * RESEED_AFTER as usize),
            Some((answers, Failure::SourceFailed)),
            "sample {broken}"
        );
    }
}

/// A driver that says it filled everything, and from some call on wrote only so many bytes.
struct Short {
    random: fastrand::Rng,
    full_calls: usize,
    written: usize,
}

impl Source for Short {
    const MIN_ENTROPY: MinEntropy = MinEntropy::milli_bits(8000);

    fn fill(&mut self, samples: &mut [u8]) -> Result<(), EntropyError> {
        let len = if self.full_calls > 0 { samples.len() } else { samples.len().min(self.written) };
        self.full_calls = self.full_calls.saturating_sub(1);
        self.random.fill(&mut samples[..len]);
        Ok(())
    }
}

#[test]
fn a_source_that_silently_reads_short_is_refused() {
    for written in [0, 1, 16, 128, 250] {
        // Also where the buffer holds good samples of the call before, which must not count twice.
        for full_calls in [0, 1, 3] {
            let mut generator =
                Generator::new(Short { random: fastrand::Rng::with_seed(4), full_calls, written });
            let refused = refused(&mut generator, 1);
            assert_eq!(
                refused,
                Some((0, Failure::RepetitionCount)),
                "{written} bytes after {full_calls} calls"
            );
        }
    }
}

#[test]
fn a_good_source_is_never_refused() {
    // Full entropy where 6 bits are stated: a run of 5 has 2^-32 per sample. Millions of samples are in the
    // tests of `health`.
    for seed in 0..5 {
        let (mut generator, drawn) = generator::<6000, _>(good(seed));
        while drawn.get() < 100_000 {
            generator.reseed().expect("a good source");
        }
        assert_eq!(generator.fill(&mut [0; 64]), Ok(()));
        assert_eq!(generator.failure(), None);
    }
}
