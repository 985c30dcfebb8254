//! What factory and blank device say to each other over a serial line: messages and their frames. Owns the form, never the
//! order in which they come. R-PROVISION, R-INITIAL-SECRET.
//!
//! A message is CBOR in deterministic encoding (RFC 8949, section 4.2.1); [`frame`] says how it stands on the line. The
//! factory speaks first and the device answers each message with one.

pub mod frame;
mod message;

use crate::document::{CSR_BYTES_MAX, KeyUse, NONCE_BYTES};
use crate::key::KeyId;
use crate::reason::Refusal;
use crate::signed::ENVELOPE_BYTES_MAX;
use crate::{DeviceId, Name};
use minicbor::{Decode, Encode};

/// Most bytes of a part of a document in one [`ToDevice::Part`].
pub const PART_BYTES_MAX: usize = 256;

/// Longest message in bytes, encoded: a [`FromDevice::Renewal`].
pub const MESSAGE_BYTES_MAX: usize = 896;

/// Longest signed [`crate::document::RenewalRequest`] in bytes: two requests of [`CSR_BYTES_MAX`], the audience, a number and
/// the envelope.
pub const REQUEST_BYTES_MAX: usize =
    ENVELOPE_BYTES_MAX + 1 + (1 + 2 + 2 + DeviceId::MAX_LEN) + (1 + 5) + 2 * (1 + 3 + CSR_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES_MAX + 8 <= MESSAGE_BYTES_MAX, "with its head, in a message");

/// Length of [`ToDevice::Inject::scalar`] in bytes.
pub const SCALAR_BYTES: usize = 32;

/// Version of this protocol; another one is answered with [`FromDevice::Refused`].
pub const VERSION: u8 = 1;

/// What a device is to its factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Life {
    /// It has no identity and waits for one.
    #[n(1)]
    Blank,
    /// It has one: all that it takes from this line is a new certificate for it, once the one that it has has ended.
    #[n(2)]
    Provisioned,
    /// It was destroyed.
    #[n(3)]
    Destroyed,
}

/// From the factory to the device.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum ToDevice<'b> {
    /// Who are you?
    #[n(1)]
    Identify {
        /// [`VERSION`].
        #[n(1)]
        version: u8,
    },
    /// Make your keys and ask for certificates as the device with this id.
    #[n(2)]
    Begin {
        /// The id that it shall have.
        #[n(1)]
        id: DeviceId,
    },
    /// Take this key in place of one that you would make: the documented second way, for lines where a key must come
    /// from outside. After [`ToDevice::Begin`].
    #[n(3)]
    Inject {
        /// Which.
        #[n(1)]
        key: KeyUse,
        /// The private scalar: 32 bytes, big endian. To be wiped by whoever reads or writes it.
        #[cbor(b(2), with = "minicbor::bytes")]
        scalar: &'b [u8],
    },
    /// A part of the signed [`crate::document::Provision`], or of the signed [`crate::document::IdentityCertificate`] that
    /// answers a [`FromDevice::Renewal`].
    #[n(4)]
    Part {
        /// Where it belongs, in bytes from the beginning.
        #[n(1)]
        offset: u32,
        /// At most [`PART_BYTES_MAX`].
        #[cbor(b(2), with = "minicbor::bytes")]
        bytes: &'b [u8],
    },
    /// All parts are there: verify and commit.
    #[n(5)]
    Commit {
        /// Length of the whole in bytes.
        #[n(1)]
        len: u32,
    },
    /// Your certificate has ended: ask for a new one, as over the network. To a device that has an identity.
    #[n(6)]
    Renew {
        /// What time it is here, in seconds since 1970: for a device whose clock is not set.
        #[n(1)]
        now_s: u64,
    },
}

/// From the device to the factory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum FromDevice<'b> {
    /// To [`ToDevice::Identify`].
    #[n(1)]
    Identity {
        /// [`VERSION`].
        #[n(1)]
        version: u8,
        /// What it is.
        #[n(2)]
        life: Life,
        /// Version of the firmware.
        #[n(3)]
        firmware: Name,
        /// The board.
        #[n(4)]
        board: Name,
        /// The hardware's serial number in hex; empty where it has none.
        #[n(5)]
        serial: Name,
        /// The factory key that the firmware has: who may provision it.
        #[n(6)]
        factory: KeyId,
        /// The identity key that it has, where it is provisioned.
        #[n(7)]
        identity: Option<KeyId>,
        /// When the certificate of that identity ends, in seconds since 1970; older firmware does not say it.
        #[n(8)]
        until_s: Option<u64>,
    },
    /// To [`ToDevice::Begin`] and [`ToDevice::Inject`]: what the keys that it has now ask for.
    #[n(2)]
    Requests {
        /// To be repeated in the document.
        #[cbor(n(1), with = "minicbor::bytes")]
        nonce: [u8; NONCE_BYTES],
        /// For the identity key (PKCS#10, DER).
        #[cbor(b(2), with = "minicbor::bytes")]
        identity_csr: &'b [u8],
        /// For the TLS key (PKCS#10, DER).
        #[cbor(b(3), with = "minicbor::bytes")]
        tls_csr: &'b [u8],
    },
    /// To [`ToDevice::Part`].
    #[n(3)]
    Taken {
        /// Bytes that it has from the beginning without a gap.
        #[n(1)]
        len: u32,
    },
    /// To [`ToDevice::Commit`]: it is committed; the device restarts into its service. Where it had asked with
    /// [`FromDevice::Renewal`]: it has the certificate and tries it, also where it had it before.
    #[n(4)]
    Provisioned {
        /// The identity key that it has from now on.
        #[n(1)]
        identity: KeyId,
    },
    /// To anything: not done, and why.
    #[n(5)]
    Refused {
        /// Why.
        #[n(1)]
        why: Fault,
    },
    /// To [`ToDevice::Renew`]: the new keys that it has made, and for which it asks for a certificate.
    #[n(6)]
    Renewal {
        /// The signed [`crate::document::RenewalRequest`], of at most [`REQUEST_BYTES_MAX`].
        #[cbor(b(1), with = "minicbor::bytes")]
        request: &'b [u8],
    },
}

/// Why the device did not do what the factory wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum Fault {
    /// The message is none of this version.
    #[n(1)]
    Message,
    /// It does not come in this order.
    #[n(2)]
    Order,
    /// The device has an identity already, or was destroyed.
    #[n(3)]
    Locked,
    /// The random generator gives no numbers: no key is made.
    #[n(4)]
    Entropy,
    /// The vault failed.
    #[n(5)]
    Vault,
    /// The store failed.
    #[n(6)]
    Storage,
    /// This build takes no key from outside.
    #[n(7)]
    InjectionDisabled,
    /// The document was refused.
    #[n(8)]
    Document(#[n(1)] Refusal),
    /// Its certificate has not ended: it asks for the next one over the network.
    #[n(9)]
    NotEnded,
    /// Keys were made or taken too often since the start: flash would wear.
    #[n(10)]
    Worn,
}
