//! What days of normal operation, and days of an attack, cost the flash: a device in the field in virtual time, with its values
//! in a store on NOR flash and its security log in a partition of 64 KiB with sectors of 4 KiB. The numbers are printed
//! (`cargo test -p norflash --test log_wear -- --nocapture`) and held to more than 20 years. R-LOG.

#[macro_use]
mod no_slots;
#[path = "../../device/tests/world/mod.rs"]
mod world;

use device::platform::{LogFlash, LogLayout};
use device::vault::Statement;
use device::{Entropy, EntropyError, Key, KeySlot, KeyValue, StorageError, Vault, VaultError};
use norflash::{Flash, Store};
use protocol::config::Authentication;
use protocol::document::{Action, KeyUse, LogAcknowledgement, LogDelivery, Power};
use protocol::signed::Envelope;
use protocol::{Channel, Failure, PublicKey, Signature};
use std::collections::BTreeMap;
use world::factory::{configuration, provision};
use world::field::{DAY_MS, Field, ID, id, one};
use world::service::{Service, signed};

/// Erases that a block of a common part bears, by its datasheet.
const ENDURANCE: f64 = 10_000.0;
const SECTOR: u32 = 4_096;
const SECTORS: u16 = 16;
/// 32 KiB: the smallest partition for values of the boards.
const STORE_BLOCKS: u16 = 8;

struct Platform {
    store: Store<Flash>,
    log: Flash,
    /// Keys and random numbers.
    vault: world::Platform,
    written: BTreeMap<&'static str, u64>,
    /// Bytes of the log that were written.
    logged: u64,
}

impl KeyValue for Platform {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        self.store.read(key, buffer)
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        let name = match key {
            Key::Boot => "boot",
            Key::Ended => "ended",
            Key::Time => "time",
            Key::Log => "log",
            Key::Command => "command",
            Key::Backlog(_) => "backlog",
            _ => "other",
        };
        *self.written.entry(name).or_default() += 1;
        self.store.write(key, value)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.store.remove(key)
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

impl LogFlash for Platform {
    fn log_layout(&self) -> Option<LogLayout> {
        Some(LogLayout { size: self.log.geometry().total as u32, sector: SECTOR, word: 4 })
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.log.read(offset, bytes).map_err(|_| StorageError::Medium)
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        self.log.erase(offset, offset + SECTOR).map_err(|_| StorageError::Medium)
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        self.logged += bytes.len() as u64;
        self.log.write(offset, bytes).map_err(|_| StorageError::Medium)
    }
}

cannot_be_updated!(Platform);

/// The operator's tool: acknowledges what came in.
fn operate(field: &mut Field<Platform>) {
    let messages = std::mem::take(&mut field.published);
    let Some((_, piece)) = messages.iter().rfind(|(channel, _)| *channel == Channel::Log) else { return };
    let envelope = Envelope::decode(piece).expect("an envelope");
    let keys = field.service.registered.borrow().clone();
    let key = keys.iter().find(|key| key.id() == envelope.signer()).expect("a key of the device");
    let delivery = envelope.verify::<LogDelivery<'_>>(key).expect("genuine").into_inner();
    let last = protocol::audit::Entries::new(delivery.entries).last().expect("a record").expect("an entry");
    let document = LogAcknowledgement { audience: one(), number: last.sequence, hash: last.hash };
    let document = signed(&document, Power::Configuration);
    field.retained.retain(|(channel, _)| *channel != Channel::LogDesired);
    field.retained.push((Channel::LogDesired, document.clone()));
    field.send(Channel::LogDesired, &document);
}

/// A day: the link breaks every four hours, once a week power does, once a day the device is told to do something. Under
/// attack forged documents come all the time, and every connection but one in two hours is refused.
fn day(field: &mut Field<Platform>, number: u32, attack: bool) {
    for hour in 0..24 {
        if hour % 4 == 3 {
            field.cut_link(Failure::LinkLost);
        }
        if attack {
            for _ in 0..20 {
                field.connect();
                for channel in
                    [Channel::RootsDesired, Channel::ConfigDesired, Channel::Command, Channel::LogDesired]
                {
                    field.send(channel, b"nonsense");
                }
                field.run(60_000);
            }
            field.door = Box::new(|_| false);
            field.cut_link(Failure::LinkLost);
            field.run(600_000);
            field.door = Box::new(|_| true);
            field.run(1_800_000);
        } else {
            field.run(3_600_000);
        }
        field.connect();
        operate(field);
    }
    let command = field.service.command(&id(), Action::Report);
    field.send(Channel::Command, &command);
    if number % 7 == 6 {
        field.restart();
        field.connect();
    }
}

/// Erases a day of the most worn sector, of the log and of the store.
fn measure(days: u32, attack: bool) -> (f64, f64) {
    let service = Service::new();
    let platform = Platform {
        store: Store::open(Flash::in_memory_of(STORE_BLOCKS)).expect("a store"),
        log: Flash::in_memory_of(SECTORS),
        vault: world::Platform::blank(7),
        written: BTreeMap::new(),
        logged: 0,
    };
    let platform = provision(platform, &service, &configuration(ID, Authentication::Certificate));
    let mut field = Field::new(service);
    field.start(platform).expect("starts");
    field.connect();
    field.run(2 * DAY_MS);
    operate(&mut field);
    let platform = field.platform();
    platform.written.clear();
    let begun = platform.logged;
    let worn: Vec<u32> = platform.store.flash().wear().collect();
    for number in 0..days {
        day(&mut field, number, attack);
    }
    let platform = field.platform();
    let bytes = platform.logged - begun;
    let per_day = |count: f64| count / f64::from(days);
    // Every sector is erased in turn, once for what fits into it.
    let log_wear = per_day(bytes as f64) / f64::from(SECTOR) / f64::from(SECTORS);
    let most = platform.store.flash().wear().zip(worn).map(|(now, then)| now - then).max();
    let store_wear = per_day(f64::from(most.unwrap_or(0)));
    println!("{days} days{}:", if attack { " of an attack" } else { "" });
    println!("  log: {:.0} bytes a day", per_day(bytes as f64));
    println!("  log: {log_wear:.4} erases a day of each of {SECTORS} sectors of 4 KiB");
    println!("  log: {:.0} years to {ENDURANCE} erases", years(log_wear));
    let total: u64 = platform.written.values().sum();
    println!(
        "  store: {:.1} values a day, by key: {:?} in {days} days",
        per_day(total as f64),
        platform.written
    );
    println!("  store: {store_wear:.4} erases a day of the most worn of {STORE_BLOCKS} blocks of 4 KiB");
    println!("  store: {:.0} years to {ENDURANCE} erases", years(store_wear));
    (log_wear, store_wear)
}

fn years(per_day: f64) -> f64 {
    ENDURANCE / per_day / 365.25
}

#[test]
fn log_and_store_last_for_more_than_twenty_years_of_normal_days() {
    let (log, store) = measure(180, false);
    assert!(years(log) > 20.0 && years(store) > 20.0, "{log} {store}");
}

#[test]
fn an_attack_that_goes_on_does_not_wear_the_log_out() {
    let (log, _) = measure(20, true);
    assert!(years(log) > 20.0, "{log}");
}
