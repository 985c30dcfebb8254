//! Images against imgtool, MCUboot's own tool for them, both ways. The packages come from `cargo xtask test packages`.

#[path = "firmware/bench.rs"]
mod bench;

use bench::{Bench, body};
use std::path::Path;
use std::process::{Command, Output};

/// imgtool, run in the bench's folder.
fn imgtool(bench: &Bench, arguments: &[&str]) -> Output {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let packages = target.join("python");
    assert!(
        packages.join("imgtool").exists(),
        "{} has no imgtool: run `cargo xtask test packages`",
        packages.display()
    );
    let mut python = Command::new("python3");
    python.args(["-c", "from imgtool.main import imgtool; imgtool()"]).args(arguments);
    python.env("PYTHONPATH", &packages).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(bench.path(""));
    python.output().expect("python3 is missing: apt-get install python3")
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn imgtool_verifies_an_image_with_its_key_and_with_no_other() {
    let bench = Bench::new();
    bench.image("1.2.3+4", &body(10_000, 1), "new.bin");
    let good = imgtool(&bench, &["verify", "--key", "image/image.key", "new.bin"]);
    assert!(good.status.success(), "{}", text(&good));
    assert!(text(&good).contains("Image was correctly validated"), "{}", text(&good));
    assert!(text(&good).contains("1.2.3+4"), "{}", text(&good));
    bench.done(&["firmware", "key", "--out", "other"]);
    let other = imgtool(&bench, &["verify", "--key", "other/image.key", "new.bin"]);
    assert!(!other.status.success(), "{}", text(&other));
    let mut bytes = std::fs::read(bench.path("new.bin")).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(bench.path("changed.bin"), bytes).unwrap();
    let changed = imgtool(&bench, &["verify", "--key", "image/image.key", "changed.bin"]);
    assert!(!changed.status.success(), "{}", text(&changed));
}

#[test]
fn what_imgtool_signs_as_zephyr_does_is_released_and_nothing_less() {
    let bench = Bench::new();
    let key = imgtool(&bench, &["keygen", "--type", "ecdsa-p256", "--key", "key.pem"]);
    assert!(key.status.success(), "{}", text(&key));
    // imgtool does not look after that.
    std::fs::set_permissions(bench.path("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let public = imgtool(&bench, &["getpub", "--key", "key.pem", "--encoding", "pem", "--output", "key.pub"]);
    assert!(public.status.success(), "{}", text(&public));
    std::fs::write(bench.path("zephyr.bin"), body(10_000, 1)).unwrap();
    let sign = |out: &str, more: &[&str]| {
        let usual =
            ["sign", "--key", "key.pem", "--version", "1.1.0", "--align", "4", "--header-size", "0x200"];
        let placed = ["--pad-header", "--slot-size", "0x20000"];
        let output = imgtool(&bench, &[&usual[..], &placed, more, &["zephyr.bin", out]].concat());
        assert!(output.status.success(), "{}", text(&output));
    };
    let release = |image: &str, more: &[&str]| {
        let sign =
            ["firmware", "sign", "--authority", "powers", "--image-key", "key.pub", "--board", "mps2/an385"];
        [&sign[..], &["--image", image, "--out", "release"], more]
            .concat()
            .iter()
            .map(|text| (*text).to_owned())
            .collect()
    };
    let refused = |image: &str, reason: &str| {
        let arguments: Vec<String> = release(image, &[]);
        bench.refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 1, reason);
    };
    let named = ["--vid", "sensor.example", "--cid", "secure-sensor mps2/an385"];
    sign("plain.bin", &[]);
    refused("plain.bin", "does not say for which vendor it is");
    sign("vendor.bin", &named[..2]);
    refused("vendor.bin", "does not say for which class it is");
    sign("other.bin", &[&named[..2], &["--cid", "secure-sensor linux"]].concat());
    refused("other.bin", "the image is for the class");
    sign("padded.bin", &[&named[..], &["--pad"]].concat());
    refused("padded.bin", "sign it without --pad");
    sign("good.bin", &named);
    let arguments: Vec<String> = release("good.bin", &[]);
    bench.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    // imgtool's key signs here as well.
    bench.done(&[
        "firmware",
        "image",
        "--body",
        "zephyr.bin",
        "--version",
        "1.0.0",
        "--key",
        "key.pem",
        "--out",
        "ours.bin",
    ]);
    let verified = imgtool(&bench, &["verify", "--key", "key.pem", "ours.bin"]);
    assert!(verified.status.success(), "{}", text(&verified));
}
