//! The broker's second door, for devices that log in with a token in the MQTT password instead of a client certificate:
//! TLS with the server's certificate alone, then CONNECT, whose token is verified against the keys registered for the
//! client identifier. Owns the verdict and the time for which it holds; never writes a token anywhere. R-TLS-CLIENT.
//!
//! rumqttd can only have one kind of TLS in a process, and answers a wrong password by hanging up. So the door stands in
//! front of it: it answers a refusal with CONNACK, and passes on who may enter to a listener of rumqttd on the loopback
//! interface, where a secret of this process has taken the token's place.
//!
//! - The user name must be the client identifier: MQTT 3.1.1 wants one beside a password ([MQTT-3.1.2-22]), and brokers
//!   take rights from it.
//! - A connection ends when its token does, [`SKEW_S`] included: the device renews it before.
//! - A revocation counts from the next login on: who is connected stays until the token expires.

use super::registry::{Registry, RegistryError};
use crate::tls::{self, Version};
use bytes::BytesMut;
use protocol::id::DeviceIdError;
use protocol::token::{self, SKEW_S, TokenRefusal, VerifiedToken};
use protocol::{DeviceId, EpochMillis};
use rumqttc::{ConnAck, Connect, ConnectReturnCode, Login, Packet, Protocol};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as RustlsError, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Largest CONNECT in bytes: a token, an id twice, a will of a kilobyte.
const CONNECT_BYTES_MAX: usize = 2048;

/// How long a client may take for the handshake, and then for CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the door stays shut after the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The user name with which the door comes to rumqttd.
pub(super) const INSIDE: &str = "tokens";

/// Told of every refusal: the client identifier as it came, and why.
pub type Refused = Box<dyn Fn(&str, &LoginRefusal) + Send + Sync>;

/// What the door needs.
pub struct Tokens {
    /// The ledger with the devices' public keys.
    pub registry: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// For whom tokens must be: what devices have as their service's host name.
    pub audience: String,
    /// Told of every refusal.
    pub refused: Refused,
}

/// Why a client was not let in.
#[derive(Debug, Error)]
pub enum LoginRefusal {
    /// Another version than 3.1.1.
    #[error("it does not speak MQTT 3.1.1")]
    Version,
    /// The client identifier is none of a device.
    #[error("its client identifier is no device id: {0}")]
    ClientId(DeviceIdError),
    /// There is no password.
    #[error("it has no token in its password")]
    NoToken,
    /// The user name is another one.
    #[error("its user name is not its client identifier")]
    UserName,
    /// No key is registered, or each one is revoked.
    #[error("no identity key is registered for it, or each one is revoked")]
    Unregistered,
    /// The token was refused.
    #[error("{0}")]
    Token(TokenRefusal),
    /// The token was signed with a key of this device, but states another one.
    #[error("the token's subject is another device")]
    Subject,
    /// The registry cannot be used.
    #[error(transparent)]
    Registry(RegistryError),
}

impl LoginRefusal {
    /// How it is told to the client.
    pub fn code(&self) -> ConnectReturnCode {
        match self {
            Self::Version => ConnectReturnCode::RefusedProtocolVersion,
            Self::ClientId(_) => ConnectReturnCode::BadClientId,
            Self::Registry(_) => ConnectReturnCode::ServiceUnavailable,
            Self::Unregistered => ConnectReturnCode::NotAuthorized,
            Self::NoToken | Self::UserName | Self::Token(_) | Self::Subject => {
                ConnectReturnCode::BadUserNamePassword
            }
        }
    }
}

/// Who is let in.
#[derive(Debug)]
pub struct Gate {
    registry: Mutex<Registry>,
    audience: String,
}

impl Gate {
    /// A gate for tokens to `audience` with the keys of this registry.
    pub fn new(registry: Registry, audience: String) -> Self {
        Self { registry: Mutex::new(registry), audience }
    }

    /// Whether the client with this identifier and login is let in at `now`.
    pub fn judge(
        &self,
        client_id: &str,
        login: Option<&Login>,
        now: EpochMillis,
    ) -> Result<VerifiedToken, LoginRefusal> {
        let id = DeviceId::new(client_id).map_err(LoginRefusal::ClientId)?;
        let login = login.filter(|login| !login.password.is_empty()).ok_or(LoginRefusal::NoToken)?;
        if login.username != client_id {
            return Err(LoginRefusal::UserName);
        }
        let keys = self.registry.lock().unwrap_or_else(PoisonError::into_inner).keys(&id);
        let mut verdict = Err(LoginRefusal::Unregistered);
        for key in keys.map_err(LoginRefusal::Registry)? {
            verdict = token::verify(&login.password, &key, &self.audience, now).map_err(LoginRefusal::Token);
            // Only a signature can be right with the device's next key.
            if !matches!(verdict, Err(LoginRefusal::Token(TokenRefusal::Signature))) {
                break;
            }
        }
        verdict.and_then(|token| if *token.subject() == id { Ok(token) } else { Err(LoginRefusal::Subject) })
    }
}

/// The open door.
pub(super) struct Door {
    pub gate: Gate,
    pub refused: Refused,
    pub acceptor: TlsAcceptor,
    /// rumqttd's listener, and the secret that it wants.
    pub inside: SocketAddr,
    pub secret: String,
}

/// The door's TLS: the device's own version, suite and group, no client certificates.
pub(super) fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, RustlsError> {
    let config = ServerConfig::builder_with_provider(Arc::new(tls::provider(Version::default())))
        .with_protocol_versions(&[Version::default().supported()])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Door {
    /// Lets clients in, on a thread of its own, until the process ends.
    pub(super) fn open(self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async move {
                let door = Arc::new(self);
                let listener = tokio::net::TcpListener::from_std(listener)?;
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            let door = door.clone();
                            // A connection ends for its own reasons; a refusal is told where it is found.
                            tokio::spawn(async move { door.connection(stream).await.ok() });
                        }
                        Err(_no_sockets) => sleep(ACCEPT_PAUSE).await,
                    }
                }
            })
        };
        std::thread::Builder::new()
            .name("tokens".to_owned())
            .spawn(serve)
            .map(|_: std::thread::JoinHandle<io::Result<()>>| ())
    }

    async fn connection(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut client = timeout(CONNECT_TIMEOUT, self.acceptor.accept(stream)).await??;
        let mut read = BytesMut::with_capacity(CONNECT_BYTES_MAX);
        let mut connect = timeout(CONNECT_TIMEOUT, connect(&mut client, &mut read)).await??;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = EpochMillis(now.as_millis() as u64);
        let verdict = match connect.protocol {
            Protocol::V4 => self.gate.judge(&connect.client_id, connect.login.as_ref(), now),
            Protocol::V5 => Err(LoginRefusal::Version),
        };
        let token = match verdict {
            Ok(token) => token,
            Err(refusal) => {
                (self.refused)(&connect.client_id, &refusal);
                return refuse(&mut client, refusal.code()).await;
            }
        };
        let end = EpochMillis::from_seconds(token.expires_s().saturating_add(SKEW_S));
        let left = Duration::from_millis(end.since(now).max(0).unsigned_abs());
        connect.login = Some(Login::new(INSIDE, &*self.secret));
        let mut first = BytesMut::new();
        connect.write(&mut first).map_err(io::Error::other)?;
        let mut inside = TcpStream::connect(self.inside).await?;
        inside.set_nodelay(true)?;
        inside.write_all(&first).await?;
        inside.write_all(&read).await?;
        let both = copy_bidirectional(&mut client, &mut inside);
        // At the end of the token's life the connection is over, as at the end of a session elsewhere.
        let _over = timeout_at(Instant::now() + left, both).await;
        client.shutdown().await
    }
}

/// Reads CONNECT; what came behind it stays in `read`.
async fn connect(client: &mut TlsStream<TcpStream>, read: &mut BytesMut) -> io::Result<Connect> {
    loop {
        match Packet::read(read, CONNECT_BYTES_MAX) {
            Ok(Packet::Connect(connect)) => return Ok(connect),
            Ok(_) => return Err(io::Error::other("the first packet is not CONNECT")),
            Err(rumqttc::Error::InsufficientBytes(_)) => {
                if client.read_buf(read).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

async fn refuse(client: &mut TlsStream<TcpStream>, code: ConnectReturnCode) -> io::Result<()> {
    let mut answer = BytesMut::new();
    ConnAck::new(code, false).write(&mut answer).map_err(io::Error::other)?;
    client.write_all(&answer).await?;
    client.shutdown().await
}
