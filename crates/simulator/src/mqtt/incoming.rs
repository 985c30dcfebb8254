//! What comes off the connection, piece by piece, for `device::incoming`, which makes packets of it. Owns the wait for the next
//! piece and never knows what a packet means.

use crate::failure;
use device::incoming::{Packet, Reader};
use protocol::Failure;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// Bytes that are taken off the connection at once.
const PIECE: usize = 4 * 1024;

/// A packet has to go on within this time once it has begun: however long it is, it never stands still.
const STALL: Duration = Duration::from_secs(20);

pub(super) struct Incoming<S> {
    stream: S,
    reader: Reader,
    piece: [u8; PIECE],
    from: usize,
    to: usize,
    /// When something came last.
    heard: Instant,
}

impl<S: AsyncRead + Unpin> Incoming<S> {
    pub(super) fn new(stream: S) -> Self {
        let (piece, heard) = ([0; PIECE], Instant::now());
        Self { stream, reader: Reader::new(), piece, from: 0, to: 0, heard }
    }

    /// The next packet, or `None` where a piece of one has come. Nothing is lost where the wait is broken off.
    pub(super) async fn next(&mut self) -> Result<Option<Packet<'_>>, Failure> {
        if self.from == self.to {
            self.to = self.read().await?;
            (self.from, self.heard) = (0, Instant::now());
        }
        let mut rest = &self.piece[self.from..self.to];
        let packet = self.reader.take(&mut rest);
        self.from = self.to - rest.len();
        packet.map_err(|_malformed| Failure::MqttProtocol)
    }

    async fn read(&mut self) -> Result<usize, Failure> {
        let patience = self.patience();
        let read = self.stream.read(&mut self.piece);
        let read = match patience {
            Some(until) => timeout_at(until, read).await.map_err(|_stalled| Failure::LinkLost)?,
            None => read.await,
        };
        match read {
            Ok(0) => Err(Failure::PeerClosed),
            Ok(len) => Ok(len),
            Err(error) => Err(failure::of_io(&error)),
        }
    }

    /// Until when the next piece has to come. Between packets the service may be silent: keep-alive is somebody else's.
    fn patience(&self) -> Option<Instant> {
        self.reader.is_amid().then(|| self.heard + STALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_packet_that_has_begun_goes_on_within_its_patience_and_between_packets_there_is_none() {
        let (mut service, stream) = tokio::io::duplex(64);
        let mut incoming = Incoming::new(stream);
        assert_eq!(incoming.patience(), None);
        // A message of 256 MB, a byte at a time: each is waited for as long as the first.
        for byte in [0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't', 0, 7, b'x', b'x'] {
            let before = Instant::now();
            service.write_all(&[byte]).await.unwrap();
            assert_eq!(incoming.next().await, Ok(None));
            let until = incoming.patience().unwrap();
            assert!(before + STALL <= until && until <= Instant::now() + STALL);
        }
        // The time is over: what is there all the same counts, and what is not there is not waited for.
        incoming.heard = Instant::now().checked_sub(STALL).unwrap();
        service.write_all(b"x").await.unwrap();
        assert_eq!(incoming.next().await, Ok(None));
        incoming.heard = Instant::now().checked_sub(STALL).unwrap();
        assert_eq!(incoming.next().await, Err(Failure::LinkLost));
    }

    #[tokio::test]
    async fn packets_in_one_piece_come_one_after_the_other_and_then_the_end() {
        let bytes = [0x20, 2, 0, 0, 0xd0, 0, 0x40, 2, 0, 9, 0xd0];
        let mut incoming = Incoming::new(&bytes[..]);
        assert_eq!(incoming.next().await, Ok(Some(Packet::ConnAck { session: false, code: 0 })));
        assert_eq!(incoming.next().await, Ok(Some(Packet::PingResp)));
        assert_eq!(incoming.next().await, Ok(Some(Packet::PubAck(9))));
        assert_eq!(incoming.next().await, Ok(None));
        assert_eq!(incoming.next().await, Err(Failure::PeerClosed));
        assert_eq!(Incoming::new(&[0xf0, 0][..]).next().await, Err(Failure::MqttProtocol));
    }
}
