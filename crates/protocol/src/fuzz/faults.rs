//! Which refusals can come from which check. Each kind has its place in a list that the compiler holds to be complete: a new
//! one cannot be forgotten by a target's body.

use crate::{ConfigurationError, Refusal, UpdateFault};

/// What a manifest of somebody else's key is refused for.
pub(super) const fn is_of_manifests_proof(fault: UpdateFault) -> bool {
    matches!(stage(fault), Stage::ManifestProof)
}

/// What an image of somebody else's key is refused for.
pub(super) const fn is_of_images_proof(fault: UpdateFault) -> bool {
    matches!(stage(fault), Stage::ImageProof)
}

enum Stage {
    ManifestProof,
    ImageProof,
    /// Form, content, and what became of an update.
    Other,
}

const fn stage(fault: UpdateFault) -> Stage {
    use UpdateFault as F;
    match fault {
        F::UnknownKey | F::Signature | F::ManifestDigest => Stage::ManifestProof,
        F::ImageHash | F::ImageUnsigned | F::ImageKey | F::ImageSignature => Stage::ImageProof,
        F::Malformed
        | F::Unsupported
        | F::TooLong
        | F::Unsigned
        | F::Algorithm
        | F::Vendor
        | F::Class
        | F::Sequence
        | F::Expired
        | F::Incomplete
        | F::Older
        | F::Equal
        | F::TooLarge
        | F::NoSource
        | F::Attempts
        | F::Withdrawn
        | F::BlockMissing
        | F::BlockAltered
        | F::Patch
        | F::Base
        | F::Truncated
        | F::ImageForm
        | F::ImageSize
        | F::ImageDigest
        | F::ImageVersion
        | F::ImageClass
        | F::NotBooted
        | F::Reverted
        | F::NoService
        | F::NoSensor
        | F::Worse
        | F::Storage => Stage::Other,
    }
}

/// What an envelope of somebody else's key, or with another content than the wanted one, is refused for.
pub(super) const fn is_of_envelopes_proof(refusal: Refusal) -> bool {
    use Refusal as R;
    match refusal {
        R::ContentType | R::UnknownKey | R::Signature => true,
        R::Malformed
        | R::Algorithm
        | R::WrongAuthority
        | R::Payload
        | R::OtherDevice
        | R::OtherGroup
        | R::Audience
        | R::Replayed
        | R::Older
        | R::TooLong
        | R::Unexpected
        | R::Certificate
        | R::Configuration
        | R::Expired
        | R::Undone
        | R::Chain => false,
    }
}

/// What a change is refused for that is valid alone and does not fit the configuration below it.
pub(super) const fn is_of_values_together(error: &ConfigurationError) -> bool {
    use ConfigurationError as E;
    match error {
        E::ReportsOftenerThanSamples { .. } | E::ThresholdsTooClose { .. } => true,
        E::TooLong { .. }
        | E::ByteOrderMark
        | E::Syntax(_)
        | E::Field { .. }
        | E::Version(_)
        | E::OutOfRange { .. }
        | E::BadId(_)
        | E::BadGroup(_)
        | E::NoAudience
        | E::TwoAudiences
        | E::BadHost { .. }
        | E::BadPort { .. }
        | E::BadChoice(_)
        | E::TimeServers(_)
        | E::SameTimeServer => false,
    }
}
