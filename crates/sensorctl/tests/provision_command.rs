//! `sensorctl provision` as a person calls it: on a pty, killed at every step, and searched for secrets afterwards.

mod fake;

use base64ct::{Base64Unpadded, Encoding};
use fake::{Fake, Quirk};
use protocol::document::Power;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use sensorctl::registry::Registry;
use sensorctl::signer::Home;
use sensorctl::{authority, powers};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::SystemTime;
use tempfile::TempDir;

struct Factory(TempDir);

impl Factory {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        authority::init(&folder.path().join("ca"), &["localhost".into()], 1).unwrap();
        powers::init(&folder.path().join("powers"), &Home::Files).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn fake(&self) -> Fake {
        Fake::new(powers::public(&self.path("powers"), Power::Factory).unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
        command.arg("provision").args(["--host", "localhost", "--timeout-s", "1"]);
        for (name, path) in [("--ca", "ca"), ("--authority", "powers"), ("--registry", "registry.jsonl")] {
            command.arg(name).arg(self.path(path));
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn registry(&self) -> Registry {
        Registry::open(&self.path("registry.jsonl")).unwrap()
    }
}

/// A pty with the device at the other end of the line, which stays open.
fn pty(fake: &Fake) -> String {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let mut mode = tcgetattr(&controller).unwrap();
    mode.make_raw();
    tcsetattr(&controller, OptionalActions::Now, &mode).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let held = File::options().read(true).write(true).open(&path).unwrap();
    let (input, output) = (File::from(controller.try_clone().unwrap()), File::from(controller));
    let fake = fake.clone();
    std::thread::spawn(move || {
        let _held = held;
        fake.serve(input, output);
    });
    path
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Every file below `folder` and the output, searched for these bytes in raw, hexadecimal and base64 form.
fn assert_nowhere(folder: &Path, output: &Output, secrets: &[Vec<u8>]) {
    let mut texts = vec![output.stdout.clone(), output.stderr.clone()];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                texts.push(std::fs::read(path).unwrap());
            }
        }
    }
    assert!(texts.len() > 10);
    let within = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
    for secret in secrets {
        let hex = base16ct::lower::encode_string(secret);
        // Base64 of a part that begins at each of the three positions in a group.
        let encoded = |skip: usize| Base64Unpadded::encode_string(&secret[skip..skip + 27]).into_bytes();
        let forms = [
            secret.clone(),
            hex.clone().into_bytes(),
            hex.to_uppercase().into_bytes(),
            encoded(0),
            encoded(1),
            encoded(2),
        ];
        for text in &texts {
            assert!(!forms.iter().any(|form| within(text, form)));
        }
    }
}

#[test]
fn one_command_provisions_two_devices_on_ptys_and_no_secret_is_left_anywhere() {
    let factory = Factory::new();
    let fakes = [factory.fake(), factory.fake().with(Quirk::Log)];
    let lines = fakes.each_ref().map(pty);
    let output = factory
        .command(&["--id-prefix", "dev-", "--line", &lines[0], "--line", &lines[1], "--group", "hall-7"])
        .output()
        .unwrap();
    let table = stdout(&output);
    assert!(table.ends_with("2 of 2 done\n"), "{table}");
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(progress.contains(&format!("{}: fake with firmware 1.2.3", lines[0])), "{progress}");
    let ids: Vec<_> = factory.registry().active().map(ToString::to_string).collect();
    assert_eq!(ids, ["dev-1", "dev-2"]);
    for fake in &fakes {
        let memory = fake.memory.lock().unwrap();
        assert_eq!(memory.group.as_str(), "hall-7");
        assert_eq!(memory.secrets().len(), 2);
        assert_nowhere(factory.0.path(), &output, &memory.secrets());
    }
}

#[test]
fn a_device_in_another_life_takes_none_of_the_changes_of_its_former_one() {
    let factory = Factory::new();
    let provisioned = |id: &str| {
        let fake = factory.fake();
        stdout(&factory.command(&["--id", id, "--line", &pty(&fake)]).output().unwrap());
        fake.memory.lock().unwrap().configuration.as_ref().unwrap().number
    };
    assert_eq!(provisioned("dev-1"), 1);
    // The authority's changes went up to here; a device takes only higher numbers than the factory's.
    powers::Numbers::open(&factory.path("powers")).unwrap().next("configuration", 2, Some(7)).unwrap();
    assert_eq!(provisioned("dev-2"), 7);
}

#[test]
fn a_key_from_outside_is_left_nowhere_either_and_the_process_gives_no_core_dump() {
    let factory = Factory::new();
    let fake = factory.fake();
    let path = factory.path("line");
    let (listener, line) = (UnixListener::bind(&path).unwrap(), format!("unix:{}", path.display()));
    let child = factory
        .command(&["--id", "dev-1", "--line", &line, "--inject", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (process, device) = (format!("/proc/{}", child.id()), fake.clone());
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        device.serve_until(&stream, &stream, true, || {
            let read = |name| std::fs::read_to_string(format!("{process}/{name}")).unwrap();
            seen.push((read("limits"), read("status")));
            false
        });
        seen
    });
    let output = child.wait_with_output().unwrap();
    let seen = served.join().unwrap();
    let locked =
        |status: &str| !status.lines().any(|line| line.starts_with("VmLck:") && line.ends_with(" 0 kB"));
    for (number, (limits, status)) in seen.iter().enumerate() {
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
        // Messages 2 and 3 carry the keys; memory is locked while they are in it and no longer.
        assert_eq!(locked(status), number == 2 || number == 3, "message {number}: {status}");
    }
    let events: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = events.last().unwrap();
    assert_eq!((&summary["done"], &summary["failed"]), (&1.into(), &0.into()));
    let device = &summary["devices"][0];
    let memory = fake.memory.lock().unwrap();
    let key = base16ct::lower::encode_string(&memory.life.as_ref().unwrap().1.0);
    assert_eq!((&device["id"], &device["key_id"]), (&"dev-1".into(), &key.into()));
    assert_eq!(memory.injected.len(), 2);
    assert_nowhere(factory.0.path(), &output, &memory.injected);
}

#[test]
fn a_tool_that_is_killed_at_any_message_leaves_nothing_that_the_next_run_does_not_finish() {
    let factory = Factory::new();
    for count in 1.. {
        let id = format!("dev-{count}");
        let fake = factory.fake();
        // The device gets so many messages; then the tool is killed, before and after the device has dealt with the last. How
        // many there are differs by one: signatures differ in length.
        let mut all_finished = true;
        for before in [true, false] {
            let id = format!("{id}-{before}");
            let fake = Fake { memory: std::sync::Arc::default(), ..fake.clone() };
            let path = factory.path(&format!("line-{id}"));
            let listener = UnixListener::bind(&path).unwrap();
            let line = format!("unix:{}", path.display());
            let mut child = factory
                .command(&["--id", &id, "--line", &line])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let (stream, _) = listener.accept().unwrap();
            // The line stays open: nothing but the signal ends the tool.
            let _held = stream.try_clone().unwrap();
            let (killed, kill) = mpsc::channel();
            let served = {
                let fake = fake.clone();
                std::thread::spawn(move || {
                    let mut left = count;
                    let hook = move || {
                        left -= 1;
                        if left == 0 {
                            let _ = killed.send(());
                        }
                        left == 0
                    };
                    fake.serve_until(&stream, &stream, before, hook);
                })
            };
            let finished = kill.recv().is_err();
            if !finished {
                child.kill().unwrap();
            }
            all_finished &= finished;
            let ended = child.wait().unwrap();
            assert_eq!(ended.success(), finished, "message {count}, {before}");
            served.join().unwrap();
            let fake_again = fake.clone();
            std::thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    fake_again.serve(&stream, &stream);
                }
            });
            let output = factory.command(&["--id", &id, "--line", &line]).output().unwrap();
            stdout(&output);
            let (id, key) = fake.memory.lock().unwrap().life.clone().unwrap();
            let keys: Vec<_> = factory.registry().in_force(&id).map(|identity| identity.key.id()).collect();
            assert_eq!(keys, [key], "message {count}, {before}");
            assert_eq!(std::fs::read_dir(factory.path("registry.jsonl.pending")).unwrap().count(), 0);
        }
        if all_finished {
            assert!(count > 5, "identify, begin, parts, commit");
            break;
        }
    }
}

/// A time server that is so many seconds behind this computer's clock; its address.
fn time_server(behind_s: u64) -> String {
    /// Seconds from 1900 to 1970.
    const EPOCH_S: u64 = 2_208_988_800;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut packet = [0; 48];
        while let Ok((48, from)) = socket.recv_from(&mut packet) {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let time = (now + EPOCH_S - behind_s) << 32;
            let originate: [u8; 8] = packet[40..].try_into().unwrap();
            packet = [0; 48];
            (packet[0], packet[1]) = (0x24, 1);
            packet[24..32].copy_from_slice(&originate);
            packet[32..40].copy_from_slice(&time.to_be_bytes());
            packet[40..].copy_from_slice(&time.to_be_bytes());
            socket.send_to(&packet, from).unwrap();
        }
    });
    address
}

#[test]
fn under_a_clock_forty_days_ahead_nothing_is_provisioned_and_the_time_server_is_named() {
    let factory = Factory::new();
    let fake = factory.fake();
    let line = pty(&fake);
    let (right, wrong) = (time_server(0), time_server(40 * 86_400));
    let run = |servers: &[&str]| {
        let mut arguments = vec!["--id", "dev-1", "--line", &line];
        arguments.extend(servers.iter().flat_map(|server| ["--time-server", server]));
        factory.command(&arguments).output().unwrap()
    };
    let output = run(&[&wrong]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let why = format!("this computer's clock is 40 d 0 h 0 min ahead of the time server {wrong}");
    assert!(said.contains(&why), "{said}");
    assert!(fake.memory.lock().unwrap().begun == 0 && factory.registry().devices().count() == 0);
    // One server that is wrong stops no factory.
    let output = run(&[&wrong, &right]);
    assert!(stdout(&output).ends_with("1 of 1 done\n"));
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("compared").count(), 0);
}

#[test]
fn a_device_whose_certificate_has_ended_is_renewed_with_one_command_of_who_has_the_key_for_it() {
    let factory = Factory::new();
    let fake = factory.fake();
    let line = pty(&fake);
    let provision = || factory.command(&["--id", "dev-1", "--line", &line]).output().unwrap();
    stdout(&provision());
    fake.memory.lock().unwrap().lapsed = true;
    let (key, hidden) = (factory.path("powers/configuration.key"), factory.path("hidden.key"));
    std::fs::rename(&key, &hidden).unwrap();
    let output = provision();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "nothing was done, and that is no success: {table}");
    assert!(table.contains("sensorctl renew --line"), "{table}");
    std::fs::rename(&hidden, &key).unwrap();
    std::fs::remove_file(factory.path("powers/factory.key")).unwrap();
    let renew = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
        command.args(["renew", "--line", &line, "--timeout-s", "5"]).stdin(Stdio::null());
        for (name, path) in [("--ca", "ca"), ("--authority", "powers"), ("--registry", "registry.jsonl")] {
            command.arg(name).arg(factory.path(path));
        }
        command.output().unwrap()
    };
    let table = stdout(&renew());
    assert!(
        table.contains("its certificate had ended on 2001-09-09") && table.ends_with("1 of 1 done\n"),
        "{table}"
    );
    let output = renew();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains("the device's certificate has not ended"), "{table}");
}

#[test]
fn a_program_on_a_line_gets_the_environment_without_the_pin() {
    let factory = Factory::new();
    let environment = factory.path("environment");
    let line = format!("exec:env > '{}'", environment.display());
    let output = factory
        .command(&["--id", "dev-1", "--line", &line])
        .env("SENSORCTL_PIN", "only-for-tests")
        .env("SENSORCTL_OTHER", "only-for-tests")
        .env("MY_RIG", "7")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "nobody answers there");
    let environment = std::fs::read_to_string(environment).unwrap();
    assert!(environment.lines().any(|line| line == "MY_RIG=7"), "{environment}");
    assert!(!environment.contains("SENSORCTL_") && !environment.contains("only-for-tests"), "{environment}");
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let factory = Factory::new();
    let refused = |arguments: &[&str], code, text: &str| {
        let output = factory.command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}");
    };
    refused(&["--line", "a"], 2, "--id");
    refused(&["--line", "a", "--line", "b", "--id", "dev-1"], 2, "there are 2 lines and 1 ids");
    refused(
        &["--line", "a", "--line", "b", "--id", "dev-1", "--id", "dev-1"],
        2,
        "--id dev-1 is there twice",
    );
    refused(&["--line", "tcp:x", "--id", "dev-1"], 2, "after tcp: there must be HOST:PORT");
    refused(&["--line", "a", "--id-prefix", "a/b"], 2, "would be the first id, but");
    refused(&["--line", "a", "--id", "dev-1", "--group", "a b"], 2, "a name has at most 32 of");
    refused(&["--line", "a", "--id", "dev-1", "--id-prefix", "dev-"], 2, "cannot be used with");
    let mut file = File::create(factory.path("registry.jsonl")).unwrap();
    file.write_all(b"rubbish\n").unwrap();
    refused(&["--line", "a", "--id", "dev-1"], 1, "line 1 of");
    std::fs::remove_file(factory.path("registry.jsonl")).unwrap();
    let output = factory.command(&["--line", "/nonexistent", "--id", "dev-1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("failed: the line cannot be opened") && table.ends_with("0 of 1 done\n"),
        "{table}"
    );
    std::fs::remove_file(factory.path("powers/factory.key")).unwrap();
    refused(&["--line", "a", "--id", "dev-1"], 1, "make the keys with `sensorctl authority init`");
}
