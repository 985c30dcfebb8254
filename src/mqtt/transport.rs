//! What Zephyr's client writes to: the TLS connection and nothing else; and what it reads: the packets that [`super::incoming`] hands
//! to it. R-TLS-ALL.
//!
//! Zephyr calls these five by name (`CONFIG_MQTT_LIB_CUSTOM_TRANSPORT`). A message goes out as one TLS record: Zephyr's
//! own TLS transport makes two of it, 22 bytes more.

use super::State;
use crate::ffi;
use core::ffi::c_int;
use device::MESSAGE_BYTES_MAX;
use protocol::topic::TOPIC_MAX;
use zeroize::Zeroize;

/// Room for what stands before the payload of a PUBLISH, in bytes: its type, its length, the topic and the identifier.
const HEAD_MAX: usize = 5 + 2 + TOPIC_MAX + 2;

/// A payload, with room before it for what MQTT puts there: a packet is put together where its payload lies.
pub struct Packet {
    bytes: [u8; HEAD_MAX + MESSAGE_BYTES_MAX],
    /// Length of the payload.
    len: usize,
}

impl Packet {
    /// Without a payload.
    pub const fn new() -> Self {
        Self { bytes: [0; HEAD_MAX + MESSAGE_BYTES_MAX], len: 0 }
    }

    /// Takes this payload, as far as there is room: a device has none that is longer.
    pub fn fill(&mut self, payload: &[u8]) {
        let room = self.bytes.iter_mut().skip(HEAD_MAX);
        self.len = room.zip(payload).map(|(to, from)| *to = *from).count();
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(HEAD_MAX..HEAD_MAX + self.len).unwrap_or_default()
    }

    /// Overwrites it.
    pub fn wipe(&mut self) {
        self.bytes.zeroize();
        self.len = 0;
    }

    /// The payload with `head` before it.
    fn with_head(&mut self, head: &[u8]) -> Option<&[u8]> {
        let start = HEAD_MAX.checked_sub(head.len())?;
        self.bytes.get_mut(start..HEAD_MAX)?.copy_from_slice(head);
        self.bytes.get(start..HEAD_MAX + self.len)
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
    // SAFETY: no other reference to the connection is alive while the client runs, and none to the packet, which `publish`
    // has put here and keeps.
    let (connection, packet, until) = unsafe {
        let state = state(client);
        (&mut (*state).connection, (*state).packet.map(|mut packet| packet.as_mut()), (*state).until)
    };
    // SAFETY: Zephyr gives a message with `msg_iovlen` parts. The only one that it sends so is a PUBLISH: what stands before
    // the payload, and the payload, which is that of the packet.
    let parts = unsafe { ffi::slice((*message).msg_iov.cast_const(), (*message).msg_iovlen as usize) };
    let Some([head, payload]) = parts else { return io_error() };
    // SAFETY: Zephyr gives a part of so many bytes.
    let head = unsafe { ffi::slice(head.iov_base.cast::<u8>().cast_const(), head.iov_len as usize) };
    match (connection, packet, head) {
        (Some(connection), Some(packet), Some(head)) if packet.len == payload.iov_len as usize => packet
            .with_head(head)
            .map_or_else(io_error, |packet| connection.send(packet, until).err().unwrap_or(0)),
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
