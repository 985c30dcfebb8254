//! The numbers of SUIT that we know: draft-ietf-suit-manifest-37, -update-management-14, -mud-08 and RFC 9052.

use minicbor::data::Tag;

/// Tag of a `SUIT_Envelope_Tagged`.
pub(super) const ENVELOPE: Tag = Tag::new(107);
/// Tag of a `COSE_Sign1_Tagged`.
pub(super) const SIGN1: Tag = Tag::new(18);
/// Tag of a URI.
pub(super) const URI: Tag = Tag::new(32);

/// Labels of the protected header, and what may stand there.
pub(super) mod header {
    pub(in crate::suit) const ALG: i64 = 1;
    pub(in crate::suit) const KID: i64 = 4;
    /// ECDSA with SHA-256, on the curve of the key.
    pub(in crate::suit) const ES256: i64 = -7;
    /// The same, on P-256 by name (RFC 9864).
    pub(in crate::suit) const ESP256: i64 = -9;
}

/// SHA-256 in a `SUIT_Digest`.
pub(super) const SHA256: i64 = -16;

/// Elements of the envelope. Those that can be severed have the number that they have in the manifest.
pub(super) mod envelope {
    pub(in crate::suit) const AUTHENTICATION: i64 = 2;
    pub(in crate::suit) const MANIFEST: i64 = 3;
}

/// Elements of the manifest.
pub(super) mod manifest {
    pub(in crate::suit) const VERSION: i64 = 1;
    pub(in crate::suit) const SEQUENCE_NUMBER: i64 = 2;
    pub(in crate::suit) const COMMON: i64 = 3;
    pub(in crate::suit) const REFERENCE_URI: i64 = 4;
    pub(in crate::suit) const SET_VERSION: i64 = 6;
    pub(in crate::suit) const VALIDATE: i64 = 7;
    pub(in crate::suit) const INVOKE: i64 = 9;
    pub(in crate::suit) const COSWID: i64 = 14;
    pub(in crate::suit) const INSTALL: i64 = 20;
    pub(in crate::suit) const TEXT: i64 = 23;
    /// No number is assigned yet: the first of those for private use.
    pub(in crate::suit) const MUD: i64 = -256;
}

/// Elements of `suit-common`.
pub(super) mod common {
    pub(in crate::suit) const COMPONENTS: i64 = 2;
    pub(in crate::suit) const SHARED_SEQUENCE: i64 = 4;
}

/// Elements of `SUIT_MUD_container`, which have no numbers yet either: in the order in which they are listed.
pub(super) mod mud {
    pub(in crate::suit) const URL: i64 = 1;
    pub(in crate::suit) const SKI: i64 = 2;
}

/// Commands.
pub(super) mod command {
    pub(in crate::suit) const VENDOR: i64 = 1;
    pub(in crate::suit) const CLASS: i64 = 2;
    pub(in crate::suit) const IMAGE_MATCH: i64 = 3;
    pub(in crate::suit) const USE_BEFORE: i64 = 4;
    pub(in crate::suit) const SET_COMPONENT_INDEX: i64 = 12;
    pub(in crate::suit) const TRY_EACH: i64 = 15;
    pub(in crate::suit) const OVERRIDE_PARAMETERS: i64 = 20;
    pub(in crate::suit) const FETCH: i64 = 21;
    pub(in crate::suit) const INVOKE: i64 = 23;
}

/// Parameters.
pub(super) mod parameter {
    pub(in crate::suit) const VENDOR: i64 = 1;
    pub(in crate::suit) const CLASS: i64 = 2;
    pub(in crate::suit) const IMAGE_DIGEST: i64 = 3;
    pub(in crate::suit) const USE_BEFORE: i64 = 4;
    pub(in crate::suit) const IMAGE_SIZE: i64 = 14;
    pub(in crate::suit) const URI: i64 = 21;
}

/// What a device asks the reporting engine for with a condition: all of it, as the IETF's examples do. We report otherwise.
pub(super) const REPORT_ALL: i64 = 15;
/// And with a directive: a record of its failure.
pub(super) const REPORT_FAILURE: i64 = 2;

/// Text: `suit-text-manifest-description`, and the largest numbers of a manifest's and of a component's texts.
pub(super) mod text {
    pub(in crate::suit) const DESCRIPTION: i64 = 1;
    pub(in crate::suit) const LAST: i64 = 4;
    pub(in crate::suit) const COMPONENT_LAST: i64 = 8;
    /// The language of ours.
    pub(in crate::suit) const LANGUAGE: &str = "en";
}
