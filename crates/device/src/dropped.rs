//! What the service sends and a device does not take, without ending the connection: messages that are too long or on topics
//! that were not subscribed to, and acknowledgements that nobody waits for. Owns the limit, the count and which of them are
//! worth a word, so that neither one retained message nor three thousand can do more than that. R-DATA-INTACT.

use crate::platform::Uptime;
use core::fmt;
use heapless::{String, Vec};
use protocol::blocks::BLOCK_MESSAGE_BYTES_MAX;
use protocol::signed::DOCUMENT_BYTES_MAX;
use protocol::suit::ENVELOPE_BYTES_MAX;
use protocol::topic::TOPIC_MAX;

/// Longest payload that a device takes, in bytes: room for the longest document, manifest and block. What is longer is read to
/// its end and dropped.
pub const PAYLOAD_BYTES_MAX: usize = 3_584;
const _: () = assert!(
    PAYLOAD_BYTES_MAX >= DOCUMENT_BYTES_MAX
        && PAYLOAD_BYTES_MAX >= ENVELOPE_BYTES_MAX
        && PAYLOAD_BYTES_MAX >= BLOCK_MESSAGE_BYTES_MAX
);

/// So many topics are remembered, of which it was said that a message was too long.
const TOPICS_MAX: usize = 8;

/// Of everything else, and of further topics, one word in this time, in milliseconds.
const SILENCE_MS: u64 = 60_000;

/// Why something is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its payload is longer than [`PAYLOAD_BYTES_MAX`].
    TooLong,
    /// Its topic is none that was subscribed to.
    NotSubscribed,
    /// An acknowledgement for nothing that is on its way.
    Stray,
}

/// Something was dropped that is worth a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub why: Why,
    /// The beginning of its topic; empty for an acknowledgement.
    pub topic: String<TOPIC_MAX>,
    /// Length of its payload in bytes.
    pub bytes: u32,
    /// All that was dropped since the start, with this one.
    pub count: u32,
}

/// What was dropped since the start.
#[derive(Debug, Default)]
pub struct Drops {
    count: u32,
    topics: Vec<String<TOPIC_MAX>, TOPICS_MAX>,
    /// When something was last said of each kind.
    too_long: Option<Uptime>,
    not_subscribed: Option<Uptime>,
    stray: Option<Uptime>,
}

impl Drops {
    /// Nothing was dropped yet.
    pub const fn new() -> Self {
        Self { count: 0, topics: Vec::new(), too_long: None, not_subscribed: None, stray: None }
    }

    /// How much was dropped.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Counts something that was dropped; gives it where it is worth a word: of each topic the first that is too long, of
    /// everything else one in a minute.
    pub fn add(&mut self, now: Uptime, why: Why, topic: &[u8], bytes: u32) -> Option<Dropped> {
        self.count = self.count.saturating_add(1);
        let topic = beginning(topic);
        let known = why == Why::TooLong && self.topics.contains(&topic);
        let said = match why {
            Why::TooLong => &mut self.too_long,
            Why::NotSubscribed => &mut self.not_subscribed,
            Why::Stray => &mut self.stray,
        };
        let recently = said.is_some_and(|at| now.since(at) < SILENCE_MS);
        // What there is room for is remembered.
        let new_topic = why == Why::TooLong && !known && self.topics.push(topic.clone()).is_ok();
        if known || (recently && !new_topic) {
            return None;
        }
        *said = Some(now);
        Some(Dropped { why, topic, bytes, count: self.count })
    }
}

/// As much of a topic as fits, with `?` for what should not be in a log.
fn beginning(topic: &[u8]) -> String<TOPIC_MAX> {
    let mut text = String::new();
    for byte in topic.iter().take(TOPIC_MAX) {
        let shown = if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
        // As many as there is room for.
        let _full = text.push(shown);
    }
    text
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, topic, bytes, count } = self;
        match why {
            Why::TooLong => write!(
                f,
                "a message of {bytes} bytes on {topic} is dropped: at most {PAYLOAD_BYTES_MAX} are taken"
            )?,
            Why::NotSubscribed => write!(
                f,
                "a message of {bytes} bytes on \"{topic}\" is dropped: this device has not subscribed to that topic"
            )?,
            Why::Stray => {
                f.write_str(
                    "an acknowledgement of the service is dropped: nothing on its way has its number",
                )?;
            }
        }
        write!(f, " ({count} dropped since the start)")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_topic_with_a_message_too_long_is_named_once_and_others_beside_it() {
        let mut drops = Drops::new();
        let now = Uptime(5);
        let said = drops.add(now, Why::TooLong, b"device/dev-1/roots/desired", 9_000).unwrap();
        assert_eq!(
            said.to_string(),
            "a message of 9000 bytes on device/dev-1/roots/desired is dropped: at most 3584 are taken (1 dropped since the start)"
        );
        assert!(drops.add(now.after(100_000), Why::TooLong, b"device/dev-1/roots/desired", 9_000).is_none());
        assert!(drops.add(now, Why::TooLong, b"device/dev-1/command", 9_000).is_some());
        assert_eq!(drops.count(), 3);
    }

    #[test]
    fn three_thousand_topics_are_a_few_words_and_all_are_counted() {
        for why in [Why::TooLong, Why::NotSubscribed, Why::Stray] {
            let mut drops = Drops::new();
            let mut words = 0;
            for number in 0_u64..3_000 {
                let topic = std::format!("device/dev-1/{number}");
                words += u32::from(drops.add(Uptime(number * 10), why, topic.as_bytes(), 5_000).is_some());
            }
            assert!((1..=TOPICS_MAX as u32 + 1).contains(&words), "{why:?}: {words}");
            assert_eq!(drops.count(), 3_000);
            assert!(drops.add(Uptime(1_000_000), why, b"later", 5_000).is_some());
        }
    }

    #[test]
    fn a_topic_in_a_log_line_is_short_and_has_no_control_characters() {
        let mut drops = Drops::new();
        let topic = [b"\x1b[2J\n\xff".as_slice(), &b"x".repeat(70_000)].concat();
        let said = drops.add(Uptime(0), Why::NotSubscribed, &topic, 1).unwrap();
        assert!(said.topic.starts_with("?[2J??xxx") && said.topic.len() == TOPIC_MAX);
        assert!(
            drops.add(Uptime(0), Why::Stray, b"", 0).unwrap().to_string().starts_with("an acknowledgement")
        );
    }
}
