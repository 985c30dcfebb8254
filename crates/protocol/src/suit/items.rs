//! Items of CBOR in deterministic encoding (RFC 8949, section 4.2.1): definite lengths, shortest heads, keys of a map in
//! order and each once. Owns the form alone; what else it may be is [`super::read`]'s to say.

use crate::firmware::UpdateFault;
use crate::key::Digest;
use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use super::labels::SHA256;

type Fault<T> = Result<T, UpdateFault>;

/// A byte string: alone, and the item with its head, which is what digests are taken of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrapped<'b> {
    pub(super) content: &'b [u8],
    pub(super) item: &'b [u8],
}

/// Reads items one after the other.
pub(super) struct Items<'b>(Decoder<'b>);

impl<'b> Items<'b> {
    /// Reads all of `bytes` with `read`.
    pub(super) fn all<T>(bytes: &'b [u8], read: impl FnOnce(&mut Self) -> Fault<T>) -> Fault<T> {
        let mut items = Self(Decoder::new(bytes));
        let read = read(&mut items)?;
        if items.0.position() == bytes.len() { Ok(read) } else { Err(UpdateFault::Malformed) }
    }

    /// What comes next.
    pub(super) fn kind(&self) -> Fault<Type> {
        self.0.datatype().map_err(malformed)
    }

    /// True where the next item is a byte string or an array, which tells a severed element from one that is there.
    pub(super) fn is_bytes(&self) -> Fault<bool> {
        Ok(self.kind()? == Type::Bytes)
    }

    pub(super) fn unsigned(&mut self) -> Fault<u64> {
        let from = self.0.position();
        let number = self.0.u64().map_err(malformed)?;
        self.shortest(from, number, 0)?;
        Ok(number)
    }

    pub(super) fn integer(&mut self) -> Fault<i64> {
        let from = self.0.position();
        let number = self.0.i64().map_err(malformed)?;
        // The head of a negative number holds -1 - n.
        let head = if number < 0 { !number } else { number };
        self.shortest(from, head.unsigned_abs(), 0)?;
        Ok(number)
    }

    pub(super) fn bytes(&mut self) -> Fault<Wrapped<'b>> {
        let from = self.0.position();
        let content = self.0.bytes().map_err(malformed)?;
        self.shortest(from, content.len() as u64, content.len())?;
        Ok(Wrapped { content, item: self.since(from) })
    }

    pub(super) fn text(&mut self) -> Fault<&'b str> {
        let from = self.0.position();
        let text = self.0.str().map_err(malformed)?;
        self.shortest(from, text.len() as u64, text.len())?;
        Ok(text)
    }

    pub(super) fn tag(&mut self) -> Fault<Tag> {
        let from = self.0.position();
        let tag = self.0.tag().map_err(malformed)?;
        self.shortest(from, tag.as_u64(), 0)?;
        Ok(tag)
    }

    pub(super) fn null(&mut self) -> Fault<()> {
        self.0.null().map_err(malformed)
    }

    /// The number of items of an array.
    pub(super) fn array(&mut self) -> Fault<u64> {
        let from = self.0.position();
        let len = self.0.array().map_err(malformed)?.ok_or(UpdateFault::Malformed)?;
        self.shortest(from, len, 0)?;
        Ok(len)
    }

    /// Reads a map: `entry` reads a key and its value. One function for all maps, which keeps the device small.
    pub(super) fn map(&mut self, entry: &mut dyn FnMut(&mut Self) -> Fault<()>) -> Fault<()> {
        let from = self.0.position();
        let len = self.0.map().map_err(malformed)?.ok_or(UpdateFault::Malformed)?;
        self.shortest(from, len, 0)?;
        let mut last: &[u8] = &[];
        for _ in 0..len {
            let from = self.0.position();
            self.skip()?;
            let key = self.since(from);
            if key <= last {
                return Err(UpdateFault::Malformed);
            }
            last = key;
            self.0.set_position(from);
            entry(self)?;
        }
        Ok(())
    }

    /// A `SUIT_Digest` of SHA-256.
    pub(super) fn digest(&mut self) -> Fault<Digest> {
        if self.array()? != 2 {
            return Err(UpdateFault::Unsupported);
        }
        if self.integer()? != SHA256 {
            return Err(UpdateFault::Algorithm);
        }
        self.fixed()
    }

    /// A byte string of this length.
    pub(super) fn fixed<const N: usize>(&mut self) -> Fault<[u8; N]> {
        self.bytes()?.content.try_into().map_err(|_| UpdateFault::Malformed)
    }

    /// Passes over an item of which nothing is asked but that it is one.
    pub(super) fn skip(&mut self) -> Fault<()> {
        self.0.skip().map_err(malformed)
    }

    fn since(&self, from: usize) -> &'b [u8] {
        self.0.input().get(from..self.0.position()).unwrap_or_default()
    }

    /// Refuses a head for `number` that is longer than it must be; `content` bytes come after the head.
    fn shortest(&self, from: usize, number: u64, content: usize) -> Fault<()> {
        let head = match number {
            0..24 => 1,
            24..0x100 => 2,
            0x100..0x1_0000 => 3,
            0x1_0000..0x1_0000_0000 => 5,
            _ => 9,
        };
        if self.0.position() - from == head + content { Ok(()) } else { Err(UpdateFault::Malformed) }
    }
}

fn malformed(_: minicbor::decode::Error) -> UpdateFault {
    UpdateFault::Malformed
}
