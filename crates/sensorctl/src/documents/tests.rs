use super::*;
use crate::folder::NewFolder;
use crate::registry::{Event, Identity};
use crate::signer::{Home, random_key};
use protocol::Configuration;
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

fn wanted() -> Wanted {
    Wanted { host: "broker.example".into(), ..Wanted::default() }
}

#[test]
fn every_document_verifies_as_what_it_is_and_says_what_was_wanted() {
    let (_temporary, signer) = signer();
    let sign = |content: &Content| content.sign(&signer, dev_1(), 7, None).unwrap();
    let new = key();
    let bytes = sign(&Content::AuthorityKey(Power::Firmware, new));
    let document =
        Envelope::decode(&bytes).unwrap().verify::<AuthorityKey>(signer.public()).unwrap().into_inner();
    assert_eq!(document, AuthorityKey { audience: dev_1(), number: 7, power: Power::Firmware, key: new });
    let bytes = sign(&Content::Rotate);
    let document =
        Envelope::decode(&bytes).unwrap().verify::<RotateCommand>(signer.public()).unwrap().into_inner();
    assert_eq!(document, RotateCommand { audience: dev_1(), number: 7 });
    let bytes = sign(&Content::Configuration(wanted()));
    let document =
        Envelope::decode(&bytes).unwrap().verify::<Configuration>(signer.public()).unwrap().into_inner();
    assert_eq!(
        (document.number, document.id.as_str(), document.host.as_str()),
        (7, "dev-1", "broker.example")
    );
    let bytes = sign(&Content::Roots(vec![vec![0x30; 20], vec![0x31; 30]]));
    let envelope = Envelope::decode(&bytes).unwrap();
    let document = envelope.verify::<RootList<'_>>(signer.public()).unwrap().into_inner();
    assert_eq!((document.number, document.roots.0.len(), document.roots.0[1]), (7, 2, &[0x31; 30][..]));
    assert_eq!(envelope.content_type().power(), Power::Anchors);
}

#[test]
fn a_device_retires_with_the_identity_that_the_registry_knows_and_with_no_guess() {
    let (temporary, signer) = signer();
    let mut registry = Registry::open(&temporary.path().join("registry.jsonl")).unwrap();
    let content = Content::Retire(End::Blank, None);
    let refused = |registry: &Registry| content.sign(&signer, dev_1(), 1, Some(registry)).unwrap_err();
    assert!(matches!(refused(&registry), DocumentError::NoIdentity(_)));
    let identity = || Identity {
        id: "dev-1".parse().unwrap(),
        key: key(),
        tls: key(),
        certificate: [0; 32],
        serial: vec![1],
        until: OffsetDateTime::UNIX_EPOCH,
    };
    let (first, second) = (identity(), identity());
    registry.append(&[Event::Registered(first.clone())]).unwrap();
    let bytes = content.sign(&signer, dev_1(), 1, Some(&registry)).unwrap();
    let document =
        Envelope::decode(&bytes).unwrap().verify::<Retirement>(signer.public()).unwrap().into_inner();
    assert_eq!((document.identity, document.end), (first.key.id(), End::Blank));
    registry.append(&[Event::Registered(second.clone())]).unwrap();
    assert!(matches!(refused(&registry), DocumentError::SeveralIdentities(_)));
    let told = Content::Retire(End::Destroyed, Some(second.key.id()));
    assert!(told.sign(&signer, dev_1(), 1, Some(&registry)).is_ok());
}

#[test]
fn what_is_for_one_device_is_never_for_many() {
    for content in [Content::Retire(End::Blank, None), Content::Configuration(wanted())] {
        assert!(matches!(content.check(&For::All), Err(DocumentError::OneDevice)));
    }
    assert!(matches!(Content::Roots(vec![]).check(&For::All), Err(DocumentError::Roots(0))));
    assert!(matches!(Content::Roots(vec![vec![]; 4]).check(&For::All), Err(DocumentError::Roots(4))));
    let factory = Content::AuthorityKey(Power::Factory, key());
    assert!(matches!(factory.check(&For::All), Err(DocumentError::Power(Power::Factory))));
    assert_eq!("group:hall-7".parse::<For>().unwrap(), For::Group("hall-7".try_into().unwrap()));
    for text in ["", "group:", "group:a b", "everyone"] {
        assert!(text.parse::<For>().is_err(), "{text}");
    }
}
