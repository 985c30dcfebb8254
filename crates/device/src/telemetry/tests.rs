extern crate std;
use super::*;
use std::vec::Vec;

const NO_TIME: fn(Uptime) -> Option<EpochMillis> = |_| None;
const TIME: fn(Uptime) -> Option<EpochMillis> = |at| Some(EpochMillis(1_800_000_000_000 + at.0));

fn value(n: i32) -> Result<Measurement, SensorFault> {
    Measurement::new(n % 1000, 5_000, 100_000)
}

/// A machine that samples every 10 ms and reports every 100 ms.
fn fresh() -> Telemetry<Ring> {
    Telemetry::new(Ring::new(), 7, 10, 100, Uptime(0))
}

/// Takes the samples that are due up to `until`; gives the machine's number of samples.
fn sample_until(telemetry: &mut Telemetry<Ring>, until: u64) -> u32 {
    while telemetry.next_sample.0 <= until {
        let now = telemetry.next_sample;
        assert!(telemetry.poll_sample(now));
        telemetry.reading(value(now.0 as i32));
    }
    telemetry.next_seq()
}

/// All batches that the machine gives without an acknowledgement in between.
fn batches(telemetry: &mut Telemetry<Ring>, now: u64, token: u16) -> Vec<Batch> {
    let mut all = Vec::new();
    telemetry.poll_report(Uptime(now));
    while let Some(batch) = telemetry.poll_batch(TIME) {
        telemetry.published(token + all.len() as u16, batch.samples.len());
        all.push(batch);
    }
    all
}

fn numbers(batches: &[Batch]) -> Vec<u32> {
    batches.iter().flat_map(|batch| batch.iter().map(|(seq, ..)| seq)).collect()
}

#[test]
fn sampling_and_reporting_have_their_own_periods() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 90);
    assert!(batches(&mut telemetry, 99, 1).is_empty());
    let report = batches(&mut telemetry, 100, 1);
    assert_eq!(numbers(&report), (0..10).collect::<Vec<_>>());
    assert_eq!((report[0].boot, report[0].time), (7, TIME(Uptime(0))));
    assert_eq!(report[0].samples[3].after_ms, 30);
    telemetry.acknowledged(1);
    assert_eq!(telemetry.held(), 0);
    sample_until(&mut telemetry, 150);
    assert!(batches(&mut telemetry, 199, 1).is_empty());
}

#[test]
fn a_full_batch_does_not_wait_for_the_report() {
    let mut telemetry = Telemetry::new(Ring::new(), 1, 1, 1_000_000, Uptime(0));
    sample_until(&mut telemetry, BATCH_SAMPLES_MAX as u64 - 2);
    assert!(batches(&mut telemetry, 50, 1).is_empty());
    sample_until(&mut telemetry, BATCH_SAMPLES_MAX as u64 - 1);
    assert_eq!(numbers(&batches(&mut telemetry, 50, 1)).len(), BATCH_SAMPLES_MAX);
}

#[test]
fn only_an_acknowledgement_frees_samples_and_it_does_so_in_order() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 790);
    let sent = batches(&mut telemetry, 800, 1);
    assert_eq!(sent.len(), BATCHES_IN_FLIGHT);
    assert_eq!(telemetry.held(), 80);
    telemetry.acknowledged(2);
    assert_eq!(telemetry.held(), 80, "the first batch is not acknowledged yet");
    telemetry.acknowledged(99);
    assert_eq!(telemetry.held(), 80, "an acknowledgement of nothing frees nothing");
    telemetry.acknowledged(1);
    assert_eq!(telemetry.held(), 16);
    assert_eq!(numbers(&batches(&mut telemetry, 800, 3)), (64..80).collect::<Vec<_>>());
}

#[test]
fn what_was_on_its_way_goes_out_again_first() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 790);
    let first = numbers(&batches(&mut telemetry, 800, 1));
    telemetry.disconnected();
    sample_until(&mut telemetry, 890);
    telemetry.connected();
    let again = numbers(&batches(&mut telemetry, 890, 10));
    assert_eq!(first, again);
    telemetry.acknowledged(1);
    assert_eq!(telemetry.held(), 90, "an acknowledgement of the former connection frees nothing");
    telemetry.acknowledged(10);
    telemetry.acknowledged(11);
    assert_eq!(numbers(&batches(&mut telemetry, 890, 12)), (64..90).collect::<Vec<_>>());
}

#[test]
fn overflow_drops_the_oldest_never_sent_and_counts_exactly() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 790);
    let sent = numbers(&batches(&mut telemetry, 800, 1));
    assert_eq!(sent.len(), 64);
    telemetry.disconnected();
    // 16 samples wait already; 30 more than the ring holds.
    let total = sample_until(&mut telemetry, 790 + 10 * (RING_SAMPLES as u64 - 16 + 30));
    assert_eq!(telemetry.lost(), 30);
    telemetry.connected();
    let mut arrived = Vec::new();
    let mut token = 100;
    loop {
        let batches = batches(&mut telemetry, 1_000_000, token);
        if batches.is_empty() {
            break;
        }
        for batch in batches {
            assert_eq!(batch.lost, if batch.seq < 64 { 0 } else { 30 }, "{}", batch.seq);
            arrived.extend(numbers(&[batch]));
            telemetry.acknowledged(token);
            token += 1;
        }
    }
    assert_eq!(arrived, (0..64).chain(94..total).collect::<Vec<_>>());
}

#[test]
fn a_missed_period_is_skipped_and_a_mute_sensor_is_a_fault() {
    let mut telemetry = fresh();
    assert!(telemetry.poll_sample(Uptime(0)));
    assert!(!telemetry.poll_sample(Uptime(9)));
    telemetry.reading(value(1));
    telemetry.reading(value(2));
    assert_eq!(telemetry.next_seq(), 1, "an answer that was not asked for is no sample");
    assert!(telemetry.poll_sample(Uptime(57)));
    assert_eq!(telemetry.next_sample, Uptime(60), "the grid is kept, what was missed is not made up for");
    assert!(telemetry.poll_sample(Uptime(60)));
    assert_eq!((telemetry.next_seq(), telemetry.faults()), (2, 1));
    telemetry.reading(value(3));
    let report = batches(&mut telemetry, 100, 1);
    let readings: Vec<_> = report[0].samples.iter().map(|sample| sample.reading).collect();
    assert_eq!(readings, [value(1), Err(SensorFault::NoAnswer), value(3)]);
}

#[test]
fn without_a_clock_the_batch_has_no_time() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 50);
    assert_eq!(telemetry.drain(NO_TIME).unwrap().time, None);
}

#[test]
fn draining_gives_every_sample_once_and_in_order() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 790);
    batches(&mut telemetry, 800, 1);
    telemetry.disconnected();
    let total = sample_until(&mut telemetry, 10_000);
    let lost = telemetry.lost();
    let drained: Vec<_> = core::iter::from_fn(|| telemetry.drain(TIME)).collect();
    assert!(drained.len() <= usize::from(crate::platform::BACKLOG_SLOTS));
    assert_eq!(numbers(&drained), (0..64).chain(64 + lost..total).collect::<Vec<_>>());
    assert_eq!(telemetry.held(), 0);
}

#[test]
fn the_longest_backlog_fits_into_its_slots() {
    // 64 sent, 512 waiting, and one gap between them at the worst place.
    let most = SENT_SAMPLES.div_ceil(BATCH_SAMPLES_MAX) + 1 + RING_SAMPLES.div_ceil(BATCH_SAMPLES_MAX) + 1;
    assert!(most <= usize::from(crate::platform::BACKLOG_SLOTS), "{most}");
}
