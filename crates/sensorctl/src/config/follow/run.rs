//! Follows changes at the broker. Owns the connection and the clock; what is to be made of messages is decided by
//! [`super::Follow`]. It only listens. R-CONF, R-FLEET.

use super::super::fleet::{Odd, said};
use super::{Follow, Rules, Step, Tally, Verdict};
use crate::firmware::service::{SILENCE, Settling};
use crate::operator::{Excess, Intake, NotLetIn, Operator, STATES, Wait, leave, now, refused, wanted};
use protocol::{DeviceId, EpochMillis, Topic};
use rumqttc::{AsyncClient, Event, EventLoop, Packet, Publish};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How often it is judged.
const TICK: Duration = Duration::from_millis(250);

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
    /// Messages of a device are dropped.
    Dropped(&'a DeviceId, Excess),
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
    let mut wait = Wait::new();
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
            Ok(event) => session.take(event, &mut wait, &mut tell)?,
            Err(error) => {
                let (why, retry_ms) = wait.down(&error, Instant::now());
                tell(now(), &News::Down(&why, retry_ms))?;
                session.again(operator);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(retry_ms)) => {}
                    _ = interrupt.recv() => break End::Interrupted,
                    _ = terminate.recv() => break End::Interrupted,
                }
                if began.elapsed() >= rules.timeout {
                    break End::TimeOver;
                }
            }
        }
    };
    leave(&session.client, &mut session.events).await;
    Ok(end)
}

struct Session<'f> {
    follow: &'f mut Follow,
    filters: Vec<String>,
    client: AsyncClient,
    events: EventLoop,
    subscribed: bool,
    /// Of the connection that listens: whether the broker has said what it keeps of the devices.
    settling: Option<Settling>,
    connected: bool,
    intake: Intake,
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
            settling: None,
            connected: false,
            intake: Intake::new(STATES),
            told: None,
        }
    }

    fn subscribe(&mut self) {
        if self.connected && !self.subscribed {
            self.subscribed = self.client.try_subscribe_many(wanted(&self.filters)).is_ok();
        }
    }

    fn again(&mut self, operator: &Operator) {
        (self.client, self.events) = operator.connect(operator.options(true));
        (self.settling, self.connected, self.subscribed) = (None, false, false);
    }

    fn take(
        &mut self,
        event: Event,
        wait: &mut Wait,
        tell: &mut impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
    ) -> Result<(), RunError> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => self.connected = true,
            Event::Incoming(Packet::SubAck(ack)) => {
                if let Some(filter) = refused(&ack, &self.filters) {
                    return Err(RunError::Subscription(filter));
                }
                wait.up(Instant::now());
                self.settling = Some(Settling::new(SILENCE));
                tell(now(), &News::Up)?;
            }
            Event::Incoming(Packet::Publish(message)) => {
                if let Some(settling) = &mut self.settling {
                    settling.hear(message.retain);
                }
                self.hear(&message, tell)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn hear(
        &mut self,
        message: &Publish,
        tell: &mut impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let at = now();
        if let Some(Topic { device, .. }) = Topic::decode(&message.topic)
            && let Err(excess) = self.intake.admit_live(Instant::now(), &device, message)
        {
            if let Some(excess) = excess {
                tell(at, &News::Dropped(&device, excess))?;
            }
            return Ok(());
        }
        let live = (!message.retain).then_some(at);
        let (step, odd) = self.follow.take(&message.topic, &message.payload, live, at);
        if let Some(odd) = odd {
            tell(at, &News::Odd(&odd))?;
        }
        if let Some(step) = step {
            tell(at, &News::Step(&step))?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        rules: &Rules,
        lasted: Duration,
        tell: &mut impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
    ) -> Result<Option<End>, RunError> {
        if !self.settling.is_some_and(|settling| settling.is_over()) {
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
}
