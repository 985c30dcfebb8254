use super::*;
use crate::folder::NewFolder;
use crate::registry::{Event, Identity};
use crate::signer::{Home, random_key};
use protocol::signed::Envelope;
use tempfile::TempDir;
use time::OffsetDateTime;

fn signer() -> (TempDir, Signer) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = NewFolder::begin(&temporary.path().join("a")).unwrap();
    let signer = Signer::make(&folder, "anchors", &Home::Files).unwrap();
    (temporary, signer)
}

fn key() -> PublicKey {
    PublicKey::new(&random_key().unwrap().public_key().to_sec1_bytes()).unwrap()
}

fn dev_1() -> Audience {
    Audience::Device("dev-1".parse().unwrap())
}

#[test]
fn every_document_verifies_as_what_it_is_and_says_what_was_wanted() {
    let (_temporary, signer) = signer();
    let sign = |content: &Content| content.sign(&signer, dev_1(), 7).unwrap();
    let new = key();
    let bytes = sign(&Content::AuthorityKey(Power::Firmware, new));
    let document =
        Envelope::decode(&bytes).unwrap().verify::<AuthorityKey>(signer.public()).unwrap().into_inner();
    assert_eq!(document, AuthorityKey { audience: dev_1(), number: 7, power: Power::Firmware, key: new });
    let all = [root(), root()];
    let bytes = sign(&Content::Roots(all.to_vec()));
    let envelope = Envelope::decode(&bytes).unwrap();
    let document = envelope.verify::<RootList<'_>>(signer.public()).unwrap().into_inner();
    assert_eq!((document.number, document.roots.0.as_slice()), (7, &[all[0].as_slice(), &all[1]][..]));
    assert_eq!(envelope.content_type().power(), Power::Anchors);
}

#[test]
fn what_no_device_can_take_is_refused_before_it_is_signed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("powers");
    powers::init(&folder, &Home::Files).unwrap();
    let public = |power| powers::public(&folder, power).unwrap();
    let check = |content: Content, registry: Option<&Registry>| {
        content.check(public(Power::Anchors).id(), &folder, registry, &dev_1())
    };
    assert!(check(Content::Roots(vec![root()]), None).is_ok());
    assert!(matches!(check(Content::Roots(vec![]), None), Err(DocumentError::Roots(0))));
    assert!(matches!(check(Content::Roots(vec![vec![]; 4]), None), Err(DocumentError::Roots(4))));
    let bad = check(Content::Roots(vec![root(), vec![0x30; 20]]), None);
    assert!(matches!(bad, Err(DocumentError::Objection(Objection::Roots(_)))), "{bad:?}");
    let new = |power, key| Content::AuthorityKey(power, key);
    assert!(matches!(check(new(Power::Factory, key()), None), Err(DocumentError::Power(Power::Factory))));
    assert!(check(new(Power::Configuration, key()), None).is_ok());
    // The key that the folder has already may be sent once more: a device that was away needs it.
    assert!(check(new(Power::Configuration, public(Power::Configuration)), None).is_ok());
    for other in [Power::Firmware, Power::Anchors, Power::Factory] {
        let same = check(new(Power::Configuration, public(other)), None);
        assert!(matches!(same, Err(DocumentError::SameKey(found)) if found == other), "{other}: {same:?}");
    }
    let itself = check(new(Power::Anchors, public(Power::Anchors)), None);
    assert!(matches!(itself, Err(DocumentError::Objection(_))), "{itself:?}");
    let mut registry = Registry::open(&temporary.path().join("registry.jsonl")).unwrap();
    let of_a_device = Identity {
        id: "dev-1".parse().unwrap(),
        key: key(),
        tls: key(),
        certificate: [0; 32],
        serial: vec![1],
        until: OffsetDateTime::UNIX_EPOCH,
    };
    registry.append(&[Event::Registered(of_a_device.clone())]).unwrap();
    let own = check(new(Power::Firmware, of_a_device.key), Some(&registry));
    assert!(matches!(own, Err(DocumentError::DeviceKey(_))), "{own:?}");
    assert_eq!("group:hall-7".parse::<For>().unwrap(), For::Group("hall-7".try_into().unwrap()));
    for text in ["", "group:", "group:a b", "everyone"] {
        assert!(text.parse::<For>().is_err(), "{text}");
    }
}

/// A root as `sensorctl ca init` makes it.
fn root() -> Vec<u8> {
    let temporary = tempfile::tempdir().unwrap();
    let ca = temporary.path().join("ca");
    crate::authority::init(&ca, &["localhost".into()], 9).unwrap();
    crate::authority::Authority::open(&ca).unwrap().root_der().unwrap()
}
