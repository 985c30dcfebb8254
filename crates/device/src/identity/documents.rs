//! Signed documents from the service: whether each counts, and what it changes. R-AUTHORITY, R-ROOTS, R-SECRET-ROTATE,
//! R-REPROVISION, R-DESTROY.
//!
//! [`crate::gate`] has the order of the checks. What fails is refused by name and counted, and changes nothing.

use super::record::{self, Life, Pending};
use super::{Effect, Identity, IdentityError};
use crate::gate::{Admitted, Entrance, Gate, Mark, Rejected, newer};
use crate::interface::End;
use crate::platform::{Key, Platform, StorageError, Uptime, VaultError};
use crate::stored::{self, Stored};
use protocol::document::{
    Audience, AuthorityKey, ContentType, IdentityCertificate, KeyUse, Power, RETIREMENT_S_MAX, Retirement,
    RootList,
};
use protocol::signed::Envelope;
use protocol::x509::Certificate;
use protocol::x509::path::check_roots;
use protocol::{DeviceId, EpochMillis, KeyId, PublicKey, Refusal};

/// Room for a list of roots while it is written.
const SCRATCH: usize = record::ROOTS_BYTES_MAX;

impl Identity {
    /// Takes in a document about identity and trust.
    pub(crate) fn message<P: Platform>(
        &mut self,
        entrance: Entrance,
        document: &[u8],
        time: EpochMillis,
        gate: &mut Gate,
        platform: &mut P,
    ) -> Result<Effect, Rejected> {
        let done = self.judge(entrance, document, time, gate, platform);
        match done {
            Ok(Effect::Known) | Err(Rejected::Own(_)) => {}
            Ok(_) => self.said = false,
            Err(Rejected::Peer(refusal)) => self.count(refusal),
        }
        done
    }

    /// A document was refused, here or where else such documents are judged.
    pub(crate) const fn count(&mut self, refusal: Refusal) {
        // Somebody sends another document with a number that was used: counted apart.
        if matches!(refusal, Refusal::Replayed) {
            self.replayed = self.replayed.saturating_add(1);
        } else {
            self.refused = self.refused.saturating_add(1);
            self.last_refusal = Some(refusal);
        }
    }

    fn judge<P: Platform>(
        &mut self,
        entrance: Entrance,
        document: &[u8],
        time: EpochMillis,
        gate: &mut Gate,
        platform: &mut P,
    ) -> Result<Effect, Rejected> {
        let Some(letter) = gate.open(entrance, document, self.known(entrance))? else {
            return Ok(Effect::Known);
        };
        match letter.content_type() {
            ContentType::Roots => self.roots_list(&letter.admit(self)?, time, platform),
            ContentType::AuthorityKey => self.authority_key(&letter.admit(self)?, platform),
            ContentType::Certificate => self.certificate(&letter.admit(self)?, time, platform),
            ContentType::Retirement => self.retirement(&letter.admit(self)?, time),
            _ => Err(Refusal::ContentType.into()),
        }
    }

    /// The last document that was taken there: it is retained, and comes again with every connection.
    const fn known(&self, entrance: Entrance) -> Option<Mark> {
        match entrance {
            Entrance::Roots => self.record.roots_mark,
            Entrance::Authority => self.record.authority_mark,
            Entrance::Certificate => self.record.certificate_mark,
            _ => None,
        }
    }

    /// The key of a power.
    pub(crate) const fn authority(&self, power: Power) -> Option<&PublicKey> {
        self.record.authority(power)
    }

    /// The key of `power`, where the document names it as its signer's.
    pub(crate) fn signer(&self, envelope: &Envelope<'_>, power: Power) -> Result<&PublicKey, Refusal> {
        let signer = envelope.signer();
        match self.record.authority(power) {
            Some(key) if key.id() == signer => Ok(key),
            _ if self.is_known(&signer) => Err(Refusal::WrongAuthority),
            _ => Err(Refusal::UnknownKey),
        }
    }

    /// Whether a document is for this device.
    pub(crate) fn check_audience(&self, audience: &Audience) -> Result<(), Refusal> {
        match audience {
            Audience::Device(id) if *id == self.record.id => Ok(()),
            Audience::Device(_) => Err(Refusal::OtherDevice),
            Audience::Group(group) if !group.is_empty() && *group == self.record.group => Ok(()),
            Audience::Group(_) => Err(Refusal::OtherGroup),
            Audience::All => Ok(()),
        }
    }

    fn is_known(&self, signer: &KeyId) -> bool {
        let authority = |power| self.record.authority(power).map(PublicKey::id);
        Power::ALL.into_iter().filter_map(authority).chain(self.record.factory).any(|key| key == *signer)
            || *signer == self.key
    }

    fn roots_list<P: Platform>(
        &mut self,
        list: &Admitted<RootList<'_>>,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Effect, Rejected> {
        newer(list.number, self.record.roots_seen)?;
        if self.record.roots_trial.is_some() {
            return Err(Refusal::Unexpected.into());
        }
        check_roots(&list.roots.0, time).map_err(|_| Refusal::Certificate)?;
        let mut buffer = [0; SCRATCH];
        let place = Key::Roots(self.record.roots.other());
        stored::write(platform, place, &list.roots, &mut buffer)?;
        self.change(platform, |record| {
            record.roots_trial = Some(list.number);
            record.roots_seen = list.number;
            record.roots_mark = list.mark();
        })?;
        Ok(Effect::Reconnect)
    }

    fn authority_key<P: Platform>(
        &mut self,
        document: &Admitted<AuthorityKey>,
        platform: &mut P,
    ) -> Result<Effect, Rejected> {
        newer(document.number, self.record.authority_number)?;
        // One key with two powers would be one power.
        if self.is_known(&document.key.id()) {
            return Err(Refusal::WrongAuthority.into());
        }
        let mut record = self.record.clone();
        (record.authority_number, record.authority_mark) = (document.number, document.mark());
        match document.power {
            Power::Firmware => record.firmware = Some(document.key),
            Power::Configuration => record.configuration = Some(document.key),
            Power::Anchors => record.anchors = Some(document.key),
            Power::Factory | Power::Device => return Err(Refusal::Payload.into()),
        }
        self.commit(record, platform)?;
        Ok(Effect::Authority(document.power, document.key.id()))
    }

    fn certificate<P: Platform>(
        &mut self,
        document: &Admitted<IdentityCertificate<'_>>,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Effect, Rejected> {
        alone(&document.audience)?;
        newer(document.number, self.record.certificate)?;
        let Some(pending) = self.record.pending.filter(|pending| pending.certificate.is_none()) else {
            return Err(Refusal::Unexpected.into());
        };
        let mut own = |usage| platform.public_key(pending.slot, usage)?.ok_or(VaultError::Empty);
        if document.identity != own(KeyUse::Identity)?.id() {
            return Err(Refusal::Unexpected.into());
        }
        check_chain(&document.chain.0, &self.record.id, &own(KeyUse::Tls)?, time)?;
        let mut buffer = [0; SCRATCH];
        stored::write(platform, Key::Chain(pending.slot), &document.chain, &mut buffer)?;
        let certified = Pending { certificate: Some(document.number), ..pending };
        self.change(platform, |record| {
            (record.pending, record.certificate_mark) = (Some(certified), document.mark());
        })?;
        Ok(Effect::Reconnect)
    }

    /// A new identity is wanted, as soon as there is a connection; remembered over restarts.
    pub(crate) fn want_rotation<P: Platform>(&mut self, platform: &mut P) -> Result<(), StorageError> {
        self.change(platform, |record| record.rotation_wanted |= record.pending.is_none())?;
        self.wanted |= self.record.rotation_wanted;
        self.not_before = Uptime(0);
        Ok(())
    }

    fn retirement(&self, document: &Admitted<Retirement>, time: EpochMillis) -> Result<Effect, Rejected> {
        alone(&document.audience)?;
        // The document is for one life: a device that was provisioned again has another key.
        if document.identity != self.key {
            return Err(Refusal::Replayed.into());
        }
        if time.seconds() >= document.expires_s {
            return Err(Refusal::Expired.into());
        }
        if document.expires_s - time.seconds() > RETIREMENT_S_MAX {
            return Err(Refusal::Payload.into());
        }
        Ok(Effect::Retire(document.end))
    }

    /// Ends the life of the identity; where something could not be wiped, says why. Where the store fails first, nothing has
    /// happened.
    pub(crate) fn retire<P: Platform>(
        &mut self,
        end: End,
        platform: &mut P,
    ) -> Result<Option<IdentityError>, StorageError> {
        Life::Ending(end).store(platform)?;
        // From here on there is no way back: where wiping fails half-way, the next start goes on with it.
        let wiped = record::finish(platform, end);
        self.ended = Some(end);
        Ok(wiped.err())
    }
}

const fn alone(audience: &Audience) -> Result<(), Refusal> {
    match audience {
        Audience::Device(_) => Ok(()),
        Audience::Group(_) | Audience::All => Err(Refusal::Audience),
    }
}

fn decode(der: &[u8]) -> Result<Certificate<'_>, Refusal> {
    Certificate::decode(der).map_err(|_| Refusal::Certificate)
}

/// A chain is for this device and this TLS key at `time`: name, key, use, dates, and each certificate issued by the next
/// (RFC 5280, section 6.1). The refusal is [`Refusal::Certificate`].
pub fn check_chain(
    chain: &[&[u8]],
    id: &DeviceId,
    key: &PublicKey,
    time: EpochMillis,
) -> Result<(), Refusal> {
    let leaf = decode(chain.first().ok_or(Refusal::Certificate)?)?;
    let fits = leaf.public_key() == *key
        && leaf.common_name() == Some(id.as_str())
        && leaf.for_client_auth()
        && !leaf.is_authority()
        && time < leaf.not_after();
    if !fits {
        return Err(Refusal::Certificate);
    }
    for pair in chain.windows(2) {
        let [below, above] = pair else { continue };
        let (below, above) = (decode(below)?, decode(above)?);
        if !(above.is_authority()
            && below.issuer() == above.subject()
            && below.is_signed_by(&above.public_key()))
        {
            return Err(Refusal::Certificate);
        }
    }
    Ok(())
}
