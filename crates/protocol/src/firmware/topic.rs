//! Topics that all devices of a class read. Owns their names; who may write them is the broker's to say.

use super::Uuid;
use crate::blocks::PayloadUri;
use crate::topic::TopicText;
use core::fmt::{self, Write};

/// First level of every such topic.
const ROOT: &str = "firmware";
const MANIFEST: &str = "manifest";
const ROLLOUT: &str = "rollout";

/// Where the service puts what a device needs for an update. All of it is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareTopic {
    /// The manifest of a class ([`crate::suit`]).
    Manifest(Uuid),
    /// Who may take it now ([`crate::document::Rollout`]).
    Rollout(Uuid),
    /// A block of a payload ([`crate::blocks`]).
    Block(PayloadUri, u32),
}

impl FirmwareTopic {
    /// The topic as text.
    pub fn encode(&self) -> TopicText {
        let mut text = TopicText::new();
        // The longest is a block's: a test holds it to TOPIC_MAX.
        let fits = write!(text, "{self}").is_ok();
        debug_assert!(fits);
        text
    }

    /// Reads a topic; `None` for one that is not of this scheme or not in its one form.
    pub fn decode(text: &str) -> Option<Self> {
        let (head, last) = text.rsplit_once('/')?;
        let class = || Uuid::decode(head.strip_prefix(ROOT)?.strip_prefix('/')?);
        let topic = match last {
            MANIFEST => Self::Manifest(class()?),
            ROLLOUT => Self::Rollout(class()?),
            number => Self::Block(PayloadUri::decode(head)?, number.parse().ok()?),
        };
        (topic.encode() == text).then_some(topic)
    }
}

impl fmt::Display for FirmwareTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(class) => write!(f, "{ROOT}/{class}/{MANIFEST}"),
            Self::Rollout(class) => write!(f, "{ROOT}/{class}/{ROLLOUT}"),
            Self::Block(uri, number) => write!(f, "{uri}/{number}"),
        }
    }
}

/// What a device of this class subscribes to: its manifest and its rollout.
pub fn class_filter(class: Uuid) -> TopicText {
    let mut text = TopicText::new();
    let fits = write!(text, "{ROOT}/{class}/+").is_ok();
    debug_assert!(fits);
    text
}
