//! docs/operations.md and brokers/README.md as a new operator follows them, from the top: the commands are taken from the
//! documents, and only names of machines, lines and ids are put in.

use endtoend::mosquitto::Mosquitto;
use endtoend::site::{Program, Site};
use endtoend::{handbook, programs};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker's process; dropping it ends it.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test]
async fn mosquitto_starts_as_its_readme_says_for_root_and_for_anybody_else() {
    const README: &str = include_str!("../../../brokers/README.md");
    const CONFIGURATION: &str = include_str!("../../../brokers/mosquitto/mosquitto.conf");
    const RULES: &str = include_str!("../../../brokers/mosquitto/acl");
    let site = Site::new(programs!()).await;
    // A folder of a test is closed to everybody else.
    fs::set_permissions(site.folder(), fs::Permissions::from_mode(0o755)).expect("an open folder");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    fs::create_dir_all(site.path("brokers/mosquitto")).expect("a folder");
    fs::write(site.path("brokers/mosquitto/acl"), RULES).expect("the rules");
    let here = CONFIGURATION.replace("\nlistener 8883\n", &format!("\nlistener {port} 127.0.0.1\n"));
    assert_ne!(here, CONFIGURATION);
    fs::write(site.path("brokers/mosquitto/mosquitto.conf"), here).expect("the configuration");
    let section = README.split("\n## Mosquitto 2\n").nth(1).expect("a section");
    let is_root = rustix::process::getuid().is_root();
    let lines: Vec<&str> = section
        .lines()
        .skip_while(|line| !line.starts_with("    "))
        .take_while(|line| line.starts_with("    "))
        .map(str::trim)
        .filter(|line| is_root || !line.ends_with("# only as root"))
        .collect();
    let (start, rest) = lines.split_last().expect("commands");
    assert!(start.contains("&& mosquitto -c"), "{lines:?}");
    let script = format!("{}\n{}", rest.join("\n"), start.replace("&& mosquitto ", "&& exec mosquitto "));
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let log = fs::File::create(site.path("broker.log")).expect("a log");
    let child = Command::new("sh")
        .args(["-e", "-c", &script])
        .env("PATH", path)
        .current_dir(site.folder())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log twice"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("a shell");
    let mut broker = Broker(child);
    let said = || fs::read_to_string(site.path("broker.log")).unwrap_or_default();
    let until = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(broker.0.try_wait().expect("its state").is_none(), "{script}\n{}", said());
        assert!(Instant::now() < until, "{}", said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It reads its key and lets in whom it should; and it keeps what it has to keep, in its folder.
    let words = format!("device show --id dev-1 --ca ca --host localhost --port {port}");
    let shown = site.try_sensorctl("show", &words).await;
    // It was let in, and no device has said anything yet.
    assert!(shown.status.code() == Some(5) && shown.stderr.contains("nothing came from"), "{}", shown.stderr);
    rustix::process::kill_process(rustix::process::Pid::from_child(&broker.0), rustix::process::Signal::TERM)
        .expect("a signal to a child");
    broker.0.wait().expect("its end");
    assert!(site.path("broker/mosquitto.db").exists(), "{}", said());
}

/// What the documents say, with the names of here.
struct Desk {
    site: Site,
    port: u16,
    time_port: u16,
}

impl Desk {
    fn here(&self, words: &str) -> String {
        words
            .replace("/dev/ttyUSB0", "tty1")
            .replace("/dev/ttyUSB1", "tty2")
            .replace("dev-7", "dev-1")
            .replace("dev-8", "dev-2")
            .replace("time-1.example,time-2.example", &format!("127.0.0.1:{}", self.time_port))
    }

    /// Runs a command of the document with what only this place needs behind it.
    async fn run(&self, words: &str, more: &str) -> String {
        self.site.sensorctl("handbook", &(self.here(words) + more)).await
    }

    fn start(&self, heading: &str, begin: &str, name: &str) -> Program {
        let words = handbook::command(heading, begin, self.port);
        self.site.start_sensorctl(name, &self.here(&words))
    }

    /// All commands of a section in their order; `more` gives what only this place needs.
    async fn follow(&self, heading: &str, more: impl Fn(&str) -> Option<&'static str>) {
        for words in handbook::commands(heading, self.port) {
            if let Some(more) = more(&words) {
                self.run(&words, more).await;
            }
        }
    }
}

#[tokio::test]
async fn the_handbook_is_followed_word_for_word_from_the_first_key_to_the_end_of_a_device() {
    const RENEWED: &str = "Certificates that are renewed";
    const LOG: &str = "The security log";
    let site = Site::bare(programs!());
    // Keys in files: what begins with a token's module needs one.
    for words in handbook::commands("Keys", 0) {
        if !words.contains("--pkcs11") {
            let words = words.replace("--host localhost --port 0", "--host localhost");
            site.sensorctl("keys", &words).await;
        }
    }
    std::os::unix::fs::symlink(site.path("powers"), site.path("authority")).expect("another name");
    let broker = Mosquitto::start(&site.pki()).await;
    let (_time, time_port) = site.time_server(0).await;
    let desk = Desk { site, port: broker.port(), time_port };
    let mut devices = [desk.site.device(1, ""), desk.site.device(2, "")];
    for device in &mut devices {
        device.until_said("ready blank device", 1).await;
    }

    let mut renew = desk.start(RENEWED, "renew", "renew");
    renew.until_said("listening", 1).await;
    let provision = handbook::command("Provisioning", "provision", desk.port);
    let more = format!(" --time-server 127.0.0.1:{time_port} --sample-period-ms 50 --report-period-ms 200");
    let said = desk.run(&provision, &more).await;
    assert!(said.contains("dev-1") && said.contains("dev-2"), "{said}");
    let mut log = desk.start(LOG, "log follow", "log");
    log.until_said("listening", 1).await;
    desk.follow("The registry", |_| Some("")).await;

    // Each device renews at its first connection.
    for id in ["dev-1", "dev-2"] {
        renew.until_said(id, 1).await;
    }
    for device in &mut devices {
        device
            .until("its new identity", |said| {
                said.lines()
                    .any(|line| line.contains("the new identity") && line.contains("is in force"))
                    .then_some(())
            })
            .await;
    }
    desk.follow(RENEWED, |words| (!words.starts_with("renew ")).then_some("")).await;

    desk.follow("Change the configuration", |words| {
        Some(if words.starts_with("config push") { " --yes --timeout 5m" } else { "" })
    })
    .await;
    desk.follow("Send a command", |_| Some(" --timeout 5m")).await;
    desk.follow(LOG, |words| {
        let shows = words.starts_with("log verify") || words.starts_with("log show");
        (shows && !words.contains(">>")).then_some("")
    })
    .await;
    desk.follow("A new key for a power", |_| Some("")).await;
    desk.follow("The end of an identity, and of a device", |words| {
        Some(if words.starts_with("command decommission") { " --yes --timeout 5m" } else { "" })
    })
    .await;
    let registry = desk.site.registry();
    let left: Vec<_> = registry.active().map(ToString::to_string).collect();
    assert_eq!(left, ["dev-2"]);
    log.stop().await;
    renew.stop().await;
}
