//! The factory state: a blank device on a serial line makes its keys, asks for certificates, and takes in one signed document
//! that is verified as a whole and committed with one write. Owns the order of the messages; frames and line are the
//! port's. R-PROVISION, R-INITIAL-SECRET, R-REPROVISION.
//!
//! ```text
//! Identify -> who it is     Begin -> keys are made, requests     Part.. Commit -> verified, committed, locked
//! ```
//!
//! A device that has an identity answers who it is and takes one thing more: the certificate that it asks for where its own has
//! ended ([`InService`]). Only a document of the service ([`protocol::document::Retirement`]) makes it blank again.

mod parts;
mod service;

pub use service::InService;

use crate::audit::{RingError, record_once};
use crate::config;
use crate::identity::documents::check_chain;
use crate::identity::record::{self, Life, Record};
use crate::identity::{CHAIN_BYTES_MAX, IdentityError, ROOTS_BYTES_MAX, sealing};
use crate::platform::{Key, KeySlot, Platform, RootsPlace, StorageError, VaultError};
use crate::stored::{self, Stored};
use crate::vault;
use core::borrow::BorrowMut;
use core::fmt;
use parts::Parts;
use protocol::audit::Event;
use protocol::document::{
    Audience, CHAIN_MAX, CSR_BYTES_MAX, Certificates, ContentType, KeyUse, NONCE_BYTES, Provision, ROOTS_MAX,
};
use protocol::provisioning::{self, Fault, FromDevice, MESSAGE_BYTES_MAX, ToDevice, VERSION};
use protocol::signed::{Envelope, PROVISION_DOCUMENT_BYTES_MAX};
use protocol::x509::path::check_roots;
use protocol::{Configuration, DeviceId, EpochMillis, KeyId, Name, PublicKey, Refusal};

/// Room for the document while it comes in.
pub type Document = [u8; PROVISION_DOCUMENT_BYTES_MAX];

/// The slot that the factory's identity is made in.
const SLOT: KeySlot = KeySlot::ALL[0];

/// How often keys are made or taken in from one start to the next: whoever has the line cannot wear out the vault's flash without a
/// power cycle for each of these. A factory needs one.
pub const KEYS_PER_START: u8 = 32;

/// What a device says of itself on its factory's line.
#[derive(Clone, Debug)]
pub struct About {
    /// Version of the firmware.
    pub firmware: Name,
    /// The board.
    pub board: Name,
    /// The hardware's serial number in hex; empty where it has none.
    pub serial: Name,
    /// When the firmware was built: a certificate that had ended by then is refused.
    pub build: EpochMillis,
    /// Who may provision a device with this firmware.
    pub factory: PublicKey,
    /// Whether this firmware takes keys from outside.
    pub injection: bool,
}

/// Where a device is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no identity: [`Factory`].
    Blank,
    /// It has one: [`crate::Device`].
    Provisioned,
    /// It was destroyed and never works again.
    Destroyed,
}

/// Where the device is in its life. Finishes what a power cut has interrupted.
pub fn standing<P: Platform>(platform: &mut P) -> Result<Standing, IdentityError> {
    Ok(match record::open(platform)? {
        None => Standing::Blank,
        Some(Life::Provisioned(_)) => Standing::Provisioned,
        Some(Life::Ending(_) | Life::Destroyed) => Standing::Destroyed,
    })
}

/// What the factory has begun.
#[derive(Clone, Debug)]
struct Begun {
    id: DeviceId,
    nonce: [u8; NONCE_BYTES],
}

/// A blank device. `D` is room for the document, or a reference to it.
pub struct Factory<P, D> {
    platform: P,
    about: About,
    parts: Parts<D>,
    begun: Option<Begun>,
    done: Option<KeyId>,
    /// The keys in the slot were made since the start, by this device.
    made: bool,
    /// How often keys may still be made or taken in.
    left: u8,
}

impl<P, D> fmt::Debug for Factory<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factory")
            .field("begun", &self.begun)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl<P: Platform, D: BorrowMut<Document>> Factory<P, D> {
    /// A blank device: to be made where [`standing`] says so.
    pub fn new(platform: P, about: About, document: D) -> Self {
        let parts = Parts::new(document);
        Self { platform, about, parts, begun: None, done: None, made: false, left: KEYS_PER_START }
    }

    /// Answers a message of the factory: writes the answer into `out` and gives its length in bytes.
    pub fn message(&mut self, message: &[u8], out: &mut [u8; MESSAGE_BYTES_MAX]) -> usize {
        let mut csrs = Csrs::default();
        let answer = match ToDevice::decode(message) {
            Ok(message) => self.answer(&message, &mut csrs).unwrap_or_else(|why| FromDevice::Refused { why }),
            Err(_) => FromDevice::Refused { why: Fault::Message },
        };
        // MESSAGE_BYTES_MAX holds the longest answer.
        answer.encode(out).unwrap_or(0)
    }

    /// True once it is provisioned: the port restarts as soon as the answer is sent.
    pub fn is_provisioned(&self) -> bool {
        self.done.is_some()
    }

    /// The platform.
    pub fn into_platform(self) -> P {
        self.platform
    }

    fn answer<'c>(&mut self, message: &ToDevice<'_>, csrs: &'c mut Csrs) -> Result<FromDevice<'c>, Fault> {
        if let (Some(identity), ToDevice::Commit { .. }) = (self.done, message) {
            // Its answer was lost.
            return Ok(FromDevice::Provisioned { identity });
        }
        match message {
            ToDevice::Identify { version: VERSION } => {
                let life = if self.done.is_some() {
                    provisioning::Life::Provisioned
                } else {
                    provisioning::Life::Blank
                };
                Ok(identity(&self.about, life, self.done, None))
            }
            ToDevice::Identify { .. } => Err(Fault::Message),
            _ if self.done.is_some() => Err(Fault::Locked),
            ToDevice::Begin { id } => self.begin(id, csrs),
            ToDevice::Inject { key, scalar } => self.inject(*key, scalar, csrs),
            ToDevice::Part { offset, bytes } => self.part(*offset, bytes),
            ToDevice::Commit { len } => self.commit(*len),
            ToDevice::Renew { .. } => Err(Fault::Order),
        }
    }

    fn begin<'c>(&mut self, id: &DeviceId, csrs: &'c mut Csrs) -> Result<FromDevice<'c>, Fault> {
        self.begun = None;
        self.parts.clear();
        let mut nonce = [0; NONCE_BYTES];
        self.platform.fill(&mut nonce).map_err(|_| Fault::Entropy)?;
        if !(self.made && self.has_keys()?) {
            self.spend()?;
            self.made = false;
            self.platform.wipe(SLOT).map_err(vault_fault)?;
            self.platform.generate(SLOT, KeyUse::Identity).map_err(vault_fault)?;
            self.platform.generate(SLOT, KeyUse::Tls).map_err(vault_fault)?;
            self.made = true;
        }
        self.begun = Some(Begun { id: id.clone(), nonce });
        self.requests(csrs)
    }

    fn has_keys(&mut self) -> Result<bool, Fault> {
        for usage in [KeyUse::Identity, KeyUse::Tls] {
            if self.platform.public_key(SLOT, usage).map_err(vault_fault)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keys are about to be written.
    fn spend(&mut self) -> Result<(), Fault> {
        self.left = self.left.checked_sub(1).ok_or(Fault::Worn)?;
        Ok(())
    }

    fn inject<'c>(
        &mut self,
        key: KeyUse,
        scalar: &[u8],
        csrs: &'c mut Csrs,
    ) -> Result<FromDevice<'c>, Fault> {
        if !self.about.injection {
            return Err(Fault::InjectionDisabled);
        }
        if self.begun.is_none() {
            return Err(Fault::Order);
        }
        let scalar = scalar.try_into().map_err(|_| Fault::Message)?;
        self.spend()?;
        self.made = false;
        self.platform.import(SLOT, key, scalar).map_err(vault_fault)?;
        self.requests(csrs)
    }

    fn requests<'c>(&mut self, csrs: &'c mut Csrs) -> Result<FromDevice<'c>, Fault> {
        let Begun { id, nonce } = self.begun.as_ref().ok_or(Fault::Order)?;
        let mut write = |usage, out: &mut [u8]| {
            vault::csr(&mut self.platform, SLOT, usage, id, out)
                .map_err(|error| identity_fault(sealing(error)))
        };
        let identity = write(KeyUse::Identity, &mut csrs.identity)?;
        let tls = write(KeyUse::Tls, &mut csrs.tls)?;
        Ok(FromDevice::Requests {
            nonce: *nonce,
            identity_csr: csrs.identity.get(..identity).ok_or(Fault::Storage)?,
            tls_csr: csrs.tls.get(..tls).ok_or(Fault::Storage)?,
        })
    }

    fn part(&mut self, offset: u32, bytes: &[u8]) -> Result<FromDevice<'static>, Fault> {
        self.begun.as_ref().ok_or(Fault::Order)?;
        self.parts.take(offset, bytes)
    }

    fn commit(&mut self, len: u32) -> Result<FromDevice<'static>, Fault> {
        let begun = self.begun.as_ref().ok_or(Fault::Order)?;
        let document = self.parts.whole(len)?;
        let identity = install(&mut self.platform, &self.about, begun, document)?;
        self.done = Some(identity);
        Ok(FromDevice::Provisioned { identity })
    }
}

/// Verifies the document as a whole, stores what is in it, and commits with the last write.
fn install<P: Platform>(
    platform: &mut P,
    about: &About,
    begun: &Begun,
    bytes: &[u8],
) -> Result<KeyId, Fault> {
    let refused = Fault::Document;
    let envelope = Envelope::decode(bytes).map_err(refused)?;
    if envelope.content_type() != ContentType::Provision {
        return Err(refused(Refusal::ContentType));
    }
    let document = envelope.verify::<Provision<'_>>(&about.factory).map_err(refused)?;
    let (record, configuration) = check(platform, about, begun, &document)?;

    let storage = |_: StorageError| Fault::Storage;
    let mut buffer = [0; ROOTS_BYTES_MAX];
    const { assert!(CHAIN_BYTES_MAX <= ROOTS_BYTES_MAX, "one buffer serves both") };
    stored::write(platform, Key::Chain(SLOT), &document.chain, &mut buffer).map_err(storage)?;
    stored::write(platform, Key::Roots(RootsPlace::A), &document.roots, &mut buffer).map_err(storage)?;
    config::store(platform, &configuration).map_err(storage)?;
    Life::Provisioned(record).store(platform).map_err(storage)?;
    // The device is provisioned, and the factory hears so: a log that does not work says so at the first start.
    let _failed = log_provisioned(platform, document.identity);
    Ok(document.identity)
}

/// The first record of the life that begins, which is not counted as a boot.
fn log_provisioned<P: Platform>(platform: &mut P, identity: KeyId) -> Result<(), RingError> {
    let boot = match stored::number(platform, Key::Boot) {
        Err(StorageError::Corrupt) => None,
        boot => boot?,
    };
    record_once(platform, boot.unwrap_or(0) as u32, &Event::Provisioned { identity })
}

fn check<P: Platform>(
    platform: &mut P,
    about: &About,
    begun: &Begun,
    document: &Provision<'_>,
) -> Result<(Record, Configuration), Fault> {
    let refused = Fault::Document;
    if document.audience != Audience::Device(begun.id.clone()) {
        return Err(refused(Refusal::OtherDevice));
    }
    if document.nonce != begun.nonce {
        return Err(refused(Refusal::Replayed));
    }
    let mut key = |usage| match platform.public_key(SLOT, usage) {
        Ok(Some(key)) => Ok(key),
        Ok(None) | Err(_) => Err(Fault::Vault),
    };
    let (identity, tls) = (key(KeyUse::Identity)?.id(), key(KeyUse::Tls)?);
    if document.identity != identity {
        return Err(refused(Refusal::Unexpected));
    }
    check_chain(&document.chain.0, &begun.id, &tls, about.build).map_err(refused)?;
    check_roots(&document.roots.0, about.build).map_err(|_| refused(Refusal::Certificate))?;
    // One key with two powers would be one power; one of the device's own would be no authority at all.
    let keys = [
        about.factory.id(),
        document.firmware.id(),
        document.configuration_key.id(),
        document.anchors.id(),
        identity,
        tls.id(),
    ];
    let repeated =
        keys.iter().enumerate().any(|(number, key)| keys.iter().take(number).any(|other| other == key));
    if repeated {
        return Err(refused(Refusal::WrongAuthority));
    }
    let configuration = Configuration::decode(document.configuration)
        .ok()
        .filter(|configuration| configuration.id == begun.id)
        .ok_or(refused(Refusal::Configuration))?;
    let record = Record {
        group: document.group.clone(),
        firmware: Some(document.firmware),
        configuration: Some(document.configuration_key),
        anchors: Some(document.anchors),
        factory: Some(about.factory.id()),
        ..Record::new(begun.id.clone(), SLOT)
    };
    Ok((record, configuration))
}

/// A provisioned or destroyed device's side of its factory's line.
pub fn locked<P: Platform>(platform: &mut P, about: About) -> Result<Locked, IdentityError> {
    let identity = match record::open(platform)? {
        Some(Life::Provisioned(record)) => platform.public_key(record.active, KeyUse::Identity)?,
        _ => None,
    };
    Ok(Locked::new(about, identity.map(|key| key.id())))
}

/// A device with an identity, or a destroyed one, on its factory's line.
#[derive(Clone, Debug)]
pub struct Locked {
    about: About,
    identity: Option<KeyId>,
}

impl Locked {
    /// A device with this identity; `None` for a destroyed one.
    pub const fn new(about: About, identity: Option<KeyId>) -> Self {
        Self { about, identity }
    }

    /// Answers a message of the factory: writes the answer into `out` and gives its length in bytes.
    pub fn message(&self, message: &[u8], out: &mut [u8; MESSAGE_BYTES_MAX]) -> usize {
        let life = match self.identity {
            Some(_) => provisioning::Life::Provisioned,
            None => provisioning::Life::Destroyed,
        };
        let answer = match ToDevice::decode(message) {
            Ok(ToDevice::Identify { version: VERSION }) => identity(&self.about, life, self.identity, None),
            Ok(ToDevice::Identify { .. }) | Err(_) => FromDevice::Refused { why: Fault::Message },
            Ok(_) => FromDevice::Refused { why: Fault::Locked },
        };
        answer.encode(out).unwrap_or(0)
    }
}

/// Room for two requests.
struct Csrs {
    identity: [u8; CSR_BYTES_MAX],
    tls: [u8; CSR_BYTES_MAX],
}

impl Default for Csrs {
    fn default() -> Self {
        Self { identity: [0; CSR_BYTES_MAX], tls: [0; CSR_BYTES_MAX] }
    }
}

fn identity(
    about: &About,
    life: provisioning::Life,
    identity: Option<KeyId>,
    until: Option<EpochMillis>,
) -> FromDevice<'static> {
    FromDevice::Identity {
        version: VERSION,
        life,
        firmware: about.firmware.clone(),
        board: about.board.clone(),
        serial: about.serial.clone(),
        factory: about.factory.id(),
        identity,
        until_s: until.map(EpochMillis::seconds),
    }
}

pub(crate) const fn vault_fault(error: VaultError) -> Fault {
    match error {
        VaultError::Entropy => Fault::Entropy,
        _ => Fault::Vault,
    }
}

pub(crate) const fn identity_fault(error: IdentityError) -> Fault {
    match error {
        IdentityError::Storage(_) => Fault::Storage,
        IdentityError::Vault(error) => vault_fault(error),
    }
}

/// What a simulated device or a development board begins with instead of a factory's document: a TLS key from outside and
/// no authorities, so that no document ever changes it.
#[derive(Clone, Debug)]
pub struct Development<'a> {
    /// The chain for the TLS key, leaf first.
    pub chain: Certificates<'a, CHAIN_MAX>,
    /// Whom it believes.
    pub roots: Certificates<'a, ROOTS_MAX>,
    /// The configuration, and with it the id.
    pub configuration: &'a Configuration,
    /// The private scalar of the TLS key, big endian.
    pub tls: &'a [u8; 32],
    /// Whose firmware it takes; `None`: nobody's.
    pub firmware: Option<PublicKey>,
    /// Who tells it what to do; `None`: nobody.
    pub configuration_key: Option<PublicKey>,
    /// The group that it belongs to; may be empty.
    pub group: Name,
}

/// Gives a blank device an identity for development. No firmware calls this.
pub fn adopt<P: Platform>(platform: &mut P, development: &Development<'_>) -> Result<(), AdoptError> {
    let Development { chain, roots, configuration, tls, firmware, configuration_key, group } = development;
    platform.wipe(SLOT).map_err(IdentityError::from)?;
    platform.generate(SLOT, KeyUse::Identity).map_err(IdentityError::from)?;
    let key = platform.import(SLOT, KeyUse::Tls, tls).map_err(IdentityError::from)?;
    check_chain(&chain.0, &configuration.id, &key, EpochMillis(0)).map_err(AdoptError::Refused)?;
    check_roots(&roots.0, EpochMillis(0)).map_err(|_| AdoptError::Refused(Refusal::Certificate))?;
    let mut buffer = [0; ROOTS_BYTES_MAX];
    let storage = IdentityError::Storage;
    stored::write(platform, Key::Chain(SLOT), chain, &mut buffer).map_err(storage)?;
    stored::write(platform, Key::Roots(RootsPlace::A), roots, &mut buffer).map_err(storage)?;
    config::store(platform, configuration).map_err(storage)?;
    let mut record = Record::new(configuration.id.clone(), SLOT);
    (record.firmware, record.configuration) = (*firmware, *configuration_key);
    record.group = group.clone();
    Life::Provisioned(record).store(platform).map_err(storage)?;
    Ok(())
}

/// Why a device cannot be given an identity for development.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptError {
    /// Store or vault failed.
    Identity(IdentityError),
    /// Key, certificates and configuration do not belong together.
    Refused(Refusal),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl core::error::Error for AdoptError {}

impl From<IdentityError> for AdoptError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}
