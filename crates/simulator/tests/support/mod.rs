//! What the tests of the port share: authorities and certificates made on the spot, devices, and a server that speaks
//! just enough MQTT to let a device in.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod openssl;
pub mod proxy;
pub mod recorder;
pub mod script;
pub mod server;

use device::{Note, Policy};
use protocol::config::Draft;
use protocol::{Configuration, DeviceId, Failure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SigningKey, date_time_ymd,
};
use simulator::folder::{self, Folder, Powers};
use simulator::machine::Machine;
use simulator::port::{Port, Report, Summary, stopper};
use simulator::sensor::Model;
use simulator::time_server::{Behaviour, TimeServer};
use simulator::tls::Credentials;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Long enough for a loaded machine; only a test that fails waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate with its key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub chain_pem: String,
    pub key_pem: String,
}

impl Leaf {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap()
    }
}

/// A certificate authority.
pub struct Authority {
    pub issuer: CertifiedIssuer<'static, KeyPair>,
}

pub fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params
}

pub fn ca_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A server certificate for these dNSNames.
pub fn server_params(names: &[&str]) -> CertificateParams {
    let mut params = named("server");
    params.subject_alt_names =
        names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

pub fn client_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn issue(&self, params: &CertificateParams) -> Leaf {
        issue(params, &self.issuer)
    }

    pub fn server(&self, names: &[&str]) -> Leaf {
        self.issue(&server_params(names))
    }

    pub fn client(&self, name: &str) -> Leaf {
        self.issue(&client_params(name))
    }

    /// What a device called `name` needs to trust this authority and to be trusted by it.
    pub fn credentials(&self, name: &str) -> Credentials {
        let client = self.client(name);
        Credentials { key: client.key(), chain: client.chain, roots: vec![self.root()] }
    }

    /// The files of a CA folder, with a broker for `localhost` and an operator.
    pub fn write_folder(&self, folder: &Path) {
        let (broker, operator) = (self.server(&["localhost"]), self.client("operator"));
        for (name, text) in [
            ("ca.crt", self.issuer.pem()),
            ("broker.crt", broker.chain_pem),
            ("broker.key", broker.key_pem),
            ("operator.crt", operator.chain_pem),
            ("operator.key", operator.key_pem),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    /// The files of an enrolled device's folder.
    pub fn write_device(&self, folder: &Path, configuration: &Configuration) {
        let leaf = self.client(configuration.id.as_str());
        let mut buffer = [0; protocol::config::CONFIGURATION_BYTES_MAX];
        let len = configuration.encode(&mut buffer).unwrap();
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(folder::CONFIGURATION), &buffer[..len]).unwrap();
        fs::write(folder.join(folder::KEY), leaf.key_pem).unwrap();
        fs::write(folder.join(folder::CHAIN), leaf.chain_pem).unwrap();
        fs::write(folder.join(folder::ROOTS), self.issuer.pem()).unwrap();
    }
}

pub fn issue<S: SigningKey>(params: &CertificateParams, issuer: &CertifiedIssuer<'static, S>) -> Leaf {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Leaf {
        chain: vec![certificate.der().clone()],
        chain_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    }
}

/// A configuration that samples and reports every 50 ms.
pub fn configuration(id: &str, host: &str, port: u16, time_servers: &[SocketAddr]) -> Configuration {
    let mut draft = Draft::new(DeviceId::new(id).unwrap(), host, "unused").unwrap();
    draft.port = port.into();
    draft.time_servers = time_servers
        .iter()
        .map(|server| protocol::Endpoint::parse(&server.to_string(), 123, "time_servers").unwrap())
        .collect();
    (draft.sample_period_ms, draft.report_period_ms) = (50, 50);
    draft.check().unwrap()
}

/// Reconnects within milliseconds.
pub fn policy() -> Policy {
    Policy { backoff_floor_ms: 50, backoff_cap_ms: 500, healthy_ms: 2_000, ..Policy::default() }
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub async fn honest_time() -> TimeServer {
    TimeServer::start(loopback(), Behaviour::default()).await.unwrap()
}

/// A device with this identity and configuration, in memory.
pub fn provisioned(credentials: &Credentials, configuration: &Configuration) -> Machine {
    let mut machine = Machine::in_memory().unwrap();
    let folder = Folder {
        configuration: configuration.clone(),
        credentials: credentials.clone(),
        powers: Powers::default(),
        group: protocol::Name::EMPTY,
    };
    folder::provision(&mut machine, &folder).unwrap();
    machine
}

/// A port that can be watched.
pub fn port() -> (Port, mpsc::UnboundedReceiver<Report>) {
    let mut port = Port::new(Model::new(1));
    port.info.policy = policy();
    let (out, reports) = mpsc::unbounded_channel();
    port.observer = Box::new(move |report| {
        // A test that has seen enough hangs up.
        let _enough = out.send(report.clone());
    });
    (port, reports)
}

/// Runs a device until `judge` finds what it looks for in one of its notes, stops it and gives that and how it was.
pub async fn run_until<T>(
    port: Port,
    reports: mpsc::UnboundedReceiver<Report>,
    machine: &mut Machine,
    mut judge: impl FnMut(&Note) -> Option<T>,
) -> (T, Summary) {
    let judge = |report: &Report| match report {
        Report::Note { note, .. } => judge(note),
        _ => None,
    };
    run_until_reported(port, reports, machine, judge).await
}

/// The same for everything that it reports.
pub async fn run_until_reported<T>(
    port: Port,
    mut reports: mpsc::UnboundedReceiver<Report>,
    machine: &mut Machine,
    mut judge: impl FnMut(&Report) -> Option<T>,
) -> (T, Summary) {
    let (stop, stopped) = stopper();
    let found = async {
        let mut seen = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, reports.recv()).await {
                Ok(Some(report)) => match judge(&report) {
                    Some(found) => break found,
                    None => seen.push(report),
                },
                Ok(None) | Err(_) => panic!("what was awaited never came; seen: {seen:?}"),
            }
        }
    };
    let run = port.run(machine, stopped);
    tokio::pin!(run);
    let found = tokio::select! {
        biased;
        found = found => found,
        ended = &mut run => panic!("the device ended by itself: {ended:?}"),
    };
    stop.stop();
    (found, run.await.unwrap())
}

/// How the first attempt to connect ended.
pub fn verdict(note: &Note) -> Option<Result<(), Failure>> {
    match note {
        Note::Connected { .. } => Some(Ok(())),
        Note::Disconnected(failure) => Some(Err(*failure)),
        _ => None,
    }
}
