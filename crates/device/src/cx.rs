//! What every machine meets beside itself: the platform, the clock, the connection, the configuration it runs on, the messages
//! under way, the notes and the security log. Owns how things are noted, recorded and counted; decides nothing.

use crate::audit::{Audit, RingError, Stamp};
use crate::clock::Clock;
use crate::event::Note;
use crate::gate::{Gate, Own};
use crate::identity::IdentityError;
use crate::interface::{Command, Product};
use crate::mail::{Mail, Outbox};
use crate::platform::{Platform, StorageError, Uptime};
use crate::session::{Policy, Session};
use crate::trial::Trials;
use heapless::Deque;
use protocol::limits::LONGEST_FROM_DEVICE;
use protocol::topic::topic;
use protocol::{Channel, Configuration, EpochMillis, Failure, Name, audit};

/// Longest message of a device in bytes: the buffer in which each of them is made, so that nothing longer can leave.
pub const MESSAGE_BYTES_MAX: usize = LONGEST_FROM_DEVICE;

/// Notes that wait for the port. More at once would only repeat each other.
pub(crate) const NOTES_MAX: usize = 8;

/// The context.
#[derive(Debug)]
pub(crate) struct Cx<P> {
    pub platform: P,
    /// When the device was last called.
    pub now: Uptime,
    pub clock: Clock,
    pub session: Session,
    pub policy: Policy,
    pub product: Product,
    /// What the device runs on: what is in force, or what is on trial.
    pub configuration: Configuration,
    pub gate: Gate,
    pub outbox: Outbox,
    pub audit: Audit,
    /// The topic of the message that is being read.
    pub reading: Option<Channel>,
    pub notes: Deque<Note, NOTES_MAX>,
    pub refused: u32,
    pub storage_errors: u32,
    /// The message that is being made; scratch for whoever makes none.
    pub buffer: [u8; MESSAGE_BYTES_MAX],
    /// Version of the firmware.
    pub firmware: Name,
    /// What is on trial.
    pub trials: Trials,
    /// The port can take nothing for the network.
    pub link_full: bool,
    /// New keys may be made: a restart before the record says that a command to rotate is done reads it from the rotation that
    /// is wanted.
    pub may_rotate: bool,
    /// The connection is gone, and the machines have not been told.
    pub lost: Option<Failure>,
    /// The same of another configuration.
    pub configured: bool,
}

impl<P: Platform> Cx<P> {
    /// The time, where there is one.
    pub(crate) fn time(&self) -> Option<EpochMillis> {
        self.clock.time(self.now)
    }

    /// The time; 0 where there is none.
    pub(crate) fn time_or_zero(&self) -> EpochMillis {
        self.time().unwrap_or(EpochMillis(0))
    }

    /// The time, where it is good enough to connect.
    pub(crate) fn plausible_time(&self) -> Option<EpochMillis> {
        self.time().filter(|_| self.clock.is_plausible(self.now))
    }

    /// True where a message of this kind may be sent now.
    pub(crate) fn can_send(&self, mail: Mail) -> bool {
        self.session.is_running() && !self.outbox.is_full() && !self.outbox.has(mail)
    }

    /// Notes what has happened, and records it where it belongs into the security log.
    pub(crate) fn note(&mut self, note: Note) {
        if let Some(event) = note.event(self.reading) {
            self.record(&event);
        }
        if !self.configuration.log_level.covers(note.level()) {
            return;
        }
        // A full queue means that the port does not poll: the counters in the state still tell.
        let _full = self.notes.push_back(note);
    }

    /// Records an event in the security log.
    pub(crate) fn record(&mut self, event: &audit::Event) {
        let stamp = self.stamp();
        let done = self.audit.record(&mut self.platform, &stamp, event);
        self.recorded(done);
    }

    /// When something happens now.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { now: self.now, time: self.time(), clock: self.clock.quality(self.now) }
    }

    /// What came of writing to the security log.
    pub(crate) fn recorded(&mut self, done: Result<(), RingError>) {
        if let Err(error) = done {
            self.log_failed(error);
        }
        if self.audit.take_trouble().is_some() {
            self.count_storage_error();
        }
    }

    /// The log does not record its own failures: they are counted, and it says later how many events it missed.
    pub(crate) fn log_failed(&mut self, error: RingError) {
        self.count_storage_error();
        let _full = self.notes.push_back(Note::LogFailed(error));
    }

    /// What came of a change of the store.
    pub(crate) fn stored(&mut self, result: Result<(), StorageError>) {
        if let Err(error) = result {
            self.count_storage_error();
            self.note(Note::Storage(error));
        }
    }

    /// The identity could not be changed or used.
    pub(crate) fn identity_failed(&mut self, error: IdentityError) {
        if let IdentityError::Storage(_) = error {
            self.count_storage_error();
        }
        self.note(Note::IdentityFailed(error));
    }

    /// What failed is the device's own: it is counted and noted as that, and no fault of whoever sent something.
    pub(crate) fn own_failed(&mut self, own: Own) {
        match own {
            Own::Storage(error) => self.stored(Err(error)),
            Own::Vault(error) => self.identity_failed(error.into()),
            Own::Log(error) => self.log_failed(error),
        }
    }

    fn count_storage_error(&mut self) {
        self.storage_errors = self.storage_errors.saturating_add(1);
    }

    /// A random number; the largest, for the longest wait, where the generator fails.
    pub(crate) fn random(&mut self) -> u32 {
        let mut bytes = [0; 4];
        if self.platform.fill(&mut bytes).is_ok() {
            u32::from_le_bytes(bytes)
        } else {
            self.note(Note::Entropy);
            u32::MAX
        }
    }

    /// A random wait in milliseconds: a document for a group reaches all of it at one instant.
    fn spread(&mut self) -> u64 {
        let window = u64::from(self.policy.backoff_cap_ms) / 10;
        (window * u64::from(self.random())) >> 32
    }

    /// Another connection soon, at a random point.
    pub(crate) fn reconnect(&mut self) {
        let wait = self.spread();
        self.session.reconnect(self.now, wait);
        self.link_is_gone(Failure::Requested);
    }

    /// Another connection at once.
    pub(crate) fn reconnect_now(&mut self) {
        self.session.reconnect(self.now, 0);
        self.link_is_gone(Failure::Requested);
    }

    /// Another connection soon, to where the configuration now says, whether there is one or not.
    pub(crate) fn begin_again(&mut self) {
        let wait = self.spread();
        self.begin_again_after(wait);
    }

    /// The same after so many milliseconds.
    pub(crate) fn begin_again_after(&mut self, wait_ms: u64) {
        let was_up = self.session.is_up();
        self.session.begin_again(self.now, wait_ms);
        if was_up {
            self.link_is_gone(Failure::Requested);
        }
    }

    /// Sends the first `len` bytes of the buffer.
    pub(crate) fn publish(&mut self, mail: Mail, len: usize) -> Option<Command<'_>> {
        let token = self.outbox.send(mail, self.now);
        let (channel, retain) = mail.channel();
        let topic = topic(&self.configuration.id, channel);
        Some(Command::Publish { token, topic, payload: self.buffer.get(..len)?, retain })
    }

    /// Runs on another configuration from now on. `sought`: which of its time servers have to prove themselves, a bit for each.
    pub(crate) fn configure(&mut self, configuration: Configuration, sought: u8) {
        self.session.configure(configuration.keep_alive_s);
        if configuration.time_servers != self.configuration.time_servers {
            self.clock.replace(self.now, configuration.time_servers.len(), sought);
        }
        self.configuration = configuration;
        self.configured = true;
    }

    /// There is no connection any more.
    pub(crate) fn link_is_gone(&mut self, failure: Failure) {
        self.note(Note::Disconnected(failure));
        self.outbox.clear();
        self.lost = Some(failure);
    }
}
