//! Documents that are signed well and whose content does not fit this device.

use super::{EXPIRES_S, Target, until};
use crate::world::field::{DAY_MS, ID, START_S, one, stranger};
use crate::world::service::{Ca, Leaf, certificates, key_of, signed_with};
use crate::world::vault::public;
use device::{KeySlot, Note};
use protocol::document::{
    Certificates, ContentType, End, IdentityCertificate, KeyUse, Power, Retirement, RootList,
};
use protocol::{Channel, EpochMillis, KeyId, PublicKey, Refusal};

#[test]
fn a_certificate_that_does_not_fit_is_refused_though_it_is_signed_well() {
    let mut target = Target::new();
    let service_leaf = target.field.service.leaf;
    let now = EpochMillis::from_seconds(START_S);
    let (tls, identity) = (target.tls, target.identity);
    let active = target.field.link.unwrap().slot;
    let former = target.field.key(active, KeyUse::Tls).unwrap();
    let leaves: [(&str, PublicKey, &str, Leaf); 7] = [
        ("for another key", stranger(), ID, service_leaf),
        ("for the identity key", identity, ID, service_leaf),
        ("for the TLS key in force", former, ID, service_leaf),
        ("for another id", tls, "dev-2", service_leaf),
        ("for servers", tls, ID, Leaf { client: false, ..service_leaf }),
        ("an authority", tls, ID, Leaf { authority: true, ..service_leaf }),
        ("expired", tls, ID, Leaf { until: now, ..service_leaf }),
    ];
    let second = Ca::new("root", until());
    let mut chains: Vec<(String, Vec<Vec<u8>>)> = leaves
        .iter()
        .map(|(what, key, id, leaf)| {
            ((*what).to_owned(), vec![target.field.service.ca.issue(id, key, *leaf)])
        })
        .collect();
    let right = target.field.service.ca.issue(ID, &tls, service_leaf);
    let cut = right[..right.len() - 1].to_vec();
    chains.push(("cut".into(), vec![cut]));
    chains.push(("of another issuer's key".into(), vec![right.clone(), second.root.clone()]));
    let strange = Ca::new("strange", until());
    chains.push(("of an issuer of another name".into(), vec![right.clone(), strange.root.clone()]));
    // The right key, which the signature fits.
    let ca = &target.field.service.ca;
    let (no_ca, renamed) = (ca.certificate("root", false, until()), ca.certificate("other", true, until()));
    chains.push(("of an issuer that is no authority".into(), vec![right.clone(), no_ca]));
    chains.push(("of its issuer's key under another name".into(), vec![right.clone(), renamed]));
    chains.push(("issued by itself".into(), vec![right.clone(), right.clone()]));
    chains.push(("with nonsense above".into(), vec![right.clone(), b"nonsense".to_vec()]));
    let scalar = key_of(Power::Configuration);
    for (what, chain) in &chains {
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let (identity, chain) = (target.identity.id(), certificates(&chain));
        let document =
            signed_with(&IdentityCertificate { audience: one(), number: 6, identity, chain }, &scalar);
        target.refuses(Channel::IdentityDesired, &document, Refusal::Certificate, what);
    }
    let in_force = public(&target.own).id();
    for (what, identity) in [("other", KeyId([1; 32])), ("in force", in_force), ("TLS", tls.id())] {
        let chain = certificates(&[&right]);
        let document =
            signed_with(&IdentityCertificate { audience: one(), number: 6, identity, chain }, &scalar);
        let what = format!("identity key: {what}");
        target.refuses(Channel::IdentityDesired, &document, Refusal::Unexpected, &what);
    }
    target.finish(Some(Refusal::Unexpected));
}

#[test]
fn an_answer_to_a_former_request_or_to_none_is_refused() {
    let mut target = Target::new();
    let old = target.field.requests[0].clone();
    let key = target.field.service.registered.borrow()[0];
    let mut old = target.field.service.answer_with(&old, &key, Power::Configuration, |it| it.number = 6);
    target.refuses(Channel::IdentityDesired, &old, Refusal::Unexpected, "the factory identity's request");

    let right = target.document(ContentType::Certificate, 6, one(), &key_of(Power::Configuration));
    target.field.door = Box::new(|_| false);
    target.field.send(Channel::IdentityDesired, &right);
    old = target.document(ContentType::Certificate, 7, one(), &key_of(Power::Configuration));
    target.field.send(Channel::IdentityDesired, &old);
    assert_eq!(
        target.field.notes.last(),
        Some(&Note::DocumentRefused(Refusal::Unexpected)),
        "it has one already"
    );
    target.field.door = Box::new(|_| true);
    target.field.await_note(DAY_MS, |note| matches!(note, Note::IdentityReplaced { .. }));
    target.field.send(Channel::IdentityDesired, &old);
    assert_eq!(
        target.field.notes.last(),
        Some(&Note::DocumentRefused(Refusal::Unexpected)),
        "it asks for none"
    );
    let slots = KeySlot::ALL.map(|slot| target.field.key(slot, KeyUse::Identity).is_some());
    assert_eq!(slots.iter().filter(|full| **full).count(), 2);
}

#[test]
fn roots_that_cannot_vouch_for_a_service_are_refused_though_they_are_signed_well() {
    let mut target = Target::new();
    let good = target.field.service.ca.root.clone();
    let expired = Ca::new("old", EpochMillis::from_seconds(START_S)).root;
    let leaf = target.field.service.ca.issue(ID, &target.tls, target.field.service.leaf);
    let cases: [(&str, Vec<&[u8]>); 5] = [
        ("expired", vec![&expired]),
        ("a good one and an expired one", vec![&good, &expired]),
        ("a leaf", vec![&leaf]),
        ("a good one and a leaf", vec![&good, &leaf]),
        ("nonsense", vec![b"nonsense"]),
    ];
    for (what, roots) in cases {
        let list = RootList { audience: one(), number: 6, roots: certificates(&roots) };
        target.refuses(
            Channel::RootsDesired,
            &signed_with(&list, &key_of(Power::Anchors)),
            Refusal::Certificate,
            what,
        );
    }
    let none = RootList { audience: one(), number: 6, roots: Certificates::default() };
    target.refuses(
        Channel::RootsDesired,
        &signed_with(&none, &key_of(Power::Anchors)),
        Refusal::Payload,
        "none",
    );
    let empty = RootList { audience: one(), number: 6, roots: certificates(&[b""]) };
    target.refuses(
        Channel::RootsDesired,
        &signed_with(&empty, &key_of(Power::Anchors)),
        Refusal::Payload,
        "empty",
    );
    target.finish(Some(Refusal::Payload));
}

#[test]
fn a_retirement_of_another_key_is_refused() {
    let mut target = Target::new();
    let factory = target.field.service.registered.borrow()[0].id();
    let pending = target.identity.id();
    for (what, identity) in
        [("factory", factory), ("pending", pending), ("TLS", target.tls.id()), ("none", KeyId([0; 32]))]
    {
        for end in [End::Blank, End::Destroyed] {
            let document = Retirement { audience: one(), number: 6, end, identity, expires_s: EXPIRES_S };
            let document = signed_with(&document, &key_of(Power::Anchors));
            target.refuses(Channel::Command, &document, Refusal::Replayed, what);
        }
    }
    target.finish(None);
}
