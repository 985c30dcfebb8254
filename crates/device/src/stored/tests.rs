//! A store with one value, and what holds of every record: its bytes stay, and what is not the whole of it is damaged.

extern crate std;

use super::*;
use core::fmt::Debug;
use protocol::document::Certificates;
use protocol::hello::{PREVIOUS_BYTES_MAX, PreviousBoot, PreviousBoots};
use std::vec::Vec;

/// Keeps one value, on a medium that may fail.
#[derive(Debug, Default)]
pub(crate) struct One {
    pub value: Option<Vec<u8>>,
    pub fails: Option<StorageError>,
}

impl One {
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        Self { value: Some(bytes.into()), fails: None }
    }
}

/// These bytes in hex.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

impl KeyValue for One {
    fn read<'b>(&mut self, _: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        if let Some(error) = self.fails {
            return Err(error);
        }
        let Some(value) = &self.value else { return Ok(None) };
        let room = buffer.get_mut(..value.len()).ok_or(StorageError::TooLong)?;
        room.copy_from_slice(value);
        Ok(Some(room))
    }

    fn write(&mut self, _: Key, value: &[u8]) -> Result<(), StorageError> {
        self.value = Some(value.into());
        self.fails.map_or(Ok(()), Err)
    }

    fn remove(&mut self, _: Key) -> Result<(), StorageError> {
        self.value = None;
        Ok(())
    }
}

/// `value` is stored as exactly these bytes, in hex, and read back from them; what is cut off is damaged. Where its map begins
/// at `map`, newer firmware may have put a field more into it.
pub(crate) fn stays<T: Stored<N> + PartialEq + Debug, const N: usize>(
    value: &T,
    hex: &str,
    map: Option<usize>,
) {
    let mut store = One::default();
    value.store(&mut store).unwrap();
    let bytes = bytes(hex);
    assert_eq!(store.value.as_ref(), Some(&bytes), "{hex}");
    assert_eq!(&T::load(&mut store).unwrap().unwrap(), value);
    if let Some(map) = map {
        let mut newer = bytes.clone();
        newer[map] += 1;
        newer.extend(NEWER);
        assert_eq!(&T::load(&mut One::holding(&newer)).unwrap().unwrap(), value);
    }
    for len in 0..bytes.len() {
        assert_eq!(T::load(&mut One::holding(&bytes[..len])).err(), Some(StorageError::Corrupt), "{len}");
    }
    assert_eq!(T::load(&mut One::default()).unwrap(), None);
    assert_eq!(T::load(&mut One::holding(&[0; N][..])).err(), Some(StorageError::Corrupt));
    for error in [StorageError::Medium, StorageError::TooLong] {
        let mut store = One { value: Some(bytes.clone()), fails: Some(error) };
        assert_eq!(T::load(&mut store).err(), Some(error));
        assert_eq!(value.store(&mut store), Err(error));
    }
}

/// A field that no firmware has, and a text in it.
const NEWER: [u8; 4] = [0x18, 99, 0x61, b'x'];

#[test]
fn a_record_that_does_not_fit_is_not_written() {
    let mut store = One::default();
    let certificates = Certificates::<2>(heapless::Vec::from_slice(&[[1; 8].as_slice(), &[2; 8]]).unwrap());
    for room in 0..19 {
        let written = write(&mut store, Key::Life, &certificates, &mut [0; 19][..room]);
        assert_eq!((written, &store.value), (Err(StorageError::TooLong), &None), "{room}");
    }
    write(&mut store, Key::Life, &certificates, &mut [0; 19]).unwrap();
    assert_eq!(store.value, Some(bytes("82480101010101010101480202020202020202")));
}

#[test]
fn lists_and_numbers_stay_as_they_are_stored() {
    let mut store = One::default();
    put_number(&mut store, Key::Boot, 0x0102_0304).unwrap();
    assert_eq!(store.value, Some(bytes("0403020100000000")));
    assert_eq!(number(&mut store, Key::Boot), Ok(Some(0x0102_0304)));
    assert_eq!(number(&mut One::default(), Key::Boot), Ok(None));
    for len in 0..8 {
        assert_eq!(number(&mut One::holding(&[1; 8][..len]), Key::Boot), Err(StorageError::Corrupt));
    }
    assert_eq!(number(&mut One::holding(&[1; 9]), Key::Boot), Err(StorageError::TooLong));
    let mut ends = PreviousBoots::default();
    ends.push(PreviousBoot { boot: 7, next_seq: 300 });
    let mut buffer = [0; PREVIOUS_BYTES_MAX];
    let len = ends.encode(&mut buffer);
    put(&mut store, Key::Ended, &buffer, len).unwrap();
    assert_eq!(store.value.as_deref(), Some(br#"[{"boot":7,"next_seq":300}]"#.as_slice()));
    assert_eq!(put(&mut store, Key::Ended, &[], Ok(1)), Err(StorageError::TooLong));
    assert_eq!(put(&mut store, Key::Ended, &[], Err(EncodeError)), Err(StorageError::TooLong));
}
