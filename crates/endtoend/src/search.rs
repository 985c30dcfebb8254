//! Looks for private keys by value where none may be: in files, in what programs have written, in a program's memory. Owns the
//! forms in which a key may lie there. R-SECRET-STORE.
//!
//! A form that is longer than the key, such as PKCS#8 or SEC1 in DER or in PEM, has the key in it raw or in base64, and is
//! found by that. A line break in the middle of base64 or hex does not hide it.

use aho_corasick::AhoCorasick;
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

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

/// The whole memory of a child, which is what a core dump would hold and more: code and shared libraries too. The child
/// stands still meanwhile, so that nothing which was listed goes before it is read. The system lets a parent read it, and
/// root.
pub fn memory(child: &Child) -> Vec<u8> {
    let _stopped = Stopped::new(child);
    let pid = child.id();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the map of a child's memory");
    let file = File::open(format!("/proc/{pid}/mem")).expect("the memory of a child");
    let mut memory = Vec::new();
    for line in maps.lines() {
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
        read.unwrap_or_else(|error| panic!("{line} cannot be read: {error}"));
    }
    memory
}

/// How long a busy machine may take to stop a process.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A child none of whose threads runs; it goes on when this is dropped.
struct Stopped<'a>(&'a Child);

impl<'a> Stopped<'a> {
    fn new(child: &'a Child) -> Self {
        kill_process(Pid::from_child(child), Signal::STOP).expect("a child that is there");
        let stopped = Self(child);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !stands_still(child.id()) {
            assert!(Instant::now() < deadline, "{} does not stop: has it ended?", child.id());
            std::thread::sleep(Duration::from_millis(1));
        }
        stopped
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        // It may have been killed.
        let _ended = kill_process(Pid::from_child(self.0), Signal::CONT);
    }
}

/// True where every thread of the process is stopped. Signals reach threads one by one.
fn stands_still(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the threads of a child");
    threads.flatten().all(|thread| {
        // A thread that has just ended has no status.
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().all(|line| !line.starts_with("State:") || line.starts_with("State:\tT"))
    })
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
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

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

    /// Holds the bytes that it is given, in a process whose other threads take memory and give it back all the time.
    const HOLDER: &str = "
import mmap, sys, threading
held = sys.stdin.buffer.read(32)
def churn():
    while True:
        with mmap.mmap(-1, 1 << 20) as memory:
            memory[0] = 1
for _ in range(int(sys.argv[1])):
    threading.Thread(target=churn, daemon=True).start()
print('ready', flush=True)
sys.stdin.buffer.read()
";

    /// A holder that ends with the test.
    struct Holder(Child);

    impl Holder {
        fn new(held: &Secret, threads: u32) -> Self {
            let mut python = Command::new("python3");
            python
                .args(["-I", "-S", "-c", HOLDER, &threads.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut holder = Self(python.spawn().expect("python3 is missing: apt-get install python3"));
            holder.0.stdin.as_mut().unwrap().write_all(&held.scalar).unwrap();
            holder.0.stdin.as_mut().unwrap().flush().unwrap();
            let mut ready = [0; 6];
            holder.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
            assert_eq!(&ready, b"ready\n");
            holder
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            let _ended = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    #[test]
    fn a_key_in_a_process_is_found_in_its_memory_and_one_that_was_never_there_is_not() {
        let holder = Holder::new(&secret(1007), 0);
        let memory = memory(&holder.0);
        assert!(Search::new([&secret(1007)]).find(&memory).contains("key 1007 in raw form"));
        assert!(Search::new([&secret(1008)]).find(&memory).is_empty());
    }

    #[test]
    fn a_process_whose_memory_comes_and_goes_is_read_all_the_same_and_runs_on_afterwards() {
        let holder = Holder::new(&secret(1009), 2);
        let readings = [(); 20].map(|()| memory(&holder.0));
        let last = readings.last().unwrap();
        assert!(!Search::new([&secret(1009)]).find(last).is_empty());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while stands_still(holder.0.id()) {
            assert!(Instant::now() < deadline, "it was left stopped");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
