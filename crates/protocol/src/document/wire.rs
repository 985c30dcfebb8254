//! CBOR of the parts of documents that are no plain numbers.

use super::{Audience, Certificates};
use crate::key::{KEY_ID_BYTES, KeyId, PublicKey};
use crate::{DeviceId, Name, Refusal};
use heapless::Vec;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

impl<C> Encode<C> for DeviceId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for DeviceId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::new(d.str()?).map_err(|_| DecodeError::message("device id"))
    }
}

impl<C> Encode<C> for Name {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Name {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::try_from(d.str()?).map_err(|_| DecodeError::message("name"))
    }
}

impl<C> Encode<C> for KeyId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for KeyId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes: [u8; KEY_ID_BYTES] = d.bytes()?.try_into().map_err(|_| DecodeError::message("key id"))?;
        Ok(Self(bytes))
    }
}

impl<C> Encode<C> for PublicKey {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for PublicKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::new(d.bytes()?).map_err(|_| DecodeError::message("public key"))
    }
}

/// `[1, id]`, `[2, group]` or `[3]`.
impl<C> Encode<C> for Audience {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, c: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Device(id) => {
                e.array(2)?.u8(1)?;
                id.encode(e, c)
            }
            Self::Group(group) => {
                e.array(2)?.u8(2)?;
                group.encode(e, c)
            }
            Self::All => e.array(1)?.u8(3)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for Audience {
    fn decode(d: &mut Decoder<'b>, c: &mut C) -> Result<Self, DecodeError> {
        match (d.array()?, d.u8()?) {
            (Some(2), 1) => DeviceId::decode(d, c).map(Self::Device),
            (Some(2), 2) => Name::decode(d, c).map(Self::Group),
            (Some(1), 3) => Ok(Self::All),
            _ => Err(DecodeError::message("audience")),
        }
    }
}

impl<C, const MAX: usize> Encode<C> for Certificates<'_, MAX> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(self.0.len() as u64)?;
        for certificate in &self.0 {
            e.bytes(certificate)?;
        }
        Ok(())
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Certificates<'b, MAX> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::message("certificates");
        let mut list = Vec::new();
        for _ in 0..d.array()?.filter(|count| (1..=MAX as u64).contains(count)).ok_or_else(wrong)? {
            let bytes = d.bytes()?;
            if bytes.is_empty() || bytes.len() > super::CERTIFICATE_BYTES_MAX {
                return Err(wrong());
            }
            list.push(bytes).map_err(|_| wrong())?;
        }
        Ok(Self(list))
    }
}

impl<C> Encode<C> for Refusal {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Refusal {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::from_wire(d.str()?).ok_or_else(|| DecodeError::message("refusal"))
    }
}
