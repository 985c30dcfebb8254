use super::*;
use crate::folder::NewFolder;
use crate::signer::{Home, random_key};
use protocol::signed::Envelope;
use tempfile::TempDir;

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
    let bytes = sign(&Content::Roots(vec![vec![0x30; 20], vec![0x31; 30]]));
    let envelope = Envelope::decode(&bytes).unwrap();
    let document = envelope.verify::<RootList<'_>>(signer.public()).unwrap().into_inner();
    assert_eq!((document.number, document.roots.0.len(), document.roots.0[1]), (7, 2, &[0x31; 30][..]));
    assert_eq!(envelope.content_type().power(), Power::Anchors);
}

#[test]
fn what_no_device_can_take_is_refused_before_it_is_signed() {
    assert!(matches!(Content::Roots(vec![]).check(), Err(DocumentError::Roots(0))));
    assert!(matches!(Content::Roots(vec![vec![]; 4]).check(), Err(DocumentError::Roots(4))));
    let factory = Content::AuthorityKey(Power::Factory, key());
    assert!(matches!(factory.check(), Err(DocumentError::Power(Power::Factory))));
    assert_eq!("group:hall-7".parse::<For>().unwrap(), For::Group("hall-7".try_into().unwrap()));
    for text in ["", "group:", "group:a b", "everyone"] {
        assert!(text.parse::<For>().is_err(), "{text}");
    }
}
