//! What is wrong with an image is known from its blocks at the earliest: refused by name, without a restart, and not fetched
//! again for ever. R-FW-AUTHORISED, R-BOOT-VERIFY, R-BOOT-NEWER.

use super::refusals::{faults, refuses, refuses_image};
use crate::world::release::{Making, Release, image};
use crate::world::site::DAY_MS;
use crate::{CODE, V2, site, v2};
use device::update::{FAULTS_MAX, PAUSE_MS_MAX};
use protocol::firmware::Phase;
use protocol::image::Version;
use protocol::{UpdateFault, Uuid};

#[test]
fn the_first_block_tells_a_wrong_version_and_what_is_no_image() {
    let promised = Release::new(7, Version::new(1, 2, 0), image(V2, CODE));
    refuses(&promised, UpdateFault::ImageVersion);
    let mut noise = image(V2, CODE);
    noise[0] ^= 1;
    refuses(&Release::new(7, V2, noise), UpdateFault::ImageForm);
}

#[test]
fn a_truncated_image_is_refused() {
    let whole = image(V2, CODE);
    let cut = Release::new(7, V2, whole[..CODE / 2].to_vec());
    refuses(&cut, UpdateFault::Truncated);
    // The end of its TLVs is missing.
    let cut = Release::new(7, V2, whole[..whole.len() - 1].to_vec());
    refuses_image(&cut, UpdateFault::Truncated);
}

#[test]
fn an_image_with_something_behind_it_is_refused() {
    let mut longer = image(V2, CODE);
    longer.push(0);
    refuses_image(&Release::new(7, V2, longer), UpdateFault::ImageSize);
}

#[test]
fn an_image_with_another_digest_than_the_manifests_is_refused_and_fetched_three_times_at_most() {
    let mut release = v2();
    release.draft.digest[5] ^= 1;
    refuses_image(&release, UpdateFault::ImageDigest);
    let mut site = site();
    site.start();
    site.release(&release, 1);
    site.run(DAY_MS);
    assert!(site.asked.values().all(|times| *times == u32::from(FAULTS_MAX)), "{:?}", site.asked);
}

#[test]
fn an_altered_image_is_refused_whoever_signed_the_manifest() {
    let mut altered = image(V2, CODE);
    altered[CODE / 2] ^= 1;
    refuses_image(&Release::new(7, V2, altered), UpdateFault::ImageHash);
}

#[test]
fn an_image_signed_with_another_key_is_refused() {
    let mut making = Making::new(V2, CODE);
    making.key = [0x32; 32];
    refuses_image(&Release::new(7, V2, making.seal()), UpdateFault::ImageKey);
}

#[test]
fn an_image_whose_signature_is_wrong_is_refused() {
    let mut wrong = image(V2, CODE);
    // The last byte is the end of s.
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    refuses_image(&Release::new(7, V2, wrong), UpdateFault::ImageSignature);
}

#[test]
fn an_image_of_another_class_or_of_none_is_refused() {
    for class in [Some(Uuid([9; 16])), None] {
        let mut making = Making::new(V2, CODE);
        making.class = class;
        refuses_image(&Release::new(7, V2, making.seal()), UpdateFault::ImageClass);
    }
}

#[test]
fn an_image_of_another_vendor_or_of_none_is_refused() {
    for vendor in [Some(Uuid([9; 16])), None] {
        let mut making = Making::new(V2, CODE);
        making.vendor = vendor;
        refuses_image(&Release::new(7, V2, making.seal()), UpdateFault::ImageClass);
    }
}

#[test]
fn an_altered_block_costs_that_block_and_nothing_else() {
    let mut site = site();
    let mut bad = 2;
    site.meddler = Some(Box::new(move |topic, payload| {
        let mut payload = payload.to_vec();
        if topic.ends_with("/5") && bad > 0 {
            bad -= 1;
            let last = payload.len() - 1;
            payload[last] ^= 1;
        }
        vec![(topic.to_owned(), payload)]
    }));
    site.start();
    site.release(&v2(), 1);
    site.await_version(600_000, V2);
    assert_eq!((site.asked[&5], site.asked[&4]), (3, 1));
    assert!(faults(&site).is_empty(), "two may be an accident");
}

#[test]
fn a_block_that_is_altered_for_ever_is_never_written_and_the_pauses_grow() {
    for (what, fault) in [("altered", UpdateFault::BlockAltered), ("missing", UpdateFault::BlockMissing)] {
        let mut site = site();
        site.meddler = Some(Box::new(move |topic, payload| {
            let mut payload = payload.to_vec();
            if topic.ends_with("/9") {
                payload[0] ^= 1;
                if what == "missing" {
                    return Vec::new();
                }
            }
            vec![(topic.to_owned(), payload)]
        }));
        site.start();
        site.release(&v2(), 1);
        site.run(DAY_MS);
        assert_eq!(faults(&site), [fault]);
        let (wear, written) = {
            let slots = site.platform().slots.borrow();
            (slots.wear(), slots.written)
        };
        assert_eq!(written, 9 * 2_048, "what came before stays, nothing is written behind it");
        assert!(wear <= 5 + 2, "{wear}");
        // Some three an hour.
        assert!((70..=110).contains(&site.asked[&9]), "{}", site.asked[&9]);
        assert_eq!(
            (site.restarts, site.state().phase, site.state().fault),
            (0, Phase::Downloading, Some(fault))
        );
        site.meddler = None;
        site.await_version(2 * PAUSE_MS_MAX, V2);
    }
}
