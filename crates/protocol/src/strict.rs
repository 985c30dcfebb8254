//! One form for everything: what was read is written again and compared, without a buffer for it. So whatever a decoder
//! lets pass (longer integers, unknown or repeated keys, another order, bytes at the end) is found.

use crate::json::EncodeError;
use core::convert::Infallible;
use minicbor::encode::write::Cursor;
use minicbor::encode::{Error, Write};
use minicbor::{Decode, Encode, Encoder};

/// The result of writing into a `W`.
pub(crate) type Written<W> = Result<(), Error<<W as Write>::Error>>;

/// Takes away from the front what is written, as long as it is the same.
pub(crate) struct Compared<'b>(&'b [u8]);

/// The bytes differ.
pub(crate) struct Different;

impl Write for Compared<'_> {
    type Error = Different;
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Different> {
        self.0 = self.0.strip_prefix(bytes).ok_or(Different)?;
        Ok(())
    }
}

/// True where `write` writes exactly `bytes`.
pub(crate) fn is_written_as<'b>(
    bytes: &'b [u8],
    write: impl FnOnce(&mut Encoder<Compared<'b>>) -> Written<Compared<'b>>,
) -> bool {
    let mut encoder = Encoder::new(Compared(bytes));
    write(&mut encoder).is_ok() && encoder.into_writer().0.is_empty()
}

/// Counts what is written.
#[derive(Default)]
pub(crate) struct Counted(usize);

impl Write for Counted {
    type Error = Infallible;
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Number of bytes that `write` writes.
pub(crate) fn length(write: impl FnOnce(&mut Encoder<Counted>) -> Written<Counted>) -> usize {
    let mut encoder = Encoder::new(Counted::default());
    // Counting cannot fail, and nothing that is counted here has an encoder that does.
    let _counted = write(&mut encoder);
    encoder.into_writer().0
}

/// Reads the one item that `bytes` are, in its one form.
pub(crate) fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Option<T> {
    let item: T = minicbor::decode(bytes).ok()?;
    is_written_as(bytes, |out| item.encode(out, &mut ())).then_some(item)
}

/// Writes `item` into `out`; gives its length in bytes.
pub(crate) fn encode<T: Encode<()>>(item: &T, out: &mut [u8]) -> Result<usize, EncodeError> {
    let mut cursor = Cursor::new(out);
    minicbor::encode(item, &mut cursor).map_err(|_| EncodeError)?;
    Ok(cursor.position())
}
