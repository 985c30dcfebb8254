//! Bindings to the Zephyr subsystems in use, made by build.rs for this board and configuration. Owns no behaviour: only
//! the module of a subsystem may call what belongs to it.
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    unsafe_op_in_unsafe_fn,
    improper_ctypes,
    unnecessary_transmutes,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    reason = "generated from C"
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// The kind of a negative errno: the numbers differ between C libraries.
pub fn errno_kind(error: i32) -> shim_errno {
    // SAFETY: takes a number and gives a number.
    unsafe { shim_errno_kind(error) }
}

/// What C gives as a pointer and a count, as a slice: the one place where that is done. Nothing, or a pointer to nothing, is
/// an empty slice; `None` where it would be longer than any object.
///
/// # Safety
/// Where `data` is not null it points to `count` values, which nobody writes to during `'s`.
pub unsafe fn slice<'s, T>(data: *const T, count: usize) -> Option<&'s [T]> {
    if data.is_null() || count == 0 {
        return Some(&[]);
    }
    fits::<T>(count)?;
    // SAFETY: the caller's word, no null and no length beyond isize::MAX.
    Some(unsafe { core::slice::from_raw_parts(data, count) })
}

/// As [`slice()`], for room that is written to.
///
/// # Safety
/// Where `data` is not null it points to `count` values, which nobody else uses during `'s`.
pub unsafe fn slice_mut<'s, T>(data: *mut T, count: usize) -> Option<&'s mut [T]> {
    if data.is_null() || count == 0 {
        return Some(&mut []);
    }
    fits::<T>(count)?;
    // SAFETY: as above.
    Some(unsafe { core::slice::from_raw_parts_mut(data, count) })
}

fn fits<T>(count: usize) -> Option<()> {
    count.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok()).map(|_| ())
}
