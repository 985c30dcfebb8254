//! CBOR of what records name: the numbers are fixed, the enums' own order is not. R-LOG.

use crate::image::Version;
use crate::key::Signature;
use crate::{Channel, ClockQuality, EpochMillis, Failure, Layer, ResetCause, UpdateFault};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// A name on the wire, as in the JSON messages: a log is kept for years, and a name stays what it is.
macro_rules! by_name {
    ($($name:ident, $what:literal;)+) => {
        $(impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                Self::from_wire(d.str()?).ok_or_else(|| DecodeError::message($what))
            }
        })+
    };
}

by_name! {
    ClockQuality, "clock quality";
    Failure, "failure";
    Layer, "layer";
    ResetCause, "reset cause";
    UpdateFault, "update fault";
    Channel, "channel";
}

impl<C> Encode<C> for EpochMillis {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for EpochMillis {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        d.u64().map(Self)
    }
}

/// `[major, minor, revision, build]`.
impl<C> Encode<C> for Version {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(4)?.u8(self.major)?.u8(self.minor)?.u16(self.revision)?.u32(self.build)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Version {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        if d.array()? != Some(4) {
            return Err(DecodeError::message("version"));
        }
        Ok(Self { major: d.u8()?, minor: d.u8()?, revision: d.u16()?, build: d.u32()? })
    }
}

impl<C> Encode<C> for Signature {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Signature {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::new(d.bytes()?).map_err(|_| DecodeError::message("signature"))
    }
}
