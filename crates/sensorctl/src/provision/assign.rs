//! Which id goes to which device, and which device an unfinished id belongs to.

use super::pending::{Intent, Reservation};
use super::session::{self, Hardware, SessionError};
use super::{Batch, Done, Failed, Ids};
use crate::folder::FolderError;
use protocol::DeviceId;
use std::sync::atomic::Ordering;

/// True where the device is, as far as can be told, the one of `intent`: by the serial number of its hardware, or, without
/// one, by its line.
fn same_device(intent: &Intent, hardware: &Hardware, line: &str) -> bool {
    if intent.serial.is_empty() && hardware.serial.is_empty() {
        intent.line == line
    } else {
        intent.serial == hardware.serial
    }
}

/// A device with an identity: is it one that an earlier run did not finish?
pub(super) fn adopt(
    batch: &Batch<'_>,
    number: usize,
    hardware: &Hardware,
    line: &str,
    held: Option<Reservation>,
) -> Result<Done, Failed> {
    let own = held.is_some();
    let mut unfinished: Vec<Reservation> = match (held, &batch.ids) {
        (Some(reservation), _) => vec![reservation],
        (None, Ids::Given(ids)) => reserve_unfinished(batch, ids.get(number).into_iter().cloned())?,
        (None, Ids::Counted { .. }) => {
            let ids = batch.pending.ids().map_err(SessionError::Pending)?;
            reserve_unfinished(batch, ids.into_iter())?
        }
    };
    let key = hardware.identity;
    let fits = |intent: &Intent| match key {
        Some(key) => intent.identity.key.id() == key,
        // This run has told the device on this very line to commit.
        None => own || same_device(intent, hardware, line),
    };
    let found = unfinished.iter().position(|reservation| reservation.intent().is_some_and(fits));
    if let Some(found) = found {
        return Ok(Done::Finished(session::finish(batch, unfinished.swap_remove(found))?));
    }
    let registry = batch.registry();
    let id = match (key, &batch.ids) {
        (Some(key), _) => registry.owner(&key).cloned(),
        // It does not say which identity it has; the one that was asked for is there.
        (None, Ids::Given(ids)) => {
            ids.get(number).filter(|id| registry.in_force(id).next().is_some()).cloned()
        }
        (None, Ids::Counted { .. }) => None,
    };
    Ok(Done::Already(id.ok_or(SessionError::Locked)?))
}

fn reserve_unfinished(
    batch: &Batch<'_>,
    ids: impl Iterator<Item = DeviceId>,
) -> Result<Vec<Reservation>, SessionError> {
    let reserve = |id: DeviceId| batch.pending.reserve(&id).transpose();
    let all: Result<Vec<_>, FolderError> = ids.filter_map(reserve).collect();
    let mut all = all.map_err(SessionError::Pending)?;
    all.retain(|reservation| reservation.intent().is_some());
    Ok(all)
}

/// The id for a blank device.
pub(super) fn choose(
    batch: &Batch<'_>,
    number: usize,
    hardware: &Hardware,
    line: &str,
) -> Result<Reservation, SessionError> {
    let reserve = |id: &DeviceId| batch.pending.reserve(id).map_err(SessionError::Pending);
    match &batch.ids {
        Ids::Given(ids) => {
            let id =
                ids.get(number).ok_or_else(|| SessionError::NoId("there is no --id for it".to_owned()))?;
            let mut reservation = reserve(id)?.ok_or_else(|| SessionError::Taken(id.clone()))?;
            if batch.latest()?.in_force(id).next().is_some() {
                return Err(SessionError::Registered(id.clone()));
            }
            match reservation.intent() {
                None => {}
                Some(intent) if same_device(intent, hardware, line) => {
                    reservation.forget().map_err(SessionError::Pending)?;
                }
                Some(_) if batch.give_up => {
                    reservation.give_up(&mut batch.registry()).map_err(SessionError::Registry)?;
                }
                Some(Intent { line, serial, .. }) => {
                    let (line, serial) = (line.clone(), serial.clone());
                    return Err(SessionError::Elsewhere { id: id.clone(), line, serial });
                }
            }
            Ok(reservation)
        }
        Ids::Counted { prefix, next, digits } => {
            // The id that this very device was begun with before.
            for mut reservation in
                reserve_unfinished(batch, batch.pending.ids().map_err(SessionError::Pending)?.into_iter())?
            {
                let same = |intent: &Intent| same_device(intent, hardware, line);
                if reservation.intent().is_some_and(same) && reservation.id().as_str().starts_with(prefix) {
                    reservation.forget().map_err(SessionError::Pending)?;
                    return Ok(reservation);
                }
            }
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let text = format!("{prefix}{number:0digits$}");
                let id = DeviceId::new(&text).map_err(|error| {
                    SessionError::NoId(format!("{text:?} would be the next id, but {error}"))
                })?;
                if !batch.registry().records(&id).is_empty() {
                    continue;
                }
                let free = |reservation: &Reservation| reservation.intent().is_none();
                let Some(reservation) = reserve(&id)?.filter(free) else { continue };
                // Whoever had the id a moment ago may have given it to a device.
                if batch.latest()?.records(&id).is_empty() {
                    return Ok(reservation);
                }
            }
        }
    }
}
