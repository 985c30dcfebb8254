//! What people and other programs call an event, and which events are limited. R-LOG.

use super::Event;

impl Event {
    /// The number of its kind: that of its variant on the wire.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Boot { .. } => 1,
            Self::Provisioned { .. } => 2,
            Self::Retired { .. } => 3,
            Self::KeysMade => 4,
            Self::IdentityReplaced { .. } => 5,
            Self::IdentityRefused => 6,
            Self::IdentityFellBack { .. } => 7,
            Self::IdentityWiped => 8,
            Self::RootsReplaced { .. } => 9,
            Self::RootsUndone { .. } => 10,
            Self::AuthorityReplaced { .. } => 11,
            Self::Configured { .. } => 12,
            Self::ConfigurationUndone { .. } => 13,
            Self::Commanded { .. } => 14,
            Self::DocumentRefused { .. } => 15,
            Self::PeerRefused { .. } => 16,
            Self::ClockSet { .. } => 17,
            Self::TimeRefused => 18,
            Self::UpdateNoticed { .. } => 19,
            Self::UpdateRefused { .. } => 20,
            Self::UpdateWithdrawn => 21,
            Self::UpdateDownloaded { .. } => 22,
            Self::UpdateInstalling { .. } => 23,
            Self::UpdateConfirmed { .. } => 24,
            Self::UpdateUndone { .. } => 25,
            Self::UpdateReverted { .. } => 26,
            Self::StorageFailed => 27,
            Self::EntropyFailed => 28,
            Self::Repeated { .. } => 29,
            Self::Lost { .. } => 30,
            Self::Seal { .. } => 31,
            Self::CommandRefused { .. } => 32,
            Self::CertificateEnded { .. } => 33,
            Self::CertifiedOnLine { .. } => 34,
        }
    }

    /// The name of a kind, as it is exported; `None` for a number that is none.
    pub const fn name(kind: u8) -> Option<&'static str> {
        Some(match kind {
            1 => "boot",
            2 => "provisioned",
            3 => "retired",
            4 => "keys_made",
            5 => "identity_replaced",
            6 => "identity_refused",
            7 => "identity_fell_back",
            8 => "identity_wiped",
            9 => "roots_replaced",
            10 => "roots_undone",
            11 => "authority_replaced",
            12 => "configured",
            13 => "configuration_undone",
            14 => "commanded",
            15 => "document_refused",
            16 => "peer_refused",
            17 => "clock_set",
            18 => "time_refused",
            19 => "update_noticed",
            20 => "update_refused",
            21 => "update_withdrawn",
            22 => "update_downloaded",
            23 => "update_installing",
            24 => "update_confirmed",
            25 => "update_undone",
            26 => "update_reverted",
            27 => "storage_failed",
            28 => "entropy_failed",
            29 => "repeated",
            30 => "lost",
            31 => "seal",
            32 => "command_refused",
            33 => "certificate_ended",
            34 => "certified_on_line",
            _ => return None,
        })
    }

    /// True where somebody outside can cause it as often as they like: of these only a few are written, and the rest is
    /// counted ([`Event::Repeated`]), so that they cannot push other records out.
    pub const fn is_limited(&self) -> bool {
        match self {
            Self::KeysMade
            | Self::IdentityRefused
            | Self::IdentityFellBack { .. }
            | Self::DocumentRefused { .. }
            | Self::PeerRefused { .. }
            | Self::ClockSet { .. }
            | Self::TimeRefused
            | Self::UpdateNoticed { .. }
            | Self::UpdateRefused { .. }
            | Self::UpdateWithdrawn
            | Self::UpdateDownloaded { .. }
            | Self::StorageFailed
            | Self::EntropyFailed
            | Self::CommandRefused { .. } => true,
            // These take a power's key, or a hand on the device; or they come once in a boot.
            Self::Boot { .. }
            | Self::Provisioned { .. }
            | Self::Retired { .. }
            | Self::IdentityReplaced { .. }
            | Self::IdentityWiped
            | Self::CertificateEnded { .. }
            | Self::CertifiedOnLine { .. }
            | Self::RootsReplaced { .. }
            | Self::RootsUndone { .. }
            | Self::AuthorityReplaced { .. }
            | Self::Configured { .. }
            | Self::ConfigurationUndone { .. }
            | Self::Commanded { .. }
            | Self::UpdateInstalling { .. }
            | Self::UpdateConfirmed { .. }
            | Self::UpdateUndone { .. }
            | Self::UpdateReverted { .. }
            | Self::Repeated { .. }
            | Self::Lost { .. }
            | Self::Seal { .. } => false,
        }
    }
}

/// The kinds of which [`Event::is_limited`] is true.
pub const LIMITED: [u8; 14] = [4, 6, 7, 15, 16, 17, 18, 19, 20, 21, 22, 27, 28, 32];
