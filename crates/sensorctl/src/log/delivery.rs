//! One delivery of a log: whether the device signed it, whether its records are bound to each other, whether the seals among
//! them are real. Owns this proof; what came before is for [`super::verify`]. R-LOG.

use super::fault::{Fault, What};
use super::keys::{CLOCKS_MS, Keys, Known};
use minicbor::Decoder;
use protocol::audit::{ChainFault, Entries, Event, FIRST, Hash, Record};
use protocol::document::{Audience, ContentType, LOG_PAYLOAD_BYTES_MAX, LogDelivery};
use protocol::signed::{ENVELOPE_BYTES_MAX, Envelope, seal};
use protocol::{DeviceId, EpochMillis, KeyId, Refusal, Signature};
use std::convert::Infallible;

/// Longest signed delivery in bytes.
pub const DELIVERY_BYTES_MAX: usize = LOG_PAYLOAD_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// A record that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub record: Record,
    /// Its hash in the chain.
    pub hash: Hash,
}

/// A delivery that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Number of the first record.
    pub number: u32,
    /// Hash of the record before it.
    pub previous: Hash,
    /// The records: at least one, their numbers without a gap.
    pub lines: Vec<Line>,
    /// The key that it is signed with.
    pub signer: KeyId,
}

impl Delivery {
    /// Number of the record behind the last one.
    pub fn end(&self) -> u64 {
        u64::from(self.number) + self.lines.len() as u64
    }

    /// Ranges of records that it says are lost: the number of the record that says so, the first one and how many.
    pub fn losses(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.lines.iter().filter_map(|line| match line.record.event {
            Event::Lost { first, count } => Some((line.record.sequence, first, count)),
            _ => None,
        })
    }
}

/// Proves a delivery of `device`'s log, which came at `received` where that is known.
pub fn prove(
    device: &DeviceId,
    keys: &Keys<'_>,
    received: Option<EpochMillis>,
    bytes: &[u8],
) -> Result<Delivery, Fault> {
    let content = content(bytes);
    // Whatever is wrong is wrong from the first record on, unless the chain tells more.
    let begins = content.as_ref().map(|content| content.number);
    let fault = |what| {
        let walked = content.as_ref().map(walk);
        match (walked, what) {
            (Some(Err(fault)), What::Refused(Refusal::Signature)) => fault.also_signature(),
            (_, what) => Fault { record: begins, what },
        }
    };
    let envelope = Envelope::decode(bytes).map_err(|refusal| fault(What::Refused(refusal)))?;
    if envelope.content_type() != ContentType::Log {
        return Err(fault(What::Refused(Refusal::ContentType)));
    }
    let signer = envelope.signer();
    let Some(known) = keys.find(device, &signer) else { return Err(fault(What::UnknownKey(signer))) };
    if let Some(owner) = known.owner.as_ref().filter(|owner| *owner != device) {
        return Err(fault(What::OthersKey(signer, owner.clone())));
    }
    let said =
        envelope.verify::<LogDelivery<'_>>(&known.key).map_err(|refusal| fault(What::Refused(refusal)))?;
    let said = said.into_inner();
    match &said.audience {
        Audience::Device(id) if id == device => {}
        Audience::Device(id) => return Err(fault(What::OtherDevice(id.clone()))),
        _ => return Err(fault(What::Refused(Refusal::Audience))),
    }
    let lines = walk(&said)?;
    if lines.is_empty() {
        return Err(fault(What::Empty));
    }
    if said.number == 0 && said.previous != FIRST {
        return Err(fault(What::Beginning));
    }
    // What the records say of their time does not count: who has the key writes it. A device signs what it delivers with the
    // key that is in force then, so that nothing of its own is lost.
    let came_by = |at: &EpochMillis| received.is_some_and(|received| received.since(*at) <= CLOCKS_MS);
    if let Some(at) = known.revoked.filter(|at| !came_by(at)) {
        return Err(fault(What::Revoked(signer, at)));
    }
    let mut previous = said.previous;
    for line in &lines {
        check_seal(device, keys, line, previous)?;
        previous = line.hash;
    }
    Ok(Delivery { number: said.number, previous: said.previous, lines, signer })
}

impl Fault {
    fn also_signature(self) -> Self {
        let what = match self.what {
            What::Chain(fault, _) => What::Chain(fault, true),
            other => other,
        };
        Self { what, ..self }
    }
}

/// What a delivery says without any proof, for finding out where it is wrong.
fn content(bytes: &[u8]) -> Option<LogDelivery<'_>> {
    let mut parts = Decoder::new(bytes);
    parts.tag().ok()?;
    parts.array().ok()?;
    parts.bytes().ok()?;
    parts.map().ok()?;
    let mut payload = Decoder::new(parts.bytes().ok()?);
    let content = payload.decode().ok()?;
    // Where a length was altered, nothing of it stands where it belongs.
    (payload.position() == payload.input().len()).then_some(content)
}

/// The records of a delivery, each bound to the one before.
fn walk(delivery: &LogDelivery<'_>) -> Result<Vec<Line>, Fault> {
    let (mut previous, mut lines) = (delivery.previous, Vec::new());
    for entry in Entries::new(delivery.entries) {
        // The number that is due; none has more than the highest.
        let due = u32::try_from(lines.len()).ok().and_then(|len| delivery.number.checked_add(len));
        let fault = |record, fault| Fault { record, what: What::Chain(fault, false) };
        let entry = entry.map_err(|form| fault(due, form))?;
        let Some(number) = due else { return Err(fault(None, ChainFault::Form)) };
        entry.follows(&previous, number).map_err(|chain| match chain {
            // Its hash holds: it is the record that it says it is.
            ChainFault::Sequence { .. } => fault(Some(entry.sequence), chain),
            _ => fault(due, chain),
        })?;
        previous = entry.hash;
        let record = entry.record.ok_or_else(|| fault(Some(entry.sequence), ChainFault::Unknown))?;
        lines.push(Line { record, hash: entry.hash });
    }
    Ok(lines)
}

/// The records and the hash before them, as a store holds them that was verified when it was written.
pub(super) fn recall(bytes: &[u8]) -> Option<(Hash, Vec<Line>)> {
    let content = content(bytes)?;
    Some((content.previous, walk(&content).ok().filter(|lines| !lines.is_empty())?))
}

fn check_seal(device: &DeviceId, keys: &Keys<'_>, line: &Line, previous: Hash) -> Result<(), Fault> {
    let Event::Seal { identity, signature } = &line.record.event else { return Ok(()) };
    let number = line.record.sequence;
    let fault = |what| Fault { record: Some(number), what };
    let Some(known) = keys.find(device, identity) else { return Err(fault(What::SealKey(*identity))) };
    let late = |at: EpochMillis| line.record.time.is_some_and(|time| time.since(at) > CLOCKS_MS);
    if let Some(at) = known.revoked.filter(|at| late(*at)) {
        return Err(fault(What::Revoked(*identity, at)));
    }
    if is_sealed(device, &known, number, previous, *signature) {
        Ok(())
    } else {
        Err(fault(What::Seal(*identity)))
    }
}

/// A seal is the signature of a delivery without records. The life of the hardware may have begun under another id.
fn is_sealed(device: &DeviceId, known: &Known, number: u32, previous: Hash, signature: Signature) -> bool {
    let audience = Audience::Device(known.owner.as_ref().unwrap_or(device).clone());
    let delivery = LogDelivery { audience, number, previous, entries: &[] };
    let mut document = [0; DELIVERY_BYTES_MAX];
    let sealed = seal(&delivery, known.key.id(), &mut document, |_| Ok::<_, Infallible>(signature));
    let document = sealed.ok().and_then(|len| document.get(..len));
    document
        .and_then(|document| Envelope::decode(document).ok())
        .is_some_and(|envelope| envelope.verify::<LogDelivery<'_>>(&known.key).is_ok())
}
