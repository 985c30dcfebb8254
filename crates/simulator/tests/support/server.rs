//! A TLS server that lets every MQTT client in: it answers whatever comes first with CONNACK and then only listens.

use super::Leaf;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// CONNACK with return code 0.
pub const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// Shows `leaf`; wants client certificates of `clients` where that is given.
pub fn acceptor(leaf: &Leaf, clients: Option<CertificateDer<'static>>) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(root) => {
            let mut roots = RootCertStore::empty();
            roots.add(root).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder.with_single_cert(leaf.chain.clone(), leaf.key()).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A running server; dropping it stops it.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// TCP connections so far, whatever came of them.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Shows `leaf`; wants client certificates of `clients` where that is given.
    pub async fn start(leaf: &Leaf, clients: Option<CertificateDer<'static>>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), leaf, clients).await
    }

    /// The same at this address.
    pub async fn start_at(at: SocketAddr, leaf: &Leaf, clients: Option<CertificateDer<'static>>) -> Self {
        let acceptor = acceptor(leaf, clients);
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A handshake that fails is what most tests are about.
                    let Ok(mut tls) = acceptor.accept(stream).await else { return };
                    let mut buffer = [0; 1024];
                    if tls.read(&mut buffer).await.is_ok_and(|len| len > 0)
                        && tls.write_all(&CONNACK).await.is_ok()
                    {
                        while tls.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
                    }
                });
            }
        });
        Self { address, connections, task }
    }
}
