//! X.509 as far as a device needs it: requests for certificates (PKCS#10, RFC 2986), written and read, and certificates
//! (RFC 5280), read. Owns one key type (P-256) and one signature algorithm (ecdsa-with-SHA256) for a device's own, and the rule
//! for a service's path, [`path`]; never a private key, and never verifies what a service shows. R-TLS-CLIENT, R-ROOTS,
//! R-SECRET-ROTATE.

mod certificate;
mod csr;
mod der;
mod extensions;
pub mod path;

pub use certificate::Certificate;
pub use csr::{Csr, encode_csr};

use crate::reason::named;
use core::fmt;
use serde::{Deserialize, Serialize};

named! {
    /// Why bytes are no request, or no certificate, of the kind that is taken.
    X509Error {
        Malformed = "malformed", "it is not the DER structure that it should be, or something stands behind it";
        TooLong = "too_long", "it is longer than a device can hold";
        Version = "version", "its version is another than 3 (a certificate) or 1 (a request)";
        Algorithm = "algorithm", "it is signed with another algorithm than ecdsa-with-SHA256";
        KeyType = "key_type", "its public key is of another kind than ECDSA on P-256";
        Key = "key", "its public key is no uncompressed point on P-256";
        Subject = "subject", "its subject is not one common name in UTF-8 and nothing else";
        CommonName = "common_name", "its common name is no device id";
        Attributes = "attributes", "it asks for attributes or extensions, which are the issuer's to decide";
        Signature = "signature", "its signature is not one made with the key that it names";
        Dates = "dates", "its dates cannot be read, are before 1970, or end before they begin";
        Extension = "extension", "it has a critical extension that is not known here";
        DuplicateExtension = "duplicate_extension", "it has an extension twice";
    }
}

impl core::error::Error for X509Error {}

impl From<::der::Error> for X509Error {
    fn from(_: ::der::Error) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests;
