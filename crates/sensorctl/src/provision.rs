//! Provisioning: blank devices on serial lines get their identity, all lines of a run at once. Owns which id goes to which
//! device and what becomes of a run that was cut; every secret stays in its device. R-PROVISION, R-INITIAL-SECRET.
//!
//! A device on a line is asked who it is before an id is chosen for it, so that no id is lost on an empty line. What a cut
//! leaves behind is in [`pending`]; the next run with the same registry finishes it or begins anew, as the device says.

mod assign;
pub mod clock;
pub mod exchange;
pub mod lapsed;
pub mod line;
pub mod pending;
pub mod secret;
pub mod session;
pub mod show;
mod turns;

use crate::authority::Authority;
use crate::enrol::Wanted;
use crate::registry::{Identity, Registry};
use crate::signer::Signer;
use exchange::{Exchange, Patience};
use lapsed::Office;
use line::{Line, Target};
use pending::{Pending, Reservation};
use protocol::provisioning::Life;
use protocol::{DeviceId, Name, PublicKey};
use session::{Hardware, SessionError};
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use time::OffsetDateTime;
use turns::Turns;

/// How often a device is begun with again, at most, before its line is given up.
const ATTEMPTS: u32 = 3;

/// Which ids the devices get.
#[derive(Debug)]
pub enum Ids {
    /// One for each line, in the order of the lines.
    Given(Vec<DeviceId>),
    /// A prefix and the next number that the registry has never seen.
    Counted {
        /// What the ids begin with.
        prefix: String,
        /// The next number to try.
        next: AtomicU32,
        /// Digits of the number, at least.
        digits: usize,
    },
}

/// The public halves that a device believes from provisioning on.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Of the power over firmware.
    pub firmware: PublicKey,
    /// Of the power over configurations.
    pub configuration: PublicKey,
    /// Of the power over trust anchors.
    pub anchors: PublicKey,
}

/// Everything that the devices of a run have in common.
pub struct Batch<'a> {
    /// Issues the certificates.
    pub authority: &'a Authority,
    /// The factory's key.
    pub factory: &'a Signer,
    /// What the devices believe.
    pub keys: Keys,
    /// The roots that the devices trust, DER.
    pub roots: Vec<Vec<u8>>,
    /// Their configuration.
    pub wanted: &'a Wanted,
    /// Their group; may be empty.
    pub group: Name,
    /// Days for which their certificates are valid.
    pub days: u32,
    /// Make the keys here and put them into the devices: the second way.
    pub inject: bool,
    /// Give up the identities of unfinished devices that are not on these lines.
    pub give_up: bool,
    /// Where identities are registered.
    pub registry: Mutex<Registry>,
    /// What earlier runs have left.
    pub pending: Pending,
    /// Which ids they get.
    pub ids: Ids,
    /// How long they may take.
    pub patience: Patience,
    /// Who renews a certificate that has ended.
    pub office: Office<'a>,
}

/// How far a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has said who it is.
    Identified(Hardware),
    /// It gets this id.
    Named(DeviceId),
    /// It has its keys and has asked for its certificates.
    KeysMade,
    /// The certificate is issued and everything is signed.
    Certified,
    /// So much of it has arrived.
    Sent {
        /// Bytes.
        bytes: usize,
        /// Of so many.
        of: usize,
    },
    /// It was told to commit.
    Committing,
    /// It is begun with again, because of this.
    Again(String),
}

/// How a line ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The device was provisioned.
    Provisioned(Identity),
    /// An earlier run had provisioned it; now it is registered too.
    Finished(Identity),
    /// It is provisioned and registered; nothing was done.
    Already(DeviceId),
    /// Its certificate had ended: it has a new one, and tries it.
    Renewed {
        /// What it has.
        identity: Identity,
        /// When the one before ended.
        ended: OffsetDateTime,
    },
}

/// How a line ended badly.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Box<SessionError>,
    /// The device may have committed: its identity is kept for the next run.
    pub unfinished: Option<DeviceId>,
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        Self { error: Box::new(error), unfinished: None }
    }
}

impl Done {
    /// What the device has from this run.
    pub const fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Provisioned(identity) | Self::Finished(identity) | Self::Renewed { identity, .. } => {
                Some(identity)
            }
            Self::Already(_) => None,
        }
    }

    /// The device's id.
    pub const fn id(&self) -> &DeviceId {
        match self {
            Self::Provisioned(identity) | Self::Finished(identity) | Self::Renewed { identity, .. } => {
                &identity.id
            }
            Self::Already(id) => id,
        }
    }
}

/// Provisions the devices on `lines`, all at once; `progress` hears of every step with the number of the line. Gives how
/// each line ended.
pub fn run(
    batch: &Batch<'_>,
    lines: &[Target],
    progress: impl FnMut(usize, News<'_>),
) -> Vec<Result<Done, Failed>> {
    let turns = Turns::new(lines.len());
    on_all(lines, progress, |number, target, step| device(batch, number, target, &turns, step))
}

/// Gives the devices on `lines` new certificates for those that have ended; otherwise like [`run`].
pub fn renew(
    registry: &Mutex<Registry>,
    office: &Office<'_>,
    patience: Patience,
    lines: &[Target],
    progress: impl FnMut(usize, News<'_>),
) -> Vec<Result<Done, Failed>> {
    on_all(lines, progress, |_, target, step| {
        let open = Line::open(target).map_err(SessionError::Line)?;
        Ok(lapsed::on_line(&mut Exchange::new(open, patience), registry, office, step)?)
    })
}

fn on_all(
    lines: &[Target],
    mut progress: impl FnMut(usize, News<'_>),
    act: impl Fn(usize, &Target, &mut dyn FnMut(Step)) -> Result<Done, Failed> + Sync,
) -> Vec<Result<Done, Failed>> {
    let act = &act;
    let mut ended: Vec<_> = lines.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for (number, target) in lines.iter().enumerate() {
            let sender = sender.clone();
            scope.spawn(move || {
                let mut step = |step| {
                    // The receiver outlives every sender.
                    let _ = sender.send((number, Ok(step)));
                };
                let end = act(number, target, &mut step);
                let _ = sender.send((number, Err(end)));
            });
        }
        drop(sender);
        for (number, news) in receiver {
            match news {
                Ok(step) => progress(number, News::Step(&step)),
                Err(end) => {
                    progress(number, News::End(&end));
                    if let Some(place) = ended.get_mut(number) {
                        *place = Some(end);
                    }
                }
            }
        }
    });
    // A thread that panicked has ended the scope with its panic.
    ended.into_iter().flatten().collect()
}

/// What there is to say of a line.
#[derive(Debug)]
pub enum News<'a> {
    /// It got on.
    Step(&'a Step),
    /// It ended.
    End(&'a Result<Done, Failed>),
}

impl Batch<'_> {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A registry is read again before it is written: a thread that panicked leaves it usable.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry with everything that others have written. What it says of an id that is reserved stays true.
    fn latest(&self) -> Result<MutexGuard<'_, Registry>, SessionError> {
        let mut registry = self.registry();
        registry.refresh().map_err(SessionError::Registry)?;
        Ok(registry)
    }
}

fn device(
    batch: &Batch<'_>,
    number: usize,
    target: &Target,
    turns: &Turns,
    step: &mut dyn FnMut(Step),
) -> Result<Done, Failed> {
    let mut turn = Some(turns.of(number));
    let line = target.to_string();
    let open = Line::open(target).map_err(SessionError::Line)?;
    let mut exchange = Exchange::new(open, batch.patience);
    let mut held = None;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let identified = session::identify(&mut exchange, Some(&batch.factory.public().id()));
        let hardware = match identified.and_then(|hardware| batch.latest().map(|_| hardware)) {
            Ok(hardware) => hardware,
            Err(error) => return Err(failed(error, held, turns)),
        };
        step(Step::Identified(hardware.clone()));
        if hardware.life == Life::Provisioned {
            drop(turn.take());
            let done = assign::adopt(batch, number, &hardware, &line, held)?;
            let ended = lapsed::ended(&*batch.latest()?, done.id(), &hardware)?;
            return match ended {
                None => Ok(done),
                Some(ended) => Ok(lapsed::renew(&mut exchange, &batch.office, done.id(), ended, step)?),
            };
        }
        let mut reservation = match held.take() {
            // It was told to commit and is blank: it has not.
            Some(mut reservation) => {
                Reservation::forget(&mut reservation).map_err(SessionError::Pending)?;
                reservation
            }
            None => assign::choose(batch, number, &hardware, &line, turn.as_ref())?,
        };
        drop(turn.take());
        step(Step::Named(reservation.id().clone()));
        match session::provision(&mut exchange, batch, &hardware, &line, &mut reservation, step) {
            Ok(()) => return Ok(Done::Provisioned(session::finish(batch, reservation)?)),
            Err(error) if error.is_passing() && attempts < ATTEMPTS => {
                step(Step::Again(error.to_string()));
                held = Some(reservation);
            }
            Err(error) => return Err(failed(error, Some(reservation), turns)),
        }
    }
}

fn failed(error: SessionError, reservation: Option<Reservation>, turns: &Turns) -> Failed {
    let unfinished = reservation.as_ref().filter(|reservation| reservation.intent().is_some());
    let unfinished = unfinished.map(|reservation| reservation.id().clone());
    if let Some(reservation) = reservation {
        turns.let_go(reservation);
    }
    Failed { error: Box::new(error), unfinished }
}
