//! The log on flash: a ring of sectors, each with its records bound to those before. Owns every byte of the partition; knows
//! nothing of what the records say, nor of who has them. R-LOG.

use super::sector::{
    ENTRY_BYTES_MAX, HEADER_BYTES, Header, SECTOR_BYTES_MIN, SECTORS_MIN, WORD_BYTES_MAX, entry_bytes, fits,
    write_entry,
};
use super::walk::{Newest, Step, Walk, base, header_at, header_behind};
use crate::platform::{LogFlash, LogLayout, StorageError};
use core::fmt;
use protocol::audit::{self, FIRST, Hash, RECORD_BYTES_MAX, Record};

/// Why the log did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// No log can lie in such a partition.
    Geometry,
    /// Every number was used.
    Exhausted,
    /// The record is longer than [`RECORD_BYTES_MAX`], or its number is not the next one, or there is no room for it.
    Record,
    /// What was written cannot be read back.
    NotWritten,
    /// The flash failed or lost power.
    Flash(StorageError),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry => write!(
                f,
                "the log's partition needs at least {SECTORS_MIN} sectors of at least {SECTOR_BYTES_MIN} bytes and words \
                 that divide {WORD_BYTES_MAX} bytes: choose another partition"
            ),
            Self::Exhausted => f.write_str("the log has used every number: replace the device"),
            Self::Record => f.write_str("the log has no place for such a record"),
            Self::NotWritten => f.write_str("the log's flash does not keep what is written: it is worn out"),
            Self::Flash(error) => write!(f, "the log's flash failed: {error}"),
        }
    }
}

impl core::error::Error for RingError {}

impl From<StorageError> for RingError {
    fn from(error: StorageError) -> Self {
        Self::Flash(error)
    }
}

/// What is known of the log without looking at the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Numbers below this one are used.
    pub next: u32,
    /// Hash of the record before it; zeros where nobody knows.
    pub hash: Hash,
}

impl Floor {
    /// Nothing is known.
    pub const NONE: Self = Self { next: 0, hash: FIRST };
}

/// What is come across while the log is opened, from the oldest to the newest.
#[derive(Debug)]
pub enum Seen<'r> {
    /// A record of the chain that says what this firmware can name.
    Record(&'r Record),
    /// Records that cannot be read any more.
    Missing {
        /// Number of the first.
        first: u32,
        /// How many.
        count: u32,
    },
    /// What was seen so far belongs to another history, and does not count.
    Forget,
}

/// Some records one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the first.
    pub number: u32,
    /// Hash of the record before it.
    pub previous: Hash,
    /// Number of the one behind the last.
    pub end: u32,
    /// Length of the entries ([`protocol::audit::Entries`]) in bytes.
    pub len: usize,
}

/// The log. After an error the flash holds what it held before, with or without the record that was to be written: see
/// [`Self::is_settled`].
#[derive(Debug)]
pub struct Ring {
    layout: LogLayout,
    newest: Option<Newest>,
    /// Where in the newest sector the next entry goes.
    at: u32,
    next: u32,
    hash: Hash,
    oldest: u32,
    unsettled: bool,
}

impl Ring {
    /// Finds the log in the partition, whatever is there; `None` where the device has no such partition. Changes nothing.
    /// What is no record of the log's newest history counts for nothing. `seen` is told what is found.
    pub fn open(
        flash: &mut impl LogFlash,
        floor: Floor,
        mut seen: impl FnMut(Seen<'_>),
    ) -> Result<Option<Self>, RingError> {
        let Some(layout) = flash.log_layout() else { return Ok(None) };
        if !fits(&layout) {
            return Err(RingError::Geometry);
        }
        let mut ring = Self {
            layout,
            newest: None,
            at: layout.sector,
            next: 0,
            hash: FIRST,
            oldest: 0,
            unsettled: false,
        };
        if let Some(newest) = find_newest(flash, &layout)? {
            ring.find(flash, newest, &mut seen)?;
        }
        if ring.next < floor.next {
            if ring.newest.is_some() {
                seen(Seen::Missing { first: ring.next, count: floor.next - ring.next });
            } else {
                ring.oldest = floor.next;
            }
            // Only a new sector can begin anywhere.
            (ring.next, ring.hash, ring.at) = (floor.next, floor.hash, layout.sector);
        }
        Ok(Some(ring))
    }

    fn find(
        &mut self,
        flash: &mut impl LogFlash,
        newest: Newest,
        seen: &mut impl FnMut(Seen<'_>),
    ) -> Result<(), RingError> {
        let mut walk = Walk::new(self.layout, newest);
        let mut oldest = None;
        let mut beyond = false;
        loop {
            match walk.step(flash)? {
                Step::Record { sequence, record, missing, .. } => {
                    let first = sequence - missing;
                    oldest.get_or_insert(first);
                    if missing > 0 {
                        seen(Seen::Missing { first, count: missing });
                    }
                    if let Some(record) = &record {
                        seen(Seen::Record(record));
                    }
                    (self.newest, self.at) = (Some(walk.newest()), walk.used());
                    (self.next, self.hash) = (walk.next, walk.hash);
                }
                Step::Forget => {
                    oldest = Some(walk.next);
                    seen(Seen::Forget);
                }
                Step::End if beyond => {
                    if self.newest == Some(walk.newest()) {
                        self.at = walk.used();
                    }
                    break;
                }
                Step::End => {
                    if walk.missing() > 0 {
                        seen(Seen::Missing { first: walk.next - walk.missing(), count: walk.missing() });
                    }
                    (self.newest, self.at) = (Some(newest), walk.used());
                    (self.next, self.hash) = (walk.next, walk.hash);
                    // A sector whose header was damaged may lie behind the newest.
                    let ahead = base(&self.layout, newest, self.sectors() - 1);
                    if header_at(flash, ahead)?.is_some() {
                        break;
                    }
                    beyond = true;
                    walk.go_beyond();
                }
            }
        }
        self.oldest = oldest.unwrap_or(self.next);
        Ok(())
    }

    /// Number of the next record.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Hash of the record before the next one.
    pub const fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Number of the oldest record; that of the next one where there is none.
    pub const fn oldest(&self) -> u32 {
        self.oldest
    }

    /// What has to be told to [`Self::open`] to open it again.
    pub const fn floor(&self) -> Floor {
        Floor { next: self.next, hash: self.hash }
    }

    /// False after an error: it has to be opened again.
    pub const fn is_settled(&self) -> bool {
        !self.unsettled
    }

    /// Whether a record of `len` bytes can be appended without [`Self::turn`].
    pub const fn has_room(&self, len: usize) -> bool {
        self.newest.is_some() && self.at + entry_bytes(len, self.layout.word) <= self.layout.sector
    }

    /// Erases the oldest sector and begins it anew. What was in it is gone: [`Self::oldest`] tells.
    pub fn turn(&mut self, flash: &mut impl LogFlash) -> Result<(), RingError> {
        self.unsettled = true;
        let (index, generation) = match self.newest {
            None => (0, 1),
            Some(Newest { index, generation: u32::MAX }) => {
                // No flash lives that long: somebody has written that. The newest goes last, so that it is found after a cut.
                for ahead in 1..=self.sectors() {
                    flash.log_erase((index + ahead) % self.sectors() * self.layout.sector)?;
                }
                (0, 1)
            }
            Some(Newest { index, generation }) => ((index + 1) % self.sectors(), generation + 1),
        };
        let begin = index * self.layout.sector;
        flash.log_erase(begin)?;
        let header = Header { generation, first: self.next, previous: self.hash };
        flash.log_program(begin, &header.encode())?;
        if header_at(flash, begin)? != Some(header) {
            return Err(RingError::NotWritten);
        }
        let newest = Newest { index, generation };
        (self.newest, self.at) = (Some(newest), HEADER_BYTES);
        for behind in (0..self.sectors()).rev() {
            if let Some(header) = header_behind(flash, &self.layout, newest, behind)?
                && header.first >= self.oldest
            {
                self.oldest = header.first;
                break;
            }
        }
        self.unsettled = false;
        Ok(())
    }

    /// Appends a record, whose number is [`Self::next`] and for which there is room.
    pub fn append(&mut self, flash: &mut impl LogFlash, record: &Record) -> Result<(), RingError> {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let len = record.encode(&mut bytes).map_err(|_| RingError::Record)?;
        let bytes = bytes.get(..len).ok_or(RingError::Record)?;
        let newest = self.newest.filter(|_| self.has_room(len) && record.sequence == self.next);
        let newest = newest.ok_or(RingError::Record)?;
        let next = self.next.checked_add(1).ok_or(RingError::Exhausted)?;
        let hash = audit::hash(&self.hash, bytes);
        let mut entry = [0; ENTRY_BYTES_MAX];
        let len = write_entry(bytes, &hash, self.layout.word, &mut entry).ok_or(RingError::Record)?;
        let entry = entry.get(..len).ok_or(RingError::Record)?;
        self.unsettled = true;
        let place = base(&self.layout, newest, 0) + self.at;
        flash.log_program(place, entry)?;
        let mut written = [0; ENTRY_BYTES_MAX];
        let written = written.get_mut(..len).ok_or(RingError::Record)?;
        flash.log_read(place, written)?;
        if *written != *entry {
            return Err(RingError::NotWritten);
        }
        (self.next, self.hash) = (next, hash);
        self.at += len as u32;
        self.unsettled = false;
        Ok(())
    }

    /// Writes the records from `from` on into `out`, as many as fit and follow each other without a gap. Where `from` cannot be
    /// read any more, they begin with the next one that can; `None` where there is none.
    pub fn read(
        &self,
        flash: &mut impl LogFlash,
        from: u32,
        out: &mut [u8],
    ) -> Result<Option<Piece>, RingError> {
        let mut piece: Option<Piece> = None;
        self.walk(flash, from, |walk, record, previous| {
            let place = piece.get_or_insert(Piece { number: record, previous, end: record, len: 0 });
            if place.end != record {
                return false;
            }
            let rest = out.get_mut(place.len..).unwrap_or_default();
            let Ok(len) = audit::append(walk.record(), &walk.hash, rest) else { return false };
            (place.len, place.end) = (place.len + len, record + 1);
            true
        })?;
        Ok(piece.filter(|piece| piece.end > piece.number))
    }

    /// The hash of a record; `None` where it cannot be read any more, or is not written yet.
    pub fn hash_of(&self, flash: &mut impl LogFlash, number: u32) -> Result<Option<Hash>, RingError> {
        let mut found = None;
        if number >= self.oldest {
            self.walk(flash, number, |walk, record, _| {
                found = (record == number).then_some(walk.hash);
                false
            })?;
        }
        Ok(found)
    }

    /// Goes through the records from `from` on as long as `more` says so.
    fn walk(
        &self,
        flash: &mut impl LogFlash,
        from: u32,
        mut more: impl FnMut(&Walk, u32, Hash) -> bool,
    ) -> Result<(), RingError> {
        let (Some(newest), from) = (self.newest, from.max(self.oldest)) else { return Ok(()) };
        if from >= self.next {
            return Ok(());
        }
        let mut begin = self.sectors() - 1;
        for behind in 0..self.sectors() {
            if header_behind(flash, &self.layout, newest, behind)?.is_some_and(|header| header.first <= from)
            {
                begin = behind;
                break;
            }
        }
        let mut walk = Walk::from(self.layout, newest, begin);
        while walk.next < self.next {
            match walk.step(flash)? {
                Step::Record { sequence, previous, .. } if sequence >= from => {
                    if !more(&walk, sequence, previous) {
                        break;
                    }
                }
                Step::Record { .. } | Step::Forget => {}
                Step::End => break,
            }
        }
        Ok(())
    }

    const fn sectors(&self) -> u32 {
        self.layout.size / self.layout.sector
    }
}

fn find_newest(flash: &mut impl LogFlash, layout: &LogLayout) -> Result<Option<Newest>, StorageError> {
    let mut newest: Option<Newest> = None;
    for index in 0..layout.size / layout.sector {
        if let Some(header) = header_at(flash, index * layout.sector)?
            && newest.is_none_or(|newest| header.generation > newest.generation)
        {
            newest = Some(Newest { index, generation: header.generation });
        }
    }
    Ok(newest)
}
