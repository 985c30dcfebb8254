//! Commands that read a file, decide and write, many at once: nothing that one of them has done is lost.

use protocol::{DeviceId, PublicKey};
use sensorctl::authority::crl::Written;
use sensorctl::authority::{self, Authority};
use sensorctl::powers;
use sensorctl::registry::{Event, Identity, Registry};
use sensorctl::signer::{Home, random};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// So many at once.
const MANY: usize = 8;
/// So often.
const ROUNDS: usize = 8;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        authority::init(&place.path("ca"), &["localhost".into()], 1).unwrap();
        powers::init(&place.path("powers"), &Home::Files).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs all of them at once.
    fn at_once(&self, commands: &[Vec<String>]) -> Vec<Output> {
        let spawn = |arguments: &Vec<String>| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
            command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = commands.iter().map(spawn).collect();
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
    }

    fn all_done(&self, commands: &[Vec<String>]) {
        for output in self.at_once(commands) {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    fn registry(&self) -> Registry {
        Registry::open(&self.path("registry.jsonl")).unwrap()
    }

    fn register(&self, id: &str) {
        let id: DeviceId = id.parse().unwrap();
        let key = || {
            let mut scalar = [1; 32];
            random(&mut scalar[1..]).unwrap();
            let key = p256::SecretKey::from_slice(&scalar).unwrap();
            PublicKey::new(&key.public_key().to_sec1_bytes()).unwrap()
        };
        let (key, tls) = (key(), key());
        let issued = Authority::open(&self.path("ca")).unwrap().issue_device(&id, &tls, 1).unwrap();
        let certificate = issued.fingerprint();
        let (serial, until) = (issued.serial, issued.until);
        let identity = Identity { id, key, tls, certificate, serial, until };
        self.registry().append(&[Event::Registered(identity)]).unwrap();
    }
}

fn command(arguments: &[&str]) -> Vec<String> {
    arguments.iter().copied().map(str::to_owned).collect()
}

#[test]
fn of_many_revocations_at_once_none_is_lost_from_the_newest_list() {
    let place = Place::new();
    let revoke = ["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--crl", "all.crl", "--id"];
    for round in 0..ROUNDS {
        let ids: Vec<String> = (0..MANY).map(|number| format!("dev-{round}-{number}")).collect();
        for id in &ids {
            place.register(id);
        }
        let commands: Vec<_> = ids.iter().map(|id| command(&[&revoke[..], &[id]].concat())).collect();
        place.all_done(&commands);
        let registry = place.registry();
        assert_eq!(registry.active().count(), 0);
        let revoked: BTreeSet<Vec<u8>> = registry
            .devices()
            .flat_map(|(_, records)| records)
            .map(|record| record.identity.serial.clone())
            .collect();
        assert_eq!(revoked.len(), MANY * (round + 1));
        for list in ["ca/ca.crl", "all.crl"] {
            let written = Written::read(&place.path(list)).unwrap();
            assert_eq!(written.serials, revoked, "round {round}: {list}");
            assert_eq!(written.number as usize, MANY * (round + 1), "every list has a number of its own");
        }
    }
}

#[test]
fn of_many_documents_at_once_each_has_a_number_of_its_own() {
    let place = Place::new();
    for round in 0..2 {
        let sign = |number| {
            let out = format!("{round}-{number}.cose");
            let out = ["--for", "all", "--authority", "powers", "--out", &out];
            command(&[&["document", "roots", "--root", "ca/ca.crt"], &out[..]].concat())
        };
        let outputs = place.at_once(&(0..MANY).map(sign).collect::<Vec<_>>());
        let said: BTreeSet<String> =
            outputs.into_iter().map(|output| String::from_utf8(output.stdout).unwrap()).collect();
        let number = |said: &String| said.split(' ').nth(2)?.strip_suffix(',')?.parse().ok();
        let numbers: BTreeSet<usize> = said.iter().filter_map(number).collect();
        assert_eq!(numbers, (MANY * round + 1..=MANY * (round + 1)).collect(), "{said:?}");
    }
}

#[test]
fn of_many_edits_of_a_change_at_once_none_is_lost() {
    let place = Place::new();
    let fields = ["port=8884", "keep_alive_s=61", "sample_period_ms=9999", "report_period_ms=59999"];
    for round in 0..ROUNDS {
        let file = format!("{round}.toml");
        place.all_done(&[command(&["config", "new", "--group", "hall-7", "--out", &file])]);
        place.all_done(&fields.map(|field| command(&["config", "set", &file, field])));
        let text = std::fs::read_to_string(place.path(&file)).unwrap();
        for field in fields {
            let (name, value) = field.split_once('=').unwrap();
            assert!(text.contains(&format!("{name} = {value}\n")), "round {round}: {field} is lost: {text}");
        }
    }
}

#[test]
fn a_new_file_or_folder_is_made_by_one_of_many_and_left_as_it_is_by_the_others() {
    let place = Place::new();
    for commands in [
        (0..MANY)
            .map(|number| {
                let period = format!("sample_period_ms={}", 5_000 + number);
                command(&["config", "new", "--group", "hall-7", "--out", "change.toml", &period])
            })
            .collect::<Vec<_>>(),
        vec![command(&["authority", "init", "--out", "keys"]); MANY],
        vec![command(&["ca", "init", "--out", "authority"]); MANY],
    ] {
        let outputs = place.at_once(&commands);
        assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1);
        for output in outputs.iter().filter(|output| !output.status.success()) {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("exist") || stderr.contains("already"), "{stderr}");
        }
    }
    let hidden = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains("partial");
    let left = std::fs::read_dir(place.0.path()).unwrap().map(Result::unwrap).filter(hidden).count();
    assert_eq!(left, 0, "nothing is left of the others");
}
