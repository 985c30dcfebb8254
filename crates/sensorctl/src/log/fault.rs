//! What can be wrong with a log, with the record where it begins. R-LOG.

use protocol::audit::ChainFault;
use protocol::{DeviceId, EpochMillis, KeyId, Refusal};
use std::fmt;

/// What is wrong, and with which record first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first record that is not proven because of it; `None` where what was read does not tell.
    pub record: Option<u32>,
    /// What it is.
    pub what: What,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The line is none of a store.
    Line(&'static str),
    /// It is no signed delivery, or its signature is wrong.
    Refused(Refusal),
    /// The chain in it does not hold; true where its signature is wrong too.
    Chain(ChainFault, bool),
    /// The very first record follows something.
    Beginning,
    /// There is nothing in it.
    Empty,
    /// It is signed with a key that nobody has or had.
    UnknownKey(KeyId),
    /// It is signed with a key of another device.
    OthersKey(KeyId, DeviceId),
    /// It is signed with a key that was nobody's any more when it came.
    Revoked(KeyId, EpochMillis),
    /// It is signed with a former key, and what is known already with a later one.
    Superseded(KeyId, KeyId),
    /// It is another device's log.
    OtherDevice(DeviceId),
    /// A seal in it was not made with the key that it names over the chain up to there.
    Seal(KeyId),
    /// A seal in it names a key that nobody has or had.
    SealKey(KeyId),
    /// A record of this number is known with another hash: there are two histories.
    Fork,
    /// A delivery that was refused while following is signed by the device, and this record has another hash in it.
    OtherHistory,
    /// There is nothing new in it.
    Repeated,
    /// It stands behind later ones.
    Disorder,
    /// Records are missing from here to this one, and no record says that they are lost.
    Missing(u32),
    /// The operator acknowledged records up to this one, and they are not here.
    Acknowledged(u32),
    /// The operator acknowledged this record with another hash.
    AcknowledgedOther,
    /// Nothing beside the log tells what was acknowledged: whether its end is there cannot be told.
    NoWitness,
    /// What was acknowledged cannot be told: the document beside the log is none of the operator's.
    Witness(Refusal),
    /// The document beside the log is signed with a former key of the operator, which was replaced then, before the device made the
    /// record that it acknowledges.
    FormerWitness(KeyId, EpochMillis),
}

impl What {
    /// True where what came is signed with a key of the device: it proves something, if only that somebody else has the key.
    pub const fn is_signed(&self) -> bool {
        match self {
            Self::Chain(_, signature_is_wrong) => !*signature_is_wrong,
            Self::Refused(Refusal::Audience)
            | Self::Beginning
            | Self::Empty
            | Self::Revoked(..)
            | Self::Superseded(..)
            | Self::OtherDevice(_)
            | Self::Seal(_)
            | Self::SealKey(_)
            | Self::Fork => true,
            _ => false,
        }
    }

    /// Its name for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::Refused(Refusal::Signature) => "signature",
            Self::Refused(_) => "form",
            Self::Chain(ChainFault::Unknown, _) => "newer_firmware",
            Self::Chain(..) | Self::Beginning => "chain",
            Self::Empty => "empty",
            Self::UnknownKey(_) => "unknown_key",
            Self::OthersKey(..) => "other_devices_key",
            Self::Revoked(..) => "revoked_key",
            Self::Superseded(..) => "former_key",
            Self::OtherDevice(_) => "other_device",
            Self::Seal(_) | Self::SealKey(_) => "seal",
            Self::Fork | Self::OtherHistory => "fork",
            Self::Repeated => "repeated",
            Self::Disorder => "disorder",
            Self::Missing(_) => "missing",
            Self::Acknowledged(_)
            | Self::AcknowledgedOther
            | Self::NoWitness
            | Self::Witness(_)
            | Self::FormerWitness(..) => "acknowledged",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(why) => write!(f, "the line is none of a store: {why}"),
            Self::Refused(refusal) => write!(f, "the delivery is not proven: {refusal}"),
            Self::Chain(fault, false) => fault.fmt(f),
            Self::Chain(fault, true) => write!(f, "{fault}, and the delivery's signature is wrong"),
            Self::Beginning => f.write_str("it is the very first record and follows another one"),
            Self::Empty => f.write_str("there is no record in the delivery"),
            Self::UnknownKey(key) => write!(f, "the delivery is signed with the key {key}, which nobody has or had"),
            Self::OthersKey(key, owner) => write!(f, "the delivery is signed with the key {key}, which is {owner}'s"),
            Self::Revoked(key, at) => {
                write!(f, "the delivery is signed with the key {key}, which was revoked at {at}, before it came")
            }
            Self::Superseded(key, newer) => write!(
                f,
                "the delivery is signed with the former key {key}, and what is here already with {newer}, which came after it: \
                 whoever has the former key writes here; where the device itself went back to it, revoke {newer}"
            ),
            Self::OtherDevice(id) => write!(f, "the delivery is from the log of {id}"),
            Self::Seal(key) => write!(f, "the seal was not made with the key {key} over the records before it"),
            Self::SealKey(key) => write!(f, "the seal names the key {key}, which nobody has or had"),
            Self::Fork => f.write_str(
                "a record of this number is known with another hash: whoever has the device's key has told two \
                 histories, or the hardware behind this id was replaced",
            ),
            Self::OtherHistory => f.write_str(
                "a delivery that was refused while following, in the file .refused beside this one, is signed with the \
                 device's key too and has another record of this number: there are two histories",
            ),
            Self::Repeated => f.write_str("the delivery has nothing new: it was put in a second time"),
            Self::Disorder => f.write_str("the delivery stands behind later ones"),
            Self::Missing(to) => write!(f, "records up to {to} are missing, and no record says that they were lost"),
            Self::Acknowledged(to) => write!(
                f,
                "records up to {to} were acknowledged to the device and are not here: they were taken away from the end"
            ),
            Self::AcknowledgedOther => f.write_str("it was acknowledged to the device with another hash"),
            Self::NoWitness => f.write_str(
                "there is no acknowledgement beside the log: whether records were taken away from its end cannot be told",
            ),
            Self::FormerWitness(key, until) => write!(
                f,
                "the acknowledgement beside the log is signed with the operator's former key {key}, which was replaced at {until}, \
                 before the record was made that it acknowledges: whoever has that key made it"
            ),
            Self::Witness(why) => write!(f, "the acknowledgement beside the log is not the operator's: {why}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "record {record}: {}", self.what),
            None => self.what.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}
