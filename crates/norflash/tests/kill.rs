//! A process that is killed in the middle of its work leaves a store with everything that it had confirmed.

use device::{Key, KeyValue};
use norflash::{Flash, Store};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "NORFLASH_TEST_CHILD_FLASH";

fn number(store: &mut Store<Flash>) -> u64 {
    let mut buffer = [0; 8];
    store
        .read(Key::Time, &mut buffer)
        .expect("readable")
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
}

/// Counts upwards in the store and says so on standard output, until it is killed.
fn count(path: &Path) -> ! {
    let mut store = Store::open(Flash::open(path).expect("a flash")).expect("a store");
    let mut n = number(&mut store);
    loop {
        n += 1;
        store.write(Key::Time, &n.to_le_bytes()).expect("room");
        println!("stored {n}");
    }
}

#[test]
fn what_was_stored_survives_kill_9() {
    if let Some(path) = std::env::var_os(CHILD) {
        count(Path::new(&path));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flash");
    let mut last = 0;
    for round in 1..=10_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "what_was_stored_survives_kill_9", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // The child's first line may share its line with the test harness.
        let stored = |line: std::io::Result<String>| {
            let line = line.expect("text");
            line.split_once("stored ").and_then(|(_, n)| n.parse::<u64>().ok())
        };
        let until = last + 50 * round;
        while last < until {
            let line = lines.next().expect("the child goes on until it is killed");
            last = stored(line).unwrap_or(last);
        }
        // SIGKILL.
        child.kill().expect("it runs");
        last = lines.filter_map(stored).last().unwrap_or(last);
        child.wait().expect("it ends");
        let mut store = Store::open(Flash::open(&path).expect("a flash")).expect("a store");
        let found = number(&mut store);
        assert!(found == last || found == last + 1, "{last} was stored, {found} is there");
        last = found;
    }
}
