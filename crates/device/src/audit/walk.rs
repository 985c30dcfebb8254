//! The way through the log, from an old record to the newest. Owns what counts as a record of this log and what as damage;
//! changes nothing. R-LOG.
//!
//! What is not an entry that continues the chain is stepped over word by word: the remains of a write that was cut, or
//! damage. After those the next entry either continues the chain where it was (then nothing is missing), or it is bound to
//! the 32 bytes right before it, and its number says how many are missing.

use super::sector::{ENTRY_BYTES_MAX, ERASED, HEADER_BYTES, Header, read_entry};
use crate::platform::{LogFlash, LogLayout, StorageError};
use protocol::audit::{HASH_BYTES, Hash, RECORD_BYTES_MAX, Record, hash};

/// Bytes that are looked at together: the hash before an entry and the entry.
const WINDOW: usize = HASH_BYTES + ENTRY_BYTES_MAX;

/// The newest sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    /// Which one it is.
    pub index: u32,
    pub generation: u32,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// A record, and how many before it are missing. `record` is `None` where only newer firmware can name what it says.
    Record { sequence: u32, record: Option<Record>, previous: Hash, missing: u32 },
    /// What came before belongs to another history: it does not count.
    Forget,
    /// There is no more.
    End,
}

pub(super) struct Walk {
    layout: LogLayout,
    newest: Newest,
    /// How many sectors lie between the present one and the newest.
    behind: u32,
    entered: bool,
    started: bool,
    /// Place in the sector.
    at: u32,
    /// Up to where anything is written in the sector.
    used: u32,
    /// Records with this number or a higher one are not this sector's.
    limit: u32,
    missing: u32,
    /// Only what continues the chain counts.
    strict: bool,
    /// Number of the next record.
    pub next: u32,
    /// Hash of the record before.
    pub hash: Hash,
    window: [u8; WINDOW],
    /// Length of the last record.
    len: usize,
}

impl Walk {
    /// From the oldest sector on.
    pub(super) const fn new(layout: LogLayout, newest: Newest) -> Self {
        Self::from(layout, newest, layout.size / layout.sector - 1)
    }

    /// From the sector on that lies so many before the newest.
    pub(super) const fn from(layout: LogLayout, newest: Newest, behind: u32) -> Self {
        Self {
            layout,
            newest,
            behind,
            entered: false,
            started: false,
            at: 0,
            used: 0,
            limit: 0,
            missing: 0,
            strict: false,
            next: 0,
            hash: [0; HASH_BYTES],
            window: [0; WINDOW],
            len: 0,
        }
    }

    /// Bytes of the record that was stepped to.
    pub(super) fn record(&self) -> &[u8] {
        let start = HASH_BYTES + 2;
        self.window.get(start..start + self.len).unwrap_or_default()
    }

    /// Up to where anything is written in the sector that was walked through last.
    pub(super) const fn used(&self) -> u32 {
        self.used
    }

    /// How many records are missing right before [`Self::next`], where no record came after them.
    pub(super) const fn missing(&self) -> u32 {
        self.missing
    }

    pub(super) fn step(&mut self, flash: &mut impl LogFlash) -> Result<Step, StorageError> {
        loop {
            if !self.entered {
                let forget = self.enter(flash)?;
                self.entered = true;
                if forget {
                    self.missing = 0;
                    return Ok(Step::Forget);
                }
            }
            if self.started
                && let Some(step) = self.scan(flash)?
            {
                return Ok(step);
            }
            let Some(behind) = self.behind.checked_sub(1) else { return Ok(Step::End) };
            (self.behind, self.entered) = (behind, false);
        }
    }

    /// Goes on into the sector behind the newest, whose header does not count: it is the newest itself where its first record
    /// continues the chain.
    pub(super) fn go_beyond(&mut self) {
        let sectors = self.layout.size / self.layout.sector;
        self.newest.index = (self.newest.index + 1) % sectors;
        self.newest.generation = self.newest.generation.saturating_add(1);
        (self.at, self.used, self.limit) = (HEADER_BYTES, 0, u32::MAX);
        (self.behind, self.entered, self.strict) = (0, true, true);
    }

    pub(super) const fn newest(&self) -> Newest {
        self.newest
    }

    /// Begins with a sector; true where its header does not go on from what came before.
    fn enter(&mut self, flash: &mut impl LogFlash) -> Result<bool, StorageError> {
        (self.at, self.used) = (HEADER_BYTES, HEADER_BYTES);
        let header = header_behind(flash, &self.layout, self.newest, self.behind)?;
        self.limit = u32::MAX;
        for behind in (0..self.behind).rev() {
            if let Some(header) = header_behind(flash, &self.layout, self.newest, behind)? {
                self.limit = header.first;
                break;
            }
        }
        let Some(Header { first, previous, .. }) = header else { return Ok(false) };
        let goes_on = !self.started || first > self.next || first == self.next && previous == self.hash;
        if self.started {
            self.missing = self.missing.saturating_add(first.saturating_sub(self.next));
        }
        (self.started, self.next, self.hash) = (true, first, previous);
        Ok(!goes_on)
    }

    /// The next record in the sector.
    fn scan(&mut self, flash: &mut impl LogFlash) -> Result<Option<Step>, StorageError> {
        let LogLayout { sector, word, .. } = self.layout;
        let begin = base(&self.layout, self.newest, self.behind);
        while self.at < sector {
            let len = ENTRY_BYTES_MAX.min((sector - self.at) as usize);
            let window = self.window.get_mut(..HASH_BYTES + len).ok_or(StorageError::TooLong)?;
            flash.log_read(begin + self.at - HASH_BYTES as u32, window)?;
            let (before, here) = window.split_at(HASH_BYTES);
            if let Some(entry) = read_entry(here, word)
                && entry.sequence >= self.next
                && entry.sequence < self.limit
            {
                let sequence = entry.sequence;
                let before: Hash = before.try_into().unwrap_or_default();
                let previous = if sequence == self.next && hash(&self.hash, entry.bytes) == entry.hash {
                    Some(self.hash)
                } else if sequence > self.next && !self.strict && hash(&before, entry.bytes) == entry.hash {
                    Some(before)
                } else {
                    None
                };
                if let (Some(previous), Some(next)) = (previous, sequence.checked_add(1)) {
                    let missing = core::mem::take(&mut self.missing).saturating_add(sequence - self.next);
                    (self.next, self.hash, self.len) = (next, entry.hash, entry.bytes.len());
                    self.strict = false;
                    self.at += entry.len;
                    self.used = self.at;
                    return Ok(Some(Step::Record { sequence, record: entry.record, previous, missing }));
                }
            }
            let erased = here.iter().take_while(|byte| **byte == ERASED).count() as u32 / word * word;
            if erased == 0 {
                self.at += word;
                self.used = self.at;
            } else {
                self.at += erased;
            }
        }
        Ok(None)
    }
}

const _: () = assert!(RECORD_BYTES_MAX + 2 + HASH_BYTES <= ENTRY_BYTES_MAX);

/// Where the sector begins that lies so many before the newest.
pub(super) const fn base(layout: &LogLayout, newest: Newest, behind: u32) -> u32 {
    let sectors = layout.size / layout.sector;
    (newest.index + sectors - behind % sectors) % sectors * layout.sector
}

/// Its header, where that is the one that is due there.
pub(super) fn header_behind(
    flash: &mut impl LogFlash,
    layout: &LogLayout,
    newest: Newest,
    behind: u32,
) -> Result<Option<Header>, StorageError> {
    let header = header_at(flash, base(layout, newest, behind))?;
    Ok(header.filter(|header| newest.generation.checked_sub(behind) == Some(header.generation)))
}

pub(super) fn header_at(flash: &mut impl LogFlash, base: u32) -> Result<Option<Header>, StorageError> {
    let mut bytes = [0; HEADER_BYTES as usize];
    flash.log_read(base, &mut bytes)?;
    Ok(Header::decode(&bytes))
}
