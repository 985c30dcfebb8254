//! What of a simulated device outlives its power: the flash with its store, the slots for firmware, the security log's
//! partition, the vault, and the generator. Owns their files, never what is in them. R-SECRET-STORE.

use crate::entropy::{Random, random};
use crate::log_flash::LogPartition;
use crate::slots::FirmwareSlots;
use crate::vault::sealing::{SealingError, SealingKeyFile};
use crate::vault::{Injection, LinuxVault, OpenError};
use device::vault::Statement;
use device::{
    Entropy, EntropyError, Key, KeySlot, KeyValue, LogFlash, LogLayout, Running, SlotLayout, Slots,
    StorageError, Vault, VaultError,
};
use norflash::{Flash, Store};
use protocol::document::KeyUse;
use protocol::{PublicKey, Signature};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no machine.
#[derive(Debug, Error)]
pub enum MachineError {
    /// The flash file cannot be used.
    #[error("the flash {path}: {why}")]
    Flash {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The vault cannot be used.
    #[error(transparent)]
    Vault(#[from] OpenError),
    /// Its sealing key cannot be used.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// There are no random numbers.
    #[error("there are no random numbers: {0}")]
    Entropy(EntropyError),
}

/// The parts of a device that outlive its power.
pub struct Machine<S = Store<Flash>> {
    /// The key-value store.
    pub store: S,
    /// The firmware.
    pub slots: FirmwareSlots,
    /// The security log.
    pub log: LogPartition,
    /// The private keys.
    pub vault: LinuxVault<Random>,
    random: Random,
}

impl<S: KeyValue> Machine<S> {
    /// These parts, and a new generator.
    pub fn new(store: S, slots: FirmwareSlots, log: LogPartition, vault: LinuxVault<Random>) -> Self {
        Self { store, slots, log, vault, random: random() }
    }

    /// This store, and empty slots, an empty log and an empty vault in memory.
    pub fn with_store(store: S) -> Result<Self, MachineError> {
        let vault = LinuxVault::in_memory(random(), Injection::Allowed).map_err(MachineError::Entropy)?;
        Ok(Self::new(store, FirmwareSlots::in_memory(), LogPartition::in_memory(), vault))
    }
}

impl Machine {
    /// A blank device in memory, forgotten with it.
    pub fn in_memory() -> Result<Self, MachineError> {
        let failed = |error: &dyn std::fmt::Display| MachineError::Flash {
            path: "in memory".into(),
            why: error.to_string(),
        };
        Self::with_store(Store::open(Flash::in_memory()).map_err(|error| failed(&error))?)
    }

    /// The device whose flash is the file `flash`: beside it lie its firmware (`.slots`), the security log (`.audit`) and
    /// the vault (`.vault`), and what seals that in `sealing` or beside it too (`.seal`), each with mode 0600. Files that are not there are made.
    pub fn open(flash: &Path, sealing: Option<&Path>, injection: Injection) -> Result<Self, MachineError> {
        let failed = |why: String| MachineError::Flash { path: flash.to_owned(), why };
        let opened = Flash::open(flash).map_err(|error| failed(error.to_string()))?;
        let store = Store::open(opened).map_err(|error| failed(error.to_string()))?;
        let beside = |extension: &str| flash.with_extension(extension);
        let unusable =
            |path, error: norflash::OpenError| MachineError::Flash { path, why: error.to_string() };
        let slots = beside("slots");
        let slots = FirmwareSlots::open(&slots).map_err(|error| unusable(slots, error))?;
        let log = beside("audit");
        let log = LogPartition::open(&log).map_err(|error| unusable(log, error))?;
        let sealing = SealingKeyFile::open(sealing.unwrap_or(&beside("seal")), &mut random())?;
        let vault = LinuxVault::open(&beside("vault"), &sealing, random(), injection)?;
        Ok(Self::new(store, slots, log, vault))
    }
}

impl<S: KeyValue> KeyValue for Machine<S> {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        self.store.read(key, buffer)
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        self.store.write(key, value)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.store.remove(key)
    }
}

impl<S> Entropy for Machine<S> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.random.fill(buffer)
    }
}

impl<S> Vault for Machine<S> {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        self.vault.generate(slot, usage)
    }

    fn import(&mut self, slot: KeySlot, usage: KeyUse, scalar: &[u8; 32]) -> Result<PublicKey, VaultError> {
        self.vault.import(slot, usage, scalar)
    }

    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        self.vault.public_key(slot, usage)
    }

    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        self.vault.sign(slot, statement)
    }

    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        self.vault.wipe(slot)
    }
}

impl<S> Slots for Machine<S> {
    fn layout(&self) -> Option<SlotLayout> {
        self.slots.layout()
    }

    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.slots.read_running(offset, bytes)
    }

    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.slots.read_candidate(offset, bytes)
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        self.slots.discard()
    }

    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        self.slots.erase(offset)
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        self.slots.program(offset, bytes)
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        self.slots.mark()
    }

    fn running(&mut self) -> Result<Running, StorageError> {
        self.slots.running()
    }

    fn confirm(&mut self) -> Result<(), StorageError> {
        self.slots.confirm()
    }
}

impl<S> LogFlash for Machine<S> {
    fn log_layout(&self) -> Option<LogLayout> {
        self.log.log_layout()
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.log.log_read(offset, bytes)
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        self.log.log_erase(offset)
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        self.log.log_program(offset, bytes)
    }
}
