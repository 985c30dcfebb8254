//! The device itself on the store: power is cut at every write and erase of its start and of its shutdown. Then it
//! starts again, its boot number has never been used before, and every sample that was stored completely is still
//! there. R-DATA-INTACT.
//!
//! The identity is one that never changes, in a vault that holds nothing but constants: identities that change are
//! another test's.

#[macro_use]
mod no_slots;

use device::platform::BACKLOG_SLOTS;
use device::provisioning::{Development, adopt};
use device::vault::Statement;
use device::{
    BootInfo, Command, Device, Entropy, EntropyError, Event, Key, KeySlot, KeyValue, Pace, Product,
    StorageError, Uptime, Vault, VaultError,
};
use fastrand::Rng;
use norflash::{Cut, Flash, Store};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::config::{Draft, SAMPLE_PERIOD};
use protocol::document::{Certificates, KeyUse};
use protocol::{Batch, DeviceId, EpochMillis, Measurement, PublicKey, ResetCause, Signature, Uuid};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use time::OffsetDateTime;

/// Boot and sequence number of a sample.
type Sample = (u32, u32);

/// The store and a note of every sample that it has confirmed.
struct Recorder<'f> {
    store: Store<&'f mut Flash>,
    stored: BTreeSet<Sample>,
}

impl KeyValue for Recorder<'_> {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        self.store.read(key, buffer)
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        self.store.write(key, value)?;
        if matches!(key, Key::Backlog(_)) {
            self.stored.extend(samples(value));
        }
        Ok(())
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.store.remove(key)
    }
}

impl Entropy for Recorder<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        buffer.fill(0x5A);
        Ok(())
    }
}

/// The private key of every slot for `usage`.
const fn scalar(usage: KeyUse) -> [u8; 32] {
    match usage {
        KeyUse::Identity => [0x21; 32],
        KeyUse::Tls => [0x22; 32],
    }
}

fn signing_key(usage: KeyUse) -> SigningKey {
    SigningKey::from_slice(&scalar(usage)).expect("a scalar")
}

fn public_key(usage: KeyUse) -> PublicKey {
    PublicKey::new(signing_key(usage).verifying_key().to_sec1_point(false).as_bytes()).expect("a point")
}

/// Both keys are in the first slot, before the device has an identity and for ever after.
impl Vault for Recorder<'_> {
    fn generate(&mut self, slot: KeySlot, usage: KeyUse) -> Result<PublicKey, VaultError> {
        self.public_key(slot, usage)?.ok_or(VaultError::Entropy)
    }

    fn import(&mut self, slot: KeySlot, usage: KeyUse, given: &[u8; 32]) -> Result<PublicKey, VaultError> {
        assert_eq!(*given, scalar(usage));
        self.generate(slot, usage)
    }

    fn public_key(&mut self, slot: KeySlot, usage: KeyUse) -> Result<Option<PublicKey>, VaultError> {
        Ok((slot == KeySlot::ALL[0]).then(|| public_key(usage)))
    }

    fn sign(&mut self, _: KeySlot, statement: &Statement) -> Result<Signature, VaultError> {
        let signature: Result<p256::ecdsa::Signature, _> =
            signing_key(statement.usage()).sign_prehash(statement.digest());
        Ok(Signature::normalised(&signature.expect("signs").to_bytes()).expect("a signature"))
    }

    fn wipe(&mut self, _: KeySlot) -> Result<(), VaultError> {
        Ok(())
    }
}

cannot_be_updated!(Recorder<'_>);
keeps_no_log!(Recorder<'_>);

fn samples(batch: &[u8]) -> impl Iterator<Item = Sample> {
    let batch = Batch::decode(batch).expect("a batch");
    (batch.seq..).take(batch.samples.len()).map(move |seq| (batch.boot, seq))
}

fn held(flash: &mut Flash) -> BTreeSet<Sample> {
    let mut store = Store::open(flash).expect("a store");
    let mut buffer = [0; protocol::telemetry::BATCH_BYTES_MAX];
    let mut held = BTreeSet::new();
    for slot in 0..BACKLOG_SLOTS {
        if let Some(batch) = store.read(Key::Backlog(slot), &mut buffer).expect("readable") {
            held.extend(samples(batch));
        }
    }
    held
}

fn info() -> BootInfo {
    BootInfo {
        firmware: "0.1.0".try_into().expect("short"),
        board: "test".try_into().expect("short"),
        reset: ResetCause::PowerOn,
        build: EpochMillis(1_790_000_000_000),
        policy: device::Policy::default(),
        product: Product { vendor: Uuid([1; 16]), class: Uuid([2; 16]), image_key: None },
        pace: Pace::default(),
    }
}

/// What came of one boot.
#[derive(Debug, Default)]
struct Life {
    /// Its number, where it started.
    boot: Option<u32>,
    /// Changes of the flash until it had started.
    start: u64,
    /// Samples that the store has confirmed.
    stored: BTreeSet<Sample>,
}

/// Starts the device without a network, takes `readings` and shuts down in order, whatever the flash does meanwhile.
fn live(flash: &mut Flash, readings: u32) -> Life {
    let before = flash.operations().changes();
    let mut life = Life::default();
    let Ok(store) = Store::open(&mut *flash) else { return life };
    let Ok(mut device) = Device::start(Recorder { store, stored: BTreeSet::new() }, info(), Uptime(0)) else {
        return life;
    };
    life.boot = Some(device.boot());
    let mut taken = 0;
    let mut now = Uptime(0);
    while taken < readings {
        while let Some(command) = device.poll_output(now) {
            if command == Command::Sample {
                let value = Measurement::new(2_000 + (taken % 900) as i32, 4_500, 101_325);
                device.handle(now, Event::Reading(value));
                taken += 1;
            }
        }
        now = now.after(SAMPLE_PERIOD.default.unsigned_abs());
        device.handle(now, Event::Tick);
    }
    // Nothing but start and shutdown writes while there is no connection.
    let mut recorder = {
        device.handle(now, Event::Shutdown);
        while let Some(command) = device.poll_output(now) {
            if command == Command::Stopped {
                break;
            }
        }
        device.into_platform()
    };
    life.stored = std::mem::take(&mut recorder.stored);
    drop(recorder);
    life.start = flash.operations().changes() - before;
    life
}

fn certificate(name: &str, is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    let date = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a date");
    (params.not_before, params.not_after) = (date(1_790_000_000), date(2_100_000_000));
    params
}

/// The device's certificate and the root that has signed it. Made once, for no two are the same.
fn certificates() -> &'static (Vec<u8>, Vec<u8>) {
    struct Subject(PublicKey);
    impl rcgen::PublicKeyData for Subject {
        fn der_bytes(&self) -> &[u8] {
            self.0.as_bytes()
        }

        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_ECDSA_P256_SHA256
        }
    }

    static MADE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let ca = certificate("root", IsCa::Ca(BasicConstraints::Unconstrained));
        let root = ca.self_signed(&key).expect("signs").der().to_vec();
        let mut leaf = certificate("dev-1", IsCa::ExplicitNoCa);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = rcgen::Issuer::new(ca, key);
        let leaf = leaf.signed_by(&Subject(public_key(KeyUse::Tls)), &issuer).expect("signs");
        (leaf.der().to_vec(), root)
    })
}

/// Gives a blank device identity and configuration.
fn provision(flash: &mut Flash) {
    let mut recorder = Recorder { store: Store::open(flash).expect("a store"), stored: BTreeSet::new() };
    let id = DeviceId::new("dev-1").expect("valid");
    let draft = Draft::new(id, "broker.example", "time.example").expect("valid");
    let (leaf, root) = certificates();
    let development = Development {
        chain: Certificates(heapless::Vec::from_slice(&[leaf.as_slice()]).expect("room")),
        roots: Certificates(heapless::Vec::from_slice(&[root.as_slice()]).expect("room")),
        configuration: &draft.check().expect("valid"),
        tls: &scalar(KeyUse::Tls),
        firmware: None,
        configuration_key: None,
        group: protocol::Name::EMPTY,
    };
    adopt(&mut recorder, &development).expect("a valid identity");
}

/// Flash of a device that has had some lives: batches of two boots wait, the first of them are delivered.
fn aged(blocks: u16, lives: u32) -> Flash {
    let mut flash = Flash::in_memory_of(blocks);
    provision(&mut flash);
    for _ in 0..lives {
        live(&mut flash, 300);
        let mut store = Store::open(&mut flash).expect("a store");
        (0..BACKLOG_SLOTS).for_each(|slot| store.remove(Key::Backlog(slot)).expect("room"));
    }
    live(&mut flash, 130);
    live(&mut flash, 70);
    let mut store = Store::open(&mut flash).expect("a store");
    (0..3).for_each(|slot| store.remove(Key::Backlog(slot)).expect("room"));
    flash
}

/// Cuts at every operation of one life and looks at the next two. The number of cuts.
fn cut_everywhere(base: &Flash, readings: u32, torn: u64) -> u64 {
    let mut flash = base.copy();
    let before = held(&mut flash);
    let whole = live(&mut flash, readings);
    let boot = whole.boot.expect("it starts");
    let operations = flash.operations().changes();
    assert_eq!(whole.start, operations);
    assert_eq!(held(&mut flash), &before | &whole.stored);
    assert!(whole.stored.iter().filter(|(of, _)| *of == boot).count() == readings as usize);
    let mut made = 0;
    for at in 0..operations {
        for cut in
            [Cut::Before, Cut::After].into_iter().chain((0..torn).map(|n| Cut::Torn { seed: at * 100 + n }))
        {
            let what = format!("cut {cut:?} at operation {at} of {operations}");
            let mut flash = base.copy();
            flash.cut_at(at, cut);
            let cut_life = live(&mut flash, readings);
            assert!(flash.is_off(), "{what}");
            flash.power_on();
            let expected = &before | &cut_life.stored;
            let lost = &expected - &held(&mut flash);
            assert!(lost.is_empty(), "lost {lost:?}, {what}");

            let mut newest = cut_life.boot.unwrap_or(boot - 1);
            for _ in 0..2 {
                let next = live(&mut flash, 1);
                let number = next.boot.unwrap_or_else(|| panic!("does not start, {what}"));
                assert!(number > newest, "boot {number} after {newest}, {what}");
                newest = number;
            }
            let lost = &expected - &held(&mut flash);
            assert!(lost.is_empty(), "lost after two more boots {lost:?}, {what}");
            made += 1;
        }
    }
    made
}

#[test]
fn a_new_device_survives_a_cut_at_every_operation_of_start_and_shutdown() {
    let cuts = cut_everywhere(&aged(norflash::BLOCKS, 0), 100, 4);
    assert!(cuts > 100, "{cuts}");
}

/// Every block has been in use: start and shutdown collect garbage.
#[test]
fn an_aged_device_survives_a_cut_at_every_operation_of_start_and_shutdown() {
    let mut collected = false;
    for lives in [4, 5, 6] {
        let base = aged(12, lives);
        let worn = |flash: &Flash| flash.wear().sum::<u32>();
        let mut whole = base.copy();
        live(&mut whole, 100);
        collected |= worn(&whole) > worn(&base);
        let cuts = cut_everywhere(&base, 100, 3);
        assert!(cuts > 100, "{cuts}");
    }
    assert!(collected, "no shutdown has collected garbage: this tests less than it says");
}

/// The device is cut again and again, at random, while it starts and stops.
#[test]
fn a_device_that_is_cut_again_and_again_never_repeats_a_boot_number() {
    for seed in 0..6 {
        let mut rng = Rng::with_seed(seed);
        let mut flash = aged(12, 2);
        let mut newest = 0;
        let mut expected = held(&mut flash);
        for round in 0..60 {
            let cut = Cut::Torn { seed: rng.u64(..) };
            flash.cut_at(rng.u64(0..60), cut);
            let life = live(&mut flash, 5);
            flash.power_on();
            let what = format!("seed {seed}, round {round}, {cut:?}");
            if let Some(boot) = life.boot {
                assert!(boot > newest, "boot {boot} after {newest}, {what}");
                newest = boot;
            }
            expected.extend(life.stored);
            let lost = &expected - &held(&mut flash);
            assert!(lost.is_empty(), "lost {lost:?}, {what}");
            // The service takes what waits, so that there is room for more.
            if rng.u8(0..4) == 0 {
                let mut store = Store::open(&mut flash).expect("a store");
                (0..BACKLOG_SLOTS).for_each(|slot| store.remove(Key::Backlog(slot)).expect("room"));
                expected.clear();
            }
        }
        assert!(newest > 20, "too few boots have started: {newest}, seed {seed}");
    }
}
