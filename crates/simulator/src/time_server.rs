//! A small SNTP server for demonstrations and tests: answers with the host's clock, or lies as it is told. Never for
//! the field. R-TIME.

use device::clock::sntp::PACKET_LEN;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Seconds from 1900-01-01 to 1970-01-01.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// How the server answers; [`Behaviour::default`] is honest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Milliseconds that are added to the host's time.
    pub offset_ms: i64,
    /// Root dispersion in milliseconds.
    pub root_dispersion_ms: u32,
    /// How long the answer is held back without saying so.
    pub delay: Duration,
    /// What else is wrong with it.
    pub fault: Option<Fault>,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never comes.
    Silence,
    /// It carries another originate timestamp than the request.
    WrongOriginate,
    /// Stratum 0 with this kiss code: `RATE`, `DENY`, `RSTR` or any other.
    Kiss([u8; 4]),
    /// This protocol version instead of the request's.
    Version(u8),
    /// Leap indicator 3: not synchronised.
    Alarm,
    /// Receive and transmit timestamps are zero.
    ZeroTimestamps,
    /// It ends after this many bytes.
    CutTo(usize),
    /// It comes from another port than the one that was asked.
    OtherPort,
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct TimeServer {
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl TimeServer {
    /// Serves on `address` (port 0 takes a free one), inside a tokio runtime.
    pub async fn start(address: SocketAddr, behaviour: Behaviour) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(address).await?);
        let address = socket.local_addr()?;
        let behaviour = Arc::new(Mutex::new(behaviour));
        let requests = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(socket, behaviour.clone(), requests.clone()));
        Ok(Self { address, behaviour, requests, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers like this from now on.
    pub fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// Requests since start.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until the server ends, which it does only where its socket fails.
    pub async fn ended(&mut self) {
        let _panicked = (&mut self.task).await;
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: Arc<UdpSocket>, behaviour: Arc<Mutex<Behaviour>>, requests: Arc<AtomicU64>) {
    let mut buffer = [0; 512];
    // ICMP errors of former answers come up here; the next request does not suffer from them.
    loop {
        let Ok((len, client)) = socket.recv_from(&mut buffer).await else { continue };
        let received = SystemTime::now();
        let Some(request) = buffer.get(..len).and_then(|bytes| bytes.first_chunk::<PACKET_LEN>()).copied()
        else {
            continue;
        };
        // Only requests of clients (mode 3) are answered, so that two servers never talk to each other.
        if request[0] & 7 != 3 {
            continue;
        }
        requests.fetch_add(1, Ordering::Relaxed);
        let how = behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if how.fault == Some(Fault::Silence) {
            continue;
        }
        let socket = match how.fault {
            Some(Fault::OtherPort) => match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await {
                Ok(other) => Arc::new(other),
                Err(_no_port) => continue,
            },
            _ => socket.clone(),
        };
        tokio::spawn(async move {
            tokio::time::sleep(how.delay).await;
            let packet = answer(&request, received, &how);
            let len = if let Some(Fault::CutTo(len)) = how.fault { len.min(PACKET_LEN) } else { PACKET_LEN };
            // A client that has gone away gets nothing.
            let _gone = socket.send_to(packet.get(..len).unwrap_or_default(), client).await;
        });
    }
}

/// The answer to `request` (RFC 4330, section 4): version and mode, stratum 1, timestamps.
fn answer(request: &[u8; PACKET_LEN], received: SystemTime, how: &Behaviour) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    let version = request[0] & (7 << 3);
    packet[0] = version | 4;
    packet[1] = 1;
    packet[8..12].copy_from_slice(&((u64::from(how.root_dispersion_ms) << 16) / 1000).to_be_bytes()[4..]);
    packet[12..16].copy_from_slice(b"LOCL");
    packet[24..32].copy_from_slice(&request[40..48]);
    let stamp = timestamp(received, how.offset_ms);
    packet[32..40].copy_from_slice(&stamp);
    // A delay that the server does not own up to is one on the way.
    packet[40..48].copy_from_slice(&stamp);
    match how.fault {
        Some(Fault::WrongOriginate) => packet[24] ^= 0xff,
        Some(Fault::Kiss(code)) => {
            packet[1] = 0;
            packet[12..16].copy_from_slice(&code);
        }
        Some(Fault::Version(version)) => packet[0] = version << 3 | 4,
        Some(Fault::Alarm) => packet[0] |= 3 << 6,
        Some(Fault::ZeroTimestamps) => packet[32..48].fill(0),
        Some(Fault::Silence | Fault::CutTo(_) | Fault::OtherPort) | None => {}
    }
    packet
}

/// A time as an NTP timestamp; seconds beyond 2036 wrap into the next era by themselves.
fn timestamp(time: SystemTime, offset_ms: i64) -> [u8; 8] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = (since.as_millis() as u64).saturating_add_signed(offset_ms);
    let seconds = (millis / 1000).wrapping_add(NTP_TO_UNIX_S) as u32;
    let fraction = ((millis % 1000) << 32) / 1000;
    let mut stamp = [0; 8];
    stamp[..4].copy_from_slice(&seconds.to_be_bytes());
    stamp[4..].copy_from_slice(&(fraction as u32).to_be_bytes());
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;
    use device::clock::sntp;

    #[test]
    fn an_honest_answer_passes_the_devices_checks_and_tells_the_time() {
        let nonce = *b"12345678";
        let now = UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
        for offset_ms in [0, 400_000_000_000] {
            let how = Behaviour { offset_ms, root_dispersion_ms: 20, ..Behaviour::default() };
            let packet = answer(&sntp::request(nonce), now, &how);
            let answer = sntp::check(&packet, nonce).unwrap();
            let told = answer.transmitted.0 as i64;
            assert!((told - 1_790_000_000_123 - offset_ms).abs() <= 1, "{told}");
            assert!((19..=21).contains(&answer.root_distance_ms), "{}", answer.root_distance_ms);
        }
    }
}
