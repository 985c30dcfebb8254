//! A server that writes down all that it hears, on the wire and inside TLS.

use super::server::{CONNACK, acceptor};
use super::{Leaf, PATIENCE, loopback};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

type Heard = Arc<Mutex<Vec<u8>>>;

/// Serves one connection.
pub struct Recorder {
    pub address: SocketAddr,
    heard: Heard,
    over: oneshot::Receiver<()>,
}

impl Recorder {
    /// Shows `leaf`, or speaks no TLS at all.
    pub async fn start(leaf: Option<&Leaf>) -> Self {
        let acceptor = leaf.map(|leaf| acceptor(leaf, None));
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let ear = heard.clone();
        let (ended, over) = oneshot::channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut wire = Wire { stream, heard: ear.clone() };
            match acceptor {
                // A handshake that fails is what the tests are about.
                Some(acceptor) => {
                    if let Ok(mut tls) = acceptor.accept(wire).await {
                        listen(&mut tls, &ear).await;
                    }
                }
                None => listen(&mut wire, &ear).await,
            }
            let _nobody = ended.send(());
        });
        Self { address, heard, over }
    }

    /// All that came, once the client is gone.
    pub async fn heard(self) -> Vec<u8> {
        timeout(PATIENCE, self.over).await.expect("the client goes").unwrap();
        self.heard.lock().unwrap().clone()
    }
}

/// Answers the first that comes with CONNACK and writes down what comes until the end.
async fn listen(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), ear: &Heard) {
    let mut buffer = [0; 1024];
    let mut answered = false;
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        ear.lock().unwrap().extend(&buffer[..len]);
        if !answered && stream.write_all(&CONNACK).await.is_err() {
            return;
        }
        answered = true;
    }
}

/// A socket of which every byte that is read is written down.
struct Wire {
    stream: TcpStream,
    heard: Heard,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.heard.lock().unwrap().extend(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
