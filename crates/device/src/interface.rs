//! What a port and the device say to each other: events in, commands out. Owns the words, decides nothing.

use crate::clock::TimeTrouble;
use crate::clock::sntp::PACKET_LEN;
use crate::config::LoadError;
use crate::event::Note;
use crate::identity::Credentials;
use crate::identity::IdentityError;
use crate::platform::StorageError;
use crate::session::Policy;
use core::fmt;
pub use protocol::document::End;
use protocol::topic::{Subscriptions, TopicText};
use protocol::{Endpoint, EpochMillis, Failure, Measurement, Name, PublicKey, ResetCause, SensorFault, Uuid};

/// What the port knows about this start.
#[derive(Clone, Debug)]
pub struct BootInfo {
    /// Version of the firmware.
    pub firmware: Name,
    /// The board.
    pub board: Name,
    /// Why it started.
    pub reset: ResetCause,
    /// When the firmware was built: no time before it is believed.
    pub build: EpochMillis,
    /// The session's timing.
    pub policy: Policy,
    /// Which firmware is for it.
    pub product: Product,
    /// The timing of updates and trials.
    pub pace: Pace,
}

/// Which firmware a device may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// UUID of version 5 of the vendor's domain (RFC 9124, section 3.3).
    pub vendor: Uuid,
    /// UUID of version 5 of product and board within it (RFC 9124, section 3.4).
    pub class: Uuid,
    /// The key with which the bootloader verifies images; `None` where this device cannot be updated.
    pub image_key: Option<PublicKey>,
}

/// The timing of updates and trials. A port may shrink it for tests; the defaults are for the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Shortest time between two requests for a block, in milliseconds: what is left of the link is telemetry's.
    pub block_interval_ms: u32,
    /// How long a block may take to come before it is asked for again, in milliseconds.
    pub block_timeout_ms: u32,
    /// How long a new image must have been healthy without a break before it stays, in milliseconds.
    pub trial_ms: u32,
    /// How long after the start it must have shown that, in milliseconds; after that the device goes back.
    pub trial_deadline_ms: u32,
    /// How long a change of the configuration may take to reach the service, in milliseconds; after that it is undone.
    pub configuration_ms: u32,
}

impl Default for Pace {
    /// 50 blocks a second at most, 10 s for one, healthy for 2 min within 15 min; 10 min for a configuration: about as many
    /// attempts to connect, in the worst case at the end of a service's short outage.
    fn default() -> Self {
        Self {
            block_interval_ms: 20,
            block_timeout_ms: 10_000,
            trial_ms: 120_000,
            trial_deadline_ms: 900_000,
            configuration_ms: 600_000,
        }
    }
}

/// Why the device cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// It has no valid configuration.
    Configuration(LoadError),
    /// Its store failed.
    Storage(StorageError),
    /// It has no identity: [`crate::provisioning::Factory`] is for it.
    Blank,
    /// It was destroyed and never works again.
    Destroyed,
    /// Its identity cannot be loaded.
    Identity(IdentityError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(error) => error.fmt(f),
            Self::Storage(error) => write!(f, "the device cannot start: {error}"),
            Self::Blank => f.write_str("the device is blank: provision it"),
            Self::Destroyed => f.write_str("the device was destroyed: it never works again"),
            Self::Identity(error) => write!(f, "the device's identity cannot be loaded: {error}"),
        }
    }
}

impl core::error::Error for StartError {}

/// What has happened outside.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Nothing: a deadline was reached.
    Tick,
    /// A datagram from a time server.
    TimeAnswer(&'a [u8]),
    /// The request for time has left just now: what came before, such as looking up the server's name, is no part of
    /// the round trip. A port that sends at once need not say so.
    TimeSent,
    /// The latest request for time could not be sent or will not be answered. Not to be sent for an earlier one.
    TimeUnreachable,
    /// The same where the server's name has no address.
    TimeServerUnknown,
    /// CONNACK with return code 0 has come.
    Connected {
        /// From the first packet to CONNACK, in milliseconds.
        handshake_ms: u32,
    },
    /// The attempt to connect failed or the connection is over. Not to be sent after [`Command::Disconnect`].
    Disconnected(Failure),
    /// SUBACK has come.
    Subscribed {
        /// True where every topic is granted.
        granted: bool,
    },
    /// PUBACK for this token has come.
    Acknowledged(u16),
    /// The service answered a ping.
    Alive,
    /// A piece of a message that is still on its way has come: no answer can come before its end.
    Receiving,
    /// A message on one of the topics subscribed to.
    Message {
        /// Its topic.
        topic: &'a str,
        /// Its payload.
        payload: &'a [u8],
    },
    /// The sensor's answer to [`Command::Sample`].
    Reading(Result<Measurement, SensorFault>),
    /// The port is going to stop or restart the device: keep what is not delivered.
    Shutdown,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time; the topics of a subscription are its longest part"
)]
pub enum Command<'a> {
    /// Send this datagram to a time server, from a new UDP port; hand what comes back to [`Event::TimeAnswer`].
    QueryTime {
        /// The server.
        server: &'a Endpoint,
        /// The datagram.
        packet: [u8; PACKET_LEN],
    },
    /// Set the clock that certificates are checked against.
    SetClock(EpochMillis),
    /// Connect: TCP, TLS with the server verified, MQTT CONNECT with a clean session.
    Connect {
        /// Host name that the certificate must have.
        host: &'a str,
        /// TCP port.
        port: u16,
        /// MQTT client identifier.
        client_id: &'a str,
        /// MQTT keep-alive in seconds.
        keep_alive_s: u16,
        /// Which keys and which roots: [`crate::identity::chain`] and [`crate::identity::roots`] read them.
        credentials: Credentials,
        /// What goes into MQTT's password, with the client identifier as user name, and only to a server that is
        /// verified; no client certificate is shown then. `None` where the client certificate proves who it is.
        password: Option<Password<'a>>,
        /// After this many milliseconds the device gives up by itself.
        timeout_ms: u32,
    },
    /// Subscribe to these topics with QoS 1; the answer is [`Event::Subscribed`].
    Subscribe(Subscriptions),
    /// Subscribe to this one topic with QoS 1 as well: what is retained there comes as [`Event::Message`]. The service's
    /// answer to the SUBSCRIBE is of no interest and is not handed on.
    Fetch(TopicText),
    /// Unsubscribe from a topic of [`Command::Fetch`]. The answer is of no interest.
    Release(TopicText),
    /// Publish with QoS 1.
    Publish {
        /// What [`Event::Acknowledged`] must carry. Never 0.
        token: u16,
        /// The topic.
        topic: TopicText,
        /// The payload.
        payload: &'a [u8],
        /// MQTT's retain flag.
        retain: bool,
    },
    /// Drop the connection or the attempt. No event of it may follow.
    Disconnect,
    /// Ask the sensor; the answer is [`Event::Reading`], to be delivered before the next command is polled.
    Sample,
    /// Write this to the log.
    Log(Note),
    /// Write this to the log as well, as a warning: what is wrong with the time servers.
    LogTime(TimeTrouble<'a>),
    /// Write this to the log as well, as a warning: why the configuration of the note before was refused.
    LogReason(&'a str),
    /// Everything is kept: the port may stop or restart.
    Stopped,
    /// Everything is kept, and the port is to restart: the bootloader has something to do.
    Restart,
    /// The device's life is over and its secrets are wiped: the port restarts, into the factory state or into nothing.
    Retired(End),
}

/// A token on its way into a CONNECT. Cannot be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a>(&'a str);

impl<'a> Password<'a> {
    pub(crate) const fn new(token: &'a str) -> Self {
        Self(token)
    }

    /// The token itself.
    pub const fn reveal(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
