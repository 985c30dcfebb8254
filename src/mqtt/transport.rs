//! What Zephyr's client writes to: the TLS connection and nothing else; and what it reads: the packets that [`super::incoming`] hands
//! to it. R-TLS-ALL.
//!
//! Zephyr calls these five by name (`CONFIG_MQTT_LIB_CUSTOM_TRANSPORT`). A message goes out as one TLS record: Zephyr's
//! own TLS transport makes two of it, 22 bytes more.

use super::State;
use crate::ffi;
use core::ffi::c_int;
use device::MESSAGE_BYTES_MAX;

/// Longest packet to the service in bytes: the longest payload and what stands before it.
const RECORD_MAX: usize = MESSAGE_BYTES_MAX + super::TX_MAX;

/// Room for one packet.
pub(super) struct Record([u8; RECORD_MAX]);

impl Record {
    pub(super) const fn new() -> Self {
        Self([0; RECORD_MAX])
    }
}

/// The connection of `client`.
///
/// # Safety
/// `client` was set up by [`super::Mqtt::connect`] and is calling.
unsafe fn state<'s>(client: *mut ffi::mqtt_client) -> *mut State {
    // SAFETY: `connect` has put the state here.
    unsafe { (*client).user_data }.cast::<State>()
}

/// The connection is already open: [`super::Mqtt::connect`] has opened it, so that it learns what has failed.
#[unsafe(no_mangle)]
extern "C" fn mqtt_client_custom_transport_connect(_client: *mut ffi::mqtt_client) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn mqtt_client_custom_transport_write(
    client: *mut ffi::mqtt_client,
    data: *const u8,
    len: u32,
) -> c_int {
    // SAFETY: Zephyr gives a pointer to `len` bytes.
    let data = unsafe { ffi::slice(data, len as usize) };
    // SAFETY: no other reference to the connection is alive while the client runs.
    let (connection, until) = unsafe { (&mut (*state(client)).connection, (*state(client)).until) };
    match (connection, data) {
        (Some(connection), Some(data)) => connection.send(data, until).err().unwrap_or(0),
        _ => io_error(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn mqtt_client_custom_transport_write_msg(
    client: *mut ffi::mqtt_client,
    message: *const ffi::msghdr,
) -> c_int {
    // SAFETY: no other reference to the connection or the record is alive while the client runs.
    let (connection, record, until) = unsafe {
        let state = state(client);
        (&mut (*state).connection, &mut (*state).record.0, (*state).until)
    };
    // SAFETY: Zephyr gives a message with `msg_iovlen` parts.
    let parts = unsafe { ffi::slice((*message).msg_iov.cast_const(), (*message).msg_iovlen as usize) };
    let mut len = 0;
    for part in parts.unwrap_or_default() {
        // SAFETY: Zephyr gives parts of so many bytes.
        let bytes = unsafe { ffi::slice(part.iov_base.cast::<u8>().cast_const(), part.iov_len as usize) };
        let bytes = bytes.unwrap_or_default();
        let Some(room) = record.get_mut(len..len + bytes.len()) else { return io_error() };
        room.copy_from_slice(bytes);
        len += bytes.len();
    }
    match (connection, record.get(..len)) {
        (Some(connection), Some(packet)) => connection.send(packet, until).err().unwrap_or(0),
        _ => io_error(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn mqtt_client_custom_transport_read(
    client: *mut ffi::mqtt_client,
    data: *mut u8,
    len: u32,
    _wait: bool,
) -> c_int {
    // SAFETY: Zephyr gives a pointer to room for `len` bytes.
    let data = unsafe { ffi::slice_mut(data, len as usize) };
    // SAFETY: no other reference to it is alive while the client runs.
    let handed = unsafe { &mut (*state(client)).handed };
    match (data, handed.get(..len as usize)) {
        (Some(data), Some(bytes)) if data.len() == bytes.len() && !bytes.is_empty() => {
            data.copy_from_slice(bytes);
            *handed = handed.get(bytes.len()..).unwrap_or_default();
            len as c_int
        }
        // It wants more than it was handed.
        _ => io_error(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn mqtt_client_custom_transport_disconnect(client: *mut ffi::mqtt_client) -> c_int {
    // SAFETY: no other reference to the connection is alive while the client runs.
    unsafe { (*state(client)).connection = None };
    0
}

fn io_error() -> c_int {
    // SAFETY: takes nothing and gives a number.
    unsafe { ffi::shim_errno_io() }
}
