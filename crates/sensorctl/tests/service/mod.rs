//! A service for tests: Mosquitto with client certificates and a list of revoked ones, an authority, keys of the powers, a
//! registry and devices in it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use protocol::document::{Audience, Power, RenewalRequest};
use protocol::key::Digest;
use protocol::signed::{Document, Envelope, seal};
use protocol::topic::topic;
use protocol::x509::encode_csr;
use protocol::{Channel, DeviceId, PublicKey, Signature};
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sensorctl::authority::{self, Authority};
use sensorctl::powers;
use sensorctl::registry::{Event as Change, Identity, Registry};
use sensorctl::signer::Home;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for a loaded machine; nothing here waits for it where all is well.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub fn public(key: &SecretKey) -> PublicKey {
    PublicKey::new(&key.public_key().to_sec1_bytes()).unwrap()
}

pub fn sign(key: &SecretKey, digest: &Digest) -> Signature {
    let signature: p256::ecdsa::Signature = SigningKey::from(key).sign_prehash(digest).unwrap();
    Signature::normalised(&signature.to_bytes()).unwrap()
}

pub fn random_key() -> SecretKey {
    let mut bytes = [0; 32];
    loop {
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
        if let Ok(key) = SecretKey::from_slice(&bytes) {
            return key;
        }
    }
}

/// A device that is in service.
#[derive(Clone)]
pub struct Device {
    pub id: DeviceId,
    pub identity: SecretKey,
    pub tls: SecretKey,
    pub certificate: Vec<u8>,
}

impl Device {
    pub fn request(&self, new: &Self) -> Vec<u8> {
        let csr = |key: &SecretKey| {
            let mut out = vec![0; 512];
            let len =
                encode_csr(&self.id, &public(key), &mut out, |digest| Ok::<_, Infallible>(sign(key, digest)))
                    .unwrap();
            out.truncate(len);
            out
        };
        let (identity_csr, tls_csr) = (csr(&new.identity), csr(&new.tls));
        let audience = Audience::Device(self.id.clone());
        let request = RenewalRequest { audience, number: 0, identity_csr: &identity_csr, tls_csr: &tls_csr };
        let mut out = vec![0; 4_096];
        let id = public(&self.identity).id();
        let len =
            seal(&request, id, &mut out, |digest| Ok::<_, Infallible>(sign(&self.identity, digest))).unwrap();
        out.truncate(len);
        out
    }
}

pub struct Service {
    folder: TempDir,
    pub port: u16,
    broker: Option<Child>,
}

impl Service {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut service = Self { folder, port, broker: None };
        authority::init(&service.path("ca"), &["localhost".into()], 1).unwrap();
        powers::init(&service.path("powers"), &Home::Files).unwrap();
        std::fs::write(
            service.path("acl"),
            "pattern readwrite device/%u/#\npattern read firmware/#\npattern read group/+/config/desired\nuser operator\n\
             topic readwrite device/#\ntopic readwrite group/#\ntopic readwrite firmware/#\nuser spoiler\ntopic readwrite firmware/#\n\
             user operator.reader\ntopic read device/#\n",
        )
        .unwrap();
        service.sensorctl(&["revoke", "--registry", "registry.jsonl", "--ca", "ca"]);
        let configuration = format!(
            "listener {port} 127.0.0.1\nuser root\ncafile {0}/ca/ca.crt\ncertfile {0}/ca/broker.crt\n\
             keyfile {0}/ca/broker.key\ncrlfile {0}/ca/ca.crl\nrequire_certificate true\n\
             use_identity_as_username true\nacl_file {0}/acl\nlog_dest stderr\nlog_type all\n",
            service.folder.path().display(),
        );
        std::fs::write(service.path("mosquitto.conf"), configuration).unwrap();
        service.start_broker();
        service
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start_broker(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.kill().unwrap();
            broker.wait().unwrap();
        }
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let start = |program: &str| {
            let mut command = Command::new(program);
            command.arg("-c").arg(self.path("mosquitto.conf")).stdout(Stdio::null());
            command.stderr(log.try_clone().unwrap()).spawn()
        };
        let child = start("mosquitto").or_else(|_| start("/usr/sbin/mosquitto"));
        self.broker = Some(child.expect("Mosquitto is needed: apt-get install mosquitto"));
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "{}", std::fs::read_to_string(self.path("log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn sensorctl(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A device in service and in the registry.
    pub fn device(&self, id: &str) -> Device {
        let id: DeviceId = id.parse().unwrap();
        let (identity, tls) = (random_key(), random_key());
        let issued = Authority::open(&self.path("ca")).unwrap().issue_device(&id, &public(&tls), 1).unwrap();
        let registered = Identity {
            id: id.clone(),
            key: public(&identity),
            tls: public(&tls),
            certificate: issued.fingerprint(),
            serial: issued.serial,
            until: issued.until,
        };
        self.registry().append(&[Change::Registered(registered)]).unwrap();
        Device { id, identity, tls, certificate: issued.der }
    }

    /// A folder with a certificate for one more program of the operator.
    pub fn operator(&self, name: &str) {
        self.sensorctl(&["ca", "operator", "--ca", "ca", "--name", name, "--out", name]);
    }

    /// Starts a program and waits until it has said this; dropping it kills it.
    pub fn start(&self, arguments: &[&str], said: &str) -> Running {
        let path = self.path(&format!("said-{}", random()));
        let file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        let mut command = self.command(arguments);
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let mut running = Running { child, path };
        running.until(said, |text| text.contains(said));
        running
    }

    /// Runs a program to its end, which comes within two minutes: exit code, and what it has said.
    pub fn ends(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.start(arguments, "").ended()
    }

    pub fn registry(&self) -> Registry {
        Registry::open(&self.path("registry.jsonl")).unwrap()
    }

    pub fn connect(&self, device: &Device) -> (Client, Connection) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca/ca.crt")).unwrap()).unwrap();
        let key = device.tls.to_pkcs8_pem(LineEnding::LF).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![device.certificate.clone().into()], key)
            .unwrap();
        let mut options = MqttOptions::new(device.id.as_str(), "localhost", self.port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
        // What this broker passes, which has no limit of its own.
        options.set_max_packet_size(4 << 20, 4 << 20);
        let (client, connection) = Client::new(options, 8);
        for filter in Channel::SUBSCRIPTIONS {
            client.subscribe(format!("device/{}/{filter}", device.id), QoS::AtLeastOnce).unwrap();
        }
        (client, connection)
    }

    /// True where the broker takes the device's certificate.
    pub fn accepts(&self, device: &Device) -> bool {
        let (_client, mut connection) = self.connect(device);
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::SubAck(_))) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    pub fn verify<'b, T: Document<'b>>(&self, power: Power, document: &'b [u8]) -> T {
        let key = powers::public(&self.path("powers"), power).unwrap();
        Envelope::decode(document).unwrap().verify::<T>(&key).unwrap().into_inner()
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    u64::from_le_bytes(bytes)
}

/// A running program.
pub struct Running {
    pub child: Child,
    path: PathBuf,
}

impl Running {
    /// What it has said, to both outputs.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    pub fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + 4 * PATIENCE;
        while !holds(&self.said()) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || holds(&self.said()), "{what}: it has ended: {}", self.said());
            assert!(Instant::now() < deadline, "{what}: never came: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn ended(&mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + 4 * PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.said());
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ctrl-C.
    pub fn interrupt(&mut self) -> (Option<i32>, String) {
        assert!(
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success()
        );
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }
}

/// The next message on this channel.
pub fn message(connection: &mut Connection, device: &Device, channel: Channel) -> Vec<u8> {
    let wanted = topic(&device.id, channel);
    loop {
        let event = connection.recv_timeout(PATIENCE).expect("a message in time").expect("a connection");
        match event {
            Event::Incoming(Packet::Publish(message)) if message.topic == wanted.as_str() => {
                return message.payload.to_vec();
            }
            _ => {}
        }
    }
}

/// A program that runs, with what it says on the standard error; it ends with this.
pub struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, lines) = mpsc::channel();
        // It reads to the end, whoever listens: a pipe that is full would stop the program.
        std::thread::spawn(move || said.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Self { child, lines }
    }

    /// Waits until it has said a line with this text.
    pub fn says(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return;
            }
        }
        panic!("it has not said {text:?} in time");
    }

    /// Ends it with a signal, and in order.
    pub fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => panic!("it did not end"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
