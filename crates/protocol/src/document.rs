//! What may be signed, and by whom: the documents that change a device, and the request that a device signs itself. Owns
//! their content, never the envelope ([`crate::signed`]) nor whether one is accepted. R-AUTHORITY, R-ROOTS,
//! R-SECRET-ROTATE, R-REPROVISION, R-DESTROY.
//!
//! Each is a CBOR map with small integer keys, in deterministic encoding (RFC 8949, section 4.2.1); the configuration is
//! JSON, because people write it.

mod command;
mod log;
mod wire;

use crate::config::CONFIGURATION_BYTES_MAX;
use crate::key::{KeyId, PublicKey};
use crate::{DeviceId, Name};
pub use command::{Action, BURST_PERIOD_MS_MAX, BURST_SAMPLES_MAX, Command};
use core::fmt;
use heapless::Vec;
pub use log::{LOG_PAYLOAD_BYTES_MAX, LogAcknowledgement, LogDelivery};
use minicbor::{Decode, Encode};

/// Longest X.509 certificate in bytes (DER): a P-256 one is about 450, one with long names and URLs about 900.
pub const CERTIFICATE_BYTES_MAX: usize = 1_024;

/// Most roots that a device trusts at once: the old, the new and one to spare.
pub const ROOTS_MAX: usize = 3;

/// Most certificates of a device's chain without its root: the leaf and one intermediate.
pub const CHAIN_MAX: usize = 2;

/// Longest certificate signing request in bytes (PKCS#10, DER).
pub const CSR_BYTES_MAX: usize = 320;

/// Longest payload of a document that comes over MQTT, in bytes: a full list of roots.
pub const PAYLOAD_BYTES_MAX: usize = ROOTS_MAX * (CERTIFICATE_BYTES_MAX + 4) + 128;

/// Longest payload of [`Provision`] in bytes.
pub const PROVISION_BYTES_MAX: usize =
    (ROOTS_MAX + CHAIN_MAX) * (CERTIFICATE_BYTES_MAX + 4) + CONFIGURATION_BYTES_MAX + 512;

/// A power over devices; each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Power {
    /// Signs firmware.
    #[n(1)]
    Firmware,
    /// Signs configurations, certificates, commands, the stages of a roll-out, and what is known of a device's log.
    #[n(2)]
    Configuration,
    /// Signs lists of roots, new keys of the other powers and of its own, and the end of a device's life.
    #[n(3)]
    Anchors,
    /// Signs what a blank device is provisioned with; has no power over a provisioned one.
    #[n(4)]
    Factory,
    /// The device's own identity key: signs what the device says of itself.
    #[n(5)]
    Device,
}

impl Power {
    /// Every power.
    pub const ALL: [Self; 5] =
        [Self::Firmware, Self::Configuration, Self::Anchors, Self::Factory, Self::Device];

    /// The name on the command line and in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Configuration => "configuration",
            Self::Anchors => "anchors",
            Self::Factory => "factory",
            Self::Device => "device",
        }
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a document is: COSE's content type, which is signed with it (RFC 9052, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// [`crate::config::Change`].
    Configuration,
    /// [`RootList`].
    Roots,
    /// [`AuthorityKey`].
    AuthorityKey,
    /// [`IdentityCertificate`].
    Certificate,
    /// [`Command`].
    Command,
    /// [`Retirement`].
    Retirement,
    /// [`Provision`].
    Provision,
    /// [`RenewalRequest`].
    RenewalRequest,
    /// [`Rollout`].
    Rollout,
    /// [`LogDelivery`].
    Log,
    /// [`LogAcknowledgement`].
    LogAcknowledgement,
}

impl ContentType {
    /// Every content type.
    pub const ALL: [Self; 11] = [
        Self::Configuration,
        Self::Roots,
        Self::AuthorityKey,
        Self::Certificate,
        Self::Command,
        Self::Retirement,
        Self::Provision,
        Self::RenewalRequest,
        Self::Rollout,
        Self::Log,
        Self::LogAcknowledgement,
    ];

    /// The media type on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "application/vnd.sensor.configuration+json",
            Self::Roots => "application/vnd.sensor.roots+cbor",
            Self::AuthorityKey => "application/vnd.sensor.authority-key+cbor",
            Self::Certificate => "application/vnd.sensor.certificate+cbor",
            Self::Command => "application/vnd.sensor.command+cbor",
            Self::Retirement => "application/vnd.sensor.retirement+cbor",
            Self::Provision => "application/vnd.sensor.provision+cbor",
            Self::RenewalRequest => "application/vnd.sensor.renewal-request+cbor",
            Self::Rollout => "application/vnd.sensor.rollout+cbor",
            Self::Log => "application/vnd.sensor.log+cbor",
            Self::LogAcknowledgement => "application/vnd.sensor.log-acknowledgement+cbor",
        }
    }

    /// Longest name on the wire in bytes.
    pub const BYTES_MAX: usize = Self::LogAcknowledgement.as_str().len();

    /// The content type with this name on the wire.
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|content_type| content_type.as_str() == name)
    }

    /// Most bytes of its payload.
    pub const fn payload_bytes_max(self) -> usize {
        match self {
            // A configuration that is too long for its reader is refused by that, in the words that the tool uses.
            Self::Provision => PROVISION_BYTES_MAX,
            Self::Log => LOG_PAYLOAD_BYTES_MAX,
            _ => PAYLOAD_BYTES_MAX,
        }
    }

    /// Who may sign it. One power for each.
    pub const fn power(self) -> Power {
        match self {
            Self::Configuration
            | Self::Certificate
            | Self::Command
            | Self::Rollout
            | Self::LogAcknowledgement => Power::Configuration,
            Self::Roots | Self::AuthorityKey | Self::Retirement => Power::Anchors,
            Self::Provision => Power::Factory,
            Self::RenewalRequest | Self::Log => Power::Device,
        }
    }
}

/// Whom a document is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One device.
    Device(DeviceId),
    /// Every device of a group.
    Group(Name),
    /// Every device.
    All,
}

/// Certificates in DER, borrowed from the document they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates<'b, const MAX: usize>(pub Vec<&'b [u8], MAX>);

/// The roots that a device is to trust from now on, in place of those before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RootList<'b> {
    /// Whom it is for.
    #[n(1)]
    pub audience: Audience,
    /// Grows with every list.
    #[n(2)]
    pub number: u32,
    /// At least one.
    #[b(3)]
    pub roots: Certificates<'b, ROOTS_MAX>,
}

/// A new key for a power, in place of the one before. Signed with the key of [`Power::Anchors`], its own included.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AuthorityKey {
    /// Whom it is for.
    #[n(1)]
    pub audience: Audience,
    /// Grows with every such document, whatever its power.
    #[n(2)]
    pub number: u32,
    /// Firmware, configuration or anchors.
    #[n(3)]
    pub power: Power,
    /// The new key.
    #[n(4)]
    pub key: PublicKey,
}

/// The answer to a [`RenewalRequest`]: the certificate for the new TLS key. Only ever for one device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IdentityCertificate<'b> {
    /// Whom it is for.
    #[n(1)]
    pub audience: Audience,
    /// Grows with every certificate of the device.
    #[n(2)]
    pub number: u32,
    /// The new identity key, which the service has registered for tokens.
    #[n(3)]
    pub identity: KeyId,
    /// The chain for the new TLS key, leaf first, without the root.
    #[b(4)]
    pub chain: Certificates<'b, CHAIN_MAX>,
}

/// Which share of the devices may take a firmware update now. The manifest says what may be installed, this document when.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rollout {
    /// Whom it is for.
    #[n(1)]
    pub audience: Audience,
    /// Grows with every such document.
    #[n(2)]
    pub number: u32,
    /// Digest of the manifest, as it is signed.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub manifest: [u8; 32],
    /// So many of 1000 devices ([`crate::firmware::takes_part`]); 0 stops.
    #[n(4)]
    pub share: u16,
}

/// How a device's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum End {
    /// Secrets are wiped; the device is blank and may be provisioned again.
    #[n(1)]
    Blank,
    /// Secrets are wiped; the device never works again.
    #[n(2)]
    Destroyed,
}

/// The end of a device's life. Only ever for one device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Retirement {
    /// Whom it is for.
    #[n(1)]
    pub audience: Audience,
    /// Grows with every such document.
    #[n(2)]
    pub number: u32,
    /// Which end.
    #[n(3)]
    pub end: End,
    /// The identity key that the device has, so that an old document does not end a later life.
    #[n(4)]
    pub identity: KeyId,
    /// Seconds since 1970 from which on it counts for nothing; at most [`RETIREMENT_S_MAX`] ahead.
    #[n(5)]
    pub expires_s: u64,
}

/// How far ahead a [`Retirement`] may expire, in seconds: 30 days. What could end a device for good lies about no longer.
pub const RETIREMENT_S_MAX: u64 = 30 * 86_400;

/// Everything a blank device gets; verified and committed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Provision<'b> {
    /// Whom it is for: the id that the device has from now on.
    #[n(1)]
    pub audience: Audience,
    /// The number that the device gave with its requests, so that an old document does not fit.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; NONCE_BYTES],
    /// The group it belongs to; may be empty.
    #[n(3)]
    pub group: Name,
    /// The identity key that the device made.
    #[n(4)]
    pub identity: KeyId,
    /// The chain for the TLS key that the device made, leaf first, without the root.
    #[b(5)]
    pub chain: Certificates<'b, CHAIN_MAX>,
    /// Whom it believes.
    #[b(6)]
    pub roots: Certificates<'b, ROOTS_MAX>,
    /// Key of [`Power::Firmware`].
    #[n(7)]
    pub firmware: PublicKey,
    /// Key of [`Power::Configuration`].
    #[n(8)]
    pub configuration_key: PublicKey,
    /// Key of [`Power::Anchors`].
    #[n(9)]
    pub anchors: PublicKey,
    /// The configuration: JSON.
    #[cbor(b(10), with = "minicbor::bytes")]
    pub configuration: &'b [u8],
}

/// Length of [`Provision::nonce`] in bytes.
pub const NONCE_BYTES: usize = 16;

/// A device asks for a certificate for the keys it has just made. Signed with the identity key that is in force; each
/// request inside is signed with the key that it names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RenewalRequest<'b> {
    /// Who asks.
    #[n(1)]
    pub audience: Audience,
    /// Number of the certificate that the device has: the answer has a larger one.
    #[n(2)]
    pub number: u32,
    /// For the new identity key (PKCS#10, DER).
    #[cbor(b(3), with = "minicbor::bytes")]
    pub identity_csr: &'b [u8],
    /// For the new TLS key (PKCS#10, DER).
    #[cbor(b(4), with = "minicbor::bytes")]
    pub tls_csr: &'b [u8],
}

/// What a device's private key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyUse {
    /// Signs requests, tokens and attestations; never leaves the vault.
    #[n(1)]
    Identity,
    /// Authenticates the TLS client; lent for a handshake, short-lived, worthless for anything else.
    #[n(2)]
    Tls,
}
