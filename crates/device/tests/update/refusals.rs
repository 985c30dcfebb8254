//! Everything that can be wrong with a manifest, a block, an image or a rollout: refused by name, without a restart, and
//! without a byte in flash where that can be known before. R-FW-AUTHORISED, R-BOOT-NEWER, R-UPDATE-TRUST.

use crate::world::Platform;
use crate::world::factory::{configuration, provision};
use crate::world::release::{LONG_AGO_S, MANIFEST, ROLLOUT, Release, digest, image};
use crate::world::service::{Service, key_of, signed, signed_with};
use crate::world::site::{DAY_MS, START_S, Site};
use crate::world::slots::Memory;
use crate::world::vault::public;
use crate::{CODE, V1, V2, patch, site, v2};
use device::Note;
use device::update::PAUSE_MS_MAX;
use protocol::config::Authentication;
use protocol::document::{Audience, AuthorityKey, Power, Rollout};
use protocol::firmware::Phase;
use protocol::image::Version;
use protocol::topic::topic;
use protocol::{Channel, DeviceId, Refusal, UpdateFault, Uuid};

/// Whether anything was written or erased in the candidate's slot.
fn is_untouched(site: &mut Site<Platform>) -> bool {
    let slots = site.platform().slots.borrow().clone();
    slots.written == 0 && slots.wear() == 0 && !slots.marked
}

/// What was refused, in order, without repetition.
pub fn faults(site: &Site<Platform>) -> Vec<UpdateFault> {
    let fault = |note: &Note| match note {
        Note::UpdateRefused(fault) => Some(*fault),
        _ => None,
    };
    let mut faults: Vec<_> = site.notes.iter().filter_map(fault).collect();
    faults.dedup();
    faults
}

/// What the first block tells.
const FROM_BLOCKS: [UpdateFault; 3] =
    [UpdateFault::ImageForm, UpdateFault::ImageVersion, UpdateFault::Truncated];

/// The device refuses the release for this reason, before anything is written; then it takes a good one.
pub fn refuses(release: &Release, fault: UpdateFault) {
    let mut site = site();
    site.start();
    site.run(10_000);
    site.release(release, 1);
    site.run(180_000);
    assert_eq!(faults(&site), [fault], "{:#?}", site.notes);
    assert_eq!((site.restarts, site.version()), (0, V1), "{fault:?}");
    assert!(is_untouched(&mut site), "{fault:?}");
    // Not even a block was asked for, where the manifest alone tells.
    assert_eq!(site.asked.is_empty(), !FROM_BLOCKS.contains(&fault), "{fault:?}");
    let state = site.state();
    assert_eq!((state.fault, state.phase), (Some(fault), Phase::Failed));
    let mut good = v2();
    good.draft.sequence = 100;
    site.release(&good, 2);
    site.await_version(600_000, V2);
}

/// The same for what is known only from the whole image.
pub fn refuses_image(release: &Release, fault: UpdateFault) {
    let mut site = site();
    site.start();
    site.run(10_000);
    site.release(release, 1);
    site.run(2 * PAUSE_MS_MAX);
    assert_eq!(faults(&site), [fault], "{:#?}", site.notes);
    assert_eq!((site.restarts, site.version()), (0, V1), "{fault:?}");
    assert!(!site.platform().slots.borrow().marked);
    assert_eq!((site.state().fault, site.state().phase), (Some(fault), Phase::Failed));
    // Never again, whatever the connection does.
    let written = site.platform().slots.borrow().written;
    site.cut_link();
    site.run(DAY_MS);
    site.restart();
    site.run(DAY_MS);
    assert_eq!(site.platform().slots.borrow().written, written, "{fault:?}");
    assert_eq!(site.state().fault, Some(fault));
    let mut good = v2();
    good.draft.sequence = 100;
    site.release(&good, 2);
    site.await_version(600_000, V2);
}

fn changed(change: impl FnOnce(&mut Release)) -> Release {
    let mut release = v2();
    change(&mut release);
    release
}

#[test]
fn a_manifest_signed_with_another_key_is_refused() {
    for power in [Power::Configuration, Power::Anchors, Power::Factory, Power::Device] {
        let fault = UpdateFault::UnknownKey;
        // Its rollout names a manifest that the device never proves.
        refuses(&changed(|release| release.draft.key = key_of(power)), fault);
    }
}

#[test]
fn a_manifest_for_another_vendor_or_class_is_refused() {
    refuses(&changed(|release| release.draft.vendor = Uuid([1; 16])), UpdateFault::Vendor);
    refuses(&changed(|release| release.draft.class = Uuid([1; 16])), UpdateFault::Class);
}

#[test]
fn an_incomplete_manifest_is_refused() {
    refuses(&changed(|release| release.draft.version = None), UpdateFault::Incomplete);
}

#[test]
fn an_expired_manifest_is_refused() {
    refuses(&changed(|release| release.draft.use_before_s = Some(LONG_AGO_S)), UpdateFault::Expired);
    refuses(&changed(|release| release.draft.use_before_s = Some(START_S + 5)), UpdateFault::Expired);
}

#[test]
fn an_older_or_equal_version_is_refused() {
    let older = Release::new(7, Version::new(0, 9, 9), image(Version::new(0, 9, 9), CODE));
    refuses(&older, UpdateFault::Older);
    let equal = Release::new(7, V1, image(V1, CODE + 1));
    refuses(&equal, UpdateFault::Equal);
}

#[test]
fn a_build_number_makes_no_version_newer() {
    let build = Version { build: 9, ..V1 };
    refuses(&Release::new(7, build, image(build, CODE)), UpdateFault::Equal);
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let large = Release::new(7, V2, image(V2, 128 * 1024));
    refuses(&large, UpdateFault::TooLarge);
}

#[test]
fn a_manifest_without_a_source_for_this_device_is_refused() {
    refuses(&changed(|release| release.draft.sources.clear()), UpdateFault::NoSource);
    let elsewhere =
        |release: &mut Release| release.draft.sources[0].0 = "https://example.com/image.bin".into();
    refuses(&changed(elsewhere), UpdateFault::NoSource);
    // The blocks of something that is shorter than the image.
    let shorter = |release: &mut Release| release.draft.size += 1;
    refuses(&changed(shorter), UpdateFault::NoSource);
}

#[test]
fn a_delta_against_another_image_is_refused() {
    let other = image(Version::new(0, 9, 0), CODE);
    let release = v2();
    let patch = patch(&other, &release.image);
    let mut release = release.with_delta(&patch, &other);
    release.draft.sources.truncate(1);
    refuses(&release, UpdateFault::Base);
}

#[test]
fn a_delta_that_says_it_is_against_this_image_and_is_not_is_refused_before_anything_is_written() {
    let (base, other) = (image(V1, CODE), image(V1, CODE + 5));
    let release = v2();
    let patch = patch(&other, &release.image);
    let mut release = release.with_delta(&patch, &base);
    release.draft.sources.truncate(1);
    let mut site = site();
    site.start();
    site.run(10_000);
    site.release(&release, 1);
    site.run(180_000);
    assert_eq!(faults(&site), [UpdateFault::Base, UpdateFault::NoSource], "{:#?}", site.notes);
    assert!(is_untouched(&mut site));
}

#[test]
fn a_sequence_number_that_is_not_newer_is_refused() {
    let mut site = site();
    site.start();
    site.release(&v2(), 1);
    site.await_version(600_000, V2);
    let v3 = Version::new(1, 2, 0);
    for sequence in [0, 6, 7] {
        site.notes.clear();
        let old = Release::new(sequence, v3, image(v3, CODE));
        site.announce(&old);
        site.run(20_000);
        assert_eq!(faults(&site), [UpdateFault::Sequence], "{sequence}");
    }
    // A restart does not make it forget.
    site.restart();
    site.run(60_000);
    assert_eq!(faults(&site).last(), Some(&UpdateFault::Sequence));
    site.release(&Release::new(8, v3, image(v3, CODE)), 2);
    site.await_version(600_000, v3);
}

#[test]
fn no_bit_of_a_manifest_can_be_altered_and_no_byte_is_missing_or_too_much() {
    let mut site = site();
    site.start();
    site.run(10_000);
    let release = v2();
    let right = release.manifest();
    site.publish(&ROLLOUT(), &release.rollout(1, 1_000));
    site.retained.extend(release.blocks.clone());
    let proven = [UpdateFault::Vendor, UpdateFault::Class, UpdateFault::Sequence, UpdateFault::Older];
    let mut altered: Vec<Vec<u8>> = (1..right.len()).map(|cut| right[..cut].to_vec()).collect();
    for at in 0..right.len() {
        let mut other = right.clone();
        other[at] ^= 1 << (at % 8);
        altered.push(other);
    }
    altered.push([&right[..], &[0]].concat());
    let mut count = 0;
    for manifest in altered {
        site.notes.clear();
        site.publish(&MANIFEST(), &manifest);
        site.run(100);
        count += 1;
        let faults = faults(&site);
        assert!(faults.len() == 1 && !proven.contains(&faults[0]), "{count}: {faults:?}");
    }
    assert!(is_untouched(&mut site) && site.asked.is_empty());
    site.publish(&MANIFEST(), &right);
    site.await_version(600_000, V2);
}

#[test]
fn a_rollout_that_is_not_the_configurations_authoritys_or_not_for_this_device_lets_nobody_in() {
    let mut site = site();
    site.start();
    site.run(10_000);
    let release = v2();
    site.announce(&release);
    let rollout = |audience, number| Rollout { audience, number, manifest: release.name(), share: 1_000 };
    let (other, group) = (DeviceId::new("dev-2").unwrap(), "south".try_into().unwrap());
    let wrong = [
        (signed_with(&rollout(Audience::All, 5), &key_of(Power::Firmware)), Refusal::WrongAuthority),
        (signed_with(&rollout(Audience::All, 5), &[0x66; 32]), Refusal::UnknownKey),
        (release.rollout_for(Audience::Device(other), 5, 1_000), Refusal::OtherDevice),
        (release.rollout_for(Audience::Group(group), 5, 1_000), Refusal::OtherGroup),
        (b"nonsense".to_vec(), Refusal::Malformed),
    ];
    for (document, refusal) in &wrong {
        site.notes.clear();
        site.publish(&ROLLOUT(), document);
        site.run(60_000);
        assert_eq!(site.notes, [Note::DocumentRefused(*refusal)]);
    }
    assert_eq!(site.state().refused, wrong.len() as u32);
    assert!(is_untouched(&mut site) && site.asked.is_empty());
    site.publish(&ROLLOUT(), &release.rollout(5, 1_000));
    site.await_version(600_000, V2);
}

#[test]
fn a_rollout_with_share_0_lets_nobody_in_and_an_older_one_does_not_come_back() {
    let mut site = site();
    site.start();
    site.run(10_000);
    let release = v2();
    site.announce(&release);
    site.publish(&ROLLOUT(), &release.rollout(5, 0));
    site.run(60_000);
    site.notes.clear();
    for (number, refusal) in [(4, Refusal::Older), (5, Refusal::Replayed)] {
        site.publish(&ROLLOUT(), &release.rollout(number, 1_000));
        site.run(60_000);
        assert_eq!(site.notes, [Note::DocumentRefused(refusal)], "{number}");
        site.notes.clear();
    }
    // Not after a restart either, and the one in force is no replay.
    site.publish(&ROLLOUT(), &release.rollout(5, 0));
    site.restart();
    site.run(60_000);
    site.notes.retain(|note| matches!(note, Note::DocumentRefused(_) | Note::UpdateNoticed { .. }));
    assert_eq!(site.notes, []);
    assert!(site.asked.is_empty() && is_untouched(&mut site));
    site.publish(&ROLLOUT(), &release.rollout(6, 1_000));
    site.await_version(600_000, V2);
}

#[test]
fn an_image_that_was_started_twice_and_did_not_stay_is_refused_under_another_manifest_too() {
    let mut site = site();
    site.misbehaviour.insert((1, 1, 0), crate::world::site::Misbehaviour::NoService);
    site.start();
    let release = v2();
    site.release(&release, 1);
    site.run(DAY_MS);
    assert_eq!((site.version(), site.state().phase), (V1, Phase::Failed));
    site.notes.clear();
    let mut again = release.clone();
    again.draft.sequence += 1;
    let asked = site.asked.clone();
    site.release(&again, 2);
    site.run(DAY_MS);
    assert_eq!(site.asked, asked);
    assert_eq!(faults(&site), [UpdateFault::Attempts]);
    assert_eq!(site.state().fault, Some(UpdateFault::Attempts));
}

#[test]
fn a_manifest_whose_image_runs_already_is_no_fault() {
    let mut site = site();
    let running = image(V1, CODE);
    assert_eq!(digest(&running), digest(&site.running()));
    site.start();
    site.release(&Release::new(3, V1, running), 1);
    site.run(60_000);
    assert_eq!(faults(&site), []);
    assert_eq!((site.state().phase, site.state().sequence, site.state().refused), (Phase::Idle, 3, 0));
}

#[test]
fn a_rollout_of_another_manifest_lets_nobody_in() {
    let mut site = site();
    site.start();
    let (release, mut other) = (v2(), v2());
    other.draft.sequence += 1;
    site.announce(&release);
    site.publish(&ROLLOUT(), &other.rollout(1, 1_000));
    site.run(DAY_MS);
    assert!(site.asked.is_empty());
    site.publish(&ROLLOUT(), &release.rollout(2, 1_000));
    site.await_version(600_000, V2);
}

#[test]
fn the_largest_sequence_number_of_a_stolen_key_is_no_end_of_updates_once_the_key_is_replaced() {
    let configuration = configuration("dev-1", Authentication::Certificate);
    let platform = provision(Platform::blank(7), &Service::new(), &configuration);
    *platform.slots.borrow_mut() = Memory::new(128 * 1024, 4_096, 8, &image(V1, CODE));
    let mut site = Site::new(platform);
    site.start();
    site.run(10_000);
    // For the image that runs already, and for one that never comes.
    for (sequence, version) in [(u64::MAX - 1, V1), (u64::MAX, V2)] {
        site.announce(&Release::new(sequence, version, image(version, CODE)));
        site.run(20_000);
    }
    assert_eq!(site.state().sequence, u64::MAX - 1);
    let mut good = v2();
    site.announce(&good);
    site.run(20_000);
    assert_eq!(faults(&site), [UpdateFault::Sequence]);
    // The authority gets another key.
    let id = DeviceId::new("dev-1").unwrap();
    let document = AuthorityKey {
        audience: Audience::Device(id.clone()),
        number: 9,
        power: Power::Firmware,
        key: public(&[0x77; 32]),
    };
    site.publish(&topic(&id, Channel::AuthorityDesired), &signed(&document, Power::Anchors));
    site.run(10_000);
    good.draft.key = [0x77; 32];
    site.release(&good, 1);
    site.await_version(DAY_MS, V2);
    assert_eq!(site.state().sequence, 7);
}

#[test]
fn a_manifest_whose_authority_has_lost_its_power_meanwhile_is_not_installed() {
    let configuration = configuration("dev-1", Authentication::Certificate);
    let platform = provision(Platform::blank(7), &Service::new(), &configuration);
    *platform.slots.borrow_mut() = Memory::new(128 * 1024, 4_096, 8, &image(V1, CODE));
    let mut site = Site::new(platform);
    site.pace.block_interval_ms = 1_000;
    site.start();
    site.run(10_000);
    site.release(&v2(), 1);
    assert!(site.run_until(DAY_MS, |site| site.came.len() > 5));
    let id = DeviceId::new("dev-1").unwrap();
    let key = public(&[0x77; 32]);
    let audience = Audience::Device(id.clone());
    let document = AuthorityKey { audience, number: 9, power: Power::Firmware, key };
    site.publish(&topic(&id, Channel::AuthorityDesired), &signed(&document, Power::Anchors));
    site.run(DAY_MS);
    assert_eq!((site.version(), site.restarts), (V1, 0));
    assert_eq!(faults(&site).first(), Some(&UpdateFault::UnknownKey));
}
