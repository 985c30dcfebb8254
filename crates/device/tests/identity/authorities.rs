//! A power's key is replaced by a document of the one above it, and the old key has no power then. R-AUTHORITY.

use crate::world::Platform;
use crate::world::field::{Field, id, one, stranger};
use crate::world::service::{key_of, signed_with};
use crate::world::vault::public;
use device::Note;
use protocol::document::{Action, Audience, AuthorityKey, Command, Power};
use protocol::{Channel, Refusal};

const NEW: [u8; 32] = [0x31; 32];

/// Sends a document that gives `power` a new key, signed with `scalar`; gives the refusal.
fn replace(
    field: &mut Field<Platform>,
    number: u32,
    power: Power,
    new: &[u8; 32],
    scalar: &[u8; 32],
) -> Option<Refusal> {
    let document = AuthorityKey { audience: one(), number, power, key: public(new) };
    field.send(Channel::AuthorityDesired, &signed_with(&document, scalar));
    refusal(field)
}

fn refusal(field: &Field<Platform>) -> Option<Refusal> {
    match field.notes.last() {
        Some(Note::DocumentRefused(refusal) | Note::CommandRefused(refusal)) => Some(*refusal),
        Some(Note::DocumentAccepted(_)) => None,
        other => panic!("{other:?}"),
    }
}

fn rotate(number: u32) -> Command {
    Command { audience: one(), number, expires_s: u64::MAX, action: Action::Rotate }
}

/// A command to rotate that is numbered 0 is never obeyed: what it is refused for says whether the key counts.
fn says(field: &mut Field<Platform>, scalar: &[u8; 32]) -> Option<Refusal> {
    field.send(Channel::Command, &signed_with(&rotate(0), scalar));
    refusal(field)
}

#[test]
fn a_new_configuration_key_counts_and_the_old_one_does_not_any_more() {
    let mut field = Field::settled();
    let (old, anchors) = (key_of(Power::Configuration), key_of(Power::Anchors));
    assert_eq!(
        (says(&mut field, &old), says(&mut field, &NEW)),
        (Some(Refusal::Older), Some(Refusal::UnknownKey))
    );
    assert_eq!(replace(&mut field, 5, Power::Configuration, &NEW, &anchors), None);
    for _ in 0..2 {
        assert_eq!(says(&mut field, &old), Some(Refusal::UnknownKey));
        assert_eq!(says(&mut field, &NEW), Some(Refusal::Older));
        field.restart();
        field.connect();
    }
    field.send(Channel::Command, &signed_with(&rotate(1), &NEW));
    assert!(field.notes.contains(&Note::KeysMade));
}

#[test]
fn a_new_firmware_key_takes_the_place_of_the_old_one() {
    let mut field = Field::settled();
    let (old, anchors) = (key_of(Power::Firmware), key_of(Power::Anchors));
    assert_eq!(says(&mut field, &old), Some(Refusal::WrongAuthority));
    assert_eq!(replace(&mut field, 5, Power::Firmware, &NEW, &anchors), None);
    assert_eq!(says(&mut field, &old), Some(Refusal::UnknownKey));
    assert_eq!(says(&mut field, &NEW), Some(Refusal::WrongAuthority));
}

#[test]
fn the_anchors_key_is_replaced_by_a_document_of_the_old_one() {
    let mut field = Field::settled();
    let old = key_of(Power::Anchors);
    assert_eq!(
        replace(&mut field, 5, Power::Anchors, &NEW, &NEW),
        Some(Refusal::UnknownKey),
        "not by itself"
    );
    assert_eq!(replace(&mut field, 5, Power::Anchors, &NEW, &old), None);
    assert_eq!(replace(&mut field, 6, Power::Firmware, &[0x32; 32], &old), Some(Refusal::UnknownKey));
    assert_eq!(replace(&mut field, 6, Power::Firmware, &[0x32; 32], &NEW), None);
    field.restart();
    field.connect();
    assert_eq!(replace(&mut field, 7, Power::Anchors, &old, &old), Some(Refusal::UnknownKey));
    assert_eq!(replace(&mut field, 7, Power::Anchors, &old, &NEW), None, "a key can come back");
}

#[test]
fn no_other_power_can_replace_a_key() {
    let mut field = Field::settled();
    let before = field.snapshot();
    for signer in [Power::Firmware, Power::Configuration, Power::Factory] {
        for power in [Power::Firmware, Power::Configuration, Power::Anchors] {
            let refused = replace(&mut field, 5, power, &NEW, &key_of(signer));
            assert_eq!(refused, Some(Refusal::WrongAuthority), "{signer} for {power}");
        }
    }
    for power in [Power::Factory, Power::Device] {
        let refused = replace(&mut field, 5, power, &NEW, &key_of(Power::Anchors));
        assert_eq!(refused, Some(Refusal::Payload), "{power}");
    }
    assert_eq!(field.snapshot(), before);
}

#[test]
fn one_key_never_has_two_powers() {
    let mut field = Field::settled();
    let own = *field.platform().keys.borrow().values().next().unwrap();
    let before = field.snapshot();
    let keys = [Power::Firmware, Power::Configuration, Power::Anchors, Power::Factory].map(key_of);
    for power in [Power::Firmware, Power::Configuration, Power::Anchors] {
        for key in keys.iter().chain([&own]) {
            let refused = replace(&mut field, 5, power, key, &key_of(Power::Anchors));
            assert_eq!(refused, Some(Refusal::WrongAuthority), "{power}");
        }
    }
    assert_eq!(field.snapshot(), before);
}

#[test]
fn a_number_counts_for_keys_of_every_power() {
    let mut field = Field::settled();
    let anchors = key_of(Power::Anchors);
    assert_eq!(replace(&mut field, 5, Power::Firmware, &NEW, &anchors), None);
    assert_eq!(replace(&mut field, 5, Power::Configuration, &[0x32; 32], &anchors), Some(Refusal::Replayed));
    assert_eq!(replace(&mut field, 4, Power::Configuration, &[0x32; 32], &anchors), Some(Refusal::Older));
    assert_eq!(replace(&mut field, 6, Power::Configuration, &[0x32; 32], &anchors), None);
}

#[test]
fn a_key_for_the_group_or_for_all_counts() {
    for audience in [Audience::Group("north".try_into().unwrap()), Audience::All] {
        let mut field = Field::settled();
        let document = field.service.authority(audience, Power::Configuration, public(&NEW));
        field.send(Channel::AuthorityDesired, &document);
        assert_eq!(refusal(&field), None);
        assert_eq!(says(&mut field, &NEW), Some(Refusal::Older));
    }
}

#[test]
fn a_device_without_authorities_believes_nobody() {
    let mut field = Field::new(crate::world::service::Service::new());
    let platform = Platform::seeded(3);
    platform.configure(|draft| draft.keep_alive_s = 1_200);
    field.start(platform).unwrap();
    field.connect();
    field.settle();
    let before = field.snapshot();
    for power in Power::ALL {
        assert_eq!(says(&mut field, &key_of(power)), Some(Refusal::UnknownKey), "{power}");
    }
    assert_eq!(replace(&mut field, 5, Power::Anchors, &NEW, &NEW), Some(Refusal::UnknownKey));
    let key = stranger().id();
    let retirement = field.service.retire(&id(), protocol::document::End::Blank, key);
    field.send(Channel::Command, &retirement);
    assert_eq!(refusal(&field), Some(Refusal::UnknownKey));
    assert_eq!(field.snapshot(), before);
    assert!(field.requests.is_empty(), "it asks nobody for a certificate");
}
