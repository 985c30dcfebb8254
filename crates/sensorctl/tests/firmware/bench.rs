//! A workbench for firmware: a folder with the powers' keys and a key for images, and the program run in it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use protocol::PublicKey;
use sensorctl::firmware::image::ImageFile;
use sensorctl::powers;
use sensorctl::signer::{self, Home};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub struct Bench(TempDir);

/// Something to execute, of this many bytes: others for another seed, but not everywhere.
pub fn body(len: usize, seed: u8) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    bytes.iter_mut().step_by(997).for_each(|byte| *byte = byte.wrapping_add(seed));
    bytes
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        powers::init(&bench.path("powers"), &Home::Files).unwrap();
        bench.done(&["firmware", "key", "--out", "image"]);
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null()).output().unwrap()
    }

    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Refused with this exit code and this text on stderr, and nothing on stdout.
    pub fn refused(&self, arguments: &[&str], code: i32, text: &str) {
        let output = self.output(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {stderr}");
    }

    pub fn image_key(&self) -> PublicKey {
        signer::read_public(&self.path("image/image.pub")).unwrap()
    }

    pub fn image(&self, version: &str, body: &[u8], out: &str) -> ImageFile {
        std::fs::write(self.path("body"), body).unwrap();
        self.done(&[
            "firmware",
            "image",
            "--body",
            "body",
            "--version",
            version,
            "--key",
            "image",
            "--out",
            out,
        ]);
        ImageFile::read(&self.path(out)).unwrap()
    }

    pub fn sign(&self, image: &str, out: &str, more: &[&str]) -> String {
        let sign = ["firmware", "sign", "--image", image, "--authority", "powers", "--out", out];
        self.done(&[&sign[..], more].concat())
    }
}
