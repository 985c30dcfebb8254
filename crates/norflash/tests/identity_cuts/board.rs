//! A board with two flashes, one for the store and one for the vault, behind one supply. Every change of either is
//! recorded: what both would hold if power were cut before it, or in the middle of it.

use crate::world::log::Memory as Log;
use crate::world::vault::{public, sign};
use device::platform::{LogFlash, LogLayout};
use device::vault::Statement;
use device::vault::partition::{ENTRY_BYTES_MAX, Partition, Rewrite};
use device::{Entropy, EntropyError, Key, KeySlot, KeyValue, StorageError, Vault, VaultError};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use fastrand::Rng;
use norflash::{Cut, Flash, FlashError, Store};
use protocol::document::KeyUse;
use protocol::{PublicKey, Signature};
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// As small as an entry allows, so that a wipe is few operations: each of them is a case.
pub type VaultFlash = Flash<512, 4>;
pub type StoreFlash = Flash;

const VAULT_BLOCKS: u16 = 8;
/// So few that the store collects garbage within each life.
const STORE_BLOCKS: u16 = 5;

/// What is on the board while it is without power.
pub struct Content {
    pub store: StoreFlash,
    pub vault: VaultFlash,
}

impl Content {
    pub fn erased(rewrite: Rewrite) -> Self {
        let vault = VaultFlash::in_memory_of(VAULT_BLOCKS);
        let vault = if rewrite == Rewrite::ToZero { vault.overwritable() } else { vault };
        Self { store: StoreFlash::in_memory_of(STORE_BLOCKS), vault }
    }

    pub fn copy(&self) -> Self {
        Self { store: self.store.copy(), vault: self.vault.copy() }
    }

    /// Blocks of the vault in which anything is.
    pub fn vault_blocks_in_use(&self) -> usize {
        self.vault.image().chunks(512).filter(|block| block.iter().any(|byte| *byte != 0xFF)).count()
    }

    /// Whether half of a secret or more is anywhere.
    pub fn holds(&self, secrets: &Secrets) -> bool {
        let images = [self.store.image(), self.vault.image()];
        let mut written =
            images.iter().flat_map(|image| image.windows(16)).filter(|bytes| bytes.first() != Some(&0xFF));
        written.any(|bytes| secrets.contains(bytes))
    }
}

/// The halves of every private key that was ever made.
pub type Secrets = HashSet<[u8; 16]>;

/// How power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Before an operation, which is after the one before.
    Before,
    /// In the middle of it.
    Torn(u64),
}

/// What both flashes hold after a cut at an operation.
pub struct Moment {
    pub operation: usize,
    pub kind: Kind,
    pub content: Content,
}

impl Moment {
    pub fn is_before(&self) -> bool {
        self.kind == Kind::Before
    }

    pub fn name(&self) -> String {
        format!("cut {:?} at operation {}", self.kind, self.operation)
    }
}

struct Board {
    content: Content,
    /// How many ways to tear each operation are recorded; `None`: nothing is recorded.
    torn: Option<u64>,
    moments: Vec<Moment>,
    operations: usize,
}

impl Board {
    /// Records what a cut at the next operation, which `change` does, leaves.
    fn record(
        &mut self,
        change: impl Fn(&mut Content) -> Result<(), FlashError>,
        cut: impl Fn(&mut Content, Cut),
    ) {
        let Some(torn) = self.torn else { return };
        let operation = self.operations;
        self.operations += 1;
        self.moments.push(Moment { operation, kind: Kind::Before, content: self.content.copy() });
        for number in 0..torn {
            let seed = operation as u64 * 1_000 + number;
            let mut content = self.content.copy();
            cut(&mut content, Cut::Torn { seed });
            assert_eq!(change(&mut content), Err(FlashError::PowerLost));
            content.store.power_on();
            content.vault.power_on();
            self.moments.push(Moment { operation, kind: Kind::Torn(number), content });
        }
    }
}

macro_rules! chip {
    ($name:ident, $flash:ident, $field:ident) => {
        pub struct $name(Rc<RefCell<Board>>);

        impl ErrorType for $name {
            type Error = FlashError;
        }

        impl ReadNorFlash for $name {
            const READ_SIZE: usize = 1;

            fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
                self.0.borrow_mut().content.$field.read(offset, bytes)
            }

            fn capacity(&self) -> usize {
                self.0.borrow().content.$field.geometry().total
            }
        }

        impl NorFlash for $name {
            const WRITE_SIZE: usize = $flash::WRITE_SIZE;
            const ERASE_SIZE: usize = $flash::ERASE_SIZE;

            fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
                let mut board = self.0.borrow_mut();
                for block in (from..to).step_by(Self::ERASE_SIZE) {
                    let end = block + Self::ERASE_SIZE as u32;
                    board.record(|it| it.$field.erase(block, end), |it, cut| it.$field.cut_at(0, cut));
                    board.content.$field.erase(block, end)?;
                }
                Ok(())
            }

            fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
                let mut board = self.0.borrow_mut();
                board.record(|it| it.$field.write(offset, bytes), |it, cut| it.$field.cut_at(0, cut));
                board.content.$field.write(offset, bytes)
            }
        }
    };
}

chip!(StoreChip, StoreFlash, store);
chip!(VaultChip, VaultFlash, vault);

/// The platform of a device on the board.
pub struct Platform {
    store: Store<StoreChip>,
    vault: Partition<VaultChip>,
    rng: Rng,
    board: Rc<RefCell<Board>>,
    made: Rc<RefCell<Secrets>>,
    /// Another test's: it begins anew with each board.
    log: Log,
}

impl Platform {
    /// Switches the board on. `torn`: record every cut, and so many torn ones for each operation.
    pub fn open(
        content: Content,
        rewrite: Rewrite,
        torn: Option<u64>,
        seed: u64,
        made: &Rc<RefCell<Secrets>>,
    ) -> Self {
        let board = Rc::new(RefCell::new(Board { content, torn, moments: Vec::new(), operations: 0 }));
        let store = Store::open(StoreChip(board.clone())).expect("the store opens");
        let vault = Partition::open(VaultChip(board.clone()), rewrite).expect("the vault opens");
        Self { store, vault, rng: Rng::with_seed(seed), board, made: made.clone(), log: Log::default() }
    }

    /// Switches it off: what is there, and what was there before each operation.
    pub fn off(self) -> (Content, Vec<Moment>) {
        let Self { store, vault, board, .. } = self;
        drop((store, vault));
        let board = Rc::into_inner(board).expect("both chips are let go").into_inner();
        (board.content, board.moments)
    }

    /// A copy of what is there.
    pub fn content(&self) -> Content {
        self.board.borrow().content.copy()
    }
}

impl KeyValue for Platform {
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

impl Entropy for Platform {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.rng.fill(buffer);
        Ok(())
    }
}

fn uid(slot: KeySlot, usage: KeyUse) -> u64 {
    u64::from(slot.number()) * 2 + u64::from(usage == KeyUse::Tls)
}

impl Platform {
    fn scalar(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<[u8; 32]>, VaultError> {
        let mut buffer = [0; ENTRY_BYTES_MAX];
        match self.vault.get(uid(slot, usage), &mut buffer)? {
            None => Ok(None),
            Some(bytes) => Ok(Some(bytes.try_into().map_err(|_| VaultError::Sealed)?)),
        }
    }
}

/// Keys in plain bytes, so that a look at the flash finds them.
impl Vault for Platform {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        let mut scalar = [0; 32];
        self.rng.fill(&mut scalar);
        scalar[0] &= 0x7f;
        self.import(slot, usage, &scalar)
    }

    fn import(&mut self, slot: KeySlot, usage: KeyUse, scalar: &[u8; 32]) -> Result<PublicKey, VaultError> {
        let halves = scalar.chunks(16).map(|half| half.try_into().expect("a half"));
        // One that looks erased would not be looked for.
        self.made.borrow_mut().extend(halves.filter(|half: &[u8; 16]| half[0] != 0xFF));
        self.vault.set(uid(slot, usage), scalar)?;
        Ok(public(scalar))
    }

    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        Ok(self.scalar(slot, usage)?.map(|scalar| public(&scalar)))
    }

    fn sign(&mut self, slot: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        let scalar = self.scalar(slot, statement.usage())?.ok_or(VaultError::Empty)?;
        Ok(sign(&scalar, statement.digest()))
    }

    fn wipe(&mut self, slot: KeySlot) -> Result<(), VaultError> {
        self.vault.remove(uid(slot, KeyUse::Identity))?;
        self.vault.remove(uid(slot, KeyUse::Tls))?;
        Ok(())
    }
}

impl LogFlash for Platform {
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

cannot_be_updated!(Platform);
