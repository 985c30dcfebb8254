//! What a port gives the device: the traits that must be answered at once and locally, and nothing else.

use core::fmt::{self, Write};
use heapless::String;

/// Milliseconds since the device started. Never goes back, never jumps; knows nothing of the date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Uptime(pub u64);

impl Uptime {
    /// This point `millis` later.
    #[must_use]
    pub const fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this point; 0 where `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Batches that survive an orderly restart: the whole ring of [`crate::telemetry::RING_SAMPLES`] samples and those in
/// flight, and two to spare for batches that a gap keeps short.
pub const BACKLOG_SLOTS: u8 = 20;

/// What the device keeps over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Number of the last boot: 8 bytes, little endian.
    Boot,
    /// How former boots ended that ended in an orderly way, until the service knows: JSON.
    Ended,
    /// Last time that a verified connection confirmed, milliseconds since 1970: 8 bytes, little endian.
    Time,
    /// The configuration: JSON.
    Configuration,
    /// A batch that waits for delivery: JSON. The slot is below [`BACKLOG_SLOTS`].
    Backlog(u8),
}

/// Longest name of a key in bytes.
pub const KEY_NAME_MAX: usize = 16;

impl Key {
    /// A name for stores that use text, such as Zephyr's settings.
    pub fn name(self) -> String<KEY_NAME_MAX> {
        let mut name = String::new();
        // "sensor/backlog/" and one letter is the longest: the test below holds it to KEY_NAME_MAX.
        let written = match self {
            Self::Boot => name.push_str("sensor/boot").is_ok(),
            Self::Ended => name.push_str("sensor/ended").is_ok(),
            Self::Time => name.push_str("sensor/time").is_ok(),
            Self::Configuration => name.push_str("sensor/config").is_ok(),
            Self::Backlog(slot) => write!(name, "sensor/backlog/{}", char::from(b'a' + slot % 26)).is_ok(),
        };
        debug_assert!(written);
        name
    }

    /// A number for stores that use numbers.
    pub const fn number(self) -> u8 {
        match self {
            Self::Boot => 1,
            Self::Ended => 2,
            Self::Time => 3,
            Self::Configuration => 4,
            Self::Backlog(slot) => 0x40 + slot,
        }
    }
}

/// Why the store could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// The medium failed or lost power.
    Medium,
    /// There is no room.
    Full,
    /// The value is longer than the buffer or than the store allows.
    TooLong,
    /// What is stored cannot be read any more.
    Corrupt,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Medium => "the storage medium failed",
            Self::Full => "the storage is full",
            Self::TooLong => "the stored value is longer than expected",
            Self::Corrupt => "the stored value cannot be read any more",
        })
    }
}

impl core::error::Error for StorageError {}

/// A store whose writes are atomic: after a power cut a key has its old value or its new one.
pub trait KeyValue {
    /// Reads the value of `key` into `buffer`; `None` where there is none.
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError>;
    /// Stores `value` under `key`.
    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError>;
    /// Forgets `key`; no error where it is not there.
    fn remove(&mut self, key: Key) -> Result<(), StorageError>;
}

/// The random generator failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError;

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the random generator gives no numbers")
    }
}

impl core::error::Error for EntropyError {}

/// A cryptographic random generator.
pub trait Entropy {
    /// Fills `buffer` with random bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

/// Everything a port gives.
pub trait Platform: KeyValue + Entropy {}
impl<T: KeyValue + Entropy> Platform for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_distinct_names_and_numbers() {
        let fixed = [Key::Boot, Key::Ended, Key::Time, Key::Configuration];
        let all = || fixed.into_iter().chain((0..BACKLOG_SLOTS).map(Key::Backlog));
        for a in all() {
            assert!(!a.name().is_empty() && a.name().len() <= KEY_NAME_MAX);
            assert_eq!(all().filter(|b| a.name() == b.name() || a.number() == b.number()).count(), 1);
        }
    }
}
