//! The broker of the demonstration: rumqttd in this process, mutual TLS, started from a CA folder so that nothing has
//! to be installed. Never for the field. R-TLS-CLIENT.
//!
//! Its limits, for which the tests of isolation use Mosquitto instead:
//! - Every client whose certificate the CA has issued may publish and subscribe everywhere: there is no access
//!   control by topic, and no check of the client identifier against the certificate.
//! - Handshakes are made one after the other, each to its end: a client that opens TCP and says nothing holds up
//!   the others.
//! - It panics when a client leaves at the wrong moment and comes again: [`start_over_on_panic`].
//! - Only topics below `device/` and `firmware/` are taken; a subscriber gets at most [`IN_FLIGHT_MAX`] retained messages; messages are
//!   kept in RAM, so that a restart forgets them; it cannot be stopped without ending the process.
//! - A client certificate with an organisation (O) in its name is put under a tenant; ours have none.
//!
//! Devices that log in with tokens have a door of their own: [`tokens`].

pub mod registry;
pub mod tokens;

use registry::{Registry, RegistryError};
use tokens::{Door, Gate, Tokens};

use protocol::topic::ROOT;
use rumqttd::{Broker as Rumqttd, Config, ConnectionSettings, RouterConfig, ServerSettings, TlsConfig};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The CA's certificate, for the clients' certificates.
pub const CA: &str = "ca.crt";
/// The broker's certificate.
pub const CHAIN: &str = "broker.crt";
/// The broker's key.
pub const KEY: &str = "broker.key";

/// Largest payload in bytes; a message of a device has at most 2048, a list of roots is longer.
pub const PAYLOAD_MAX: usize = 16 * 1024;

/// Most messages on their way to one client.
pub const IN_FLIGHT_MAX: usize = 500;

/// Length in bytes of the secret with which the token door comes to rumqttd.
const SECRET_BYTES: usize = 32;

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
    /// Certificate and key do not go together.
    #[error("the broker's certificate and key cannot be used: {0}")]
    Certificate(rustls::Error),
    /// The registry cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There are no random numbers.
    #[error("the system gives no random numbers")]
    Entropy,
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
    token_address: Option<SocketAddr>,
    ended: oneshot::Receiver<String>,
}

impl Broker {
    /// Starts a broker with the certificates of the CA folder `ca` on `address` (port 0 takes a free one) and waits
    /// until it listens. Blocks for as long.
    pub fn start(ca: &Path, address: SocketAddr) -> Result<Self, BrokerError> {
        Self::launch(ca, address, None)
    }

    /// The same, and lets in devices that log in with a token at a second address.
    pub fn start_with_tokens(ca: &Path, address: SocketAddr, tokens: Tokens) -> Result<Self, BrokerError> {
        Self::launch(ca, address, Some(tokens))
    }

    fn launch(ca: &Path, address: SocketAddr, tokens: Option<Tokens>) -> Result<Self, BrokerError> {
        let path = |name: &str| ca.join(name);
        let key = load(path(KEY), |path| PrivateKeyDer::from_pem_file(path))?;
        let chain =
            load(path(CHAIN), |path| CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>())?;
        load(path(CHAIN), |path| CertificateDer::from_pem_file(path))?;
        load(path(CA), |path| CertificateDer::from_pem_file(path))?;
        let address = free(address)?;
        let door = tokens.map(|tokens| prepare(tokens, chain, key)).transpose()?;
        let mut broker = Rumqttd::new(config(ca, address, door.as_ref().map(|(door, _)| door)));
        let (sender, ended) = oneshot::channel();
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
        let mut broker = Self { address, token_address: None, ended };
        broker.wait_for(address)?;
        if let Some((door, listener)) = door {
            broker.wait_for(door.inside)?;
            broker.token_address = Some(listener.local_addr().map_err(BrokerError::Thread)?);
            door.open(listener).map_err(BrokerError::Thread)?;
        }
        Ok(broker)
    }

    fn wait_for(&mut self, address: SocketAddr) -> Result<(), BrokerError> {
        let started = std::time::Instant::now();
        loop {
            // Connects and hangs up at once, which the broker takes for a failed handshake.
            if TcpStream::connect_timeout(&address, START_TIMEOUT).is_ok() {
                return Ok(());
            }
            if let Ok(why) = self.ended.try_recv() {
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

    /// Where devices log in with tokens; `None` where they cannot.
    pub fn token_address(&self) -> Option<SocketAddr> {
        self.token_address
    }

    /// Waits for the end, which only comes by an error.
    pub async fn ended(&mut self) -> BrokerError {
        BrokerError::Ended((&mut self.ended).await.unwrap_or_else(|_| "its thread panicked".to_owned()))
    }
}

/// From now on a panic of rumqttd replaces this process by a fresh one with the arguments `again`, which are those of this
/// one but with the ports that it has got. rumqttd 0.20 panics when a client leaves between CONNECT and CONNACK and comes
/// again, and then refuses everybody because of a poisoned lock; its clients find a broker that has forgotten everything,
/// as after any restart.
pub fn start_over_on_panic(again: Vec<OsString>) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        eprintln!("the broker starts over");
        let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        eprintln!("it cannot: {}", Command::new(program).args(&again).exec());
        std::process::exit(1);
    }));
}

fn load<T>(path: PathBuf, read: impl Fn(&Path) -> Result<T, pem::Error>) -> Result<T, BrokerError> {
    read(&path).map_err(|error| BrokerError::File { path, error })
}

/// The door with its certificate and its registry read, and its listener.
fn prepare(
    tokens: Tokens,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(Door, TcpListener), BrokerError> {
    let Tokens { registry, address, audience, refused } = tokens;
    let listener = TcpListener::bind(address).map_err(|error| BrokerError::Listen { address, error })?;
    let mut secret = [0; SECRET_BYTES];
    ring::default_provider().secure_random.fill(&mut secret).map_err(|_| BrokerError::Entropy)?;
    let door = Door {
        gate: Gate::new(Registry::open(registry)?, audience),
        refused,
        acceptor: tokens::acceptor(chain, key).map_err(BrokerError::Certificate)?,
        inside: free(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?,
        secret: secret.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
    };
    Ok((door, listener))
}

/// The address with a port that is free now: rumqttd does not tell which it got, nor that it got none.
fn free(address: SocketAddr) -> Result<SocketAddr, BrokerError> {
    let error = |error| BrokerError::Listen { address, error };
    TcpListener::bind(address).and_then(|listener| listener.local_addr()).map_err(error)
}

fn config(ca: &Path, address: SocketAddr, door: Option<&Door>) -> Config {
    let file = |name: &str| ca.join(name).to_string_lossy().into_owned();
    let tls = TlsConfig::Rustls { capath: Some(file(CA)), certpath: file(CHAIN), keypath: file(KEY) };
    let mut servers = HashMap::from([("mqtt".to_owned(), server("mqtt-over-tls", address, Some(tls)))]);
    if let Some(door) = door {
        let mut inside = server("tokens", door.inside, None);
        // Whoever comes without passing the door does not know the secret.
        inside.connections.auth = Some(HashMap::from([(tokens::INSIDE.to_owned(), door.secret.clone())]));
        servers.insert("tokens".to_owned(), inside);
    }
    Config {
        router: RouterConfig {
            max_connections: 20_000,
            max_outgoing_packet_count: IN_FLIGHT_MAX as u64,
            // 64 MiB for each filter: what a subscriber may lag behind.
            max_segment_size: 1024 * 1024,
            max_segment_count: 64,
            // A message that no filter matches would end the publisher's connection.
            initialized_filters: Some(vec![format!("{ROOT}/#"), "firmware/#".to_owned()]),
            ..RouterConfig::default()
        },
        v4: Some(servers),
        ..Config::default()
    }
}

fn server(name: &str, listen: SocketAddr, tls: Option<TlsConfig>) -> ServerSettings {
    ServerSettings {
        name: name.to_owned(),
        listen,
        tls,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: PAYLOAD_MAX,
            max_inflight_count: IN_FLIGHT_MAX,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        },
    }
}
