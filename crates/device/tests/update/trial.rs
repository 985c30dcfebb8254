//! An image on trial: it stays where it is healthy, and goes where it is not, by itself and not for ever. R-FW-HEALTH.

use crate::world::Platform;
use crate::world::service::signed;
use crate::world::site::{CONFIGURATION, DAY_MS, Misbehaviour, Site};
use crate::{V1, V2, site, v2};
use device::update::{ATTEMPTS_MAX, RETRY_TRIALS};
use device::{Key, Note};
use protocol::config::Change;
use protocol::document::Power;
use protocol::firmware::Phase;
use protocol::{Layer, Refusal, ResetCause, UpdateFault};

const TRIAL_MS: u64 = 900_000;

/// The image misbehaves: the device goes back to the former one by itself and says why, tries once more, and then never again.
fn goes_back(misbehaviour: Misbehaviour, fault: UpdateFault, pulls_the_plug: bool) {
    let mut site = site();
    site.misbehaviour.insert((1, 1, 0), misbehaviour);
    site.start();
    site.release(&v2(), 1);
    for attempt in 1..=ATTEMPTS_MAX {
        let started = |site: &mut Site<Platform>| site.version() == V2;
        let from = site.now;
        assert!(site.run_until(2 * RETRY_TRIALS * TRIAL_MS, started), "{:#?}", site.notes);
        if attempt > 1 {
            assert!(
                site.now - from >= RETRY_TRIALS * TRIAL_MS - 60_000,
                "an attempt at once: {}",
                site.now - from
            );
        }
        if pulls_the_plug {
            site.run_until(TRIAL_MS, |site| site.hung);
            // A watchdog, or somebody in the field.
            site.restart();
        }
        assert!(site.run_until(2 * TRIAL_MS, |site| site.version() == V1), "it stays: {misbehaviour:?}");
        let noted = |site: &mut Site<Platform>| {
            let state = site.state();
            state.fault == Some(fault) && state.attempts == u32::from(attempt)
        };
        assert!(site.run_until(60_000, noted), "{misbehaviour:?}: {:#?} {:#?}", site.state(), site.notes);
        assert_eq!(site.state().phase, Phase::Failed);
        assert!(site.notes.contains(&Note::UpdateReverted(fault)), "{:#?}", site.notes);
    }
    let restarts = site.restarts;
    site.run(2 * DAY_MS);
    site.restart();
    site.run(2 * DAY_MS);
    assert_eq!((site.version(), site.restarts), (V1, restarts), "an endless loop");
    assert_eq!((site.state().phase, site.state().fault), (Phase::Failed, Some(fault)));
}

#[test]
fn an_image_that_reaches_no_service_goes_back() {
    goes_back(Misbehaviour::NoService, UpdateFault::NoService, false);
}

#[test]
fn an_image_without_its_sensor_goes_back() {
    goes_back(Misbehaviour::NoSensor, UpdateFault::NoSensor, false);
}

#[test]
fn an_image_that_panics_goes_back() {
    goes_back(Misbehaviour::Panics(1_000), UpdateFault::Reverted, false);
    goes_back(Misbehaviour::Panics(60_000), UpdateFault::Reverted, false);
}

#[test]
fn an_image_that_hangs_goes_back_when_power_is_cut() {
    goes_back(Misbehaviour::Hangs(0), UpdateFault::Reverted, true);
    goes_back(Misbehaviour::Hangs(100_000), UpdateFault::Reverted, true);
}

#[test]
fn power_cuts_in_the_trial_do_not_spend_a_good_image() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    site.reset = ResetCause::PowerOn;
    for cut in 0..4 {
        assert!(site.run_until(600_000, |site| site.version() == V2), "after {cut} cuts: {:#?}", site.notes);
        site.run(10_000);
        site.restart();
        assert_eq!(site.version(), V1);
        let noted = |site: &mut Site<Platform>| {
            let state = site.state();
            (state.attempts, state.fault) == (0, Some(UpdateFault::Reverted)) && state.phase != Phase::Failed
        };
        assert!(site.run_until(60_000, noted), "{:#?}", site.state());
    }
    site.await_version(600_000, V2);
}

#[test]
fn what_looks_like_a_power_cut_each_time_is_counted_in_the_end() {
    let mut site = site();
    site.misbehaviour.insert((1, 1, 0), Misbehaviour::Hangs(0));
    site.start();
    site.release(&v2(), 1);
    site.reset = ResetCause::Unknown;
    let mut starts = 0;
    while site.run_until(2 * RETRY_TRIALS * TRIAL_MS, |site| site.version() == V2) {
        starts += 1;
        assert!(starts < 20, "an endless loop");
        site.restart();
    }
    assert_eq!(starts, 4 + u32::from(ATTEMPTS_MAX));
    assert_eq!((site.state().phase, site.state().fault), (Phase::Failed, Some(UpdateFault::Reverted)));
}

#[test]
fn a_sensor_that_was_dead_before_is_no_reason_to_go_back() {
    let mut site = site();
    site.sensor = false;
    site.start();
    site.release(&v2(), 1);
    site.await_version(600_000, V2);
}

#[test]
fn one_glitch_of_the_sensor_is_no_reason_to_go_back_and_a_dead_one_is() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.version() == V2));
    site.run(55_000);
    site.sensor = false;
    site.run(10_000);
    site.sensor = true;
    let from = site.now;
    site.await_version(600_000, V2);
    assert!(site.now - from < 120_000, "the trial did not begin anew");
}

#[test]
fn the_conditions_must_hold_without_a_break() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.version() == V2));
    site.run(100_000);
    site.cut_link();
    let from = site.now;
    site.await_version(600_000, V2);
    assert!(site.now - from > 120_000, "{}", site.now - from);
}

#[test]
fn storage_that_fails_with_the_new_image_is_a_reason_to_go_back() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.version() == V2));
    // The state is stored once an hour, and so are errors: the record of the trial fails again and again.
    site.platform().slots.borrow_mut().fails_after = Some(0);
    assert!(site.run_until(2 * TRIAL_MS, |site| site.version() == V1), "{:#?}", site.notes);
    site.platform().slots.borrow_mut().fails_after = None;
    site.run(60_000);
    let fault = site.state().fault;
    assert!(matches!(fault, Some(UpdateFault::Worse | UpdateFault::Storage)), "{fault:?}");
}

#[test]
fn an_outage_of_the_service_during_the_trial_costs_an_attempt_and_the_next_one_stays() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.version() == V2));
    site.open = false;
    site.cut_link();
    assert!(site.run_until(2 * TRIAL_MS, |site| site.version() == V1));
    site.run(DAY_MS);
    assert_eq!(site.version(), V1, "no second attempt while there is no service");
    site.open = true;
    site.await_version(DAY_MS, V2);
    assert_eq!(site.state().fault, None);
}

#[test]
fn power_cuts_during_the_trial_are_no_end_of_the_update() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.version() == V2));
    site.run(30_000);
    site.restart();
    assert_eq!(site.version(), V1);
    site.await_version(DAY_MS, V2);
}

#[test]
fn a_manifest_that_came_during_the_trial_is_not_forgotten() {
    use crate::CODE;
    use crate::world::release::{Release, image};
    use protocol::image::Version;
    let v3 = Version::new(1, 2, 0);
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.version() == V2));
    site.run(60_000);
    site.release(&Release::new(8, v3, image(v3, CODE)), 2);
    site.await_version(900_000, v3);
    assert!(site.notes.contains(&Note::UpdateConfirmed { version: V2 }));
}

#[test]
fn an_image_that_came_by_another_way_than_the_records_has_to_prove_itself_too() {
    let mut site = site();
    site.start();
    site.run(10_000);
    {
        let mut slots = site.platform().slots.borrow_mut();
        let image = v2().image;
        slots.candidate[..image.len()].copy_from_slice(&image);
        slots.marked = true;
    }
    site.restart();
    assert!(site.run_until(600_000, |site| site.notes.contains(&Note::UpdateConfirmed { version: V2 })));
    site.restart();
    site.run(10_000);
    assert_eq!(site.version(), V2);
}

#[test]
fn slots_that_do_not_tell_whether_the_image_is_on_trial_make_nobody_believe_that_it_stays() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(
        site.run_until(600_000, |site| site.notes.iter().any(|note| matches!(note, Note::UpdateVerified)))
    );
    site.platform().slots.borrow_mut().silent = 1;
    assert!(site.run_until(60_000, |site| site.version() == V2));
    site.run(30_000);
    assert!(!site.notes.contains(&Note::UpdateConfirmed { version: V2 }));
    site.await_version(600_000, V2);
    assert!(!site.platform().slots.borrow().on_trial);
}

#[test]
fn a_clock_that_is_forgotten_makes_no_turn_come_early() {
    let mut site = site();
    let start = (crate::world::site::START_S / 60 % 1_440 + 600) % 1_440;
    site.platform().configure(|draft| {
        (draft.update_start_min, draft.update_length_min, draft.update_spread_s) = (start as u32, 10, 0);
        (draft.sample_period_ms, draft.report_period_ms) = (10_000, 60_000);
    });
    site.start();
    site.release(&v2(), 1);
    site.run(60_000);
    // The service's certificate is not valid any more, says whoever answers in its place: the time may be wrong.
    site.link = false;
    site.tell(device::Event::Disconnected(protocol::Failure::TlsExpired));
    site.run(3_600_000);
    assert!(site.asked.is_empty(), "the turn came {:?}", site.notes);
}

/// What new firmware takes, the firmware before might not be able to read: then it would know nothing but the factory's.
#[test]
fn a_change_of_the_configuration_waits_until_the_image_stays() {
    for misbehaviour in [None, Some(Misbehaviour::NoSensor)] {
        let mut site = site();
        site.misbehaviour.extend(misbehaviour.map(|misbehaviour| ((1, 1, 0), misbehaviour)));
        site.start();
        site.release(&v2(), 1);
        let tried = |site: &mut Site<Platform>| site.version() == V2 && site.link;
        assert!(site.run_until(600_000, tried), "{:#?}", site.notes);
        site.run(5_000);
        let change = br#"{"v":2,"number":7,"id":"dev-1","dead_band_pa":9}"#;
        let change = signed(&Change::decode(change).unwrap(), Power::Configuration);
        site.publish(CONFIGURATION, &change);
        site.run(5_000);
        let (layer, number, why) = (Some(Layer::Device), 7, Refusal::Unexpected);
        assert!(site.notes.contains(&Note::ConfigurationRefused { layer, number, why }), "{:#?}", site.notes);
        assert_eq!(site.version(), V2);
        let stored = site.platform().store.borrow().keys().any(|key| matches!(key, Key::Change(_)));
        assert!(!stored, "nothing that the firmware before would have to read");
        let last = if misbehaviour.is_none() { V2 } else { V1 };
        let taken = |site: &mut Site<Platform>| {
            site.version() == last && site.device().configuration().dead_band_pa == 9
        };
        assert!(site.run_until(2 * TRIAL_MS, taken), "it comes again: {:#?}", site.notes);
    }
}
