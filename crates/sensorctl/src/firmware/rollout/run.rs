//! A roll-out at the broker: the share is published, the devices are followed, and the next share follows or none. Owns the
//! connection and the clock; what to do is decided by [`super::super::stages`]. R-FW-TIMELY, R-FLEET.
//!
//! What the broker keeps is the state of a roll-out: whoever runs the same again goes on where it was.

use super::super::fleet::{Fleet, Standing, Tally, Target};
use super::super::service::{SILENCE, ServiceError, Settling};
use super::super::stages::{Rules, Share, Verdict};
use super::{Author, Kept, read_state, states};
use crate::documents::DocumentError;
use crate::operator::{Excess, Intake, NotLetIn, Operator, STATES, Wait, now, refused, wanted};
use crate::publish::Message;
use protocol::{DeviceId, EpochMillis, Topic};
use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, Publish, QoS};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How often a stage is judged.
const TICK: Duration = Duration::from_millis(250);
/// How long after its acknowledgement a share may take to come back from the broker.
const ECHO: Duration = Duration::from_secs(10);
/// How long the last messages may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug)]
pub enum News<'a> {
    /// Connected and listening.
    Up,
    /// Not connected: why, and milliseconds until the next attempt.
    Down(&'a str, u64),
    /// The broker has this share, with this number.
    Share(Share, u32),
    /// A device has come to another standing.
    Device(&'a DeviceId, Standing),
    /// How the devices of the stage stand.
    Tally(Share, &'a Tally),
    /// The stage has ended.
    Stage(Share, Verdict, &'a Tally),
    /// A message on a device's topic that is none: whose, and why.
    Refused(&'a str, &'a str),
    /// Messages of a device are dropped.
    Dropped(&'a DeviceId, Excess),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every device of the last stage is done.
    Done(Tally),
    /// Too many failed; nothing begins any more.
    Stopped(Tally),
    /// The last stage has waited long enough, or one in which no device has confirmed the image: nothing larger follows that.
    TimeOver(Tally),
    /// All devices of a stage have failed, and were too few to stop it: nothing larger follows by itself.
    Unproven(Tally),
    /// A signal; the broker keeps this share.
    Interrupted(Share),
}

/// Why it ended by itself.
#[derive(Debug)]
pub enum RunError {
    /// The broker does not let the operator listen to this.
    Subscription(String),
    /// The broker acknowledged a share and does not keep it.
    Service(ServiceError),
    /// The document could not be signed.
    Document(DocumentError),
    /// Signals or output.
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription(filter) => NotLetIn(filter).fmt(f),
            Self::Service(error) => error.fmt(f),
            Self::Document(error) => error.fmt(f),
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

impl From<DocumentError> for RunError {
    fn from(error: DocumentError) -> Self {
        Self::Document(error)
    }
}

/// A roll-out that is to be driven.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Signs the shares.
    pub author: Author<'a>,
    /// Which release.
    pub target: Target,
    /// What is published, one share after the other. Not empty.
    pub shares: Vec<Share>,
    /// The share and number that the broker has already of this release.
    pub kept: Option<Kept>,
    /// When it goes on.
    pub rules: Rules,
    /// Whether only devices count that have said that they know of the release.
    pub aware_only: bool,
}

/// Drives the roll-out to its end. `tell` hears of everything; an error of it ends the run.
pub async fn run(
    operator: &Operator,
    plan: &Plan<'_>,
    fleet: Fleet,
    mut tell: impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
) -> Result<End, RunError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut session = Session::new(operator, plan, fleet);
    session.begin()?;
    let mut wait = Wait::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        session.flush();
        let event = tokio::select! {
            event = session.events.poll() => event,
            _ = tick.tick() => {
                if let Some(end) = session.judge(&mut tell)? {
                    session.farewell().await;
                    return Ok(end);
                }
                continue;
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        match event {
            Ok(event) => session.take(event, &mut wait, &mut tell)?,
            Err(error) => {
                let (why, retry_ms) = wait.down(&error, Instant::now());
                tell(now(), &News::Down(&why, retry_ms))?;
                session.again(operator);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(retry_ms)) => {}
                    _ = interrupt.recv() => break,
                    _ = terminate.recv() => break,
                }
            }
        }
    }
    // A share that was signed reaches the broker still.
    let share = session.share();
    session.farewell().await;
    // Too many had failed already, and share 0 was on its way.
    Ok(session.stopping.take().map_or(End::Interrupted(share), End::Stopped))
}

struct Session<'a> {
    plan: &'a Plan<'a>,
    fleet: Fleet,
    client: AsyncClient,
    events: EventLoop,
    /// Place in the plan's shares.
    stage: usize,
    /// Signed, and not yet come back from the broker; the share and number.
    pending: Option<(Message, Share, u32)>,
    sent: bool,
    /// When the broker acknowledged it.
    acknowledged: Option<Instant>,
    connected: bool,
    subscribed: bool,
    /// Since when the broker has the share.
    since: Option<Instant>,
    /// Of the connection that listens: whether the broker has said what it keeps of the devices.
    settling: Option<Settling>,
    intake: Intake,
    /// How it was when too many had failed: the share is taken back.
    stopping: Option<Tally>,
    told: Option<Tally>,
}

impl<'a> Session<'a> {
    fn new(operator: &Operator, plan: &'a Plan<'a>, fleet: Fleet) -> Self {
        let (client, events) = operator.connect(operator.options(true));
        Self {
            plan,
            fleet,
            client,
            events,
            stage: 0,
            pending: None,
            sent: false,
            acknowledged: None,
            connected: false,
            subscribed: false,
            since: None,
            settling: None,
            intake: Intake::new(STATES),
            stopping: None,
            told: None,
        }
    }

    /// The share of the stage.
    fn share(&self) -> Share {
        self.plan.shares.get(self.stage).copied().unwrap_or(Share::NONE)
    }

    /// Begins the stage: its share is signed, where the broker does not have it.
    fn begin(&mut self) -> Result<(), DocumentError> {
        let share = self.share();
        self.told = None;
        if self.stage == 0 && self.plan.kept.is_some_and(|kept| kept.share == share) {
            self.since = Some(Instant::now());
            return Ok(());
        }
        self.publish(share)
    }

    fn publish(&mut self, share: Share) -> Result<(), DocumentError> {
        let (message, number) = self.plan.author.sign(share)?;
        (self.pending, self.sent, self.since) = (Some((message, share, number)), false, None);
        self.acknowledged = None;
        Ok(())
    }

    /// Where devices say how they are, and where the share is.
    fn filters(&self) -> [String; 2] {
        [states(), self.plan.author.topic()]
    }

    /// Gives the client what it has room for. A share is sent when its topic is listened to: it counts when it comes back.
    fn flush(&mut self) {
        if !self.connected {
            return;
        }
        if !self.subscribed {
            self.subscribed = self.client.try_subscribe_many(wanted(&self.filters())).is_ok();
        }
        if let (Some((message, ..)), false, true) = (&self.pending, self.sent, self.settling.is_some()) {
            let Message { topic, retained, payload } = message;
            self.sent = self.client.try_publish(topic, QoS::AtLeastOnce, *retained, payload.clone()).is_ok();
        }
    }

    fn again(&mut self, operator: &Operator) {
        (self.client, self.events) = operator.connect(operator.options(true));
        (self.connected, self.subscribed, self.sent) = (false, false, false);
        (self.settling, self.acknowledged) = (None, None);
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
                if let Some(filter) = refused(&ack, &self.filters()) {
                    return Err(RunError::Subscription(filter));
                }
                wait.up(Instant::now());
                self.settling = Some(Settling::new(SILENCE));
                tell(now(), &News::Up)?;
            }
            // Nothing else is published here.
            Event::Incoming(Packet::PubAck(_)) => self.acknowledged = Some(Instant::now()),
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
        if message.topic == self.plan.author.topic() {
            let ours = |pending: &mut (Message, Share, u32)| pending.0.payload == message.payload;
            if let Some((_, share, number)) = self.pending.take_if(ours) {
                self.since = Some(Instant::now());
                tell(now(), &News::Share(share, number))?;
            }
            return Ok(());
        }
        if let Some(Topic { device, .. }) = Topic::decode(&message.topic)
            && let Err(excess) = self.intake.admit_live(Instant::now(), &device, message)
        {
            return excess.map_or(Ok(()), |excess| Ok(tell(now(), &News::Dropped(&device, excess))?));
        }
        let (device, state) = match read_state(&message.topic, &message.payload) {
            Ok(said) => said,
            Err(why) => return Ok(tell(now(), &News::Refused(&message.topic, &why))?),
        };
        let target = &self.plan.target;
        let before = self.fleet.state(&device).map(|state| Standing::of(Some(state), target));
        let standing = Standing::of(state.as_ref(), target);
        let ours = state.as_ref().is_some_and(|state| state.class == target.class);
        self.fleet.take(device.clone(), state);
        if ours && before != Some(standing) {
            tell(now(), &News::Device(&device, standing))?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        tell: &mut impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
    ) -> Result<Option<End>, RunError> {
        if let (Some((message, ..)), Some(at)) = (&self.pending, self.acknowledged)
            && at.elapsed() >= ECHO
        {
            return Err(RunError::Service(ServiceError::NotKept(1, message.topic.clone())));
        }
        let settled = self.settling.is_some_and(|settling| settling.is_over());
        let (true, Some(since)) = (settled, self.since) else { return Ok(None) };
        let share = self.share();
        if let Some(tally) = self.stopping.take() {
            return Ok(Some(End::Stopped(tally)));
        }
        let tally = self.fleet.tally(&self.plan.target, share, self.plan.aware_only);
        if self.told.as_ref() != Some(&tally) {
            tell(now(), &News::Tally(share, &tally))?;
            self.told = Some(tally.clone());
        }
        let verdict = self.plan.rules.judge(&tally, since.elapsed());
        if verdict == Verdict::Stay {
            return Ok(None);
        }
        tell(now(), &News::Stage(share, verdict, &tally))?;
        if verdict == Verdict::Stop {
            self.stopping = Some(tally);
            self.publish(Share::NONE)?;
            return Ok(None);
        }
        // Nobody speaks for the image: either time is over, or those that came to an end have failed, too few to stop.
        let unproven = tally.confirmed() == 0 && (verdict == Verdict::TimeOver || tally.failed() > 0);
        if self.stage + 1 == self.plan.shares.len() || unproven {
            return Ok(Some(match verdict {
                Verdict::Over if unproven => End::Unproven(tally),
                Verdict::Over => End::Done(tally),
                _ => End::TimeOver(tally),
            }));
        }
        self.stage += 1;
        self.begin()?;
        Ok(None)
    }

    async fn farewell(&mut self) {
        let leave = async {
            while self.pending.is_some() {
                self.flush();
                match self.events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => self.connected = true,
                    Ok(Event::Incoming(Packet::SubAck(_))) => self.settling = Some(Settling::new(SILENCE)),
                    Ok(Event::Incoming(Packet::PubAck(_))) => self.pending = None,
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
            while self.client.try_disconnect().is_err() {
                if self.events.poll().await.is_err() {
                    return;
                }
            }
            while let Ok(event) = self.events.poll().await {
                if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                    return;
                }
            }
        };
        // What did not arrive is published by the next run.
        let _ = tokio::time::timeout(FAREWELL, leave).await;
    }
}
