//! Firmware from a body to a fleet: images, releases and everything that is refused about them, as a person calls the program.
//! What brokers have to do with it is in `rollout.rs`.

#[path = "firmware/bench.rs"]
mod bench;

use bench::{Bench, body};
use protocol::blocks::{BLOCK_BYTES, PayloadUri};
use protocol::document::Power;
use protocol::image::Version;
use protocol::suit::Envelope;
use sensorctl::firmware::image::ImageFile;
use sensorctl::firmware::manifest::hex;
use sensorctl::powers;
use serde_json::Value;
use std::path::Path;

#[test]
fn an_image_is_what_mcuboot_boots_and_names_vendor_class_and_version() {
    let bench = Bench::new();
    bench.image("1.2.3+4", &body(5_000, 1), "a.bin");
    let image = ImageFile::read(&bench.path("a.bin")).unwrap();
    assert_eq!(image.version(), Version { major: 1, minor: 2, revision: 3, build: 4 });
    assert_eq!(image.version().to_string(), "1.2.3+4");
    let product =
        sensorctl::firmware::product::Product::new("sensor.example", "secure-sensor", "linux").unwrap();
    image.check_product(&product).unwrap();
    image.check_key(&bench.image_key()).unwrap();
    assert!(image.check_key(&powers::public(&bench.path("powers"), Power::Firmware).unwrap()).is_err());
    // The body stands where the header says, as it was.
    assert_eq!(image.bytes()[512..512 + 5_000], body(5_000, 1));
    // The same again, over the old file; and smaller headers.
    bench.done(&[
        "firmware",
        "image",
        "--body",
        "body",
        "--version",
        "2.0.0",
        "--key",
        "image/image.key",
        "--out",
        "a.bin",
        "--header-bytes",
        "32",
        "--security-counter",
        "7",
    ]);
    let image = ImageFile::read(&bench.path("a.bin")).unwrap();
    assert_eq!((image.version().major, image.image().tlvs.security_counter), (2, Some(7)));
}

#[test]
fn bad_arguments_for_an_image_are_refused_and_nothing_is_written() {
    let bench = Bench::new();
    std::fs::write(bench.path("body"), body(100, 1)).unwrap();
    std::fs::write(bench.path("empty"), "").unwrap();
    let refused = |arguments: &[&str], code, text: &str| {
        let image = ["firmware", "image", "--out", "a.bin"];
        bench.refused(&[&image[..], arguments].concat(), code, text);
        assert!(!bench.path("a.bin").exists());
    };
    let good = ["--body", "body", "--key", "image"];
    refused(&[&good[..], &["--version", "1.2"]].concat(), 2, "a version is written 1.2.3");
    refused(&[&good[..], &["--version", "256.0.0"]].concat(), 2, "a version is written 1.2.3");
    refused(&[&good[..], &["--version", "1.0.0", "--board", "a b"]].concat(), 2, "\"a b\" is no board");
    refused(&[&good[..], &["--version", "1.0.0", "--header-bytes", "31"]].concat(), 2, "31 is not in 32..");
    refused(&["--body", "empty", "--key", "image", "--version", "1.0.0"], 1, "the body is empty");
    refused(&["--body", "missing", "--key", "image", "--version", "1.0.0"], 1, "cannot read missing");
    refused(
        &["--body", "body", "--key", "powers", "--version", "1.0.0"],
        1,
        "neither image.key nor image.pkcs11.json",
    );
    let no_key = ["--body", "body", "--key", "body", "--version", "1.0.0"];
    refused(&no_key, 1, "others than its owner may use the file");
    std::fs::set_permissions(bench.path("body"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    refused(&no_key, 1, "cannot");
    bench.refused(
        &["firmware", "key", "--out", "image"],
        1,
        "exists and is not empty; nothing in it was changed",
    );
}

#[test]
fn a_release_holds_what_a_device_needs_and_verifies() {
    let bench = Bench::new();
    let new = bench.image("1.1.0", &body(100_000, 2), "new.bin");
    let said = bench.done(&[
        "firmware",
        "sign",
        "--image",
        "new.bin",
        "--authority",
        "powers",
        "--out",
        "release",
        "--image-key",
        "image/image.pub",
        "--capacity",
        "200000",
        "--use-before",
        "2036-01-31",
        "--description",
        "Less noise at night",
        "--sbom",
        "https://sensor.example/1.1.0.spdx.json",
        "--mud",
        "https://sensor.example/mud.json",
    ]);
    assert!(said.contains("1.1.0 for class") && !said.contains("not checked"), "{said}");
    let key = powers::public(&bench.path("powers"), Power::Firmware).unwrap();
    let envelope = std::fs::read(bench.path("release/manifest.suit")).unwrap();
    let manifest = Envelope::decode(&envelope).unwrap().verify(&key).unwrap();
    assert_eq!((manifest.image.digest, manifest.image.size as usize), (new.digest(), new.bytes().len()));
    assert_eq!((manifest.version, manifest.use_before_s), (Some(Version::new(1, 1, 0)), Some(2_085_350_400)));
    assert_eq!(manifest.description, Some("Less noise at night"));
    assert_eq!(
        manifest.mud.map(|mud| (mud.url, mud.signer)),
        Some(("https://sensor.example/mud.json", key.id()))
    );
    let uri = PayloadUri::decode(manifest.sources[0].uri).unwrap();
    assert_eq!((uri.size as usize, manifest.sources.len()), (new.bytes().len(), 1));
    assert_eq!(std::fs::read(bench.path("release/image.bin")).unwrap(), new.bytes());

    let shown = bench.done(&["firmware", "inspect", "--release", "release", "--authority", "powers"]);
    for text in [
        "version      1.1.0",
        "Less noise at night",
        "https://sensor.example/1.1.0.spdx.json",
        "use before   2036-01-31",
        "checked      50 blocks",
        "not its signature (--image-key)",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let shown = bench.done(&[
        "firmware",
        "verify",
        "--release",
        "release",
        "--authority",
        "powers",
        "--image-key",
        "image/image.pub",
        "--json",
    ]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let written: Value =
        serde_json::from_slice(&std::fs::read(bench.path("release/release.json")).unwrap()).unwrap();
    assert_eq!(shown["payloads"], written["payloads"]);
    assert_eq!(
        written["payloads"][0]["blocks"].as_u64().unwrap() as usize,
        new.bytes().len().div_ceil(BLOCK_BYTES)
    );
    assert_eq!(shown["image"]["digest"], hex(&new.digest()));
    assert_eq!(shown["sequence"], manifest.sequence);
}

#[test]
fn deltas_are_made_where_they_are_worth_it_and_give_the_image() {
    let bench = Bench::new();
    let old = bench.image("1.0.0", &body(60_000, 1), "old.bin");
    let strange: Vec<u8> =
        body(60_000, 1).iter().zip(body(120_000, 9).iter().skip(60_000)).map(|(a, b)| a ^ b).collect();
    bench.image("0.9.0", &strange, "strange.bin");
    bench.image("1.1.0", &body(60_000, 2), "new.bin");
    let said = bench.sign("new.bin", "release", &["--base", "old.bin", "--base", "strange.bin"]);
    assert!(said.contains("delta against 1.0.0") && said.contains("delta against 0.9.0"), "{said}");
    assert!(said.contains("not worth it, left out"), "{said}");
    let delta = sensorctl::firmware::release::delta_file(&old);
    let bytes = std::fs::metadata(bench.path("release").join(&delta)).unwrap().len();
    assert!(bytes < 2_000, "{bytes} bytes for 61 changed ones");
    let verify = ["firmware", "verify", "--release", "release", "--authority", "powers"];
    let shown = bench.done(&[&verify[..], &["--base", "old.bin"]].concat());
    assert!(shown.contains("delta against 1.0.0 gives the image") && shown.contains(&delta), "{shown}");
    bench.refused(
        &[&verify[..], &["--base", "strange.bin"]].concat(),
        1,
        "the release has no delta against strange.bin",
    );
    // The delta is preferred, and the whole image is there for all others.
    let key = powers::public(&bench.path("powers"), Power::Firmware).unwrap();
    let envelope = std::fs::read(bench.path("release/manifest.suit")).unwrap();
    let manifest = Envelope::decode(&envelope).unwrap().verify(&key).unwrap();
    let bases: Vec<_> = manifest.sources.iter().map(|source| source.base).collect();
    assert_eq!(bases, [Some(old.digest()), None]);
}

#[test]
fn sequence_numbers_grow_with_every_release_and_are_refused_where_they_do_not() {
    let bench = Bench::new();
    bench.image("1.1.0", &body(3_000, 2), "new.bin");
    let sign = |out: &str, more: &[&str]| {
        let sign = ["firmware", "sign", "--image", "new.bin", "--authority", "powers", "--out"];
        bench.output(&[&sign[..], &[out], more].concat())
    };
    let sequence = |out: &str| {
        let text = std::fs::read(bench.path(out).join("release.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["sequence"].as_u64().unwrap()
    };
    assert!(sign("a", &[]).status.success() && sign("b", &[]).status.success());
    assert!(sequence("a") > 1_700_000_000, "seconds since 1970");
    assert!(sequence("b") > sequence("a"), "also within a second");
    let far = (sequence("b") + 1_000_000).to_string();
    assert!(sign("c", &["--sequence", &far]).status.success());
    assert!(sign("d", &[]).status.success());
    assert_eq!(sequence("d"), sequence("c") + 1);
    let old = sign("e", &["--sequence", &far]);
    let why = String::from_utf8_lossy(&old.stderr);
    assert!(why.contains("devices take only a higher one") && !bench.path("e").exists(), "{why}");
    // Numbers of another class are its own.
    bench.done(&[
        "firmware",
        "image",
        "--body",
        "body",
        "--version",
        "1.1.0",
        "--key",
        "image",
        "--out",
        "other.bin",
        "--board",
        "x",
    ]);
    bench.done(&[
        "firmware",
        "sign",
        "--image",
        "other.bin",
        "--authority",
        "powers",
        "--out",
        "f",
        "--board",
        "x",
        "--sequence",
        "5",
    ]);
    assert_eq!(sequence("f"), 5);
}

#[test]
fn an_image_that_devices_would_refuse_is_not_signed() {
    let bench = Bench::new();
    let good = bench.image("1.1.0", &body(3_000, 2), "new.bin").bytes().to_vec();
    bench.image("1.0.0", &body(3_000, 1), "old.bin");
    bench.done(&["firmware", "key", "--out", "other"]);
    let refused = |more: &[&str], code, text: &str| {
        let sign = ["firmware", "sign", "--authority", "powers", "--out", "release"];
        bench.refused(&[&sign[..], more].concat(), code, text);
        assert!(!bench.path("release").exists());
    };
    let case = |name: &str, bytes: Vec<u8>, text: &str| {
        std::fs::write(bench.path(name), bytes).unwrap();
        refused(&["--image", name], 1, text);
    };
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    case("magic", changed(0), "a device would refuse it: the image has no valid header");
    case("body-changed", changed(1_000), "the image's content is not the one whose hash it carries");
    case("version-changed", changed(20), "the image's content is not the one whose hash it carries");
    case("short", good[..good.len() - 1].to_vec(), "the image is shorter than its header says");
    case("head", good[..20].to_vec(), "the image is shorter than its header says");
    case("nothing", vec![], "the image is shorter than its header says");
    case("padded", [&good[..], &[0xff; 64]].concat(), "64 bytes follow the image: sign it without --pad");
    // Its last byte is the signature's: only a key tells.
    std::fs::write(bench.path("forged"), changed(good.len() - 1)).unwrap();
    refused(&["--image", "forged", "--image-key", "image/image.pub"], 1, "the image's signature is wrong");
    refused(
        &["--image", "new.bin", "--image-key", "other/image.pub"],
        1,
        "signed with another key than the bootloader's",
    );
    refused(&["--image", "new.bin", "--board", "mps2/an385"], 1, "the image is for the class");
    refused(&["--image", "new.bin", "--vendor-domain", "other.example"], 1, "the image is for the vendor");
    refused(&["--image", "new.bin", "--capacity", "3000"], 1, "a device would refuse it as too large");
    refused(&["--image", "new.bin", "--base", "new.bin"], 1, "no device that runs it would take the image");
    refused(&["--image", "old.bin", "--base", "new.bin"], 1, "has version 1.1.0, and the image 1.0.0");
    refused(
        &["--image", "new.bin", "--base", "old.bin", "--base", "old.bin"],
        2,
        "the same image as another --base",
    );
    refused(
        &[
            "--image", "new.bin", "--base", "old.bin", "--base", "old.bin", "--base", "old.bin", "--base",
            "old.bin",
        ],
        2,
        "a manifest can name 3",
    );
    refused(&["--image", "new.bin", "--use-before", "2020-01-01"], 2, "--use-before is over");
    refused(&["--image", "new.bin", "--use-before", "soon"], 2, "is no date");
    refused(&["--image", "new.bin", "--sequence", "0"], 2, "0 is not in 1..");
    refused(&["--image", "new.bin", "--sbom", "no address"], 2, "is no URI");
    refused(&["--image", "new.bin", "--description", &"x".repeat(4_000)], 2, "shorten the description");
    refused(&["--image", "new.bin", "--keep-below", "101"], 2, "101 is not in 1..=100");
}

#[test]
fn a_release_that_was_changed_is_refused_by_name() {
    let bench = Bench::new();
    bench.image("1.1.0", &body(9_000, 2), "new.bin");
    bench.sign("new.bin", "release", &[]);
    let refused = |text: &str| {
        bench.refused(&["firmware", "verify", "--release", "release", "--authority", "powers"], 1, text);
    };
    let change = |name: &str, at: usize, text: &str| {
        let path = bench.path("release").join(name);
        let before = std::fs::read(&path).unwrap();
        let mut bytes = before.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        refused(text);
        std::fs::write(&path, before).unwrap();
    };
    let len = std::fs::metadata(bench.path("release/manifest.suit")).unwrap().len() as usize;
    change("image.bin", 5_000, "image.bin is none of the payloads that the manifest beside it names");
    for at in [0, len / 2, len - 1] {
        change("manifest.suit", at, "a device would refuse it");
    }
    std::fs::write(bench.path("release/more.bin"), "rubbish").unwrap();
    refused("more.bin is none of the payloads");
    std::fs::remove_file(bench.path("release/more.bin")).unwrap();
    std::fs::rename(bench.path("release/image.bin"), bench.path("release/other.bin")).unwrap();
    bench.done(&["firmware", "verify", "--release", "release", "--authority", "powers"]);
    std::fs::remove_file(bench.path("release/other.bin")).unwrap();
    refused("has no file that is firmware/");
    bench.done(&["authority", "init", "--out", "powers-2"]);
    bench.refused(
        &["firmware", "verify", "--release", "release", "--authority", "powers-2"],
        1,
        "give the folder of the authority",
    );
    bench.refused(
        &["firmware", "verify", "--release", "nowhere", "--authority", "powers"],
        1,
        "cannot read nowhere/manifest.suit",
    );
    // A release that exists is not touched.
    bench.refused(
        &["firmware", "sign", "--image", "new.bin", "--authority", "powers", "--out", "release"],
        1,
        "exists and is not empty; nothing in it was changed",
    );
}

#[test]
fn help_is_there_for_everything() {
    let bench = Bench::new();
    for action in ["key", "image", "sign", "verify", "publish", "status", "withdraw"] {
        assert!(bench.done(&["firmware", action, "--help"]).len() > 200, "{action}");
        assert_eq!(bench.output(&["firmware", action]).status.code(), Some(2));
    }
    let publish = ["firmware", "publish", "--release", "r", "--authority", "a"];
    let refused = |more: &[&str], text: &str| bench.refused(&[&publish[..], more].concat(), 2, text);
    refused(&["--share", "10,5"], "each share must be larger than the one before");
    refused(&["--share", "0"], "is no share");
    refused(&["--wait", "soon"], "is no duration");
    refused(&["--for", "device"], "a roll-out is for many");
    refused(&["--stop-on-failures", "101"], "101 is not in 0..=100");
    assert!(Path::new(env!("CARGO_BIN_EXE_sensorctl")).exists());
}
