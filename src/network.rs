//! The device's side of the connection: what it asks of the network's thread, what it hears from it, and whether that thread
//! still lives. Owns no socket and never waits for one. R-DATA-INTACT, R-FW-HEALTH.
//!
//! There are two queues, each with one place. Requests go out on one [`Form`], which comes back when the request is done: while
//! it is away the device is not asked for anything that needs the network. Events come as words that the network's thread
//! says and waits to be heard, so that the message in it is read where it lies, and the next one waits in its socket. One place
//! each is enough: the network's thread does one thing at a time, and the device's loop takes what there is in each turn.

mod thread;

use crate::credentials::{Credentials, Presented};
use crate::handover::{self, Listener, NetworkBell, Place, Speaker};
use crate::mqtt::Packet;
use crate::net::HostName;
use crate::settings::Platform;
use crate::{clock, error, ffi};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering};
use device::clock::sntp::PACKET_LEN;
use device::{Event, MESSAGE_BYTES_MAX, Password, Uptime, identity};
use heapless::{String, Vec};
use protocol::token::TOKEN_BYTES_MAX;
use protocol::topic::{Subscriptions, TopicText};
use protocol::{DeviceId, Endpoint, Failure};
use static_cell::{ConstStaticCell, StaticCell};

/// The longest that one turn of the network's thread takes, in milliseconds: one name and one connection, or one message, that
/// is waited for, and its own work.
const TURN_MS: u64 = ffi::SHIM_TURN_MS as u64;

/// The longest that the network's thread sleeps where nothing happens, in milliseconds.
const IDLE_MS: u64 = 5_000;
const _: () = assert!(IDLE_MS < TURN_MS);
// A token lies where a message does.
const _: () = assert!(TOKEN_BYTES_MAX <= MESSAGE_BYTES_MAX);

/// A device that stops waits so long for its last messages to leave, in milliseconds: it has had its time to see them
/// acknowledged before.
const FLUSH_MS: u64 = 2_000;

/// What is to be done. Its longer parts lie beside it on the form.
enum Asked {
    Nothing,
    QueryTime {
        server: Endpoint,
        packet: [u8; PACKET_LEN],
    },
    /// A token, where there is one, is the payload.
    Connect {
        host: HostName,
        port: u16,
        client_id: String<{ DeviceId::MAX_LEN }>,
        keep_alive_s: u16,
        token: bool,
        shown: Presented,
    },
    Subscribe,
    Fetch,
    Release,
    Publish {
        token: u16,
        retain: bool,
    },
}

/// A request on its way: filled in by the device's thread, read by the network's.
pub struct Form {
    /// The connection that it is about.
    link: u32,
    asked: Asked,
    topics: Subscriptions,
    packet: Packet,
    /// Where credentials are shown from; away while a connection is being made.
    credentials: Option<Credentials>,
}

static FORM: ConstStaticCell<Form> = ConstStaticCell::new(Form {
    link: 0,
    asked: Asked::Nothing,
    topics: Vec::new(),
    packet: Packet::new(),
    credentials: None,
});

/// The form on its way to the network's thread, and back.
static REQUESTED: Place<Form> = Place::empty();
static DONE: Place<Form> = Place::empty();

/// The thread's own things until it runs.
static BEGINNING: StaticCell<(Speaker, NetworkBell)> = StaticCell::new();
static BEGIN: Place<(Speaker, NetworkBell)> = Place::empty();

/// Connections up to this number are given up, and those that are closed because of it.
static DROPPED: AtomicU32 = AtomicU32::new(0);
static CLOSED: AtomicU32 = AtomicU32::new(0);

/// Changes with each turn of the network's thread.
static BEAT: AtomicU32 = AtomicU32::new(0);

/// The network, as the device's loop sees it.
pub struct Network {
    form: Option<&'static mut Form>,
    listener: Listener,
    speaker: Option<Speaker>,
    bell: Option<NetworkBell>,
    /// The connection that was asked for last; 0 where it was given up.
    link: u32,
    links: u32,
    beat: u32,
    /// How long this thread has slept without a sign of life of the other, in milliseconds.
    silent_ms: u64,
}

impl Network {
    /// To be called once; `None` after that. No thread runs yet.
    pub fn take() -> Option<Self> {
        let (speaker, listener) = handover::ends()?;
        let form = FORM.try_take()?;
        form.credentials = Some(Credentials::take()?);
        Some(Self {
            form: Some(form),
            listener,
            speaker: Some(speaker),
            bell: None,
            link: 0,
            links: 0,
            beat: 0,
            silent_ms: 0,
        })
    }

    /// Starts the network's thread. The error is a negative errno.
    pub fn start(&mut self) -> Result<(), c_int> {
        let bell = NetworkBell::open()?;
        let Some(speaker) = self.speaker.take() else { return Ok(()) };
        BEGIN.put(BEGINNING.init((speaker, bell)));
        self.bell = Some(bell);
        handover::start_network_thread(thread::run);
        Ok(())
    }

    /// True while a request is being carried out: no other can be taken.
    pub fn is_full(&mut self) -> bool {
        if self.form.is_none() {
            self.form = DONE.take();
        }
        self.form.is_none()
    }

    /// Sends a datagram to a time server; what comes of it is an event.
    pub fn query_time(&mut self, server: &Endpoint, packet: [u8; PACKET_LEN]) {
        self.ask(|form| form.asked = Asked::QueryTime { server: server.clone(), packet });
    }

    /// Makes a connection; what comes of it is an event. The keys are read here, so that the other thread has nothing to do with
    /// the device's store and its vault. A token goes into the password, with the client identifier as user name.
    pub fn connect(
        &mut self,
        platform: &mut Platform,
        (host, port): (&str, u16),
        client_id: &str,
        keep_alive_s: u16,
        chosen: identity::Credentials,
        password: Option<Password<'_>>,
    ) -> Result<(), Failure> {
        let Some(form) = &mut self.form else { return Err(Failure::ConnectTimeout) };
        let credentials = form.credentials.take().ok_or(Failure::Credentials)?;
        let shown = match credentials.present(platform, chosen, password.is_none()) {
            Ok(shown) => shown,
            Err((credentials, why)) => {
                form.credentials = Some(credentials);
                error!("{why}");
                return Err(Failure::Credentials);
            }
        };
        self.links = self.links.wrapping_add(1).max(1);
        self.link = self.links;
        self.ask(|form| {
            form.packet.fill(password.map(Password::reveal).unwrap_or_default().as_bytes());
            let client_id = String::try_from(client_id).unwrap_or_default();
            let token = password.is_some();
            let host = HostName::new(host);
            form.asked = Asked::Connect { host, port, client_id, keep_alive_s, token, shown };
        });
        Ok(())
    }

    /// Subscribes to these topics.
    pub fn subscribe(&mut self, topics: &Subscriptions) {
        self.ask(|form| {
            form.topics.clone_from(topics);
            form.asked = Asked::Subscribe;
        });
    }

    /// Subscribes to one more topic. Nothing tells what the service says to that.
    pub fn fetch(&mut self, topic: TopicText) {
        self.ask_of(topic, Asked::Fetch);
    }

    /// Unsubscribes from a topic of [`Network::fetch`].
    pub fn release(&mut self, topic: TopicText) {
        self.ask_of(topic, Asked::Release);
    }

    /// Publishes.
    pub fn publish(&mut self, token: u16, topic: TopicText, payload: &[u8], retain: bool) {
        if let Some(form) = &mut self.form {
            form.packet.fill(payload);
        }
        self.ask_of(topic, Asked::Publish { token, retain });
    }

    fn ask_of(&mut self, topic: TopicText, asked: Asked) {
        self.ask(|form| {
            form.topics.clear();
            let _fits = form.topics.push(topic);
            form.asked = asked;
        });
    }

    /// Hands the form over. Where it is away nothing is asked: the device was told so ([`Network::is_full`]).
    fn ask(&mut self, fill: impl FnOnce(&mut Form)) {
        if let Some(form) = self.form.take() {
            fill(form);
            form.link = self.link;
            REQUESTED.put(form);
            self.ring();
        }
    }

    /// Ends the connection, or the attempt as soon as it can be ended. No event of it is heard any more.
    pub fn disconnect(&mut self) {
        self.link = 0;
        DROPPED.store(self.links, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = self.bell {
            bell.ring();
        }
    }

    /// Takes one event, if there is one; true where there was. What a connection says that was given up is not handed on.
    pub fn hear(&mut self, handle: impl FnOnce(Uptime, Event<'_>)) -> bool {
        let link = self.link;
        self.listener.hear(|word| {
            if word.link == 0 || word.link == link {
                handle(word.at, word.event);
            }
        })
    }

    /// Waits until the network's thread has something for the device, at most `millis` milliseconds.
    pub fn wait(&mut self, millis: u32) {
        let begun = clock::uptime();
        handover::wait_for_device_bell(millis);
        let beat = BEAT.load(Ordering::Relaxed);
        // Only while this thread sleeps does the other one run: a long piece of the device's own work says nothing about it.
        self.silent_ms = if beat == self.beat { self.silent_ms + clock::uptime().since(begun) } else { 0 };
        self.beat = beat;
    }

    /// True where the network's thread has not come around for longer than anything that it does may take.
    pub fn is_hung(&self) -> bool {
        self.bell.is_some() && self.silent_ms > TURN_MS
    }

    /// Waits until what was asked before is done and the connection is closed, as far as that is soon.
    pub fn settle(&mut self) {
        let until = clock::uptime().after(FLUSH_MS);
        self.disconnect();
        while self.bell.is_some() && CLOSED.load(Ordering::Acquire) != self.links && clock::uptime() < until {
            if !self.hear(|_, _| {}) {
                self.wait(until.since(clock::uptime()) as u32);
            }
        }
    }
}
