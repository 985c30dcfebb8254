extern crate std;
use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const NO_TIME: fn(Uptime) -> Option<EpochMillis> = |_| None;
const TIME: fn(Uptime) -> Option<EpochMillis> = |at| Some(EpochMillis(1_800_000_000_000 + at.0));

fn value(n: i32) -> Result<Measurement, SensorFault> {
    Measurement::new(n % 1000, 5_000, 100_000)
}

fn configured(sample_ms: u32, report_ms: u32, change: impl FnOnce(&mut Draft)) -> Draft {
    let id = protocol::DeviceId::new("dev").unwrap();
    let mut draft = Draft::new(id, "broker.example", "time.example").unwrap();
    (draft.sample_period_ms, draft.report_period_ms) = (sample_ms, report_ms);
    change(&mut draft);
    draft
}

/// A machine that samples every 10 ms and reports every 100 ms.
fn fresh() -> Telemetry<Ring> {
    with(|_| {})
}

/// The same with what `change` changes.
fn with(change: impl FnOnce(&mut Draft)) -> Telemetry<Ring> {
    Telemetry::new(Ring::new(), 7, &configured(10, 100, change), Uptime(0))
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
    let mut telemetry = Telemetry::new(Ring::new(), 1, &configured(1, 1_000_000, |_| {}), Uptime(0));
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
    assert_eq!(telemetry.overflowed(), 30);
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
    assert_eq!((telemetry.next_seq(), telemetry.missed(), telemetry.faults()), (6, 4, 1));
    telemetry.reading(value(3));
    let report = batches(&mut telemetry, 100, 1);
    let readings: Vec<_> =
        report.iter().flat_map(|batch| &batch.samples).map(|sample| sample.reading).collect();
    assert_eq!(readings, [value(1), Err(SensorFault::NoAnswer), value(3)]);
}

#[test]
fn each_point_of_the_grid_that_is_missed_takes_a_number_and_is_counted_before_the_sample_that_follows() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 20);
    // Due at 30, 40, 50; asked at 59, 60 (in time) and 85 (due at 70 and 80).
    for late in [59, 60, 85] {
        assert!(telemetry.poll_sample(Uptime(late)));
        telemetry.reading(value(late as i32));
    }
    assert_eq!((telemetry.missed(), telemetry.overflowed(), telemetry.next_seq()), (3, 0, 9));
    let batches = batches(&mut telemetry, 100, 1);
    let told: Vec<_> = batches.iter().map(|batch| (batch.seq, batch.samples.len(), batch.lost)).collect();
    assert_eq!(told, [(0, 3, 0), (5, 2, 2)], "the gap is as wide as the count that goes with what follows");
    telemetry.acknowledged(1);
    assert_eq!(numbers(&self::batches(&mut telemetry, 100, 3)), [8]);
}

#[test]
fn nothing_is_counted_as_missed_where_nothing_was() {
    // To the last millisecond before the next one is due.
    let mut telemetry = fresh();
    for point in 0..100 {
        assert!(telemetry.poll_sample(Uptime(10 * point + 9)));
        telemetry.reading(value(1));
    }
    // A burst takes all its samples, however late, and the grid rests meanwhile.
    telemetry.burst(3, 50, Uptime(1_000));
    for late in [1_000, 1_200, 1_420] {
        assert!(telemetry.poll_sample(Uptime(late)));
        telemetry.reading(value(1));
    }
    assert!(!telemetry.is_bursting());
    sample_until(&mut telemetry, 1_600);
    // Another period begins.
    telemetry.configure(&configured(7, 100, |_| {}), Uptime(1_601));
    sample_until(&mut telemetry, 1_700);
    assert_eq!(telemetry.missed(), 0);
}

#[test]
fn what_is_missed_when_the_period_changes_or_a_burst_begins_is_counted_by_the_former_period() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 0);
    // Due at 10, 20, 30; the last of them is taken now.
    telemetry.configure(&configured(1_000, 100, |_| {}), Uptime(35));
    assert_eq!(telemetry.missed(), 2);
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 0);
    telemetry.burst(1, 50, Uptime(35));
    assert_eq!(telemetry.missed(), 2);
    assert!(telemetry.poll_sample(Uptime(35)));
    telemetry.reading(value(1));
    sample_until(&mut telemetry, 100);
    assert_eq!(telemetry.missed(), 2, "and not once more when the grid goes on");
}

#[test]
fn overflow_and_what_was_missed_are_both_in_the_count_of_the_batches_and_apart_in_the_state() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 90);
    // Ten wait; one is missed, and then 5 more come than there is room for.
    assert!(telemetry.poll_sample(Uptime(110)));
    telemetry.reading(value(1));
    let total = sample_until(&mut telemetry, 110 + 10 * (RING_SAMPLES as u64 - 11 + 5));
    assert_eq!((telemetry.overflowed(), telemetry.missed()), (5, 1));
    let mut told = Vec::new();
    while let Some(batch) = telemetry.drain(TIME) {
        told.push((batch.seq, batch.lost));
    }
    assert_eq!(told[..2], [(5, 5), (11, 6)]);
    assert!(told.iter().skip(1).all(|(_, lost)| *lost == 6), "{told:?}");
    assert_eq!(total, RING_SAMPLES as u32 + 5 + 1);
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
    let lost = telemetry.overflowed();
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

fn measured(centi_c: i32, centi_percent: u32, pa: u32) -> Result<Measurement, SensorFault> {
    Measurement::new(centi_c, centi_percent, pa)
}

/// Takes one sample at the next point of the grid; gives the alarms that it changes.
fn take(telemetry: &mut Telemetry<Ring>, reading: Result<Measurement, SensorFault>) -> Vec<(Alarm, bool)> {
    let now = telemetry.next_sample;
    telemetry.poll_report(now);
    assert!(telemetry.poll_sample(now));
    telemetry.reading(reading).into_iter().collect()
}

/// Bands of half a degree, one percent and 100 Pa, and no report for long.
fn banded() -> Telemetry<Ring> {
    let mut telemetry = with(|draft| {
        draft.report_period_ms = 1_000_000;
        (draft.dead_band_centi_c, draft.dead_band_centi_percent, draft.dead_band_pa) = (50, 100, 100);
    });
    take(&mut telemetry, measured(2_000, 5_000, 100_000));
    telemetry
}

#[test]
fn what_stays_in_its_dead_band_is_no_sample_and_is_counted() {
    for (reading, counts) in [
        (measured(2_049, 5_099, 100_099), false),
        (measured(1_951, 4_901, 99_901), false),
        (measured(2_050, 5_000, 100_000), true),
        (measured(1_950, 5_000, 100_000), true),
        (measured(2_000, 5_100, 100_000), true),
        (measured(2_000, 4_900, 100_000), true),
        (measured(2_000, 5_000, 100_100), true),
        (measured(2_000, 5_000, 99_900), true),
    ] {
        let mut telemetry = banded();
        take(&mut telemetry, reading);
        assert_eq!(telemetry.next_seq(), 1 + u32::from(counts), "{reading:?}");
        assert_eq!(telemetry.suppressed(), u32::from(!counts), "{reading:?}");
    }
}

#[test]
fn a_slow_drift_is_measured_against_the_last_sample_and_not_the_last_measurement() {
    let mut telemetry = banded();
    for step in 1..=100 {
        take(&mut telemetry, measured(2_000 + step, 5_000, 100_000));
    }
    assert_eq!((telemetry.next_seq(), telemetry.suppressed()), (3, 98));
    let batch = telemetry.drain(TIME).unwrap();
    let values: Vec<_> =
        batch.samples.iter().map(|sample| sample.reading.unwrap().temperature_centi_c()).collect();
    assert_eq!(values, [2_000, 2_050, 2_100]);
    let after: Vec<_> = batch.samples.iter().map(|sample| sample.after_ms).collect();
    assert_eq!(after, [0, 500, 1_000], "consecutive numbers at their true times");
}

#[test]
fn a_fault_and_what_follows_it_are_samples() {
    let mut telemetry = banded();
    take(&mut telemetry, Err(SensorFault::NoAnswer));
    take(&mut telemetry, Err(SensorFault::NoAnswer));
    take(&mut telemetry, measured(2_000, 5_000, 100_000));
    assert_eq!((telemetry.next_seq(), telemetry.suppressed()), (4, 0));
    take(&mut telemetry, measured(2_000, 5_000, 100_000));
    assert_eq!((telemetry.next_seq(), telemetry.suppressed()), (4, 1));
}

#[test]
fn each_report_has_at_least_one_sample() {
    let mut telemetry = with(|draft| {
        (draft.dead_band_centi_c, draft.dead_band_centi_percent, draft.dead_band_pa) = (1, 1, 1);
    });
    for report in 1..=20 {
        for _ in 0..10 {
            take(&mut telemetry, measured(2_000, 5_000, 100_000));
        }
        let sent = batches(&mut telemetry, report * 100, report as u16);
        assert_eq!(numbers(&sent).len(), 1, "report {report}");
        telemetry.acknowledged(report as u16);
    }
    assert_eq!((telemetry.next_seq(), telemetry.suppressed()), (20, 180));
}

#[test]
fn one_dead_band_of_zero_makes_every_sample_count() {
    let mut telemetry = with(|draft| (draft.dead_band_centi_c, draft.dead_band_pa) = (500, 500));
    for _ in 0..50 {
        take(&mut telemetry, measured(2_000, 5_000, 100_000));
    }
    assert_eq!((telemetry.next_seq(), telemetry.suppressed()), (50, 0));
}

#[test]
fn an_alarm_begins_beyond_its_threshold_and_ends_well_inside() {
    let mut telemetry = with(|draft| {
        draft.report_period_ms = 1_000_000;
        (draft.alarm_low_centi_c, draft.alarm_high_centi_c, draft.alarm_hysteresis_centi_c) =
            (-1_000, 3_000, 100);
        (draft.dead_band_centi_c, draft.dead_band_centi_percent, draft.dead_band_pa) = (5_000, 5_000, 50_000);
    });
    let (low, high) = (Alarm::TemperatureLow, Alarm::TemperatureHigh);
    let steps: [(i32, &[(Alarm, bool)]); 13] = [
        (3_000, &[]),
        (3_001, &[(high, true)]),
        (3_000, &[]),
        (2_901, &[]),
        (3_500, &[]),
        (2_900, &[(high, false)]),
        (2_999, &[]),
        (-1_000, &[]),
        (-1_001, &[(low, true)]),
        (-901, &[]),
        (-900, &[(low, false)]),
        (-2_000, &[(low, true)]),
        (3_001, &[(low, false), (high, true)]),
    ];
    for (value, changes) in steps {
        batches(&mut telemetry, 0, 1);
        telemetry.disconnected();
        let before = telemetry.next_seq();
        assert_eq!(take(&mut telemetry, measured(value, 5_000, 100_000)), changes, "{value}");
        assert_eq!(telemetry.flush, !changes.is_empty(), "{value}: who has to know waits for no report");
        if !changes.is_empty() {
            assert_eq!(telemetry.next_seq(), before + 1, "{value}: the service sees what made the alarm");
        }
        telemetry.flush = false;
    }
    assert_eq!(telemetry.alarms(), [high]);
    take(&mut telemetry, Err(SensorFault::NoAnswer));
    assert_eq!(telemetry.alarms(), [high], "no value ends no alarm");
}

#[test]
fn each_quantity_has_its_own_alarms() {
    let mut telemetry = with(|draft| {
        (draft.alarm_low_centi_percent, draft.alarm_high_centi_percent) = (1_000, 9_000);
        (draft.alarm_low_pa, draft.alarm_high_pa) = (90_000, 105_000);
        draft.alarm_high_centi_c = 4_000;
    });
    assert!(take(&mut telemetry, measured(2_000, 5_000, 100_000)).is_empty());
    let changes = take(&mut telemetry, measured(4_001, 999, 105_001));
    let expected = [Alarm::TemperatureHigh, Alarm::HumidityLow, Alarm::PressureHigh];
    assert_eq!(changes, expected.map(|alarm| (alarm, true)));
    assert_eq!(telemetry.alarms(), expected);
    let changes = take(&mut telemetry, measured(-4_000, 9_001, 89_999));
    assert_eq!(changes.len(), 5, "the temperature has no lower threshold inside the sensor's range");
    assert_eq!(telemetry.alarms(), [Alarm::HumidityHigh, Alarm::PressureLow]);
}

#[test]
fn the_defaults_never_alarm() {
    let mut telemetry = fresh();
    for reading in [measured(-4_000, 0, 30_000), measured(8_500, 10_000, 110_000)] {
        assert!(take(&mut telemetry, reading).is_empty());
    }
}

#[test]
fn a_burst_takes_its_samples_then_sends_them_and_the_ordinary_grid_goes_on() {
    let mut telemetry = with(|draft| {
        draft.sample_period_ms = 1_000;
        draft.report_period_ms = 1_000_000;
        (draft.dead_band_centi_c, draft.dead_band_centi_percent, draft.dead_band_pa) = (100, 100, 100);
    });
    take(&mut telemetry, measured(2_000, 5_000, 100_000));
    telemetry.burst(5, 70, Uptime(100));
    assert!(telemetry.is_bursting());
    let mut at = Vec::new();
    while telemetry.is_bursting() {
        at.push(telemetry.next_sample.0);
        assert!(!telemetry.flush);
        take(&mut telemetry, measured(2_000, 5_000, 100_000));
    }
    assert_eq!(at, [100, 170, 240, 310, 380]);
    assert_eq!((telemetry.next_seq(), telemetry.suppressed()), (6, 0), "no dead-band holds in a burst");
    assert_eq!(telemetry.next_sample, Uptime(1_000));
    assert_eq!(numbers(&batches(&mut telemetry, 380, 1)), (0..6).collect::<Vec<_>>());
    take(&mut telemetry, measured(2_000, 5_000, 100_000));
    assert_eq!((telemetry.next_seq(), telemetry.suppressed()), (6, 1));
    assert_eq!(telemetry.next_sample, Uptime(2_000));
}

#[test]
fn a_burst_longer_than_the_period_a_mute_sensor_and_a_second_burst_end_too() {
    let mut telemetry = with(|draft| (draft.sample_period_ms, draft.report_period_ms) = (1_000, 1_000_000));
    take(&mut telemetry, value(1));
    telemetry.burst(30, 100, Uptime(500));
    for _ in 0..3 {
        take(&mut telemetry, value(1));
    }
    // Takes the place of the first.
    telemetry.burst(20, 150, Uptime(750));
    for _ in 0..19 {
        take(&mut telemetry, value(1));
    }
    // The last one has no answer, until the next sample is due.
    let last = telemetry.next_sample;
    assert_eq!(last, Uptime(750 + 19 * 150));
    assert!(telemetry.poll_sample(last));
    assert!(telemetry.is_bursting());
    assert_eq!(telemetry.next_sample, Uptime(4_000));
    assert!(telemetry.poll_sample(Uptime(4_000)));
    assert!(!telemetry.is_bursting() && telemetry.flush);
    assert_eq!((telemetry.next_seq(), telemetry.faults()), (1 + 3 + 20, 1));
}

#[test]
fn another_period_counts_from_the_last_sample_and_report() {
    let mut telemetry = fresh();
    sample_until(&mut telemetry, 50);
    // Sampled at 50, next at 60; reports at 100.
    telemetry.configure(&configured(25, 200, |_| {}), Uptime(55));
    assert_eq!((telemetry.next_sample, telemetry.next_report), (Uptime(75), Uptime(200)));
    telemetry.configure(&configured(2, 30, |_| {}), Uptime(60));
    assert_eq!((telemetry.next_sample, telemetry.next_report), (Uptime(60), Uptime(60)));
    sample_until(&mut telemetry, 60);
    // What is the same stays where it is.
    telemetry.configure(&configured(2, 30, |draft| draft.dead_band_pa = 5), Uptime(61));
    assert_eq!((telemetry.next_sample, telemetry.next_report), (Uptime(62), Uptime(60)));
    // In a burst it is the ordinary grid that changes.
    telemetry.burst(2, 7, Uptime(61));
    telemetry.configure(&configured(1_000, 1_000, |_| {}), Uptime(61));
    assert_eq!(telemetry.next_sample, Uptime(61));
    take(&mut telemetry, value(1));
    take(&mut telemetry, value(1));
    assert_eq!(telemetry.next_sample, Uptime(1_060));
}

#[test]
fn other_thresholds_hold_from_the_next_measurement() {
    let mut telemetry = banded();
    let limits = configured(10, 1_000_000, |draft| draft.alarm_high_centi_c = 1_900);
    telemetry.configure(&limits, Uptime(5));
    assert!(telemetry.alarms().is_empty());
    assert_eq!(take(&mut telemetry, measured(2_000, 5_000, 100_000)), [(Alarm::TemperatureHigh, true)]);
    telemetry.configure(&configured(10, 1_000_000, |_| {}), Uptime(15));
    assert_eq!(telemetry.alarms(), [Alarm::TemperatureHigh], "until a measurement shows otherwise");
    assert_eq!(take(&mut telemetry, measured(2_000, 5_000, 100_000)), [(Alarm::TemperatureHigh, false)]);
}

/// What happens to the machine.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many samples are taken, around this temperature.
    /// So many samples of these values, each so many milliseconds late.
    Samples(u16, i32, u64),
    Burst(u16, u32),
    Configure {
        period: u32,
        report: u32,
        band: u32,
        high: i32,
    },
    /// Everything that the machine gives is sent, and this many of the batches on their way are acknowledged.
    Send(u8),
    Cut,
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u16..700, -4_000i32..8_500).prop_map(|(count, value)| Step::Samples(count, value, 0)),
        (1u16..20, -4_000i32..8_500, 1u64..2_000)
            .prop_map(|(count, value, late)| Step::Samples(count, value, late)),
        (1u16..512, 1u32..300).prop_map(|(samples, period)| Step::Burst(samples, period)),
        (1u32..500, 1u32..5_000, 0u32..200, -4_000i32..8_500)
            .prop_map(|(period, report, band, high)| Step::Configure { period, report, band, high }),
        (0u8..9).prop_map(Step::Send),
        (0u8..9).prop_map(Step::Send),
        Just(Step::Cut),
        Just(Step::Flush),
    ]
}

proptest! {
    /// Bursts, dead-bands, alarms and other periods in the middle: each measurement is a sample or suppressed, and each
    /// sample arrives in order, still waits, or is in the count of lost ones that comes with the next.
    #[test]
    fn every_measurement_is_delivered_waiting_lost_missed_or_suppressed_and_counted(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut telemetry = fresh();
        let (mut measured, mut now, mut token) = (0u32, 0u64, 0u16);
        let mut truth = std::collections::BTreeMap::new();
        let mut arrived: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
        let mut on_their_way: Vec<u16> = Vec::new();
        for step in steps {
            match step {
                Step::Samples(count, value, late) => for number in 0..count {
                    now = now.max(telemetry.next_sample.0 + late);
                    telemetry.poll_report(Uptime(now));
                    prop_assert!(telemetry.poll_sample(Uptime(now)));
                    let reading = match number % 41 {
                        40 => Err(SensorFault::BadData),
                        wave => Measurement::new((value + i32::from(wave)).min(8_500), 5_000, 100_000),
                    };
                    truth.insert(telemetry.next_seq(), (now, reading));
                    telemetry.reading(reading);
                    measured += 1;
                },
                Step::Burst(samples, period) => telemetry.burst(samples, period, Uptime(now)),
                Step::Configure { period, report, band, high } => {
                    telemetry.configure(&configured(period, report, |draft| {
                        (draft.dead_band_centi_c, draft.dead_band_centi_percent, draft.dead_band_pa) =
                            (band, band, band);
                        draft.alarm_high_centi_c = high;
                    }), Uptime(now));
                }
                Step::Send(acknowledged) => {
                    while let Some(batch) = telemetry.poll_batch(TIME) {
                        token += 1;
                        telemetry.published(token, batch.samples.len());
                        on_their_way.push(token);
                        for (seq, time, reading) in batch.iter() {
                            let (at, true_reading) = truth[&seq];
                            prop_assert_eq!((time, reading), (TIME(Uptime(at)), true_reading));
                            let newest = arrived.last_key_value().map(|(seq, lost)| (*seq, *lost));
                            if newest.is_none_or(|(newest, _)| seq > newest) {
                                let (next, lost) = newest.map_or((0, 0), |(seq, lost)| (seq + 1, lost));
                                prop_assert_eq!(seq - next, batch.lost - lost, "{}", seq);
                                arrived.insert(seq, batch.lost);
                            }
                        }
                    }
                    for _ in 0..acknowledged.min(on_their_way.len() as u8) {
                        telemetry.acknowledged(on_their_way.remove(0));
                    }
                }
                Step::Cut => {
                    telemetry.disconnected();
                    telemetry.connected();
                    on_their_way.clear();
                }
                Step::Flush => telemetry.flush(),
            }
            prop_assert_eq!(telemetry.next_seq() + telemetry.suppressed(), measured + telemetry.missed());
        }
        // What still waits goes into the flash at an orderly stop.
        telemetry.disconnected();
        let rest: u32 = core::iter::from_fn(|| telemetry.drain(TIME))
            .map(|batch| batch.iter().filter(|(seq, ..)| !arrived.contains_key(seq)).count() as u32)
            .sum();
        let gone = telemetry.overflowed() + telemetry.missed();
        prop_assert_eq!(arrived.len() as u32 + rest + gone, telemetry.next_seq());
    }
}
