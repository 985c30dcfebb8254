//! Which id goes to which device, and which device an unfinished id belongs to.

use super::pending::{Intent, Reservation};
use super::session::{self, Hardware, SessionError};
use super::turns::Turn;
use super::{Batch, Done, Failed, Ids};
use protocol::DeviceId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long until it is looked again whether another process has let go of an id.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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
    let key = hardware.identity;
    let fits = |intent: &Intent| match key {
        Some(key) => intent.identity.key.id() == key,
        None => same_device(intent, hardware, line),
    };
    let unfinished = match (held, &batch.ids) {
        // This run has told the device on this very line to commit.
        (Some(held), _) if key.is_none() || held.intent().is_some_and(fits) => Some(held),
        (Some(_), _) => None,
        (None, Ids::Given(ids)) => {
            reserve(batch, |intent| ids.get(number) == Some(&intent.identity.id) && fits(intent))?
        }
        (None, Ids::Counted { .. }) => reserve(batch, fits)?,
    };
    if let Some(unfinished) = unfinished {
        return Ok(Done::Finished(session::finish(batch, unfinished)?));
    }
    // Whoever had it may have finished it just now.
    let registry = batch.latest()?;
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

/// Takes the unfinished id that `fits`, and no other. Where a process that is about to end still has it, waits for that.
fn reserve(batch: &Batch<'_>, fits: impl Fn(&Intent) -> bool) -> Result<Option<Reservation>, SessionError> {
    let until = Instant::now() + batch.patience.work;
    loop {
        let intents = batch.pending.intents().map_err(SessionError::Pending)?;
        let Some(intent) = intents.into_iter().find(&fits) else { return Ok(None) };
        let id = intent.identity.id;
        match batch.pending.reserve(&id).map_err(SessionError::Pending)? {
            Some(reservation) if reservation.intent().is_some_and(&fits) => return Ok(Some(reservation)),
            // It was finished, or begun anew, in between: look again.
            Some(_) => {}
            None if Instant::now() >= until => return Err(SessionError::Taken(id)),
            None => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

/// The id for a blank device.
pub(super) fn choose(
    batch: &Batch<'_>,
    number: usize,
    hardware: &Hardware,
    line: &str,
    turn: Option<&Turn<'_>>,
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
            let same = |intent: &Intent| {
                same_device(intent, hardware, line) && intent.identity.id.as_str().starts_with(prefix)
            };
            if let Some(mut reservation) = self::reserve(batch, same)? {
                reservation.forget().map_err(SessionError::Pending)?;
                return Ok(reservation);
            }
            // New ids go to the lines in their order.
            if let Some(turn) = turn {
                turn.wait();
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
