//! What the service sends: `device::incoming` reads it off the TLS connection, and here each packet gets its answer and becomes
//! what the device is told. Owns the packet identifiers that an answer is waited for and the topics that are subscribed to;
//! never waits, so that a service that drips or floods costs no more than a turn of the thread. R-MQTT-ISOLATION.

use super::State;
use crate::kconfig::CONFIG_SENSOR_ANSWER_TIMEOUT_MS;
use crate::{clock, ffi, warning};
use core::ffi::c_int;
use device::Uptime;
use device::dropped::{Drops, Why};
use device::incoming::{Packet, Payload, Reader};
use heapless::Vec;
use protocol::Failure;
use protocol::topic::{SUBSCRIPTIONS_MAX, TopicText, matches};

/// A packet has to go on within this time once it has begun, in milliseconds: however long it is, it never stands still.
const STALL_MS: u64 = CONFIG_SENSOR_ANSWER_TIMEOUT_MS as u64;

/// Bytes that are taken off the connection at once.
const PIECE: usize = 1024;

/// Most topics that come and go, of which an answer is waited for.
const PASSING_MAX: usize = 8;

/// Most messages on their way: more than the device has.
const ON_THEIR_WAY_MAX: usize = 16;

/// CONNACK as Zephyr's client reads it.
const ACCEPTED: &[u8] = &[0x20, 2, 0, 0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Accepted,
    Ended(Failure),
    Subscribed {
        granted: bool,
    },
    Acknowledged(u16),
    /// Something of the service that is no news.
    Alive,
    /// A piece of a message that is on its way.
    Receiving,
    Message,
}

/// A SUBSCRIBE that is not answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u16,
    topics: usize,
    tells: bool,
}

pub(super) struct Incoming {
    reader: Reader,
    piece: [u8; PIECE],
    from: usize,
    to: usize,
    /// When something came last.
    heard: Uptime,
    messages: Vec<u16, ON_THEIR_WAY_MAX>,
    asked: Vec<Asked, PASSING_MAX>,
    releasing: Vec<(u16, TopicText), PASSING_MAX>,
    topics: Vec<TopicText, { SUBSCRIPTIONS_MAX + PASSING_MAX }>,
    drops: Drops,
}

/// More is on its way than there is room for.
#[derive(Debug)]
pub(super) struct Full;

impl Incoming {
    pub(super) const fn new() -> Self {
        Self {
            reader: Reader::new(),
            piece: [0; PIECE],
            from: 0,
            to: 0,
            heard: Uptime(0),
            messages: Vec::new(),
            asked: Vec::new(),
            releasing: Vec::new(),
            topics: Vec::new(),
            drops: Drops::new(),
        }
    }

    /// A connection begins. What was dropped stays counted.
    pub(super) fn reset(&mut self) {
        self.reader.reset();
        (self.from, self.to) = (0, 0);
        self.messages.clear();
        self.asked.clear();
        self.releasing.clear();
        self.topics.clear();
    }

    /// A PUBLISH with this identifier goes out.
    pub(super) fn published(&mut self, id: u16) -> Result<(), Full> {
        self.messages.push(id).map_err(|_| Full)
    }

    /// A SUBSCRIBE with this identifier goes out.
    pub(super) fn subscribing(&mut self, id: u16, topics: &[TopicText], tells: bool) -> Result<(), Full> {
        self.asked.push(Asked { id, topics: topics.len(), tells }).map_err(|_| Full)?;
        topics
            .iter()
            .filter(|topic| !topic.is_empty())
            .try_for_each(|topic| self.topics.push(topic.clone()).map_err(|_| Full))
    }

    /// An UNSUBSCRIBE with this identifier goes out.
    pub(super) fn releasing(&mut self, id: u16, topic: &TopicText) -> Result<(), Full> {
        self.releasing.push((id, topic.clone())).map_err(|_| Full)
    }

    /// True where something is here that was not looked at.
    pub(super) fn waits(&self) -> bool {
        self.from < self.to
    }

    /// Topic and payload of the last [`Item::Message`].
    pub(super) fn message(&self) -> (&str, &[u8]) {
        let (topic, payload) = self.reader.message();
        // It was subscribed to: it is text.
        (core::str::from_utf8(topic).unwrap_or_default(), payload)
    }

    fn drop(&mut self, why: Why, topic: &[u8], bytes: u32) {
        if let Some(dropped) = self.drops.add(clock::uptime(), why, topic, bytes) {
            warning!("{dropped}");
        }
    }

    fn stray(&mut self) -> Result<Item, Failure> {
        self.drop(Why::Stray, &[], 0);
        Ok(Item::Alive)
    }

    fn subscribed(&mut self, id: u16, codes: &Codes) -> Result<Item, Failure> {
        let at = self.asked.iter().position(|asked| asked.id == id).ok_or(Failure::MqttProtocol)?;
        let asked = self.asked.swap_remove(at);
        // A code for each topic: what is granted, at most what was asked for, or 0x80 (section 3.9.3).
        if codes.count != asked.topics || codes.strange {
            return Err(Failure::MqttProtocol);
        }
        Ok(if asked.tells { Item::Subscribed { granted: !codes.refused } } else { Item::Alive })
    }
}

/// What a SUBACK says, in short.
struct Codes {
    count: usize,
    refused: bool,
    strange: bool,
}

/// A packet without what it borrows.
enum Read {
    ConnAck { session: bool, code: u8 },
    SubAck(u16, Codes),
    UnsubAck(u16),
    PubAck(u16),
    PingResp,
    Disconnect,
    Publish { id: Option<u16>, too_long: Option<u32>, len: u32, cut: bool },
}

/// Takes the next piece off the connection and the next packet out of it, without waiting for either; what came of it.
///
/// # Safety
/// `state` is that of [`super::Mqtt`], set up by `connect`, and no reference to it is alive.
pub(super) unsafe fn next(state: *mut State) -> Option<Item> {
    // SAFETY: nothing calls back while this reference is alive.
    let State { connection, incoming, connack, .. } = unsafe { &mut *state };
    let connection = connection.as_mut()?;
    let now = clock::uptime();
    if !incoming.waits() {
        let got = connection.receive(&mut incoming.piece);
        match usize::try_from(got) {
            Ok(0) => return Some(Item::Ended(Failure::PeerClosed)),
            Ok(got) => (incoming.from, incoming.to, incoming.heard) = (0, got.min(PIECE), now),
            Err(_) if ffi::errno_kind(got) == ffi::SHIM_ERRNO_AGAIN => {
                let stalls = incoming.reader.is_amid() && now.since(incoming.heard) > STALL_MS;
                return stalls.then_some(Item::Ended(Failure::LinkLost));
            }
            Err(_) => return Some(Item::Ended(end(got, *connack))),
        }
    }
    let mut rest = incoming.piece.get(incoming.from..incoming.to).unwrap_or_default();
    let packet = match incoming.reader.take(&mut rest) {
        Ok(None) => None,
        Ok(Some(packet)) => Some(without_borrows(&packet)),
        Err(_) => return Some(Item::Ended(Failure::MqttProtocol)),
    };
    incoming.from = incoming.to - rest.len();
    let Some(packet) = packet else { return Some(Item::Receiving) };
    let item = if *connack {
        // SAFETY: the references above are not used any more.
        unsafe { act(state, packet) }
    } else {
        // SAFETY: as above.
        unsafe { accepted(state, &packet) }
    };
    Some(item.unwrap_or_else(Item::Ended))
}

fn without_borrows(packet: &Packet<'_>) -> Read {
    match *packet {
        Packet::ConnAck { session, code } => Read::ConnAck { session, code },
        Packet::SubAck { id, codes } => Read::SubAck(
            id,
            Codes {
                count: codes.len(),
                refused: codes.contains(&0x80),
                strange: codes.iter().any(|code| !matches!(code, 0 | 1 | 0x80)),
            },
        ),
        Packet::UnsubAck(id) => Read::UnsubAck(id),
        Packet::PubAck(id) => Read::PubAck(id),
        Packet::PingResp => Read::PingResp,
        Packet::Disconnect => Read::Disconnect,
        Packet::Publish { topic, topic_len, id, payload } => {
            let (too_long, len) = match payload {
                Payload::Taken(payload) => (None, payload.len() as u32),
                Payload::TooLong(len) => (Some(len), len),
            };
            Read::Publish { id, too_long, len, cut: topic.len() < usize::from(topic_len) }
        }
    }
}

/// The first packet must be the CONNACK that accepts the device.
///
/// # Safety
/// As for [`next`].
unsafe fn accepted(state: *mut State, packet: &Read) -> Result<Item, Failure> {
    match *packet {
        Read::ConnAck { code: code @ 1.., .. } => Err(refusal(code)),
        Read::ConnAck { session: true, .. } => Err(Failure::MqttSession),
        Read::ConnAck { .. } => {
            // SAFETY: the client is set up, and reads what it is handed; no reference is alive.
            let error = unsafe {
                (*state).handed = ACCEPTED;
                ffi::mqtt_input(&raw mut (*state).client)
            };
            if error == 0 { Ok(Item::Accepted) } else { Err(Failure::LinkLost) }
        }
        Read::Disconnect => Err(Failure::MqttDisconnect),
        _ => Err(Failure::MqttProtocol),
    }
}

/// Any packet after that.
///
/// # Safety
/// As for [`next`].
unsafe fn act(state: *mut State, packet: Read) -> Result<Item, Failure> {
    // SAFETY: as long as this reference is used the client does not run.
    let State { incoming, client, .. } = unsafe { &mut *state };
    match packet {
        Read::PubAck(id) => match incoming.messages.iter().position(|other| *other == id) {
            Some(at) => Ok(Item::Acknowledged(incoming.messages.swap_remove(at))),
            None => incoming.stray(),
        },
        Read::UnsubAck(id) => match incoming.releasing.iter().position(|(other, _)| *other == id) {
            Some(at) => {
                let (_, topic) = incoming.releasing.swap_remove(at);
                // It may have been subscribed to again meanwhile: then it stands there twice.
                if let Some(at) = incoming.topics.iter().position(|other| *other == topic) {
                    incoming.topics.swap_remove(at);
                }
                Ok(Item::Alive)
            }
            None => incoming.stray(),
        },
        Read::SubAck(id, codes) => incoming.subscribed(id, &codes),
        Read::PingResp => {
            client.unacked_ping = 0;
            Ok(Item::Alive)
        }
        Read::Disconnect => Err(Failure::MqttDisconnect),
        Read::ConnAck { .. } => Err(Failure::MqttProtocol),
        Read::Publish { id, too_long, len, cut } => {
            if let Some(id) = id {
                let receipt = ffi::mqtt_puback_param { message_id: id };
                // SAFETY: the client is connected; the references above are made anew below.
                if unsafe { ffi::mqtt_publish_qos1_ack(&raw mut (*state).client, &raw const receipt) } != 0 {
                    return Err(Failure::LinkLost);
                }
            }
            // SAFETY: as above.
            let incoming = unsafe { &mut (*state).incoming };
            let topic = incoming.reader.message().0;
            let known = !cut && incoming.topics.iter().any(|filter| matches(filter.as_bytes(), topic));
            if known && too_long.is_none() {
                return Ok(Item::Message);
            }
            let why = if known { Why::TooLong } else { Why::NotSubscribed };
            let topic: Vec<u8, { protocol::topic::TOPIC_MAX }> = Vec::from_slice(topic).unwrap_or_default();
            incoming.drop(why, &topic, len);
            Ok(Item::Alive)
        }
    }
}

/// Zephyr's client calls this from inside the functions that [`super::Mqtt`] calls: it has closed the connection, because
/// something could not be sent.
pub(super) extern "C" fn event(client: *mut ffi::mqtt_client, event: *const ffi::mqtt_evt) {
    // SAFETY: Zephyr gives an event that is valid for the call.
    let event = unsafe { &*event };
    if event.type_ == ffi::MQTT_EVT_DISCONNECT {
        // SAFETY: `connect` has put the state here. It never moves, and no reference to it is alive while the client runs.
        unsafe {
            let state = (*client).user_data.cast::<State>();
            (*state).ended.get_or_insert(end(event.result, (*state).connack));
        }
    }
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

/// The name of the errno with which the connection has ended.
fn end(error: c_int, accepted: bool) -> Failure {
    match ffi::errno_kind(error) {
        ffi::SHIM_ERRNO_NOT_CONNECTED => Failure::PeerClosed,
        // In TLS 1.3 the handshake is over before the service has looked at the device's certificate: its alert is the
        // first thing that comes.
        ffi::SHIM_ERRNO_IO if !accepted => Failure::TlsClientRejected,
        _ => Failure::LinkLost,
    }
}
