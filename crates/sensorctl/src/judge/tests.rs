use super::*;
use protocol::document::{Certificates, Power};
use protocol::x509::path::PathFault;
use protocol::{DeviceId, PublicKey};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

fn key() -> PublicKey {
    PublicKey::new(&crate::signer::random_key().unwrap().public_key().to_sec1_bytes()).unwrap()
}

fn now() -> EpochMillis {
    crate::operator::now()
}

fn dev_1() -> DeviceId {
    "dev-1".parse().unwrap()
}

/// A certificate that signs itself and is a root but for this change.
fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    self_signed(change, &KeyPair::generate().unwrap())
}

fn self_signed(change: impl FnOnce(&mut CertificateParams), key: &KeyPair) -> Vec<u8> {
    let today = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Root");
    (params.not_before, params.not_after) = (today - Duration::days(1), today + Duration::days(365));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params.self_signed(key).unwrap().der().to_vec()
}

fn judged(ders: &[Vec<u8>]) -> Result<(), Objection> {
    let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
    roots(&ders, now())
}

#[test]
fn a_root_that_has_ended_or_may_not_sign_is_no_root_and_which_one_is_said() {
    let good = certificate(|_| {});
    assert_eq!(judged(std::slice::from_ref(&good)), Ok(()));
    // An authority whose use is not restricted is one.
    assert_eq!(judged(&[certificate(|params| params.key_usages.clear())]), Ok(()));
    let yesterday = OffsetDateTime::now_utc() - Duration::hours(1);
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let cases: [(&str, Vec<u8>, PathFault); 6] = [
        ("a key on P-384", self_signed(|_| {}, &p384), PathFault::Algorithm),
        ("ended", certificate(|params| params.not_after = yesterday), PathFault::RootEnded),
        (
            "may not sign",
            certificate(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            PathFault::IssuerUsage,
        ),
        ("no basic constraints", certificate(|params| params.is_ca = IsCa::NoCa), PathFault::IssuerNotCa),
        ("no authority", certificate(|params| params.is_ca = IsCa::ExplicitNoCa), PathFault::IssuerNotCa),
        ("rubbish", vec![0x30; 20], PathFault::Malformed),
    ];
    for (name, bad, fault) in cases {
        let objection = judged(&[good.clone(), bad]).unwrap_err();
        assert_eq!(objection, Objection::Roots(RootsError::Unfit { number: 2, fault }), "{name}");
    }
    assert_eq!(judged(&[]), Err(Objection::Roots(RootsError::Count)));
}

#[test]
fn what_the_form_of_a_document_forbids_is_refused_by_its_name() {
    use protocol::document::{Action, End};
    let signer = key().id();
    let everybody = Audience::All;
    let refused = |what, why| Err(Objection::Document(what, why));
    let command = |action| Command { audience: Audience::All, number: 1, expires_s: 1, action };
    assert_eq!(document(&command(Action::Report), signer, now()), Ok(()));
    let burst = command(Action::Burst { samples: 0, period_ms: 1_000 });
    assert_eq!(document(&burst, signer, now()), refused(ContentType::Command, Refusal::Payload));
    let rollout = |share| Rollout { audience: Audience::All, number: 1, manifest: [0; 32], share };
    assert_eq!(document(&rollout(1_000), signer, now()), Ok(()));
    assert_eq!(document(&rollout(1_001), signer, now()), refused(ContentType::Rollout, Refusal::Payload));
    let expires_s = now().seconds() + 60;
    let retirement =
        |audience| Retirement { audience, number: 1, end: End::Blank, identity: signer, expires_s };
    assert_eq!(document(&retirement(Audience::Device(dev_1())), signer, now()), Ok(()));
    assert_eq!(
        document(&retirement(everybody.clone()), signer, now()),
        refused(ContentType::Retirement, Refusal::Audience)
    );
    let acknowledgement = |audience| LogAcknowledgement { audience, number: 1, hash: [0; 32] };
    assert_eq!(document(&acknowledgement(Audience::Device(dev_1())), signer, now()), Ok(()));
    assert_eq!(
        document(&acknowledgement(everybody.clone()), signer, now()),
        refused(ContentType::LogAcknowledgement, Refusal::Audience)
    );
    let new = |power, key| AuthorityKey { audience: Audience::All, number: 1, power, key };
    assert_eq!(document(&new(Power::Firmware, key()), signer, now()), Ok(()));
    assert_eq!(
        document(&new(Power::Factory, key()), signer, now()),
        refused(ContentType::AuthorityKey, Refusal::Payload)
    );
    let own = key();
    assert_eq!(
        document(&new(Power::Anchors, own), own.id(), now()),
        refused(ContentType::AuthorityKey, Refusal::WrongAuthority)
    );
    let many = RootList { audience: everybody, number: 1, roots: Certificates::default() };
    assert!(document(&many, signer, now()).is_err(), "none at all");
}

#[test]
fn a_certificate_is_sent_to_the_device_that_it_is_for_and_to_no_other() {
    let temporary = tempfile::tempdir().unwrap();
    let ca = temporary.path().join("ca");
    crate::authority::init(&ca, &["localhost".into()], 9).unwrap();
    let issued = crate::authority::Authority::open(&ca).unwrap().issue_device(&dev_1(), &key(), 1).unwrap();
    let answer = |der: &[u8], audience: Audience, time| {
        let mut chain = Certificates::default();
        chain.0.push(der).unwrap();
        document(&IdentityCertificate { audience, number: 1, identity: key().id(), chain }, key().id(), time)
    };
    let own = Audience::Device(dev_1());
    assert_eq!(answer(&issued.der, own.clone(), now()), Ok(()));
    let other = Audience::Device("dev-2".parse().unwrap());
    assert!(matches!(answer(&issued.der, other, now()), Err(Objection::Chain(_))), "another device's");
    let late = now().offset(2 * 86_400_000);
    assert!(matches!(answer(&issued.der, own.clone(), late), Err(Objection::Chain(_))), "ended");
    let broker = crate::authority::issue::certificates(&ca.join("broker.crt")).unwrap();
    assert!(matches!(answer(&broker[0], own.clone(), now()), Err(Objection::Chain(_))), "the broker's");
    assert!(matches!(answer(b"rubbish", own, now()), Err(Objection::Chain(_))));
    assert_eq!(
        answer(&issued.der, Audience::All, now()),
        Err(Objection::Document(ContentType::Certificate, Refusal::Audience))
    );
    // Nor is it a root, nor is the broker's.
    for der in [&issued.der, &broker[0]] {
        assert!(matches!(
            judged(std::slice::from_ref(der)),
            Err(Objection::Roots(RootsError::Unfit { number: 1, .. }))
        ));
    }
}
