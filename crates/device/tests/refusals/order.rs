//! A document with several faults at once is refused for the first in the order of the checks: form, topic, authority,
//! signature, audience, number. Who has no power learns nothing of what would be wrong with its content.

use super::{Target, channel_of};
use crate::world::field::one;
use crate::world::service::key_of;
use protocol::document::{Audience, ContentType, Power};
use protocol::{Channel, DeviceId, Refusal};

const KINDS: [ContentType; 4] =
    [ContentType::Roots, ContentType::AuthorityKey, ContentType::Certificate, ContentType::Command];

fn spoiled(mut document: Vec<u8>) -> Vec<u8> {
    let byte = document.len() - 40;
    document[byte] ^= 1;
    document
}

#[test]
fn of_several_faults_the_first_in_the_order_of_the_checks_is_named() {
    let mut target = Target::new();
    for kind in KINDS {
        let (channel, own) = (channel_of(kind), key_of(kind.power()));
        let elsewhere =
            if channel == Channel::RootsDesired { Channel::AuthorityDesired } else { Channel::RootsDesired };
        let other = || Audience::Device(DeviceId::new("dev-2").unwrap());
        let wrong = Power::Factory;
        // Each is without the fault of the one before it, and has all the others.
        let by_stranger = spoiled(target.document(kind, 0, other(), &[0x77; 32]));
        let cut = by_stranger[..by_stranger.len() - 1].to_vec();
        let by_another_power = spoiled(target.document(kind, 0, other(), &key_of(wrong)));
        let unproven = spoiled(target.document(kind, 0, other(), &own));
        let for_another = target.document(kind, 0, other(), &own);
        let old = target.document(kind, 0, one(), &own);
        let name = kind.as_str();
        target.refuses(elsewhere, &cut, Refusal::Malformed, name);
        target.refuses(elsewhere, &by_stranger, Refusal::ContentType, name);
        target.refuses(channel, &by_stranger, Refusal::UnknownKey, name);
        target.refuses(channel, &by_another_power, Refusal::WrongAuthority, name);
        target.refuses(channel, &unproven, Refusal::Signature, name);
        target.refuses(channel, &for_another, Refusal::OtherDevice, name);
        let why = target.sends(channel, &old, name);
        assert!(matches!(why, Refusal::Older | Refusal::Replayed), "{name}: {why:?}");
    }
    target.finish(None);
}
