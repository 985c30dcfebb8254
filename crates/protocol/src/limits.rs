//! How long what goes between a device and its service may be: one definition for the device's buffers, the ports, the
//! operator's programs and the examples of brokers. Owns the sums, never a buffer.
//!
//! Who receives takes at least what is named here, and drops, acknowledges, counts and names what is longer.

use crate::audit;
use crate::blocks::BLOCK_MESSAGE_BYTES_MAX;
use crate::command::COMMAND_ANSWER_BYTES_MAX;
use crate::config::CONFIGURATION_STATE_BYTES_MAX;
use crate::document::{CSR_BYTES_MAX, LOG_PAYLOAD_BYTES_MAX};
use crate::firmware::FIRMWARE_STATE_BYTES_MAX;
use crate::hello::HELLO_BYTES_MAX;
use crate::identity_state::IDENTITY_STATE_BYTES_MAX;
use crate::signed::{DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX};
use crate::state::STATE_BYTES_MAX;
use crate::suit;
use crate::telemetry::BATCH_BYTES_MAX;
use crate::topic::{DEVICE_TOPIC_MAX, TOPIC_MAX};
use crate::{Channel, DeviceId};

/// Longest payload that a device publishes, in bytes.
pub const LONGEST_FROM_DEVICE: usize = longest_of(true);

/// Longest payload that a device has to take, in bytes: the longest of a signed document, a manifest and a block.
pub const LONGEST_TO_DEVICE: usize =
    max(longest_of(false), max(suit::ENVELOPE_BYTES_MAX, BLOCK_MESSAGE_BYTES_MAX));

/// Longest topic on which a device publishes, in bytes.
pub const TOPIC_FROM_DEVICE: usize = DEVICE_TOPIC_MAX;

/// Longest topic of what a device subscribes to, in bytes.
pub const TOPIC_TO_DEVICE: usize = TOPIC_MAX;

/// Longest PUBLISH packet of a device, in bytes.
pub const PACKET_FROM_DEVICE: usize = packet(TOPIC_FROM_DEVICE, LONGEST_FROM_DEVICE);

/// Longest PUBLISH packet that a device has to take, in bytes.
pub const PACKET_TO_DEVICE: usize = packet(TOPIC_TO_DEVICE, LONGEST_TO_DEVICE);

/// Longest payload in either direction, in bytes: what a broker has to pass, and need not pass more of.
pub const LONGEST: usize = max(LONGEST_FROM_DEVICE, LONGEST_TO_DEVICE);

/// Longest PUBLISH packet in either direction, in bytes.
pub const PACKET: usize = max(PACKET_FROM_DEVICE, PACKET_TO_DEVICE);

/// Longest signed [`crate::document::RenewalRequest`] in bytes: a map with the longest audience, a number and two requests.
pub const RENEWAL_REQUEST_BYTES_MAX: usize =
    1 + (1 + 2 + 2 + DeviceId::MAX_LEN) + (1 + 5) + 2 * (1 + 3 + CSR_BYTES_MAX) + ENVELOPE_BYTES_MAX;

/// Longest signed [`crate::document::LogDelivery`] in bytes.
pub const LOG_DELIVERY_BYTES_MAX: usize = LOG_PAYLOAD_BYTES_MAX + ENVELOPE_BYTES_MAX;
const _: () = assert!(audit::RECORD_BYTES_MAX + audit::HASH_BYTES < LOG_PAYLOAD_BYTES_MAX);

/// Longest payload on this channel, in bytes.
///
/// ```
/// use protocol::{Channel, limits};
/// assert!(limits::longest(Channel::Hello) <= limits::LONGEST_FROM_DEVICE);
/// assert!(limits::longest(Channel::RootsDesired) <= limits::LONGEST_TO_DEVICE);
/// ```
pub const fn longest(channel: Channel) -> usize {
    match channel {
        Channel::Hello => HELLO_BYTES_MAX,
        Channel::State => STATE_BYTES_MAX,
        Channel::Telemetry => BATCH_BYTES_MAX,
        Channel::IdentityState => IDENTITY_STATE_BYTES_MAX,
        Channel::IdentityRequest => RENEWAL_REQUEST_BYTES_MAX,
        Channel::FirmwareState => FIRMWARE_STATE_BYTES_MAX,
        Channel::ConfigState => CONFIGURATION_STATE_BYTES_MAX,
        Channel::CommandAnswer => COMMAND_ANSWER_BYTES_MAX,
        Channel::Log => LOG_DELIVERY_BYTES_MAX,
        Channel::ConfigDesired
        | Channel::LogDesired
        | Channel::RootsDesired
        | Channel::AuthorityDesired
        | Channel::IdentityDesired
        | Channel::Command => DOCUMENT_BYTES_MAX,
    }
}

/// Longest PUBLISH packet with a topic and a payload of these bytes: MQTT 3.1.1, section 3.3, with a fixed header of five bytes,
/// the topic's length and the packet identifier.
pub const fn packet(topic: usize, payload: usize) -> usize {
    5 + 2 + topic + 2 + payload
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

const fn longest_of(from_device: bool) -> usize {
    let mut all: &[Channel] = &Channel::ALL;
    let mut most = 0;
    while let [channel, rest @ ..] = all {
        if channel.is_from_device() == from_device {
            most = max(most, longest(*channel));
        }
        all = rest;
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Audience, RenewalRequest};
    use crate::signed::Document;

    #[test]
    fn the_longest_request_for_a_certificate_has_the_length_that_is_named() {
        let id = DeviceId::new("12345678901234567890123456789012").unwrap();
        let csr = [0; CSR_BYTES_MAX];
        let request = RenewalRequest {
            audience: Audience::Device(id),
            number: u32::MAX,
            identity_csr: &csr,
            tls_csr: &csr,
        };
        let mut out = [0; LONGEST_FROM_DEVICE];
        let payload = request.encode(&mut out).unwrap();
        assert!(payload + ENVELOPE_BYTES_MAX <= RENEWAL_REQUEST_BYTES_MAX, "{payload}");
        assert!(payload + ENVELOPE_BYTES_MAX + 8 > RENEWAL_REQUEST_BYTES_MAX, "{payload}: too generous");
    }
}
