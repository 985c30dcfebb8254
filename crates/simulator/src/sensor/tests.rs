use super::*;

const YEAR_MINUTES: u64 = 365 * 24 * 60;

fn values(model: &mut Model, step_ms: u64, count: u64) -> Vec<Measurement> {
    (0..count).map(|i| model.measure(i * step_ms).unwrap()).collect()
}

#[test]
fn a_year_of_any_seed_stays_inside_the_sensors_range() {
    for seed in 0..5 {
        let mut model = Model::new(seed);
        for value in values(&mut model, 10 * 60_000, YEAR_MINUTES / 10) {
            let (low, high) = PRESSURE_BOUNDS_PA;
            let pressure = f64::from(value.pressure_pa());
            assert!(pressure > low - 50.0 && pressure < high + 50.0, "seed {seed}: {pressure}");
            assert!((-1_500..4_500).contains(&value.temperature_centi_c()), "seed {seed}: {value:?}");
            assert!(value.humidity_centi_percent() > 500, "seed {seed}: {value:?}");
        }
    }
}

#[test]
fn from_second_to_second_only_noise_is_seen() {
    let all = values(&mut Model::new(7), 1_000, 3_600);
    for pair in all.windows(2) {
        let [a, b] = pair else { unreachable!("windows of two") };
        assert!(a.temperature_centi_c().abs_diff(b.temperature_centi_c()) <= 6, "{a:?} {b:?}");
        assert!(a.humidity_centi_percent().abs_diff(b.humidity_centi_percent()) <= 80, "{a:?} {b:?}");
        assert!(a.pressure_pa().abs_diff(b.pressure_pa()) <= 40, "{a:?} {b:?}");
    }
}

#[test]
fn the_noise_has_the_datasheets_size() {
    let all = values(&mut Model::new(3), 1, 4_000);
    let rms = |of: fn(&Measurement) -> f64| {
        let differences = all.windows(2).map(|pair| (of(&pair[1]) - of(&pair[0])).powi(2));
        (differences.sum::<f64>() / (all.len() - 1) as f64 / 2.0).sqrt()
    };
    let pressure = rms(|m| f64::from(m.pressure_pa()));
    let humidity = rms(|m| f64::from(m.humidity_centi_percent())) / 100.0;
    assert!((pressure / NOISE_PRESSURE_PA - 1.0).abs() < 0.1, "{pressure}");
    assert!((humidity / NOISE_HUMIDITY_PERCENT - 1.0).abs() < 0.1, "{humidity}");
}

#[test]
fn the_day_is_seen_and_humidity_falls_as_it_gets_warm() {
    let all = values(&mut Model::new(11), 60_000, 24 * 60);
    let warmest = all.iter().max_by_key(|m| m.temperature_centi_c()).unwrap();
    let coldest = all.iter().min_by_key(|m| m.temperature_centi_c()).unwrap();
    assert!(warmest.temperature_centi_c() - coldest.temperature_centi_c() > 500, "{warmest:?} {coldest:?}");
    assert!(warmest.humidity_centi_percent() < coldest.humidity_centi_percent(), "{warmest:?} {coldest:?}");
}

#[test]
fn the_same_seed_gives_the_same_values_and_another_does_not() {
    let run = |seed| values(&mut Model::new(seed), 10_000, 500);
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

#[test]
fn a_fault_rate_gives_about_that_share_of_every_fault_and_never_a_value_with_it() {
    let mut model = Model::new(1).with_fault_rate(0.3);
    let faults: Vec<SensorFault> = (0..3_000).filter_map(|i| model.measure(i * 1_000).err()).collect();
    assert!((750..1_050).contains(&faults.len()), "{}", faults.len());
    for fault in [SensorFault::NoAnswer, SensorFault::BadData, SensorFault::OutOfRange] {
        assert!(faults.iter().filter(|f| **f == fault).count() > 200, "{fault:?}");
    }
}

#[test]
fn a_requested_fault_lasts_until_it_is_repaired() {
    let mut model = Model::new(1);
    let switch = model.switch();
    switch.set(Some(SensorFault::BadData));
    assert_eq!(model.measure(0), Err(SensorFault::BadData));
    assert_eq!(model.measure(1_000), Err(SensorFault::BadData));
    switch.set(None);
    assert!(model.measure(2_000).is_ok());
}

#[test]
fn magnus_agrees_with_published_values() {
    // At 20 °C a dew point of 9.26 °C is 50 % relative humidity.
    assert!((relative_humidity(20.0, 9.26) - 50.0).abs() < 0.2);
    assert!((relative_humidity(10.0, 10.0) - 100.0).abs() < 1e-9);
}
