//! What every device would hold against a document, held against it here before a number is used up and before anything is
//! signed. Owns no rule: form, bounds, roots and chains are judged by the devices' own code. R-AUTHORITY, R-ROOTS.
//!
//! What only a device knows (its keys, the numbers that it has seen, its group, what it is doing) remains for the device.

use device::identity::check_chain;
use protocol::document::{
    Audience, AuthorityKey, Command, ContentType, IdentityCertificate, LogAcknowledgement, LogDelivery,
    PROVISION_BYTES_MAX, Provision, RenewalRequest, Retirement, Rollout, RootList,
};
use protocol::signed::Document;
use protocol::x509::Certificate;
use protocol::x509::path::{self, RootsError};
use protocol::{Configuration, EpochMillis, KeyId, Refusal, config};
use std::fmt;

/// Why every device would refuse a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// What a device says of the whole of it.
    Document(ContentType, Refusal),
    /// The list of roots.
    Roots(RootsError),
    /// The certificate for the device.
    Chain(String),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(what, why) => {
                write!(f, "not signed, as every device would refuse it: {}: {why}", what.as_str())
            }
            Self::Roots(why) => write!(f, "not signed, as every device would refuse it: {why}"),
            Self::Chain(why) => {
                write!(f, "not signed, as the device would refuse it: its certificate: {why}")
            }
        }
    }
}

impl std::error::Error for Objection {}

/// Judges a list of roots as a device does at `time`.
pub fn roots(roots: &[&[u8]], time: EpochMillis) -> Result<(), Objection> {
    path::check_roots(roots, time).map_err(Objection::Roots)
}

/// Judges a document as a device does at `time` that has the keys which it should be signed with; `signer` signs it.
pub fn document<'b>(document: &impl Document<'b>, signer: KeyId, time: EpochMillis) -> Result<(), Objection> {
    let mut payload = vec![0; PROVISION_BYTES_MAX];
    let what = content_type(document);
    let refused = |why| Objection::Document(what, why);
    let len = document.encode(&mut payload).map_err(|_| refused(Refusal::TooLong))?;
    let payload = payload.get(..len).filter(|payload| payload.len() <= what.payload_bytes_max());
    let payload = payload.ok_or(refused(Refusal::TooLong))?;
    let objection = match what {
        ContentType::Roots => {
            let list = RootList::decode(payload).map_err(refused)?;
            return roots(&list.roots.0, time);
        }
        ContentType::Certificate => {
            let answer = IdentityCertificate::decode(payload).map_err(refused)?;
            return chain(&answer.chain.0, &answer.audience, time);
        }
        ContentType::Provision => {
            let provision = Provision::decode(payload).map_err(refused)?;
            return provisioning(&provision, signer, time);
        }
        ContentType::AuthorityKey => AuthorityKey::decode(payload).and_then(|document| {
            // One key with two powers would be one power.
            if document.key.id() == signer { Err(Refusal::WrongAuthority) } else { Ok(()) }
        }),
        ContentType::Configuration => <config::Change as Document>::decode(payload).map(drop),
        ContentType::Command => Command::decode(payload).map(drop),
        ContentType::Retirement => Retirement::decode(payload).map(drop),
        ContentType::Rollout => Rollout::decode(payload).map(drop),
        ContentType::LogAcknowledgement => LogAcknowledgement::decode(payload).map(drop),
        // These are a device's own.
        ContentType::RenewalRequest => RenewalRequest::decode(payload).map(drop),
        ContentType::Log => LogDelivery::decode(payload).map(drop),
    };
    objection.map_err(refused)
}

const fn content_type<'b, T: Document<'b>>(_: &T) -> ContentType {
    T::CONTENT_TYPE
}

/// The certificate is for this device: whether it is for its key, the device knows.
fn chain(chain: &[&[u8]], audience: &Audience, time: EpochMillis) -> Result<(), Objection> {
    let Audience::Device(id) = audience else {
        return Err(Objection::Document(ContentType::Certificate, Refusal::Audience));
    };
    let leaf = chain.first().ok_or_else(|| Objection::Chain("there is none".to_owned()))?;
    let leaf = Certificate::decode(leaf).map_err(|error| Objection::Chain(error.to_string()))?;
    check_chain(chain, id, &leaf.public_key(), time).map_err(|why| Objection::Chain(why.to_string()))
}

fn provisioning(document: &Provision<'_>, signer: KeyId, time: EpochMillis) -> Result<(), Objection> {
    let refused = |why| Objection::Document(ContentType::Provision, why);
    chain(&document.chain.0, &document.audience, time)?;
    roots(&document.roots.0, time)?;
    let keys = [
        signer,
        document.firmware.id(),
        document.configuration_key.id(),
        document.anchors.id(),
        document.identity,
    ];
    if keys.iter().enumerate().any(|(number, key)| keys.iter().take(number).any(|other| other == key)) {
        return Err(refused(Refusal::WrongAuthority));
    }
    let configuration = Configuration::decode(document.configuration);
    let configuration = configuration.map_err(|_| refused(Refusal::Configuration))?;
    if document.audience == Audience::Device(configuration.id.clone()) {
        Ok(())
    } else {
        Err(refused(Refusal::Configuration))
    }
}

#[cfg(test)]
mod tests;
