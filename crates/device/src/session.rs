//! The connection to the service: when to connect, when to give up, how long to wait. Owns the phases of a connection
//! and the name of every failure, never a socket. R-TLS-SERVER, R-DATA-INTACT.
//!
//! ```text
//! idle --time is plausible--> connecting --CONNACK--> subscribing --SUBACK--> running
//!   ^                             |                        |                     |
//!   +------ wait: backoff --------+---------- failure -----+---------------------+
//! ```
//!
//! Only CONNACK counts as connected: with TLS 1.3 a handshake ends before the service has looked at the device's
//! certificate. The backoff is forgotten only after the connection was healthy for a while, so that a service that
//! accepts and drops at once is not stormed.

use crate::backoff::Backoff;
use crate::platform::Uptime;
use protocol::Failure;

/// The session's timing. A port may shrink it for tests; the defaults are for the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Shortest wait before an attempt to connect, in milliseconds.
    pub backoff_floor_ms: u32,
    /// Longest wait, in milliseconds.
    pub backoff_cap_ms: u32,
    /// How long a connection must last before the backoff is forgotten, in milliseconds.
    pub healthy_ms: u32,
    /// How long connecting may take up to CONNACK, in milliseconds.
    pub connect_timeout_ms: u32,
    /// How long the service may take to answer a SUBSCRIBE or a PUBLISH, in milliseconds.
    pub answer_timeout_ms: u32,
    /// How long a token is valid, in seconds; at most [`protocol::token::LIFE_S_MAX`]. A new one is used after 80 % of
    /// it.
    pub token_life_s: u32,
}

impl Default for Policy {
    /// 1 s to 5 min of backoff, healthy after 1 min; 30 s to connect (a P-256 handshake takes about 2 s on a
    /// Cortex-M4 at 64 MHz, the rest is for slow links), 20 s for answers; tokens
    /// for the hour that they may last.
    fn default() -> Self {
        Self {
            backoff_floor_ms: 1_000,
            backoff_cap_ms: 300_000,
            healthy_ms: 60_000,
            connect_timeout_ms: 30_000,
            answer_timeout_ms: 20_000,
            token_life_s: protocol::token::LIFE_S_MAX as u32,
        }
    }
}

/// Which of a host's addresses is tried next: in turn over the attempts, and the one that led to CONNACK again. A port keeps
/// one for its connections; addresses are sorted, so that the name service's order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressTurn(u16);

impl AddressTurn {
    /// No attempt was made.
    pub const fn new() -> Self {
        Self(0)
    }

    /// The place, among `count` sorted addresses, of the one to be tried; 0 where there is none.
    pub const fn choose(self, count: usize) -> usize {
        if count == 0 { 0 } else { self.0 as usize % count }
    }

    /// The attempt has ended before CONNACK: it is the next one's turn.
    pub const fn failed(&mut self) {
        self.0 = self.0.wrapping_add(1);
    }
}

/// Longest wait for an answer behind messages of the service that come in pieces, in milliseconds: half an hour, in which a
/// message of MQTT's longest 256 MB comes at 150 kB/s. A service that only ever drips holds a connection no longer.
pub(crate) const RECEIVING_MAX_MS: u64 = 30 * 60 * 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not connected; `until` is when the next attempt may start.
    Waiting { until: Uptime },
    /// CONNECT was asked for.
    Connecting { since: Uptime },
    /// CONNACK has come; `asked` once SUBSCRIBE was sent.
    Subscribing { since: Uptime, asked: bool },
    /// Everything is open.
    Running { since: Uptime, heard: Uptime },
    /// Closed for good.
    Closed,
}

/// What the session wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Connect,
    Subscribe,
    Disconnect,
}

/// The state of the connection.
#[derive(Debug)]
pub(crate) struct Session {
    policy: Policy,
    phase: Phase,
    backoff: Backoff,
    silence_ms: u64,
    /// A message of the service has begun and is not over.
    receiving: bool,
    /// When the last piece of such a message came.
    received: Uptime,
    drop_link: bool,
    pub(crate) connections: u32,
    pub(crate) failures: u32,
    pub(crate) last_failure: Option<Failure>,
}

impl Session {
    /// A session that connects within the backoff's floor, at a random point of it. `keep_alive_s` is MQTT's
    /// keep-alive: silence of one and a half of it is a failure (the same bound that MQTT 3.1.1, section 3.1.2.10,
    /// gives the server).
    pub(crate) fn new(mut policy: Policy, keep_alive_s: u32, now: Uptime, random: u32) -> Self {
        // A floor of 0 would storm the service.
        policy.backoff_floor_ms = policy.backoff_floor_ms.max(1);
        // A fleet that gets its power back at one instant does not come at one instant.
        let first = (u64::from(policy.backoff_floor_ms) * u64::from(random)) >> 32;
        Self {
            policy,
            phase: Phase::Waiting { until: now.after(first) },
            backoff: Backoff::new(policy.backoff_floor_ms, policy.backoff_cap_ms),
            silence_ms: u64::from(keep_alive_s) * 1_500,
            receiving: false,
            received: Uptime(0),
            drop_link: false,
            connections: 0,
            failures: 0,
            last_failure: None,
        }
    }

    /// Another keep-alive from the next connection on.
    pub(crate) fn configure(&mut self, keep_alive_s: u32) {
        self.silence_ms = u64::from(keep_alive_s) * 1_500;
    }

    /// True while telemetry may be published.
    pub(crate) const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// True from CONNACK on.
    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Subscribing { .. } | Phase::Running { .. })
    }

    /// True from the attempt to connect until the connection is over.
    pub(crate) const fn is_up(&self) -> bool {
        !matches!(self.phase, Phase::Waiting { .. } | Phase::Closed)
    }

    /// How long an answer may take, in milliseconds.
    const fn answer_timeout_ms(&self) -> u64 {
        self.policy.answer_timeout_ms as u64
    }

    /// Until when the answer to what was sent at `sent` has to come: behind a message that comes in pieces it cannot come
    /// sooner than the message's end, which is waited for up to [`RECEIVING_MAX_MS`].
    pub(crate) fn answer_due(&self, sent: Uptime) -> Uptime {
        let patience = self.answer_timeout_ms();
        let behind = self.received.after(patience).min(sent.after(RECEIVING_MAX_MS));
        sent.after(patience).max(behind)
    }

    /// CONNACK with return code 0 has come. True where it was awaited.
    pub(crate) fn connected(&mut self, now: Uptime) -> bool {
        let awaited = matches!(self.phase, Phase::Connecting { .. });
        if awaited {
            (self.receiving, self.received) = (false, Uptime(0));
            self.connections = self.connections.saturating_add(1);
            self.phase = Phase::Subscribing { since: now, asked: false };
        }
        awaited
    }

    /// SUBACK has come.
    pub(crate) fn subscribed(&mut self, now: Uptime, granted: bool, random: u32) {
        if let Phase::Subscribing { .. } = self.phase {
            if granted {
                self.phase = Phase::Running { since: now, heard: now };
            } else {
                self.give_up(now, Failure::SubscribeRefused, random);
            }
        }
    }

    /// The service sent something.
    pub(crate) fn heard(&mut self, now: Uptime) {
        if core::mem::take(&mut self.receiving) {
            // It is behind the end of a message.
            self.received = now;
        }
        if let Phase::Running { heard, .. } = &mut self.phase {
            *heard = now;
        }
    }

    /// A piece of a message that is still on its way has come.
    pub(crate) fn receiving(&mut self, now: Uptime) {
        self.heard(now);
        (self.receiving, self.received) = (true, now);
    }

    /// The port says that the attempt or the connection is over.
    pub(crate) fn lost(&mut self, now: Uptime, failure: Failure, random: u32) {
        let was_healthy = match self.phase {
            Phase::Running { since, .. } => now.since(since) >= u64::from(self.policy.healthy_ms),
            Phase::Connecting { .. } | Phase::Subscribing { .. } => false,
            Phase::Waiting { .. } | Phase::Closed => return,
        };
        if was_healthy {
            self.backoff.reset();
        }
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(failure);
        let wait = self.backoff.fail(random);
        self.phase = Phase::Waiting { until: now.after(u64::from(wait)) };
    }

    /// Ends the connection from this side because of `failure`.
    pub(crate) fn give_up(&mut self, now: Uptime, failure: Failure, random: u32) {
        if self.is_up() {
            self.lost(now, failure, random);
            self.drop_link = true;
        }
    }

    /// Ends the connection from this side to make another one after `wait_ms`. No failure.
    pub(crate) fn reconnect(&mut self, now: Uptime, wait_ms: u64) {
        if self.is_up() {
            self.phase = Phase::Waiting { until: now.after(wait_ms) };
            self.drop_link = true;
        }
    }

    /// Makes another connection after `wait_ms`, whether there is one or not, as if none had failed yet: it goes elsewhere.
    pub(crate) fn begin_again(&mut self, now: Uptime, wait_ms: u64) {
        if self.phase != Phase::Closed {
            self.drop_link |= self.is_up();
            self.phase = Phase::Waiting { until: now.after(wait_ms) };
            self.backoff.reset();
        }
    }

    /// Closes for good.
    pub(crate) fn close(&mut self) {
        self.drop_link |= self.is_up();
        self.phase = Phase::Closed;
    }

    /// The failure whose time has come, if any.
    pub(crate) fn overdue(&self, now: Uptime) -> Option<Failure> {
        let (deadline, failure) = self.patience()?;
        (now >= deadline).then_some(failure)
    }

    fn patience(&self) -> Option<(Uptime, Failure)> {
        match self.phase {
            Phase::Connecting { since } => {
                Some((since.after(u64::from(self.policy.connect_timeout_ms)), Failure::ConnectTimeout))
            }
            Phase::Subscribing { since, .. } => Some((self.answer_due(since), Failure::SubscribeTimeout)),
            Phase::Running { heard, .. } => Some((heard.after(self.silence_ms), Failure::KeepAlive)),
            Phase::Waiting { .. } | Phase::Closed => None,
        }
    }

    /// True where the connection is to be dropped; asked once.
    pub(crate) fn poll_drop(&mut self) -> bool {
        core::mem::take(&mut self.drop_link)
    }

    /// The next thing to do. `time_is_plausible` gates the attempt to connect.
    pub(crate) fn poll_output(&mut self, now: Uptime, time_is_plausible: bool) -> Option<Request> {
        if self.poll_drop() {
            return Some(Request::Disconnect);
        }
        match self.phase {
            Phase::Waiting { until } if time_is_plausible && now >= until => {
                self.phase = Phase::Connecting { since: now };
                Some(Request::Connect)
            }
            Phase::Subscribing { since, asked: false } => {
                self.phase = Phase::Subscribing { since, asked: true };
                Some(Request::Subscribe)
            }
            _ => None,
        }
    }

    /// When the session next wants to be asked. `None` while it waits for time or is closed.
    pub(crate) fn next_deadline(&self, time_is_plausible: bool) -> Option<Uptime> {
        match self.phase {
            Phase::Waiting { until } => time_is_plausible.then_some(until),
            _ => self.patience().map(|(deadline, _)| deadline),
        }
    }
}

#[cfg(test)]
mod tests;
