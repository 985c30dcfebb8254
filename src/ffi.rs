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
