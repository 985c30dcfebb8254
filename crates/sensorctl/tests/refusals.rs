//! The program as a person calls it: every bad argument is refused by name, with a non-zero exit, and nothing is lost.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn sensorctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sensorctl")).args(arguments).output().expect("the program starts")
}

/// Refused with this exit code and this text on stderr, and nothing on stdout.
fn refused(arguments: &[&str], code: i32, text: &str) {
    let output = sensorctl(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {stderr}");
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        let made = sensorctl(&["ca", "init", "--out", &place.text("ca")]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// `device enrol` with these arguments changed or added.
    fn enrol(&self, changed: &[(&str, &str)]) -> Vec<String> {
        let (ca, out) = (self.text("ca"), self.text("dev-1"));
        let mut arguments =
            vec![("--ca", ca.as_str()), ("--id", "dev-1"), ("--host", "localhost"), ("--out", &out)];
        for (name, value) in changed {
            match arguments.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = value,
                None => arguments.push((name, value)),
            }
        }
        let pairs =
            arguments.iter().flat_map(|(name, value)| [*name, *value]).filter(|text| !text.is_empty());
        ["device", "enrol"].into_iter().chain(pairs).map(str::to_owned).collect()
    }
}

fn enrol_is_refused(changed: &[(&str, &str)], code: i32, text: &str) {
    let place = Place::new();
    let arguments = place.enrol(changed);
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code, text);
    assert!(!Path::new(&place.text("dev-1")).exists());
}

#[test]
fn a_bad_id_is_refused() {
    enrol_is_refused(&[("--id", "a/b")], 2, "a device id has only A-Z a-z 0-9 - _; character 2 is another");
    enrol_is_refused(&[("--id", &"x".repeat(33))], 2, "a device id has at most 32 characters");
}

#[test]
fn a_bad_host_is_refused() {
    enrol_is_refused(
        &[("--host", "my host")],
        2,
        "host has a character other than letters, digits, '-' and '.'",
    );
}

#[test]
fn port_0_is_refused() {
    enrol_is_refused(&[("--port", "0")], 2, "port is 0; it must be from 1 to 65535");
}

#[test]
fn a_bad_time_server_is_refused() {
    enrol_is_refused(&[("--time-server", "a:b")], 2, "time_servers: what follows the ':' must be a port");
    enrol_is_refused(&[("--time-server", "a_b")], 2, "time_servers has a character other than");
}

#[test]
fn a_period_out_of_bounds_is_refused() {
    enrol_is_refused(
        &[("--sample-period-ms", "49")],
        2,
        "sample_period_ms is 49; it must be from 50 to 86400000 ms",
    );
    enrol_is_refused(&[("--report-period-ms", "100")], 2, "report_period_ms is 100; it must not be below");
    enrol_is_refused(&[("--days", "399")], 2, "days is 399; it must be from 1 to 398");
}

#[test]
fn a_missing_authority_is_refused() {
    enrol_is_refused(&[("--ca", "/nonexistent")], 1, "/nonexistent holds no authority");
}

#[test]
fn arguments_that_exclude_each_other_are_refused() {
    enrol_is_refused(&[("--count", "3"), ("--id-prefix", "a")], 2, "cannot be used with");
    let place = Place::new();
    let mut arguments = place.enrol(&[("--count", "3")]);
    arguments.retain(|argument| argument != "--id" && argument != "dev-1");
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 2, "--id-prefix");
}

#[test]
fn an_existing_folder_is_refused_and_kept() {
    let place = Place::new();
    std::fs::create_dir(place.path("dev-1")).expect("made");
    std::fs::write(place.path("dev-1/mine"), "precious").expect("written");
    let arguments = place.enrol(&[]);
    refused(
        &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        1,
        "exists and is not empty; nothing in it was changed",
    );
    assert_eq!(std::fs::read_to_string(place.path("dev-1/mine")).expect("still there"), "precious");
}

#[test]
fn a_second_authority_in_the_same_folder_is_refused() {
    let place = Place::new();
    let key = std::fs::read(place.path("ca/ca.key")).expect("a key");
    refused(
        &["ca", "init", "--out", &place.text("ca")],
        1,
        "already holds an authority; it was left as it is",
    );
    assert_eq!(std::fs::read(place.path("ca/ca.key")).expect("a key"), key);
    refused(&["ca", "init", "--out", &place.text("new"), "--host", "a b"], 2, "\"a b\" is no host name");
}

#[test]
fn an_unreadable_key_is_refused() {
    let place = Place::new();
    std::fs::write(place.path("ca/ca.key"), "rubbish").expect("written");
    let arguments = place.enrol(&[]);
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 1, "ca.key cannot be used");
}

#[test]
fn a_fleet_is_enrolled_without_a_word_where_nobody_looks() {
    let place = Place::new();
    let (ca, out) = (place.text("ca"), place.text("fleet"));
    let output = sensorctl(&[
        "device",
        "enrol",
        "--ca",
        &ca,
        "--host",
        "localhost",
        "--count",
        "3",
        "--id-prefix",
        "dev-",
        "--out",
        &out,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "no progress bar where stderr is no terminal");
}

#[test]
fn help_is_there_for_everything() {
    for arguments in [
        &["--help"][..],
        &["ca", "init", "--help"],
        &["device", "enrol", "--help"],
        &["watch", "--help"],
        &["authority", "init", "--help"],
        &["provision", "--help"],
        &["document", "roots", "--help"],
        &["document", "authority-key", "--help"],
        &["config", "get", "--help"],
        &["config", "set", "--help"],
        &["config", "push", "--help"],
        &["renew", "--help"],
        &["revoke", "--help"],
        &["registry", "list", "--help"],
    ] {
        let output = sensorctl(arguments);
        assert!(output.status.success() && output.stdout.len() > 200, "{arguments:?}");
    }
    for arguments in [
        &[][..],
        &["ca"],
        &["device"],
        &["authority"],
        &["provision"],
        &["document"],
        &["config"],
        &["renew"],
        &["revoke"],
        &["registry"],
    ] {
        assert_eq!(sensorctl(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn bad_arguments_of_a_watch_are_refused() {
    let place = Place::new();
    let ca = place.text("ca");
    let watch =
        |arguments: &[&str], code, text| refused(&[&["watch", "--ca", &ca], arguments].concat(), code, text);
    watch(&["--port", "0"], 2, "0 is not in 1..=65535");
    watch(&["--device", "a/b"], 2, "a device id has only A-Z a-z 0-9 - _");
    watch(&["--seconds", "0"], 2, "0 is not in 1..");
    watch(&["--json", "--plain"], 2, "cannot be used with");
    watch(&["--snapshot", "screen.png"], 2, "screen.png must end in .svg or .txt");
    refused(&["watch"], 2, "Usage: sensorctl watch");
    refused(&["watch", "--ca", "/nonexistent"], 1, "cannot read /nonexistent/ca.crt");
    std::fs::write(place.path("ca/operator.key"), "rubbish").expect("written");
    watch(&[], 1, "operator.key cannot be used: it holds no private key in PEM form");
}

#[test]
fn keys_of_powers_that_exist_are_kept() {
    let place = Place::new();
    let out = place.text("powers");
    assert!(sensorctl(&["authority", "init", "--out", &out]).status.success());
    let key = std::fs::read(place.path("powers/anchors.key")).expect("a key");
    refused(&["authority", "init", "--out", &out], 1, "holds such keys already; they were left as they are");
    assert_eq!(std::fs::read(place.path("powers/anchors.key")).expect("a key"), key);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(place.path("powers/anchors.key")).expect("a key").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    refused(&["authority", "init", "--out", &out, "--token", "a"], 2, "--pkcs11");
    refused(&["authority", "init", "--out", &out, "--use-existing"], 2, "--pkcs11");
}

#[test]
fn bad_arguments_of_the_operators_commands_are_refused() {
    let place = Place::new();
    let (ca, registry) = (place.text("ca"), place.text("registry.jsonl"));
    refused(
        &["registry", "list", "--registry", &registry],
        1,
        "does not exist: `sensorctl provision` begins it",
    );
    refused(
        &["revoke", "--ca", &ca, "--registry", &registry, "--id", "dev-1"],
        1,
        "has never heard of dev-1",
    );
    refused(&["revoke", "--registry", &registry], 2, "--ca is missing");
    let both = ["--keep", "0011223344556677", "--key", "00"];
    refused(
        &[&["revoke", "--ca", &ca, "--registry", &registry, "--id", "a"], &both[..]].concat(),
        2,
        "--key",
    );
    refused(
        &["revoke", "--ca", &ca, "--registry", &registry, "--id", "a", "--keep", "00"],
        2,
        "4 to 64 hexadecimal digits",
    );
    refused(&["renew", "--registry", &registry, "--authority", &ca], 2, "--ca is missing");
    refused(
        &["renew", "--registry", &registry, "--authority", &ca, "--ca", &ca],
        1,
        "holds neither configuration.key nor configuration.pkcs11.json: make the keys with `sensorctl authority init`",
    );
}
