//! The MQTT client of Zephyr. Owns the client's memory and turns its callbacks into the device's events; never decides
//! when to connect, what to send or how long to wait. R-MQTT-ISOLATION, R-DATA-INTACT.
//!
//! The client runs over [`crate::tls`] only ([`transport`]): there is no way from here to a socket without TLS. It sends; what comes
//! is read by [`incoming`], which takes more of a service than Zephyr's own reader and believes less.

mod incoming;
mod transport;

use crate::credentials::Presented;
use crate::fault::{self, Fault};
use crate::kconfig::CONFIG_SENSOR_ANSWER_TIMEOUT_MS;
use crate::net::HostName;
use crate::tls::Connection;
use crate::{clock, ffi};
use core::ffi::c_int;
use core::ptr::NonNull;
use device::session::AddressTurn;
use device::{Event, Uptime};
use heapless::Vec;
use incoming::{Full, Incoming, Item};
use protocol::token::TOKEN_BYTES_MAX;
use protocol::topic::{SUBSCRIPTIONS_MAX, Subscriptions, TOPIC_MAX, TopicText};
use protocol::{DeviceId, Failure};
use static_cell::ConstStaticCell;
pub use transport::Packet;
use zeroize::Zeroize;

/// Room for what Zephyr's client reads, in bytes: the CONNACK that it is handed.
const RX_MAX: usize = 8;
/// Room for one packet to the service but for a PUBLISH's payload, in bytes: a CONNECT with a token, or a SUBSCRIBE with
/// all topics.
const TX_MAX: usize = if SUBSCRIBE_MAX > CONNECT_MAX { SUBSCRIBE_MAX } else { CONNECT_MAX };
const SUBSCRIBE_MAX: usize = SUBSCRIPTIONS_MAX * TOPIC_MAX + 64;
const CONNECT_MAX: usize = TOKEN_BYTES_MAX + 2 * DeviceId::MAX_LEN + 64;

/// Packet identifier of the SUBSCRIBE by which the device lives. Identifiers of PUBLISH are the device's tokens, which count
/// from 1: the kinds of acknowledgement are told apart by their packet type.
const SUBSCRIBE_ID: u16 = u16::MAX;
/// First of the identifiers for topics that come and go: each is used again only after all the others.
const PASSING_ID: u16 = 0xff00;

/// Everything that Zephyr's client points to, but for a packet that is being published. It never moves.
struct State {
    client: ffi::mqtt_client,
    rx: [u8; RX_MAX],
    tx: [u8; TX_MAX],
    client_id: [u8; DeviceId::MAX_LEN],
    connection: Option<Connection>,
    since: Uptime,
    connack: bool,
    /// The identifier of the last topic that came or went.
    passing: u16,
    incoming: Incoming,
    /// What Zephyr's client reads next.
    handed: &'static [u8],
    /// Why the connection is at its end.
    ended: Option<Failure>,
    /// Until when sending may take.
    until: Uptime,
    turn: AddressTurn,
    /// What is being published.
    packet: Option<NonNull<Packet>>,
}

// SAFETY: the pointers in it are to itself, to constants and to what outlives a call; nothing is bound to a thread.
unsafe impl Send for State {}

static STATE: ConstStaticCell<State> = ConstStaticCell::new(State {
    // SAFETY: a C structure of numbers, pointers and optional functions, for all of which zero is a value; Zephyr's
    // `mqtt_client_init` starts by setting it to zero as well.
    client: unsafe { core::mem::zeroed() },
    rx: [0; RX_MAX],
    tx: [0; TX_MAX],
    client_id: [0; DeviceId::MAX_LEN],
    connection: None,
    since: Uptime(0),
    connack: false,
    passing: PASSING_ID,
    incoming: Incoming::new(),
    handed: &[],
    ended: None,
    until: Uptime(0),
    turn: AddressTurn::new(),
    packet: None,
});

/// How long the CONNECT may take to be sent, in milliseconds.
const SEND_MS: u64 = CONFIG_SENSOR_ANSWER_TIMEOUT_MS as u64;

/// `mqtt_subscribe` or `mqtt_unsubscribe`.
type ListPacket = unsafe extern "C" fn(*mut ffi::mqtt_client, *const ffi::mqtt_subscription_list) -> c_int;

/// Where to connect, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// Name or address of the service.
    pub host: &'a HostName,
    /// TCP port.
    pub port: u16,
    /// MQTT client identifier.
    pub client_id: &'a str,
    /// MQTT keep-alive in seconds.
    pub keep_alive_s: u16,
}

/// The client.
pub struct Mqtt(NonNull<State>);

impl Mqtt {
    /// To be called once; `None` after that.
    pub fn take() -> Option<Self> {
        STATE.try_take().map(|state| Self(NonNull::from(state)))
    }

    /// The state, between two calls of Zephyr's client.
    fn state(&mut self) -> &mut State {
        // SAFETY: the static was taken once, so that this is the only way to it; while a function of Zephyr's client runs,
        // no reference made here is alive, so that its callbacks may make their own.
        unsafe { self.0.as_mut() }
    }

    /// Zephyr's client, to call a function with.
    fn client(&mut self) -> *mut ffi::mqtt_client {
        // SAFETY: makes a pointer only, without a reference to the rest of the state.
        unsafe { &raw mut (*self.0.as_ptr()).client }
    }

    /// TCP, TLS and CONNECT; blocks until CONNECT is sent or something has failed. Only CONNACK, which comes as an event,
    /// says that the service has accepted the device. A token goes into the password, with the client identifier as user
    /// name, and is gone from here when this returns.
    pub fn connect(
        &mut self,
        to: &Destination<'_>,
        token: Option<&str>,
        shown: &Presented,
    ) -> Result<(), Failure> {
        self.disconnect();
        if fault::is(Fault::CannotConnect) {
            return Err(Failure::Unreachable);
        }
        let own = self.0.as_ptr();
        let client = self.client();
        // SAFETY: the client's memory is ours and no connection uses it.
        unsafe { ffi::mqtt_client_init(client) };
        let state = self.state();
        state.since = clock::uptime();
        let opened = Connection::open(to.host, to.port, state.turn, shown);
        state.connection = Some(opened.inspect_err(|_| state.turn.failed())?);
        state.incoming.reset();
        state.ended = None;
        // Connecting has its own time.
        state.until = clock::uptime().after(SEND_MS);
        let id = to.client_id.as_bytes();
        let id_len = id.len().min(DeviceId::MAX_LEN);
        state.client_id[..id_len].copy_from_slice(&id[..id_len]);
        state.client.client_id = ffi::mqtt_utf8 { utf8: state.client_id.as_ptr(), size: id_len as u32 };
        // Both outlive `mqtt_connect`, which writes them into CONNECT and does not keep them.
        let mut user_name = state.client.client_id;
        let mut password;
        if let Some(token) = token {
            password = ffi::mqtt_utf8 { utf8: token.as_ptr(), size: token.len() as u32 };
            state.client.user_name = &raw mut user_name;
            state.client.password = &raw mut password;
        }
        state.client.rx_buf = state.rx.as_mut_ptr();
        state.client.rx_buf_size = RX_MAX as u32;
        state.client.tx_buf = state.tx.as_mut_ptr();
        state.client.tx_buf_size = TX_MAX as u32;
        state.client.keepalive = to.keep_alive_s;
        state.client.set_clean_session(1);
        state.client.transport.type_ = ffi::MQTT_TRANSPORT_CUSTOM;
        state.client.evt_cb = Some(incoming::event);
        state.client.user_data = own.cast();
        // Not used by the transport, but Zephyr wants an address.
        state.client.broker = own.cast_const().cast();
        // SAFETY: the client is set up, and everything it points to is in the state, which never moves.
        let sent = unsafe { ffi::mqtt_connect(client) };
        let state = self.state();
        state.client.password = core::ptr::null_mut();
        state.client.user_name = core::ptr::null_mut();
        state.tx.zeroize();
        match sent {
            0 => Ok(()),
            _ => {
                self.close();
                Err(Failure::LinkLost)
            }
        }
    }

    /// All that is sent from here on may wait for the network until `until`.
    pub fn begin_turn(&mut self, until: Uptime) {
        self.state().until = until;
    }

    /// Ends the connection or the attempt. No event of it follows.
    pub fn disconnect(&mut self) {
        let client = self.client();
        if self.state().connack && self.state().connection.is_some() {
            // SAFETY: the client is connected. An error means that it is not any more.
            let _error = unsafe { ffi::mqtt_disconnect(client, core::ptr::null()) };
        }
        self.close();
    }

    fn close(&mut self) {
        let client = self.client();
        // Also where the client has closed it.
        let attempted = self.state().connection.is_some() || self.state().ended.is_some();
        if self.state().connection.is_some() {
            // SAFETY: the client was set up when the connection was opened.
            let _error = unsafe { ffi::mqtt_abort(client) };
        }
        let state = self.state();
        if attempted && !state.connack {
            state.turn.failed();
        }
        state.connection = None;
        state.connack = false;
        state.ended = None;
        state.incoming.reset();
    }

    /// Subscribes to `topics` with QoS 1.
    pub fn subscribe(&mut self, topics: &Subscriptions) {
        let noted = self.state().incoming.subscribing(SUBSCRIBE_ID, topics, true);
        let mut list: Vec<_, SUBSCRIPTIONS_MAX> = topics.iter().map(at_qos_1).collect();
        let error = self.list(&mut list, SUBSCRIBE_ID, ffi::mqtt_subscribe);
        self.sent(noted, error);
    }

    /// Subscribes to one more topic with QoS 1. Nothing tells what the service says to that.
    pub fn fetch(&mut self, topic: &TopicText) {
        let id = self.passing_id();
        let noted = self.state().incoming.subscribing(id, core::slice::from_ref(topic), false);
        let error = self.list(&mut [at_qos_1(topic)], id, ffi::mqtt_subscribe);
        self.sent(noted, error);
    }

    /// Unsubscribes from a topic of [`Mqtt::fetch`].
    pub fn release(&mut self, topic: &TopicText) {
        let id = self.passing_id();
        let noted = self.state().incoming.releasing(id, topic);
        let error = self.list(&mut [at_qos_1(topic)], id, ffi::mqtt_unsubscribe);
        self.sent(noted, error);
    }

    fn passing_id(&mut self) -> u16 {
        let last = &mut self.state().passing;
        *last = if *last + 1 < SUBSCRIBE_ID { *last + 1 } else { PASSING_ID };
        *last
    }

    /// Sends a packet with a list of topics, which the caller borrows meanwhile.
    fn list(&mut self, list: &mut [ffi::mqtt_topic], id: u16, send: ListPacket) -> c_int {
        let request = ffi::mqtt_subscription_list {
            list: list.as_mut_ptr(),
            list_count: list.len() as u16,
            message_id: id,
        };
        let client = self.client();
        // SAFETY: the client was set up by `connect`; the list and the callers' topics outlive the call, which encodes them.
        unsafe { send(client, &raw const request) }
    }

    /// Publishes with QoS 1 under the packet identifier `token`.
    pub fn publish(&mut self, token: u16, topic: &TopicText, packet: &mut Packet, retain: bool) {
        let noted = self.state().incoming.published(token);
        let packet = NonNull::from(packet);
        // SAFETY: the packet is the caller's, and nobody writes to it but the transport, which puts a head before the payload.
        let payload = unsafe { packet.as_ref() }.payload();
        let mut message = ffi::mqtt_publish_param { message_id: token, ..Default::default() };
        message.message.topic = at_qos_1(topic);
        message.message.payload =
            ffi::mqtt_binstr { data: payload.as_ptr().cast_mut(), len: payload.len() as u32 };
        message.set_retain_flag(u8::from(retain));
        self.state().packet = Some(packet);
        let client = self.client();
        // SAFETY: as for `subscribe`; Zephyr only hands the payload on.
        let error = unsafe { ffi::mqtt_publish(client, &raw const message) };
        self.state().packet = None;
        self.sent(noted, error);
    }

    /// A packet that could not be sent is the end of the connection: nobody would answer it.
    fn sent(&mut self, noted: Result<(), Full>, error: c_int) {
        if noted.is_err() || error != 0 {
            self.state().ended.get_or_insert(Failure::LinkLost);
        }
    }

    /// The socket to wait for; negative where there is none.
    pub fn socket(&mut self) -> c_int {
        self.state().connection.as_ref().map_or(-1, Connection::socket)
    }

    /// When [`Mqtt::next_event`] has something to do, whatever the socket says: what is here already, or a ping that is due.
    pub fn next_deadline(&mut self, now: Uptime) -> Option<Uptime> {
        if self.state().ended.is_some() || self.state().incoming.waits() {
            return Some(now);
        }
        if !self.state().connack {
            return None;
        }
        let client = self.client();
        // SAFETY: the client is set up; the function reads it.
        let left = unsafe { ffi::mqtt_keepalive_time_left(client) };
        u64::try_from(left).ok().map(|left| now.after(left))
    }

    /// What has happened, if anything; does not wait for the service.
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        let client = self.client();
        if self.state().connack && self.state().connection.is_some() {
            // SAFETY: the client is connected. It says EAGAIN where no ping is due; where one cannot be sent, the callback
            // tells.
            let _again = unsafe { ffi::mqtt_live(client) };
        }
        let item = match self.state().ended {
            Some(failure) => Item::Ended(failure),
            // SAFETY: the state is that of this client, and no reference to it is alive.
            None => unsafe { incoming::next(self.0.as_ptr()) }?,
        };
        Some(match item {
            Item::Accepted => {
                let state = self.state();
                state.connack = true;
                let handshake_ms = clock::uptime().since(state.since);
                Event::Connected { handshake_ms: u32::try_from(handshake_ms).unwrap_or(u32::MAX) }
            }
            Item::Ended(failure) => {
                self.close();
                Event::Disconnected(failure)
            }
            Item::Subscribed { granted } => Event::Subscribed { granted },
            Item::Acknowledged(token) => Event::Acknowledged(token),
            Item::Alive => Event::Alive,
            Item::Receiving => Event::Receiving,
            Item::Message => {
                let (topic, payload) = self.state().incoming.message();
                Event::Message { topic, payload }
            }
        })
    }
}

/// The topic as Zephyr's client wants it: QoS 1. It points to `topic`.
fn at_qos_1(topic: &TopicText) -> ffi::mqtt_topic {
    let text = ffi::mqtt_utf8 { utf8: topic.as_ptr(), size: topic.len() as u32 };
    ffi::mqtt_topic { topic: text, qos: ffi::MQTT_QOS_1_AT_LEAST_ONCE as u8 }
}
