//! MQTT topics: everything of a device lies below `device/<id>/`, so that a broker separates devices by one pattern.
//! Owns the names, never a connection. R-MQTT-ISOLATION.

use crate::DeviceId;
use crate::firmware::{Uuid, class_filter};
use core::fmt::{self, Write};
use heapless::String;

/// First level of every topic.
pub const ROOT: &str = "device";

/// Longest topic in bytes: a block's, `firmware/` + 64 digits of a digest + two numbers ([`crate::firmware`]).
pub const TOPIC_MAX: usize = 9 + 64 + 2 * (1 + 10);

/// Longest topic of a device in bytes: `device/` + id + `/` + the longest channel.
const DEVICE_TOPIC_MAX: usize = ROOT.len() + 1 + DeviceId::MAX_LEN + 1 + Channel::MAX_LEN;
const _: () = assert!(DEVICE_TOPIC_MAX <= TOPIC_MAX);

/// A topic as text.
pub type TopicText = String<TOPIC_MAX>;

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Device to service: first message of every connection ([`crate::Hello`]).
    Hello,
    /// Device to service, retained: how the device is ([`crate::State`]).
    State,
    /// Device to service: samples ([`crate::Batch`]).
    Telemetry,
    /// Device to service, retained: how its identity and trust are ([`crate::IdentityState`]).
    IdentityState,
    /// Device to service: a request for a certificate, signed ([`crate::document::RenewalRequest`]).
    IdentityRequest,
    /// Device to service, retained: how its firmware is ([`crate::FirmwareState`]).
    FirmwareState,
    /// Service to device, retained: the configuration that is wanted, signed ([`crate::Configuration`]).
    ConfigDesired,
    /// Service to device, retained: the roots that are wanted, signed ([`crate::document::RootList`]).
    RootsDesired,
    /// Service to device, retained: a new authority's key, signed ([`crate::document::AuthorityKey`]).
    AuthorityDesired,
    /// Service to device, retained: the answer to a request, signed ([`crate::document::IdentityCertificate`]).
    IdentityDesired,
    /// Service to device: one command, signed ([`crate::document::RotateCommand`], [`crate::document::Retirement`]).
    Command,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 11] = [
        Self::Hello,
        Self::State,
        Self::Telemetry,
        Self::IdentityState,
        Self::IdentityRequest,
        Self::FirmwareState,
        Self::ConfigDesired,
        Self::RootsDesired,
        Self::AuthorityDesired,
        Self::IdentityDesired,
        Self::Command,
    ];

    /// What a device subscribes to, below its own prefix.
    pub const SUBSCRIPTIONS: [&str; 2] = ["+/desired", "command"];

    /// Length of the longest channel name in bytes.
    pub const MAX_LEN: usize = 17;

    /// The levels below the device's prefix.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::State => "state",
            Self::Telemetry => "telemetry",
            Self::IdentityState => "identity/state",
            Self::IdentityRequest => "identity/request",
            Self::FirmwareState => "firmware/state",
            Self::ConfigDesired => "config/desired",
            Self::RootsDesired => "roots/desired",
            Self::AuthorityDesired => "authority/desired",
            Self::IdentityDesired => "identity/desired",
            Self::Command => "command",
        }
    }
}

/// A device's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Whose it is.
    pub device: DeviceId,
    /// What it carries.
    pub channel: Channel,
}

impl Topic {
    /// The topic as text.
    pub fn encode(&self) -> TopicText {
        topic(&self.device, self.channel)
    }

    /// Reads a topic; `None` for one that is not of this scheme.
    pub fn decode(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(ROOT)?.strip_prefix('/')?;
        let (id, channel) = rest.split_once('/')?;
        let device = DeviceId::new(id).ok()?;
        let channel = Channel::ALL.into_iter().find(|c| c.as_str() == channel)?;
        Some(Self { device, channel })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

/// The topic of `device` for `channel`.
pub fn topic(device: &DeviceId, channel: Channel) -> TopicText {
    let mut text = TopicText::new();
    // DEVICE_TOPIC_MAX is the sum of the longest parts: the test below holds it to that.
    let fits = write!(text, "{ROOT}/{device}/{}", channel.as_str()).is_ok();
    debug_assert!(fits);
    text
}

/// What `device` of `class` subscribes to: every topic on which the service speaks to it, and those of its class's firmware.
pub fn subscriptions(device: &DeviceId, class: Uuid) -> [TopicText; 3] {
    let [desired, command] = Channel::SUBSCRIPTIONS.map(|filter| {
        let mut text = TopicText::new();
        // No filter is longer than the longest channel: the test below holds it to that.
        let fits = write!(text, "{ROOT}/{device}/{filter}").is_ok();
        debug_assert!(fits);
        text
    });
    [desired, command, class_filter(class)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_topic_fits() {
        let device = DeviceId::new("12345678901234567890123456789012").unwrap();
        let longest = Channel::ALL.into_iter().map(|c| topic(&device, c).len()).max();
        assert_eq!(longest, Some(DEVICE_TOPIC_MAX));
        assert!(
            subscriptions(&device, Uuid::default())[0].ends_with("/+/desired")
                && subscriptions(&device, Uuid::default())[1].ends_with("/command")
        );
    }

    #[test]
    fn topics_of_another_scheme_are_refused() {
        for text in [
            "",
            "device",
            "device/",
            "device//state",
            "device/a",
            "device/a/",
            "device/a/other",
            "device/a/state/more",
            "device/+/state",
            "devices/a/state",
            "/device/a/state",
            "device/a b/state",
        ] {
            assert_eq!(Topic::decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_reads_back_as_written(id in "[A-Za-z0-9_-]{1,32}", channel in 0usize..Channel::ALL.len()) {
            let topic = Topic { device: DeviceId::new(&id).unwrap(), channel: Channel::ALL[channel] };
            prop_assert_eq!(Topic::decode(&topic.encode()), Some(topic));
        }
    }
}
