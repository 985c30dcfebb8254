use super::*;
use std::fs::{self, OpenOptions};
use std::io::Write;

const OURS: &str = concat!(
    "041e18532fd4754c02f3041d9c75ceb33b83ffd81ac7ce4fe882ccb1c98bc5896e",
    "a46c311c4e2ff40dd96a3653e6e45445d32dfe486eced75c7a90c6a18881c0a3"
);

fn text(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn ours() -> PublicKey {
    PublicKey::new(&hex::<serde_json::Error, 65>(OURS).unwrap()).unwrap()
}

fn registered(id: &str, key: &PublicKey) -> String {
    let (identity, key_id) = (text(key.as_bytes()), text(&key.id().0));
    format!(
        r#"{{"at":"2026-11-21T12:00:00Z","event":"registered","id":"{id}","identity":"{identity}","key_id":"{key_id}","tls":"","serial":"01"}}"#
    ) + "\n"
}

fn revoked(key: &PublicKey) -> String {
    format!(r#"{{"event":"revoked","id":"dev-1","key_id":"{}","serial":"01"}}"#, text(&key.id().0)) + "\n"
}

struct Ledger {
    folder: tempfile::TempDir,
}

impl Ledger {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("registry.jsonl")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn open(&self) -> Registry {
        Registry::open(self.path()).unwrap()
    }
}

fn dev_1() -> DeviceId {
    DeviceId::new("dev-1").unwrap()
}

#[test]
fn a_key_is_valid_from_its_line_on_and_until_it_is_revoked() {
    let ledger = Ledger::new();
    let mut registry = ledger.open();
    assert_eq!(registry.keys(&dev_1()).unwrap(), []);
    ledger.append(&registered("dev-1", &ours()));
    assert_eq!(registry.keys(&dev_1()).unwrap(), [ours()]);
    assert_eq!(registry.keys(&DeviceId::new("dev-2").unwrap()).unwrap(), []);
    ledger.append(&revoked(&ours()));
    assert_eq!(registry.keys(&dev_1()).unwrap(), []);
    // Registered again by mistake: revoked is for ever.
    ledger.append(&registered("dev-1", &ours()));
    assert_eq!(registry.keys(&dev_1()).unwrap(), []);
    assert_eq!(ledger.open().keys(&dev_1()).unwrap(), []);
}

#[test]
fn a_line_counts_once_it_is_whole() {
    let ledger = Ledger::new();
    let line = registered("dev-1", &ours());
    let mut registry = ledger.open();
    for (part, keys) in [(&line[..40], 0), (&line[40..line.len() - 1], 0), ("\n", 1)] {
        ledger.append(part);
        assert_eq!(registry.keys(&dev_1()).unwrap().len(), keys);
    }
}

#[test]
fn a_line_that_cannot_be_read_closes_the_door_until_it_is_mended() {
    let good = registered("dev-1", &ours());
    for bad in [
        "nonsense\n".to_owned(),
        good.replace("registered", "suspended"),
        good.replace("dev-1", "a/b"),
        good.replace("041e18", "041e19"),
        good.replace("041e18", "1e18"),
        good.replace("\"key_id\":\"", "\"key_id\":\"00"),
        good.replace(&text(&ours().id().0), &"0".repeat(64)),
    ] {
        let ledger = Ledger::new();
        ledger.append(&good);
        let mut registry = ledger.open();
        ledger.append(&bad);
        for _ in 0..2 {
            let error = registry.keys(&dev_1()).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
        assert!(Registry::open(ledger.path()).is_err());
        fs::write(ledger.path(), &good).unwrap();
        assert_eq!(registry.keys(&dev_1()).unwrap(), [ours()]);
    }
}

#[test]
fn another_file_in_its_place_is_read_anew() {
    let ledger = Ledger::new();
    ledger.append(&registered("dev-1", &ours()));
    let mut registry = ledger.open();
    let other = ledger.folder.path().join("other");
    fs::write(&other, registered("dev-2", &ours())).unwrap();
    fs::rename(&other, ledger.path()).unwrap();
    assert_eq!(registry.keys(&dev_1()).unwrap(), []);
    assert_eq!(registry.keys(&DeviceId::new("dev-2").unwrap()).unwrap(), [ours()]);
    fs::remove_file(ledger.path()).unwrap();
    assert_eq!(registry.keys(&DeviceId::new("dev-2").unwrap()).unwrap(), []);
}
