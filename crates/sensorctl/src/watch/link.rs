//! The connection to the broker: mutual TLS with the operator's certificate, MQTT 3.1.1, QoS 1, and a session that the
//! broker keeps while the link is down, so that a broken link loses nothing. Owns the socket; understands no message.
//! R-TLS-ALL, R-TLS-CIPHERS, R-TLS-SERVER, R-TLS-CLIENT.

use super::Link;
use crate::authority::file;
use crate::folder::{self, FolderError};
use protocol::topic::ROOT;
use protocol::{Channel, DeviceId, EpochMillis};
use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing,
    Packet, QoS, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Shortest and longest wait between two attempts to connect, in milliseconds; it doubles in between.
const RETRY_MS: std::ops::RangeInclusive<u64> = 250..=8_000;
/// How long connecting may take, in seconds.
const CONNECT_TIMEOUT_S: u64 = 10;
/// MQTT keep-alive in seconds.
const KEEP_ALIVE_S: u64 = 30;
/// How long taking leave of the broker may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there can be no link at all.
#[derive(Debug)]
pub enum LinkError {
    /// A file of the operator's credentials.
    Folder(FolderError),
    /// A file is there but cannot be used: which, and why.
    Unusable(PathBuf, String),
    /// The random generator gives no name for the session.
    Random,
    /// The broker does not let the operator read this topic.
    SubscriptionRefused(String),
    /// The client library stopped.
    Client(ClientError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Unusable(path, why) => write!(f, "{} cannot be used: {why}", path.display()),
            Self::Random => f.write_str("the system's random generator gives no numbers"),
            Self::SubscriptionRefused(filter) => {
                write!(
                    f,
                    "the broker refuses the subscription to {filter}: its access list must let the operator read it"
                )
            }
            Self::Client(error) => write!(f, "the MQTT client stopped: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<FolderError> for LinkError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// Where to connect, as whom, and what to listen to.
#[derive(Debug)]
pub struct Options {
    /// The broker's host name or address, as in its certificate.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// One device, or all.
    pub device: Option<DeviceId>,
    tls: Arc<ClientConfig>,
    client_id: String,
}

/// What the link brings.
#[derive(Debug)]
pub enum Incoming {
    /// The connection has changed.
    Link(Link),
    /// A message.
    Message {
        /// When it came.
        at: EpochMillis,
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// There will be no link any more.
    Failed(LinkError),
}

/// The system's time.
pub fn now() -> EpochMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EpochMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Options {
    /// Reads the operator's credentials from the authority's folder `ca`.
    pub fn new(ca: &Path, host: String, port: u16, device: Option<DeviceId>) -> Result<Self, LinkError> {
        let provider = provider();
        let mut random = [0; 4];
        provider.secure_random.fill(&mut random).map_err(|_| LinkError::Random)?;
        let tls = Arc::new(tls(ca, provider)?);
        // At most 23 characters: what every MQTT 3.1.1 broker takes.
        let client_id = format!("operator-watch-{:08x}", u32::from_le_bytes(random));
        Ok(Self { host, port, device, tls, client_id })
    }

    fn mqtt(&self, clean_session: bool) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(&self.client_id, &self.host, self.port);
        options
            .set_clean_session(clean_session)
            .set_keep_alive(Duration::from_secs(KEEP_ALIVE_S))
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&self.tls))));
        let (client, mut events) = AsyncClient::new(options, 8);
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_TIMEOUT_S);
        events.set_network_options(network);
        (client, events)
    }

    /// The topics that are listened to.
    fn filters(&self) -> Vec<String> {
        let device = self.device.as_ref().map_or("+", DeviceId::as_str);
        let channels = [Channel::Hello, Channel::State, Channel::Telemetry];
        channels.map(|channel| format!("{ROOT}/{device}/{}", channel.as_str())).to_vec()
    }
}

/// ECDHE with AEAD on P-256 and X25519 and ECDSA certificates, AES-128 first: what devices and brokers of ours speak.
fn provider() -> CryptoProvider {
    use ring::cipher_suite as suite;
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![ring::kx_group::SECP256R1, ring::kx_group::X25519],
        ..ring::default_provider()
    }
}

fn tls(ca: &Path, provider: CryptoProvider) -> Result<ClientConfig, LinkError> {
    let path = |name: &str| ca.join(name);
    let unusable = |name: &str, why: &dyn fmt::Display| LinkError::Unusable(path(name), why.to_string());
    let certificates = |name: &str| {
        let text = folder::read(&path(name))?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match all {
            Ok(all) if all.is_empty() => Err(unusable(name, &"it holds no certificate in PEM form")),
            Ok(all) => Ok(all),
            Err(error) => Err(unusable(name, &error)),
        }
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(file::ROOT)? {
        roots.add(root).map_err(|error| unusable(file::ROOT, &error))?;
    }
    let chain = certificates(file::OPERATOR)?;
    let key = PrivateKeyDer::from_pem_slice(folder::read(&path(file::OPERATOR_KEY))?.as_bytes())
        .map_err(|_| unusable(file::OPERATOR_KEY, &"it holds no private key in PEM form"))?;
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unusable(file::ROOT, &error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(file::OPERATOR_KEY, &error))
}

/// Keeps the link up and reports through `incoming` until `stop` fires or the receiver is gone; then takes leave of the
/// broker, so that it does not keep messages for a session that nobody comes back to.
pub async fn keep(options: Options, incoming: mpsc::Sender<Incoming>, stop: oneshot::Receiver<()>) {
    let (client, mut events) = options.mqtt(false);
    let mut up = false;
    let failed = tokio::select! {
        result = listen(&options, &client, &mut events, &incoming, &mut up) => result.err(),
        _ = stop => None,
    };
    if let Some(error) = failed {
        // A receiver that is gone has no use for it.
        let _ = incoming.send(Incoming::Failed(error)).await;
    }
    if up {
        // The broker forgets the session by itself where this does not get through.
        let _ = tokio::time::timeout(FAREWELL, farewell(&options, &client, &mut events)).await;
    }
}

/// Ends with an error, or without one where nobody listens any more.
async fn listen(
    options: &Options,
    client: &AsyncClient,
    events: &mut EventLoop,
    incoming: &mpsc::Sender<Incoming>,
    up: &mut bool,
) -> Result<(), LinkError> {
    let (mut connected_once, mut missed, mut retry_ms) = (false, false, *RETRY_MS.start());
    loop {
        let news = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                missed = connected_once && !ack.session_present;
                if ack.session_present {
                    Some(Incoming::Link(Link::Up { missed }))
                } else {
                    let filters = options
                        .filters()
                        .into_iter()
                        .map(|path| SubscribeFilter { path, qos: QoS::AtLeastOnce });
                    client.subscribe_many(filters).await.map_err(LinkError::Client)?;
                    None
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = ack.return_codes.iter().zip(options.filters());
                let refused = refused.into_iter().find(|(code, _)| **code == SubscribeReasonCode::Failure);
                if let Some((_, filter)) = refused {
                    return Err(LinkError::SubscriptionRefused(filter));
                }
                Some(Incoming::Link(Link::Up { missed }))
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                Some(Incoming::Message { at: now(), topic: message.topic, payload: message.payload.to_vec() })
            }
            Ok(_) => None,
            Err(error) => {
                *up = false;
                let link = Link::Down { reason: reason(&error), retry_ms };
                if incoming.send(Incoming::Link(link)).await.is_err() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                retry_ms = (retry_ms * 2).min(*RETRY_MS.end());
                continue;
            }
        };
        let Some(news) = news else { continue };
        if matches!(news, Incoming::Link(_)) {
            (*up, connected_once, retry_ms) = (true, true, *RETRY_MS.start());
        }
        if incoming.send(news).await.is_err() {
            return Ok(());
        }
    }
}

/// Disconnects, and connects once more with a clean session: that is how MQTT 3.1.1 deletes one.
async fn farewell(
    options: &Options,
    client: &AsyncClient,
    events: &mut EventLoop,
) -> Result<(), ConnectionError> {
    disconnect(client, events).await?;
    let (client, mut events) = options.mqtt(true);
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    disconnect(&client, &mut events).await
}

async fn disconnect(client: &AsyncClient, events: &mut EventLoop) -> Result<(), ConnectionError> {
    if client.try_disconnect().is_ok() {
        while !matches!(events.poll().await?, Event::Outgoing(Outgoing::Disconnect)) {}
    }
    Ok(())
}

/// What an error says that a person can act on, without the layers it came through.
fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error) | ConnectionError::Tls(rumqttc::TlsError::Io(error)) => error.to_string(),
        ConnectionError::NetworkTimeout => format!("no answer within {CONNECT_TIMEOUT_S} s"),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        other => other.to_string(),
    }
}
