//! Images against imgtool, MCUboot's own tool for them, both ways. The packages come from `cargo xtask test packages`.

mod python;
mod samples;

use p256::ecdsa::SigningKey;
use protocol::UpdateFault;
use protocol::image::{Content, Image, Version};
use samples::images::{CLASS, VENDOR, accepted, sealed};
use samples::{key, public};
use serde_json::{Value, json};

const BODY: [u8; 777] = [0xb0; 777];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn from_hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// imgtool, run with these arguments on `input`, with the key `signer` in the file `key.pem`.
fn task(kind: &str, signer: &SigningKey, input: &[u8], arguments: &[&str]) -> Value {
    json!({
        "key": {"kind": kind, "scalar": hex(&signer.to_bytes())}, "input": hex(input), "arguments": arguments,
    })
}

/// The arguments that sign `in.bin`, those in `left_out` left out and those in `added` added.
fn signing<'a>(left_out: &[&str], added: &[&'a str]) -> Vec<&'a str> {
    let usual: [&[&'a str]; 9] = [
        &["--key", "key.pem"],
        &["--align", "4"],
        &["--version", "1.2.3+4"],
        &["--header-size", "0x40"],
        &["--pad-header"],
        &["--slot-size", "0x10000"],
        &["--vid", "76656e646f722d6f662d646576696365"],
        &["--cid", "636c6173732d6f662d64657669636573"],
        &["--security-counter", "7"],
    ];
    let kept = usual.iter().filter(|option| !left_out.contains(&option[0])).copied().flatten().copied();
    ["sign"].into_iter().chain(kept).chain(added.iter().copied()).chain(["in.bin", "out.bin"]).collect()
}

fn imgtool(tasks: &[Value]) -> Vec<Value> {
    let input = tasks.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let answers: Vec<Value> = python::answers("interop/images.py", &input)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect();
    assert_eq!(answers.len(), tasks.len());
    answers
}

#[test]
fn what_imgtool_signs_is_accepted_and_is_what_this_crate_writes_but_for_the_signature() {
    let plain = Content::new(&BODY, Version { major: 1, minor: 2, revision: 3, build: 4 });
    let full = Content {
        vendor: Some(VENDOR),
        class: Some(CLASS),
        security_counter: Some(7),
        header_size: 0x40,
        ..plain
    };
    let class_only = Content { security_counter: None, header_size: 0x200, ..full };
    let cases = [
        (full, signing(&[], &[])),
        (class_only, signing(&["--header-size", "--security-counter"], &["--header-size", "0x200"])),
        (
            plain,
            signing(&["--header-size", "--security-counter", "--vid", "--cid"], &["--header-size", "0x20"]),
        ),
    ];
    // imgtool's signatures are made at random: the forms of many are seen.
    for round in 0..8 {
        let signer = key(round + 1);
        let tasks: Vec<Value> =
            cases.iter().map(|(_, arguments)| task("p256", &signer, &BODY, arguments)).collect();
        for ((content, _), answer) in cases.iter().zip(imgtool(&tasks)) {
            let theirs = from_hex(&answer["output"]);
            let verdict = accepted(&theirs, &public(&signer));
            if content.class.is_some() {
                let header = verdict.expect("genuine").header;
                assert_eq!((header.version, header.version.build), (content.version, 4));
            } else {
                assert_eq!(verdict, Err(UpdateFault::ImageClass));
            }
            let ours = sealed(content, &signer);
            let before_list = Image::decode(&ours).unwrap().hashed_bytes() as usize;
            let before_signature = before_list + 4 + 2 * (4 + 32);
            assert_eq!(theirs[..before_list], ours[..before_list]);
            // The list's size varies with the signature's length.
            assert_eq!(theirs[before_list + 4..before_signature], ours[before_list + 4..before_signature]);
        }
    }
}

#[test]
fn imgtool_verifies_our_images_and_refuses_them_when_altered() {
    let content = Content {
        vendor: Some(VENDOR),
        class: Some(CLASS),
        security_counter: Some(7),
        ..Content::new(&BODY, Version::new(0, 1, 0))
    };
    let image = sealed(&content, &key(1));
    let mut altered = image.clone();
    altered[100] ^= 1;
    let verify = ["verify", "--key", "key.pem", "in.bin"];
    let answers = imgtool(&[
        task("p256", &key(1), &image, &verify),
        task("p256", &key(1), &altered, &verify),
        task("p256", &key(2), &image, &verify),
    ]);
    assert_eq!(answers[0], json!({"output": ""}));
    assert_eq!(answers[1], json!({"error": "1"}));
    assert_eq!(answers[2], json!({"error": "1"}));
}

#[test]
fn what_imgtool_makes_for_other_bootloaders_is_refused_by_name() {
    use UpdateFault::{ImageClass, ImageForm, ImageKey, ImageSignature, ImageSize, ImageUnsigned, Truncated};
    let cases: [(&str, &str, Vec<&str>, &[UpdateFault]); 21] = [
        ("nothing", "p256", signing(&["--key"], &[]), &[ImageUnsigned]),
        ("no class", "p256", signing(&["--cid"], &[]), &[ImageClass]),
        ("no vendor", "p256", signing(&["--vid"], &[]), &[ImageClass]),
        (
            "another class",
            "p256",
            signing(&["--cid"], &["--cid", "636c6173732d6f662d64657669636574"]),
            &[ImageClass],
        ),
        (
            "another vendor",
            "p256",
            signing(&["--vid"], &["--vid", "76656e646f722d6f662d646576696366"]),
            &[ImageClass],
        ),
        ("a class by name", "p256", signing(&["--cid"], &["--cid", "class"]), &[ImageClass]),
        ("a vendor's TLV", "p256", signing(&[], &["--custom-tlv", "0x01a0", "0x00"]), &[ImageForm]),
        ("a dependency", "p256", signing(&[], &["--dependencies", "(1, 1.0.0)"]), &[ImageForm]),
        ("a boot record", "p256", signing(&[], &["--boot-record", "app"]), &[ImageForm]),
        ("the whole public key", "p256", signing(&[], &["--public-key-format", "full"]), &[ImageForm]),
        ("a padded signature", "p256", signing(&[], &["--pad-sig"]), &[ImageSignature]),
        ("a trailer", "p256", signing(&[], &["--pad"]), &[ImageSize]),
        ("a confirmed trailer", "p256", signing(&[], &["--confirm"]), &[ImageSize]),
        ("a load address", "p256", signing(&[], &["--load-addr", "0x20000000"]), &[ImageForm]),
        ("a fixed address", "p256", signing(&[], &["--rom-fixed", "0x8000"]), &[ImageForm]),
        ("not bootable", "p256", signing(&[], &["--non-bootable"]), &[ImageForm]),
        ("compressed", "p256", signing(&[], &["--compression", "lzma2"]), &[ImageForm]),
        ("big endian", "p256", signing(&[], &["--endian", "big"]), &[ImageForm]),
        ("P-384", "p384", signing(&[], &[]), &[ImageForm]),
        ("RSA", "rsa", signing(&[], &[]), &[ImageForm]),
        ("Ed25519", "ed25519", signing(&[], &[]), &[ImageForm]),
    ];
    let body: Vec<u8> = (0..2_000_u32).map(|at| ((at * at) >> 7) as u8).collect();
    let tasks: Vec<Value> =
        cases.iter().map(|(_, kind, arguments, _)| task(kind, &key(1), &body, arguments)).collect();
    for ((name, kind, _, faults), answer) in cases.iter().zip(imgtool(&tasks)) {
        assert!(answer["output"].is_string(), "{name}: {answer}");
        let image = from_hex(&answer["output"]);
        // A signature of 72 bytes needs no padding: about every fourth.
        let verdict = accepted(&image, &public(&key(1)));
        let unpadded = *name == "a padded signature" && verdict.is_ok();
        assert!(unpadded || faults.contains(&verdict.unwrap_err()), "{name}: {verdict:?}");
        if *kind == "p256" && *name == "no class" {
            assert_eq!(accepted(&image, &public(&key(2))), Err(ImageKey));
            assert_eq!(accepted(&image[..image.len() - 1], &public(&key(1))), Err(Truncated));
        }
    }
}
