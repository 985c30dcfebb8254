//! Follows changes at the broker. Owns the connection and the clock; what is to be made of messages is decided by
//! [`super::Follow`]. It only listens. R-CONF, R-FLEET.

use super::super::fleet::{Odd, said};
use super::{Follow, Rules, Step, Tally, Verdict};
use crate::firmware::service::SILENCE;
use crate::operator::{NotLetIn, Operator, RETRY_MS, now, reason};
use protocol::EpochMillis;
use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, QoS, SubscribeFilter, SubscribeReasonCode};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How often it is judged.
const TICK: Duration = Duration::from_millis(250);
/// How long the broker may take for what it keeps of the devices, where it never falls silent.
const SETTLE: Duration = Duration::from_secs(10);
/// How long taking leave may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What happened.
#[derive(Debug)]
pub enum News<'a> {
    /// Connected and listening.
    Up,
    /// Not connected: why, and milliseconds until the next attempt.
    Down(&'a str, u64),
    /// A device stands otherwise.
    Step(&'a Step),
    /// How all devices stand.
    Tally(&'a Tally),
    /// A message that cannot be what it should be.
    Odd(&'a Odd),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing to wait for any more.
    Over,
    /// The time is over.
    TimeOver,
    /// Too many devices have failed.
    Stopped,
    /// A signal.
    Interrupted,
}

/// Why it ended by itself.
#[derive(Debug)]
pub enum RunError {
    /// The broker does not let the operator listen there.
    Subscription(String),
    /// Signals or output.
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription(filters) => NotLetIn(filters).fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Follows until there is nothing to wait for. `tell` hears of everything; an error of it ends the run.
pub async fn run(
    operator: &Operator,
    follow: &mut Follow,
    rules: &Rules,
    mut tell: impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
) -> Result<End, RunError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let began = Instant::now();
    let mut session = Session::new(operator, follow);
    let mut retry_ms = *RETRY_MS.start();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let end = loop {
        session.subscribe();
        let event = tokio::select! {
            event = session.events.poll() => event,
            _ = tick.tick() => {
                match session.judge(rules, began.elapsed(), &mut tell)? {
                    None => continue,
                    Some(end) => break end,
                }
            }
            _ = interrupt.recv() => break End::Interrupted,
            _ = terminate.recv() => break End::Interrupted,
        };
        match event {
            Ok(event) => session.take(event, &mut retry_ms, &mut tell)?,
            Err(error) => {
                tell(now(), &News::Down(&reason(&error), retry_ms))?;
                session.again(operator);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(retry_ms)) => {}
                    _ = interrupt.recv() => break End::Interrupted,
                    _ = terminate.recv() => break End::Interrupted,
                }
                if began.elapsed() >= rules.timeout {
                    break End::TimeOver;
                }
                retry_ms = (retry_ms * 2).min(*RETRY_MS.end());
            }
        }
    };
    session.leave().await;
    Ok(end)
}

struct Session<'f> {
    follow: &'f mut Follow,
    filters: Vec<String>,
    client: AsyncClient,
    events: EventLoop,
    subscribed: bool,
    /// Since when the connection listens, and when the last message came that the broker had kept.
    up: Option<(Instant, Instant)>,
    connected: bool,
    settled: bool,
    told: Option<Tally>,
}

impl<'f> Session<'f> {
    fn new(operator: &Operator, follow: &'f mut Follow) -> Self {
        let (client, events) = operator.connect(operator.options(true));
        let filters = said(follow.whom());
        Self {
            follow,
            filters,
            client,
            events,
            subscribed: false,
            up: None,
            connected: false,
            settled: false,
            told: None,
        }
    }

    fn subscribe(&mut self) {
        if self.connected && !self.subscribed {
            let filter = |path: &String| SubscribeFilter { path: path.clone(), qos: QoS::AtLeastOnce };
            self.subscribed = self.client.try_subscribe_many(self.filters.iter().map(filter)).is_ok();
        }
    }

    fn again(&mut self, operator: &Operator) {
        (self.client, self.events) = operator.connect(operator.options(true));
        (self.up, self.connected, self.subscribed, self.settled) = (None, false, false, false);
    }

    fn take(
        &mut self,
        event: Event,
        retry_ms: &mut u64,
        tell: &mut impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
    ) -> Result<(), RunError> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => self.connected = true,
            Event::Incoming(Packet::SubAck(ack)) => {
                let refused = ack.return_codes.iter().zip(&self.filters);
                let mut refused = refused.filter(|(code, _)| **code == SubscribeReasonCode::Failure);
                if let Some((_, filter)) = refused.next() {
                    return Err(RunError::Subscription(filter.clone()));
                }
                *retry_ms = *RETRY_MS.start();
                self.up = Some((Instant::now(), Instant::now()));
                tell(now(), &News::Up)?;
            }
            Event::Incoming(Packet::Publish(message)) => {
                if let Some((_, last)) = self.up.as_mut().filter(|_| message.retain) {
                    *last = Instant::now();
                }
                let at = now();
                let live = (!message.retain).then_some(at);
                let (step, odd) = self.follow.take(&message.topic, &message.payload, live, at);
                if let Some(odd) = odd {
                    tell(at, &News::Odd(&odd))?;
                }
                if let Some(step) = step {
                    tell(at, &News::Step(&step))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// True when the broker has said what it keeps of the devices.
    fn is_settled(&mut self) -> bool {
        let quiet = self.up.is_some_and(|(up, last)| last.elapsed() >= SILENCE || up.elapsed() >= SETTLE);
        self.settled |= quiet;
        self.settled
    }

    fn judge(
        &mut self,
        rules: &Rules,
        lasted: Duration,
        tell: &mut impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
    ) -> Result<Option<End>, RunError> {
        if !self.is_settled() {
            return Ok((lasted >= rules.timeout).then_some(End::TimeOver));
        }
        for step in self.follow.refresh(now()) {
            tell(now(), &News::Step(&step))?;
        }
        let tally = self.follow.tally();
        let verdict = rules.judge(&tally, lasted);
        if self.told.as_ref() != Some(&tally) {
            tell(now(), &News::Tally(&tally))?;
            self.told = Some(tally);
        }
        Ok(match verdict {
            Verdict::Stay => None,
            Verdict::Over => Some(End::Over),
            Verdict::TimeOver => Some(End::TimeOver),
            Verdict::Stop => Some(End::Stopped),
        })
    }

    async fn leave(&mut self) {
        if self.client.try_disconnect().is_ok() {
            let leave = async {
                while let Ok(event) = self.events.poll().await {
                    if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                        break;
                    }
                }
            };
            // It only listened: a broker that does not take leave costs nothing.
            let _ = tokio::time::timeout(FAREWELL, leave).await;
        }
    }
}
