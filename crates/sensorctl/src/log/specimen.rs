//! A device's log for tests: records of every kind over several boots, seals, keys that are replaced, deliveries.

use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::audit::{Event, FIRST, Hash, RECORD_BYTES_MAX, Record, append, hash};
use protocol::document::{Action, Audience, End, LOG_PAYLOAD_BYTES_MAX, LogDelivery, Power};
use protocol::image::Version;
use protocol::key::{Digest, sha256};
use protocol::signed::seal;
use protocol::state::ClockQuality;
use protocol::{
    Channel, DeviceId, EpochMillis, Failure, KeyId, Layer, PublicKey, Refusal, ResetCause, Signature,
    UpdateFault,
};
use std::convert::Infallible;

/// Numbers that look random, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// `SplitMix64`.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

pub fn key(seed: u64, number: u64) -> SecretKey {
    SecretKey::from_slice(&sha256(&[b"key", &seed.to_le_bytes(), &number.to_le_bytes()])).unwrap()
}

pub fn public(key: &SecretKey) -> PublicKey {
    PublicKey::new(&key.public_key().to_sec1_bytes()).unwrap()
}

pub fn sign(key: &SecretKey, digest: &Digest) -> Signature {
    let signature: p256::ecdsa::Signature = SigningKey::from(key).sign_prehash(digest).unwrap();
    Signature::normalised(&signature.to_bytes()).unwrap()
}

/// An event of the kind with this number (none that only the log itself makes).
pub fn event(kind: u8, dice: &mut Dice) -> Event {
    let number = u32::try_from(dice.below(100_000)).unwrap();
    let identity = KeyId([number.to_le_bytes()[0]; 32]);
    let layer = dice.of(Layer::ALL);
    let why = dice.of(UpdateFault::ALL);
    let version = Version { build: number, ..Version::new(1, 2, 3) };
    match kind {
        1 => Event::Boot {
            reset: dice.of(ResetCause::ALL),
            firmware: "1.2.3+native_sim/native@A".try_into().unwrap(),
        },
        2 => Event::Provisioned { identity },
        3 => Event::Retired { end: dice.of(&[End::Blank, End::Destroyed]) },
        4 => Event::KeysMade,
        5 => Event::IdentityReplaced { identity },
        6 => Event::IdentityRefused,
        7 => Event::IdentityFellBack { identity },
        8 => Event::IdentityWiped,
        9 => Event::RootsReplaced { number },
        10 => Event::RootsUndone { number },
        11 => Event::AuthorityReplaced { power: dice.of(&Power::ALL), key: identity },
        12 => Event::Configured { layer, number },
        13 => Event::ConfigurationUndone { layer, number },
        14 => {
            let actions = [
                Action::Report,
                Action::Burst { samples: 9, period_ms: number },
                Action::Reboot,
                Action::Rotate,
                Action::SendLog { from: number },
            ];
            Event::Commanded { number, action: dice.of(&actions) }
        }
        15 => {
            let channel = Some(dice.of(&Channel::ALL)).filter(|_| number % 2 == 0);
            Event::DocumentRefused { channel, why: dice.of(Refusal::ALL) }
        }
        16 => Event::PeerRefused { why: dice.of(Failure::ALL) },
        17 => Event::ClockSet { by_ms: Some(i64::from(number) - 50_000).filter(|by| by % 3 != 0) },
        18 => Event::TimeRefused,
        19 => Event::UpdateNoticed { version, sequence: u64::MAX - u64::from(number) },
        20 => Event::UpdateRefused { why },
        21 => Event::UpdateWithdrawn,
        22 => Event::UpdateDownloaded { bytes: number },
        23 => Event::UpdateInstalling { version },
        24 => Event::UpdateConfirmed { version },
        25 => Event::UpdateUndone { why },
        26 => Event::UpdateReverted { why },
        27 => Event::StorageFailed,
        28 => Event::EntropyFailed,
        29 => Event::Repeated { kind: dice.of(&[15, 16, 200]), count: number },
        33 => Event::CertificateEnded { until: EpochMillis::from_seconds(number.into()) },
        34 => Event::CertifiedOnLine { identity },
        _ => Event::CommandRefused { why: dice.of(Refusal::ALL) },
    }
}

/// A device with its log.
pub struct Specimen {
    pub id: DeviceId,
    pub dice: Dice,
    /// The identity keys that it has had; the last one is in force.
    pub keys: Vec<SecretKey>,
    seed: u64,
    boot: u32,
    pub time: u64,
    /// Bytes and hash of every record.
    pub records: Vec<(Vec<u8>, Hash)>,
}

impl Specimen {
    pub fn new(id: &str, seed: u64) -> Self {
        let id = DeviceId::new(id).unwrap();
        let (dice, keys) = (Dice::new(seed), vec![key(seed, 0)]);
        Self { id, dice, keys, seed, boot: 1, time: 1_795_000_000_000, records: Vec::new() }
    }

    pub fn publics(&self) -> Vec<PublicKey> {
        self.keys.iter().map(public).collect()
    }

    pub fn end(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap()
    }

    pub fn hash_before(&self, number: u32) -> Hash {
        number.checked_sub(1).map_or(FIRST, |before| self.records[before as usize].1)
    }

    pub fn push(&mut self, event: Event) {
        self.time += 1_000 + self.dice.roll() % 100_000;
        let known = self.dice.below(8) > 0;
        let record = Record {
            sequence: self.end(),
            boot: self.boot,
            time: known.then_some(EpochMillis(self.time)),
            clock: if known { ClockQuality::Synchronised } else { ClockQuality::Unset },
            event,
        };
        let mut bytes = [0; RECORD_BYTES_MAX];
        let len = record.encode(&mut bytes).unwrap();
        let hash = hash(&self.hash_before(self.end()), &bytes[..len]);
        self.records.push((bytes[..len].to_vec(), hash));
    }

    /// The signature of the log up to now: a delivery without records.
    fn seal(&mut self) {
        let (signer, number) = (self.keys.last().unwrap().clone(), self.end());
        let audience = Audience::Device(self.id.clone());
        let document = LogDelivery { audience, number, previous: self.hash_before(number), entries: &[] };
        let mut signature = None;
        let identity = public(&signer).id();
        let sealed = seal(&document, identity, &mut [0; 2_048], |digest| {
            let made = sign(&signer, digest);
            signature = Some(made);
            Ok::<_, Infallible>(made)
        });
        sealed.unwrap();
        self.push(Event::Seal { identity, signature: signature.unwrap() });
    }

    pub fn rotate(&mut self) {
        self.keys.push(key(self.seed, self.keys.len() as u64));
        let identity = public(self.keys.last().unwrap()).id();
        self.push(Event::IdentityReplaced { identity });
    }

    /// So many records: restarts, seals and every kind of event.
    pub fn live(&mut self, count: usize) {
        for _ in 0..count {
            match self.dice.below(24) {
                0 => {
                    self.boot += 1;
                    let boot = event(1, &mut self.dice);
                    self.push(boot);
                }
                1 => self.seal(),
                _ => {
                    let kind = u8::try_from(1 + self.dice.below(34)).unwrap();
                    let event = event(if kind == 30 || kind == 31 { 32 } else { kind }, &mut self.dice);
                    self.push(event);
                }
            }
        }
    }

    /// The entries from record `from` on, up to `end` or as many as fit, and the number of the next one.
    pub fn entries(&self, from: u32, end: u32) -> (Vec<u8>, u32) {
        let (mut entries, mut next) = (Vec::new(), from);
        while let Some((record, hash)) = self.records.get(next as usize).filter(|_| next < end) {
            let mut entry = [0; 256];
            let len = append(record, hash, &mut entry).unwrap();
            if entries.len() + len > LOG_PAYLOAD_BYTES_MAX - 320 {
                break;
            }
            entries.extend_from_slice(&entry[..len]);
            next += 1;
        }
        (entries, next)
    }

    /// A delivery with these entries, signed with `signer`.
    pub fn signed(&self, number: u32, entries: &[u8], signer: &SecretKey) -> Vec<u8> {
        let audience = Audience::Device(self.id.clone());
        let document = LogDelivery { audience, number, previous: self.hash_before(number), entries };
        let mut out = vec![0; 2_048];
        let signing = |digest: &Digest| Ok::<_, Infallible>(sign(signer, digest));
        let len = seal(&document, public(signer).id(), &mut out, signing).unwrap();
        out.truncate(len);
        out
    }

    /// Everything from record `from` on, with the key in force.
    pub fn deliver(&self, from: u32) -> Vec<Vec<u8>> {
        let (mut next, mut deliveries) = (from, Vec::new());
        while next < self.end() {
            let (entries, after) = self.entries(next, self.end());
            deliveries.push(self.signed(next, &entries, self.keys.last().unwrap()));
            next = after;
        }
        deliveries
    }
}

/// A log of some hundred records with two replaced keys, and the deliveries in which it came.
pub fn log(seed: u64, records: usize) -> (Specimen, Vec<Vec<u8>>) {
    let mut device = Specimen::new("dev-7", seed);
    device.push(Event::Provisioned { identity: public(&device.keys[0]).id() });
    let mut deliveries = Vec::new();
    for part in 0..3 {
        let from = u32::try_from(device.records.len()).unwrap();
        if part > 0 {
            device.rotate();
        }
        device.live(records / 3);
        deliveries.extend(device.deliver(if part == 0 { 0 } else { from }));
    }
    (device, deliveries)
}
