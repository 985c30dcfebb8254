//! What the security log records: one table, and what people and other programs call an event. R-LOG.

use crate::document::{Action, End, Power};
use crate::image::Version;
use crate::key::{KeyId, Signature};
use crate::{Channel, EpochMillis, Failure, Layer, Name, Refusal, ResetCause, UpdateFault};
use minicbor::{Decode, Encode};

/// Every one is written: it takes a power's key, or a hand on the device; or it comes once in a boot.
const EVERY: bool = false;

/// Somebody outside can cause it as often as they like: of these only a few are written, and the rest is counted
/// ([`Event::Repeated`]), so that they cannot push other records out.
const FEW: bool = true;

/// Declares the events. A row: the number of its kind on the wire, its name as it is exported, how many of it are written, and
/// what it says.
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $kind:literal $name:literal $written:ident $event:ident $({ $($fields:tt)* })?,)+) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
        pub enum Event {
            $($(#[doc = $doc])+ #[n($kind)] $event $({ $($fields)* })?,)+
        }

        /// Each kind, and whether only a few of it are written.
        const KINDS: &[(u8, bool)] = &[$(($kind, $written)),+];

        /// The kinds of which [`Event::is_limited`] is true, in ascending order.
        pub const LIMITED: [u8; 0 $(+ $written as usize)+] = limited();

        impl Event {
            /// The number of its kind: that of its variant on the wire.
            pub const fn kind(&self) -> u8 {
                match self { $(Self::$event { .. } => $kind),+ }
            }

            /// The name of a kind, as it is exported; `None` for a number that is none.
            pub const fn name(kind: u8) -> Option<&'static str> {
                match kind { $($kind => Some($name),)+ _ => None }
            }
        }
    };
}

events! {
    /// The device started.
    1 "boot" EVERY Boot {
        /// Why.
        #[n(0)]
        reset: ResetCause,
        /// Version of the firmware that runs.
        #[n(1)]
        firmware: Name,
    },
    /// The factory gave the device an identity.
    2 "provisioned" EVERY Provisioned {
        /// Its identity key.
        #[n(0)]
        identity: KeyId,
    },
    /// The life of that identity is over: its secrets are about to be wiped.
    3 "retired" EVERY Retired {
        /// How it ends.
        #[n(0)]
        end: End,
    },
    /// The keys of a new identity are made.
    4 "keys_made" FEW KeysMade,
    /// A new identity is in force.
    5 "identity_replaced" EVERY IdentityReplaced {
        /// Its key.
        #[n(0)]
        identity: KeyId,
    },
    /// The service refused the new identity, which is wiped.
    6 "identity_refused" FEW IdentityRefused,
    /// The service refused the identity in force: the former one is in force again.
    7 "identity_fell_back" FEW IdentityFellBack {
        /// Its key.
        #[n(0)]
        identity: KeyId,
    },
    /// The former identity is wiped.
    8 "identity_wiped" EVERY IdentityWiped,
    /// A list of roots is in force.
    9 "roots_replaced" EVERY RootsReplaced {
        /// Its number.
        #[n(0)]
        number: u32,
    },
    /// The service was not reached with a list of roots: the former one stays.
    10 "roots_undone" EVERY RootsUndone {
        /// Its number.
        #[n(0)]
        number: u32,
    },
    /// The key of a power was replaced.
    11 "authority_replaced" EVERY AuthorityReplaced {
        /// Whose.
        #[n(0)]
        power: Power,
        /// The new key.
        #[n(1)]
        key: KeyId,
    },
    /// A configuration is in force.
    12 "configured" EVERY Configured {
        /// Whose.
        #[n(0)]
        layer: Layer,
        /// Its number.
        #[n(1)]
        number: u32,
    },
    /// A configuration was tried and taken back.
    13 "configuration_undone" EVERY ConfigurationUndone {
        /// Whose.
        #[n(0)]
        layer: Layer,
        /// Its number.
        #[n(1)]
        number: u32,
    },
    /// A command was begun.
    14 "commanded" EVERY Commanded {
        /// Its number.
        #[n(0)]
        number: u32,
        /// What it says.
        #[n(1)]
        action: Action,
    },
    /// A document was refused.
    15 "document_refused" FEW DocumentRefused {
        /// Where it came in; `None` for a topic that is not read.
        #[n(0)]
        channel: Option<Channel>,
        /// Why.
        #[n(1)]
        why: Refusal,
    },
    /// The service was refused by the device, or the device by the service.
    16 "peer_refused" FEW PeerRefused {
        /// Why.
        #[n(0)]
        why: Failure,
    },
    /// The clock was set for the first time, or stepped.
    17 "clock_set" FEW ClockSet {
        /// By so many milliseconds; `None` for the first time.
        #[n(0)]
        by_ms: Option<i64>,
    },
    /// An answer of a time server was refused.
    18 "time_refused" FEW TimeRefused,
    /// Firmware is announced for this device.
    19 "update_noticed" FEW UpdateNoticed {
        /// Its version.
        #[n(0)]
        version: Version,
        /// Number of its manifest.
        #[n(1)]
        sequence: u64,
    },
    /// Firmware was refused.
    20 "update_refused" FEW UpdateRefused {
        /// Why.
        #[n(0)]
        why: UpdateFault,
    },
    /// The announced firmware is not wanted any more.
    21 "update_withdrawn" FEW UpdateWithdrawn,
    /// Firmware is complete.
    22 "update_downloaded" FEW UpdateDownloaded {
        /// Bytes that travelled.
        #[n(0)]
        bytes: u32,
    },
    /// The device restarts into it.
    23 "update_installing" EVERY UpdateInstalling {
        /// Its version.
        #[n(0)]
        version: Version,
    },
    /// It stays.
    24 "update_confirmed" EVERY UpdateConfirmed {
        /// Its version.
        #[n(0)]
        version: Version,
    },
    /// It goes.
    25 "update_undone" EVERY UpdateUndone {
        /// Why.
        #[n(0)]
        why: UpdateFault,
    },
    /// The former firmware runs again.
    26 "update_reverted" EVERY UpdateReverted {
        /// Why.
        #[n(0)]
        why: UpdateFault,
    },
    /// The device's own storage failed.
    27 "storage_failed" FEW StorageFailed,
    /// The random generator failed.
    28 "entropy_failed" FEW EntropyFailed,
    /// Events of one kind that were counted instead of written.
    29 "repeated" EVERY Repeated {
        /// Their kind: [`Event::kind`].
        #[n(0)]
        kind: u8,
        /// How many.
        #[n(1)]
        count: u32,
    },
    /// Records that were dropped, or could not be read any more, before the operator had acknowledged them.
    30 "lost" EVERY Lost {
        /// Sequence number of the first.
        #[n(0)]
        first: u32,
        /// How many.
        #[n(1)]
        count: u32,
    },
    /// The chain up to here, signed: the signature of a [`crate::document::LogDelivery`] without records, whose number is
    /// this record's.
    31 "seal" EVERY Seal {
        /// The identity key that signed.
        #[n(0)]
        identity: KeyId,
        /// The signature.
        #[n(1)]
        signature: Signature,
    },
    /// A command was not begun: it had expired, or was another's.
    32 "command_refused" FEW CommandRefused {
        /// Why.
        #[n(0)]
        why: Refusal,
    },
    /// The device's certificate has ended. Once in a boot.
    33 "certificate_ended" EVERY CertificateEnded {
        /// When it ended.
        #[n(0)]
        until: EpochMillis,
    },
    /// A certificate for a new identity came over the factory's line, because the one in force had ended.
    34 "certified_on_line" EVERY CertifiedOnLine {
        /// The new identity key.
        #[n(0)]
        identity: KeyId,
    },
}

impl Event {
    /// True where somebody outside can cause it as often as they like: of these only a few are written.
    pub fn is_limited(&self) -> bool {
        LIMITED.contains(&self.kind())
    }
}

/// The kinds of which only a few are written: built with the program, so that what is out of bounds does not build.
#[expect(clippy::indexing_slicing, reason = "see above")]
const fn limited<const N: usize>() -> [u8; N] {
    let (mut kinds, mut count, mut row) = ([0; N], 0, 0);
    while row < KINDS.len() {
        let (kind, few) = KINDS[row];
        if few {
            kinds[count] = kind;
            count += 1;
        }
        row += 1;
    }
    kinds
}
