//! The exchange with a time server. Owns the socket, never a judgement on the answer. R-TIME.
//!
//! The socket is that of Zephyr's SNTP subsystem (`sntp_init`, `sntp_close`: connected, so that only the server asked can
//! answer, and from a new port each time). Its request and its parser are not used: the request's timestamp can be
//! guessed while the clock is not set, and the parser accepts servers that say that they are not synchronised. The device
//! makes the request, with a random number in it, and checks the answer: all of that is `device::clock`.

use crate::net::{Address, HostName, Kind};
use crate::{clock, ffi};
use core::ffi::c_int;
use device::clock::ANSWER_TIMEOUT_MS;
use device::clock::sntp::PACKET_LEN;
use device::session::AddressTurn;
use device::{Event, Uptime};
use protocol::Endpoint;

/// Longest datagram that is looked at, in bytes: a header, and one more byte than that is enough to see that there is more.
const DATAGRAM_MAX: usize = PACKET_LEN + 64;

/// A time server that was asked.
struct Open(ffi::sntp_ctx);

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: a context that `sntp_init` has opened, closed once.
        unsafe { ffi::sntp_close(&raw mut self.0) };
    }
}

/// The exchange that is going on, if any.
pub struct Exchange {
    open: Option<Open>,
    since: Uptime,
    datagram: [u8; DATAGRAM_MAX],
}

impl Exchange {
    /// No server is being asked.
    pub const fn new() -> Self {
        Self { open: None, since: Uptime(0), datagram: [0; DATAGRAM_MAX] }
    }

    /// Sends `packet` to `server` from a new port; an exchange before it is over. What came of it, for the device.
    pub fn ask(&mut self, server: &Endpoint, packet: &[u8; PACKET_LEN]) -> Event<'static> {
        self.open = None;
        let Some(address) =
            Address::resolve(&HostName::new(&server.host), server.port, Kind::Datagram, AddressTurn::new())
        else {
            return Event::TimeServerUnknown;
        };
        let (address, len) = address.as_c();
        let mut context = ffi::sntp_ctx::default();
        // SAFETY: the context and the address are valid for the call.
        if unsafe { ffi::sntp_init(&raw mut context, address, len) } != 0 {
            return Event::TimeUnreachable;
        }
        let open = Open(context);
        // SAFETY: the pointer and the length are those of one array, the socket is open.
        let sent = unsafe { ffi::shim_socket_send(open.0.sock.fd, packet.as_ptr().cast(), packet.len()) };
        self.open = Some(open);
        self.since = clock::uptime();
        if sent == PACKET_LEN as c_int { Event::TimeSent } else { Event::TimeUnreachable }
    }

    /// The socket to wait for; negative where there is none.
    pub fn socket(&self) -> c_int {
        self.open.as_ref().map_or(-1, |open| open.0.sock.fd)
    }

    /// What came: an answer, or that none will come.
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        // Who answers later than the device waits has only an open port to talk to.
        if clock::uptime().since(self.since) > ANSWER_TIMEOUT_MS {
            self.open = None;
        }
        let socket = self.open.as_ref()?.0.sock.fd;
        let (to, room) = (self.datagram.as_mut_ptr(), self.datagram.len());
        // SAFETY: the pointer and the length are those of one array, the socket is open.
        let len = unsafe { ffi::shim_socket_receive(socket, to.cast(), room) };
        match usize::try_from(len) {
            Ok(len) => Some(Event::TimeAnswer(self.datagram.get(..len)?)),
            Err(_) if ffi::errno_kind(len) == ffi::SHIM_ERRNO_AGAIN => None,
            Err(_) => {
                // Nothing listens there.
                self.open = None;
                Some(Event::TimeUnreachable)
            }
        }
    }
}
