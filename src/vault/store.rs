//! What Zephyr's secure storage keeps its sealed entries in: `device::vault::partition` over the vault's flash. Owns the
//! one partition and its opening, never a seal. R-SECRET-STORE, R-DESTROY.
//!
//! Called by src/shim_vault.c, which lets one thread in at a time.

use super::flash::VaultFlash;
use crate::{error, ffi, warning};
use core::cell::UnsafeCell;
use device::vault::partition::{Partition, PartitionError, Rewrite};

/// Whether the board's flash takes a second write to a word, so that a key is overwritten before it is erased.
const REWRITE: Rewrite = if cfg!(CONFIG_SENSOR_VAULT_OVERWRITE) { Rewrite::ToZero } else { Rewrite::Never };

/// The partition, open from its first use on.
struct Store(UnsafeCell<Option<Partition<VaultFlash>>>);

// SAFETY: only the functions below touch it, and their callers hold shim_vault.c's lock.
unsafe impl Sync for Store {}

static STORE: Store = Store(UnsafeCell::new(None));

/// Does `action` on the partition, which is opened where it is not yet.
///
/// # Safety
///
/// One thread at a time.
unsafe fn with<T>(
    action: impl FnOnce(&mut Partition<VaultFlash>) -> Result<T, PartitionError>,
) -> Result<T, PartitionError> {
    // SAFETY: one thread at a time, and `action` cannot come back here: the partition knows nothing of this store.
    let store = unsafe { &mut *STORE.0.get() };
    let partition = match store {
        Some(partition) => partition,
        None => {
            let flash = VaultFlash::open().map_err(|error| {
                error!("the vault's partition cannot be opened: {error}");
                PartitionError::Medium
            })?;
            let partition = Partition::open(flash, REWRITE).inspect_err(|error| error!("{error}"))?;
            if !partition.is_settled() {
                warning!("{}", PartitionError::NotWiped);
            }
            store.insert(partition)
        }
    };
    action(partition).inspect_err(|error| error!("{error}"))
}

/// # Safety
///
/// `data` points to `len` bytes; one thread at a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn vault_store_set(entry: u32, data: *const u8, len: usize) -> ffi::shim_vault_status {
    // SAFETY: the caller's promise.
    let value = unsafe { ffi::slice(data, len).unwrap_or_default() };
    // SAFETY: the caller's promise.
    status(unsafe { with(|partition| partition.set(u64::from(entry), value)) }.map(Some))
}

/// # Safety
///
/// `data` points to `room` bytes that can be written, `len` to a length; one thread at a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn vault_store_get(
    entry: u32,
    data: *mut u8,
    room: usize,
    len: *mut usize,
) -> ffi::shim_vault_status {
    // SAFETY: the caller's promise.
    let buffer = unsafe { ffi::slice_mut(data, room).unwrap_or_default() };
    // SAFETY: the caller's promise.
    let found =
        unsafe { with(|partition| Ok(partition.get(u64::from(entry), buffer)?.map(|value| value.len()))) };
    if let Ok(Some(found)) = found {
        // SAFETY: the caller's promise.
        unsafe { len.write(found) };
    }
    status(found.map(|found| found.map(drop)))
}

/// # Safety
///
/// One thread at a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn vault_store_remove(entry: u32) -> ffi::shim_vault_status {
    // SAFETY: the caller's promise.
    let removed = unsafe { with(|partition| partition.remove(u64::from(entry))) };
    status(removed.map(|removed| removed.then_some(())))
}

fn status(result: Result<Option<()>, PartitionError>) -> ffi::shim_vault_status {
    match result {
        Ok(Some(())) => ffi::SHIM_VAULT_DONE,
        Ok(None) => ffi::SHIM_VAULT_EMPTY,
        Err(PartitionError::Damaged) => ffi::SHIM_VAULT_SEALED,
        Err(PartitionError::Full) => ffi::SHIM_VAULT_FULL,
        Err(PartitionError::NotWiped) => ffi::SHIM_VAULT_NOT_WIPED,
        Err(PartitionError::TooLong | PartitionError::Geometry | PartitionError::Medium) => {
            ffi::SHIM_VAULT_MEDIUM
        }
    }
}
