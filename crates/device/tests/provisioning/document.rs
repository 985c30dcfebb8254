//! The factory's document: what is wrong with it, and that it then changes nothing.

use super::{Line, begun, blank, content, good, requested};
use crate::world::Platform;
use crate::world::factory::{configuration, deliver, encoded};
use crate::world::field::ID;
use crate::world::service::{Ca, Leaf, Service, key_of};
use crate::world::vault::{Keys, public};
use protocol::config::Authentication;
use protocol::document::{Action, Audience, Command, Power, Provision};
use protocol::provisioning::Fault;
use protocol::{DeviceId, EpochMillis, KeyId, Refusal};

/// One thing wrong with a document that is signed well.
type Wrong = (&'static str, Refusal, fn(&mut Provision<'_>));

#[test]
fn a_document_in_which_anything_is_wrong_changes_nothing() {
    let wrong: [Wrong; 16] = [
        ("other id", Refusal::OtherDevice, |it| {
            it.audience = Audience::Device(DeviceId::new("dev-2").unwrap());
        }),
        ("a group", Refusal::Audience, |it| it.audience = Audience::Group("north".try_into().unwrap())),
        ("all", Refusal::Audience, |it| it.audience = Audience::All),
        ("other nonce", Refusal::Replayed, |it| it.nonce[15] ^= 1),
        ("other identity", Refusal::Unexpected, |it| it.identity = KeyId([1; 32])),
        ("firmware is configuration", Refusal::WrongAuthority, |it| it.firmware = it.configuration_key),
        ("configuration is anchors", Refusal::WrongAuthority, |it| it.configuration_key = it.anchors),
        ("firmware is anchors", Refusal::WrongAuthority, |it| it.anchors = it.firmware),
        ("firmware is factory", Refusal::WrongAuthority, |it| it.firmware = public(&key_of(Power::Factory))),
        ("configuration is factory", Refusal::WrongAuthority, |it| {
            it.configuration_key = public(&key_of(Power::Factory));
        }),
        ("anchors are factory", Refusal::WrongAuthority, |it| it.anchors = public(&key_of(Power::Factory))),
        ("configuration damaged", Refusal::Configuration, |it| it.configuration = b"{}"),
        ("root is a leaf", Refusal::Certificate, |it| it.roots.0[0] = it.chain.0[0]),
        ("root is nonsense", Refusal::Certificate, |it| it.roots.0[0] = b"nonsense"),
        ("leaf is a root", Refusal::Certificate, |it| it.chain.0[0] = it.roots.0[0]),
        ("leaf is nonsense", Refusal::Certificate, |it| it.chain.0[0] = b"nonsense"),
    ];
    let service = Service::new();
    let bytes = encoded(&configuration(ID, Authentication::Certificate));
    for (what, refusal, change) in wrong {
        let (platform, mut line) = blank();
        let document = requested(&mut line, |requests| service.provision(requests, &bytes, change));
        refused(&platform, &mut line, &document, refusal, what);
    }
}

/// It is refused, nothing is stored, and the right document is still taken.
fn refused(platform: &Platform, line: &mut Line, document: &[u8], refusal: Refusal, what: &str) {
    let before = content(platform);
    assert_eq!(deliver(line, document), Err(Fault::Document(refusal)), "{what}");
    assert_eq!(content(platform), before, "{what}");
    assert!(!line.is_provisioned());
    let service = Service::new();
    let right = requested(line, |requests| good(&service, requests));
    assert_eq!(deliver(line, &right), Ok(()), "{what}");
}

#[test]
fn a_configuration_of_another_device_is_refused() {
    let service = Service::new();
    let (platform, mut line) = blank();
    let other = encoded(&configuration("dev-2", Authentication::Certificate));
    let document = requested(&mut line, |requests| service.provision(requests, &other, |_| {}));
    refused(&platform, &mut line, &document, Refusal::Configuration, "other device");
}

#[test]
fn own_keys_are_no_authorities() {
    let service = Service::new();
    let bytes = encoded(&configuration(ID, Authentication::Certificate));
    for tls in [false, true] {
        for power in [Power::Firmware, Power::Configuration, Power::Anchors] {
            let (platform, mut line) = blank();
            let keys = platform.keys.clone();
            let document = requested(&mut line, |requests| {
                let own = public(&keys.borrow()[&(0, tls)]);
                service.provision(requests, &bytes, |it| match power {
                    Power::Firmware => it.firmware = own,
                    Power::Configuration => it.configuration_key = own,
                    _ => it.anchors = own,
                })
            });
            refused(&platform, &mut line, &document, Refusal::WrongAuthority, "own key");
        }
    }
}

#[test]
fn a_certificate_that_is_not_for_this_device_and_its_tls_key_is_refused() {
    let bytes = encoded(&configuration(ID, Authentication::Certificate));
    let leaf = Service::new().leaf;
    let before_build = EpochMillis::from_seconds(crate::world::BUILD.seconds() - 1);
    let issue = |service: &Service, key: usize, id: &str, leaf: Leaf, keys: &Keys| {
        let key = [public(&keys[&(0, true)]), public(&keys[&(0, false)]), public(&[0x55; 32])][key];
        service.ca.issue(id, &key, leaf)
    };
    let cases: [(&str, usize, &str, Leaf); 6] = [
        ("for the identity key", 1, ID, leaf),
        ("for another key", 2, ID, leaf),
        ("for another id", 0, "dev-2", leaf),
        ("for servers", 0, ID, Leaf { client: false, ..leaf }),
        ("an authority", 0, ID, Leaf { authority: true, ..leaf }),
        (
            "expired when the firmware was built",
            0,
            ID,
            Leaf { from: EpochMillis(0), until: before_build, ..leaf },
        ),
    ];
    for (what, key, id, leaf) in cases {
        let service = Service::new();
        let (platform, mut line) = blank();
        let keys = platform.keys.clone();
        let document = requested(&mut line, |requests| {
            let leaf = issue(&service, key, id, leaf, &keys.borrow());
            service.provision(requests, &bytes, |it| {
                // Lives as long as the test does.
                it.chain.0[0] = Box::leak(leaf.into_boxed_slice());
            })
        });
        refused(&platform, &mut line, &document, Refusal::Certificate, what);
    }
}

#[test]
fn expired_roots_and_broken_chains_are_refused() {
    let bytes = encoded(&configuration(ID, Authentication::Certificate));
    let expired: &'static [u8] = Box::leak(Ca::new("old", crate::world::BUILD).root.into_boxed_slice());
    let stranger: &'static [u8] =
        Box::leak(Ca::new("root", Service::new().leaf.until).root.into_boxed_slice());
    for (what, change) in [
        (
            "expired root beside a good one",
            Box::new(|it: &mut Provision<'_>| it.roots.0.push(expired).unwrap())
                as Box<dyn Fn(&mut Provision<'_>)>,
        ),
        (
            "intermediate of the same name and another key",
            Box::new(|it: &mut Provision<'_>| it.chain.0.push(stranger).unwrap()),
        ),
    ] {
        let service = Service::new();
        let (platform, mut line) = blank();
        let document = requested(&mut line, |requests| service.provision(requests, &bytes, change));
        refused(&platform, &mut line, &document, Refusal::Certificate, what);
    }
    // The root as the intermediate is a whole chain.
    let service = Service::new();
    let root: &'static [u8] = Box::leak(service.ca.root.clone().into_boxed_slice());
    let (_, mut line) = blank();
    let document = requested(&mut line, |requests| {
        service.provision(requests, &bytes, |it| it.chain.0.push(root).unwrap())
    });
    assert_eq!(deliver(&mut line, &document), Ok(()));
}

#[test]
fn only_the_factory_signs_and_not_a_byte_is_altered() {
    let service = Service::new();
    let bytes = encoded(&configuration(ID, Authentication::Certificate));
    for (scalar, refusal) in [
        (key_of(Power::Firmware), Refusal::UnknownKey),
        (key_of(Power::Configuration), Refusal::UnknownKey),
        (key_of(Power::Anchors), Refusal::UnknownKey),
        ([0x66; 32], Refusal::UnknownKey),
    ] {
        let (platform, mut line) = blank();
        let document =
            requested(&mut line, |requests| service.provision_signed(requests, &bytes, &scalar, |_| {}));
        refused(&platform, &mut line, &document, refusal, "wrong key");
    }
    let (platform, mut line) = blank();
    let keys = platform.keys.clone();
    let own = requested(&mut line, |requests| {
        let scalar = keys.borrow()[&(0, false)];
        service.provision_signed(requests, &bytes, &scalar, |_| {})
    });
    refused(&platform, &mut line, &own, Refusal::UnknownKey, "its own key");

    let (platform, mut line) = blank();
    let right = requested(&mut line, |requests| good(&service, requests));
    let before = content(&platform);
    let unproven = [
        Refusal::Malformed,
        Refusal::Algorithm,
        Refusal::ContentType,
        Refusal::UnknownKey,
        Refusal::Signature,
    ];
    for at in 0..right.len() {
        let mut altered = right.clone();
        altered[at] ^= 1 << (at % 8);
        match deliver(&mut line, &altered) {
            Err(Fault::Document(refusal)) => assert!(unproven.contains(&refusal), "byte {at}: {refusal:?}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    for len in (1..right.len()).step_by(7) {
        assert_eq!(deliver(&mut line, &right[..len]), Err(Fault::Document(Refusal::Malformed)), "{len}");
    }
    assert_eq!(content(&platform), before);
    assert_eq!(deliver(&mut line, &right), Ok(()));
}

#[test]
fn another_document_of_the_factorys_key_is_none() {
    let (platform, mut line) = begun(ID);
    let before = content(&platform);
    let rotate = Command { audience: Audience::All, number: 1, expires_s: u64::MAX, action: Action::Rotate };
    let rotate = crate::world::service::signed(&rotate, Power::Factory);
    assert_eq!(deliver(&mut line, &rotate), Err(Fault::Document(Refusal::ContentType)));
    assert_eq!(content(&platform), before);
}
