//! One TLS connection through Zephyr's TLS sockets. Owns the socket and the name of what went wrong; which roots, versions
//! and cipher suites are allowed is the credentials' and the build's. R-TLS-ALL, R-TLS-SERVER, R-TLS-CLIENT.
//!
//! Zephyr folds every failed handshake into one errno, so a callback of Mbed TLS looks on while the certificates are
//! checked. It can only refuse more: a leaf without subjectAltName (RFC 9525: no fallback to the common name), an
//! authority's own certificate, one that is not for TLS servers.

use crate::credentials::Presented;
use crate::ffi;
use crate::kconfig::CONFIG_SENSOR_ANSWER_TIMEOUT_MS;
use crate::net::{Address, HostName, Kind};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};
use protocol::Failure;

/// What the callback has seen in the handshake that is going on: Mbed TLS's flags and the three below. There is one
/// connection at a time.
static SEEN: AtomicU32 = AtomicU32::new(0);
/// The service has sent a certificate.
const SENT: u32 = 1 << 31;
/// Its own certificate is self-issued.
const SELF_ISSUED: u32 = 1 << 30;
/// Its own certificate is an authority's.
const AUTHORITY: u32 = 1 << 29;

/// An open connection.
#[derive(Debug)]
pub struct Connection(c_int);

impl Connection {
    /// Resolves `host`, connects and shakes hands with what is shown to Zephyr's TLS; blocks until that is done or has
    /// failed.
    pub fn open(host: &HostName, port: u16, shown: &Presented<'_>) -> Result<Self, Failure> {
        let address = Address::resolve(host, port, Kind::Stream).ok_or(Failure::Dns)?;
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
        SEEN.store(0, Ordering::Relaxed);
        // SAFETY: the socket is open; the name ends with NUL and is copied by Zephyr; `verify` is what Mbed TLS wants and
        // needs no context.
        let options = unsafe {
            [
                ffi::shim_tls_require(socket, first, tags, name),
                ffi::shim_tls_verify_with(socket, Some(verify), core::ptr::null_mut()),
                ffi::shim_socket_timeouts(socket, CONFIG_SENSOR_ANSWER_TIMEOUT_MS as c_int),
            ]
        };
        if options.iter().any(|error| *error != 0) {
            return Err(Failure::TlsOther);
        }
        // SAFETY: the socket is open, the address is valid until it is dropped at the end of this function.
        match unsafe { ffi::shim_socket_connect(socket, address, len) } {
            0 => Ok(connection),
            error => Err(failure(ffi::errno_kind(error), SEEN.load(Ordering::Relaxed))),
        }
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> c_int {
        self.0
    }

    /// Sends all of `data`; blocks for the answer timeout at most. The error is a negative errno.
    pub fn send(&mut self, mut data: &[u8]) -> Result<(), c_int> {
        while !data.is_empty() {
            // SAFETY: the pointer and the length are those of one slice, the socket is open.
            let sent = unsafe { ffi::shim_socket_send(self.0, data.as_ptr().cast(), data.len()) };
            let sent = usize::try_from(sent).map_err(|_| sent)?;
            data = data.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads into `data`, waiting for the answer timeout at most where `wait` says so. Gives the number of bytes, 0 where
    /// the peer has closed, or a negative errno.
    pub fn receive(&mut self, data: &mut [u8], wait: bool) -> c_int {
        // SAFETY: the pointer and the length are those of one slice, the socket is open.
        unsafe { ffi::shim_socket_receive(self.0, data.as_mut_ptr().cast(), data.len(), wait) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: an open socket, closed once. An error leaves nothing to be done.
        let _error = unsafe { ffi::shim_socket_close(self.0) };
    }
}

/// Looks on while Mbed TLS checks the chain, from the root down to the service's own certificate at depth 0.
extern "C" fn verify(_: *mut c_void, certificate: *mut c_void, depth: c_int, flags: *mut u32) -> c_int {
    let mut seen = SENT;
    if depth == 0 {
        // SAFETY: Mbed TLS gives a certificate that is valid for the call.
        let (named, signs, serves, self_issued, authority) = unsafe {
            (
                ffi::shim_certificate_has_alternative_name(certificate),
                ffi::shim_certificate_may_sign(certificate),
                ffi::shim_certificate_may_serve(certificate),
                ffi::shim_certificate_is_self_issued(certificate),
                ffi::shim_certificate_is_authority(certificate),
            )
        };
        let mut more = 0;
        for (fault, flag) in [
            (!named, ffi::SHIM_CERTIFICATE_NAME),
            (!signs, ffi::SHIM_CERTIFICATE_KEY_USAGE),
            (!serves, ffi::SHIM_CERTIFICATE_EXTENDED_KEY_USAGE),
            (authority, ffi::SHIM_CERTIFICATE_OTHER),
        ] {
            more |= if fault { flag as u32 } else { 0 };
        }
        seen |= if self_issued { SELF_ISSUED } else { 0 };
        seen |= if authority { AUTHORITY } else { 0 };
        // SAFETY: Mbed TLS gives a pointer that is valid for the call.
        unsafe { *flags |= more };
    }
    // SAFETY: as above.
    SEEN.fetch_or(seen | unsafe { *flags }, Ordering::Relaxed);
    0
}

/// The name of what went wrong. An issuer that is not trusted comes first: what such a certificate says of its dates or
/// names is worth nothing, and the device must not doubt its clock because of it.
fn failure(errno: ffi::shim_errno, seen: u32) -> Failure {
    let has = |flag: ffi::shim_certificate| seen & flag as u32 != 0;
    let not_trusted = has(ffi::SHIM_CERTIFICATE_NOT_TRUSTED);
    if seen & AUTHORITY != 0 || (not_trusted && seen & SELF_ISSUED != 0) {
        return Failure::TlsSelfSigned;
    }
    for (fault, failure) in [
        (not_trusted, Failure::TlsUnknownIssuer),
        (has(ffi::SHIM_CERTIFICATE_NAME), Failure::TlsName),
        (has(ffi::SHIM_CERTIFICATE_EXPIRED), Failure::TlsExpired),
        (has(ffi::SHIM_CERTIFICATE_FUTURE), Failure::TlsNotYetValid),
        (has(ffi::SHIM_CERTIFICATE_KEY_USAGE), Failure::TlsUsage),
        (has(ffi::SHIM_CERTIFICATE_EXTENDED_KEY_USAGE), Failure::TlsUsage),
        (seen & !(SENT | SELF_ISSUED) != 0, Failure::TlsCertificate),
    ] {
        if fault {
            return failure;
        }
    }
    match errno {
        ffi::SHIM_ERRNO_REFUSED => Failure::Refused,
        ffi::SHIM_ERRNO_UNREACHABLE => Failure::Unreachable,
        ffi::SHIM_ERRNO_TIMED_OUT | ffi::SHIM_ERRNO_AGAIN => Failure::ConnectTimeout,
        // Zephyr could not use what is stored under the tag.
        ffi::SHIM_ERRNO_INVALID | ffi::SHIM_ERRNO_NO_ENTRY => Failure::Credentials,
        // The service broke off before it showed a certificate.
        ffi::SHIM_ERRNO_ABORTED if seen & SENT == 0 => Failure::TlsVersionOrCipher,
        _ => Failure::TlsOther,
    }
}
