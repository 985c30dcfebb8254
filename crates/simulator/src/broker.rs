//! The broker of the demonstration: rumqttd in this process, mutual TLS, started from a CA folder so that nothing has
//! to be installed. Never for the field. R-TLS-CLIENT.
//!
//! Its limits, for which the tests of isolation use Mosquitto instead:
//! - Every client whose certificate the CA has issued may publish and subscribe everywhere: there is no access
//!   control by topic, and no check of the client identifier against the certificate.
//! - Handshakes are made one after the other, each to its end: a client that opens TCP and says nothing holds up
//!   the others.
//! - It panics when a client leaves at the wrong moment and comes again: [`start_over_on_panic`].
//! - Only topics below `device/` are taken; a subscriber gets at most [`IN_FLIGHT_MAX`] retained messages; messages are
//!   kept in RAM, so that a restart forgets them; it cannot be stopped without ending the process.
//! - A client certificate with an organisation (O) in its name is put under a tenant; ours have none.

use protocol::topic::ROOT;
use rumqttd::{Broker as Rumqttd, Config, ConnectionSettings, RouterConfig, ServerSettings, TlsConfig};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The CA's certificate, for the clients' certificates.
pub const CA: &str = "ca.crt";
/// The broker's certificate.
pub const CHAIN: &str = "broker.crt";
/// The broker's key.
pub const KEY: &str = "broker.key";

/// Largest payload in bytes; a batch has at most 1152.
pub const PAYLOAD_MAX: usize = 16 * 1024;

/// Most messages on their way to one client.
pub const IN_FLIGHT_MAX: usize = 500;

/// How long the broker may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the broker does not run.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// A file of the CA folder is missing or holds no PEM.
    #[error("cannot use {path}: {error}; is this the folder of a CA?")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start a thread for the broker: {0}")]
    Thread(io::Error),
    /// rumqttd ended or did not come up.
    #[error("the broker ended: {0}")]
    Ended(String),
}

/// A running broker. It runs until the process ends.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    ended: oneshot::Receiver<String>,
}

impl Broker {
    /// Starts a broker with the certificates of the CA folder `ca` on `address` (port 0 takes a free one) and waits
    /// until it listens. Blocks for as long.
    pub fn start(ca: &Path, address: SocketAddr) -> Result<Self, BrokerError> {
        let path = |name: &str| ca.join(name);
        check(path(KEY), |path| PrivateKeyDer::from_pem_file(path).map(drop))?;
        check(path(CHAIN), |path| CertificateDer::from_pem_file(path).map(drop))?;
        check(path(CA), |path| CertificateDer::from_pem_file(path).map(drop))?;
        let address = free(address)?;
        let mut broker = Rumqttd::new(config(ca, address));
        let (sender, mut ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || {
                let why = match broker.start() {
                    Ok(()) => "it stopped by itself".to_owned(),
                    Err(error) => format!("{error:?}"),
                };
                // Where nobody asks any more, the process is about to end.
                let _nobody = sender.send(why);
            })
            .map_err(BrokerError::Thread)?;
        let started = std::time::Instant::now();
        loop {
            // Connects and hangs up at once, which the broker takes for a failed handshake.
            if TcpStream::connect_timeout(&address, START_TIMEOUT).is_ok() {
                return Ok(Self { address, ended });
            }
            if let Ok(why) = ended.try_recv() {
                return Err(BrokerError::Ended(why));
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(BrokerError::Ended("it does not listen".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the end, which only comes by an error.
    pub async fn ended(&mut self) -> BrokerError {
        BrokerError::Ended((&mut self.ended).await.unwrap_or_else(|_| "its thread panicked".to_owned()))
    }
}

/// From now on a panic of rumqttd replaces this process by a fresh one on the same address. rumqttd 0.20 panics when a
/// client leaves between CONNECT and CONNACK and comes again, and then refuses everybody because of a poisoned lock; its
/// clients find a broker that has forgotten everything, as after any restart.
pub fn start_over_on_panic(ca: &Path, address: SocketAddr) {
    let ca = ca.to_path_buf();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        eprintln!("the broker starts over");
        let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        let mut again = Command::new(program);
        again.arg("broker").arg("--ca").arg(&ca);
        again.args(["--address", &address.ip().to_string(), "--port", &address.port().to_string()]);
        eprintln!("it cannot: {}", again.exec());
        std::process::exit(1);
    }));
}

fn check(path: PathBuf, load: impl Fn(&Path) -> Result<(), pem::Error>) -> Result<(), BrokerError> {
    load(&path).map_err(|error| BrokerError::File { path, error })
}

/// The address with a port that is free now: rumqttd does not tell which it got, nor that it got none.
fn free(address: SocketAddr) -> Result<SocketAddr, BrokerError> {
    let error = |error| BrokerError::Listen { address, error };
    TcpListener::bind(address).and_then(|listener| listener.local_addr()).map_err(error)
}

fn config(ca: &Path, address: SocketAddr) -> Config {
    let file = |name: &str| ca.join(name).to_string_lossy().into_owned();
    let server = ServerSettings {
        name: "mqtt-over-tls".to_owned(),
        listen: address,
        tls: Some(TlsConfig::Rustls { capath: Some(file(CA)), certpath: file(CHAIN), keypath: file(KEY) }),
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: PAYLOAD_MAX,
            max_inflight_count: IN_FLIGHT_MAX,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        },
    };
    Config {
        router: RouterConfig {
            max_connections: 20_000,
            max_outgoing_packet_count: IN_FLIGHT_MAX as u64,
            // 64 MiB for each filter: what a subscriber may lag behind.
            max_segment_size: 1024 * 1024,
            max_segment_count: 64,
            // A message that no filter matches would end the publisher's connection.
            initialized_filters: Some(vec![format!("{ROOT}/#")]),
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("mqtt".to_owned(), server)])),
        ..Config::default()
    }
}
