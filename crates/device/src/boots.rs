//! What the service learns of this boot and of former ones: the hello of each connection, and how the boots before ended, which
//! is kept until the service has it. Owns the number of the boots. R-DATA-INTACT.

use crate::cx::Cx;
use crate::identity::Identity;
use crate::machine::Machine;
use crate::mail::Mail;
use crate::platform::{Key, KeyValue, Platform, StorageError, Uptime};
use crate::stored::{number, put, put_number};
use protocol::hello::{PREVIOUS_BYTES_MAX, PreviousBoots};
use protocol::{Hello, PreviousBoot};

/// This boot and those before.
#[derive(Debug)]
pub(crate) struct Boots {
    pub hello: Hello,
    /// How former boots ended, as far as the service has not been told.
    ends: PreviousBoots,
    due: bool,
}

impl Boots {
    pub(crate) const fn new(hello: Hello, ends: PreviousBoots) -> Self {
        Self { hello, ends, due: false }
    }

    /// The service has accepted a connection: it is greeted.
    pub(crate) const fn connected(&mut self, connection: u32, handshake_ms: u32) {
        self.hello.connection = connection;
        self.hello.handshake_ms = handshake_ms;
        self.due = true;
    }

    /// This boot ends in order; the last thing that is written.
    pub(crate) fn end<P: Platform>(&mut self, next_seq: u32, cx: &mut Cx<P>) {
        self.ends.push(PreviousBoot { boot: self.hello.boot, next_seq });
        let stored = write_ends(&mut cx.platform, &self.ends);
        cx.stored(stored);
    }
}

impl<P: Platform> Machine<P> for Boots {
    fn tick(&mut self, _: &mut Cx<P>, _: &Identity) {}

    fn write(&mut self, _: Mail, cx: &mut Cx<P>, _: &Identity) -> Option<usize> {
        if !core::mem::take(&mut self.due) {
            return None;
        }
        self.hello.previous = self.ends.0.first().copied();
        self.hello.encode(&mut cx.buffer).ok()
    }

    /// The service knows how a former boot ended; where there are more, it is told of the next.
    fn acknowledged(&mut self, _: Mail, cx: &mut Cx<P>) {
        if self.hello.previous.is_some() && self.hello.previous == self.ends.0.first().copied() {
            self.ends.0.remove(0);
            let stored = write_ends(&mut cx.platform, &self.ends);
            cx.stored(stored);
            self.due = !self.ends.0.is_empty();
        }
    }

    fn next_deadline(&self, cx: &Cx<P>, _: &Identity) -> Option<Uptime> {
        (self.due && cx.can_send(Mail::Hello)).then_some(cx.now)
    }
}

/// The number of this boot, which is used up.
pub(crate) fn count_boot(store: &mut impl KeyValue) -> Result<u32, StorageError> {
    let last = number(store, Key::Boot)?.unwrap_or(0);
    let boot = last.wrapping_add(1);
    put_number(store, Key::Boot, boot)?;
    Ok(boot as u32)
}

/// How former boots ended, as far as the service has not been told.
pub(crate) fn read_ends(store: &mut impl KeyValue) -> Result<PreviousBoots, StorageError> {
    let mut buffer = [0; PREVIOUS_BYTES_MAX];
    match store.read(Key::Ended, &mut buffer)? {
        None => Ok(PreviousBoots::default()),
        Some(bytes) => PreviousBoots::decode(bytes).map_err(|_| StorageError::Corrupt),
    }
}

fn write_ends(store: &mut impl KeyValue, ends: &PreviousBoots) -> Result<(), StorageError> {
    if ends.0.is_empty() {
        return store.remove(Key::Ended);
    }
    let mut buffer = [0; PREVIOUS_BYTES_MAX];
    // PREVIOUS_BYTES_MAX holds the longest list.
    let len = ends.encode(&mut buffer);
    put(store, Key::Ended, &buffer, len)
}
