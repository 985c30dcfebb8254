//! One device from its first answer to its place in the registry. Owns the order of the messages and what is checked between
//! them; never a line. R-PROVISION, R-INITIAL-SECRET.

mod error;

pub use error::SessionError;

use super::exchange::{Exchange, ExchangeError, Verdict};
use super::pending::{Intent, Reservation};
use super::secret::Secret;
use super::{Batch, Step};
use crate::powers;
use crate::registry::Identity;
use protocol::document::{Audience, Certificates, KeyUse, NONCE_BYTES, Provision};
use protocol::provisioning::{Fault, FromDevice, Life, PART_BYTES_MAX, ToDevice, VERSION};
use protocol::x509::Csr;
use protocol::{DeviceId, KeyId};
use time::OffsetDateTime;

/// What the device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// What it is to its factory.
    pub life: Life,
    /// Version of its firmware.
    pub firmware: String,
    /// Its board.
    pub board: String,
    /// The serial number of its hardware; may be empty.
    pub serial: String,
    /// The identity key that it has, where it says so.
    pub identity: Option<KeyId>,
    /// When the certificate of that identity ends, where it says so.
    pub until: Option<OffsetDateTime>,
}

/// The two requests of a device, checked.
struct Requests {
    nonce: [u8; NONCE_BYTES],
    identity: Csr,
    tls: Csr,
}

/// Asks the device who it is; refuses one that this factory, where it counts, has no power over.
pub(super) fn identify(exchange: &mut Exchange, factory: Option<&KeyId>) -> Result<Hardware, SessionError> {
    let patience = exchange.patience().answer;
    let ask = ToDevice::Identify { version: VERSION };
    let (version, key, hardware) = exchange.ask(&ask, patience, |message| match message {
        FromDevice::Identity { version, life, firmware, board, serial, factory, identity, until_s } => {
            let text = |name: protocol::Name| name.as_str().to_owned();
            let (firmware, board, serial) = (text(firmware), text(board), text(serial));
            let until =
                until_s.and_then(|until| OffsetDateTime::from_unix_timestamp(until.try_into().ok()?).ok());
            let hardware = Hardware { life, firmware, board, serial, identity, until };
            Verdict::Answer((version, factory, hardware))
        }
        _ => Verdict::Stale,
    })?;
    if version != VERSION {
        return Err(SessionError::Version(version));
    }
    if hardware.life == Life::Destroyed {
        return Err(SessionError::Destroyed);
    }
    match factory {
        Some(factory) if key != *factory => {
            Err(SessionError::OtherFactory { device: key, factory: *factory })
        }
        _ => Ok(hardware),
    }
}

/// Moves what the device has committed to the registry.
pub(super) fn finish(batch: &Batch<'_>, reservation: Reservation) -> Result<Identity, SessionError> {
    let identity = reservation.finish(&mut batch.registry()).map_err(SessionError::Registry)?;
    identity.ok_or(SessionError::Locked)
}

/// Gives a blank device its identity and everything else; what it has committed is in `reservation` afterwards, and what it
/// may have committed in case of an error too.
pub(super) fn provision(
    exchange: &mut Exchange,
    batch: &Batch<'_>,
    hardware: &Hardware,
    line: &str,
    reservation: &mut Reservation,
    step: &mut dyn FnMut(Step),
) -> Result<(), SessionError> {
    let id = reservation.id().clone();
    let mut requests = begin(exchange, &id)?;
    if batch.inject {
        requests = inject(exchange, &id)?;
    }
    step(Step::KeysMade);
    let (document, identity) = document(batch, &id, &requests)?;
    let len = u32::try_from(document.len()).unwrap_or(u32::MAX);
    step(Step::Certified);
    send(exchange, &document, Some(&requests.nonce), step)?;
    let key = identity.key.id();
    let intent = Intent { identity, line: line.to_owned(), serial: hardware.serial.clone() };
    reservation.intend(intent).map_err(SessionError::Pending)?;
    step(Step::Committing);
    match commit(exchange, len)? {
        committed if committed == key => Ok(()),
        other => {
            reservation.forget().map_err(SessionError::Pending)?;
            Err(SessionError::OtherIdentity { device: other, expected: key })
        }
    }
}

/// Reads and checks two requests: for this id, from whoever holds the keys, and for two different keys.
fn check(
    id: &DeviceId,
    nonce: [u8; NONCE_BYTES],
    identity: &[u8],
    tls: &[u8],
) -> Result<Requests, SessionError> {
    let read = |usage, der| {
        let csr = Csr::decode(der).map_err(|error| SessionError::Request(usage, error))?;
        if csr.id == *id { Ok(csr) } else { Err(SessionError::OtherId { asked: id.clone(), device: csr.id }) }
    };
    let (identity, tls) = (read(KeyUse::Identity, identity)?, read(KeyUse::Tls, tls)?);
    if identity.key == tls.key {
        return Err(SessionError::SameKey);
    }
    Ok(Requests { nonce, identity, tls })
}

fn begin(exchange: &mut Exchange, id: &DeviceId) -> Result<Requests, SessionError> {
    let patience = exchange.patience().work;
    exchange.ask(&ToDevice::Begin { id: id.clone() }, patience, |message| match message {
        FromDevice::Requests { nonce, identity_csr, tls_csr } => {
            Verdict::Answer(check(id, nonce, identity_csr, tls_csr))
        }
        _ => Verdict::Stale,
    })?
}

/// Makes both keys here and puts them into the device, which must then ask for certificates for exactly these.
fn inject(exchange: &mut Exchange, id: &DeviceId) -> Result<Requests, SessionError> {
    let patience = exchange.patience().work;
    let mut requests = None;
    for usage in [KeyUse::Identity, KeyUse::Tls] {
        let secret = Secret::generate().map_err(SessionError::Secret)?;
        let mut room = Secret::room().map_err(SessionError::Secret)?;
        let message = ToDevice::Inject { key: usage, scalar: secret.scalar() };
        let answer = exchange.ask_in(&mut room, &message, patience, |message| match message {
            FromDevice::Requests { nonce, identity_csr, tls_csr } => {
                Verdict::Answer(check(id, nonce, identity_csr, tls_csr))
            }
            _ => Verdict::Stale,
        })??;
        let key = match usage {
            KeyUse::Identity => answer.identity.key,
            KeyUse::Tls => answer.tls.key,
        };
        if key != *secret.public() {
            return Err(SessionError::NotInjected(usage));
        }
        requests = Some(answer);
    }
    requests.ok_or(SessionError::NotInjected(KeyUse::Identity))
}

/// Issues the certificate and signs everything that the device gets.
fn document(
    batch: &Batch<'_>,
    id: &DeviceId,
    requests: &Requests,
) -> Result<(Vec<u8>, Identity), SessionError> {
    let issued =
        batch.authority.issue_device(id, &requests.tls.key, batch.days).map_err(SessionError::Authority)?;
    let configuration = batch
        .wanted
        .configuration(id.clone())
        .map_err(|error| SessionError::Configuration(id.clone(), error))?;
    let configuration = crate::enrol::document(&configuration);
    let mut chain = Certificates::default();
    let mut roots = Certificates::default();
    chain.0.push(issued.der.as_slice()).map_err(|_| SessionError::Roots)?;
    for root in &batch.roots {
        roots.0.push(root.as_slice()).map_err(|_| SessionError::Roots)?;
    }
    let provision = Provision {
        audience: Audience::Device(id.clone()),
        nonce: requests.nonce,
        group: batch.group.clone(),
        identity: requests.identity.key.id(),
        chain,
        roots,
        firmware: batch.keys.firmware,
        configuration_key: batch.keys.configuration,
        anchors: batch.keys.anchors,
        configuration: &configuration,
    };
    let document = powers::sign(batch.factory, &provision).map_err(SessionError::Powers)?;
    let identity = Identity {
        id: id.clone(),
        key: requests.identity.key,
        tls: requests.tls.key,
        certificate: issued.fingerprint(),
        serial: issued.serial,
        until: issued.until,
    };
    Ok((document, identity))
}

/// Sends the document in parts, from where the device says that it has it. `nonce`: of the requests that it answers.
pub(super) fn send(
    exchange: &mut Exchange,
    document: &[u8],
    nonce: Option<&[u8; NONCE_BYTES]>,
    step: &mut dyn FnMut(Step),
) -> Result<(), SessionError> {
    let patience = exchange.patience().answer;
    let mut offset = 0;
    let mut stuck = 0;
    // A device that goes back and forth for ever takes no more than this.
    let mut left = document.len().div_ceil(PART_BYTES_MAX) * (exchange.patience().tries as usize + 1);
    while offset < document.len() {
        let end = document.len().min(offset + PART_BYTES_MAX);
        let bytes = document.get(offset..end).unwrap_or_default();
        let part = ToDevice::Part { offset: offset as u32, bytes };
        let taken = exchange.ask(&part, patience, |message| match message {
            FromDevice::Taken { len } => Verdict::Answer(Some(len as usize)),
            // A late answer to a repeated beginning: the device has other keys now.
            FromDevice::Requests { nonce: other, .. } if nonce.is_some_and(|nonce| other != *nonce) => {
                Verdict::Answer(None)
            }
            _ => Verdict::Stale,
        })?;
        let taken = taken.ok_or(SessionError::BeganAgain)?;
        // A device that takes nothing, or claims more than it was sent, does not get on.
        stuck = if taken > offset && taken <= end { 0 } else { stuck + 1 };
        left = left.saturating_sub(1);
        if taken > end || stuck > exchange.patience().tries || (left == 0 && taken < document.len()) {
            return Err(SessionError::NotTaken { offset, taken });
        }
        offset = taken;
        step(Step::Sent { bytes: offset, of: document.len() });
    }
    Ok(())
}

pub(super) fn commit(exchange: &mut Exchange, len: u32) -> Result<KeyId, SessionError> {
    let patience = exchange.patience().work;
    let asked = exchange.ask(&ToDevice::Commit { len }, patience, |message| match message {
        FromDevice::Provisioned { identity } => Verdict::Answer(identity),
        _ => Verdict::Stale,
    });
    asked.map_err(|error| match error {
        // It took the first order and the answer was lost: the caller asks it what it is.
        ExchangeError::Refused(Fault::Locked) => SessionError::Locked,
        error => error.into(),
    })
}
