//! An update from its announcement to its end: when it begins, what cuts do to it, what withdraws it, and what it costs the
//! rest of the device. R-FW-TIMELY, R-FW-DELTA, R-FW-ATOMIC.

use crate::world::Platform;
use crate::world::release::{MANIFEST, ROLLOUT, Release, image};
use crate::world::site::{DAY_MS, START_S, Site};
use crate::{CODE, V1, V2, site, updatable, v2};
use device::update::WINDOW;
use device::{Key, Note};
use protocol::firmware::Phase;
use protocol::image::Version;
use protocol::{UpdateFault, config::Draft};

const V3: Version = Version::new(1, 2, 0);
use Phase::{Downloading, Idle, Installing, Trial, Verifying, Waiting};

const HOUR_MS: u64 = 3_600_000;

/// A device whose configuration is changed, with version 1.
pub fn configured(seed: u64, change: impl FnOnce(&mut Draft)) -> Site<Platform> {
    Site::new(updatable(seed, change))
}

fn is_noticed(note: &Note) -> bool {
    matches!(note, Note::UpdateNoticed { .. })
}

pub fn is_downloading(site: &mut Site<Platform>) -> bool {
    !site.asked.is_empty()
}

/// Milliseconds after midnight UTC at which a site's life begins.
fn midnight() -> u64 {
    START_S * 1_000 % DAY_MS
}

#[test]
fn an_update_that_is_announced_is_installed_and_stays() {
    let mut site = site();
    site.start();
    site.run(60_000);
    assert_eq!((site.version(), site.state().phase), (V1, Phase::Idle));
    let release = v2();
    site.release(&release, 1);
    site.await_version(600_000, V2);
    assert_eq!(site.running(), release.image);
    let state = site.state();
    assert_eq!((state.phase, state.sequence, state.fault), (Phase::Idle, 7, None));
    assert_eq!((state.version.as_str(), state.target.as_str()), ("1.1.0", ""));
    assert_eq!(site.restarts, 1);
    let phases = site.phases();
    assert!(
        phases.iter().all(|phase| [Idle, Waiting, Downloading, Verifying, Installing, Trial].contains(phase))
    );
    for phase in [Downloading, Installing, Trial] {
        assert!(phases.contains(&phase), "{phases:?}");
    }
    assert!(site.asked.values().all(|times| *times == 1));
    // Each sector once, and what `discard` erases.
    assert!(site.platform().slots.borrow().wear() <= 11 + 2);
}

#[test]
fn an_update_that_was_announced_while_the_device_was_away_is_noticed_in_its_first_connection() {
    let mut site = site();
    site.release(&v2(), 1);
    site.now += 40 * DAY_MS;
    site.start();
    site.await_note(5_000, is_noticed);
    site.await_version(600_000, V2);
}

#[test]
fn a_rollout_may_come_before_its_manifest() {
    let mut site = site();
    site.start();
    let release = v2();
    site.publish(&ROLLOUT(), &release.rollout(1, 1_000));
    site.run(60_000);
    assert!(!site.notes.iter().any(is_noticed));
    site.announce(&release);
    site.await_version(600_000, V2);
}

#[test]
fn without_a_rollout_nothing_is_fetched() {
    let mut site = site();
    site.start();
    site.announce(&v2());
    site.run(20 * DAY_MS);
    assert!(site.asked.is_empty());
    assert_eq!((site.state().phase, site.state().target.as_str()), (Phase::Waiting, "1.1.0"));
}

#[test]
fn a_growing_share_takes_in_more_and_more_devices_and_everybody_in_the_end() {
    let release = v2();
    let mut site = site();
    site.start();
    site.announce(&release);
    let share = (0..=1_000)
        .find(|share| {
            let id = protocol::DeviceId::new("dev-1").unwrap();
            protocol::firmware::takes_part(&release.name(), &id, *share)
        })
        .unwrap();
    assert!((2..1_000).contains(&share), "another release would make this test a better one");
    site.publish(&ROLLOUT(), &release.rollout(1, 1));
    site.publish(&ROLLOUT(), &release.rollout(2, share - 1));
    site.run(DAY_MS);
    assert!(site.asked.is_empty() && !site.notes.iter().any(is_noticed));
    site.publish(&ROLLOUT(), &release.rollout(3, share));
    site.await_version(600_000, V2);
}

#[test]
fn a_window_is_waited_for_and_one_over_midnight_too() {
    for (start, length) in [(600, 60), (23 * 60, 120), (10, 1), (1_439, 1_440)] {
        let mut site = configured(3, |draft| {
            (draft.update_start_min, draft.update_length_min) = (start, length);
        });
        site.start();
        site.release(&v2(), 1);
        assert!(site.run_until(2 * DAY_MS, is_downloading), "{start} {length}");
        let minute = (midnight() + site.now) / 60_000 % 1_440;
        let into = (minute + 1_440 - u64::from(start)) % 1_440;
        assert!(into < u64::from(length), "{start} {length}: fetched at {minute}");
        // It restarts in the window only.
        let restarted = |site: &mut Site<Platform>| site.restarts > 0;
        assert!(site.run_until(2 * DAY_MS, restarted));
        let minute = (midnight() + site.now) / 60_000 % 1_440;
        assert!((minute + 1_440 - u64::from(start)) % 1_440 < u64::from(length), "restarted at {minute}");
    }
}

#[test]
fn after_the_deadline_the_window_is_not_waited_for() {
    // The window begins right before the device's life: the next one is almost a day away.
    let start = (midnight() / 60_000 + 1_439) % 1_440;
    let mut site = configured(3, |draft| {
        (draft.update_start_min, draft.update_length_min, draft.update_deadline_h) = (start as u32, 1, 5);
    });
    site.start();
    site.run(60_000);
    site.release(&v2(), 1);
    assert!(site.run_until(DAY_MS, is_downloading));
    assert!((5 * HOUR_MS..5 * HOUR_MS + 10 * 60_000).contains(&site.now), "{}", site.now);
    site.await_version(600_000, V2);
}

#[test]
fn the_deadline_counts_from_when_the_update_was_noticed_whatever_restarts_come() {
    let start = (midnight() / 60_000 + 1_439) % 1_440;
    let mut site = configured(3, |draft| {
        (draft.update_start_min, draft.update_length_min, draft.update_deadline_h) = (start as u32, 1, 5);
    });
    site.start();
    site.run(60_000);
    site.release(&v2(), 1);
    for _ in 0..20 {
        site.run(10 * 60_000);
        site.restart();
    }
    assert!(site.run_until(DAY_MS, is_downloading));
    assert!(site.now < 5 * HOUR_MS + 10 * 60_000, "{}", site.now);
}

#[test]
fn a_fleet_spreads_over_the_time_it_is_given() {
    let mut begun: Vec<u64> = (0..60)
        .map(|seed| {
            let mut site = configured(seed, |draft| draft.update_spread_s = 3_600);
            site.start();
            site.release(&v2(), 1);
            assert!(site.run_until(2 * HOUR_MS, is_downloading));
            site.now
        })
        .collect();
    begun.sort_unstable();
    assert!(*begun.last().unwrap() < 3_600_000 + 120_000);
    for (part, times) in begun.chunks(15).enumerate() {
        let middle = times[7] / 900_000;
        assert!(middle.abs_diff(part as u64) <= 1, "quarter {part}: {times:?}");
    }
}

#[test]
fn a_time_step_neither_loses_an_update_nor_makes_it_wait_for_ever() {
    for step in [-(10 * DAY_MS as i64), 30 * DAY_MS as i64] {
        let mut site = configured(3, |draft| {
            (draft.update_start_min, draft.update_length_min, draft.update_spread_s) = (720, 60, 3_600);
        });
        site.start();
        site.release(&v2(), 1);
        site.await_note(60_000, is_noticed);
        site.time_offset_ms = step;
        site.restart();
        site.await_version(2 * DAY_MS, V2);
    }
}

#[test]
fn an_update_that_is_withdrawn_in_the_middle_stops_and_goes_on_where_it_was() {
    let release = v2();
    for by_rollout in [true, false] {
        let mut site = site();
        site.start();
        site.release(&release, 1);
        assert!(site.run_until(600_000, |site| site.came.len() >= 8));
        if by_rollout {
            site.publish(&ROLLOUT(), &release.rollout(2, 0));
        } else {
            site.publish(&MANIFEST(), b"");
        }
        site.run(1_000);
        let asked = site.asked.clone();
        let wear = site.platform().slots.borrow().wear();
        site.run(DAY_MS);
        site.cut_link();
        site.run(DAY_MS);
        assert_eq!(site.asked, asked, "by rollout: {by_rollout}");
        assert!(site.notes.contains(&Note::UpdateWithdrawn));
        assert_eq!((site.state().phase, site.state().fault), (Phase::Idle, Some(UpdateFault::Withdrawn)));
        if by_rollout {
            site.publish(&ROLLOUT(), &release.rollout(3, 1_000));
        } else {
            site.publish(&MANIFEST(), &release.manifest());
        }
        site.await_version(600_000, V2);
        assert!(site.asked.values().filter(|times| **times > 1).count() <= WINDOW, "{:?}", site.asked);
        assert!(site.platform().slots.borrow().wear() <= wear + 11);
    }
}

#[test]
fn an_update_that_was_withdrawn_while_the_device_was_away_is_not_gone_on_with() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.came.len() >= 8));
    site.power_cut();
    site.retained.remove(&MANIFEST());
    site.start();
    let asked = site.asked.clone();
    site.run(DAY_MS);
    assert_eq!((site.asked.clone(), site.version()), (asked, V1));
}

#[test]
fn a_newer_manifest_in_the_middle_takes_the_place_of_the_one_before() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.came.len() >= 8));
    let newer = Release::new(8, V3, image(V3, CODE));
    site.release(&newer, 2);
    site.await_version(600_000, V3);
    assert_eq!(site.running(), newer.image);
    assert_eq!(site.restarts, 1);
}

#[test]
fn two_manifests_that_take_turns_make_the_device_erase_nothing() {
    let (first, second) = (v2(), Release::new(8, V3, image(V3, CODE)));
    let mut site = site();
    site.start();
    site.retained.extend(first.blocks.clone());
    site.retained.extend(second.blocks.clone());
    site.publish(&ROLLOUT(), &first.rollout(1, 1_000));
    site.publish(&MANIFEST(), &first.manifest());
    site.run(1_000);
    for _ in 0..300 {
        for release in [&second, &first] {
            site.publish(&MANIFEST(), &release.manifest());
            site.run(300);
        }
    }
    let slots = site.platform().slots.borrow().clone();
    assert!(slots.wear() <= 13, "{} erases", slots.wear());
    let records = site.platform().written.borrow().iter().filter(|key| **key == Key::Update).count();
    assert!(records < 20, "{records} records written");
}

#[test]
fn rollouts_that_take_turns_make_the_device_erase_nothing() {
    let release = v2();
    let mut site = site();
    site.start();
    site.announce(&release);
    for number in 1..400 {
        site.publish(&ROLLOUT(), &release.rollout(number, if number % 2 == 0 { 0 } else { 1_000 }));
        site.run(50);
    }
    assert!(site.platform().slots.borrow().wear() <= 13);
    site.await_version(600_000, V2);
    assert!(site.platform().slots.borrow().wear() <= 13);
}

#[test]
fn a_release_in_force_that_comes_again_with_every_connection_is_no_event() {
    let mut site = site();
    site.start();
    site.run(60_000);
    site.release(&v2(), 1);
    site.await_note(1_200_000, |note| matches!(note, Note::UpdateConfirmed { .. }));
    site.run(60_000);
    let uptime = device::Uptime(0);
    let refused = site.device().state(uptime).refused;
    assert!(site.retained.contains_key(&MANIFEST()) && site.retained.contains_key(&ROLLOUT()));
    for _ in 0..3 {
        site.notes.clear();
        site.cut_link();
        site.run(300_000);
        site.notes
            .retain(|note| !matches!(note, Note::Connected { .. } | Note::Disconnected(_) | Note::Time(_)));
        assert_eq!(site.notes, []);
        assert_eq!(site.device().state(uptime).refused, refused);
    }
}
