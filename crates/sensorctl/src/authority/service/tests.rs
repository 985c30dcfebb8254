use super::*;
use crate::authority::init;
use crate::credentials::Life;
use std::path::PathBuf;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        init(&place.path("ca"), &["broker.example".into(), "127.0.0.1".into(), "localhost".into()], 2)
            .unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn leaf(&self, name: &str) -> (Leaf, Life) {
        let leaf = read(&Authority::open(&self.path("ca")).unwrap(), &self.path(name)).unwrap().unwrap();
        let der = CertificateDer::from_pem_file(self.path(name)).unwrap();
        (leaf, Life::read(&der).unwrap())
    }
}

#[test]
fn a_brokers_certificate_is_renewed_for_the_same_key_and_names_or_for_others() {
    let place = Place::new();
    let ca = place.path("ca");
    let (before, life) = place.leaf("ca/broker.crt");
    let private = std::fs::read(place.path("ca/broker.key")).unwrap();
    // Who renews need not be able to read the broker's key.
    std::fs::remove_file(place.path("ca/broker.key")).unwrap();
    let names = renew_broker(&ca, &ca, &[], 365).unwrap();
    assert_eq!(names, ["broker.example", "127.0.0.1", "localhost"]);
    let (after, longer) = place.leaf("ca/broker.crt");
    assert_eq!((after.key, &after.name, &after.hosts), (before.key, &before.name, &before.hosts));
    assert_eq!((longer.until - life.until).whole_days(), 363);
    assert_eq!(renew_broker(&ca, &ca, &["::1".into()], 365).unwrap(), ["::1"]);
    assert_eq!(place.leaf("ca/broker.crt").0.hosts, ["::1"]);
    // A new key is a new folder.
    issue_broker_in(&ca, &["b.example".into()], 9, &place.path("new")).unwrap();
    assert_ne!(place.leaf("new/broker.crt").0.key, before.key);
    assert_ne!(std::fs::read(place.path("new/broker.key")).unwrap(), private);
    assert!(issue_broker_in(&ca, &["b.example".into()], 9, &place.path("new")).is_err());
    assert!(matches!(issue_broker_in(&ca, &[], 9, &place.path("n")), Err(AuthorityError::BadArgument(_))));
}

#[test]
fn an_operators_certificate_is_renewed_for_the_same_key_and_name() {
    let place = Place::new();
    let ca = place.path("ca");
    issue_operator_in(&ca, "operator.log", 2, &place.path("log")).unwrap();
    for (folder, name) in [("ca", "operator"), ("log", "operator.log")] {
        let file = format!("{folder}/operator.crt");
        let (before, life) = place.leaf(&file);
        assert_eq!(renew_operator(&ca, &place.path(folder), 365).unwrap(), name);
        let (after, longer) = place.leaf(&file);
        assert_eq!((after.key, after.name.as_str()), (before.key, name));
        assert_eq!((longer.until - life.until).whole_days(), 363);
    }
}

#[test]
fn what_another_authority_issued_or_is_something_else_is_not_renewed() {
    let (place, other) = (Place::new(), Place::new());
    let (ca, path) = (place.path("ca"), place.path("ca/operator.crt"));
    let before = std::fs::read(&path).unwrap();
    let refused = |error: AuthorityError| assert!(matches!(error, AuthorityError::NotOurs(..)), "{error}");
    refused(renew_operator(&other.path("ca"), &ca, 9).unwrap_err());
    refused(renew_broker(&other.path("ca"), &ca, &[], 9).unwrap_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // A certificate of the same authority in the wrong place: no device, and no broker, becomes an operator.
    std::fs::copy(place.path("ca/broker.crt"), &path).unwrap();
    refused(renew_operator(&ca, &ca, 9).unwrap_err());
    let device = Authority::open(&ca).unwrap().issue_client("operator-1", 9).unwrap();
    std::fs::write(&path, &device.chain).unwrap();
    refused(renew_operator(&ca, &ca, 9).unwrap_err());
    std::fs::write(place.path("ca/broker.crt"), &device.chain).unwrap();
    refused(renew_broker(&ca, &ca, &[], 9).unwrap_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), device.chain);
    std::fs::write(&path, "rubbish").unwrap();
    assert!(matches!(renew_operator(&ca, &ca, 9), Err(AuthorityError::Unusable(..))));
}
