//! Looks for private keys by value where none may be: in files, in what programs have written, in a program's memory. Owns the
//! forms in which a key may lie there. R-SECRET-STORE.
//!
//! A form that is longer than the key, such as PKCS#8 or SEC1 in DER or in PEM, has the key in it raw or in base64, and is
//! found by that. A line break in the middle of base64 or hex does not hide it.

use aho_corasick::AhoCorasick;
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a private key.
pub const SCALAR_BYTES: usize = 32;

/// Bytes of a key that are whole groups of base64 wherever in a text it begins.
const WHOLE_BYTES: usize = 30;

/// Something that may be nowhere.
#[derive(Clone)]
pub struct Secret {
    /// What to call it: its value is never shown.
    pub name: String,
    /// Its value, big endian.
    pub scalar: [u8; SCALAR_BYTES],
}

/// Finds secrets.
pub struct Search {
    automaton: AhoCorasick,
    names: Vec<String>,
}

impl Search {
    /// A search for each of these in every form.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for secret in secrets {
            for (form, bytes) in forms(&secret.scalar) {
                names.push(format!("{} in {form}", secret.name));
                patterns.push(bytes);
            }
        }
        let automaton = AhoCorasick::new(&patterns).expect("few and short patterns");
        Self { automaton, names }
    }

    /// What of it is in `text`, by name and form.
    pub fn find(&self, text: &[u8]) -> BTreeSet<&str> {
        let without_breaks = without_breaks(text);
        let everywhere =
            [text, &without_breaks].into_iter().flat_map(|text| self.automaton.find_overlapping_iter(text));
        everywhere
            .filter_map(|found| self.names.get(found.pattern().as_usize()))
            .map(String::as_str)
            .collect()
    }

    /// What of it is in the files below these folders, with the file. Gives how many files there were, too.
    pub fn find_below(&self, folders: &[&Path]) -> (Vec<(PathBuf, String)>, usize) {
        let files: Vec<_> = folders.iter().flat_map(|folder| files(folder)).collect();
        let mut all = Vec::new();
        for path in &files {
            let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // A name could be one too.
            let name = path.as_os_str().as_encoded_bytes();
            for what in self.find(&text).into_iter().chain(self.find(name)) {
                all.push((path.clone(), what.to_owned()));
            }
        }
        (all, files.len())
    }
}

/// Every regular file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("an entry of a folder");
        let kind = entry.file_type().expect("the type of an entry");
        if kind.is_dir() {
            all.extend(files(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all
}

/// The whole memory of a running child, which is what a core dump would hold and more: code and shared libraries too. The
/// system lets a parent read it, and root.
pub fn memory(pid: u32) -> Vec<u8> {
    for _ in 0..MEMORY_TRIES {
        match memory_once(pid) {
            Ok(memory) => return memory,
            Err(Unread { mapping, error }) => {
                let still_there = maps(pid).lines().any(|line| line == mapping);
                assert!(!still_there, "{mapping} cannot be read: {error}");
            }
        }
    }
    panic!("the memory of {pid} changed under each of {MEMORY_TRIES} readings");
}

/// A thread of the process that ends takes its stack with it: what was listed a moment ago is no longer there to be read,
/// and the reading begins again.
const MEMORY_TRIES: usize = 50;

struct Unread {
    mapping: String,
    error: io::Error,
}

fn maps(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/maps")).expect("the map of a child's memory")
}

fn memory_once(pid: u32) -> Result<Vec<u8>, Unread> {
    let file = File::open(format!("/proc/{pid}/mem")).expect("the memory of a child");
    let mut memory = Vec::new();
    for line in maps(pid).lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().expect("a range"), fields.next().expect("rights"));
        // The kernel's own pages cannot be read, nor can they hold anything of the program.
        if !rights.starts_with('r') || line.contains("[v") {
            continue;
        }
        let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = range.split_once('-').map(|(from, to)| (number(from), number(to))).expect("a range");
        let start = memory.len();
        memory.resize(start + (to - from) as usize, 0);
        let read = file.read_exact_at(&mut memory[start..], from);
        read.map_err(|error| Unread { mapping: line.to_owned(), error })?;
    }
    Ok(memory)
}

fn forms(key: &[u8; SCALAR_BYTES]) -> Vec<(&'static str, Vec<u8>)> {
    let mut backwards = *key;
    backwards.reverse();
    let hex = |bytes: &[u8]| base16ct::lower::encode_string(bytes).into_bytes();
    let mut all = vec![
        ("raw form", key.to_vec()),
        ("raw form, little endian", backwards.to_vec()),
        ("hex", hex(key)),
        ("hex in capitals", hex(key).to_ascii_uppercase()),
        ("hex, little endian", hex(&backwards)),
        ("hex in capitals, little endian", hex(&backwards).to_ascii_uppercase()),
    ];
    for part in key.windows(WHOLE_BYTES) {
        all.push(("base64", Base64Unpadded::encode_string(part).into_bytes()));
        all.push(("base64url", Base64UrlUnpadded::encode_string(part).into_bytes()));
    }
    all
}

/// Without line ends and other spaces, and without the line ends of a PEM text in JSON.
fn without_breaks(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match (byte, rest.peek()) {
            (b'\\', Some(b'n' | b'r')) => {
                rest.next();
            }
            _ if byte.is_ascii_whitespace() => {}
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::SecretKey;
    use p256::pkcs8::{EncodePrivateKey, LineEnding};

    fn key(seed: u64) -> SecretKey {
        let mut bytes = [0; SCALAR_BYTES];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        SecretKey::from_slice(&bytes).expect("below the order")
    }

    fn secret(seed: u64) -> Secret {
        Secret { name: format!("key {seed}"), scalar: key(seed).to_bytes().into() }
    }

    #[test]
    fn a_key_is_found_in_every_form_wherever_it_begins() {
        for seed in 0..20 {
            let (search, key) = (Search::new([&secret(seed)]), key(seed));
            let raw = key.to_bytes();
            let (pem, der) = (key.to_pkcs8_pem(LineEnding::CRLF).unwrap(), key.to_pkcs8_der().unwrap());
            let (sec1, sec1_pem) = (key.to_sec1_der().unwrap(), key.to_sec1_pem(LineEnding::LF).unwrap());
            let mut backwards = raw.to_vec();
            backwards.reverse();
            let hex = base16ct::lower::encode_string(&raw);
            let mut planted = vec![
                raw.to_vec(),
                der.as_bytes().to_vec(),
                sec1.to_vec(),
                pem.as_bytes().to_vec(),
                sec1_pem.as_bytes().to_vec(),
                pem.replace("\r\n", "\\n").into_bytes(),
                hex.to_uppercase().into_bytes(),
                format!("{}\n{}", &hex[..20], &hex[20..]).into_bytes(),
                base16ct::lower::encode_string(&backwards).into_bytes(),
                backwards,
            ];
            for before in 0..6 {
                let longer = [&vec![0xff; before][..], &raw, b"behind"].concat();
                planted.push(Base64Unpadded::encode_string(&longer).into_bytes());
                planted.push(Base64UrlUnpadded::encode_string(&longer).into_bytes());
            }
            for planted in planted {
                let text = [b"before ", &*planted, b" behind"].concat();
                assert!(!search.find(&text).is_empty(), "{:?}", String::from_utf8_lossy(&text));
                assert!(Search::new([&secret(seed + 100)]).find(&text).is_empty());
            }
        }
    }

    #[test]
    fn a_key_in_this_process_is_found_in_its_memory_and_one_that_was_never_there_is_not() {
        // Its value is made before the search has one of its own.
        let memory = memory(std::process::id());
        assert!(memory.len() > 1 << 20);
        let kept = std::hint::black_box(secret(1007));
        let seen = super::memory(std::process::id());
        assert!(Search::new([&kept]).find(&seen).contains("key 1007 in raw form"));
        assert!(Search::new([&secret(1008)]).find(&memory).is_empty());
    }

    #[test]
    fn a_process_whose_threads_come_and_go_is_read_all_the_same() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::spawn(|| std::hint::black_box([0_u8; 4096])).join().expect("a short thread");
                }
            });
            let readings: Vec<usize> = (0..20).map(|_| memory(std::process::id()).len()).collect();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(readings.iter().all(|bytes| *bytes > 1 << 20), "{readings:?}");
        });
    }
}
