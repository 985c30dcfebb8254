//! The operator's connection to the broker: whom it trusts and as whom it speaks. Owns credentials, never a message. R-TLS-ALL,
//! R-TLS-CIPHERS, R-TLS-SERVER, R-TLS-CLIENT.

mod intake;
mod link;

use crate::authority::file;
use crate::credentials::{self, Credentials};
use crate::folder::FolderError;
use rumqttc::{
    AsyncClient, ConnectionError, EventLoop, MqttOptions, NetworkOptions, StateError, TlsConfiguration,
    Transport, mqttbytes,
};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use intake::Excess;
pub(crate) use intake::{Budget, Intake, STATES};
pub(crate) use link::{RETRY_MS, Wait, leave, refused, wanted};

/// The broker does not let the operator listen to these topics.
pub(crate) struct NotLetIn<'f>(pub &'f str);

impl fmt::Display for NotLetIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(filter) = self;
        write!(
            f,
            "the broker refuses the subscription to {filter}: its access list must let the operator read it"
        )
    }
}

/// Nothing came below this filter, though the broker has granted it.
pub(crate) struct NothingCame<'f>(pub &'f str);

impl fmt::Display for NothingCame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(filter) = self;
        write!(
            f,
            "nothing came from {filter}: no device has said anything there yet, or the broker does not let this certificate read it \
             (some brokers, Mosquitto among them, grant such a subscription and deliver nothing)"
        )
    }
}

/// How long connecting may take, in seconds.
pub const CONNECT_TIMEOUT_S: u64 = 10;
/// MQTT keep-alive in seconds.
const KEEP_ALIVE_S: u64 = 30;
/// Messages that wait for the connection.
const QUEUE: usize = 8;

/// The longest packet that MQTT knows, in bytes. A connection that ended at a message would end at it again each time the broker
/// gives it once more: whatever the broker passes is taken in, and what is too long is dropped by name. The bound for memory is the
/// broker's `message_size_limit`.
const PACKET_BYTES_MAX: usize = 268_435_455;

/// No message between devices and their service is longer, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = protocol::limits::LONGEST;

/// Why the operator cannot connect at all.
#[derive(Debug)]
pub enum OperatorError {
    /// A file of the credentials.
    Folder(FolderError),
    /// A file is there but cannot be used: which, and why.
    Unusable(PathBuf, String),
    /// The operator's certificate has ended, or is not valid yet: the sentence, with what mends it.
    Certificate(String),
    /// The random generator gives no name for the session.
    Random,
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Unusable(path, why) => write!(f, "{} cannot be used: {why}", path.display()),
            Self::Certificate(why) => f.write_str(why),
            Self::Random => f.write_str("the system's random generator gives no numbers"),
        }
    }
}

impl std::error::Error for OperatorError {}

impl From<FolderError> for OperatorError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// The operator at a broker.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The broker's host name or address, as in its certificate.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    tls: Arc<ClientConfig>,
    client_id: String,
}

impl Operator {
    /// Trusts the roots of all the authorities' folders `cas`; speaks with the certificate in the folder `own`. The name of
    /// the session is `name` and a random number.
    pub fn new(
        cas: &[PathBuf],
        own: &Path,
        host: String,
        port: u16,
        name: &str,
    ) -> Result<Self, OperatorError> {
        let provider = provider();
        let mut random = [0; 4];
        provider.secure_random.fill(&mut random).map_err(|_| OperatorError::Random)?;
        let tls = Arc::new(tls(cas, own, provider)?);
        // At most 23 characters: what every MQTT 3.1.1 broker takes.
        let client_id = format!("operator-{name}-{:08x}", u32::from_le_bytes(random));
        Ok(Self { host, port, tls, client_id })
    }

    /// With a name of the session that stays the same, so that the broker keeps messages while nobody is connected.
    #[must_use]
    pub fn named(self, client_id: String) -> Self {
        Self { client_id, ..self }
    }

    /// How the connection is to be made.
    pub fn options(&self, clean_session: bool) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.host, self.port);
        options
            .set_clean_session(clean_session)
            .set_keep_alive(Duration::from_secs(KEEP_ALIVE_S))
            .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX)
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&self.tls))));
        options
    }

    /// A client, not connected yet.
    pub fn connect(&self, options: MqttOptions) -> (AsyncClient, EventLoop) {
        let (client, mut events) = AsyncClient::new(options, QUEUE);
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_TIMEOUT_S);
        // Small packets in both directions: nothing is gained by waiting for more of them.
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        (client, events)
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

fn tls(cas: &[PathBuf], own: &Path, provider: CryptoProvider) -> Result<ClientConfig, OperatorError> {
    let mut roots = RootCertStore::empty();
    for path in cas.iter().map(|ca| ca.join(file::ROOT)) {
        for root in credentials::certificates(&path)? {
            roots.add(root).map_err(|error| OperatorError::Unusable(path.clone(), error.to_string()))?;
        }
    }
    let provider = Arc::new(provider);
    let unusable = |why: String| OperatorError::Unusable(own.to_owned(), why);
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let credentials = Credentials::open(cas, own, Arc::clone(&provider), verifier)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unusable(error.to_string()))?;
    // The verifier is rustls' own; the credentials only add what there is to say of dates.
    let config = config.dangerous().with_custom_certificate_verifier(Arc::clone(&credentials) as _);
    Ok(config.with_client_cert_resolver(credentials))
}

/// What an error says that a person can act on, without the layers it came through.
pub fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::Tls(rumqttc::TlsError::Io(error))
        | ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::Io(error))) => {
            credentials::sentence(error)
        }
        ConnectionError::NetworkTimeout => format!("no answer within {CONNECT_TIMEOUT_S} s"),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        other => other.to_string(),
    }
}

/// Seconds and milliseconds since 1970 of the system's clock.
pub fn now() -> protocol::EpochMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    protocol::EpochMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
