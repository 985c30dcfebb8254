use super::*;
use crate::powers::POWERS;
use crate::signer::{Home, random_key};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::key::Digest;
use protocol::signed::seal;
use protocol::x509::{Certificate, encode_csr};
use protocol::{PublicKey, Signature};
use std::convert::Infallible;
use tempfile::TempDir;

/// A device's two keys.
#[derive(Clone)]
struct Keys {
    identity: SecretKey,
    tls: SecretKey,
}

impl Keys {
    fn new() -> Self {
        Self { identity: random_key().unwrap(), tls: random_key().unwrap() }
    }
}

fn public(key: &SecretKey) -> PublicKey {
    PublicKey::new(&key.public_key().to_sec1_bytes()).unwrap()
}

fn sign(key: &SecretKey, digest: &Digest) -> Signature {
    let signature: p256::ecdsa::Signature = SigningKey::from(key).sign_prehash(digest).unwrap();
    Signature::normalised(&signature.to_bytes()).unwrap()
}

fn csr(id: &str, key: &SecretKey, signer: &SecretKey) -> Vec<u8> {
    let mut out = vec![0; 512];
    let id = id.parse().unwrap();
    let len =
        encode_csr(&id, &public(key), &mut out, |digest| Ok::<_, Infallible>(sign(signer, digest))).unwrap();
    out.truncate(len);
    out
}

/// What is asked, by whom.
struct Asked<'a> {
    audience: &'a str,
    csr_id: &'a str,
    signer: &'a SecretKey,
    number: u32,
}

fn request(asked: &Asked<'_>, new: &Keys, tls_signer: &SecretKey) -> Vec<u8> {
    let identity_csr = csr(asked.csr_id, &new.identity, &new.identity);
    let tls_csr = csr(asked.csr_id, &new.tls, tls_signer);
    let request = RenewalRequest {
        audience: Audience::Device(asked.audience.parse().unwrap()),
        number: asked.number,
        identity_csr: &identity_csr,
        tls_csr: &tls_csr,
    };
    let mut out = vec![0; 4_096];
    let id = public(asked.signer).id();
    let len = seal(&request, id, &mut out, |digest| Ok::<_, Infallible>(sign(asked.signer, digest))).unwrap();
    out.truncate(len);
    out
}

fn registrar(folder: &Path) -> Registrar {
    let path = |name: &str| folder.join(name);
    Registrar {
        issuer: Authority::open(&path("ca")).unwrap(),
        signer: LiveKey::open(&path("powers"), POWERS[1]).unwrap(),
        registry: Registry::open(&path("registry.jsonl")).unwrap(),
        issued: issued_folder(&path("ca")),
        days: 9,
        lapsed: Lapsed::Refused,
    }
}

struct Service {
    folder: TempDir,
    registrar: Registrar,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        crate::authority::init(&path("ca"), &["localhost".into()], 1).unwrap();
        powers::init(&path("powers"), &Home::Files).unwrap();
        let registrar = registrar(folder.path());
        Self { folder, registrar }
    }

    fn register(&mut self, id: &str, keys: &Keys) {
        let identity = Identity {
            id: id.parse().unwrap(),
            key: public(&keys.identity),
            tls: public(&keys.tls),
            certificate: [0; 32],
            serial: vec![7; 16],
            until: OffsetDateTime::now_utc() + time::Duration::days(1),
        };
        self.registrar.registry.append(&[Event::Registered(identity)]).unwrap();
    }

    fn decide(&mut self, request: &[u8]) -> Result<Granted, RenewError> {
        self.registrar.decide(&"dev-1".parse().unwrap(), request)
    }
}

fn asked(signer: &SecretKey) -> Asked<'_> {
    Asked { audience: "dev-1", csr_id: "dev-1", signer, number: 4 }
}

#[test]
fn a_registered_device_gets_a_certificate_for_its_new_keys_and_is_registered_with_them() {
    let mut service = Service::new();
    let (old, new) = (Keys::new(), Keys::new());
    service.register("dev-1", &old);
    let granted = service.decide(&request(&asked(&old.identity), &new, &new.tls)).unwrap();
    assert!(!granted.repeated);
    let envelope = Envelope::decode(&granted.document).unwrap();
    let answer = envelope.verify::<IdentityCertificate<'_>>(service.registrar.signer.now().public()).unwrap();
    assert_eq!(answer.audience, Audience::Device("dev-1".parse().unwrap()));
    assert_eq!((answer.number, answer.identity), (5, public(&new.identity).id()));
    let leaf = Certificate::decode(answer.chain.0[0]).unwrap();
    assert_eq!((leaf.public_key(), leaf.common_name()), (public(&new.tls), Some("dev-1")));
    assert!(leaf.for_client_auth() && !leaf.is_authority());
    let root = service.registrar.issuer.root_der().unwrap();
    assert!(leaf.is_signed_by(&Certificate::decode(&root).unwrap().public_key()));
    // Both identities are valid until one is revoked; the new one is on the disk.
    let registry = Registry::open(&service.folder.path().join("registry.jsonl")).unwrap();
    let keys: Vec<_> = registry.in_force(&"dev-1".parse().unwrap()).map(|identity| identity.key).collect();
    assert_eq!(keys, [public(&old.identity), public(&new.identity)]);
    let again = service.decide(&request(&asked(&new.identity), &Keys::new(), &new.tls));
    assert!(matches!(again, Err(RenewError::Request(KeyUse::Tls, X509Error::Signature))));
}

#[test]
fn the_same_request_gets_the_same_certificate_from_another_process_too() {
    let mut service = Service::new();
    let (old, new) = (Keys::new(), Keys::new());
    service.register("dev-1", &old);
    let request = request(&asked(&old.identity), &new, &new.tls);
    let first = service.decide(&request).unwrap();
    service.registrar.registry = Registry::open(&service.folder.path().join("registry.jsonl")).unwrap();
    let second = service.decide(&request).unwrap();
    assert!(second.repeated);
    assert_eq!((first.document, first.identity), (second.document, second.identity));
    assert_eq!(service.registrar.registry.records(&"dev-1".parse().unwrap()).len(), 2);
    // Where the copy is gone or altered, a new certificate is issued for the same keys.
    for entry in std::fs::read_dir(&service.registrar.issued).unwrap() {
        std::fs::write(entry.unwrap().path(), "rubbish").unwrap();
    }
    let third = service.decide(&request).unwrap();
    assert!(!third.repeated && third.identity.key == public(&new.identity));
}

#[test]
fn whoever_is_not_the_device_gets_nothing() {
    let mut service = Service::new();
    let (old, other, new, stranger) = (Keys::new(), Keys::new(), Keys::new(), Keys::new());
    service.register("dev-1", &old);
    service.register("dev-2", &other);
    let mut refuse = |request: &[u8], expected: fn(&RenewError) -> bool| {
        let error = service.decide(request).unwrap_err();
        assert!(expected(&error), "{error}");
        assert!(!error.is_ours());
        assert_eq!(service.registrar.registry.records(&"dev-1".parse().unwrap()).len(), 1);
    };
    let good = request(&asked(&old.identity), &new, &new.tls);
    refuse(&[], |error| matches!(error, RenewError::Refused(Refusal::Malformed)));
    refuse(&good[..good.len() - 1], |error| matches!(error, RenewError::Refused(_)));
    let mut altered = good.clone();
    let last = altered.len() - 70;
    altered[last] ^= 1;
    refuse(&altered, |error| matches!(error, RenewError::Refused(_)));
    refuse(&request(&asked(&stranger.identity), &new, &new.tls), |error| {
        matches!(error, RenewError::UnknownKey(_))
    });
    // The TLS key lies outside the vault: it must not be able to renew.
    refuse(&request(&asked(&old.tls), &new, &new.tls), |error| matches!(error, RenewError::OtherDevice(_)));
    refuse(
        &request(&asked(&other.identity), &new, &new.tls),
        |error| matches!(error, RenewError::OtherDevice(id) if id.as_str() == "dev-2"),
    );
    let elsewhere = Asked { audience: "dev-2", ..asked(&old.identity) };
    refuse(&request(&elsewhere, &new, &new.tls), |error| matches!(error, RenewError::Audience));
    let elsewhere = Asked { csr_id: "dev-2", ..asked(&old.identity) };
    refuse(&request(&elsewhere, &new, &new.tls), |error| matches!(error, RenewError::OtherId(_)));
    let same = Keys { tls: new.identity.clone(), ..new.clone() };
    refuse(&request(&asked(&old.identity), &same, &new.identity), |error| {
        matches!(error, RenewError::SameKey)
    });
    let used = Keys { tls: other.tls.clone(), ..new.clone() };
    refuse(&request(&asked(&old.identity), &used, &other.tls), |error| {
        matches!(error, RenewError::KeyUsed(_))
    });
    let swapped = Keys { identity: old.tls.clone(), ..new.clone() };
    refuse(&request(&asked(&old.identity), &swapped, &new.tls), |error| {
        matches!(error, RenewError::KeyUsed(_))
    });
    let full = Asked { number: u32::MAX, ..asked(&old.identity) };
    refuse(&request(&full, &new, &new.tls), |error| matches!(error, RenewError::Number));
    let command = protocol::document::Command {
        audience: Audience::All,
        number: 1,
        expires_s: 9,
        action: protocol::document::Action::Rotate,
    };
    let mut out = vec![0; 512];
    let id = public(&old.identity).id();
    let len =
        seal(&command, id, &mut out, |digest| Ok::<_, Infallible>(sign(&old.identity, digest))).unwrap();
    refuse(&out[..len], |error| matches!(error, RenewError::Refused(Refusal::ContentType)));
}

#[test]
fn of_many_registrars_at_once_one_registers_a_key() {
    let mut service = Service::new();
    let old = Keys::new();
    service.register("dev-1", &old);
    let (new, path) = (Keys::new(), service.folder.path().to_owned());
    // Two requests, as from a device that was copied: one TLS key in both, another identity key in each.
    let requests: Vec<Vec<u8>> = (0..8)
        .map(|_| {
            let own = Keys { identity: random_key().unwrap(), tls: new.tls.clone() };
            request(&asked(&old.identity), &own, &own.tls)
        })
        .collect();
    let granted = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for request in &requests {
            let path = &path;
            let id: DeviceId = "dev-1".parse().unwrap();
            threads.push(scope.spawn(move || registrar(path).decide(&id, request).is_ok()));
        }
        threads.into_iter().filter_map(|thread| thread.join().unwrap().then_some(())).count()
    });
    assert_eq!(granted, 1, "a key is new once");
    service.registrar.registry.refresh().unwrap();
    let id: DeviceId = "dev-1".parse().unwrap();
    assert_eq!(service.registrar.registry.in_force(&id).count(), 2);
}

#[test]
fn a_revoked_identity_renews_nothing_and_a_device_does_not_ask_without_end() {
    let mut service = Service::new();
    let old = Keys::new();
    service.register("dev-1", &old);
    for _ in 1..IDENTITIES_MAX {
        let new = Keys::new();
        service.decide(&request(&asked(&old.identity), &new, &new.tls)).unwrap();
    }
    let new = Keys::new();
    let request = request(&asked(&old.identity), &new, &new.tls);
    assert!(matches!(service.decide(&request), Err(RenewError::TooMany)));
    let id = "dev-1".parse().unwrap();
    let mut registry = service.registrar.registry.turn().unwrap();
    crate::revoke::revoke(&mut registry, &[id], crate::revoke::Which::All).unwrap();
    drop(registry);
    assert!(matches!(service.decide(&request), Err(RenewError::Revoked(_))));
}

/// A device whose certificate has ended, and its request.
fn lapsed(service: &mut Service) -> Vec<u8> {
    let (old, new) = (Keys::new(), Keys::new());
    let identity = Identity {
        id: "dev-1".parse().unwrap(),
        key: public(&old.identity),
        tls: public(&old.tls),
        certificate: [0; 32],
        serial: vec![7; 16],
        until: OffsetDateTime::now_utc() - time::Duration::seconds(1),
    };
    service.registrar.registry.turn().unwrap().append(&[Event::Registered(identity)]).unwrap();
    request(&asked(&old.identity), &new, &new.tls)
}

#[test]
fn a_device_whose_certificate_has_ended_gets_none_unless_the_operator_has_opened_a_window_for_it() {
    let mut service = Service::new();
    let request = lapsed(&mut service);
    let now = OffsetDateTime::now_utc();
    let (later, earlier) = (now + time::Duration::hours(1), now - time::Duration::hours(1));
    let (this, other) = ("dev-1".parse::<DeviceId>().unwrap(), "dev-2".parse::<DeviceId>().unwrap());
    for (lapsed, shut) in [
        (Lapsed::Refused, Shut::Closed),
        (Lapsed::Until(earlier, Vec::new()), Shut::Over(earlier)),
        (Lapsed::Until(earlier, vec![this.clone()]), Shut::Over(earlier)),
        (Lapsed::Until(later, vec![other.clone()]), Shut::Others),
    ] {
        service.registrar.lapsed = lapsed;
        let refused = service.decide(&request).unwrap_err();
        assert!(matches!(refused, RenewError::Lapsed(_, why) if why == shut), "{refused}");
        assert!(refused.to_string().contains("certificate ended on"), "{refused}");
        assert_eq!(service.registrar.registry.records(&this).len(), 1, "{shut:?}");
    }
    for lapsed in [Lapsed::Until(later, Vec::new()), Lapsed::Until(later, vec![other, this]), Lapsed::OnLine]
    {
        service.registrar.lapsed = lapsed;
        assert!(service.decide(&request).is_ok());
    }
}

#[test]
fn a_window_lets_no_revoked_and_no_foreign_identity_in() {
    let mut service = Service::new();
    let request = lapsed(&mut service);
    service.registrar.lapsed =
        Lapsed::Until(OffsetDateTime::now_utc() + time::Duration::hours(1), Vec::new());
    let foreign = service.registrar.decide(&"dev-2".parse().unwrap(), &request).unwrap_err();
    assert!(matches!(foreign, RenewError::OtherDevice(_)), "{foreign}");
    let identity = service.registrar.registry.records(&"dev-1".parse().unwrap())[0].identity.clone();
    let (id, key, serial) = (identity.id, identity.key.id(), identity.serial);
    service.registrar.registry.turn().unwrap().append(&[Event::Revoked { id, key, serial }]).unwrap();
    assert!(matches!(service.decide(&request), Err(RenewError::Revoked(_))));
}

#[test]
fn a_key_with_two_certificates_counts_until_the_last_of_them_ends() {
    let mut service = Service::new();
    let request = lapsed(&mut service);
    assert!(matches!(service.decide(&request), Err(RenewError::Lapsed(..))));
    let old = service.registrar.registry.records(&"dev-1".parse().unwrap())[0].identity.clone();
    let until = OffsetDateTime::now_utc() + time::Duration::days(100);
    let again = Identity { until, serial: vec![8; 16], certificate: [8; 32], ..old };
    service.registrar.registry.turn().unwrap().append(&[Event::Registered(again)]).unwrap();
    assert!(service.decide(&request).is_ok());
}
