//! What the service sends, one packet at a time (MQTT 3.1.1, chapters 2 and 3). Owns the form of each packet and the limit
//! of a payload: what breaks the form ends the connection, what is too long is read to its end and dropped.

use device::dropped::PAYLOAD_BYTES_MAX;
use protocol::Failure;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest answer to a SUBSCRIBE: its identifier and a code for each topic, of which a device has a handful.
const SUBACK_MAX: usize = 64;

/// What is read at once of a payload that is dropped.
const CHUNK: usize = 4 * 1024;

/// A packet has to go on within this time once it has begun: however long it is, it never stands still.
const STALL: Duration = Duration::from_secs(20);

/// A packet from the service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    ConnAck {
        session: bool,
        code: u8,
    },
    SubAck {
        id: u16,
        codes: Vec<u8>,
    },
    UnsubAck(u16),
    PubAck(u16),
    PingResp,
    Disconnect,
    Publish {
        topic: Vec<u8>,
        id: Option<u16>,
        payload: Payload,
    },
    /// A long message is on its way.
    Alive,
}

/// A payload, or how long it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Taken(Vec<u8>),
    TooLong(u32),
}

/// Reads packets until the connection ends or one breaks the form; gives why.
pub(super) async fn read_all<R: AsyncRead + Unpin>(stream: R, out: &mpsc::Sender<Incoming>) -> Failure {
    let mut reader = Reader { stream, left: 0 };
    loop {
        match reader.packet(out).await {
            Ok(packet) => {
                if out.send(packet).await.is_err() {
                    // Nobody listens any more.
                    return Failure::Requested;
                }
            }
            Err(failure) => return failure,
        }
    }
}

struct Reader<R> {
    stream: R,
    /// Bytes of the packet that are not read yet.
    left: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn packet(&mut self, out: &mpsc::Sender<Incoming>) -> Result<Incoming, Failure> {
        // Between packets the service may be silent: keep-alive is somebody else's.
        let first = self.stream.read_u8().await.map_err(|error| crate::failure::of_io(&error))?;
        self.left = self.length().await?;
        let packet = match (first, self.left) {
            (0x20, 2) => match self.bytes().await? {
                [flags @ (0 | 1), code] => Incoming::ConnAck { session: flags == 1, code },
                _ => return Err(Failure::MqttProtocol),
            },
            (0x40, 2) => Incoming::PubAck(u16::from_be_bytes(self.bytes().await?)),
            (0xb0, 2) => Incoming::UnsubAck(u16::from_be_bytes(self.bytes().await?)),
            (0x90, 3..=SUBACK_MAX) => {
                let id = u16::from_be_bytes(self.bytes().await?);
                Incoming::SubAck { id, codes: self.rest().await? }
            }
            (0xd0, 0) => Incoming::PingResp,
            (0xe0, 0) => Incoming::Disconnect,
            (0x30..=0x3f, _) => self.publish(first, out).await?,
            _ => return Err(Failure::MqttProtocol),
        };
        debug_assert_eq!(self.left, 0);
        Ok(packet)
    }

    /// The remaining length (section 2.2.3): at most four bytes.
    async fn length(&mut self) -> Result<usize, Failure> {
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            self.left = 1;
            let [byte] = self.bytes().await?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(Failure::MqttProtocol)
    }

    async fn publish(&mut self, first: u8, out: &mpsc::Sender<Incoming>) -> Result<Incoming, Failure> {
        let qos = first >> 1 & 3;
        // A device subscribes with QoS 1, and is sent no more than that (section 3.8.4).
        if qos > 1 {
            return Err(Failure::MqttProtocol);
        }
        let topic = usize::from(u16::from_be_bytes(self.bytes().await?));
        if topic > self.left {
            return Err(Failure::MqttProtocol);
        }
        let behind = self.left - topic;
        self.left = topic;
        let topic = self.rest().await?;
        self.left = behind;
        let id = if qos == 1 {
            let id = u16::from_be_bytes(self.bytes().await?);
            // Zero is no packet identifier (section 2.3.1).
            if id == 0 {
                return Err(Failure::MqttProtocol);
            }
            Some(id)
        } else {
            None
        };
        let payload = if self.left > PAYLOAD_BYTES_MAX {
            let length = self.left as u32;
            self.discard(out).await?;
            Payload::TooLong(length)
        } else {
            Payload::Taken(self.rest().await?)
        };
        Ok(Incoming::Publish { topic, id, payload })
    }

    async fn discard(&mut self, out: &mpsc::Sender<Incoming>) -> Result<(), Failure> {
        let mut chunk = [0; CHUNK];
        while self.left > 0 {
            let part = &mut chunk[..self.left.min(CHUNK)];
            within(self.stream.read_exact(part)).await?;
            self.left -= part.len();
            // A sign of life, for keep-alive's sake; where many wait already, one more says nothing.
            let _full = out.try_send(Incoming::Alive);
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; std::mem::take(&mut self.left)];
        within(self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    /// The next bytes of the packet; one that is shorter breaks the form.
    async fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        self.left = self.left.checked_sub(N).ok_or(Failure::MqttProtocol)?;
        let mut bytes = [0; N];
        within(self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }
}

async fn within<T>(reading: impl Future<Output = std::io::Result<T>>) -> Result<T, Failure> {
    match timeout(STALL, reading).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(crate::failure::of_io(&error)),
        Err(_stalled) => Err(Failure::LinkLost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these bytes and the end behind them: each packet, then the failure.
    async fn read(bytes: &[u8]) -> (Vec<Incoming>, Failure) {
        let (out, mut packets) = mpsc::channel(1_000);
        let failure = read_all(bytes, &out).await;
        drop(out);
        let mut all = Vec::new();
        while let Some(packet) = packets.recv().await {
            if packet != Incoming::Alive {
                all.push(packet);
            }
        }
        (all, failure)
    }

    #[tokio::test]
    async fn each_packet_has_one_form_and_its_neighbours_end_the_connection() {
        for good in [
            &[0x20, 2, 0, 0][..],
            &[0x40, 2, 0, 0],
            &[0x90, 3, 0, 1, 1],
            &[0xb0, 2, 0, 1],
            &[0xd0, 0],
            &[0xe0, 0],
            &[0x30, 2, 0, 0],
            &[0x32, 5, 0, 1, b't', 0, 1],
        ] {
            let (packets, failure) = read(good).await;
            assert_eq!((packets.len(), failure), (1, Failure::PeerClosed), "{good:02x?}");
            for byte in 0x10..=0xff {
                let mut other = good.to_vec();
                other[0] = byte;
                other.resize(80, 0);
                // Whatever it is, it ends.
                let _ = read(&other).await;
            }
        }
        for bad in [
            &[0x20, 3, 0, 0, 0][..],
            &[0x20, 2, 2, 0],
            &[0x21, 2, 0, 0],
            &[0x40, 3, 0, 1, 0],
            &[0x40, 1, 0],
            &[0x42, 2, 0, 1],
            &[0x90, 2, 0, 1],
            &[0xd0, 1, 0],
            &[0xe0, 1, 0],
            &[0x36, 5, 0, 1, b't', 0, 1],
            &[0x34, 5, 0, 1, b't', 0, 1],
            &[0x32, 5, 0, 1, b't', 0, 0],
            &[0x32, 3, 0, 1, b't'],
            &[0x30, 3, 0, 2, b't'],
            &[0x30, 1, 0],
            &[0x30, 0],
            &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x00, 0],
            &[0xf0, 0],
            &[0x10, 0],
            &[0x82, 0],
        ] {
            assert_eq!(read(bad).await, (vec![], Failure::MqttProtocol), "{bad:02x?}");
        }
    }

    #[tokio::test]
    async fn a_payload_of_the_longest_length_is_taken_and_longer_ones_are_read_to_their_end() {
        for (length, taken) in [(PAYLOAD_BYTES_MAX, true), (PAYLOAD_BYTES_MAX + 1, false), (3_000_000, false)]
        {
            let remaining = length + 5;
            let mut bytes = vec![0x32];
            let mut rest = remaining;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            bytes.extend([0, 1, b't', 0, 7]);
            bytes.resize(bytes.len() + length, 0x55);
            bytes.extend([0xd0, 0]);
            let (packets, failure) = read(&bytes).await;
            let payload =
                if taken { Payload::Taken(vec![0x55; length]) } else { Payload::TooLong(length as u32) };
            let message = Incoming::Publish { topic: b"t".to_vec(), id: Some(7), payload };
            assert_eq!(packets, [message, Incoming::PingResp]);
            assert_eq!(failure, Failure::PeerClosed);
        }
    }

    #[tokio::test]
    async fn no_bytes_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let mut bytes: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            if let Some(length) = bytes.get_mut(1) {
                *length %= 40;
            }
            let _ = read(&bytes).await;
        }
    }
}
