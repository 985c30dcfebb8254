//! What happens to a download: cuts of link and power, blocks in any order, deltas, flash that fails, and what it costs the
//! rest of the device. R-FW-TIMELY, R-FW-DELTA, R-DATA-INTACT.

use super::life::{configured, is_downloading};
use crate::world::release::{Release, image};
use crate::world::site::{DAY_MS, Site};
use crate::world::slots::Memory;
use crate::{CODE, V1, V2, patch, site, updatable, v2};
use device::update::{DELTA_BEGUN_MAX, WINDOW};
use device::{Key, Note};
use protocol::UpdateFault;
use protocol::blocks::BLOCK_BYTES;
use protocol::firmware::Phase;

const HOUR_MS: u64 = 3_600_000;

#[test]
fn the_state_tells_how_far_a_download_is() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    site.await_version(600_000, V2);
    let steps: Vec<_> = site
        .states
        .iter()
        .filter(|state| state.phase == Phase::Downloading)
        .map(|state| state.done)
        .collect();
    assert!(steps.is_sorted() && (3..=12).contains(&steps.len()), "{steps:?}");
    assert!(site.states.iter().all(|state| state.done <= state.size));
}

#[test]
fn images_of_every_size_and_slots_of_every_shape_work() {
    for (sector, word) in [(512, 1), (1_024, 4), (2_048, 16), (4_096, 32), (65_536, 8), (131_072, 2)] {
        for bytes in [100, 1_900, 2_048 - 64, 6_000, 20_011, 60_000] {
            let platform = updatable(1, |_| {});
            *platform.slots.borrow_mut() = Memory::new(128 * 1024, sector, word, &image(V1, 3_000));
            let mut site = Site::new(platform);
            site.start();
            let release = Release::new(1, V2, image(V2, bytes));
            site.release(&release, 1);
            site.await_version(600_000, V2);
            assert_eq!(site.running(), release.image, "{bytes} in {sector}");
        }
    }
}

#[test]
fn an_image_that_fills_its_slot_to_the_last_byte_is_installed_and_one_byte_more_is_not() {
    let exact = image(V2, CODE);
    for (capacity, fits) in [(exact.len() as u32, true), (exact.len() as u32 - 1, false)] {
        let platform = updatable(1, |_| {});
        *platform.slots.borrow_mut() = Memory::new(capacity, 4_096, 4, &image(V1, 3_000));
        let mut site = Site::new(platform);
        site.start();
        site.release(&Release::new(1, V2, exact.clone()), 1);
        site.run(600_000);
        assert_eq!(site.version() == V2, fits);
    }
}

#[test]
fn a_hundred_cuts_of_the_link_in_one_download_fetch_at_most_one_window_twice() {
    let mut site = site();
    site.policy.backoff_cap_ms = 2_000;
    let release = Release::new(7, V2, image(V2, 110_000));
    site.pace.block_interval_ms = 150;
    site.start();
    site.release(&release, 1);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut cuts = 0;
    while cuts < 100 {
        let came: u32 = site.came.values().sum();
        site.run_until(120_000, |site| site.came.values().sum::<u32>() > came);
        if rng.bool() || site.came.len() < 20 || cuts % 2 == 0 {
            site.run(rng.u64(0..120));
        }
        if site.came.len() as u32 >= site.asked.len() as u32 + 4 {
            break;
        }
        if site.link {
            site.cut_link();
            cuts += 1;
        }
        if site.came.len() as u32 >= 54 {
            break;
        }
    }
    // What is left is fetched; where a hundred cuts did not fit between the blocks, they came in other places.
    while cuts < 100 {
        site.run(rng.u64(1..2_000));
        if site.link {
            site.cut_link();
            cuts += 1;
        }
    }
    site.await_version(3_600_000, V2);
    let twice: u32 = site.came.values().map(|times| times - 1).sum();
    println!("{cuts} cuts, {} blocks, {twice} fetched twice", site.came.len());
    assert!(twice as usize <= WINDOW, "{twice} blocks came twice");
    assert_eq!(site.running(), release.image);
}

#[test]
fn restarts_in_the_middle_cost_at_most_what_was_not_noted() {
    let mut site = site();
    let release = Release::new(7, V2, image(V2, 110_000));
    site.start();
    site.release(&release, 1);
    for blocks in [3, 12, 20, 33, 50] {
        assert!(site.run_until(600_000, |site| site.came.len() >= blocks));
        site.restart();
    }
    site.await_version(600_000, V2);
    let twice: u32 = site.came.values().map(|times| times - 1).sum();
    // 16 KiB, and the window that was on its way.
    assert!(twice <= 5 * (16 * 1024 / BLOCK_BYTES as u32 + WINDOW as u32), "{twice}");
    assert_eq!(site.running(), release.image);
    // An orderly stop keeps all but a block.
    assert!(site.platform().slots.borrow().wear() <= 28 + 2 + 5 * 4);
}

#[test]
fn blocks_that_come_in_any_order_and_more_than_once_make_the_same_image() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut held: Vec<(String, Vec<u8>)> = Vec::new();
        let mut site = site();
        site.meddler = Some(Box::new(move |topic, payload| {
            let message = (topic.to_owned(), payload.to_vec());
            if topic.starts_with("firmware/c1c1") {
                return vec![message];
            }
            held.push(message);
            rng.shuffle(&mut held);
            let now = rng.usize(0..=held.len());
            let out: Vec<_> = held[..now].to_vec();
            if rng.bool() {
                held.drain(..now);
            }
            held.truncate(12);
            out
        }));
        site.start();
        let release = v2();
        site.release(&release, 1);
        site.await_version(DAY_MS, V2);
        assert_eq!(site.running(), release.image, "{seed}");
    }
}

#[test]
fn telemetry_keeps_its_order_and_its_delay_during_a_download() {
    let delays = [false, true].map(|updates| {
        let mut site =
            configured(3, |draft| (draft.sample_period_ms, draft.report_period_ms) = (1_000, 5_000));
        site.pace.block_interval_ms = 100;
        site.start();
        site.run(30_000);
        if updates {
            site.release(&Release::new(7, V2, image(V2, 110_000)), 1);
            assert!(site.run_until(60_000, |site| site.came.len() >= 54), "{}", site.came.len());
        } else {
            site.run(10_000);
        }
        let first: Vec<_> = site.batches.iter().map(|(_, boot, seq)| (*boot, *seq)).collect();
        assert!(first.is_sorted() && first.len() > 6);
        site.delay_max
    });
    assert!(delays[1] <= delays[0] + 200, "{delays:?}");
}

#[test]
fn blocks_are_asked_for_no_faster_than_the_pace() {
    let mut site = site();
    site.pace.block_interval_ms = 500;
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(60_000, is_downloading));
    let from = site.now;
    assert!(site.run_until(60_000, |site| site.asked.len() >= 20));
    assert!(site.now - from >= 19 * 500, "{}", site.now - from);
}

#[test]
fn a_delta_makes_the_image_from_the_one_that_runs() {
    let (base, release) = (image(V1, CODE), v2());
    let delta = patch(&base, &release.image);
    assert!(delta.len() < release.image.len() / 4, "{}", delta.len());
    let blocks = delta.len().div_ceil(BLOCK_BYTES);
    let mut site = site();
    site.start();
    site.release(&release.with_delta(&delta, &base), 1);
    site.await_version(600_000, V2);
    assert_eq!(site.asked.len(), blocks);
    assert!(site.states.iter().any(|state| state.delta && state.size == delta.len() as u32));
    assert_eq!(site.running(), v2().image);
}

#[test]
fn a_delta_that_is_damaged_or_makes_another_image_gives_way_to_the_whole_image() {
    let (base, release) = (image(V1, CODE), v2());
    let mut other = release.image.clone();
    other[20_000] ^= 0x10;
    let mut damaged = patch(&base, &release.image);
    let middle = damaged.len() / 2;
    damaged.truncate(middle);
    for delta in [patch(&base, &other), damaged] {
        let mut site = site();
        site.start();
        site.release(&release.clone().with_delta(&delta, &base), 1);
        site.await_version(600_000, V2);
        assert_eq!(site.running(), release.image);
    }
}

#[test]
fn a_delta_whose_blocks_are_gone_gives_way_to_the_whole_image() {
    let (base, release) = (image(V1, CODE), v2());
    let whole = release.blocks.clone();
    let delta = patch(&base, &release.image);
    let release = release.with_delta(&delta, &base);
    let mut site = site();
    site.start();
    site.release(&release, 1);
    site.retained.retain(|topic, _| whole.contains_key(topic) || !release.blocks.contains_key(topic));
    site.await_version(HOUR_MS, V2);
}

#[test]
fn a_delta_that_power_cuts_interrupt_again_and_again_gives_way_to_the_whole_image() {
    let (base, release) = (image(V1, CODE), v2());
    let delta = patch(&base, &release.image);
    let mut site = site();
    site.pace.block_interval_ms = 1_000;
    site.start();
    site.release(&release.with_delta(&delta, &base), 1);
    for _ in 0..u32::from(DELTA_BEGUN_MAX) {
        let came: u32 = site.came.values().sum();
        assert!(site.run_until(60_000, |site| site.came.values().sum::<u32>() > came));
        site.restart();
    }
    assert!(site.run_until(60_000, |site| {
        site.states.iter().any(|state| !state.delta && state.phase == Phase::Downloading && state.done > 0)
    }));
    site.await_version(600_000, V2);
}

#[test]
fn a_record_that_is_damaged_costs_nothing_but_what_was_known() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    assert!(site.run_until(600_000, |site| site.came.len() >= 8));
    site.platform().store.borrow_mut().insert(Key::Update, b"nonsense".to_vec());
    site.restart();
    site.run(10);
    assert_eq!(site.device().state(device::Uptime(0)).storage_errors, 1);
    // It does not begin at once, for it has forgotten what was started and how often.
    site.await_version(2 * HOUR_MS, V2);
    // An older image is refused even by a device that has forgotten everything.
    site.platform().store.borrow_mut().remove(&Key::Update);
    site.restart();
    site.notes.clear();
    site.release(&Release::new(99, V1, image(V1, CODE)), 9);
    site.run(60_000);
    assert!(site.notes.contains(&Note::UpdateRefused(UpdateFault::Older)), "{:#?}", site.notes);
}

#[test]
fn a_slot_that_fails_is_tried_again_and_not_for_ever() {
    let mut site = site();
    site.start();
    site.run(5_000);
    site.platform().slots.borrow_mut().fails_after = Some(9);
    site.release(&v2(), 1);
    site.run(50_000);
    assert_eq!((site.state().phase, site.state().fault), (Phase::Waiting, Some(UpdateFault::Storage)));
    site.platform().slots.borrow_mut().fails_after = None;
    site.await_version(600_000, V2);

    let mut site = self::site();
    site.start();
    site.run(5_000);
    site.platform().slots.borrow_mut().fails_after = Some(9);
    site.release(&v2(), 1);
    site.run(10 * DAY_MS);
    assert_eq!((site.state().phase, site.state().fault), (Phase::Failed, Some(UpdateFault::Storage)));
    let errors = site.device().state(device::Uptime(0)).storage_errors;
    assert!(errors < 10, "{errors}");
}
