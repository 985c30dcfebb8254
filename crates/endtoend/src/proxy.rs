//! A link that fails on request: a TCP proxy that counts bytes and cuts exactly there, in the middle of a handshake
//! or of a record if that is where it is; or that swallows everything. It keeps what passed. Owns sockets only, and
//! knows neither TLS nor MQTT.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the device to the broker.
    Up,
    /// From the broker to the device.
    Down,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// As if the other side had closed it: FIN, behind what was sent.
    Fin,
    /// As if the other side had lost it: RST.
    Rst,
    /// Nothing passes any more, and nobody says so.
    Hole,
}

/// A cut that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose bytes are counted.
    pub direction: Direction,
    /// After how many, from now on, over all connections.
    pub after: u64,
    /// How.
    pub ending: Ending,
}

/// What the link does with every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It carries them.
    Open,
    /// It accepts them and carries nothing.
    Hole,
    /// It resets them.
    Closed,
}

/// What passed on one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// From the device to the broker.
    pub up: Vec<u8>,
    /// From the broker to the device.
    pub down: Vec<u8>,
}

/// A running proxy; dropping it ends every connection.
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Link {
    armed: Mutex<Option<(Cut, oneshot::Sender<()>)>>,
    recordings: Mutex<Vec<Recording>>,
}

impl Proxy {
    /// Carries connections to `port` on this host.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a listener");
        let link = Arc::new(Link::default());
        let (mode, modes) = watch::channel(Mode::Open);
        let task = tokio::spawn(accept(listener, port, link.clone(), modes));
        Self { address, link, mode, task }
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts once, as told; done when the connection is cut. Where it ends before, the next one goes on counting.
    pub async fn cut(&self, cut: Cut) {
        let (done, is_done) = oneshot::channel();
        *lock(&self.link.armed) = Some((cut, done));
        is_done.await.expect("the link is there until the proxy goes");
    }

    /// From now on, for the connections that there are and those that come.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// What has passed so far, one entry for each connection that the broker has accepted.
    pub fn recordings(&self) -> Vec<Recording> {
        lock(&self.link.recordings).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, port: u16, link: Arc<Link>, modes: watch::Receiver<Mode>) {
    // Dropped, and so ended, with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((device, _)) = listener.accept().await else { continue };
        connections.spawn(carry(device, port, link.clone(), modes.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut device: TcpStream, port: u16, link: Arc<Link>, mut modes: watch::Receiver<Mode>) {
    // A link that adds its own delays would only make the tests slow.
    let _no_matter = device.set_nodelay(true);
    let open = *modes.borrow() == Mode::Open;
    let broker = if open { TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok() } else { None };
    let Some(mut broker) = broker else {
        if *modes.borrow() == Mode::Hole {
            swallow(&mut device).await;
        }
        return reset(&device);
    };
    let _no_matter = broker.set_nodelay(true);
    let number = {
        let mut recordings = lock(&link.recordings);
        recordings.push(Recording::default());
        recordings.len() - 1
    };
    let ending = {
        let (mut from_device, mut to_device) = device.split();
        let (mut from_broker, mut to_broker) = broker.split();
        tokio::select! {
            ending = pump(&link, number, Direction::Up, &mut from_device, &mut to_broker) => ending,
            ending = pump(&link, number, Direction::Down, &mut from_broker, &mut to_device) => ending,
            ending = no_longer_open(&mut modes) => ending,
        }
    };
    match ending {
        Ending::Fin => {
            // Whoever has gone already needs no goodbye.
            let _gone = device.shutdown().await;
            let _gone = broker.shutdown().await;
        }
        Ending::Rst => {
            reset(&device);
            reset(&broker);
        }
        Ending::Hole => {
            swallow(&mut device).await;
            reset(&broker);
        }
    }
}

/// Carries bytes one way until one side closes or a cut is due.
async fn pump(
    link: &Link,
    number: usize,
    direction: Direction,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
) -> Ending {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = match from.read(&mut buffer).await {
            Ok(0) => return Ending::Fin,
            Ok(len) => len,
            Err(_) => return Ending::Rst,
        };
        let (len, cut) = link.count(direction, len);
        let bytes = buffer.get(..len).unwrap_or_default();
        link.record(number, direction, bytes);
        let written = to.write_all(bytes).await;
        if let Some((ending, done)) = cut {
            // A test that has gone away does not wait any more.
            let _gone = done.send(());
            return ending;
        }
        if written.is_err() {
            return Ending::Rst;
        }
    }
}

impl Link {
    /// How many of `len` bytes may still pass, and whether the connection is cut behind them.
    fn count(&self, direction: Direction, len: usize) -> (usize, Option<(Ending, oneshot::Sender<()>)>) {
        let mut armed = lock(&self.armed);
        match armed.take() {
            Some((cut, done)) if cut.direction == direction && cut.after < len as u64 => {
                (cut.after as usize, Some((cut.ending, done)))
            }
            Some((mut cut, done)) => {
                if cut.direction == direction {
                    cut.after -= len as u64;
                }
                *armed = Some((cut, done));
                (len, None)
            }
            None => (len, None),
        }
    }

    fn record(&self, number: usize, direction: Direction, bytes: &[u8]) {
        if let Some(recording) = lock(&self.recordings).get_mut(number) {
            match direction {
                Direction::Up => recording.up.extend_from_slice(bytes),
                Direction::Down => recording.down.extend_from_slice(bytes),
            }
        }
    }
}

async fn no_longer_open(modes: &mut watch::Receiver<Mode>) -> Ending {
    match modes.wait_for(|mode| *mode != Mode::Open).await.map(|mode| *mode) {
        Ok(Mode::Hole) => Ending::Hole,
        // An error says that the proxy is gone.
        Ok(Mode::Open | Mode::Closed) | Err(_) => Ending::Rst,
    }
}

/// Takes in what comes and answers nothing, until the other side gives up.
async fn swallow(device: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while device.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
}

/// Closing is then an RST instead of a FIN, and what is unsent is thrown away.
fn reset(stream: &TcpStream) {
    let _gone = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_only_its_own_direction_and_lets_exactly_its_bytes_pass() {
        let link = Link::default();
        let (done, mut is_done) = oneshot::channel();
        *lock(&link.armed) = Some((Cut { direction: Direction::Up, after: 10, ending: Ending::Rst }, done));
        assert!(matches!(link.count(Direction::Down, 100), (100, None)));
        assert!(matches!(link.count(Direction::Up, 6), (6, None)));
        let (len, cut) = link.count(Direction::Up, 6);
        let (ending, done) = cut.expect("the cut is due");
        assert_eq!((len, ending), (4, Ending::Rst));
        assert!(is_done.try_recv().is_err());
        done.send(()).unwrap();
        assert!(is_done.try_recv().is_ok());
        assert!(matches!(link.count(Direction::Up, 6), (6, None)));
    }

    #[tokio::test]
    async fn what_passes_is_kept_and_a_closed_link_lets_nothing_through() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap().port()).await;
        let mut device = TcpStream::connect(proxy.address).await.unwrap();
        let (mut broker, _) = server.accept().await.unwrap();
        let mut buffer = [0; 8];
        device.write_all(b"to you").await.unwrap();
        assert_eq!(broker.read(&mut buffer).await.unwrap(), 6);
        broker.write_all(b"to me").await.unwrap();
        assert_eq!(device.read(&mut buffer).await.unwrap(), 5);
        assert_eq!(proxy.recordings(), [Recording { up: b"to you".into(), down: b"to me".into() }]);
        proxy.set(Mode::Closed);
        assert!(device.read(&mut buffer).await.is_err());
        let mut refused = TcpStream::connect(proxy.address).await.unwrap();
        assert!(refused.read(&mut buffer).await.is_err());
        assert_eq!(proxy.recordings().len(), 1);
    }
}
