use super::*;
use crate::registry::{Event, Identity};
use crate::signer::random_key;
use protocol::PublicKey;
use tempfile::TempDir;
use time::OffsetDateTime;

fn key() -> PublicKey {
    PublicKey::new(&random_key().unwrap().public_key().to_sec1_bytes()).unwrap()
}

/// A registry with so many identities of `dev-1`, oldest first.
fn registry(count: usize) -> (TempDir, Registry, Vec<Identity>) {
    let temporary = tempfile::tempdir().unwrap();
    let mut registry = Registry::open(&temporary.path().join("registry.jsonl")).unwrap();
    let identity = |_| Identity {
        id: dev_1(),
        key: key(),
        tls: key(),
        certificate: [0; 32],
        serial: vec![1],
        until: OffsetDateTime::UNIX_EPOCH,
    };
    let identities: Vec<Identity> = (0..count).map(identity).collect();
    let events: Vec<Event> = identities.iter().cloned().map(Event::Registered).collect();
    registry.append(&events).unwrap();
    (temporary, registry, identities)
}

fn dev_1() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn prefix(text: &str) -> KeyPrefix {
    text.parse().unwrap()
}

#[test]
fn the_identity_of_a_device_is_the_one_that_it_says_or_the_only_one_and_no_guess() {
    let (_folder, registry, identities) = registry(2);
    let [first, second] = [&identities[0], &identities[1]].map(|identity| identity.key.id());
    for used in [first, second] {
        assert_eq!(in_use(&dev_1(), Some(&IdentityState::new(&used)), &registry), Ok(used));
    }
    let silent = in_use(&dev_1(), None, &registry);
    assert_eq!(silent, Err(IdentityError::Silent(dev_1(), vec![first, second])));
    assert!(silent.unwrap_err().to_string().contains(&digits(&second)), "the candidates are named in full");
    let other = key().id();
    let foreign = in_use(&dev_1(), Some(&IdentityState::new(&other)), &registry);
    assert_eq!(foreign, Err(IdentityError::Foreign(dev_1(), other.to_string())));
    for life in [Life::Blank, Life::Destroyed] {
        let mut state = IdentityState::new(&first);
        state.life = life;
        assert_eq!(in_use(&dev_1(), Some(&state), &registry), Err(IdentityError::Ended(dev_1(), life)));
    }
    let unknown: DeviceId = "dev-2".parse().unwrap();
    assert_eq!(in_use(&unknown, None, &registry), Err(IdentityError::NoIdentity(unknown)));
}

#[test]
fn a_revoked_identity_that_the_device_still_uses_can_be_wiped() {
    let (_folder, mut registry, identities) = registry(1);
    let Identity { id, key, serial, .. } = identities[0].clone();
    registry.append(&[Event::Revoked { id, key: key.id(), serial }]).unwrap();
    assert_eq!(in_use(&dev_1(), Some(&IdentityState::new(&key.id())), &registry), Ok(key.id()));
    assert_eq!(in_use(&dev_1(), None, &registry), Err(IdentityError::NoIdentity(dev_1())));
}

#[test]
fn the_beginning_of_a_key_names_it_where_no_other_begins_so() {
    let known = |digits: [u8; 3]| {
        let mut id = [0; 32];
        id[..3].copy_from_slice(&digits);
        KeyId(id)
    };
    let keys = [known([0x1f, 0x2e, 0x3d]), known([0x1f, 0x2e, 0x4d]), known([0xab, 0xcd, 0xef])];
    let resolve = |text: &str| prefix(text).resolve(&dev_1(), keys);
    assert_eq!(resolve("abcd"), Ok(keys[2]));
    assert_eq!(resolve("ABCDEF"), Ok(keys[2]));
    assert_eq!(resolve("1f2e3"), Ok(keys[0]));
    assert_eq!(resolve(&digits(&keys[1])), Ok(keys[1]));
    let ambiguous = resolve("1f2e");
    assert_eq!(ambiguous, Err(IdentityError::Ambiguous(dev_1(), prefix("1f2e"), vec![keys[0], keys[1]])));
    let said = ambiguous.unwrap_err().to_string();
    assert!(said.contains(&digits(&keys[0])) && said.contains(&digits(&keys[1])), "{said}");
    assert!(!said.contains("abcdef"), "{said}");
    let missing = resolve("0000").unwrap_err();
    assert!(keys.iter().all(|key| missing.to_string().contains(&digits(key))), "{missing}");
    // The same key twice, by a certificate that was issued again, is one.
    assert_eq!(prefix("abcd").resolve(&dev_1(), [keys[2], keys[2]]), Ok(keys[2]));
    assert_eq!(prefix(&digits(&keys[0])).whole(), Some(keys[0]));
    assert_eq!(prefix("abcd").whole(), None);
    for text in ["", "abc", "xyzw", "12 34", "+1234", &"0".repeat(65)] {
        assert!(text.parse::<KeyPrefix>().is_err(), "{text}");
    }
}

#[test]
fn older_are_those_before_the_one_in_use_and_never_that_or_one_that_is_to_come() {
    let (_folder, registry, identities) = registry(4);
    let older = |used: KeyId| older(&registry, &dev_1(), used).cloned().collect::<Vec<_>>();
    assert_eq!(older(identities[2].key.id()), identities[..2]);
    assert_eq!(older(identities[0].key.id()), []);
    // What is in use and not in force says nothing of the others.
    assert_eq!(older(key().id()), []);
}

#[test]
fn nothing_ends_of_a_device_that_is_silent_or_may_return_to_it() {
    let (_folder, registry, identities) = registry(3);
    let keys: Vec<KeyId> = identities.iter().map(|identity| identity.key.id()).collect();
    let judge = |said: Option<Result<IdentityState, String>>| {
        let said: Said = said.into_iter().map(|said| (dev_1(), said)).collect();
        left_over(&registry, &[dev_1(), "unknown".parse().unwrap()], &said)
    };
    let left = |why| (vec![], vec![(dev_1(), why)]);
    assert_eq!(judge(None), left(Left::Silent));
    assert_eq!(judge(Some(Err("why".into()))), left(Left::Unreadable("why".into())));
    let mut state = IdentityState::new(&keys[1]);
    assert_eq!(judge(Some(Ok(state.clone()))), (vec![(dev_1(), keys[0])], vec![]), "the third is to come");
    state.retired_kept = true;
    assert_eq!(judge(Some(Ok(state.clone()))), left(Left::Kept));
    state.life = Life::Blank;
    assert_eq!(judge(Some(Ok(state))), left(Left::Ended(Life::Blank)));
    let other = key().id();
    let foreign = IdentityState::new(&other);
    assert_eq!(judge(Some(Ok(foreign))), left(Left::Foreign(other.to_string())));
}
