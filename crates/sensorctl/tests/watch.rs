//! `sensorctl watch` against Mosquitto with client certificates required: what it counts, how it comes back, and whom
//! it does not trust.

use protocol::topic::topic;
use protocol::{Batch, Channel, DeviceId, Hello, Measurement, ResetCause, Sample};
use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS, TlsConfiguration, Transport};
use rustls::{ClientConfig, RootCertStore};
use sensorctl::authority::{self, Authority};
use sensorctl::enrol::{self, Enrolled, Wanted};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for a loaded machine; nothing here waits for it where all is well.
const PATIENCE: Duration = Duration::from_secs(90);

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A folder with an authority, a device and a broker's configuration.
struct Place {
    folder: TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = Self { folder, port };
        authority::init(&place.path("ca"), &["localhost".into()], 1).unwrap();
        let wanted = Wanted { host: "localhost".into(), ..Wanted::default() };
        let configuration = wanted.configuration(id()).unwrap();
        let authority = Authority::open(&place.path("ca")).unwrap();
        enrol::device(&authority, &configuration, 1, &place.path("dev-1")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn broker(&self) -> Broker {
        self.broker_of(&self.path("ca"))
    }

    /// The same with the client identifier that `brokers/mosquitto` prescribes: the certificate's name.
    fn broker_of_names(&self) -> Broker {
        self.launch(&self.path("ca"), "use_username_as_clientid true\n")
    }

    /// Starts Mosquitto with the certificate of the authority in `ca`.
    fn broker_of(&self, ca: &Path) -> Broker {
        self.launch(ca, "")
    }

    fn launch(&self, ca: &Path, more: &str) -> Broker {
        let store = self.path("store");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(
            self.path("acl"),
            "pattern readwrite device/%u/#\nuser operator\ntopic read device/#\n",
        )
        .unwrap();
        let configuration = format!(
            "listener {} 127.0.0.1\nuser root\ncafile {ca}/ca.crt\ncertfile {ca}/broker.crt\nkeyfile {ca}/broker.key\n\
             require_certificate true\nuse_identity_as_username true\nacl_file {acl}\npersistence true\n\
             persistence_location {store}/\nlog_dest stderr\nlog_type all\n{more}",
            self.port,
            ca = ca.display(),
            acl = self.path("acl").display(),
            store = store.display(),
        );
        std::fs::write(self.path("mosquitto.conf"), configuration).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let start = |program: &str| {
            let mut command = Command::new(program);
            command.arg("-c").arg(self.path("mosquitto.conf")).stdout(Stdio::null());
            command.stderr(log.try_clone().unwrap()).spawn()
        };
        let child = start("mosquitto")
            .or_else(|_| start("/usr/sbin/mosquitto"))
            .expect("Mosquitto is needed: apt-get install mosquitto");
        let broker = Broker(child);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "{}", std::fs::read_to_string(self.path("log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        broker
    }

    fn watch(&self, arguments: &[&str]) -> Watching {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sensorctl"))
            .args(["watch", "--port", &self.port.to_string(), "--ca"])
            .arg(self.path("ca"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watching { child, lines }
    }

    /// Publishes as the device, until the broker has acknowledged all of it.
    fn publish(&self, messages: &[(Channel, Vec<u8>)]) {
        let enrolled = Enrolled::open(&self.path("dev-1")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(enrolled.roots);
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(enrolled.chain, enrolled.key)
            .unwrap();
        let mut options = MqttOptions::new("dev-1", "localhost", self.port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
        let (client, mut connection) = Client::new(options, messages.len() + 1);
        for (channel, payload) in messages {
            let topic = topic(&id(), *channel);
            client.publish(topic.as_str(), QoS::AtLeastOnce, false, payload.clone()).unwrap();
        }
        let mut left = messages.len();
        for event in connection.iter() {
            match event.unwrap() {
                Event::Incoming(Packet::PubAck(_)) => left -= 1,
                Event::Outgoing(Outgoing::Disconnect) => return,
                _ => continue,
            }
            if left == 0 {
                client.disconnect().unwrap();
            }
        }
    }
}

struct Broker(Child);

impl Broker {
    /// Ends it as a system would, so that it stores its sessions.
    fn stop(mut self) {
        signal(&self.0, "-TERM");
        self.0.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    /// The next JSON line of which this holds.
    fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if holds(&value) {
                return value;
            }
            line.clear();
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        panic!("the watch ended: {stderr}");
    }

    fn up(&mut self) -> Value {
        self.until(|value| value["type"] == "link" && value["state"] == "up")
    }

    fn batch(&mut self) -> Value {
        self.until(|value| value["type"] == "batch")
    }

    /// The summary, the exit code and what was said on stderr. The summary is the last line.
    fn end(mut self) -> (Value, i32, String) {
        let summary = self.until(|value| value["type"] == "summary");
        let (rest, stderr, code) = self.rest();
        assert_eq!(rest, "");
        (summary, code, stderr)
    }

    fn rest(mut self) -> (String, String, i32) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.lines.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (stdout, stderr, self.child.wait().unwrap().code().unwrap())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn id() -> DeviceId {
    DeviceId::new("dev-1").unwrap()
}

fn hello() -> (Channel, Vec<u8>) {
    let name = |text: &str| text.try_into().unwrap();
    let mut hello = Hello::new(id(), name("0.1.0"), name("test"), 1, ResetCause::PowerOn);
    (hello.connection, hello.handshake_ms) = (1, 77);
    let mut buffer = vec![0; 512];
    let len = hello.encode(&mut buffer).unwrap();
    (Channel::Hello, buffer[..len].to_vec())
}

/// Four samples.
fn batch(seq: u32, lost: u32) -> (Channel, Vec<u8>) {
    let reading = Measurement::new(2_150, 4_512, 101_325);
    let samples = (0..4).map(|n| Sample { after_ms: n * 100, reading }).collect();
    let batch = Batch { boot: 1, seq, time: Some(sensorctl::watch::link::now()), lost, samples };
    let mut buffer = vec![0; 1152];
    let len = batch.encode(&mut buffer).unwrap();
    (Channel::Telemetry, buffer[..len].to_vec())
}

#[test]
fn everything_that_comes_whole_ends_with_0() {
    let place = Place::new();
    let _broker = place.broker();
    let mut watch = place.watch(&["--json", "--until-samples", "8"]);
    assert_eq!(watch.up()["missed"], false);
    place.publish(&[hello(), batch(0, 0), batch(0, 0), batch(4, 0)]);
    let (summary, code, stderr) = watch.end();
    assert_eq!((summary["samples"].as_u64(), summary["duplicates"].as_u64()), (Some(8), Some(4)));
    assert_eq!((summary["lost"].as_u64(), summary["unexplained"].as_u64()), (Some(0), Some(0)));
    assert_eq!((summary["handshake_ms"].as_u64(), code, stderr.as_str()), (Some(77), 0, ""));
    assert!(summary["bytes_per_sample"].as_f64().unwrap() > 10.0);
}

#[test]
fn declared_losses_end_with_4_and_unexplained_ones_with_3() {
    let place = Place::new();
    let _broker = place.broker();
    for (second, lost, unexplained, expected) in [(batch(10, 6), 6, 0, 4), (batch(10, 2), 2, 4, 3)] {
        let mut watch = place.watch(&["--json", "--until-samples", "8", "--device", "dev-1"]);
        watch.up();
        place.publish(&[hello(), batch(0, 0), second]);
        let (summary, code, _) = watch.end();
        assert_eq!(
            (summary["lost"].as_u64(), summary["unexplained"].as_u64()),
            (Some(lost), Some(unexplained))
        );
        assert_eq!(code, expected);
    }
}

#[test]
fn what_comes_while_the_link_is_down_is_not_missed() {
    let place = Place::new();
    let broker = place.broker();
    let mut watch = place.watch(&["--json", "--until-samples", "12"]);
    watch.up();
    place.publish(&[hello(), batch(0, 0)]);
    watch.batch();
    broker.stop();
    let down = watch.until(|value| value["type"] == "link" && value["state"] == "down");
    assert!(!down["reason"].as_str().unwrap().is_empty());
    let _broker = place.broker();
    place.publish(&[batch(4, 0), batch(8, 0)]);
    let (summary, code, _) = watch.end();
    assert_eq!((summary["samples"].as_u64(), summary["unexplained"].as_u64()), (Some(12), Some(0)));
    assert_eq!((summary["interruptions"].as_u64(), code), (Some(0), 0));
}

#[test]
fn a_broker_that_forgot_the_session_is_told_from_a_device_that_lost_samples() {
    let place = Place::new();
    let broker = place.broker();
    let mut watch = place.watch(&["--json", "--until-samples", "8"]);
    watch.up();
    place.publish(&[hello(), batch(0, 0)]);
    watch.batch();
    broker.stop();
    std::fs::remove_dir_all(place.path("store")).unwrap();
    let _broker = place.broker();
    assert_eq!(watch.up()["missed"], true);
    place.publish(&[batch(8, 0)]);
    let (summary, code, _) = watch.end();
    assert_eq!((summary["unobserved"].as_u64(), summary["unexplained"].as_u64()), (Some(4), Some(0)));
    assert_eq!((summary["interruptions"].as_u64(), code), (Some(1), 0));
}

#[test]
fn a_watch_that_ends_leaves_no_session_behind() {
    let place = Place::new();
    let broker = place.broker();
    let mut watch = place.watch(&["--json"]);
    watch.up();
    signal(&watch.child, "-INT");
    let (summary, code, _) = watch.end();
    assert_eq!((summary["samples"].as_u64(), code), (Some(0), 5), "nothing came");
    broker.stop();
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    // The first connection asks for a session that is kept (c0), the last one for none (c1): that deletes it.
    let connected =
        |line: &&str| line.contains("New client connected") && line.contains("as operator-watch-");
    let connections: Vec<_> = log.lines().filter(connected).map(|line| line.contains("c1, ")).collect();
    assert_eq!(connections, [false, true], "{log}");
}

#[test]
fn lines_a_summary_and_a_picture_for_people() {
    let place = Place::new();
    let _broker = place.broker();
    let picture = place.path("screen.svg");
    let mut watch = place.watch(&["--until-samples", "8", "--snapshot", picture.to_str().unwrap()]);
    // Without JSON the link is reported on stderr.
    let mut stderr = BufReader::new(watch.child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.ends_with("connected to the broker\n"), "{line}");
    watch.child.stderr = Some(stderr.into_inner());
    place.publish(&[hello(), batch(0, 0), batch(4, 0)]);
    let (stdout, _, code) = watch.rest();
    assert_eq!(code, 0);
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].contains("dev-1 connected in 77 ms"), "{stdout}");
    assert!(lines[2].ends_with("dev-1 boot 1 samples 4…7: 21.50 °C  45.12 %  1013.25 hPa"), "{stdout}");
    assert!(
        lines[3].starts_with("temperature ") && lines[6].starts_with("8 samples of 1 device in "),
        "{stdout}"
    );
    assert!(std::fs::read_to_string(picture).unwrap().contains(">dev-1</text>"));
}

#[test]
fn on_a_terminal_there_is_a_screen_that_q_ends() {
    let place = Place::new();
    let _broker = place.broker();
    let command = format!(
        "stty rows 26 cols 120; {} watch --port {} --ca {}",
        env!("CARGO_BIN_EXE_sensorctl"),
        place.port,
        place.path("ca").display()
    );
    // `script` (bsdutils, on every Debian) gives the program a terminal.
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` is needed: apt-get install bsdutils");
    let mut stdout = child.stdout.take().unwrap();
    let mut screen = Vec::new();
    let mut until = |text: &str| {
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&screen).contains(text) {
            let len = stdout.read(&mut chunk).unwrap();
            assert!(len > 0, "{text} never came: {}", String::from_utf8_lossy(&screen));
            screen.extend_from_slice(&chunk[..len]);
        }
    };
    until("\u{1b}[?1049h");
    until("mutual");
    place.publish(&[hello(), batch(0, 0)]);
    until("1013.25");
    child.stdin.take().unwrap().write_all(b"q").unwrap();
    until("\u{1b}[?1049l");
    until("4 samples of 1 device in ");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Never connected: exit code 1, with this reason.
fn is_refused(place: &Place, arguments: &[&str], reason: &str) {
    // As long as a busy machine needs until the broker has answered.
    let stderr = within(|seconds| {
        let words = ["--json", "--seconds", seconds];
        let (summary, code, stderr) = place.watch(&[&words, arguments].concat()).end();
        assert_eq!((summary["samples"].as_u64(), code), (Some(0), 1));
        if stderr.contains(reason) { Ok(stderr) } else { Err(stderr) }
    });
    assert!(stderr.contains("error: there was no connection to the broker: "), "{stderr}");
}

/// Tries it with as many seconds as are enough, and with more where the machine was too busy for that.
fn within<T>(attempt: impl Fn(&str) -> Result<T, String>) -> T {
    let mut failed = String::new();
    for seconds in ["3", "20", "120"] {
        match attempt(seconds) {
            Ok(done) => return done,
            Err(why) => failed = why,
        }
    }
    panic!("{failed}");
}

#[test]
fn a_broker_of_another_authority_is_refused() {
    let place = Place::new();
    authority::init(&place.path("other"), &["localhost".into()], 1).unwrap();
    let _broker = place.broker_of(&place.path("other"));
    is_refused(&place, &[], "UnknownIssuer");
}

#[test]
fn a_broker_of_another_name_is_refused() {
    let place = Place::new();
    let _broker = place.broker();
    is_refused(&place, &["--host", "127.0.0.1"], "not valid for name");
}

#[test]
fn a_broker_that_is_not_there_is_reported() {
    is_refused(&Place::new(), &[], "refused");
}

#[test]
fn too_few_samples_in_time_are_an_error() {
    let place = Place::new();
    let _broker = place.broker();
    within(|seconds| {
        let mut watch = place.watch(&["--json", "--until-samples", "100", "--seconds", seconds]);
        if watch.until(|value| value["state"] == "up" || value["type"] == "summary")["type"] == "link" {
            place.publish(&[hello(), batch(0, 0)]);
        }
        let (_, stderr, code) = watch.rest();
        let wanted = (1, "error: 4 samples came in the time given; 100 were wanted\n");
        if (code, stderr.as_str()) == wanted { Ok(()) } else { Err(format!("{code}: {stderr}")) }
    });
}

#[test]
fn a_watch_subscribes_also_where_the_broker_has_a_session_of_somebody_else() {
    let place = Place::new();
    let _broker = place.broker_of_names();
    // It listened to another device when it was killed.
    let mut killed = place.watch(&["--json", "--device", "dev-9"]);
    assert_eq!(killed.up()["shared"], false);
    drop(killed);
    let mut watch = place.watch(&["--json", "--seconds", "60", "--until-samples", "4"]);
    assert_eq!(watch.up()["shared"], true);
    place.publish(&[hello(), batch(0, 0)]);
    let (summary, code, stderr) = watch.end();
    assert_eq!((summary["samples"].as_u64(), code, stderr.as_str()), (Some(4), 0, ""));
}

#[test]
fn two_watches_under_one_name_count_no_loss_of_their_own_making_as_unexplained() {
    let place = Place::new();
    let _broker = place.broker_of_names();
    let watches = [(); 2].map(|()| {
        let mut watch = place.watch(&["--json", "--seconds", "120"]);
        watch.up();
        watch
    });
    let children = [watches[0].child.id(), watches[1].child.id()];
    let (told, hear) = std::sync::mpsc::channel();
    let readers = watches.map(|mut watch| {
        let told = told.clone();
        std::thread::spawn(move || {
            watch.until(|value| value["reason"].as_str().is_some_and(|why| why.contains("another program")));
            watch.until(|value| value["missed"] == true);
            told.send(()).unwrap();
            watch.end().0
        })
    });
    place.publish(&[hello()]);
    let (began, mut seq, mut open) = (Instant::now(), 0, 2);
    while open > 0 && began.elapsed() < 3 * PATIENCE {
        place.publish(&[batch(seq, 0)]);
        seq += 4;
        open -= hear.try_iter().count();
    }
    // They take in what the broker has for them, as often as it is theirs.
    for _ in 0..10 {
        place.publish(&[batch(seq, 0)]);
        seq += 4;
    }
    for child in children {
        assert!(Command::new("kill").args(["-INT", &child.to_string()]).status().unwrap().success());
    }
    let summaries = readers.map(|reader| reader.join().unwrap());
    assert_eq!(open, 0, "both say that another program uses their name");
    for summary in &summaries {
        assert_eq!(summary["unexplained"].as_u64(), Some(0), "{summaries:?}");
    }
    assert!(summaries.iter().any(|summary| summary["unobserved"].as_u64() > Some(0)), "{summaries:?}");
}
