//! Devices that log in with tokens, and the broker that they log in at.

use super::support::{Authority, PATIENCE, loopback};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::key::Digest;
use protocol::token::{self, Claims, TOKEN_BYTES_MAX};
use protocol::{DeviceId, EpochMillis, Failure, PublicKey, Signature};
use simulator::broker::Broker;
use simulator::broker::tokens::Tokens;
use simulator::mqtt::{Link, LinkEvent, Login, Password, Target};
use simulator::tls::{DeviceClock, Version, token_client_config};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;

pub const AUDIENCE: &str = "localhost";

/// The identity key of a device.
pub struct Identity(SigningKey);

impl Identity {
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
    }

    pub fn sign(&self, digest: &Digest) -> Signature {
        let signature: p256::ecdsa::Signature = self.0.sign_prehash(digest).unwrap();
        Signature::normalised(&signature.to_bytes()).unwrap()
    }

    /// A token that begins so many seconds from now.
    pub fn token(&self, id: &str, audience: &str, from_now_s: i64, life_s: u64) -> String {
        let issued_s = now().seconds().saturating_add_signed(from_now_s);
        let subject = DeviceId::new(id).unwrap();
        let claims = Claims { issued_s, expires_s: issued_s + life_s, audience, subject: &subject };
        let mut buffer = [0; TOKEN_BYTES_MAX];
        let len =
            token::encode(&claims, &mut buffer, |digest| Ok::<_, Infallible>(self.sign(digest))).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    pub fn good(&self, id: &str) -> String {
        self.token(id, AUDIENCE, 0, 600)
    }
}

pub fn now() -> EpochMillis {
    EpochMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub fn login(user: &str, token: &str) -> Login {
    Login { user: user.to_owned(), password: Password::new(token) }
}

/// A broker with a registry.
pub struct Service {
    folder: tempfile::TempDir,
    authority: Authority,
    port: u16,
    pub refusals: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// `dev-1` is registered with the key 1, `dev-2` with the key 2.
    pub fn start() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
        authority.write_folder(folder.path());
        let refusals: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = refusals.clone();
        let mut service = Self { folder, authority, port: 0, refusals };
        service.register("dev-1", &Identity::new(1));
        service.register("dev-2", &Identity::new(2));
        let tokens = Tokens {
            registry: service.registry(),
            address: loopback(),
            audience: AUDIENCE.to_owned(),
            refused: Box::new(move |_, why| told.lock().unwrap().push(why.to_string())),
        };
        let broker = Broker::start_with_tokens(service.folder.path(), loopback(), tokens).unwrap();
        service.port = broker.token_address().unwrap().port();
        service
    }

    pub fn registry(&self) -> PathBuf {
        self.folder.path().join("registry.jsonl")
    }

    pub fn append(&self, line: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.registry()).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    pub fn register(&self, id: &str, key: &Identity) {
        let (identity, key_id) = (hex(key.public().as_bytes()), hex(&key.public().id().0));
        self.append(&format!(
            r#"{{"event":"registered","id":"{id}","identity":"{identity}","key_id":"{key_id}"}}"#
        ));
    }

    pub fn revoke(&self, id: &str, key: &Identity) {
        let key_id = hex(&key.public().id().0);
        self.append(&format!(r#"{{"event":"revoked","id":"{id}","key_id":"{key_id}"}}"#));
    }

    /// How an attempt to log in ends; what is connected stays so.
    pub async fn log_in(&self, client_id: &str, login: Option<Login>) -> Result<Link, Failure> {
        connect(self.port, self.authority.root(), client_id, login).await
    }

    /// What the device and the broker's operator are told of a login that is refused.
    pub async fn refused(&self, client_id: &str, login: Option<Login>) -> (Failure, String) {
        let failure = self.log_in(client_id, login).await.map(drop).expect_err("the broker lets it in");
        (failure, self.refusals.lock().unwrap().pop().unwrap_or_default())
    }

    /// The same for `dev-1` with this token.
    pub async fn refused_token(&self, token: &str) -> (Failure, String) {
        self.refused("dev-1", Some(login("dev-1", token))).await
    }
}

pub async fn connect(
    port: u16,
    root: CertificateDer<'static>,
    client_id: &str,
    login: Option<Login>,
) -> Result<Link, Failure> {
    let clock = DeviceClock::default();
    clock.set(now());
    let tls = Arc::new(token_client_config(vec![root], Version::default(), clock).unwrap());
    let target = Target {
        host: "localhost".to_owned(),
        port,
        client_id: client_id.to_owned(),
        login,
        keep_alive_s: 60,
        timeout: PATIENCE,
        turn: device::session::AddressTurn::default(),
        known: Vec::new(),
    };
    let mut link = Link::open(&target, tls);
    assert!(matches!(event(&mut link).await, LinkEvent::Trying(_)));
    match timeout(PATIENCE, link.next()).await.expect("an end in time") {
        Some(LinkEvent::Connected { .. }) => Ok(link),
        Some(LinkEvent::Failed(failure)) => Err(failure),
        other => panic!("unexpected: {other:?}"),
    }
}

/// The next event of a connection.
pub async fn event(link: &mut Link) -> LinkEvent {
    timeout(PATIENCE, link.next()).await.expect("an event in time").expect("an event")
}
