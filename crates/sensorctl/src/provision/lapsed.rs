//! A device whose certificate has ended, on a line: it asks as over the network, and the registration authority answers. Owns the
//! order of the messages, never the decision ([`crate::renew`]). R-SECRET-ROTATE, R-REPROVISION.

use super::exchange::Exchange;
use super::session::{self, Hardware, SessionError};
use super::{Done, Step};
use crate::provision::exchange::Verdict;
use crate::registry::{Identity, Registry};
use crate::renew::{Granted, Registrar};
use protocol::provisioning::{FromDevice, Life, ToDevice};
use protocol::{DeviceId, KeyId};
use std::sync::{Mutex, PoisonError};
use time::OffsetDateTime;

/// Opens what certificates are renewed with, where there is a device that needs one.
pub type Open<'a> =
    Box<dyn FnMut() -> Result<Registrar, Box<dyn std::error::Error + Send + Sync>> + Send + 'a>;

/// The registration authority, opened once it is needed; one device after the other.
pub struct Office<'a> {
    open: Mutex<(Open<'a>, Option<Registrar>)>,
}

impl<'a> Office<'a> {
    /// One that is opened with `open`.
    pub fn new(open: Open<'a>) -> Self {
        Self { open: Mutex::new((open, None)) }
    }

    fn with<T>(
        &self,
        ended: OffsetDateTime,
        act: impl FnOnce(&mut Registrar) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let mut office = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (open, registrar) = &mut *office;
        let registrar = match registrar {
            Some(registrar) => registrar,
            None => registrar.insert(open().map_err(|why| SessionError::Lapsed(ended, why))?),
        };
        act(registrar)
    }
}

/// When the certificate of the device's identity ended, where it has by now; refuses an identity that was revoked.
pub(super) fn ended(
    registry: &Registry,
    id: &DeviceId,
    hardware: &Hardware,
) -> Result<Option<OffsetDateTime>, SessionError> {
    let mut records = registry.records(id).iter();
    let known = records.rfind(|record| hardware.identity == Some(record.identity.key.id()));
    if known.is_some_and(|record| record.revoked.is_some()) {
        return Err(SessionError::Revoked(id.clone()));
    }
    let until = known.map(|record| record.identity.until).into_iter().chain(hardware.until).min();
    Ok(until.filter(|until| *until <= OffsetDateTime::now_utc()))
}

/// Gives the device `id` a new certificate, where the device says too that its own, which ended at `ended`, has ended.
pub(super) fn renew(
    exchange: &mut Exchange,
    office: &Office<'_>,
    id: &DeviceId,
    ended: OffsetDateTime,
    step: &mut dyn FnMut(Step),
) -> Result<Done, SessionError> {
    // Before the device makes keys for nothing.
    office.with(ended, |_| Ok(()))?;
    let now_s = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
    let patience = exchange.patience().work;
    let asked = exchange.ask(&ToDevice::Renew { now_s }, patience, |message| match message {
        FromDevice::Renewal { request } => Verdict::Answer(Ok(request.to_vec())),
        FromDevice::Provisioned { identity } => Verdict::Answer(Err(identity)),
        _ => Verdict::Stale,
    })?;
    let done = |identity| Done::Renewed { identity, ended };
    let request = match asked {
        Ok(request) => request,
        // An earlier run has brought it one.
        Err(key) => return office.with(ended, |registrar| find(&mut registrar.registry, id, key)).map(done),
    };
    step(Step::KeysMade);
    let decide = |registrar: &mut Registrar| {
        registrar.decide(id, &request).map_err(|error| SessionError::Renewal(Box::new(error)))
    };
    let Granted { document, identity, .. } = office.with(ended, decide)?;
    step(Step::Certified);
    session::send(exchange, &document, None, step)?;
    step(Step::Committing);
    let (device, expected) =
        (session::commit(exchange, u32::try_from(document.len()).unwrap_or(u32::MAX))?, identity.key.id());
    if device != expected {
        return Err(SessionError::OtherIdentity { device, expected });
    }
    Ok(done(identity))
}

fn find(registry: &mut Registry, id: &DeviceId, key: KeyId) -> Result<Identity, SessionError> {
    registry.refresh().map_err(SessionError::Registry)?;
    let found = registry.in_force(id).find(|identity| identity.key.id() == key).cloned();
    found.ok_or(SessionError::Locked)
}

/// Gives the device on a line a new certificate for the one that has ended.
pub(super) fn on_line(
    exchange: &mut Exchange,
    registry: &Mutex<Registry>,
    office: &Office<'_>,
    step: &mut dyn FnMut(Step),
) -> Result<Done, SessionError> {
    let hardware = session::identify(exchange, None)?;
    step(Step::Identified(hardware.clone()));
    if hardware.life == Life::Blank {
        return Err(SessionError::Blank);
    }
    let key = hardware.identity.ok_or(SessionError::Locked)?;
    let (id, ended) = {
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.refresh().map_err(SessionError::Registry)?;
        let id = registry.owner(&key).cloned().ok_or(SessionError::Locked)?;
        let ended = self::ended(&registry, &id, &hardware)?;
        (id, ended)
    };
    step(Step::Named(id.clone()));
    // The device decides by its own clock whether its certificate has ended; where this computer does not think so either, it is
    // asked all the same.
    renew(exchange, office, &id, ended.unwrap_or_else(OffsetDateTime::now_utc), step)
}
