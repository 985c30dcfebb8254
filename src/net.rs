//! Host names to addresses, and waiting for sockets. Owns no socket.

use crate::ffi;
use crate::kconfig::CONFIG_DNS_RESOLVER_AI_MAX_ENTRIES;
use core::ffi::{CStr, c_int};
use core::ptr;
use device::session::AddressTurn;
use heapless::Vec;
use protocol::config::HOST_MAX;

/// Asks for an address where the board's network has DHCP. It comes later: until then nothing can be reached.
pub fn start() {
    // SAFETY: takes nothing; called once, from the main thread.
    unsafe { ffi::shim_network_start() };
}

/// A host name or address with the NUL that C wants.
#[derive(Clone, Debug)]
pub struct HostName([u8; HOST_MAX + 1]);

impl HostName {
    /// Takes `host`; a configuration never has one longer than [`HOST_MAX`].
    pub fn new(host: &str) -> Self {
        let mut bytes = [0; HOST_MAX + 1];
        for (to, from) in bytes.iter_mut().take(HOST_MAX).zip(host.bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    /// The name for C.
    pub fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// Most addresses of a host that are looked at.
const ADDRESSES_MAX: usize = CONFIG_DNS_RESOLVER_AI_MAX_ENTRIES as usize;

/// An address of a host, with its port, in what the name service has found.
pub struct Address {
    found: *mut ffi::zsock_addrinfo,
    chosen: *const ffi::zsock_addrinfo,
}

impl Address {
    /// Asks the name service; blocks until it answers or gives up. Of several addresses, the one whose `turn` it is; `None` where
    /// the host has no IPv4 address.
    pub fn resolve(host: &HostName, port: u16, kind: Kind, turn: AddressTurn) -> Option<Self> {
        let mut service = [0; 6];
        digits(port, &mut service);
        let hints = ffi::zsock_addrinfo {
            ai_family: ffi::AF_INET as c_int,
            ai_socktype: match kind {
                Kind::Stream => ffi::SOCK_STREAM,
                Kind::Datagram => ffi::SOCK_DGRAM,
            } as c_int,
            ..Default::default()
        };
        let mut found = ptr::null_mut();
        let host = host.as_c().as_ptr();
        // SAFETY: both strings end with NUL, the hints and the result are valid for the call.
        let error = unsafe {
            ffi::zsock_getaddrinfo(host, service.as_ptr().cast(), &raw const hints, &raw mut found)
        };
        if error != 0 || found.is_null() {
            return None;
        }
        // From here on what was found is freed.
        let mut address = Self { found, chosen: found };
        // The name service's order shall not matter.
        let mut all: Vec<(u32, *const ffi::zsock_addrinfo), ADDRESSES_MAX> = Vec::new();
        let mut next = found.cast_const();
        // SAFETY: the list and the addresses in it are the name service's until they are freed.
        while let Some(info) = unsafe { next.as_ref() } {
            // SAFETY: as above.
            let number = unsafe { ffi::shim_address_number(info.ai_addr) };
            let known = all.iter().any(|(other, _)| *other == number);
            if !known && all.push((number, next)).is_err() {
                break;
            }
            next = info.ai_next;
        }
        all.sort_unstable();
        address.chosen = all.get(turn.choose(all.len()))?.1;
        Some(address)
    }

    /// The address.
    pub fn as_c(&self) -> (*mut ffi::sockaddr, ffi::socklen_t) {
        // SAFETY: `resolve` makes no address without a result, and only `drop` frees it.
        let info = unsafe { &*self.chosen };
        (info.ai_addr, info.ai_addrlen)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // SAFETY: the result of one successful call, freed once.
        unsafe { ffi::zsock_freeaddrinfo(self.found) };
    }
}

/// Writes `port` in decimal; the rest of `text` stays NUL.
fn digits(port: u16, text: &mut [u8; 6]) {
    let mut divisor = 10_000;
    while divisor > 1 && port < divisor {
        divisor /= 10;
    }
    for to in text {
        if divisor == 0 {
            break;
        }
        *to = b'0' + (port / divisor % 10) as u8;
        divisor /= 10;
    }
}

/// Waits until one of `sockets` can be read or has failed, at most `timeout_ms`. Negative sockets are not looked at.
pub fn wait(sockets: [c_int; 3], timeout_ms: u32) {
    let mut fds = [ffi::zvfs_pollfd::default(); 3];
    let mut count = 0;
    for (entry, socket) in fds.iter_mut().zip(sockets.into_iter().filter(|socket| *socket >= 0)) {
        *entry = ffi::zvfs_pollfd { fd: socket, events: ffi::ZSOCK_POLLIN as i16, revents: 0 };
        count += 1;
    }
    if count == 0 {
        crate::clock::sleep_ms(timeout_ms);
        return;
    }
    let timeout = c_int::try_from(timeout_ms).unwrap_or(c_int::MAX);
    // SAFETY: the pointer and the count are those of one array. Whatever it says, the sockets are read afterwards without
    // blocking, so that an error here only means to look again.
    if unsafe { ffi::shim_socket_poll(fds.as_mut_ptr(), count, timeout) } < 0 {
        crate::clock::sleep_ms(timeout_ms.min(100));
    }
}
