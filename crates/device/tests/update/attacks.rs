//! What somebody without keys, bad luck or a bad image could do to make a device forget an update, restart for ever, or run
//! what was taken back. Each was possible once. R-FW-TIMELY, R-FW-ATOMIC, R-FW-HEALTH, R-UPDATE-TRUST.

use crate::world::Platform;
use crate::world::release::{MANIFEST, Making, ROLLOUT, Release, blocks, image};
use crate::world::site::{DAY_MS, Misbehaviour, START_S, Site};
use crate::{CODE, V1, V2, patch, site, updatable, v2};
use device::{Key, Note};
use protocol::firmware::Phase;
use protocol::image::Version;
use protocol::{Failure, UpdateFault};

const HOUR_MS: u64 = 3_600_000;

fn summary(site: &Site<Platform>) -> String {
    let notes: Vec<String> = site.notes.iter().map(ToString::to_string).collect();
    let notes = &notes[notes.len().saturating_sub(12)..];
    format!("{notes:#?}\n{:?}", site.states.last())
}

/// An expired certificate makes the device forget the time; the turn is moved to 1970 and its deadline has passed.
#[test]
fn a_clock_that_is_forgotten_does_not_open_the_window() {
    let minute = (START_S / 60 % 1440) as u32;
    let mut site = Site::new(updatable(1, |draft| {
        draft.update_start_min = (minute + 6 * 60) % 1440;
        draft.update_length_min = 60;
        draft.update_deadline_h = 168;
    }));
    site.start();
    site.release(&v2(), 1);
    site.await_note(60_000, |note| matches!(note, Note::UpdateNoticed { .. }));
    site.run(10 * 60_000);
    assert!(site.asked.is_empty());
    // Somebody in the network answers with a certificate that has expired; nobody's key is needed for that.
    (site.open, site.refusal) = (false, Failure::TlsExpired);
    site.cut_link();
    site.run(20 * 60_000);
    site.open = true;
    site.run(10 * 60_000);
    assert!(site.asked.is_empty(), "it does not wait for its window, 5 h early: {}", summary(&site));
}

/// One read error at the beginning of the verification.
#[test]
fn one_read_error_does_not_give_up_a_good_image() {
    let mut site = site();
    site.start();
    site.platform().slots.borrow_mut().fail_candidate_reads = 1;
    site.release(&v2(), 1);
    site.run(3 * DAY_MS);
    assert_eq!(site.version(), V2, "{}", summary(&site));
}

/// A delta alone; its blocks do not come for a while.
#[test]
fn a_delta_whose_blocks_are_late_is_not_given_up_for_ever() {
    let mut site = site();
    site.start();
    let base = image(V1, CODE);
    let mut release = v2();
    release.draft.sources.clear();
    let new = release.image.clone();
    let release = release.with_delta(&patch(&base, &new), &base);
    site.meddler = Some(Box::new(|topic, payload| {
        if topic.matches('/').count() == 3 && !topic.ends_with("manifest") {
            vec![]
        } else {
            vec![(topic.to_owned(), payload.to_vec())]
        }
    }));
    site.release(&release, 1);
    site.run(10 * 60_000);
    site.meddler = None;
    site.run(DAY_MS);
    site.restart();
    site.run(3 * DAY_MS);
    assert_eq!(site.version(), V2, "{}", summary(&site));
}

/// The authority revokes a release by a manifest with a larger sequence for what runs; the broker replays the older.
#[test]
fn a_manifest_that_was_superseded_by_one_for_the_running_image_is_not_taken_any_more() {
    let mut site = site();
    let minute = (START_S / 60 % 1440) as u32;
    let mut site2 = Site::new(updatable(1, |draft| {
        draft.update_start_min = (minute + 60) % 1440;
        draft.update_length_min = 1;
    }));
    core::mem::swap(&mut site, &mut site2);
    site.start();
    let bad = v2();
    site.release(&bad, 1);
    site.run(60_000);
    let stay = Release::new(8, V1, image(V1, CODE));
    site.announce(&stay);
    site.run(60_000);
    // The broker replays what it was given before.
    site.announce(&bad);
    site.run(DAY_MS);
    assert_eq!(site.version(), V1, "{}", summary(&site));
}

/// The new image writes the record in a way that the old one cannot read, and goes back.
#[test]
fn a_record_that_the_former_image_cannot_read_does_not_make_it_try_for_ever() {
    let mut site = site();
    site.misbehaviour.insert((1, 1, 0), Misbehaviour::Panics(30_000));
    site.start();
    site.release(&v2(), 1);
    let mut trials = 0;
    let end = site.now + 3 * DAY_MS;
    while trials < 40 && site.run_until(end - site.now, |site| site.version() == V2) {
        trials += 1;
        site.platform().store.borrow_mut().insert(Key::Update, vec![0xff]);
        assert!(site.run_until(HOUR_MS, |site| site.version() == V1));
    }
    assert!(
        trials <= 2,
        "{trials} trials in {} h, {} erases",
        site.now / HOUR_MS,
        site.platform().slots.borrow().wear()
    );
}

/// An image that can take no update itself.
#[test]
fn an_image_that_cannot_be_updated_itself_does_not_stay() {
    let mut site = site();
    site.keyless = Some((1, 1, 0));
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(HOUR_MS, |site| site.version() == V2));
    site.run(HOUR_MS);
    site.release(&Release::new(9, Version::new(1, 2, 0), image(Version::new(1, 2, 0), CODE)), 2);
    site.run(3 * DAY_MS);
    assert_ne!(site.version(), V2, "for ever: {}", summary(&site));
}

/// Blocks that come late are no failure of the release.
#[test]
fn blocks_that_come_late_are_no_failure() {
    let mut site = site();
    site.start();
    site.meddler = Some(Box::new(|topic, payload| {
        if topic.matches('/').count() == 3 { vec![] } else { vec![(topic.to_owned(), payload.to_vec())] }
    }));
    site.release(&v2(), 1);
    site.run(90_000);
    assert_ne!(site.state().phase, Phase::Failed, "{:?}", site.state());
}

/// The running image cannot be read once while it is measured.
#[test]
fn a_device_that_has_the_release_does_not_say_that_it_failed() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    site.await_version(HOUR_MS, V2);
    site.platform().slots.borrow_mut().fail_measuring = 1;
    site.restart();
    site.run(DAY_MS);
    assert_ne!(site.state().phase, Phase::Failed, "{:?}", site.state());
}

/// The running image cannot be read once at the start.
#[test]
fn one_read_error_at_the_start_does_not_end_updates() {
    let mut site = site();
    site.platform().slots.borrow_mut().fail_small_reads = 1;
    site.start();
    site.release(&v2(), 1);
    site.run(30 * DAY_MS);
    assert_eq!(site.version(), V2, "{}", summary(&site));
}

/// Flash fails three times.
#[test]
fn a_flash_that_failed_three_times_is_not_given_up() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    for failure in 1..=3usize {
        assert!(site.run_until(DAY_MS, |site| site.came.len() >= 4 * failure), "{}", summary(&site));
        site.platform().slots.borrow_mut().fails_after = Some(0);
        assert!(
            site.run_until(600_000, |site| site
                .notes
                .iter()
                .any(|note| matches!(note, Note::UpdateRefused(_))))
        );
        site.notes.clear();
        site.platform().slots.borrow_mut().fails_after = None;
    }
    site.run(3 * DAY_MS);
    assert_eq!(site.version(), V2, "{}", summary(&site));
}

/// A broker sends the next block of a delta before it was asked for, once.
#[test]
fn a_block_of_a_delta_that_nobody_asked_for_does_not_stall_the_download() {
    let mut site = site();
    site.start();
    let base = image(V1, CODE);
    let mut making = Making::new(V2, CODE);
    let mut rng = fastrand::Rng::with_seed(9);
    // 30 kB are the same, then 6 kB are new: the first block makes far more than one step.
    making.body[30_000..36_000].iter_mut().for_each(|byte| *byte = rng.u8(..));
    let new = making.seal();
    let delta = patch(&base, &new);
    let release = Release::new(7, V2, new).with_delta(&delta, &base);
    let (uri, blocks) = blocks(&delta);
    assert!(uri.count() >= 2);
    let mut once = true;
    site.meddler = Some(Box::new(move |topic, payload| {
        let mut all = vec![(topic.to_owned(), payload.to_vec())];
        if topic == format!("{uri}/0") && core::mem::take(&mut once) {
            let next = format!("{uri}/1");
            all.push((next.clone(), blocks[&next].clone()));
        }
        all
    }));
    site.release(&release, 1);
    site.run(5 * DAY_MS);
    assert_eq!(site.version(), V2, "{} asked {:?}", summary(&site), site.asked);
}

/// A sample an hour.
#[test]
fn a_device_that_measures_once_an_hour_can_be_updated() {
    let mut site = Site::new(updatable(1, |draft| {
        (draft.sample_period_ms, draft.report_period_ms) = (3_600_000, 3_600_000);
    }));
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(HOUR_MS * 3, |site| site.version() == V2), "{}", summary(&site));
    site.run(HOUR_MS);
    assert_eq!(site.version(), V2, "{}", summary(&site));
}

/// What a broker repeats and mixes writes nothing.
#[test]
fn a_broker_that_repeats_and_mixes_wears_nothing() {
    let mut site = Site::new(updatable(1, |draft| {
        let minute = (START_S / 60 % 1440) as u32;
        (draft.update_start_min, draft.update_length_min) = ((minute + 600) % 1440, 60);
    }));
    site.start();
    let (a, b) = (v2(), Release::new(8, Version::new(1, 2, 0), image(Version::new(1, 2, 0), CODE)));
    site.release(&a, 1);
    site.run(10_000);
    site.release(&b, 2);
    site.run(10_000);
    site.publish(&ROLLOUT(), &b.rollout(3, 0));
    site.run(10_000);
    let count = |site: &mut Site<Platform>| {
        site.platform().written.borrow().iter().filter(|key| **key == Key::Update).count()
    };
    let before = (count(&mut site), site.platform().slots.borrow().wear());
    for round in 0..300 {
        let messages = [
            (MANIFEST(), a.manifest()),
            (MANIFEST(), b.manifest()),
            (MANIFEST(), vec![]),
            (MANIFEST(), vec![1]),
            (ROLLOUT(), a.rollout(1, 1000)),
            (ROLLOUT(), b.rollout(2, 1000)),
            (ROLLOUT(), b.rollout(3, 0)),
            (ROLLOUT(), vec![]),
        ];
        let (topic, payload) = &messages[(round * 7 + round / 5) % messages.len()];
        site.publish(topic, payload);
        site.run(200);
    }
    assert_eq!(before, (count(&mut site), site.platform().slots.borrow().wear()));
}

/// It says when an accepted update is over while it waits.
#[test]
fn an_update_that_expires_while_it_waits_says_so() {
    let mut site = Site::new(updatable(1, |draft| {
        let minute = (START_S / 60 % 1440) as u32;
        (draft.update_start_min, draft.update_length_min) = ((minute + 600) % 1440, 60);
    }));
    site.start();
    let mut release = v2();
    release.draft.use_before_s = Some(START_S + 3_600);
    site.release(&release, 1);
    site.run(5 * HOUR_MS);
    assert_eq!(site.state().fault, Some(UpdateFault::Expired), "{:?}", site.state());
}

/// The trailer cannot be read once, at the start of the image on trial.
#[test]
fn a_trailer_that_cannot_be_read_once_does_not_make_an_image_confirmed() {
    let mut site = site();
    site.start();
    site.platform().slots.borrow_mut().silent = 1;
    site.release(&v2(), 1);
    assert!(site.run_until(HOUR_MS, |site| site.version() == V2));
    site.run(HOUR_MS);
    site.restart();
    site.run(3 * DAY_MS);
    assert_eq!(site.version(), V2, "{}", summary(&site));
}

/// The trailer cannot be read for longer.
#[test]
fn a_trailer_that_cannot_be_read_for_ten_minutes_is_settled() {
    let mut site = site();
    site.start();
    site.platform().slots.borrow_mut().silent = 10;
    site.release(&v2(), 1);
    assert!(site.run_until(HOUR_MS, |site| site.version() == V2));
    site.run(2 * HOUR_MS);
    site.restart();
    site.run(3 * DAY_MS);
    assert_eq!(site.version(), V2, "{}", summary(&site));
}
