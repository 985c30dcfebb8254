use super::*;
use crate::product::product;
use device::Product;
use norflash::Cut;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::image::{Content, Version};
use protocol::{PublicKey, Signature, UpdateFault};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::new(key.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
}

/// An image of about 9 KiB, which is three sectors.
fn image(version: &str, body: &str, key: &SigningKey) -> Vec<u8> {
    let body = body.as_bytes().iter().copied().chain(std::iter::repeat_n(b'.', 9_000)).collect::<Vec<_>>();
    let Product { vendor, class, .. } = product(None);
    let plain = Content::new(&body, version.parse().unwrap());
    // One that is signed with key 3 is another board's.
    let class = if *key == self::key(3) { vendor } else { class };
    let content = Content { vendor: Some(vendor), class: Some(class), ..plain };
    let mut out = vec![0; content.bytes_max()];
    let sign = |hash: &[u8; 32]| -> Result<Signature, ()> {
        let signature: p256::ecdsa::Signature = key.sign_prehash(hash).map_err(|_| ())?;
        Signature::normalised(&signature.to_bytes()).map_err(|_| ())
    };
    let len = content.seal(&public(key), &mut out, sign).unwrap();
    out.truncate(len);
    out
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Slots whose device began with version 1.0.0.
fn begun() -> FirmwareSlots {
    let mut slots = FirmwareSlots::in_memory();
    assert!(slots.begin_with(&image("1.0.0", "", &key(1))).unwrap());
    slots
}

/// Puts an image into the candidate's slot, as the device does.
fn put(slots: &mut FirmwareSlots, image: &[u8]) -> Result<(), StorageError> {
    slots.discard()?;
    for (offset, sector) in (0..).step_by(SECTOR_BYTES as usize).zip(image.chunks(SECTOR_BYTES as usize)) {
        slots.erase(offset)?;
        let mut words = sector.to_vec();
        words.resize(sector.len().next_multiple_of(WORD_BYTES as usize), 0xFF);
        slots.program(offset, &words)?;
    }
    Ok(())
}

fn boot(slots: &mut FirmwareSlots) -> Booted {
    slots.boot(&product(Some(public(&key(1))))).unwrap()
}

/// The same after power was off and on.
fn again(slots: FirmwareSlots) -> FirmwareSlots {
    let mut flash = slots.into_flash();
    flash.power_on();
    FirmwareSlots::on(flash)
}

#[test]
fn a_device_without_firmware_begins_with_this_programs_version_and_keeps_what_it_has() {
    let mut slots = FirmwareSlots::in_memory();
    assert_eq!(slots.version(), None);
    let first = version(env!("CARGO_PKG_VERSION"));
    assert_eq!(boot(&mut slots), Booted::Again(first));
    assert!(!slots.begin_with(&image("3.0.0", "", &key(1))).unwrap());
    assert_eq!((slots.version(), slots.running()), (Some(first), Ok(Running::Confirmed)));
    assert!(matches!(
        FirmwareSlots::in_memory().begin_with(b"no image"),
        Err(BootError::First(UpdateFault::Truncated))
    ));
}

#[test]
fn a_marked_candidate_is_swapped_in_and_stays_only_where_it_is_confirmed() {
    let mut slots = begun();
    put(&mut slots, &image("1.1.0", "", &key(1))).unwrap();
    assert_eq!(boot(&mut slots), Booted::Again(version("1.0.0")), "nobody marked it");
    slots.mark().unwrap();
    assert_eq!(slots.running(), Ok(Running::Confirmed), "it is not swapped yet");
    let mut slots = again(slots);
    assert_eq!(boot(&mut slots), Booted::Swapped(version("1.1.0")));
    assert_eq!((slots.version(), slots.running()), (Some(version("1.1.0")), Ok(Running::OnTrial)));
    assert_eq!(slots.erase(0), Err(StorageError::Medium), "the way back is not to be erased");

    let mut slots = again(slots);
    assert_eq!(boot(&mut slots), Booted::Reverted(version("1.0.0")));
    assert_eq!(boot(&mut slots), Booted::Again(version("1.0.0")));
    slots.mark().unwrap();
    assert_eq!(boot(&mut slots), Booted::Swapped(version("1.1.0")), "it is still there");
    slots.confirm().unwrap();
    let mut slots = again(slots);
    assert_eq!(boot(&mut slots), Booted::Again(version("1.1.0")));
    assert_eq!(slots.running(), Ok(Running::Confirmed));
}

#[test]
fn a_candidate_that_is_not_genuine_or_is_older_is_refused_and_gone() {
    let good = image("1.1.0", "", &key(1));
    let mut altered = good.clone();
    altered[100] ^= 1;
    let cases = [
        (altered, UpdateFault::ImageHash),
        (image("1.1.0", "", &key(2)), UpdateFault::ImageKey),
        (factory(), UpdateFault::ImageUnsigned),
        (image("0.9.9", "", &key(1)), UpdateFault::Older),
        (b"no image at all: longer than a header is".to_vec(), UpdateFault::ImageForm),
    ];
    for (candidate, why) in cases {
        let mut slots = begun();
        put(&mut slots, &candidate).unwrap();
        slots.mark().unwrap();
        assert_eq!(boot(&mut slots), Booted::Refused(why));
        assert_eq!(boot(&mut slots), Booted::Again(version("1.0.0")));
        slots.mark().unwrap();
        assert!(
            matches!(boot(&mut slots), Booted::Refused(UpdateFault::ImageForm)),
            "nothing is there any more"
        );
    }
    let mut slots = begun();
    put(&mut slots, &good).unwrap();
    slots.mark().unwrap();
    assert_eq!(slots.boot(&product(None)).unwrap(), Booted::Refused(UpdateFault::ImageKey));

    let mut slots = begun();
    put(&mut slots, &image("1.1.0", "", &key(3))).unwrap();
    slots.mark().unwrap();
    let its_own = product(Some(public(&key(3))));
    assert_eq!(slots.boot(&its_own).unwrap(), Booted::Refused(UpdateFault::ImageClass));
}

#[test]
fn a_cut_at_any_write_or_erase_leaves_whole_v1_or_whole_v2_and_the_way_to_its_end() {
    let new = image("1.1.0", "", &key(1));
    // Everything from an old candidate to the confirmed new one.
    let update = |slots: &mut FirmwareSlots| -> Result<(), ()> {
        put(slots, &new).map_err(drop)?;
        slots.mark().map_err(drop)?;
        slots.boot(&product(Some(public(&key(1))))).map_err(drop)?;
        slots.confirm().map_err(drop)
    };
    let prepared = || {
        let mut slots = begun();
        put(&mut slots, &image("0.5.0", "", &key(2))).unwrap();
        slots
    };
    let mut slots = prepared();
    let before = slots.flash().operations().changes();
    update(&mut slots).unwrap();
    let operations = slots.flash().operations().changes() - before;
    assert!(operations > 8, "{operations}");
    for operation in 0..operations {
        let torn = (0..8).map(|seed| Cut::Torn { seed });
        for cut in [Cut::Before, Cut::After].into_iter().chain(torn) {
            let mut slots = prepared();
            slots.flash().cut_at(operation, cut);
            assert_eq!(update(&mut slots), Err(()));
            let mut slots = again(slots);
            boot(&mut slots);
            assert!(
                [version("1.0.0"), version("1.1.0")].contains(&slots.version().unwrap()),
                "{operation} {cut:?}"
            );
            if slots.running() == Ok(Running::OnTrial) {
                slots.confirm().unwrap();
            } else if slots.version() == Some(version("1.0.0")) {
                update(&mut slots).unwrap();
            }
            let mut slots = again(slots);
            assert_eq!(boot(&mut slots), Booted::Again(version("1.1.0")), "{operation} {cut:?}");
        }
    }
}

#[test]
fn a_thousand_updates_later_the_marks_still_count() {
    let mut slots = begun();
    put(&mut slots, &image("1.0.0", "the other", &key(1))).unwrap();
    for _ in 0..1_000 {
        slots.mark().unwrap();
        slots = again(slots);
        assert_eq!(boot(&mut slots), Booted::Swapped(version("1.0.0")));
        slots.confirm().unwrap();
    }
    let marks = slots.flash().wear().skip((SLOTS_BLOCKS - marks::BLOCKS).into());
    assert_eq!(marks.filter(|erased| *erased > 1).count(), 2, "both blocks were used by turns");
}

#[test]
fn a_body_says_how_its_firmware_is_broken() {
    for (which, name) in Misbehaviour::ALL {
        let mut slots = FirmwareSlots::in_memory();
        slots.begin_with(&image("1.0.0", &which.body(), &key(1))).unwrap();
        assert_eq!(slots.misbehaviour(), Some(which), "{name}");
    }
    let mut slots = begun();
    assert_eq!(slots.misbehaviour(), None);
    slots = FirmwareSlots::in_memory();
    boot(&mut slots);
    assert_eq!(slots.misbehaviour(), None);
}

#[test]
fn slots_in_a_file_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flash.slots");
    let mut slots = FirmwareSlots::open(&path).unwrap();
    slots.begin_with(&image("1.0.0", "", &key(1))).unwrap();
    put(&mut slots, &image("1.1.0", "", &key(1))).unwrap();
    slots.mark().unwrap();
    assert!(FirmwareSlots::open(&path).is_err(), "one process at a time");
    drop(slots);
    assert_eq!(boot(&mut FirmwareSlots::open(&path).unwrap()), Booted::Swapped(version("1.1.0")));
    assert_eq!(boot(&mut FirmwareSlots::open(&path).unwrap()), Booted::Reverted(version("1.0.0")));
}
