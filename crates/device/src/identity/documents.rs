//! Signed documents from the service: whether each counts, and what it changes. R-AUTHORITY, R-ROOTS, R-SECRET-ROTATE,
//! R-REPROVISION, R-DESTROY.
//!
//! In this order: form, topic, authority, signature, payload, audience, number, content. What fails is refused by name and
//! counted, and changes nothing.

use super::record::{self, Life, Mark, Pending};
use super::{Effect, Identity, IdentityError};
use crate::interface::End;
use crate::platform::{Key, Platform, StorageError, Uptime};
use crate::stored::{self, Stored};
use protocol::document::{
    Audience, AuthorityKey, ContentType, IdentityCertificate, KeyUse, Power, RETIREMENT_S_MAX, Retirement,
    Rollout, RootList,
};
use protocol::signed::{Document, Envelope, Verified};
use protocol::x509::Certificate;
use protocol::x509::path::check_roots;
use protocol::{Channel, DeviceId, EpochMillis, KeyId, PublicKey, Refusal};

/// Room for a list of roots while it is written.
const SCRATCH: usize = record::ROOTS_BYTES_MAX;

impl Identity {
    /// Takes in a message from the service.
    pub(crate) fn message<P: Platform>(
        &mut self,
        channel: Channel,
        payload: &[u8],
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Effect, Refusal> {
        let done = self.judge(channel, payload, time, platform);
        match done {
            Ok(Effect::Known) => {}
            Ok(_) => self.said = false,
            Err(refusal) => self.count(refusal),
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
        channel: Channel,
        payload: &[u8],
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Effect, Refusal> {
        let mark = record::mark(payload);
        if mark.is_some() && mark == self.known(channel) {
            return Ok(Effect::Known);
        }
        let envelope = Envelope::decode(payload)?;
        match (channel, envelope.content_type()) {
            (Channel::RootsDesired, ContentType::Roots) => self.roots_list(&envelope, mark, time, platform),
            (Channel::AuthorityDesired, ContentType::AuthorityKey) => {
                self.authority_key(&envelope, mark, platform)
            }
            (Channel::IdentityDesired, ContentType::Certificate) => {
                self.certificate(&envelope, mark, time, platform)
            }
            (Channel::Command, ContentType::Retirement) => self.retirement(&envelope, time),
            _ => Err(Refusal::ContentType),
        }
    }

    /// The last document that was taken on this channel: it is retained, and comes again with every connection.
    const fn known(&self, channel: Channel) -> Option<Mark> {
        match channel {
            Channel::RootsDesired => self.record.roots_mark,
            Channel::AuthorityDesired => self.record.authority_mark,
            Channel::IdentityDesired => self.record.certificate_mark,
            _ => None,
        }
    }

    /// Proves that a rollout is the configuration authority's and for this device; who has proven it.
    pub(crate) fn rollout(&self, payload: &[u8]) -> Result<(Rollout, KeyId), Refusal> {
        let envelope = Envelope::decode(payload)?;
        if envelope.content_type() != ContentType::Rollout {
            return Err(Refusal::ContentType);
        }
        let signer = envelope.signer();
        Ok((self.verify::<Rollout>(&envelope)?.into_inner(), signer))
    }

    /// The key of a power.
    pub(crate) const fn authority(&self, power: Power) -> Option<&PublicKey> {
        self.record.authority(power)
    }

    /// Proves that a document is a `T` of who may sign it, and for this device.
    pub(crate) fn verify<'b, T: Document<'b>>(
        &self,
        envelope: &Envelope<'b>,
    ) -> Result<Verified<T>, Refusal> {
        let key = self.signer(envelope, T::CONTENT_TYPE.power())?;
        let document = envelope.verify::<T>(key)?;
        self.check_audience(&document.audience())?;
        Ok(document)
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
        envelope: &Envelope<'_>,
        mark: Option<Mark>,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Effect, Refusal> {
        let list = self.verify::<RootList<'_>>(envelope)?;
        newer(list.number, self.record.roots_seen)?;
        if self.record.roots_trial.is_some() {
            return Err(Refusal::Unexpected);
        }
        check_roots(&list.roots.0, time).map_err(|_| Refusal::Certificate)?;
        let mut buffer = [0; SCRATCH];
        let place = Key::Roots(self.record.roots.other());
        stored::write(platform, place, &list.roots, &mut buffer).map_err(|_| Refusal::Storage)?;
        let changed = self.change(platform, |record| {
            record.roots_trial = Some(list.number);
            record.roots_seen = list.number;
            record.roots_mark = mark;
        });
        changed.map_err(|_| Refusal::Storage)?;
        Ok(Effect::Reconnect)
    }

    fn authority_key<P: Platform>(
        &mut self,
        envelope: &Envelope<'_>,
        mark: Option<Mark>,
        platform: &mut P,
    ) -> Result<Effect, Refusal> {
        let document = self.verify::<AuthorityKey>(envelope)?;
        newer(document.number, self.record.authority_number)?;
        // One key with two powers would be one power.
        if self.is_known(&document.key.id()) {
            return Err(Refusal::WrongAuthority);
        }
        let mut record = self.record.clone();
        (record.authority_number, record.authority_mark) = (document.number, mark);
        match document.power {
            Power::Firmware => record.firmware = Some(document.key),
            Power::Configuration => record.configuration = Some(document.key),
            Power::Anchors => record.anchors = Some(document.key),
            Power::Factory | Power::Device => return Err(Refusal::Payload),
        }
        self.commit(record, platform).map_err(|_| Refusal::Storage)?;
        Ok(Effect::Authority(document.power, document.key.id()))
    }

    fn certificate<P: Platform>(
        &mut self,
        envelope: &Envelope<'_>,
        mark: Option<Mark>,
        time: EpochMillis,
        platform: &mut P,
    ) -> Result<Effect, Refusal> {
        let document = self.verify::<IdentityCertificate<'_>>(envelope)?;
        alone(&document.audience)?;
        newer(document.number, self.record.certificate)?;
        let Some(pending) = self.record.pending.filter(|pending| pending.certificate.is_none()) else {
            return Err(Refusal::Unexpected);
        };
        let mut own = |usage| match platform.public_key(pending.slot, usage) {
            Ok(Some(key)) => Ok(key),
            Ok(None) | Err(_) => Err(Refusal::Storage),
        };
        if document.identity != own(KeyUse::Identity)?.id() {
            return Err(Refusal::Unexpected);
        }
        check_chain(&document.chain.0, &self.record.id, &own(KeyUse::Tls)?, time)?;
        let mut buffer = [0; SCRATCH];
        stored::write(platform, Key::Chain(pending.slot), &document.chain, &mut buffer)
            .map_err(|_| Refusal::Storage)?;
        let certified = Pending { certificate: Some(document.number), ..pending };
        let changed = self.change(platform, |record| {
            (record.pending, record.certificate_mark) = (Some(certified), mark);
        });
        changed.map_err(|_| Refusal::Storage)?;
        Ok(Effect::Reconnect)
    }

    /// A new identity is wanted, as soon as there is a connection; remembered over restarts.
    pub(crate) fn want_rotation<P: Platform>(&mut self, platform: &mut P) -> Result<(), StorageError> {
        self.change(platform, |record| record.rotation_wanted |= record.pending.is_none())?;
        self.wanted |= self.record.rotation_wanted;
        self.not_before = Uptime(0);
        Ok(())
    }

    fn retirement(&self, envelope: &Envelope<'_>, time: EpochMillis) -> Result<Effect, Refusal> {
        let document = self.verify::<Retirement>(envelope)?;
        alone(&document.audience)?;
        // The document is for one life: a device that was provisioned again has another key.
        if document.identity != self.key {
            return Err(Refusal::Replayed);
        }
        if time.seconds() >= document.expires_s {
            return Err(Refusal::Expired);
        }
        if document.expires_s - time.seconds() > RETIREMENT_S_MAX {
            return Err(Refusal::Payload);
        }
        Ok(Effect::Retire(document.end))
    }

    /// Ends the life of the identity; where something could not be wiped, says why.
    pub(crate) fn retire<P: Platform>(
        &mut self,
        end: End,
        platform: &mut P,
    ) -> Result<Option<IdentityError>, Refusal> {
        if Life::Ending(end).store(platform).is_err() {
            self.refused = self.refused.saturating_add(1);
            self.last_refusal = Some(Refusal::Storage);
            return Err(Refusal::Storage);
        }
        // From here on there is no way back: where wiping fails half-way, the next start goes on with it.
        let wiped = record::finish(platform, end);
        self.ended = Some(end);
        Ok(wiped.err())
    }
}

pub(crate) const fn newer(number: u32, last: u32) -> Result<(), Refusal> {
    if number > last {
        Ok(())
    } else if number == last {
        Err(Refusal::Replayed)
    } else {
        Err(Refusal::Older)
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
