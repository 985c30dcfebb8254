//! The security log on the device: what is written, what is only counted, what was lost, and how far the operator has it.
//! Owns the flash partition of the log and [`crate::Key::Log`]; signs nothing and talks to nobody. R-LOG.
//!
//! Records lie in a ring of sectors ([`ring`]), each bound to the one before by a hash. Where it is full, the oldest sector is
//! erased, and a record says which numbers are gone that the operator has not acknowledged. Nothing but a hand on the flash
//! makes a record change or disappear unnoticed, and no number is used twice.
//!
//! # What it costs
//! The log takes 0.8 KiB of RAM in the device, whatever the size of the partition, and 0.7 KiB of stack while it is read or
//! written; there is no heap. Opening reads the headers of all sectors, and every entry once: for a full ring of 64 KiB in
//! sectors of 4 KiB that are 700 to 1 100 entries, 300 KB of reads and two blocks of SHA-256 for each entry: by estimate
//! 0.1 to 0.3 s on a Cortex-M4 at 64 MHz with QSPI flash. Appending writes one entry and reads it back; the ring is not
//! looked at. Reading a piece for delivery reads at most one sector more than the piece.

mod delivery;
mod kept;
mod limits;
pub mod ring;
mod sector;
pub(crate) mod uplink;
mod walk;

use crate::platform::{KeyValue, LogFlash, StorageError, Uptime};
use crate::stored::Stored;
use heapless::Vec;
use kept::{Kept, RESERVE};
use limits::Limits;
pub use limits::{PERIOD_MS, PERIOD_MS_MAX, WRITTEN_MAX};
use protocol::audit::{Event, FIRST, Hash, RECORD_BYTES_MAX, Record};
use protocol::{ClockQuality, DeviceId, EpochMillis, KeyId, Signature};
pub use ring::{Floor, Piece, Ring, RingError, Seen};

/// How many records are written between two seals, at most.
pub const SEAL_RECORDS: u32 = 64;

/// How long records wait for a seal at most, in milliseconds.
pub const SEAL_PERIOD_MS: u64 = 86_400_000;

/// Shortest time between two writes of how far the operator has the log, in milliseconds.
pub const STORE_PERIOD_MS: u64 = 3_600_000;

/// How long what was delivered and is not acknowledged is left alone, in milliseconds.
pub const RESEND_PERIOD_MS: u64 = 6 * 3_600_000;

/// How long a flash that has failed is left alone, in milliseconds.
const RETRY_MS: u64 = 60_000;

/// Gaps that are remembered until they are written down. Where there are more, the rest is found at the next start.
const GAPS_MAX: usize = 8;

/// When something happened.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Since the start.
    pub now: Uptime,
    /// The time, where the device has one.
    pub time: Option<EpochMillis>,
    /// How good that is.
    pub clock: ClockQuality,
}

/// Numbers of records that are missing: the first, and the one behind the last.
type Gap = (u32, u32);

/// The log of a running device.
#[derive(Debug)]
pub struct Audit {
    /// `None` where there is no partition, or it cannot be read now.
    ring: Option<Ring>,
    /// Whether there is a partition that a log fits into.
    present: bool,
    boot: u32,
    kept: Kept,
    /// As it is stored.
    stored: Kept,
    store_due: Uptime,
    limits: Limits,
    gaps: Vec<Gap, GAPS_MAX>,
    /// Number behind that of the last seal.
    sealed: u32,
    seal_due: Uptime,
    /// Not before this the flash is written again.
    retry: Uptime,
    /// Events that could not be written meanwhile.
    missed: u32,
    /// The next record to deliver.
    cursor: u32,
    /// The piece that is on its way ends before this one.
    sent: Option<u32>,
    /// Somebody has asked for records that the operator may have.
    asked: bool,
    resend_due: Option<Uptime>,
    /// What went wrong with the key-value store.
    trouble: Option<StorageError>,
}

impl Audit {
    /// Opens the log; what is wrong with it is no reason not to start.
    pub fn open<P: LogFlash + KeyValue>(platform: &mut P, boot: u32) -> (Self, Option<RingError>) {
        let mut audit = Self {
            ring: None,
            present: platform.log_layout().is_some(),
            boot,
            kept: Kept::default(),
            stored: Kept::default(),
            store_due: Uptime(0),
            limits: Limits::new(),
            gaps: Vec::new(),
            sealed: 0,
            seal_due: Uptime(SEAL_PERIOD_MS),
            retry: Uptime(0),
            missed: 0,
            cursor: 0,
            sent: None,
            asked: false,
            resend_due: None,
            trouble: None,
        };
        if !audit.present {
            return (audit, None);
        }
        let kept = Kept::load(platform).unwrap_or_else(|error| {
            audit.trouble = Some(error);
            None
        });
        (audit.kept, audit.stored) = (kept.unwrap_or_default(), kept.unwrap_or_default());
        let opened = audit.find(platform);
        audit.present = opened != Err(RingError::Geometry);
        audit.cursor = audit.wanted();
        (audit, opened.err())
    }

    /// Finds the log on the flash, and what is missing in it.
    fn find<P: LogFlash>(&mut self, platform: &mut P) -> Result<(), RingError> {
        let mut floor = self.ring.as_ref().map_or(Floor::NONE, Ring::floor);
        self.ring = None;
        if let Some(hash) = self.kept.hash()
            && self.kept.wanted() > floor.next
        {
            floor = Floor { next: self.kept.wanted(), hash: *hash };
        }
        let Some(mut ring) = self.look(platform, floor)? else { return Ok(()) };
        // Either the numbers that were set aside are in use, or the newest of them are lost.
        let empty = ring.oldest() == ring.next() && !ring.has_room(0);
        if ring.next().saturating_add(RESERVE) < self.kept.reserved
            || empty && self.kept.reserved > floor.next
        {
            let floor = Floor { next: self.kept.reserved, hash: FIRST };
            let Some(again) = self.look(platform, floor)? else { return Ok(()) };
            ring = again;
        }
        self.ring = Some(ring);
        Ok(())
    }

    fn look<P: LogFlash>(&mut self, platform: &mut P, floor: Floor) -> Result<Option<Ring>, RingError> {
        let (mut gaps, mut sealed) = (Vec::<Gap, GAPS_MAX>::new(), 0);
        let wanted = self.wanted();
        // Up to where it is written down that everything the operator wants is gone.
        let mut front = 0;
        let ring = Ring::open(platform, floor, |seen| match seen {
            Seen::Record(Record { event: Event::Lost { first, count }, .. }) => {
                let end = first.saturating_add(*count);
                gaps.retain(|gap| !(*first <= gap.0.max(wanted) && end >= gap.1));
                if *first <= wanted {
                    front = front.max(end);
                }
            }
            Seen::Record(Record { event: Event::Seal { .. }, sequence, .. }) => {
                sealed = sequence.saturating_add(1);
            }
            Seen::Record(_) => {}
            Seen::Missing { first, count } => {
                let end = first.saturating_add(count);
                if end > wanted {
                    // One that has no room here is found again at the next start.
                    let _full = gaps.push((first, end));
                }
            }
            Seen::Forget => {
                gaps.clear();
                (sealed, front) = (0, 0);
            }
        })?;
        if let Some(ring) = &ring
            && ring.oldest() > wanted.max(front)
        {
            let _full = gaps.insert(0, (wanted, ring.oldest()));
        }
        (self.gaps, self.sealed) = (gaps, sealed);
        Ok(ring)
    }

    /// Number of the first record that the operator does not have.
    fn wanted(&self) -> u32 {
        self.kept.wanted()
    }

    /// Number of the next record.
    pub fn next(&self) -> u32 {
        self.ring.as_ref().map_or(0, Ring::next)
    }

    /// Hash of the last record.
    pub fn hash(&self) -> Hash {
        self.ring.as_ref().map_or(FIRST, |ring| *ring.hash())
    }

    /// Records that the operator does not have.
    pub fn waiting(&self) -> u32 {
        self.ring.as_ref().map_or(0, |ring| ring.next().saturating_sub(ring.oldest().max(self.wanted())))
    }

    /// What went wrong with the key-value store since the last call.
    pub fn take_trouble(&mut self) -> Option<StorageError> {
        self.trouble.take()
    }

    /// Writes an event, or counts it where there were many of its kind.
    pub fn record<P: LogFlash + KeyValue>(
        &mut self,
        platform: &mut P,
        stamp: &Stamp,
        event: &Event,
    ) -> Result<(), RingError> {
        if !self.present || !self.limits.passes(event, stamp.now) {
            return Ok(());
        }
        if stamp.now < self.retry {
            self.missed = self.missed.saturating_add(1);
            return Ok(());
        }
        let done = self.catch_up(platform, stamp).and_then(|()| self.put(platform, stamp, event));
        if done.is_err() {
            self.missed = self.missed.saturating_add(1);
        }
        self.tried(stamp, done)
    }

    /// Writes what waits: counts that are due (`all`: every one), gaps, and how far the operator has the log.
    pub fn tick<P: LogFlash + KeyValue>(
        &mut self,
        platform: &mut P,
        stamp: &Stamp,
        all: bool,
    ) -> Result<(), RingError> {
        if !self.present {
            return Ok(());
        }
        if self.resend_due.is_some_and(|due| stamp.now >= due) {
            self.resend_due = None;
            self.cursor = self.cursor.min(self.wanted());
        }
        if self.kept != self.stored && (all || stamp.now >= self.store_due) {
            self.store(platform, stamp.now);
        }
        if stamp.now < self.retry && !all {
            return Ok(());
        }
        let waits = self.missed > 0 || !self.gaps.is_empty() || self.ring.is_none();
        let mut done = if waits { self.catch_up(platform, stamp) } else { Ok(()) };
        let until = if all { Uptime(u64::MAX) } else { stamp.now };
        while done.is_ok()
            && let Some(event) = self.limits.due(until)
        {
            done = self.put(platform, stamp, &event);
            if let (Err(_), Event::Repeated { count, .. }) = (&done, event) {
                self.missed = self.missed.saturating_add(count);
            }
        }
        self.tried(stamp, done)
    }

    fn tried(&mut self, stamp: &Stamp, done: Result<(), RingError>) -> Result<(), RingError> {
        if done.is_err() {
            self.retry = stamp.now.after(RETRY_MS);
        }
        done
    }

    /// Opens the ring again where that is needed, and writes down what was not written or is lost.
    fn catch_up<P: LogFlash + KeyValue>(&mut self, platform: &mut P, stamp: &Stamp) -> Result<(), RingError> {
        if self.ring.as_ref().is_none_or(|ring| !ring.is_settled()) {
            self.find(platform)?;
        }
        while let Some((first, end)) = self.gaps.first().copied() {
            let first = first.max(self.wanted());
            if first < end {
                self.put(platform, stamp, &Event::Lost { first, count: end - first })?;
            }
            self.gaps.remove(0);
        }
        if self.missed > 0 {
            let kind = Event::StorageFailed.kind();
            self.put(platform, stamp, &Event::Repeated { kind, count: self.missed })?;
            self.missed = 0;
        }
        Ok(())
    }

    fn put<P: LogFlash + KeyValue>(
        &mut self,
        platform: &mut P,
        stamp: &Stamp,
        event: &Event,
    ) -> Result<(), RingError> {
        let len = self.stamped(stamp, event.clone()).encode(&mut [0; RECORD_BYTES_MAX]);
        self.make_room(platform, stamp, len.map_err(|_| RingError::Record)?)?;
        self.append(platform, stamp, event.clone())
    }

    /// Makes room for a record of so many bytes; what is lost by that is written down first.
    fn make_room<P: LogFlash + KeyValue>(
        &mut self,
        platform: &mut P,
        stamp: &Stamp,
        len: usize,
    ) -> Result<(), RingError> {
        // The number may take two bytes more by then.
        if self.ring.as_ref().is_none_or(|ring| ring.has_room((len + 4).min(RECORD_BYTES_MAX))) {
            return Ok(());
        }
        // What the operator has is dropped without a word: that it has it must be known after a cut.
        if self.kept != self.stored {
            self.store(platform, stamp.now);
        }
        let wanted = self.wanted();
        let Some(ring) = &mut self.ring else { return Ok(()) };
        let before = ring.oldest();
        ring.turn(platform)?;
        let oldest = ring.oldest();
        if oldest > before && oldest > wanted {
            // Everything that is gone, so that this record stands for those before it that said so.
            self.append(platform, stamp, Event::Lost { first: wanted, count: oldest - wanted })?;
        }
        Ok(())
    }

    fn append<P: LogFlash + KeyValue>(
        &mut self,
        platform: &mut P,
        stamp: &Stamp,
        event: Event,
    ) -> Result<(), RingError> {
        let next = self.next();
        if next >= self.kept.reserved {
            self.kept.reserved = next.saturating_add(RESERVE);
            self.store(platform, stamp.now);
        }
        let record = self.stamped(stamp, event);
        match &mut self.ring {
            Some(ring) => ring.append(platform, &record),
            None => Ok(()),
        }
    }

    fn stamped(&self, stamp: &Stamp, event: Event) -> Record {
        Record { sequence: self.next(), boot: self.boot, time: stamp.time, clock: stamp.clock, event }
    }

    fn store<P: KeyValue>(&mut self, platform: &mut P, now: Uptime) {
        self.store_due = now.after(STORE_PERIOD_MS);
        match self.kept.store(platform) {
            Ok(()) => self.stored = self.kept,
            Err(error) => self.trouble = Some(error),
        }
    }

    /// Whether the chain is to be signed.
    pub fn wants_seal(&self, now: Uptime) -> bool {
        let open = self.next().saturating_sub(self.sealed);
        self.ring.is_some() && now >= self.retry && (open >= SEAL_RECORDS || open > 0 && now >= self.seal_due)
    }

    /// Signs the chain: `sign` gets the number of the seal and the hash before it.
    pub fn seal<P: LogFlash + KeyValue, E>(
        &mut self,
        platform: &mut P,
        stamp: &Stamp,
        sign: impl FnOnce(&mut P, u32, &Hash) -> Result<(KeyId, Signature), E>,
    ) -> Result<Result<(), E>, RingError> {
        let made = self.catch_up(platform, stamp);
        let made = made.and_then(|()| self.make_room(platform, stamp, RECORD_BYTES_MAX));
        self.tried(stamp, made)?;
        if self.ring.is_none() {
            return Ok(Ok(()));
        }
        // Where there is no signature now, there may be one tomorrow.
        self.seal_due = stamp.now.after(SEAL_PERIOD_MS);
        let signed = sign(platform, self.next(), &self.hash());
        let (identity, signature) = match signed {
            Ok(signed) => signed,
            Err(error) => {
                self.sealed = self.next().saturating_sub(1);
                return Ok(Err(error));
            }
        };
        let done = self.append(platform, stamp, Event::Seal { identity, signature });
        self.tried(stamp, done)?;
        self.sealed = self.next();
        Ok(Ok(()))
    }

    /// When [`Self::tick`] or [`Self::seal`] next has something to do.
    pub fn next_deadline(&self) -> Option<Uptime> {
        if !self.present {
            return None;
        }
        let open = self.next().saturating_sub(self.sealed);
        let waits = self.missed > 0 || !self.gaps.is_empty() || self.ring.is_none();
        let flash = [
            self.limits.next_deadline(),
            waits.then_some(self.retry),
            (open > 0 && self.ring.is_some()).then_some(if open >= SEAL_RECORDS {
                self.retry
            } else {
                self.seal_due
            }),
        ];
        let store = (self.kept != self.stored).then_some(self.store_due);
        let resend = self.resend_due.filter(|_| self.cursor > self.wanted());
        flash.into_iter().flatten().map(|due| due.max(self.retry)).chain(store).chain(resend).min()
    }
}

/// The log is about to be opened for a device with this id: what the operator has of the log of another one counts no more.
pub(crate) fn adopt<P: LogFlash + KeyValue>(platform: &mut P, id: &DeviceId) -> Result<(), StorageError> {
    if platform.log_layout().is_none() {
        return Ok(());
    }
    let stored = match Kept::load(platform) {
        Err(StorageError::Corrupt) => None,
        stored => stored?,
    };
    let mut kept = stored.unwrap_or_default();
    kept.adopt(id);
    if Some(kept) == stored { Ok(()) } else { kept.store(platform) }
}

/// Writes one event into the log of a device that is not running: what the factory has done.
pub(crate) fn record_once<P: LogFlash + KeyValue>(
    platform: &mut P,
    boot: u32,
    event: &Event,
) -> Result<(), RingError> {
    let (mut audit, error) = Audit::open(platform, boot);
    if let Some(error) = error {
        return Err(error);
    }
    let stamp = Stamp { now: Uptime(0), time: None, clock: ClockQuality::Unset };
    audit.record(platform, &stamp, event)
}
