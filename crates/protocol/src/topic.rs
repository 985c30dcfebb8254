//! MQTT topics: everything of a device lies below `device/<id>/`, so that a broker separates devices by one pattern.
//! Owns the names, never a connection. R-MQTT-ISOLATION.

use crate::firmware::{Uuid, class_filter};
use crate::{DeviceId, NAME_MAX, Name};
use core::fmt::{self, Write};
use heapless::{String, Vec};

/// First level of every topic.
pub const ROOT: &str = "device";

/// Longest topic in bytes: a block's, `firmware/` + 64 digits of a digest + two numbers ([`crate::firmware`]).
pub const TOPIC_MAX: usize = 9 + 64 + 2 * (1 + 10);

/// Longest topic of a device in bytes: `device/` + id + `/` + the longest channel.
pub(crate) const DEVICE_TOPIC_MAX: usize = ROOT.len() + 1 + DeviceId::MAX_LEN + 1 + Channel::MAX_LEN;
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
    /// Device to service, retained: the configuration in force ([`crate::ConfigurationState`]).
    ConfigState,
    /// Device to service, retained: what became of the last command ([`crate::CommandAnswer`]).
    CommandAnswer,
    /// Device to service: a piece of the security log, signed ([`crate::document::LogDelivery`]).
    Log,
    /// Service to device, retained: the configuration that is wanted, signed ([`crate::config::Change`]).
    ConfigDesired,
    /// Service to device, retained: up to where the operator has the security log, signed
    /// ([`crate::document::LogAcknowledgement`]).
    LogDesired,
    /// Service to device, retained: the roots that are wanted, signed ([`crate::document::RootList`]).
    RootsDesired,
    /// Service to device, retained: a new authority's key, signed ([`crate::document::AuthorityKey`]).
    AuthorityDesired,
    /// Service to device, retained: the answer to a request, signed ([`crate::document::IdentityCertificate`]).
    IdentityDesired,
    /// Service to device: one command, signed ([`crate::document::Command`], [`crate::document::Retirement`]).
    Command,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 15] = [
        Self::Hello,
        Self::State,
        Self::Telemetry,
        Self::IdentityState,
        Self::IdentityRequest,
        Self::FirmwareState,
        Self::ConfigState,
        Self::CommandAnswer,
        Self::Log,
        Self::ConfigDesired,
        Self::LogDesired,
        Self::RootsDesired,
        Self::AuthorityDesired,
        Self::IdentityDesired,
        Self::Command,
    ];

    /// What a device subscribes to, below its own prefix.
    pub const SUBSCRIPTIONS: [&str; 2] = ["+/desired", "command"];

    /// Length of the longest channel name in bytes.
    pub const MAX_LEN: usize = 17;

    /// The channel with these levels below the device's prefix.
    pub fn from_wire(levels: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == levels)
    }

    /// True for what the device publishes, false for what it subscribes to.
    pub const fn is_from_device(self) -> bool {
        match self {
            Self::Hello
            | Self::State
            | Self::Telemetry
            | Self::IdentityState
            | Self::IdentityRequest
            | Self::FirmwareState
            | Self::ConfigState
            | Self::CommandAnswer
            | Self::Log => true,
            Self::ConfigDesired
            | Self::LogDesired
            | Self::RootsDesired
            | Self::AuthorityDesired
            | Self::IdentityDesired
            | Self::Command => false,
        }
    }

    /// The levels below the device's prefix.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::State => "state",
            Self::Telemetry => "telemetry",
            Self::IdentityState => "identity/state",
            Self::IdentityRequest => "identity/request",
            Self::FirmwareState => "firmware/state",
            Self::ConfigState => "config/state",
            Self::CommandAnswer => "command/answer",
            Self::Log => "log",
            Self::ConfigDesired => "config/desired",
            Self::LogDesired => "log/desired",
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
        let channel = Channel::from_wire(channel)?;
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

/// First level of the topics of groups.
pub const GROUP_ROOT: &str = "group";

/// Longest topic of a group in bytes.
const GROUP_TOPIC_MAX: usize = GROUP_ROOT.len() + 1 + NAME_MAX + 1 + Channel::ConfigDesired.as_str().len();
const _: () = assert!(GROUP_TOPIC_MAX <= TOPIC_MAX);

/// The topic on which the configuration for a group is retained. `None` for a name that cannot be one level of a topic:
/// an empty one, or one with `/` or `+` in it.
pub fn group_topic(group: &Name) -> Option<TopicText> {
    if group.is_empty() || group.contains(['/', '+']) {
        return None;
    }
    let mut text = TopicText::new();
    write!(text, "{GROUP_ROOT}/{group}/{}", Channel::ConfigDesired.as_str()).ok()?;
    Some(text)
}

/// Most topics that a device subscribes to at once.
pub const SUBSCRIPTIONS_MAX: usize = 4;

/// Topics to subscribe to.
pub type Subscriptions = Vec<TopicText, SUBSCRIPTIONS_MAX>;

/// What `device` of `class` in `group` subscribes to: every topic on which the service speaks to it, those of its class's
/// firmware, and that of its group's configuration where it has one.
pub fn subscriptions(device: &DeviceId, class: Uuid, group: &Name) -> Subscriptions {
    let [desired, command] = Channel::SUBSCRIPTIONS.map(|filter| {
        let mut text = TopicText::new();
        // No filter is longer than the longest channel: the test below holds it to that.
        let fits = write!(text, "{ROOT}/{device}/{filter}").is_ok();
        debug_assert!(fits);
        text
    });
    // SUBSCRIPTIONS_MAX is their number.
    [desired, command, class_filter(class)].into_iter().chain(group_topic(group)).collect()
}

/// Whether a topic is one that `filter` asks for (MQTT 3.1.1, section 4.7): `+` stands for one level, `#` for all that follow and
/// for none. No filter of a device begins with either, so that topics with `$` need no rule.
pub fn matches(filter: &[u8], topic: &[u8]) -> bool {
    let level = |byte: &u8| *byte == b'/';
    let (mut wanted, mut levels) = (filter.split(level), topic.split(level));
    loop {
        match (wanted.next(), levels.next()) {
            (None, None) | (Some(b"#"), _) => return true,
            (Some(b"+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_filter_takes_its_own_topics_and_no_neighbours() {
        for (filter, topic, expected) in [
            ("device/a/+/desired", "device/a/config/desired", true),
            ("device/a/+/desired", "device/a//desired", true),
            ("device/a/+/desired", "device/b/config/desired", false),
            ("device/a/+/desired", "device/a/config/desired/x", false),
            ("device/a/+/desired", "device/a/config", false),
            ("device/a/+/desired", "device/a/x/y/desired", false),
            ("device/a/+/desired", "", false),
            ("device/a/command", "device/a/command", true),
            ("device/a/command", "device/a/command/answer", false),
            ("device/a/command", "device/a/commander", false),
            ("firmware/x/#", "firmware/x/block/1", true),
            ("firmware/x/#", "firmware/x", true),
            ("firmware/x/#", "firmware/xy/block", false),
            ("firmware/x/#", "firmware", false),
        ] {
            assert_eq!(matches(filter.as_bytes(), topic.as_bytes()), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn the_device_is_subscribed_to_every_channel_that_is_to_it_and_to_none_of_its_own() {
        let device = DeviceId::new("a").unwrap();
        let filters = subscriptions(&device, Uuid([1; 16]), &Name::try_from("g").unwrap());
        for channel in Channel::ALL {
            let topic = topic(&device, channel);
            let heard = filters.iter().any(|filter| matches(filter.as_bytes(), topic.as_bytes()));
            assert_eq!(heard, !channel.is_from_device(), "{topic}");
        }
    }

    #[test]
    fn the_longest_topic_fits() {
        let device = DeviceId::new("12345678901234567890123456789012").unwrap();
        let longest = Channel::ALL.into_iter().map(|c| topic(&device, c).len()).max();
        assert_eq!(longest, Some(DEVICE_TOPIC_MAX));
        assert!(
            subscriptions(&device, Uuid::default(), &Name::EMPTY)[0].ends_with("/+/desired")
                && subscriptions(&device, Uuid::default(), &Name::EMPTY)[1].ends_with("/command")
        );
    }

    #[test]
    fn a_group_has_a_topic_unless_its_name_would_reach_into_others() {
        let name = |text: &str| Name::try_from(text).unwrap();
        assert_eq!(group_topic(&name("field-a")).as_deref(), Some("group/field-a/config/desired"));
        for text in ["", "a/b", "+", "a+b", "/"] {
            assert_eq!(group_topic(&name(text)), None, "{text}");
        }
        let device = DeviceId::new("a").unwrap();
        assert_eq!(subscriptions(&device, Uuid::default(), &name("g"))[3].as_str(), "group/g/config/desired");
        assert_eq!(subscriptions(&device, Uuid::default(), &name("+")).len(), 3);
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
