//! Changes that are taken: at once where the device cannot be cut off by them, and always said.

use crate::bench::{BOUND_MS, Bench, Call, MINUTE_MS, change, decoded, factory, json};
use crate::world::field::DAY_MS;
use device::Note;
use protocol::config::{Authentication, ConfigurationState, InForce, LogLevel, merge};
use protocol::key::sha256;
use protocol::state::Alarm;
use protocol::{Configuration, Failure, Layer, Measurement};

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what a state says")]
pub fn in_force(layer: Layer, number: u32, fields: &str) -> Option<InForce> {
    Some(InForce { number, digest: sha256(&[json(layer, number, fields).as_bytes()]) })
}

fn check(state: &ConfigurationState, values: &Configuration) {
    assert_eq!(state.values, *values);
    assert_eq!((state.refused, state.replayed, &state.last, state.trial), (0, 0, &None, None));
}

#[test]
fn a_change_that_cuts_nothing_off_is_in_force_at_once_and_is_said_with_number_and_digest() {
    for layer in [Layer::Device, Layer::Group] {
        let mut bench = Bench::running(1);
        let (calls, said) = (bench.calls.len(), bench.states.len());
        let fields = r#""sample_period_ms":5000,"report_period_ms":30000,"dead_band_pa":7,"alarm_high_pa":105000,"log_level":"warning","update_start_min":60,"update_length_min":120,"update_deadline_h":24,"update_spread_s":5"#;
        bench.publish(layer, &change(layer, 6, fields));
        assert_eq!(bench.notes, [Note::ConfigurationChanged { layer, number: 6 }]);
        assert_eq!(bench.calls.len(), calls, "no other connection");
        let decoded = decoded(layer, 6, fields);
        let (group, device) = match layer {
            Layer::Group => (Some(&decoded), None),
            Layer::Device => (None, Some(&decoded)),
        };
        let values = merge(&factory(), group, device).unwrap();
        assert_eq!(bench.configuration(), values);
        assert_eq!(bench.states.len(), said + 1, "said at once");
        let state = bench.state();
        check(&state, &values);
        let expected = in_force(layer, 6, fields);
        let (group, device) = if layer == Layer::Group { (expected, None) } else { (None, expected) };
        assert_eq!((state.group, state.device), (group, device));
        bench.run(MINUTE_MS);
        let report = bench.reports.last().unwrap();
        let numbers = if layer == Layer::Group { (5, 6) } else { (6, 0) };
        assert_eq!((report.config, report.group_config, report.refused), (numbers.0, numbers.1, 0));
        assert_eq!(values.log_level, LogLevel::Warning);

        // It stays so.
        bench.restart();
        assert_eq!(bench.configuration(), values);
        let state = bench.state();
        check(&state, &values);
        assert_eq!((state.group, state.device), (group_of(layer, expected), device_of(layer, expected)));
    }
}

fn group_of(layer: Layer, held: Option<InForce>) -> Option<InForce> {
    held.filter(|_| layer == Layer::Group)
}

fn device_of(layer: Layer, held: Option<InForce>) -> Option<InForce> {
    held.filter(|_| layer == Layer::Device)
}

#[test]
fn group_and_device_come_together_and_the_devices_own_wins() {
    let group = r#""sample_period_ms":2000,"report_period_ms":9000,"dead_band_pa":3"#;
    let own = r#""sample_period_ms":1000,"dead_band_centi_c":4"#;
    for order in [[Layer::Group, Layer::Device], [Layer::Device, Layer::Group]] {
        let mut bench = Bench::running(2);
        for layer in order {
            bench.publish(layer, &change(layer, 9, if layer == Layer::Group { group } else { own }));
        }
        let expected =
            merge(&factory(), Some(&decoded(Layer::Group, 9, group)), Some(&decoded(Layer::Device, 9, own)));
        let expected = expected.unwrap();
        assert_eq!(
            (expected.sample_period_ms, expected.report_period_ms, expected.number),
            (1_000, 9_000, 9)
        );
        assert_eq!(bench.configuration(), expected);
        bench.restart();
        assert_eq!(bench.configuration(), expected);
        let state = bench.state();
        check(&state, &expected);
        assert_eq!(state.group, in_force(Layer::Group, 9, group));
        assert_eq!(state.device, in_force(Layer::Device, 9, own));

        // A newer one replaces its layer as a whole: what it does not name goes back to what is below.
        bench.publish(Layer::Device, &change(Layer::Device, 10, r#""dead_band_centi_percent":6"#));
        let now = bench.configuration();
        assert_eq!((now.sample_period_ms, now.dead_band_centi_c, now.dead_band_pa), (2_000, 0, 3));
        bench.publish(Layer::Group, &change(Layer::Group, 11, ""));
        let now = bench.configuration();
        assert_eq!((now.sample_period_ms, now.dead_band_centi_percent), (factory().sample_period_ms, 6));
    }
}

#[test]
fn the_group_topic_and_the_devices_own_topic_carry_either_layer() {
    let mut bench = Bench::running(3);
    bench.send(Layer::Device, &change(Layer::Group, 1, r#""dead_band_pa":1"#));
    bench.send(Layer::Group, &change(Layer::Device, 6, r#""dead_band_centi_c":1"#));
    let state = bench.state();
    assert_eq!((state.group.unwrap().number, state.device.unwrap().number), (1, 6));
}

#[test]
fn periods_change_at_once() {
    let mut bench = Bench::running(4);
    bench.run(MINUTE_MS);
    bench.sampled.clear();
    bench.batches.clear();
    bench.publish(
        Layer::Device,
        &change(Layer::Device, 6, r#""sample_period_ms":1000,"report_period_ms":5000"#),
    );
    bench.run(10_000);
    assert!((10..=11).contains(&bench.sampled.len()), "{:?}", bench.sampled);
    assert!((2..=3).contains(&bench.batches.len()), "{:?}", bench.batches);
    let gaps: Vec<_> = bench.sampled.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap == 1_000), "{gaps:?}");
}

#[test]
fn dead_bands_keep_what_does_not_move_off_the_network_and_count_it() {
    let mut bench = Bench::running(5);
    let bands = r#""sample_period_ms":1000,"report_period_ms":60000,"dead_band_centi_c":50,"dead_band_centi_percent":100,"dead_band_pa":100"#;
    bench.publish(Layer::Group, &change(Layer::Group, 1, bands));
    bench.run(10 * MINUTE_MS);
    bench.samples.clear();
    let before = bench.device().state(device::Uptime(0)).suppressed;
    bench.run(10 * MINUTE_MS);
    assert_eq!(bench.samples.len(), 10, "one for each report");
    let state = bench.device().state(device::Uptime(0));
    assert_eq!(state.suppressed - before, 590);
    assert_eq!(state.lost, 0);
}

#[test]
fn an_alarm_is_said_at_once_and_so_is_its_end() {
    let mut bench = Bench::running(6);
    let fields = r#""sample_period_ms":1000,"report_period_ms":3600000,"alarm_high_centi_c":3000,"alarm_hysteresis_centi_c":100"#;
    bench.publish(Layer::Device, &change(Layer::Device, 6, fields));
    bench.run(2 * MINUTE_MS + 30_500);
    for (value, alarms, note) in [
        (3_001, vec![Alarm::TemperatureHigh], Some(true)),
        (2_950, vec![Alarm::TemperatureHigh], None),
        (2_900, vec![], Some(false)),
    ] {
        bench.reading = Measurement::new(value, 5_000, 100_000);
        bench.notes.clear();
        bench.reports.clear();
        bench.samples.clear();
        bench.run(1_000);
        let expected = note.map(|begins| Note::Alarm { alarm: Alarm::TemperatureHigh, begins });
        assert_eq!(bench.notes.first().copied(), expected, "{value}");
        assert_eq!(bench.reports.last().map(|state| state.alarms.to_vec()), note.map(|_| alarms), "{value}");
        assert_eq!(bench.samples.last().map(|(_, reading)| *reading), note.map(|_| bench.reading), "{value}");
    }
}

#[test]
fn the_level_of_the_log_holds_from_the_next_note_on() {
    let mut bench = Bench::running(7);
    let seen = |bench: &mut Bench<_>| {
        bench.notes.clear();
        bench.cut_link();
        bench.run(MINUTE_MS);
        assert!(bench.link.is_some());
        bench.notes.clone()
    };
    let info = seen(&mut bench);
    assert!(info.iter().any(|note| matches!(note, Note::Connected { .. })));
    bench.publish(Layer::Device, &change(Layer::Device, 6, r#""log_level":"warning""#));
    let warning = seen(&mut bench);
    assert_eq!(warning, [Note::Disconnected(Failure::LinkLost)]);
    bench.publish(Layer::Device, &change(Layer::Device, 7, r#""log_level":"error""#));
    assert_eq!(seen(&mut bench), []);
    bench.device().platform().entropy_fails = true;
    bench.cut_link();
    bench.run(MINUTE_MS);
    assert!(bench.notes.contains(&Note::Entropy), "{:?}", bench.notes);
}

#[test]
fn what_decides_the_connection_is_used_by_the_next_one_and_stays_once_it_has_worked() {
    type Uses = fn(&Call) -> bool;
    let other: [(&str, Uses); 5] = [
        (r#""host":"other.example""#, |call| call.host == "other.example" && call.port == 8_883),
        (r#""port":8884"#, |call| call.host == "broker.example" && call.port == 8_884),
        (r#""keep_alive_s":30"#, |call| call.keep_alive_s == 30),
        (r#""auth":"token""#, |call| call.token),
        (
            r#""host":"other.example","port":1,"keep_alive_s":5,"auth":"token","time_servers":["t9.example:1123"]"#,
            |call| call.host == "other.example" && call.port == 1 && call.keep_alive_s == 5 && call.token,
        ),
    ];
    for layer in [Layer::Group, Layer::Device] {
        for (fields, uses) in other {
            let mut bench = Bench::running(8);
            bench.publish(layer, &change(layer, 7, fields));
            assert_eq!(bench.notes[..1], [Note::ConfigurationTried { layer, number: 7 }]);
            assert!(bench.link.is_none(), "{fields}");
            let from = bench.calls.len();
            assert!(bench.await_verdict(BOUND_MS), "{fields}");
            bench.run(1_000);
            assert_eq!(bench.calls.len(), from + 1, "{fields}");
            assert!(uses(&bench.calls[from]), "{fields}: {:?}", bench.calls[from]);
            let state = bench.state();
            assert_eq!(state.trial, None);
            assert_eq!(state.values, bench.configuration());
            let expected = in_force(layer, 7, fields);
            assert_eq!(if layer == Layer::Group { state.group } else { state.device }, expected);
            // The silence after which it gives up is the new keep-alive's.
            bench.run(DAY_MS);
            assert_eq!(bench.calls.len(), from + 1 + renewals(&bench), "{fields}: {:?}", bench.notes);
            bench.restart();
            bench.run(MINUTE_MS);
            assert!(uses(bench.calls.last().unwrap()));
        }
    }
}

/// Connections that only bring a new token.
fn renewals<P: device::Platform + device::Slots>(bench: &Bench<P>) -> usize {
    let calls = bench.calls.iter().rev().take_while(|call| call.token);
    calls.count().saturating_sub(1)
}

#[test]
fn the_same_message_again_is_no_change_and_is_not_counted() {
    let mut bench = Bench::running(9);
    for (layer, fields) in [(Layer::Group, r#""dead_band_pa":2"#), (Layer::Device, r#""port":8884"#)] {
        bench.publish(layer, &change(layer, 8, fields));
        bench.run(5 * MINUTE_MS);
    }
    let kept = bench.stored();
    let written = bench.device().platform().written.clone();
    written.borrow_mut().clear();
    for _ in 0..10 {
        bench.cut_link();
        bench.run(6 * MINUTE_MS);
        assert!(bench.link.is_some());
    }
    bench.publish(Layer::Group, &[]);
    let state = bench.state();
    assert_eq!((state.refused, state.replayed, state.last), (0, 0, None));
    assert_eq!(bench.stored(), kept);
    assert!(!written.borrow().contains(&device::Key::Settings), "it costs no wear");
    assert_eq!(bench.configuration().auth, Authentication::Certificate);
}
