extern crate std;

use super::*;
use crate::DeviceId;
use crate::blocks::PayloadUri;
use crate::topic::TOPIC_MAX;
use proptest::prelude::*;
use std::string::String;

fn longest() -> FirmwareState {
    let name = Name::try_from("x".repeat(crate::NAME_MAX).as_str()).unwrap();
    FirmwareState {
        t: Some(EpochMillis(u64::MAX)),
        image: Name::try_from("0123456789abcdef").unwrap(),
        phase: Phase::Downloading,
        sequence: u64::MAX,
        target: name.clone(),
        target_sequence: u64::MAX,
        done: u32::MAX,
        size: u32::MAX,
        delta: false,
        attempts: u32::MAX,
        fault: UpdateFault::ALL.iter().copied().max_by_key(|fault| fault.as_str().len()),
        refused: u32::MAX,
        blocks_refused: u32::MAX,
        ..FirmwareState::new(Uuid([0xff; 16]), name)
    }
}

#[test]
fn the_longest_state_fits_and_no_part_of_it_is_accepted() {
    let mut buffer = [0; FIRMWARE_STATE_BYTES_MAX];
    let len = longest().encode(&mut buffer).unwrap();
    assert_eq!(FirmwareState::decode(&buffer[..len]), Ok(longest()));
    for cut in 0..len {
        assert!(FirmwareState::decode(&buffer[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn a_larger_share_has_everyone_of_a_smaller_one_and_comes_out_even() {
    let ids: std::vec::Vec<DeviceId> =
        (0..2_000).map(|n| DeviceId::new(&std::format!("dev-{n}")).unwrap()).collect();
    let count = |share| ids.iter().filter(|id| takes_part(&[7; 32], id, share)).count();
    assert_eq!((count(0), count(SHARE_MAX)), (0, ids.len()));
    assert!((150..250).contains(&count(100)), "{}", count(100));
    for id in &ids {
        let shares = [1, 10, 100, 500, 900, 1000].map(|share| takes_part(&[7; 32], id, share));
        assert!(shares.is_sorted(), "{id}");
    }
    let others =
        ids.iter().filter(|id| takes_part(&[7; 32], id, 100) && takes_part(&[8; 32], id, 100)).count();
    assert!(others < count(100) / 2, "another release begins with other devices");
}

#[test]
fn the_longest_topic_fits() {
    let uri = PayloadUri { root: [0xff; 32], size: u32::MAX };
    let block = FirmwareTopic::Block(uri, u32::MAX).encode();
    assert!(block.len() <= TOPIC_MAX && block.ends_with("/4294967295/4294967295"), "{block}");
    assert_eq!(FirmwareTopic::decode(&block), Some(FirmwareTopic::Block(uri, u32::MAX)));
}

#[test]
fn topics_of_another_scheme_or_form_are_refused() {
    let uuid = "0102030a-0506-0708-090a-0b0c0d0e0f10";
    let root = "ab".repeat(32);
    for right in [
        std::format!("firmware/{uuid}/manifest"),
        std::format!("firmware/{uuid}/rollout"),
        std::format!("firmware/{root}/4096/1"),
    ] {
        assert!(FirmwareTopic::decode(&right).is_some(), "{right}");
    }
    for wrong in [
        String::new(),
        "firmware".into(),
        std::format!("firmware/{uuid}"),
        std::format!("firmware/{uuid}/"),
        std::format!("firmware/{uuid}/+"),
        std::format!("firmware/{uuid}/other"),
        std::format!("firmware/{}/manifest", uuid.to_uppercase()),
        std::format!("firmware/{}/manifest", uuid.replace('-', "")),
        std::format!("firmware/{uuid}-00/manifest"),
        std::format!("device/{uuid}/manifest"),
        std::format!("firmware/{root}/4096"),
        std::format!("firmware/{root}/4096/01"),
        std::format!("firmware/{root}/4096/-1"),
        std::format!("firmware/{root}/4096/+1"),
        std::format!("firmware/{root}/04096/1"),
        std::format!("firmware/{}/4096/1", root.to_uppercase()),
        std::format!("firmware/{root}00/4096/1"),
        std::format!("firmware/{root}/4294967296/1"),
    ] {
        assert_eq!(FirmwareTopic::decode(&wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn a_topic_reads_back_as_written(bytes in any::<[u8; 16]>(), root in any::<[u8; 32]>(), size: u32, number: u32) {
        let class = Uuid(bytes);
        let block = FirmwareTopic::Block(PayloadUri { root, size }, number);
        for topic in [FirmwareTopic::Manifest(class), FirmwareTopic::Rollout(class), block] {
            prop_assert_eq!(FirmwareTopic::decode(&topic.encode()), Some(topic));
        }
        prop_assert_eq!(Uuid::decode(&std::format!("{class}")), Some(class));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _verdict = FirmwareState::decode(&bytes);
        let _topic = core::str::from_utf8(&bytes).ok().and_then(FirmwareTopic::decode);
    }
}
