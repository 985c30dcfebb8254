//! The SNTP exchange on the wire: one datagram out from a fresh port, every answer of that server in. Judges nothing:
//! that is the device's clock. R-TIME.

use device::clock::{ANSWER_TIMEOUT_MS, sntp::PACKET_LEN};
use protocol::Endpoint;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Longest part of a datagram that is looked at, in bytes: a header and room to see that there is more.
const DATAGRAM_MAX: usize = 512;

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The server's address is known: [`Exchange::send`] is to be called now. Comes again where an address refuses and
    /// there is another.
    Ready,
    /// A datagram has come from the server.
    Datagram(Vec<u8>),
    /// Its name has no address, or the name service does not say so in time.
    UnknownName,
    /// Nobody listens there.
    Unreachable,
}

#[derive(Debug)]
enum State {
    LookingUp(JoinHandle<io::Result<Vec<SocketAddr>>>),
    Ready,
    Asked(UdpSocket),
    Over,
}

/// One request and what comes back. Dropping it closes the port.
#[derive(Debug)]
pub struct Exchange {
    packet: [u8; PACKET_LEN],
    /// Addresses that were not asked yet, the next one last.
    addresses: Vec<SocketAddr>,
    state: State,
    until: Instant,
}

impl Exchange {
    /// Begins to look up `server`, inside a tokio runtime; the whole exchange may take [`ANSWER_TIMEOUT_MS`] twice:
    /// once to find the server, once to hear it.
    pub fn start(server: &Endpoint, packet: [u8; PACKET_LEN]) -> Self {
        let (host, port) = (server.host.as_str().to_owned(), server.port);
        let look_up = async move {
            let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
            addresses.reverse();
            Ok(addresses)
        };
        let state = State::LookingUp(tokio::spawn(look_up));
        Self { packet, addresses: Vec::new(), state, until: limit() }
    }

    /// What happens next; `None` where nothing will any more. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Progress> {
        let progress = match &mut self.state {
            State::LookingUp(task) => match timeout_at(self.until, task).await {
                Ok(Ok(Ok(addresses))) if !addresses.is_empty() => {
                    self.addresses = addresses;
                    Some(self.ready_or_unreachable())
                }
                Ok(Ok(_) | Err(_)) | Err(_) => Some(Progress::UnknownName),
            },
            State::Ready => Some(Progress::Ready),
            State::Asked(socket) => {
                let mut buffer = [0; DATAGRAM_MAX];
                match timeout_at(self.until, socket.recv(&mut buffer)).await {
                    Ok(Ok(len)) => Some(Progress::Datagram(buffer.get(..len).unwrap_or_default().to_vec())),
                    Ok(Err(_refused)) => Some(self.ready_or_unreachable()),
                    Err(_late) => None,
                }
            }
            State::Over => None,
        };
        if matches!(progress, None | Some(Progress::Unreachable | Progress::UnknownName)) {
            self.state = State::Over;
        }
        progress
    }

    fn ready_or_unreachable(&mut self) -> Progress {
        if self.addresses.is_empty() {
            return Progress::Unreachable;
        }
        self.state = State::Ready;
        Progress::Ready
    }

    /// Sends the request to the next address that takes it, before it returns: the moment of the call is the moment
    /// from which the round trip counts. False where there is none.
    pub fn send(&mut self) -> bool {
        while let Some(address) = self.addresses.pop() {
            if let Ok(socket) = ask(address, &self.packet) {
                self.state = State::Asked(socket);
                self.until = limit();
                return true;
            }
        }
        self.state = State::Over;
        false
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let State::LookingUp(task) = &self.state {
            task.abort();
        }
    }
}

fn limit() -> Instant {
    Instant::now() + Duration::from_millis(ANSWER_TIMEOUT_MS)
}

fn ask(address: SocketAddr, packet: &[u8]) -> io::Result<UdpSocket> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(local)?;
    // Connected: the kernel drops what comes from anywhere else, and tells of ICMP errors.
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    socket.send(packet)?;
    UdpSocket::from_std(socket)
}
