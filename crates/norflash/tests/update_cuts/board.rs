//! A board with a flash for the store, one for each slot and one for the marks of the bootloader, behind one supply that is
//! cut at an operation of any of them. The bootloader swaps the slots as a whole: its own cuts are another test's, with the
//! real one.

use crate::world;
use crate::world::release::{digest, image_key};
use crate::world::site::Board;
use device::platform::{LogFlash, LogLayout};
use device::vault::Statement;
use device::{
    Entropy, EntropyError, Key, KeySlot, KeyValue, Running, SlotLayout, Slots, StorageError, Vault,
    VaultError,
};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use norflash::{Cut, Flash, FlashError, Store};
use protocol::document::KeyUse;
use protocol::image::Image;
use protocol::{PublicKey, Signature};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

pub const SECTOR: usize = 1_024;
pub type SlotFlash = Flash<SECTOR, 4>;
type MarkFlash = Flash<16, 4>;

const STORE_BLOCKS: u16 = 6;
/// Where the candidate's mark and the confirmation of the running image stand.
const PENDING: u32 = 0;
const CONFIRMED: u32 = 16;
const MAGIC: [u8; 4] = [0x77, 0xc2, 0x95, 0xf3];

/// Everything on the board.
pub struct Chips {
    store: Flash,
    running: SlotFlash,
    candidate: SlotFlash,
    marks: MarkFlash,
    on_trial: bool,
    /// Operations so far.
    pub operations: u64,
    cut: Option<(u64, Cut)>,
    off: bool,
    /// Images that the bootloader has started, by their digests, in order.
    pub booted: Vec<[u8; 32]>,
    /// Images that the bootloader has refused.
    pub refused: u32,
    /// The digests of all images that may ever run.
    pub genuine: BTreeSet<[u8; 32]>,
}

impl Chips {
    /// Lets one operation of one of the flashes happen, or cuts it.
    fn change(
        &mut self,
        operate: impl FnOnce(&mut Self, Option<Cut>) -> Result<(), FlashError>,
    ) -> Result<(), FlashError> {
        if self.off {
            return Err(FlashError::PowerLost);
        }
        let cut = self.cut.filter(|(at, _)| *at == self.operations).map(|(_, cut)| cut);
        self.operations += 1;
        let done = operate(self, cut);
        if cut.is_some() {
            assert_eq!(done, Err(FlashError::PowerLost), "power was to be cut");
            (self.off, self.cut) = (true, None);
        }
        done
    }
}

fn cut_now<const B: usize, const W: usize>(flash: &mut Flash<B, W>, cut: Option<Cut>) -> &mut Flash<B, W> {
    if let Some(cut) = cut {
        flash.cut_at(0, cut);
    }
    flash
}

/// The store's flash.
#[derive(Clone)]
struct Chip(Rc<RefCell<Chips>>);

impl ErrorType for Chip {
    type Error = FlashError;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let mut chips = self.0.borrow_mut();
        if chips.off { Err(FlashError::PowerLost) } else { chips.store.read(offset, bytes) }
    }

    fn capacity(&self) -> usize {
        self.0.borrow().store.geometry().total
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = Flash::<4096, 4>::WRITE_SIZE;
    const ERASE_SIZE: usize = Flash::<4096, 4>::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        for block in (from..to).step_by(Self::ERASE_SIZE) {
            let end = block + Self::ERASE_SIZE as u32;
            self.0.borrow_mut().change(|chips, cut| cut_now(&mut chips.store, cut).erase(block, end))?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.0.borrow_mut().change(|chips, cut| cut_now(&mut chips.store, cut).write(offset, bytes))
    }
}

/// The platform of a device on the board.
#[derive(Clone)]
pub struct Platform {
    pub chips: Rc<RefCell<Chips>>,
    store: Rc<RefCell<Store<Chip>>>,
    /// Keys that never change, random numbers, and the log, which is cut in another test.
    vault: world::Platform,
    capacity: u32,
}

impl Platform {
    /// A board with what `from` holds in its store, and `running` in the first slot.
    pub fn new(from: &world::Platform, capacity: u32, running: &[u8]) -> Self {
        let blocks = (capacity as usize / SECTOR) as u16;
        let mut slot = SlotFlash::in_memory_of(blocks);
        let mut padded = running.to_vec();
        padded.resize(running.len().next_multiple_of(4), 0xFF);
        slot.write(0, &padded).expect("is erased");
        let chips = Rc::new(RefCell::new(Chips {
            store: Flash::in_memory_of(STORE_BLOCKS),
            running: slot,
            candidate: SlotFlash::in_memory_of(blocks),
            marks: MarkFlash::in_memory_of(2),
            on_trial: false,
            operations: 0,
            cut: None,
            off: false,
            booted: Vec::new(),
            refused: 0,
            genuine: BTreeSet::from([digest(running)]),
        }));
        let mut store = Store::open(Chip(chips.clone())).expect("the store opens");
        for (key, value) in from.store.borrow().iter() {
            KeyValue::write(&mut store, *key, value).expect("room");
        }
        Self { chips, store: Rc::new(RefCell::new(store)), vault: from.clone(), capacity }
    }

    /// The same board once more.
    pub fn copy(&self) -> Self {
        let from = self.chips.borrow();
        let chips = Rc::new(RefCell::new(Chips {
            store: from.store.copy(),
            running: from.running.copy(),
            candidate: from.candidate.copy(),
            marks: from.marks.copy(),
            on_trial: from.on_trial,
            operations: 0,
            cut: None,
            off: false,
            booted: Vec::new(),
            refused: 0,
            genuine: from.genuine.clone(),
        }));
        let mut vault = world::Platform::blank(9);
        vault.keys = Rc::new(RefCell::new(self.vault.keys.borrow().clone()));
        let store = Store::open(Chip(chips.clone())).expect("the store opens");
        Self { chips, store: Rc::new(RefCell::new(store)), vault, capacity: self.capacity }
    }

    /// Cuts power at an operation to come.
    pub fn cut_at(&self, operation: u64, cut: Cut) {
        self.chips.borrow_mut().cut = Some((operation, cut));
    }

    pub fn operations(&self) -> u64 {
        self.chips.borrow().operations
    }

    fn slots<T>(&self, act: impl FnOnce(&mut Chips) -> Result<T, FlashError>) -> Result<T, StorageError> {
        let mut chips = self.chips.borrow_mut();
        if chips.off {
            return Err(StorageError::Medium);
        }
        act(&mut chips).map_err(|error| {
            assert_eq!(error, FlashError::PowerLost, "the flash is used as it must not be");
            StorageError::Medium
        })
    }
}

fn image_in(slot: &mut SlotFlash) -> Option<Vec<u8>> {
    let bytes = slot.image();
    let image = Image::decode(&bytes).ok()?;
    let hash = digest(&bytes[..image.hashed_bytes() as usize]);
    image.verify(&hash, &image_key()).ok()?;
    Some(bytes[..image.bytes() as usize].to_vec())
}

impl Board for Platform {
    fn boot(&mut self) {
        {
            let mut chips = self.chips.borrow_mut();
            let chips = &mut *chips;
            chips.off = false;
            chips.store.power_on();
            chips.running.power_on();
            chips.candidate.power_on();
            chips.marks.power_on();
            let mark = |marks: &mut MarkFlash, at| {
                let mut word = [0; 4];
                marks.read(at, &mut word).expect("readable");
                word == MAGIC
            };
            let swap = if chips.on_trial && !mark(&mut chips.marks, CONFIRMED) {
                chips.on_trial = false;
                true
            } else if mark(&mut chips.marks, PENDING) {
                if image_in(&mut chips.candidate).is_some() {
                    chips.on_trial = true;
                    true
                } else {
                    chips.refused += 1;
                    false
                }
            } else {
                chips.on_trial &= !mark(&mut chips.marks, CONFIRMED);
                false
            };
            if swap {
                std::mem::swap(&mut chips.running, &mut chips.candidate);
                chips.marks = MarkFlash::in_memory_of(2);
            }
            let image = image_in(&mut chips.running).expect("a device that boots");
            let digest = digest(&image);
            assert!(chips.genuine.contains(&digest), "the image that runs is none that was signed");
            chips.booted.push(digest);
        }
        let store = Store::open(Chip(self.chips.clone()));
        if let Ok(store) = store {
            *self.store.borrow_mut() = store;
        }
    }

    fn is_off(&self) -> bool {
        self.chips.borrow().off
    }
}

impl Slots for Platform {
    fn layout(&self) -> Option<SlotLayout> {
        Some(SlotLayout { capacity: self.capacity, sector: SECTOR as u32, word: 4 })
    }

    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.slots(|chips| chips.running.read(offset, bytes))
    }

    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.slots(|chips| chips.candidate.read(offset, bytes))
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        self.slots(|chips| {
            chips.change(|chips, cut| cut_now(&mut chips.marks, cut).erase(PENDING, CONFIRMED))
        })?;
        self.erase(0)
    }

    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        let end = offset + SECTOR as u32;
        self.slots(|chips| chips.change(|chips, cut| cut_now(&mut chips.candidate, cut).erase(offset, end)))
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        self.slots(|chips| chips.change(|chips, cut| cut_now(&mut chips.candidate, cut).write(offset, bytes)))
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        self.slots(|chips| {
            chips.change(|chips, cut| cut_now(&mut chips.marks, cut).erase(PENDING, CONFIRMED))
        })?;
        self.slots(|chips| chips.change(|chips, cut| cut_now(&mut chips.marks, cut).write(PENDING, &MAGIC)))
    }

    fn running(&mut self) -> Result<Running, StorageError> {
        self.slots(|chips| {
            let mut word = [0; 4];
            chips.marks.read(CONFIRMED, &mut word)?;
            Ok(if chips.on_trial && word != MAGIC { Running::OnTrial } else { Running::Confirmed })
        })
    }

    fn confirm(&mut self) -> Result<(), StorageError> {
        self.slots(|chips| chips.change(|chips, cut| cut_now(&mut chips.marks, cut).write(CONFIRMED, &MAGIC)))
    }
}

impl KeyValue for Platform {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        self.store.borrow_mut().read(key, buffer)
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        KeyValue::write(&mut *self.store.borrow_mut(), key, value)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.store.borrow_mut().remove(key)
    }
}

impl LogFlash for Platform {
    fn log_layout(&self) -> Option<LogLayout> {
        self.vault.log_layout()
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.vault.log_read(offset, bytes)
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        if self.chips.borrow().off { Err(StorageError::Medium) } else { self.vault.log_erase(offset) }
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        if self.chips.borrow().off {
            Err(StorageError::Medium)
        } else {
            self.vault.log_program(offset, bytes)
        }
    }
}

impl Entropy for Platform {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.vault.fill(buffer)
    }
}

impl Vault for Platform {
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
