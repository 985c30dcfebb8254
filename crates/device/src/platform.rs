//! What a port gives the device: the traits that must be answered at once and locally, and nothing else.

use crate::vault::Statement;
use core::fmt::{self, Write};
use heapless::String;
use protocol::document::KeyUse;
use protocol::{PublicKey, Signature};

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
/// What earlier restarts have left and the service has not acknowledged takes of the same room; what does not fit is lost,
/// newest first, and counted by `next_seq` in the next hello.
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
    /// Who the device is and whom it believes: CBOR. What is not named in it does not count.
    Life,
    /// The certificate chain for the TLS key of a slot: CBOR.
    Chain(KeySlot),
    /// A list of roots: CBOR. There are two places, for the one in force and the one on trial.
    Roots(RootsPlace),
    /// Which firmware was installed last, which one is being fetched and how far, and which ones did not stay: CBOR.
    Update,
    /// Which changes of the configuration are in force and on trial: CBOR. What is not named in it does not count.
    Settings,
    /// A change of the configuration: JSON, as it was signed. There is a place for the group's, for the device's own, and for
    /// the one on trial.
    Change(ChangePlace),
    /// The last command and what became of it: CBOR.
    Command,
    /// Up to where the operator has the security log: CBOR.
    Log,
}

/// A place for a change of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangePlace(u8);

impl ChangePlace {
    /// Every place.
    pub const ALL: [Self; 3] = [Self(0), Self(1), Self(2)];

    /// The place with this number, below 3.
    pub const fn new(number: u8) -> Option<Self> {
        if number < 3 { Some(Self(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A place for a list of roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootsPlace {
    /// The first.
    A,
    /// The second.
    B,
}

impl RootsPlace {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
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
            Self::Life => name.push_str("sensor/life").is_ok(),
            Self::Chain(slot) => write!(name, "sensor/chain/{}", char::from(b'a' + slot.number())).is_ok(),
            Self::Roots(RootsPlace::A) => name.push_str("sensor/roots/a").is_ok(),
            Self::Roots(RootsPlace::B) => name.push_str("sensor/roots/b").is_ok(),
            Self::Update => name.push_str("sensor/update").is_ok(),
            Self::Settings => name.push_str("sensor/settings").is_ok(),
            Self::Change(place) => {
                write!(name, "sensor/change/{}", char::from(b'a' + place.number())).is_ok()
            }
            Self::Command => name.push_str("sensor/command").is_ok(),
            Self::Log => name.push_str("sensor/log").is_ok(),
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
            Self::Life => 5,
            Self::Update => 6,
            Self::Settings => 7,
            Self::Command => 8,
            Self::Log => 9,
            Self::Change(place) => 0x20 + place.number(),
            Self::Chain(slot) => 0x10 + slot.number(),
            Self::Roots(RootsPlace::A) => 0x18,
            Self::Roots(RootsPlace::B) => 0x19,
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

impl<T: KeyValue + ?Sized> KeyValue for &mut T {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        (**self).read(key, buffer)
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        (**self).write(key, value)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        (**self).remove(key)
    }
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

impl<T: Entropy + ?Sized> Entropy for &mut T {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        (**self).fill(buffer)
    }
}

/// Places for keys in the vault: the identity in force, the one to come, and the one before it.
pub const KEY_SLOTS: u8 = 3;

/// A place for the two keys of an identity in the vault. What it holds is the device's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeySlot(u8);

impl KeySlot {
    /// Every place.
    pub const ALL: [Self; KEY_SLOTS as usize] = [Self(0), Self(1), Self(2)];

    /// The place with this number, below [`KEY_SLOTS`].
    pub const fn new(number: u8) -> Option<Self> {
        if number < KEY_SLOTS { Some(Self(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Why the vault did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultError {
    /// There is no such key.
    Empty,
    /// The random generator failed: no key was made.
    Entropy,
    /// The medium failed or lost power.
    Medium,
    /// What is stored cannot be unsealed: it was damaged or is another device's.
    Sealed,
    /// After wiping, something could still be read.
    NotWiped,
    /// The number is no private key, or this vault takes none from outside.
    Import,
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the vault holds no such key",
            Self::Entropy => "the random generator gives no numbers: no key was made",
            Self::Medium => "the vault's memory failed",
            Self::Sealed => "the vault's content cannot be unsealed: it is damaged or another device's",
            Self::NotWiped => "the vault's memory still holds something after it was wiped",
            Self::Import => "the vault does not take this key",
        })
    }
}

impl core::error::Error for VaultError {}

/// The only code that sees private keys. Every change is durable when the call returns; after a power cut in the middle a slot
/// holds what it held, what it was to hold, or nothing, and what it holds can be wiped.
pub trait Vault {
    /// Makes a key in place of whatever is there; gives its public half.
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError>;
    /// Takes a key from outside in place of whatever is there: the private scalar, 32 bytes, big endian. A vault may
    /// refuse all of them.
    fn import(&mut self, slot: KeySlot, usage: KeyUse, scalar: &[u8; 32]) -> Result<PublicKey, VaultError>;
    /// The public half; `None` where there is no key.
    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError>;
    /// Signs a statement with the key that it names.
    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError>;
    /// Overwrites and erases both keys and reads back that they are gone; no error where there were none.
    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError>;
}

impl<T: Vault + ?Sized> Vault for &mut T {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        (**self).generate(slot, usage)
    }

    fn import(&mut self, slot: KeySlot, usage: KeyUse, scalar: &[u8; 32]) -> Result<PublicKey, VaultError> {
        (**self).import(slot, usage, scalar)
    }

    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        (**self).public_key(slot, usage)
    }

    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        (**self).sign(slot, statement)
    }

    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        (**self).wipe(slot)
    }
}

/// The shape of the slot in which a new image is built. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    /// Longest image (header, body and TLVs) that the bootloader can install.
    pub capacity: u32,
    /// What is erased at once; a power of two, at most 128 KiB. Offsets count from where the image begins.
    pub sector: u32,
    /// What is written at once; at most 32.
    pub word: u32,
}

/// How the image that runs came to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// It stays.
    Confirmed,
    /// The bootloader has swapped it in for a test: it goes at the next start unless it is confirmed.
    OnTrial,
}

/// The two places for firmware: the slot of the image that runs, and the candidate's. Owns what the bootloader expects to
/// find where. Every change is durable when the call returns; after a power cut in the middle, sectors and words that were
/// being changed hold anything, and [`Slots::mark`] and [`Slots::confirm`] are done or not.
pub trait Slots {
    /// The candidate's slot; `None` where this device cannot be updated.
    fn layout(&self) -> Option<SlotLayout>;
    /// Reads from the image that runs; bytes behind its end are whatever is there.
    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError>;
    /// Reads from the candidate.
    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError>;
    /// Makes the candidate's slot hold no image and no mark: whatever a former update left there counts for nothing.
    fn discard(&mut self) -> Result<(), StorageError>;
    /// Erases the sector of the candidate's slot that begins at `offset`.
    fn erase(&mut self, offset: u32) -> Result<(), StorageError>;
    /// Writes whole words, all of them erased before, within one sector.
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError>;
    /// Asks the bootloader to start the candidate at the next start, for a test.
    fn mark(&mut self) -> Result<(), StorageError>;
    /// How the image that runs came to run.
    fn running(&mut self) -> Result<Running, StorageError>;
    /// Makes the image that runs stay.
    fn confirm(&mut self) -> Result<(), StorageError>;
}

impl<T: Slots + ?Sized> Slots for &mut T {
    fn layout(&self) -> Option<SlotLayout> {
        (**self).layout()
    }

    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        (**self).read_running(offset, bytes)
    }

    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        (**self).read_candidate(offset, bytes)
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        (**self).discard()
    }

    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        (**self).erase(offset)
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        (**self).program(offset, bytes)
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        (**self).mark()
    }

    fn running(&mut self) -> Result<Running, StorageError> {
        (**self).running()
    }

    fn confirm(&mut self) -> Result<(), StorageError> {
        (**self).confirm()
    }
}

/// The shape of the flash that the security log lies in. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLayout {
    /// All of it: a whole number of sectors, at least three.
    pub size: u32,
    /// What is erased at once.
    pub sector: u32,
    /// What is written at once; at most 32.
    pub word: u32,
}

/// The flash partition of the security log: NOR flash, `0xff` where it is erased, of which nothing else is kept. Every change
/// is durable when the call returns; after a power cut in the middle, the sector or the words that were being changed hold
/// anything.
pub trait LogFlash {
    /// Its shape; `None` where this device has no such partition, and so no log.
    fn log_layout(&self) -> Option<LogLayout>;
    /// Reads bytes from `offset` on.
    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError>;
    /// Erases the sector that begins at `offset`.
    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError>;
    /// Writes whole words, all of them erased before, within one sector.
    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError>;
}

impl<T: LogFlash + ?Sized> LogFlash for &mut T {
    fn log_layout(&self) -> Option<LogLayout> {
        (**self).log_layout()
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        (**self).log_read(offset, bytes)
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        (**self).log_erase(offset)
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        (**self).log_program(offset, bytes)
    }
}

/// Everything a port gives, but the slots for firmware.
pub trait Platform: KeyValue + Entropy + Vault + LogFlash {}
impl<T: KeyValue + Entropy + Vault + LogFlash> Platform for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_distinct_names_and_numbers() {
        let fixed = [
            Key::Boot,
            Key::Ended,
            Key::Time,
            Key::Configuration,
            Key::Life,
            Key::Update,
            Key::Settings,
            Key::Command,
            Key::Log,
        ];
        let all = || {
            let chains = KeySlot::ALL.map(Key::Chain);
            let roots = RootsPlace::ALL.map(Key::Roots);
            let chains = chains.into_iter().chain(ChangePlace::ALL.map(Key::Change));
            fixed.into_iter().chain((0..BACKLOG_SLOTS).map(Key::Backlog)).chain(chains).chain(roots)
        };
        for a in all() {
            assert!(!a.name().is_empty() && a.name().len() <= KEY_NAME_MAX);
            assert_eq!(all().filter(|b| a.name() == b.name() || a.number() == b.number()).count(), 1);
        }
    }
}
