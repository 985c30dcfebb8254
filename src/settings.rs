//! The device's key-value store over Zephyr's settings (NVS: a write is whole or not there). Owns the names' C form,
//! never what the values mean. R-CONF.

use crate::ffi;
use core::ffi::{CStr, c_void};
use device::platform::KEY_NAME_MAX;
use device::{Key, StorageError};

/// Longest value that is read or written, in bytes.
const VALUE_MAX: usize = 4096;

/// Settings that are ready. Zephyr locks them for each call.
#[derive(Clone, Copy, Debug)]
pub struct Settings(());

impl Settings {
    /// Opens the storage partition.
    pub fn open() -> Result<Self, StorageError> {
        // SAFETY: takes nothing; called once, from the main thread.
        match unsafe { ffi::settings_subsys_init() } {
            0 => Ok(Self(())),
            error => Err(kind(error)),
        }
    }

    /// Reads the value called `name`; `None` where there is none. A value longer than `buffer` is an error.
    pub fn load<'b>(self, name: &CStr, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        let room = buffer.len().min(VALUE_MAX);
        // SAFETY: `name` ends with NUL, `buffer` has at least `room` bytes; both outlive the call.
        let len =
            unsafe { ffi::settings_load_one(name.as_ptr(), buffer.as_mut_ptr().cast::<c_void>(), room) };
        match usize::try_from(len) {
            Ok(0) => Ok(None),
            Ok(len) => {
                buffer.get(..len.min(room)).filter(|_| len <= room).map(Some).ok_or(StorageError::TooLong)
            }
            Err(_) => Err(kind(len as i32)),
        }
    }

    fn save(self, name: &CStr, value: &[u8]) -> Result<(), StorageError> {
        // Zephyr takes an empty value as a deletion.
        if value.is_empty() || value.len() > VALUE_MAX {
            return Err(StorageError::TooLong);
        }
        // SAFETY: `name` ends with NUL, the pointer and the length are those of one slice; both outlive the call.
        match unsafe { ffi::settings_save_one(name.as_ptr(), value.as_ptr().cast::<c_void>(), value.len()) } {
            0 => Ok(()),
            error => Err(kind(error)),
        }
    }

    fn delete(self, name: &CStr) -> Result<(), StorageError> {
        // SAFETY: `name` ends with NUL and outlives the call.
        match unsafe { ffi::settings_delete(name.as_ptr()) } {
            0 => Ok(()),
            error => Err(kind(error)),
        }
    }
}

/// The name of a key with the NUL that C wants.
struct Name([u8; KEY_NAME_MAX + 1]);

impl Name {
    fn of(key: Key) -> Self {
        let mut bytes = [0; KEY_NAME_MAX + 1];
        // The zip stops at the name's end: the byte after the longest name stays NUL.
        for (to, from) in bytes.iter_mut().zip(key.name().bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

fn kind(error: i32) -> StorageError {
    match ffi::errno_kind(error) {
        ffi::SHIM_ERRNO_NO_SPACE => StorageError::Full,
        // NVS says EIO where a value's CRC does not match.
        ffi::SHIM_ERRNO_IO => StorageError::Corrupt,
        ffi::SHIM_ERRNO_INVALID => StorageError::TooLong,
        _ => StorageError::Medium,
    }
}

/// What the device asks at once: settings, random numbers, keys (in [`crate::vault`]), the slots for firmware (in
/// [`crate::slots`]) and the flash of its log (in [`crate::audit`]).
#[derive(Clone, Copy, Debug)]
pub struct Platform(pub Settings);

impl device::KeyValue for Platform {
    fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        self.0.load(Name::of(key).as_c(), buffer)
    }

    fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
        self.0.save(Name::of(key).as_c(), value)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        self.0.delete(Name::of(key).as_c())
    }
}

impl device::Entropy for Platform {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), device::EntropyError> {
        crate::entropy::fill(buffer)
    }
}
