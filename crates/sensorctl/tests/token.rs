//! Keys in a PKCS#11 token (`SoftHSM2`): no private key ever lies in a file, and everything that is signed verifies.

mod fake;

use fake::Fake;
use protocol::document::Power;
use sensorctl::powers;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// No hexadecimal: no digest looks like it by chance.
const PIN: &str = "only-for-tests";
const NEEDED: &str = "SoftHSM2 is needed: apt-get install softhsm2";

/// A module with a token of its own.
struct Token {
    folder: TempDir,
    module: &'static str,
}

impl Token {
    fn new() -> Self {
        let places = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        ];
        let module = places.into_iter().find(|place| Path::new(place).exists()).expect(NEEDED);
        let token = Self { folder: tempfile::tempdir().unwrap(), module };
        std::fs::create_dir(token.path("tokens")).unwrap();
        let configuration = format!("directories.tokendir = {}\n", token.path("tokens").display());
        std::fs::write(token.path("softhsm2.conf"), configuration).unwrap();
        for label in ["factory", "other"] {
            let made = Command::new("softhsm2-util")
                .args(["--init-token", "--free", "--label", label, "--so-pin", "1234567", "--pin", PIN])
                .env("SOFTHSM2_CONF", token.path("softhsm2.conf"))
                .output()
                .expect(NEEDED);
            assert!(made.status.success(), "{made:?}");
        }
        token
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
        command.args(arguments).env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command.env("SENSORCTL_PIN", PIN).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str], text: &str) {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(1), "{stderr}");
    }

    /// No file in the folder holds a private key.
    fn assert_no_private_key(&self, name: &str) {
        for entry in std::fs::read_dir(self.path(name)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("PRIVATE KEY") && !text.contains(PIN), "{}", path.display());
        }
    }
}

#[test]
fn a_device_is_provisioned_by_an_authority_and_a_factory_whose_keys_are_in_a_token() {
    let token = Token::new();
    let (ca, powers) = (token.text("ca"), token.text("powers"));
    let place = ["--pkcs11", token.module, "--token", "factory"];
    let said = token.done(&[&["authority", "init", "--out", &powers], &place[..]].concat());
    let factory = powers::public(&token.path("powers"), Power::Factory).unwrap();
    assert!(said.contains(&factory.id().to_string()), "{said}");
    token.assert_no_private_key("powers");
    token.done(&[&["ca", "init", "--out", &ca], &place[..]].concat());
    assert!(!token.path("ca/ca.key").exists() && token.path("ca/ca.pkcs11.json").exists());

    let fake = Fake::new(factory);
    fake.listen(&token.path("line"));
    let (line, registry) = (format!("unix:{}", token.text("line")), token.text("registry.jsonl"));
    let provision = [
        "provision",
        "--ca",
        &ca,
        "--authority",
        &powers,
        "--registry",
        &registry,
        "--line",
        &line,
        "--id",
        "dev-1",
        "--host",
        "localhost",
    ];
    // The device checks the signature of the document and of the certificate.
    token.done(&provision);
    assert_eq!(fake.memory.lock().unwrap().life.as_ref().unwrap().0.as_str(), "dev-1");
    // The list of revoked certificates is signed there too.
    token.done(&["revoke", "--ca", &ca, "--registry", &registry, "--id", "dev-1"]);
    let list = std::fs::read_to_string(token.path("ca/ca.crl")).unwrap();
    assert!(list.contains("BEGIN X509 CRL"));

    let again = token.text("again");
    let other = [&["authority", "init", "--out", &again], &place[..]].concat();
    token.refused(&other, "has a key \"sensor-firmware\" already");
    token.done(&[&other[..], &["--use-existing"]].concat());
    assert_eq!(powers::public(&token.path("again"), Power::Factory).unwrap(), factory);
    token.done(
        &[&["authority", "init", "--out", &token.text("third"), "--key-prefix", "x"], &place[..]].concat(),
    );
    assert_ne!(powers::public(&token.path("third"), Power::Factory).unwrap(), factory);
}

#[test]
fn an_image_and_its_manifest_are_signed_in_a_token() {
    let token = Token::new();
    let (powers, image) = (token.text("powers"), token.text("image"));
    let place = ["--pkcs11", token.module, "--token", "factory"];
    token.done(&[&["authority", "init", "--out", &powers], &place[..]].concat());
    token.done(&[&["firmware", "key", "--out", &image], &place[..]].concat());
    token.assert_no_private_key("image");
    assert!(!token.path("image/image.key").exists() && token.path("image/image.pkcs11.json").exists());
    std::fs::write(token.path("body"), [7; 5_000]).unwrap();
    let (body, file, release) = (token.text("body"), token.text("new.bin"), token.text("release"));
    let public = token.text("image/image.pub");
    for key in [&image, &token.text("image/image.pkcs11.json")] {
        token.done(&[
            "firmware",
            "image",
            "--body",
            &body,
            "--version",
            "1.0.0",
            "--key",
            key,
            "--out",
            &file,
        ]);
    }
    let sign = ["firmware", "sign", "--image", &file, "--authority", &powers, "--image-key", &public];
    token.done(&[&sign[..], &["--out", &release]].concat());
    token.done(&[
        "firmware",
        "verify",
        "--release",
        &release,
        "--authority",
        &powers,
        "--image-key",
        &public,
    ]);
    // Without the token there is no release, and no number is used.
    let numbers = std::fs::read(token.path("powers/numbers.json")).unwrap();
    let other = token.text("other");
    let unlocked = [&sign[..], &["--out", &other]].concat();
    let output = token.command(&unlocked).env("SENSORCTL_PIN", "0000").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("refuses the PIN"), "{output:?}");
    assert!(!token.path("other").exists());
    assert_eq!(std::fs::read(token.path("powers/numbers.json")).unwrap(), numbers);
}

#[test]
fn what_is_wrong_with_a_token_is_told() {
    let token = Token::new();
    let out = token.text("powers");
    let init = |module: &str, label: &str| {
        ["authority", "init", "--out", &out, "--pkcs11", module, "--token", label].map(str::to_owned)
    };
    let refused = |arguments: &[String], text| {
        token.refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), text);
        assert!(!token.path("powers").exists());
    };
    refused(&init("/nonexistent.so", "factory"), "cannot be used as a PKCS#11 module");
    refused(&init(token.module, "missing"), "no token has the label \"missing\"; there is ");
    let arguments = init(token.module, "factory");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = token.command(&arguments).env("SENSORCTL_PIN", "0000").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("refuses the PIN"));
    let output = token.command(&arguments).env_remove("SENSORCTL_PIN").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("set SENSORCTL_PIN"), "{output:?}");
    // Nobody can give the PIN where other processes would see it.
    let output = token.run(&[&arguments[..], &["--pin", PIN]].concat());
    assert_eq!(output.status.code(), Some(2));

    token.done(&arguments);
    let place = token.path("powers/factory.pkcs11.json");
    let text = std::fs::read_to_string(&place).unwrap();
    std::fs::write(&place, text.replace("sensor-factory", "sensor-anchors")).unwrap();
    let (ca, registry) = (token.text("ca"), token.text("registry.jsonl"));
    token.done(&["ca", "init", "--out", &ca]);
    token.refused(
        &[
            "provision",
            "--ca",
            &ca,
            "--authority",
            &out,
            "--registry",
            &registry,
            "--line",
            "unix:none",
            "--id",
            "dev-1",
            "--host",
            "localhost",
        ],
        "is another one than when it was made",
    );
}
