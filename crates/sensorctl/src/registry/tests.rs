use super::*;
use crate::signer::random_key;
use std::fs;
use tempfile::TempDir;

fn key() -> PublicKey {
    PublicKey::new(&random_key().unwrap().public_key().to_sec1_bytes()).unwrap()
}

fn identity(id: &str, serial: u8) -> Identity {
    Identity {
        id: id.parse().unwrap(),
        key: key(),
        tls: key(),
        certificate: [serial; 32],
        serial: vec![serial; 16],
        until: OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000),
    }
}

fn place() -> (TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("registry.jsonl");
    (temporary, path)
}

fn revoked(identity: &Identity) -> Event {
    Event::Revoked { id: identity.id.clone(), key: identity.key.id(), serial: identity.serial.clone() }
}

#[test]
fn what_was_added_is_read_back_by_others() {
    let (_temporary, path) = place();
    let mut writer = Registry::open(&path).unwrap();
    let mut reader = Registry::open(&path).unwrap();
    let (first, second) = (identity("dev-1", 1), identity("dev-1", 2));
    writer.append(&[Event::Registered(first.clone())]).unwrap();
    writer.append(&[Event::Registered(second.clone()), revoked(&first)]).unwrap();
    reader.refresh().unwrap();
    for registry in [&reader, &Registry::open(&path).unwrap()] {
        assert_eq!(registry.in_force(&first.id).collect::<Vec<_>>(), [&second]);
        assert_eq!(registry.records(&first.id).len(), 2);
        assert_eq!(registry.owner(&first.tls.id()), Some(&first.id));
        assert_eq!(registry.active().collect::<Vec<_>>(), [&first.id]);
    }
    writer.append(&[revoked(&second)]).unwrap();
    assert_eq!(writer.active().count(), 0);
}

#[test]
fn a_line_has_the_form_that_the_broker_reads() {
    let (_temporary, path) = place();
    let identity = identity("dev-1", 0xab);
    Registry::open(&path)
        .unwrap()
        .append(&[Event::Registered(identity.clone()), revoked(&identity)])
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = |line: &serde_json::Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        fields(&lines[0]),
        ["at", "certificate", "event", "id", "identity", "key_id", "serial", "tls", "until"]
    );
    assert_eq!(fields(&lines[1]), ["at", "event", "id", "key_id", "serial"]);
    assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&"registered".into(), &"revoked".into()));
    assert_eq!(lines[0]["identity"], base16ct::lower::encode_string(identity.key.as_bytes()));
    assert_eq!(lines[0]["key_id"], base16ct::lower::encode_string(&identity.key.id().0));
    assert_eq!(lines[0]["until"], "2024-10-04T00:00:00Z");
    assert_eq!(lines[0]["at"].as_str().unwrap().len(), "2026-11-21T12:00:00Z".len());
}

#[test]
fn a_torn_last_line_is_ignored_wherever_it_was_torn_and_repaired_by_the_next_one() {
    let (_temporary, path) = place();
    let (first, second) = (identity("dev-1", 1), identity("dev-2", 2));
    let mut registry = Registry::open(&path).unwrap();
    registry.append(&[Event::Registered(first.clone())]).unwrap();
    let whole = fs::read(&path).unwrap();
    registry.append(&[Event::Registered(second.clone())]).unwrap();
    let both = fs::read(&path).unwrap();
    for cut in whole.len()..both.len() {
        fs::write(&path, &both[..cut]).unwrap();
        let mut registry = Registry::open(&path).unwrap();
        assert_eq!(registry.devices().count(), 1, "{cut}");
        registry.append(&[Event::Registered(second.clone())]).unwrap();
        assert_eq!(Registry::open(&path).unwrap().devices().count(), 2, "{cut}");
        assert_eq!(fs::read(&path).unwrap().len(), both.len(), "{cut}");
    }
}

#[test]
fn zeros_that_a_power_cut_left_in_the_last_lines_are_repaired_and_elsewhere_named() {
    let (_temporary, path) = place();
    let (first, second) = (identity("dev-1", 1), identity("dev-2", 2));
    let mut registry = Registry::open(&path).unwrap();
    registry.append(&[Event::Registered(first.clone())]).unwrap();
    let whole = fs::read(&path).unwrap();
    registry.append(&[Event::Registered(second.clone()), revoked(&second)]).unwrap();
    let all = fs::read(&path).unwrap();
    let end = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let second_ends = whole.len() + end(&all[whole.len()..]);
    // From anywhere in the last lines on, all but their very end.
    for from in (whole.len()..all.len() - 1).step_by(37) {
        let mut bytes = all.clone();
        bytes[from..all.len() - 1].fill(0);
        fs::write(&path, &bytes).unwrap();
        let mut registry = Registry::open(&path).unwrap();
        assert_eq!(registry.devices().count(), if from < second_ends { 1 } else { 2 }, "{from}");
        registry.append(&[Event::Registered(identity("dev-3", 3))]).unwrap();
        let repaired = Registry::open(&path).unwrap();
        assert!(repaired.records(&"dev-3".parse().unwrap()).len() == 1, "{from}");
        assert!(!fs::read(&path).unwrap().contains(&0), "{from}");
    }
    // With something readable behind it, it is no power cut: what is lost may be a revocation.
    let mut bytes = all.clone();
    bytes[whole.len() + 9] = 0;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Registry::open(&path), Err(RegistryError::Line(_, 2, _))));
    let mut bytes = all;
    bytes[whole.len() - 9] = b'?';
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Registry::open(&path), Err(RegistryError::Line(_, 1, _))));
}

#[test]
fn what_is_decided_in_a_turn_is_true_when_it_is_written() {
    let (_temporary, path) = place();
    std::thread::scope(|scope| {
        for serial in 0..8u8 {
            let path = &path;
            scope.spawn(move || {
                let mut registry = Registry::open(path).unwrap();
                let mut turn = registry.turn().unwrap();
                if turn.active().count() < 3 {
                    turn.append(&[Event::Registered(identity(&format!("dev-{serial}"), serial))]).unwrap();
                }
            });
        }
    });
    assert_eq!(Registry::open(&path).unwrap().active().count(), 3);
}

#[test]
fn a_line_that_was_altered_is_named_and_the_file_left_as_it_is() {
    let (_temporary, path) = place();
    let mut registry = Registry::open(&path).unwrap();
    registry
        .append(&[Event::Registered(identity("dev-1", 1)), Event::Registered(identity("dev-2", 2))])
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in
        [("registered", "unheard"), ("dev-1", "a/b"), ("\"key_id\":\"", "\"key_id\":\"00"), ("20", "?")]
    {
        let altered = text.replacen(from, to, 1);
        fs::write(&path, &altered).unwrap();
        assert!(matches!(Registry::open(&path), Err(RegistryError::Line(_, 1, _))), "{from}");
    }
    fs::write(&path, "").unwrap();
    assert!(matches!(registry.refresh(), Err(RegistryError::Shrunk(_))));
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let (_temporary, path) = place();
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                let mut registry = Registry::open(path).unwrap();
                for number in 0..10u8 {
                    let id = format!("dev-{writer}-{number}");
                    registry.append(&[Event::Registered(identity(&id, number))]).unwrap();
                }
            });
        }
    });
    assert_eq!(Registry::open(&path).unwrap().devices().count(), 40);
}
