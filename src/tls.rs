//! One TLS connection through Zephyr's TLS sockets. Owns the socket and the name of what went wrong; which roots, versions
//! and cipher suites are allowed is the credentials' and the build's. R-TLS-ALL, R-TLS-SERVER, R-TLS-CLIENT.
//!
//! Zephyr folds every failed handshake into one errno, so a callback of Mbed TLS looks on while the certificates are
//! checked. It can only refuse more: a leaf without subjectAltName (RFC 9525: no fallback to the common name), and what the
//! one rule of all ports refuses (`protocol::x509::path`), which is asked of the path that Mbed TLS has found. What the service
//! sent is kept for the handshake, so that a refusal has the same name as on every other port.

use crate::credentials::Presented;
use crate::net::{Address, HostName, Kind};
use crate::{clock, ffi};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use device::Uptime;
use device::session::AddressTurn;
use heapless::Vec;
use protocol::Failure;
use protocol::x509::path::{self, CHAIN_MESSAGE_BYTES_MAX, PathFault};

/// Most certificates that a service may send: [`CHAIN_MESSAGE_BYTES_MAX`] holds fewer.
const SENT_MAX: usize = 24;
/// Most certificates of a path that Mbed TLS finds: the server's own, MBEDTLS_X509_MAX_INTERMEDIATE_CA, the root.
const PATH_MAX: usize = 10;

/// What was seen of the handshake that is going on.
struct Handshake {
    /// The certificates that the service has sent, one behind the other, and where each ends.
    sent: Vec<u8, CHAIN_MESSAGE_BYTES_MAX>,
    ends: Vec<usize, SENT_MAX>,
    /// It has sent more than that.
    too_long: bool,
    /// The path that Mbed TLS has found, from the root down; valid while the callback runs.
    path: Vec<(*const u8, usize), PATH_MAX>,
    /// Mbed TLS has judged a path, and its flags.
    judged: bool,
    flags: u32,
    self_issued: bool,
    authority: bool,
    /// What the rule has against the path.
    fault: Option<PathFault>,
}

impl Handshake {
    const fn new() -> Self {
        Self {
            sent: Vec::new(),
            ends: Vec::new(),
            too_long: false,
            path: Vec::new(),
            judged: false,
            flags: 0,
            self_issued: false,
            authority: false,
            fault: None,
        }
    }

    fn begin(&mut self) {
        self.sent.clear();
        self.ends.clear();
        self.path.clear();
        (self.too_long, self.judged, self.flags) = (false, false, 0);
        (self.self_issued, self.authority, self.fault) = (false, false, None);
    }

    fn add(&mut self, der: &[u8]) {
        self.too_long |=
            self.sent.extend_from_slice(der).is_err() || self.ends.push(self.sent.len()).is_err();
    }

    fn sent(&self) -> Vec<&[u8], SENT_MAX> {
        let begins = core::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).filter_map(|(begin, end)| self.sent.get(*begin..*end)).collect()
    }

    fn sends_too_much(&self) -> bool {
        self.too_long || path::check_length(self.sent().iter().map(|der| der.len())).is_err()
    }
}

struct Shared(UnsafeCell<Handshake>);

// SAFETY: there is one connection at a time, and only the network's thread opens it; Mbed TLS calls back on that thread.
unsafe impl Sync for Shared {}

static HANDSHAKE: Shared = Shared(UnsafeCell::new(Handshake::new()));

/// An open connection.
#[derive(Debug)]
pub struct Connection(c_int);

impl Connection {
    /// Resolves `host`, connects to the address whose `turn` it is and shakes hands with what is shown to Zephyr's TLS; blocks
    /// until that is done or has failed.
    pub fn open(host: &HostName, port: u16, turn: AddressTurn, shown: &Presented) -> Result<Self, Failure> {
        let address = Address::resolve(host, port, Kind::Stream, turn).ok_or(Failure::Dns)?;
        let (address, len) = address.as_c();
        // SAFETY: takes a number and gives a socket or a negative errno.
        let socket = unsafe { ffi::shim_socket_tls(ffi::AF_INET as c_int) };
        if socket < 0 {
            return Err(Failure::TlsOther);
        }
        // From here on an error closes the socket.
        let connection = Self(socket);
        let name = host.as_c().as_ptr();
        let (first, tags) = shown.tags();
        // SAFETY: no handshake is going on: nothing calls back.
        unsafe { (&mut *HANDSHAKE.0.get()).begin() };
        // SAFETY: the socket is open; the name ends with NUL and is copied by Zephyr; `verify` is what Mbed TLS wants and
        // needs no context.
        let options = unsafe {
            [
                ffi::shim_tls_require(socket, first, tags, name),
                ffi::shim_tls_verify_with(socket, Some(verify), core::ptr::null_mut()),
            ]
        };
        if options.iter().any(|error| *error != 0) {
            return Err(Failure::TlsOther);
        }
        // SAFETY: the socket is open, the address is valid until it is dropped at the end of this function.
        match unsafe { ffi::shim_socket_connect(socket, address, len) } {
            0 => Ok(connection),
            error => Err(failure(ffi::errno_kind(error), &shown.roots())),
        }
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> c_int {
        self.0
    }

    /// Sends all of `data`; blocks until `until` at most, however slowly the peer takes it. The error is a negative errno.
    pub fn send(&mut self, mut data: &[u8], until: Uptime) -> Result<(), c_int> {
        while !data.is_empty() {
            let left = u32::try_from(until.since(clock::uptime())).unwrap_or(u32::MAX);
            // SAFETY: takes numbers. A wait of 0 would be one without end.
            let error = match left {
                0 => unsafe { ffi::shim_errno_io() },
                _ => unsafe { ffi::shim_socket_send_timeout(self.0, left) },
            };
            if error != 0 {
                return Err(error);
            }
            // SAFETY: the pointer and the length are those of one slice, the socket is open.
            let sent = unsafe { ffi::shim_socket_send(self.0, data.as_ptr().cast(), data.len()) };
            let sent = usize::try_from(sent).map_err(|_| sent)?;
            data = data.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads what is there into `data`. Gives the number of bytes, 0 where the peer has closed, or a negative errno.
    pub fn receive(&mut self, data: &mut [u8]) -> c_int {
        // SAFETY: the pointer and the length are those of one slice, the socket is open.
        unsafe { ffi::shim_socket_receive(self.0, data.as_mut_ptr().cast(), data.len()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: an open socket, closed once. An error leaves nothing to be done.
        let _error = unsafe { ffi::shim_socket_close(self.0) };
    }
}

/// A certificate that the service has sent, before Mbed TLS reads it.
#[unsafe(no_mangle)]
extern "C" fn tls_certificate_sent(der: *const u8, len: usize) {
    // SAFETY: shim.c gives a pointer to `len` bytes; nothing else looks at the handshake meanwhile.
    unsafe { (&mut *HANDSHAKE.0.get()).add(ffi::slice(der, len).unwrap_or_default()) };
}

/// Looks on while Mbed TLS checks the chain, from the root down to the service's own certificate at depth 0.
extern "C" fn verify(_: *mut c_void, certificate: *mut c_void, depth: c_int, flags: *mut u32) -> c_int {
    // SAFETY: Mbed TLS gives a certificate and flags that are valid for the call; nothing else looks at the handshake meanwhile.
    let (handshake, flags) = unsafe { (&mut *HANDSHAKE.0.get(), &mut *flags) };
    let mut der = core::ptr::null();
    // SAFETY: as above.
    let len = unsafe { ffi::shim_certificate_der(certificate, &raw mut der) };
    // One that is longer is no path of the rule.
    let fits = handshake.path.push((der, len)).is_ok();
    if depth == 0 {
        // SAFETY: as above.
        unsafe {
            if !ffi::shim_certificate_has_alternative_name(certificate) {
                *flags |= ffi::SHIM_CERTIFICATE_NAME as u32;
            }
            handshake.self_issued = ffi::shim_certificate_is_self_issued(certificate);
            handshake.authority = ffi::shim_certificate_is_authority(certificate);
        }
        let path: Vec<&[u8], PATH_MAX> = handshake
            .path
            .iter()
            .rev()
            // SAFETY: Mbed TLS keeps the whole chain as long as it checks it.
            .map(|(der, len)| unsafe { ffi::slice(*der, *len) }.unwrap_or_default())
            .collect();
        handshake.fault = if !fits || handshake.sends_too_much() {
            Some(PathFault::ChainTooLong)
        } else if handshake.flags | *flags == 0 {
            path::check_sent(&handshake.sent()).and_then(|()| path::judge(&path, clock::realtime())).err()
        } else {
            None
        };
        if handshake.fault.is_some() {
            *flags |= ffi::SHIM_CERTIFICATE_OTHER as u32;
        }
        handshake.judged = true;
    }
    handshake.flags |= *flags;
    0
}

/// The name of what went wrong. The rule's name comes first: it is the same on every port. An issuer that is not trusted comes
/// next: what such a certificate says of its dates or names is worth nothing, and the device must not doubt its clock because
/// of it.
fn failure(errno: ffi::shim_errno, roots: &[&[u8]]) -> Failure {
    // SAFETY: the handshake is over: nothing calls back any more.
    let handshake = unsafe { &*HANDSHAKE.0.get() };
    if handshake.sends_too_much() {
        return Failure::TlsChainTooLong;
    }
    if let Some(fault) = handshake.fault {
        return fault.into();
    }
    let has = |flag: ffi::shim_certificate| handshake.flags & flag as u32 != 0;
    let sent = handshake.sent();
    let refused = handshake.flags != 0 || (!handshake.judged && !sent.is_empty());
    let not_trusted = has(ffi::SHIM_CERTIFICATE_NOT_TRUSTED);
    let proven = handshake.judged && !not_trusted;
    if refused && let Some(fault) = path::explain(&sent, roots, clock::realtime(), proven) {
        return fault.into();
    }
    if refused && (handshake.authority || (not_trusted && handshake.self_issued)) {
        return Failure::TlsSelfSigned;
    }
    // Mbed TLS does not say why it trusts no issuer.
    let signature = not_trusted && path::leads_to_a_root(&sent, roots, clock::realtime());
    for (fault, failure) in [
        (signature, Failure::TlsSignature),
        (not_trusted, Failure::TlsUnknownIssuer),
        (has(ffi::SHIM_CERTIFICATE_NAME), Failure::TlsName),
        (has(ffi::SHIM_CERTIFICATE_EXPIRED), Failure::TlsExpired),
        (has(ffi::SHIM_CERTIFICATE_FUTURE), Failure::TlsNotYetValid),
        (has(ffi::SHIM_CERTIFICATE_KEY_USAGE), Failure::TlsUsage),
        (has(ffi::SHIM_CERTIFICATE_EXTENDED_KEY_USAGE), Failure::TlsUsage),
        (refused, Failure::TlsCertificate),
    ] {
        if fault {
            return failure;
        }
    }
    // SAFETY: takes nothing and gives a number.
    let error = unsafe { ffi::shim_handshake_error() };
    match errno {
        ffi::SHIM_ERRNO_REFUSED => Failure::Refused,
        ffi::SHIM_ERRNO_UNREACHABLE => Failure::Unreachable,
        ffi::SHIM_ERRNO_TIMED_OUT | ffi::SHIM_ERRNO_AGAIN => Failure::ConnectTimeout,
        // Zephyr could not use what is stored under the tag.
        ffi::SHIM_ERRNO_INVALID | ffi::SHIM_ERRNO_NO_ENTRY => Failure::Credentials,
        // More than Mbed TLS has room for.
        ffi::SHIM_ERRNO_ABORTED if sent.is_empty() && error == ffi::SHIM_HANDSHAKE_TOO_LONG => {
            Failure::TlsChainTooLong
        }
        // The service broke off before it showed a certificate.
        ffi::SHIM_ERRNO_ABORTED if sent.is_empty() => Failure::TlsVersionOrCipher,
        // It has shown a good one, and broken off after it was shown the device's: with TLS 1.2 within the handshake.
        _ if handshake.judged && error == ffi::SHIM_HANDSHAKE_BROKEN_OFF => Failure::TlsClientRejected,
        _ => Failure::TlsOther,
    }
}
