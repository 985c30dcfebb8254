//! The device's identity and trust while it runs: which keys and roots the next connection uses, when a new identity is
//! made and comes into force, whose documents count. Owns the record and the attempts; the keys are the vault's.
//! R-SECRET-ROTATE, R-ROOTS, R-AUTHORITY, R-REPROVISION, R-DESTROY.
//!
//! Something new (an identity, a list of roots) is tried on a connection of its own. Of four attempts in a row three use
//! the new and one the former. If the new gets through, it comes into force; if the former does, the new one is refused and
//! dropped: an outage, which lets neither through, decides nothing. The same way back leads from an identity that the
//! service does not take any more to the one before it, until that is wiped.
//!
//! Who cuts the right attempts can delay a change, and nothing else.

pub(crate) mod documents;
mod lapse;
mod machine;
pub(crate) mod record;
pub(crate) mod token;
mod trial;

use crate::event::Note;
use crate::interface::End;
use crate::platform::{KeySlot, Platform, RootsPlace, StorageError, Uptime, VaultError};
use crate::stored::Stored;
use crate::vault;
pub use documents::check_chain;
pub(crate) use lapse::Asked;
use protocol::document::{Audience, CSR_BYTES_MAX, KeyUse, Power, RenewalRequest};
use protocol::identity_state::{Life as SaidLife, ROOTS_SOON_MS, Rotation};
use protocol::signed::SealError;
use protocol::x509::Certificate;
pub use protocol::x509::path::check_roots;
use protocol::{EpochMillis, IdentityState, KeyId, Refusal};
pub use record::{CHAIN_BYTES_MAX, IdentityError, ROOTS_BYTES_MAX, chain, roots};
use record::{Life, Pending, Record};

/// How long the identity before the one in force can still be used, in seconds: time for a service to be restored from a
/// backup that does not know the new one.
pub const GRACE_S: u64 = 86_400;

/// How long after a rotation that did not work the next one begins, in milliseconds.
pub const ROTATION_RETRY_MS: u64 = 3_600_000;

/// How long after something could not be wiped that is tried again, in milliseconds.
pub const WIPE_RETRY_MS: u64 = 3_600_000;

/// How often it is looked at what time has brought, while connected, in milliseconds.
const TICK_PERIOD_MS: u64 = 60_000;

/// How often a request that is not answered is repeated while the connection lasts, in milliseconds.
pub const REQUEST_PERIOD_MS: u64 = 600_000;

/// What a connection is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Whose TLS key and chain, or whose identity key for the token.
    pub slot: KeySlot,
    /// Which roots vouch for the service.
    pub roots: RootsPlace,
}

/// From when to when something is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: EpochMillis,
    until: EpochMillis,
}

/// What a document has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The next connection is made with something else.
    Reconnect,
    /// The key of a power was replaced.
    Authority(Power, KeyId),
    /// The device's life is to end: [`Identity::retire`].
    Retire(End),
    /// It is what was taken before, and comes again: nothing.
    Known,
}

/// Identity and trust.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct Identity {
    record: Record,
    key: KeyId,
    leaf: Validity,
    roots_until: EpochMillis,
    roots_count: u32,
    in_use: Credentials,
    /// Attempts since the last connection.
    attempts: u32,
    /// The last one was made while something else was on trial.
    alone: bool,
    /// What the connection in use says about a trial could not be stored yet.
    undecided: bool,
    /// When [`Self::tick`] is next to be called, while connected.
    tick_due: Uptime,
    /// A rotation is wanted as soon as there is a connection.
    wanted: bool,
    /// Something that the record does not name could not be wiped: when that is tried again.
    unclean: Option<EpochMillis>,
    /// It was said that the certificate has ended.
    end_said: bool,
    not_before: Uptime,
    request_due: Option<Uptime>,
    roots_undone: u32,
    refused: u32,
    refused_said: u32,
    replayed: u32,
    last_refusal: Option<Refusal>,
    /// The service is to be told how things are.
    pub(crate) said: bool,
    ended: Option<End>,
}

impl Identity {
    /// Identity and trust as they are stored.
    pub(crate) fn load<P: Platform>(record: Record, platform: &mut P) -> Result<Self, IdentityError> {
        let key = platform.public_key(record.active, KeyUse::Identity)?.ok_or(VaultError::Empty)?.id();
        let in_use = Credentials { slot: record.active, roots: record.roots };
        let nothing = Validity { from: EpochMillis(0), until: EpochMillis(0) };
        let mut identity = Self {
            // The factory's identity is replaced at the first connection, where there is somebody whose word counts.
            wanted: record.rotation_wanted
                || record.certificate == 0 && record.pending.is_none() && record.configuration.is_some(),
            unclean: None,
            end_said: false,
            record,
            key,
            leaf: nothing,
            roots_until: nothing.until,
            roots_count: 0,
            in_use,
            attempts: 0,
            alone: false,
            undecided: false,
            tick_due: Uptime(0),
            not_before: Uptime(0),
            request_due: None,
            roots_undone: 0,
            refused: 0,
            refused_said: 0,
            replayed: 0,
            last_refusal: None,
            said: false,
            ended: None,
        };
        identity.read_validity(platform)?;
        Ok(identity)
    }

    pub(crate) const fn id(&self) -> &protocol::DeviceId {
        &self.record.id
    }

    pub(crate) const fn group(&self) -> &protocol::Name {
        &self.record.group
    }

    /// The slot of the identity in force.
    pub(crate) const fn slot(&self) -> KeySlot {
        self.record.active
    }

    pub(crate) const fn key(&self) -> KeyId {
        self.key
    }

    pub(crate) const fn refused(&self) -> u32 {
        self.refused
    }

    /// Wipes what the record does not name; where that fails, it is tried again later.
    pub(crate) fn clear<P: Platform>(
        &mut self,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<(), IdentityError> {
        self.unclean = Some(EpochMillis(time.0.saturating_add(WIPE_RETRY_MS)));
        record::clear_leftovers(platform, &self.record)?;
        self.unclean = None;
        Ok(())
    }

    /// True where [`Self::tick`] is to be called.
    pub(crate) fn is_tick_due(&self, now: Uptime) -> bool {
        now >= self.tick_due
    }

    /// What has to be done as time goes by, as after [`Self::accepted`]: wipes the identity before this one, wants a new one
    /// in time, and says what was refused since the last time, which is not said at once: who sends what is refused shall
    /// not make the device talk.
    pub(crate) fn tick<P: Platform>(
        &mut self,
        now: Uptime,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Option<Note>, IdentityError> {
        self.tick_due = now.after(TICK_PERIOD_MS);
        self.said &= core::mem::replace(&mut self.refused_said, self.refused) == self.refused;
        let can = self.record.configuration.is_some() && self.record.pending.is_none();
        self.wanted |= can && self.certificate_ends_soon(time);
        if self.undecided {
            return self.decide(now, time, platform);
        }
        if self.record.retired.is_some_and(|retired| time.seconds() >= retired.until_s) {
            self.change(platform, |record| record.retired = None)?;
            self.said = false;
            return Ok(Some(Note::IdentityWiped));
        }
        if self.unclean.is_some_and(|at| time >= at) {
            self.clear(time, platform)?;
        }
        Ok(None)
    }

    /// Makes the keys of a new identity where one is wanted. Only while connected.
    pub(crate) fn rotate<P: Platform>(
        &mut self,
        now: Uptime,
        platform: &mut P,
    ) -> Result<bool, IdentityError> {
        if !self.wanted || self.record.pending.is_some() || now < self.not_before {
            return Ok(false);
        }
        // Where it fails, it is tried again after a while, not at once.
        self.not_before = now.after(ROTATION_RETRY_MS);
        let made = self.make_keys(platform)?;
        if made {
            self.request_due = Some(now);
        }
        Ok(made)
    }

    /// Makes the keys of a new identity in a free slot; false where there is none.
    fn make_keys<P: Platform>(&mut self, platform: &mut P) -> Result<bool, IdentityError> {
        let Some(slot) = self.record.free_slot() else { return Ok(false) };
        // What is made before it fails goes as soon as it can.
        self.unclean = Some(EpochMillis(0));
        record::forget(platform, slot)?;
        platform.generate(slot, KeyUse::Identity)?;
        platform.generate(slot, KeyUse::Tls)?;
        self.change(platform, |record| {
            record.pending = Some(Pending { slot, certificate: None });
            record.rotation_wanted = false;
        })?;
        self.unclean = None;
        self.wanted = false;
        self.said = false;
        Ok(true)
    }

    /// When [`Self::poll_request`] next has something to say.
    pub(crate) fn next_request(&self) -> Option<Uptime> {
        let asked = self.record.pending.is_some_and(|pending| pending.certificate.is_none());
        self.request_due.filter(|_| asked)
    }

    /// True where a new identity is sure to be made, or is being made.
    pub(crate) const fn is_rotating(&self) -> bool {
        self.wanted || self.record.pending.is_some()
    }

    /// When a rotation that is wanted may begin.
    pub(crate) fn next_rotation(&self) -> Option<Uptime> {
        (self.wanted && self.record.pending.is_none()).then_some(self.not_before)
    }

    /// Writes the request for the certificate that is wanted into `out`, where it is due; gives its length in bytes.
    pub(crate) fn poll_request<P: Platform>(
        &mut self,
        now: Uptime,
        platform: &mut P,
        out: &mut [u8],
    ) -> Result<Option<usize>, IdentityError> {
        let Some(pending) = self.record.pending.filter(|pending| pending.certificate.is_none()) else {
            return Ok(None);
        };
        if self.request_due.is_none_or(|due| now < due) {
            return Ok(None);
        }
        self.request_due = Some(now.after(REQUEST_PERIOD_MS));
        self.request(pending.slot, platform, out).map(Some)
    }

    /// Writes the request for a certificate for the keys in `slot` into `out`; gives its length in bytes.
    fn request<P: Platform>(
        &self,
        slot: KeySlot,
        platform: &mut P,
        out: &mut [u8],
    ) -> Result<usize, IdentityError> {
        let id = &self.record.id;
        let (mut identity, mut tls) = ([0; CSR_BYTES_MAX], [0; CSR_BYTES_MAX]);
        let identity = csr(platform, slot, KeyUse::Identity, id, &mut identity)?;
        let tls = csr(platform, slot, KeyUse::Tls, id, &mut tls)?;
        let request = RenewalRequest {
            audience: Audience::Device(id.clone()),
            number: self.record.certificate,
            identity_csr: identity,
            tls_csr: tls,
        };
        vault::request(platform, self.record.active, &request, out).map_err(sealing)
    }

    /// How things are.
    pub(crate) fn state(&self, time: Option<EpochMillis>) -> IdentityState {
        let mut state = IdentityState::new(&self.key);
        state.t = time;
        state.life = match self.ended {
            None => SaidLife::Provisioned,
            Some(End::Blank) => SaidLife::Blank,
            Some(End::Destroyed) => SaidLife::Destroyed,
        };
        state.certificate = self.record.certificate;
        state.certificate_until = self.leaf.until;
        state.rotation = match self.record.pending {
            None => Rotation::None,
            Some(Pending { certificate: None, .. }) => Rotation::Requested,
            Some(Pending { certificate: Some(_), .. }) => Rotation::Trial,
        };
        state.retired_kept = self.record.retired.is_some();
        state.roots = self.record.roots_number;
        state.roots_count = self.roots_count;
        state.roots_until = self.roots_until;
        if let Some(time) = time {
            state.certificate_ends_soon = self.certificate_ends_soon(time);
            state.roots_end_soon = self.roots_until.0.saturating_sub(time.0) < ROOTS_SOON_MS;
        }
        state.roots_undone = self.roots_undone;
        state.refused = self.refused;
        state.replayed = self.replayed;
        state.last_refusal = self.last_refusal;
        state
    }

    /// What to warn of, once after each connection.
    pub(crate) fn warnings(&self, time: EpochMillis) -> [Option<Note>; 2] {
        let days = |until: EpochMillis| (until.0.saturating_sub(time.0) / 86_400_000) as u32;
        let roots = self.roots_until.0.saturating_sub(time.0) < ROOTS_SOON_MS;
        let life = self.leaf.until.0.saturating_sub(self.leaf.from.0);
        let late = !self.has_ended(time) && self.leaf.until.0.saturating_sub(time.0) < life / 6;
        [
            roots.then(|| Note::RootsEnd { days: days(self.roots_until) }),
            late.then(|| Note::CertificateEnds { days: days(self.leaf.until) }),
        ]
    }

    /// Where less than a third of its life is left.
    fn certificate_ends_soon(&self, time: EpochMillis) -> bool {
        let life = self.leaf.until.0.saturating_sub(self.leaf.from.0);
        self.leaf.until.0.saturating_sub(time.0) < life / 3
    }

    /// Changes the record, whole or not at all.
    fn change<P: Platform>(
        &mut self,
        platform: &mut P,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), StorageError> {
        let mut record = self.record.clone();
        change(&mut record);
        self.commit(record, platform)
    }

    fn commit<P: Platform>(&mut self, record: Record, platform: &mut P) -> Result<(), StorageError> {
        let life = Life::Provisioned(record);
        life.store(platform)?;
        if let Life::Provisioned(record) = life {
            self.record = record;
        }
        Ok(())
    }

    fn read_validity<P: Platform>(&mut self, platform: &mut P) -> Result<(), IdentityError> {
        self.leaf = leaf(platform, self.record.active)?;
        let mut buffer = [0; ROOTS_BYTES_MAX];
        let roots = roots(platform, self.record.roots, &mut buffer)?;
        self.roots_count = roots.0.len() as u32;
        let ends = roots.0.iter().filter_map(|root| Certificate::decode(root).ok());
        self.roots_until = ends.map(|root| root.not_after()).min().ok_or(StorageError::Corrupt)?;
        Ok(())
    }
}

/// From when to when the certificate for the keys in `slot` is valid.
#[inline(never)]
fn leaf<P: Platform>(platform: &mut P, slot: KeySlot) -> Result<Validity, StorageError> {
    let mut buffer = [0; CHAIN_BYTES_MAX];
    let chain = chain(platform, slot, &mut buffer)?;
    let leaf = chain.0.first().and_then(|leaf| Certificate::decode(leaf).ok());
    let leaf = leaf.ok_or(StorageError::Corrupt)?;
    Ok(Validity { from: leaf.not_before(), until: leaf.not_after() })
}

fn csr<'o, P: Platform>(
    platform: &mut P,
    slot: KeySlot,
    usage: KeyUse,
    id: &protocol::DeviceId,
    out: &'o mut [u8],
) -> Result<&'o [u8], IdentityError> {
    let len = vault::csr(platform, slot, usage, id, out).map_err(sealing)?;
    Ok(out.get(..len).ok_or(StorageError::TooLong)?)
}

/// What does not fit is a buffer of ours that is too small.
pub(crate) fn sealing(error: SealError<VaultError>) -> IdentityError {
    match error {
        SealError::TooLong => StorageError::TooLong.into(),
        SealError::Signer(error) => error.into(),
    }
}
