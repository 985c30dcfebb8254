//! Commands: one thing to do, for a device or a group, until a certain time. R-CONF.

use super::Audience;
use minicbor::{Decode, Encode};

/// One thing to do, at most once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Command {
    /// Whom it is for.
    #[n(1)]
    pub audience: Audience,
    /// Grows with every command.
    #[n(2)]
    pub number: u32,
    /// Until when it may be begun: seconds since 1970.
    #[n(3)]
    pub expires_s: u64,
    /// What to do.
    #[n(4)]
    pub action: Action,
}

/// What a device can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Action {
    /// Send the samples that wait, and every state, now.
    #[n(1)]
    Report,
    /// Take so many samples at this period and send them, then go on as configured.
    #[n(2)]
    Burst {
        /// From 1 to [`BURST_SAMPLES_MAX`].
        #[n(0)]
        samples: u16,
        /// Milliseconds between two, within the bounds of `sample_period_ms` and at most [`BURST_PERIOD_MS_MAX`].
        #[n(1)]
        period_ms: u32,
    },
    /// Restart in an orderly way.
    #[n(3)]
    Reboot,
    /// Make a new identity.
    #[n(4)]
    Rotate,
    /// Deliver the security log again from this record on.
    #[n(5)]
    SendLog {
        /// Sequence number of the first record that is wanted.
        #[n(0)]
        from: u32,
    },
}

/// Most samples of a burst.
pub const BURST_SAMPLES_MAX: u16 = 512;

/// Longest period of a burst in milliseconds.
pub const BURST_PERIOD_MS_MAX: u32 = 60_000;
