//! What the callback of Zephyr's client has seen, until the device asks. Owns the one message that is being handed over,
//! never what it means.

use super::{SUBSCRIBE_ID, State};
use crate::kconfig::{CONFIG_SENSOR_ANSWER_TIMEOUT_MS, CONFIG_SENSOR_MESSAGE_MAX};
use crate::{clock, ffi, warning};
use core::ffi::c_int;
use heapless::{Deque, String, Vec};
use protocol::Failure;
use protocol::blocks::BLOCK_MESSAGE_BYTES_MAX;
use protocol::signed::DOCUMENT_BYTES_MAX;
use protocol::suit::ENVELOPE_BYTES_MAX;
use protocol::topic::TopicText;

/// Longest payload that is handed over, in bytes.
const MESSAGE_MAX: usize = CONFIG_SENSOR_MESSAGE_MAX as usize;
const _: () = assert!(
    MESSAGE_MAX >= DOCUMENT_BYTES_MAX
        && MESSAGE_MAX >= ENVELOPE_BYTES_MAX
        && MESSAGE_MAX >= BLOCK_MESSAGE_BYTES_MAX,
    "SENSOR_MESSAGE_MAX: the longest document, manifest or block does not fit"
);

/// How long a message may take to come in, in milliseconds: however long it is, and however slowly each byte comes.
const MESSAGE_MS: u64 = CONFIG_SENSOR_ANSWER_TIMEOUT_MS as u64;

/// One packet gives one item, and one more where it ends the connection; they are taken before the next packet is read.
const ITEMS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Accepted,
    Ended(Failure),
    Subscribed { granted: bool },
    Acknowledged(u16),
    Alive,
    Message,
}

pub(super) struct Inbox {
    items: Deque<Item, ITEMS_MAX>,
    topic: TopicText,
    payload: Vec<u8, MESSAGE_MAX>,
    /// The connection has ended: whatever else the client says of it is not news.
    ended: bool,
}

impl Inbox {
    pub(super) const fn new() -> Self {
        Self { items: Deque::new(), topic: String::new(), payload: Vec::new(), ended: false }
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.ended = false;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    pub(super) fn put(&mut self, item: Item) {
        if self.ended {
            return;
        }
        self.ended = matches!(item, Item::Ended(_));
        let kept = self.items.push_back(item);
        debug_assert!(kept.is_ok());
    }

    /// The message of the last [`Item::Message`].
    pub(super) fn message(&self) -> (&str, &[u8]) {
        (&self.topic, &self.payload)
    }
}

/// Zephyr's client calls this from inside the functions that [`super::Mqtt`] calls, with its own lock released. It may be
/// called again while it takes a message off the wire, so that references into the state are held for one line only.
pub(super) extern "C" fn event(client: *mut ffi::mqtt_client, event: *const ffi::mqtt_evt) {
    // SAFETY: Zephyr gives an event that is valid for the call.
    let event = unsafe { &*event };
    // SAFETY: `connect` has put the state here. It never moves, and no reference to it is alive while the client runs.
    let state = unsafe { (*client).user_data }.cast::<State>();
    let item = match event.type_ {
        // SAFETY: for this type the parameter is a CONNACK.
        ffi::MQTT_EVT_CONNACK => match unsafe { event.param.connack.return_code } {
            0 if event.result == 0 => Item::Accepted,
            code => Item::Ended(refusal(code)),
        },
        // SAFETY: as above, a copy.
        ffi::MQTT_EVT_DISCONNECT => Item::Ended(end(event.result, unsafe { (*state).connack })),
        // SAFETY: for this type the parameter is a SUBACK.
        ffi::MQTT_EVT_SUBACK if unsafe { event.param.suback.message_id } != SUBSCRIBE_ID => return,
        // SAFETY: as above; its codes are in the client's buffer during the call.
        ffi::MQTT_EVT_SUBACK => unsafe {
            let codes = event.param.suback.return_codes;
            let refused = ffi::MQTT_SUBACK_FAILURE as u8;
            let granted = codes.len > 0 && (0..codes.len as usize).all(|at| *codes.data.add(at) != refused);
            Item::Subscribed { granted }
        },
        // SAFETY: for this type the parameter is a PUBACK.
        ffi::MQTT_EVT_PUBACK => Item::Acknowledged(unsafe { event.param.puback.message_id }),
        ffi::MQTT_EVT_PINGRESP => Item::Alive,
        // SAFETY: for this type the parameter is a PUBLISH; the inbox is the one in the state.
        ffi::MQTT_EVT_PUBLISH => {
            match unsafe { receive(client, &event.param.publish, &raw mut (*state).inbox) } {
                true => Item::Message,
                false => return,
            }
        }
        _ => return,
    };
    // SAFETY: as above; nothing calls back while this reference is alive.
    unsafe { &mut (*state).inbox }.put(item);
}

/// Takes a message off the wire, whatever becomes of it. True where it is in the inbox.
///
/// # Safety
/// `client` is the one that calls back, with this very message; `inbox` is its own, and no reference to it is alive.
unsafe fn receive(
    client: *mut ffi::mqtt_client,
    publish: &ffi::mqtt_publish_param,
    inbox: *mut Inbox,
) -> bool {
    let len = publish.message.payload.len as usize;
    let topic = publish.message.topic.topic;
    // SAFETY: the topic is in the client's buffer during the call.
    let topic = unsafe { core::slice::from_raw_parts(topic.utf8, topic.size as usize) };
    let topic = core::str::from_utf8(topic).ok().and_then(|topic| TopicText::try_from(topic).ok());
    let topic = topic.filter(|_| len <= MESSAGE_MAX);
    // SAFETY: nothing calls back while these references are alive, here and below.
    unsafe { &mut (*inbox).payload }.clear();
    let mut left = len;
    let begun = clock::uptime();
    while left > 0 {
        if clock::uptime().since(begun) > MESSAGE_MS {
            warning!("a message of {len} bytes from the service takes too long: the connection is given up");
            // SAFETY: the client is connected; that it is not any more comes as an event.
            let _error = unsafe { ffi::mqtt_abort(client) };
            return false;
        }
        let mut chunk = [0; 128];
        let room = chunk.len().min(left);
        // SAFETY: the chunk has at least `room` bytes.
        let got = unsafe { ffi::mqtt_read_publish_payload_blocking(client, chunk.as_mut_ptr().cast(), room) };
        let got = usize::try_from(got).unwrap_or(0);
        let Some(bytes) = chunk.get(..got).filter(|bytes| !bytes.is_empty()) else {
            // The client has closed the connection and told so.
            return false;
        };
        left = left.saturating_sub(bytes.len());
        // SAFETY: as above. What does not fit is read and dropped, below with a word.
        let _fits = topic.is_some() && unsafe { &mut (*inbox).payload }.extend_from_slice(bytes).is_ok();
    }
    if publish.message.topic.qos == ffi::MQTT_QOS_1_AT_LEAST_ONCE as u8 {
        let receipt = ffi::mqtt_puback_param { message_id: publish.message_id };
        // SAFETY: the client is connected; where it is not any more, it tells.
        let _error = unsafe { ffi::mqtt_publish_qos1_ack(client, &raw const receipt) };
    }
    let Some(topic) = topic else {
        warning!("a message of {len} bytes from the service is dropped: at most {MESSAGE_MAX} are taken");
        return false;
    };
    // SAFETY: as above.
    unsafe { &mut (*inbox).topic }.clone_from(&topic);
    true
}

/// The name of a CONNACK's return code (MQTT 3.1.1, section 3.2.2.3).
fn refusal(code: u8) -> Failure {
    match code {
        2 => Failure::MqttIdentifier,
        3 => Failure::MqttUnavailable,
        4 => Failure::MqttCredentials,
        5 => Failure::MqttNotAuthorised,
        _ => Failure::MqttProtocol,
    }
}

/// The name of the errno with which the client has closed the connection.
fn end(error: c_int, accepted: bool) -> Failure {
    match ffi::errno_kind(error) {
        ffi::SHIM_ERRNO_NOT_CONNECTED => Failure::PeerClosed,
        // In TLS 1.3 the handshake is over before the service has looked at the device's certificate: its alert is the
        // first thing that comes.
        ffi::SHIM_ERRNO_IO if !accepted => Failure::TlsClientRejected,
        ffi::SHIM_ERRNO_INVALID if !accepted => Failure::MqttProtocol,
        _ => Failure::LinkLost,
    }
}
